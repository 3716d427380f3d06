//! Stopping in order: open calls are answered, new ones are refused as not processed, everybody is told.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::{CloseCode, ConnectionError};
use tokio::sync::Notify;

/// A server whose method says when it has begun, and goes on when it is told to.
async fn start_server(begun: Arc<Notify>, gate: Arc<Notify>) -> Result<Server, np_facade::Error> {
    Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_async("long-work", move |_ctx, body: Bytes| {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            async move {
                begun.notify_one();
                gate.notified().await;
                Ok(body)
            }
        })
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = start_server(Arc::clone(&started), Arc::clone(&finish)).await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    // Else a call that is refused would wait for the server to come back: example 08.
    let client = Client::builder(&address).auto_reconnect(false).connect().await?;

    let worker = client.clone();
    let call = tokio::spawn(async move { worker.call("long-work", "finished").await });
    started.notified().await;

    // A service would do this when it is told to stop: tokio::signal::ctrl_c().await.
    let shutdown = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });

    // As soon as the go-away has come, new calls are refused here, safe to send elsewhere.
    let refused = loop {
        if let Err(error) = client.call("np.echo", "").await {
            break error;
        }
    };
    println!("a new call: {refused}");
    assert_eq!(refused.outcome, Outcome::NotProcessed);

    // What was accepted before is answered.
    finish.notify_one();
    let reply = call.await??;
    println!("the old call: {}", String::from_utf8_lossy(&reply));
    assert_eq!(reply, "finished");

    shutdown.await?;
    let end = client.closed().await;
    println!("the connection: {end}");
    assert!(matches!(end, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }));
    Ok(())
}
