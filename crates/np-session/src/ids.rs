//! Which stream an id on the wire names: a small open table, since each call enters it and leaves it.

use crate::StreamKey;

/// Places of the smallest table, and of one that is kept when its streams have gone: 4 KiB.
const LEAST: usize = 16;
const KEPT: usize = 256;
/// No id: wire ids have at most 62 bits.
const NONE: u64 = u64::MAX;

/// Streams by their ids: linear probing, at most half full. Ids are counters that their opener cannot choose, so mixing
/// by one multiplication is enough.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// A power of two, or none.
    places: Vec<(u64, StreamKey)>,
    used: usize,
}

impl Ids {
    pub(crate) fn find(&self, id: u64) -> Option<StreamKey> {
        self.place(id).and_then(|at| self.places.get(at)).map(|(_, key)| *key)
    }

    /// Names a stream; an id that was there names the new one.
    pub(crate) fn insert(&mut self, id: u64, key: StreamKey) {
        if self.used * 2 >= self.places.len() {
            self.resize((self.places.len() * 2).max(LEAST));
        }
        self.put(id, key);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        let Some(at) = self.place(id) else {
            return;
        };
        self.used -= 1;
        self.close_gap(at);
        if self.places.len() > KEPT && self.used * 16 < self.places.len() {
            // What a burst needed is given back.
            self.resize((self.places.len() / 4).max(KEPT));
        }
    }

    /// Moves those behind a gap that would not be found past it.
    fn close_gap(&mut self, mut gap: usize) {
        let mut at = gap;
        loop {
            at = self.after(at);
            let entry = self.places.get(at).copied().filter(|(id, _)| *id != NONE);
            let Some(entry) = entry else {
                break;
            };
            // How far it stands behind its home, and behind the gap.
            let mask = self.places.len() - 1;
            if at.wrapping_sub(self.home(entry.0)) & mask >= at.wrapping_sub(gap) & mask {
                self.set(gap, entry);
                gap = at;
            }
        }
        self.set(gap, (NONE, StreamKey::NONE));
    }

    /// Where an id stands.
    fn place(&self, id: u64) -> Option<usize> {
        let mut at = self.home(id);
        // At least one place is free, so this comes to an end.
        loop {
            match self.places.get(at) {
                Some((found, _)) if *found == id => return Some(at),
                Some((NONE, _)) | None => return None,
                Some(_) => at = self.after(at),
            }
        }
    }

    fn put(&mut self, id: u64, key: StreamKey) {
        let mut at = self.home(id);
        while self.places.get(at).is_some_and(|(found, _)| *found != NONE && *found != id) {
            at = self.after(at);
        }
        self.used += usize::from(self.places.get(at).is_some_and(|(found, _)| *found == NONE));
        self.set(at, (id, key));
    }

    fn resize(&mut self, size: usize) {
        let before = std::mem::replace(&mut self.places, vec![(NONE, StreamKey::NONE); size]);
        self.used = 0;
        before.into_iter().filter(|(id, _)| *id != NONE).for_each(|(id, key)| self.put(id, key));
    }

    fn set(&mut self, at: usize, entry: (u64, StreamKey)) {
        if let Some(place) = self.places.get_mut(at) {
            *place = entry;
        }
    }

    const fn home(&self, id: u64) -> usize {
        (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.places.len().wrapping_sub(1)
    }

    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use np_wire::{Side, StreamId};
    use proptest::prelude::*;

    use super::{Ids, KEPT};
    use crate::StreamKey;

    proptest! {
        #[test]
        fn it_agrees_with_a_map(acts in prop::collection::vec((any::<bool>(), 0u64..64), 0..400)) {
            let (mut ids, mut map, mut slots) = (Ids::default(), HashMap::new(), crate::table::tests::keys());
            for (insert, id) in acts {
                if insert {
                    let key = slots.next().unwrap();
                    ids.insert(id, key);
                    map.insert(id, key);
                } else {
                    ids.remove(id);
                    map.remove(&id);
                }
                for id in 0..64 {
                    prop_assert_eq!(ids.find(id), map.get(&id).copied());
                }
            }
        }
    }

    #[test]
    fn what_a_burst_needed_is_given_back() {
        let mut ids = Ids::default();
        assert_eq!(ids.places.len(), 0);
        (0..10_000).for_each(|id| ids.insert(id, StreamKey::NONE));
        assert!(ids.places.len() >= 20_000);
        (0..10_000).for_each(|id| ids.remove(id));
        assert_eq!((ids.used, ids.places.len()), (0, KEPT));
    }

    /// Ids count up, and half as many in a row as there are places have a home each: they are found at the first look.
    #[test]
    fn ids_of_a_half_full_table_stand_at_their_homes() {
        for first in [0, 1_000, 1 << 40] {
            let wire = || (first..first + 512).map(|index| StreamId::new(Side::Initiator, index).to_wire());
            let mut ids = Ids::default();
            wire().for_each(|id| ids.insert(id, StreamKey::NONE));
            assert_eq!((ids.used, ids.places.len()), (512, 1_024));
            let behind = wire().map(|id| ids.place(id).unwrap().wrapping_sub(ids.home(id)) & 1_023);
            assert_eq!(behind.max(), Some(0), "{first}");
        }
    }
}
