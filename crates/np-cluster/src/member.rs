//! Members as users see them, and what happens to them.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::Stream;
use tokio::sync::watch;

use crate::attributes::Attributes;
use crate::engine::NodeId;
use crate::shared::Earlier;

/// A node of the cluster.
///
/// ```
/// # fn example(cluster: &np_cluster::Cluster) {
/// for member in cluster.members() {
///     println!("{} {} {}", member.name, member.state, member.address);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Whether it lives.
    pub state: MemberState,
    /// Where others reach it.
    pub address: SocketAddr,
    /// The text of the public key that the links bound to its name; nothing while this node has met it through others alone.
    pub key: Option<String>,
    /// What it tells about itself.
    pub attributes: Attributes,
    /// When it started, in milliseconds since 1970 by its clock.
    pub generation: u64,
}

/// Whether a member lives.
///
/// ```
/// assert_eq!(np_cluster::MemberState::Failed.to_string(), "failed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberState {
    /// It was heard of within three intervals, or two and a half and half a second where that is more.
    Live,
    /// It was not.
    Failed,
    /// It said that it leaves.
    Left,
}

impl std::fmt::Display for MemberState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Failed => "failed",
            Self::Left => "left",
        })
    }
}

/// What happened to a member.
///
/// ```
/// # async fn example(cluster: &np_cluster::Cluster) {
/// let mut watch = cluster.watch();
/// while let Some(event) = watch.next().await {
///     println!("{event:?}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It is there, for the first time or again.
    Joined(Member),
    /// It left, or its key was taken off the list.
    Left(Member),
    /// It is silent.
    Failed(Member),
    /// It lives on, with another address, other attributes or a later start.
    Updated(Member),
}

/// A member and where its state is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) member: Member,
    /// Its latest start.
    pub(crate) id: NodeId,
    /// The starts before, the latest first, for keys that it has not taken over yet.
    pub(crate) earlier: Vec<Earlier>,
}

/// All members by name.
pub(crate) type Table = Arc<BTreeMap<Arc<str>, Row>>;

/// What happens to members, from those that are there when it is made on.
///
/// Whoever reads slowly misses what was over in between, and never that a member is gone or there.
///
/// ```
/// # async fn example(cluster: &np_cluster::Cluster) {
/// use np_cluster::Event;
/// let mut watch = cluster.watch();
/// assert!(matches!(watch.next().await, Some(Event::Joined(_))));
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    tables: watch::Receiver<Table>,
    seen: Table,
    waiting: VecDeque<Event>,
}

impl Watch {
    pub(crate) fn new(mut tables: watch::Receiver<Table>) -> Self {
        tables.mark_changed();
        Self { tables, seen: Table::default(), waiting: VecDeque::new() }
    }

    /// The next event; nothing once the node is no member any more. It may be dropped without loss.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            self.tables.changed().await.ok()?;
            let table = Arc::clone(&self.tables.borrow_and_update());
            self.waiting = compare(&self.seen, &table);
            self.seen = table;
        }
    }

    /// The same as a stream.
    ///
    /// ```
    /// # fn example(cluster: &np_cluster::Cluster) {
    /// let events = Box::pin(cluster.watch().into_stream());
    /// # drop(events);
    /// # }
    /// ```
    pub fn into_stream(self) -> impl Stream<Item = Event> + Send {
        futures_util::stream::unfold(self, |mut watch| async move { watch.next().await.map(|event| (event, watch)) })
    }
}

/// What happened between two tables.
fn compare(before: &Table, after: &Table) -> VecDeque<Event> {
    let mut events = VecDeque::new();
    for (name, row) in before.iter() {
        if row.member.state == MemberState::Live && !after.contains_key(name) {
            events.push_back(Event::Left(row.member.clone()));
        }
    }
    for (name, Row { member, .. }) in after.iter() {
        let old = before.get(name).map(|row| &row.member);
        let member = || member.clone();
        let was = old.map(|old| old.state);
        events.extend(match (was, member().state) {
            (Some(old_state), new_state) if old_state == new_state => {
                let same = old.is_some_and(|old| *old == member());
                (!same && new_state == MemberState::Live).then(|| Event::Updated(member()))
            }
            (_, MemberState::Live) => Some(Event::Joined(member())),
            (_, MemberState::Failed) => Some(Event::Failed(member())),
            (_, MemberState::Left) => Some(Event::Left(member())),
        });
    }
    events
}
