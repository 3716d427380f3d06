//! Figures: what is counted of connections and calls, under which names, and that no word of a peer gets into them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::middle::{self, Fate, stand_between};
use common::{House, config, echo, request, serve_with};
use futures_util::FutureExt as _;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use np_dispatch::{InstanceId, OnceHeader, OnceSettings};
use np_driver::{Connection, ConnectorConfig, Telemetry, connect};
use np_noise::Pattern;
use np_types::{CallError, CloseCode, Deadline, Status};

/// A recorder that keeps each figure by its name and labels, in one text.
#[derive(Default, Clone)]
struct Figures(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

struct Count(Arc<AtomicU64>);

impl HistogramFn for Count {
    fn record(&self, value: f64) {
        assert!((0.0..60.0).contains(&value), "{value}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Figures {
    fn telemetry(&self) -> Telemetry {
        metrics::with_local_recorder(self, Telemetry::recording)
    }

    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect::<String>();
        Arc::clone(self.0.lock().unwrap().entry(format!("{}{labels}", key.name())).or_default())
    }

    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap()[name].load(Ordering::Relaxed)
    }

    #[track_caller]
    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.count(name))
    }

    /// Every counter of a name that is not zero.
    fn counted(&self, name: &str) -> Vec<(String, u64)> {
        let all = self.0.lock().unwrap();
        let of = all.iter().filter(|(key, _)| key.split(' ').next() == Some(name));
        let set = of.map(|(key, count)| (key[name.len()..].trim().to_owned(), count.load(Ordering::Relaxed)));
        set.filter(|(_, count)| *count > 0).collect()
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Count(self.cell(key))))
    }
}

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<(String, u64)> {
    pairs.into_iter().map(|(labels, count)| (labels.to_owned(), count)).collect()
}

async fn joined(house: &House, telemetry: Telemetry) -> Connection {
    connect(&house.address, ConnectorConfig { telemetry, ..config(house) }).await.unwrap()
}

/// Ends a connection and its server, so that all that will be counted is.
async fn over(client: Connection, mut house: House) {
    client.close(CloseCode::Normal, "").await;
    house.acceptor.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn calls_are_counted_by_direction_and_status() {
    let (server, client_side) = (Figures::default(), Figures::default());
    let router = echo();
    router.on("fails", |_, _| Err::<&str, _>(CallError::failed("no"))).unwrap();
    router.on_async("waits", |_, _| std::future::pending::<Result<&str, CallError>>()).unwrap();
    let house = serve_with("mem:figures", router, |config| config.telemetry = server.telemetry()).await;
    let client = joined(&house, client_side.telemetry()).await;

    for _ in 0..3 {
        client.call(request("np.echo").body("x")).await.unwrap();
    }
    client.call(request("fails")).await.unwrap_err();
    client.call(request("nobody")).await.unwrap_err();
    {
        let mut waits = Box::pin(client.call(request("waits")));
        assert!((&mut waits).now_or_never().is_none());
        client.call(request("np.echo")).await.unwrap();
        assert_eq!(server.gauge("np_calls_in_flight direction=in"), 1.0);
        assert_eq!(client_side.gauge("np_calls_in_flight direction=out"), 1.0);
    }
    client.send_one_way(request("np.echo").body("y")).await.unwrap();
    let mut stream = client.open_stream(request("np.echo-stream")).await.unwrap();
    stream.send("z").await.unwrap();
    stream.finish().await.unwrap();
    while stream.recv().await.is_some() {}
    over(client, house).await;

    let ways = [(&server, "in"), (&client_side, "out")];
    for (figures, way) in ways {
        let of = |name: &str| figures.counted(name);
        let with = |status: &str| format!("direction={way} status={status}");
        let calls = [("cancelled", 1), ("failed", 1), ("ok", 4), ("unknown-method", 1)];
        assert_eq!(of("np_calls_total"), calls.map(|(status, count)| (with(status), count)), "{way}");
        assert_eq!(of("np_one_way_total"), [(with("ok"), 1)], "{way}");
        assert_eq!(of("np_streams_total"), [(with("ok"), 1)], "{way}");
        assert_eq!(figures.gauge(&format!("np_calls_in_flight direction={way}")), 0.0);
        assert_eq!(figures.gauge(&format!("np_streams_open direction={way}")), 0.0);
        assert_eq!(figures.count(&format!("np_call_seconds direction={way}")), 7);
    }
    // Nothing was called in the other direction.
    assert!(server.counted("np_calls_total").iter().all(|(labels, _)| labels.starts_with("direction=in")));
}

#[tokio::test]
async fn connections_handshakes_bytes_and_drains_are_counted_by_side() {
    let (server, client_side) = (Figures::default(), Figures::default());
    let house = serve_with("mem:sides", echo(), |config| config.telemetry = server.telemetry()).await;
    let client = joined(&house, client_side.telemetry()).await;
    client.call(request("np.echo").body(vec![7; 1_000])).await.unwrap();
    assert_eq!(server.gauge("np_connections side=server"), 1.0);
    assert_eq!(client_side.gauge("np_connections side=client"), 1.0);
    over(client, house).await;

    assert_eq!(server.counted("np_connections_total"), pairs([("side=server", 1)]));
    assert_eq!(client_side.counted("np_connections_total"), pairs([("side=client", 1)]));
    assert_eq!(server.counted("np_handshakes_total"), pairs([("side=server result=accepted", 1)]));
    assert_eq!(client_side.counted("np_handshakes_total"), pairs([("side=client result=accepted", 1)]));
    assert_eq!(server.count("np_handshake_seconds side=server"), 1);
    assert_eq!(server.gauge("np_connections side=server"), 0.0);
    assert_eq!(client_side.gauge("np_connections side=client"), 0.0);
    assert_eq!(server.counted("np_disconnects_total"), pairs([("code=NP-CLOSED", 1)]));
    assert_eq!(client_side.counted("np_disconnects_total"), pairs([("code=NP-CLOSED-HERE", 1)]));
    assert_eq!(server.counted("np_drains_total"), pairs([("", 1)]));
    for (figures, way) in [(&server, "in"), (&server, "out"), (&client_side, "in"), (&client_side, "out")] {
        let bytes = figures.count(&format!("np_bytes_total direction={way}"));
        assert!((1_000..3_000).contains(&bytes), "{way} {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_early_call_is_counted_once_the_server_has_decided() {
    let house = serve_with("mem:early-figures", echo(), |config| config.max_connections = 1).await;
    let figures = Figures::default();
    let early = async || {
        let config = ConnectorConfig { early_call: true, telemetry: figures.telemetry(), ..config(&house) };
        connect(&house.address, config).await.unwrap()
    };
    let counted = |handshakes: &[(&str, u64)], connections: u64| {
        assert_eq!(figures.counted("np_handshakes_total"), pairs(handshakes.iter().copied()));
        assert_eq!(
            figures.count("np_handshake_seconds side=client"),
            handshakes.iter().map(|(_, count)| *count).sum::<u64>()
        );
        assert_eq!(figures.count("np_connections_total side=client"), connections);
        assert_eq!(figures.gauge("np_connections side=client"), connections as f64);
    };
    let given_up = early().await;
    counted(&[], 0);
    given_up.close(CloseCode::Normal, "").await;
    counted(&[], 0);
    let stands = early().await;
    stands.call(request("np.echo")).await.unwrap();
    let accepted = ("side=client result=accepted", 1);
    counted(&[accepted], 1);
    let refused = early().await;
    refused.call(request("np.echo")).await.unwrap_err();
    refused.closed().await;
    counted(&[accepted, ("side=client result=refused", 1)], 1);
    assert_eq!(figures.counted("np_disconnects_total"), pairs([]), "what ended did not stand");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_decide_on_an_early_call_is_counted_as_a_timeout() {
    let figures = Figures::default();
    let house = serve_with("mem:early-mute", echo(), |_| {}).await;
    // Of what the server says its handshake alone arrives.
    let mute =
        |unit: middle::Unit| if unit.is_record && !unit.towards { Fate::default() } else { Fate::pass(unit.bytes) };
    let way = stand_between("mem:early-mute-way", &house.address, Pattern::XX, mute).await;
    let config = ConnectorConfig { early_call: true, telemetry: figures.telemetry(), ..config(&house) };
    let connection = connect(&way, config).await.unwrap();
    connection.closed().await;
    assert_eq!(figures.counted("np_handshakes_total"), pairs([("side=client result=timeout", 1)]));
}

#[tokio::test]
async fn refusals_are_counted_by_the_name_of_the_limit() {
    let figures = Figures::default();
    let router = echo();
    router.on_async("waits", |_, _| std::future::pending::<Result<&str, CallError>>()).unwrap();
    let house = serve_with("mem:refusals", router, |config| {
        (config.max_connections, config.max_server_calls) = (1, 1);
        config.telemetry = figures.telemetry();
    })
    .await;
    let client = joined(&house, Telemetry::off()).await;
    let other = Figures::default();
    let refused = connect(&house.address, ConnectorConfig { telemetry: other.telemetry(), ..config(&house) }).await;
    assert!(refused.is_err());
    assert_eq!(other.counted("np_handshakes_total"), pairs([("side=client result=refused", 1)]));
    let mut waits = Box::pin(client.call(request("waits")));
    assert!((&mut waits).now_or_never().is_none());
    assert_eq!(client.call(request("np.echo")).await.unwrap_err().status, Status::Unavailable);
    let limits = [("limit=max_connections", 1), ("limit=max_server_calls", 1)];
    assert_eq!(figures.counted("np_refusals_total"), pairs(limits));
    let handshakes = [("side=server result=accepted", 1), ("side=server result=refused", 1)];
    assert_eq!(figures.counted("np_handshakes_total"), pairs(handshakes));
    let calls = figures.counted("np_calls_total");
    assert_eq!(calls, pairs([("direction=in status=unavailable", 1)]));
}

#[tokio::test]
async fn refused_instances_of_exactly_once_calls_are_counted() {
    let figures = Figures::default();
    let house = serve_with("mem:refused-instances", echo(), |config| {
        let few = OnceSettings { max_instances: 1, max_identity_instances: 1, ..OnceSettings::default() };
        (config.exactly_once, config.telemetry) = (Some(few), figures.telemetry());
    })
    .await;
    let (one, other) = (joined(&house, Telemetry::off()).await, joined(&house, Telemetry::off()).await);
    // An instance whose reply was not acknowledged keeps its place.
    let instance = InstanceId::from_bytes([1; 16]);
    let epoch = one.once_epoch(instance, Deadline::NONE).await.unwrap();
    let header = OnceHeader { instance, epoch, sequence: 0, below: 0, also: Vec::new() };
    one.call(request("np.echo").once(header)).await.unwrap();
    let refused = other.call(request("np.once").body(vec![2; 16])).await.unwrap_err();
    assert_eq!(refused.status, Status::LimitReached);
    assert_eq!(figures.counted("np_refusals_total"), pairs([("limit=max_instances", 1)]));
}

#[tokio::test]
async fn no_label_holds_what_a_peer_chose() {
    let figures = Figures::default();
    let router = echo();
    router.on("says", |_, _| Err::<&str, _>(CallError::failed("EVIL-text\n\u{1b}[2J"))).unwrap();
    let house = serve_with("mem:hostile", router, |config| config.telemetry = figures.telemetry()).await;
    let client = joined(&house, Telemetry::off()).await;
    let mut metadata = np_types::Metadata::new();
    metadata.insert("evil-key", b"EVIL-value").unwrap();
    let evil = [request("EVIL.method/1"), request("EVIL-2").body("EVIL-body"), request("says").metadata(metadata)];
    for request in evil {
        client.call(request).await.unwrap_err();
    }
    // A status that nobody has a name for.
    client.open_stream(request("np.echo-stream")).await.unwrap().cancel(Status::Other(4_711), "EVIL-why");
    client.close(CloseCode::Other(999), "EVIL-reason").await;
    drop(house);
    let all = figures.0.lock().unwrap();
    assert!(!all.is_empty());
    for key in all.keys() {
        assert!(!key.to_lowercase().contains("evil") && !key.contains("4711"), "{key}");
        let ours = |c: char| c.is_ascii_lowercase() || "NPCLOSEDHRIFMBTAUWK-_ =".contains(c);
        assert!(key.chars().all(ours), "{key}");
    }
}

#[tokio::test]
async fn a_client_that_comes_back_is_counted() {
    let figures = Figures::default();
    let telemetry = figures.telemetry();
    telemetry.reconnected(false);
    telemetry.reconnected(true);
    assert_eq!(figures.counted("np_reconnects_total"), pairs([("result=connected", 1), ("result=failed", 1)]));
}
