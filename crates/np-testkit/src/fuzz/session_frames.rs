//! One session, past the cryptography, against records that the input writes, beside an application that calls, answers
//! and streams as the input says. Little is held however much comes, events and answers are in proportion to what
//! causes them, what the session sends is well formed, and after the end there is only the end. Owns this rule alone.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{Answer, Event, OpenCall, OpenKind, Session, Side, StreamKey};
use np_types::{CloseCode, ConnectionError, Deadline, Limits, Metadata, MethodName, Status, Time};
use np_wire::{Frame, Frames, TAG, encode_frame, record_len};

use super::input::Input;
use crate::settings;

const MOST_OPERATIONS: usize = 400;
/// From here on an operation is the application's; below, it is the length of a record, from 0xe0 on by two more bytes.
pub(super) const APPLICATION: u8 = 0xf0;
pub(super) const LONG: u8 = 0xe0;

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let flags = input.u8();
    let mut host = Host::new(if flags & 1 == 0 { Side::Responder } else { Side::Initiator });
    if flags & 2 == 0 {
        let mut plain = Vec::new();
        encode_frame(&mut plain, &Frame::Settings(settings(&limits())));
        host.record(&plain);
        host.drain();
    }
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        match input.u8() {
            size @ ..LONG => host.record(input.take(usize::from(size))),
            LONG..APPLICATION => {
                let size = usize::from(input.u16());
                host.record(input.take(size));
            }
            operation => host.act(operation, &mut input),
        }
        // With the flag, the transport takes nothing before the input says so.
        if flags & 4 == 0 {
            host.transmit();
        }
    }
    host.transmit();
    host.ready && host.session.error().is_none()
}

/// Small limits, which few bytes reach.
pub(super) fn limits() -> Limits {
    Limits {
        max_message: 4_096,
        max_calls: 4,
        max_queued_calls: 4,
        stream_window: 1_024,
        connection_window: 4_096,
        max_window: 8_192,
        reassembly_budget: 8_192,
        call_budget: 16_384,
        useless_acts: 256,
        ..Limits::default()
    }
}

struct Host {
    session: Session,
    now: Time,
    ready: bool,
    closed: Option<ConnectionError>,
    /// The peer's calls, with the bytes of their bodies, and this side's.
    theirs: VecDeque<(StreamKey, OpenKind, usize)>,
    ours: VecDeque<StreamKey>,
    /// Credit that bodies hold, and that streams' bytes hold.
    credit: VecDeque<u32>,
    streamed: VecDeque<(StreamKey, usize)>,
    /// What came, what was asked for, and what the session said, in bytes.
    received: usize,
    asked: usize,
    sent: usize,
}

impl Host {
    fn new(side: Side) -> Self {
        let traffic = Traffic {
            send: SendCipher::danger_null(),
            receive: ReceiveCipher::danger_null(),
            hash: [0; 32],
            remote_static: None,
        };
        let limits = limits();
        limits.validate().expect("limits in their ranges");
        Self {
            session: Session::danger_from_traffic(side, limits, traffic, Time::ZERO),
            now: Time::ZERO,
            ready: false,
            closed: None,
            theirs: VecDeque::new(),
            ours: VecDeque::new(),
            credit: VecDeque::new(),
            streamed: VecDeque::new(),
            received: 0,
            asked: 0,
            sent: 0,
        }
    }

    /// The peer sends a record.
    fn record(&mut self, plain: &[u8]) {
        let mut input = BytesMut::new();
        let length = u16::try_from(plain.len() + TAG).unwrap_or(u16::MAX);
        input.extend_from_slice(&length.to_be_bytes());
        input.extend_from_slice(&plain[..usize::from(length) - TAG]);
        input.extend_from_slice(&[0; TAG]);
        self.received += input.len();
        // A frame opens a call, and an error behind it stops the call again.
        let most = 2 * Frames::new(plain).count() + self.session.open_here() + self.session.open_by_peer() + 1;
        self.session.handle_bytes(self.now, &mut input);
        assert!(input.is_empty(), "a whole record is taken, or thrown away after the end");
        let events = self.drain();
        assert!(events <= most, "{events} events by {most} frames and calls");
    }

    fn drain(&mut self) -> usize {
        let mut count = 0;
        while let Some(event) = self.session.poll_event() {
            count += 1;
            assert!(self.closed.is_none(), "after the last event: {event:?}");
            self.note(event);
        }
        assert_eq!(self.session.error(), self.closed.as_ref(), "the session holds the error that it told");
        self.check_held();
        count
    }

    fn note(&mut self, event: Event) {
        assert!(self.ready || matches!(event, Event::Ready(_) | Event::Closed(_) | Event::Failed { .. }), "{event:?}");
        match event {
            Event::Ready(_) => assert!(!std::mem::replace(&mut self.ready, true)),
            Event::Opened { key, kind, body, credit, metadata, .. } => {
                self.theirs.push_back((key, kind, body.len() + metadata.size()));
                self.credit.push_back(credit);
            }
            Event::Answered { key, credit, .. } => {
                self.credit.push_back(credit);
                self.ended(key);
            }
            Event::Failed { key, .. } | Event::Ended { key, .. } | Event::Sent { key } => self.ended(key),
            Event::Data { key, body, .. } => self.streamed.push_back((key, body.len())),
            Event::Cancelled { key, .. } => {
                let known = self.theirs.iter().any(|(other, ..)| *other == key);
                assert!(known, "a call that was never opened: {key:?}");
            }
            Event::Closed(error) => self.closed = Some(error),
            _ => {}
        }
    }

    fn ended(&mut self, key: StreamKey) {
        let before = self.ours.len();
        self.ours.retain(|other| *other != key);
        assert_eq!(self.ours.len() + 1, before, "{key:?} ends once");
    }

    /// The credit that is out is within the window, and so are bodies within their budgets.
    fn check_held(&self) {
        let limits = limits();
        let credit: u64 = self.credit.iter().map(|credit| u64::from(*credit)).sum();
        let streamed: usize = self.streamed.iter().map(|(_, bytes)| bytes).sum();
        assert!(credit + streamed as u64 <= u64::from(limits.max_window), "{credit} and {streamed} are held");
        let bodies: usize = self.theirs.iter().map(|(_, _, bytes)| bytes).sum();
        assert!(bodies <= (limits.call_budget + limits.max_window) as usize, "{bodies} bytes of requests");
        let (open, queued) = (self.session.open_by_peer(), self.session.queued());
        assert!(open <= limits.max_calls as usize, "{open} calls of the peer");
        assert!(queued <= limits.max_queued_calls as usize, "{queued} calls wait");
    }

    /// The transport takes all there is.
    fn transmit(&mut self) {
        let mut out = Vec::new();
        while self.session.poll_transmit(self.now, &mut out) {}
        self.session.handle_written(out.len());
        self.sent += out.len();
        if self.closed.is_some() {
            assert!(self.session.is_closed(), "what is over has one thing to say");
        }
        let mut rest = &out[..];
        while let Some(length) = record_len(rest, TAG + 1).expect("a record") {
            let (record, after) = rest[2..].split_at(length);
            for frame in Frames::new(&record[..length - TAG]) {
                let frame = frame.expect("the session sends what decodes");
                assert!(!matches!(frame, Frame::Unknown { .. }));
            }
            rest = after;
        }
        assert!(rest.is_empty(), "whole records");
        // A frame of two bytes can cause a status with a text, and its record; settings come by themselves.
        let most = 1_024 + 64 * self.received + 2 * self.asked;
        assert!(self.sent <= most, "{} bytes for {} received and {} asked for", self.sent, self.received, self.asked);
        self.drain();
    }

    fn act(&mut self, operation: u8, input: &mut Input<'_>) {
        let value = input.u8();
        self.asked += 256;
        match operation - APPLICATION {
            0 => self.open(OpenKind::Request, value),
            1 => self.open(OpenKind::OneWay, value),
            2 => self.open(OpenKind::Stream, value),
            3 => self.answer(usize::from(value) * 20),
            4 => self.end(value),
            5 => self.cancel(value),
            6 => {
                if let Some(key) = self.ours.get(usize::from(value) % 4).copied() {
                    self.asked += usize::from(value) * 20;
                    // A stream that is over or still full takes nothing.
                    let _ = self.session.send(key, Bytes::from(vec![7; usize::from(value) * 20]));
                }
            }
            7 => {
                if let Some(key) = self.ours.get(usize::from(value) % 4).copied() {
                    let _ = self.session.finish(key);
                }
            }
            8 => {
                if let Some(credit) = self.credit.pop_front() {
                    self.session.release(credit);
                }
            }
            9 => {
                if let Some((key, bytes)) = self.streamed.pop_front() {
                    self.session.consumed(key, bytes);
                }
            }
            10 => self.now = self.now + Duration::from_millis(u64::from(value) * 50),
            11 => drop(self.session.ping()),
            12 => self.session.update_key(),
            13 => self.session.go_away(CloseCode::Drained),
            14 if value > 0xf0 => self.session.close(CloseCode::Normal, "as the input says"),
            15 if value > 0xf0 => self.session.handle_eof(),
            _ => self.transmit(),
        }
        self.session.handle_timeout(self.now);
        self.drain();
    }

    fn open(&mut self, kind: OpenKind, value: u8) {
        let method = MethodName::new(["echo", "a", "b"][usize::from(value) % 3]).expect("a name");
        let mut call = OpenCall::new(kind, method);
        if kind != OpenKind::Stream {
            call.body = Bytes::from(vec![7; usize::from(value) * 20]);
            self.asked += call.body.len();
        }
        if value % 2 == 1 {
            call.deadline = Deadline::after(self.now, Duration::from_millis(u64::from(value) * 10));
        }
        if let Ok(key) = self.session.open(call) {
            self.ours.push_back(key);
        }
    }

    fn answer(&mut self, size: usize) {
        let Some((key, kind, _)) = self.theirs.pop_front() else {
            return;
        };
        self.asked += size;
        let answered = match kind {
            OpenKind::Request => self.session.respond(key, Answer::from(Bytes::from(vec![7; size]))),
            OpenKind::OneWay => self.session.end(key, Status::Ok, "", Metadata::default()),
            OpenKind::Stream => self.session.send(key, Bytes::from(vec![7; size])),
        };
        if kind == OpenKind::Stream {
            // It goes on until it is ended.
            self.theirs.push_back((key, kind, 0));
        } else {
            assert!(answered.is_ok() || self.closed.is_some(), "a call of the peer takes an answer: {answered:?}");
        }
    }

    fn end(&mut self, value: u8) {
        if let Some((key, kind, _)) = self.theirs.pop_front() {
            let status = if kind == OpenKind::Stream && value.is_multiple_of(2) { Status::Ok } else { Status::Failed };
            let ended = self.session.end(key, status, "so it is", Metadata::default());
            assert!(ended.is_ok() || self.closed.is_some(), "a call of the peer can be ended: {ended:?}");
        }
    }

    fn cancel(&mut self, value: u8) {
        if let Some(at) = usize::from(value).checked_rem(self.ours.len())
            && let Some(key) = self.ours.remove(at)
        {
            self.session.cancel(key);
        }
    }
}
