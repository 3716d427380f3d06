//! Key files, allow lists and the one decision point about peers.
//!
//! This crate owns the rules of secret key files, the form of allow lists, and [`Policy::decide`], which every mode
//! (Noise, TLS, local) asks before a peer counts as connected. It must never know a socket, a handshake or a clock.
//!
//! ```
//! use np_trust::{Decision, Policy};
//! use np_types::{PeerIdentity, PublicKey};
//!
//! let friend = PublicKey::from_bytes([1; 32]);
//! let policy = Policy::allow_keys([friend]);
//! assert_eq!(policy.decide(&PeerIdentity::Noise(friend)), Decision::Allow { name: None });
//! ```

mod file;
mod key_file;
mod list;
mod policy;

pub use key_file::{
    KeyFileError, KeyFileMode, KeyFileProblem, checks_mode, read_psk, read_secret_key, write_new_secret,
};
pub use list::{AllowList, AllowListError, AllowListProblem};
pub use policy::{Decision, Policy, PolicyError};
