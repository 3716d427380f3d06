//! Hands replies to their callers, a few in a turn. It must never know what a reply says.
//!
//! Each caller that wakes is likely to call again. Where many are woken all at once they fill both processes' caches in turns, their
//! next calls leave together, and each side sleeps while the other works. Woken a few at a time, the peer has work
//! while the rest of them get their replies. Where calls are few, one turn for all of them costs least.

use std::collections::VecDeque;

use np_session::Answer;

use crate::commands::Answering;

/// The fewest replies that one turn hands out where more wait, and the most.
const LEAST: u32 = 10;
const MOST: u32 = 64;
/// One turn hands out this part of the calls that are open, within those bounds.
const PART: u32 = 12;
/// Calls at once that are too few to be parted: what each turn of some of them costs is more than it saves.
const FEW: u32 = 64;
/// Calls that are worth a record of their own while replies wait, where callers run on other threads: fewer than those of one turn,
/// so that nothing is held back then but what turns leave over.
const WORTH_APART: u32 = 48;
/// Turns in a row that nothing is written while replies wait, since their callers may not call again.
const HELD: u32 = 3;
/// Commands after which it is looked at where they came from, and how many calls were open.
const LOOK: u32 = 1_024;

/// Replies on their way to callers of this side.
#[derive(Default)]
pub(crate) struct Handing {
    /// Those that came beyond what one turn hands out. Nothing is read while there are any, which bounds them.
    waiting: VecDeque<(Answering, Answer)>,
    /// Replies handed out in this turn.
    given: u32,
    /// Calls opened since the last write, and turns since then.
    calls: u32,
    held: u32,
    /// Commands since it was last looked at where they came from, and those of other threads among them.
    seen: u32,
    elsewhere: u32,
    /// Whether callers run on other threads than the connection: each turn may wake one of them then, whatever it hands out.
    apart: bool,
    /// The most unary calls that were open at once since it was last looked, and between the last two times.
    open: u32,
    open_before: u32,
}

impl Handing {
    /// A reply has come: its caller gets it now, or in one of the next turns.
    pub(crate) fn give(&mut self, caller: Answering, answer: Answer) {
        if self.given < self.at_once() && self.waiting.is_empty() {
            self.given += 1;
            hand(caller, answer);
        } else {
            self.waiting.push_back((caller, answer));
        }
    }

    /// Hands out what this turn may of those that wait.
    pub(crate) fn hand_out(&mut self) {
        while self.given < self.at_once()
            && let Some((caller, answer)) = self.waiting.pop_front()
        {
            self.given += 1;
            hand(caller, answer);
        }
    }

    /// Commands came, some of them from other threads than the one on which the connection was; with them so many unary calls are open.
    pub(crate) fn called(&mut self, calls: usize, elsewhere: u32, open: usize) {
        self.open = self.open.max(u32::try_from(open).unwrap_or(u32::MAX));
        self.seen = self.seen.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        self.elsewhere = self.elsewhere.saturating_add(elsewhere);
        if self.seen >= LOOK {
            // Where one thread does all, next to none come from others, or, with 64 in a turn, a tenth; else a fifth and more.
            self.apart = self.elsewhere > self.seen / 6;
            (self.seen, self.elsewhere) = (0, 0);
            self.open_before = std::mem::take(&mut self.open);
        }
    }

    fn at_once(&self) -> u32 {
        let open = self.open.max(self.open_before);
        if self.apart || open <= FEW { MOST } else { (open / PART).clamp(LEAST, MOST) }
    }

    /// Calls that leave while replies wait: those of the callers of as many turns as nothing is written in, and of the one that writes.
    fn worth_a_record(&self) -> u32 {
        if self.apart { WORTH_APART } else { MOST.min((HELD + 1) * self.at_once()) }
    }

    /// A call was opened, and leaves with the next write.
    pub(crate) const fn opened(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }

    /// Ends the turn; gives how many replies it handed out.
    pub(crate) const fn turn(&mut self) -> u32 {
        std::mem::replace(&mut self.given, 0)
    }

    /// Whether the write waits for calls of those who get their replies in the next turn.
    pub(crate) fn holds(&mut self) -> bool {
        self.held += 1;
        self.waits() && self.calls < self.worth_a_record() && self.held <= HELD
    }

    /// All that there is leaves now.
    pub(crate) const fn written(&mut self) {
        (self.calls, self.held) = (0, 0);
    }

    /// Whether replies wait for one of the next turns.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands out all that is left, as the connection ends.
    pub(crate) fn finish(&mut self) {
        self.waiting.drain(..).for_each(|(caller, answer)| hand(caller, answer));
    }

    /// Gives its memory back, and forgets what it has seen but for the calls that are open still, where no reply waits.
    pub(crate) fn rest(&mut self, open: usize) {
        if self.waiting.is_empty() {
            let open = u32::try_from(open).unwrap_or(u32::MAX);
            *self = Self { given: self.given, calls: self.calls, held: self.held, open, ..Self::default() };
        }
    }
}

fn hand(caller: Answering, answer: Answer) {
    // The caller may have gone a moment ago.
    let _ = caller.send(Ok(answer));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use np_session::Answer;
    use tokio::sync::oneshot;

    use super::Handing;

    /// How many replies each of so many turns hands out, of so many that came at once.
    fn given<const N: usize>(handing: &mut Handing, replies: usize) -> [u32; N] {
        (0..replies).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        let given = [(); N].map(|()| {
            let given = handing.turn();
            handing.hand_out();
            given
        });
        handing.finish();
        handing.turn();
        given
    }

    /// With so many calls open, and so many replies in the turn and beyond it.
    fn with(open: usize, replies: usize) -> Handing {
        let mut handing = Handing::default();
        handing.called(0, 0, open);
        (0..replies).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        handing
    }

    #[test]
    fn a_turn_hands_out_a_part_of_the_calls_that_are_open_and_all_where_they_are_few() {
        for (open, turns) in [
            (64, [64, 36]),
            (65, [10, 10]),
            (131, [10, 10]),
            (132, [11, 11]),
            (767, [63, 37]),
            (768, [64, 36]),
            (9_999, [64, 36]),
        ] {
            assert_eq!(given(&mut with(open, 0), 100), turns, "{open}");
        }
        assert_eq!(given(&mut Handing::default(), 64), [64]);
    }

    #[test]
    fn the_most_calls_that_were_open_lately_count() {
        let mut handing = with(128, 0);
        handing.called(1_023, 0, 5);
        assert_eq!(given(&mut handing, 100), [10, 10]);
        handing.called(1, 0, 5);
        handing.called(1_023, 0, 5);
        assert_eq!(given(&mut handing, 100), [10, 10], "it is not looked at again yet");
        handing.called(1, 0, 5);
        assert_eq!(given(&mut handing, 100), [64, 36]);
        handing.called(2_000, 0, 128);
        handing.called(0, 0, 128);
        handing.rest(100);
        assert_eq!(given(&mut handing, 100), [10, 10], "what is open still is not forgotten");
        handing.rest(5);
        assert_eq!(given(&mut handing, 100), [64, 36], "after a rest it is looked at anew");
    }

    #[test]
    fn more_are_handed_out_in_a_turn_while_calls_come_from_other_threads() {
        let mut handing = with(128, 0);
        handing.called(1_023, 1_023, 128);
        assert_eq!(given(&mut handing, 100), [10, 10, 10], "it is not looked at yet");
        handing.called(1, 0, 128);
        assert_eq!(given(&mut handing, 100), [64, 36, 0]);
        // More than a sixth of each thousand.
        handing.called(1_024, 171, 128);
        assert_eq!(given(&mut handing, 100), [64, 36, 0]);
        handing.called(1_024, 170, 128);
        assert_eq!(given(&mut handing, 100), [10, 10, 10]);
        handing.called(1_024, 1_024, 128);
        handing.called(1_000, 1_000, 128);
        (0..65).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        handing.rest(128);
        assert!(handing.waits(), "no reply is lost by a rest");
        handing.turn();
        handing.finish();
        assert_eq!(given(&mut handing, 100), [64, 36, 0], "nothing is forgotten while a reply waits");
        handing.rest(128);
        handing.called(24, 24, 128);
        assert_eq!(given(&mut handing, 100), [10, 10, 10], "after a rest it is looked at anew");
    }

    #[test]
    fn a_turn_of_many_holds_nothing_back_but_for_what_it_leaves_over() {
        let mut handing = with(128, 0);
        handing.called(1_024, 1_024, 128);
        (0..65).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        (0..47).for_each(|_| handing.opened());
        assert!(handing.holds());
        handing.opened();
        assert!(!handing.holds(), "the callers of this turn are worth a record");
        handing.finish();
    }

    #[test]
    fn calls_wait_for_those_of_four_turns_and_for_three_turns_at_most() {
        for (open, worth) in [(128, 40), (180, 60), (240, 64)] {
            let mut handing = with(open, 65);
            (1..worth).for_each(|_| handing.opened());
            assert!(handing.holds(), "{open}");
            handing.opened();
            assert!(!handing.holds(), "{open}");
        }
        let mut handing = with(128, 11);
        handing.opened();
        assert_eq!([(); 4].map(|()| handing.holds()), [true, true, true, false]);
        handing.written();
        assert!(handing.holds());
        handing.finish();
        assert!(!handing.holds());
    }
}
