//! What two applications are going to do with the calls, messages and streams of a run: drawn by a seed, and known to both
//! sides and to the model from the start. Must never know a session.

use std::time::Duration;

use bytes::Bytes;
use np_session::{OpenKind, Priority};
use np_types::{Limits, Metadata, Status};

use crate::{Rng, body};

/// One call, one-way message or stream.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Its place among all plans, which travels in its metadata.
    pub(super) number: usize,
    pub(super) opener: usize,
    pub(super) kind: OpenKind,
    pub(super) at: Duration,
    pub(super) priority: Priority,
    /// The caller's messages, and the callee's: their sizes.
    pub(super) sizes: [Vec<usize>; 2],
    /// The longest pause between two messages of either.
    pub(super) pauses: [Duration; 2],
    /// How each reads what the other sends.
    pub(super) pace: [Pace; 2],
    /// Whether the caller ends its direction after its last message.
    pub(super) half_closes: bool,
    /// When the callee ends it all.
    pub(super) ends: When,
    pub(super) status: Status,
    pub(super) deadline: Option<Duration>,
    /// When, and as what, the caller gives it up.
    pub(super) gives_up: Option<(Duration, Status)>,
}

/// How an application takes the bytes that came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pace {
    AtOnce,
    /// Each piece after a pause of at most this.
    Late(Duration),
    /// Each piece in parts of at most so many bytes, one after the other.
    Sips(usize),
    /// Nothing before this time.
    Stalls(Duration),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// Both have said everything.
    Done,
    /// So many messages of the caller have come.
    Messages(usize),
    /// So long after it began.
    After(Duration),
}

impl Plan {
    /// The bytes of a message: `side` 0 is the caller's direction.
    pub(super) fn message(&self, side: usize, at: usize) -> Bytes {
        let size = self.sizes[side].get(at).copied().unwrap_or_default();
        body((self.number as u64) << 1 | side as u64, at, size)
    }

    /// The pairs that the callee ends a stream with.
    pub(super) fn trailers(&self) -> Metadata {
        let mut pairs = Metadata::default();
        if self.kind == OpenKind::Stream && !self.number.is_multiple_of(3) {
            pairs.insert("end-of", &self.number.to_be_bytes()).expect("a small pair");
        }
        pairs
    }

    /// Whether nothing but its two applications' plans decides how it ends.
    pub(super) const fn is_undisturbed(&self) -> bool {
        self.deadline.is_none() && self.gives_up.is_none()
    }
}

/// The plans of both sides.
pub(super) fn plans(limits: &[Limits; 2], rng: &mut Rng) -> Vec<Plan> {
    let count = rng.between(2, 9) as usize;
    (0..count).map(|number| plan(number, limits, rng)).collect()
}

fn micros(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_micros(rng.below(most))
}

fn plan(number: usize, limits: &[Limits; 2], rng: &mut Rng) -> Plan {
    let opener = rng.below(2) as usize;
    let kind = rng.pick(&[OpenKind::Stream, OpenKind::Stream, OpenKind::Stream, OpenKind::Request, OpenKind::OneWay]);
    let sizes = [0, 1].map(|side| {
        let receiver = &limits[if side == 0 { 1 - opener } else { opener }];
        let count = if kind == OpenKind::Stream { rng.below(6) as usize } else { 1 };
        (0..count).map(|_| size(receiver, rng)).collect()
    });
    let stream = kind == OpenKind::Stream;
    let ends = match rng.below(6) {
        0 if stream => When::Messages(rng.below(3) as usize),
        1 if stream => When::After(micros(rng, 200_000)),
        _ => When::Done,
    };
    Plan {
        number,
        opener,
        kind,
        at: micros(rng, 200_000),
        priority: rng.pick(&[Priority::Interactive, Priority::Bulk]),
        sizes,
        pauses: [(); 2].map(|()| if rng.chance(40) { micros(rng, 50_000) } else { Duration::ZERO }),
        pace: [(); 2].map(|()| pace(rng)),
        half_closes: rng.chance(60),
        ends,
        status: rng.pick(&[Status::Ok, Status::Ok, Status::Ok, Status::Failed, Status::InvalidArgument]),
        deadline: rng.chance(8).then(|| micros(rng, 300_000)),
        gives_up: rng
            .chance(15)
            .then(|| (micros(rng, 250_000), rng.pick(&[Status::Cancelled, Status::Failed, Status::LimitReached]))),
    }
}

fn pace(rng: &mut Rng) -> Pace {
    match rng.below(6) {
        0 | 1 => Pace::AtOnce,
        2 => Pace::Sips(rng.between(100, 2_000) as usize),
        3 => Pace::Stalls(Duration::from_millis(rng.between(50, 2_000))),
        _ => Pace::Late(micros(rng, 30_000)),
    }
}

/// Nothing, a little, around the window, and as long as messages may be.
fn size(receiver: &Limits, rng: &mut Rng) -> usize {
    let most = (receiver.max_message as usize).min(1 << 14);
    let size = match rng.below(8) {
        0 => 0,
        1 => receiver.stream_window as usize - 1 + rng.below(3) as usize,
        2 => most,
        3 => rng.below(12_000) as usize,
        _ => rng.below(1_500) as usize,
    };
    size.min(most)
}
