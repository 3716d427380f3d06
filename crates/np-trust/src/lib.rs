//! Key files, allow lists, known peers and the one decision point about peers.
//!
//! This crate owns the rules of secret key files, the forms of allow lists and of the file of known peers, the store of
//! pre-shared keys, and [`Policy::decide`], which every mode (Noise, TLS, local) asks before a peer counts as connected.
//! It must never know a socket or a handshake. It reads the system's clock for what expires; [`Policy::decide_at`] takes
//! the time from its caller.
//!
//! ```
//! use np_trust::{Decision, Policy};
//! use np_types::{PeerIdentity, PublicKey};
//!
//! let friend = PublicKey::from_bytes([1; 32]);
//! let policy = Policy::allow_keys([friend]);
//! assert_eq!(policy.decide(&PeerIdentity::Noise(friend)), Decision::Allow { name: None });
//! ```
//!
//! # Allow lists
//!
//! One key a line, as in `authorized_keys` of ssh: the key, words that name it, options. [`Policy::allow_file`] follows
//! the file, so that a line that is added or removed counts from the next connection on.
//!
//! ```text
//! # who may call the billing service
//! np1qypqx...  ada laptop
//! np1p0x3d...  bob, on loan  expires=2027-01-31
//! np1z9k2f...  orders-1  sign=npverify1...
//! ```
//!
//! # Known peers
//!
//! A client that has no key of its server may trust the first one it meets: [`Policy::first_use`] keeps it in a file
//! ([`KnownPeers`]) and refuses every other from then on. A key in the address is better: it needs no lucky first time.
//!
//! # Pre-shared keys
//!
//! [`Psks`] holds those of a server. A client names its key by an id, by default that of [`psk_id`], or by the static
//! key that it proves.

mod audit;
mod file;
mod key_file;
mod known;
mod list;
mod new_file;
mod policy;
mod psk;
mod replace;
mod rule;
#[cfg(test)]
mod test_log;
mod time;
mod watch;

pub use key_file::{
    KeyFileError, KeyFileMode, KeyFileProblem, checks_mode, read_psk, read_secret_key, read_sign_key, write_new_secret,
};
pub use known::{KnownPeer, KnownPeers, KnownPeersError, KnownPeersProblem};
pub use list::{AllowEntry, AllowList, AllowListError, AllowListProblem};
pub use new_file::{NewFileMode, write_new_file};
pub use policy::{Decision, Policy, PolicyError, Proof};
pub use psk::{PskIdError, Psks, psk_id};
