//! `np.status`: whom it answers, and that its figures are those of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use np_facade::prelude::*;
use np_facade::{HealthState, OnceSettings, Status};
use tokio::sync::Notify;

async fn ask(client: &Client) -> BTreeMap<String, String> {
    let body = client.call("np.status", "").await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, value)| (name.into(), value.into())).collect()
}

#[tokio::test]
async fn status_tells_those_who_may_have_it_what_is_used_and_what_may_be() {
    let (monitor, other) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (started, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, gate) = (Arc::clone(&started), Arc::clone(&open));
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone())
        .status_for(Policy::allow_keys([monitor.public_key()]))
        .max_connections(3)
        .max_handshakes(5)
        .max_server_calls(7)
        .max_identity_calls(6)
        .listen("tcp://127.0.0.1:0")
        .on_async("gate", move |_, body| {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            async move {
                begun.notify_one();
                gate.notified().await;
                Ok(body)
            }
        })
        .start()
        .await
        .unwrap();
    let address = server.addresses()[0].to_string();
    let connect = |identity| Client::builder(address.as_str()).identity(identity).connect();
    let (monitor, other) = (connect(monitor).await.unwrap(), connect(other).await.unwrap());
    let refused = other.call("np.status", "").await.unwrap_err();
    assert_eq!(refused.status, Status::PermissionDenied);
    let held = tokio::spawn(async move { other.call("gate", "").await });
    started.notified().await;
    let told = ask(&monitor).await;
    for (name, value) in [
        ("state", "ok"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("connections", "2"),
        ("max_connections", "3"),
        ("connections_total", "2"),
        ("handshakes", "0"),
        ("max_handshakes", "5"),
        ("calls", "2"),
        ("max_server_calls", "7"),
        ("max_identity_calls", "6"),
        ("calls_total", "3"),
    ] {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(told.contains_key("uptime_ms"));
    open.notify_one();
    held.await.unwrap().unwrap();
    server.health().set(HealthState::Draining);
    let told = ask(&monitor).await;
    assert_eq!((told["state"].as_str(), told["calls"].as_str(), told["calls_total"].as_str()), ("draining", "1", "4"));
    assert_eq!(server.status().calls, 0);
}

#[tokio::test]
async fn status_tells_of_memory_sources_rates_limits_that_were_reached_and_exactly_once_calls() {
    let monitor = Identity::generate().unwrap();
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone())
        .status_for(Policy::allow_keys([monitor.public_key()]))
        .max_source_connections(3)
        .max_source_handshakes_per_second(1_000)
        .max_peer_calls_per_second(10)
        .max_memory(1 << 20)
        .exactly_once(OnceSettings::default())
        .listen("tcp://127.0.0.1:0")
        .on_async("hold", |_, _| std::future::pending::<Result<&str, CallError>>())
        .on("pay", |_, _| Ok("paid"))
        .start()
        .await
        .unwrap();
    let address = server.addresses()[0].to_string();
    let monitor = Client::builder(address.as_str()).identity(monitor).connect().await.unwrap();
    let quiet = ask(&monitor).await;
    for (name, value) in [
        ("sources", "1"),
        ("max_source_connections", "3"),
        ("max_source_handshakes_per_second", "1000"),
        ("max_peer_calls_per_second", "10"),
        ("max_memory", "1048576"),
        ("memory_bytes", "0"),
        ("once_instances", "0"),
        ("max_instances", "16384"),
        ("once_remembered", "0"),
        ("max_remembered", "65536"),
        ("once_remembered_bytes", "0"),
        ("max_remembered_bytes", "268435456"),
        ("refused_total", "0"),
    ] {
        assert_eq!(quiet.get(name).map(String::as_str), Some(value), "{name}");
    }
    let other = Client::builder(address.as_str()).retry_budget(0).connect().await.unwrap();
    let payer = Client::builder(address.as_str()).exactly_once().connect().await.unwrap();
    Client::connect(&address).await.unwrap_err();
    assert_eq!(payer.call("pay", "").await.unwrap(), "paid");
    let held = tokio::spawn({
        let other = other.clone();
        async move { other.call("hold", vec![0; 100_000]).await }
    });
    while server.status().memory_bytes < 100_000 {
        tokio::task::yield_now().await;
    }
    let error = loop {
        if let Err(error) = other.call("pay", "").await {
            break error;
        }
    };
    assert!(error.to_string().contains("max_peer_calls_per_second"), "{error}");
    let status = server.status();
    assert_eq!(status.refused, [("max_source_connections", 1), ("max_peer_calls_per_second", 1)]);
    let told: BTreeMap<_, _> = status.pairs().into_iter().collect();
    for (name, value) in [
        ("refused_total", "2"),
        ("refused_max_source_connections", "1"),
        ("refused_max_peer_calls_per_second", "1"),
        ("once_instances", "1"),
        ("once_remembered", "1"),
        ("once_remembered_bytes", "4"),
    ] {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
    }
    held.abort();
}

#[tokio::test]
async fn status_is_off_unless_it_is_asked_for() {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = builder.listen("mem:no-status").start().await.unwrap();
    let client = Client::connect(&server.addresses()[0].to_string()).await.unwrap();
    assert_eq!(client.call("np.status", "").await.unwrap_err().status, Status::UnknownMethod);
}
