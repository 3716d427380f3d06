//! The places of an acceptor's connections: a number that may change. Must never know who takes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many connections at once.
#[derive(Debug)]
pub(super) struct Places {
    most: AtomicUsize,
    used: AtomicUsize,
}

/// One of them, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Places>);

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), used: AtomicUsize::new(0) })
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }

    /// Sets how many there are. Connections beyond a lower number stay; none is added until so many have gone.
    pub(super) fn set(&self, most: usize) {
        self.most.store(most, Ordering::Release);
    }

    pub(super) fn is_full(&self) -> bool {
        self.used.load(Ordering::Acquire) >= self.most()
    }

    pub(super) fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let most = self.most();
        let next = |used: usize| (used < most).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Slot(Arc::clone(self)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn places_hold_at_n_and_n_plus_1_also_when_n_changes() {
        let places = Places::new(2);
        let mut held: Vec<_> = (0..2).map(|_| places.try_take().unwrap()).collect();
        assert!(places.try_take().is_none() && places.is_full());
        places.set(3);
        held.push(places.try_take().unwrap());
        assert!(places.try_take().is_none());
        places.set(1);
        held.truncate(1);
        assert!(places.try_take().is_none() && places.is_full());
        held.clear();
        assert!(places.try_take().is_some());
    }
}
