//! Looks at the state five times in an interval and tells what became of members and keys.
//!
//! It owns what was seen at the last look. It must never hold the state between two looks.

mod rows;
mod takeover;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use self::takeover::Cover;
use self::takeover::TakeOver;
use crate::attributes::{Attributes, LEFT, READY, RESERVED};
use crate::detector::{Life, asked, doubt, patience};
use crate::engine::{Kept, NodeId, NodeInfo, Store};
use crate::member::{Row, Table};
use crate::shared::Shared;
use crate::subscription::KeyEvent;
use crate::value::Envelope;

/// Looks in an interval.
const LOOKS: u32 = 5;
/// Looks after which what is kept is counted anew.
const RECKON: u32 = 2;
/// Intervals between two times that this node tells all of its keys again.
const REST: u32 = 10;
/// Nodes seen for the first time that are spoken to at once, in a look.
const GREETINGS: usize = 3;

/// What was seen.
pub(crate) struct Observer {
    shared: Arc<Shared>,
    tables: watch::Sender<Table>,
    nodes: BTreeMap<NodeId, Seen>,
    take_over: TakeOver,
    /// When this node last told all of its keys again.
    outrun: Option<Instant>,
    /// Looks so far.
    looks: u32,
}

/// What was seen of one start of a node.
struct Seen {
    life: Life,
    alive: bool,
    first: Instant,
    version: u64,
    cleared: u64,
    attributes: Attributes,
    left: bool,
    cover: Cover,
    kept: Kept,
    /// When the node's keys were looked at, and when the next of them ends; 0 is never.
    looked: u64,
    next_end: u64,
}

impl Seen {
    fn new(info: &NodeInfo, now: Instant) -> Self {
        Self {
            life: Life::new(info.heartbeat),
            alive: false,
            first: now,
            version: 0,
            cleared: 0,
            attributes: Attributes::default(),
            left: false,
            cover: Cover::default(),
            kept: Kept::default(),
            looked: 0,
            next_end: 0,
        }
    }
}

/// A key of a node that changed.
struct Changed {
    id: NodeId,
    key: String,
}

/// What one look found, for what needs no state.
#[derive(Default)]
struct Found {
    greet: Vec<SocketAddr>,
    /// Where nodes are that have been silent for long: an answer shows that they live.
    doubted: Vec<SocketAddr>,
    /// The new table, unless nothing happened that shows in it.
    table: Option<Table>,
}

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>, tables: watch::Sender<Table>) -> Self {
        let take_over = TakeOver::new(&shared.own, shared.keep_keys, Instant::now());
        Self { shared, tables, nodes: BTreeMap::new(), take_over, outrun: None, looks: 0 }
    }

    /// Looks until the rounds end.
    pub(crate) async fn run(mut self) {
        let mut looks = tokio::time::interval(self.shared.interval / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stopped = self.shared.engine.stopped();
        loop {
            tokio::select! {
                _ = looks.tick() => self.look().await,
                () = &mut stopped => break,
            }
        }
        self.shared.running.store(false, Ordering::Release);
        self.shared.subscribers().close();
    }

    async fn look(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(found) = shared.engine.with(|store| self.look_at(store)).await else {
            return;
        };
        let asked = asked(found.doubted, self.looks as usize);
        for address in found.greet.into_iter().chain(asked) {
            shared.engine.gossip(address);
        }
        if let Some(new) = found.table {
            self.tables.send_if_modified(|table| {
                let changed = **table != *new;
                if changed {
                    *table = new;
                }
                changed
            });
        }
    }

    fn look_at(&mut self, store: &mut dyn Store) -> Found {
        let (now, time) = (Instant::now(), self.shared.clock.now());
        let mut found = Found::default();
        self.looks = self.looks.wrapping_add(1);
        let count = self.nodes.len();
        let retired = self.shared.gate.take_retired();
        retired.iter().for_each(|name| self.retire(store, name));
        self.outrun(store, now);
        let taken_over = self.take_over(store, now, time);
        let infos = store.nodes();
        // The engine has them in the same order.
        self.nodes.retain(|id, _| infos.binary_search_by(|info| info.id.cmp(id)).is_ok());
        let mut news = taken_over || !retired.is_empty() || self.nodes.len() != count;
        let mut changes = Vec::new();
        for info in &infos {
            news |= self.look_at_node(store, info, (now, time), &mut changes, &mut found);
        }
        // What only time or the links change is looked for once in an interval.
        if news || self.looks.is_multiple_of(LOOKS) {
            let table = Arc::new(self.rows(now));
            self.tell(store, &table, &changes, time);
            found.table = Some(table);
        }
        if let Some(own) = self.nodes.get(&self.shared.own) {
            *self.shared.size() = own.kept.keys;
        }
        // While the engine is held, so that no message comes between: its entries would be counted for nothing.
        if self.looks.is_multiple_of(RECKON) {
            let kept = |info: NodeInfo| {
                let kept = self.nodes.get(&info.id).map(|seen| seen.kept).unwrap_or_default();
                (info, kept)
            };
            self.shared.gate.refresh(&infos.into_iter().map(kept).collect::<Vec<_>>());
        }
        found
    }

    /// Looks at one start of a node, and tells whether something is new that shows.
    fn look_at_node(
        &mut self,
        store: &mut dyn Store,
        info: &NodeInfo,
        (now, time): (Instant, u64),
        changes: &mut Vec<Changed>,
        found: &mut Found,
    ) -> bool {
        let own = info.id == self.shared.own;
        if !own && !self.nodes.contains_key(&info.id) && found.greet.len() < GREETINGS {
            found.greet.push(info.id.address);
        }
        let seen = self.nodes.entry(info.id.clone()).or_insert_with(|| Seen::new(info, now));
        let was_alive = seen.alive;
        let heard = self.shared.gate.heard(&info.id).filter(|heard| *heard >= seen.first);
        seen.alive = own || seen.life.look(info.heartbeat, heard, now, patience(self.shared.interval));
        if !own && !seen.left && seen.life.is_doubted(now, doubt(self.shared.interval)) {
            found.doubted.push(info.id.address);
        }
        let ended = seen.next_end > 0 && seen.next_end <= time;
        if (info.version, info.cleared) == (seen.version, seen.cleared) && !ended {
            return seen.alive != was_alive;
        }
        let replaced = seen.version > 0 && info.cleared > seen.version;
        if replaced {
            let event = KeyEvent::Gone { node: info.id.name.to_string() };
            self.shared.subscribers().tell(None, &event);
            seen.version = 0;
        }
        seen.scan(store, info, time, changes);
        if own && ended {
            end_own(store, &info.id, time);
        }
        true
    }

    /// Goes on above what members believe of this node that is not so: else they would take what is so for old.
    fn outrun(&mut self, store: &mut dyn Store, now: Instant) {
        let told = self.shared.gate.take_overtaken();
        // Whoever tells such things on and on makes this node tell its keys no oftener than this.
        let rests = self.outrun.is_some_and(|last| now.saturating_duration_since(last) < self.shared.interval * REST);
        let version = if rests { 0 } else { told.version };
        if version > 0 {
            self.outrun = Some(now);
        }
        if told.heartbeat > 0 || version > 0 {
            store.outrun(told.heartbeat, version);
        }
    }

    /// Forgets a retired name: its keys at once, its member with the next table.
    fn retire(&self, store: &mut dyn Store, name: &str) {
        let starts = store.nodes().into_iter().filter(|info| &*info.id.name == name && info.id != self.shared.own);
        for info in starts {
            store.clear(&info.id);
        }
    }
}

impl Seen {
    /// Reads a node's keys, and notes those that changed or ended since the last time.
    fn scan(&mut self, store: &dyn Store, info: &NodeInfo, time: u64, changes: &mut Vec<Changed>) {
        let (since, looked) = (self.version, self.looked);
        (self.attributes, self.kept, self.next_end) = (Attributes::default(), Kept::default(), 0);
        // What somebody has made up goes when the node tells its keys anew.
        (self.left, self.cover) = (false, Cover::default());
        store.each(&info.id, &mut |key, stored| {
            self.kept.put(key.starts_with(RESERVED), None, key.len() + stored.text.len());
            if key.starts_with(RESERVED) {
                self.attributes.take(key, stored.text);
                self.left |= key == LEFT && !stored.deleted;
                if key == READY && !stored.deleted {
                    self.cover = Cover::read(stored.text);
                }
                return;
            }
            let end = if stored.deleted { 0 } else { Envelope::read(stored.text).map_or(0, |value| value.expires) };
            if end > time && (self.next_end == 0 || end < self.next_end) {
                self.next_end = end;
            }
            if stored.version > since || (end > looked && end <= time) {
                changes.push(Changed { id: info.id.clone(), key: key.to_owned() });
            }
        });
        (self.version, self.cleared, self.looked) = (info.version, info.cleared, time);
    }
}

/// Deletes this node's keys whose time is over, so that others forget them, too.
fn end_own(store: &mut dyn Store, own: &NodeId, time: u64) {
    let mut over = Vec::new();
    store.each(own, &mut |key, stored| {
        let ended = || Envelope::read(stored.text).is_some_and(|value| value.is_over(time));
        if !stored.deleted && !key.starts_with(RESERVED) && ended() {
            over.push(key.to_owned());
        }
    });
    for key in over {
        store.delete(&key);
    }
}

/// The starts whose keys a member shows.
fn shown(row: Option<&Row>) -> impl Iterator<Item = (&NodeId, u64)> {
    let earlier = row.into_iter().flat_map(|row| &row.earlier).map(|start| (&start.id, start.after));
    row.into_iter().map(|row| (&row.id, 0)).chain(earlier)
}
