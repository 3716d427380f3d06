//! A server's life: what it prints, whom it lets in, how it ends.

use std::io::Read as _;
use std::net::TcpStream;

#[cfg(unix)]
use np_facade::Client;
#[cfg(unix)]
use tokio::runtime::{Builder, Runtime};

use crate::support::{Folder, Serve, np, run};

#[test]
fn every_address_is_printed_as_a_client_takes_it() {
    let folder = Folder::new();
    let (key, public) = folder.key("server.key");
    let socket = format!("unix:{}", folder.arg("np.sock"));
    let second = if cfg!(unix) { socket.as_str() } else { "tcp://127.0.0.1:0" };
    let serve =
        Serve::start(&["--listen", "tcp://127.0.0.1:0", "--listen", second, "--identity", &key, "--allow", "anyone"]);
    for address in &serve.addresses {
        assert!(address.ends_with(&format!("?key={public}")) && !address.contains(":0?"), "{address}");
        assert_eq!(run(["call", address, "np.echo", "hello"]).ok(), "hello");
    }
}

#[test]
fn addresses_are_printed_as_json_when_asked() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let arguments = ["--json", "serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
    let mut child = np(arguments).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(run(["call", value["listening"].as_str().unwrap(), "np.echo", "hello"]).ok(), "hello");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn allowing_anyone_is_said_aloud() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &[]);
    serve.wait_for("warning: --allow anyone");
}

#[test]
fn several_allows_add_up() {
    let folder = Folder::new();
    let (server, _) = folder.key("server.key");
    let keys = ["a.key", "b.key", "c.key", "d.key"].map(|name| folder.key(name));
    let list = folder.file("list", format!("{} ada\n{}\n", keys[0].1, keys[1].1));
    let one = keys[2].1.to_string();
    let listen = ["--listen", "tcp://127.0.0.1:0", "--identity", &server];
    let serve = Serve::start(&[&listen[..], &["--allow", &list, "--allow", &one]].concat());
    for (at, (file, _)) in keys.iter().enumerate() {
        let ran = run(["call", serve.address(), "np.echo", "--identity", file]);
        assert_eq!(ran.code, Some(if at < 3 { 0 } else { 4 }), "{}", ran.err);
    }
}

#[test]
fn a_silent_client_is_cut_after_the_handshake_timeout() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--handshake-timeout", "100ms"]);
    let mut stream = TcpStream::connect(host(&serve)).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("handshake"), "{said:?}");
}

#[cfg(unix)]
#[test]
fn a_signal_drains_and_ends_with_0() {
    use rustix::process::Signal;
    // Elsewhere the system keeps SIGHUP for itself.
    let hang_up = cfg!(target_os = "linux").then_some(Signal::HUP);
    for signal in [Signal::TERM, Signal::INT].into_iter().chain(hang_up) {
        let folder = Folder::new();
        let mut serve = Serve::anyone(&folder, &[]);
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(serve.address())).unwrap();
        serve.signal(signal);
        serve.wait_for("draining");
        assert_eq!(serve.code(), Some(0));
        let end = runtime.block_on(client.connection().closed());
        assert!(end.to_string().contains("drained"), "the client is told: {end}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_up_that_was_to_be_ignored_is_ignored() {
    use rustix::process::Signal;
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    // What nohup does.
    let script = r#"trap '' HUP; exec "$0" serve --listen tcp://127.0.0.1:0 --identity "$1" --allow anyone"#;
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_np"), &key])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening ").unwrap();
    crate::support::send(&child, Signal::HUP);
    for _ in 0..3 {
        assert_eq!(run(["call", address, "np.echo", "hello"]).ok(), "hello");
    }
    crate::support::send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_server_takes_as_many_open_files_as_it_may() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let serve = |connections: &str| {
        let script = r#"ulimit -Sn 20; ulimit -Hn 256; exec "$0" serve -v --listen tcp://127.0.0.1:0 --identity "$1" --allow anyone --max-connections "$2""#;
        std::process::Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_np"), &key, connections])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    for (connections, is_warned) in [("192", false), ("193", true)] {
        let mut child = serve(connections);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening ").unwrap();
        let runtime = Runtime::new().unwrap();
        let clients: Vec<_> = (0..60)
            .map(|_| runtime.block_on(Client::connect(address)).expect("more than the soft limit of 20"))
            .collect();
        drop(clients);
        crate::support::send(&child, rustix::process::Signal::TERM);
        let ran = crate::support::finish(child);
        let first = ran.err.lines().next().unwrap();
        assert!(first.contains("may open 256 files, and might have opened 20 before"), "{first}");
        assert_eq!(ran.err.contains("warning: --max-connections"), is_warned, "{connections}");
    }
}

#[test]
fn an_address_of_every_interface_comes_with_a_note() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let mut serve = Serve::start(&["--listen", "tcp://0.0.0.0:0", "--identity", &key, "--allow", "anyone"]);
    assert!(serve.address().starts_with("tcp://0.0.0.0:"), "{}", serve.address());
    serve.wait_for("note: 0.0.0.0 is every address of this machine: clients elsewhere put its name or address");
    let here = serve.address().replace("0.0.0.0", "127.0.0.1");
    assert_eq!(run(["call", &here, "np.echo", "hello"]).ok(), "hello");
}

#[test]
fn the_oldest_silent_client_makes_room_for_a_handshake() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--max-handshakes", "1"]);
    let mut silent = TcpStream::connect(host(&serve)).unwrap();
    assert_eq!(run(["call", serve.address(), "np.echo", "hello"]).ok(), "hello");
    let mut said = Vec::new();
    silent.read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("max_handshakes"), "{said:?}");
}

#[cfg(unix)]
#[test]
fn open_calls_are_cut_when_the_drain_is_over() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &["--drain", "100ms"]);
    let _frozen = frozen_call(&serve);
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once_with_130() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &["--drain", "1h"]);
    let _frozen = frozen_call(&serve);
    serve.signal(rustix::process::Signal::TERM);
    serve.wait_for("draining: open calls have 3600s to finish");
    serve.signal(rustix::process::Signal::TERM);
    serve.wait_for("interrupted while draining");
    assert_eq!(serve.code(), Some(130));
}

#[cfg(unix)]
#[test]
fn before_a_delayed_drain_the_server_serves_and_is_not_ready() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &["--drain-delay", "1h"]);
    serve.signal(rustix::process::Signal::TERM);
    serve.wait_for("not ready: np.health answers draining; the drain begins in 3600s");
    assert_eq!(run(["call", serve.address(), "np.health"]).ok(), "draining");
    assert_eq!(run(["call", serve.address(), "np.echo", "served"]).ok(), "served");
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.code(), Some(130), "a second signal cuts at once");
    let mut serve = Serve::anyone(&Folder::new(), &["--drain-delay", "10ms"]);
    serve.signal(rustix::process::Signal::TERM);
    serve.wait_for("draining: open calls have");
    assert_eq!(serve.code(), Some(0));
}

#[cfg(unix)]
#[test]
fn a_reader_of_the_addresses_may_go_away() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let socket = format!("unix:{}", folder.arg("np.sock"));
    let arguments = ["serve", "-vv", "--listen", &socket, "--identity", &key, "--allow", "anyone"];
    let mut child = np(arguments).spawn().unwrap();
    drop(child.stdout.take());
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut log, &mut line).unwrap(), 0, "it ended before it listened");
    }
    run(["call", &socket, "np.echo", "--danger-trust-anyone"]).ok();
    crate::support::send(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A call whose client has stopped in the middle of sending: its runtime turns only while it is asked to.
#[cfg(unix)]
fn frozen_call(serve: &Serve) -> (Runtime, Client) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::connect(serve.address())).unwrap();
    let caller = client.clone();
    runtime.spawn(async move { caller.call("np.echo", vec![0; 16 << 20]).await });
    runtime.block_on(async {
        // The second answer comes after the call's opening has arrived.
        client.ping().await.unwrap();
        client.ping().await.unwrap();
    });
    (runtime, client)
}

fn host(serve: &Serve) -> &str {
    serve.address().trim_start_matches("tcp://").split('?').next().unwrap()
}
