//! Knowing a server by its key: handed over, changed without a cut, or kept at first use.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;
use np_facade::{ErrorKind, KnownPeers, PublicKey};

async fn start_server(identity: Identity, place: &str) -> Result<Server, np_facade::Error> {
    Server::builder(identity, Policy::anyone()).listen(place).start().await
}

/// Expects that the client has refused the server.
fn must_fail(who: &str, connected: Result<Client, np_facade::Error>) -> Result<(), Box<dyn std::error::Error>> {
    match connected {
        Ok(_) => Err(format!("{who}: the connection should have failed").into()),
        Err(error) => {
            println!("{who}: {error}");
            assert_eq!(error.kind(), ErrorKind::Authentication);
            Ok(())
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (old, new) = (Identity::generate()?, Identity::generate()?);
    let (old_key, new_key): (PublicKey, PublicKey) = (old.public_key(), new.public_key());
    let server = start_server(old, "tcp://127.0.0.1:0").await?;
    let listening = server.addresses().first().ok_or("no address")?.clone();
    let place = listening.without_keys();

    // An address without a key says nothing about who may answer, and is refused before anything is sent.
    must_fail("no key", Client::connect(&place.to_string()).await)?;
    // Another key than the server's is refused before the client shows its own.
    must_fail("a wrong key", Client::connect(&place.clone().with_key(new_key).to_string()).await)?;

    // Before a key is changed, clients get both: any one of them will do.
    let both = place.clone().with_key(old_key).with_key(new_key).to_string();
    let client = Client::connect(&both).await?;
    println!("before the change the server is {}", client.connection().peer());
    client.close().await;

    // Where no key can be handed over, the first one that is met is kept, and no other accepted from then on.
    let folder = tempfile::tempdir()?;
    let known = || KnownPeers::open(&folder.path().join("known_peers"));
    let client = Client::builder(place.to_string()).trust_first_use(known()?).connect().await?;
    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;

    // The server comes back at the same place with its new key.
    let server = start_server(new, &place.to_string()).await?;
    let client = Client::connect(&both).await?;
    println!("after it the server is {}", client.connection().peer());
    client.close().await;
    must_fail("kept at first use", Client::builder(place.to_string()).trust_first_use(known()?).connect().await)?;

    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
