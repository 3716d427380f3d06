//! Frames from bytes.

use np_types::{CloseCode, Codec, LimitName, Malformed, Metadata, MethodName, Status};

use crate::frame::{DEFAULT_DEADLINE, END, EXTENSION, FIN, FIRST_WITH_STREAM, MORE};
use crate::{
    Encoding, Frame, FrameKind, MAX_TEXT, Open, OpenKind, Reader, RemainingTime, Response, Settings, StreamId,
    Trailers, WireError,
};

/// The extension entry that holds metadata.
pub(crate) const METADATA: u64 = 1;

/// The frames of one record, in order; ends after the first error.
///
/// ```
/// use np_wire::{Frame, Frames};
/// let frames: Result<Vec<_>, _> = Frames::new(&[0x04 << 3, 1, 9, 0x06 << 3, 0]).collect();
/// assert_eq!(frames?, [Frame::Ping(9), Frame::KeyUpdate]);
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// The frames of the opened record `plaintext`.
    #[must_use]
    pub const fn new(plaintext: &'a [u8]) -> Self {
        Self { rest: plaintext }
    }

    /// Whether no frame is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = self.next_raw()?.and_then(|raw| raw.decode());
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

impl<'a> Frames<'a> {
    /// The head of the next frame, and its payload as it is: for a reader that has a way of its own for what comes often.
    ///
    /// ```
    /// use np_wire::{Frame, Frames, RawFrame};
    /// let mut frames = Frames::new(&[0x04 << 3, 1, 9]);
    /// assert_eq!(frames.next_raw().transpose()?.map(RawFrame::decode).transpose()?, Some(Frame::Ping(9)));
    /// assert!(frames.next_raw().is_none());
    /// # Ok::<(), np_wire::WireError>(())
    /// ```
    #[inline]
    pub fn next_raw(&mut self) -> Option<Result<RawFrame<'a>, WireError>> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.rest);
        let raw = RawFrame::read(&mut reader);
        self.rest = if raw.is_ok() { reader.rest() } else { &[] };
        Some(raw)
    }
}

/// A frame of which the kind, the stream and the length are known, and nothing else was looked at.
///
/// ```
/// use np_wire::{Frames, OpenKind};
/// let raw = Frames::new(&[0x08 << 3 | 1, 2, 7, 0]).next_raw().transpose()?;
/// assert_eq!(raw.and_then(|raw| raw.opens()), Some(OpenKind::Request));
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RawFrame<'a> {
    number: u8,
    flags: u8,
    id: u64,
    payload: &'a [u8],
    size: usize,
}

impl<'a> RawFrame<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let before = reader.rest().len();
        let first = reader.u8("a frame")?;
        let (number, flags) = (first >> 3, first & 0b111);
        let id = if number >= FIRST_WITH_STREAM { reader.varint("a stream id")? } else { 0 };
        let payload = reader.prefixed("a frame")?;
        let size = before.saturating_sub(reader.rest().len());
        Ok(Self { number, flags, id, payload, size })
    }

    /// What it opens, if it opens anything.
    #[must_use]
    #[inline]
    pub const fn opens(&self) -> Option<OpenKind> {
        match self.number {
            number if number == FrameKind::Request.to_wire() => Some(OpenKind::Request),
            number if number == FrameKind::OneWay.to_wire() => Some(OpenKind::OneWay),
            number if number == FrameKind::Stream.to_wire() => Some(OpenKind::Stream),
            _ => None,
        }
    }

    /// Whether it answers a unary call.
    #[must_use]
    #[inline]
    pub const fn answers(&self) -> bool {
        self.number == FrameKind::Response.to_wire()
    }

    /// Reads it as what [`RawFrame::opens`] gave.
    ///
    /// # Errors
    /// As [`decode_frame`].
    #[inline]
    pub fn open(&self, kind: OpenKind) -> Result<Open<'a>, WireError> {
        self.check_flags(kind.frame())?;
        open(kind, self.flags, Reader::new(self.payload))
    }

    /// Reads it as the answer that [`RawFrame::answers`] says it is.
    ///
    /// # Errors
    /// As [`decode_frame`].
    #[inline]
    pub fn response(&self) -> Result<Response<'a>, WireError> {
        self.check_flags(FrameKind::Response)?;
        response(StreamId::from_wire(self.id), self.flags, Reader::new(self.payload))
    }

    /// Reads it, whatever it is.
    ///
    /// # Errors
    /// As [`decode_frame`].
    pub fn decode(self) -> Result<Frame<'a>, WireError> {
        let Some(kind) = FrameKind::from_wire(self.number) else {
            return Ok(Frame::Unknown { kind: self.number, size: self.size });
        };
        self.check_flags(kind)?;
        decode_payload(kind, self.flags, StreamId::from_wire(self.id), self.payload)
    }

    #[inline]
    fn check_flags(&self, kind: FrameKind) -> Result<(), WireError> {
        if self.flags & !kind.flags() == 0 { Ok(()) } else { Err(Malformed::Value("the flags of a frame").into()) }
    }
}

/// Reads the frame at the front of `bytes`, and how many bytes it takes.
///
/// # Errors
/// When the bytes are no frame, or a limit is hit; the error names the field or the limit.
pub fn decode_frame(bytes: &[u8]) -> Result<(Frame<'_>, usize), WireError> {
    let raw = RawFrame::read(&mut Reader::new(bytes))?;
    Ok((raw.decode()?, raw.size))
}

fn decode_payload<'a>(kind: FrameKind, flags: u8, id: StreamId, payload: &'a [u8]) -> Result<Frame<'a>, WireError> {
    let mut reader = Reader::new(payload);
    let frame = match kind {
        FrameKind::Padding => return padding(payload),
        FrameKind::Settings => return Settings::decode(payload).map(Frame::Settings),
        FrameKind::Close => {
            let code = close_code(&mut reader)?;
            return Ok(Frame::Close { code, text: text(reader.rest())? });
        }
        FrameKind::GoAway => {
            let accepted = reader.varint("a go-away")?;
            Frame::GoAway { accepted, code: close_code(&mut reader)? }
        }
        FrameKind::Ping => Frame::Ping(reader.varint("a ping")?),
        FrameKind::Pong => Frame::Pong(reader.varint("a pong")?),
        FrameKind::KeyUpdate => Frame::KeyUpdate,
        FrameKind::Method => {
            let number = reader.varint32("a method number")?;
            return Ok(Frame::Method { number, name: method_name(reader.rest())? });
        }
        FrameKind::Request => return open(OpenKind::Request, flags, reader).map(Frame::Open),
        FrameKind::OneWay => return open(OpenKind::OneWay, flags, reader).map(Frame::Open),
        FrameKind::Stream => return open(OpenKind::Stream, flags, reader).map(Frame::Open),
        FrameKind::ConnectionCredit => Frame::ConnectionCredit(reader.varint32("a credit")?),
        FrameKind::CallAllowance => Frame::CallAllowance(reader.varint32("a call allowance")?),
        FrameKind::Response => return response(id, flags, reader).map(Frame::Response),
        FrameKind::Data => {
            return Ok(Frame::Data { id, fin: flags & FIN != 0, end: flags & END != 0, body: payload });
        }
        FrameKind::Trailers => return trailers(id, flags, reader),
        FrameKind::Cancel => Frame::Cancel { id, status: status(&mut reader)? },
        FrameKind::StreamCredit => Frame::StreamCredit { id, bytes: reader.varint32("a credit")? },
        FrameKind::Compressed => return compressed(id, flags, reader),
    };
    reader.finish("a frame")?;
    Ok(frame)
}

fn padding(payload: &[u8]) -> Result<Frame<'_>, WireError> {
    if payload.iter().any(|byte| *byte != 0) {
        return Err(Malformed::Value("padding").into());
    }
    Ok(Frame::Padding(payload.len()))
}

#[inline]
fn open(kind: OpenKind, flags: u8, mut reader: Reader<'_>) -> Result<Open<'_>, WireError> {
    let method = reader.varint32("a method number")?;
    let (codec, encoding) = codec_and_encoding(&mut reader)?;
    let remaining = remaining_time(flags, &mut reader)?;
    let total = total(flags, &mut reader)?;
    let metadata = extension(flags, &mut reader)?;
    let body = reader.rest();
    Ok(Open { kind, method, codec, encoding, remaining, total, metadata, body })
}

#[inline]
fn response(id: StreamId, flags: u8, mut reader: Reader<'_>) -> Result<Response<'_>, WireError> {
    let (codec, encoding) = codec_and_encoding(&mut reader)?;
    let total = total(flags, &mut reader)?;
    let metadata = extension(flags, &mut reader)?;
    Ok(Response { id, codec, encoding, total, metadata, body: reader.rest() })
}

fn trailers(id: StreamId, flags: u8, mut reader: Reader<'_>) -> Result<Frame<'_>, WireError> {
    let status = status(&mut reader)?;
    let metadata = extension(flags, &mut reader)?;
    Ok(Frame::Trailers(Trailers { id, status, text: text(reader.rest())?, metadata }))
}

/// Its codec is that of the stream, and a message that is not compressed travels as DATA.
fn compressed(id: StreamId, flags: u8, mut reader: Reader<'_>) -> Result<Frame<'_>, WireError> {
    match codec_and_encoding(&mut reader)? {
        (_, Encoding::Plain) => Err(Malformed::Value("an encoding").into()),
        (Codec::Bytes, encoding) => Ok(Frame::Compressed { id, encoding, end: flags & END != 0, body: reader.rest() }),
        _ => Err(Malformed::Value("a codec").into()),
    }
}

/// Part of whoever calls it: given back through memory, in pieces, it would be read again before it is written.
#[inline(always)]
fn codec_and_encoding(reader: &mut Reader<'_>) -> Result<(Codec, Encoding), WireError> {
    let byte = reader.u8("a codec")?;
    let encoding = match byte >> 4 {
        0 => Encoding::Plain,
        number => declared(number, reader)?,
    };
    Ok((Codec::from_wire(byte), encoding))
}

#[cold]
fn declared(number: u8, reader: &mut Reader<'_>) -> Result<Encoding, WireError> {
    Ok(Encoding::declared(number, reader.varint32("a size")?))
}

/// Zero means no deadline; else the milliseconds and one.
#[inline]
fn remaining_time(flags: u8, reader: &mut Reader<'_>) -> Result<RemainingTime, WireError> {
    if flags & DEFAULT_DEADLINE != 0 {
        return Ok(RemainingTime::Default);
    }
    Ok(match reader.varint("a deadline")?.checked_sub(1) {
        None => RemainingTime::Unlimited,
        Some(millis) => RemainingTime::Millis(millis),
    })
}

#[inline]
fn total(flags: u8, reader: &mut Reader<'_>) -> Result<Option<u32>, WireError> {
    if flags & MORE == 0 { Ok(None) } else { reader.varint32("the size of a message").map(Some) }
}

#[inline]
fn extension(flags: u8, reader: &mut Reader<'_>) -> Result<Metadata, WireError> {
    if flags & EXTENSION == 0 { Ok(Metadata::new()) } else { entries(reader) }
}

fn entries(reader: &mut Reader<'_>) -> Result<Metadata, WireError> {
    let mut pairs = Metadata::new();
    let mut entries = Reader::new(reader.prefixed("an extension")?);
    let mut seen = false;
    while !entries.rest().is_empty() {
        let tag = entries.varint("an extension")?;
        let value = entries.prefixed("an extension")?;
        if tag == METADATA {
            if std::mem::replace(&mut seen, true) {
                return Err(Malformed::Duplicate("metadata").into());
            }
            metadata(value, &mut pairs)?;
        }
    }
    Ok(pairs)
}

fn metadata(bytes: &[u8], pairs: &mut Metadata) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    let mut size = 0usize;
    while !reader.rest().is_empty() {
        let key = reader.prefixed("a metadata key")?;
        let key = std::str::from_utf8(key).map_err(|_| Malformed::Text("a metadata key"))?;
        let value = reader.prefixed("a metadata value")?;
        size = size.saturating_add(key.len()).saturating_add(value.len());
        pairs.insert(key, value).map_err(|error| metadata_error(&error, size))?;
    }
    Ok(())
}

/// `size` is the bytes of all keys and values up to the pair that was refused.
fn metadata_error(error: &np_types::MetadataError, size: usize) -> WireError {
    use np_types::MetadataError as E;
    match error {
        E::Pairs => WireError::limit(LimitName::Metadata, Metadata::MAX_PAIRS, Metadata::MAX_PAIRS as u64 + 1),
        E::Bytes => WireError::limit(LimitName::Metadata, Metadata::MAX_BYTES, size as u64),
        E::Duplicate => Malformed::Duplicate("a metadata key").into(),
        _ => Malformed::Text("a metadata key").into(),
    }
}

fn close_code(reader: &mut Reader<'_>) -> Result<CloseCode, WireError> {
    let value = reader.varint("a code")?;
    u16::try_from(value).map(CloseCode::from_wire).map_err(|_| Malformed::Value("a code").into())
}

fn status(reader: &mut Reader<'_>) -> Result<Status, WireError> {
    let value = reader.varint("a status")?;
    u16::try_from(value).map(Status::from_wire).map_err(|_| Malformed::Value("a status").into())
}

fn text(bytes: &[u8]) -> Result<&str, WireError> {
    if bytes.len() > MAX_TEXT {
        return Err(WireError::limit(LimitName::Text, MAX_TEXT, bytes.len() as u64));
    }
    std::str::from_utf8(bytes).map_err(|_| Malformed::Text("a text").into())
}

fn method_name(bytes: &[u8]) -> Result<&str, WireError> {
    if bytes.len() > MethodName::MAX {
        return Err(WireError::limit(LimitName::MethodName, MethodName::MAX, bytes.len() as u64));
    }
    std::str::from_utf8(bytes).map_err(|_| Malformed::Text("a method name").into())
}
