//! What a node counts about its cluster.

/// What a node has counted since it joined.
///
/// ```
/// assert_eq!(np_cluster::ClusterStats::default().refused, 0);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// Gossip messages that were read.
    pub messages: u64,
    /// Messages that were none, or larger than one may be. Their sender was cut off each time.
    pub refused: u64,
    /// Messages of another cluster.
    pub wrong_cluster: u64,
    /// Nodes and changes that were not taken up, or not as they were told, because a limit was reached or the node is none of
    /// ours.
    pub over_limit: u64,
    /// Times that a member told of a later start of this node, or of a heartbeat or a version that it has not reached: another
    /// runs under its name, or a member lies.
    pub impersonations: u64,
}
