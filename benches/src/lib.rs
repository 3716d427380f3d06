//! Measurements of np beside peers, in the same run.
//!
//! This crate owns the peers that are written by hand and the arithmetic of rounds and ratios. It must never be
//! needed by a user: nothing depends on it.

pub mod crypto;
pub mod plain;
pub mod rounds;
