//! Methods that come and go while the server runs and clients stay connected.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder(Identity::generate()?, Policy::anyone()).listen("tcp://127.0.0.1:0").start().await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    let client = Client::connect(&address).await?;

    // Not there yet: an answer, not a lost connection.
    let Err(error) = client.call("price", "lamp").await else { return Err("a method from nowhere".into()) };
    println!("before: {error}");
    assert_eq!((error.status, error.outcome), (Status::UnknownMethod, Outcome::Answered));

    // A plug-in arrives. The router may be cloned and used from any thread.
    let router = server.router().clone();
    router.on("price", |_ctx, _body| Ok("12.50"))?;
    assert_eq!(client.call("price", "lamp").await?, "12.50");
    println!("methods: {}", String::from_utf8_lossy(&client.call("np.methods", "").await?).replace('\n', " "));

    // The same name twice is a mistake, and says so; replacing is removing and adding.
    let Err(twice) = router.on("price", |_ctx, _body| Ok("9.90")) else { return Err("registered twice".into()) };
    println!("twice: {twice}");
    assert!(router.remove("price").is_some());
    router.on("price", |_ctx, _body| Ok("9.90"))?;
    assert_eq!(client.call("price", "lamp").await?, "9.90");

    // The plug-in leaves.
    router.remove("price");
    assert!(client.call("price", "lamp").await.is_err());
    println!("after: gone");

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
