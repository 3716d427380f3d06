//! The providers, and the only place that names the crates behind them.
//!
//! Owns a file for each provider and `hash`, which all of them share. Must never know Noise states, patterns or messages.

#[cfg(feature = "aws-lc")]
pub(crate) mod aws_lc;
pub(crate) mod hash;
pub(crate) mod rust_crypto;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof;
