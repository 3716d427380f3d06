//! Tests of the decision point and of its audit trail.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::sync::Once;

use np_types::{Fingerprint, LocalPeer, PeerIdentity, PublicKey, SecretKey};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

use super::{Decision, Policy, PolicyError};

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn noise(byte: u8) -> PeerIdentity {
    PeerIdentity::Noise(key(byte))
}

/// One identity of every kind but the anonymous.
fn proven() -> [PeerIdentity; 4] {
    let certificate = PeerIdentity::Certificate { spki: Fingerprint([1; 32]), names: Vec::new() };
    let local = PeerIdentity::Local(LocalPeer { user: "0".to_owned(), process: None });
    [noise(1), certificate, PeerIdentity::Psk("psk".to_owned()), local]
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Refuse { reason } => reason,
        Decision::Allow { .. } => panic!("allowed"),
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

/// Writes each event as one line: level, target, fields. One for the whole program, so that tests that run at the same
/// time cannot take each other's interest in an event away; each thread reads its own lines.
struct Log;

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let meta = event.metadata();
        let mut line = Line(format!("{} {}", meta.level(), meta.target()));
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn audit(policy: &Policy, peer: &PeerIdentity) -> String {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
    LINES.take();
    let _ = policy.decide(peer);
    let lines = LINES.take();
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
fn open_doors_are_audited_as_such() {
    let line = audit(&Policy::anyone(), &noise(1));
    assert_holds(&line, &["INFO np::audit", "by=\"anyone\""]);
    let line = audit(&Policy::danger_trust_anyone(), &PeerIdentity::Anonymous);
    assert_holds(&line, &["WARN np::audit", "danger-trust-anyone", "anonymous"]);
}

#[test]
fn text_from_outside_forges_no_log_line() {
    let refusing = Policy::closure(|_| Decision::Refuse { reason: "a\nb\u{1b}".to_owned() });
    let naming = Policy::closure(|_| Decision::Allow { name: Some("a\nb\u{1b}".to_owned()) });
    for policy in [refusing, naming] {
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
