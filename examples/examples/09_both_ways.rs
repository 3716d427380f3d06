//! Either side may call: the server asks its client back while it answers, and pushes to whoever is connected.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;
use np_facade::{Request, Router};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_typed_async("greet", |ctx: CallContext, greeting: String| async move {
            // A nested call goes over the same connection and inherits this call's deadline.
            let name: String = ctx.call_as("your-name", &()).await?;
            Ok(format!("{greeting}, {name}"))
        })
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();

    // A client's methods are a router of its own.
    let (heard, mut news) = mpsc::channel(8);
    let router = Router::new();
    router.on_typed("your-name", |_ctx, (): ()| Ok("Ada".to_owned()))?;
    router.on("news", move |_ctx, body| heard.try_send(body).map_err(|error| CallError::failed(error.to_string())))?;
    let client = Client::builder(&address).router(router).connect().await?;

    let answer: String = client.call_as("greet", "good morning").await?;
    println!("{answer}");
    assert_eq!(answer, "good morning, Ada");

    // A push is a one-way message: no answer comes, and none is waited for.
    for connection in server.connections() {
        connection.send_one_way(Request::new("news".parse()?).body("the shop is open")).await?;
    }
    let heard = news.recv().await.ok_or("no news")?;
    println!("news: {}", String::from_utf8_lossy(&heard));
    assert_eq!(heard, "the shop is open");

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
