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
