//! Peers that take or give bytes too slowly: what was begun must be over in time. Must never know what the bytes are.

use std::time::Duration;

use np_types::Time;

/// What is under way on a connection, and since when.
#[derive(Debug)]
pub(crate) struct Progress {
    limit: Duration,
    /// Since when bytes wait that the peer does not take.
    writing: Option<Time>,
    /// Since when a record is there in part.
    reading: Option<Time>,
}

/// Who is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slow {
    /// The peer does not take what is written.
    Reader,
    /// The peer does not finish what it writes.
    Writer,
}

impl Progress {
    pub(crate) const fn new(limit: Duration) -> Self {
        Self { limit, writing: None, reading: None }
    }

    /// All that was to be written has been taken; what follows has its own time.
    pub(crate) const fn written(&mut self) {
        self.writing = None;
    }

    /// A whole record has come.
    pub(crate) const fn record(&mut self) {
        self.reading = None;
    }

    /// Notes how a turn has ended; gives whether a time began to count, so that a timer is needed.
    pub(crate) fn note(&mut self, now: Time, unwritten: bool, unread: bool) -> bool {
        let before = self.due();
        self.writing = if unwritten { self.writing.or(Some(now)) } else { None };
        self.reading = if unread { self.reading.or(Some(now)) } else { None };
        self.due() != before && self.due().is_some()
    }

    /// When the first of both is too late.
    pub(crate) fn due(&self) -> Option<Time> {
        let first = [self.writing, self.reading].into_iter().flatten().min();
        first.map(|since| since + self.limit)
    }

    /// Who is too late by now.
    pub(crate) fn late(&self, now: Time) -> Option<Slow> {
        let late = |since: Option<Time>| since.is_some_and(|since| since + self.limit <= now);
        match (late(self.writing), late(self.reading)) {
            (true, _) => Some(Slow::Reader),
            (false, true) => Some(Slow::Writer),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use super::{Progress, Slow};

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn what_was_begun_must_be_over_in_time() {
        let mut progress = Progress::new(Duration::from_millis(100));
        assert!(!progress.note(at(0), false, false) && progress.due().is_none());
        assert!(progress.note(at(10), true, false));
        assert!(!progress.note(at(50), true, false), "it counts from the beginning");
        assert_eq!((progress.due(), progress.late(at(109))), (Some(at(110)), None));
        assert_eq!(progress.late(at(110)), Some(Slow::Reader));
        progress.note(at(60), false, false);
        assert_eq!(progress.due(), None);
        assert!(progress.note(at(70), false, true));
        progress.record();
        assert!(progress.note(at(90), false, true), "the next record has a time of its own");
        assert_eq!(progress.late(at(189)), None);
        assert_eq!(progress.late(at(190)), Some(Slow::Writer));
    }
}
