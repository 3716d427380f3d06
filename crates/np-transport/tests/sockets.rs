//! The settings of listeners and connections over TCP, by what they do.
// Tells the lints that helper functions are tests too.
#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr};

use np_transport::{Address, BindOptions, ConnectOptions, Failure, Listener, connect, connect_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

const FROM_192_0_2_9: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x0a\0\0\x01\x12\x34\0\x50";

#[tokio::test]
async fn the_proxys_header_says_where_the_client_is() {
    let options = BindOptions { proxy_protocol: true, ..BindOptions::default() };
    let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &options).await.unwrap();
    let mut client = connect(listener.local_address()).await.unwrap();
    let incoming = listener.accept_incoming().await.unwrap();
    assert_eq!(incoming.label().ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    client.io.write_all(FROM_192_0_2_9).await.unwrap();
    client.io.write_all(b"np").await.unwrap();
    let mut server = incoming.into_link().await.unwrap();
    assert_eq!(server.peer.text, "tcp://192.0.2.9:4660");
    assert_eq!(server.peer.ip, Some([192, 0, 2, 9].into()));
    let mut bytes = [0; 2];
    server.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"np");
}

#[tokio::test]
async fn a_peer_without_the_proxys_header_is_refused_and_others_go_on() {
    let options = BindOptions { proxy_protocol: true, ..BindOptions::default() };
    let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &options).await.unwrap();
    let mut client = connect(listener.local_address()).await.unwrap();
    client.io.write_all(b"0123456789abcdef").await.unwrap();
    let error = listener.accept().await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("PROXY"), "{error}");
}

#[tokio::test]
async fn without_the_setting_a_header_is_the_peers_own_business() {
    let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &BindOptions::default()).await.unwrap();
    let mut client = connect(listener.local_address()).await.unwrap();
    client.io.write_all(FROM_192_0_2_9).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    assert_eq!(server.peer.ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let mut bytes = [0; FROM_192_0_2_9.len()];
    server.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, FROM_192_0_2_9);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_source_address_is_the_one_that_is_set() {
    let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &BindOptions::default()).await.unwrap();
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
    let options = ConnectOptions { source: Some(source), ..ConnectOptions::default() };
    let address = listener.local_address();
    let (_client, server) = tokio::try_join!(connect_with(address, &options), listener.accept()).unwrap();
    assert_eq!(server.peer.ip, Some(source));
}

#[tokio::test]
async fn a_source_of_the_other_family_is_refused() {
    let options = ConnectOptions { source: Some("::1".parse().unwrap()), ..ConnectOptions::default() };
    let error = connect_with(&at("tcp://127.0.0.1:9"), &options).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
    assert!(error.to_string().contains("family"), "{error}");
}

/// Skipped aloud where the machine has no IPv6.
#[tokio::test]
async fn ipv6_only_leaves_ipv4_alone() {
    for only in [false, true] {
        let options = BindOptions { ipv6_only: Some(only), ..BindOptions::default() };
        let listener = match Listener::bind(&at("tcp://[::]:0"), &options).await {
            Ok(listener) => listener,
            Err(error) => return println!("skipped: no IPv6 here ({error})"),
        };
        let port = listener.local_address().port().unwrap();
        let over_v4 = connect(&at(&format!("tcp://127.0.0.1:{port}"))).await;
        assert_eq!(over_v4.is_err(), only, "{over_v4:?}");
    }
}

/// Without the setting on both the second is refused; with it each is given some of the connections.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn listeners_that_share_a_port_share_its_connections() {
    let shared = BindOptions { share_port: true, ..BindOptions::default() };
    let first = Listener::bind(&at("tcp://127.0.0.1:0"), &shared).await.unwrap();
    let address = first.local_address().clone();
    let error = Listener::bind(&address, &BindOptions::default()).await.unwrap_err();
    assert!(matches!(error, np_transport::TransportError::InUse { .. }), "{error}");
    let second = Listener::bind(&address, &shared).await.unwrap();
    let mut clients = Vec::new();
    // The system chooses by the port of the client: that all of 64 go the same way does not happen.
    let mut accepted = [0, 0];
    for _ in 0..64 {
        clients.push(connect(&address).await.unwrap());
        tokio::select! {
            link = first.accept() => accepted[usize::from(link.is_err())] += 1,
            link = second.accept() => accepted[usize::from(link.is_ok())] += 1,
        }
    }
    assert!(accepted[0] > 0 && accepted[1] > 0, "{accepted:?}");
}

/// A port whose last connection was closed by this end waits for stragglers: binding it needs the setting.
#[cfg(unix)]
#[tokio::test]
async fn reuse_address_lets_a_server_start_again_at_once() {
    let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &BindOptions::default()).await.unwrap();
    let address = listener.local_address().clone();
    let (mut client, mut server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    server.io.shutdown().await.unwrap();
    assert_eq!(client.io.read(&mut [0]).await.unwrap(), 0);
    client.io.shutdown().await.unwrap();
    assert_eq!(server.io.read(&mut [0]).await.unwrap(), 0);
    drop((client, server, listener));
    let options = BindOptions { reuse_address: false, ..BindOptions::default() };
    let error = Listener::bind(&address, &options).await.unwrap_err();
    assert!(matches!(error, np_transport::TransportError::InUse { .. }), "{error}");
    Listener::bind(&address, &BindOptions::default()).await.unwrap();
}
