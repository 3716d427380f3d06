//! Whether a node lives, by how long nothing was heard of it. It must never know what is done about it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a node may be silent before it has failed: three intervals, and never so short that a busy machine looks failed
/// for it, so for intervals below a second two and a half, and half a second.
pub(crate) const fn patience(interval: Duration) -> Duration {
    let nanos = interval.as_nanos() as u64;
    let busy = 500_000_000;
    Duration::from_nanos(nanos / 2 * 5 + if nanos / 2 > busy { nanos / 2 } else { busy })
}

/// After what silence a node is asked itself, in each look until it has failed: an answer is a sign of life.
pub(crate) const fn doubt(interval: Duration) -> Duration {
    interval.saturating_mul(2)
}

/// Nodes that are asked so in one look.
pub(crate) const ASKED: usize = 3;

/// Of all that are silent, those that are asked in this look: each has its turn, as long as it is silent for that many looks.
pub(crate) fn asked<T>(mut silent: Vec<T>, look: usize) -> Vec<T> {
    if !silent.is_empty() {
        let turn = look.wrapping_mul(ASKED) % silent.len();
        silent.rotate_left(turn);
    }
    silent.truncate(ASKED);
    silent
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

    /// Whether it lives and has been silent for so long.
    pub(crate) fn is_doubted(&self, now: Instant, doubt: Duration) -> bool {
        self.alive && self.sign.is_some_and(|sign| now.saturating_duration_since(sign) >= doubt)
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

    const PATIENCE: Duration = Duration::from_millis(3_000);

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn patience_is_three_intervals_and_for_short_ones_half_a_second_more() {
        assert_eq!(patience(Duration::from_secs(1)), PATIENCE);
        assert_eq!(patience(Duration::from_secs(10)), Duration::from_secs(30));
        assert_eq!(patience(Duration::from_millis(200)), Duration::from_secs(1));
        assert_eq!(patience(Duration::from_millis(500)), Duration::from_millis(1_750));
        assert!(
            [200, 1_000, 10_000]
                .map(Duration::from_millis)
                .iter()
                .all(|interval| doubt(*interval) < patience(*interval))
        );
    }

    #[test]
    fn all_that_are_silent_have_their_turn_to_be_asked() {
        assert_eq!(asked(vec![7], 5), [7]);
        let mut seen: Vec<i32> = (0..4).flat_map(|look| asked((0..10).collect(), look)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10);
        assert!(asked(Vec::<u8>::new(), 1).is_empty());
    }

    #[test]
    fn a_node_that_lives_and_is_silent_is_doubted_until_it_has_failed() {
        let (start, mut life) = (Instant::now(), Life::new(7));
        let doubted = |life: &Life, millis| life.is_doubted(after(start, millis), Duration::from_secs(2));
        assert!(!doubted(&life, 9_000), "it never gave a sign of life");
        assert!(life.look(8, None, start, PATIENCE));
        assert!(!doubted(&life, 1_999) && doubted(&life, 2_000));
        assert!(!life.look(8, None, after(start, 3_000), PATIENCE));
        assert!(!doubted(&life, 3_000));
    }

    #[test]
    fn a_first_heartbeat_proves_nothing_and_a_second_does() {
        let (start, mut life) = (Instant::now(), Life::new(7));
        assert!(!life.look(7, None, after(start, 100), PATIENCE));
        assert!(life.look(8, None, after(start, 200), PATIENCE));
        assert!(life.look(8, None, after(start, 3_199), PATIENCE));
        assert!(!life.look(8, None, after(start, 3_200), PATIENCE));
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
