//! Handshakes in progress, and which gives way when there are too many. Must never know a byte of them.
//!
//! A stranger's handshake costs memory for as long as it lasts, so their number is bounded. Were newcomers turned away
//! at the bound, a few thousand silent sockets would lock everybody out; so the oldest peer that has said nothing
//! goes, and then the oldest that has had time enough for an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::commands::lock;

/// How long a peer that has sent its first flight keeps its place against newcomers: many round trips.
const GRACE: Duration = Duration::from_secs(1);

/// The places of handshakes in progress.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    max: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// All of them, oldest first.
    members: BTreeMap<u64, Member>,
    /// Those that have not sent a whole first flight yet.
    silent: BTreeSet<u64>,
}

#[derive(Debug)]
struct Member {
    since: Instant,
    evict: oneshot::Sender<()>,
}

/// A handshake's place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<HalfOpen>,
    id: u64,
    /// Kept beside the table, which forgets those that it sends away.
    heard: AtomicBool,
}

/// A place, and what tells that it was taken by somebody else.
pub(crate) type Entered = (Place, oneshot::Receiver<()>);

impl HalfOpen {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max: AtomicUsize::new(max), table: Mutex::default() })
    }

    /// How many there may be.
    pub(crate) fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets how many there may be; of those that are too many one goes for each newcomer.
    pub(crate) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.table).members.len()
    }

    /// Takes a place, that of somebody else if need be, and gives what tells that it was taken in turn. `None` where
    /// all places are held by peers that are about to finish.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Entered> {
        let now = Instant::now();
        let mut table = lock(&self.table);
        if table.members.len() >= self.max() {
            let victim = table.victim(now)?;
            table.silent.remove(&victim);
            let evict = table.members.remove(&victim)?.evict;
            // Its task may be over at this very moment, and then nobody needs to be told.
            let _ = evict.send(());
        }
        let (evict, evicted) = oneshot::channel();
        let id = table.next;
        table.next += 1;
        table.members.insert(id, Member { since: now, evict });
        table.silent.insert(id);
        Some((Place { table: Arc::clone(self), id, heard: AtomicBool::new(false) }, evicted))
    }
}

impl Table {
    fn victim(&self, now: Instant) -> Option<u64> {
        let silent = self.silent.first().copied();
        silent.or_else(|| {
            let (id, oldest) = self.members.first_key_value()?;
            (now.saturating_duration_since(oldest.since) >= GRACE).then_some(*id)
        })
    }
}

impl Place {
    /// The peer has sent a whole first flight.
    pub(crate) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
        lock(&self.table.table).silent.remove(&self.id);
    }

    /// The peer has got half-way through an outer handshake: it is no silent one any more, and may be answered in clear
    /// all the same, inside of that.
    pub(crate) fn greeted(&self) {
        lock(&self.table.table).silent.remove(&self.id);
    }

    /// Gives the place back before this is dropped: what is left is a farewell.
    pub(crate) fn leave(&self) {
        let mut table = lock(&self.table.table);
        table.silent.remove(&self.id);
        table.members.remove(&self.id);
    }

    /// Whether it has not: then it may be answered in clear.
    pub(crate) fn is_silent(&self) -> bool {
        !self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::{GRACE, HalfOpen};

    #[tokio::test(start_paused = true)]
    async fn the_oldest_silent_peer_goes_first() {
        let table = HalfOpen::new(3);
        let (spoke, mut first) = table.enter().unwrap();
        let (two, mut second) = table.enter().unwrap();
        let (_three, mut third) = table.enter().unwrap();
        spoke.heard();
        assert!(!spoke.is_silent() && two.is_silent());
        let (_four, mut fourth) = table.enter().unwrap();
        assert!(second.try_recv().is_ok());
        let (_five, _fifth) = table.enter().unwrap();
        assert!(third.try_recv().is_ok());
        assert!(first.try_recv().is_err() && fourth.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_spoke_keep_their_places_for_a_while() {
        let table = HalfOpen::new(2);
        let (one, mut first) = table.enter().unwrap();
        advance(GRACE / 2).await;
        let (two, mut second) = table.enter().unwrap();
        one.heard();
        two.heard();
        assert!(table.enter().is_none());
        advance(GRACE / 2).await;
        let (three, _third) = table.enter().unwrap();
        three.heard();
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        assert!(table.enter().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_half_way_through_tls_keeps_its_place_for_a_while() {
        let table = HalfOpen::new(2);
        let (one, mut first) = table.enter().unwrap();
        one.greeted();
        assert!(one.is_silent(), "it may be told in clear");
        let (_two, mut second) = table.enter().unwrap();
        let (_three, _third) = table.enter().unwrap();
        assert!(first.try_recv().is_err() && second.try_recv().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_free_again_and_never_more_than_there_are() {
        let table = HalfOpen::new(2);
        for _ in 0..10 {
            let (_one, _first) = table.enter().unwrap();
            let (_two, _second) = table.enter().unwrap();
            let (three, _third) = table.enter().unwrap();
            three.heard();
            assert_eq!(table.table.lock().unwrap().members.len(), 2);
        }
        let left = table.table.lock().unwrap();
        assert!(left.members.is_empty() && left.silent.is_empty());
    }
    #[tokio::test(start_paused = true)]
    async fn a_bound_that_changes_counts_for_the_next_and_one_goes_for_each() {
        let table = HalfOpen::new(1);
        let (_one, mut first) = table.enter().unwrap();
        table.set_max(3);
        let (_two, mut second) = table.enter().unwrap();
        let (_three, mut third) = table.enter().unwrap();
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        table.set_max(1);
        assert_eq!((table.max(), table.count()), (1, 3));
        let (_four, _fourth) = table.enter().unwrap();
        assert!(first.try_recv().is_ok() && second.try_recv().is_err() && third.try_recv().is_err());
        assert_eq!(table.count(), 3);
    }
}
