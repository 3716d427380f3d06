//! One call, one-way message or stream: what it still has to send, and what it is putting together.
//!
//! ```text
//!   caller                              callee
//!   Queued --opening frame-->           (none)
//!   Body | Done                         Waiting      handler runs
//!   Done        <--head, body-- Queued, Body, Done   answered
//! ```
//! A stream leaves the table by its terminal frame, on both sides.

use bytes::Bytes;
use np_types::{Codec, Deadline, Limits, Metadata, Status, Time};
use np_wire::{Encoding, OpenKind, StreamId};

use crate::Priority;
use crate::growth::Growth;

/// The head of a message that was not sent yet, and the message.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method's number; of no use in an answer.
    pub(crate) method: u32,
    pub(crate) codec: Codec,
    pub(crate) encoding: Encoding,
    pub(crate) metadata: Metadata,
    pub(crate) body: Bytes,
}

/// What a stream has to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Nothing, until the application says something.
    Waiting,
    /// An opening or answering head, with its message.
    Queued(Head),
    /// The rest of a message.
    Body {
        rest: Bytes,
        /// How it was made smaller, where its first bytes have to say so.
        encoding: Encoding,
        /// Whether this side's direction ends with it.
        fin: bool,
    },
    /// Nothing more, ever.
    Done,
}

/// How a stream's bytes get credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The connection's credit was taken for the whole message before it started.
    Reserved,
    /// Credit of the stream and of the connection, as it comes.
    AsItComes,
}

/// A message that is being put together.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) head: Option<Box<Head>>,
    pub(crate) total: u32,
    pub(crate) buffer: Vec<u8>,
    /// Whether the message is larger than the stream window, so that its credit comes from the reassembly budget.
    pub(crate) large: bool,
    /// Whether the budget has been drawn.
    pub(crate) granted: bool,
}

/// Control frames that a stream has to send; each kind at most once.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) credit: u32,
    pub(crate) cancel: Option<Status>,
    pub(crate) trailers: Option<Box<(Status, String, Metadata)>>,
}

impl Pending {
    const NONE: Self = Self { credit: 0, cancel: None, trailers: None };
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// The id on the wire; a queued call has none.
    pub(crate) id: Option<StreamId>,
    pub(crate) kind: OpenKind,
    /// Whether this side opened it.
    pub(crate) local: bool,
    pub(crate) deadline: Deadline,
    /// When the peer opened it.
    pub(crate) since: Time,
    /// The class in which its bytes leave.
    pub(crate) priority: Priority,
    pub(crate) outgoing: Outgoing,
    pub(crate) grant: Grant,
    /// Bytes that the peer's stream window still takes.
    pub(crate) send_credit: u64,
    /// Bytes that this side's stream window still takes.
    pub(crate) receive_credit: u64,
    /// How large that window is; of use in a stream alone.
    pub(crate) growth: Growth,
    /// Bytes of the stream's message that has begun to come.
    pub(crate) message_size: u64,
    /// How that message was made smaller.
    pub(crate) message_encoding: Encoding,
    /// Bytes of this call that count against `call_budget`; kept by the table.
    pub(crate) held: u64,
    /// The part of it that the application has not answered; kept by the table.
    pub(crate) at_work: u64,
    /// Bytes of a stream's message that has not left as a whole; kept by the table.
    pub(crate) unsent: u64,
    /// Whether what it sends is a large message, which the pace may hold.
    pub(crate) heavy: bool,
    /// Whether a stream's message, or a part of one, went either way.
    pub(crate) talked: bool,
    /// Bytes consumed by the application and not yet credited.
    pub(crate) consumed: u32,
    pub(crate) assembly: Option<Box<Assembly>>,
    pub(crate) pending: Pending,
    /// Whether the peer's direction of a stream has ended.
    pub(crate) peer_finished: bool,
    /// Whether the local caller has its result and only the terminal frame is awaited, or the work was cancelled.
    pub(crate) abandoned: bool,
    /// Whether the work was cancelled by its deadline, as this side counts it.
    pub(crate) expired: bool,
    /// The number of the record that holds the last byte of what makes the callee start.
    pub(crate) complete_in: Option<u64>,
    pub(crate) in_control: bool,
    pub(crate) in_ready: bool,
    pub(crate) in_starved: bool,
    pub(crate) in_held: bool,
}

impl Stream {
    /// What every stream begins as.
    pub(crate) const BLANK: Self = Self {
        id: None,
        kind: OpenKind::Request,
        local: false,
        deadline: Deadline::NONE,
        since: Time::ZERO,
        priority: Priority::Interactive,
        outgoing: Outgoing::Waiting,
        grant: Grant::Reserved,
        send_credit: 0,
        receive_credit: 0,
        growth: Growth::NONE,
        message_size: 0,
        message_encoding: Encoding::Plain,
        held: 0,
        at_work: 0,
        unsent: 0,
        heavy: false,
        talked: false,
        consumed: 0,
        assembly: None,
        pending: Pending::NONE,
        peer_finished: false,
        abandoned: false,
        expired: false,
        complete_in: None,
        in_control: false,
        in_ready: false,
        in_starved: false,
        in_held: false,
    };

    /// Makes it blank again, field by field: as a whole it would be copied from elsewhere.
    pub(crate) fn clear(&mut self) {
        let Self {
            id,
            kind,
            local,
            deadline,
            since,
            priority,
            outgoing,
            grant,
            send_credit,
            receive_credit,
            growth,
            message_size,
            message_encoding,
            held,
            at_work,
            unsent,
            heavy,
            talked,
            consumed,
            assembly,
            pending,
            peer_finished,
            abandoned,
            expired,
            complete_in,
            in_control,
            in_ready,
            in_starved,
            in_held,
        } = self;
        (*outgoing, *assembly, *pending) = (Outgoing::Waiting, None, Pending::NONE);
        (*id, *kind, *local, *priority) = (None, OpenKind::Request, false, Priority::Interactive);
        (*deadline, *since, *complete_in) = (Deadline::NONE, Time::ZERO, None);
        (*grant, *send_credit, *receive_credit, *consumed) = (Grant::Reserved, 0, 0, 0);
        (*message_size, *message_encoding, *growth) = (0, Encoding::Plain, Growth::NONE);
        (*held, *at_work, *unsent) = (0, 0, 0);
        (*heavy, *talked, *peer_finished, *abandoned, *expired) = (false, false, false, false, false);
        (*in_control, *in_ready, *in_starved, *in_held) = (false, false, false, false);
    }

    /// Makes a blank one a call that this side opens; it gets its id when its first frame is sealed.
    #[inline]
    pub(crate) fn queue(&mut self, kind: OpenKind, deadline: Deadline, priority: Priority, head: Head) {
        (self.kind, self.local, self.deadline, self.priority) = (kind, true, deadline, priority);
        self.outgoing = Outgoing::Queued(head);
    }

    /// Makes a blank one a call that the peer opened.
    #[inline]
    pub(crate) fn accept(&mut self, id: StreamId, kind: OpenKind, deadline: Deadline, now: Time) {
        (self.id, self.kind, self.deadline, self.since) = (Some(id), kind, deadline, now);
    }

    /// Opens this side's window of a stream.
    pub(crate) fn open_window(&mut self, limits: &Limits) {
        self.receive_credit = u64::from(limits.stream_window);
        self.growth = Growth::new(limits.stream_window, limits.max_window);
    }

    /// Whether nothing stands elsewhere for it: neither what it sends nor what it puts together.
    pub(crate) const fn is_settled(&self) -> bool {
        matches!(self.outgoing, Outgoing::Done) && self.assembly.is_none() && !self.in_starved && !self.in_held
    }

    /// Whether the application has said its last word on a call of the peer.
    pub(crate) fn is_answered(&self) -> bool {
        let replied = self.kind == OpenKind::Request && !matches!(self.outgoing, Outgoing::Waiting);
        replied || self.pending.trailers.is_some()
    }

    /// How a call of the peer ends whose work was given up.
    pub(crate) const fn given_up(&self) -> (Status, &'static str) {
        match self.expired {
            true => (Status::DeadlineExceeded, "the deadline passed before the answer was there"),
            false => (Status::Cancelled, "the caller gave the call up"),
        }
    }

    /// Whether the opening frame has been sealed.
    pub(crate) const fn is_opened(&self) -> bool {
        self.id.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::{Deadline, Limits, Time};
    use np_wire::{OpenKind, Side, StreamId};

    use super::{Assembly, Outgoing, Stream};

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_was_cleared_is_as_one_that_never_was() {
        let mut stream = Stream::BLANK;
        stream.accept(
            StreamId::new(Side::Responder, 0),
            OpenKind::Stream,
            Deadline::after(Time::ZERO, HOUR),
            Time::ZERO,
        );
        stream.open_window(&Limits::default());
        (stream.outgoing, stream.consumed, stream.complete_in) = (Outgoing::Done, 1, Some(1));
        (stream.local, stream.in_ready, stream.heavy, stream.talked) = (true, true, true, true);
        stream.pending.credit = 1;
        assert_ne!(format!("{stream:?}"), format!("{:?}", Stream::BLANK));
        stream.clear();
        assert_eq!(format!("{stream:?}"), format!("{:?}", Stream::BLANK));
    }

    /// Each place by itself: what stands in one of them has to be taken out before its stream is forgotten.
    #[test]
    fn a_stream_is_settled_that_stands_nowhere_else() {
        let settled = || {
            let mut stream = Stream::BLANK;
            stream.accept(StreamId::new(Side::Responder, 0), OpenKind::Request, Deadline::NONE, Time::ZERO);
            Stream { outgoing: Outgoing::Done, ..stream }
        };
        assert!(settled().is_settled());
        let assembly = Assembly { head: None, total: 1, buffer: Vec::new(), large: false, granted: false };
        for stream in [
            Stream { outgoing: Outgoing::Waiting, ..settled() },
            Stream { assembly: Some(Box::new(assembly)), ..settled() },
            Stream { in_starved: true, ..settled() },
            Stream { in_held: true, ..settled() },
        ] {
            assert!(!stream.is_settled(), "{stream:?}");
        }
    }
}
