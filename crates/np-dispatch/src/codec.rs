//! Turning values into bodies and back. Owns the codecs' rules; must never know where a body came from.

mod depth;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;

use bytes::Bytes;
use np_types::{CallError, Codec, Status};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use depth::{MAX_DEPTH, MAX_EMPTY};

/// Why a value did not become a body, or a body not a value. Never holds any part of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value cannot be written in its codec.
    #[error("the value cannot be encoded: {0}")]
    Encode(String),
    /// The bytes are not a value of this type.
    #[error("the body does not decode as the expected type: {0}")]
    Decode(String),
    /// Values stand in values more than 100 levels deep.
    #[error("limit codec_depth reached: the body's values are nested more than {MAX_DEPTH} levels deep")]
    Depth,
    /// Lists and maps hold more than 1,024 elements that take no bytes, as those of a `Vec<()>` do in postcard.
    #[error("limit codec_empty_elements reached: the body's lists have more than {MAX_EMPTY} elements of no bytes")]
    EmptyElements,
    /// Bytes follow the value.
    #[error("the body has {left} bytes after the value")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// Typed values do not travel in this codec, or this build does not read and write it.
    #[error("{}", unsupported(*.0))]
    Unsupported(Codec),
}

impl From<CodecError> for CallError {
    /// What a handler answers when its request or reply does not go through the codec.
    fn from(error: CodecError) -> Self {
        let status = match error {
            CodecError::Encode(_) => Status::Internal,
            CodecError::Decode(_) | CodecError::Depth | CodecError::EmptyElements | CodecError::Trailing { .. } => {
                Status::InvalidArgument
            }
            CodecError::Unsupported(_) => Status::UnsupportedCodec,
        };
        Self::answered(status, error.to_string())
    }
}

fn unsupported(codec: Codec) -> String {
    let feature = match codec {
        Codec::Json => "json",
        Codec::MessagePack => "msgpack",
        other => return format!("the body's codec is {other}, but typed values need postcard, json or messagepack"),
    };
    format!("the body's codec is {codec}, which needs the feature `{feature}` of np-facade or np-dispatch")
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
    let written = postcard::to_stdvec(value).map(Bytes::from);
    written.map_err(|error| CodecError::Encode(format!("postcard: {error}")))
}

/// Writes a value in a codec: [`Codec::Postcard`] always, [`Codec::Json`] with the feature `json`,
/// [`Codec::MessagePack`] with the feature `msgpack`. Structs are maps of their fields' names in both of the latter.
///
/// # Errors
/// When the type cannot be written in the codec, or the codec is no such one.
///
/// ```
/// use np_types::Codec;
/// # #[cfg(feature = "json")]
/// assert_eq!(np_dispatch::encode_as(Codec::Json, &("ada", 36u8))?, r#"["ada",36]"#);
/// assert!(np_dispatch::encode_as(Codec::Bytes, &36u8).is_err());
/// # Ok::<(), np_dispatch::CodecError>(())
/// ```
pub fn encode_as<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<Bytes, CodecError> {
    match codec {
        Codec::Postcard => encode(value),
        #[cfg(feature = "json")]
        Codec::Json => json::encode(value),
        #[cfg(feature = "msgpack")]
        Codec::MessagePack => msgpack::encode(value),
        other => Err(CodecError::Unsupported(other)),
    }
}

/// Reads a value that owns all it holds.
///
/// # Errors
/// When the bytes are no such value, bytes follow it, it is nested more than 100 levels deep, its lists
/// hold more than 1,024 elements of no bytes, or this build does not read the codec: see [`encode_as`].
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

/// Reads a value that may borrow text and bytes from the body. JSON has no bytes to borrow, and its text can be
/// borrowed only where it holds no escapes.
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
    match codec {
        Codec::Postcard => decode_postcard(body),
        #[cfg(feature = "json")]
        Codec::Json => json::decode(body),
        #[cfg(feature = "msgpack")]
        Codec::MessagePack => msgpack::decode(body),
        other => Err(CodecError::Unsupported(other)),
    }
}

fn decode_postcard<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let mut reader = postcard::Deserializer::from_bytes(body);
    let value = depth::guarded(&mut reader, body.len(), |error| CodecError::Decode(error.to_string()))?;
    let rest = reader.finalize().map_err(|error| CodecError::Decode(error.to_string()))?;
    if rest.is_empty() { Ok(value) } else { Err(CodecError::Trailing { left: rest.len() }) }
}

#[cfg(test)]
mod tests;
