//! Whether a node lives, by how long nothing was heard of it. It must never know what is done about it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a node may be silent before it has failed.
pub(crate) const fn patience(interval: Duration) -> Duration {
    Duration::from_nanos(interval.as_nanos() as u64 / 2 * 9)
}

/// What is known of a node's life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    heartbeat: u64,
    /// When it last gave a sign of life; nothing before the first.
    sign: Option<Instant>,
    alive: bool,
    /// Signs by others since it failed.
    signs: u8,
}

impl Life {
    /// A node whose heartbeat is seen for the first time, which may be an old one.
    pub(crate) const fn new(heartbeat: u64) -> Self {
        Self { heartbeat, sign: None, alive: false, signs: 0 }
    }

    /// Looks at a node: its heartbeat as others tell it, and when it was heard itself. Tells whether it lives.
    ///
    /// Of a node that failed, another member may know one heartbeat more: two are needed to believe that it is back. To hear
    /// the node itself is enough.
    pub(crate) fn look(&mut self, heartbeat: u64, heard: Option<Instant>, now: Instant, patience: Duration) -> bool {
        let heard = heard.filter(|heard| self.sign.is_none_or(|sign| *heard > sign));
        if heartbeat > self.heartbeat {
            self.signs = self.signs.saturating_add(1);
            self.heartbeat = heartbeat;
            if self.alive || self.sign.is_none() || self.signs >= 2 {
                self.live(now);
            }
        }
        if let Some(heard) = heard {
            self.live(heard);
        }
        if self.alive && self.sign.is_none_or(|sign| now.saturating_duration_since(sign) >= patience) {
            self.alive = false;
            self.signs = 0;
        }
        self.alive
    }

    fn live(&mut self, at: Instant) {
        self.alive = true;
        self.sign = self.sign.max(Some(at));
    }

    /// Since when it has been silent.
    pub(crate) const fn last_sign(&self) -> Option<Instant> {
        self.sign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(4_500);

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn patience_is_four_intervals_and_a_half() {
        assert_eq!(patience(Duration::from_secs(1)), PATIENCE);
        assert_eq!(patience(Duration::from_millis(200)), Duration::from_millis(900));
    }

    #[test]
    fn a_first_heartbeat_proves_nothing_and_a_second_does() {
        let (start, mut life) = (Instant::now(), Life::new(7));
        assert!(!life.look(7, None, after(start, 100), PATIENCE));
        assert!(life.look(8, None, after(start, 200), PATIENCE));
        assert!(life.look(8, None, after(start, 4_699), PATIENCE));
        assert!(!life.look(8, None, after(start, 4_700), PATIENCE));
    }

    #[test]
    fn of_a_node_that_failed_one_more_heartbeat_is_no_return_and_two_are() {
        let (start, mut life) = (Instant::now(), Life::new(7));
        assert!(life.look(8, None, start, PATIENCE));
        assert!(!life.look(8, None, after(start, 5_000), PATIENCE));
        assert!(!life.look(9, None, after(start, 6_000), PATIENCE));
        assert!(life.look(10, None, after(start, 7_000), PATIENCE));
    }

    #[test]
    fn to_hear_the_node_itself_is_enough_and_an_old_word_is_not() {
        let (start, mut life) = (Instant::now(), Life::new(7));
        assert!(life.look(7, Some(start), after(start, 100), PATIENCE));
        assert!(!life.look(7, Some(start), after(start, 4_500), PATIENCE));
        assert!(life.look(7, Some(after(start, 4_600)), after(start, 4_700), PATIENCE));
    }
}
