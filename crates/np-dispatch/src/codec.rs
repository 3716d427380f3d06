//! Turning values into bodies and back. Owns the postcard rules; must never know where a body came from.

use bytes::Bytes;
use np_types::{CallError, Codec, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why a value did not become a body, or a body not a value. Never holds any part of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value cannot be written as postcard.
    #[error("the value cannot be encoded as postcard: {0}")]
    Encode(String),
    /// The bytes are not a value of this type.
    #[error("the body does not decode as the expected type: {0}")]
    Decode(String),
    /// Bytes follow the value.
    #[error("the body has {left} bytes after the value")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// Typed values travel as postcard; the body says that it is something else.
    #[error("the body's codec is {0}, but typed values need postcard")]
    Unsupported(Codec),
}

impl From<CodecError> for CallError {
    /// What a handler answers when its request or reply does not go through the codec.
    fn from(error: CodecError) -> Self {
        let status = match error {
            CodecError::Encode(_) => Status::Internal,
            CodecError::Decode(_) | CodecError::Trailing { .. } => Status::InvalidArgument,
            CodecError::Unsupported(_) => Status::UnsupportedCodec,
        };
        Self::answered(status, error.to_string())
    }
}

/// Writes a value as postcard; the body's codec is then [`Codec::Postcard`].
///
/// # Errors
/// When the type cannot be written (a sequence of unknown length, for one).
///
/// ```
/// let body = np_dispatch::encode(&("ada", 36u8))?;
/// assert_eq!(&body[..], b"\x03ada\x24");
/// # Ok::<(), np_dispatch::CodecError>(())
/// ```
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    postcard::to_stdvec(value).map(Bytes::from).map_err(|error| CodecError::Encode(error.to_string()))
}

/// Reads a value that owns all it holds.
///
/// # Errors
/// When `codec` is not postcard, the bytes are no such value, or bytes follow it.
///
/// ```
/// use np_types::Codec;
/// let sum: u32 = np_dispatch::decode(Codec::Postcard, &[7])?;
/// assert_eq!(sum, 7);
/// assert!(np_dispatch::decode::<u32>(Codec::Postcard, &[7, 0]).is_err());
/// # Ok::<(), np_dispatch::CodecError>(())
/// ```
pub fn decode<T: DeserializeOwned>(codec: Codec, body: &[u8]) -> Result<T, CodecError> {
    decode_borrowed(codec, body)
}

/// Reads a value that may borrow text and bytes from the body.
///
/// # Errors
/// As [`decode`].
///
/// ```
/// use np_types::Codec;
/// let name: &str = np_dispatch::decode_borrowed(Codec::Postcard, b"\x03ada")?;
/// assert_eq!(name, "ada");
/// # Ok::<(), np_dispatch::CodecError>(())
/// ```
pub fn decode_borrowed<'a, T: Deserialize<'a>>(codec: Codec, body: &'a [u8]) -> Result<T, CodecError> {
    if codec != Codec::Postcard {
        return Err(CodecError::Unsupported(codec));
    }
    let (value, rest) = postcard::take_from_bytes(body).map_err(|error| CodecError::Decode(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing { left: rest.len() }) }
}

#[cfg(test)]
mod tests {
    use np_types::{CallError, Codec, Status};

    use super::{CodecError, decode, encode};

    #[test]
    fn a_value_goes_round() {
        let value = (String::from("ada"), vec![1u64, 2, 300]);
        let body = encode(&value).unwrap();
        assert_eq!(decode(Codec::Postcard, &body), Ok(value));
    }

    #[test]
    fn other_codecs_short_and_long_bodies_are_refused() {
        for codec in [Codec::Bytes, Codec::Json, Codec::MessagePack] {
            assert_eq!(decode::<u32>(codec, &[7]), Err(CodecError::Unsupported(codec)));
        }
        assert!(matches!(decode::<u32>(Codec::Postcard, &[]), Err(CodecError::Decode(_))));
        assert_eq!(decode::<u32>(Codec::Postcard, &[7, 0, 0]), Err(CodecError::Trailing { left: 2 }));
    }

    #[test]
    fn each_error_has_its_status() {
        let cases = [
            (CodecError::Encode(String::new()), Status::Internal),
            (CodecError::Decode(String::new()), Status::InvalidArgument),
            (CodecError::Trailing { left: 1 }, Status::InvalidArgument),
            (CodecError::Unsupported(Codec::Json), Status::UnsupportedCodec),
        ];
        for (error, status) in cases {
            assert_eq!(CallError::from(error).status, status);
        }
    }
}
