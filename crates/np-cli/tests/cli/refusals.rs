//! Connections that do not come about: nobody there, nobody answering, somebody refused.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
#[cfg(target_os = "linux")]
use std::net::{SocketAddr, TcpStream};
use std::thread;
#[cfg(target_os = "linux")]
use std::time::Duration;

use np_facade::Identity;
#[cfg(target_os = "linux")]
use np_facade::{BindOptions, raw::transport::Listener};
#[cfg(target_os = "linux")]
use tokio::runtime::Builder;

use crate::support::{Folder, Serve, run};

#[test]
fn a_server_that_is_not_there_is_3() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = with_key(&format!("tcp://127.0.0.1:{port}"));
    run(["call", &address, "np.echo"]).fails(3, &["cannot connect to tcp://127.0.0.1:", "check that the server runs"]);
    run(["ping", &address]).fails(3, &["cannot connect to tcp://127.0.0.1:", "check that the server runs"]);
}

#[cfg(unix)]
#[test]
fn a_socket_that_is_not_there_is_3() {
    let folder = Folder::new();
    let address = with_key(&format!("unix:{}", folder.arg("gone.sock")));
    run(["call", &address, "np.echo"]).fails(3, &["gone.sock", "no such socket", "check that the server runs"]);
}

#[test]
fn a_name_that_does_not_resolve_is_3() {
    let address = with_key("tcp://nowhere.invalid:1");
    run(["call", &address, "np.echo"]).fails(3, &["tcp://nowhere.invalid:1"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_does_not_even_accept_is_3() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let options = BindOptions { backlog: 1, ..BindOptions::default() };
    let listener = runtime.block_on(Listener::bind(&"tcp://127.0.0.1:0".parse().unwrap(), &options)).unwrap();
    let place = listener.local_address().to_string();
    let at: SocketAddr = place.trim_start_matches("tcp://").parse().unwrap();
    // Once its queue is full, the system answers nobody any more.
    let connect = || TcpStream::connect_timeout(&at, Duration::from_millis(50));
    let _queue: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).collect();
    let ran = run(["call", &with_key(&place), "np.echo", "--timeout", "200ms"]);
    ran.fails(3, &["cannot connect to tcp://127.0.0.1:", "nothing answered within 200ms", "raise --timeout"]);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_5() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = with_key(&format!("tcp://{}", listener.local_addr().unwrap()));
    for arguments in [&["call", &address, "np.echo"][..], &["ping", &address]] {
        let ran = run(arguments.iter().chain(&["--timeout", "200ms"]));
        ran.fails(5, &["no secure connection to tcp://127.0.0.1:", "200ms", "raise --timeout", "[NP-TIMEOUT]"]);
    }
}

#[test]
fn a_server_that_speaks_something_else_is_4() {
    let address = with_key(&answers(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"));
    let ran = run(["call", &address, "np.echo"]);
    ran.fails(
        4,
        &["no secure connection to tcp://127.0.0.1:", "may not speak np", "check that an np server listens there"],
    );
}

#[test]
fn a_server_that_hangs_up_is_4() {
    let address = with_key(&answers(b""));
    let ran = run(["call", &address, "np.echo"]);
    ran.fails(
        4,
        &["no secure connection to tcp://127.0.0.1:", "may not speak np", "check that an np server listens there"],
    );
}

#[test]
fn a_client_that_the_server_does_not_know_is_4_and_told_what_to_do() {
    let folder = Folder::new();
    let (server, _) = folder.key("server.key");
    let (friend, allowed) = folder.key("friend.key");
    let (other, refused) = folder.key("other.key");
    let allowed = allowed.to_string();
    let mut serve = Serve::start(&["--listen", "tcp://127.0.0.1:0", "--identity", &server, "--allow", &allowed]);
    let call = |serve: &Serve, more: &[&str]| run(["call", serve.address(), "np.echo", "hello"].iter().chain(more));
    assert_eq!(call(&serve, &["--identity", &friend]).ok(), "hello");
    let parts = ["not-allowed", "this key is not allowed here", &format!("allow {refused}")];
    call(&serve, &["--identity", &other]).fails(4, &parts);
    call(&serve, &[]).fails(4, &["not-allowed", "a fresh key was shown", "--identity FILE"]);
    let logged = serve.wait_for("refused");
    assert!(logged.contains(&refused.to_string()), "a server logs refusals without being asked: {logged}");
}

#[test]
fn a_server_with_another_key_is_4() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let address = with_key(serve.address().split('?').next().unwrap());
    let shown = serve.address().split("key=").nth(1).unwrap();
    let ran = run(["call", &address, "np.echo"]);
    ran.fails(4, &["refused the peer", shown, "use the address that the server prints now", "[NP-REFUSED]"]);
    let both = format!("{address}&key={shown}");
    assert_eq!(run(["call", &both, "np.echo", "hello"]).ok(), "hello", "any one of the keys is accepted");
}

#[test]
fn an_address_without_a_key_is_4_before_anything_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let parts = ["names no server key", "add ?key=np1", "--danger-trust-anyone"];
    run(["call", &address, "np.echo"]).fails(4, &parts);
    run(["ping", &address]).fails(4, &parts);
    assert!(listener.accept().is_err(), "a connection was made");
}

/// A server that reads a little, answers this, and hangs up.
fn answers(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // All of the first flight, or closing would be a reset.
        let _ = stream.read(&mut [0; 1_024]).unwrap();
        stream.write_all(bytes).unwrap();
    });
    address
}

fn with_key(address: &str) -> String {
    format!("{address}?key={}", Identity::generate().unwrap().public_key())
}
