//! From compressed bytes to the body. Owns what a receiver checks and in which order; it must never know who sent them.

use std::fmt;

use lz4_flex::block::DecompressError as Lz4Error;
use np_types::Limits;
use zstd_safe::DCtx;

use crate::{Algorithm, DEFAULT_MAX_RATIO, DecompressError, zstd_frame};

/// What a receiver lets a body grow to.
///
/// ```
/// use np_compress::Caps;
/// let caps = Caps { max_message: 1 << 20, ..Caps::default() };
/// assert!(caps.check(1 << 20, 1 << 12).is_ok());
/// assert!(caps.check((1 << 20) + 1, 1 << 13).is_err(), "longer than max_message");
/// assert!(caps.check(257 * 100, 100).is_err(), "more than 256 bytes for one");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The longest body once it is decompressed, in bytes. Default 16 MiB.
    pub max_message: u32,
    /// The most bytes that one compressed byte may stand for. Default 256.
    pub max_ratio: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { max_message: Limits::default().max_message, max_ratio: DEFAULT_MAX_RATIO }
    }
}

impl Caps {
    /// Checks a declared size against the limits and the bytes that came, before anything is reserved for it.
    ///
    /// # Errors
    /// [`TooLarge`](DecompressError::TooLarge) and [`Ratio`](DecompressError::Ratio) name the limit;
    /// [`NotSmaller`](DecompressError::NotSmaller) where the body did not grow, which no sender does: so a body never
    /// needs more memory to arrive than it was declared to have, and one of no bytes is plain.
    pub fn check(self, declared: u32, compressed: usize) -> Result<(), DecompressError> {
        if declared > self.max_message {
            return Err(DecompressError::TooLarge { declared, allowed: self.max_message });
        }
        let most = (compressed as u64).saturating_mul(u64::from(self.max_ratio));
        if u64::from(declared) > most {
            return Err(DecompressError::Ratio { declared, compressed, allowed: self.max_ratio });
        }
        if declared as u64 <= compressed as u64 {
            return Err(DecompressError::NotSmaller { declared, compressed });
        }
        Ok(())
    }
}

/// Reads compressed bodies, one at a time, and keeps the decoder's memory between them.
///
/// What one body held has no effect on the next, also where it could not be read.
///
/// # Limits
/// Besides the body it reserves nothing for LZ4, and for Zstandard one context of at most 128 KiB, at the first such
/// body: bodies are decompressed in one step, straight to where they stay, so that there is no window of their own.
///
/// ```
/// use np_compress::{Adaptive, Caps, Compressor, Decompressor, Packed, Settings};
///
/// let body = b"so it goes, and so it went, ".repeat(100);
/// let mut compressor = Compressor::new(Settings::default())?;
/// let Packed::Compressed { raw, bytes } = compressor.compress(&body, &mut Adaptive::new()) else {
///     panic!("repetition shrinks");
/// };
/// let algorithm = compressor.algorithm();
/// let read = Decompressor::new().decompress(algorithm, raw, &bytes, Caps::default())?;
/// assert_eq!(read, body);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<DCtx<'static>>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").field("held", &self.held()).finish()
    }
}

impl Decompressor {
    /// A decompressor that holds no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { zstd: None }
    }

    /// Gives the body, which has exactly the declared size.
    ///
    /// # Errors
    /// Those of [`Caps::check`] first, then those of a frame that breaks a rule, all before memory is reserved; then those
    /// of bytes that give more or fewer than declared, or are not what the algorithm makes.
    ///
    /// # Limits
    /// It reserves `declared` bytes, and never more than `max_message`.
    pub fn decompress(
        &mut self,
        algorithm: Algorithm,
        declared: u32,
        compressed: &[u8],
        caps: Caps,
    ) -> Result<Vec<u8>, DecompressError> {
        caps.check(declared, compressed.len())?;
        let body = match algorithm {
            Algorithm::Lz4 => lz4(declared, compressed)?,
            Algorithm::Zstd => {
                zstd_frame::check(compressed, declared)?;
                let mut body = Vec::with_capacity(declared as usize);
                let context = self.zstd.get_or_insert_with(DCtx::create);
                context.decompress(&mut body, compressed).map_err(zstd_frame::refused)?;
                body
            }
        };
        if body.len() == declared as usize {
            Ok(body)
        } else {
            Err(DecompressError::TooShort { declared, given: body.len() })
        }
    }

    /// The bytes that are kept for the next body.
    ///
    /// ```
    /// assert_eq!(np_compress::Decompressor::new().held(), 0);
    /// ```
    #[must_use]
    pub fn held(&self) -> usize {
        self.zstd.as_ref().map_or(0, DCtx::sizeof)
    }

    /// Gives that memory back, as an idle connection does; the next body takes it again.
    ///
    /// ```
    /// np_compress::Decompressor::new().shrink();
    /// ```
    pub fn shrink(&mut self) {
        self.zstd = None;
    }
}

fn lz4(declared: u32, compressed: &[u8]) -> Result<Vec<u8>, DecompressError> {
    let mut body = vec![0; declared as usize];
    let given = lz4_flex::block::decompress_into(compressed, &mut body).map_err(|error| match error {
        Lz4Error::OutputTooSmall { .. } => DecompressError::TooLong { declared },
        Lz4Error::LiteralOutOfBounds | Lz4Error::ExpectedAnotherByte => malformed("it is cut short"),
        _ => malformed("it repeats bytes that do not stand before"),
    })?;
    body.truncate(given);
    Ok(body)
}

const fn malformed(detail: &'static str) -> DecompressError {
    DecompressError::Malformed { algorithm: Algorithm::Lz4, detail }
}
