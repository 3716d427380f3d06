//! cert dev: the files, their modes, what they are good for, and what is left when it fails.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use np_facade::raw::transport::{BindOptions, ConnectOptions, Listener, TlsClient, TlsServer, connect_with};
use serde_json::Value;
use tokio::runtime::Runtime;

#[cfg(unix)]
use crate::support::np;
use crate::support::{Folder, Ran, run};

const FILES: [&str; 6] = ["ca-key.pem", "ca.pem", "client-key.pem", "client.pem", "server-key.pem", "server.pem"];

/// The names in a folder, in order.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn made(folder: &Folder, more: &[&str]) -> Value {
    let out = folder.arg("dev");
    run(["cert", "dev", "--json", "--out", &out].iter().chain(more)).ok_json()
}

#[test]
fn cert_dev_makes_six_files_and_prints_no_key() {
    let folder = Folder::new();
    let out = folder.arg("dev");
    for json in [false, true] {
        let ran = run(["cert", "dev", "--out", &out].into_iter().chain(json.then_some("--json")));
        assert_eq!(names(&out), FILES);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        // With one kind of slash, whatever the system's is, and however JSON writes it.
        let slashes = |text: String| text.replace(r"\\", "/").replace('\\', "/");
        let warning = slashes(ran.err.clone());
        assert!(warning.starts_with("np: warning: for development alone") && warning.contains("dev/ca-key.pem"));
        let printed = warning + &slashes(ran.ok());
        for name in FILES {
            let text = fs::read_to_string(folder.path("dev").join(name)).unwrap();
            let kind = if name.ends_with("-key.pem") { "PRIVATE KEY" } else { "CERTIFICATE" };
            assert!(text.lines().next() == Some(&format!("-----BEGIN {kind}-----")), "{name}");
            assert_eq!(text.matches("-----BEGIN").count(), 1, "{name}");
            assert!(printed.contains(&format!("dev/{name}")), "{printed}");
            assert!(text.lines().all(|line| !printed.contains(line)), "{name} was printed");
        }
        fs::remove_dir_all(&out).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn keys_are_their_owners_alone_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (umask, shared) in [("0", 0o666), ("022", 0o644), ("077", 0o600)] {
        let out = folder.path(umask);
        let script = r#"umask "$1"; exec "$0" cert dev --out "$2""#;
        run_command(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_np"), umask]).arg(&out)).ok();
        assert_eq!(mode(&out), 0o700);
        for name in FILES {
            let wanted = if name.ends_with("-key.pem") { 0o600 } else { shared };
            assert_eq!(mode(&out.join(name)), wanted, "{umask} {name}");
        }
    }
}

#[test]
fn cert_dev_never_overwrites_and_then_writes_nothing() {
    for name in FILES {
        let folder = Folder::new();
        let file = folder.file(name, "precious");
        let out = folder.arg("");
        let parts = [name, "exists and is never overwritten", "choose another folder"];
        run(["cert", "dev", "--out", &out]).fails(2, &parts);
        assert_eq!(names(&out), [name]);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        #[cfg(unix)]
        {
            fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink(folder.path("nowhere"), &file).unwrap();
            run(["cert", "dev", "--out", &out]).fails(2, &parts);
            assert_eq!(names(&out), [name]);
        }
    }
}

#[test]
fn a_folder_that_is_there_is_taken_with_what_is_in_it() {
    let folder = Folder::new();
    folder.file("mine", "precious");
    run(["cert", "dev", "--out", &folder.arg("")]).ok();
    assert_eq!(names(folder.path("")).len(), 7);
}

#[test]
fn a_wrong_name_is_refused_by_name_and_nothing_is_made() {
    let folder = Folder::new();
    let out = folder.arg("dev");
    for (san, shown) in [("a b", "`a b`"), ("", "``"), ("db.test,,x", "``"), ("db.test,1.2.3", "`1.2.3`")] {
        run(["cert", "dev", "--out", &out, "--san", san]).fails(2, &["--san", shown, "DNS name", "write it as"]);
    }
    run(["cert", "dev", "--out", &out, "--san", "a\u{1b}[2J"]).fails(2, &["`a\\u{1b}[2J`"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn json_names_files_pins_and_commands() {
    let folder = Folder::new();
    let value = made(&folder, &[]);
    let object = value.as_object().unwrap();
    let text = |key: &str| object[key].as_str().unwrap().to_owned();
    for name in FILES {
        let key = name.trim_end_matches(".pem").replace('-', "_");
        assert_eq!(Path::new(&text(&key)), folder.path("dev").join(name));
    }
    let (pin, spki) = (text("server_pin"), text("client_spki"));
    let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(pin.strip_prefix("sha256:").is_some_and(is_hex) && is_hex(&spki), "{pin} {spki}");
    let commands: Vec<&str> = object["commands"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert_eq!(commands.len(), 3);
    assert_eq!(object.len(), 9);
    assert!(commands[0].starts_with("np serve --listen tls://127.0.0.1:9443 --cert "), "{}", commands[0]);
    assert!(commands[1].starts_with("np call tls://127.0.0.1:9443 np.echo hello --ca "), "{}", commands[1]);
    assert!(commands[2].contains(&format!("tls://127.0.0.1:9443?pin={pin}")), "{}", commands[2]);
    assert!(!commands[2].contains("--ca "), "{}", commands[2]);
}

#[test]
fn text_names_the_pins_and_the_commands() {
    let folder = Folder::new();
    let text = run(["cert", "dev", "--out", &folder.arg("dev"), "--san", "db.test,192.0.2.7", "--san", "x.test"]).ok();
    let begins = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    for start in ["pin=sha256:", "spki:", "np serve --listen tls://"] {
        assert_eq!(begins(start), 1, "{text}");
    }
    assert_eq!(begins("np call "), 2, "{text}");
    assert!(text.contains("for localhost, 127.0.0.1, ::1, db.test, 192.0.2.7, x.test\n"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_shell_takes_the_commands_as_they_are_printed() {
    let folder = Folder::new();
    for (name, leading) in [("it's mine $HOME", ""), ("-dash", "./")] {
        let out = format!("--out={name}");
        let ran = run_command(np(["cert", "dev", "--json", &out]).current_dir(folder.path("")));
        let value: Value = serde_json::from_str(&ran.ok()).unwrap();
        for command in value["commands"].as_array().unwrap() {
            let script = format!(r#"np() {{ printf '%s\n' "$@"; }}; {}"#, command.as_str().unwrap());
            let words = run_command(Command::new("sh").args(["-c", &script])).ok();
            let paths: Vec<&str> = words.lines().filter(|word| word.ends_with(".pem")).collect();
            assert!(paths.len() >= 2, "{words}");
            for path in paths {
                assert!(path.starts_with(&format!("{leading}{name}/")), "{path}");
                assert!(folder.path(path).exists(), "{path}");
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn the_name_of_a_folder_moves_no_cursor() {
    let folder = Folder::new();
    let out = folder.arg("a\u{1b}[2J");
    let ran = run(["cert", "dev", "--out", &out]);
    assert!(!ran.err.contains('\u{1b}'), "{}", ran.err);
    assert!(!ran.ok().contains('\u{1b}'));
    run(["cert", "dev", "--out", &out]).fails(2, &["a\\u{1b}[2J"]);
}

#[test]
fn the_files_prove_both_ends_under_every_name() {
    let folder = Folder::new();
    let value = made(&folder, &["--san", "db.test,192.0.2.7", "--san", "2001:db8::7"]);
    let read = |key: &str| fs::read_to_string(value[key].as_str().unwrap()).unwrap();
    let server = TlsServer::builder().certificate_pem(read("server"), read("server_key")).client_ca_pem(read("ca"));
    let client = TlsClient::builder().ca_pem(read("ca")).client_certificate_pem(read("client"), read("client_key"));
    let (server, client) = (server.build().unwrap(), client.build().unwrap());
    assert_eq!(value["server_pin"], format!("sha256:{}", server.pins()[0]));
    Runtime::new().unwrap().block_on(async {
        let listen = BindOptions { tls: Some(server), ..BindOptions::default() };
        let listener = Listener::bind(&"tls://127.0.0.1:0".parse().unwrap(), &listen).await.unwrap();
        let address = listener.local_address().without_keys();
        let options = ConnectOptions { tls: Some(client), ..Default::default() };
        for name in ["localhost", "127.0.0.1", "::1", "db.test", "192.0.2.7", "2001:db8::7", "other.test"] {
            let address = format!("{address}?name={name}").parse().unwrap();
            let (near, far) = tokio::join!(connect_with(&address, &options), listener.accept());
            assert_eq!(near.is_ok(), name != "other.test", "{name}");
            if let (Ok(_), Ok(far)) = (near, far) {
                let spki = format!("spki:{}", value["client_spki"].as_str().unwrap());
                assert_eq!(far.identity.to_string(), spki, "{name}");
            }
        }
    });
}

#[test]
fn openssl_finds_the_names_and_the_chain() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: openssl is not here, so nobody but np itself has looked at the certificates");
        return;
    }
    let folder = Folder::new();
    let value = made(&folder, &["--san", "db.test", "--san", "192.0.2.7"]);
    let file = |key: &str| value[key].as_str().unwrap().to_owned();
    let openssl = |arguments: &[&str]| run_command(Command::new("openssl").args(arguments)).ok();
    let names = openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in", &file("server")]);
    for name in ["DNS:localhost", "IP Address:127.0.0.1", "DNS:db.test", "IP Address:192.0.2.7"] {
        assert!(names.contains(name), "{names}");
    }
    for (purpose, leaf) in [("sslserver", "server"), ("sslclient", "client")] {
        let said = openssl(&["verify", "-x509_strict", "-purpose", purpose, "-CAfile", &file("ca"), &file(leaf)]);
        assert!(said.ends_with("OK\n"), "{said}");
        let public = openssl(&["x509", "-noout", "-pubkey", "-in", &file(leaf)]);
        assert_eq!(openssl(&["pkey", "-pubout", "-in", &file(&format!("{leaf}_key"))]), public);
    }
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let folder = Folder::new();
    let file = folder.file("file", "precious");
    run(["cert", "dev", "--out", &folder.arg("no/dev")]).fails(2, &["no/dev", "does not exist", "make it first"]);
    run(["cert", "dev", "--out", &file]).fails(2, &["file", "in the place of a folder", "name another"]);
    run(["cert", "dev"]).fails(2, &["--out"]);
    assert_eq!(names(folder.path("")), ["file"]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written_is_7() {
    use std::os::unix::fs::PermissionsExt as _;

    if rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: root may write everywhere; that a failure is 7 is tested with a limit of file sizes");
        return;
    }
    let folder = Folder::new();
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o500)).unwrap();
    for name in ["", "dev"] {
        run(["cert", "dev", "--out", &folder.arg(name)]).fails(7, &["cannot be written", "who may write there"]);
    }
    fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(names(folder.path("")), [""; 0]);
}

#[cfg(unix)]
#[test]
fn half_done_work_is_removed_and_is_7() {
    let folder = Folder::new();
    // 1 KiB holds the authority and the keys, and no server with so many names.
    let many = (0..60).map(|at| format!("host-{at}.example.test")).collect::<Vec<_>>().join(",");
    let script = r#"trap '' XFSZ; ulimit -f 2; exec "$0" cert dev --out "$1" --san "$2""#;
    for (out, kept) in [("new", None), ("", Some("mine"))] {
        if let Some(name) = kept {
            folder.file(name, "precious");
        }
        let limited =
            run_command(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_np"), &folder.arg(out), &many]));
        limited.fails(7, &["server.pem", "cannot be written", "check the disk"]);
        assert_eq!(names(folder.path("")), Vec::from_iter(kept));
    }
}

/// Runs another command to its end.
fn run_command(command: &mut Command) -> Ran {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    crate::support::finish(command.spawn().unwrap())
}
