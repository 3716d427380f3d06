//! The primitives of the suite, and the only place that names the crates behind them.
//!
//! Owns `dh`, `aead` and `hash`: another provider replaces these three files and nothing else. Must never know Noise
//! states, patterns or messages.

pub(crate) mod aead;
pub(crate) mod dh;
pub(crate) mod hash;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
