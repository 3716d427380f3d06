//! Keys and values: what this node writes, and what it reads of all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Cluster;
use crate::attributes::RESERVED;
use crate::clock::millis;
use crate::engine::Store;
use crate::engine::gate::is_key;
use crate::error::ClusterError;
use crate::limits::ENTRY_MAX;
use crate::member::{Row, Table};
use crate::shared::{Shared, find};
use crate::signing::SigningKey;
use crate::subscription::{KeyEvent, Subscription};
use crate::value::{Envelope, Place, Value};

/// The keys of all nodes at one time: by node, then by key.
pub type Snapshot = BTreeMap<String, BTreeMap<String, Value>>;

impl Cluster {
    /// Sets a key of this node. Its value is signed where the configuration has a key for that
    /// ([`sign_by`](crate::ClusterConfig::sign_by)).
    ///
    /// ```
    /// # async fn example(cluster: &np_cluster::Cluster) {
    /// use np_cluster::ClusterError;
    /// let refused = cluster.set("large", &"x".repeat(40_000)).await;
    /// assert!(matches!(refused, Err(ClusterError::EntrySize(_))));
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the key is none or kept for np, when key and value have more than 32 KiB, when the node has as many keys or bytes
    /// as it may, or is no member any more.
    pub async fn set(&self, key: &str, value: &str) -> Result<(), ClusterError> {
        self.put(key, Envelope { text: value, expires: 0, signed: None }, None).await
    }

    /// Sets a key of this node that ends after a time, also when the node has failed by then. The end is a time of day by this
    /// node's clock.
    ///
    /// # Errors
    /// As [`Self::set`], and when the time is zero.
    pub async fn set_for(&self, key: &str, value: &str, time: Duration) -> Result<(), ClusterError> {
        self.put(key, Envelope { text: value, expires: self.end_after(time)?, signed: None }, None).await
    }

    /// Sets a key of this node and signs its value, so that readers can tell that no member in between has made it up.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub async fn set_signed(&self, key: &str, value: &str, by: &SigningKey) -> Result<(), ClusterError> {
        self.put(key, Envelope { text: value, expires: 0, signed: None }, Some(by)).await
    }

    /// Sets a key of this node that ends after a time, and signs both value and end.
    ///
    /// # Errors
    /// As [`Self::set_for`].
    pub async fn set_signed_for(
        &self,
        key: &str,
        value: &str,
        time: Duration,
        by: &SigningKey,
    ) -> Result<(), ClusterError> {
        self.put(key, Envelope { text: value, expires: self.end_after(time)?, signed: None }, Some(by)).await
    }

    /// Deletes a key of this node. It tells whether there was one.
    ///
    /// # Errors
    /// When the key is none or kept for np, or the node is no member any more.
    pub async fn delete(&self, key: &str) -> Result<bool, ClusterError> {
        check_key(key)?;
        let shared = &self.inner.shared;
        let earlier = self.row_of(self.name()).map(|row| row.earlier).unwrap_or_default();
        self.write(|store| {
            let is_there = find(store, &shared.own, &earlier, key).is_some_and(|stored| !stored.deleted);
            if !is_there {
                return Ok(false);
            }
            // A key of an earlier start that was not taken over yet needs a mark that it is gone.
            if store.get(&shared.own, key).is_none() {
                store.set(key, "\n");
            }
            let old = store.get(&shared.own, key).map(|stored| key.len() + stored.text.len());
            store.delete(key);
            let mut size = shared.size();
            *size = size.after(old, key.len());
            Ok(true)
        })
        .await
    }

    /// What a node has for a key.
    pub async fn get(&self, node: &str, key: &str) -> Option<Value> {
        let (shared, row) = (&self.inner.shared, self.row_of(node)?);
        let now = shared.clock.now();
        shared.engine.with(|store| shared.value(store, &row, key, now)).await.flatten()
    }

    /// What every node has for a key, by the nodes' names. A node without it is not listed; one that failed is, until it is
    /// forgotten.
    pub async fn get_all(&self, key: &str) -> Vec<(String, Value)> {
        let (shared, table) = (&self.inner.shared, self.table());
        let now = shared.clock.now();
        let all = shared.engine.with(|store| {
            let values = table
                .values()
                .filter_map(|row| shared.value(store, row, key, now).map(|value| (row.member.name.clone(), value)));
            values.collect()
        });
        all.await.unwrap_or_default()
    }

    /// Every key of every node at one time.
    pub async fn snapshot(&self) -> Snapshot {
        let (shared, table) = (&self.inner.shared, self.table());
        shared.engine.with(|store| read_all(shared, store, &table, "")).await.unwrap_or_default()
    }

    /// Tells what happens to keys that begin so, from those that are there on.
    ///
    /// # Errors
    /// When the node is no member any more.
    pub async fn subscribe(&self, prefix: &str) -> Result<Subscription, ClusterError> {
        let (shared, table) = (&self.inner.shared, self.table());
        self.write(|store| {
            let mut initial = VecDeque::new();
            for (node, keys) in read_all(shared, store, &table, prefix) {
                let event = |(key, value)| KeyEvent::Set { node: node.clone(), key, value };
                initial.extend(keys.into_iter().map(event));
            }
            Ok(shared.subscribers().add(prefix, initial))
        })
        .await
    }

    async fn put(&self, key: &str, value: Envelope<'_>, by: Option<&SigningKey>) -> Result<(), ClusterError> {
        check_key(key)?;
        let size = key.len() + value.text.len();
        if size > ENTRY_MAX {
            return Err(ClusterError::EntrySize(size));
        }
        let shared = &self.inner.shared;
        let place = Place { cluster: &shared.cluster, node: &shared.own.name, key };
        let by = by.or(shared.signing.as_ref());
        let signed = by.map_or(value, |by| value.sign(by, place, shared.clock.now()));
        let text = signed.write();
        self.write(|store| {
            let old = store.get(&shared.own, key).map(|stored| key.len() + stored.text.len());
            let mut size = shared.size();
            let after = size.after(old, key.len() + text.len());
            let limits = &shared.limits;
            if after.keys > limits.keys {
                return Err(ClusterError::Keys { limit: limits.keys });
            }
            if after.bytes > limits.bytes {
                return Err(ClusterError::Bytes { limit: limits.bytes });
            }
            *size = after;
            drop(size);
            store.set(key, &text);
            Ok(())
        })
        .await
    }

    /// Changes the state, unless the rounds have ended.
    pub(super) async fn write<R: Send>(
        &self,
        change: impl FnOnce(&mut dyn Store) -> Result<R, ClusterError> + Send,
    ) -> Result<R, ClusterError> {
        let shared = &self.inner.shared;
        if !shared.running.load(Ordering::Acquire) {
            return Err(ClusterError::Stopped);
        }
        shared.engine.with(change).await.unwrap_or(Err(ClusterError::Stopped))
    }

    fn end_after(&self, time: Duration) -> Result<u64, ClusterError> {
        match millis(time) {
            0 => Err(ClusterError::TimeToLive),
            time => Ok(self.inner.shared.clock.now().saturating_add(time)),
        }
    }

    fn table(&self) -> Table {
        Table::clone(&self.inner.tables.borrow())
    }

    fn row_of(&self, node: &str) -> Option<Row> {
        self.inner.tables.borrow().get(node).cloned()
    }
}

fn check_key(key: &str) -> Result<(), ClusterError> {
    if !is_key(key) {
        return Err(ClusterError::Key(key.chars().take(80).collect()));
    }
    if key.starts_with(RESERVED) {
        return Err(ClusterError::Reserved(key.to_owned()));
    }
    Ok(())
}

fn read_all(shared: &Shared, store: &dyn Store, table: &Table, prefix: &str) -> Snapshot {
    let now = shared.clock.now();
    let mut all = Snapshot::new();
    for row in table.values() {
        let mut keys = BTreeMap::new();
        let earlier = row.earlier.iter().rev().map(|start| (&start.id, start.after));
        for (id, after) in earlier.chain([(&row.id, 0)]) {
            store.each(id, &mut |key, stored| {
                if stored.version <= after || !key.starts_with(prefix) {
                    return;
                }
                match shared.open(&row.member.name, key, stored, now) {
                    Some(value) => keys.insert(key.to_owned(), value),
                    None => keys.remove(key),
                };
            });
        }
        all.insert(row.member.name.clone(), keys);
    }
    all
}
