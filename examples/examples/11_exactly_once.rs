//! A call that runs once though its connection is cut in the midst of it, and the client sends it again.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use np_facade::OnceSettings;
use np_facade::prelude::*;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Work that says when it has begun, goes on when it may, and counts how often it ran.
#[derive(Default)]
struct Shop {
    orders: AtomicU32,
    begun: Notify,
    go_on: Notify,
}

impl Shop {
    async fn order(self: Arc<Self>, article: Bytes) -> Result<String, CallError> {
        let number = self.orders.fetch_add(1, Ordering::SeqCst) + 1;
        self.begun.notify_one();
        self.go_on.notified().await;
        Ok(format!("order {number}: {}", String::from_utf8_lossy(&article)))
    }
}

/// Passes bytes on between clients and the server, and cuts the line when it is told to.
async fn relay(listener: TcpListener, server: String, cut: Arc<Notify>) -> std::io::Result<()> {
    loop {
        let (mut near, _) = listener.accept().await?;
        let mut far = TcpStream::connect(&server).await?;
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut near, &mut far) => ended.map(drop)?,
            () = cut.notified() => println!("the line is cut"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shop = Arc::new(Shop::default());
    let counter = Arc::clone(&shop);
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .exactly_once(OnceSettings::default())
        .on_async("order", move |_ctx, article: Bytes| Arc::clone(&counter).order(article))
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.clone();
    let (host, port) = (address.host().ok_or("no host")?, address.port().ok_or("no port")?);

    // The client reaches the server through a line that can be cut. The key is the server's all the same.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let key = address.keys().first().ok_or("no key")?;
    let through = format!("tcp://{}?key={key}", listener.local_addr()?);
    let cut = Arc::new(Notify::new());
    let line = tokio::spawn(relay(listener, format!("{host}:{port}"), Arc::clone(&cut)));

    let client = Client::builder(through).exactly_once().connect().await?;
    let caller = client.clone();
    let call = tokio::spawn(async move { caller.call("order", "a lamp").await });
    shop.begun.notified().await;
    // The order is at work when its connection goes; it runs on, and its reply is kept until the client has it.
    cut.notify_one();
    shop.go_on.notify_one();
    let reply = call.await??;
    println!("{}", String::from_utf8_lossy(&reply));
    assert_eq!(reply, "order 1: a lamp");
    assert_eq!(shop.orders.load(Ordering::SeqCst), 1);

    client.close().await;
    line.abort();
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
