//! The methods by which others ask a node about its cluster. Must never answer whom the policy does not allow.

use std::sync::{Arc, Weak};
use std::time::Duration;

use np_facade::{
    CallContext, CallError, MessageStream, MethodOptions, Policy, RegisterError, Router, Status, Target, stream, typed,
    typed_async,
};

use tokio::time::{MissedTickBehavior, interval};

use super::{Cluster, Inner};
use crate::error::ClusterError;
use crate::member::Member;
use crate::remote::{Entry, GET, MEMBERS, Question, Row, SET, WATCH};
use crate::value::{Signature, Value};

/// All of them.
pub(crate) const METHODS: [&str; 4] = [MEMBERS, WATCH, SET, GET];

/// The bytes of one answer: as many as a node's own server takes itself in a message.
const ANSWER_MAX: usize = 1 << 20;

/// How often a watcher is looked at, whether it is still allowed.
const LOOK: Duration = Duration::from_secs(1);

/// A node that may have left since.
#[derive(Clone)]
struct Node {
    inner: Weak<Inner>,
    policy: Policy,
    /// Who may set keys.
    writers: Policy,
}

impl Node {
    /// The node, for whom the policy allows.
    fn open(&self, context: &CallContext) -> Result<Cluster, CallError> {
        if !self.policy.decide(context.peer()).is_allowed() {
            return Err(denied());
        }
        let gone = || CallError::answered(Status::Unavailable, "this node has left its cluster");
        self.inner.upgrade().map(|inner| Cluster { inner }).ok_or_else(gone)
    }
}

/// Adds the methods to a server's table.
pub(crate) fn offer(router: &Router, cluster: &Cluster, policy: Policy, writers: Policy) -> Result<(), RegisterError> {
    let node = Node { inner: Arc::downgrade(&cluster.inner), policy, writers };
    let (one, two, three, four) = (node.clone(), node.clone(), node.clone(), node);
    let members = typed(move |context, ()| Ok(rows(one.open(&context)?.members().iter())));
    let watch = stream(move |context, stream| watch(two.clone(), context, stream));
    let set = typed_async(move |context, pair: (String, String)| set(three.clone(), context, pair));
    let get = typed_async(move |context, question| get(four.clone(), context, question));
    let targets: [(&str, Target); 4] = [
        (MEMBERS, Target::Unary(Arc::new(members))),
        (WATCH, Target::Stream(Arc::new(watch))),
        (SET, Target::Unary(Arc::new(set))),
        (GET, Target::Unary(Arc::new(get))),
    ];
    targets.into_iter().try_for_each(|(name, target)| router.register_own(name, target, MethodOptions::default()))
}

fn denied() -> CallError {
    let text = "this peer may not ask this node about its cluster; the node's operator can allow its key";
    CallError::answered(Status::PermissionDenied, text)
}

fn no_writer() -> CallError {
    let text = "this peer may not set keys in the name of this node, though it may ask; its operator can allow the key by --control \
                (in a program: Peering::writers)";
    CallError::answered(Status::PermissionDenied, text)
}

/// The members as they travel: without their attributes, where those of all are too many for an answer.
fn rows<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<Row> {
    let rows: Vec<Row> = members.map(Row::of).collect();
    let fits = rows.iter().map(Row::size).sum::<usize>() <= ANSWER_MAX;
    if fits { rows } else { rows.into_iter().map(Row::plain).collect() }
}

/// Sends the table, and again whenever it has changed, for as long as the watcher is allowed.
async fn watch(node: Node, context: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let cluster = node.open(&context)?;
    let mut tables = cluster.inner.tables.clone();
    drop(cluster);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        if !node.policy.still_allows(context.peer()) {
            return Err(denied());
        }
        let now = rows(tables.borrow_and_update().values().map(|row| &row.member));
        if told.as_ref() != Some(&now) {
            stream.send_as(&now).await?;
            told = Some(now);
        }
        tokio::select! {
            changed = tables.changed() => if changed.is_err() {
                return stream.finish().await;
            },
            _ = looks.tick() => {}
        }
    }
}

async fn set(node: Node, context: CallContext, (key, value): (String, String)) -> Result<(), CallError> {
    let cluster = node.open(&context)?;
    if !node.writers.decide(context.peer()).is_allowed() {
        return Err(no_writer());
    }
    cluster.set(&key, &value).await.map_err(|error| told(&error))
}

async fn get(node: Node, context: CallContext, Question { key, node: of }: Question) -> Result<Vec<Entry>, CallError> {
    let cluster = node.open(&context)?;
    let found = match of {
        Some(of) => cluster.get(&of, &key).await.map(|value| (of, value)).into_iter().collect(),
        None => cluster.get_all(&key).await,
    };
    answer(found)
}

/// The values as they travel, unless they are too many for an answer.
fn answer(found: Vec<(String, Value)>) -> Result<Vec<Entry>, CallError> {
    let size: usize = found.iter().map(|(node, value)| node.len() + value.text.len() + 8).sum();
    if size > ANSWER_MAX {
        let text = format!("the values of all nodes have {size} bytes, and an answer carries 1 MiB; ask for one node");
        return Err(CallError::answered(Status::LimitReached, text));
    }
    let entry = |(node, value): (String, Value)| Entry {
        node,
        value: value.text,
        signed: !matches!(value.signature, Signature::None),
        known: matches!(value.signature, Signature::Valid(_) | Signature::Invalid),
        valid: matches!(value.signature, Signature::Valid(_)),
    };
    Ok(found.into_iter().map(entry).collect())
}

fn told(error: &ClusterError) -> CallError {
    let status = match error {
        ClusterError::EntrySize(_) | ClusterError::Keys { .. } | ClusterError::Bytes { .. } => Status::LimitReached,
        ClusterError::Stopped => Status::Unavailable,
        _ => Status::InvalidArgument,
    };
    CallError::answered(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use np_facade::Status;

    use super::{ANSWER_MAX, answer, rows};
    use crate::attributes::Attributes;
    use crate::limits::ENTRY_MAX;
    use crate::links::server_limits;
    use crate::member::{Member, MemberState};
    use crate::value::{Signature, Value};

    fn values(count: usize) -> Vec<(String, Value)> {
        let value =
            |_| Value { text: "x".repeat(ENTRY_MAX - 1), version: 1, expires: None, signature: Signature::None };
        (0..count).map(|number| (format!("node-{number}"), value(number))).collect()
    }

    #[test]
    fn an_answer_of_so_many_bytes_travels_and_a_longer_one_is_refused_with_the_way_out() {
        let limits = server_limits();
        let most = limits.max_message.min(limits.call_budget) as usize;
        let fits = answer(values(31)).unwrap();
        assert!(np_facade::encode(&fits).unwrap().len() <= ANSWER_MAX && most >= ANSWER_MAX);
        let error = answer(values(33)).unwrap_err();
        assert_eq!(error.status, Status::LimitReached);
        assert!(error.text.contains("1 MiB; ask for one node"), "{error}");
    }

    #[test]
    fn a_table_of_talkative_members_comes_without_what_they_tell() {
        let told = "x".repeat(256);
        let attributes = Attributes { service: told.clone(), addresses: vec![told; 16], ..Attributes::default() };
        let member = |number: u64| Member {
            name: format!("{number:064}"),
            state: MemberState::Live,
            address: ([10, 0, 0, 1], 7_400).into(),
            key: Some("n".repeat(61)),
            attributes: attributes.clone(),
            generation: u64::MAX,
        };
        let members: Vec<Member> = (0..800).map(member).collect();
        for (count, whole) in [(200, true), (800, false)] {
            let rows = rows(members[..count].iter());
            let bytes = np_facade::encode(&rows).unwrap().len();
            assert!(bytes <= ANSWER_MAX && rows.len() == count, "{bytes}");
            assert_eq!(bytes > 256 * count, whole, "{bytes}");
        }
    }
}
