//! From a link to a session: drives the handshake until the peer's first record has opened.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::BytesMut;
use np_session::{Event, Handshake, HandshakeEvent, Preface, Session, Shortage};
use np_transport::Io;
use np_types::{CloseCode, ConnectionError, Limits, Misuse, PeerIdentity, PublicKey};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::clock::Clock;
use crate::compression::{Bodies, Contexts};
use crate::farewell::{farewell, parting_word};
use crate::key_log::KeyLog;
use crate::link_error::{is_end, link_error};

/// Bytes read at a time before the peer is known.
const READ: usize = 1 << 10;

/// The two questions of a handshake, answered by the side that drives it.
pub(crate) trait Judge: Send {
    /// A responder's decision on a first flight: proceed with the handshake, or refuse it.
    fn first_flight(&mut self, handshake: &mut Handshake, preface: &Preface) -> Result<(), Misuse>;
    /// Gives the pre-shared key of a client, where the pattern asks once it is known.
    fn psk(&mut self, handshake: &mut Handshake, client: &PublicKey) -> Result<(), Misuse>;
    /// The handshake has failed, and what is left is to say so. Gives whether there is time to listen until the peer ends.
    fn leave(&mut self) -> bool {
        true
    }
    /// The decision on a peer: admit or refuse it.
    fn peer(&mut self, handshake: &mut Handshake, peer: &PeerIdentity) -> Result<(), Misuse>;
}

/// An authenticated connection whose peer has shown that it holds the keys: in its first record, or in the handshake
/// where that is still to come.
pub(crate) struct Established {
    pub(crate) session: Session,
    pub(crate) peer: PeerIdentity,
    /// Calls of this side that may wait in the session.
    pub(crate) max_queued: usize,
    pub(crate) max_calls: u32,
    /// Bytes that came after the peer's first record.
    pub(crate) input: BytesMut,
    /// Until when the peer's first record has to come, where it has not.
    pub(crate) opening: Option<Instant>,
}

impl Established {
    /// What its messages need to be compressed and decompressed.
    pub(crate) fn bodies(&self, contexts: Arc<Contexts>, limits: &Limits) -> Bodies {
        let reads = self.session.peer_settings().map_or(0, |settings| settings.encodings);
        Bodies::new(contexts, limits, reads)
    }
}

/// What a handshake in progress works with.
pub(crate) struct Establish<'a, J> {
    pub(crate) io: &'a mut Box<dyn Io>,
    pub(crate) judge: J,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clock: Clock,
    /// When a peer that has not come so far is cut.
    pub(crate) until: Instant,
    pub(crate) alarm: &'a mut Alarm,
    /// Whether the first call need not wait for the peer's first record.
    pub(crate) early: bool,
    /// Where the keys are written, if anywhere.
    pub(crate) key_log: Option<&'a KeyLog>,
}

impl<J: Judge> Establish<'_, J> {
    /// Runs a handshake, and the session up to the peer's first record.
    ///
    /// A failure is told to the peer where it may be, before this returns.
    pub(crate) async fn run(mut self, mut handshake: Handshake) -> Result<Box<Established>, ConnectionError> {
        let mut input = BytesMut::new();
        if self.key_log.is_some() {
            handshake.danger_export_keys();
        }
        let peer = self.shake(&mut handshake, &mut input).await?;
        if let (Some(log), Some(keys)) = (self.key_log, handshake.danger_take_keys()) {
            log.write(&keys);
        }
        let now = self.clock.now();
        let session = handshake.into_session(Arc::clone(&self.limits), now)?;
        // In a box of its own: most strangers never come so far.
        Box::pin(self.first_record(session, peer, input)).await
    }

    async fn shake(
        &mut self,
        handshake: &mut Handshake,
        input: &mut BytesMut,
    ) -> Result<PeerIdentity, ConnectionError> {
        let mut peer = PeerIdentity::Anonymous;
        let mut out = Vec::new();
        loop {
            while let Some(event) = handshake.poll_event() {
                match event {
                    HandshakeEvent::Preface(preface) => self.judge.first_flight(handshake, &preface)?,
                    HandshakeEvent::Psk(client) => self.judge.psk(handshake, &client)?,
                    HandshakeEvent::Peer(identity) => {
                        self.judge.peer(handshake, &identity)?;
                        peer = identity;
                    }
                    // What is left to send goes out with the session's first record.
                    HandshakeEvent::Done => return Ok(peer),
                    HandshakeEvent::Failed(error) => {
                        handshake.poll_transmit(&mut out);
                        self.part(&out).await;
                        return Err(error);
                    }
                    _ => {}
                }
            }
            handshake.poll_transmit(&mut out);
            let written = self.write(&mut out).await;
            // What came at once with the last message is judged before anything is waited for.
            let waiting = input.len();
            handshake.handle_bytes(input);
            if handshake.error().is_some() || input.len() < waiting {
                continue;
            }
            match self.read_after(written, input).await {
                Ok(0) => handshake.handle_eof(),
                Ok(_) => handshake.handle_bytes(input),
                Err(ConnectionError::Timeout { .. }) => {
                    handshake.refuse(CloseCode::HandshakeTimeout, "the handshake took too long", "handshake timeout");
                    handshake.poll_transmit(&mut out);
                    self.part(&out).await;
                    return Err(too_long());
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn first_record(
        &mut self,
        mut session: Session,
        peer: PeerIdentity,
        mut input: BytesMut,
    ) -> Result<Box<Established>, ConnectionError> {
        if self.early && session.error().is_none() {
            session.allow_early_call();
            return Ok(Box::new(self.established(session, peer, input)));
        }
        let mut out = Vec::new();
        loop {
            // Nothing large before the connection's task has asked what memory there is.
            session.set_shortage(Shortage::Grants, 0);
            session.handle_bytes(self.clock.now(), &mut input);
            while let Some(event) = session.poll_event() {
                match event {
                    Event::Ready(_) => return Ok(Box::new(self.established(session, peer, input))),
                    Event::Closed(error) => {
                        session.poll_transmit(self.clock.now(), &mut out);
                        self.part(&out).await;
                        return Err(error);
                    }
                    _ => {}
                }
            }
            session.poll_transmit(self.clock.now(), &mut out);
            let size = out.len();
            let written = self.write(&mut out).await;
            session.handle_written(size);
            match self.read_after(written, &mut input).await {
                Ok(0) => session.handle_eof(),
                Ok(_) => {}
                Err(error @ ConnectionError::Timeout { .. }) => {
                    session.close(CloseCode::HandshakeTimeout, "the handshake took too long");
                    session.poll_transmit(self.clock.now(), &mut out);
                    self.part(&out).await;
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn established(&self, session: Session, peer: PeerIdentity, input: BytesMut) -> Established {
        let (max_queued, max_calls) = (self.limits.max_queued_calls as usize, self.limits.max_calls);
        // The peer's first record is a part of the handshake, wherever it is waited for.
        let opening = session.peer_settings().is_none().then_some(self.until);
        Established { session, peer, max_queued, max_calls, input, opening }
    }

    /// Says why, and lets go.
    async fn part(&mut self, out: &[u8]) {
        if self.judge.leave() {
            farewell(self.io, out).await;
        } else {
            parting_word(self.io, out).await;
        }
    }

    /// Reads; where writing has just failed, what was there before: a peer that refuses may be gone already, and its
    /// reason says more than the socket does.
    async fn read_after(
        &mut self,
        written: Result<(), ConnectionError>,
        input: &mut BytesMut,
    ) -> Result<usize, ConnectionError> {
        if let Err(error @ ConnectionError::Timeout { .. }) = written {
            return Err(error);
        }
        match (written, self.read(input).await) {
            (Err(_), Err(refused @ ConnectionError::Tls(_))) => Err(refused),
            (Err(error), Ok(0) | Err(_)) => Err(error),
            (_, read) => read,
        }
    }

    async fn read(&mut self, input: &mut BytesMut) -> Result<usize, ConnectionError> {
        let some = read_some::<READ>(self.io, |bytes| input.extend_from_slice(bytes));
        let read = self.alarm.bound(self.until, some).await;
        match read.map_err(|_| too_long())? {
            Err(error) if is_end(&error) => Ok(0),
            read => read.map_err(|error| link_error("read during the handshake", &error)),
        }
    }

    async fn write(&mut self, out: &mut Vec<u8>) -> Result<(), ConnectionError> {
        if !out.is_empty() {
            let io = &mut *self.io;
            let all = async {
                io.write_all(out).await?;
                // TLS may hold back what the socket had no room for.
                io.flush().await
            };
            let written = self.alarm.bound(self.until, all).await;
            written.map_err(|_| too_long())?.map_err(|error| link_error("write during the handshake", &error))?;
            out.clear();
        }
        Ok(())
    }
}

/// Reads what is there, at most `N` bytes. No buffer waits for it: a silent peer has none.
pub(crate) async fn read_some<const N: usize>(
    io: &mut Box<dyn Io>,
    mut take: impl FnMut(&[u8]),
) -> std::io::Result<usize> {
    poll_fn(|cx| {
        let mut buffer = [0; N];
        let mut room = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut room))?;
        take(room.filled());
        Poll::Ready(Ok(room.filled().len()))
    })
    .await
}

pub(crate) const fn too_long() -> ConnectionError {
    ConnectionError::Timeout { what: "the handshake", code: CloseCode::HandshakeTimeout }
}

#[cfg(test)]
mod tests;
