//! A stream between its user and the connection task: messages in, one message out, each side with a waker.
//!
//! Memory: the queue and the message being put together hold credit of the stream's window, except for one message
//! that alone is in the cell, which may grow to `max_message`. What such messages hold without credit is bounded by
//! `reassembly_budget` for all streams of a connection together. So the cells of a connection hold at most
//! `max_window + reassembly_budget`, and two bytes for each small message, seven where it came compressed; their queues
//! may take twice their room while they grow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use np_dispatch::{MessageSource, MessageStream};
use np_session::{Encoding, StreamKey};
use np_types::{CallError, Codec, Metadata, MethodName, Status};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::commands::{Doorbell, lock};
use crate::compression::LARGE;
use crate::connection::ConnectionInfo;
use crate::message_queue::{Message, MessageQueue};
use crate::sync::{Mutex, MutexGuard};

// The path is for `tests/interleavings.rs`, which takes this file for its own.
#[path = "stream_cell/sink.rs"]
mod sink;

use sink::Sink;

#[derive(Default)]
struct State {
    key: Option<StreamKey>,
    incoming: MessageQueue,
    partial: BytesMut,
    partial_held: usize,
    /// Bytes of this cell that hold no credit.
    uncredited: usize,
    /// The part of them that is of whole messages.
    whole: usize,
    /// Bytes taken by the reader whose credit the task has not given back yet.
    consumed: usize,
    peer_finished: bool,
    error: Option<CallError>,
    /// Pairs of the stream's end: what came with it, or what this side's handler wants to go with it.
    trailers: Option<Metadata>,
    /// Why the user gave the stream up, until the task was told.
    cancel: Option<CallError>,
    outgoing: Option<(Encoding, Bytes)>,
    /// Whether a message is being made smaller in a task of its own.
    packing: bool,
    /// Whether the session holds a message of this stream.
    sending: bool,
    finish: bool,
    finish_told: bool,
    finished: bool,
    source_gone: bool,
    sink_gone: bool,
    rung: bool,
    /// Whether the session has forgotten the stream: credit goes to the connection alone from now on.
    detached: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a stream's user has to know of its opening.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    /// Whether this side opened it.
    pub(crate) local: bool,
    pub(crate) codec: Codec,
    /// The longest message that the peer takes, in bytes.
    pub(crate) max_message: usize,
}

/// What the connection task has to do for a stream.
#[derive(Default)]
pub(crate) struct Errands {
    pub(crate) consumed: usize,
    pub(crate) message: Option<(Encoding, Bytes)>,
    pub(crate) finish: bool,
    /// The user gave the stream up for a reason.
    pub(crate) cancel: Option<CallError>,
    /// The user dropped the stream before its end.
    pub(crate) dropped: bool,
}

pub(crate) struct StreamCell {
    state: Mutex<State>,
    bell: Arc<Doorbell>,
    info: Arc<ConnectionInfo>,
    method: MethodName,
    /// Whether its messages are compressed; `None` leaves that to the connection.
    compress: Option<bool>,
}

impl StreamCell {
    pub(crate) fn new(
        bell: &Arc<Doorbell>,
        info: &Arc<ConnectionInfo>,
        method: MethodName,
        compress: Option<bool>,
    ) -> Arc<Self> {
        let (bell, info) = (Arc::clone(bell), Arc::clone(info));
        Arc::new(Self { state: Mutex::default(), bell, info, method, compress })
    }

    /// The stream as its user sees it.
    pub(crate) fn open(self: &Arc<Self>, key: StreamKey, opening: Opening) -> MessageStream {
        lock(&self.state).key = Some(key);
        let sink = Sink { cell: Arc::clone(self), opening };
        MessageStream::new(Box::new(Source::new(Arc::clone(self))), Box::new(sink)).with_codec(opening.codec)
    }

    /// The pairs that the handler wants to end its stream with.
    pub(crate) fn take_trailers(&self) -> Metadata {
        lock(&self.state).trailers.take().unwrap_or_default()
    }

    /// Keeps the pairs of the stream's end: of the peer's, which comes next, or of this side's, which may be far.
    pub(crate) fn set_trailers(&self, trailers: Metadata) {
        let mut state = lock(&self.state);
        if !state.detached {
            state.trailers = Some(trailers);
        }
    }

    fn give_up(&self, reason: CallError) {
        let mut state = lock(&self.state);
        if !state.detached {
            state.outgoing = None;
            state.cancel.get_or_insert(reason);
            self.ring(&mut state);
        }
    }

    /// Takes bytes from the session; the bytes whose credit goes back at once, or what to end the stream with.
    pub(crate) fn arrived(&self, body: Bytes, encoding: Encoding, end: bool, fin: bool) -> Result<usize, CallError> {
        let mut state = lock(&self.state);
        state.peer_finished |= fin;
        let mut release = 0;
        if state.source_gone {
            release = body.len();
        } else if end || !body.is_empty() {
            let size = body.len();
            self.check(&state, size, end)?;
            let before = state.whole;
            release = state.take(body, encoding, end);
            self.bell.completed(state.whole - before);
            if !self.borrow(&mut state, release) {
                // The caller gives these bytes' credit back; that of the bytes before them stays held.
                state.partial_held = release.saturating_sub(size);
                return Err(over_budget());
            }
        }
        let waker = state.reader.take();
        drop(state);
        wake(waker);
        Ok(release)
    }

    /// Notes that bytes of the message being put together hold no credit any more.
    fn borrow(&self, state: &mut State, bytes: usize) -> bool {
        let fits = bytes == 0 || self.bell.borrow(bytes, self.info.reassembly_budget as usize);
        state.uncredited += if fits { bytes } else { 0 };
        fits
    }

    fn check(&self, state: &State, size: usize, end: bool) -> Result<(), CallError> {
        let reached = |text| Err(CallError::answered(Status::LimitReached, text));
        if state.partial.len().saturating_add(size) > self.info.max_message as usize {
            return reached("limit max_message reached by a stream's message");
        }
        if end && size == 0 && state.partial.is_empty() && state.incoming.is_full_of_empty() {
            return reached("too many empty messages wait for the stream's reader");
        }
        Ok(())
    }

    /// The session took the message; there is room for the next.
    pub(crate) fn writable(&self) {
        let mut state = lock(&self.state);
        state.sending = false;
        let waker = state.writer.take();
        drop(state);
        wake(waker);
    }

    /// The stream is over and the session has forgotten it; what came before stays readable.
    pub(crate) fn ended(&self, error: Option<CallError>) {
        let mut state = lock(&self.state);
        state.peer_finished = true;
        state.error = error;
        state.detached = true;
        // A message that did not come whole never will.
        state.partial = BytesMut::new();
        state.consumed += std::mem::take(&mut state.partial_held);
        if state.incoming.is_empty() {
            self.bell.repay(std::mem::take(&mut state.uncredited));
        }
        self.bell.give_back(std::mem::take(&mut state.consumed));
        self.stop(state);
    }

    /// A message of the user cannot be sent: its direction is over, the stream goes on until its user drops it.
    pub(crate) fn refused(&self, error: CallError) {
        let mut state = lock(&self.state);
        state.error = Some(error);
        self.stop(state);
    }

    fn stop(&self, mut state: MutexGuard<'_, State>) {
        state.finished = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().for_each(wake);
    }

    /// What the user asked for since the last time.
    pub(crate) fn errands(&self) -> Errands {
        let mut state = lock(&self.state);
        state.rung = false;
        let message = state.outgoing.take();
        state.sending |= message.is_some();
        let finish = state.finish && !state.holds_message() && !std::mem::replace(&mut state.finish_told, true);
        Errands {
            consumed: std::mem::take(&mut state.consumed),
            message,
            finish,
            cancel: state.cancel.take(),
            dropped: state.source_gone && state.sink_gone && !state.finish,
        }
    }

    /// Makes a message smaller and hands it over.
    fn pack(&self, message: Bytes) {
        let packed = self.info.bodies.pack(&self.method, message);
        let mut state = lock(&self.state);
        state.packing = false;
        state.outgoing = Some(packed);
        self.ring(&mut state);
        let waker = state.writer.take();
        drop(state);
        wake(waker);
    }

    /// Waits until no message is being made smaller: what a handler sent last must leave before the end.
    pub(crate) async fn packed(&self) {
        std::future::poll_fn(|cx| {
            let mut state = lock(&self.state);
            if !state.packing {
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn ring(&self, state: &mut State) {
        if state.detached {
            self.bell.give_back(std::mem::take(&mut state.consumed));
        } else if let Some(key) = state.key
            && !std::mem::replace(&mut state.rung, true)
        {
            self.bell.ring(key);
        }
    }
}

impl State {
    /// Whether a message is on its way from the user to the session, or in the session.
    const fn holds_message(&self) -> bool {
        self.outgoing.is_some() || self.sending || self.packing
    }

    /// Adds bytes to the message being put together; what of them gives its credit back at once.
    fn take(&mut self, body: Bytes, encoding: Encoding, end: bool) -> usize {
        if end && self.partial.is_empty() {
            self.incoming.push(Message { held: body.len(), body, encoding });
            return 0;
        }
        self.partial.extend_from_slice(&body);
        self.partial_held += body.len();
        if end {
            let held = std::mem::take(&mut self.partial_held);
            let body = std::mem::take(&mut self.partial).freeze();
            self.whole += body.len().saturating_sub(held);
            self.incoming.push(Message { body, encoding, held });
            return 0;
        }
        // A message larger than the window could never come whole if its bytes held their credit; it may grow only
        // while no other message waits.
        if self.incoming.is_empty() { std::mem::take(&mut self.partial_held) } else { 0 }
    }
}

fn stopped() -> CallError {
    CallError::answered(Status::Internal, "the work on a compressed message was stopped")
}

fn over_budget() -> CallError {
    let text = "limit reassembly_budget reached by large messages of streams; send smaller ones, or fewer at once";
    CallError::answered(Status::LimitReached, text)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

struct Source {
    cell: Arc<StreamCell>,
    /// A large message that is being made whole, in a task of its own.
    unpacking: Option<JoinHandle<Result<Bytes, CallError>>>,
}

impl Source {
    const fn new(cell: Arc<StreamCell>) -> Self {
        Self { cell, unpacking: None }
    }

    /// The next message as it came, which releases its credit.
    fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Result<Message, CallError>>> {
        let mut state = lock(&self.cell.state);
        if let Some(message) = state.incoming.pop() {
            state.consumed += message.held;
            let repaid = message.body.len().saturating_sub(message.held).min(state.uncredited);
            state.uncredited -= repaid;
            let taken = repaid.min(state.whole);
            state.whole -= taken;
            self.cell.bell.repay(repaid);
            self.cell.bell.taken(taken);
            if state.incoming.is_empty() {
                let held = std::mem::take(&mut state.partial_held);
                if self.cell.borrow(&mut state, held) {
                    state.consumed += held;
                } else {
                    state.partial_held = held;
                    state.error.get_or_insert_with(over_budget);
                }
            }
            if state.consumed > 0 {
                self.cell.ring(&mut state);
            }
            return Poll::Ready(Some(Ok(message)));
        }
        if let Some(error) = state.error.clone() {
            return Poll::Ready(Some(Err(error)));
        }
        if state.peer_finished {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Makes a message whole: here, or in a task of its own where that is long.
    fn unpack(&mut self, Message { body, encoding, .. }: Message) -> Option<Result<Bytes, CallError>> {
        let info = Arc::clone(&self.cell.info);
        // It counts against the budget while it is made; whoever takes it then holds it.
        let work = move || info.bodies.unpack(encoding, body).map(|whole| whole.body);
        match Handle::try_current() {
            Ok(runtime) if encoding.raw_size().unwrap_or_default() as usize > LARGE => {
                self.unpacking = Some(runtime.spawn(async move { work() }));
                None
            }
            _ => Some(work()),
        }
    }
}

impl MessageSource for Source {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        loop {
            if let Some(unpacking) = &mut self.unpacking {
                let Poll::Ready(done) = Pin::new(unpacking).poll(cx) else {
                    return Poll::Pending;
                };
                self.unpacking = None;
                let done = done.unwrap_or_else(|_| Err(stopped()));
                return Poll::Ready(Some(done.inspect_err(|error| self.cell.give_up(error.clone()))));
            }
            let message = match self.poll_next(cx) {
                Poll::Ready(Some(Ok(message))) if message.encoding == Encoding::Plain => {
                    return Poll::Ready(Some(Ok(message.body)));
                }
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            };
            if let Some(done) = self.unpack(message) {
                return Poll::Ready(Some(done.inspect_err(|error| self.cell.give_up(error.clone()))));
            }
        }
    }

    fn take_trailers(&mut self) -> Option<Metadata> {
        let mut state = lock(&self.cell.state);
        // A stream of the peer's goes on: what is there is what its handler wants to end it with.
        if state.detached { state.trailers.take() } else { None }
    }

    fn cancel(&mut self, reason: CallError) {
        self.cell.give_up(reason);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = lock(&self.cell.state);
        state.source_gone = true;
        let held = std::mem::take(&mut state.incoming).held();
        state.consumed += held + std::mem::take(&mut state.partial_held);
        self.cell.bell.repay(std::mem::take(&mut state.uncredited));
        self.cell.bell.taken(std::mem::take(&mut state.whole));
        state.partial = BytesMut::new();
        self.cell.ring(&mut state);
    }
}
