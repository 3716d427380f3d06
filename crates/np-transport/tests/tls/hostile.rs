//! Peers that stay silent, send rubbish, dribble, or pretend to be somebody.

use std::sync::Arc;
use std::time::Duration;

use np_transport::{ConnectOptions, TlsClient, TlsError, connect_with};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::common::{Leaf, bare, listen, pair, tls_error};
use super::servers::exchange;

/// Shows a certificate whose key it does not have.
#[derive(Debug)]
struct Mask(Arc<CertifiedKey>);

impl ResolvesServerCert for Mask {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What a client says of a server that shows a certificate and signs with another key.
pub(crate) async fn meet_impostor(
    impostor: &Leaf,
    version: &'static SupportedProtocolVersion,
    client: &TlsClient,
) -> TlsError {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(impostor.pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(impostor.key.as_bytes()).unwrap();
    let mask = CertifiedKey::new(chain, provider.key_provider.load_private_key(key).unwrap());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Mask(Arc::new(mask))));
    config.alpn_protocols = vec![b"np/1".to_vec()];
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", tcp.local_addr().unwrap().port()).parse().unwrap();
    let options = ConnectOptions { tls: Some(client.clone()), ..Default::default() };
    let (link, _) = tokio::join!(connect_with(&address, &options), async {
        TlsAcceptor::from(Arc::new(config)).accept(tcp.accept().await.unwrap().0).await
    });
    tls_error(link)
}

#[tokio::test]
async fn silent_peers_do_not_hold_up_the_listener() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    let mut silent = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let incoming = listener.accept_incoming().await.unwrap();
        assert!(incoming.label().ip.is_some());
        waiting.push(tokio::spawn(incoming.into_link()));
    }
    exchange(&listener, &bare(&listener), &ca.client().build().unwrap()).await;
    assert!(waiting.iter().all(|task| !task.is_finished()));
    drop(silent);
    for task in waiting {
        assert!(matches!(tls_error(task.await.unwrap()), TlsError::Io(_)));
    }
}

#[tokio::test]
async fn a_peer_that_is_given_up_is_cut() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let mut silent = TcpStream::connect(("127.0.0.1", bare(&listener).port().unwrap())).await.unwrap();
    let incoming = listener.accept_incoming().await.unwrap();
    assert!(timeout(Duration::from_millis(10), incoming.into_link()).await.is_err());
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

/// A client hello in one-byte records, or a handshake message that is announced larger than any.
#[tokio::test]
async fn a_client_hello_without_end_is_cut_long_before_it_is_large() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    // A record of 16 KiB; the first opens a client hello of 16 MiB.
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend([1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let flood = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut sent = 0;
        while sent < 64 << 20 && stream.write_all(&record).await.is_ok() {
            sent += record.len();
        }
        sent
    };
    let (sent, link) = tokio::join!(flood, listener.accept());
    let error = link.unwrap_err();
    assert!(matches!(tls_error(Err(error)), TlsError::Broken { .. } | TlsError::NotTls));
    assert!(sent < 16 << 20, "{sent}");
}

#[tokio::test]
async fn rubbish_never_becomes_a_link() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    for length in [1usize, 5, 6, 100, 20_000] {
        for first in [0u8, 20, 21, 22, 23, 128, 255] {
            let send = async {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let bytes: Vec<u8> = (0..length).map(|n| if n == 0 { first } else { (n % 7) as u8 }).collect();
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let mut back = Vec::new();
                let _ = stream.read_to_end(&mut back).await;
                back
            };
            let (back, link) = tokio::join!(send, listener.accept());
            assert!(link.unwrap_err().is_transient());
            assert!(back.len() <= 16, "{back:?}");
        }
    }
}

/// Of a hello that is announced at its full 64 KiB, only so much is kept.
#[tokio::test]
async fn a_hello_beyond_16_kib_is_refused() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let at = (listener.local_address().host().unwrap(), listener.local_address().port().unwrap());
    for (records, refused) in [(0u8, false), (1, true)] {
        let mut stream = TcpStream::connect((at.0.as_str(), at.1)).await.unwrap();
        let incoming = listener.accept_incoming().await.unwrap();
        // A record whose message is a client hello of 60,000 bytes, of which there are 16,000, and perhaps another.
        let first = [&[22, 3, 1, 0x3e, 0x80, 1, 0, 0xea, 0x60][..], &[0; 15_996]].concat();
        let next = [&[22, 3, 1, 0x3e, 0x80][..], &[0; 16_000]].concat();
        stream.write_all(&first).await.unwrap();
        stream.write_all(&next.repeat(usize::from(records))).await.unwrap();
        let greeted = timeout(Duration::from_millis(500), incoming.into_link()).await;
        assert_eq!(greeted.is_ok(), refused, "{records}");
        if let Ok(outcome) = greeted {
            let error = tls_error(outcome);
            assert!(error.to_string().contains("longer than 16 KiB"), "{error}");
        }
    }
}

/// In debug builds rustls panics where it reads a bad record after its own close.
#[tokio::test]
async fn a_bad_record_after_the_last_word_is_an_error() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let options = ConnectOptions { tls: Some(ca.client().build().unwrap()), ..ConnectOptions::default() };
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", between.local_addr().unwrap().port()).parse().unwrap();
    let port = bare(&listener).port().unwrap();
    let carry = async {
        let mut outside = between.accept().await.unwrap().0;
        let mut inside = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // Carries until the client has said its last, then makes up what the server never said.
        let (mut from, mut to) = inside.split();
        let (mut reads, mut writes) = outside.split();
        tokio::select! {
            _ = tokio::io::copy(&mut from, &mut writes) => panic!("the server ended first"),
            ended = tokio::io::copy(&mut reads, &mut to) => ended.unwrap(),
        };
        writes.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
        writes.write_all(&[7; 32]).await.unwrap();
    };
    let client = async {
        let mut link = connect_with(&address, &options).await.unwrap();
        link.io.shutdown().await.unwrap();
        link.io.read(&mut [0; 16]).await.unwrap_err().kind()
    };
    let (read, (), _server) =
        timeout(Duration::from_secs(20), async { tokio::join!(client, carry, listener.accept()) }).await.unwrap();
    assert_eq!(read, std::io::ErrorKind::InvalidData);
}
