//! The wire format, tested from outside: what the bytes are, and what is refused.
//!
//! The modules own one question each. None may compute an expected byte with the code under test.

// The test-only relaxations of the lints reach helpers through `cfg(test)`, which holds for this whole target.
#[cfg(test)]
mod canonical;
#[cfg(test)]
mod fields;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod page;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod split;
#[cfg(test)]
mod strict;
