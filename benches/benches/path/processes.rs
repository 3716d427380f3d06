//! A server and a client in processes of their own, over TCP and on tokio's default runtime, so that what they ask of the
//! kernel can be counted for each.

use std::io::Write as _;

use np_benches::plain;
use np_facade::prelude::*;

/// Serves until the input ends; prints the address.
#[tokio::main]
pub(crate) async fn serve() {
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = server.listen("tcp://127.0.0.1:0").start().await.unwrap();
    until_told(server.addresses().first().unwrap()).await;
}

/// The plaintext echo by hand, as [`serve`].
#[tokio::main]
pub(crate) async fn serve_plain() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(plain::serve(listener));
    until_told(address).await;
}

async fn until_told(address: impl std::fmt::Display) {
    println!("{address}");
    std::io::stdout().flush().unwrap();
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink()));
    ended.await.unwrap().unwrap();
}

/// Calls of 64 bytes on one connection; where the address is of a socket alone, by hand and in plaintext.
#[tokio::main]
pub(crate) async fn call(address: &str, in_flight: usize, calls: usize) {
    if let Ok(address) = address.parse() {
        let client = plain::Client::connect(address).await.unwrap();
        return super::calls::echo(&client, calls, in_flight, 64).await;
    }
    let client = Client::connect(address).await.unwrap();
    super::calls::echo(&client, calls, in_flight, 64).await;
}

/// Connections that made one call each, and then stand: for a heap profiler.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn idle(connections: usize) {
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = server.listen("tcp://127.0.0.1:0").start().await.unwrap();
    let address = server.addresses().first().unwrap().to_string();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = Client::connect(&address).await.unwrap();
        client.call("np.echo", "hi").await.unwrap();
        clients.push(client);
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    std::process::exit(0);
}
