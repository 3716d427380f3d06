//! The session, tested from outside: two peers in virtual time, and frames by hand.
//!
//! The modules own one question each. What is asserted is what an application or a peer can see.

// The test-only relaxations of the lints reach helpers through `cfg(test)`, which holds for this whole target.
#[cfg(test)]
mod alive;
#[cfg(test)]
mod budgets;
#[cfg(test)]
mod bytes_and_keys;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod credit;
#[cfg(test)]
mod early;
#[cfg(test)]
mod endings;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod help;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod misbehaviour;
#[cfg(test)]
mod outer;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod patterns;
#[cfg(test)]
mod priority;
#[cfg(test)]
mod rekey;
#[cfg(test)]
mod resting;
#[cfg(test)]
mod shortage;
#[cfg(test)]
mod streams;
