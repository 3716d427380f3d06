//! How a node that started again takes over the keys of its earlier starts, which the others have kept for it.
//!
//! It goes on as more becomes known: the others tell an earlier start in parts, one may know more than the next, and whoever
//! knows most may stand on the other side of a partition. What was taken over so far stands in a key of np's own, so that the
//! others show what is left beside it.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use super::Observer;
use crate::attributes::{READY, RESERVED};
use crate::engine::{NodeId, NodeInfo, Store};
use crate::shared::{Shared, Size};
use crate::signing::{Claim, SigningKey, check};
use crate::value::{Envelope, from_hex, to_hex};

/// Intervals after the first word of another in which nothing is taken over: one may know later values than the next.
const LISTEN: u32 = 3;
/// Starts that are named one by one; of those before the latest of them nothing is shown any more.
const STARTS: usize = 16;

/// What a start of a node has taken over from earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cover {
    /// Everything of starts up to this one.
    floor: u64,
    /// Of later ones everything up to a version.
    starts: BTreeMap<u64, u64>,
}

impl Cover {
    /// Everything of every earlier start.
    pub(crate) const fn all(own: &NodeId) -> Self {
        Self { floor: own.generation, starts: BTreeMap::new() }
    }

    /// Reads what a node tells; nothing of what it cannot have told.
    pub(crate) fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let floor = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        let start = |word: &str| {
            let (start, version) = word.split_once(':')?;
            Some((start.parse().ok()?, version.parse().ok()?))
        };
        Self { floor, starts: words.take(STARTS).filter_map(start).collect() }
    }

    /// The form in which it is told.
    pub(crate) fn write(&self) -> String {
        let starts = self.starts.iter().map(|(start, version)| format!(" {start}:{version}"));
        std::iter::once(self.floor.to_string()).chain(starts).collect()
    }

    /// The form in which a start tells it: where the node signs, with a signature that is of no other start.
    pub(crate) fn told(&self, own: &NodeId, cluster: &str, signing: Option<&SigningKey>) -> String {
        let text = self.write();
        match signing {
            Some(key) => format!("{text} s{}", to_hex(&key.sign(&claim(own, cluster, &said(own, &text))))),
            None => text,
        }
    }

    /// Whether a start has said this and signed it by this key.
    fn is_signed(told: &str, id: &NodeId, cluster: &str, key: &[u8; 32]) -> bool {
        let signed = told.rsplit_once(" s").and_then(|(text, hex)| Some((text, from_hex(hex)?)));
        signed.is_some_and(|(text, signature)| check(key, &claim(id, cluster, &said(id, text)), &signature))
    }

    /// The version of a start up to which everything is taken over.
    pub(crate) fn of(&self, generation: u64) -> u64 {
        if generation <= self.floor { u64::MAX } else { self.starts.get(&generation).copied().unwrap_or_default() }
    }

    fn insert(&mut self, generation: u64, version: u64) {
        if generation <= self.floor {
            return;
        }
        let known = self.starts.entry(generation).or_default();
        *known = version.max(*known);
        if self.starts.len() > STARTS
            && let Some((start, _)) = self.starts.pop_first()
        {
            self.floor = start;
        }
    }
}

/// What a start says, with the address that is a part of it: else it could be said of another with its number.
fn said(id: &NodeId, text: &str) -> String {
    format!("{text} {}", id.address)
}

/// What a start signs: its own number stands where values have their time.
fn claim<'a>(id: &'a NodeId, cluster: &'a str, text: &'a str) -> Claim<'a> {
    Claim { cluster, node: &id.name, key: READY, text, expires: 0, at: id.generation }
}

/// What is known of a take-over.
pub(super) struct TakeOver {
    started: Instant,
    /// What has been taken over, once it was told.
    pub(super) cover: Cover,
    told: bool,
    /// The versions of this node's keys that are as they were taken over: an earlier start may still change them.
    taken: BTreeSet<u64>,
    /// Nothing more is taken over.
    over: bool,
}

impl TakeOver {
    /// Begins; with nothing to take over it is over at once.
    pub(super) fn new(own: &NodeId, keep: bool, started: Instant) -> Self {
        let cover = if keep { Cover::default() } else { Cover::all(own) };
        Self { started, cover, told: !keep, taken: BTreeSet::new(), over: !keep }
    }
}

impl Observer {
    /// Takes over what has become known since the last look. Tells whether anything has changed.
    pub(super) fn take_over(&mut self, store: &mut dyn Store, now: Instant, time: u64) -> bool {
        let own = self.shared.own.clone();
        if self.take_over.over {
            return false;
        }
        if now.saturating_duration_since(self.take_over.started) >= self.shared.forget_after {
            // By now the others have forgotten what they kept, and who tells of more has made it up.
            self.take_over.cover = Cover::all(&own);
            (self.take_over.over, self.take_over.taken) = (true, BTreeSet::new());
            store.set(READY, &self.told_cover());
            return true;
        }
        let listened = |first| now.saturating_duration_since(first) >= self.shared.interval * LISTEN;
        if !self.shared.gate.first_told().is_some_and(listened) {
            return false;
        }
        let earlier = self.nodes.keys().filter(|id| id.name == own.name && id.generation < own.generation);
        let mut earlier: Vec<NodeInfo> = earlier.filter_map(|id| store.info(id)).collect();
        let is_taken = |info: &NodeInfo| self.take_over.cover.of(info.id.generation) >= info.version;
        if self.take_over.told && earlier.iter().all(is_taken) {
            return false;
        }
        // Whatever a start says that is not signed, where this node signs, stands behind all that is: another may have made the
        // start up.
        earlier.sort_by_cached_key(|info| std::cmp::Reverse((self.is_own_word(store, info), info.id.generation)));
        for (key, text) in self.collect(store, &earlier, time) {
            match text {
                Some(text) => store.set(&key, &text),
                None => store.delete(&key),
            }
            self.take_over.taken.extend(store.get(&own, &key).map(|stored| stored.version));
        }
        earlier.iter().for_each(|info| self.take_over.cover.insert(info.id.generation, info.version));
        self.take_over.told = true;
        store.set(READY, &self.told_cover());
        true
    }

    fn told_cover(&self) -> String {
        let Shared { own, cluster, signing, .. } = &*self.shared;
        self.take_over.cover.told(own, cluster, signing.as_ref())
    }

    /// Whether a start has proven, by a signature, that it is one of this node's: by the key of now, or that of the list.
    fn is_own_word(&self, store: &dyn Store, info: &NodeInfo) -> bool {
        let Some(signing) = &self.shared.signing else {
            return false;
        };
        let keys = [Some(signing.public_bytes()), self.shared.links.verify_key(&info.id.name)];
        let told = store.get(&info.id, READY).filter(|told| !told.deleted);
        let signed =
            |key: &[u8; 32]| told.is_some_and(|told| Cover::is_signed(told.text, &info.id, &self.shared.cluster, key));
        keys.iter().flatten().any(signed)
    }

    /// The keys that the earlier starts have changed since the last time, with their values; none for those that are deleted.
    /// Of two starts that have a key, or that say what was taken over, the one that stands first counts.
    fn collect(&self, store: &dyn Store, earlier: &[NodeInfo], time: u64) -> Vec<(String, Option<String>)> {
        let own = &self.shared.own;
        let (mut changed, mut known) = (Vec::new(), BTreeSet::new());
        let mut size = Size::default();
        store.each(own, &mut |key, stored| {
            if !key.starts_with(RESERVED) {
                size = size.after(None, key.len() + stored.text.len());
            }
        });
        // What a start took over from one before it counts by its own word.
        let mut covers: Vec<Cover> = Vec::new();
        for info in earlier {
            let generation = info.id.generation;
            let covered = covers.iter().map(|cover| cover.of(generation)).max().unwrap_or_default();
            let taken = self.take_over.cover.of(generation);
            store.each(&info.id, &mut |key, stored| {
                let newest = !key.starts_with(RESERVED) && stored.version > covered && known.insert(key.to_owned());
                if !newest || stored.version <= taken {
                    return;
                }
                let lives = !stored.deleted && Envelope::read(stored.text).is_some_and(|value| !value.is_over(time));
                let text = lives.then_some(stored.text);
                let old = store.get(own, key);
                let own_word = old.is_some_and(|old| !self.take_over.taken.contains(&old.version));
                if own_word || text == old.filter(|old| !old.deleted).map(|old| old.text) {
                    return;
                }
                let weight = |text: &str| key.len() + text.len();
                let larger = size.after(old.map(|old| weight(old.text)), weight(text.unwrap_or_default()));
                if larger.fits(&self.shared.limits) {
                    size = larger;
                    changed.push((key.to_owned(), text.map(str::to_owned)));
                }
            });
            covers.extend(store.get(&info.id, READY).map(|told| Cover::read(told.text)));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_over_is_read_as_it_was_written_and_no_start_is_shown_again() {
        let mut cover = Cover::default();
        assert_eq!((cover.of(5), cover.write().as_str()), (0, "0"));
        for generation in 1..=20 {
            cover.insert(generation, 100 + generation);
        }
        cover.insert(20, 7);
        assert_eq!((cover.of(4), cover.of(5), cover.of(20), cover.of(21)), (u64::MAX, 105, 120, 0));
        assert_eq!(Cover::read(&cover.write()), cover);
        let own = NodeId { name: "a".into(), generation: 30, address: ([10, 0, 0, 1], 7400).into() };
        let key = SigningKey::from_bytes(&[7; 32]);
        let told = cover.told(&own, "c", Some(&key));
        assert_eq!((Cover::read(&told), cover.told(&own, "c", None)), (cover.clone(), cover.write()));
        let signed = |told: &str, id: &NodeId, cluster| Cover::is_signed(told, id, cluster, &key.public_bytes());
        assert!(signed(&told, &own, "c") && !signed(&told, &own, "d") && !signed(&cover.write(), &own, "c"));
        assert!(!signed(&told, &NodeId { generation: 31, ..own.clone() }, "c"), "it is of no other start");
        assert!(!signed(&told, &NodeId { address: ([10, 0, 0, 2], 7400).into(), ..own.clone() }, "c"), "nor elsewhere");
        assert!(!signed(&told.replacen('4', "5", 1), &own, "c"));
        for wrong in ["", "x", "1:2", "0 5", "0 :", "0 -1:2"] {
            assert_eq!(Cover::read(wrong).of(5), 0, "{wrong}");
        }
    }
}
