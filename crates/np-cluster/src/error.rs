//! Why a cluster refuses something, with the limit or setting and the next step. It must never name the engine.

use std::time::Duration;

use crate::limits::{ADDRESSES_MAX, ATTRIBUTE_MAX, ENTRY_MAX, KEY_MAX, NAME_MAX};

/// What a cluster refuses, and why.
///
/// ```
/// use std::time::Duration;
/// use np_cluster::{ClusterConfig, ClusterError};
/// let refused = ClusterConfig::new("a", "orders", ([127, 0, 0, 1], 7400).into()).interval(Duration::from_millis(50));
/// assert!(matches!(refused.check(), Err(ClusterError::Interval(_))));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The interval between rounds of gossip is shorter than the floor.
    #[error("the interval of {} ms is shorter than 200 ms, below which busy nodes look failed; set 200 ms or more", .0.as_millis())]
    Interval(Duration),
    /// A name of a node or a cluster has other characters than it may, or too many.
    #[error("`{}` is no name of a node or cluster: it has 1 to {NAME_MAX} of a-z, A-Z, 0-9, `.`, `_` and `-`; choose another", .0.escape_debug())]
    Name(String),
    /// The address that others are to reach the node at is none.
    #[error("others cannot reach a node at {0}; advertise an address with an IP and a port that are not 0")]
    Address(std::net::SocketAddr),
    /// An attribute is too long, or there are too many addresses.
    #[error(
        "the attribute `{0}` has more than {ATTRIBUTE_MAX} bytes, a line break, or more than {ADDRESSES_MAX} addresses; shorten it"
    )]
    Attribute(&'static str),
    /// The time after which a member is forgotten is too short for the interval.
    #[error("a member that is gone is to be kept for 20 intervals at least, and {} s are less; raise `forget_after`", .0.as_secs_f64())]
    ForgetAfter(Duration),
    /// A limit of zero lets nothing in.
    #[error(
        "the limit `{0}` is 0, which lets nothing in; set one above 0 (the sum of all nodes not below that of one)"
    )]
    Limit(&'static str),
    /// A key has other characters than it may, or too many.
    #[error("`{}` is no key: it has 1 to {KEY_MAX} printable ASCII characters without a space; choose another", .0.escape_debug())]
    Key(String),
    /// A key that begins as np's own do.
    #[error("the key `{0}` begins with `np.`, which is kept for np's own; choose another beginning")]
    Reserved(String),
    /// A key and its value are too long together.
    #[error(
        "key and value have {0} bytes, and {ENTRY_MAX} (32 KiB) is the limit; put large data elsewhere and its place here"
    )]
    EntrySize(usize),
    /// The node has as many keys as it may have.
    #[error(
        "the node has {limit} keys, the limit `keys`; delete some (a deleted key counts until it is forgotten) or raise it"
    )]
    Keys {
        /// The limit.
        limit: usize,
    },
    /// The node's keys and values have as many bytes as they may have.
    #[error(
        "the node's keys and values would have more than {limit} bytes, the limit `bytes`; delete some or raise it"
    )]
    Bytes {
        /// The limit.
        limit: usize,
    },
    /// A time to live of nothing.
    #[error("a time to live of 0 means nothing; give a time, or delete the key")]
    TimeToLive,
    /// The engine did not start.
    #[error("the cluster did not start: {0}")]
    Start(String),
    /// The node's server did not start, or is in a cluster already.
    #[error(transparent)]
    Serve(np_facade::Error),
    /// Nothing takes the links of other nodes.
    #[error(
        "no server takes the links of other nodes by the cluster's transport; add an address (Peering::listen), or a server \
         that has one (Peering::server)"
    )]
    NoServer,
    /// The address of a seed cannot be used.
    #[error("the seed `{address}`: {why}; give it as its node prints it, as tcp://10.0.0.2:7400")]
    Seed {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The node has left, or its links have ended.
    #[error("the node is no member any more: it left, or its links have ended; join again")]
    Stopped,
}
