//! What fuzzing asks: functions from any bytes to a verdict, called by the programs under `fuzz/` and, with the seeds
//! that are committed there, by tests.
//!
//! A target panics where its rule is broken. What it gives tells whether the bytes came to the good end that honest
//! bytes come to, so that a test can see that seeds still reach what they were made for.

mod handshake_flow;
mod input;
mod key_text;
mod noise;
mod noise_handshake;
mod noise_vs_snow;
mod quick;
mod rekey;
mod seeds;
mod session_frames;
mod session_ops;
mod traffic_open;
mod wire_frames;
mod wire_preface;

pub use seeds::{Seed, seeds};

/// A rule that any bytes are held against.
pub type Target = fn(&[u8]) -> bool;

/// Every target of this crate, by the name of its program.
///
/// ```
/// let (_, target) = np_testkit::fuzz::TARGETS.iter().find(|(name, _)| *name == "wire_frames").unwrap();
/// assert!(target(&[0x04 << 3, 1, 9]), "a ping is a frame");
/// assert!(!target(&[0x04 << 3, 1]), "half a ping is none");
/// ```
pub const TARGETS: &[(&str, Target)] = &[
    ("handshake_flow", handshake_flow::target),
    ("key_text", key_text::target),
    ("noise_handshake", noise_handshake::target),
    ("noise_vs_snow", noise_vs_snow::target),
    ("rekey", rekey::target),
    ("session_frames", session_frames::target),
    ("session_ops", session_ops::target),
    ("traffic_open", traffic_open::target),
    ("wire_frames", wire_frames::target),
    ("wire_preface", wire_preface::target),
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or its rule is broken.
pub fn run(name: &str, data: &[u8]) -> bool {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("the name of a target");
    target(data)
}
