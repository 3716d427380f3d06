//! From a body to fewer bytes, or to none where it is not worth it. Owns what a sender decides and in which order; it
//! must never know whom a body is for.

use std::fmt;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use np_types::LimitsError;
use zstd_safe::CCtx;

use crate::{Adaptive, Algorithm, Encoder, MAX_BODY, Settings};

/// From this length on an adaptive compressor looks at a sample first: below, the whole body costs little more.
const SAMPLED_FROM: usize = 256 << 10;

/// The sample is three slices of this many bytes: from the start, the middle and the end.
const SLICE: usize = 4 << 10;

/// The level of Zstandard for a sample, whatever the level for the body.
const SAMPLE_LEVEL: u8 = 1;

/// From this length on LZ4 needs the table of wide entries.
const WIDE_FROM: usize = u16::MAX as usize;

/// The bytes of LZ4's table of narrow entries; the other has twice as many.
const NARROW_TABLE: usize = 8 << 10;

/// How a body travels.
///
/// ```
/// use np_compress::{Adaptive, Compressor, Packed, PlainReason, Settings};
/// let mut compressor = Compressor::new(Settings::default())?;
/// let packed = compressor.compress(b"short", &mut Adaptive::new());
/// assert_eq!(packed, Packed::Plain(PlainReason::TooSmall));
/// # Ok::<(), np_types::LimitsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed {
    /// As it is.
    Plain(PlainReason),
    /// As these bytes.
    Compressed {
        /// The size of the body, which the message declares.
        raw: u32,
        /// What is sent: at least a sixteenth shorter than the body.
        bytes: Vec<u8>,
    },
}

/// Why a body travels as it is; shown in [`Packed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlainReason {
    /// It is shorter than the threshold.
    TooSmall,
    /// It is longer than [`MAX_BODY`].
    TooLarge,
    /// Bodies of its method gave nothing before, and it was not looked at.
    Skipped,
    /// A sample of it gave nothing.
    Sample,
    /// It did not shrink by a sixteenth.
    NoGain,
    /// It shrank further than the receiver would believe.
    Ratio,
}

/// Makes bodies smaller, one at a time, and keeps the encoder's memory between them.
///
/// The same body under the same settings gives the same bytes, whatever was compressed before: no message tells
/// anything about another.
///
/// # Limits
/// While it works it reserves, besides what [`held`](Self::held) counts, 1.1 times the body for LZ4 and 15/16 of it for
/// Zstandard; the bytes it gives take no more room than their length. The crate's page has the memory of contexts.
///
/// ```
/// use np_compress::{Adaptive, Compressor, Encoder, Packed, Settings};
/// let settings = Settings { encoder: Encoder::Zstd { level: 3 }, ..Settings::default() };
/// let mut compressor = Compressor::new(settings)?;
/// let body = b"temperature=21.5;".repeat(100);
/// let Packed::Compressed { raw, bytes } = compressor.compress(&body, &mut Adaptive::new()) else {
///     panic!("repetition shrinks");
/// };
/// assert_eq!(raw, 1_700);
/// assert!(bytes.len() < 100);
/// # Ok::<(), np_types::LimitsError>(())
/// ```
pub struct Compressor {
    settings: Settings,
    /// LZ4 finds other matches with the wide table: short bodies must not meet it because a long one came before.
    narrow: Option<CompressTable>,
    wide: Option<CompressTable>,
    zstd: Option<CCtx<'static>>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("settings", &self.settings).field("held", &self.held()).finish()
    }
}

impl Compressor {
    /// A compressor that holds no memory yet.
    ///
    /// # Errors
    /// Those of [`Settings::validate`].
    pub fn new(settings: Settings) -> Result<Self, LimitsError> {
        settings.validate()?;
        Ok(Self { settings, narrow: None, wide: None, zstd: None })
    }

    /// How its bytes have to be read.
    ///
    /// ```
    /// use np_compress::{Algorithm, Compressor, Settings};
    /// assert_eq!(Compressor::new(Settings::default())?.algorithm(), Algorithm::Lz4);
    /// # Ok::<(), np_types::LimitsError>(())
    /// ```
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.settings.encoder.algorithm()
    }

    /// Compresses a body, or says why it travels plain. `method` is what is remembered of the bodies of its method; where
    /// the settings are not adaptive, it is neither read nor written.
    pub fn compress(&mut self, body: &[u8], method: &mut Adaptive) -> Packed {
        let Some(raw) = u32::try_from(body.len()).ok().filter(|raw| *raw <= MAX_BODY) else {
            return Packed::Plain(PlainReason::TooLarge);
        };
        if raw < self.settings.threshold {
            return Packed::Plain(PlainReason::TooSmall);
        }
        if !self.settings.adaptive {
            return self.attempt(body, raw);
        }
        if !method.admits() {
            return Packed::Plain(PlainReason::Skipped);
        }
        let packed =
            if self.sample_shrinks(body) { self.attempt(body, raw) } else { Packed::Plain(PlainReason::Sample) };
        method.record(matches!(packed, Packed::Compressed { .. }));
        packed
    }

    /// The bytes that are kept for the next body.
    ///
    /// ```
    /// use np_compress::{Compressor, Settings};
    /// assert_eq!(Compressor::new(Settings::default())?.held(), 0);
    /// # Ok::<(), np_types::LimitsError>(())
    /// ```
    #[must_use]
    pub fn held(&self) -> usize {
        let table = |table: &Option<CompressTable>, bytes| if table.is_some() { bytes } else { 0 };
        table(&self.narrow, NARROW_TABLE)
            + table(&self.wide, 2 * NARROW_TABLE)
            + self.zstd.as_ref().map_or(0, CCtx::sizeof)
    }

    /// Gives that memory back, as an idle connection does; the next body takes it again.
    ///
    /// ```
    /// use np_compress::{Compressor, Settings};
    /// Compressor::new(Settings::default())?.shrink();
    /// # Ok::<(), np_types::LimitsError>(())
    /// ```
    pub fn shrink(&mut self) {
        (self.narrow, self.wide, self.zstd) = (None, None, None);
    }

    fn attempt(&mut self, body: &[u8], raw: u32) -> Packed {
        let Some(mut bytes) = self.encode(self.settings.encoder, body) else {
            return Packed::Plain(PlainReason::NoGain);
        };
        if u64::from(raw) > bytes.len() as u64 * u64::from(self.settings.max_ratio) {
            return Packed::Plain(PlainReason::Ratio);
        }
        bytes.shrink_to_fit();
        Packed::Compressed { raw, bytes }
    }

    /// A short body is its own sample, and taken to shrink.
    fn sample_shrinks(&mut self, body: &[u8]) -> bool {
        if body.len() < SAMPLED_FROM {
            return true;
        }
        let starts = [0, body.len() / 2, body.len() - SLICE];
        let sample = starts.map(|start| body.get(start..start + SLICE).unwrap_or_default()).concat();
        let encoder = match self.settings.encoder {
            Encoder::Lz4 => Encoder::Lz4,
            Encoder::Zstd { .. } => Encoder::Zstd { level: SAMPLE_LEVEL },
        };
        self.encode(encoder, &sample).is_some()
    }

    /// Fewer bytes, where enough are won.
    fn encode(&mut self, encoder: Encoder, body: &[u8]) -> Option<Vec<u8>> {
        let most = body.len() - body.len().div_ceil(16);
        match encoder {
            Encoder::Lz4 => {
                let mut bytes = vec![0; get_maximum_output_size(body.len())];
                let table = if body.len() < WIDE_FROM {
                    self.narrow.get_or_insert_with(CompressTable::small)
                } else {
                    self.wide.get_or_insert_with(CompressTable::large)
                };
                let length = compress_into_with_table(body, &mut bytes, table).ok()?;
                bytes.truncate(length);
                (length <= most).then_some(bytes)
            }
            Encoder::Zstd { level } => {
                // Without room for more, the library gives up as soon as nothing is won.
                let mut bytes = Vec::with_capacity(most);
                let context = self.zstd.get_or_insert_with(CCtx::create);
                context.compress(&mut bytes, body, i32::from(level)).ok()?;
                (bytes.len() <= most).then_some(bytes)
            }
        }
    }
}
