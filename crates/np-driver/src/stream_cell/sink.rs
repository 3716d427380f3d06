//! The side of a stream cell that messages go into. It must never know how they are made smaller.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use np_dispatch::MessageSink;
use np_session::Encoding;
use np_types::{CallError, Metadata, Status};
use tokio::runtime::Handle;

use super::{Opening, State, StreamCell};
use crate::commands::lock;
use crate::compression::LARGE;

pub(super) struct Sink {
    pub(super) cell: Arc<StreamCell>,
    pub(super) opening: Opening,
}

impl Sink {
    fn ended(state: &State) -> Option<CallError> {
        (state.finished || state.finish).then(|| {
            state.error.clone().unwrap_or_else(|| CallError::answered(Status::Cancelled, "the stream has ended"))
        })
    }
}

impl MessageSink for Sink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut state = lock(&self.cell.state);
        if let Some(error) = Self::ended(&state) {
            return Poll::Ready(Err(error));
        }
        if !state.holds_message() {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), CallError> {
        let mut state = lock(&self.cell.state);
        if let Some(error) = Self::ended(&state) {
            return Err(error);
        }
        if state.holds_message() {
            return Err(CallError::not_processed(Status::Failed, "the sink was not ready"));
        }
        if !self.cell.info.bodies.tries(self.cell.compress, message.len()) {
            state.outgoing = Some((Encoding::Plain, message));
            self.cell.ring(&mut state);
            return Ok(());
        }
        state.packing = true;
        drop(state);
        match Handle::try_current() {
            Ok(runtime) if message.len() > LARGE => {
                let cell = Arc::clone(&self.cell);
                runtime.spawn(async move { cell.pack(message) });
            }
            _ => self.cell.pack(message),
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let mut state = lock(&self.cell.state);
        if !state.holds_message() {
            return Poll::Ready(Ok(()));
        }
        if state.finished {
            let error = state.error.clone();
            return Poll::Ready(Err(error.unwrap_or_else(|| {
                CallError::unknown(Status::Cancelled, "the stream ended before its message left")
            })));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        let flushed = self.poll_flush(cx);
        if flushed.is_ready() {
            let mut state = lock(&self.cell.state);
            if !state.finish && !state.finished {
                state.finish = true;
                self.cell.ring(&mut state);
            }
        }
        flushed
    }

    fn set_trailers(&mut self, trailers: Metadata) -> Result<(), CallError> {
        if self.opening.local {
            let text = "the side that opened a stream does not end it; its callee sets the trailers";
            return Err(CallError::not_processed(Status::InvalidArgument, text));
        }
        self.cell.set_trailers(trailers);
        Ok(())
    }

    fn cancel(&mut self, reason: CallError) {
        self.cell.give_up(reason);
    }

    fn max_message(&self) -> usize {
        self.opening.max_message
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let mut state = lock(&self.cell.state);
        state.sink_gone = true;
        self.cell.ring(&mut state);
    }
}
