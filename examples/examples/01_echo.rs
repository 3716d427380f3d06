//! A server and a client who know each other by key: no certificate, no file, one call.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server: who it is, whom it lets in, where it listens, what it answers. Port 0 asks for any free port.
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on("echo", |_ctx, body| Ok(body))
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    println!("listening {address}");

    // The client: the address names the server's key, so nobody else can answer for it.
    let client = Client::connect(&address).await?;
    let reply = client.call("echo", "hello").await?;
    println!("echo: {}", String::from_utf8_lossy(&reply));
    assert_eq!(reply, "hello");

    println!("the server proved to be {}", client.connection().peer());
    println!("a ping took {:?}", client.ping().await?);

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
