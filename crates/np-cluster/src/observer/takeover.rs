//! How a node that started again takes over the keys of its earlier start, which the others have kept for it.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::Observer;
use crate::attributes::{READY, RESERVED};
use crate::engine::{NodeInfo, Store};
use crate::shared::Size;
use crate::value::Envelope;

/// Intervals after the first word of another in which more is waited for: one may know more than the next.
const LISTEN: u32 = 3;
/// Intervals after which what has come is taken, whole or not: a member may tell of a version that nobody has.
const GIVE_UP: u32 = 15;

impl Observer {
    /// Takes over what is there once it is whole. Tells whether it is done; till then others show the earlier keys beside the
    /// new ones.
    pub(super) fn take_over(&self, store: &mut dyn Store, now: Instant, time: u64) -> bool {
        let told = self.shared.gate.told();
        let Some(first) = told.first else {
            return false;
        };
        let waited = now.saturating_duration_since(first);
        if waited < self.shared.interval * LISTEN {
            return false;
        }
        let own = &self.shared.own;
        let mut earlier: Vec<NodeInfo> =
            store.nodes().into_iter().filter(|info| info.id.name == own.name && info.id != *own).collect();
        earlier.sort_by_key(|info| std::cmp::Reverse(info.id.generation));
        let is_whole = |(start, version): &(u64, u64)| {
            earlier.iter().any(|info| info.id.generation == *start && info.version >= *version)
        };
        if !told.earlier.last().is_none_or(is_whole) && waited < self.shared.interval * GIVE_UP {
            return false;
        }
        for (key, text) in self.collect(store, &earlier, time) {
            store.set(&key, &text);
        }
        store.set(READY, "1");
        true
    }

    /// The keys to take over: of the latest start that has them, down to the one that had all.
    fn collect(&self, store: &dyn Store, earlier: &[NodeInfo], time: u64) -> Vec<(String, String)> {
        let own = &self.shared.own;
        let (mut taken, mut known) = (Vec::new(), BTreeSet::new());
        let mut size = Size::default();
        store.each(own, &mut |key, stored| size = size.after(None, key.len() + stored.text.len()));
        for info in earlier {
            store.each(&info.id, &mut |key, stored| {
                let new = !key.starts_with(RESERVED) && store.get(own, key).is_none() && known.insert(key.to_owned());
                let lives = || Envelope::read(stored.text).is_some_and(|value| !value.is_over(time));
                if !new || stored.deleted || !lives() {
                    return;
                }
                let larger = size.after(None, key.len() + stored.text.len());
                if larger.fits(&self.shared.limits) {
                    size = larger;
                    taken.push((key.to_owned(), stored.text.to_owned()));
                }
            });
            if store.get(&info.id, READY).is_some() {
                break;
            }
        }
        taken
    }
}
