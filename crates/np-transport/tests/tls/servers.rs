//! A server's certificates over time: several, reloaded, and sessions that are taken up again.

use np_transport::{Address, BindOptions, Link, Listener, TlsClient, TlsServer, TlsSetupError, TlsSuite, TlsVersion};
use np_types::PeerIdentity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::agree::{dial_behind, foreign_client};
use super::common::{Ca, HERE, bare, listen, meet_at, pair};

/// A link each, after a byte has gone each way: by then a client of TLS 1.3 has its tickets.
pub(crate) async fn exchange(listener: &Listener, address: &Address, client: &TlsClient) -> (Link, Link) {
    let (client, server) = meet_at(listener, address, client).await;
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let mut byte = [0];
    client.io.write_all(b"a").await.unwrap();
    server.io.read_exact(&mut byte).await.unwrap();
    server.io.write_all(b"b").await.unwrap();
    client.io.read_exact(&mut byte).await.unwrap();
    (client, server)
}

fn pin_seen(link: &Link) -> np_types::Fingerprint {
    match &link.identity {
        PeerIdentity::Certificate { spki, .. } => *spki,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again() {
    let (ca, leaf) = pair();
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let suites: Vec<TlsSuite> =
            if version == TlsVersion::Tls13 { TlsSuite::ALL.to_vec() } else { vec![TlsSuite::ALL[3]] };
        let listener = listen(leaf.server().min_version(version).build().unwrap()).await;
        let client = ca.client().min_version(version).cipher_suites(suites).build().unwrap();
        let mut bindings = Vec::new();
        for resumed in [false, true, true] {
            let (client, server) = exchange(&listener, &bare(&listener), &client).await;
            assert_eq!(client.tls.as_ref().unwrap().resumed, resumed);
            assert_eq!(server.tls.as_ref().unwrap().resumed, resumed);
            assert_eq!(client.tls.as_ref().unwrap().version, version);
            assert_eq!(pin_seen(&client), leaf.pin);
            assert_eq!(client.channel_binding, server.channel_binding);
            assert!(!bindings.contains(&client.channel_binding), "a session has a binding of its own each time");
            bindings.push(client.channel_binding);
        }
    }
}

#[tokio::test]
async fn a_proxys_header_before_tls_says_where_the_client_is() {
    const FROM_192_0_2_9: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x0a\0\0\x01\x12\x34\0\x50";
    let (ca, leaf) = pair();
    let tls = Some(leaf.server().build().unwrap());
    let options = BindOptions { tls, proxy_protocol: true, ..BindOptions::default() };
    let listener = Listener::bind(&"tls://127.0.0.1:0".parse().unwrap(), &options).await.unwrap();
    let port = bare(&listener).port().unwrap();
    let config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, &[b"np/1"]);
    let (client, link) = tokio::join!(dial_behind(FROM_192_0_2_9, port, config.clone()), listener.accept());
    let (mut client, mut link) = (client.unwrap(), link.unwrap());
    assert_eq!(link.peer.text, "tls://192.0.2.9:4660");
    assert_eq!(link.peer.ip, Some([192, 0, 2, 9].into()));
    link.io.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    let (client, link) = tokio::join!(dial_behind(&[], port, config), listener.accept());
    assert!(client.is_err());
    assert!(link.unwrap_err().to_string().contains("PROXY"));
}

#[tokio::test]
async fn resumption_can_be_turned_off_at_either_end() {
    let (ca, leaf) = pair();
    for (at_server, at_client) in [(false, true), (true, false)] {
        let listener = listen(leaf.server().resumption(at_server).build().unwrap()).await;
        let client = ca.client().resumption(at_client).build().unwrap();
        for _ in 0..2 {
            let (link, _server) = exchange(&listener, &bare(&listener), &client).await;
            assert!(!link.tls.unwrap().resumed);
        }
    }
}

#[tokio::test]
async fn sessions_are_not_shared_between_rules_of_trust() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let client = ca.client().build().unwrap();
    let (_links, pinned) = (exchange(&listener, &bare(&listener), &client).await, listener.local_address());
    let (link, _server) = exchange(&listener, pinned, &client).await;
    assert!(!link.tls.unwrap().resumed, "the pins of an address are other rules");
    let (link, _server) = exchange(&listener, pinned, &client).await;
    assert!(link.tls.unwrap().resumed);
}

#[tokio::test]
async fn a_server_with_several_certificates_shows_the_one_that_is_asked_for() {
    let ca = Ca::new();
    let (a, b, wild) = (ca.leaf(&["a.example", "127.0.0.1"]), ca.leaf(&["b.example"]), ca.leaf(&["*.wild.example"]));
    let server = a
        .server()
        .certificate_pem(b.pem.clone(), b.key.clone())
        .certificate_pem(wild.pem.clone(), wild.key.clone())
        .build()
        .unwrap();
    assert_eq!(server.pins(), [a.pin, b.pin, wild.pin]);
    let listener = listen(server).await;
    let client = ca.client().build().unwrap();
    let table =
        [("?name=b.example", b.pin), ("?name=x.wild.example", wild.pin), ("?name=a.example", a.pin), ("", a.pin)];
    for (name, pin) in table {
        let address = format!("{}{name}", bare(&listener)).parse().unwrap();
        let (link, _server) = exchange(&listener, &address, &client).await;
        assert_eq!(pin_seen(&link), pin, "{name}");
    }
    // Nobody carries the name: the first is shown, so that the client can say what it has met.
    let address = format!("{}?name=x.y.wild.example", bare(&listener)).parse().unwrap();
    let error = meet_at(&listener, &address, &client).await.0.unwrap_err();
    assert!(error.to_string().contains("a.example"), "{error}");
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_cuts_none() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("server.pem"), directory.path().join("key.pem"));
    let write = |leaf: &super::common::Leaf| {
        std::fs::write(&chain, &leaf.pem).unwrap();
        std::fs::write(&key, &leaf.key).unwrap();
    };
    let first = ca.leaf(&HERE);
    write(&first);
    let server = TlsServer::builder().certificate_files(&chain, &key).build().unwrap();
    let listener = listen(server.clone()).await;
    let client = ca.client().build().unwrap();
    let mut standing = Vec::new();
    for _ in 0..10 {
        let next = ca.leaf(&HERE);
        standing.push(exchange(&listener, &bare(&listener), &client).await);
        write(&next);
        server.reload().unwrap();
        let (link, other) = exchange(&listener, &bare(&listener), &client).await;
        assert_eq!(pin_seen(&link), next.pin);
        assert!(!link.tls.as_ref().unwrap().resumed);
        standing.push((link, other));
    }
    for (client, server) in &mut standing {
        client.io.write_all(b"still here").await.unwrap();
        server.io.read_exact(&mut [0; 10]).await.unwrap();
    }
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let ca = Ca::new();
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("server.pem"), directory.path().join("key.pem"));
    let (first, second) = (ca.leaf(&HERE), ca.leaf(&HERE));
    std::fs::write(&chain, &first.pem).unwrap();
    std::fs::write(&key, &first.key).unwrap();
    let server = TlsServer::builder().certificate_files(&chain, &key).build().unwrap();
    let listener = listen(server.clone()).await;
    let client = ca.client().build().unwrap();
    std::fs::write(&chain, &second.pem).unwrap();
    assert!(matches!(server.reload(), Err(TlsSetupError::KeyMismatch { .. })));
    std::fs::write(&chain, "no certificate").unwrap();
    let error = server.reload().unwrap_err();
    assert!(matches!(error, TlsSetupError::Missing { .. }));
    let says = "holds no certificate in PEM form; one starts with the line -----BEGIN CERTIFICATE-----";
    assert!(error.to_string().ends_with(says), "{error}");
    std::fs::remove_file(&chain).unwrap();
    let error = server.reload().unwrap_err();
    assert!(matches!(error, TlsSetupError::Read { .. }));
    assert!(error.to_string().contains("server.pem"), "{error}");
    let (link, _server) = exchange(&listener, &bare(&listener), &client).await;
    assert_eq!(pin_seen(&link), first.pin);
}

#[test]
fn settings_show_no_key() {
    let (_, leaf) = pair();
    let server = leaf.server();
    let client = leaf.shown_by(TlsClient::builder());
    for shown in [
        format!("{server:?}"),
        format!("{client:?}"),
        format!("{:?}", server.build().unwrap()),
        format!("{:?}", client.build().unwrap()),
    ] {
        assert!(!shown.contains("PRIVATE"), "{shown}");
        let inner = leaf.key.lines().nth(1).unwrap();
        assert!(!shown.contains(&inner[..16]), "{shown}");
    }
    let broken = TlsServer::builder().certificate_pem(leaf.pem.clone(), leaf.key.replace("END", "ENDE")).build();
    let error = broken.unwrap_err();
    assert!(!error.to_string().contains(&leaf.key.lines().nth(1).unwrap()[..16]), "{error}");
}
