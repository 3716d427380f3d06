//! What monitors and operators ask a server: whether it serves, and how it does.

use np_facade::HealthState;
use serde_json::Value;

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
fn status_tells_of_memory_sources_limits_that_were_reached_and_exactly_once_calls() {
    let folder = Folder::new();
    let (key, public) = folder.key("monitor.key");
    let file = folder.file(
        "np.toml",
        format!(
            "[server]\nstatus_allow = \"{public}\"\nmax_memory = \"64MiB\"\nmax_source_connections = 5\n\
             max_peer_calls_per_second = 1\nexactly_once = true\nmax_instances = 7\nmax_identity_instances = 7\n"
        ),
    );
    let serve = Serve::anyone(&folder, &["--config", &file]);
    let ask = |more: &[&str]| run(["status", serve.address(), "--identity", &key].iter().chain(more));
    let json = ask(&["--interval", "0s", "--json"]).ok_json();
    for (name, value) in [
        ("sources", 1.into()),
        ("max_source_connections", 5.into()),
        ("max_source_handshakes_per_second", Value::from("off")),
        ("max_peer_calls_per_second", 1.into()),
        ("memory_bytes", 0.into()),
        ("max_memory", (64 << 20).into()),
        ("once_instances", 0.into()),
        ("max_instances", 7.into()),
        ("once_remembered_bytes", 0.into()),
        ("refused_total", 0.into()),
    ] {
        assert_eq!(json[name], value, "{name}: {json}");
    }
    // The second question of a connection within a second is one call too many, whether it is asked again or not.
    ask(&["--interval", "10ms"]);
    let mut answers = std::iter::repeat_with(|| ask(&["--interval", "0s"]));
    let shown = answers.find(|ran| ran.code == Some(0)).unwrap().ok();
    let lines: Vec<_> = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let times = lines.iter().find(|line| line[0] == "refused_max_peer_calls_per_second");
    assert!(times.unwrap()[1].parse::<u64>().unwrap() > 0, "{shown}");
    assert!(lines.contains(&vec!["max_memory", "67108864"]), "{shown}");
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
