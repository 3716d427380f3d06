//! `np config`, and `np serve` with a file: which value counts, what is refused, what changes while it runs.

use std::path::PathBuf;

use np_facade::{Client, Config, Error, ErrorKind, Identity};
use tokio::runtime::Runtime;

use crate::monitoring::get;
use crate::support::{Folder, Serve, np, run};

/// A file for a server with a fresh key, and more lines of `[server]`.
fn server_file(folder: &Folder, allow: &str, more: &str) -> String {
    let key = folder.arg("server.key");
    if !folder.path("server.key").exists() {
        folder.key("server.key");
    }
    let text = format!("[server]\naddress = \"tcp://127.0.0.1:0\"\nidentity = {key:?}\nallow = {allow:?}\n{more}");
    folder.file("np.toml", text)
}

fn serve(file: &str) -> Serve {
    Serve::spawn(&mut np(["serve", "--config", file]), 1)
}

async fn connect(serve: &Serve) -> Result<Client, Error> {
    Client::connect(serve.address()).await
}

/// How many clients a server takes at once, up to three.
fn takes(serve: &Serve) -> usize {
    Runtime::new().unwrap().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            match connect(serve).await {
                Ok(client) => clients.push(client),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
                    break;
                }
            }
        }
        let taken = clients.len();
        for client in clients {
            client.close().await;
        }
        taken
    })
}

#[test]
fn a_file_is_checked_and_everything_that_is_wrong_is_told() {
    let folder = Folder::new();
    let good = folder.file("good.toml", "[server]\nbacklog = 5\n[transport]\nmax_message = \"1MiB\"\n");
    assert_eq!(run(["config", "check", &good]).ok(), format!("{good}: 2 settings, all of which can be used\n"));
    assert_eq!(run(["config", "check", &good, "--json"]).ok_json()["settings"], 2);
    let bad = folder.file("bad.toml", "[server]\nbaklog = 5\n");
    let hint =
        format!("{bad}:2: server.baklog (NP_SERVER__BAKLOG): there is no such setting; did you mean server.backlog?");
    run(["config", "check", &bad]).fails(2, &[&hint, "np config print --defaults"]);
    let worse = folder.file("worse.toml", "[server]\nbaklog = 5\nmax_connections = 0\n");
    let ran = run(["config", "check", &worse]);
    ran.fails_with_pointer(2, &["2 mistakes"]);
    let lines: Vec<&str> = ran.err.lines().skip(1).collect();
    assert!(lines.len() == 2 && lines[1].contains("worse.toml:3: server.max_connections"), "{lines:?}");
    run(["config", "check", "gone.toml"]).fails(2, &["gone.toml: cannot be read"]);
    let ran = np(["config", "check", &good]).env("NP_SERVER__BACKLOG", "none").output().unwrap();
    let err = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(err.contains("environment, over") && err.contains("server.backlog (NP_SERVER__BACKLOG)"), "{err}");
}

#[test]
fn settings_are_printed_with_the_layer_that_they_come_from() {
    let folder = Folder::new();
    let file = folder.file("np.toml", "[server]\nbacklog = 5\nmax_handshakes = 5\n");
    let print = |arguments: &[&str]| {
        let ran =
            np(["config", "print"].iter().chain(arguments)).env("NP_SERVER__MAX_HANDSHAKES", "6").output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let text = print(&["--sources", &file]);
    for line in [
        format!("backlog = 5 # {file}:2"),
        "max_handshakes = 6 # environment (NP_SERVER__MAX_HANDSHAKES)".to_owned(),
        "max_connections = 16384 # default".to_owned(),
    ] {
        assert!(text.lines().any(|printed| printed == line), "no `{line}` in {text}");
    }
    let again = Config::parse(&print(&[&file]), "printed").unwrap();
    assert_eq!((again.server.backlog, again.server.max_handshakes), (5, 6));
    let json: serde_json::Value = serde_json::from_str(&print(&["--json", &file])).unwrap();
    assert_eq!(json["server.backlog"]["value"], "5");
    run(["config", "print", "--defaults", &file]).fails(2, &["--defaults"]);
}

#[test]
fn the_printed_defaults_are_the_sample_of_the_documents() {
    let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/np.sample.toml");
    let sample = std::fs::read_to_string(sample).unwrap().replace("\r\n", "\n");
    assert_eq!(
        np(["config", "print", "--defaults"]).env("NP_SERVER__BACKLOG", "7").output().unwrap().stdout,
        sample.as_bytes()
    );
    let defaults = run(["config", "print", "--defaults", "--sources"]).ok();
    assert!(defaults.contains("\nbacklog = 1024 # default\n"), "{defaults}");
}

#[test]
fn a_file_a_variable_and_an_argument_reach_the_server_and_the_later_wins() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "max_connections = 1\n");
    assert_eq!(takes(&serve(&file)), 1);
    let with_variable = || {
        let mut command = np(["serve", "--config", &file]);
        command.env("NP_SERVER__MAX_CONNECTIONS", "2");
        command
    };
    assert_eq!(takes(&Serve::spawn(&mut with_variable(), 1)), 2);
    assert_eq!(takes(&Serve::spawn(with_variable().args(["--max-connections", "3"]), 1)), 3);
    // Without a file, too.
    let (key, _) = folder.key("other.key");
    let mut command = np(["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key]);
    command.env("NP_SERVER__ALLOW", "anyone").env("NP_SERVER__MAX_CONNECTIONS", "1");
    assert_eq!(takes(&Serve::spawn(&mut command, 1)), 1);
}

#[test]
fn a_server_whose_file_is_wrong_says_where_and_does_not_start() {
    let folder = Folder::new();
    for (allow, more, parts) in [
        (
            "anyone",
            "max_connections = \"1\"\n",
            &["np.toml:5: server.max_connections (NP_SERVER__MAX_CONNECTIONS)"][..],
        ),
        ("gone.txt", "", &["np.toml:4: server.allow (NP_SERVER__ALLOW)", "gone.txt"]),
        ("anyone", "psk = \"gone.psk\"\n", &["np.toml:5: server.psk (NP_SERVER__PSK)", "gone.psk"]),
        (
            "anyone",
            "tls_cert = \"a\"\ntls_key = \"b\"\n",
            &["np.toml:5: server.tls_cert", "no server.address is tls://"],
        ),
    ] {
        let file = server_file(&folder, allow, more);
        run(["serve", "--config", &file]).fails(2, parts);
    }
    let file = folder.file("np.toml", "[server]\nallow = \"anyone\"\n");
    run(["serve", "--config", &file]).fails(2, &["server.address", "--listen <ADDR>"]);
}

#[test]
fn the_level_of_the_log_is_the_files_unless_an_argument_says_otherwise() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "[logging]\nlevel = \"info\"\n");
    let mut server = serve(&file);
    assert_eq!(takes(&server), 3);
    server.wait_for("connected");
    // And while it runs.
    server_file(&folder, "anyone", "[logging]\nlevel = \"error\"\n");
    server.wait_for("reload: changed logging.level");
    assert_eq!(takes(&server), 3);
    server.kill();
    let rest = server.rest();
    assert!(!rest.contains("connected"), "{rest}");
}

#[test]
fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "max_connections = 1\n");
    let mut server = serve(&file);
    assert_eq!(takes(&server), 1);
    server_file(&folder, "anyone", "max_connections = 2\nbacklog = 5\n");
    let told = server.wait_for("reload: ");
    assert!(told.contains("changed server.max_connections; restart for server.backlog"), "{told}");
    assert_eq!(takes(&server), 2);
    server_file(&folder, "anyone", "max_connections = 3\nbaklog = 5\n");
    let audited = server.wait_for("nothing was reloaded");
    assert!(audited.contains("np::audit") && audited.contains("baklog"), "{audited}");
    let told = server.wait_for("reload: ");
    assert!(told.contains("nothing has changed") && told.contains("np.toml:6: server.baklog"), "{told}");
    assert_eq!(takes(&server), 2);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_reads_the_files_again_and_drains_nothing() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "max_connections = 1\n");
    let mut server = serve(&file);
    server.signal(rustix::process::Signal::HUP);
    let told = server.wait_for("reload: ");
    assert!(told.contains("no setting has changed"), "{told}");
    assert_eq!(takes(&server), 1);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.code(), Some(0));
}

#[test]
fn a_key_that_is_taken_off_the_list_is_cut_from_its_connection() {
    let folder = Folder::new();
    let ada = Identity::generate().unwrap();
    let bob = Identity::generate().unwrap();
    let list = folder.file("staff", format!("{} ada\n{} bob\n", ada.public_key(), bob.public_key()));
    let file = server_file(&folder, &list, "");
    let server = serve(&file);
    Runtime::new().unwrap().block_on(async {
        let connect =
            |identity: Identity| Client::builder(server.address()).identity(identity).auto_reconnect(false).connect();
        let (one, other) = (connect(ada.clone()).await.unwrap(), connect(bob).await.unwrap());
        folder.file("staff", format!("{} ada\n", ada.public_key()));
        let error = other.closed().await;
        assert!(error.to_string().contains("no longer allowed"), "{error}");
        assert_eq!(one.call("np.echo", "still here").await.unwrap(), "still here");
    });
}

#[test]
fn the_log_is_written_as_the_file_says_unless_an_argument_says_otherwise() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "[logging]\nlevel = \"info\"\nformat = \"json\"\n");
    let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
    let mut server = serve(&file);
    assert_eq!(takes(&server), 3);
    assert!(is_json(&server.wait_for("connected")));
    // A new form waits for the next start, and is told.
    server_file(&folder, "anyone", "[logging]\nlevel = \"info\"\n");
    let told = server.wait_for("reload: ");
    assert!(told.contains("restart for logging.format") && is_json(&told), "{told}");
    server_file(&folder, "anyone", "[logging]\nlevel = \"info\"\nformat = \"json\"\n");
    let mut server = Serve::spawn(&mut np(["serve", "--config", &file, "--log-format", "text"]), 1);
    assert_eq!(takes(&server), 3);
    assert!(!is_json(&server.wait_for("connected")));
}

#[test]
fn monitors_are_served_where_the_file_says_unless_an_argument_says_otherwise() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "metrics = \"127.0.0.1:0\"\n");
    let mut server = serve(&file);
    let line = server.line();
    let host = line.strip_prefix("metrics http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    assert_eq!(takes(&server), 3);
    let figures = get(host, "/metrics").1;
    assert!(figures.contains("np_connections_total{side=\"server\"} 3\n"), "{figures}");
    // An address that is taken is the file's mistake, and one of an argument the argument's.
    let taken = server_file(&folder, "anyone", &format!("metrics = {host:?}\n"));
    run(["serve", "--config", &taken]).fails(7, &["np.toml:5: server.metrics (NP_SERVER__METRICS)", "cannot listen"]);
    let mut other = Serve::spawn(&mut np(["serve", "--config", &taken, "--metrics", "127.0.0.1:0"]), 1);
    assert!(other.line().starts_with("metrics http://127.0.0.1:"));
}

#[test]
fn a_server_tells_how_it_does_whom_the_file_says_and_follows_it() {
    let folder = Folder::new();
    let ((one, one_key), (other, other_key)) = (folder.key("one.key"), folder.key("other.key"));
    let file = server_file(&folder, "anyone", &format!("status_allow = \"{one_key}\"\n"));
    let mut server = serve(&file);
    let ask = |server: &Serve, key: &str| run(["status", server.address(), "--identity", key, "--interval", "0s"]).code;
    assert_eq!((ask(&server, &one), ask(&server, &other)), (Some(0), Some(1)));
    server_file(&folder, "anyone", &format!("status_allow = \"{other_key}\"\n"));
    let told = server.wait_for("reload: ");
    assert!(told.contains("changed server.status_allow"), "{told}");
    assert_eq!((ask(&server, &one), ask(&server, &other)), (Some(1), Some(0)));
    // Arguments go before the file.
    let mut command = np(["serve", "--config", &file, "--status-allow", &one_key.to_string()]);
    let server = Serve::spawn(&mut command, 1);
    assert_eq!((ask(&server, &one), ask(&server, &other)), (Some(0), Some(1)));
}

#[cfg(unix)]
#[test]
fn the_delay_of_a_drain_is_the_files_unless_an_argument_says_otherwise() {
    let folder = Folder::new();
    let file = server_file(&folder, "anyone", "drain_delay = \"1h\"\n");
    let mut server = serve(&file);
    server.signal(rustix::process::Signal::TERM);
    let told = server.wait_for("not ready");
    assert!(told.contains("in 3600s"), "{told}");
    assert_eq!(run(["health", server.address()]).code, Some(1), "it goes on, and says that it ends");
    let mut server = Serve::spawn(&mut np(["serve", "--config", &file, "--drain-delay", "0s"]), 1);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.code(), Some(0));
}
