//! The names of figures and every word that a label of theirs may be. Must never hold what a peer has chosen.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How a handshake ended.
pub(super) const RESULTS: &[&str] = &["accepted", "refused", "timeout", "failed"];

/// How a call ended: the names of `Status`, the likeliest first.
pub(super) const STATUSES: &[&str] = &[
    "ok",
    "failed",
    "cancelled",
    "deadline-exceeded",
    "unknown-method",
    "invalid-argument",
    "limit-reached",
    "unavailable",
    "internal",
    "permission-denied",
    "unsupported-codec",
    "wrong-kind",
    "schema-mismatch",
    "outcome-unknown",
];

/// How a connection ended: the codes of `ConnectionError`.
pub(super) const ENDS: &[&str] = &[
    "NP-CLOSED",
    "NP-CLOSED-HERE",
    "NP-IO",
    "NP-INCOMPATIBLE",
    "NP-LIMIT",
    "NP-MALFORMED",
    "NP-MISUSE",
    "NP-PEER",
    "NP-REFUSED",
    "NP-TIMEOUT",
    "NP-TLS",
    "NP-TRUNCATED",
];

/// Settings and constants for which a peer, or its call, is refused or cut. A new limit needs its row here, or it is
/// counted as `other`.
pub(super) const LIMITS: &[&str] = &[
    "max_connections",
    "max_handshakes",
    "max_source_connections",
    "max_source_handshakes_per_second",
    "max_server_calls",
    "max_identity_calls",
    "max_peer_calls_per_second",
    "max_memory",
    "max_identity_instances",
    "max_identity_remembered",
    "max_identity_remembered_bytes",
    "max_instances",
    "max_remembered",
    "max_remembered_bytes",
    "progress_timeout",
    "handshake_timeout",
    "replay_capacity",
    "max_message",
    "call_budget",
    "max_calls",
    "max_queued_calls",
    "method names",
    "bytes of method names",
    "handshake message",
    "record",
    "method name",
    "text",
    "metadata",
    "settings",
    "pings",
    "cancelled calls",
    "empty data",
    "tiny pieces",
    "tiny credits",
    "unknown frames",
    "padding",
    "refused calls",
    "key updates",
    "call allowances",
    "late frames",
    "key id",
];

/// Tells the recorder what each figure means.
pub(super) fn describe() {
    describe_gauge!("np_connections", Unit::Count, "Connections that stand");
    describe_counter!("np_connections_total", Unit::Count, "Connections that came about");
    describe_counter!("np_disconnects_total", Unit::Count, "Connections that ended, by the code of the reason");
    describe_counter!("np_handshakes_total", Unit::Count, "Handshakes that ended, by their result");
    describe_histogram!("np_handshake_seconds", Unit::Seconds, "Time of a handshake, whatever its result");
    describe_counter!("np_refusals_total", Unit::Count, "Peers and calls refused or cut, by the limit");
    describe_counter!("np_calls_total", Unit::Count, "Calls that ended, by their status");
    describe_gauge!("np_calls_in_flight", Unit::Count, "Calls that have begun and not ended");
    describe_histogram!("np_call_seconds", Unit::Seconds, "Time of a call on this side");
    describe_counter!(
        "np_one_way_total",
        Unit::Count,
        "Messages without an answer that were done with, by their status"
    );
    describe_counter!("np_streams_total", Unit::Count, "Streams that ended, by their status");
    describe_gauge!("np_streams_open", Unit::Count, "Streams that have begun and not ended");
    describe_counter!("np_bytes_total", Unit::Bytes, "Bytes of connections after their handshake, before TLS");
    describe_counter!("np_drains_total", Unit::Count, "Drains that a server began");
    describe_counter!("np_reconnects_total", Unit::Count, "Attempts of clients to replace a lost connection");
    describe_counter!("np_audit_suppressed_total", Unit::Count, "Events left out of the audit log for their number");
}

#[cfg(test)]
mod tests {
    use np_types::{ConnectionError, LimitHit, LimitName, Misbehaved, Status};

    use super::{ENDS, LIMITS, STATUSES};

    #[test]
    fn every_status_and_limit_has_its_word() {
        assert!(Status::ALL.iter().all(|status| STATUSES.contains(&status.name())));
        assert_eq!(Status::ALL.len(), STATUSES.len());
        let limits = [LimitName::MaxMessage, LimitName::Pings, LimitName::LateFrames, LimitName::KeyId];
        assert!(limits.iter().all(|limit| LIMITS.contains(&limit.name())));
        let hit = LimitHit { limit: LimitName::Pings, allowed: 1, seen: 2 };
        for error in [ConnectionError::Limit(hit), Misbehaved::Truncated.into(), Misbehaved::Pong.into()] {
            assert!(ENDS.contains(&error.code()), "{error}");
        }
    }
}
