//! TLS over loopback: what it proves, what it refuses and by which name, and what its settings do.
// Tells the lints that helper functions are tests too.
#![cfg(test)]

mod agree;
mod clients;
mod common;
#[cfg(feature = "dev-certificates")]
mod dev;
mod ems;
mod hostile;
mod resumed;
mod servers;
mod trust;
