//! TLS 1.2 without the extended master secret, which nothing can be bound to: refused at either end. Its hellos are made by
//! hand, since rustls offers it always.

use np_transport::{ConnectOptions, TlsError, TlsVersion, connect_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::common::{bare, listen, pair, tls_error};

/// A fatal alert, `handshake_failure`.
const REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 40];

/// Bytes behind their length, which has so many bytes itself.
fn counted(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[4 - width..], bytes].concat()
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &counted(2, body)].concat()
}

/// ALPN for np, points without compression, and the extended master secret or not.
fn extensions(extended: bool) -> Vec<u8> {
    let both = [extension(16, &counted(2, &counted(1, b"np/1"))), extension(11, &counted(1, &[0]))].concat();
    if extended { [both, extension(23, &[])].concat() } else { both }
}

/// A handshake message in a record of its own.
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let message = [&[kind][..], &counted(3, body)].concat();
    [&[22, 3, 3][..], &counted(2, &message)].concat()
}

fn client_hello(extended: bool) -> Vec<u8> {
    // X25519 and P-256; ECDSA with P-256.
    let groups = extension(10, &counted(2, &[0, 29, 0, 23]));
    let signatures = extension(13, &counted(2, &[4, 3]));
    let extensions = counted(2, &[groups, signatures, extensions(extended)].concat());
    // No session, ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, no compression.
    record(1, &[&[3, 3][..], &[7; 32], &[0], &counted(2, &[0xc0, 0x2b]), &[1, 0], &extensions].concat())
}

fn server_hello(extended: bool) -> Vec<u8> {
    let extensions = counted(2, &extensions(extended));
    record(2, &[&[3, 3][..], &[7; 32], &[0], &[0xc0, 0x2b], &[0], &extensions].concat())
}

#[tokio::test]
async fn a_client_without_it_is_refused_and_told() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().min_version(TlsVersion::Tls12).build().unwrap()).await;
    let port = bare(&listener).port().unwrap();
    let ask = |extended| async move {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(&client_hello(extended)).await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        answer
    };
    let (answer, link) = tokio::join!(ask(false), listener.accept());
    assert_eq!(answer, REFUSAL);
    let error = tls_error(link);
    assert!(matches!(error, TlsError::NoExtendedMasterSecret), "{error}");
    let (answer, link) = tokio::join!(ask(true), listener.accept());
    assert_eq!((answer[0], answer[5]), (22, 2), "with it, a server hello comes back");
    assert!(matches!(tls_error(link), TlsError::Io(_)));
}

#[tokio::test]
async fn a_server_without_it_is_refused_and_told() {
    let (ca, _) = pair();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://{}", tcp.local_addr().unwrap()).parse().unwrap();
    let tls = Some(ca.client().min_version(TlsVersion::Tls12).build().unwrap());
    let options = ConnectOptions { tls, ..ConnectOptions::default() };
    for extended in [false, true] {
        let serve = async {
            let (mut stream, _) = tcp.accept().await.unwrap();
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.unwrap();
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            stream.write_all(&server_hello(extended)).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (link, answer) = tokio::join!(connect_with(&address, &options), serve);
        let error = tls_error(link);
        assert_eq!(matches!(error, TlsError::NoExtendedMasterSecret), !extended, "{error}");
        assert_eq!(answer == REFUSAL, !extended, "{answer:?}");
    }
}
