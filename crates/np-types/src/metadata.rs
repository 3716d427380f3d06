//! Small key/value pairs that travel beside a message.

/// Why a pair was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// More than 32 pairs.
    #[error("metadata holds at most 32 pairs")]
    Pairs,
    /// More than 8 KiB of keys and values.
    #[error("metadata holds at most 8192 bytes of keys and values")]
    Bytes,
    /// A key is empty, longer than 64 bytes, or holds a character outside `a-z 0-9 . _ -`.
    #[error("a metadata key has 1 to 64 characters out of a-z 0-9 . _ -")]
    Key,
    /// The same key stands twice.
    #[error("a metadata key stands twice")]
    Duplicate,
}

/// Key/value pairs beside a request or a response, in the order they were added.
///
/// # Limits
/// At most 32 pairs and 8 KiB of keys and values together, so a peer's metadata costs at most about 10 KiB. Without pairs it
/// is one word, and nothing is allocated.
///
/// ```
/// use np_types::Metadata;
/// let mut meta = Metadata::default();
/// meta.insert("traceparent", b"00-4bf9")?;
/// assert_eq!(meta.value("traceparent"), Some(&b"00-4bf9"[..]));
/// # Ok::<(), np_types::MetadataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(Option<Box<Pairs>>);

/// At least one pair.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pairs {
    pairs: Vec<(Box<str>, Box<[u8]>)>,
    bytes: usize,
}

impl Metadata {
    /// The most pairs.
    pub const MAX_PAIRS: usize = 32;
    /// The most bytes of keys and values together.
    pub const MAX_BYTES: usize = 8_192;
    /// The longest key.
    pub const MAX_KEY: usize = 64;

    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// When a limit is reached, the key is malformed or already there; nothing is changed then.
    pub fn insert(&mut self, key: &str, value: &[u8]) -> Result<(), MetadataError> {
        if key.is_empty() || key.len() > Self::MAX_KEY || !key.bytes().all(is_key_byte) {
            return Err(MetadataError::Key);
        }
        if self.pairs().len() == Self::MAX_PAIRS {
            return Err(MetadataError::Pairs);
        }
        let bytes = self.size().saturating_add(key.len()).saturating_add(value.len());
        if bytes > Self::MAX_BYTES {
            return Err(MetadataError::Bytes);
        }
        if self.value(key).is_some() {
            return Err(MetadataError::Duplicate);
        }
        let held = self.0.get_or_insert_default();
        held.pairs.push((key.into(), value.into()));
        held.bytes = bytes;
        Ok(())
    }

    /// The value of a key.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.pairs().iter().map(|(key, value)| (&**key, &**value))
    }

    /// Bytes of keys and values together.
    #[must_use]
    pub const fn size(&self) -> usize {
        match &self.0 {
            Some(held) => held.bytes,
            None => 0,
        }
    }

    /// Whether there is no pair.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn pairs(&self) -> &[(Box<str>, Box<[u8]>)] {
        self.0.as_ref().map_or(&[], |held| &held.pairs)
    }
}

const fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::{Metadata, MetadataError};

    #[test]
    fn limits_hold_at_n_and_n_plus_one() {
        let mut meta = Metadata::default();
        for at in 0..32 {
            meta.insert(&format!("k{at}"), b"").unwrap();
        }
        assert_eq!(meta.insert("more", b""), Err(MetadataError::Pairs));

        let mut meta = Metadata::default();
        meta.insert("k", &[0; 8_191]).unwrap();
        assert_eq!(meta.insert("l", b""), Err(MetadataError::Bytes));
    }

    #[test]
    fn keys_are_checked() {
        let mut meta = Metadata::default();
        for key in ["", "A", "a b", "ä", &"k".repeat(65)] {
            assert_eq!(meta.insert(key, b""), Err(MetadataError::Key), "{key}");
        }
        meta.insert("a", b"1").unwrap();
        assert_eq!(meta.insert("a", b"2"), Err(MetadataError::Duplicate));
        assert_eq!(meta.value("a"), Some(&b"1"[..]));
    }
}
