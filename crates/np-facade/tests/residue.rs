//! What is left of identities and pre-shared keys in memory when a connection, its client and its server are gone:
//! nothing. The process looks through its own memory.
#![cfg(test)]
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test panics")]

#[path = "../../np-noise/tests/common/memory.rs"]
mod memory;

use std::time::Duration;

use memory::{Needle, Search, needles};
use np_facade::prelude::*;
use np_facade::{Pattern, Psk, Psks, SecretKey};

/// A secret that stands nowhere before it is made.
fn secret(number: u8) -> [u8; 32] {
    inverted(number).map(|byte| !byte)
}

fn inverted(number: u8) -> [u8; 32] {
    std::array::from_fn(|at| {
        (at as u8).wrapping_mul(89).wrapping_add(number.wrapping_mul(43)) ^ number.rotate_left(at as u32)
    })
}

fn looked_for() -> Vec<Needle> {
    let names = [("server's key", 1), ("client's key", 2), ("psk", 3)];
    names.iter().flat_map(|(name, number)| needles(name, &inverted(*number))).collect()
}

#[inline(never)]
fn identity(number: u8) -> Identity {
    Identity::from_secret(SecretKey::from_bytes(secret(number)))
}

#[inline(never)]
fn psk() -> Psk {
    Psk::from_bytes(secret(3))
}

async fn connect() -> (Server, Client) {
    let psks = Psks::new().with_id("team", psk()).unwrap();
    let server = Server::builder(identity(1), Policy::anyone()).psks(psks).listen("mem:residue").start().await.unwrap();
    let builder = Client::builder(server.addresses()[0].to_string()).identity(identity(2)).psk(psk()).psk_id("team");
    let client = builder.pattern(Pattern::XXpsk3).connect().await.unwrap();
    (server, client)
}

#[test]
fn no_identity_and_no_psk_is_left_in_memory_when_all_is_closed() {
    let mut search = Search::new(looked_for());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, client) = runtime.block_on(connect());
    let answer = runtime.block_on(client.call("np.echo", "hello")).unwrap();
    assert_eq!(answer, "hello");
    // A server keeps its psk for those who come: so the search finds what is there.
    assert!(search.look().iter().any(|found| found.starts_with("psk")), "the psk in use is not found");
    runtime.block_on(async {
        client.close().await;
        server.shutdown(Duration::from_secs(1)).await;
        drop((client, server));
    });
    drop(runtime);
    assert_eq!(search.look(), [""; 0]);
}
