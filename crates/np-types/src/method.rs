//! Names of methods.

use std::borrow::Borrow;
use std::fmt;
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

/// The name of a method: `[A-Za-z0-9._/-]{1,128}`. Cheap to clone.
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
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodName(Arc<str>);

impl MethodName {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// Checks a text and takes it as a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds another character.
    pub fn new(text: &str) -> Result<Self, MethodNameError> {
        if text.is_empty() || text.len() > Self::MAX {
            return Err(MethodNameError::Length(text.len()));
        }
        match text.bytes().position(|byte| !is_name_byte(byte)) {
            Some(at) => Err(MethodNameError::Character { at }),
            None => Ok(Self(text.into())),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name is one of np's own.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.0.starts_with("np.")
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-')
}

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
        &self.0
    }
}

impl AsRef<str> for MethodName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MethodName({})", self.0)
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
