//! Somebody on the path who sees whole units, handshake messages and records, and decides on the fate of each.
//!
//! It knows how the stream is cut into units and no more; it must never hold a key.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use np_noise::Pattern;
use np_transport::{Address, BindOptions, Link, Listener};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// What passed by.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Which of the connections through the proxy, from 0.
    pub(crate) connection: usize,
    /// From the client to the server.
    pub(crate) towards: bool,
    /// Not a preface or a handshake message.
    pub(crate) is_record: bool,
    /// The whole unit, with its header.
    pub(crate) bytes: Vec<u8>,
}

/// What becomes of a unit.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// What goes on in its place.
    pub(crate) on: Vec<u8>,
    /// What goes back to where it came from.
    pub(crate) back: Vec<u8>,
    /// Whether the way that it went ends after that.
    pub(crate) end: bool,
}

impl Fate {
    pub(crate) fn pass(bytes: impl Into<Vec<u8>>) -> Self {
        Self { on: bytes.into(), ..Self::default() }
    }
}

type Decide = Arc<Mutex<dyn FnMut(Unit) -> Fate + Send>>;

/// Puts somebody between clients of a pattern and a server; gives the address to connect to.
pub(crate) async fn stand_between(
    at: &str,
    server: &Address,
    pattern: Pattern,
    decide: impl FnMut(Unit) -> Fate + Send + 'static,
) -> Address {
    let listener = Listener::bind(&at.parse().unwrap(), &BindOptions::default()).await.unwrap();
    let address = server.keys().iter().fold(listener.local_address().clone(), |address, key| address.with_key(*key));
    let (server, decide): (_, Decide) = (server.clone(), Arc::new(Mutex::new(decide)));
    tokio::spawn(async move {
        for connection in 0.. {
            let outside = listener.accept().await.unwrap();
            let inside = np_transport::connect(&server).await.unwrap();
            tokio::spawn(carry(connection, outside, inside, pattern, Arc::clone(&decide)));
        }
    });
    address
}

async fn carry(connection: usize, outside: Link, inside: Link, pattern: Pattern, decide: Decide) {
    let (out_read, out_write) = tokio::io::split(outside.io);
    let (in_read, in_write) = tokio::io::split(inside.io);
    let (to_server, server_takes) = mpsc::unbounded_channel();
    let (to_client, client_takes) = mpsc::unbounded_channel();
    let messages = match pattern {
        Pattern::XX | Pattern::XXpsk3 => 2,
        _ => 1,
    };
    let towards = Cut { preface: true, messages };
    let back = Cut { preface: false, messages: 1 };
    tokio::join!(
        watch(connection, out_read, towards, Arc::clone(&decide), to_server.clone(), to_client.clone()),
        watch(connection, in_read, back, decide, to_client, to_server),
        write(in_write, server_takes),
        write(out_write, client_takes),
    );
}

/// How a stream is cut into units.
struct Cut {
    preface: bool,
    messages: usize,
}

impl Cut {
    /// The size of the unit that begins here, once its header is there.
    fn size(&self, bytes: &[u8]) -> Option<usize> {
        let long = |at: usize| Some(at + 2 + usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
        match (self.preface, self.messages) {
            (true, _) => bytes.get(37).map(|id| 38 + usize::from(*id)),
            (_, 0) => long(0),
            _ => long(1),
        }
    }

    /// Takes the next whole unit off the stream, and whether it is a record.
    fn next(&mut self, bytes: &mut VecDeque<u8>) -> Option<(Vec<u8>, bool)> {
        let size = self.size(bytes.make_contiguous()).filter(|size| *size <= bytes.len())?;
        let is_record = !self.preface && self.messages == 0;
        if !std::mem::take(&mut self.preface) {
            self.messages = self.messages.saturating_sub(1);
        }
        Some((bytes.drain(..size).collect(), is_record))
    }
}

type Way = mpsc::UnboundedSender<Option<Vec<u8>>>;

async fn watch(connection: usize, mut from: impl AsyncRead + Unpin, mut cut: Cut, decide: Decide, on: Way, back: Way) {
    let towards = cut.preface;
    let (mut bytes, mut buffer) = (VecDeque::new(), vec![0; 64 << 10]);
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        bytes.extend(&buffer[..count]);
        while let Some((unit, is_record)) = cut.next(&mut bytes) {
            let fate = (decide.lock().unwrap())(Unit { connection, towards, is_record, bytes: unit });
            // Whoever was to read it may be gone.
            let _ = back.send(Some(fate.back));
            let _ = on.send(Some(fate.on));
            if fate.end {
                let _ = on.send(None);
            }
        }
    }
    let _ = on.send(None);
}

/// Writes what comes until it is told to end; what comes later is lost.
async fn write(mut to: impl AsyncWrite + Unpin, mut takes: mpsc::UnboundedReceiver<Option<Vec<u8>>>) {
    while let Some(Some(bytes)) = takes.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
