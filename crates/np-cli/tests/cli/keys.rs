//! keygen, key show, and key files that cannot be used.

use np_facade::{Psk, SecretKey, SignKey, VerifyKey};
use serde_json::json;

use crate::support::{Folder, run};

#[test]
fn keygen_prints_the_public_key_alone_and_show_prints_it_again() {
    let folder = Folder::new();
    let file = folder.arg("a.key");
    let ran = run(["keygen", "--out", &file]);
    assert_eq!(ran.err, "");
    let public = ran.ok();
    assert!(public.starts_with("np1") && public.ends_with('\n') && public.lines().count() == 1, "{public}");
    assert_eq!(run(["key", "show", &file]).ok(), public);
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(secret.starts_with("npsec1"));
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn keygen_makes_another_key_each_time() {
    let folder = Folder::new();
    let one = run(["keygen", "--out", &folder.arg("a.key")]).ok();
    assert_ne!(one, run(["keygen", "--out", &folder.arg("b.key")]).ok());
}

#[test]
fn keygen_never_overwrites() {
    let folder = Folder::new();
    for psk in [false, true] {
        let file = folder.file("mine", "precious");
        let mut arguments = vec!["keygen", "--out", &file];
        arguments.extend(psk.then_some("--psk"));
        run(arguments).fails(2, &["mine", "exists and is never overwritten", "choose another name"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}

#[test]
fn keygen_names_a_folder_that_is_not_there() {
    let folder = Folder::new();
    run(["keygen", "--out", &folder.arg("no/a.key")]).fails(2, &["no/a.key", "folder does not exist", "make it"]);
}

#[test]
fn a_pre_shared_key_is_shown_by_its_id_alone() {
    let folder = Folder::new();
    let file = folder.arg("a.psk");
    let id = run(["keygen", "--psk", "--out", &file]).ok();
    assert_eq!(id.trim_end().len(), 16);
    assert!(id.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(run(["key", "show", &file]).ok(), id);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.trim_end().parse::<Psk>().is_ok());
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn a_signing_key_is_shown_by_its_public_half_alone() {
    let folder = Folder::new();
    let file = folder.arg("a.sign");
    let public = run(["keygen", "--signing", "--out", &file]).ok();
    assert!(public.trim_end().parse::<VerifyKey>().is_ok(), "{public}");
    assert_ne!(public, run(["keygen", "--signing", "--out", &folder.arg("b.sign")]).ok());
    assert_eq!(run(["key", "show", &file]).ok(), public);
    let shown = run(["key", "show", "-o", "json", &file]).ok_json();
    assert_eq!(shown, json!({ "kind": "signing-key", "verify_key": public.trim_end() }));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.trim_end().parse::<SignKey>().is_ok());
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
    // It proves no connection, and is masked where it is pasted.
    run(["ping", "--identity", &file, "--danger-trust-anyone", "tcp://127.0.0.1:1"])
        .fails(2, &["a.sign", "a SECRET signing key"]);
    let pasted = run(["cluster", "run", "--name", "a", "--signing-key", text.trim_end()]);
    assert!(!pasted.err.contains(&text.trim_end()[12..]), "{}", pasted.err);
    run(["keygen", "--signing", "--psk", "--out", &folder.arg("c")]).fails(2, &["--psk"]);
}

#[test]
fn json_names_what_is_what() {
    let folder = Folder::new();
    let (key, psk) = (folder.arg("a.key"), folder.arg("a.psk"));
    let made = run(["keygen", "--json", "--out", &key]).ok_json();
    let public = run(["key", "show", &key]).ok();
    assert_eq!(made, json!({ "kind": "secret-key", "public_key": public.trim_end(), "file": key }));
    let made = run(["keygen", "--psk", "-o", "json", "--out", &psk]).ok_json();
    let id = run(["key", "show", &psk]).ok();
    assert_eq!(made, json!({ "kind": "psk", "psk_id": id.trim_end(), "file": psk }));
    let shown = run(["--json", "key", "show", &key]).ok_json();
    assert_eq!(shown, json!({ "kind": "secret-key", "public_key": public.trim_end() }));
    let shown = run(["key", "show", "-o", "json", &psk]).ok_json();
    assert_eq!(shown, json!({ "kind": "psk", "psk_id": id.trim_end() }));
}

#[test]
fn files_that_are_no_key_files_are_named() {
    let folder = Folder::new();
    let show = |file: &str| run(["key", "show", file]);
    show(&folder.arg("gone")).fails(2, &["gone", "does not exist", "np keygen --out"]);
    let private = |name: &str, content: &str| {
        let file = folder.file(name, content);
        #[cfg(unix)]
        set_mode(&file, 0o600);
        file
    };
    show(&private("note", "hello\n"))
        .fails(2, &["note", "line 1", "does not begin as a SECRET key (npsec1...)", "np keygen"]);
    show(&private("empty", "")).fails(2, &["empty", "holds no key", "np keygen"]);
    let (_, public) = folder.key("a.key");
    show(&private("public", &public.to_string())).fails(2, &["public", "a SECRET key", "np keygen"]);
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    show(&private("two", &format!("{0}\n{0}\n", *secret))).fails(2, &["two", "line 2", "one key per file"]);
    show(folder.path("").to_str().unwrap()).fails(2, &["is a folder"]);
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_may_read_is_refused_by_every_command() {
    let folder = Folder::new();
    let (file, public) = folder.key("a.key");
    let parts = ["a.key", "0644", "chmod 600", "--danger-key-mode"];
    set_mode(&file, 0o644);
    run(["key", "show", &file]).fails(2, &parts);
    let address = format!("tcp://127.0.0.1:1?key={public}");
    run(["call", &address, "np.echo", "--identity", &file]).fails(2, &parts);
    run(["ping", &address, "--identity", &file]).fails(2, &parts);
    let serve = ["serve", "--listen", "tcp://127.0.0.1:0", "--allow", "anyone", "--identity", &file];
    let refused = run(serve);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("chmod 600"), "{}", refused.err);
    let shown = run(["key", "show", "--danger-key-mode", &file]).ok();
    assert_eq!(shown.trim_end(), public.to_string());
    run(["call", &address, "np.echo", "--identity", &file, "--danger-key-mode"]).fails(3, &["nobody listens"]);
    set_mode(&file, 0o400);
    run(["key", "show", &file]).ok();
}

#[cfg(unix)]
#[test]
fn what_is_no_secret_key_file_gets_no_advice_about_its_mode() {
    let folder = Folder::new();
    let (key, public) = folder.key("a.key");
    let device = run(["key", "show", "/dev/null"]);
    device.fails(2, &["/dev/null", "neither a file nor a pipe"]);
    let file = folder.file("a.pub", format!("# staff\n{public} ada\n"));
    set_mode(&file, 0o644);
    let shown = run(["key", "show", &file]);
    shown.fails(2, &["a.pub", "holds a public key, where a secret key belongs"]);
    assert!(!device.err.contains("chmod") && !shown.err.contains("chmod"), "{} {}", device.err, shown.err);
    let pipe = pipe(&folder);
    let child = crate::support::np(["key", "show", &pipe]).spawn().unwrap();
    std::fs::write(&pipe, std::fs::read(&key).unwrap()).unwrap();
    assert_eq!(crate::support::finish(child).ok().trim_end(), public.to_string());
}

#[cfg(unix)]
#[test]
fn a_signal_ends_what_waits_for_a_pipe() {
    use rustix::process::Signal;
    let folder = Folder::new();
    let pipe = pipe(&folder);
    let (key, public) = folder.key("a.key");
    let address = format!("tcp://127.0.0.1:1?key={public}");
    let listen = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity"];
    for signal in [Signal::INT, Signal::TERM] {
        for arguments in [
            &["key", "show", &pipe][..],
            &["call", &address, "np.echo", "--identity", &pipe],
            &["call", &address, "np.echo", &format!("@{pipe}")],
            &["ping", &address, "--identity", &pipe],
            &[listen[0], listen[1], listen[2], listen[3], &pipe, "--allow", "anyone"],
            &[listen[0], listen[1], listen[2], listen[3], &key, "--allow", &pipe],
        ] {
            let child = crate::support::np(arguments).spawn().unwrap();
            // This end opens only once the other end is being opened, and signals are heard by then.
            let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            crate::support::send(&child, signal);
            let ran = crate::support::finish(child);
            drop(writer);
            assert_eq!((ran.code, ran.err.as_str()), (Some(130), "np: interrupted: stopped before the end\n"));
        }
    }
}

#[cfg(unix)]
fn pipe(folder: &Folder) -> String {
    let path = folder.arg("pipe");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600", &path]).status().unwrap().success());
    path
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_is_followed_to_the_file_that_is_checked() {
    let folder = Folder::new();
    let (file, public) = folder.key("a.key");
    std::os::unix::fs::symlink(&file, folder.path("link")).unwrap();
    assert_eq!(run(["key", "show", &folder.arg("link")]).ok().trim_end(), public.to_string());
    set_mode(&file, 0o604);
    run(["key", "show", &folder.arg("link")]).fails(2, &["link", "0604"]);
    run(["keygen", "--out", &folder.arg("link")]).fails(2, &["link", "never overwritten"]);
}

#[cfg(unix)]
fn mode(file: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[cfg(unix)]
fn set_mode(file: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
}
