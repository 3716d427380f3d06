//! Membership and shared state over np's own links.
//!
//! This crate will own the member list, failure detection and replicated key/value state, on an existing engine none
//! of whose types are public. It must never know a byte of the wire: it speaks through the facade. It holds nothing yet.

mod links;

pub use links::LinkStats;
