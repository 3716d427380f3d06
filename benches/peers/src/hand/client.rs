//! The client by hand: calls come through a bounded queue, and one task writes them and matches the replies.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use super::wire::Wire;
use super::{HIGH, put, take};
use crate::Failure;
use crate::peer::Connection;

type Call = (Bytes, oneshot::Sender<Bytes>);

/// Calls that wait for the connection's task.
const QUEUE: usize = 1_024;

/// A handle to one connection; the connection ends with the last one.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    calls: mpsc::Sender<Call>,
}

impl Client {
    /// Starts the connection's task.
    pub(crate) fn start(wire: impl Wire) -> Self {
        let (calls, taken) = mpsc::channel(QUEUE);
        let driver = Driver {
            wire,
            calls: taken,
            batch: Vec::new(),
            waiting: Slab::new(),
            input: BytesMut::new(),
            out: BytesMut::new(),
        };
        tokio::spawn(driver.run());
        Self { calls }
    }
}

impl Connection for Client {
    async fn call(&self, body: Bytes) -> Result<Bytes, Failure> {
        let (reply, answer) = oneshot::channel();
        self.calls.send((body, reply)).await?;
        Ok(answer.await?)
    }

    async fn close(self) {}
}

struct Driver<W> {
    wire: W,
    calls: mpsc::Receiver<Call>,
    batch: Vec<Call>,
    waiting: Slab<oneshot::Sender<Bytes>>,
    input: BytesMut,
    out: BytesMut,
}

impl<W: Wire> Driver<W> {
    async fn run(mut self) -> io::Result<()> {
        while poll_fn(|cx| self.step(cx)).await? {
            let replies = self.deliver();
            if replies > 1 || self.waiting.len() + self.batch.len() > 1 {
                // Callers that were just answered are about to call again: one write for all of them.
                tokio::task::yield_now().await;
                while let Ok(call) = self.calls.try_recv() {
                    self.batch.push(call);
                }
            }
            for (body, reply) in self.batch.drain(..) {
                let id = u32::try_from(self.waiting.insert(reply)).unwrap_or(u32::MAX);
                put(&mut self.out, id, &body);
            }
        }
        Ok(())
    }

    /// Moves what can be moved; false when the server has ended, or no handle is left.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let _ = self.wire.poll_write(cx, &mut self.out)?;
        let read = self.wire.poll_read(cx, &mut self.input)?;
        if matches!(read, Poll::Ready(0)) {
            return Poll::Ready(Ok(false));
        }
        if self.out.len() <= HIGH
            && let Poll::Ready(count) = self.calls.poll_recv_many(cx, &mut self.batch, QUEUE)
        {
            return Poll::Ready(Ok(count > 0));
        }
        read.map(|_| Ok(true))
    }

    /// Hands replies to their callers, and tells how many.
    fn deliver(&mut self) -> usize {
        let mut count = 0;
        while let Some((id, body)) = take(&mut self.input) {
            if let Some(reply) = self.waiting.try_remove(id as usize) {
                let _ = reply.send(body);
            }
            count += 1;
        }
        count
    }
}
