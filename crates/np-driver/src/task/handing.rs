//! Hands replies to their callers, a few in a turn. It must never know what a reply says.
//!
//! Each caller that wakes is likely to call again. Woken all at once they fill both processes' caches in turns, their
//! next calls leave together, and each side sleeps while the other works. Woken a few at a time, the peer has work
//! while the rest of them get their replies.

use std::collections::VecDeque;

use np_session::Answer;

use crate::commands::Answering;

/// Replies that are handed out in one turn.
const AT_ONCE: u32 = 16;
/// Calls that are worth a record of their own while replies wait: the callers of three turns of 16. Those of one turn of 64 are
/// more, so that nothing is held back then but what turns leave over.
const WORTH_A_RECORD: u32 = 3 * AT_ONCE;
/// Replies that are handed out in one turn where callers run on other threads too: each turn may wake one of them, whatever
/// it hands out.
const AT_ONCE_APART: u32 = 4 * AT_ONCE;
/// Commands after which it is looked at where they came from.
const LOOK: u32 = 1_024;
/// Turns in a row that nothing is written while replies wait, since their callers may not call again.
const HELD: u32 = 3;

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
    /// Whether callers run on other threads than the connection.
    apart: bool,
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

    /// Commands came, some of them from other threads than the one on which the connection was.
    pub(crate) fn called(&mut self, calls: usize, elsewhere: u32) {
        self.seen = self.seen.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        self.elsewhere = self.elsewhere.saturating_add(elsewhere);
        if self.seen >= LOOK {
            // Where one thread does all, next to none come from others, or, with 64 in a turn, a tenth; else a fifth and more.
            self.apart = self.elsewhere > self.seen / 6;
            (self.seen, self.elsewhere) = (0, 0);
        }
    }

    const fn at_once(&self) -> u32 {
        if self.apart { AT_ONCE_APART } else { AT_ONCE }
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
        self.waits() && self.calls < WORTH_A_RECORD && self.held <= HELD
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

    /// Gives its memory back.
    pub(crate) fn rest(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        (self.seen, self.elsewhere, self.apart) = (0, 0, false);
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

    /// With so many replies that one of them waits.
    fn waiting() -> Handing {
        let mut handing = Handing::default();
        (0..17).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        handing
    }

    #[test]
    fn more_are_handed_out_in_a_turn_while_calls_come_from_other_threads() {
        let mut handing = Handing::default();
        let given = |handing: &mut Handing| {
            (0..100).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
            let given = [(); 3].map(|()| {
                let given = handing.turn();
                handing.hand_out();
                given
            });
            handing.finish();
            handing.turn();
            given
        };
        assert_eq!(given(&mut handing), [16, 16, 16]);
        handing.called(1_023, 1_023);
        assert_eq!(given(&mut handing), [16, 16, 16], "it is not looked at yet");
        handing.called(1, 0);
        assert_eq!(given(&mut handing), [64, 36, 0]);
        // More than a sixth of each thousand.
        handing.called(1_024, 171);
        assert_eq!(given(&mut handing), [64, 36, 0]);
        handing.called(1_024, 170);
        assert_eq!(given(&mut handing), [16, 16, 16]);
        handing.called(1_024, 1_024);
        handing.called(1_000, 1_000);
        handing.rest();
        handing.called(24, 24);
        assert_eq!(given(&mut handing), [16, 16, 16], "after a rest it is looked at anew");
    }

    #[test]
    fn a_turn_of_many_holds_nothing_back_but_for_what_it_leaves_over() {
        let mut handing = Handing::default();
        handing.called(1_024, 1_024);
        (0..65).for_each(|_| handing.give(oneshot::channel().0, Answer::from(Bytes::new())));
        handing.opened();
        assert!(handing.holds());
        (0..47).for_each(|_| handing.opened());
        assert!(!handing.holds(), "the callers of this turn are worth a record");
        handing.finish();
    }

    #[test]
    fn calls_wait_for_those_of_three_turns_and_for_three_turns_at_most() {
        let mut handing = waiting();
        (0..47).for_each(|_| handing.opened());
        assert!(handing.holds());
        handing.opened();
        assert!(!handing.holds());
        let mut handing = waiting();
        handing.opened();
        assert_eq!([(); 4].map(|()| handing.holds()), [true, true, true, false]);
        handing.written();
        assert!(handing.holds());
        handing.finish();
        assert!(!handing.holds());
    }
}
