//! What the application asks of a session.

use bytes::Bytes;
use np_types::{CallError, ConnectionError, Deadline, LimitHit, LimitName, Metadata, Misuse, Status};
use np_wire::{Encoding, OpenKind};

use crate::pace::SMALL;
use crate::session::{EARLY_BYTES, Phase, Session};
use crate::stream::{Head, Outgoing, Stream};
use crate::{Answer, OpenCall, Priority, StreamKey};

impl Session {
    /// Opens a call, a one-way message or a stream, and gives the key that its events will carry.
    ///
    /// It leaves when the peer's allowance of open calls and its credit let it, in the order of calls to this within its
    /// class.
    ///
    /// # Errors
    /// At once, and as not processed: when the connection has ended or the peer drains, when the message is larger than
    /// the peer takes, when `max_queued_calls` calls wait already, or when the name would be one too many.
    pub fn open(&mut self, call: OpenCall) -> Result<StreamKey, CallError> {
        self.check_open(&call)?;
        let method = self.local_methods.number(&call.method).map_err(limit)?;
        let OpenCall { kind, codec, encoding, metadata, deadline, priority, body, .. } = call;
        let limits = &self.limits;
        let key = self.table.insert(|stream| {
            stream.queue(kind, deadline, priority, Head { method, codec, encoding, metadata, body });
            if kind == OpenKind::Stream {
                stream.open_window(limits);
            }
        });
        self.schedule.add_opening(priority, key);
        self.note_deadline(deadline);
        Ok(key)
    }

    fn check_open(&self, call: &OpenCall) -> Result<(), CallError> {
        let refuse = |text: &str| Err(CallError::not_processed(Status::Unavailable, text));
        match (&self.phase, &self.error) {
            (Phase::Opening | Phase::Open, _) => {}
            (_, Some(error)) => {
                let refused = CallError::not_processed(Status::Unavailable, "the connection has ended");
                return Err(refused.because(ConnectionError::clone(error)));
            }
            (_, None) => return refuse("the connection has ended"),
        }
        if self.peer_draining {
            return refuse("the peer is draining");
        }
        if call.kind == OpenKind::Stream && !call.body.is_empty() {
            return Err(CallError::not_processed(Status::InvalidArgument, "a stream's messages follow its opening"));
        }
        let allowed = u64::from(self.limits.max_queued_calls);
        if self.queued() as u64 >= allowed {
            return Err(limit(LimitHit { limit: LimitName::MaxQueuedCalls, allowed, seen: allowed + 1 }));
        }
        match self.message_limit(call.body.len().max(raw(call.encoding))) {
            Some(hit) => Err(limit(hit)),
            None => Ok(()),
        }
    }

    /// The peer's limit that a message would pass. Before its settings came a call is checked when they do.
    pub(crate) fn message_limit(&self, size: usize) -> Option<LimitHit> {
        let allowed = u64::from(self.peer.map_or(u32::MAX, |peer| peer.max_message));
        let seen = size as u64;
        (seen > allowed).then_some(LimitHit { limit: LimitName::MaxMessage, allowed, seen })
    }

    /// Answers a unary call of the peer. A body larger than the caller takes becomes an error for it.
    ///
    /// # Errors
    /// When the call is over, was answered already, or is no unary call.
    pub fn respond(&mut self, key: StreamKey, answer: Answer) -> Result<(), Misuse> {
        let stream = self.table.stream(key).filter(|stream| !stream.local).ok_or(Misuse::NoSuchCall)?;
        if stream.kind != OpenKind::Request || !matches!(stream.outgoing, Outgoing::Waiting) {
            return Err(Misuse::Argument("only a unary call that was not answered takes an answer"));
        }
        if stream.abandoned {
            let (status, text) = stream.given_up();
            self.end_with(key, status, text);
            return Ok(());
        }
        if let Some(hit) = self.message_limit(answer.body.len().max(raw(answer.encoding))) {
            self.end_with(key, Status::LimitReached, &format!("the answer is too large for the caller: {hit}"));
            return Ok(());
        }
        let (bytes, most) = (answer.body.len() + answer.metadata.size(), u64::from(self.limits.call_budget));
        let Some(stream) = self.table.hold_answer(key, bytes as u64, most) else {
            let text = "limit call_budget reached by answers that wait for their callers' credit";
            self.end_with(key, Status::LimitReached, text);
            return Ok(());
        };
        // The deadline stays: an answer that its caller gives no credit for does not wait for ever.
        let Answer { codec, encoding, metadata, body } = answer;
        stream.outgoing = Outgoing::Queued(Head { method: 0, codec, encoding, metadata, body });
        if !std::mem::replace(&mut stream.in_ready, true) {
            let class = stream.priority;
            self.schedule.add_ready(class, key);
        }
        Ok(())
    }

    /// Ends a call, one-way message or stream of the peer with a status; the only end of the latter two.
    ///
    /// For a one-way message the status tells the peer only that its slot is free again. A stream whose work was given
    /// up, by its caller or by its deadline, ends with that reason even where [`Status::Ok`] is asked for. A message that
    /// a stream still holds leaves before its end; [`Session::cut`] does not wait for it.
    ///
    /// # Errors
    /// When the call is over, or a unary call is ended with [`Status::Ok`], which takes an answer.
    pub fn end(&mut self, key: StreamKey, status: Status, text: &str, metadata: Metadata) -> Result<(), Misuse> {
        let stream = self.table.stream_mut(key).filter(|stream| !stream.local).ok_or(Misuse::NoSuchCall)?;
        if stream.kind == OpenKind::Request && status == Status::Ok {
            return Err(Misuse::Argument("a unary call that went well takes an answer"));
        }
        // A stream whose work was given up took no more messages, so its caller must not believe that it has them all.
        let cut_short = stream.kind == OpenKind::Stream && stream.abandoned && status == Status::Ok;
        let (status, text) = if cut_short { stream.given_up() } else { (status, text) };
        let drains = stream.kind == OpenKind::Stream && matches!(stream.outgoing, Outgoing::Body { .. });
        let waits = match &stream.outgoing {
            Outgoing::Body { rest, .. } if drains && !cut_short && !stream.abandoned => Some(rest.len()),
            _ => None,
        };
        stream.pending.trailers = Some(Box::new((status, text.to_owned(), metadata)));
        let waits = waits.is_some_and(|bytes| self.hold(key, bytes));
        // What waits from now on counts for its call.
        self.table.sends(key, 0);
        self.table.answered(key);
        if waits {
            // The message before it leaves first, or its end comes with its deadline: as with an answer, that stays.
            self.mark_ready(key);
            return Ok(());
        }
        if let Some(stream) = self.table.stream_mut(key) {
            stream.deadline = Deadline::NONE;
        }
        self.stop_sending(key);
        self.mark_control(key);
        Ok(())
    }

    /// As [`Session::end`], at once: what a stream still has to send is dropped. For ends that are nobody's answer, such
    /// as a limit that was reached.
    ///
    /// # Errors
    /// As [`Session::end`].
    pub fn cut(&mut self, key: StreamKey, status: Status, text: &str) -> Result<(), Misuse> {
        self.end(key, status, text, Metadata::default())?;
        self.stop_sending(key);
        self.mark_control(key);
        Ok(())
    }

    pub(crate) fn end_with(&mut self, key: StreamKey, status: Status, text: &str) {
        self.drop_assembly(key);
        // A call that is gone needs no end.
        let _ = self.cut(key, status, text);
    }

    /// Sends a message on a stream. A stream holds one message at a time: wait for [`Event::Writable`] before the next.
    ///
    /// [`Event::Writable`]: crate::Event::Writable
    ///
    /// # Errors
    /// When the stream is over or finished, still holds a message, or the message is too large for the peer.
    pub fn send(&mut self, key: StreamKey, message: Bytes) -> Result<(), Misuse> {
        self.send_encoded(key, Encoding::Plain, message)
    }

    /// As [`Session::send`], for a message that was made smaller. The peer's settings say which encodings it reads.
    ///
    /// # Errors
    /// As [`Session::send`], also when it would be too large once it is whole again; and when a compressed message is
    /// empty.
    pub fn send_encoded(&mut self, key: StreamKey, encoding: Encoding, message: Bytes) -> Result<(), Misuse> {
        if encoding != Encoding::Plain && message.is_empty() {
            return Err(Misuse::Argument("no compressed message is empty"));
        }
        if self.message_limit(message.len().max(raw(encoding))).is_some() {
            return Err(Misuse::Argument("the message is larger than the peer's max_message"));
        }
        let stream = self.table.stream_mut(key).ok_or(Misuse::NoSuchCall)?;
        if stream.kind != OpenKind::Stream || stream.abandoned {
            return Err(Misuse::NoSuchCall);
        }
        if !self.is_writable(key) {
            return Err(Misuse::State("the stream still holds a message, or is finished"));
        }
        self.table.sends(key, message.len());
        if let Some(stream) = self.table.stream_mut(key) {
            stream.heavy = message.len() > SMALL || stream.priority == Priority::Bulk;
            stream.outgoing = Outgoing::Body { rest: message, encoding, fin: false };
        }
        self.mark_ready(key);
        Ok(())
    }

    /// Whether [`Session::send`] takes a message now.
    #[must_use]
    pub fn is_writable(&self, key: StreamKey) -> bool {
        self.table.stream(key).is_some_and(|stream| {
            let open = stream.is_opened() && stream.pending.trailers.is_none();
            open && stream.kind == OpenKind::Stream && matches!(stream.outgoing, Outgoing::Waiting)
        })
    }

    /// Changes the class in which the bytes of a call or stream leave from its next turn on: answers and streams that the
    /// peer opened are interactive until then. A call that waits to be opened keeps its place. Nothing happens where the
    /// call is over.
    pub fn set_priority(&mut self, key: StreamKey, priority: Priority) {
        if let Some(stream) = self.table.stream_mut(key) {
            stream.priority = priority;
        }
    }

    /// Ends this side's direction of a stream that it opened; the callee's direction goes on.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn finish(&mut self, key: StreamKey) -> Result<(), Misuse> {
        if !self.is_writable(key) {
            return Err(Misuse::State("the stream still holds a message, or is finished"));
        }
        let stream = self.table.stream_mut(key).filter(|stream| stream.local).ok_or(Misuse::NoSuchCall)?;
        stream.heavy = false;
        stream.outgoing = Outgoing::Body { rest: Bytes::new(), encoding: Encoding::Plain, fin: true };
        self.mark_ready(key);
        Ok(())
    }

    /// Gives up a call of this side. No event follows for it; a call that is over is left alone.
    pub fn cancel(&mut self, key: StreamKey) {
        self.cancel_with(key, Status::Cancelled);
    }

    /// As [`Session::cancel`], with the status that tells the callee why.
    pub fn cancel_with(&mut self, key: StreamKey, status: Status) {
        if self.table.stream(key).is_some_and(|stream| stream.local && !stream.abandoned) {
            self.abandon(key, status);
        }
    }

    /// Gives back the credit of a unary body, once its memory is the application's own affair.
    pub fn release(&mut self, credit: u32) {
        self.give_credit(u64::from(credit));
    }

    /// Gives back the credit of `bytes` of a stream's messages. The stream may be over.
    pub fn consumed(&mut self, key: StreamKey, bytes: usize) {
        self.give_credit(bytes as u64);
        let round = self.rounds.running();
        let Some(stream) = self.table.stream_mut(key).filter(|stream| !stream.peer_finished && !stream.abandoned)
        else {
            return;
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let grown = stream.growth.consumed(bytes, round);
        stream.consumed = stream.consumed.saturating_add(bytes).saturating_add(grown);
        if stream.consumed >= stream.growth.window() / 4 {
            if stream.growth.may_grow() {
                self.rounds.want();
            }
            stream.receive_credit += u64::from(stream.consumed);
            stream.pending.credit = stream.pending.credit.saturating_add(stream.consumed);
            stream.consumed = 0;
            self.mark_control(key);
        }
    }

    /// Owes the connection's credit for bytes that the application, or a budget of its own, has taken.
    pub(crate) fn give_credit(&mut self, bytes: u64) {
        self.receive_window.consume(bytes, self.rounds.running());
        if self.receive_window.is_due() && self.receive_window.may_grow() {
            self.rounds.want();
        }
    }

    /// Asks the peer for a sign of life; gives the token that [`Event::Pong`] will carry.
    ///
    /// Pings that were not sent yet are one, with one token. Each time that it is asked holds eight bytes until it is answered.
    ///
    /// [`Event::Pong`]: crate::Event::Pong
    pub fn ping(&mut self) -> u64 {
        let token = self.pings.ask();
        self.control.ping = Some(token);
        token
    }

    /// Tells the peer how many calls it should have open from now on; one more waits on its side. Of several that were not
    /// sent yet the last one counts. `max_calls` stays what is enforced, since calls that cross this are no fault.
    pub fn announce_allowance(&mut self, calls: u32) {
        if self.reads() {
            self.control.allowance = Some(calls.min(self.limits.max_calls));
        }
    }

    /// Renews this direction's key with the next record; of no effect inside an outer channel, which has its own keys.
    pub fn update_key(&mut self) {
        self.sender.ask_key_update();
    }

    /// Nothing of a message's body leaves any more; a reservation that was not used goes back.
    pub(crate) fn stop_sending(&mut self, key: StreamKey) {
        self.send_window.forget(key);
        self.table.sends(key, 0);
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        if std::mem::take(&mut stream.in_starved) {
            self.starved.retain(|other| *other != key);
        }
        if std::mem::take(&mut stream.in_held) {
            self.pace.forget(key);
        }
        let last = std::mem::replace(&mut stream.outgoing, Outgoing::Done);
        // A stream's messages take credit as it comes: what was not sent has taken none.
        if let Outgoing::Body { rest, .. } = last
            && stream.kind != OpenKind::Stream
            && stream.grant == crate::stream::Grant::Reserved
        {
            self.send_window.give_back(rest.len() as u64);
        }
    }

    /// Forgets a message that was being put together; its credit goes back at once.
    pub(crate) fn drop_assembly(&mut self, key: StreamKey) {
        self.budget.forget(key);
        let Some(assembly) = self.table.stream_mut(key).and_then(|stream| stream.assembly.take()) else {
            return;
        };
        if !assembly.large || assembly.granted {
            self.flood.expect_late(u64::from(assembly.total).saturating_sub(assembly.buffer.len() as u64));
        }
        if !assembly.large {
            self.assembling -= assembly.buffer.len() as u64;
            self.receive_window.release(assembly.buffer.len() as u64);
        } else if assembly.granted {
            self.budget.give_back(assembly.total);
        }
        self.grant_waiting();
    }

    /// Removes a call of this side at its terminal frame.
    pub(crate) fn finish_local(&mut self, key: StreamKey) {
        let settled = self.table.stream(key).is_some_and(Stream::is_settled);
        if !settled || self.send_window.first_waiting().is_some() {
            self.stop_sending(key);
            self.drop_assembly(key);
        }
        self.table.remove(key);
    }

    pub(crate) fn note_deadline(&mut self, deadline: Deadline) {
        if let Some(at) = deadline.time() {
            self.earliest = Some(self.earliest.map_or(at, |other| other.min(at)));
        }
    }

    pub(crate) fn peer_stream_window(&self) -> u32 {
        let early = if self.early { EARLY_BYTES as u32 } else { 0 };
        self.peer.map_or(early, |peer| peer.stream_window)
    }

    pub(crate) fn mark_control(&mut self, key: StreamKey) {
        if let Some(stream) = self.table.stream_mut(key)
            && !std::mem::replace(&mut stream.in_control, true)
        {
            self.control_ready.push_back(key);
        }
    }

    pub(crate) fn mark_starved(&mut self, key: StreamKey) {
        if let Some(stream) = self.table.stream_mut(key)
            && !std::mem::replace(&mut stream.in_starved, true)
        {
            self.starved.push_back(key);
        }
    }

    pub(crate) fn mark_ready(&mut self, key: StreamKey) {
        if let Some(stream) = self.table.stream_mut(key)
            && !std::mem::replace(&mut stream.in_ready, true)
        {
            let class = stream.priority;
            self.schedule.add_ready(class, key);
        }
    }
}

/// The bytes that a body will have once it is decompressed; 0 where it travels as it is.
fn raw(encoding: Encoding) -> usize {
    encoding.raw_size().map_or(0, |raw| raw as usize)
}

fn limit(hit: LimitHit) -> CallError {
    CallError::not_processed(Status::LimitReached, hit.to_string())
}
