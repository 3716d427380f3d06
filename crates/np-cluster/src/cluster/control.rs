//! The methods by which others ask a node about its cluster. Must never answer whom the policy does not allow.

use std::sync::{Arc, Weak};

use np_facade::{
    CallContext, CallError, MessageStream, MethodOptions, Policy, RegisterError, Router, Status, Target, stream, typed,
    typed_async,
};

use super::{Cluster, Inner};
use crate::error::ClusterError;
use crate::remote::{Entry, GET, MEMBERS, Question, Row, SET, WATCH};
use crate::value::Signature;

/// All of them.
pub(crate) const METHODS: [&str; 4] = [MEMBERS, WATCH, SET, GET];

/// The bytes of values that one answer carries.
const ANSWER_MAX: usize = 8 << 20;

/// A node that may have left since.
#[derive(Clone)]
struct Node {
    inner: Weak<Inner>,
    policy: Policy,
}

impl Node {
    /// The node, for whom the policy allows.
    fn open(&self, context: &CallContext) -> Result<Cluster, CallError> {
        if !self.policy.decide(context.peer()).is_allowed() {
            let text = "this peer may not ask this node about its cluster; the node's operator can allow its key";
            return Err(CallError::answered(Status::PermissionDenied, text));
        }
        let gone = || CallError::answered(Status::Unavailable, "this node has left its cluster");
        self.inner.upgrade().map(|inner| Cluster { inner }).ok_or_else(gone)
    }
}

/// Adds the methods to a server's table.
pub(crate) fn offer(router: &Router, cluster: &Cluster, policy: &Policy) -> Result<(), RegisterError> {
    let node = Node { inner: Arc::downgrade(&cluster.inner), policy: policy.clone() };
    let (one, two, three, four) = (node.clone(), node.clone(), node.clone(), node);
    let members = typed(move |context, ()| Ok(rows(&one.open(&context)?)));
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

fn rows(cluster: &Cluster) -> Vec<Row> {
    cluster.members().iter().map(Row::of).collect()
}

/// Sends the table, and again whenever it has changed.
async fn watch(node: Node, context: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let cluster = node.open(&context)?;
    let mut tables = cluster.inner.tables.clone();
    drop(cluster);
    let mut told = None;
    loop {
        let now: Vec<Row> = tables.borrow_and_update().values().map(|row| Row::of(&row.member)).collect();
        if told.as_ref() != Some(&now) {
            stream.send_as(&now).await?;
            told = Some(now);
        }
        if tables.changed().await.is_err() {
            return stream.finish().await;
        }
    }
}

async fn set(node: Node, context: CallContext, (key, value): (String, String)) -> Result<(), CallError> {
    let cluster = node.open(&context)?;
    cluster.set(&key, &value).await.map_err(|error| told(&error))
}

async fn get(node: Node, context: CallContext, Question { key, node: of }: Question) -> Result<Vec<Entry>, CallError> {
    let cluster = node.open(&context)?;
    let found = match of {
        Some(of) => cluster.get(&of, &key).await.map(|value| (of, value)).into_iter().collect(),
        None => cluster.get_all(&key).await,
    };
    let size: usize = found.iter().map(|(_, value)| value.text.len()).sum();
    if size > ANSWER_MAX {
        let text = format!("the values of all nodes have {size} bytes, and an answer carries 8 MiB; ask for one node");
        return Err(CallError::answered(Status::LimitReached, text));
    }
    let entry = |(node, value): (String, crate::Value)| Entry {
        node,
        value: value.text,
        signed: !matches!(value.signature, Signature::None),
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
