//! How long a connection lives: while its peer is heard, while it is used, and up to its age.

use std::time::Duration;

use np_types::{CloseCode, LimitsError, Time};

/// How long calls that are open may go on once a connection has reached its age: what a drain gives them too.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long connections live.
///
/// ```
/// use np_driver::Lifetime;
/// use std::time::Duration;
/// let usual = Lifetime::default();
/// assert_eq!(usual.heartbeat_interval, Some(Duration::from_secs(15)));
/// assert_eq!((usual.idle_timeout, usual.max_age), (None, None), "a connection that is used lives for ever");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// After so long without a byte from the peer it is asked for a sign of life, and after twice as long it counts as dead
    /// (`heartbeat-timeout`). Default 15 s; `None` never asks, so that a peer whose machine vanished stays until something
    /// is written to it.
    pub heartbeat_interval: Option<Duration>,
    /// A connection without a call or stream for so long is ended in order (`idle-timeout`). Default: never.
    pub idle_timeout: Option<Duration>,
    /// A connection that is so old is ended in order (`max-age`), up to a fifth sooner, so that those that began together do
    /// not end together. Nothing new begins on it then, and what is open has 10 s to end. Default: never.
    pub max_age: Option<Duration>,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { heartbeat_interval: Some(Duration::from_secs(15)), idle_timeout: None, max_age: None }
    }
}

impl Lifetime {
    /// Checks that no span is zero.
    ///
    /// # Errors
    /// The first that is, by name.
    ///
    /// ```
    /// use np_driver::Lifetime;
    /// use std::time::Duration;
    /// let wrong = Lifetime { max_age: Some(Duration::ZERO), ..Lifetime::default() };
    /// assert!(wrong.validate().unwrap_err().to_string().contains("max_age"));
    /// ```
    pub fn validate(&self) -> Result<(), LimitsError> {
        for (setting, span) in [
            ("heartbeat_interval", self.heartbeat_interval),
            ("idle_timeout", self.idle_timeout),
            ("max_age", self.max_age),
        ] {
            if span.is_some_and(|span| span.is_zero()) {
                return Err(LimitsError { setting, value: 0, rule: "longer than 0, or none" });
            }
        }
        Ok(())
    }
}

/// What a connection task looks at.
#[derive(Debug)]
pub(crate) struct Life {
    idle_timeout: Option<Duration>,
    ends: Option<Time>,
    /// When something was open last, whether it was so at the last look, and how much had been opened by then.
    used: Time,
    open: bool,
    opened: u64,
    over: bool,
}

impl Life {
    /// `salt` is random, and moves the end.
    pub(crate) fn new(lifetime: &Lifetime, now: Time, salt: u8) -> Self {
        let ends = lifetime.max_age.map(|age| now + (age - age / (5 * 256) * u32::from(salt)));
        Self { idle_timeout: lifetime.idle_timeout, ends, used: now, open: false, opened: 0, over: false }
    }

    /// Notes whether anything is open, and how much was ever opened. What was open at the last look was so until now.
    pub(crate) const fn note(&mut self, now: Time, open: bool, opened: u64) {
        if open || self.open || opened != self.opened {
            (self.used, self.open, self.opened) = (now, open, opened);
        }
    }

    /// Whether anything was open at the last look.
    pub(crate) const fn is_in_use(&self) -> bool {
        self.open
    }

    pub(crate) fn due(&self) -> Option<Time> {
        if self.over {
            return None;
        }
        let idle = self.idle_timeout.map(|idle| self.used + idle);
        [idle, self.ends].into_iter().flatten().min()
    }

    /// Why it is time to end, once.
    pub(crate) fn is_over(&mut self, now: Time) -> Option<CloseCode> {
        if self.due().is_none_or(|at| at > now) {
            return None;
        }
        self.over = true;
        let old = self.ends.is_some_and(|at| at <= now);
        Some(if old { CloseCode::MaxAge } else { CloseCode::IdleTimeout })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::{CloseCode, Time};

    use super::{Life, Lifetime};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_connection_is_idle_since_its_last_call_and_old_up_to_a_fifth_sooner() {
        let lifetime = Lifetime { idle_timeout: Some(MINUTE), ..Lifetime::default() };
        let mut life = Life::new(&lifetime, Time::ZERO, 0);
        let at = |minutes: u32| Time::ZERO + MINUTE * minutes;
        life.note(at(1), false, 1);
        assert_eq!((life.is_over(at(1)), life.due()), (None, Some(at(2))), "a call came and went");
        life.note(at(3), true, 2);
        // Nothing was looked at since: the call was open until now.
        life.note(at(5), false, 2);
        life.note(at(6), false, 2);
        assert_eq!((life.is_over(at(5)), life.is_over(at(6))), (None, Some(CloseCode::IdleTimeout)));
        assert_eq!((life.is_over(at(9)), life.due()), (None, None), "once");
        let lifetime = Lifetime { max_age: Some(MINUTE * 100), ..Lifetime::default() };
        for (salt, minutes) in [(0, 100), (128, 90), (255, 80)] {
            let mut life = Life::new(&lifetime, Time::ZERO, salt);
            life.note(at(minutes - 1), true, 1);
            assert_eq!(life.is_over(at(minutes - 1)), None, "{salt}");
            assert_eq!(life.is_over(at(minutes + 1)), Some(CloseCode::MaxAge), "{salt}");
        }
        assert_eq!(Life::new(&Lifetime::default(), Time::ZERO, 9).due(), None);
    }
}
