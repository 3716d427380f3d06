//! JSON bodies. Must never tell what stands in a body: serde_json's own texts quote it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::error::{Category, Error};

use super::{CodecError, depth};

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|error| CodecError::Encode(format!("json: {error}")))
}

pub(super) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = depth::guarded(&mut reader, body.len(), |error| CodecError::Decode(describe(&error)))?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(CodecError::Trailing { left: body.len() - offset(body, &error) }),
    }
}

fn describe(error: &Error) -> String {
    let what = match error.classify() {
        Category::Eof => "json that ends too soon",
        Category::Data => "json of another type",
        Category::Syntax | Category::Io => "no json",
    };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

/// Where the first byte stands that an error speaks of.
fn offset(body: &[u8], error: &Error) -> usize {
    let lines = body.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(<[u8]>::len).sum();
    (before + error.column().saturating_sub(1)).min(body.len())
}
