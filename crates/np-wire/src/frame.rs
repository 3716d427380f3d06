//! The frames: what a record holds.

use np_types::{CloseCode, Codec, Metadata, Status};

use crate::{Settings, StreamId};

/// The kinds of frames. Kinds below 0x10 carry no stream id, the others do; both ranges can be skipped by a reader
/// that does not know the kind.
///
/// ```
/// use np_wire::FrameKind;
/// assert_eq!(FrameKind::from_wire(0x08), Some(FrameKind::Request));
/// assert_eq!(FrameKind::from_wire(0x0f), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum FrameKind {
    /// Zeros that make a record longer.
    Padding = 0x00,
    /// What the sender takes; once, alone in the first record.
    Settings = 0x01,
    /// The end of the connection.
    Close = 0x02,
    /// The sender accepts no streams beyond those it names.
    GoAway = 0x03,
    /// Asks for a pong.
    Ping = 0x04,
    /// Answers a ping.
    Pong = 0x05,
    /// The next record uses the next key.
    KeyUpdate = 0x06,
    /// Gives a method number its name.
    Method = 0x07,
    /// Opens a unary call.
    Request = 0x08,
    /// Opens a message that has no answer.
    OneWay = 0x09,
    /// Opens a stream of messages both ways.
    Stream = 0x0a,
    /// More credit for the connection.
    ConnectionCredit = 0x0b,
    /// How many calls may be open from now on.
    CallAllowance = 0x0c,
    /// The answer to a unary call.
    Response = 0x10,
    /// More bytes of a message.
    Data = 0x11,
    /// The end of a call: its status.
    Trailers = 0x12,
    /// The caller gives a call up.
    Cancel = 0x13,
    /// More credit for a stream.
    StreamCredit = 0x14,
    /// The first bytes of a stream's message that was made smaller.
    Compressed = 0x15,
}

impl FrameKind {
    /// Every kind.
    pub const ALL: &[Self] = &[
        Self::Padding,
        Self::Settings,
        Self::Close,
        Self::GoAway,
        Self::Ping,
        Self::Pong,
        Self::KeyUpdate,
        Self::Method,
        Self::Request,
        Self::OneWay,
        Self::Stream,
        Self::ConnectionCredit,
        Self::CallAllowance,
        Self::Response,
        Self::Data,
        Self::Trailers,
        Self::Cancel,
        Self::StreamCredit,
        Self::Compressed,
    ];

    /// The number on the wire: five bits.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// The kind of a number.
    #[must_use]
    pub const fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            0x00 => Self::Padding,
            0x01 => Self::Settings,
            0x02 => Self::Close,
            0x03 => Self::GoAway,
            0x04 => Self::Ping,
            0x05 => Self::Pong,
            0x06 => Self::KeyUpdate,
            0x07 => Self::Method,
            0x08 => Self::Request,
            0x09 => Self::OneWay,
            0x0a => Self::Stream,
            0x0b => Self::ConnectionCredit,
            0x0c => Self::CallAllowance,
            0x10 => Self::Response,
            0x11 => Self::Data,
            0x12 => Self::Trailers,
            0x13 => Self::Cancel,
            0x14 => Self::StreamCredit,
            0x15 => Self::Compressed,
            _ => return None,
        })
    }

    /// Whether frames of the kind carry a stream id.
    #[must_use]
    pub const fn has_stream(self) -> bool {
        self.to_wire() >= FIRST_WITH_STREAM
    }

    /// The flags that a frame of the kind may carry.
    pub(crate) const fn flags(self) -> u8 {
        match self {
            Self::Request | Self::OneWay | Self::Stream => DEFAULT_DEADLINE | MORE | EXTENSION,
            Self::Response => MORE | EXTENSION,
            Self::Data => FIN | END,
            Self::Compressed => END,
            Self::Trailers => EXTENSION,
            _ => 0,
        }
    }
}

/// Kinds from here on carry a stream id, also those that this version does not know.
pub(crate) const FIRST_WITH_STREAM: u8 = 0x10;
pub(crate) const DEFAULT_DEADLINE: u8 = 0b001;
pub(crate) const MORE: u8 = 0b010;
pub(crate) const EXTENSION: u8 = 0b100;
pub(crate) const FIN: u8 = 0b001;
pub(crate) const END: u8 = 0b010;

/// How the bytes of a body were made smaller. Four bits on the wire.
///
/// ```
/// assert_eq!(np_wire::Encoding::Plain.raw_size(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Plain,
    /// LZ4 block; the bytes it gives.
    Lz4 {
        /// Bytes once decompressed.
        raw: u32,
    },
    /// Zstandard; the bytes it gives.
    Zstd {
        /// Bytes once decompressed.
        raw: u32,
    },
    /// An encoding that this version does not know, 3 to 15; like each but the plain one it declares its size.
    Other {
        /// Its number.
        number: u8,
        /// Bytes once decompressed.
        raw: u32,
    },
}

impl Encoding {
    /// The encoding of a number and a declared size; [`Encoding::Plain`] declares none.
    pub(crate) const fn declared(number: u8, raw: u32) -> Self {
        match number {
            1 => Self::Lz4 { raw },
            2 => Self::Zstd { raw },
            number => Self::Other { number, raw },
        }
    }

    /// The number on the wire.
    #[must_use]
    #[inline]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Lz4 { .. } => 1,
            Self::Zstd { .. } => 2,
            Self::Other { number, .. } => number & 0x0f,
        }
    }

    /// The declared size once decompressed.
    #[must_use]
    #[inline]
    pub const fn raw_size(self) -> Option<u32> {
        match self {
            Self::Plain => None,
            Self::Lz4 { raw } | Self::Zstd { raw } | Self::Other { raw, .. } => Some(raw),
        }
    }
}

/// What is left of a call's time when its record is sealed.
///
/// ```
/// use np_wire::RemainingTime;
/// assert_eq!(RemainingTime::default(), RemainingTime::Default);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RemainingTime {
    /// 30 s, a constant of version 1: a flag bit and no bytes.
    #[default]
    Default,
    /// As many milliseconds.
    Millis(u64),
    /// No deadline.
    Unlimited,
}

/// What an opening frame opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpenKind {
    /// A call with one answer.
    Request,
    /// A message without an answer.
    OneWay,
    /// A stream of messages both ways.
    Stream,
}

impl OpenKind {
    pub(crate) const fn frame(self) -> FrameKind {
        match self {
            Self::Request => FrameKind::Request,
            Self::OneWay => FrameKind::OneWay,
            Self::Stream => FrameKind::Stream,
        }
    }
}

/// The frame that opens a call, a one-way message or a stream. Its id is implied: the opener's next.
///
/// ```
/// use np_wire::{Frame, Open, OpenKind, decode_frame, encode_frame};
/// let open = Open { method: 1, body: b"hello", ..Open::new(OpenKind::Request) };
/// let mut out = Vec::new();
/// encode_frame(&mut out, &Frame::Open(open.clone()));
/// assert_eq!(out.len(), 4 + 5);
/// assert_eq!(decode_frame(&out)?, (Frame::Open(open), out.len()));
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open<'a> {
    /// What it opens.
    pub kind: OpenKind,
    /// The caller's number of the method.
    pub method: u32,
    /// How the body is to be read.
    pub codec: Codec,
    /// How the body was made smaller.
    pub encoding: Encoding,
    /// What is left of the caller's time.
    pub remaining: RemainingTime,
    /// The size of the whole message where this frame does not hold all of it; DATA frames follow.
    pub total: Option<u32>,
    /// Pairs beside the body.
    pub metadata: Metadata,
    /// The body, or its first bytes.
    pub body: &'a [u8],
}

impl Open<'_> {
    /// An opening frame with every field at its default and an empty body.
    #[must_use]
    pub fn new(kind: OpenKind) -> Self {
        Self {
            kind,
            method: 0,
            codec: Codec::Bytes,
            encoding: Encoding::Plain,
            remaining: RemainingTime::Default,
            total: None,
            metadata: Metadata::default(),
            body: &[],
        }
    }
}

/// The frame that answers a unary call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<'a> {
    /// The call.
    pub id: StreamId,
    /// How the body is to be read.
    pub codec: Codec,
    /// How the body was made smaller.
    pub encoding: Encoding,
    /// The size of the whole message where this frame does not hold all of it; DATA frames follow.
    pub total: Option<u32>,
    /// Pairs beside the body.
    pub metadata: Metadata,
    /// The body, or its first bytes.
    pub body: &'a [u8],
}

/// The frame that ends a call with a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailers<'a> {
    /// The call or stream.
    pub id: StreamId,
    /// How it ended.
    pub status: Status,
    /// What the callee has to say; text from a peer.
    pub text: &'a str,
    /// Pairs beside the status.
    pub metadata: Metadata,
}

/// One frame. Slices borrow from the record.
///
/// ```
/// use np_wire::{Frame, decode_frame};
/// let (frame, used) = decode_frame(&[0x04 << 3, 1, 9])?;
/// assert_eq!((frame, used), (Frame::Ping(9), 3));
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// As many zeros.
    Padding(usize),
    /// What the sender takes.
    Settings(Settings),
    /// The end of the connection.
    Close {
        /// Why.
        code: CloseCode,
        /// What the sender has to say; text from a peer.
        text: &'a str,
    },
    /// The sender accepts no streams beyond the first `accepted` of its receiver.
    GoAway {
        /// How many of the receiver's streams the sender has accepted in all.
        accepted: u64,
        /// Why.
        code: CloseCode,
    },
    /// Asks for a pong with the same token.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
    /// The next record of this direction uses the next key; the last frame of its record.
    KeyUpdate,
    /// Gives a method number its name.
    Method {
        /// The number: the sender's next, from 0.
        number: u32,
        /// The name; its characters are checked where it is looked up.
        name: &'a str,
    },
    /// Opens a call, a message or a stream.
    Open(Open<'a>),
    /// As many more bytes for the connection.
    ConnectionCredit(u32),
    /// As many calls may be open at once from now on.
    CallAllowance(u32),
    /// The answer to a unary call.
    Response(Response<'a>),
    /// More bytes of a message.
    Data {
        /// The stream.
        id: StreamId,
        /// Whether the sender sends no more on this stream.
        fin: bool,
        /// Whether the message ends here.
        end: bool,
        /// The bytes.
        body: &'a [u8],
    },
    /// The end of a call.
    Trailers(Trailers<'a>),
    /// The caller gives a call up.
    Cancel {
        /// The call.
        id: StreamId,
        /// Why.
        status: Status,
    },
    /// More credit for a stream.
    StreamCredit {
        /// The stream.
        id: StreamId,
        /// As many more bytes.
        bytes: u32,
    },
    /// The first bytes of a stream's message that was made smaller; DATA holds the rest.
    Compressed {
        /// The stream.
        id: StreamId,
        /// How; never [`Encoding::Plain`].
        encoding: Encoding,
        /// Whether the message ends here.
        end: bool,
        /// The bytes.
        body: &'a [u8],
    },
    /// A frame of a kind that this version does not know: to be skipped, and counted.
    Unknown {
        /// Its kind.
        kind: u8,
        /// The bytes it takes in all.
        size: usize,
    },
}
