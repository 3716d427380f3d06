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
    for signal in [Signal::TERM, Signal::INT] {
        let folder = Folder::new();
        let mut serve = Serve::anyone(&folder, &[]);
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(serve.address())).unwrap();
        serve.signal(signal);
        serve.wait_for("draining");
        assert_eq!(serve.code(), Some(0));
        let end = runtime.block_on(client.closed());
        assert!(end.to_string().contains("drained"), "the client is told: {end}");
    }
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
