//! What each frame from the peer does.

use bytes::Bytes;
use np_types::{
    CallError, CloseCode, ConnectionError, Deadline, LimitHit, LimitName, Malformed, MethodName, Misbehaved, Outcome,
    Status, Time,
};
use np_wire::{Encoding, Frame, Frames, Open, OpenKind, RemainingTime, Response, Settings, StreamId, Trailers};

use crate::assembly::Body;
use crate::credit::MAX_WINDOW;
use crate::flood::{Act, PADDINGS, QUICK};
use crate::session::{EARLY_BYTES, Phase, Session};
use crate::stream::{Head, Stream};
use crate::{Answer, Event, StreamKey};

/// Frames that may cross the end of a call: a cancel, and credit for what came before it.
pub(crate) const CROSSING: u64 = 2;

impl Session {
    /// Acts on every frame of an opened record.
    pub(crate) fn handle_record(&mut self, now: Time, record: &Bytes) -> Result<(), ConnectionError> {
        let mut frames = Frames::new(record);
        if self.phase == Phase::Opening {
            return self.first_record(frames);
        }
        let (mut others, mut paddings) = (false, 0);
        while let Some(raw) = frames.next_raw() {
            let raw = raw?;
            // What comes most is read where it is acted on, so that it is not moved about.
            if let Some(kind) = raw.opens() {
                self.on_open(now, raw.open(kind)?, record)?;
            } else if raw.answers() {
                self.on_response(raw.response()?, record)?;
            } else {
                match raw.decode()? {
                    Frame::KeyUpdate => return self.on_key_update(frames.is_empty(), others),
                    Frame::Padding(_) => {
                        paddings += 1;
                        if paddings > PADDINGS {
                            self.flood.spend(Act::Padding)?;
                        }
                        continue;
                    }
                    frame => self.handle_frame(now, frame, record)?,
                }
            }
            others = true;
            if !self.reads() {
                return Ok(());
            }
        }
        if !others {
            self.flood.spend(Act::Padding)?;
        }
        Ok(())
    }

    /// The last frame of its record, and not the only one.
    fn on_key_update(&mut self, last: bool, others: bool) -> Result<(), ConnectionError> {
        if !last {
            return Err(Misbehaved::KeyUpdate.into());
        }
        if !others {
            self.flood.spend(Act::KeyUpdate)?;
        }
        Ok(self.receiver.update_key()?)
    }

    /// The first record holds SETTINGS or CLOSE, and beside it padding and a key update alone.
    fn first_record(&mut self, frames: Frames<'_>) -> Result<(), ConnectionError> {
        let mut settings = None;
        let mut update = false;
        for frame in frames {
            match frame? {
                Frame::Settings(_) if settings.is_some() => return Err(Misbehaved::SettingsTwice.into()),
                Frame::Settings(theirs) if !update => settings = Some(theirs),
                Frame::Close { code, text } if settings.is_none() => {
                    self.unsay_early();
                    self.closed_by_peer(code, text);
                    return Ok(());
                }
                Frame::Padding(_) if !update => {}
                Frame::KeyUpdate if settings.is_some() && !update => update = true,
                _ => return Err(Misbehaved::FirstRecord.into()),
            }
        }
        let settings = settings.ok_or(Misbehaved::FirstRecord)?;
        if update {
            self.receiver.update_key()?;
        }
        self.connected(settings)
    }

    /// A peer that begins with CLOSE has acted on nothing.
    fn unsay_early(&mut self) {
        for key in self.table.keys() {
            if let Some(stream) = self.table.stream_mut(key) {
                stream.complete_in = None;
            }
        }
    }

    fn connected(&mut self, settings: Settings) -> Result<(), ConnectionError> {
        // A whole message that needs no grant must find credit in the end, or it would wait for ever.
        let twice = 2 * u64::from(settings.stream_window);
        if settings.stream_window == 0 || u64::from(settings.connection_window) < twice {
            return Err(Malformed::Value("a window in the settings").into());
        }
        let mut credit = u64::from(settings.connection_window);
        if self.early && self.opened_here.count() == 0 {
            self.send_window.take(EARLY_BYTES);
        } else if self.early {
            // What an early call was promised is a part of it.
            let least =
                settings.max_calls > 0 && u64::from(settings.max_message.min(settings.stream_window)) >= EARLY_BYTES;
            credit = credit
                .checked_sub(EARLY_BYTES)
                .filter(|_| least)
                .ok_or(Malformed::Value("a setting below what an early call needs"))?;
        }
        (self.phase, self.early) = (Phase::Open, false);
        self.peer = Some(settings);
        self.send_window.add(credit)?;
        self.events.push_back(Event::Ready(settings));
        Ok(())
    }

    fn handle_frame(&mut self, now: Time, frame: Frame<'_>, record: &Bytes) -> Result<(), ConnectionError> {
        match frame {
            Frame::Data { id, fin, end, body } => self.on_data(id, fin, end, &Body { record, bytes: body }),
            Frame::Compressed { id, encoding, end, body: bytes } => {
                self.on_compressed(id, encoding, end, &Body { record, bytes })
            }
            Frame::Trailers(trailers) => self.on_trailers(trailers),
            Frame::Cancel { id, status } => self.on_cancel(now, id, status),
            Frame::StreamCredit { id, bytes } => self.on_stream_credit(id, bytes),
            Frame::ConnectionCredit(bytes) => {
                self.flood.credit(bytes)?;
                Ok(self.send_window.add(u64::from(bytes))?)
            }
            Frame::CallAllowance(calls) => {
                if let Some(peer) = &mut self.peer {
                    peer.max_calls = calls;
                }
                Ok(self.flood.spend(Act::Allowance)?)
            }
            Frame::Method { number, name } => self.peer_methods.announced(number, name),
            Frame::Ping(token) => {
                self.control.pong = Some(token);
                Ok(self.flood.spend(Act::Ping)?)
            }
            Frame::Pong(token) => self.on_pong(now, token),
            Frame::GoAway { accepted, code } => self.on_go_away(accepted, code),
            Frame::Close { code, text } => {
                self.closed_by_peer(code, text);
                Ok(())
            }
            Frame::Settings(_) => Err(Misbehaved::SettingsTwice.into()),
            Frame::Unknown { .. } => Ok(self.flood.spend(Act::Unknown)?),
            // Openings, answers, key updates and padding are acted on where they are read.
            _ => Ok(()),
        }
    }

    fn closed_by_peer(&mut self, code: CloseCode, text: &str) {
        self.lose(ConnectionError::ClosedByPeer { code, text: text.to_owned(), in_clear: false });
    }

    fn on_pong(&mut self, now: Time, token: u64) -> Result<(), ConnectionError> {
        let asked = self.pings.answer(token)?;
        self.rounds.answered(token);
        self.pace_answered(token, now);
        if let Some(token) = asked {
            self.events.push_back(Event::Pong { token });
        }
        Ok(())
    }

    fn on_go_away(&mut self, accepted: u64, code: CloseCode) -> Result<(), ConnectionError> {
        if accepted > self.opened_here.count() || self.peer_draining {
            return Err(Misbehaved::GoAway.into());
        }
        self.peer_draining = true;
        // The news first: whoever owns a call that fails by it then knows that another connection may take it.
        self.events.push_back(Event::GoAway(code));
        self.fail_unaccepted(accepted);
        Ok(())
    }

    fn on_open(&mut self, now: Time, open: Open<'_>, record: &Bytes) -> Result<(), ConnectionError> {
        let body = Body { record, bytes: open.body };
        let id = self.opened_by_peer.next();
        let method = self.peer_methods.name(open.method)?;
        self.receive_window.receive(body.len())?;
        if let Some(refusal) = self.refusal(&open) {
            self.receive_window.release(body.len());
            self.flood.spend(Act::Refused)?;
            self.flood.expect_late(CROSSING + self.on_its_way(&open));
            return self.refuse_call(id, refusal);
        }
        let deadline = match open.remaining {
            RemainingTime::Default => Deadline::after(now, Deadline::DEFAULT),
            RemainingTime::Millis(millis) => Deadline::after(now, std::time::Duration::from_millis(millis)),
            RemainingTime::Unlimited => Deadline::NONE,
        };
        if open.kind == OpenKind::Stream && (open.total.is_some() || body.len() > 0) {
            return Err(Misbehaved::StreamState.into());
        }
        if open.total.is_none() {
            self.needs_no_grant(&body)?;
        }
        let key = self.table.insert(|stream| stream.accept(id, open.kind, deadline, now));
        self.note_deadline(deadline);
        if open.kind == OpenKind::Stream {
            let window = u64::from(self.peer_stream_window());
            if let Some(stream) = self.table.stream_mut(key) {
                stream.send_credit = window;
                stream.open_window(&self.limits);
            }
        }
        match open.total {
            Some(total) => self.begin_request(key, total, open, &body),
            None => {
                self.accept(key, method, deadline, open, &body);
                Ok(())
            }
        }
    }

    /// Gives a request that came whole to the application, if the budget of handlers has room for it.
    fn accept(&mut self, key: StreamKey, method: MethodName, deadline: Deadline, open: Open<'_>, body: &Body<'_>) {
        self.flood.bytes(body.bytes.len());
        let credit = body.len() as u32;
        if let Err(why) = self.admit(key, body.bytes.len() + open.metadata.size()) {
            self.release(credit);
            let coming = self.table.stream(key).map_or(0, |stream| stream.receive_credit);
            return self.turn_away(key, coming, why);
        }
        let Open { kind, codec, encoding, metadata, .. } = open;
        let body = body.to_bytes();
        self.events.push_back(Event::Opened { key, kind, method, codec, encoding, metadata, deadline, body, credit });
    }

    /// Begins a request of which more is to come.
    fn begin_request(
        &mut self,
        key: StreamKey,
        total: u32,
        open: Open<'_>,
        body: &Body<'_>,
    ) -> Result<(), ConnectionError> {
        let coming = self.on_its_way(&open);
        let Open { method, codec, encoding, metadata, .. } = open;
        let head = Head { method, codec, encoding, metadata, body: Bytes::new() };
        // The head of a message that is still to come is held too.
        if let Err(why) = self.admit(key, head.metadata.size()) {
            self.receive_window.release(body.len());
            self.turn_away(key, coming, why);
            return Ok(());
        }
        let begun = self.begin_assembly(key, total, Some(head), body);
        if begun.is_err() {
            // The application never heard of it, and is not told of its end.
            self.table.remove(key);
        }
        begun
    }

    /// Bytes that the peer may send behind an opening frame before it hears that the call is refused.
    fn on_its_way(&self, open: &Open<'_>) -> u64 {
        let window = self.limits.stream_window;
        match open.total {
            _ if open.kind == OpenKind::Stream => u64::from(window),
            Some(total) if total <= window => u64::from(total).saturating_sub(open.body.len() as u64),
            _ => 0,
        }
    }

    /// A whole message that is longer than `stream_window` was to wait for its grant.
    fn needs_no_grant(&self, body: &Body<'_>) -> Result<(), Misbehaved> {
        if body.len() > u64::from(self.limits.stream_window) { Err(Misbehaved::Credit) } else { Ok(()) }
    }

    /// Why a call cannot be accepted, if it cannot.
    fn refusal(&self, open: &Open<'_>) -> Option<(Status, &'static str)> {
        let size = open.total.map_or(open.body.len() as u64, u64::from).max(declared(open.encoding));
        if self.draining.is_some() {
            return Some((Status::Unavailable, "draining: no new calls are accepted"));
        }
        if self.table.open_by_peer() >= self.limits.max_calls as usize {
            return Some((Status::Unavailable, "limit max_calls reached; try again later"));
        }
        if size > u64::from(self.limits.max_message) {
            return Some((Status::LimitReached, "limit max_message reached by the request"));
        }
        None
    }

    /// A peer that keeps to what it was told is refused a handful of times at most; the queue is bounded for others.
    fn refuse_call(&mut self, id: StreamId, refusal: (Status, &'static str)) -> Result<(), ConnectionError> {
        let allowed = self.limits.max_calls as usize;
        if self.control.refused.len() >= allowed {
            let (allowed, seen) = (allowed as u64, allowed as u64 + 1);
            return Err(LimitHit { limit: LimitName::MaxCalls, allowed, seen }.into());
        }
        self.control.refused.push_back((id, refusal.0, refusal.1));
        Ok(())
    }

    fn on_response(&mut self, response: Response<'_>, record: &Bytes) -> Result<(), ConnectionError> {
        let body = &Body { record, bytes: response.body };
        self.receive_window.receive(body.len())?;
        let Some(key) = self.local_stream(response.id)? else {
            return self.drop_body(body);
        };
        let Some(stream) = self.table.stream(key) else {
            return Ok(());
        };
        if stream.kind != OpenKind::Request || stream.assembly.is_some() {
            return Err(Misbehaved::StreamState.into());
        }
        let abandoned = stream.abandoned;
        let size = response.total.map_or(body.len(), u64::from).max(declared(response.encoding));
        if size > u64::from(self.limits.max_message) {
            // The callee knows the limit from the settings.
            let (allowed, seen) = (u64::from(self.limits.max_message), size);
            return Err(LimitHit { limit: LimitName::MaxMessage, allowed, seen }.into());
        }
        if let Some(total) = response.total {
            // The rest of the request can no longer matter to the callee.
            self.stop_sending(key);
            let Response { codec, encoding, metadata, .. } = response;
            let head = Head { method: 0, codec, encoding, metadata, body: Bytes::new() };
            if abandoned {
                // The callee will see the cancel and end the call; until then its bytes are credited back.
                return self.drop_body(body);
            }
            return self.begin_assembly(key, total, Some(head), body);
        }
        self.needs_no_grant(body)?;
        if abandoned {
            self.finish_local(key);
            self.receive_window.release(body.len());
            return Ok(());
        }
        // Some steps before it is moved on: what was just written cannot be read at once.
        let own = body.to_bytes();
        self.finish_local(key);
        self.flood.bytes(body.bytes.len());
        self.flood.message();
        let Response { codec, encoding, metadata, .. } = response;
        let answer = Answer { codec, encoding, metadata, body: own };
        self.events.push_back(Event::Answered { key, answer, credit: body.len() as u32 });
        Ok(())
    }

    fn on_data(&mut self, id: StreamId, fin: bool, end: bool, body: &Body<'_>) -> Result<(), ConnectionError> {
        self.receive_window.receive(body.len())?;
        let Some(key) = self.any_stream(id)? else {
            return self.drop_body(body);
        };
        let Some(stream) = self.table.stream_mut(key) else {
            return Ok(());
        };
        if stream.assembly.is_some() {
            return self.on_message_data(key, fin, end, body);
        }
        if stream.abandoned {
            // The end of an answer that nobody waits for is its terminal frame.
            if fin && stream.local && stream.kind == OpenKind::Request {
                self.finish_local(key);
            }
            return self.drop_body(body);
        }
        if stream.kind != OpenKind::Stream || stream.peer_finished {
            return Err(Misbehaved::StreamState.into());
        }
        // The callee's direction ends by its trailers, never by a flag.
        if fin && stream.local {
            return Err(Misbehaved::StreamState.into());
        }
        let left = stream.receive_credit.checked_sub(body.len()).ok_or(Misbehaved::Credit)?;
        let (allowed, seen) = (u64::from(self.limits.max_message), stream.message_size + body.len());
        if seen > allowed {
            // The sender knows the limit from the settings.
            return Err(LimitHit { limit: LimitName::MaxMessage, allowed, seen }.into());
        }
        if body.len() == 0 && !end && !fin {
            return Ok(self.flood.spend(Act::EmptyData)?);
        }
        stream.talked = true;
        if fin && !end && seen > 0 {
            // Its direction is over, but its message is not.
            return Err(Misbehaved::StreamState.into());
        }
        let encoding = stream.message_encoding;
        if end || fin {
            stream.message_encoding = Encoding::Plain;
        }
        stream.message_size = if end { 0 } else { seen };
        stream.receive_credit = left;
        stream.peer_finished = fin;
        // What came whole was never half-way in.
        if !end || seen > body.len() {
            self.moved += body.len();
        }
        self.flood.piece(body.len(), end || fin)?;
        if end && body.len() > 0 {
            self.flood.message();
        }
        self.events.push_back(Event::Data { key, body: body.to_bytes(), encoding, end, fin });
        Ok(())
    }

    /// The first bytes of a message of a stream that was made smaller; it declares what it will be.
    fn on_compressed(
        &mut self,
        id: StreamId,
        encoding: Encoding,
        end: bool,
        body: &Body<'_>,
    ) -> Result<(), ConnectionError> {
        if let Some(key) = self.any_stream(id)?
            && let Some(stream) = self.table.stream_mut(key)
        {
            // What comes for a stream that was given up is not followed.
            let within = stream.message_size > 0 && !stream.abandoned;
            if stream.kind != OpenKind::Stream || within || body.len() == 0 {
                return Err(Misbehaved::StreamState.into());
            }
            let (allowed, seen) = (u64::from(self.limits.max_message), declared(encoding));
            if seen > allowed {
                return Err(LimitHit { limit: LimitName::MaxMessage, allowed, seen }.into());
            }
            stream.message_encoding = encoding;
        }
        self.on_data(id, false, end, body)
    }

    /// A body that nobody takes: its credit is owed at once.
    fn drop_body(&mut self, body: &Body<'_>) -> Result<(), ConnectionError> {
        self.receive_window.release(body.len());
        Ok(self.flood.late(body.len())?)
    }

    fn on_trailers(&mut self, trailers: Trailers<'_>) -> Result<(), ConnectionError> {
        let Some(key) = self.local_stream(trailers.id)? else {
            return Ok(self.flood.late(0)?);
        };
        let Some(stream) = self.table.stream(key) else {
            return Ok(());
        };
        let (kind, abandoned) = (stream.kind, stream.abandoned);
        let unfinished = kind == OpenKind::Request || stream.message_size > 0;
        if unfinished && !abandoned && trailers.status == Status::Ok {
            return Err(Misbehaved::StreamState.into());
        }
        let sent = stream.complete_in.is_some();
        if kind == OpenKind::OneWay && trailers.status == Status::Ok && !sent {
            return Err(Misbehaved::StreamState.into());
        }
        let talked = stream.talked;
        // A one-way message whose last byte was just read cannot be ended before it is known as sent.
        let was_sent = kind == OpenKind::OneWay && trailers.status == Status::Ok;
        self.finish_local(key);
        if abandoned {
            return Ok(());
        }
        let event = match (kind, trailers.status) {
            (OpenKind::Stream, Status::Ok) => Event::Ended { key, metadata: trailers.metadata },
            _ if was_sent => Event::Sent { key },
            (_, status) => {
                if kind == OpenKind::Stream && !trailers.metadata.is_empty() {
                    self.events.push_back(Event::Trailers { key, metadata: trailers.metadata });
                }
                Event::Failed { key, error: call_error(status, trailers.text, talked) }
            }
        };
        self.events.push_back(event);
        Ok(())
    }

    fn on_cancel(&mut self, now: Time, id: StreamId, status: Status) -> Result<(), ConnectionError> {
        if id.opener() == self.side {
            return Err(Misbehaved::StreamState.into());
        }
        let Some(key) = self.any_stream(id)? else {
            return Ok(self.flood.late(0)?);
        };
        let fresh = |stream: &Stream| !stream.abandoned && !stream.is_answered() && now.since(stream.since) < QUICK;
        let hasty = self.table.stream(key).is_some_and(fresh);
        self.cancel_work(key, status);
        if hasty { Ok(self.flood.spend(Act::Cancel)?) } else { Ok(()) }
    }

    fn on_stream_credit(&mut self, id: StreamId, bytes: u32) -> Result<(), ConnectionError> {
        self.flood.credit(bytes)?;
        let Some(key) = self.any_stream(id)? else {
            return Ok(self.flood.late(0)?);
        };
        if let Some(stream) = self.table.stream_mut(key) {
            let credit = stream.send_credit.checked_add(u64::from(bytes)).filter(|sum| *sum <= MAX_WINDOW);
            stream.send_credit = credit.ok_or(Misbehaved::CreditOverflow)?;
            self.mark_ready(key);
        }
        Ok(())
    }

    /// The open stream of an id; `None` if it has ended; an error if it never was.
    fn any_stream(&self, id: StreamId) -> Result<Option<StreamKey>, ConnectionError> {
        let opened = if id.opener() == self.side { &self.opened_here } else { &self.opened_by_peer };
        if id.index() >= opened.count() {
            return Err(Misbehaved::UnknownStream.into());
        }
        Ok(self.table.find(id))
    }

    /// As [`Self::any_stream`], for frames that only a callee may send.
    fn local_stream(&self, id: StreamId) -> Result<Option<StreamKey>, ConnectionError> {
        if id.opener() != self.side {
            return Err(Misbehaved::StreamState.into());
        }
        self.any_stream(id)
    }
}

/// The bytes that a body will have once it is decompressed, as its head declares.
fn declared(encoding: Encoding) -> u64 {
    u64::from(encoding.raw_size().unwrap_or(0))
}

fn call_error(status: Status, text: &str, talked: bool) -> CallError {
    let outcome = match status {
        // It says that no work was done, which cannot be once messages of a stream went to and fro.
        Status::Unavailable if talked => Outcome::Unknown,
        Status::Unavailable => Outcome::NotProcessed,
        Status::OutcomeUnknown => Outcome::Unknown,
        _ => Outcome::Answered,
    };
    CallError { status, text: text.to_owned(), outcome, cause: None }
}
