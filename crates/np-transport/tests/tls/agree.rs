//! What two ends agree on: version, suite, group, protocol, and the value that binds what is inside to the channel.

use std::sync::{Arc, Mutex};

use np_transport::{
    ClientAuth, Failure, SecurityMode, TlsClient, TlsError, TlsServer, TlsSetupError, TlsSuite, TlsVersion, connect,
};
use np_types::PeerIdentity;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::common::{Ca, Leaf, bare, listen, meet, met, pair, tls_error};

/// A client that is not of np, with the versions and protocols given.
pub(crate) fn foreign_client(
    ca: &Ca,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.issuer.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

fn foreign_server(leaf: &Leaf, alpn: &[&[u8]]) -> TlsAcceptor {
    Arc::new(foreign_server_config(leaf, alpn)).into()
}

pub(crate) fn foreign_server_config(leaf: &Leaf, alpn: &[&[u8]]) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(leaf.pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn dial(port: u16, config: ClientConfig) -> std::io::Result<Stream> {
    dial_behind(&[], port, config).await
}

/// Dials with some bytes in front of TLS.
pub(crate) async fn dial_behind(head: &[u8], port: u16, config: ClientConfig) -> std::io::Result<Stream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(head).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn tls_13_is_agreed_with_a_post_quantum_key_exchange() {
    let (ca, leaf) = pair();
    let (client, server) = met(leaf.server(), ca.client()).await;
    for link in [&client, &server] {
        let info = link.tls.as_ref().unwrap();
        assert_eq!(info.version, TlsVersion::Tls13);
        assert_eq!(info.group, "X25519MLKEM768");
        assert!(!info.resumed);
        assert_eq!(link.mode, SecurityMode::Tls);
    }
    let PeerIdentity::Certificate { spki, names, subject } = client.identity else { panic!("{:?}", client.identity) };
    assert_eq!(spki, leaf.pin);
    assert_eq!(names, ["localhost", "127.0.0.1"]);
    assert_eq!(subject, "CN=rcgen self signed cert");
    assert_eq!(server.identity, PeerIdentity::Anonymous);
    assert!(server.peer.text.starts_with("tls://127.0.0.1:"), "{}", server.peer);
}

#[tokio::test]
async fn bytes_go_both_ways_and_end() {
    let (ca, leaf) = pair();
    let (mut client, mut server) = met(leaf.server(), ca.client()).await;
    let sent: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut back = Vec::new();
    let echo = async {
        let (mut from, mut to) = tokio::io::split(&mut server.io);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let (mut reader, mut writer) = tokio::io::split(&mut client.io);
    tokio::join!(
        echo,
        async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        },
        async {
            reader.read_to_end(&mut back).await.unwrap();
        }
    );
    assert!(back == sent);
}

#[tokio::test]
async fn the_channel_binding_is_equal_at_both_ends_and_new_each_time() {
    let (ca, leaf) = pair();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let suites = TlsSuite::ALL
            .into_iter()
            .filter(|suite| suite.to_string().starts_with("TLS13") == (version == TlsVersion::Tls13));
        let suites: Vec<TlsSuite> = suites.collect();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let client = ca.client().min_version(TlsVersion::Tls12).cipher_suites(suites.clone());
            let (client, server) = met(leaf.server().min_version(TlsVersion::Tls12), client).await;
            assert_eq!(client.tls.unwrap().version, version);
            assert_eq!(client.channel_binding, server.channel_binding);
            seen.push(client.channel_binding.unwrap());
        }
        assert_ne!(seen[0], seen[1]);
        assert_ne!(seen[0], [0; 32]);
    }
}

#[tokio::test]
async fn the_channel_binding_is_that_of_rfc_9266() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    let config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, &[b"np/1"]);
    let (stream, link) = tokio::join!(dial(port, config), listener.accept());
    let stream = stream.unwrap();
    let expected = stream.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
    assert_eq!(link.unwrap().channel_binding, Some(expected));
}

#[tokio::test]
async fn the_least_version_counts_at_both_ends() {
    let (ca, leaf) = pair();
    let old = || vec![TlsSuite::ALL[3]];
    let both = TlsVersion::Tls12;
    let (client, server) =
        meet(leaf.server().min_version(both), ca.client().min_version(both).cipher_suites(old())).await;
    assert_eq!(client.unwrap().tls.unwrap().version, TlsVersion::Tls12);
    server.unwrap();
    let (client, server) = meet(leaf.server(), ca.client().min_version(both).cipher_suites(old())).await;
    assert!(matches!(tls_error(server), TlsError::Version));
    assert!(matches!(tls_error(client), TlsError::Version));
    let (client, server) = meet(leaf.server().min_version(both).cipher_suites(old()), ca.client()).await;
    assert!(matches!(tls_error(server), TlsError::Version));
    assert!(matches!(tls_error(client), TlsError::Version));
}

#[tokio::test]
async fn the_cipher_suites_of_the_settings_are_the_ones_in_use() {
    let (ca, leaf) = pair();
    for suite in [TlsSuite::AES_128_GCM, TlsSuite::CHACHA20_POLY1305, TlsSuite::AES_256_GCM] {
        let (client, _server) = met(leaf.server().cipher_suites([suite]), ca.client()).await;
        assert_eq!(client.tls.unwrap().suite, suite);
        let (_client, server) = met(leaf.server(), ca.client().cipher_suites([suite])).await;
        assert_eq!(server.tls.unwrap().suite, suite);
    }
    let (client, server) = meet(
        leaf.server().cipher_suites([TlsSuite::AES_128_GCM]),
        ca.client().cipher_suites([TlsSuite::CHACHA20_POLY1305]),
    )
    .await;
    assert!(matches!(tls_error(server), TlsError::Suite));
    let client = client.unwrap_err();
    assert_eq!(client.failure(), Failure::Authentication, "{client}");
}

#[test]
fn suites_that_fit_no_version_are_refused() {
    let old = TlsSuite::ALL[3];
    for suites in [vec![old], Vec::new()] {
        let error = TlsClient::builder().cipher_suites(suites.clone()).build().unwrap_err();
        assert!(matches!(error, TlsSetupError::NoSuite { version: TlsVersion::Tls13 }), "{error}");
        let error = pair().1.server().cipher_suites(suites).build().unwrap_err();
        assert!(matches!(error, TlsSetupError::NoSuite { .. }), "{error}");
    }
    for suite in TlsSuite::ALL {
        assert_eq!(suite.to_string().parse(), Ok(suite));
        let low = TlsClient::builder().min_version(TlsVersion::Tls12);
        low.cipher_suites([suite]).build().unwrap();
    }
}

#[tokio::test]
async fn a_client_without_np_in_its_alpn_is_refused_and_told() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    for alpn in [&[] as &[&[u8]], &[b"h2", b"http/1.1"], &[b"np/2"]] {
        let config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, alpn);
        let (stream, link) = tokio::join!(dial(port, config), listener.accept());
        let link = link.unwrap_err();
        assert!(link.is_transient());
        assert!(matches!(tls_error(Err(link)), TlsError::NoAlpn));
        assert!(stream.unwrap_err().to_string().contains("NoApplicationProtocol"));
    }
    let config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, &[b"h2", b"np/1"]);
    let (stream, link) = tokio::join!(dial(port, config), listener.accept());
    stream.unwrap();
    link.unwrap();
}

#[tokio::test]
async fn a_server_without_np_in_its_alpn_is_refused() {
    let (ca, leaf) = pair();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", tcp.local_addr().unwrap().port()).parse().unwrap();
    let options = np_transport::ConnectOptions { tls: Some(ca.client().build().unwrap()), ..Default::default() };
    for alpn in [&[] as &[&[u8]], &[b"h2"]] {
        let acceptor = foreign_server(&leaf, alpn);
        let (link, _) = tokio::join!(np_transport::connect_with(&address, &options), async {
            acceptor.accept(tcp.accept().await.unwrap().0).await
        });
        assert!(matches!(tls_error(link), TlsError::NoAlpn));
    }
    let acceptor = foreign_server(&leaf, &[b"np/1"]);
    let (link, _stream) = tokio::join!(np_transport::connect_with(&address, &options), async {
        acceptor.accept(tcp.accept().await.unwrap().0).await.unwrap()
    });
    link.unwrap();
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_called_so() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let address = format!("tcp://127.0.0.1:{}", bare(&listener).port().unwrap()).parse().unwrap();
    let (plain, link) = tokio::join!(
        async {
            let mut link = connect(&address).await.unwrap();
            link.io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            link
        },
        listener.accept()
    );
    drop(plain);
    assert!(matches!(tls_error(link), TlsError::NotTls));

    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", tcp.local_addr().unwrap().port()).parse().unwrap();
    let options = np_transport::ConnectOptions { tls: Some(ca.client().build().unwrap()), ..Default::default() };
    let (link, _) = tokio::join!(np_transport::connect_with(&address, &options), async {
        let (mut stream, _) = tcp.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let error = link.unwrap_err();
    assert_eq!(error.failure(), Failure::Connect);
    assert!(matches!(tls_error(Err(error)), TlsError::NotTls));
}

#[tokio::test]
async fn a_stream_that_ends_in_the_handshake_is_an_io_failure() {
    let (ca, _) = pair();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", tcp.local_addr().unwrap().port()).parse().unwrap();
    let options = np_transport::ConnectOptions { tls: Some(ca.client().build().unwrap()), ..Default::default() };
    let (link, ()) = tokio::join!(np_transport::connect_with(&address, &options), async {
        let (mut stream, _) = tcp.accept().await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
    });
    let error = link.unwrap_err();
    assert_eq!(error.failure(), Failure::Connect, "{error}");
    assert!(matches!(tls_error(Err(error)), TlsError::Io(_)));
}

#[tokio::test]
async fn tls_noise_is_tls_with_a_mode_of_its_own() {
    let (ca, leaf) = pair();
    let options =
        np_transport::BindOptions { tls: Some(leaf.server().build().unwrap()), ..np_transport::BindOptions::default() };
    let listener = np_transport::Listener::bind(&"tls+noise://127.0.0.1:0".parse().unwrap(), &options).await.unwrap();
    let client = ca.client().build().unwrap();
    let (client, server) = super::common::meet_at(&listener, &bare(&listener), &client).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!((client.mode, server.mode), (SecurityMode::TlsNoise, SecurityMode::TlsNoise));
    assert!(client.channel_binding.is_some());
    assert_eq!(client.channel_binding, server.channel_binding);
}

#[tokio::test]
async fn a_tls_listener_needs_a_certificate() {
    let options = np_transport::BindOptions::default();
    let error = np_transport::Listener::bind(&"tls://127.0.0.1:0".parse().unwrap(), &options).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
    assert!(error.to_string().contains("--cert"), "{error}");
    assert!(matches!(TlsServer::builder().build(), Err(TlsSetupError::NoCertificate)));
}

/// Notes whose certificates the server takes, and shows none.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<Vec<u8>>>);

impl ResolvesClientCert for Asked {
    fn resolve(&self, authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        *self.0.lock().unwrap() = authorities.iter().map(|name| name.to_vec()).collect();
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// So that a client which has several certificates knows which one to show.
#[tokio::test]
async fn a_server_that_asks_for_certificates_names_their_authority() {
    let (ca, leaf) = pair();
    let server = leaf.server().client_ca_pem(Ca::named("of clients").pem()).client_auth(ClientAuth::Optional);
    let listener = listen(server.build().unwrap()).await;
    let asked = Arc::new(Asked::default());
    let mut config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, &[b"np/1"]);
    config.client_auth_cert_resolver = Arc::clone(&asked) as Arc<dyn ResolvesClientCert>;
    let (client, server) = tokio::join!(dial(bare(&listener).port().unwrap(), config), listener.accept());
    let _ends = (client.unwrap(), server.unwrap());
    let names = asked.0.lock().unwrap().clone();
    assert!(matches!(&names[..], [name] if name.ends_with(b"of clients")), "{names:?}");
}
