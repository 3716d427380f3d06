//! How many calls may be sent again: a bucket that each success fills a little, and each retry empties by one.
//!
//! It keeps a server that is short of breath from getting every call twice. It must never know which calls they are.

use std::sync::atomic::{AtomicU32, Ordering};

/// Parts of one retry that a success deposits one of.
const PARTS: u32 = 10;

/// Retries that may be made now.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// Tenths of a retry.
    parts: AtomicU32,
    cap: u32,
}

impl RetryBudget {
    /// A full bucket of so many retries.
    pub(crate) const fn new(retries: u32) -> Self {
        let cap = retries.saturating_mul(PARTS);
        Self { parts: AtomicU32::new(cap), cap }
    }

    /// A call succeeded: a tenth of a retry. Nothing is written while the bucket is full.
    pub(crate) fn deposit(&self) {
        if self.parts.load(Ordering::Relaxed) < self.cap {
            let more = |parts: u32| (parts < self.cap).then_some(parts.saturating_add(1));
            let _ = self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }

    /// Takes one retry, if there is one.
    pub(crate) fn take(&self) -> bool {
        let less = |parts: u32| parts.checked_sub(PARTS);
        self.parts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::RetryBudget;

    #[test]
    fn ten_successes_pay_for_one_retry_and_the_bucket_holds_no_more_than_its_cap() {
        let budget = RetryBudget::new(2);
        (0..100).for_each(|_| budget.deposit());
        assert!(budget.take() && budget.take() && !budget.take());
        for _ in 0..3 {
            (0..9).for_each(|_| budget.deposit());
            assert!(!budget.take());
            budget.deposit();
            assert!(budget.take());
        }
        assert!(!RetryBudget::new(0).take());
    }
}
