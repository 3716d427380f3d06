//! Lists of public keys with names, as files. Must never decide about a peer: that is the policy's.
//!
//! One key a line, then a name if there is one; `#` at a line's start or after a space begins a comment.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use np_types::{KeyError, PublicKey};

use crate::file::{Content, read_bounded, shown};

/// The most bytes of a list: about 50,000 keys.
const MAX_BYTES: u64 = 4 * 1_048_576;

/// The longest name of a key, in bytes.
const MAX_NAME: usize = 128;

/// What is wrong with an allow list.
#[derive(Debug)]
#[non_exhaustive]
pub enum AllowListProblem {
    /// The system did not let it be read.
    Read(io::Error),
    /// It holds more than 4 MiB.
    TooLarge,
    /// It is not UTF-8 text.
    NotText,
    /// A line does not begin with a public key.
    Key {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A key stands twice.
    Duplicate {
        /// Where it stands for the second time, from 1.
        line: usize,
    },
    /// A name is longer than 128 bytes.
    Name {
        /// Which line, from 1.
        line: usize,
    },
}

/// What is wrong with an allow list, and which. Shows no part of a line: somebody may have pasted a secret.
#[derive(Debug)]
pub struct AllowListError {
    /// The file, where the list came from one.
    pub path: Option<PathBuf>,
    /// What is wrong.
    pub problem: AllowListProblem,
}

impl fmt::Display for AllowListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("allow list ")?;
        if let Some(path) = &self.path {
            f.write_str(&shown(path))?;
        }
        match &self.problem {
            AllowListProblem::Read(error) => write!(f, ": cannot be read: {error}"),
            AllowListProblem::TooLarge => f.write_str(": holds more than 4 MiB; is it a list of keys?"),
            AllowListProblem::NotText => f.write_str(": does not hold text; is it a list of keys?"),
            AllowListProblem::Key { line, error } => {
                write!(f, ", line {line}: {error}; a line holds a public key (np1...) and perhaps a name")
            }
            AllowListProblem::Duplicate { line } => {
                write!(f, ", line {line}: the key stands in the list already; keep one of the two")
            }
            AllowListProblem::Name { line } => {
                write!(f, ", line {line}: the name is longer than {MAX_NAME} bytes; shorten it")
            }
        }
    }
}

impl std::error::Error for AllowListError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            AllowListProblem::Read(error) => Some(error),
            AllowListProblem::Key { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Public keys and the names that this side gives them.
///
/// ```
/// use np_trust::AllowList;
/// use np_types::PublicKey;
/// let key = PublicKey::from_bytes([1; 32]);
/// let list = AllowList::parse(&format!("# staff\n{key} ada laptop  # until May\n"))?;
/// assert!(list.contains(&key));
/// assert_eq!(list.name(&key), Some("ada laptop"));
/// # Ok::<(), np_trust::AllowListError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowList {
    keys: BTreeMap<PublicKey, Option<Box<str>>>,
}

impl AllowList {
    /// Reads a list from a file, once: later changes of the file are not seen.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 4 MiB, or [`Self::parse`] refuses what it holds.
    pub fn load(path: &Path) -> Result<Self, AllowListError> {
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => parse(text),
            Err(_) => Err(AllowListProblem::NotText),
        };
        File::open(path)
            .and_then(|file| read_bounded(&file, MAX_BYTES))
            .map_err(AllowListProblem::Read)
            .and_then(|content| match content {
                Content::Text(bytes) => text(&bytes),
                Content::TooLarge => Err(AllowListProblem::TooLarge),
            })
            .map_err(|problem| AllowListError { path: Some(path.to_owned()), problem })
    }

    /// Reads a list from text.
    ///
    /// # Errors
    /// Names the line that does not begin with a public key, repeats one, or has too long a name.
    pub fn parse(text: &str) -> Result<Self, AllowListError> {
        parse(text).map_err(|problem| AllowListError { path: None, problem })
    }

    /// Whether a key stands in the list.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    /// The name of a key, if it stands in the list and has one.
    #[must_use]
    pub fn name(&self, key: &PublicKey) -> Option<&str> {
        self.keys.get(key)?.as_deref()
    }

    /// How many keys there are. An empty list allows nobody.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl FromIterator<PublicKey> for AllowList {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let keys = keys.into_iter().map(|key| (key, None)).collect();
        Self { keys }
    }
}

fn parse(text: &str) -> Result<AllowList, AllowListProblem> {
    let mut list = AllowList::default();
    for (text, line) in text.lines().zip(1usize..) {
        let Some((key, name)) = entry(text, line)? else {
            continue;
        };
        if list.contains(&key) {
            return Err(AllowListProblem::Duplicate { line });
        }
        list.keys.insert(key, name);
    }
    Ok(list)
}

type Entry = (PublicKey, Option<Box<str>>);

fn entry(text: &str, line: usize) -> Result<Option<Entry>, AllowListProblem> {
    let text = without_comment(text).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (key, name) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let key = key.parse().map_err(|error| AllowListProblem::Key { line, error })?;
    let name = name.trim();
    if name.len() > MAX_NAME {
        return Err(AllowListProblem::Name { line });
    }
    Ok(Some((key, (!name.is_empty()).then(|| name.into()))))
}

fn without_comment(line: &str) -> &str {
    let starts = |at: usize| {
        let before = line.get(..at).unwrap_or_default();
        before.chars().next_back().is_none_or(char::is_whitespace)
    };
    let comment = line.match_indices('#').find(|(at, _)| starts(*at));
    comment.map_or(line, |(at, _)| line.get(..at).unwrap_or(line))
}

#[cfg(test)]
mod tests;
