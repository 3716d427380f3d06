//! Members out of what was seen, and the events of keys. It must never change the state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Changed, Observer, Seen, shown};
use crate::detector::patience;
use crate::engine::{NodeId, Store};
use crate::member::{Member, MemberState, Row, Table};
use crate::shared::{Earlier, find};
use crate::subscription::KeyEvent;

impl Observer {
    /// The member of each name.
    pub(super) fn rows(&self, now: Instant) -> BTreeMap<Arc<str>, Row> {
        let mut rows = BTreeMap::new();
        let mut starts: Vec<(&NodeId, &Seen)> = Vec::new();
        let mut nodes = self.nodes.iter().filter(|(id, _)| !self.shared.gate.is_retired(id)).peekable();
        while let Some((id, seen)) = nodes.next() {
            starts.push((id, seen));
            if nodes.peek().is_some_and(|(next, _)| next.name == id.name) {
                continue;
            }
            if let Some(row) = self.row(&starts, now) {
                rows.insert(Arc::clone(&id.name), row);
            }
            starts.clear();
        }
        rows
    }

    /// The member out of its starts, the earliest first.
    fn row(&self, starts: &[(&NodeId, &Seen)], now: Instant) -> Option<Row> {
        let own = starts.iter().find(|(id, _)| **id == self.shared.own);
        let shown = |(id, seen): &&(&NodeId, &Seen)| self.state_of(id, seen, now).is_some();
        let latest = || starts.iter().filter(shown).max_by_key(|(id, seen)| (seen.alive && !seen.left, id.generation));
        let (id, seen) = own.or_else(latest)?;
        let state = self.state_of(id, seen, now)?;
        let earlier = self.earlier(starts, (id, seen), now);
        let member = Member {
            name: id.name.to_string(),
            state,
            address: id.address,
            key: self.shared.links.key_of(&id.name),
            attributes: seen.attributes.clone(),
            generation: id.generation,
        };
        Some(Row { member, id: (*id).clone(), earlier })
    }

    /// The starts before this one of whose keys something is left that no later one has taken over.
    fn earlier(&self, starts: &[(&NodeId, &Seen)], (id, seen): (&NodeId, &Seen), now: Instant) -> Vec<Earlier> {
        // What this node has for itself is told by its own word, which may not have been looked at yet.
        let latest = if *id == self.shared.own { &self.take_over.cover } else { &seen.cover };
        let (mut covers, mut left) = (vec![latest], Vec::new());
        for (start, seen) in starts.iter().rev().filter(|(start, _)| start.generation < id.generation) {
            let after = covers.iter().map(|cover| cover.of(start.generation)).max().unwrap_or_default();
            let has_more = seen.version > after && seen.kept.keys.keys > 0;
            if has_more && Self::silent(seen, now) < self.shared.forget_after {
                left.push(Earlier { id: (*start).clone(), after });
            }
            covers.push(&seen.cover);
        }
        left
    }

    fn silent(seen: &Seen, now: Instant) -> Duration {
        now.saturating_duration_since(seen.life.last_sign().unwrap_or(seen.first))
    }

    /// Whether a node is shown, and as what. One that never gave a sign of life may be about to, or have failed before this
    /// node came.
    fn state_of(&self, id: &NodeId, seen: &Seen, now: Instant) -> Option<MemberState> {
        let silent = Self::silent(seen, now);
        if seen.left {
            return (silent < self.shared.forget_after).then_some(MemberState::Left);
        }
        if seen.alive || *id == self.shared.own {
            return Some(MemberState::Live);
        }
        let failed = seen.life.last_sign().is_some() || silent >= patience(self.shared.interval);
        (failed && silent < self.shared.forget_after).then_some(MemberState::Failed)
    }

    /// Tells what happened to keys since the last table.
    pub(super) fn tell(&self, store: &dyn Store, table: &Table, changes: &[Changed], time: u64) {
        let mut subscribers = self.shared.subscribers();
        subscribers.tidy();
        if subscribers.is_empty() {
            return;
        }
        let before = Arc::clone(&self.tables.borrow());
        let mut tell = |row: &Row, key: &str| {
            let node = row.member.name.clone();
            let event = match self.shared.value(store, row, key, time) {
                Some(value) => KeyEvent::Set { node, key: key.to_owned(), value },
                None => KeyEvent::Deleted { node, key: key.to_owned() },
            };
            subscribers.tell(Some(key), &event);
        };
        for Changed { id, key } in changes {
            if let Some(row) = table.get(&id.name).filter(|row| shown(Some(row)).any(|(shown, _)| shown == id)) {
                tell(row, key);
            }
        }
        for row in table.values() {
            let old = before.get(&row.id.name);
            // Starts that are shown now and were not, and the other way round.
            let came = shown(Some(row)).filter(|start| !shown(old).any(|old| old == *start));
            let went = shown(old).filter(|start| !shown(Some(row)).any(|new| new == *start));
            for (id, _) in came.chain(went) {
                keys(store, id).iter().filter(|key| differs(store, old, row, key)).for_each(|key| tell(row, key));
            }
        }
        for row in before.iter().filter(|(name, _)| !table.contains_key(*name)).map(|(_, row)| row) {
            subscribers.tell(None, &KeyEvent::Gone { node: row.member.name.clone() });
        }
    }
}

/// Whether a key is told differently by the member as it is and as it was.
fn differs(store: &dyn Store, old: Option<&Row>, new: &Row, key: &str) -> bool {
    let text =
        |row: &Row| find(store, &row.id, &row.earlier, key).filter(|stored| !stored.deleted).map(|stored| stored.text);
    old.and_then(text) != text(new)
}

/// The keys of a node that are not np's own.
fn keys(store: &dyn Store, id: &NodeId) -> Vec<String> {
    let mut keys = Vec::new();
    store.each(id, &mut |key, _| {
        if !key.starts_with(crate::attributes::RESERVED) {
            keys.push(key.to_owned());
        }
    });
    keys
}
