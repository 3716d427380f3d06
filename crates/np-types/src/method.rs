//! Names of methods.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not a method name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MethodNameError {
    /// The name is empty or longer than 128 characters.
    #[error("a method name has 1 to 128 characters, this one has {0}")]
    Length(usize),
    /// A character outside `A-Z a-z 0-9 . _ / -`.
    #[error("a method name holds letters, digits and . _ / - alone; byte {at} is another")]
    Character {
        /// Byte offset of the first such character.
        at: usize,
    },
}

/// Names of at most this many bytes need no memory beside the name itself.
const INLINE: usize = 23;

/// The name of a method: `[A-Za-z0-9._/-]{1,128}`. Cheap to clone; up to 23 characters need no allocation.
///
/// Names that begin with `np.` are np's own (`np.echo`, `np.methods`, `np.health`).
///
/// ```
/// use np_types::MethodName;
/// let name: MethodName = "orders/v1.create".parse()?;
/// assert_eq!(name.as_str(), "orders/v1.create");
/// assert!("two words".parse::<MethodName>().is_err());
/// # Ok::<(), np_types::MethodNameError>(())
/// ```
#[derive(Clone)]
pub struct MethodName {
    short: Short,
    /// A name that is longer, beside which the other is empty.
    long: Option<Arc<Box<str>>>,
}

/// A short name, zeros behind it, and its length in the last byte. A call moves its name a few times: this is moved in
/// whole words, which an enum of bytes is not.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
struct Short([u8; INLINE + 1]);

impl Short {
    /// Puts it together from words: who reads as words what was written byte by byte a moment ago waits for it.
    #[inline]
    fn of(text: &[u8]) -> Self {
        let part = |from: usize| {
            let rest = text.get(from..).unwrap_or_default();
            word(rest.get(..8).unwrap_or(rest))
        };
        let words = [part(0), part(8), part(16) | ((text.len() as u64) << 56)];
        let mut bytes = [0; INLINE + 1];
        for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        Self(bytes)
    }
}

/// Up to eight bytes, zeros behind them.
#[inline]
fn word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            // Bytes that are in both are the same in both.
            let above = 8 * (bytes.len() - 4);
            u64::from(u32::from_le_bytes(*first)) | (u64::from(u32::from_le_bytes(*last)) << above)
        }
        _ => bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    }
}

impl MethodName {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// Checks a text and takes it as a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds another character.
    #[inline]
    pub fn new(text: &str) -> Result<Self, MethodNameError> {
        if (1..=INLINE).contains(&text.len()) && is_name(text) {
            return Ok(Self { short: Short::of(text.as_bytes()), long: None });
        }
        Self::long(text)
    }

    /// As [`Self::new`], of a text that is no short name.
    fn long(text: &str) -> Result<Self, MethodNameError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(MethodNameError::Length(text.len()));
        }
        if is_name(text) {
            return Ok(Self { short: Short::of(&[]), long: Some(Arc::new(text.into())) });
        }
        let at = text.bytes().position(|byte| !is_name_byte(byte)).unwrap_or_default();
        Err(MethodNameError::Character { at })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.long {
            // What was taken from a text is a text.
            None => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Some(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        let Short([bytes @ .., length]) = &self.short;
        match &self.long {
            None => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Some(text) => text.as_bytes(),
        }
    }

    /// Whether the name is one of np's own.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.as_bytes().starts_with(b"np.")
    }
}

impl PartialEq for MethodName {
    fn eq(&self, other: &Self) -> bool {
        // Short names are compared as they stand: their size is known, so that nothing has to be called for it.
        self.short == other.short && self.long == other.long
    }
}

impl Eq for MethodName {}

impl PartialOrd for MethodName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MethodName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// As the text has it, which is what [`Borrow`] asks for.
impl Hash for MethodName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| NAME_BYTES.get(usize::from(byte)).is_some_and(|is| *is))
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-')
}

/// The same, to be looked up: a call asks it of each byte of its method's name.
#[allow(clippy::indexing_slicing, reason = "in a constant a wrong index does not compile")]
const NAME_BYTES: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < table.len() {
        table[byte] = is_name_byte(byte as u8);
        byte += 1;
    }
    table
};

impl FromStr for MethodName {
    type Err = MethodNameError;

    fn from_str(text: &str) -> Result<Self, MethodNameError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for MethodName {
    type Error = MethodNameError;

    fn try_from(text: &str) -> Result<Self, MethodNameError> {
        Self::new(text)
    }
}

impl Borrow<str> for MethodName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for MethodName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MethodName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::{MethodName, MethodNameError};

    #[test]
    fn length_is_checked_at_128_and_129() {
        assert!(MethodName::new(&"a".repeat(128)).is_ok());
        assert_eq!(MethodName::new(&"a".repeat(129)), Err(MethodNameError::Length(129)));
        assert_eq!(MethodName::new(""), Err(MethodNameError::Length(0)));
    }

    /// Short and long names are kept differently, and are the same to whoever compares, sorts or looks them up.
    #[test]
    fn names_behave_as_their_texts_on_both_sides_of_the_inline_length() {
        use std::collections::HashMap;
        let texts: Vec<String> =
            [1, 2, 22, 23, 24, 25, 128].iter().flat_map(|n| ["a", "b"].map(|c| c.repeat(*n))).collect();
        let name = |text: &String| MethodName::new(text).unwrap();
        let map: HashMap<MethodName, usize> = texts.iter().map(name).zip(0..).collect();
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(name(text).as_str(), text);
            assert_eq!(map.get(text.as_str()), Some(&at));
            for other in &texts {
                assert_eq!(name(text).cmp(&name(other)), text.cmp(other));
                assert_eq!(name(text) == name(other), text == other);
            }
        }
        assert_eq!(size_of::<MethodName>(), 32);
    }

    /// They are put together from words of eight bytes, and those from halves or single bytes.
    #[test]
    fn names_of_all_lengths_keep_each_byte() {
        let text = "abcdefghijklmnopqrstuvwxyz0123456789";
        for length in 1..=text.len() {
            let name = MethodName::new(&text[..length]).unwrap();
            assert_eq!(name.as_str(), &text[..length]);
            for at in 0..length {
                let mut other = text[..length].to_owned();
                other.replace_range(at..=at, "-");
                assert_ne!(name, MethodName::new(&other).unwrap(), "{other}");
            }
        }
    }

    #[test]
    fn only_the_listed_characters_pass() {
        for byte in 0u8..128 {
            let text = char::from(byte).to_string();
            let fine = byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
            assert_eq!(MethodName::new(&text).is_ok(), fine, "{byte:#x}");
        }
        assert_eq!(MethodName::new("aé"), Err(MethodNameError::Character { at: 1 }));
    }
}
