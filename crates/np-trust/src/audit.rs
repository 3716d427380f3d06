//! What the audit log holds of a policy's decisions, and at which rate. Must never decide anything.

use np_types::{PeerIdentity, Throttle, UnixMillis, escape};

use crate::file::harmless;

/// The most characters of a reason in the log: room for two keys, an address and a path.
const MAX_REASON: usize = 2_048;

/// The rates at which decisions of each kind are written.
#[derive(Debug)]
pub(crate) struct Audit {
    allowed: Throttle,
    refused: Throttle,
}

impl Audit {
    pub(crate) const fn new() -> Self {
        Self { allowed: Throttle::audit(), refused: Throttle::audit() }
    }

    /// Writes that no rule has allowed a peer, unless there is too much of that.
    pub(crate) fn refused(&self, now: UnixMillis, peer: &PeerIdentity, by: &str, reason: &str) {
        let Some(suppressed) = self.refused.admit_at(now).map(some) else {
            return;
        };
        let (by, shown) = (harmless(by), escape(reason, MAX_REASON));
        tracing::warn!(target: "np::audit", decision = "refused", %peer, by, reason = shown, suppressed, "peer refused");
    }

    /// Writes that a rule has allowed a peer: what asks for attention as a warning.
    pub(crate) fn allowed(&self, now: UnixMillis, peer: &PeerIdentity, by: &str, allowed: Allowed<'_>) {
        let Some(suppressed) = self.allowed.admit_at(now).map(some) else {
            return;
        };
        let (by, shown) = (harmless(by), escape(allowed.reason, MAX_REASON));
        if allowed.warns {
            tracing::warn!(target: "np::audit", decision = "allowed", %peer, by, reason = shown, suppressed, "peer allowed");
        } else {
            let name = allowed.name.map(|name| escape(name, 128));
            tracing::info!(
                target: "np::audit", decision = "allowed", %peer, by, name, reason = shown, suppressed, "peer allowed"
            );
        }
    }
}

/// How a peer was allowed.
pub(crate) struct Allowed<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) reason: &'a str,
    pub(crate) warns: bool,
}

/// A number of events that were left out, where there were any.
fn some(suppressed: u64) -> Option<u64> {
    (suppressed > 0).then_some(suppressed)
}
