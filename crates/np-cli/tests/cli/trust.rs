//! Pre-shared keys, patterns, several identities and trust at first use, from the command line.

use np_facade::{Identity, Psk, Psks};

use crate::support::{Folder, House, Ran, Serve, np, run};

/// A file with a fresh pre-shared key, and its id.
fn psk(folder: &Folder, name: &str) -> (String, String) {
    let file = folder.arg(name);
    let id = run(["keygen", "--psk", "--out", &file]).ok().trim_end().to_owned();
    (file, id)
}

fn serve(folder: &Folder, more: &[&str]) -> Serve {
    let key = folder.arg("server.key");
    if !folder.path("server.key").exists() {
        Identity::create(&key).unwrap();
    }
    Serve::start(&[&["--listen", "tcp://127.0.0.1:0", "--identity", &key], more].concat())
}

fn refused(folder: &Folder, more: &[&str]) -> Ran {
    let key = folder.arg("server.key");
    if !folder.path("server.key").exists() {
        Identity::create(&key).unwrap();
    }
    run(["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key].iter().chain(more))
}

fn bare(serve: &Serve) -> &str {
    serve.address().split('?').next().unwrap()
}

fn echo(address: &str, more: &[&str]) -> Ran {
    run(["call", address, "np.echo", "hello"].iter().chain(more))
}

#[test]
fn whoever_holds_the_psk_is_let_in_and_nobody_else() {
    let folder = Folder::new();
    let (file, id) = psk(&folder, "team.psk");
    let (other, _) = psk(&folder, "other.psk");
    let mut serve = serve(&folder, &["--psk", &file]);
    serve.wait_for("note: --psk without --allow: whoever holds a pre-shared key is let in");
    let (with_key, without) = (serve.address(), bare(&serve));
    for (address, more) in [
        (without, &[][..]),
        (without, &["--psk-id", &id]),
        (without, &["--pattern", "xxpsk3"]),
        (with_key, &[]),
        (with_key, &["--pattern", "IKpsk2"]),
    ] {
        assert_eq!(echo(address, &[&["--psk", &file], more].concat()).ok(), "hello", "{address} {more:?}");
    }
    run(["ping", with_key, "--psk", &file, "--count", "1"]).ok();
    let hint = "the pre-shared key or its id may be another one there";
    for (address, more) in [
        (without, &["--psk", &other][..]),
        (without, &["--psk", &other, "--psk-id", &id]),
        (with_key, &["--psk", &other]),
        (with_key, &["--psk", &other, "--psk-id", &id]),
        (with_key, &["--psk", &other, "--psk-id", &id, "--pattern", "ikpsk2"]),
        (with_key, &["--psk", &file, "--psk-id", "nobody"]),
    ] {
        echo(address, more).fails(4, &[hint, "np key show FILE", "[NP-"]);
    }
    echo(with_key, &[]).fails(4, &["pass --psk FILE", "[NP-CLOSED]"]);
    echo(without, &[]).fails(4, &["names no server key", "pass --psk FILE", "--trust first-use"]);
}

#[test]
fn with_allow_the_psk_is_asked_for_beside_the_key() {
    let folder = Folder::new();
    let (file, _) = psk(&folder, "team.psk");
    let (friend, allowed) = folder.key("friend.key");
    let (other, stranger) = folder.key("other.key");
    let serve = serve(&folder, &["--psk", &file, "--psk-id", "team", "--allow", &allowed.to_string()]);
    let call = |more: &[&str]| echo(serve.address(), &[&["--psk", &file, "--psk-id", "team"], more].concat());
    assert_eq!(call(&["--identity", &friend]).ok(), "hello");
    call(&["--identity", &other]).fails(4, &["not-allowed", &format!("allow {stranger}")]);
    call(&[]).fails(4, &["not-allowed", "a fresh key was shown", "--identity FILE"]);
    let alone = echo(bare(&serve), &["--psk", &file, "--psk-id", "team"]);
    alone.fails(4, &["not-allowed", "the pre-shared key alone is not enough there", "?key=np1"]);
    echo(serve.address(), &["--identity", &friend]).fails(4, &["pass --psk FILE"]);
}

#[test]
fn each_psk_has_its_id_in_the_same_order() {
    let folder = Folder::new();
    let (one, _) = psk(&folder, "one.psk");
    let (two, _) = psk(&folder, "two.psk");
    let allow = ["--allow", "psk:two"];
    let keys = ["--psk", &one, "--psk", &two, "--psk-id", "one", "--psk-id", "two"];
    let serve = serve(&folder, &[&keys[..], &allow].concat());
    let call = |file: &str, id: &str| echo(bare(&serve), &["--psk", file, "--psk-id", id]);
    assert_eq!(call(&two, "two").ok(), "hello");
    call(&one, "one").fails(4, &["not-allowed", "the pre-shared key alone is not enough there"]);
    call(&one, "two").fails(4, &["the pre-shared key or its id"]);
    call(&two, "").fails(2, &["--psk-id", "NNpsk0", "needs an id"]);
}

#[test]
fn a_psk_can_belong_to_one_client() {
    let folder = Folder::new();
    let (file, _) = psk(&folder, "ada.psk");
    let (ada, key) = folder.key("ada.key");
    let (eve, _) = folder.key("eve.key");
    let serve = serve(&folder, &["--psk", &file, "--psk-id", &key.to_string()]);
    let call = |identity: &str| echo(serve.address(), &["--psk", &file, "--psk-id", "", "--identity", identity]);
    assert_eq!(call(&ada).ok(), "hello");
    call(&eve).fails(4, &["the pre-shared key or its id may be another one there", "[NP-TRUNCATED]"]);
}

#[test]
fn a_psk_of_a_library_server_is_found_by_its_default_id() {
    let folder = Folder::new();
    let (file, id) = psk(&folder, "team.psk");
    let text = std::fs::read_to_string(&file).unwrap();
    let key: Psk = text.trim_end().parse().unwrap();
    let house = House::start(move |builder| builder.psks(Psks::new().with_id(&id, key).unwrap()));
    assert_eq!(echo(&house.address, &["--psk", &file]).ok(), "hello");
}

#[test]
fn psk_files_are_checked_as_key_files_are() {
    let folder = Folder::new();
    let (file, _) = psk(&folder, "team.psk");
    let (key, public) = folder.key("a.key");
    let address = format!("tcp://127.0.0.1:1?key={public}");
    let secret = std::fs::read_to_string(&file).unwrap();
    let both = |file: &str, parts: &[&str]| {
        echo(&address, &["--psk", file]).fails(2, parts);
        run(["ping", &address, "--psk", file]).fails(2, parts);
        refused(&folder, &["--psk", file]).fails(2, parts);
    };
    both(&folder.arg("gone.psk"), &["gone.psk", "does not exist"]);
    both(&key, &["a.key"]);
    both(secret.trim_end(), &["--psk", "looks like a secret key itself", "np keygen --psk --out FILE"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        both(&file, &["team.psk", "0644", "chmod 600", "--danger-key-mode"]);
        let serve = serve(&folder, &["--psk", &file, "--danger-key-mode"]);
        assert_eq!(echo(serve.address(), &["--psk", &file, "--danger-key-mode"]).ok(), "hello");
    }
}

#[test]
fn arguments_about_psks_that_do_not_fit_are_refused() {
    let folder = Folder::new();
    let (file, id) = psk(&folder, "team.psk");
    let (key, public) = folder.key("a.key");
    let public = public.to_string();
    let server = |more: &[&str], parts: &[&str]| refused(&folder, more).fails(2, parts);
    server(&["--psk", &file, "--psk-id", "a", "--psk-id", "b"], &["--psk-id: 2 given for 1 --psk", "same order"]);
    server(&["--psk", &file, "--psk", &file], &["--psk-id", "two pre-shared keys have the same id"]);
    server(&["--psk", &file, "--psk-id", "two words"], &["--psk-id", "byte 4"]);
    server(&["--psk-id", "a"], &["--psk <FILE>"]);
    server(&["--psk", &file, "--pattern", "xx"], &["--psk", "none of the patterns takes a pre-shared key"]);
    server(&["--pattern", "xxpsk3", "--allow", &public], &["--pattern", "pass --psk FILE"]);
    // Those without a pre-shared key could come, and nothing says who they may be.
    server(&["--psk", &file, "--pattern", "xx", "--pattern", "xxpsk3"], &["no --allow says who may connect"]);
    server(&["--psk", &file, "--allow", "psk:other"], &["--allow psk:other", "no --psk has this id"]);
    let xx = ["--psk", &file, "--allow", &format!("psk:{id}"), "--pattern", "xxpsk3"];
    server(&xx, &["only nnpsk0 does", "add --pattern nnpsk0"]);
    server(&["--pattern", "nk", "--allow", &public], &["clients of NK prove nothing", "--allow anonymous"]);
    server(&["--allow", "anonymous"], &["--allow anonymous", "--pattern nk"]);
    server(&["--allow", &public, "--pattern", "ix"], &["'ix'", "danger-nn"]);
    let (keyed, keyless) = (format!("tcp://127.0.0.1:1?key={public}"), "tcp://127.0.0.1:1");
    let client = |address: &str, more: &[&str], parts: &[&str]| echo(address, more).fails(2, parts);
    client(&keyed, &["--psk-id", "a"], &["--psk <FILE>"]);
    client(&keyed, &["--pattern", "xxpsk3"], &["--psk does not fit the pattern XXpsk3", "needs a pre-shared key"]);
    client(&keyed, &["--psk", &file, "--pattern", "ik"], &["--psk does not fit the pattern IK", "takes no"]);
    client(keyless, &["--psk", &file, "--identity", &key], &["--identity does not fit the pattern NNpsk0", "?key="]);
    client(&keyed, &["--psk", &file, "--psk-id", "two words"], &["--psk-id", "byte 4"]);
    let secret = std::fs::read_to_string(&file).unwrap();
    client(&keyed, &["--psk", &file, "--psk-id", secret.trim_end()], &["--psk-id", "begins as a secret does"]);
    server(&["--psk", &file, "--psk-id", secret.trim_end()], &["--psk-id", "begins as a secret does"]);
    client(&keyed, &["--psk", &file, "--pattern", "nnpsk0"], &["names a key or a pin, and NNpsk0 ignores it"]);
    client(keyless, &["--psk", &file, "--pattern", "ikpsk2"], &["IKpsk2 needs the server's key", "?key=np1"]);
    client(keyless, &["--pattern", "danger-nn"], &["--pattern danger-nn", "say so with --danger-trust-anyone"]);
    client(&keyed, &["--pattern", "danger-nn"], &["--pattern danger-nn", "say so with --danger-trust-anyone"]);
    client(&keyed, &["--identity", &key, "--pattern", "nk"], &["--identity does not fit the pattern NK"]);
}

#[test]
fn every_pattern_can_be_asked_for_and_only_what_is_offered_is_taken() {
    let folder = Folder::new();
    let (friend, allowed) = folder.key("friend.key");
    let allow = ["--allow", &allowed.to_string(), "--allow", "anonymous"];
    let offered = ["--pattern", "xx", "--pattern", "ik", "--pattern", "nk", "--pattern", "kk"];
    let serve = serve(&folder, &[&allow[..], &offered].concat());
    for pattern in ["xx", "ik", "kk"] {
        let ran = echo(serve.address(), &["--identity", &friend, "--pattern", pattern]);
        assert_eq!(ran.ok(), "hello", "{pattern}");
    }
    assert_eq!(echo(serve.address(), &["--pattern", "nk"]).ok(), "hello");
    let nn = echo(bare(&serve), &["--pattern", "danger-nn", "--danger-trust-anyone"]);
    assert_eq!(nn.code, Some(4), "{}", nn.err);
    assert!(nn.err.contains("incompatible") && nn.err.contains("--pattern"), "{}", nn.err);
}

#[test]
fn bare_nn_is_offered_and_taken_by_names_with_danger() {
    let folder = Folder::new();
    let mut serve = serve(&folder, &["--pattern", "danger-nn", "--allow", "anonymous"]);
    serve.wait_for("the server proves no key, so its addresses name none");
    assert!(!serve.address().contains("key="), "{}", serve.address());
    let ran = echo(serve.address(), &["--pattern", "danger-nn", "--danger-trust-anyone"]);
    assert!(ran.err.contains("warning: --danger-trust-anyone"), "{}", ran.err);
    assert_eq!(ran.ok(), "hello");
}

#[test]
fn a_server_has_several_identities() {
    let folder = Folder::new();
    let (second, key) = folder.key("second.key");
    let mut serve = serve(&folder, &["--identity", &second, "--allow", "anyone"]);
    serve.wait_for(&format!("this server is also {key}"));
    let address = format!("{}?key={key}", bare(&serve));
    assert_eq!(echo(&address, &["--pattern", "ik"]).ok(), "hello");
    assert_eq!(echo(serve.address(), &[]).ok(), "hello");
    let stranger = Identity::generate().unwrap().public_key();
    let unknown = echo(&format!("{}?key={stranger}", bare(&serve)), &["--pattern", "ik"]);
    unknown.fails(4, &["unknown-identity", "use the address that the server prints now"]);
}

#[test]
fn a_key_is_remembered_at_first_use_and_another_is_refused() {
    let folder = Folder::new();
    let file = folder.arg("known_peers");
    let first = serve(&folder, &["--allow", "anyone"]);
    let address = bare(&first).to_owned();
    let key = first.address().split("key=").nth(1).unwrap().to_owned();
    let trust = ["--trust", "first-use", "--known-peers", &file];
    let met = echo(&address, &trust);
    assert!(met.err.contains(&format!("note: first connection to {address}: remembered its key {key} in {file}")));
    assert_eq!((met.err.lines().count(), met.ok().as_str()), (1, "hello"));
    let again = echo(&address, &trust);
    assert_eq!((again.err.as_str(), again.code), ("", Some(0)));
    drop(first);
    let (other, changed) = folder.key("other.key");
    let _impostor = Serve::start(&["--listen", &address, "--identity", &other, "--allow", "anyone"]);
    let kept = std::fs::read_to_string(&file).unwrap();
    let refused = echo(&address, &trust);
    let place = format!("line 1 of {file}");
    refused.fails(4, &["HAS CHANGED", &key, &changed.to_string(), &place, "ask the server's operator", "[NP-REFUSED]"]);
    run(["ping", &address].iter().chain(&trust)).fails(4, &["HAS CHANGED"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), kept);
}

#[test]
fn known_peers_have_a_default_place() {
    let folder = Folder::new();
    let serve = serve(&folder, &["--allow", "anyone"]);
    let mut command = np(["call", bare(&serve), "np.echo", "hello", "--trust", "first-use"]);
    let home = if cfg!(windows) { "APPDATA" } else { "XDG_CONFIG_HOME" };
    let ran = crate::support::finish(command.env(home, folder.path("")).spawn().unwrap());
    assert_eq!(ran.ok(), "hello");
    let kept = std::fs::read_to_string(folder.path("np").join("known_peers")).unwrap();
    assert!(kept.starts_with(bare(&serve)), "{kept}");
    let mut command = np(["call", bare(&serve), "np.echo", "--trust", "first-use"]);
    let homeless = command.env_remove("HOME").env_remove("XDG_CONFIG_HOME").env_remove("APPDATA");
    crate::support::finish(homeless.spawn().unwrap()).fails(2, &["--trust first-use", "--known-peers FILE"]);
}

#[test]
fn a_key_that_was_remembered_is_told_where_the_server_refused() {
    let folder = Folder::new();
    let (_, allowed) = folder.key("friend.key");
    let serve = serve(&folder, &["--allow", &allowed.to_string()]);
    let file = folder.arg("known_peers");
    let ran = echo(bare(&serve), &["--trust", "first-use", "--known-peers", &file]);
    assert_eq!(ran.code, Some(4));
    assert!(ran.err.contains("note: first connection") && ran.err.contains("not-allowed"), "{}", ran.err);
    assert!(std::path::Path::new(&file).exists());
}

#[test]
fn trust_at_first_use_takes_an_address_without_a_key() {
    let folder = Folder::new();
    let public = Identity::generate().unwrap().public_key();
    let (keyed, keyless) = (format!("tcp://127.0.0.1:1?key={public}"), "tcp://127.0.0.1:1");
    let file = folder.arg("known_peers");
    let first_use = ["--trust", "first-use", "--known-peers", &file];
    echo(&keyed, &first_use).fails(2, &["--trust first-use", "names the key", "take ?key= out"]);
    let both = [&first_use[..], &["--danger-trust-anyone"]].concat();
    echo(keyless, &both).fails(2, &["cannot be used with"]);
    echo(keyless, &["--known-peers", &file]).fails(2, &["--trust"]);
    let nn = [&first_use[..], &["--pattern", "danger-nn"]].concat();
    echo(keyless, &nn).fails(2, &["--pattern danger-nn"]);
    let bad = folder.file("bad", "tcp://127.0.0.1:1 np1nonsense\n");
    let ran = echo(keyless, &["--trust", "first-use", "--known-peers", &bad]);
    ran.fails(2, &["--trust first-use", "bad", "line 1", "--known-peers"]);
    echo(keyless, &first_use).fails(3, &["nobody listens"]);
    assert!(!std::path::Path::new(&file).exists(), "nothing was met, so nothing is kept");
}
