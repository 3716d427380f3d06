//! The vocabulary of np: keys, codes, errors by blame, identities, limits.
//!
//! This crate owns the words that every other room speaks. It must never know a socket, a clock, a source of
//! randomness or a byte of the wire: it holds plain data and the rules that make a value of it valid.

mod code;
mod error;
mod identity;
mod key;
mod limit_hit;
mod limits;
mod metadata;
mod method;
mod suite;
mod text;
mod throttle;
mod time;
mod trace;

pub use code::{CloseCode, CodeClass, Codec, Status};
pub use error::{Blame, CallError, ConnectionError, Incompatible, Malformed, Misbehaved, Misuse, Outcome};
pub use identity::{Fingerprint, FingerprintError, LocalPeer, PeerIdentity};
pub use key::{KeyError, Psk, PublicKey, SecretKey, SignKey, VerifyKey};
pub use limit_hit::{LimitHit, LimitName};
pub use limits::{Limits, LimitsError};
pub use metadata::{Metadata, MetadataError};
pub use method::{MethodName, MethodNameError};
pub use suite::{Suite, UnknownSuite};
pub use text::{escape, escape_path};
pub use throttle::Throttle;
pub use time::{Deadline, Time, UnixMillis};
pub use trace::{TraceContext, TraceContextError};

/// The application protocol name that TLS peers must negotiate (RFC 7301).
///
/// ```
/// assert_eq!(np_types::ALPN, b"np/1");
/// ```
pub const ALPN: &[u8] = b"np/1";

/// The one version of the protocol that this code speaks.
///
/// ```
/// assert_eq!(np_types::VERSION, 1);
/// ```
pub const VERSION: u8 = 1;

/// The most method names that a side may number on a connection; a constant of version 1.
///
/// ```
/// assert_eq!((np_types::MAX_METHODS, np_types::MAX_METHOD_BYTES), (1_024, 65_536));
/// ```
pub const MAX_METHODS: u32 = 1_024;

/// The most bytes of method names that a side may number on a connection; a constant of version 1.
pub const MAX_METHOD_BYTES: u32 = 64 << 10;
