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
use np_facade::{HealthState, Status};
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
async fn status_is_off_unless_it_is_asked_for() {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = builder.listen("mem:no-status").start().await.unwrap();
    let client = Client::connect(&server.addresses()[0].to_string()).await.unwrap();
    assert_eq!(client.call("np.status", "").await.unwrap_err().status, Status::UnknownMethod);
}
