//! How many calls a peer may have open: lowered while there is no place for its calls, raised as places come free.
//!
//! A peer that heeds it keeps its calls to itself, where they cost nothing here and may go elsewhere. It must never know
//! why there is no place.

use std::time::Duration;

use np_types::Time;

/// An announcement is an act that the peer's flood budget counts, and one that swings helps nobody.
const STEP: Duration = Duration::from_millis(500);

/// What a connection has announced.
#[derive(Debug)]
pub(crate) struct Allowance {
    most: u32,
    announced: u32,
    changed: Option<Time>,
    /// When calls still waited, since then.
    looked: Option<Time>,
}

impl Allowance {
    pub(crate) const fn new(most: u32) -> Self {
        Self { most, announced: most, changed: None, looked: None }
    }

    /// A call found no place while `at_work` others of its peer had one; gives what to announce.
    pub(crate) fn full(&mut self, now: Time, at_work: usize) -> Option<u32> {
        let next = u32::try_from(at_work).unwrap_or(u32::MAX).clamp(1, self.most.max(1));
        if next >= self.announced || self.steps(now) == Some(0) {
            return None;
        }
        self.announce(now, next)
    }

    /// When more may be allowed, where fewer are.
    pub(crate) fn due(&self) -> Option<Time> {
        let lowered = self.announced < self.most;
        self.looked.or(self.changed).filter(|_| lowered).map(|at| at + STEP)
    }

    /// Calls still wait: nothing changes, and there is another look later.
    pub(crate) const fn wait(&mut self, now: Time) {
        self.looked = Some(now);
    }

    /// None waits: twice as many for each step that has passed.
    pub(crate) fn free(&mut self, now: Time) -> Option<u32> {
        let steps = self.steps(now).filter(|steps| *steps > 0 && self.announced < self.most)?;
        let next = self.announced.checked_shl(steps.min(31)).filter(|next| *next >> steps.min(31) == self.announced);
        self.announce(now, next.map_or(self.most, |next| next.min(self.most)))
    }

    fn announce(&mut self, now: Time, next: u32) -> Option<u32> {
        (self.announced, self.changed, self.looked) = (next, Some(now), None);
        Some(next)
    }

    /// Whole steps since the last announcement.
    fn steps(&self, now: Time) -> Option<u32> {
        let since = now.since(self.changed?);
        Some(u32::try_from(since.as_nanos() / STEP.as_nanos()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowance, STEP};
    use np_types::Time;

    #[test]
    fn it_falls_to_what_is_at_work_and_rises_by_steps_of_time() {
        let mut allowance = Allowance::new(1_000);
        let at = |steps: u32| Time::ZERO + STEP * steps;
        assert_eq!(allowance.free(at(0)), None, "nothing was lowered");
        assert_eq!(allowance.full(at(0), 8), Some(8));
        assert_eq!(allowance.full(at(0), 3), None, "one step is one announcement");
        assert_eq!(allowance.full(at(1), 3), Some(3));
        assert_eq!(allowance.full(at(2), 3), None, "it says so already");
        assert_eq!(allowance.free(at(1)), None);
        assert_eq!(allowance.free(at(2)), Some(6));
        assert_eq!(allowance.free(at(5)), Some(48));
        assert_eq!(allowance.free(at(500)), Some(1_000));
        assert_eq!(allowance.free(at(600)), None);
        // A peer is never told that it may open nothing: nothing would tell it of the end of that.
        assert_eq!(allowance.full(at(700), 0), Some(1));
    }

    #[test]
    fn it_is_looked_at_again_a_step_later_while_fewer_are_allowed() {
        let mut allowance = Allowance::new(10);
        let at = |steps: u32| Time::ZERO + STEP * steps;
        assert_eq!(allowance.due(), None, "nothing was lowered");
        assert_eq!((allowance.full(at(1), 4), allowance.due()), (Some(4), Some(at(2))));
        allowance.wait(at(5));
        assert_eq!(allowance.due(), Some(at(6)), "calls still waited then");
        assert_eq!((allowance.free(at(6)), allowance.due()), (Some(10), None));
    }
}
