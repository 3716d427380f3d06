//! Frames to bytes.

use np_types::{Codec, Metadata};

use crate::decode::METADATA;
use crate::frame::{DEFAULT_DEADLINE, END, EXTENSION, FIN, MORE};
use crate::{
    Encoding, Frame, FrameKind, MAX_TEXT, Open, RemainingTime, Response, StreamId, Trailers, put_varint, varint_len,
};

/// Appends a frame.
///
/// Texts longer than [`MAX_TEXT`] are cut at a character's end. A [`Frame::Unknown`] appends nothing.
pub fn encode_frame(out: &mut Vec<u8>, frame: &Frame<'_>) {
    let body = encode_frame_head(out, frame);
    out.extend_from_slice(body);
}

/// Appends a frame without its trailing body and returns that body, which the caller appends.
///
/// The length in the head counts the body: for a caller that copies bodies by itself.
///
/// ```
/// use np_wire::{Frame, Open, OpenKind, encode_frame, encode_frame_head};
/// let open = Frame::Open(Open { body: b"abc", ..Open::new(OpenKind::Request) });
/// let (mut head, mut whole) = (Vec::new(), Vec::new());
/// assert_eq!(encode_frame_head(&mut head, &open), b"abc");
/// encode_frame(&mut whole, &open);
/// assert_eq!(head.len() + 3, whole.len());
/// ```
pub fn encode_frame_head<'a>(out: &mut Vec<u8>, frame: &Frame<'a>) -> &'a [u8] {
    match frame {
        Frame::Padding(count) => {
            start(out, FrameKind::Padding, 0, *count);
            out.resize(out.len().saturating_add(*count), 0);
        }
        Frame::Settings(settings) => {
            let mut payload = Vec::with_capacity(24);
            settings.encode(&mut payload);
            start(out, FrameKind::Settings, 0, payload.len());
            out.extend_from_slice(&payload);
        }
        Frame::Close { code, text } => {
            let (code, text) = (u64::from(code.to_wire()), cut(text));
            start(out, FrameKind::Close, 0, varint_len(code).saturating_add(text.len()));
            put_varint(out, code);
            out.extend_from_slice(text.as_bytes());
        }
        Frame::GoAway { accepted, code } => {
            let code = u64::from(code.to_wire());
            start(out, FrameKind::GoAway, 0, varint_len(*accepted).saturating_add(varint_len(code)));
            put_varint(out, *accepted);
            put_varint(out, code);
        }
        Frame::Ping(token) => number(out, FrameKind::Ping, *token),
        Frame::Pong(token) => number(out, FrameKind::Pong, *token),
        Frame::KeyUpdate => start(out, FrameKind::KeyUpdate, 0, 0),
        Frame::Method { number, name } => {
            let number = u64::from(*number);
            start(out, FrameKind::Method, 0, varint_len(number).saturating_add(name.len()));
            put_varint(out, number);
            out.extend_from_slice(name.as_bytes());
        }
        Frame::Open(frame) => return open(out, frame),
        Frame::ConnectionCredit(bytes) => number(out, FrameKind::ConnectionCredit, u64::from(*bytes)),
        Frame::CallAllowance(calls) => number(out, FrameKind::CallAllowance, u64::from(*calls)),
        Frame::Response(frame) => return response(out, frame),
        Frame::Data { id, fin, end, body } => {
            let flags = flag(*fin, FIN) | flag(*end, END);
            start_stream(out, FrameKind::Data, flags, *id, body.len());
            return body;
        }
        Frame::Trailers(frame) => trailers(out, frame),
        Frame::Cancel { id, status } => {
            let status = u64::from(status.to_wire());
            start_stream(out, FrameKind::Cancel, 0, *id, varint_len(status));
            put_varint(out, status);
        }
        Frame::StreamCredit { id, bytes } => {
            let bytes = u64::from(*bytes);
            start_stream(out, FrameKind::StreamCredit, 0, *id, varint_len(bytes));
            put_varint(out, bytes);
        }
        Frame::Compressed { id, encoding, end, body } => {
            let size = encoding_size(*encoding).saturating_add(body.len());
            start_stream(out, FrameKind::Compressed, flag(*end, END), *id, size);
            put_encoding(out, Codec::Bytes, *encoding);
            return body;
        }
        Frame::Unknown { .. } => {}
    }
    &[]
}

/// Appends the frame of an opening, as [`encode_frame`] does: for whoever has nothing but that.
///
/// ```
/// use np_wire::{Frame, Open, OpenKind, encode_frame, encode_open};
/// let open = Open { body: b"abc", ..Open::new(OpenKind::Request) };
/// let (mut one, mut other) = (Vec::new(), Vec::new());
/// encode_open(&mut one, &open);
/// encode_frame(&mut other, &Frame::Open(open));
/// assert_eq!(one, other);
/// ```
#[inline]
pub fn encode_open(out: &mut Vec<u8>, frame: &Open<'_>) {
    let body = open(out, frame);
    out.extend_from_slice(body);
}

/// Appends the frame of an answer, as [`encode_frame`] does: for whoever has nothing but that.
///
/// ```
/// use np_wire::{Frame, decode_frame, encode_frame, encode_response};
/// let bytes = [0x10 << 3, 4, 4, 0, b'a', b'b', b'c'];
/// let (Frame::Response(response), _) = decode_frame(&bytes)? else { return Ok(()) };
/// let (mut one, mut other) = (Vec::new(), Vec::new());
/// encode_response(&mut one, &response);
/// encode_frame(&mut other, &Frame::Response(response));
/// assert_eq!((&one, &other), (&bytes.to_vec(), &bytes.to_vec()));
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[inline]
pub fn encode_response(out: &mut Vec<u8>, frame: &Response<'_>) {
    let body = response(out, frame);
    out.extend_from_slice(body);
}

#[inline]
fn open<'a>(out: &mut Vec<u8>, frame: &Open<'a>) -> &'a [u8] {
    let Open { kind, method, codec, encoding, remaining, total, metadata, body } = frame;
    let extension = extension_size(metadata);
    let (default, deadline) = match remaining {
        RemainingTime::Default => (true, None),
        RemainingTime::Millis(millis) => (false, Some(millis.saturating_add(1))),
        RemainingTime::Unlimited => (false, Some(0)),
    };
    let flags = flag(default, DEFAULT_DEADLINE) | flag(total.is_some(), MORE) | flag(extension.is_some(), EXTENSION);
    let size = varint_len(u64::from(*method))
        + encoding_size(*encoding)
        + deadline.map_or(0, varint_len)
        + total.map_or(0, |total| varint_len(u64::from(total)))
        + extension.map_or(0, |size| size + varint_len(size as u64))
        + body.len();
    start(out, kind.frame(), flags, size);
    put_varint(out, u64::from(*method));
    put_encoding(out, *codec, *encoding);
    if let Some(deadline) = deadline {
        put_varint(out, deadline);
    }
    if let Some(total) = total {
        put_varint(out, u64::from(*total));
    }
    put_extension(out, metadata);
    body
}

#[inline]
fn response<'a>(out: &mut Vec<u8>, frame: &Response<'a>) -> &'a [u8] {
    let Response { id, codec, encoding, total, metadata, body } = frame;
    let extension = extension_size(metadata);
    let flags = flag(total.is_some(), MORE) | flag(extension.is_some(), EXTENSION);
    let size = encoding_size(*encoding)
        + total.map_or(0, |total| varint_len(u64::from(total)))
        + extension.map_or(0, |size| size + varint_len(size as u64))
        + body.len();
    start_stream(out, FrameKind::Response, flags, *id, size);
    put_encoding(out, *codec, *encoding);
    if let Some(total) = total {
        put_varint(out, u64::from(*total));
    }
    put_extension(out, metadata);
    body
}

fn trailers(out: &mut Vec<u8>, frame: &Trailers<'_>) {
    let (status, text) = (u64::from(frame.status.to_wire()), cut(frame.text));
    let extension = extension_size(&frame.metadata);
    let size = varint_len(status) + extension.map_or(0, |size| size + varint_len(size as u64)) + text.len();
    start_stream(out, FrameKind::Trailers, flag(extension.is_some(), EXTENSION), frame.id, size);
    put_varint(out, status);
    put_extension(out, &frame.metadata);
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, kind: FrameKind, value: u64) {
    start(out, kind, 0, varint_len(value));
    put_varint(out, value);
}

#[inline]
fn start(out: &mut Vec<u8>, kind: FrameKind, flags: u8, size: usize) {
    out.push(kind.to_wire() << 3 | flags);
    put_varint(out, size as u64);
}

#[inline]
fn start_stream(out: &mut Vec<u8>, kind: FrameKind, flags: u8, id: StreamId, size: usize) {
    out.push(kind.to_wire() << 3 | flags);
    put_varint(out, id.to_wire());
    put_varint(out, size as u64);
}

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

#[inline]
fn encoding_size(encoding: Encoding) -> usize {
    1 + encoding.raw_size().map_or(0, |raw| varint_len(u64::from(raw)))
}

#[inline]
fn put_encoding(out: &mut Vec<u8>, codec: Codec, encoding: Encoding) {
    out.push(encoding.to_wire() << 4 | codec.to_wire());
    if let Some(raw) = encoding.raw_size() {
        put_varint(out, u64::from(raw));
    }
}

/// The bytes of the extension's entries; `None` when there is nothing to say.
#[inline]
fn extension_size(metadata: &Metadata) -> Option<usize> {
    if metadata.is_empty() { None } else { Some(entries_size(metadata)) }
}

fn entries_size(metadata: &Metadata) -> usize {
    let size = metadata_size(metadata);
    varint_len(METADATA) + varint_len(size as u64) + size
}

fn metadata_size(metadata: &Metadata) -> usize {
    let prefixed = |size: usize| varint_len(size as u64) + size;
    metadata.iter().map(|(key, value)| prefixed(key.len()) + prefixed(value.len())).sum()
}

#[inline]
fn put_extension(out: &mut Vec<u8>, metadata: &Metadata) {
    if !metadata.is_empty() {
        put_entries(out, metadata);
    }
}

fn put_entries(out: &mut Vec<u8>, metadata: &Metadata) {
    put_varint(out, entries_size(metadata) as u64);
    put_varint(out, METADATA);
    put_varint(out, metadata_size(metadata) as u64);
    for (key, value) in metadata.iter() {
        put_varint(out, key.len() as u64);
        out.extend_from_slice(key.as_bytes());
        put_varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// At most [`MAX_TEXT`] bytes of a text, cut where a character ends.
fn cut(text: &str) -> &str {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}
