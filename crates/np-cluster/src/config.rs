//! What a node of a cluster is told before it starts, and the checks on it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::attributes::Attributes;
use crate::clock::Clock;
use crate::error::ClusterError;
use crate::limits::{INTERVAL_FLOOR, Limits, NAME_MAX};
use crate::signing::SigningKey;

/// How a node takes part in a cluster.
///
/// ```
/// use np_cluster::{Attributes, ClusterConfig};
/// let config = ClusterConfig::new("orders-1", "shop", ([10, 0, 0, 1], 7400).into())
///     .seeds([([10, 0, 0, 2], 7400).into()])
///     .attributes(Attributes { service: "orders".to_owned(), ..Attributes::default() });
/// config.check()?;
/// # Ok::<(), np_cluster::ClusterError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) advertise: SocketAddr,
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) attributes: Attributes,
    pub(crate) interval: Duration,
    pub(crate) forget_after: Duration,
    pub(crate) keep_keys: bool,
    pub(crate) limits: Limits,
    pub(crate) signing: Option<SigningKey>,
    pub(crate) clock: Clock,
}

impl ClusterConfig {
    /// A node `name` of the cluster `cluster`, which others reach at `advertise`.
    #[must_use]
    pub fn new(name: impl Into<String>, cluster: impl Into<String>, advertise: SocketAddr) -> Self {
        Self {
            name: name.into(),
            cluster: cluster.into(),
            advertise,
            seeds: Vec::new(),
            attributes: Attributes::default(),
            interval: Duration::from_secs(1),
            forget_after: Duration::from_secs(30 * 60),
            keep_keys: true,
            limits: Limits::default(),
            signing: None,
            clock: Clock::System,
        }
    }

    /// Adds nodes to ask first who else is there. One that is the node itself is ignored.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.seeds.extend(seeds);
        self.seeds.retain(|seed| *seed != self.advertise);
        self
    }

    /// Sets what the node tells about itself.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Sets the time between two rounds of gossip: 1 s, and 200 ms at least. A member that is silent for three of them has
    /// failed.
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets for how long a member that failed or left is shown and its keys are kept for its return: 30 minutes.
    #[must_use]
    pub const fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = time;
        self
    }

    /// Sets whether a node that starts again takes over the keys that it had before: yes.
    #[must_use]
    pub const fn keep_keys(mut self, keep: bool) -> Self {
        self.keep_keys = keep;
        self
    }

    /// Sets what the node keeps of the cluster, at most.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Signs every value that the node sets, by this key: also those of [`Cluster::set`](crate::Cluster::set), and those that
    /// `np cluster set` has it set.
    ///
    /// ```
    /// use np_cluster::{ClusterConfig, SigningKey};
    /// let key = SigningKey::from_bytes(&[7; 32]);
    /// println!("in the lists of the others: sign={}", key.verify_key());
    /// let config = ClusterConfig::new("orders-1", "shop", ([10, 0, 0, 1], 7400).into()).sign_by(key);
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn sign_by(mut self, key: SigningKey) -> Self {
        self.signing = Some(key);
        self
    }

    /// Goes by this clock instead of the system's.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) const fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// On the first setting that is out of its range; the error names the limit.
    pub fn check(&self) -> Result<(), ClusterError> {
        for name in [&self.name, &self.cluster] {
            if !is_name(name) {
                return Err(ClusterError::Name(name.clone()));
            }
        }
        if self.advertise.port() == 0 || self.advertise.ip().is_unspecified() {
            return Err(ClusterError::Address(self.advertise));
        }
        if self.interval < INTERVAL_FLOOR {
            return Err(ClusterError::Interval(self.interval));
        }
        if self.forget_after < self.interval.saturating_mul(20) {
            return Err(ClusterError::ForgetAfter(self.forget_after));
        }
        check_limits(&self.limits)?;
        self.attributes.check()
    }
}

fn check_limits(limits: &Limits) -> Result<(), ClusterError> {
    let all = [
        ("nodes", limits.nodes),
        ("keys", limits.keys),
        ("bytes", limits.bytes),
        ("total_bytes", limits.total_bytes / limits.bytes.max(1)),
    ];
    match all.iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(ClusterError::Limit(name)),
        None => Ok(()),
    }
}

/// Whether a text may be the name of a node or a cluster.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}
