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
        if self.rest.is_empty() {
            return None;
        }
        match decode_frame(self.rest) {
            Ok((frame, used)) => {
                self.rest = self.rest.get(used..).unwrap_or_default();
                Some(Ok(frame))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Reads the frame at the front of `bytes`, and how many bytes it takes.
///
/// # Errors
/// When the bytes are no frame, or a limit is hit; the error names the field or the limit.
pub fn decode_frame(bytes: &[u8]) -> Result<(Frame<'_>, usize), WireError> {
    let mut reader = Reader::new(bytes);
    let first = reader.u8("a frame")?;
    let (number, flags) = (first >> 3, first & 0b111);
    let id = if number >= FIRST_WITH_STREAM { reader.varint("a stream id")? } else { 0 };
    let payload = reader.prefixed("a frame")?;
    let size = bytes.len().saturating_sub(reader.rest().len());
    let Some(kind) = FrameKind::from_wire(number) else {
        return Ok((Frame::Unknown { kind: number, size }, size));
    };
    if flags & !kind.flags() != 0 {
        return Err(Malformed::Value("the flags of a frame").into());
    }
    let frame = decode_payload(kind, flags, StreamId::from_wire(id), payload)?;
    Ok((frame, size))
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
        FrameKind::Request => return open(OpenKind::Request, flags, reader),
        FrameKind::OneWay => return open(OpenKind::OneWay, flags, reader),
        FrameKind::Stream => return open(OpenKind::Stream, flags, reader),
        FrameKind::ConnectionCredit => Frame::ConnectionCredit(reader.varint32("a credit")?),
        FrameKind::CallAllowance => Frame::CallAllowance(reader.varint32("a call allowance")?),
        FrameKind::Response => return response(id, flags, reader),
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

fn open(kind: OpenKind, flags: u8, mut reader: Reader<'_>) -> Result<Frame<'_>, WireError> {
    let method = reader.varint32("a method number")?;
    let (codec, encoding) = codec_and_encoding(&mut reader)?;
    let remaining = remaining_time(flags, &mut reader)?;
    let total = total(flags, &mut reader)?;
    let metadata = extension(flags, &mut reader)?;
    let body = reader.rest();
    Ok(Frame::Open(Open { kind, method, codec, encoding, remaining, total, metadata, body }))
}

fn response(id: StreamId, flags: u8, mut reader: Reader<'_>) -> Result<Frame<'_>, WireError> {
    let (codec, encoding) = codec_and_encoding(&mut reader)?;
    let total = total(flags, &mut reader)?;
    let metadata = extension(flags, &mut reader)?;
    Ok(Frame::Response(Response { id, codec, encoding, total, metadata, body: reader.rest() }))
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

fn codec_and_encoding(reader: &mut Reader<'_>) -> Result<(Codec, Encoding), WireError> {
    let byte = reader.u8("a codec")?;
    let codec = Codec::from_wire(byte);
    let encoding = match byte >> 4 {
        0 => Encoding::Plain,
        number => Encoding::declared(number, reader.varint32("a size")?),
    };
    Ok((codec, encoding))
}

/// Zero means no deadline; else the milliseconds and one.
fn remaining_time(flags: u8, reader: &mut Reader<'_>) -> Result<RemainingTime, WireError> {
    if flags & DEFAULT_DEADLINE != 0 {
        return Ok(RemainingTime::Default);
    }
    Ok(match reader.varint("a deadline")?.checked_sub(1) {
        None => RemainingTime::Unlimited,
        Some(millis) => RemainingTime::Millis(millis),
    })
}

fn total(flags: u8, reader: &mut Reader<'_>) -> Result<Option<u32>, WireError> {
    if flags & MORE == 0 { Ok(None) } else { reader.varint32("the size of a message").map(Some) }
}

fn extension(flags: u8, reader: &mut Reader<'_>) -> Result<Metadata, WireError> {
    let mut pairs = Metadata::default();
    if flags & EXTENSION == 0 {
        return Ok(pairs);
    }
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
