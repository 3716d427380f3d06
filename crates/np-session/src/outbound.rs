//! What leaves: control frames first, then what the schedule has of each class: openings in order, bodies by turns.
//! It must never know how a record is sealed.

use std::time::Duration;

use bytes::Bytes;
use np_types::{CallError, Deadline, Metadata, Status, Time};
use np_wire::{Encoding, Frame, Open, OpenKind, RemainingTime, Response, Settings, StreamId, Trailers, encode_frame};

use crate::flood::Act;
use crate::inbound::CROSSING;
use crate::schedule::TURN;
use crate::session::{EARLY_BYTES, Phase, Session};
use crate::stream::{Grant, Head, Outgoing};
use crate::{Event, Priority, StreamKey};

/// The encodings of bodies that this version knows: LZ4 (1) and Zstandard (2).
const ENCODINGS: u32 = 1 << 1 | 1 << 2;
/// A call of [`Session::poll_transmit`] stops adding records once the output holds this much.
pub(crate) const TARGET: usize = 256 << 10;
/// The most bytes of a head without its metadata: kind, id, length, and the fields of an opening.
pub(crate) const HEAD: usize = 64;
/// The most bytes that metadata takes in a head: keys and values, and a length before each and before them all.
const METADATA: usize = Metadata::MAX_BYTES + Metadata::MAX_PAIRS * 4 + 16;
/// How long the last message of a stream without a deadline waits for credit once its handler is done.
const LAST_MESSAGE: Duration = Duration::from_secs(60);
/// A body is not begun in a record that has less room than this, unless it fits.
pub(crate) const LEAST: usize = 1 << 10;

impl Session {
    /// Appends records to `out` until nothing is ready or `out` holds 256 KiB; gives whether it appended anything. While small
    /// messages and large ones share the connection it stops earlier: see [`Session::makes_way`].
    ///
    /// Report with [`Session::handle_written`] how much of it the transport took. Bytes that were appended must be
    /// sent in order, or the connection is lost.
    pub fn poll_transmit(&mut self, now: Time, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        self.makes_way = false;
        // What reading causes waits here as one frame of each kind, not as many in a buffer that nobody empties.
        if self.phase == Phase::Closed || before >= TARGET {
            return false;
        }
        if !self.preceding.is_empty() {
            out.extend_from_slice(&std::mem::take(&mut self.preceding));
        }
        let failing = matches!(self.phase, Phase::Failing(..));
        // A peer that is told CLOSE alone knows that nothing was done for it; of one whose settings came that is not sure.
        if !failing || self.peer.is_some() {
            self.emit_settings(now, out);
        }
        if !failing {
            self.emit_all(now, out);
        }
        self.emit_close(now, out);
        self.sender.seal(now, out);
        out.len() > before
    }

    /// The first record holds the settings alone.
    fn emit_settings(&mut self, now: Time, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.control.settings) {
            return;
        }
        let settings = Settings {
            max_message: self.limits.max_message,
            max_calls: self.limits.max_calls,
            stream_window: self.limits.stream_window,
            connection_window: self.limits.connection_window,
            encodings: if self.limits.accept_compressed { ENCODINGS } else { 0 },
        };
        self.emit(now, out, &Frame::Settings(settings), HEAD);
        self.sender.seal(now, out);
    }

    fn emit_all(&mut self, now: Time, out: &mut Vec<u8>) {
        let (begun, large) = (out.len(), self.pace.sent_so_far());
        self.emit_control(now, out);
        // Whether there is anything in it but large messages and their heads.
        let mut small = out.len() > begun;
        loop {
            self.makes_way = self.is_one_write(now, large);
            if self.makes_way {
                break;
            }
            let before = out.len();
            self.emit_small(now, out);
            if out.len() >= TARGET {
                break;
            }
            small |= out.len() > before;
            self.makes_way = small && self.crowds(now);
            if self.makes_way {
                break;
            }
            self.review_held(now);
            let Some((class, key)) = self.next_ready() else {
                break;
            };
            let (before, sent) = (out.len(), self.pace.sent_so_far());
            self.emit_turn(now, out, key);
            self.schedule.sent(class, out.len() - before);
            small |= out.len() > before && sent == self.pace.sent_so_far() && !self.has_large(key);
            if let Some(token) = self.mark_due(now) {
                self.emit_ping(now, out, token);
            }
        }
    }

    fn emit_close(&mut self, now: Time, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Closing(..)) && out.len() >= TARGET && !self.schedule.none_ready() {
            return;
        }
        if let Phase::Closing(code, text) | Phase::Failing(code, text) = &self.phase {
            let (code, text) = (*code, text.clone());
            self.emit(now, out, &Frame::Close { code, text: &text }, HEAD + np_wire::MAX_TEXT);
            self.phase = Phase::Closed;
        }
    }

    fn emit(&mut self, now: Time, out: &mut Vec<u8>, frame: &Frame<'_>, size: usize) {
        self.sender.make_room(now, out, size);
        encode_frame(out, frame);
    }

    fn emit_control(&mut self, now: Time, out: &mut Vec<u8>) {
        if let Some(token) = self.control.pong.take() {
            self.emit(now, out, &Frame::Pong(token), HEAD);
        }
        self.begin_round();
        if let Some(token) = self.control.ping.take() {
            self.emit_ping(now, out, token);
        }
        if self.receive_window.is_due() {
            let bytes = self.receive_window.credit();
            self.emit(now, out, &Frame::ConnectionCredit(bytes), HEAD);
        }
        if let Some(calls) = self.control.allowance.take() {
            self.emit(now, out, &Frame::CallAllowance(calls), HEAD);
        }
        if let Some((accepted, code)) = self.control.go_away.take() {
            self.emit(now, out, &Frame::GoAway { accepted, code }, HEAD);
        }
        while let Some((id, status, text)) = self.control.refused.pop_front() {
            let trailers = Trailers { id, status, text, metadata: Metadata::default() };
            self.emit(now, out, &Frame::Trailers(trailers), HEAD + np_wire::MAX_TEXT);
        }
        while let Some(key) = self.control_ready.pop_front() {
            self.emit_stream_control(now, out, key);
        }
    }

    fn emit_ping(&mut self, now: Time, out: &mut Vec<u8>, token: u64) {
        self.emit(now, out, &Frame::Ping(token), HEAD);
        self.pings.leaves();
        self.pace.mark(token, now);
    }

    /// Measures a round trip beside credit that is given. The application's own ping goes first: one pong may answer both,
    /// and would be taken for the round's alone.
    fn begin_round(&mut self) {
        if !self.rounds.is_due() || self.phase != Phase::Open {
            return;
        }
        if self.pings.is_asked() {
            self.rounds.pause();
        } else {
            let token = self.pings.next();
            self.control.ping = Some(token);
            self.rounds.begin(token);
        }
    }

    fn emit_stream_control(&mut self, now: Time, out: &mut Vec<u8>, key: StreamKey) {
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        stream.in_control = false;
        let Some(id) = stream.id else {
            return;
        };
        let bytes = std::mem::take(&mut stream.pending.credit);
        let cancel = stream.pending.cancel.take();
        let trailers = match stream.outgoing {
            // Messages before the end of a stream leave first.
            Outgoing::Body { .. } => None,
            _ => stream.pending.trailers.take(),
        };
        if bytes > 0 && trailers.is_none() && cancel.is_none() {
            self.emit(now, out, &Frame::StreamCredit { id, bytes }, HEAD);
        }
        if let Some(status) = cancel {
            self.emit(now, out, &Frame::Cancel { id, status }, HEAD);
        }
        if let Some(end) = trailers {
            let (status, text, metadata) = *end;
            let trailers = Trailers { id, status, text: &text, metadata };
            self.emit(now, out, &Frame::Trailers(trailers), HEAD + METADATA + np_wire::MAX_TEXT);
            self.finish_remote(key, status);
        }
    }

    /// The next stream that may send, and the class whose turn it takes.
    fn next_ready(&mut self) -> Option<(Priority, StreamKey)> {
        if self.send_window.open_credit() > 0 {
            // Each of them can send at least a byte, so this comes to an end.
            while let Some(key) = self.starved.pop_front() {
                if let Some(stream) = self.table.stream_mut(key) {
                    stream.in_starved = false;
                }
                self.mark_ready(key);
            }
        }
        if self.schedule.is_empty() && self.send_window.first_waiting().is_none() {
            // Most often so: what was ready has just left.
            self.asked(Priority::Bulk);
            return None;
        }
        for class in self.schedule.order() {
            if let Some(key) = self.next_of(class) {
                return Some((class, key));
            }
            self.asked(class);
        }
        None
    }

    /// A class was asked and has nothing. What is held would leave if it might: it keeps what it is owed.
    fn asked(&mut self, class: Priority) {
        if !self.pace.holds_any() {
            self.schedule.passed(class);
        }
    }

    /// The next of a class: an answer whose reservation came, an opening that is its turn, or the next in the round.
    fn next_of(&mut self, class: Priority) -> Option<StreamKey> {
        if let Some(key) = self.answer_with_credit() {
            return Some(key);
        }
        if let Some(key) = self.next_opening(class) {
            return Some(key);
        }
        // An opening that may not be made now has left its place to the answer behind it.
        if let Some(key) = self.answer_with_credit() {
            return Some(key);
        }
        let key = self.schedule.next_ready(class)?;
        if let Some(stream) = self.table.stream_mut(key) {
            stream.in_ready = false;
        }
        Some(key)
    }

    /// The answer that has waited longest for its reservation, once there is credit for it. Nothing else takes credit
    /// before it, so its class makes no difference.
    fn answer_with_credit(&mut self) -> Option<StreamKey> {
        loop {
            let key = self.send_window.first_waiting()?;
            match self.table.stream(key) {
                Some(stream) if stream.local => return None,
                Some(stream) => {
                    let Outgoing::Queued(head) = &stream.outgoing else {
                        self.send_window.forget(key);
                        continue;
                    };
                    return self.send_window.covers(head.body.len() as u64).then_some(key);
                }
                None => self.send_window.forget(key),
            }
        }
    }

    /// The oldest queued call of a class, if the peer's allowance has room for it and its credit can be taken.
    fn next_opening(&mut self, class: Priority) -> Option<StreamKey> {
        let early = self.early && self.phase == Phase::Opening;
        if self.phase != Phase::Open && !early {
            return None;
        }
        loop {
            let key = self.schedule.first_opening(class)?;
            let allowance = self.peer.map_or(1, |peer| peer.max_calls) as usize;
            let opened = self.table.open_here().saturating_sub(self.queued());
            let size = match self.table.stream(key).map(|stream| &stream.outgoing) {
                Some(Outgoing::Queued(head)) => head.body.len(),
                _ => {
                    self.schedule.drop_first_opening(class);
                    continue;
                }
            };
            let waits = early && !self.is_early(key);
            if opened >= allowance || waits {
                // The allowance may have been lowered since it took its place; others need not wait with it.
                self.send_window.forget(key);
                return None;
            }
            if let Some(hit) = self.message_limit(size) {
                let error = CallError::not_processed(Status::LimitReached, hit.to_string());
                self.events.push_back(Event::Failed { key, error });
                self.schedule.drop_first_opening(class);
                self.table.remove(key);
                continue;
            }
            if !self.claim(key, size as u64) {
                return None;
            }
            self.schedule.drop_first_opening(class);
            self.begin(key);
            return Some(key);
        }
    }

    /// Whether every peer takes this call before its settings are known. Asked until those come, beside the way of all calls.
    #[cold]
    fn is_early(&self, key: StreamKey) -> bool {
        let Some(stream) = self.table.stream(key).filter(|stream| stream.kind == OpenKind::Request) else {
            return false;
        };
        let Outgoing::Queued(head) = &stream.outgoing else {
            return false;
        };
        let plain = head.encoding == Encoding::Plain && head.metadata.is_empty();
        plain && head.body.len() as u64 <= EARLY_BYTES
    }

    /// Takes the connection's credit for a whole message, unless the message waits for a grant of its own.
    fn claim(&mut self, key: StreamKey, size: u64) -> bool {
        let large = size > u64::from(self.peer_stream_window());
        if let Some(stream) = self.table.stream_mut(key) {
            stream.grant = if large { Grant::AsItComes } else { Grant::Reserved };
            if large {
                // Small calls pass it.
                stream.priority = Priority::Bulk;
            }
        }
        large || self.send_window.reserve(key, size)
    }

    /// Gives a call of this side its id, as the next to be opened.
    fn begin(&mut self, key: StreamKey) {
        let window = u64::from(self.peer_stream_window());
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        stream.send_credit = if stream.kind == OpenKind::Stream { window } else { 0 };
        let id = self.opened_here.next();
        self.table.name(key, id);
    }

    /// Lets a stream send a head, or a piece of its body.
    fn emit_turn(&mut self, now: Time, out: &mut Vec<u8>, key: StreamKey) {
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        let Some(id) = stream.id else {
            return;
        };
        match std::mem::replace(&mut stream.outgoing, Outgoing::Done) {
            Outgoing::Queued(head) => self.emit_head(now, out, key, id, head),
            Outgoing::Body { rest, encoding, fin } => self.emit_body(now, out, (key, id), rest, encoding, fin),
            other => stream.outgoing = other,
        }
    }

    fn emit_head(&mut self, now: Time, out: &mut Vec<u8>, key: StreamKey, id: StreamId, head: Head) {
        let size = head.body.len();
        let local = id.opener() == self.side;
        if !local && !self.claim(key, size as u64) {
            self.restore(key, Outgoing::Queued(head));
            return;
        }
        let Some(stream) = self.table.stream(key) else {
            return;
        };
        let (kind, grant, remaining) = (stream.kind, stream.grant, remaining_time(stream.deadline, now));
        if local {
            self.announce_methods(now, out, head.method);
        }
        let paced = self.begin_message(now, key, size);
        let need = HEAD + if head.metadata.is_empty() { 0 } else { METADATA };
        self.sender.make_room(now, out, need + size.min(LEAST));
        let room = self.sender.room(out).saturating_sub(need);
        let first = if grant == Grant::Reserved && paced { size.min(self.turn(now, room)) } else { 0 };
        let total = (first < size).then_some(size as u32);
        let Head { method, codec, encoding, metadata, mut body } = head;
        let piece = body.split_to(first);
        self.count_head(key, first);
        let frame = if local {
            Frame::Open(Open { kind, method, codec, encoding, remaining, total, metadata, body: &piece })
        } else {
            Frame::Response(Response { id, codec, encoding, total, metadata, body: &piece })
        };
        encode_frame(out, &frame);
        self.flood.bytes(first);
        self.flood.message();
        if total.is_some() {
            self.restore(key, Outgoing::Body { rest: body, encoding: Encoding::Plain, fin: true });
            if grant == Grant::Reserved {
                self.mark_ready(key);
            }
        } else {
            self.body_done(key, local);
        }
    }

    /// A record of its own for each name is not needed: names stand before the call that uses them.
    fn announce_methods(&mut self, now: Time, out: &mut Vec<u8>, number: u32) {
        for (number, name) in self.local_methods.announce(number) {
            self.sender.make_room(now, out, HEAD + np_types::MethodName::MAX);
            encode_frame(out, &Frame::Method { number, name: name.as_str() });
        }
    }

    fn emit_body(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
        (key, id): (StreamKey, StreamId),
        mut rest: Bytes,
        encoding: Encoding,
        fin: bool,
    ) {
        let Some(stream) = self.table.stream(key) else {
            return;
        };
        let (kind, grant, heavy) = (stream.kind, stream.grant, stream.heavy);
        let as_it_comes = grant == Grant::AsItComes || kind == OpenKind::Stream;
        let allowed = if as_it_comes {
            let credit = stream.send_credit.min(self.send_window.open_credit());
            rest.len().min(usize::try_from(credit).unwrap_or(usize::MAX))
        } else {
            rest.len()
        };
        if allowed == 0 && !rest.is_empty() {
            // Credit will make it ready again: the stream's by its frame, the connection's by the next turn.
            let starved = stream.send_credit == 0;
            let last = stream.pending.trailers.is_some() && stream.deadline == Deadline::NONE;
            self.restore(key, Outgoing::Body { rest, encoding, fin });
            if !starved {
                self.mark_starved(key);
            }
            if last {
                self.give_last_message_time(now, key);
            }
            return;
        }
        if heavy && !self.paced(now, key) {
            return self.restore(key, Outgoing::Body { rest, encoding, fin });
        }
        self.sender.make_room(now, out, HEAD + allowed.min(LEAST));
        let room = self.sender.room(out).saturating_sub(HEAD);
        let piece = rest.split_to(allowed.min(self.turn(now, room)));
        self.count_piece(now, heavy, piece.len());
        let last = rest.is_empty();
        // On a stream the flag `fin` stands alone, at the end of the caller's direction.
        let end = last && !(kind == OpenKind::Stream && fin);
        let frame = match encoding {
            Encoding::Plain => Frame::Data { id, fin: fin && last, end, body: &piece },
            encoding => Frame::Compressed { id, encoding, end, body: &piece },
        };
        encode_frame(out, &frame);
        if !piece.is_empty() {
            self.flood.bytes(piece.len());
            self.flood.message();
        }
        if as_it_comes {
            if let Some(stream) = self.table.stream_mut(key) {
                stream.talked |= kind == OpenKind::Stream;
            }
            self.send_window.take(piece.len() as u64);
            if let Some(stream) = self.table.stream_mut(key) {
                stream.send_credit = stream.send_credit.saturating_sub(piece.len() as u64);
            }
        }
        if !last {
            self.restore(key, Outgoing::Body { rest, encoding: Encoding::Plain, fin });
            self.mark_ready(key);
        } else if kind == OpenKind::Stream && !fin {
            self.message_done(key);
        } else {
            self.body_done(key, id.opener() == self.side);
        }
    }

    /// A stream without a deadline that is over but for its last message does not wait for ever for the peer's credit.
    fn give_last_message_time(&mut self, now: Time, key: StreamKey) {
        let deadline = Deadline::after(now, LAST_MESSAGE);
        if let Some(stream) = self.table.stream_mut(key) {
            stream.deadline = deadline;
        }
        self.note_deadline(deadline);
    }

    /// How many bytes of a body one turn may take.
    fn turn(&self, now: Time, room: usize) -> usize {
        if self.schedule.is_empty() && !self.pace.holds(now) { room } else { room.min(TURN) }
    }

    fn restore(&mut self, key: StreamKey, outgoing: Outgoing) {
        if let Some(stream) = self.table.stream_mut(key) {
            stream.outgoing = outgoing;
        }
    }

    /// The last byte of a unary message stands in the open record.
    fn body_done(&mut self, key: StreamKey, local: bool) {
        let record = self.sender.current_record();
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        if stream.kind == OpenKind::Stream {
            if stream.complete_in.is_none() {
                // Its opening frame: the callee starts with it, and messages follow.
                stream.complete_in = Some(record);
                stream.outgoing = Outgoing::Waiting;
                self.events.push_back(Event::Writable { key });
            }
            return;
        }
        if local {
            stream.complete_in = Some(record);
            if stream.kind == OpenKind::OneWay {
                self.one_way.push_back(key);
            }
        } else {
            // A complete answer is the terminal frame.
            self.finish_remote(key, Status::Ok);
        }
    }

    /// A call of the peer has its terminal frame. What the peer sent before it knows is no fault of it.
    pub(crate) fn finish_remote(&mut self, key: StreamKey, status: Status) {
        if self.pace.holds_any() {
            self.forget_held(key);
        }
        let Some(stream) = self.table.remove(key) else {
            return;
        };
        self.flood.expect_late(CROSSING + stream.coming);
        match status {
            Status::UnknownMethod | Status::UnsupportedCodec | Status::WrongKind => self.flood.owe(Act::Refused),
            // Who was refused has got no work done.
            Status::Unavailable => {}
            _ if stream.abandoned => {}
            _ => self.flood.answered(),
        }
    }

    /// A stream's message has left; the next may come, or the end that waited for it.
    fn message_done(&mut self, key: StreamKey) {
        self.table.sends(key, 0);
        let Some(stream) = self.table.stream_mut(key) else {
            return;
        };
        stream.outgoing = Outgoing::Waiting;
        if stream.pending.trailers.is_some() {
            self.mark_control(key);
        } else if self.reads() {
            self.events.push_back(Event::Writable { key });
        }
    }
}

/// What is left of a deadline, as it goes on the wire. A call that waited under a second of its 30 counts as whole.
pub(crate) fn remaining_time(deadline: Deadline, now: Time) -> RemainingTime {
    match deadline.time() {
        None => RemainingTime::Unlimited,
        Some(at) => match at.as_nanos().saturating_sub(now.as_nanos()) / 1_000_000 {
            29_001..=30_000 => RemainingTime::Default,
            millis => RemainingTime::Millis(millis),
        },
    }
}
