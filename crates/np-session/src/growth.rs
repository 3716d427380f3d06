//! Windows that grow: how much was consumed within a round trip says whether a window holds its sender up.
//!
//! A round begins with a PING of the session's own, sent beside credit, and lasts until the first credit after its PONG: a
//! round trip, and what the sender made of it. Credit is given by quarters of a window, so a round that ends late is
//! one in which little came. Where the application consumes more than half a window within a round, the window holds
//! its sender up, and doubles. Nothing grows while the application takes nothing. It must never know the clock: a
//! round needs none.

/// The rounds of a connection; at most one runs.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// How many were begun.
    count: u32,
    /// The token of the ping that began the latest, while it is not answered.
    token: Option<u64>,
    /// Whether a round runs: none does before the first, and where one could not begin when it should.
    runs: bool,
    /// Whether credit was given that a round should measure.
    wanted: bool,
}

impl Rounds {
    /// The number of the round that runs.
    pub(crate) const fn running(&self) -> Option<u32> {
        if self.runs { Some(self.count) } else { None }
    }

    pub(crate) const fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether a round should begin with the next ping.
    pub(crate) const fn is_due(&self) -> bool {
        self.wanted && self.token.is_none()
    }

    pub(crate) const fn begin(&mut self, token: u64) {
        (self.count, self.token, self.wanted) = (self.count.wrapping_add(1), Some(token), false);
        self.runs = true;
    }

    /// A round is over and the next cannot begin yet.
    pub(crate) const fn pause(&mut self) {
        self.runs = false;
    }

    /// A pong came, for this ping or a later one.
    pub(crate) fn answered(&mut self, token: u64) {
        self.token = self.token.filter(|own| *own > token);
    }
}

/// A window that grows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    window: u32,
    most: u32,
    round: u32,
    consumed: u32,
}

impl Growth {
    /// No window.
    pub(crate) const NONE: Self = Self::new(0, 0);

    /// A window that does not grow is `most` bytes or more from the start.
    pub(crate) const fn new(window: u32, most: u32) -> Self {
        Self { window, most, round: 0, consumed: 0 }
    }

    pub(crate) const fn window(&self) -> u32 {
        self.window
    }

    pub(crate) const fn may_grow(&self) -> bool {
        self.window < self.most
    }

    /// Counts bytes that the application consumed; gives by how much the window has grown.
    pub(crate) fn consumed(&mut self, bytes: u32, round: Option<u32>) -> u32 {
        let Some(round) = round.filter(|_| self.may_grow()) else {
            return 0;
        };
        if std::mem::replace(&mut self.round, round) != round {
            self.consumed = 0;
        }
        self.consumed = self.consumed.saturating_add(bytes);
        if self.consumed <= self.window / 2 {
            return 0;
        }
        let before = self.window;
        (self.window, self.consumed) = (before.saturating_mul(2).min(self.most), 0);
        self.window - before
    }
}

#[cfg(test)]
mod tests {
    use super::{Growth, Rounds};

    #[test]
    fn a_window_doubles_over_half_of_it_within_a_round_and_up_to_its_most() {
        let mut growth = Growth::new(1_000, 3_000);
        assert_eq!((growth.consumed(5_000, None), growth.consumed(500, Some(1))), (0, 0));
        // Another round counts anew.
        assert_eq!((growth.consumed(500, Some(2)), growth.consumed(1, Some(2))), (0, 1_000));
        assert_eq!((growth.consumed(1_001, Some(2)), growth.window()), (1_000, 3_000));
        assert_eq!((growth.consumed(9_000, Some(3)), growth.may_grow()), (0, false));
    }

    #[test]
    fn a_round_ends_when_its_ping_is_answered_and_the_next_begins() {
        let mut rounds = Rounds::default();
        assert!(!rounds.is_due() && rounds.running().is_none());
        rounds.want();
        assert!(rounds.is_due());
        rounds.begin(7);
        rounds.want();
        rounds.answered(6);
        assert!(!rounds.is_due());
        assert_eq!(rounds.running(), Some(1));
        rounds.answered(7);
        assert!(rounds.is_due());
        assert_eq!(rounds.running(), Some(1));
        rounds.begin(8);
        assert_eq!(rounds.running(), Some(2));
        rounds.answered(9);
        rounds.want();
        assert!(rounds.is_due(), "a later pong answers it too");
        rounds.pause();
        assert_eq!(rounds.running(), None);
    }
}
