//! The way out of a connection task: when it writes, what is held back, and how it ends when writing fails.

use std::pin::Pin;
use std::task::{Context, Poll};

use np_types::{CloseCode, ConnectionError};
use tokio::io::AsyncWrite as _;

use super::{READS, Task};
use crate::audit::Kind;
use crate::link_error::{is_end, link_error};
use crate::progress::{Progress, Slow};
use crate::telemetry::Way;

impl Task {
    /// Waits a turn before the flush when more calls are likely to come at once: callers that were just answered or are
    /// about to be, or others in flight. Worth a factor of two under load; an idle connection never waits. Where the next to leave
    /// would be a piece of a large message, one who was answered is worth a turn too: the call that may follow goes before that
    /// piece, or waits for it.
    pub(super) fn should_yield(&mut self) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        let replies = self.handing.turn();
        self.yielded = if self.handing.waits() {
            self.handing.holds()
        } else {
            let busy = replies > 1
                || (fresh && self.session.open_here() > 1)
                || (replies > 0 && self.session.crowds(self.now));
            busy && !self.yielded
        };
        if !self.yielded {
            self.handing.written();
        }
        self.yielded
    }

    /// Holds the end of the handshake back until whoever made the connection has it, and could call; not where there is more to
    /// say than that: an end, or to a server whose first record has come. This task does not wake itself for it: two tasks would
    /// be ready then, and another thread be woken.
    pub(super) fn waits_for_early_call(&mut self) -> bool {
        let opens = self.opening_until.is_some() && self.session.error().is_none();
        self.unsaid = self.unsaid && opens && self.session.open_here() == 0 && !self.bell.is_taken();
        self.unsaid
    }

    /// Writes until nothing is left or the transport has no room; gives whether it stopped before that, so that callers and
    /// what they send find their way between large messages.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut stops = false;
        loop {
            if self.written == self.out.len() {
                if self.written > 0 {
                    // Not of what the transport holds back: that has its time until it has left.
                    self.progress.written();
                }
                self.out.clear();
                self.written = 0;
                if stops || !self.session.poll_transmit(self.now, &mut self.out) {
                    self.poll_flush(cx);
                    return stops;
                }
                stops = self.session.makes_way();
                self.drain_events(cx);
            }
            if self.session.is_closed() {
                self.write_last(cx);
                return false;
            }
            let rest = self.out.get(self.written..).unwrap_or_default();
            match Pin::new(&mut self.io).poll_write(cx, rest) {
                Poll::Pending => {
                    self.blocked = true;
                    return false;
                }
                Poll::Ready(Ok(count)) if count > 0 => {
                    if std::mem::take(&mut self.blocked) {
                        // There was no room, and now there is: the peer's side took bytes.
                        self.session.note_heard(self.now);
                    }
                    self.written += count;
                    self.book.bytes(Way::Out, count);
                    self.note_move();
                    self.unflushed = true;
                    self.session.handle_written(count);
                    self.drain_events(cx);
                }
                Poll::Ready(result) => {
                    let error = result.err().unwrap_or_else(|| std::io::ErrorKind::WriteZero.into());
                    self.write_failed(cx, link_error("write to the connection", &error));
                    return false;
                }
            }
        }
    }

    /// Writes of the last bytes what goes at once, before anybody learns of the end: a program that closes and is over
    /// then does not take its CLOSE along. The farewell sends what is left, and tells of no failure either.
    fn write_last(&mut self, cx: &mut Context<'_>) {
        if self.session.was_lost() {
            return;
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let Poll::Ready(Ok(count)) = Pin::new(&mut self.io).poll_write(cx, rest) else {
                return;
            };
            if count == 0 {
                return;
            }
            self.written += count;
            self.book.bytes(Way::Out, count);
        }
        let _ = Pin::new(&mut self.io).poll_flush(cx);
    }

    /// TLS may hold back the end of what it took, where the socket had no room for all of it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) {
        if !self.unflushed {
            return;
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.unflushed = false,
            Poll::Ready(Err(error)) => self.write_failed(cx, link_error("write to the connection", &error)),
        }
    }

    /// Ends a connection that has not moved for as long as one may.
    pub(super) fn cut_who_is_late(&mut self) {
        if let Some(slow) = self.progress.late(self.now) {
            self.cut(slow);
        }
        if self.session.error().is_some() {
            return;
        }
        let span = self.info.progress_timeout;
        let (stopped, keeps) = (self.share.stopped_for(self.now, span), self.share.keeps(self.now, span));
        if stopped || keeps {
            let why = if stopped { "not read for progress_timeout" } else { "kept memory, and did not move it" };
            self.book.refused("max_memory");
            if let Some(suppressed) = self.info.audit.admit(Kind::Cut) {
                tracing::warn!(
                    target: "np::audit", peer = %self.info.peer, limit = "max_memory", suppressed,
                    "cut: {why}"
                );
            }
            self.session.close(CloseCode::LimitExceeded, "limit max_memory of the server reached; try again later");
        }
    }

    /// Ends a connection whose peer is too slow: told, where it can still be told anything.
    fn cut(&mut self, slow: Slow) {
        self.book.refused("progress_timeout");
        if let Some(suppressed) = self.info.audit.admit(Kind::Cut) {
            tracing::warn!(
                target: "np::audit", peer = %self.info.peer, ?slow, limit = ?self.info.progress_timeout, suppressed,
                "cut: progress_timeout passed"
            );
        }
        self.progress = Progress::new(self.info.progress_timeout);
        match slow {
            Slow::Reader => self.session.handle_lost(ConnectionError::ClosedHere(CloseCode::Progress)),
            Slow::Writer => {
                self.session.close(CloseCode::Progress, "a record took longer than progress_timeout to come")
            }
        }
    }

    /// The peer's reason, and answers, may have come before the socket broke; they say more than the socket does.
    fn write_failed(&mut self, cx: &mut Context<'_>, error: ConnectionError) {
        for _ in 0..READS {
            let read = if self.eof { Poll::Pending } else { self.poll_read_once(cx) };
            match read {
                Poll::Ready(Ok(1..)) => self.session.handle_bytes(self.now, &mut self.input),
                Poll::Ready(Err(why)) if !is_end(&why) => {
                    let refused = link_error("read from the connection", &why);
                    let told = matches!(refused, ConnectionError::Tls(_));
                    return self.session.handle_lost(if told { refused } else { error });
                }
                _ => break,
            }
            self.drain_events(cx);
        }
        self.session.handle_lost(error);
    }
}
