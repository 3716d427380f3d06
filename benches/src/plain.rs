//! The plaintext peer, written by hand: length-prefixed messages over TCP, many calls on one connection, no security.
//!
//! It is what a careful engineer writes who needs nothing but speed: one task per side, replies matched by id, writes
//! coalesced per batch. Callers wait on a oneshot behind a bounded queue, as np's do.

use std::collections::HashMap;
use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// Bytes before a message: its length (4) and its id (8).
const HEAD: usize = 12;

/// Echoes every message of every connection until the listener is dropped.
pub async fn serve(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(echo(socket));
    }
}

async fn echo(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut input, mut out) = (BytesMut::with_capacity(64 << 10), BytesMut::new());
    loop {
        input.reserve(16 << 10);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some((id, body)) = take(&mut input) {
            put(&mut out, id, &body);
        }
        socket.write_all_buf(&mut out).await?;
    }
}

/// A handle to one connection.
#[derive(Debug, Clone)]
pub struct Client {
    calls: mpsc::Sender<(Bytes, oneshot::Sender<Bytes>)>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(address: std::net::SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (calls, taken) = mpsc::channel(1_024);
        tokio::spawn(run(socket, taken));
        Ok(Self { calls })
    }

    /// Sends a message and waits for its echo; `None` when the connection is gone.
    pub async fn call(&self, body: Bytes) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.calls.send((body, reply)).await.ok()?;
        answer.await.ok()
    }
}

async fn run(mut socket: TcpStream, mut calls: mpsc::Receiver<(Bytes, oneshot::Sender<Bytes>)>) -> io::Result<()> {
    let (mut reader, mut writer) = socket.split();
    let (mut input, mut out) = (BytesMut::with_capacity(64 << 10), BytesMut::new());
    let mut waiting: HashMap<u64, oneshot::Sender<Bytes>> = HashMap::new();
    let (mut next, mut batch) = (0u64, Vec::new());
    loop {
        input.reserve(16 << 10);
        tokio::select! {
            count = reader.read_buf(&mut input) => {
                if count? == 0 {
                    return Ok(());
                }
                while let Some((id, body)) = take(&mut input) {
                    if let Some(reply) = waiting.remove(&id) {
                        let _ = reply.send(body);
                    }
                }
            }
            count = calls.recv_many(&mut batch, 256) => {
                if count == 0 {
                    return Ok(());
                }
            }
        }
        if waiting.len() + batch.len() > 1 || !batch.is_empty() {
            // Callers that were just answered are about to call again: one write for all of them.
            yield_once().await;
            while let Ok(call) = calls.try_recv() {
                batch.push(call);
            }
        }
        for (body, reply) in batch.drain(..) {
            put(&mut out, next, &body);
            waiting.insert(next, reply);
            next += 1;
        }
        if !out.is_empty() {
            writer.write_all_buf(&mut out).await?;
        }
    }
}

/// Lets other tasks run once, by waking itself: cheaper than the runtime's own yield, which looks for input first.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn put(out: &mut BytesMut, id: u64, body: &[u8]) {
    out.reserve(HEAD + body.len());
    out.put_u32(body.len() as u32);
    out.put_u64(id);
    out.put_slice(body);
}

fn take(input: &mut BytesMut) -> Option<(u64, Bytes)> {
    let head = input.first_chunk::<4>()?;
    let size = u32::from_be_bytes(*head) as usize;
    if input.len() < HEAD + size {
        return None;
    }
    input.advance(4);
    let id = input.get_u64();
    Some((id, input.split_to(size).freeze()))
}
