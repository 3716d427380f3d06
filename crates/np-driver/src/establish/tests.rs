//! Handshakes over a pipe whose other end is already gone.

use std::time::Duration;

use bytes::BytesMut;
use np_noise::{Keypair, Pattern};
use np_session::{Handshake, InitiatorConfig, Preface, ResponderConfig};
use np_transport::Io;
use np_types::{CloseCode, ConnectionError, Limits, Misuse, PeerIdentity, PublicKey, UnixMillis};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::{Establish, Judge};
use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::entropy::random_secret_key;

struct Nobody;

impl Judge for Nobody {
    fn first_flight(&mut self, _: &mut Handshake, _: &Preface) -> Result<(), Misuse> {
        Err(Misuse::State("not asked"))
    }

    fn psk(&mut self, _: &mut Handshake, _: &PublicKey) -> Result<(), Misuse> {
        Err(Misuse::State("not asked"))
    }

    fn peer(&mut self, _: &mut Handshake, _: &PeerIdentity) -> Result<(), Misuse> {
        Err(Misuse::State("not asked"))
    }
}

async fn connect_to(answer: &[u8]) -> ConnectionError {
    let (near, mut far) = tokio::io::duplex(1_024);
    far.write_all(answer).await.unwrap();
    // From now on writing fails, and reading gives what was there.
    drop(far);
    // Named, since a value inside the literal would not live long enough for the oldest Rust.
    let own = Keypair::from_secret(random_secret_key().unwrap());
    let config = InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::XX,
        local: Some(&own),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(0),
        nonce: [0; 16],
        ephemeral: random_secret_key().unwrap(),
    };
    let mut io: Box<dyn Io> = Box::new(near);
    let until = Instant::now() + Duration::from_secs(5);
    let establish = Establish {
        io: &mut io,
        judge: Nobody,
        limits: Limits::default().into(),
        clock: Clock::start(),
        until,
        alarm: &mut Alarm::default(),
        early: false,
        key_log: None,
    };
    establish.run(Handshake::initiator(config).unwrap()).await.err().unwrap()
}

#[tokio::test]
async fn a_refusal_is_read_even_when_the_server_is_gone() {
    let mut handshake = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    handshake.handle_bytes(&mut BytesMut::new());
    handshake.refuse(CloseCode::HandshakeLimit, "too many", "too many");
    let mut refusal = Vec::new();
    handshake.poll_transmit(&mut refusal);
    let error = connect_to(&refusal).await;
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::HandshakeLimit, .. }), "{error}");
    // Without one the socket's own error is told.
    let error = connect_to(&[]).await;
    assert!(matches!(error, ConnectionError::Io { .. }), "{error}");
}
