//! Staying connected: a server is killed and comes back, another one drains, and the calls go on.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::{Balance, CallError, ClientEvent, SecretKey};

/// A server that can come back at the same place with the same key. It counts the calls of `slow`, which never answers.
async fn start_server(place: &str, begun: &Arc<AtomicUsize>) -> Result<Server, np_facade::Error> {
    let begun = Arc::clone(begun);
    Server::builder(Identity::from_secret(SecretKey::from_bytes([1; 32])), Policy::anyone())
        .listen(place)
        .on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))
        .on_async("slow", move |_ctx, _body| {
            begun.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Bytes, CallError>>()
        })
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Arc::new(AtomicUsize::new(0));
    let server = start_server("tcp://127.0.0.1:0", &begun).await?;
    let address = server.addresses().first().ok_or("no address")?.clone();
    let client = Client::connect(&address.to_string()).await?;
    let mut events = client.events();
    let listener = tokio::spawn(async move {
        let mut names = Vec::new();
        while let Some(event) = events.next().await {
            println!("event: {event:?}");
            names.push(event.name());
            if matches!(event, ClientEvent::Closed { .. }) {
                break;
            }
        }
        names
    });

    // The server dies in the midst of a call: nobody knows whether its work was done, so the client does not do it twice.
    let worker = client.clone();
    let call = tokio::spawn(async move { worker.call("slow", "").await });
    while begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(server);
    let Err(lost) = call.await? else { return Err("there was nobody to answer".into()) };
    println!("the call in flight: {lost}");
    assert_eq!(lost.outcome, Outcome::Unknown);

    // A call that is made meanwhile waits, and is answered once the server is back.
    let worker = client.clone();
    let waiting = tokio::spawn(async move { worker.call("shout", "back again").await });
    let server = start_server(&address.without_keys().to_string(), &begun).await?;
    assert_eq!(waiting.await??, "BACK AGAIN");
    client.close().await;
    let names = listener.await?;
    assert_eq!((names.first(), names.last()), (Some(&"connected"), Some(&"closed")));
    assert!(names.contains(&"reconnecting"));

    // With a second address a server drains without a failed call.
    let other = start_server("tcp://127.0.0.1:0", &begun).await?;
    let second = other.addresses().first().ok_or("no address")?.to_string();
    let client = Client::builder(address.to_string())
        .address(second)
        .balance(Balance::RoundRobin)
        .idempotent_methods(["shout"])
        .connect()
        .await?;
    let drain = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    for _ in 0..1_000 {
        assert_eq!(client.call("shout", "on").await?, "ON");
    }
    drain.await?;
    println!("1,000 calls went on while one of two servers drained");
    client.close().await;
    other.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
