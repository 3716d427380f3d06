//! How much of large messages may be on its way at once while small ones share the connection.
//!
//! What was sent and not yet read stands in front of a small message, in buffers that nobody here can reorder. So while
//! small messages come, large ones are held to a few of what the way itself holds: marks, which are PINGs between the
//! pieces, tell what has been read and how long it took; a round trip far longer than is usual where little is on its
//! way is a queue of our own making, and the limit shrinks; one hardly longer means that the way was not full, and it
//! grows (the idea of TCP Vegas, Brakmo and Peterson 1995). Without small messages nothing is held and nothing is
//! marked. It must never know what the messages are.

use std::time::Duration;

use np_types::Time;

use crate::schedule::TURN;
use crate::seldom::Seldom;
use crate::session::{Phase, Session};
use crate::stream::Outgoing;
use crate::{Priority, StreamKey};

/// A message up to this many bytes is small, unless its class is bulk: others make room for it, and nothing holds it.
pub(crate) const SMALL: usize = TURN;
/// For how long after a small message the next one is expected.
const EXPECTED: Duration = Duration::from_secs(2);
/// The limit never shrinks below this: a few pieces, so that the peer has one to read while the next is on its way.
const LEAST: u64 = 48 << 10;
/// The limit never grows beyond this, the largest way that the windows of the defaults fill.
const MOST: u64 = 16 << 20;
/// No round trip is taken for a shorter one, however coarse the clock is: of nothing there is no multiple.
const INSTANT: Duration = Duration::from_micros(1);
/// Bytes of large messages after which a write ends: of whole limits, one side would sleep while the other seals or opens
/// them.
const WRITE: u64 = 64 << 10;
/// Marks that may be unanswered at once.
const MARKS: usize = 16;

/// A PING between pieces.
#[derive(Debug)]
struct Mark {
    token: u64,
    /// Bytes of large messages that went before it.
    sent: u64,
    /// Whether no more of them could still be on their way than the least limit lets.
    alone: bool,
    at: Time,
}

/// What of large messages is on its way, and how much may be.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the last small message was sent.
    small: Option<Time>,
    limit: u64,
    sent: u64,
    /// What need not be waited for: what was read, or left before there was anything to hold it for.
    read: u64,
    /// What a mark has told to be read, and nothing else.
    known: u64,
    marks: Seldom<Mark>,
    /// Whether the limit was met since it was judged last: only then does it say anything to have been quick.
    met: bool,
    usual: Usual,
    /// Streams that wait for what is on its way to be read.
    held: Seldom<StreamKey>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            small: None,
            limit: LEAST,
            sent: 0,
            read: 0,
            known: 0,
            marks: Seldom::default(),
            met: false,
            usual: Usual::default(),
            held: Seldom::default(),
        }
    }
}

impl Pace {
    /// A small message leaves. What is on its way already is past holding.
    pub(crate) fn small(&mut self, now: Time) {
        if !self.holds(now) {
            (self.read, self.met) = (self.sent, false);
            self.marks.clear();
        }
        self.small = Some(now);
    }

    /// Whether large messages are held at all.
    pub(crate) fn holds(&self, now: Time) -> bool {
        self.small.is_some_and(|at| now.since(at) < EXPECTED)
    }

    /// Counts bytes of large messages.
    pub(crate) const fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Bytes of large messages that have left, ever.
    pub(crate) const fn sent_so_far(&self) -> u64 {
        self.sent
    }

    /// Gives back what nothing on its way needs.
    pub(crate) fn rest(&mut self, now: Time) {
        self.marks.rest();
        self.held.rest();
        if !self.holds(now) {
            self.small = None;
        }
    }

    /// Whether there is nothing that another would have to be told.
    pub(crate) fn is_blank(&self) -> bool {
        let Self { small, limit, sent, read, known, marks, met, usual, held } = self;
        let none = marks.is_empty() && held.is_empty() && [*sent, *read, *known] == [0; 3];
        none && small.is_none() && *limit == LEAST && !met && usual.0.is_none()
    }

    /// Whether somebody waits.
    pub(crate) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether a piece of a large message may leave.
    fn takes(&mut self, now: Time) -> bool {
        let takes = !self.holds(now) || self.sent - self.read < self.limit;
        self.met |= !takes;
        takes
    }

    /// Whether a PING belongs behind what was sent last: four to a limit, and one wherever streams are held.
    fn wants_mark(&self, now: Time) -> bool {
        let marked = self.marks.back().map_or(self.read, |mark| mark.sent);
        let unmarked = self.sent - marked;
        self.holds(now)
            && unmarked > 0
            && self.marks.len() < MARKS
            && (unmarked >= self.limit / 4 || (self.marks.is_empty() && !self.held.is_empty()))
    }

    /// A PING leaves, whoever asked for it.
    pub(crate) fn mark(&mut self, token: u64, now: Time) {
        if self.holds(now) && self.marks.len() < MARKS {
            // The last piece passes the limit by less than its own size.
            let alone = self.sent - self.known < LEAST + TURN as u64;
            self.marks.push_back(Mark { token, sent: self.sent, alone, at: now });
        }
    }

    /// A PONG came: everything before its mark has been read.
    fn answered(&mut self, token: u64, now: Time) {
        let mut last = None;
        while self.marks.front().is_some_and(|mark| mark.token <= token) {
            last = self.marks.pop_front();
        }
        let Some(mark) = last else {
            return;
        };
        let bytes = mark.sent - self.read;
        (self.read, self.known) = (mark.sent, mark.sent);
        let took = now.since(mark.at).max(INSTANT);
        if let Some(usual) = self.usual.note(took, mark.alone) {
            self.judge(bytes, took, usual);
        }
    }

    /// A stream that was held has nothing more to send.
    pub(crate) fn forget(&mut self, key: StreamKey) {
        self.held.retain(|other| *other != key);
    }

    /// Grows and shrinks by what was read, so that a limit doubles or halves within a round trip at most. Between the two
    /// bounds, 10 and 14 eighths of the usual round trip, it stays: a small message is to take less than twice what is usual,
    /// which is also where a transfer that waits for its marks has half of its rate.
    fn judge(&mut self, bytes: u64, took: Duration, usual: Duration) {
        if took * 8 > usual * 14 {
            self.limit = self.limit.saturating_sub(bytes / 2).max(LEAST);
        } else if took * 8 <= usual * 10 && std::mem::take(&mut self.met) {
            self.limit = (self.limit + bytes).min(MOST);
        }
    }
}

fn is_large(priority: Priority, size: usize) -> bool {
    size > SMALL || (priority == Priority::Bulk && size > 0)
}

/// The usual round trip where little is on its way: a moving average, so that neither one answer of a peer that happened
/// to be awake nor one of a peer that was kept from its work is taken for the way.
#[derive(Debug, Default)]
struct Usual(Option<Duration>);

impl Usual {
    /// Learns from a mark, and gives what is known. Of one that others stood before it learns only that the way is no longer
    /// than that. One answer, however late, makes it longer by three eighths at most.
    fn note(&mut self, took: Duration, alone: bool) -> Option<Duration> {
        if !alone && self.0.is_none_or(|usual| took >= usual) {
            return self.0;
        }
        let usual = self.0.unwrap_or(took);
        self.0 = Some((usual * 7 + took.min(usual * 4)) / 8);
        self.0
    }
}

impl Session {
    /// Whether a piece of a large message may leave now; the stream waits for its turn otherwise.
    pub(crate) fn paced(&mut self, now: Time, key: StreamKey) -> bool {
        // What is owed to bulk is its own, and a connection that ends sends all that it can.
        let owed = self.schedule.order()[0] == Priority::Bulk
            && self.table.stream(key).is_some_and(|stream| stream.priority == Priority::Bulk);
        if self.pace.takes(now) || owed || self.phase != Phase::Open {
            self.forget_held(key);
            return true;
        }
        if let Some(stream) = self.table.stream_mut(key)
            && !std::mem::replace(&mut stream.in_held, true)
        {
            self.pace.held.push_back(key);
        }
        false
    }

    /// A unary message begins; gives whether its first piece may leave with its head.
    pub(crate) fn begin_message(&mut self, now: Time, key: StreamKey, size: usize) -> bool {
        let heavy = self.table.stream(key).is_some_and(|stream| is_large(stream.priority, size));
        if let Some(stream) = self.table.stream_mut(key) {
            stream.heavy = heavy;
        }
        match heavy {
            true => self.pace.takes(now),
            false => {
                // The opening of a stream says nothing of its messages.
                if size > 0 {
                    self.pace.small(now);
                }
                true
            }
        }
    }

    /// A piece of a message leaves.
    pub(crate) fn count_piece(&mut self, now: Time, heavy: bool, bytes: usize) {
        match heavy {
            true => self.pace.sent(bytes),
            false if bytes > 0 => self.pace.small(now),
            false => {}
        }
    }

    /// What of a unary message leaves with its head.
    pub(crate) fn count_head(&mut self, key: StreamKey, first: usize) {
        if self.table.stream(key).is_some_and(|stream| stream.heavy) {
            self.pace.sent(first);
        }
    }

    /// Whether the last [`Session::poll_transmit`] stopped so that small messages find their way between large ones: hand over
    /// what it gave, and let others run, before it is asked again. Who asks at once loses nothing but that.
    ///
    /// While small messages come, a write ends where a large message is next and anything else stands in it, such as small
    /// messages and answers to pings: the peer is woken by them while this side seals the rest. Of large ones a write takes
    /// 64 KiB, and the rest of a piece. It may also be true where what is next turns out to wait for credit.
    ///
    /// ```
    /// use np_session::{OpenCall, OpenKind, Side};
    /// use np_testkit::Dialogue;
    /// let mut talk = Dialogue::open(Side::Initiator, &np_types::Limits::default());
    /// for bytes in [64, 100_000] {
    ///     let call = OpenCall::new(OpenKind::Request, "np.echo".parse()?);
    ///     talk.session.open(OpenCall { body: vec![7; bytes].into(), ..call })?;
    /// }
    /// let mut out = Vec::new();
    /// assert!(talk.session.poll_transmit(talk.now, &mut out) && out.len() < 200, "the small one alone");
    /// assert!(talk.session.makes_way() && talk.session.crowds(talk.now));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn makes_way(&self) -> bool {
        self.makes_way
    }

    /// Whether a large message, or a piece of one, is next to leave while small ones come. Whoever has just been answered may
    /// have one to send before it. Shown at [`Session::makes_way`].
    #[must_use]
    pub fn crowds(&self, now: Time) -> bool {
        self.pace.holds(now) && self.phase == Phase::Open && self.next_is_large()
    }

    /// Whether a write has as much of large messages as one may, of which so many bytes had left when it began. A connection
    /// that ends sends all that it can.
    pub(crate) fn is_one_write(&self, now: Time, begun: u64) -> bool {
        self.pace.holds(now) && self.phase == Phase::Open && self.pace.sent_so_far() - begun >= WRITE
    }

    /// Whether what a stream sends is a large message.
    pub(crate) fn has_large(&self, key: StreamKey) -> bool {
        self.table.stream(key).is_some_and(|stream| stream.heavy)
    }

    fn next_is_large(&self) -> bool {
        let next = self.schedule.order().into_iter().find_map(|class| self.schedule.first(class));
        next.and_then(|key| self.table.stream(key)).is_some_and(|stream| match &stream.outgoing {
            Outgoing::Queued(head) => is_large(stream.priority, head.body.len()),
            _ => stream.heavy,
        })
    }

    /// A mark behind a piece, where one is due.
    pub(crate) fn mark_due(&mut self, now: Time) -> Option<u64> {
        (self.phase == Phase::Open && self.pace.wants_mark(now)).then(|| match self.control.ping.take() {
            Some(token) => token,
            None => self.pings.next(),
        })
    }

    /// What a PONG says of the pace: streams that were held may go on.
    pub(crate) fn pace_answered(&mut self, token: u64, now: Time) {
        self.pace.answered(token, now);
        if !self.pace.held.is_empty() && self.pace.takes(now) {
            self.release_held();
        }
    }

    /// Lets held streams go on where nothing speaks against it any more: no small message is expected, or bulk is owed.
    pub(crate) fn review_held(&mut self, now: Time) {
        let owed = self.schedule.order()[0] == Priority::Bulk;
        if !self.pace.held.is_empty() && (owed || !self.pace.holds(now)) {
            self.release_held();
        }
    }

    /// A stream that goes on, or ends, is held no more.
    pub(crate) fn forget_held(&mut self, key: StreamKey) {
        let held = self.table.stream_mut(key).is_some_and(|stream| std::mem::take(&mut stream.in_held));
        if held {
            self.pace.forget(key);
        }
    }

    pub(crate) fn release_held(&mut self) {
        while let Some(key) = self.pace.held.pop_front() {
            if let Some(stream) = self.table.stream_mut(key) {
                stream.in_held = false;
            }
            self.mark_ready(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_noise::{ReceiveCipher, SendCipher, Traffic};
    use np_types::{Limits, Time};
    use np_wire::{OpenKind, Side};

    use super::{EXPECTED, LEAST, MOST, Pace, SMALL, Usual};
    use crate::{OpenCall, Priority, Session};

    const WAY: Duration = Duration::from_millis(1);

    fn after(span: Duration) -> Time {
        Time::ZERO + span
    }

    /// Sends what the pace takes, with a mark behind it, which is answered after `took`.
    fn round(pace: &mut Pace, token: u64, now: Time, took: Duration) -> Time {
        pace.small(now);
        while pace.takes(now) {
            pace.sent(SMALL);
        }
        pace.mark(token, now);
        pace.answered(token, now + took);
        now + took
    }

    #[test]
    fn a_message_is_large_beyond_one_turn_and_a_bulk_one_from_its_first_byte() {
        let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
        for (priority, size, large) in [
            (Priority::Interactive, SMALL, false),
            (Priority::Interactive, SMALL + 1, true),
            (Priority::Bulk, 0, false),
            (Priority::Bulk, 1, true),
        ] {
            let call = OpenCall { priority, ..OpenCall::new(OpenKind::Request, "m".parse().unwrap()) };
            let key = session.open(call).unwrap();
            session.begin_message(Time::ZERO, key, size);
            assert_eq!(session.table.stream(key).unwrap().heavy, large, "{priority:?}, {size}");
        }
    }

    #[test]
    fn nothing_is_held_before_a_small_message_and_long_after_it() {
        let mut pace = Pace::default();
        pace.sent(100 << 20);
        assert!(pace.takes(Time::ZERO) && !pace.wants_mark(Time::ZERO));
        pace.small(Time::ZERO);
        assert!(pace.takes(Time::ZERO), "what is on its way is past holding");
        pace.sent(LEAST as usize - 1);
        assert!(pace.takes(Time::ZERO));
        pace.sent(1);
        assert!(!pace.takes(Time::ZERO) && pace.wants_mark(Time::ZERO));
        assert!(pace.takes(after(EXPECTED)) && !pace.wants_mark(after(EXPECTED)));
    }

    #[test]
    fn a_limit_grows_while_round_trips_stay_short_and_shrinks_when_they_are_long() {
        let mut pace = Pace::default();
        let mut now = Time::ZERO;
        for token in 1..20 {
            now = round(&mut pace, token, now, WAY);
        }
        assert_eq!(pace.limit, MOST);
        for token in 20..30 {
            now = round(&mut pace, token, now, WAY * 2);
        }
        assert_eq!(pace.limit, LEAST);
    }

    /// Little is on its way then, so that what it takes is the way and no queue.
    #[test]
    fn a_way_that_has_become_longer_is_learned_where_little_is_on_it() {
        let mut pace = Pace::default();
        let mut now = Time::ZERO;
        for token in 1..20 {
            now = round(&mut pace, token, now, WAY);
        }
        for token in 20..29 {
            now = round(&mut pace, token, now, WAY * 4);
        }
        assert_eq!((pace.limit, pace.usual.0), (LEAST, Some(WAY)), "a queue is not learned from");
        for token in 29..60 {
            now = round(&mut pace, token, now, WAY * 4);
        }
        assert!(pace.limit > 4 * LEAST, "{}", pace.limit);
        assert!(pace.usual.0 > Some(WAY * 2), "{:?}", pace.usual);
    }

    #[test]
    fn one_answer_that_came_at_once_is_not_taken_for_the_way() {
        let mut pace = Pace::default();
        let mut now = round(&mut pace, 1, Time::ZERO, WAY);
        now = round(&mut pace, 2, now, WAY / 10);
        let before = pace.limit;
        now = round(&mut pace, 3, now, WAY);
        assert!(pace.limit > before);
        // What is always shorter is the way, whatever is on it.
        for token in 4..50 {
            now = round(&mut pace, token, now, WAY / 10);
        }
        assert!(pace.usual.0 < Some(WAY / 8), "{:?}", pace.usual);
    }

    #[test]
    fn between_10_and_14_eighths_of_the_usual_a_limit_stays() {
        let limit = |took: Duration| {
            let mut pace = Pace { limit: 10 * LEAST, met: true, ..Pace::default() };
            pace.judge(LEAST, took, WAY);
            (pace.limit / LEAST, pace.met)
        };
        let more = Duration::from_nanos(1);
        assert_eq!(limit(WAY * 10 / 8), (11, false));
        assert_eq!(limit(WAY * 10 / 8 + more), (10, true));
        assert_eq!(limit(WAY * 14 / 8), (10, true));
        assert_eq!(limit(WAY * 14 / 8 + more), (9, true));
    }

    #[test]
    fn one_late_answer_is_not_taken_for_the_way() {
        let mut usual = Usual::default();
        assert_eq!(usual.note(WAY, true), Some(WAY));
        assert_eq!(usual.note(WAY * 1_000, true), Some(WAY * 11 / 8));
    }

    /// However pieces end, marks of the least limit are learned from, though each answer frees one piece and no more.
    #[test]
    fn a_longer_way_is_learned_by_pieces_of_any_size() {
        for piece in [SMALL, SMALL - 1, SMALL - 84] {
            let (mut pace, mut now, mut marked) = (Pace::default(), Time::ZERO, 0);
            for answered in 1..400 {
                pace.small(now);
                while pace.takes(now) {
                    pace.sent(piece);
                    marked += 1;
                    pace.mark(marked, now);
                }
                now = now + if answered < 40 { WAY / 4 } else { WAY * 4 };
                pace.answered(answered, now);
            }
            assert!(pace.usual.0 > Some(WAY * 8), "{piece}: {pace:?}");
        }
    }

    /// What left while nothing was held stands before the first marks, and says nothing of the way.
    #[test]
    fn a_queue_of_before_is_not_taken_for_the_way() {
        let mut pace = Pace::default();
        pace.sent(2 << 20);
        let mut now = round(&mut pace, 1, Time::ZERO, WAY * 20);
        assert_eq!((pace.limit, pace.usual.0), (LEAST, None));
        now = round(&mut pace, 2, now, WAY);
        assert_eq!(pace.usual.0, Some(WAY));
        // And again, once nothing was held for a while.
        now = now + EXPECTED;
        pace.sent(2 << 20);
        round(&mut pace, 3, now, WAY * 20);
        assert_eq!(pace.usual.0, Some(WAY));
    }

    #[test]
    fn an_answer_that_took_no_time_is_not_believed_for_ever() {
        let mut pace = Pace::default();
        let mut now = round(&mut pace, 1, Time::ZERO, Duration::ZERO);
        for token in 2..60 {
            now = round(&mut pace, token, now, WAY);
        }
        assert!(pace.limit > LEAST && pace.usual.0 > Some(WAY / 2), "{pace:?}");
    }

    #[test]
    fn a_limit_that_is_not_met_does_not_grow() {
        let mut pace = Pace::default();
        for token in 1..20 {
            pace.small(Time::ZERO);
            pace.sent(SMALL);
            pace.mark(token, Time::ZERO);
            pace.answered(token, after(WAY));
        }
        assert_eq!(pace.limit, LEAST);
    }

    #[test]
    fn a_late_answer_frees_what_its_mark_and_those_before_it_stand_behind() {
        let mut pace = Pace::default();
        pace.small(Time::ZERO);
        for token in 1..=4 {
            pace.sent(SMALL);
            pace.mark(token, Time::ZERO);
        }
        assert!(!pace.takes(Time::ZERO));
        pace.answered(0, Time::ZERO);
        assert!(!pace.takes(Time::ZERO));
        pace.answered(3, Time::ZERO);
        assert_eq!((pace.sent - pace.read, pace.marks.len()), (SMALL as u64, 1));
        assert!(pace.takes(Time::ZERO));
    }

    #[test]
    fn four_marks_belong_to_a_limit() {
        let mut pace = Pace::default();
        pace.small(Time::ZERO);
        for token in 1..=4 {
            pace.sent(LEAST as usize / 4 - 1);
            assert!(!pace.wants_mark(Time::ZERO), "{token}");
            pace.sent(1);
            assert!(pace.wants_mark(Time::ZERO), "{token}");
            pace.mark(token, Time::ZERO);
        }
        assert!(!pace.takes(Time::ZERO) && !pace.wants_mark(Time::ZERO));
    }
}
