//! Noise handshakes as data, cipher states, rekey and the replay guard.
//!
//! This crate owns Noise revision 34 with the suites `25519_ChaChaPoly_SHA256` and `25519_AESGCM_SHA256`: the patterns as
//! tables of tokens, the handshake that walks them, the two cipher states that it leaves, the providers that compute for
//! them, and the guard against replayed first messages.
//! It must never know a socket, a file, a clock or a source of randomness: ephemeral keys and the time are arguments.
//!
//! A handshake and its traffic are different types, so no record can be sealed before both sides are done:
//!
//! ```
//! use np_noise::{Handshake, Keypair, Keys, Pattern, Role};
//! use np_types::SecretKey;
//!
//! let (alice, bob) = (Keypair::from_secret(SecretKey::from_bytes([1; 32])), Keypair::from_secret(SecretKey::from_bytes([2; 32])));
//! let keys = |own| Keys { local: Some(own), ..Keys::default() };
//! // Real ephemeral keys come from the operating system's generator, fresh for each handshake.
//! let mut a = Handshake::new(Pattern::XX, Role::Initiator, b"demo", keys(&alice), SecretKey::from_bytes([3; 32]))?;
//! let mut b = Handshake::new(Pattern::XX, Role::Responder, b"demo", keys(&bob), SecretKey::from_bytes([4; 32]))?;
//!
//! let mut payload = Vec::new();
//! while !a.is_finished() {
//!     let (from, to) = if a.is_my_turn() { (&mut a, &mut b) } else { (&mut b, &mut a) };
//!     let mut message = Vec::new();
//!     from.write_message(b"", &mut message)?;
//!     to.read_message(&message, &mut payload)?;
//! }
//! let (mut a, mut b) = (a.finish()?, b.finish()?);
//! assert_eq!(a.remote_static, Some(bob.public()));
//! assert_eq!(a.hash, b.hash);
//!
//! let mut record = b"hello".to_vec();
//! let tag = a.send.seal_in_place(&mut record)?;
//! record.extend_from_slice(&tag);
//! assert_eq!(b.receive.open_in_place(&mut record)?, b"hello");
//! # Ok::<(), np_noise::NoiseError>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cipher;
mod crypto;
mod error;
mod handshake;
mod keys;
mod pattern;
mod provider;
mod replay;
mod symmetric;

#[cfg(feature = "aws-lc")]
pub use crypto::aws_lc::AwsLc;
pub use crypto::rust_crypto::RustCrypto;

pub use cipher::{ReceiveCipher, SendCipher};
pub use error::NoiseError;
pub use handshake::{Handshake, Traffic, TrafficKeys};
pub use keys::{Keypair, Keys};
pub use np_types::Suite;
pub use pattern::{Pattern, Role};
pub use provider::{AgreementKey, CipherKey, Crypto, Provider};
pub use replay::{ReplayError, ReplayGuard, ReplayGuardError};

/// Every provider that this build has, the default one first.
///
/// ```
/// let names: Vec<_> = np_noise::PROVIDERS.iter().map(|provider| provider.name()).collect();
/// assert_eq!(names[0], "RustCrypto");
/// ```
pub const PROVIDERS: &[&dyn Provider] = &[
    &RustCrypto,
    #[cfg(feature = "aws-lc")]
    &AwsLc,
];

/// The most bytes that a Noise message may have, tag included (Noise section 3).
///
/// ```
/// assert_eq!(np_noise::MAX_MESSAGE, 65_535);
/// ```
pub const MAX_MESSAGE: usize = 65_535;

/// The bytes that sealing adds to a record.
///
/// ```
/// assert_eq!(np_noise::TAG_LENGTH, 16);
/// ```
pub const TAG_LENGTH: usize = 16;
