//! What is counted of each identity, for as long as it counts for anything: over all of its connections, and from one to
//! the next. Must never decide what is too much.

use std::collections::BTreeMap;
use std::sync::Arc;

use np_types::{PeerIdentity, PublicKey, Time};

use crate::call_limits::Gauge;
use crate::rate::{Bucket, Tap};

/// The most identities that are kept though they have no connection. Beyond them those go whose rate is soonest forgotten.
const MAX_RECENT: usize = 4_096;
/// How many more there may be than were left the last time before it is looked who can go.
const SLACK: usize = 64;

/// Who is counted: a key as it is, since its text costs more than a look into the table, and of all others the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Key(PublicKey),
    Text(String),
}

impl Name {
    pub(crate) fn of(peer: &PeerIdentity) -> Self {
        peer.public_key().map_or_else(|| Self::Text(peer.to_string()), |key| Self::Key(*key))
    }
}

/// What is counted of one identity.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) gauge: Arc<Gauge>,
    pub(crate) bucket: Bucket,
    pub(crate) per_second: Arc<Tap>,
}

/// Those of identities that have a connection or a call at work, or had calls in the last second where there is a rate.
///
/// Their number is at most twice the most that had a connection at once and [`MAX_RECENT`], and some: it is looked through
/// each time it has doubled, so that a connection more costs the same however many there are. A name and some 200 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    all: BTreeMap<Name, Arc<Identity>>,
    /// How many there are when it is looked through next.
    look_at: usize,
}

impl Identities {
    /// That of a name, which is made where there is none.
    pub(crate) fn of(&mut self, name: Name, now: Time, make: impl FnOnce() -> Arc<Identity>) -> Arc<Identity> {
        if let Some(identity) = self.all.get(&name) {
            return Arc::clone(identity);
        }
        if self.all.len() >= self.look_at {
            self.forget(now);
            self.look_at = 2 * self.all.len() + SLACK;
        }
        let identity = make();
        self.all.insert(name, Arc::clone(&identity));
        identity
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Identity> {
        self.all.values().map(AsRef::as_ref)
    }

    fn forget(&mut self, now: Time) {
        self.all.retain(|_, identity| identity.is_held() || identity.bucket.is_owed(now));
        let recent = self.all.iter().filter(|(_, identity)| !identity.is_held());
        let mut recent: Vec<_> = recent.map(|(name, identity)| (identity.bucket.until(), name.clone())).collect();
        let excess = recent.len().saturating_sub(MAX_RECENT);
        recent.sort_unstable();
        for (_, name) in recent.into_iter().take(excess) {
            self.all.remove(&name);
        }
    }
}

impl Identity {
    /// Whether a connection counts by it, or a call that one has left.
    fn is_held(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || self.gauge.is_used()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use np_types::Time;

    use super::{Identities, Identity, MAX_RECENT, Name, SLACK};
    use crate::call_limits::Gauge;
    use crate::rate::{Bucket, Tap};

    struct House {
        identities: Identities,
        per_second: Arc<Tap>,
    }

    impl House {
        fn new(per_second: u32) -> Self {
            let tap = Arc::new(Tap::default());
            tap.set(Some(per_second));
            Self { identities: Identities::default(), per_second: tap }
        }

        fn of(&mut self, name: usize, now: Time) -> Arc<Identity> {
            let per_second = Arc::clone(&self.per_second);
            let make = || {
                let gauge = Gauge::new("max_identity_calls", 1);
                Arc::new(Identity { gauge, bucket: Bucket::default(), per_second })
            };
            self.identities.of(Name::Text(name.to_string()), now, make)
        }

        /// Comes, makes a call, and goes.
        fn calls(&mut self, name: usize, now: Time) -> bool {
            let identity = self.of(name, now);
            identity.bucket.take(&identity.per_second, now)
        }
    }

    #[test]
    fn a_rate_is_kept_until_it_is_forgotten_by_itself_and_no_longer() {
        let mut house = House::new(2);
        let start = Time::ZERO + Duration::from_secs(100);
        assert!(house.calls(1, start) && house.calls(1, start));
        (2..300).for_each(|name| drop(house.of(name, start)));
        assert!(!house.calls(1, start), "two were made in this second");
        assert!(house.identities.all.len() <= 2 * SLACK, "others have made none");
        let later = start + Duration::from_secs(2);
        (2..300).for_each(|name| drop(house.of(name, later)));
        assert!(!house.identities.all.contains_key(&Name::Text("1".to_owned())));
    }

    #[test]
    fn those_who_went_are_bounded_and_who_owes_least_is_forgotten_first() {
        let mut house = House::new(10);
        let now = Time::ZERO + Duration::from_secs(100);
        let stays = house.of(0, now);
        (0..10).for_each(|_| assert!(house.calls(1, now)));
        for name in 2..5 * MAX_RECENT {
            house.calls(name, now);
        }
        let most = 2 * (MAX_RECENT + 1) + SLACK;
        assert!((MAX_RECENT..=most).contains(&house.identities.all.len()), "{}", house.identities.all.len());
        assert!(!house.calls(1, now));
        assert!(Arc::ptr_eq(&stays, &house.of(0, now)));
    }

    #[test]
    fn the_table_is_looked_through_each_time_that_it_has_doubled() {
        let mut house = House::new(1);
        let mut held = Vec::new();
        let looks: Vec<usize> = (0..200)
            .map(|name| {
                held.push(house.of(name, Time::ZERO));
                house.identities.look_at
            })
            .collect();
        assert_eq!([looks[0], looks[63], looks[64], looks[191], looks[192]], [64, 64, 192, 192, 448]);
    }
}
