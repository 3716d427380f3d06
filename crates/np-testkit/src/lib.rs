//! Two np peers in virtual time, a network that misbehaves by seed, and a peer that talks frames by hand.
//!
//! For tests alone: `tests/`, `fuzz/` and `xtask`. It must never know a clock, a socket or a source of randomness, so
//! that a failing run is replayed by its seed.
//!
//! - [`Pair`] joins two [`Peer`]s by a [`Network`]; a [`Recorder`] keeps what happens, for tests that say each step.
//! - [`sim`] gives each side a script by seed and checks the run against a model.
//! - [`flows`] does so for streams, with a model of every byte that is delivered.
//! - [`Dialogue`] sets one session against frames that a test writes itself.
//! - [`fuzz`] holds any bytes against rules, from handshakes to whole sessions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test kit fails its test by panicking; the message tells what was expected"
)]

mod actor;
mod dialogue;
pub mod flows;
pub mod fuzz;
mod network;
mod pair;
mod peer;
mod rng;
pub mod sim;
pub mod vectors;

pub use actor::{Action, Actor, CallRecord, CallResult, Step, body};
pub use dialogue::{Dialogue, Hand, settings};
pub use network::{Fault, Harm, Network, NetworkConfig, Pipe, Read};
pub use pair::{Pair, Setup};
pub use peer::{Application, Peer, PeerConfig, Recorder, Refuse, Stage, keypair};
pub use rng::Rng;
