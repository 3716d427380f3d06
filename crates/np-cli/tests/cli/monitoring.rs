//! A server as its monitors meet it: figures for Prometheus, health and readiness, and its log as text and as JSON.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

#[cfg(unix)]
use np_facade::Client;
#[cfg(unix)]
use serde_json::Value;

use crate::support::{Folder, Serve, run};

/// A server with `--metrics`, and where that is.
fn monitored(folder: &Folder, more: &[&str]) -> (Serve, String) {
    let mut serve = Serve::anyone(folder, &[&["--metrics", "127.0.0.1:0"], more].concat());
    let line = serve.line();
    let host = line.strip_prefix("metrics http://").and_then(|rest| rest.strip_suffix("/metrics"));
    let host = host.unwrap_or_else(|| panic!("{line}")).to_owned();
    (serve, host)
}

/// What is answered to these bytes.
fn ask(host: &str, request: &str) -> String {
    let mut socket = TcpStream::connect(host).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The status and the body of a path.
pub(crate) fn get(host: &str, path: &str) -> (u16, String) {
    let answer = ask(host, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(length, body.len().to_string(), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn prometheus_reads_what_a_server_counts_and_no_word_of_a_peer() {
    let folder = Folder::new();
    let (serve, host) = monitored(&folder, &[]);
    assert_eq!(run(["call", serve.address(), "np.echo", "hello"]).ok(), "hello");
    assert_ne!(run(["call", serve.address(), "EVIL/method", "EVIL-body"]).code, Some(0));
    let (status, text) = get(&host, "/metrics");
    assert_eq!(status, 200);
    let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    has("# TYPE np_calls_total counter");
    has("np_calls_total{direction=\"in\",status=\"ok\"} 1");
    has("np_calls_total{direction=\"in\",status=\"unknown-method\"} 1");
    has("np_connections_total{side=\"server\"} 2");
    has("np_handshakes_total{side=\"server\",result=\"accepted\"} 2");
    has("np_call_seconds_count{direction=\"in\"} 2");
    assert!(!text.contains("EVIL"), "{text}");
    // Each line is a comment, or a name, perhaps labels, and a number.
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("np_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn monitors_get_what_they_ask_for_and_no_more() {
    let folder = Folder::new();
    let (_serve, host) = monitored(&folder, &[]);
    assert_eq!(get(&host, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&host, "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(get(&host, "/elsewhere").0, 404);
    assert!(ask(&host, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(ask(&host, "\u{1b}[2J\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let large = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(8 << 10));
    assert!(ask(&host, &large).starts_with("HTTP/1.1 431 "));
}

#[test]
fn one_monitor_more_than_there_are_places_is_closed_and_the_others_go_on() {
    let folder = Folder::new();
    // Nobody asked this server before: one whose answer is just done would hold a place for a moment more.
    let (_serve, host) = monitored(&folder, &[]);
    // Thirty-two that say nothing hold every place.
    let mut silent: Vec<_> = (0..32).map(|_| TcpStream::connect(&host).unwrap()).collect();
    let mut more = TcpStream::connect(&host).unwrap();
    let read = more.read(&mut [0; 1]);
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    silent[0].write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    silent[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[cfg(unix)]
#[test]
fn a_server_that_drains_is_alive_and_not_ready() {
    let folder = Folder::new();
    let (mut serve, host) = monitored(&folder, &["--drain", "60s"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(Client::connect(serve.address())).unwrap();
    let stream = runtime.block_on(client.open_stream("np.echo-stream")).unwrap();
    assert_eq!(get(&host, "/readyz").0, 200);
    serve.signal(rustix::process::Signal::TERM);
    serve.wait_for("draining:");
    // The note comes just before the state.
    while get(&host, "/readyz").0 == 200 {}
    assert_eq!(get(&host, "/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(get(&host, "/healthz").0, 200);
    assert!(get(&host, "/metrics").1.contains("np_drains_total 1"));
    drop(stream);
    runtime.block_on(client.close());
    assert_eq!(serve.code(), Some(0));
}

#[test]
fn an_address_for_monitors_that_is_taken_or_none_is_refused() {
    let folder = Folder::new();
    let (_serve, host) = monitored(&folder, &[]);
    let (key, _) = folder.key("other.key");
    let serve = |metrics: &str| {
        let start = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
        run([&start[..], &["--metrics", metrics]].concat())
    };
    serve(&host).fails(7, &["--metrics", &host, "choose another port"]);
    assert_eq!(serve("nowhere").code, Some(2));
}

#[cfg(unix)]
#[test]
fn the_log_is_json_on_request_with_notes_and_the_audit_in_it() {
    let folder = Folder::new();
    let (client, public) = folder.key("client.key");
    let mut serve = Serve::anyone(&folder, &["--log-format", "json", "--log-level", "info"]);
    assert_eq!(run(["call", serve.address(), "np.echo", "hello", "--identity", &client]).ok(), "hello");
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.code(), Some(0));
    let log = serve.rest();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let find = |target: &str, message: &str| {
        let found = lines.iter().find(|line| {
            line["target"] == target && line["message"].as_str().is_some_and(|text| text.contains(message))
        });
        found.unwrap_or_else(|| panic!("no `{message}` in {log}"))
    };
    assert_eq!(find("np::audit", "connected")["peer"], public.to_string());
    assert_eq!(find("np::audit", "peer allowed")["decision"], "allowed");
    assert!(find("np::audit", "disconnected")["error"].is_string());
    assert_eq!(find("np::audit", "drain ended")["cut"], 0);
    assert_eq!(find("np::note", "--allow anyone")["level"], "WARN");
    find("np::note", "draining");
}

#[cfg(unix)]
#[test]
fn the_log_level_says_how_much_is_logged() {
    let logged = |level: &str| {
        let folder = Folder::new();
        let mut serve = Serve::anyone(&folder, &["--log-level", level]);
        run(["call", serve.address(), "np.echo"]).ok();
        serve.signal(rustix::process::Signal::TERM);
        assert_eq!(serve.code(), Some(0));
        serve.rest()
    };
    for level in ["off", "error", "warn"] {
        let log = logged(level);
        assert!(!log.contains("np::audit") && log.contains("np: draining"), "{level}: {log}");
    }
    let info = logged("info");
    assert!(info.contains("connected") && !info.contains("connection{"), "{info}");
    assert!(logged("debug").contains("connection{peer="));
    let both = run(["serve", "-v", "--log-level", "info", "--listen", "tcp://127.0.0.1:0", "--allow", "anyone"]);
    assert_eq!(both.code, Some(2), "{}", both.err);
}
