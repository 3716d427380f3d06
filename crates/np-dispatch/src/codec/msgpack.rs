//! MessagePack bodies. Must never tell what stands in a body: the texts of types that refuse it may quote it.

use std::io::Cursor;

use bytes::Bytes;
use rmp_serde::decode::Error;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{CodecError, depth};

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    // Maps of names are what other languages expect, and what a type with a new field still reads.
    let written = rmp_serde::to_vec_named(value).map(Bytes::from);
    written.map_err(|error| CodecError::Encode(format!("messagepack: {error}")))
}

pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    let value = depth::guarded(&mut reader, body.len(), |error| describe(&error))?;
    // The reader does not say how far it came, but whether one more value begins.
    match <()>::deserialize(&mut reader) {
        Err(Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(CodecError::Trailing { left: left(body) }),
    }
}

fn describe(error: &Error) -> CodecError {
    CodecError::Decode(match error {
        Error::DepthLimitExceeded => return CodecError::Depth,
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => "messagepack that ends too soon".to_owned(),
        Error::TypeMismatch(_) | Error::OutOfRange | Error::LengthMismatch(_) | Error::Utf8Error(_) => {
            format!("messagepack: {error}")
        }
        _ => "messagepack of another type".to_owned(),
    })
}

/// The bytes behind the first value.
fn left(body: &[u8]) -> usize {
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(body));
    reader.set_max_depth(2 * depth::MAX_DEPTH);
    // It was read a moment ago.
    let _ = IgnoredAny::deserialize(&mut reader);
    body.len() - usize::try_from(reader.position()).unwrap_or(body.len()).min(body.len())
}
