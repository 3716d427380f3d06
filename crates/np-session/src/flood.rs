//! Acts of a peer that are legal and of no use: a budget for each kind. It must never know frames or the clock.
//!
//! Each kind of [`Act`] has a budget of as many acts as [`Act::height`] says. An act that finds its budget spent ends the
//! connection, by name. Budgets fill again in two ways, never above their height:
//!
//! - by time: all of a budget within [`REFILL`];
//! - by work: a call that this side answered, an answer or a stream's message that came, and a piece of a message that
//!   left pay for [`PAYS`] acts of each kind, and each [`TINY`] bytes of bodies for one. Cancelled calls are paid for by
//!   answered ones alone: else a call would pay for its own cancel.
//!
//! So a peer that works for its acts never meets a budget, however long it lives and however busy it is.

use std::time::Duration;

use np_types::{LimitHit, LimitName, Limits, Time};

/// The time in which an empty budget is full again.
const REFILL: Duration = Duration::from_secs(60);
/// Acts of each kind that a message pays for.
const PAYS: u64 = 2;
/// A call that was at work for longer than this was not opened to be cancelled.
pub(crate) const QUICK: Duration = Duration::from_millis(20);
/// Bytes that a piece of a message, or a credit, has where it is worth its frame; fewer under a small window.
const TINY: u64 = 256;
/// A record that needs padding needs a few frames of it: more are acts.
pub(crate) const PADDINGS: u32 = 8;
const KINDS: usize = Act::Late as usize + 1;

/// What a peer may do and has nothing from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A PING.
    Ping,
    /// A CANCEL of a call that was hardly begun, or a call that had hardly any time.
    Cancel,
    /// A DATA that says nothing.
    EmptyData,
    /// A few bytes of a message that goes on.
    Piece,
    /// A credit of a few bytes.
    Credit,
    /// A frame of an unknown kind.
    Unknown,
    /// A record of padding alone, or padding in needless pieces.
    Padding,
    /// A call that could not go well: refused by a limit that the peer knows, or for a method that is not there.
    Refused,
    /// A KEY_UPDATE alone in its record.
    KeyUpdate,
    /// A CALL_ALLOWANCE.
    Allowance,
    /// A frame for a call that is over, beyond what may cross its end.
    Late,
}

impl Act {
    const fn limit(self) -> LimitName {
        match self {
            Self::Ping => LimitName::Pings,
            Self::Cancel => LimitName::CancelledCalls,
            Self::EmptyData => LimitName::EmptyData,
            Self::Piece => LimitName::TinyPieces,
            Self::Credit => LimitName::TinyCredits,
            Self::Unknown => LimitName::UnknownFrames,
            Self::Padding => LimitName::Padding,
            Self::Refused => LimitName::RefusedCalls,
            Self::KeyUpdate => LimitName::KeyUpdates,
            Self::Allowance => LimitName::CallAllowances,
            Self::Late => LimitName::LateFrames,
        }
    }

    /// Pieces become events, which are held until the application takes them; all other acts leave nothing behind.
    const fn height(self, useless_acts: u64) -> u64 {
        match self {
            Self::Piece => useless_acts / 16,
            _ => useless_acts,
        }
    }
}

/// How much of one budget is spent, and up to where time and work have been counted for it.
#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    spent: u64,
    time: Time,
    messages: u64,
    bytes: u64,
}

/// The budgets of one connection: some 400 bytes, whatever the peer does, and a few while it does nothing useless.
#[derive(Debug)]
pub(crate) struct Flood {
    useless_acts: u64,
    /// Bytes below which a piece of a message counts as an act.
    tiny: u64,
    now: Time,
    /// There once there was an act, until all of them are full again.
    budgets: Option<Box<[Budget; KINDS]>>,
    /// Messages and bytes that went either way, and calls that were answered here.
    messages: u64,
    bytes: u64,
    answered: u64,
    /// Bytes that may still come for calls that are over, because they may have been sent before the peer knew.
    crossing: u64,
}

/// What is left of it where nothing moves: the rest is in the limits.
#[derive(Debug)]
pub(crate) struct RestingFlood {
    now: Time,
    budgets: Option<Box<[Budget; KINDS]>>,
    messages: u64,
    bytes: u64,
    answered: u64,
    crossing: u64,
}

impl Flood {
    pub(crate) fn new(limits: &Limits, now: Time) -> Self {
        Self {
            useless_acts: u64::from(limits.useless_acts),
            tiny: (u64::from(limits.stream_window) / 16).clamp(1, TINY),
            now,
            budgets: None,
            messages: 0,
            bytes: 0,
            answered: 0,
            crossing: 0,
        }
    }

    pub(crate) const fn put_to_rest(&mut self) -> RestingFlood {
        let Self { now, messages, bytes, answered, crossing, .. } = *self;
        RestingFlood { now, budgets: self.budgets.take(), messages, bytes, answered, crossing }
    }

    pub(crate) fn wake(resting: RestingFlood, limits: &Limits) -> Self {
        let RestingFlood { now, budgets, messages, bytes, answered, crossing } = resting;
        Self { budgets, messages, bytes, answered, crossing, ..Self::new(limits, now) }
    }

    /// Tells what time it is: once for all that was read at once.
    pub(crate) const fn at(&mut self, now: Time) {
        self.now = now;
    }

    /// An answer or a stream's message came whole, or a piece of a message left.
    pub(crate) const fn message(&mut self) {
        self.messages += 1;
    }

    /// Bytes of a body went either way.
    pub(crate) const fn bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A call of the peer was answered before it was given up.
    pub(crate) const fn answered(&mut self) {
        self.answered += 1;
        self.messages += 1;
    }

    /// A piece of a message came. Pieces cost where they are tiny and not the last.
    pub(crate) fn piece(&mut self, bytes: u64, last: bool) -> Result<(), LimitHit> {
        self.bytes += bytes;
        if last || bytes >= self.tiny { Ok(()) } else { self.spend(Act::Piece) }
    }

    pub(crate) fn credit(&mut self, bytes: u32) -> Result<(), LimitHit> {
        if u64::from(bytes) < TINY { self.spend(Act::Credit) } else { Ok(()) }
    }

    /// A call ended here while as many bytes of its messages may be on their way.
    pub(crate) const fn expect_late(&mut self, bytes: u64) {
        self.crossing = self.crossing.saturating_add(bytes);
    }

    /// Bytes came for a call that is over.
    pub(crate) fn late(&mut self, bytes: u64) -> Result<(), LimitHit> {
        match self.crossing.checked_sub(bytes.max(1)) {
            Some(left) => self.crossing = left,
            None => self.spend(Act::Late)?,
        }
        Ok(())
    }

    /// Counts an act, or says which limit it would pass.
    pub(crate) fn spend(&mut self, act: Act) -> Result<(), LimitHit> {
        let height = act.height(self.useless_acts);
        if self.count(act, height) {
            return Ok(());
        }
        Err(LimitHit { limit: act.limit(), allowed: height, seen: height + 1 })
    }

    /// Counts an act that came to light when its frame was done with: a spent budget stops the next one.
    pub(crate) fn owe(&mut self, act: Act) {
        self.count(act, act.height(self.useless_acts));
    }

    /// Forgets the budgets where all of them are full again.
    pub(crate) fn rest(&mut self, now: Time) {
        let useless_acts = self.useless_acts;
        let mut spent = false;
        for (kind, budget) in self.budgets.iter_mut().flat_map(|budgets| budgets.iter_mut().enumerate()) {
            let act = if kind == Act::Piece as usize { Act::Piece } else { Act::Ping };
            budget.refill(now, act.height(useless_acts));
            spent |= budget.spent > 0;
        }
        if !spent {
            self.budgets = None;
        }
    }

    fn count(&mut self, act: Act, height: u64) -> bool {
        let work = if act == Act::Cancel { self.answered } else { self.messages };
        let (now, bytes, tiny) = (self.now, self.bytes, self.tiny);
        let fresh = || Box::new([Budget { time: now, ..Budget::default() }; KINDS]);
        let Some(budget) = self.budgets.get_or_insert_with(fresh).get_mut(act as usize) else {
            return false;
        };
        budget.refill(now, height);
        let earned = PAYS * (work - std::mem::replace(&mut budget.messages, work));
        let by_bytes = if act == Act::Cancel { 0 } else { (bytes - budget.bytes) / tiny };
        budget.bytes += by_bytes * tiny;
        budget.spent = budget.spent.saturating_sub(earned + by_bytes);
        let fits = budget.spent < height;
        budget.spent += u64::from(fits);
        fits
    }
}

impl Budget {
    /// Gives back what time gives; what is left of an act is kept for the next.
    fn refill(&mut self, now: Time, height: u64) {
        let step = REFILL.as_nanos() as u64 / height.max(1);
        let acts = now.since(self.time).as_nanos() as u64 / step.max(1);
        self.time = if acts >= self.spent { now } else { self.time + Duration::from_nanos(acts * step) };
        self.spent = self.spent.saturating_sub(acts);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::{Limits, Time};

    use super::{Act, Flood};

    fn flood() -> Flood {
        Flood::new(&Limits { useless_acts: 256, ..Limits::default() }, Time::ZERO)
    }

    /// Spends what is there; gives how much it was.
    fn spend_all(flood: &mut Flood, act: Act) -> u64 {
        (0..10_000).take_while(|_| flood.spend(act).is_ok()).count() as u64
    }

    #[test]
    fn a_budget_fills_by_time_and_keeps_fractions() {
        let mut flood = flood();
        assert_eq!(spend_all(&mut flood, Act::Ping), 256);
        let hit = flood.spend(Act::Ping).unwrap_err();
        assert_eq!((hit.limit.name(), hit.allowed, hit.seen), ("pings", 256, 257));
        // Each step is worth less than an act, and all of them together a quarter of the budget.
        let mut filled = 0;
        for step in 1..=1_500 {
            flood.at(Time::ZERO + Duration::from_millis(step * 10));
            filled += u64::from(flood.spend(Act::Ping).is_ok());
        }
        assert_eq!(filled, 64);
        flood.at(Time::ZERO + Duration::from_secs(3_600));
        assert_eq!(spend_all(&mut flood, Act::Ping), 256);
    }

    #[test]
    fn work_pays_for_acts_and_no_budget_for_another() {
        let mut flood = flood();
        spend_all(&mut flood, Act::Ping);
        assert_eq!(spend_all(&mut flood, Act::Unknown), 256);
        flood.message();
        assert_eq!(spend_all(&mut flood, Act::Ping), 2);
        flood.bytes(10 * 256);
        assert_eq!((spend_all(&mut flood, Act::Ping), spend_all(&mut flood, Act::Unknown)), (10, 12));
    }

    #[test]
    fn rest_forgives_nothing() {
        for (act, height) in [(Act::Ping, 256), (Act::Piece, 16)] {
            let mut flood = flood();
            assert_eq!(spend_all(&mut flood, act), height);
            flood.rest(Time::ZERO);
            assert!(flood.spend(act).is_err());
            // Half a minute fills half a budget, with a rest within it or without.
            let half = Time::ZERO + Duration::from_secs(30);
            flood.rest(half);
            flood.at(half);
            assert_eq!(spend_all(&mut flood, act), height / 2);
            flood.rest(half + Duration::from_secs(60));
            assert!(flood.budgets.is_none());
        }
    }

    #[test]
    fn only_answers_pay_for_cancels() {
        let mut flood = flood();
        spend_all(&mut flood, Act::Cancel);
        flood.bytes(1 << 20);
        flood.message();
        assert_eq!(spend_all(&mut flood, Act::Cancel), 0);
        flood.answered();
        assert_eq!(spend_all(&mut flood, Act::Cancel), 2);
    }

    #[test]
    fn an_answer_pays_for_other_acts_as_a_message_does() {
        let mut flood = flood();
        spend_all(&mut flood, Act::Ping);
        flood.answered();
        flood.answered();
        assert_eq!(spend_all(&mut flood, Act::Ping), 4);
    }

    #[test]
    fn tiny_pieces_cost_unless_they_are_the_last_and_so_do_tiny_credits() {
        let mut flood = flood();
        assert!((0..1_000).all(|_| flood.piece(1, true).is_ok() && flood.piece(flood.tiny, false).is_ok()));
        // Of 100 tiny pieces those are paid that a full budget does not hold.
        assert_eq!((0..100).take_while(|_| flood.piece(0, false).is_ok()).count(), 16);
        assert!((0..1_000).all(|_| flood.credit(256).is_ok()));
        assert_eq!((0..1_000).take_while(|_| flood.credit(255).is_ok()).count(), 256);
    }

    #[test]
    fn bytes_of_pieces_pay_as_other_bytes_do() {
        let mut flood = flood();
        spend_all(&mut flood, Act::Ping);
        flood.piece(4 * 256, true).unwrap();
        flood.piece(6 * 256, false).unwrap();
        assert_eq!(spend_all(&mut flood, Act::Ping), 10);
    }

    #[test]
    fn what_is_owed_is_taken_from_the_budget() {
        let mut flood = flood();
        (0..6).for_each(|_| flood.owe(Act::Ping));
        assert_eq!(spend_all(&mut flood, Act::Ping), 250);
    }

    #[test]
    fn what_crosses_an_end_is_no_act() {
        let mut flood = flood();
        flood.expect_late(1_000);
        assert!((0..10).all(|_| flood.late(100).is_ok()));
        assert_eq!((0..1_000).take_while(|_| flood.late(100).is_ok()).count(), 256);
    }
}
