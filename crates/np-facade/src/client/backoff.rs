//! When to try again after a connection was lost: the steps of the delay, and when to give up.
//!
//! Pure: how long a connection stood and what was drawn at random are arguments. It must never know why an attempt failed.

use std::time::Duration;

/// How often, and how fast, a lost connection is made again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackoffSettings {
    /// The longest delay before the first attempt.
    pub(crate) least: Duration,
    /// The longest delay of all.
    pub(crate) most: Duration,
    /// Attempts in a row after which nothing is tried any more; none: for ever.
    pub(crate) max_attempts: Option<u32>,
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self { least: Duration::from_millis(100), most: Duration::from_secs(30), max_attempts: None }
    }
}

/// What comes next: an attempt, after a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pause {
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// How long to wait before it.
    pub(crate) delay: Duration,
}

/// The attempts in a row to make one connection.
///
/// ```text
///            pause                      pause                   pause
///   idle ------------> attempt 1 ----------------> attempt 2 ---------...--> given up
///    ^                     | stood                     | stood
///    '---------------------'---------------------------'
/// ```
///
/// A connection that stood for less than the last delay does not start the steps again: a server that accepts and ends
/// connections at once is asked ever more rarely, like one that does not answer.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    settings: BackoffSettings,
    attempts: u32,
    last: Duration,
}

impl Backoff {
    pub(crate) const fn new(settings: BackoffSettings) -> Self {
        Self { settings, attempts: 0, last: Duration::ZERO }
    }

    /// The next attempt, or nothing if there have been enough. `jitter` is drawn evenly from all numbers, so that clients
    /// who lost one server together come back spread over the upper half of the step.
    pub(crate) fn pause(&mut self, jitter: u64) -> Option<Pause> {
        if self.settings.max_attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let ceiling = step(self.settings, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.last = within_upper_half(ceiling, jitter);
        Some(Pause { attempt: self.attempts, delay: self.last })
    }

    /// Tells for how long the connection stood that the last attempt brought.
    pub(crate) fn stood(&mut self, time: Duration) {
        if time >= self.last {
            self.attempts = 0;
            self.last = Duration::ZERO;
        }
    }
}

/// The longest delay before attempt `done + 1`.
fn step(settings: BackoffSettings, done: u32) -> Duration {
    let factor = 1_u32.checked_shl(done.min(31)).unwrap_or(u32::MAX);
    settings.least.saturating_mul(factor).min(settings.most.max(settings.least))
}

/// A time between one half of `ceiling` and all of it.
pub(crate) fn within_upper_half(ceiling: Duration, jitter: u64) -> Duration {
    let half = ceiling / 2;
    // The upper 32 bits are as even as all of them, and their product with nanoseconds fits.
    let part = (half.as_nanos() * u128::from(jitter >> 32)) >> 32;
    ceiling - half + Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, BackoffSettings, step};

    const MILLI: Duration = Duration::from_millis(1);

    /// A generator whose numbers follow from its seed.
    struct Seeded(u64);

    impl Seeded {
        fn draw(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        }
    }

    #[test]
    fn delays_double_from_a_tenth_of_a_second_to_thirty_and_stay_in_their_upper_half() {
        let (mut low, mut high) = (Backoff::new(BackoffSettings::default()), Backoff::new(BackoffSettings::default()));
        for attempt in 1..=40 {
            let ceiling = MILLI * 100 * 2_u32.pow((attempt - 1).min(9));
            let ceiling = ceiling.min(Duration::from_secs(30));
            let (least, most) = (low.pause(0).unwrap(), high.pause(u64::MAX).unwrap());
            assert_eq!((least.attempt, most.attempt), (attempt, attempt));
            assert_eq!(least.delay, ceiling / 2, "{attempt}");
            assert!(most.delay <= ceiling && most.delay + MILLI > ceiling, "{attempt}: {most:?}");
        }
    }

    #[test]
    fn a_delay_of_its_own_is_kept_and_never_above_its_most() {
        let settings = BackoffSettings { least: MILLI * 10, most: MILLI * 35, max_attempts: None };
        let mut backoff = Backoff::new(settings);
        let delays: Vec<_> = (0..4).map(|_| backoff.pause(0).unwrap().delay).collect();
        assert_eq!(delays, [MILLI * 5, MILLI * 10, MILLI * 35 / 2, MILLI * 35 / 2]);
        // A least delay above the most is a delay that does not grow.
        let mut flat = Backoff::new(BackoffSettings { least: MILLI * 10, most: MILLI, max_attempts: None });
        assert_eq!([flat.pause(0).unwrap().delay, flat.pause(0).unwrap().delay], [MILLI * 5; 2]);
    }

    #[test]
    fn after_max_attempts_in_a_row_nothing_is_tried() {
        let mut backoff = Backoff::new(BackoffSettings { max_attempts: Some(3), ..BackoffSettings::default() });
        assert_eq!((1..=3).filter_map(|_| backoff.pause(1)).count(), 3);
        assert_eq!(backoff.pause(1), None);
        backoff.stood(Duration::from_secs(1));
        assert_eq!(backoff.pause(1).unwrap().attempt, 1, "a connection that stood starts the count again");
        assert_eq!(
            Backoff::new(BackoffSettings { max_attempts: Some(0), ..BackoffSettings::default() }).pause(1),
            None
        );
    }

    #[test]
    fn a_connection_that_stood_less_than_the_delay_does_not_start_the_steps_again() {
        let mut backoff = Backoff::new(BackoffSettings::default());
        for attempt in 1..=5 {
            assert_eq!(backoff.pause(0).unwrap().attempt, attempt);
            backoff.stood(MILLI);
        }
        let last = backoff.pause(0).unwrap().delay;
        backoff.stood(last - MILLI);
        assert_eq!(backoff.pause(0).unwrap().attempt, 7);
        backoff.stood(last * 2);
        assert_eq!(backoff.pause(0).unwrap().attempt, 1);
    }

    /// The attempts of 1,000 clients of a server that goes at time 0 and comes back after `outage`: the highest rate over
    /// a tenth of the jitter window, in parts of 1,000 clients per window.
    fn peak_over_mean(seed: u64, outage: Duration) -> f64 {
        const CLIENTS: usize = 1_000;
        let mut random = Seeded(seed);
        let (mut arrivals, mut windows) = (Vec::new(), Duration::ZERO);
        for _ in 0..CLIENTS {
            let mut backoff = Backoff::new(BackoffSettings::default());
            let mut at = Duration::ZERO;
            while {
                let pause = backoff.pause(random.draw()).unwrap();
                at += pause.delay;
                at < outage
            } {}
            windows += step(BackoffSettings::default(), backoff.attempts - 1) / 2;
            arrivals.push(at);
        }
        let window = windows / u32::try_from(CLIENTS).unwrap();
        arrivals.sort_unstable();
        let bin = window / 10;
        // Every window of a tenth that begins with an arrival.
        let within = |from: usize| arrivals[from..].iter().take_while(|at| **at < arrivals[from] + bin).count();
        let peak = (0..CLIENTS).map(within).max().unwrap();
        (peak * 10) as f64 / CLIENTS as f64
    }

    #[test]
    fn a_thousand_clients_come_back_at_no_more_than_twice_the_mean_rate_of_the_jitter_window() {
        let mut worst = (0.0, 0, Duration::ZERO);
        for outage in [0, 200, 1_000, 5_000, 20_000, 60_000, 300_000].map(Duration::from_millis) {
            for seed in 0..20 {
                let ratio = peak_over_mean(seed, outage);
                if ratio > worst.0 {
                    worst = (ratio, seed, outage);
                }
            }
        }
        println!("peak over mean: {worst:?}");
        assert!(worst.0 <= 2.0, "peak over mean, seed, outage: {worst:?}");
        assert!(worst.0 >= 1.0, "a peak below the mean was not measured: {worst:?}");
    }
}
