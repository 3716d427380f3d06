//! The nodes that the engine knows, or will in a moment, and how much it keeps for each. It must never know why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;

use super::super::message::Id;
use super::super::{Kept, NodeInfo};
use crate::limits::{DIGEST_MAX, Limits, RESPITE, STARTS_OF_THIS, STARTS_PROVEN, STARTS_TOLD};

/// The part of all places that what others tell leaves free; half of it is left by this node's own earlier starts as well,
/// and so kept for starts that speak for themselves.
const KEPT_FREE: usize = 8;

/// The part of all places that may be taken by what is told of further starts of names that are known.
const FURTHER: usize = 2;

/// For how many looks at the engine a node is counted that has not got there: by then the engine has seen its message.
const PATIENCE: u8 = 4;

/// The nodes by name, this one among them.
pub(super) struct Known {
    limits: Limits,
    starts: BTreeMap<Arc<str>, Vec<Start>>,
    count: usize,
    digest: usize,
    bytes: usize,
    /// Looks at the engine.
    looks: u32,
}

struct Start {
    generation: u64,
    address: SocketAddr,
    kept: Kept,
    /// Looks left until the node must be in the engine.
    waiting: u8,
    /// The look at which it was there.
    looked: u32,
    /// When it was taken up by its own word.
    proven: Option<Instant>,
}

/// Who tells of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// The node itself, over a link that has proven its name: of its starts the one that is there.
    Own,
    /// A member, of this node's own earlier starts: nobody speaks for those any more, and this node wants their keys.
    OfThis,
    /// A member, of another node.
    Another,
}

impl Start {
    fn is(&self, id: &Id<'_>) -> bool {
        (self.generation, self.address) == (id.generation, id.address)
    }
}

/// What an entry does to the size of its node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    /// Whether the key is one of np's own.
    pub(super) reserved: bool,
    /// The bytes that are stored for the key, if any are.
    pub(super) old: Option<usize>,
    /// Its bytes.
    pub(super) new: usize,
}

impl Known {
    pub(super) const fn new(limits: Limits) -> Self {
        Self { limits, starts: BTreeMap::new(), count: 0, digest: 0, bytes: 0, looks: 0 }
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, id: &Id<'_>) -> bool {
        self.starts.get(id.name).is_some_and(|starts| starts.iter().any(|start| start.is(id)))
    }

    /// Where the nodes are reached.
    pub(super) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.starts.values().flatten().map(|start| start.address).collect()
    }

    /// Takes a node up if there is room. What others tell fills neither the last places, nor many with the starts of one name;
    /// a node that speaks itself is taken however many there are, and only waits where it has had many starts.
    pub(super) fn insert(&mut self, id: &Id<'_>, word: Word, now: Instant) -> bool {
        let starts = self.starts.get(id.name).map_or(&[][..], Vec::as_slice);
        let proven = |start: &&Start| start.proven.is_some();
        let of_name = match word {
            Word::Own => {
                let last = starts.iter().filter_map(|start| start.proven).max();
                starts.iter().filter(proven).count() < STARTS_PROVEN
                    || last.is_none_or(|last| now.saturating_duration_since(last) >= RESPITE)
            }
            Word::OfThis => starts.len() <= STARTS_OF_THIS,
            Word::Another => starts.iter().filter(|start| !proven(start)).count() < STARTS_TOLD,
        };
        // Whoever is told of by others leaves places for those that speak themselves.
        let most = |all: usize| match word {
            Word::Own => all,
            Word::OfThis => all - all / (2 * KEPT_FREE),
            Word::Another => all - all / KEPT_FREE,
        };
        let room = self.count < most(self.limits.nodes) && self.digest + id.digest_len() <= most(DIGEST_MAX - 128);
        let further = self.count.saturating_sub(self.starts.len());
        let room = room && (word != Word::Another || starts.is_empty() || further < self.limits.nodes / FURTHER);
        if room && of_name {
            self.push(id);
            self.prove(id, word, now);
        }
        room && of_name
    }

    /// Notes that a start has spoken for itself.
    pub(super) fn prove(&mut self, id: &Id<'_>, word: Word, now: Instant) {
        let starts = self.starts.get_mut(id.name).into_iter().flatten();
        starts.filter(|start| word == Word::Own && start.is(id)).for_each(|start| {
            start.proven.get_or_insert(now);
        });
    }

    /// Takes a node up: this one, or one that the engine has.
    pub(super) fn push(&mut self, id: &Id<'_>) {
        let start = Start {
            generation: id.generation,
            address: id.address,
            kept: Kept::default(),
            waiting: PATIENCE,
            looked: self.looks,
            proven: None,
        };
        match self.starts.get_mut(id.name) {
            Some(starts) => starts.push(start),
            None => {
                self.starts.insert(id.name.into(), vec![start]);
            }
        }
        self.count += 1;
        self.digest += id.digest_len();
    }

    /// How many of a node's entries there is room for, by what they weigh: as many from the first on as leave the node within
    /// the limits. With `anew` they take the place of all that is stored.
    pub(super) fn take(&mut self, id: &Id<'_>, anew: bool, entries: impl Iterator<Item = Weight>) -> usize {
        let starts = self.starts.get_mut(id.name);
        let Some(start) = starts.and_then(|starts| starts.iter_mut().find(|start| start.is(id))) else {
            return 0;
        };
        let others = self.bytes.saturating_sub(start.kept.all_bytes());
        let mut kept = if anew { Kept::default() } else { start.kept };
        let mut taken = 0;
        for (weight, count) in entries.zip(1..) {
            kept.put(weight.reserved, weight.old, weight.new);
            // Within a message a value may meet one that a later entry replaces.
            if kept.is_taken(&self.limits) && others + kept.all_bytes() <= self.limits.total_bytes {
                (start.kept, taken) = (kept, count);
            }
        }
        self.bytes = others + start.kept.all_bytes();
        taken
    }

    /// Takes up what the engine keeps: nodes with what they weigh. Tells whether another node is there, or one less.
    pub(super) fn refresh(&mut self, kept: &[(NodeInfo, Kept)]) -> bool {
        self.looks = self.looks.wrapping_add(1);
        let (looks, before) = (self.looks, self.count);
        let mut changed = false;
        for (node, kept) in kept {
            let id = Id { name: &node.id.name, generation: node.id.generation, address: node.id.address };
            if !self.contains(&id) {
                self.push(&id);
                changed = true;
            }
            let starts = self.starts.get_mut(id.name).into_iter().flatten();
            starts.filter(|start| start.is(&id)).for_each(|start| {
                (start.kept, start.waiting, start.looked) = (*kept, 0, looks);
            });
        }
        (self.count, self.digest, self.bytes) = (0, 0, 0);
        self.starts.retain(|name, starts| {
            starts.retain_mut(|start| {
                let stays = start.looked == looks || start.waiting > 0;
                start.waiting = start.waiting.saturating_sub(1);
                stays
            });
            for start in &*starts {
                let id = Id { name, generation: start.generation, address: start.address };
                self.count += 1;
                self.digest += id.digest_len();
                self.bytes += start.kept.all_bytes();
            }
            !starts.is_empty()
        });
        changed || self.count != before
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::NodeId;
    use super::*;
    use crate::shared::Size;

    fn id(name: &str, generation: u64) -> Id<'_> {
        Id { name, generation, address: ([10, 0, 0, 1], 7400).into() }
    }

    #[test]
    fn others_tell_of_so_many_starts_of_a_name_and_a_node_itself_of_more() {
        let (mut known, start) = (Known::new(Limits::default()), Instant::now());
        let told = |known: &mut Known, from: u64| {
            (from..from + 100).filter(|generation| known.insert(&id("a", *generation), Word::Another, start)).count()
        };
        assert_eq!(told(&mut known, 0), STARTS_TOLD);
        assert!(known.insert(&id("b", 1), Word::Another, start), "another name has places of its own");
        // One that others have told of may speak itself later, and takes none of their places then.
        known.prove(&id("a", 0), Word::Another, start);
        assert_eq!(told(&mut known, 200), 0);
        known.prove(&id("a", 0), Word::Own, start);
        assert_eq!(told(&mut known, 200), 1);
        let own = |known: &mut Known, from: u64, at: Instant| {
            (from..from + 100).filter(|generation| known.insert(&id("a", *generation), Word::Own, at)).count()
        };
        assert_eq!(own(&mut known, 1_000, start), STARTS_PROVEN - 1);
        let almost = start + RESPITE - std::time::Duration::from_millis(1);
        assert_eq!(own(&mut known, 2_000, almost), 0);
        assert_eq!(own(&mut known, 2_000, start + RESPITE), 1);
    }

    #[test]
    fn what_others_tell_leaves_places_for_those_that_speak_themselves() {
        let limits = Limits { nodes: 80, ..Limits::default() };
        let (mut known, start) = (Known::new(limits), Instant::now());
        let names: Vec<String> = (0..200).map(|number| format!("node-{number}")).collect();
        let further = (0..20).flat_map(|generation| names[..10].iter().map(move |name| id(name, generation)));
        assert_eq!(further.filter(|id| known.insert(id, Word::Another, start)).count(), 10 + 40);
        let first = names[10..].iter().map(|name| id(name, 1));
        assert_eq!(first.filter(|id| known.insert(id, Word::Another, start)).count(), 20);
        assert_eq!(known.count(), 70);
        // Of this node's own earlier starts there is room for some more, and not for all that are told.
        let of_this = (100..200).map(|generation| id("node-0", generation));
        assert_eq!(of_this.filter(|id| known.insert(id, Word::OfThis, start)).count(), 5);
        let own = names[100..].iter().map(|name| id(name, 1));
        assert_eq!(own.filter(|id| known.insert(id, Word::Own, start)).count(), 5);
        // Of many nodes all may be there, and this node's own earlier starts beside them.
        let mut known = Known::new(limits);
        let all = names[..70].iter().map(|name| id(name, 1));
        assert_eq!(all.filter(|id| known.insert(id, Word::Another, start)).count(), 70);
        assert!(known.insert(&id("node-0", 0), Word::OfThis, start));
    }

    #[test]
    fn a_node_of_many_that_started_often_hears_of_its_own_earlier_starts() {
        let (mut known, start) = (Known::new(Limits::default()), Instant::now());
        let names: Vec<String> = (0..150).map(|number| format!("node-{number:03}")).collect();
        let told = (0..4).flat_map(|generation| names.iter().map(move |name| id(name, generation)));
        assert_eq!(
            told.filter(|id| known.insert(id, Word::Another, start)).count(),
            150 + 400,
            "half are further starts"
        );
        // Three of them are known, of which one stands for what it is now.
        let of_this = (10..200).map(|generation| id("node-149", generation));
        assert_eq!(of_this.filter(|id| known.insert(id, Word::OfThis, start)).count(), STARTS_OF_THIS - 2);
    }

    #[test]
    fn nodes_are_taken_up_as_long_as_a_digest_has_room_for_their_names() {
        let (limits, start) = (Limits { nodes: 2_000, ..Limits::default() }, Instant::now());
        let names: Vec<String> = (0..1_200).map(|number| format!("{number:04}")).collect();
        let room = DIGEST_MAX - 128;
        for (word, room) in [(Word::Own, room), (Word::OfThis, room - room / 16), (Word::Another, room - room / 8)] {
            let mut known = Known::new(limits);
            let taken = names.iter().take_while(|name| known.insert(&id(name, 1), word, start)).count();
            assert_eq!(taken, room / id("0000", 1).digest_len(), "{word:?}");
        }
        // To the last byte, and as much after a look at the engine.
        let mut known = Known::new(limits);
        let most = room / id("0000", 1).digest_len() - 1;
        assert!(names[..most].iter().all(|name| known.insert(&id(name, 1), Word::Own, start)));
        let left = "x".repeat(room - most * id("0000", 1).digest_len() - id("", 1).digest_len());
        for _ in 0..2 {
            assert!(!known.insert(&id(&format!("{left}x"), 1), Word::Own, start));
            assert!(!known.refresh(&[]));
        }
        assert!(known.insert(&id(&left, 1), Word::Own, start));
    }

    /// Entries of keys that are not there yet, of so many bytes.
    fn take(known: &mut Known, name: &str, anew: bool, entries: &[usize]) -> usize {
        let weights = entries.iter().map(|new| Weight { reserved: false, old: None, new: *new });
        known.take(&id(name, 1), anew, weights)
    }

    #[test]
    fn what_is_kept_of_all_nodes_is_bounded_together() {
        let (mut known, start) =
            (Known::new(Limits { keys: 3, total_bytes: 100, ..Limits::default() }), Instant::now());
        assert!(["a", "b"].iter().all(|name| known.insert(&id(name, 1), Word::Another, start)));
        assert_eq!(take(&mut known, "a", false, &[60]), 1);
        assert_eq!(take(&mut known, "b", false, &[41]), 0);
        assert_eq!(take(&mut known, "b", false, &[20, 20, 1]), 2);
        assert_eq!(take(&mut known, "a", false, &[1]), 0);
        // What comes anew takes the place of what was there.
        assert_eq!(take(&mut known, "b", true, &[30]), 1);
        assert_eq!(take(&mut known, "a", false, &[11]), 0);
        assert_eq!(take(&mut known, "a", false, &[10]), 1);
        // A node has its own limits beside, and one that is not known has no room.
        assert_eq!(take(&mut known, "a", true, &[1; 5]), 3);
        assert_eq!(take(&mut known, "c", false, &[1]), 0);
        // What is too much within a message passes where a later entry of it replaces it.
        let weights = [(None, 99), (Some(99), 9)].map(|(old, new)| Weight { reserved: false, old, new });
        assert_eq!(known.take(&id("b", 1), true, weights.into_iter()), 2);
    }

    /// What the engine keeps of a node.
    fn kept(name: &str, bytes: usize) -> (NodeInfo, Kept) {
        let id = NodeId { name: name.into(), generation: 1, address: ([10, 0, 0, 1], 7400).into() };
        let kept = Kept { keys: Size { keys: 1, bytes }, ..Kept::default() };
        (NodeInfo { id, heartbeat: 1, version: 1, cleared: 0 }, kept)
    }

    #[test]
    fn what_the_engine_keeps_is_known_and_what_it_does_not_take_is_forgotten() {
        let (mut known, start) = (Known::new(Limits { total_bytes: 100, ..Limits::default() }), Instant::now());
        assert!(known.insert(&id("a", 1), Word::Another, start));
        let knows = |known: &Known| ["a", "b", "c"].map(|name| known.contains(&id(name, 1)));
        assert!(known.refresh(&[kept("b", 70)]));
        assert_eq!((knows(&known), known.count()), ([true, true, false], 2));
        assert_eq!(take(&mut known, "a", false, &[31]), 0);
        assert_eq!(take(&mut known, "a", false, &[30]), 1);
        // The engine may still have to see the message that told of it.
        for _ in 1..PATIENCE {
            assert!(!known.refresh(&[kept("b", 70)]));
            assert_eq!((knows(&known), known.count()), ([true, true, false], 2));
            assert_eq!(take(&mut known, "b", false, &[1]), 0);
        }
        assert!(known.refresh(&[kept("b", 70)]));
        assert_eq!((knows(&known), known.count()), ([false, true, false], 1));
        assert_eq!(take(&mut known, "b", false, &[30]), 1);
        // What was there once is not waited for; another in its place is a change, too.
        assert!(known.refresh(&[kept("c", 1)]));
        assert_eq!((knows(&known), known.count()), ([false, false, true], 1));
    }
}
