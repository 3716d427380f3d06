//! The bytes of np: preface, handshake messages, records and frames over slices.
//!
//! This crate turns bytes into values and values into bytes, and holds no state between two calls. It must never
//! know a key, a connection, a clock or a socket. Decoders borrow from the slice they are given: they never panic,
//! never allocate from an announced length, and say which limit was hit. `docs/PROTOCOL.md` is the normative text.

mod decode;
mod encode;
mod error;
mod frame;
mod preface;
mod reader;
mod record;
mod settings;
mod stream_id;

pub use decode::{Frames, RawFrame, decode_frame};
pub use encode::{encode_frame, encode_frame_head, encode_open, encode_response};
pub use error::WireError;
pub use frame::{Encoding, Frame, FrameKind, Open, OpenKind, RemainingTime, Response, Trailers};
pub use preface::{
    Choices, HandshakeFrame, MAGIC, MAX_HANDSHAKE_MESSAGE, MAX_KEY_ID, Preface, Refusal, Versions,
    decode_handshake_frame, encode_handshake_message, encode_refusal,
};
pub use reader::{MAX_VARINT, Reader, put_varint, varint_len};
pub use record::{MAX_FIRST_RECORD, MAX_PLAINTEXT, MAX_RECORD, RECORD_HEAD, TAG, record_len};
pub use settings::Settings;
pub use stream_id::{Side, StreamId};

/// The longest reason or error text on the wire, in bytes.
///
/// ```
/// assert_eq!(np_wire::MAX_TEXT, 1_024);
/// ```
pub const MAX_TEXT: usize = 1_024;
