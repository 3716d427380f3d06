//! Any bytes as a message of gossip: what the gate of a cluster reads is within its limits, reads the same once it is written
//! again, and is a message to the engine behind it as well; the rest is refused. Owns this rule alone; it must never start a
//! node.

use np_cluster::simulation::read_message;

/// The nodes that a message may name: in its digest, and again in its changes.
const MOST_NODES: usize = 2 * 1_166;
/// What changes may unfold to, and the shortest of them.
const MOST_UNFOLDED: usize = 512 << 10;
const SHORTEST: usize = 15;
/// A message, what it unfolds to, and what the blocks of that begin with.
const MOST_WRITTEN: usize = (64 << 10) + MOST_UNFOLDED + 1_024;

/// What reading a message twice, and once by the engine, may ask for in all: fixed rooms for what is unfolded, and the parts
/// of what is read.
#[allow(dead_code, reason = "the program asks; a test beside others cannot, since it sees their memory too")]
pub(crate) const MOST_MEMORY: usize = 64 << 20;

/// Gives whether the bytes are a message.
pub(crate) fn target(data: &[u8]) -> bool {
    let read = match read_message(data) {
        Ok(read) => read,
        Err(reason) => {
            assert!(!reason.is_empty() && reason.len() < 80, "{reason}");
            return false;
        }
    };
    assert!(data.len() <= 64 << 10, "{} bytes are more than a message", data.len());
    assert!(read.nodes <= MOST_NODES, "{} nodes", read.nodes);
    assert!(read.entries <= MOST_UNFOLDED / SHORTEST, "{} entries", read.entries);
    assert!(read.written.len() <= MOST_WRITTEN, "{} bytes", read.written.len());
    let again = read.again().unwrap_or_else(|reason| panic!("what was read is no message any more: {reason}"));
    assert_eq!(again, read);
    true
}
