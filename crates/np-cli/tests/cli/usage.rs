//! Arguments that cannot be: one line, the next step, exit code 2.

use np_facade::{Identity, Psk, SecretKey};

use crate::support::{Folder, run};

#[test]
fn arguments_that_make_no_sense_are_one_line() {
    run([""; 0]).fails(2, &["no command was given", "np help"]);
    run(["dance"]).fails(2, &["dance", "np help"]);
    run(["keygen"]).fails(2, &["--out <FILE>", "np help"]);
    run(["call", "tcp://127.0.0.1:1"]).fails(2, &["<METHOD>", "np help"]);
    run(["ping", "mem:a", "--timeout", "5"]).fails(2, &["--timeout", "ms, s, m, h", "np help"]);
    for command in [&["ping", "mem:a"][..], &["call", "mem:a", "np.echo"]] {
        run(command.iter().chain(&["--timeout", "0s"])).fails(2, &["--timeout", "1ms at least"]);
    }
    run(["serve", "--listen", "mem:a", "--handshake-timeout", "0ms"])
        .fails(2, &["--handshake-timeout", "1ms at least"]);
    run(["ping", "mem:a", "--count", "0"]).fails(2, &["--count", "np help"]);
    run(["call", "mem:a", "np.echo", "--trust", "blindly"]).fails(2, &["blindly", "first-use"]);
    run(["keygen", "--out", "a\u{1b}[2J", "--nonsense\u{1b}"]).fails(2, &["--nonsense"]);
}

#[test]
fn help_and_version_are_results() {
    assert_eq!(
        run(["--help"]).ok().lines().next(),
        Some("Secure messages and calls between services, with keys instead of a PKI")
    );
    assert!(run(["--version"]).ok().starts_with("np "));
    let help = run(["--help"]).ok();
    for word in ["keygen", "serve", "call", "ping", "demo", "Exit codes", "130"] {
        assert!(help.contains(word), "{word}");
    }
    for (command, flags) in [
        (
            "serve",
            &["--allow", "--psk", "--psk-id", "--pattern", "--max-handshakes", "--replay-capacity", "danger-nn"][..],
        ),
        ("call", &["--psk", "--psk-id", "--pattern", "--trust", "--known-peers", "first-use", "nnpsk0"]),
        ("ping", &["--psk", "--known-peers"]),
    ] {
        let help = run(["help", command]).ok();
        for flag in flags {
            assert!(help.contains(flag), "{command}: {flag}");
        }
    }
}

#[test]
fn a_bad_address_is_pointed_at() {
    for arguments in [&["call", "tcp://localhost:99999", "np.echo"][..], &["ping", "tcp://localhost:99999"]] {
        let ran = run(arguments);
        ran.fails_with_pointer(2, &["address `tcp://localhost:99999`: ", "a port is a number of 0 to 65535", "caret"]);
        let lines: Vec<&str> = ran.err.lines().skip(1).collect();
        assert_eq!(lines, ["  tcp://localhost:99999", "                  ^"]);
    }
    let ran = run(["call", "tpc://localhost:1", "np.echo"]);
    ran.fails_with_pointer(2, &["unknown scheme"]);
    assert_eq!(ran.err.lines().nth(2), Some("  ^"));
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    let ran = run(["serve", "--identity", &key, "--allow", &key_text(), "--listen", "tcp://[::1:9000"]);
    ran.fails_with_pointer(2, &["--listen", "closing ]"]);
    assert_eq!(ran.err.lines().nth(2), Some("                 ^"));
}

#[test]
fn a_bad_key_in_an_address_is_pointed_at() {
    let key = key_text();
    let (start, end) = key.split_at(10);
    let wrong = format!("{start}{}{}", if end.starts_with('q') { 'p' } else { 'q' }, &end[1..]);
    let ran = run(["call", &format!("tcp://127.0.0.1:1?key={wrong}"), "np.echo"]);
    ran.fails_with_pointer(2, &["checksum"]);
    assert_eq!(ran.err.lines().nth(2), Some("                        ^"));
}

#[test]
fn a_secret_where_a_public_key_belongs_is_refused_and_not_shown() {
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    for secret in [SecretKey::from_bytes([7; 32]).to_text(), Psk::from_bytes([7; 32]).to_text()] {
        let secret = secret.as_str();
        let ran = run(["call", &format!("tcp://127.0.0.1:1?key={secret}"), "np.echo"]);
        ran.fails_with_pointer(2, &["a public key (np1...) belongs here"]);
        hides(&ran.err, secret);
        let ran = run(["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", secret]);
        ran.fails(2, &["--allow", "a public key (np1...) belongs here"]);
        hides(&ran.err, secret);
        for arguments in [&["key", "show", secret][..], &[secret], &["call", secret, "np.echo"], &["keygen", secret]] {
            let ran = run(arguments);
            assert_eq!(ran.code, Some(2), "{}", ran.err);
            hides(&ran.err, secret);
        }
    }
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    let ran = run(["ping", &format!("tcp://127.0.0.1:1?key={}", key_text()), "--identity", &secret]);
    ran.fails(2, &["--identity", "looks like a secret key itself", "np keygen --out FILE"]);
    hides(&ran.err, &secret);
}

#[test]
fn a_server_asks_who_it_is_and_who_may_come() {
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    let listen = ["serve", "--listen", "tcp://127.0.0.1:0"];
    let ran = run(listen.iter().chain(&["--identity", &key]));
    ran.fails(2, &["--allow", "nobody is let in by accident", "np1...", "a file of public keys", "`anyone`"]);
    let ran = run(listen.iter().chain(&["--allow", &key_text()]));
    ran.fails(2, &["--identity", "np keygen --out server.key"]);
    run(["serve", "--identity", &key, "--allow", "anyone"]).fails(2, &["--listen <ADDR>"]);
}

#[test]
fn a_server_refuses_allow_lists_and_settings_by_name() {
    let folder = Folder::new();
    let (key, _) = folder.key("a.key");
    let serve = |more: &[&str]| {
        let start = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key];
        run(start.iter().chain(more))
    };
    serve(&["--allow", "gone.txt"]).fails(2, &["--allow", "gone.txt", "np help serve"]);
    let list = folder.file("list", "# staff\nnonsense ada\n");
    serve(&["--allow", &list]).fails(2, &["--allow", "line 2", "public key"]);
    serve(&["--allow", "np1qqqq"]).fails(2, &["--allow", "checksum"]);
    serve(&["--allow", ""]).fails(2, &["--allow", "nobody is named"]);
    let list = folder.file("empty", "# nobody yet\n");
    serve(&["--allow", &key_text(), "--allow", &list]).fails(2, &["--allow", "empty: no key is in it"]);
    serve(&["--allow", " np1qqqq"]).fails(2, &["--allow", "white space"]);
    serve(&["--allow", "anyone", "--max-connections", "0"]).fails(2, &["max_connections"]);
    serve(&["--allow", &key_text(), "--max-connections", "0"])
        .fails(2, &["max_connections", "is 0, but must be", "change its argument"]);
    serve(&["--allow", &key_text(), "--max-handshakes", "0"]).fails(2, &["max_handshakes", "change its argument"]);
    serve(&["--allow", &key_text(), "--replay-capacity", "9999"]).fails(2, &["replay_capacity", "10"]);
    serve(&["--allow", &key_text(), "--listen", "mem:here"]).fails(2, &["mem:", "choose tcp:// or unix:"]);
    serve(&["--allow", &key_text(), "--listen", "tls://localhost:1"]).fails(2, &["certificate", "--cert, --key"]);
}

#[cfg(not(windows))]
#[test]
fn what_this_system_lacks_is_named_with_the_alternative() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let lacks = ["pipe:np", "not supported", "use unix: or tcp://"];
    run(["ping", "pipe:np"]).fails(2, &lacks);
    run(["serve", "--listen", "pipe:np", "--identity", &key, "--allow", "anyone"]).fails(2, &lacks);
}

#[test]
fn an_address_with_a_key_is_not_for_just_anyone() {
    let address = format!("tcp://127.0.0.1:1?key={}", key_text());
    for command in [&["ping", &address][..], &["call", &address, "np.echo"]] {
        let ran = run(command.iter().chain(&["--danger-trust-anyone"]));
        ran.fails(2, &["--danger-trust-anyone", "names the key", "take ?key= out"]);
    }
}

#[cfg(unix)]
#[test]
fn the_name_of_a_body_file_need_not_be_text() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;
    let address = format!("tcp://127.0.0.1:1?key={}", key_text());
    let name = OsString::from_vec(b"@no/such\xff".to_vec());
    run(["call".into(), address.into(), "np.echo".into(), name]).fails(2, &["body file no/such", "cannot be read"]);
}

#[test]
fn a_body_file_that_is_not_there_is_named_before_anything_is_sent() {
    let folder = Folder::new();
    let address = format!("tcp://127.0.0.1:1?key={}", key_text());
    let ran = run(["call", &address, "np.echo", &format!("@{}", folder.arg("gone.bin"))]);
    ran.fails(2, &["body file", "gone.bin", "cannot be read", "name a file behind the @"]);
    run(["call", &address, "np.echo", &format!("@{}", folder.path("").display())]).fails(2, &["body file"]);
    run(["call", &address, "no spaces", "x"]).fails(2, &["no spaces", "np.methods"]);
}

fn key_text() -> String {
    Identity::generate().unwrap().public_key().to_string()
}

#[track_caller]
fn hides(shown: &str, secret: &str) {
    let letters: Vec<char> = secret.chars().skip(7).collect();
    for part in letters.windows(12) {
        assert!(!shown.contains(&String::from_iter(part)), "the secret is shown: {shown}");
    }
}
