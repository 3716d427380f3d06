//! The way of most messages: small calls, and small answers, whose turn it is and that may leave as they stand.
//!
//! It does what [`outbound`](crate::outbound) does with them, and asks once what is asked there of each. Whatever needs a
//! closer look is left to that. It must never let anything leave that would not leave there in the same place.

use np_types::{Metadata, Status, Time};
use np_wire::{Open, OpenKind, Response, encode_open, encode_response};

use crate::outbound::{HEAD, LEAST, TARGET, remaining_time};
use crate::session::{Phase, Session};
use crate::stream::{Grant, Outgoing, Stream};
use crate::{Priority, StreamKey};

impl Session {
    /// Sends small calls and answers, up to the first message that is something else or may not leave yet.
    pub(crate) fn emit_small(&mut self, now: Time, out: &mut Vec<u8>) {
        let Some(peer) = self.peer.filter(|_| self.phase == Phase::Open) else {
            return;
        };
        #[cfg(test)]
        if !self.straight {
            return;
        }
        if !self.starved.is_empty() || self.pace.holds_any() || self.send_window.first_waiting().is_some() {
            return;
        }
        // What is larger needs a grant, is refused, or takes turns with others.
        let most = peer.max_message.min(peer.stream_window).min(LEAST as u32) as usize;
        while out.len() < TARGET && self.schedule.order()[0] == Priority::Interactive {
            let before = out.len();
            let sent = match self.schedule.first_opening(Priority::Interactive) {
                Some(key) => self.emit_small_call(now, out, key, (most, peer.max_calls)),
                None => self.emit_small_answer(now, out, most),
            };
            if !sent {
                return;
            }
            #[cfg(test)]
            {
                self.went_straight += 1;
            }
            self.schedule.sent(Priority::Interactive, out.len() - before);
        }
    }

    fn emit_small_call(
        &mut self,
        now: Time,
        out: &mut Vec<u8>,
        key: StreamKey,
        (most, allowance): (usize, u32),
    ) -> bool {
        let opened = self.table.open_here().saturating_sub(self.schedule.openings());
        let Some(stream) = self.table.stream_mut(key) else {
            return false;
        };
        let Outgoing::Queued(head) = &stream.outgoing else {
            return false;
        };
        let size = head.body.len();
        let fits = stream.kind == OpenKind::Request
            && is_plain(stream, size, most)
            && head.metadata.is_empty()
            && self.local_methods.is_announced(head.method);
        if !fits || opened >= allowance as usize || !self.send_window.covers(size as u64) {
            return false;
        }
        self.send_window.take(size as u64);
        self.sender.make_room(now, out, HEAD + size);
        let open = Open {
            kind: OpenKind::Request,
            method: head.method,
            codec: head.codec,
            encoding: head.encoding,
            remaining: remaining_time(stream.deadline, now),
            total: None,
            metadata: Metadata::new(),
            body: &head.body,
        };
        encode_open(out, &open);
        stream.outgoing = Outgoing::Done;
        (stream.grant, stream.heavy) = (Grant::Reserved, false);
        stream.complete_in = Some(self.sender.current_record());
        self.schedule.drop_first_opening(Priority::Interactive);
        self.table.name(key, self.opened_here.next());
        self.count_small(now, size);
        true
    }

    fn emit_small_answer(&mut self, now: Time, out: &mut Vec<u8>, most: usize) -> bool {
        let Some(key) = self.schedule.first_ready(Priority::Interactive) else {
            return false;
        };
        let Some(stream) = self.table.stream_mut(key).filter(|stream| !stream.local) else {
            return false;
        };
        let (Outgoing::Queued(head), Some(id)) = (&stream.outgoing, stream.id) else {
            return false;
        };
        let size = head.body.len();
        let fits = is_plain(stream, size, most) && head.metadata.is_empty();
        if !fits || !self.send_window.covers(size as u64) {
            return false;
        }
        self.send_window.take(size as u64);
        self.sender.make_room(now, out, HEAD + size);
        let (codec, encoding, body) = (head.codec, head.encoding, &head.body);
        encode_response(out, &Response { id, codec, encoding, total: None, metadata: Metadata::new(), body });
        self.schedule.next_ready(Priority::Interactive);
        self.count_small(now, size);
        self.finish_remote(key, Status::Ok);
        true
    }

    fn count_small(&mut self, now: Time, size: usize) {
        if size > 0 {
            self.pace.small(now);
        }
        self.flood.bytes(size);
        self.flood.message();
    }
}

/// Whether it leaves in one piece and in the class in which it waits.
fn is_plain(stream: &Stream, size: usize, most: usize) -> bool {
    size <= most && stream.priority == Priority::Interactive
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::{Bytes, BytesMut};
    use np_noise::{ReceiveCipher, SendCipher, Traffic};
    use np_types::{Deadline, Limits, Metadata, Time};
    use np_wire::{OpenKind, Side};
    use proptest::prelude::*;

    use super::LEAST;
    use crate::{Answer, Event, OpenCall, Priority, Session, StreamKey};

    /// Two sessions, and the requests that have no answer yet.
    struct Pair {
        client: Session,
        server: Session,
        asked: Vec<StreamKey>,
    }

    /// What happens: a call of this size and sort, or bytes that go either way, with so many answers first.
    #[derive(Debug, Clone)]
    enum Act {
        Open { size: usize, bulk: bool, one_way: bool, metadata: bool, deadline: u64 },
        Turn { answers: usize, size: usize, first: bool, millis: u64 },
    }

    fn acts() -> impl Strategy<Value = Act> {
        let size = || prop::sample::select(vec![0, 1, 64, LEAST - 1, LEAST, LEAST + 1, 2_048, 2_049, 5_000]);
        let rare = || prop::sample::select(vec![false, false, false, true]);
        let open = (size(), rare(), rare(), rare(), prop::sample::select(vec![0, 3, 29_500, 30_000, 90_000]));
        let open = open.prop_map(|(size, bulk, one_way, metadata, deadline)| Act::Open {
            size,
            bulk,
            one_way,
            metadata,
            deadline,
        });
        let turn = (0usize..12, size(), any::<bool>(), 0u64..3_000);
        let turn = turn.prop_map(|(answers, size, first, millis)| Act::Turn { answers, size, first, millis });
        prop_oneof![3 => open, 1 => turn]
    }

    impl Pair {
        fn new(straight: bool) -> Self {
            // Credit for a few calls, and room for a few, so that both run out.
            let limits = Limits { connection_window: 6_000, stream_window: 2_048, max_calls: 6, ..Limits::default() };
            let session = |side, keys: [u8; 2]| {
                let [send, receive] = keys.map(|key| [key; 32]);
                let (send, receive) = (SendCipher::danger_from_key(send), ReceiveCipher::danger_from_key(receive));
                let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
                let mut session = Session::danger_from_traffic(side, limits.clone(), traffic, Time::ZERO);
                session.straight = straight;
                session
            };
            let (client, server) = (session(Side::Initiator, [1, 2]), session(Side::Responder, [2, 1]));
            Self { client, server, asked: Vec::new() }
        }

        fn act(&mut self, now: &mut Time, act: &Act) -> Vec<u8> {
            match *act {
                Act::Open { size, bulk, one_way, metadata, deadline } => {
                    let kind = if one_way { OpenKind::OneWay } else { OpenKind::Request };
                    let mut call = OpenCall::new(kind, "m".parse().unwrap());
                    call.body = Bytes::from(vec![7; size]);
                    if bulk {
                        call.priority = Priority::Bulk;
                    }
                    if metadata {
                        call.metadata.insert("key", b"value").unwrap();
                    }
                    if deadline > 0 {
                        call.deadline = Deadline::after(*now, Duration::from_millis(deadline));
                    }
                    // One that is refused is so on both ways.
                    format!("{:?}", self.client.open(call)).into_bytes()
                }
                Act::Turn { answers, size, first, millis } => {
                    *now = *now + Duration::from_millis(millis);
                    self.turn(*now, answers, size, first)
                }
            }
        }

        /// What was said and heard.
        fn turn(&mut self, now: Time, answers: usize, size: usize, first: bool) -> Vec<u8> {
            let mut said = Vec::new();
            self.client.handle_timeout(now);
            self.server.handle_timeout(now);
            said.extend(carry(now, &mut self.client, &mut self.server));
            while let Some(event) = self.server.poll_event() {
                said.extend(format!("{event:?}").into_bytes());
                match event {
                    Event::Opened { key, kind: OpenKind::Request, credit, .. } => {
                        self.server.release(credit);
                        self.asked.push(key);
                    }
                    Event::Opened { key, credit, .. } => {
                        self.server.release(credit);
                        self.server.end(key, np_types::Status::Ok, "", Metadata::new()).unwrap();
                    }
                    Event::Cancelled { key, status } => {
                        self.asked.retain(|other| *other != key);
                        let _ = self.server.end(key, status, "", Metadata::new());
                    }
                    _ => {}
                }
            }
            for _ in 0..answers.min(self.asked.len()) {
                let key = if first { self.asked.remove(0) } else { self.asked.pop().unwrap() };
                let answered = self.server.respond(key, Answer::from(Bytes::from(vec![9; size])));
                said.extend(format!("{answered:?}").into_bytes());
            }
            said.extend(carry(now, &mut self.server, &mut self.client));
            while let Some(event) = self.client.poll_event() {
                said.extend(format!("{event:?}").into_bytes());
                if let Event::Answered { credit, .. } = event {
                    self.client.release(credit);
                }
            }
            said
        }
    }

    fn carry(now: Time, from: &mut Session, to: &mut Session) -> Vec<u8> {
        let mut out = Vec::new();
        while from.poll_transmit(now, &mut out) {}
        from.handle_written(out.len());
        to.handle_bytes(now, &mut BytesMut::from(&out[..]));
        out
    }

    #[test]
    fn small_calls_and_answers_take_the_straight_way() {
        for straight in [true, false] {
            let mut pair = Pair::new(straight);
            let open = Act::Open { size: 64, bulk: false, one_way: false, metadata: false, deadline: 0 };
            let turn = Act::Turn { answers: 9, size: 64, first: true, millis: 0 };
            // The first call brings its method's name along, and takes the whole way.
            let mut now = Time::ZERO;
            for act in [&turn, &turn, &open, &turn, &open, &open, &open, &turn, &turn] {
                pair.act(&mut now, act);
            }
            assert!(pair.client.is_idle() && pair.server.is_idle());
            let sent = if straight { (3, 4) } else { (0, 0) };
            assert_eq!((pair.client.went_straight, pair.server.went_straight), sent);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

        #[test]
        fn the_straight_way_and_the_whole_way_send_the_same_bytes(acts in prop::collection::vec(acts(), 1..120)) {
            let (mut straight, mut whole) = (Pair::new(true), Pair::new(false));
            let (mut now, mut other) = (Time::ZERO, Time::ZERO);
            let begin = Act::Turn { answers: 0, size: 0, first: true, millis: 0 };
            let end = Act::Turn { answers: 99, size: 64, first: true, millis: 1 };
            let ends = std::iter::repeat_n(&end, 40);
            for act in [&begin, &begin].into_iter().chain(&acts).chain(ends) {
                prop_assert_eq!(straight.act(&mut now, act), whole.act(&mut other, act), "{:?}", act);
            }
            prop_assert!(straight.client.error().is_none() && straight.client.is_idle());
        }
    }
}
