//! LZ4 and Zstd message bodies, sizes checked before allocation.
//!
//! This crate owns both algorithms, the decision whether a body is worth it, and the caps on what a body may grow to. It
//! must never know a frame, a connection or a socket: it sees one body at a time. It is deterministic, and reads neither
//! a clock nor randomness.
//!
//! A sender asks a [`Compressor`] for each body and gets fewer bytes, or the reason why the body travels plain. A
//! receiver checks the declared size ([`Caps::check`]), reserves it in the connection's [`Budget`], and gives the bytes
//! to a [`Decompressor`]:
//!
//! ```
//! use np_compress::{Adaptive, Budget, Caps, Compressor, Decompressor, Packed, Settings};
//!
//! // One of each for a connection, and one `Adaptive` for each method.
//! let mut compressor = Compressor::new(Settings::default())?;
//! let mut method = Adaptive::new();
//! let (mut decompressor, mut budget, caps) = (Decompressor::new(), Budget::new(64 << 20), Caps::default());
//!
//! let body = b"id,name,street,town;".repeat(200);
//! if let Packed::Compressed { raw, bytes } = compressor.compress(&body, &mut method) {
//!     caps.check(raw, bytes.len())?;
//!     budget.reserve(raw)?;
//!     let read = decompressor.decompress(compressor.algorithm(), raw, &bytes, caps)?;
//!     assert_eq!(read, body);
//!     budget.release(raw);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What compression tells an eavesdropper
//!
//! Encryption hides bytes and not their number, and the number of compressed bytes depends on what they say. Where one
//! body holds a secret beside text that an attacker chose, and the attacker may try again and again and watch sizes, the
//! secret can be guessed piece by piece: a guess that is right repeats what is there, and makes the body shorter (CRIME
//! and BREACH did so to cookies and tokens). Keep secrets and text of strangers in different messages, or send such a
//! body plain; padding makes the guessing slower and does not stop it.
//!
//! Each message has a history of its own for the same reason: with one history over a connection, text in one message
//! would make guesses about another possible, and bodies could not be read, dropped or repeated one by one. It costs
//! size where messages are small and alike.
//!
//! A message has one encoding. Compressed bytes that are compressed once more cannot be said on the wire, so that no
//! body unfolds in steps past the caps; what comes out of a [`Decompressor`] is the message, whatever it looks like.
//!
//! # Memory
//!
//! A body being read takes its declared size, which is at most `max_message`, and at most `max_ratio` times the bytes
//! that came; a decoder keeps at most 128 KiB. What a compressor keeps after its longest body:
//!
//! | encoder | bodies of 64 KiB | bodies of 16 MiB |
//! |---|---|---|
//! | LZ4 | 16 KiB | 16 KiB, and 8 KiB for bodies below 64 KiB |
//! | Zstandard, level 1 | 320 KiB | 600 KiB |
//! | level 3 | 700 KiB | 1.3 MiB |
//! | level 6 | 1 MiB | 3.1 MiB |
//! | level 9 | 1 MiB | 11 MiB |
//! | level 12 | 1.4 MiB | 42 MiB |
//! | level 19 | 1.8 MiB | 84 MiB |
//!
//! [`Compressor::shrink`] and [`Decompressor::shrink`] give it back. Compress in as few contexts as there is work at the
//! same time, rather than in one for each connection, where the level is high.

mod adaptive;
mod budget;
mod compress;
mod decompress;
mod error;
mod settings;
mod zstd_frame;

pub use adaptive::Adaptive;
pub use budget::{Budget, BudgetError};
pub use compress::{Compressor, Packed, PlainReason};
pub use decompress::{Caps, Decompressor};
pub use error::DecompressError;
pub use settings::{Algorithm, DEFAULT_MAX_RATIO, Encoder, MAX_BODY, Settings};
