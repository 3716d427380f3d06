//! Windows named pipes: bytes both ways, one listener per name, and modes that cannot be kept.
// Tells the lints that helper functions are tests too.
#![cfg(test)]
#![cfg(windows)]

use np_transport::{Address, BindOptions, Failure, Listener, TransportError, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn at(name: &str) -> Address {
    format!("pipe:np-test-{name}-{}", std::process::id()).parse().unwrap()
}

async fn bind(address: &Address) -> Result<Listener, TransportError> {
    Listener::bind(address, &BindOptions::default()).await
}

#[tokio::test]
async fn a_pipe_carries_bytes_both_ways() {
    let address = at("echo");
    let listener = bind(&address).await.unwrap();
    let (mut client, mut server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut there = vec![0; sent.len()];
    let (write, read) = tokio::join!(client.io.write_all(&sent), server.io.read_exact(&mut there));
    write.unwrap();
    read.unwrap();
    assert!(there == sent);
    server.io.write_all(b"back").await.unwrap();
    let mut back = [0; 4];
    client.io.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"back");
    assert_eq!(server.peer.ip, None);
}

#[tokio::test]
async fn several_clients_share_a_pipe_name() {
    let address = at("several");
    let listener = bind(&address).await.unwrap();
    let mut links = Vec::new();
    for _ in 0..8 {
        links.push(tokio::try_join!(connect(&address), listener.accept()).unwrap());
    }
    for (number, (client, server)) in links.iter_mut().enumerate() {
        client.io.write_all(&[number as u8]).await.unwrap();
        assert_eq!(server.io.read_u8().await.unwrap(), number as u8);
    }
}

/// Skipped aloud under Wine, whose older versions take no notice of the flag for the first instance.
#[tokio::test]
async fn a_pipe_name_is_bound_once() {
    if std::env::var_os("WINEPREFIX").is_some() {
        return println!("skipped: this Wine takes no notice of the flag");
    }
    let address = at("once");
    let _first = bind(&address).await.unwrap();
    let error = bind(&address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_pipe_that_nobody_listens_on_refuses() {
    let error = connect(&at("nobody")).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn the_mode_local_is_refused_with_the_alternative() {
    let address = format!("{}?mode=local", at("local")).parse().unwrap();
    for error in [connect(&address).await.unwrap_err(), bind(&address).await.unwrap_err()] {
        assert_eq!(error.failure(), Failure::Usage);
        assert!(error.to_string().contains("mode local"), "{error}");
    }
}
