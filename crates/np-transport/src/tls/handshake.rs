//! The handshake: from a stream that anybody may be at the end of to one whose peer has proven itself.
//!
//! It sets no time limit; its caller does. It must never read more than a handshake may hold: rustls ends one that sends a
//! message above 64 KiB.

use std::io;
use std::time::Duration;

use np_types::{ALPN, PeerIdentity};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::Acceptor;
use rustls::{CommonState, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use super::client::Ready;
use super::error::TlsError;
use super::identity;
use super::refusal::{from_io, from_rustls};
use super::server::TlsServer;
use super::settings::TlsInfo;
use super::stream::{Greeting, Named};
use crate::link::Io;

/// RFC 9266: the value that both ends of this very channel know.
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A fatal alert in clear, `no_application_protocol` (RFC 7301), for a peer that has not got a server hello yet.
const NO_ALPN_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// The most bytes of a client's hello: ten times what the largest client says, post-quantum shares included. Strangers
/// could have 64 KiB kept for each of them without it.
const HELLO: usize = 16 * 1024;

/// How much, and for how long, a refused peer's bytes are taken, lest a reset of the connection eat the reason.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// What a handshake has come to.
pub(crate) struct Secured {
    pub(crate) io: Box<dyn Io>,
    pub(crate) identity: PeerIdentity,
    pub(crate) binding: [u8; 32],
    pub(crate) info: TlsInfo,
}

/// The server's side.
pub(crate) async fn accept<S: Io>(
    stream: S,
    server: &TlsServer,
    heard: impl FnOnce() + Send,
) -> Result<Secured, TlsError> {
    let stream = Greeting { stream, left: Some(HELLO) };
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(from_io)?;
    start.io.left = None;
    let offers_np = start.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == ALPN));
    if !offers_np {
        let mut stream = start.io;
        // The peer may be gone; that it offered nothing of use remains true.
        let _ = stream.write_all(&NO_ALPN_ALERT).await;
        linger(stream).await;
        return Err(TlsError::NoAlpn);
    }
    heard();
    // One state from here on, whatever is reloaded meanwhile.
    let ready = server.ready();
    let stream = match start.into_stream(ready.config.clone()).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            linger(stream).await;
            return Err(from_io(error));
        }
    };
    let connection = stream.get_ref().1;
    let certificates = connection.peer_certificates();
    if let (true, Some(verifier), Some([leaf, rest @ ..])) = (resumed(connection), &ready.verifier, certificates) {
        verifier.verify_client_cert(leaf, rest, UnixTime::now()).map_err(|error| from_rustls(&error))?;
    }
    let identity = identity::of(certificates, true);
    secured(TlsStream::Server(stream), identity)
}

/// The client's side.
pub(crate) async fn connect<S: Io>(stream: S, ready: &Ready, name: ServerName<'static>) -> Result<Secured, TlsError> {
    let connector = TlsConnector::from(ready.config.clone());
    let stream = connector.connect(name.clone(), stream).await.map_err(from_io)?;
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(TlsError::NoAlpn);
    }
    let certificates = connection.peer_certificates();
    let Some([leaf, rest @ ..]) = certificates else {
        return Err(TlsError::Broken { what: "it shows no certificate".to_owned() });
    };
    if resumed(connection) {
        let verified = ready.checks.verify_server_cert(leaf, rest, &name, &[], UnixTime::now());
        verified.map_err(|error| from_rustls(&error))?;
    }
    let identity = if ready.checks.proves() {
        identity::of(certificates, ready.checks.vouches())
    } else {
        PeerIdentity::Anonymous
    };
    secured(TlsStream::Client(stream), identity)
}

/// Whether the session is one of before. It brings the certificate of its first handshake, which may have expired since
/// and which rustls does not look at again.
fn resumed(connection: &CommonState) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn secured<S: Io>(stream: TlsStream<S>, identity: PeerIdentity) -> Result<Secured, TlsError> {
    let connection = stream.get_ref().1;
    let info = TlsInfo::of(connection);
    let info = info.ok_or_else(|| TlsError::Broken { what: "the handshake has no end".to_owned() })?;
    let binding = match &stream {
        TlsStream::Client(stream) => stream.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, Some(&[])),
        TlsStream::Server(stream) => stream.get_ref().1.export_keying_material([0; 32], BINDING_LABEL, Some(&[])),
    };
    let binding = binding.map_err(|error| from_rustls(&error))?;
    Ok(Secured { io: Box::new(Named::new(stream)), identity, binding, info })
}

/// Ends what is sent, and throws away a little of what still comes.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let discard = async {
        stream.shutdown().await?;
        let mut bytes = [0; 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            let got = stream.read(&mut bytes).await?;
            if got == 0 {
                break;
            }
            left = left.saturating_sub(got);
        }
        Ok::<(), io::Error>(())
    };
    let _ = tokio::time::timeout(LINGER, discard).await;
}
