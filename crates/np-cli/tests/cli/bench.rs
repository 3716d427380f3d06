//! Measuring calls: each is counted by what became of it, also while the server drains.

use np_facade::{CallError, Client, Limits, WhenFull};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::support::{Folder, House, Serve, finish, np, run};

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

#[cfg(unix)]
#[test]
fn a_drain_that_is_watched_leaves_no_call_in_doubt() {
    let folder = Folder::new();
    let mut serve = Serve::anyone(&folder, &["-v"]);
    let child = np(["bench", serve.address(), "--workload", "small", "--secs", "60", "--json"]).spawn().unwrap();
    serve.wait_for("connected");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::connect(serve.address()).await.unwrap();
        for _ in 0..100 {
            client.call("np.echo", "beside").await.unwrap();
        }
    });
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
    for word in ["calls/s answered", "not processed", "unknown", "p50", "p99", "up to", "#"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
}
