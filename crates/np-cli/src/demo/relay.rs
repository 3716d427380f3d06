//! Somebody in the middle: passes bytes between a client and the server, and flips one bit of a sealed record when
//! told to. It reads lengths and counts bytes, as anybody on the way can, and holds no key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::BytesMut;
use np_facade::raw::transport::{Io, Listener, connect};
use np_facade::raw::wire::{Preface, RECORD_HEAD, Versions, decode_handshake_frame, record_len};
use np_facade::{Address, BindOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use crate::demo::items::told;

/// Which way a record travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToServer => "to the server",
            Self::ToClient => "to the client",
        })
    }
}

/// A relay for one connection. Dropping it cuts that connection.
#[derive(Debug)]
pub(crate) struct Relay {
    address: Address,
    ways: Arc<Ways>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Listens at an address and passes the next connection on to `server`.
    pub(crate) async fn start(at: &str, server: Address) -> Result<Self, String> {
        let listener = Listener::bind(&at.parse().map_err(told)?, &BindOptions::default()).await.map_err(told)?;
        let address = listener.local_address().clone();
        let ways = Arc::new(Ways::default());
        let task = tokio::spawn(relay(listener, server, Arc::clone(&ways)));
        Ok(Self { address, ways, task })
    }

    /// Where clients connect to.
    pub(crate) const fn address(&self) -> &Address {
        &self.address
    }

    /// Flips one bit of the next record that travels this way.
    pub(crate) fn flip_next(&self, way: Way) {
        self.ways.of(way).flip.store(ARMED, Ordering::SeqCst);
    }

    /// Whether a bit was flipped.
    pub(crate) fn has_flipped(&self) -> bool {
        [Way::ToServer, Way::ToClient].iter().any(|way| self.ways.of(*way).flip.load(Ordering::SeqCst) == DONE)
    }

    /// Bytes that were passed on this way so far, handshake included.
    pub(crate) fn carried(&self, way: Way) -> u64 {
        self.ways.of(way).bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const ARMED: u8 = 1;
const DONE: u8 = 2;

#[derive(Debug, Default)]
struct Tap {
    flip: AtomicU8,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Ways {
    to_server: Tap,
    to_client: Tap,
}

impl Ways {
    const fn of(&self, way: Way) -> &Tap {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

async fn relay(listener: Listener, server: Address, ways: Arc<Ways>) {
    let client = listener.accept().await;
    // The place is free for the next relay while this one works.
    drop(listener);
    // Whatever fails here cuts the connection: the row says what became of it.
    let (Ok(client), Ok(server)) = (client, connect(&server).await) else {
        return;
    };
    let (from_client, to_client) = tokio::io::split(client.io);
    let (from_server, to_server) = tokio::io::split(server.io);
    let (up, down) = (Opening::Preface, Opening::Messages(FROM_SERVER));
    tokio::join!(
        pass(from_client, to_server, up, ways.of(Way::ToServer)),
        pass(from_server, to_client, down, ways.of(Way::ToClient)),
    );
}

/// The handshake messages of each side in XX, behind the client's preface.
const FROM_CLIENT: u8 = 2;
const FROM_SERVER: u8 = 1;

/// What comes before the first record, as far as it has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Preface,
    Messages(u8),
    /// Of a version that is not known here: nobody can tell where anything ends.
    Unknown,
}

async fn pass(mut from: ReadHalf<Box<dyn Io>>, mut to: WriteHalf<Box<dyn Io>>, mut opening: Opening, tap: &Tap) {
    let mut buffer = BytesMut::new();
    while matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
        while let Some((length, is_record)) = next_unit(&buffer, &mut opening) {
            let mut unit = buffer.split_to(length);
            if is_record && tap.flip.compare_exchange(ARMED, DONE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                let middle = RECORD_HEAD + (length - RECORD_HEAD) / 2;
                if let Some(byte) = unit.get_mut(middle) {
                    *byte ^= 1;
                }
            }
            // Counted first: whoever has the answer must find its call counted.
            tap.bytes.fetch_add(length as u64, Ordering::SeqCst);
            if to.write_all(&unit).await.is_err() {
                return;
            }
        }
    }
    // What is left, a refusal above all, and then the end.
    let _ = to.write_all(&buffer).await;
    let _ = to.shutdown().await;
}

/// The length of the whole unit at the front of the buffer, and whether it is a record.
fn next_unit(buffer: &[u8], opening: &mut Opening) -> Option<(usize, bool)> {
    if *opening == Opening::Preface && !Versions::decode(buffer).ok()??.is_spoken() {
        *opening = Opening::Unknown;
    }
    match opening {
        Opening::Preface => {
            let (_, length) = Preface::decode(buffer).ok()??;
            *opening = Opening::Messages(FROM_CLIENT);
            Some((length, false))
        }
        Opening::Messages(left @ 1..) => {
            let (_, length) = decode_handshake_frame(buffer).ok()??;
            *left -= 1;
            Some((length, false))
        }
        Opening::Messages(0) => {
            let length = record_len(buffer, 0).ok()?? + RECORD_HEAD;
            (buffer.len() >= length).then_some((length, true))
        }
        Opening::Unknown => (!buffer.is_empty()).then_some((buffer.len(), false)),
    }
}

#[cfg(test)]
mod tests {
    use super::{FROM_CLIENT, Opening, next_unit};

    /// Its bytes stand where a key id of version 1 would be longer than any may be, and where one would be waited for.
    #[test]
    fn a_preface_of_another_version_passes_as_it_comes() {
        for byte in [0xff, 40] {
            let mut opening = Opening::Preface;
            let mut flight = b"np\r\n\x02\x02\x02".to_vec();
            assert_eq!(next_unit(&flight[..6], &mut opening), None, "its versions have not come");
            flight.resize(38, byte);
            assert_eq!(next_unit(&flight, &mut opening), Some((38, false)));
            assert_eq!(next_unit(&[], &mut opening), None);
            assert_eq!(next_unit(&[byte], &mut opening), Some((1, false)));
        }
        let mut opening = Opening::Preface;
        let ours = [b"np\r\n\x01\x02\x01".as_slice(), &[0; 31]].concat();
        assert_eq!(next_unit(&ours, &mut opening), Some((38, false)));
        assert_eq!(opening, Opening::Messages(FROM_CLIENT));
    }
}
