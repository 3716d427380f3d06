//! Sessions that are taken up again: certificates that have expired since, and data that would come before the handshake.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use np_transport::{ConnectOptions, Listener, Party, TlsClient, TlsError, TlsSuite, TlsVersion, connect_with};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::agree::{foreign_client, foreign_server_config};
use super::common::{Ca, HERE, bare, listen, meet_at, pair, params, tls_error};
use super::servers::exchange;

/// For how long a certificate of these tests is good; a handshake takes a few thousandths of it.
const BRIEF: Duration = Duration::from_secs(3);

fn brief(names: &[&str]) -> CertificateParams {
    let mut params = params(names);
    params.not_after = (SystemTime::now() + BRIEF).into();
    params
}

/// Waits until what was made brief by now has expired. Certificates go by the system's clock, which no test can move, and
/// by whole seconds.
async fn outlive_what_is_brief() {
    let end = SystemTime::now() + BRIEF + Duration::from_secs(1);
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        tokio::time::sleep(left + Duration::from_millis(1)).await;
    }
}

fn suites(version: TlsVersion) -> Vec<TlsSuite> {
    if version == TlsVersion::Tls13 { TlsSuite::ALL.to_vec() } else { vec![TlsSuite::ALL[3]] }
}

/// Two links, of which the second takes up the session of the first.
async fn resume(listener: &Listener, client: &TlsClient, version: TlsVersion) {
    for resumed in [false, true] {
        let (link, _server) = exchange(listener, &bare(listener), client).await;
        let info = link.tls.unwrap();
        assert_eq!((info.version, info.resumed), (version, resumed));
    }
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_refused_in_a_session_of_before() {
    let ca = Ca::new();
    let mut ends = Vec::new();
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let leaf = ca.sign(brief(&HERE), KeyPair::generate().unwrap());
        let listener = listen(leaf.server().min_version(version).build().unwrap()).await;
        let client = ca.client().min_version(version).cipher_suites(suites(version)).build().unwrap();
        resume(&listener, &client, version).await;
        ends.push((listener, client));
    }
    outlive_what_is_brief().await;
    for (listener, client) in &ends {
        let (client, server) = meet_at(listener, &bare(listener), client).await;
        assert!(server.unwrap().tls.unwrap().resumed, "the session itself was taken up");
        let error = tls_error(client);
        assert!(matches!(error, TlsError::Expired { whose: Party::Peer, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_client_whose_certificate_has_expired_is_refused_in_a_session_of_before() {
    let (ca, leaf) = pair();
    let mut ends = Vec::new();
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let server = leaf.server().client_ca_pem(ca.pem()).min_version(version);
        let listener = listen(server.build().unwrap()).await;
        let mine = ca.sign(brief(&["client.example"]), KeyPair::generate().unwrap());
        let client = mine.shown_by(ca.client()).min_version(version).cipher_suites(suites(version)).build().unwrap();
        resume(&listener, &client, version).await;
        ends.push((listener, client));
    }
    outlive_what_is_brief().await;
    for (listener, client) in &ends {
        let (client, server) = meet_at(listener, &bare(listener), client).await;
        assert!(client.unwrap().tls.unwrap().resumed, "the session itself was taken up");
        let error = tls_error(server);
        assert!(matches!(error, TlsError::Expired { whose: Party::Peer, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_would_send_early_data_may_not() {
    let (ca, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    let mut config = foreign_client(&ca, rustls::DEFAULT_VERSIONS, &[b"np/1"]);
    config.enable_early_data = true;
    let connector = TlsConnector::from(Arc::new(config));
    for resumed in [false, true] {
        let mut may = true;
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connecting = connector.connect_with(name, stream, |client| may = client.early_data().is_some());
        let (stream, link) = tokio::join!(connecting, listener.accept());
        let (mut stream, mut link) = (stream.unwrap(), link.unwrap());
        assert_eq!(link.tls.as_ref().unwrap().resumed, resumed);
        assert!(!may);
        // The tickets are in front of it.
        link.io.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_sends_no_early_data_to_a_server_that_would_take_it() {
    let (ca, leaf) = pair();
    let mut config = foreign_server_config(&leaf, &[b"np/1"]);
    config.max_early_data_size = 1000;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://{}", tcp.local_addr().unwrap()).parse().unwrap();
    let options = ConnectOptions { tls: Some(ca.client().build().unwrap()), ..ConnectOptions::default() };
    for resumed in [false, true] {
        let serve = async { acceptor.accept(tcp.accept().await.unwrap().0).await.unwrap() };
        let (link, mut stream) = tokio::join!(connect_with(&address, &options), serve);
        let mut link = link.unwrap();
        assert_eq!(link.tls.as_ref().unwrap().resumed, resumed);
        assert!(stream.get_mut().1.early_data().is_none());
        stream.write_all(b"x").await.unwrap();
        link.io.read_exact(&mut [0]).await.unwrap();
    }
}
