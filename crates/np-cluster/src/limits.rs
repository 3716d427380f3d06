//! The limits of a cluster, and what they are for. It owns their figures and must never know who asks.

use std::time::Duration;

/// The bytes that a key and its value may have together.
///
/// The engine tells a peer the keys of a node in the order in which they were set. A value that no message holds would keep
/// every later key of its node from travelling.
pub const ENTRY_MAX: usize = 32 * 1024;

/// The bytes that a key may have.
pub const KEY_MAX: usize = 256;

/// The bytes that the name of a node, or of a cluster, may have.
pub const NAME_MAX: usize = 64;

/// The bytes that an attribute of a node may have, and each of its addresses.
pub const ATTRIBUTE_MAX: usize = 256;

/// The addresses that a node may tell.
pub const ADDRESSES_MAX: usize = 16;

/// The shortest interval between two rounds of gossip: with less, a busy machine looks like a failed one.
pub const INTERVAL_FLOOR: Duration = Duration::from_millis(200);

/// The bytes of a message. The engine makes none that is longer.
pub(crate) const MESSAGE_MAX: usize = 64 * 1024;

/// The bytes of a message's changes once they are decompressed. A sender cuts what it has to say to this, too.
pub(crate) const DECODED_MAX: usize = 512 * 1024;

/// The most that a sender puts into a block of changes before compressing it.
pub(crate) const BLOCK: usize = 16_384;

/// The blocks of a message: as many as its changes fill. Each costs the time in which the room of a whole one is cleared.
pub(crate) const BLOCKS_MAX: usize = DECODED_MAX / BLOCK;

/// The bytes of what a message says about every node. Past this the engine has no place left for the changes, and ends.
pub(crate) const DIGEST_MAX: usize = 49_000;

/// What the signature, the times and the engine's marks may add to a key and its value.
pub(crate) const ENVELOPE_MAX: usize = 256;

/// The nodes that a message tells of, in its digest and again in its changes: as many as a digest has room for, of the shortest
/// names there are.
pub(crate) const NODES_MAX: usize = DIGEST_MAX / 42;

/// The keys of np's own that a node may have beside those that it sets.
pub(crate) const RESERVED_KEYS: usize = 8;

/// The bytes of these: as much as attributes may have together, and more.
pub(crate) const RESERVED_BYTES: usize = 8 * 1024;

/// Events that wait for a slow subscriber.
pub(crate) const EVENTS_MAX: usize = 1_024;

/// How far the start of a node may lie in the future, by this node's clock.
pub(crate) const AHEAD_MAX: Duration = Duration::from_secs(600);

/// How often a node's heartbeat and its version may count up in a millisecond, from its start on. None is as fast; what is more
/// was made up, and can be outrun by its node a moment later.
pub(crate) const COUNTS_A_MILLISECOND: u64 = 1_000;

/// Starts of one name that others may tell of, beside those that have spoken themselves.
pub(crate) const STARTS_TOLD: usize = 16;

/// Earlier starts of this node that others may tell of.
pub(crate) const STARTS_OF_THIS: usize = 64;

/// Starts of one name that are taken up at once since they have spoken themselves.
pub(crate) const STARTS_PROVEN: usize = 32;

/// Past those, the time between two starts of one name that are taken up.
pub(crate) const RESPITE: Duration = Duration::from_secs(60);

/// What a node keeps of a cluster, at most.
///
/// ```
/// let limits = np_cluster::Limits { nodes: 50, ..np_cluster::Limits::default() };
/// assert_eq!(limits.keys, 10_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The nodes that are known, with those that failed or left and the earlier starts of each: 800. One more is not taken
    /// up, and counted.
    pub nodes: usize,
    /// The keys of a node, with those deleted of late: 10,000. `set` refuses one more, and none more is taken from others.
    pub keys: usize,
    /// The bytes of a node's keys and values: 4 MiB. `set` refuses more. Twice as many are taken from another, since values on
    /// their way meet those that they replace.
    pub bytes: usize,
    /// The bytes of the keys and values of all nodes: 256 MiB. No more is taken from others.
    pub total_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 800, keys: 10_000, bytes: 4 << 20, total_bytes: 256 << 20 }
    }
}
