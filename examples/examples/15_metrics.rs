//! Figures: what a server counts, in a recorder of the `metrics` crate, and what it tells of itself when asked.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use np_facade::Telemetry;
use np_facade::prelude::*;

/// The smallest recorder there is: counters by name and labels. A service takes an exporter in its place, such as
/// `metrics-exporter-prometheus`; `np serve --metrics` has one built in.
#[derive(Default)]
struct Figures(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Figures {
    fn of(&self, name: &str) -> u64 {
        let counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counters.get(name).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value())).collect::<String>();
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(counters.entry(format!("{}{labels}", key.name())).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Who counts is said for each server and client. A program installs its recorder once and for all instead, with
    // `metrics::set_global_recorder`, before `Telemetry::recording`.
    let figures = Figures::default();
    let telemetry = metrics::with_local_recorder(&figures, Telemetry::recording);
    let me = Identity::generate()?;
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .telemetry(telemetry)
        .status_for(Policy::allow_keys([me.public_key()]))
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();

    let client = Client::builder(&address).identity(me).connect().await?;
    for _ in 0..100 {
        client.call("np.echo", "counted").await?;
    }
    assert!(client.call("nothing-here", "").await.is_err());

    // Names and labels are stable; none holds a word that a peer has chosen.
    for name in ["np_calls_total direction=in status=ok", "np_calls_total direction=in status=unknown-method"] {
        println!("{name}: {}", figures.of(name));
    }
    assert_eq!(figures.of("np_calls_total direction=in status=ok"), 100);
    assert_eq!(figures.of("np_calls_total direction=in status=unknown-method"), 1);
    assert_eq!(figures.of("np_connections_total side=server"), 1);

    // The same without a recorder: what is used of each limit at this moment, here and for whoever may ask.
    let status = server.status();
    println!("connections: {} of {}", status.connections, status.max_connections);
    assert_eq!(status.connections, 1);
    let asked = client.call("np.status", "").await?;
    println!("over the wire it takes {} bytes", asked.len());
    let stranger = Client::connect(&address).await?;
    let Err(refused) = stranger.call("np.status", "").await else { return Err("told a stranger".into()) };
    assert_eq!(refused.status, Status::PermissionDenied);
    stranger.close().await;

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
