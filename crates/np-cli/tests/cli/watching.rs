//! What monitors and operators ask a server: whether it serves, and how it does.

use np_facade::HealthState;

use crate::support::{Folder, House, Serve, run};

#[test]
fn health_is_0_where_the_server_serves_and_1_where_it_drains() {
    let house = House::start(|builder| builder);
    assert_eq!(run(["health", &house.address]).ok(), "ok\n");
    let json = run(["health", &house.address, "--json"]).ok_json();
    assert_eq!((&json["serving"], &json["state"]), (&true.into(), &"ok".into()));
    house.server.as_ref().unwrap().health().set(HealthState::Draining);
    let ran = run(["health", &house.address]);
    assert_eq!((ran.code, ran.out.as_slice()), (Some(1), b"draining\n".as_slice()), "{}", ran.err);
    assert!(ran.err.contains("not serving") && ran.err.contains("; "), "{}", ran.err);
    let json = run(["health", &house.address, "--json"]);
    assert!(String::from_utf8(json.out).unwrap().contains(r#""serving":false"#));
}

#[test]
fn health_is_3_where_nobody_listens_and_5_where_nobody_answers() {
    let mut house = House::start(|builder| builder);
    let server = house.server.take().unwrap();
    house.runtime.block_on(server.shutdown(std::time::Duration::ZERO));
    run(["health", &house.address]).fails(3, &["tcp://127.0.0.1"]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", silent.local_addr().unwrap());
    let ran = run(["health", &address, "--danger-trust-anyone", "--timeout", "100ms"]);
    assert_eq!(ran.code, Some(5), "{}", ran.err);
}

#[test]
fn status_is_shown_to_the_keys_that_serve_names() {
    let folder = Folder::new();
    let (key, public) = folder.key("monitor.key");
    let list = folder.file("monitors", format!("{public} monitor\n"));
    for allow in [public.to_string(), list] {
        let folder = Folder::new();
        let serve = Serve::anyone(&folder, &["--status-allow", &allow, "--max-connections", "9"]);
        let shown = run(["status", serve.address(), "--identity", &key, "--interval", "100ms"]).ok();
        let lines: Vec<_> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
        for figure in [["state", "ok"], ["connections", "1"], ["max_connections", "9"], ["calls_total", "2"]] {
            assert!(lines.contains(&figure.to_vec()), "{figure:?}: {shown}");
        }
        let json = run(["status", serve.address(), "--identity", &key, "--interval", "100ms", "--json"]).ok_json();
        assert_eq!((&json["connections_total"], &json["version"]), (&2.into(), &env!("CARGO_PKG_VERSION").into()));
        assert!(json["calls_per_second"].as_f64().unwrap() > 0.0, "{json}");
        let once = run(["status", serve.address(), "--identity", &key, "--interval", "0s", "--json"]).ok_json();
        assert!(once["calls_per_second"].is_null(), "{once}");
        run(["status", serve.address()]).fails(1, &["np.status", "permission-denied"]);
    }
}

#[test]
fn status_is_off_and_its_lists_are_checked() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    run(["status", serve.address()]).fails(1, &["np.status", "unknown-method"]);
    let (key, _) = folder.key("other.key");
    let empty = folder.file("empty", "# nobody\n");
    let serve = |allow: &str| {
        let arguments = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
        run(arguments.iter().copied().chain(["--status-allow", allow]))
    };
    serve(&empty).fails(2, &["--status-allow", "no key is in it"]);
    serve("gone.txt").fails(2, &["--status-allow", "gone.txt"]);
}
