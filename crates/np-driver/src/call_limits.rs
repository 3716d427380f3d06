//! How many calls may be at work for one identity, and for all peers of a server, and how many a second it may make. Must
//! never know what a call does.

use std::fmt;
use std::sync::Arc;

use np_types::{PeerIdentity, Time};
use tokio::sync::Notify;

use crate::commands::lock;
use crate::identities::{Identities, Identity, Name};
use crate::rate::{Bucket, Tap};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// What happens to a call for which there is no room.
///
/// ```
/// assert_eq!(np_driver::WhenFull::default(), np_driver::WhenFull::Refuse);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WhenFull {
    /// It is refused at once, as safe to send again.
    #[default]
    Refuse,
    /// It waits for room until its deadline. Its body counts against `call_budget` meanwhile.
    Wait,
}

/// The limits of a server's calls, and what is in use.
#[derive(Debug)]
pub(crate) struct CallLimits {
    server: Arc<Gauge>,
    per_identity: AtomicUsize,
    when_full: WhenFull,
    per_second: Arc<Tap>,
    identities: Mutex<Identities>,
}

/// A number of places.
pub(crate) struct Gauge {
    setting: &'static str,
    most: AtomicUsize,
    used: AtomicUsize,
    /// Places that were ever taken: a figure that nothing waits for.
    taken: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.setting, self.used.load(Ordering::Relaxed), self.most.load(Ordering::Relaxed))
    }
}

/// What the calls of one connection are counted by; a client counts none.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallPlaces {
    gauges: [Option<Arc<Gauge>>; 2],
    when_full: WhenFull,
    identity: Option<Arc<Identity>>,
    /// Calls of the connection that wait for a place.
    waiting: Arc<AtomicUsize>,
}

/// The places of one call, free again when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    _own: Option<Taken>,
    _all: Option<Taken>,
}

#[derive(Debug)]
struct Taken(Arc<Gauge>);

impl Drop for Taken {
    fn drop(&mut self) {
        // The strongest order: a call that begins to wait in this moment either sees the place or is seen.
        self.0.used.fetch_sub(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.0.freed.notify_one();
        }
    }
}

impl CallLimits {
    pub(crate) fn new(per_server: usize, per_identity: usize, when_full: WhenFull) -> Self {
        let server = Gauge::new("max_server_calls", per_server);
        let per_identity = AtomicUsize::new(per_identity);
        Self { server, per_identity, when_full, per_second: Arc::default(), identities: Mutex::default() }
    }

    /// Sets how many calls a second there may be of one identity, also for the connections that stand.
    pub(crate) fn set_per_second(&self, calls: Option<u32>) {
        self.per_second.set(calls);
    }

    /// Sets how many there may be, also for the connections that stand. Calls at work go on.
    pub(crate) fn set(&self, per_server: usize, per_identity: usize) {
        self.server.set(per_server);
        let identities = lock(&self.identities);
        self.per_identity.store(per_identity, Ordering::Release);
        identities.all().for_each(|identity| identity.gauge.set(per_identity));
    }

    /// Calls at work for all peers, and those that ever were.
    pub(crate) fn counts(&self) -> (usize, u64) {
        (self.server.used.load(Ordering::Relaxed), self.server.taken.load(Ordering::Relaxed))
    }

    /// The places of a peer's connections. Peers that have proven nothing have nobody to be counted with: for them the
    /// server's limit stands alone.
    pub(crate) fn of(&self, peer: &PeerIdentity, now: Time) -> CallPlaces {
        let known = peer.is_authenticated();
        let identity = if known { self.identity(peer, now) } else { self.nobody() };
        let own = known.then(|| Arc::clone(&identity.gauge));
        let gauges = [own, Some(Arc::clone(&self.server))];
        CallPlaces { gauges, when_full: self.when_full, identity: Some(identity), waiting: Arc::default() }
    }

    fn nobody(&self) -> Arc<Identity> {
        let gauge = Gauge::new("max_identity_calls", self.per_identity.load(Ordering::Acquire));
        Arc::new(Identity { gauge, bucket: Bucket::default(), per_second: Arc::clone(&self.per_second) })
    }

    fn identity(&self, peer: &PeerIdentity, now: Time) -> Arc<Identity> {
        // Its limit is read under the table's lock, so that none is missed by a change.
        lock(&self.identities).of(Name::of(peer), now, || self.nobody())
    }
}

impl Gauge {
    pub(crate) fn new(setting: &'static str, most: usize) -> Arc<Self> {
        let (used, taken, waiting) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicUsize::new(0));
        Arc::new(Self { setting, most: AtomicUsize::new(most), used, taken, waiting, freed: Notify::new() })
    }

    /// Whether a call is at work.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire) > 0
    }

    fn set(&self, most: usize) {
        self.most.store(most, Ordering::Release);
        // Each that waits looks for itself whether there is room now.
        self.freed.notify_waiters();
    }

    fn try_take(self: &Arc<Self>) -> Option<Taken> {
        let most = self.most.load(Ordering::Acquire);
        let next = |used: usize| (used < most).then_some(used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).ok()?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(Taken(Arc::clone(self)))
    }

    async fn take(self: &Arc<Self>) -> Taken {
        let _waits = Waits::new(self);
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            freed.await;
        }
    }
}

/// One more for as long as it lives.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Waits<'a>(&'a Gauge);

impl<'a> Waits<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.waiting.fetch_add(1, Ordering::SeqCst);
        Self(gauge)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        // A call that was woken and given up in the same moment hands its turn on.
        self.0.freed.notify_one();
    }
}

impl CallPlaces {
    /// Places for one more call.
    ///
    /// # Errors
    /// The setting that there is no room under.
    pub(crate) fn try_enter(&self) -> Result<Permit, &'static str> {
        let [identity, server] = &self.gauges;
        let take = |gauge: &Option<Arc<Gauge>>| match gauge {
            None => Ok(None),
            Some(gauge) => gauge.try_take().map(Some).ok_or(gauge.setting),
        };
        Ok(Permit { _own: take(identity)?, _all: take(server)? })
    }

    /// Counts calls that had a place which was another's before.
    pub(crate) fn count(&self, calls: u64) {
        for gauge in self.gauges.iter().flatten() {
            gauge.taken.fetch_add(calls, Ordering::Relaxed);
        }
    }

    /// Whether the peer's rate has room for one more call at `now`; it counts then.
    ///
    /// # Errors
    /// The setting that it would pass.
    pub(crate) fn keeps_rate(&self, now: Time) -> Result<(), &'static str> {
        let keeps = |identity: &Arc<Identity>| identity.bucket.take(&identity.per_second, now);
        if self.identity.as_ref().is_none_or(keeps) { Ok(()) } else { Err("max_peer_calls_per_second") }
    }

    /// Whether a call for which there is no room waits.
    pub(crate) fn waits(&self) -> bool {
        self.when_full == WhenFull::Wait
    }

    /// How many calls of the connection wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// The same, once there is room; first come, first served within each limit.
    pub(crate) async fn enter(&self) -> Permit {
        let [identity, server] = &self.gauges;
        let _counted = Counted::new(&self.waiting);
        // Its own limit first, so that an identity which is full holds no place of others while it waits.
        let own = match identity {
            None => None,
            Some(gauge) => Some(gauge.take().await),
        };
        let all = match server {
            None => None,
            Some(gauge) => Some(gauge.take().await),
        };
        Permit { _own: own, _all: all }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use np_types::{PeerIdentity, PublicKey, Time};

    use super::{CallLimits, CallPlaces, Gauge, WhenFull};
    use crate::sync::Ordering;

    fn peer(byte: u8) -> PeerIdentity {
        PeerIdentity::Noise(PublicKey::from_bytes([byte; 32]))
    }

    #[test]
    fn each_limit_holds_at_n_and_n_plus_1_and_over_connections() {
        let limits = CallLimits::new(5, 3, WhenFull::Refuse);
        let (one, again, other) =
            (limits.of(&peer(1), Time::ZERO), limits.of(&peer(1), Time::ZERO), limits.of(&peer(2), Time::ZERO));
        let mut held: Vec<_> = [&one, &again, &one].into_iter().map(|places| places.try_enter().unwrap()).collect();
        assert_eq!(again.try_enter().unwrap_err(), "max_identity_calls");
        held.extend([&other, &other].into_iter().map(|places| places.try_enter().unwrap()));
        assert_eq!(other.try_enter().unwrap_err(), "max_server_calls");
        // A refusal by the second limit has given the place under the first one back.
        held.truncate(4);
        assert!(other.try_enter().is_ok());
        assert_eq!(limits.of(&PeerIdentity::Anonymous, Time::ZERO).try_enter().map(drop), Ok(()));
    }

    #[test]
    fn limits_that_change_count_for_connections_that_stand() {
        let limits = CallLimits::new(2, 2, WhenFull::Wait);
        let places = limits.of(&peer(1), Time::ZERO);
        let held = [places.try_enter().unwrap(), places.try_enter().unwrap()];
        let mut waiting = Box::pin(places.enter());
        assert!((&mut waiting).now_or_never().is_none());
        limits.set(3, 3);
        let third = waiting.now_or_never().unwrap();
        assert_eq!(places.try_enter().unwrap_err(), "max_identity_calls");
        limits.set(1, 5);
        drop(held);
        // One is at work still, and there is room for one.
        assert_eq!(places.try_enter().unwrap_err(), "max_server_calls");
        drop(third);
        assert!(places.try_enter().is_ok());
        assert!(limits.of(&peer(2), Time::ZERO).try_enter().is_ok());
    }

    #[test]
    fn a_call_that_is_left_at_work_counts_for_the_next_connection() {
        let limits = CallLimits::new(5, 1, WhenFull::Refuse);
        let left = limits.of(&peer(1), Time::ZERO).try_enter().unwrap();
        (0..200).for_each(|byte| drop(limits.of(&peer(byte), Time::ZERO)));
        assert_eq!(limits.of(&peer(1), Time::ZERO).try_enter().unwrap_err(), "max_identity_calls");
        drop(left);
        assert!(limits.of(&peer(1), Time::ZERO).try_enter().is_ok());
    }

    #[test]
    fn whoever_waits_gets_in_as_places_come_free_also_past_one_that_gave_up() {
        let limits = CallLimits::new(1, 1, WhenFull::Wait);
        let (one, other) = (limits.of(&peer(1), Time::ZERO), limits.of(&peer(2), Time::ZERO));
        let first = one.enter().now_or_never().unwrap();
        let mut second = Box::pin(other.enter());
        let mut third = Box::pin(other.enter());
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(second);
        drop(first);
        let third = third.now_or_never().unwrap();
        assert!(one.enter().now_or_never().is_none());
        drop(third);
        assert!(one.enter().now_or_never().is_some());
    }

    #[test]
    fn what_is_in_use_and_what_ever_was_is_told() {
        let limits = CallLimits::new(5, 3, WhenFull::Refuse);
        let places = limits.of(&peer(1), Time::ZERO);
        assert_eq!(limits.counts(), (0, 0));
        let held = places.try_enter().unwrap();
        drop(places.try_enter().unwrap());
        places.count(4);
        assert_eq!((limits.counts(), format!("{:?}", limits.server)), ((1, 6), "max_server_calls 1/5".to_owned()));
        let own = places.gauges[0].as_ref().unwrap();
        assert!(own.is_used() && !Gauge::new("other", 1).is_used());
        drop(held);
        assert!(!own.is_used() && limits.counts() == (0, 6));
    }

    #[test]
    fn whoever_waits_is_counted_and_a_client_has_no_limit() {
        let limits = CallLimits::new(1, 1, WhenFull::Wait);
        let places = limits.of(&peer(1), Time::ZERO);
        let held = places.enter().now_or_never().unwrap();
        let mut waits = Box::pin(places.enter());
        assert_eq!(places.waiting(), 0);
        assert!((&mut waits).now_or_never().is_none());
        assert_eq!(places.waiting(), 1);
        let at_server = || limits.server.waiting.load(Ordering::SeqCst);
        let of_its_own = || places.gauges[0].as_ref().unwrap().waiting.load(Ordering::SeqCst);
        assert_eq!((of_its_own(), at_server()), (1, 0), "its own limit comes first");
        drop((waits, held));
        assert_eq!((places.waiting(), of_its_own(), at_server()), (0, 0, 0));
        assert!(places.waits() && !CallLimits::new(1, 1, WhenFull::Refuse).of(&peer(1), Time::ZERO).waits());
        let client = CallPlaces::default();
        let _held = [client.try_enter().unwrap(), client.enter().now_or_never().unwrap()];
        assert!(client.try_enter().is_ok() && client.keeps_rate(Time::ZERO).is_ok());
    }

    #[test]
    fn a_rate_is_of_the_identity_and_of_nobody_else() {
        let limits = CallLimits::new(9, 9, WhenFull::Refuse);
        let places = limits.of(&peer(1), Time::ZERO);
        (0..9).for_each(|_| assert!(places.keeps_rate(Time::ZERO).is_ok()));
        limits.set_per_second(Some(1));
        let taken = [(); 3].map(|()| limits.of(&peer(1), Time::ZERO).keeps_rate(Time::ZERO));
        let beyond = Err("max_peer_calls_per_second");
        assert_eq!(taken, [Ok(()), beyond, beyond]);
        assert!(limits.of(&peer(2), Time::ZERO).keeps_rate(Time::ZERO).is_ok());
    }
}
