//! So many acts a second: a token bucket as one point in time (the generic cell rate algorithm, ITU-T I.371).
//!
//! It must never know what the acts are.

use np_types::Time;

use crate::sync::{AtomicU64, Ordering};

const SECOND: u64 = 1_000_000_000;

/// How many acts a second there may be; as many may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Nanoseconds that an act takes up.
    each: u64,
}

impl Rate {
    pub(crate) const fn per_second(acts: u32) -> Self {
        let acts = if acts == 0 { 1 } else { acts as u64 };
        Self { each: SECOND / acts }
    }

    /// Counts an act at `now`, where the acts before it take up the time until `until`; gives until when they do then.
    pub(crate) const fn take(self, until: u64, now: Time) -> Option<u64> {
        let now = now.as_nanos();
        let from = if until > now { until } else { now };
        let next = from.saturating_add(self.each);
        // The division may have cut a little off each act.
        if next - now > SECOND { None } else { Some(next) }
    }
}

/// A rate that may change, for buckets that several tasks share. None until it is set.
#[derive(Debug, Default)]
pub(crate) struct Tap {
    /// As [`Rate::each`]; 0 for no limit.
    each: AtomicU64,
}

impl Tap {
    pub(crate) fn set(&self, acts: Option<u32>) {
        self.each.store(acts.map_or(0, |acts| Rate::per_second(acts).each), Ordering::Release);
    }

    fn rate(&self) -> Option<Rate> {
        Some(self.each.load(Ordering::Acquire)).filter(|each| *each > 0).map(|each| Rate { each })
    }
}

/// A bucket that several tasks share.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    until: AtomicU64,
}

impl Bucket {
    /// Until when the acts of before take up time.
    pub(crate) fn until(&self) -> u64 {
        self.until.load(Ordering::Acquire)
    }

    /// Whether an act of before counts at `now`.
    pub(crate) fn is_owed(&self, now: Time) -> bool {
        self.until() > now.as_nanos()
    }

    /// Whether one more act is allowed at `now`; it counts then.
    pub(crate) fn take(&self, tap: &Tap, now: Time) -> bool {
        let Some(rate) = tap.rate() else {
            return true;
        };
        let next = |until| rate.take(until, now);
        self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use super::{Bucket, Tap};

    #[test]
    fn as_many_as_the_rate_come_at_once_and_then_one_by_one() {
        for rate in [1, 3, 10, 1_000] {
            let (bucket, tap) = (Bucket::default(), Tap::default());
            assert!(bucket.take(&tap, Time::ZERO), "no rate, no limit");
            tap.set(Some(rate));
            let at = |second: u64| Time::ZERO + Duration::from_secs(second);
            assert_eq!((0..rate + 5).filter(|_| bucket.take(&tap, at(100))).count(), rate as usize, "{rate}");
            let next = at(100) + Duration::from_secs(1) / rate + Duration::from_nanos(1);
            assert!(bucket.take(&tap, next) && !bucket.take(&tap, next), "{rate}");
            assert_eq!((0..rate + 5).filter(|_| bucket.take(&tap, at(200))).count(), rate as usize, "{rate}");
        }
    }
    #[test]
    fn a_bucket_tells_until_when_it_is_owed() {
        let (bucket, tap) = (Bucket::default(), Tap::default());
        let at = |millis: u64| Time::ZERO + Duration::from_millis(millis);
        tap.set(Some(10));
        assert!(!bucket.is_owed(at(0)));
        assert!(bucket.take(&tap, at(1_000)));
        assert_eq!(bucket.until(), 1_100_000_000);
        assert!(bucket.is_owed(at(1_099)) && !bucket.is_owed(at(1_100)));
        assert!(bucket.take(&tap, at(1_000)));
        assert_eq!(bucket.until(), 1_200_000_000);
    }
}
