//! Tests of the decision point and of its audit trail.

use std::fs;

use np_types::{Fingerprint, LocalPeer, PeerIdentity, PublicKey, SecretKey, UnixMillis};

use super::{Decision, Policy, PolicyError, Proof};
use crate::test_log::lines_of;
use crate::{AllowList, KnownPeers};

/// The start of 2026-03-01.
const NOW: UnixMillis = UnixMillis(1_772_323_200_000);

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn noise(byte: u8) -> PeerIdentity {
    PeerIdentity::Noise(key(byte))
}

/// One identity of every kind but the anonymous.
fn proven() -> [PeerIdentity; 4] {
    let certificate =
        PeerIdentity::Certificate { spki: Fingerprint([1; 32]), names: Vec::new(), subject: String::new() };
    let local = PeerIdentity::Local(LocalPeer { user: "0".to_owned(), group: Some("0".to_owned()), process: None });
    [noise(1), certificate, PeerIdentity::Psk("psk".to_owned()), local]
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Refuse { reason } => reason,
        Decision::Allow { .. } => panic!("allowed"),
    }
}

/// What a policy tells of itself before anybody comes.
#[test]
fn a_policy_tells_for_whom_it_is_and_whether_it_asks_anything() {
    use Proof::{Certificate, Key, Local, Nothing, Psk};
    let rows: [(Policy, &[Proof], bool, bool); 11] = [
        (Policy::allow_keys([]), &[Key], false, true),
        (Policy::allow_keys([key(1)]), &[Key], false, false),
        (Policy::allow_psk("team").unwrap(), &[Psk], false, false),
        (Policy::allow_spki(Fingerprint([1; 32])), &[Certificate], false, false),
        (Policy::allow_san("db.example").unwrap(), &[Certificate], false, false),
        (Policy::allow_user("0").unwrap(), &[Local], false, false),
        (Policy::allow_group("0").unwrap(), &[Local], false, false),
        (Policy::anyone(), &[Key, Psk, Certificate, Local], true, false),
        (Policy::anonymous(), &[Nothing], true, false),
        (Policy::danger_trust_anyone(), &[Key, Psk, Certificate, Local, Nothing], false, false),
        (Policy::allow_keys([]).or(Policy::anonymous()), &[Key, Nothing], true, false),
    ];
    for (policy, proofs, accepts_anyone, is_empty) in rows {
        let found = [Key, Psk, Certificate, Local, Nothing].into_iter().filter(|proof| policy.is_for(*proof));
        assert_eq!(found.collect::<Vec<_>>(), proofs, "{policy:?}");
        assert_eq!((policy.accepts_anyone(), policy.is_empty()), (accepts_anyone, is_empty), "{policy:?}");
    }
}

#[test]
fn keys_are_found_by_name_in_every_list_of_a_policy() {
    let list = |byte: u8| Policy::allow_list(AllowList::parse(&format!("{} ada", key(byte))).unwrap(), "staff");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("more");
    fs::write(&path, format!("{} ada\n{} bob\n", key(4), key(5))).unwrap();
    let file = Policy::allow_file(&path).unwrap();
    let policy = Policy::anyone().or(list(1)).or(Policy::allow_keys([key(3)])).or(list(2)).or(file);
    assert_eq!(policy.keys_named("ada"), [key(1), key(2), key(4)]);
    assert_eq!(policy.keys_named("eve"), []);
}

#[test]
fn a_policy_knows_all_names_where_lists_name_every_key_and_nothing_else_lets_in() {
    let list = |text: String| Policy::allow_list(AllowList::parse(&text).unwrap(), "staff");
    let named = list(format!("{} ada\n{} bob\n", key(1), key(2)));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("more");
    fs::write(&path, format!("{} bob\n{} eve\n", key(3), key(4))).unwrap();
    let both = named.clone().or(Policy::allow_file(&path).unwrap());
    let names = |policy: &Policy| policy.all_names().map(|names| names.into_iter().collect::<Vec<_>>());
    assert_eq!(names(&named).unwrap(), ["ada", "bob"]);
    assert_eq!(names(&both).unwrap(), ["ada", "bob", "eve"]);
    assert_eq!(names(&Policy::allow_keys([])).unwrap(), [""; 0]);
    for other in [list(format!("{} ada\n{}\n", key(1), key(2))), Policy::allow_keys([key(1)]), Policy::anyone()] {
        assert_eq!(names(&named.clone().or(other.clone())), None, "{other:?}");
    }
}

#[test]
fn keys_allow_themselves_and_nothing_else() {
    let policy = Policy::allow_keys([key(1), key(2)]);
    assert!(policy.decide(&noise(1)).is_allowed());
    assert!(policy.decide(&noise(2)).is_allowed());
    assert!(!policy.decide(&noise(3)).is_allowed());
    assert!(!policy.decide(&PeerIdentity::Anonymous).is_allowed());
    for peer in &proven()[1..] {
        assert!(reason(policy.decide(peer)).contains("no Noise key"));
    }
}

#[test]
fn no_keys_allow_nobody() {
    let policy = Policy::allow_keys([]);
    assert!(!policy.decide(&noise(1)).is_allowed());
}

#[test]
fn anyone_is_any_proven_identity() {
    let policy = Policy::anyone();
    for peer in proven() {
        assert!(policy.decide(&peer).is_allowed(), "{peer}");
    }
    assert!(!policy.decide(&PeerIdentity::Anonymous).is_allowed());
}

#[test]
fn danger_is_really_anyone() {
    let policy = Policy::danger_trust_anyone();
    assert!(policy.decide(&PeerIdentity::Anonymous).is_allowed());
    assert!(policy.decide(&noise(1)).is_allowed());
}

#[test]
fn either_policy_may_allow_and_the_first_names() {
    let named = |name: &'static str| {
        Policy::closure(move |peer| match peer.public_key() {
            Some(found) if *found == key(2) => Decision::Allow { name: Some(name.to_owned()) },
            _ => Decision::Refuse { reason: format!("not {name}") },
        })
    };
    let policy = Policy::allow_keys([key(1)]).or(named("bob")).or(named("rob"));
    assert_eq!(policy.decide(&noise(1)), Decision::Allow { name: None });
    let bob = Some("bob".to_owned());
    assert_eq!(policy.decide(&noise(2)), Decision::Allow { name: bob });
    let reason = reason(policy.decide(&noise(3)));
    assert_eq!(reason, "the key is not in the allowed keys; not bob; not rob");
}

#[test]
fn the_command_line_takes_a_key_a_file_or_anyone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("staff");
    fs::write(&path, format!("{} ada\n", key(1))).unwrap();

    let policy = Policy::parse_allow(path.to_str().unwrap()).unwrap();
    let ada = Some("ada".to_owned());
    assert_eq!(policy.decide(&noise(1)), Decision::Allow { name: ada });
    assert!(reason(policy.decide(&noise(2))).contains("staff"));

    let policy = Policy::parse_allow(&key(1).to_string()).unwrap();
    assert!(policy.decide(&noise(1)).is_allowed());
    assert!(!policy.decide(&noise(2)).is_allowed());

    let policy = Policy::parse_allow("anyone").unwrap();
    assert!(policy.decide(&noise(2)).is_allowed());
    assert!(!policy.decide(&PeerIdentity::Anonymous).is_allowed());
}

#[test]
fn what_looks_like_a_key_is_never_a_file_nor_shown() {
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    let upper = secret.to_uppercase();
    let broken = &secret[..40];
    let padded = format!(" {}", &*secret);
    for text in [&*secret, &upper, broken, &padded, "np1", "nppsk1x"] {
        let error = Policy::parse_allow(text).unwrap_err();
        assert!(matches!(error, PolicyError::Key(_)), "{error}");
        let shown = format!("{error} {error:?}").to_lowercase();
        assert!(!shown.contains(&secret[8..20]), "the secret leaked: {shown}");
    }
    assert!(matches!(Policy::parse_allow(""), Err(PolicyError::Empty)));
    let error = Policy::parse_allow("no/such/file").unwrap_err();
    assert!(matches!(error, PolicyError::List(_)));
    assert!(error.to_string().contains("no/such/file"), "{error}");
}

fn audit(policy: &Policy, peer: &PeerIdentity) -> String {
    let lines = lines_of(|| drop(policy.decide_at(peer, NOW)));
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

fn assert_holds(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn every_decision_is_audited_with_peer_and_reason() {
    let peer = key(1).to_string();
    let policy = Policy::allow_keys([key(1)]);
    let line = audit(&policy, &noise(1));
    assert_holds(&line, &["INFO np::audit", "allowed", &peer, "the allowed keys"]);

    let line = audit(&policy, &noise(2));
    let other = key(2).to_string();
    assert_holds(&line, &["WARN np::audit", "refused", &other, "not in the allowed keys"]);
}

#[test]
fn a_flood_of_decisions_is_written_at_a_rate_with_the_count_of_the_rest() {
    let policy = Policy::allow_keys([key(1)]);
    let decide = |byte, now| lines_of(|| drop(policy.clone().decide_at(&noise(byte), now)));
    let written = |byte| (0..300).map(|_| decide(byte, NOW).len()).sum::<usize>();
    assert_eq!((written(2), written(1)), (256, 256), "each kind has a rate of its own, which clones share");
    let later = UnixMillis(NOW.0 + 1_000);
    for (byte, decision) in [(2, "refused"), (1, "allowed")] {
        let lines = decide(byte, later);
        assert_holds(&lines[0], &[decision, "suppressed=44"]);
        assert!(!decide(byte, later)[0].contains("suppressed"), "nothing was left out since");
    }
}

#[test]
fn open_doors_are_audited_as_such() {
    let line = audit(&Policy::anyone(), &noise(1));
    assert_holds(&line, &["INFO np::audit", "by=anyone", "any proven identity"]);
    let line = audit(&Policy::danger_trust_anyone(), &PeerIdentity::Anonymous);
    assert_holds(&line, &["WARN np::audit", "danger-trust-anyone", "anonymous"]);
}

#[test]
fn text_from_outside_forges_no_log_line() {
    let refusing = Policy::closure(|_| Decision::Refuse { reason: "a\nb\u{1b}".to_owned() });
    let naming = Policy::closure(|_| Decision::Allow { name: Some("a\nb\u{1b}".to_owned()) });
    let missing = Policy::allow_list(AllowList::default(), "a\nb\u{1b}");
    let holding = Policy::allow_list([key(1)].into_iter().collect(), "a\nb\u{1b}");
    for policy in [refusing, naming, missing, holding] {
        let line = audit(&policy, &noise(1));
        assert!(!line.contains(['\n', '\u{1b}']), "{line}");
        assert!(line.contains("u{1b}"), "{line}");
    }
}

#[test]
fn debug_names_the_rules() {
    let policy = Policy::anyone().or(Policy::allow_keys([key(1)]));
    assert_eq!(format!("{policy:?}"), r#"["anyone", "the allowed keys"]"#);
}

#[test]
fn anonymous_is_whoever_has_proven_nothing() {
    let policy = Policy::anonymous();
    assert!(policy.decide(&PeerIdentity::Anonymous).is_allowed());
    for peer in proven() {
        assert!(reason(policy.decide(&peer)).contains("has proven an identity"), "{peer}");
    }
    let both = policy.or(Policy::anyone());
    assert!(both.decide(&PeerIdentity::Anonymous).is_allowed() && both.decide(&noise(1)).is_allowed());
}

#[test]
fn a_psk_is_allowed_by_its_id_alone() {
    let policy = Policy::allow_psk("ada").unwrap();
    assert!(policy.decide(&PeerIdentity::Psk("ada".to_owned())).is_allowed());
    for other in
        [PeerIdentity::Psk("Ada".to_owned()), PeerIdentity::Psk(String::new()), noise(1), PeerIdentity::Anonymous]
    {
        assert!(reason(policy.decide(&other)).contains("psk:ada"), "{other}");
    }
    assert!(!policy.is_empty());
}

#[test]
fn the_command_line_takes_anonymous_and_ids_of_psks() {
    let policy = Policy::parse_allow("anonymous").unwrap();
    assert!(policy.decide(&PeerIdentity::Anonymous).is_allowed());
    assert!(!policy.decide(&noise(1)).is_allowed());

    let policy = Policy::parse_allow("psk:66687aadf862bd77").unwrap();
    assert!(policy.decide(&PeerIdentity::Psk("66687aadf862bd77".to_owned())).is_allowed());
    assert!(!policy.decide(&PeerIdentity::Psk("other".to_owned())).is_allowed());

    for (text, part) in [("psk:", "1 to 64"), ("psk:a b", "printable ASCII"), ("psk:nppsk1qq", "a secret")] {
        let error = Policy::parse_allow(text).unwrap_err();
        assert!(matches!(error, PolicyError::PskId(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let long = format!("psk:{}", "a".repeat(65));
    assert!(Policy::parse_allow(&long).unwrap_err().to_string().contains("65 bytes"));
}

#[test]
fn an_expired_key_is_refused_from_the_start_of_its_day() {
    let list = AllowList::parse(&format!("{} ada expires=2026-03-01", key(1))).unwrap();
    let policy = Policy::allow_list(list, "staff");
    let before = UnixMillis(NOW.0 - 1);
    assert_eq!(policy.decide_at(&noise(1), before), Decision::Allow { name: Some("ada".to_owned()) });
    let reason = reason(policy.decide_at(&noise(1), NOW));
    assert!(reason.contains("staff") && reason.contains("expired at the start of 2026-03-01"), "{reason}");
}

#[test]
fn without_a_time_the_clock_of_the_system_decides() {
    let text = format!("{} expires=2020-01-01\n{} expires=9999-12-31", key(1), key(2));
    let policy = Policy::allow_list(AllowList::parse(&text).unwrap(), "staff");
    assert!(!policy.decide(&noise(1)).is_allowed());
    assert!(policy.decide(&noise(2)).is_allowed());
}

#[test]
fn a_policy_follows_its_file_and_so_do_its_clones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("staff");
    fs::write(&path, format!("{} ada\n", key(1))).unwrap();
    let policy = Policy::allow_file(&path).unwrap();
    let clone = policy.clone();
    let ada = Decision::Allow { name: Some("ada".to_owned()) };
    assert_eq!(policy.decide_at(&noise(1), NOW), ada);

    fs::write(&path, format!("{} bob expires=2026-03-02\n", key(2))).unwrap();
    for policy in [&policy, &clone] {
        assert!(reason(policy.decide_at(&noise(1), NOW)).contains("not in"));
        assert_eq!(policy.decide_at(&noise(2), NOW), Decision::Allow { name: Some("bob".to_owned()) });
    }

    fs::remove_file(&path).unwrap();
    assert!(!policy.decide(&noise(2)).is_allowed());
    assert!(clone.is_empty());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(key(1).to_string().as_bytes()).unwrap();
    drop(writer);
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let policy = Policy::allow_file(path.as_ref()).unwrap();
    assert!(policy.decide(&noise(1)).is_allowed());
    assert!(policy.decide(&noise(1)).is_allowed());
    assert_eq!((&reader).read(&mut [0]).unwrap(), 0);
}

fn known() -> (KnownPeers, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (KnownPeers::open(&dir.path().join("known_peers")).unwrap(), dir)
}

#[test]
fn a_key_is_trusted_on_first_use_and_a_changed_one_refused_loudly() {
    let (known, _dir) = known();
    let policy = Policy::first_use(known.clone(), "tcp://db:4711");
    let line = audit(&policy, &noise(1));
    let first = key(1).to_string();
    assert_holds(
        &line,
        &["WARN np::audit", "allowed", "first-use", "FIRST USE of tcp://db:4711", "known_peers", &first],
    );
    let line = audit(&policy, &noise(1));
    assert_holds(&line, &["INFO np::audit", "allowed", "first-use", "the one kept for tcp://db:4711"]);

    let second = key(2).to_string();
    let file = known.path().to_str().unwrap();
    let line = audit(&policy, &noise(2));
    let loud = ["WARN np::audit", "refused", "THE KEY OF tcp://db:4711 HAS CHANGED", "line 1", &first, &second];
    assert_holds(&line, &loud);
    let reason = reason(policy.decide(&noise(2)));
    assert_holds(&reason, &loud[2..]);
    assert_holds(&reason, &[file, "ask the server's operator", &format!("put `tcp://db:4711 {second}`")]);

    assert!(policy.decide(&noise(1)).is_allowed(), "the key that was kept stays");
    let elsewhere = Policy::first_use(known, "tcp://other:4711");
    assert!(elsewhere.decide(&noise(2)).is_allowed());
}

#[test]
fn first_use_is_for_keys_alone() {
    let (known, _dir) = known();
    let policy = Policy::first_use(known.clone(), "mem:x");
    for peer in proven()[1..].iter().chain([&PeerIdentity::Anonymous]) {
        assert!(reason(policy.decide(peer)).contains("no Noise key"), "{peer}");
    }
    assert!(!known.path().exists());
}

#[test]
fn a_key_that_cannot_be_kept_is_not_trusted() {
    let (known, dir) = known();
    fs::create_dir(dir.path().join("known_peers.new")).unwrap();
    let policy = Policy::first_use(known.clone(), "mem:x");
    for _ in 0..2 {
        assert!(reason(policy.decide(&noise(1))).contains("cannot be written"));
    }
    fs::write(known.path(), "nonsense").unwrap();
    let line = audit(&policy, &noise(1));
    assert_holds(&line, &["WARN np::audit", "refused", "line 1", "no key is trusted"]);
    let wrong = Policy::first_use(known, "two words");
    assert!(!wrong.decide(&noise(1)).is_allowed());
}

#[test]
fn every_rule_writes_one_event_with_peer_rule_and_reason() {
    let (known, dir) = known();
    let path = dir.path().join("staff");
    fs::write(&path, format!("{} ada\n", key(1))).unwrap();
    let psk = PeerIdentity::Psk("ada".to_owned());
    let allowed = [
        (Policy::allow_keys([key(1)]), noise(1), "the allowed keys", "the key is in the allowed keys"),
        (Policy::allow_file(&path).unwrap(), noise(1), path.to_str().unwrap(), "the key is in"),
        (Policy::allow_psk("ada").unwrap(), psk, "psk:ada", "is allowed"),
        (Policy::anyone(), noise(1), "anyone", "any proven identity"),
        (Policy::anonymous(), PeerIdentity::Anonymous, "anonymous", "proven nothing"),
        (Policy::first_use(known, "mem:x"), noise(1), "first-use", "FIRST USE"),
        (Policy::danger_trust_anyone(), noise(1), "danger-trust-anyone", "without a check"),
        (Policy::closure(|_| Decision::Allow { name: None }), noise(1), "closure", "closure"),
    ];
    for (policy, peer, rule, why) in allowed {
        let by = format!("by={rule} ");
        assert_holds(&audit(&policy, &peer), &["decision=allowed", &format!("peer={peer}"), &by, why]);
    }

    let refusing = Policy::allow_psk("ada").unwrap().or(Policy::anonymous()).or(Policy::allow_file(&path).unwrap());
    let line = audit(&refusing, &noise(2));
    let by = format!("by=psk:ada, anonymous, {} ", path.display());
    let peer = format!("peer={}", key(2));
    assert_holds(&line, &["decision=refused", &peer, &by, "not proven psk:ada", "`anonymous`", "not in"]);
}

#[test]
fn a_policy_goes_wherever_connections_do() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let (known, _dir) = known();
    shared(&Policy::first_use(known, "mem:x"));
}

#[test]
fn rules_for_certificates_and_local_users_are_read_and_match_their_kind_alone() {
    let named = |name: &str| PeerIdentity::Certificate {
        spki: Fingerprint([0xab; 32]),
        names: vec!["other.example".to_owned(), name.to_owned()],
        subject: "CN=svc.example".to_owned(),
    };
    let local =
        PeerIdentity::Local(LocalPeer { user: "1000".to_owned(), group: Some("100".to_owned()), process: None });
    let spki = "AB".repeat(32);
    for (text, peer) in [
        (format!("spki:{spki}"), named("a.example")),
        (format!("spki:sha256:{spki}"), named("a.example")),
        ("san:A.example".to_owned(), named("a.example")),
        ("san:2001:DB8::1".to_owned(), named("2001:db8::1")),
        ("san:spiffe://Prod/db".to_owned(), named("spiffe://Prod/db")),
        ("san:ops@example.com".to_owned(), named("ops@example.com")),
        ("user:1000".to_owned(), local.clone()),
        ("group:100".to_owned(), local),
    ] {
        let policy = Policy::parse_allow(&text).unwrap();
        assert!(policy.decide(&peer).is_allowed(), "{text}");
        for other in proven().into_iter().chain([PeerIdentity::Anonymous]) {
            let said = reason(policy.decide(&other));
            assert!(said.contains(&text.to_lowercase().replace("sha256:", "")) || text.contains("spiffe"), "{said}");
        }
    }
    let local = |group: Option<&str>| {
        PeerIdentity::Local(LocalPeer { user: "100".to_owned(), group: group.map(str::to_owned), process: None })
    };
    let policy = Policy::parse_allow("group:100").unwrap();
    assert!([Some("1000"), Some("10"), None].into_iter().all(|group| !policy.decide(&local(group)).is_allowed()));
    // A subject is a text for people, and no rule looks at it.
    let policy = Policy::parse_allow("san:svc.example").unwrap();
    assert!(!policy.decide(&named("a.example")).is_allowed());
    assert!(!Policy::parse_allow("san:spiffe://prod/db").unwrap().decide(&named("spiffe://Prod/db")).is_allowed());
}

#[test]
fn rules_for_certificates_and_local_users_that_mean_nothing_are_refused() {
    let long = format!("san:{}", "a".repeat(1_025));
    for text in
        ["spki:", "spki:ab", "san:", "san:a b", "san:\u{1b}[2J", &long, "user:", "user:root", "user:007", "group:-1"]
    {
        let error = Policy::parse_allow(text).unwrap_err();
        assert!(matches!(error, PolicyError::Spki | PolicyError::San | PolicyError::LocalId), "{text}: {error}");
        assert!(error.to_string().contains("./ before it"));
    }
    assert!(Policy::parse_allow("user:S-1-5-21-1-2-3-1001").is_ok() && Policy::parse_allow("user:S-1-5-").is_err());
}

#[test]
fn whoever_stays_is_looked_after_without_a_word_and_by_the_list_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("members");
    fs::write(&path, format!("{} a\n{} b", key(1), key(2))).unwrap();
    let policy = Policy::allow_keys([key(9)]).or(Policy::allow_file(&path).unwrap());
    let lines = lines_of(|| {
        assert!(policy.still_allows(&noise(1)) && policy.still_allows(&noise(9)) && !policy.still_allows(&noise(3)));
        assert_eq!(policy.entry(&key(1)).unwrap().name(), Some("a"));
        assert_eq!(policy.entry(&key(9)).unwrap().name(), None);
    });
    assert!(lines.is_empty(), "{lines:?}");
    fs::write(&path, format!("{} another", key(2))).unwrap();
    assert!(!policy.still_allows(&noise(1)) && policy.still_allows(&noise(2)));
    assert_eq!(policy.entry(&key(1)), None);
    assert_eq!(policy.entry(&key(2)).unwrap().name(), Some("another"));
}
