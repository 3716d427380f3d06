//! A server under a service manager: what it tells, the sockets that it takes over, and the files that come for this.

use std::io::{BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::{Folder, Ran, finish, np, run, send};

/// A server that ends with the test that started it, however that ends.
struct Started(Option<Child>);

impl Started {
    fn of(command: &mut Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    /// What came of it, once it has ended by itself.
    fn finish(mut self) -> Ran {
        finish(self.0.take().unwrap())
    }
}

impl Deref for Started {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.0.as_ref().unwrap()
    }
}

impl DerefMut for Started {
    fn deref_mut(&mut self) -> &mut Child {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The next words that differ from signs of life.
fn words(manager: &UnixDatagram) -> String {
    loop {
        let said = hear(manager);
        if said != "WATCHDOG=1" {
            return said;
        }
    }
}

fn hear(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    let length = manager.recv(&mut bytes).expect("the manager is told in time");
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

/// A server that is told of a manager, to its end.
fn check_manager(name: &str, manager: &UnixDatagram) {
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let mut command = np(["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"]);
    let mut child = Started::of(command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", "200000"));
    assert_eq!(hear(manager), "READY=1\nSTATUS=serving at 1 address");
    assert!(first_line(&mut child).starts_with("listening "), "ready means that it listens");
    for _ in 0..3 {
        assert_eq!(hear(manager), "WATCHDOG=1");
    }
    send(&child, Signal::TERM);
    assert_eq!(words(manager), "STOPPING=1\nSTATUS=draining");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_manager_hears_that_the_server_is_ready_alive_and_stopping() {
    let folder = Folder::new();
    let name = folder.arg("notify");
    check_manager(&name, &UnixDatagram::bind(&name).unwrap());
}

#[test]
fn a_manager_may_have_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("np-test-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    check_manager(&format!("@{name}"), &UnixDatagram::bind_addr(&address).unwrap());
}

#[test]
fn a_manager_that_cannot_be_told_stops_no_server() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let gone = folder.arg("gone");
    for (name, said) in [("relative", "NOTIFY_SOCKET"), (&*gone, "was not told")] {
        let arguments = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
        let mut child = Started::of(np(arguments).env("NOTIFY_SOCKET", name));
        let line = first_line(&mut child);
        assert_eq!(run(["call", line.strip_prefix("listening ").unwrap(), "np.echo", "hello"]).ok(), "hello");
        send(&child, Signal::TERM);
        let ran = child.finish();
        assert!(ran.code == Some(0) && ran.err.contains(said), "{}", ran.err);
    }
}

/// Starts `np serve` as a manager does that has bound a socket: it is the file 3 of the process.
fn activated(socket: OwnedFd, listen: &str, key: &str) -> Started {
    let script = r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve --listen "$1" --identity "$2" --allow anyone"#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_np"), listen, key])
        .stdin(Stdio::from(socket))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Started::of(&mut command)
}

#[test]
fn sockets_that_a_manager_hands_over_are_served_and_kept() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let path = folder.arg("np.sock");
    let unix = UnixListener::bind(&path).unwrap();
    let cases: [(OwnedFd, String); 2] =
        [(tcp.into(), format!("tcp://127.0.0.1:{port}")), (unix.into(), format!("unix:{path}"))];
    for (socket, listen) in cases {
        let kept = socket.try_clone().unwrap();
        let mut child = activated(socket, &listen, &key);
        let line = first_line(&mut child);
        let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{line}"));
        assert!(address.starts_with(&listen), "{address}");
        assert_eq!(run(["call", address, "np.echo", "hello"]).ok(), "hello");
        send(&child, Signal::TERM);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        drop(kept);
    }
    assert!(std::path::Path::new(&path).exists(), "the file is the manager's");
}

#[test]
fn sockets_that_no_argument_names_are_refused() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let socket = || OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    activated(socket(), "tcp://127.0.0.1:0", &key)
        .finish()
        .fails(2, &["LISTEN_FDS", "no --listen names", "127.0.0.1:"]);
    let datagrams = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    activated(datagrams, "tcp://127.0.0.1:0", &key).finish().fails(2, &["LISTEN_FDS", "no socket that listens"]);
    // They are for the process that LISTEN_PID names.
    let arguments = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
    let mut child = Started::of(np(arguments).env("LISTEN_FDS", "7").env("LISTEN_PID", "1"));
    assert!(first_line(&mut child).starts_with("listening "));
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_deployment_files_name_flags_that_exist() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
    let helps = ["serve", "health"].map(|command| (command, run(["help", command]).ok()));
    let mut seen = 0;
    for file in ["np.service", "Containerfile", "kubernetes.yaml"] {
        let text = std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
        for line in text.replace(['"', ',', '[', ']'], " ").lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            let Some((command, help)) = helps.iter().find(|(command, _)| words.contains(command)) else { continue };
            let begins = words.iter().position(|word| word == command).unwrap();
            for flag in words[begins..].iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{file}: np {command} has no {flag}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} flags were found");
}
