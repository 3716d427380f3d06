//! Why a body was not decompressed. Owns the words and the blame; it must never hold a byte of a body.

use np_types::Blame;

use crate::Algorithm;

/// Why a body was not decompressed.
///
/// [`blame`](Self::blame) tells who has to change something. Nothing was reserved for the body where that is
/// [`Blame::Limit`], nor where a rule about its size or its frame was broken.
///
/// ```
/// use np_compress::{Algorithm, Caps, DecompressError, Decompressor};
/// use np_types::Blame;
///
/// let caps = Caps { max_message: 1_000, max_ratio: 256 };
/// let error = Decompressor::new().decompress(Algorithm::Lz4, 1_001, &[0; 10], caps).unwrap_err();
/// assert_eq!(error, DecompressError::TooLarge { declared: 1_001, allowed: 1_000 });
/// assert_eq!(error.blame(), Blame::Limit);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// It would be longer than the receiver takes.
    #[error(
        "limit max_message reached: the body has {declared} bytes once decompressed where {allowed} are allowed; send \
         less at once, or raise max_message"
    )]
    TooLarge {
        /// The size that the sender declared.
        declared: u32,
        /// The receiver's limit.
        allowed: u32,
    },
    /// Each of its bytes would stand for more than the receiver takes.
    #[error(
        "limit max_ratio reached: {compressed} bytes declare {declared} where each may stand for {allowed}; send such \
         a body plain, or raise max_ratio"
    )]
    Ratio {
        /// The size that the sender declared.
        declared: u32,
        /// The size that came.
        compressed: usize,
        /// The receiver's limit.
        allowed: u32,
    },
    /// It is no smaller than what it stands for.
    #[error("{compressed} compressed bytes declare {declared}: where nothing is won, a body travels plain")]
    NotSmaller {
        /// The size that the sender declared.
        declared: u32,
        /// The size that came.
        compressed: usize,
    },
    /// The frame of Zstandard states another size than the message.
    #[error("the message declares {declared} bytes and its zstd frame {frame}: the peer's encoder is at fault")]
    FrameSize {
        /// The size that the sender declared.
        declared: u32,
        /// The size in the frame.
        frame: u64,
    },
    /// The frame of Zstandard states no size.
    #[error("the zstd frame states no size; the peer must compress with the content size in the frame")]
    NoFrameSize,
    /// The frame of Zstandard asks for a dictionary.
    #[error("the zstd frame asks for a dictionary, and none is ever agreed; the peer must compress without")]
    Dictionary,
    /// The frame of Zstandard has a checksum.
    #[error("the zstd frame has a checksum, where records are authenticated already; the peer must leave it out")]
    Checksum,
    /// A frame without content.
    #[error("the zstd frame is one to skip; the peer must send one frame, and with content")]
    Skippable,
    /// The frame of Zstandard asks for a window beyond its content.
    #[error(
        "the zstd frame asks for a window of {window} bytes where {allowed} are enough; the peer must declare the size \
         to its encoder"
    )]
    Window {
        /// The window in the frame, in bytes.
        window: u64,
        /// What the declared size needs.
        allowed: u64,
    },
    /// Bytes behind the one frame: another frame, or anything else.
    #[error("{bytes} bytes stand behind the zstd frame; the peer must send one frame and nothing else")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// It gives more bytes than were declared.
    #[error("the body gives more than the {declared} bytes that it declares: the peer's encoder is at fault")]
    TooLong {
        /// The size that the sender declared.
        declared: u32,
    },
    /// It gives fewer bytes than were declared.
    #[error("the body gives {given} of the {declared} bytes that it declares: the peer's encoder is at fault")]
    TooShort {
        /// The size that the sender declared.
        declared: u32,
        /// The size that came out.
        given: usize,
    },
    /// Bytes that the algorithm cannot have made.
    #[error("the body is not valid {}: {detail}; is it compressed by another algorithm?", algorithm.name())]
    Malformed {
        /// What it was read as.
        algorithm: Algorithm,
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl DecompressError {
    /// Who has to change something.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::TooLarge { .. } | Self::Ratio { .. } => Blame::Limit,
            Self::Malformed { .. } => Blame::Malformed,
            _ => Blame::Misbehaved,
        }
    }
}
