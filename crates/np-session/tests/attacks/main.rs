//! The attacker matrix: what somebody on the path, at the other end or with a stolen key tries, and that no victim
//! accepts any of it.
//!
//! A victim accepts when its application would notice: an event other than `Closed`. Handshakes alone are no
//! acceptance, since a peer counts as connected only by its first record. The modules own one family of attacks each.

// The test-only relaxations of the lints reach helpers through `cfg(test)`, which holds for this whole target.
#[cfg(test)]
mod first_flight;
#[cfg(test)]
mod forger;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod low_order;
#[cfg(test)]
mod middle;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod preface;
#[cfg(test)]
mod records;
#[cfg(test)]
mod stolen;
#[cfg(test)]
mod world;
