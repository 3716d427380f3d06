//! Measuring calls: each is counted by what became of it, also while the server drains.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use np_facade::{CallError, Client, Limits, WhenFull};
use serde_json::Value;
#[cfg(unix)]
use tokio::runtime::Runtime;

#[cfg(unix)]
use crate::support::finish;
use crate::support::{Folder, House, Serve, np, run};

/// The counts, which must add up.
#[track_caller]
fn counts(report: &Value) -> (u64, u64, u64) {
    let of = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"));
    let (answered, not_processed, unknown) = (of("answered"), of("not_processed"), of("unknown"));
    assert_eq!(of("calls"), answered + not_processed + unknown, "{report}");
    (answered, not_processed, unknown)
}

#[test]
fn bench_counts_calls_and_their_latencies() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let ran = run(["bench", serve.address(), "--workload", "echo:1KiB", "--secs", "1", "--concurrency", "2", "--json"]);
    let report = ran.ok_json();
    let (answered, not_processed, unknown) = counts(&report);
    assert!(answered > 10 && not_processed == 0 && unknown == 0, "{report}");
    assert_eq!((&report["body_bytes"], &report["errors"]), (&1_024.into(), &0.into()));
    let latency = |name: &str| report["latency_us"][name].as_f64().unwrap();
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{report}");
    assert!(report["calls_per_second"].as_f64().unwrap() > 0.0 && report["ended"].is_null(), "{report}");
}

/// Waits until a server has had so many calls from others.
#[cfg(unix)]
fn wait_for_calls(address: &str, count: u64) {
    Runtime::new().unwrap().block_on(async {
        let client = Client::connect(address).await.unwrap();
        for asked in 1.. {
            let status = client.call("np.status", "").await.unwrap();
            let status = String::from_utf8(status.to_vec()).unwrap();
            let total = status.lines().find_map(|line| line.strip_prefix("calls_total ")).unwrap();
            if total.parse::<u64>().unwrap() >= count + asked {
                break;
            }
        }
    });
}

#[cfg(unix)]
#[test]
fn a_drain_that_is_watched_leaves_no_call_in_doubt() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &["--status-allow", "anyone"]);
    // More calls than the server takes from one connection: when it drains, some were never sent.
    let measure = ["bench", serve.address(), "--workload", "small", "--concurrency", "2048", "--secs", "60", "--json"];
    let child = np(measure).spawn().unwrap();
    wait_for_calls(serve.address(), 4_096);
    serve.signal(rustix::process::Signal::TERM);
    let report = finish(child).ok_json();
    let (answered, not_processed, unknown) = counts(&report);
    assert!(answered > 0 && not_processed > 0, "{report}");
    assert_eq!(unknown, 0, "{report}");
    assert!(report["ended"].as_str().unwrap().contains("drained"), "{report}");
    assert_eq!(serve.code(), Some(0));
}

#[test]
fn calls_that_were_never_sent_are_taken_back_and_others_waited_for_no_longer_than_5_s() {
    let house = House::start(|builder| {
        builder
            .limits(Limits { max_calls: 1, ..Limits::default() })
            .max_server_calls(1)
            .when_full(WhenFull::Wait)
            .on_async("hold", |_ctx, _body| std::future::pending::<Result<String, CallError>>())
    });
    let client = house.runtime.block_on(Client::connect(&house.address)).unwrap();
    // It takes the one place that there is, and keeps it.
    let holder = client.clone();
    let _held = house.runtime.spawn(async move { holder.call("hold", "").await });
    house.runtime.block_on(client.ping()).unwrap();
    let began = std::time::Instant::now();
    let ran = run(["bench", &house.address, "--secs", "1", "--concurrency", "8", "--json"]);
    assert!(began.elapsed() >= std::time::Duration::from_secs(6), "{ran:?}");
    let report = ran.ok_json();
    assert_eq!(counts(&report), (0, 7, 1), "{report}");
    assert!(report["latency_us"].is_null(), "{report}");
}

#[test]
fn bench_shows_people_a_table_with_bars() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let shown = run(["bench", serve.address(), "--secs", "1"]).ok();
    assert!(!shown.contains('\u{1b}'), "a pipe gets no colour: {shown}");
    for word in ["np 0.", "cores", "calls/s answered", "not processed", "unknown", "p50", "p99", "up to", "#"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}

/// The fields and their types as docs/BENCH.md has them, in rows of a table: `| `path` | type | ...`.
fn documented() -> BTreeMap<String, String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/BENCH.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows = rows.filter_map(|(path, rest)| Some((path.to_owned(), rest.split_once(" |")?.0.to_owned())));
    rows.filter(|(_, kind)| kind.split(' ').next().is_some_and(|kind| KINDS.contains(&kind))).collect()
}

const KINDS: [&str; 5] = ["integer", "number", "text", "list", "object"];

/// Every field of a value by its path, with the types that were seen.
fn fields(value: &Value, path: &str, seen: &mut BTreeMap<String, Vec<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
        Value::Bool(_) => "truth",
    };
    if !path.is_empty() && !path.ends_with("[]") {
        seen.entry(path.to_owned()).or_default().push(kind);
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, &format!("{path}[]"), seen)),
        Value::Object(items) => {
            let dot = if path.is_empty() { "" } else { "." };
            items.iter().for_each(|(name, item)| fields(item, &format!("{path}{dot}{name}"), seen));
        }
        _ => {}
    }
}

#[test]
fn a_server_of_its_own_is_measured_with_every_workload_and_the_report_is_as_documented() {
    let all = run(["bench", "--self", "--workload", "all", "--secs", "0.1", "--idle", "40", "--json"]).ok_json();
    counts(&all);
    let runs = all["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["workload"].as_str().unwrap()).collect();
    assert_eq!(names[..8], ["F", "A", "B", "C", "D", "E", "stream", "sweep:64"]);
    assert_eq!((names.len(), names[14]), (15, "sweep:1MiB"));
    for run in runs {
        // What was not sent yet when the time was over was taken back.
        let (answered, _, unknown) = counts(run);
        assert!(answered > 0 && unknown == 0, "{run}");
        let listed = run["percentiles"].as_array().unwrap();
        assert_eq!(listed.last().unwrap()["calls"].as_u64(), Some(answered), "{run}");
        if cfg!(unix) {
            let cpu = &run["cpu_us_per_call"];
            assert!(cpu["client"].as_f64() > Some(0.0) && cpu["server"].as_f64() > Some(0.0), "{run}");
        }
    }
    assert_eq!(counts(&runs[0]).0, 40);
    assert_eq!(all["calls"].as_u64(), runs.iter().map(|run| run["calls"].as_u64()).sum(), "{all}");
    if cfg!(target_os = "linux") {
        assert!(runs[0]["memory"]["server_kib_per_connection"].as_f64() > Some(1.0), "{}", runs[0]);
    }
    // Its server has gone with it.
    let place = all["address"].as_str().unwrap().strip_prefix("tcp://").unwrap();
    std::net::TcpStream::connect(place).unwrap_err();

    let paced =
        run(["bench", "--self", "--workload", "A", "--secs", "0.1", "--rate", "500", "--suite", "chacha", "--json"]);
    let paced = paced.ok_json();
    assert_eq!(paced["machine"]["suite"], "Noise 25519_ChaChaPoly_SHA256");
    assert_eq!(all["machine"]["suite"], format!("Noise {}", np_facade::default_suite().noise_name()));
    assert_eq!(paced["machine"]["provider"], np_facade::provider().name());
    let mut seen = BTreeMap::new();
    fields(&all, "", &mut seen);
    fields(&paced, "", &mut seen);
    let documented = documented();
    for (path, kinds) in &seen {
        let said = documented.get(path).unwrap_or_else(|| panic!("docs/BENCH.md does not tell of {path}"));
        for kind in kinds {
            let is_said = said.split(" or ").any(|one| one == *kind || (one == "number" && *kind == "integer"));
            assert!(is_said, "{path} is {kind}, and docs/BENCH.md says {said}");
        }
    }
    for path in documented.keys() {
        assert!(seen.contains_key(path), "docs/BENCH.md tells of {path}, which no report has");
    }
}

#[test]
fn an_open_loop_makes_calls_at_its_rate() {
    let house = House::start(|builder| builder);
    let arguments = ["bench", &house.address, "--workload", "A", "--secs", "0.5", "--rate", "400", "--json"];
    let report = run(arguments).ok_json();
    counts(&report);
    let run = &report["runs"][0];
    assert_eq!((&run["loop"], &run["rate"]), (&"open".into(), &400.into()));
    let due = run["calls"].as_u64().unwrap() + run["missed"].as_u64().unwrap();
    assert!((100..=200).contains(&due), "{run}");
    assert!(run["server_unknown"].as_str().unwrap().contains("--server-pid"), "{run}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_of_a_server_on_this_machine_is_looked_into() {
    let house = House::start(|builder| builder);
    let process = std::process::id().to_string();
    let by_number = ["bench", &house.address, "--workload", "F", "--idle", "20", "--server-pid", &process];
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let address = format!("unix:{}", folder.arg("socket"));
    let serve = Serve::start(&["--listen", &address, "--identity", &key, "--allow", "anyone"]);
    let by_socket = ["bench", serve.address(), "--workload", "F", "--idle", "20"];
    for arguments in [&by_number[..], &by_socket] {
        let report = run(arguments.iter().chain(&["--secs", "0.01", "--json"])).ok_json();
        let run = &report["runs"][0];
        assert!(run["memory"]["server_kib_per_connection"].is_number(), "{run}");
        assert!(run["cpu_us_per_call"]["server"].is_number() && run["server_unknown"].is_null(), "{run}");
    }
}

#[test]
fn reports_are_compared_and_plots_drawn_once() {
    let folder = Folder::new();
    let svg = folder.arg("plot.svg");
    let measure = ["bench", "--self", "--workload", "A,stream", "--secs", "0.05", "--json", "--svg", &svg];
    let ran = run(measure);
    assert_eq!(ran.err, "", "a pipe gets no live line");
    let (a, b) = (folder.file("a.json", &ran.out), folder.file("b.json", &ran.out));
    ran.ok_json();
    assert!(std::fs::read_to_string(folder.path("plot.svg")).unwrap().starts_with("<svg "));
    run(measure).fails(2, &["--svg", "plot.svg", "exists"]);

    let table = run(["bench", "--compare", &a, &b]).ok();
    assert!(table.lines().any(|line| line.starts_with("stream") && line.ends_with("1.000")), "{table}");
    let ratios = run(["bench", "--compare", &a, &b, "--json"]).ok_json();
    assert_eq!(ratios["compared"]["A"]["p50_us"]["ratio"], 1.0);
    let other = folder.file("other.json", "{\"calls\": 1}");
    run(["bench", "--compare", &a, &other]).fails(2, &["--compare", "other.json", "no report of np bench"]);
    run(["bench", "--compare", &a, "gone.json"]).fails(2, &["--compare", "gone.json", "cannot be read"]);
}

#[test]
fn arguments_that_measure_nothing_are_refused_before_anything_is_measured() {
    run(["bench"]).fails(2, &["<ADDR>"]);
    run(["bench", "--self", "tcp://127.0.0.1:1"]).fails(2, &["--self", "[ADDR]"]);
    run(["bench", "mem:a", "--workload", "A,nonsense"]).fails(2, &["nonsense", "A to F", "echo:SIZE"]);
    run(["bench", "mem:a", "--workload", "A,A"]).fails(2, &["--workload", "A is named twice"]);
    run(["bench", "mem:a", "--workload", "A,F", "--rate", "5"]).fails(2, &["--rate", "F opens connections"]);
    run(["bench", "--self", "--suite", "rot13"]).fails(2, &["--suite", "chacha"]);
    run(["bench", "mem:a", "--suite", "chacha"]).fails(2, &["--suite", "[ADDR]"]);
    run(["bench", "mem:a", "--secs", "0"]).fails(2, &["--secs", "0.01 to 86400"]);
}

#[test]
fn the_server_of_a_measurement_lets_in_one_client_and_ends_with_its_standard_input() {
    let folder = Folder::new();
    let (file, key) = folder.key("client.key");
    let mut child = np(["bench", "--serve-for", &key.to_string()]).stdin(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = said.next().unwrap().unwrap();
    assert!(address.starts_with("tcp://127.0.0.1:") && address.contains("?key=np1"), "{address}");
    run(["ping", &address, "--count", "1"]).fails(4, &["not allowed"]);
    run(["ping", &address, "--count", "1", "--identity", &file]).ok();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(said.next().unwrap().unwrap().split(' ').count(), 2, "processor time and memory");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_interrupted_measurement_reports_what_it_has() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--status-allow", "anyone"]);
    let child = np(["bench", serve.address(), "--workload", "A,B", "--secs", "60", "--json"]).spawn().unwrap();
    wait_for_calls(serve.address(), 100);
    crate::support::send(&child, rustix::process::Signal::INT);
    let ran = finish(child);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let report: Value = serde_json::from_slice(&ran.out).unwrap();
    counts(&report);
    assert_eq!(report["runs"].as_array().unwrap().len(), 1, "{report}");
}
