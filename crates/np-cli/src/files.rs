//! What the two ends of a file transfer say to each other. Must never touch a disk.
//!
//! The sender opens a stream, says what it has ([`Offer`]), hears from where on it is wanted ([`Wanted`]), sends the
//! bytes as messages, finishes, and hears what the receiver has made of them ([`Kept`]).

use serde::{Deserialize, Serialize};

/// The method that `np serve --receive` has.
pub(crate) const METHOD: &str = "file.receive";

/// Bytes of a file that travel as one message.
pub(crate) const CHUNK: usize = 256 << 10;

/// What a sender has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The file's name, of which the receiver takes the last part.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) size: u64,
    /// Their SHA-256.
    pub(crate) sha256: [u8; 32],
}

/// What a receiver still wants of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The first byte that it does not have.
    pub(crate) from: u64,
}

/// What a receiver has kept, under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The file's bytes.
    pub(crate) size: u64,
    /// Their SHA-256, as the receiver has computed it.
    pub(crate) sha256: [u8; 32],
}

/// 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    np_facade::Fingerprint(*bytes).to_string()
}
