//! Where servers and clients count what they do, by the settings of their builders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use np_facade::{Client, Identity, Policy, SecretKey, Server, ServerBuilder, Telemetry};

/// A recorder of counters.
#[derive(Default)]
struct Figures(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Figures {
    fn telemetry(&self) -> Telemetry {
        metrics::with_local_recorder(self, Telemetry::recording)
    }

    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        self.0.lock().unwrap()[name].load(Ordering::Relaxed)
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect::<String>();
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(format!("{}{labels}", key.name())).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::from_secret(SecretKey::from_bytes([5; 32])), Policy::anyone()).listen(address)
}

#[tokio::test]
async fn builders_say_where_their_connections_count() {
    let (server_side, client_side) = (Figures::default(), Figures::default());
    let server = builder("mem:count").telemetry(server_side.telemetry()).start().await.unwrap();
    let address = server.addresses()[0].to_string();
    let client = Client::builder(&address).telemetry(client_side.telemetry()).connect().await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    Client::connect(&address).await.unwrap().call("np.echo", "x").await.unwrap();
    assert_eq!(server_side.count("np_calls_total direction=in status=ok"), 2);
    assert_eq!(client_side.count("np_calls_total direction=out status=ok"), 1);
}

#[tokio::test]
async fn a_client_counts_the_connections_that_it_makes_again() {
    let figures = Figures::default();
    let server = builder("mem:again").start().await.unwrap();
    let address = server.addresses()[0].to_string();
    let client = Client::builder(&address)
        .telemetry(figures.telemetry())
        .reconnect_delay(Duration::from_millis(1))
        .connect()
        .await
        .unwrap();
    client.call("np.echo", "x").await.unwrap();
    server.shutdown(Duration::from_secs(5)).await;
    while figures.count("np_reconnects_total result=failed") == 0 {
        tokio::task::yield_now().await;
    }
    let _server = builder("mem:again").start().await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    assert_eq!(figures.count("np_reconnects_total result=connected"), 1);
    assert_eq!(figures.count("np_connections_total side=client"), 2);
}
