//! What a sender may set. Owns the ranges of the settings; it must never know a body.

use np_types::LimitsError;

/// The most bytes that one byte of a compressed body may stand for, where nobody says otherwise.
///
/// ```
/// assert_eq!(np_compress::DEFAULT_MAX_RATIO, 256);
/// ```
pub const DEFAULT_MAX_RATIO: u32 = 256;

/// The largest body that is compressed: 1 GiB, which is the most that `max_message` can be.
///
/// ```
/// assert_eq!(np_compress::MAX_BODY, 1 << 30);
/// ```
pub const MAX_BODY: u32 = 1 << 30;

/// How the bytes of a body are read.
///
/// A body has one algorithm or none: what comes out of [`Decompressor`](crate::Decompressor) is the message, and no
/// field could say that it has to be decompressed once more.
///
/// ```
/// assert_eq!(np_compress::Algorithm::Zstd.name(), "zstd");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// One LZ4 block, without a frame and without a size of its own.
    Lz4,
    /// One Zstandard frame (RFC 8878) that states its size, and has neither dictionary nor checksum.
    Zstd,
}

impl Algorithm {
    /// The name that settings and errors show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How bodies are made smaller: the algorithm, and the effort where it has one.
///
/// ```
/// use np_compress::{Algorithm, Encoder};
/// assert_eq!(Encoder::Zstd { level: 3 }.algorithm(), Algorithm::Zstd);
/// assert_eq!(Encoder::default(), Encoder::Lz4);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoder {
    /// Fast, with small tables and no levels.
    #[default]
    Lz4,
    /// Smaller bodies for more time and memory.
    Zstd {
        /// The effort, 1 to 19. The memory of a context grows with it: see the crate's page.
        level: u8,
    },
}

impl Encoder {
    /// What the receiver needs to know.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Lz4 => Algorithm::Lz4,
            Self::Zstd { .. } => Algorithm::Zstd,
        }
    }
}

/// When and how a sender compresses.
///
/// ```
/// use np_compress::{Encoder, Settings};
/// let settings = Settings { encoder: Encoder::Zstd { level: 3 }, ..Settings::default() };
/// assert!(settings.validate().is_ok());
///
/// let wrong = Settings { encoder: Encoder::Zstd { level: 20 }, ..settings };
/// assert_eq!(wrong.validate().unwrap_err().to_string(), "level is 20, but must be 1 to 19");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The algorithm and its level. Default LZ4.
    pub encoder: Encoder,
    /// The shortest body that is compressed, in bytes; a shorter one travels plain. Default 512; 1 B to 1 GiB.
    pub threshold: u32,
    /// The most bytes that one compressed byte may stand for, and no more than the receiver takes: a body that shrinks
    /// further travels plain. Default 256; 2 to 32,768, the most that a block of Zstandard reaches.
    pub max_ratio: u32,
    /// Whether large bodies are judged by a sample, and methods whose bodies do not shrink are left alone for a while.
    /// Default on.
    pub adaptive: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { encoder: Encoder::Lz4, threshold: 512, max_ratio: DEFAULT_MAX_RATIO, adaptive: true }
    }
}

impl Settings {
    /// Checks each setting.
    ///
    /// # Errors
    /// Names the first setting that is out of its range, its value and the rule.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let check = |setting, value: u32, fine: bool, rule| {
            if fine { Ok(()) } else { Err(LimitsError { setting, value: u64::from(value), rule }) }
        };
        if let Encoder::Zstd { level } = self.encoder {
            check("level", u32::from(level), (1..=19).contains(&level), "1 to 19")?;
        }
        check("threshold", self.threshold, (1..=MAX_BODY).contains(&self.threshold), "1 B to 1 GiB")?;
        check("max_ratio", self.max_ratio, (2..=32_768).contains(&self.max_ratio), "2 to 32768")
    }
}

#[cfg(test)]
mod tests {
    use super::{Encoder, MAX_BODY, Settings};

    #[test]
    fn each_setting_of_compression_is_checked_by_name_at_both_ends() {
        let fine = Settings::default();
        let level = |level| Settings { encoder: Encoder::Zstd { level }, ..fine };
        let threshold = |threshold| Settings { threshold, ..fine };
        let ratio = |max_ratio| Settings { max_ratio, ..fine };
        for good in [fine, level(1), level(19), threshold(1), threshold(MAX_BODY), ratio(2), ratio(32_768)] {
            good.validate().unwrap();
        }
        let wrong = [
            ("level", 0, level(0)),
            ("level", 20, level(20)),
            ("threshold", 0, threshold(0)),
            ("threshold", u64::from(MAX_BODY) + 1, threshold(MAX_BODY + 1)),
            ("max_ratio", 1, ratio(1)),
            ("max_ratio", 32_769, ratio(32_769)),
        ];
        for (setting, value, settings) in wrong {
            let error = settings.validate().unwrap_err();
            assert_eq!((error.setting, error.value), (setting, value));
        }
    }
}
