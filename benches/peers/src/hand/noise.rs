//! Noise XX by the crate snow: the handshake, and records that carry whatever is queued.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use snow::params::NoiseParams;
use snow::resolvers::{DefaultResolver, FallbackResolver, RingResolver};
use snow::{Builder, HandshakeState, TransportState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::wire::{self, Wire};
use crate::Failure;

const PARAMS: &str = "Noise_XX_25519_ChaChaPoly_SHA256";

/// Bytes of a record's length.
const PREFIX: usize = 2;

/// Bytes that sealing adds.
const TAG: usize = 16;

/// Plaintext that fits into one message of Noise.
const RECORD: usize = 65_535 - TAG;

/// Sealed bytes that make one write.
const FLUSH: usize = 256 << 10;

/// Who one is, and which code does the arithmetic.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    ring: bool,
    params: NoiseParams,
    secret: Arc<[u8]>,
}

impl Party {
    /// A party with a fresh static key, and its public key; `ring` where that crate has what is needed.
    pub(crate) fn new(ring: bool) -> Result<(Self, Vec<u8>), Failure> {
        let params: NoiseParams = PARAMS.parse()?;
        let pair = Builder::new(params.clone()).generate_keypair()?;
        Ok((Self { ring, params, secret: pair.private.into() }, pair.public))
    }

    fn builder(&self) -> Result<Builder<'_>, Failure> {
        let params = self.params.clone();
        let builder = if self.ring {
            let both = FallbackResolver::new(Box::new(RingResolver), Box::new(DefaultResolver));
            Builder::with_resolver(params, Box::new(both))
        } else {
            Builder::new(params)
        };
        Ok(builder.local_private_key(&self.secret)?)
    }

    /// The client's part: proves its key, and checks the server's.
    pub(crate) async fn connect(&self, mut socket: TcpStream, server: &[u8]) -> Result<Noise, Failure> {
        let mut state = self.builder()?.build_initiator()?;
        send(&mut socket, &mut state).await?;
        receive(&mut socket, &mut state).await?;
        if state.get_remote_static() != Some(server) {
            return Err("the server proved another key".into());
        }
        send(&mut socket, &mut state).await?;
        Noise::new(socket, state)
    }

    /// The server's part: learns the client's key.
    pub(crate) async fn accept(&self, mut socket: TcpStream) -> Result<Noise, Failure> {
        let mut state = self.builder()?.build_responder()?;
        receive(&mut socket, &mut state).await?;
        send(&mut socket, &mut state).await?;
        receive(&mut socket, &mut state).await?;
        Noise::new(socket, state)
    }
}

async fn send(socket: &mut TcpStream, state: &mut HandshakeState) -> Result<(), Failure> {
    let mut message = vec![0; PREFIX + 256];
    let (prefix, body) = message.split_at_mut(PREFIX);
    let count = state.write_message(&[], body)?;
    prefix.copy_from_slice(&u16::try_from(count)?.to_be_bytes());
    message.truncate(PREFIX + count);
    Ok(socket.write_all(&message).await?)
}

async fn receive(socket: &mut TcpStream, state: &mut HandshakeState) -> Result<(), Failure> {
    let mut message = vec![0; usize::from(socket.read_u16().await?)];
    socket.read_exact(&mut message).await?;
    state.read_message(&message, &mut [0; 256])?;
    Ok(())
}

/// A socket behind records.
pub(crate) struct Noise {
    socket: TcpStream,
    state: TransportState,
    input: BytesMut,
    sealed: BytesMut,
}

impl Noise {
    fn new(socket: TcpStream, state: HandshakeState) -> Result<Self, Failure> {
        Ok(Self { socket, state: state.into_transport_mode()?, input: BytesMut::new(), sealed: BytesMut::new() })
    }

    /// Opens every whole record, and tells how many bytes they held.
    fn open(&mut self, out: &mut BytesMut) -> io::Result<usize> {
        let before = out.len();
        while let Some(prefix) = self.input.first_chunk::<PREFIX>() {
            let size = usize::from(u16::from_be_bytes(*prefix));
            let Some(record) = self.input.get(PREFIX..PREFIX + size) else { break };
            let from = out.len();
            out.resize(from + size, 0);
            let place = out.get_mut(from..).unwrap_or_default();
            let count = self.state.read_message(record, place).map_err(io::Error::other)?;
            out.truncate(from + count);
            self.input.advance(PREFIX + size);
        }
        Ok(out.len() - before)
    }

    /// Seals what is queued, up to what makes a write.
    fn seal(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while !out.is_empty() && self.sealed.len() < FLUSH {
            let record = out.split_to(out.len().min(RECORD));
            let from = self.sealed.len();
            self.sealed.put_u16(u16::try_from(record.len() + TAG).unwrap_or(u16::MAX));
            self.sealed.put_bytes(0, record.len() + TAG);
            let place = self.sealed.get_mut(from + PREFIX..).unwrap_or_default();
            self.state.write_message(&record, place).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl Wire for Noise {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        loop {
            let count = self.open(input)?;
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            if ready!(wire::read(&mut self.socket, cx, &mut self.input))? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, out: &mut BytesMut) -> Poll<io::Result<()>> {
        loop {
            self.seal(out)?;
            if self.sealed.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(wire::write(&mut self.socket, cx, &mut self.sealed))?;
        }
    }
}
