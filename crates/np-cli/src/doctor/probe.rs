//! What `np doctor` asks a server: a first flight with this machine's time, and no more. Must never finish a handshake: no
//! key is proven to anybody.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use np_facade::raw::noise::Crypto;
use np_facade::raw::session::{Handshake, HandshakeEvent, InitiatorConfig};
use np_facade::raw::transport::{ConnectOptions, Io, dial};
use np_facade::{
    Address, CloseCode, ConnectionError, Keypair, Pattern, SecretKey, SecurityMode, UnixMillis, escape,
    random_secret_key,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::check::{Stamp, skew_in};
use crate::failure::Failure;

/// Bytes that are read at a time, and of all of an answer: message 2 or a refusal is shorter.
const MOST: usize = 4_096;
/// Characters of a reason that are shown.
const MAX_TEXT: usize = 256;

/// Asks a server; an answer of any kind is a stamp.
pub(super) async fn probe(address: &Address, within: Duration) -> Result<Stamp, Failure> {
    let asked = async {
        let dialled = match dial(address, &ConnectOptions::default()).await {
            Ok(dialled) => dialled,
            Err(error) => return Ok(Stamp::Silent(escape(&error.to_string(), MAX_TEXT))),
        };
        if address.mode() != SecurityMode::Noise {
            return Ok(Stamp::NotCompared(address.mode().as_str()));
        }
        match dialled.into_link().await {
            Ok(mut link) => ask(&mut link.io, first_flight(address)?).await,
            Err(error) => Ok(Stamp::Silent(escape(&error.to_string(), MAX_TEXT))),
        }
    };
    let late = || Ok(Stamp::Silent(format!("no answer within {} ms", within.as_millis())));
    timeout(within, asked).await.unwrap_or_else(|_| late())
}

/// A handshake of a fresh identity, whose preface carries this machine's time.
fn first_flight(address: &Address) -> Result<Handshake, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let identity = Keypair::from_secret(secret()?);
    let nonce: [u8; 16] = secret()?.expose().first_chunk().copied().unwrap_or_default();
    let start = InitiatorConfig {
        crypto: Crypto { suite: address.suite().unwrap_or_default(), ..Crypto::default() },
        pattern: Pattern::XX,
        local: Some(&identity),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        nonce,
        ephemeral: secret()?,
    };
    Handshake::initiator(start).map_err(|error| Failure::local(format!("cannot ask the server: {error}; report this")))
}

fn secret() -> Result<SecretKey, Failure> {
    random_secret_key().map_err(|error| Failure::of("ask the server", error.into()))
}

async fn ask(io: &mut Box<dyn Io>, mut handshake: Handshake) -> Result<Stamp, Failure> {
    let silent = |error: std::io::Error| Ok(Stamp::Silent(format!("the connection broke: {error}")));
    let mut out = Vec::new();
    handshake.poll_transmit(&mut out);
    if let Err(error) = io.write_all(&out).await {
        return silent(error);
    }
    let mut input = BytesMut::new();
    let mut read = 0;
    while read < MOST {
        match io.read_buf(&mut input).await {
            Ok(0) => handshake.handle_eof(),
            Ok(bytes) => read += bytes,
            Err(error) => return silent(error),
        }
        handshake.handle_bytes(&mut input);
        if let Some(stamp) = stamp(&mut handshake) {
            return Ok(stamp);
        }
    }
    Ok(Stamp::Silent("what answers there does not speak np".to_owned()))
}

fn stamp(handshake: &mut Handshake) -> Option<Stamp> {
    match handshake.poll_event()? {
        HandshakeEvent::Failed(ConnectionError::ClosedByPeer { code: CloseCode::ClockSkew, text, .. }) => {
            Some(Stamp::Refused(skew_in(&text)))
        }
        HandshakeEvent::Failed(ConnectionError::ClosedByPeer { code, text, .. }) => {
            Some(Stamp::Other(escape(&format!("{code}: {text}"), MAX_TEXT)))
        }
        HandshakeEvent::Failed(error) => Some(Stamp::Silent(escape(&error.to_string(), MAX_TEXT))),
        // The server's message 2: it took the time.
        _ => Some(Stamp::Taken),
    }
}
