//! Lists of public keys with names, as files. Must never decide about a peer: that is the policy's.
//!
//! One key a line, then the words of its name and its options, if there are any; `#` at a line's start or after a space
//! begins a comment.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use np_types::{KeyError, PublicKey, UnixMillis, VerifyKey};

use crate::file::{Content, read_bounded, shown, without_comment};
use crate::time::Day;

/// The most bytes of a list: about 50,000 keys.
pub(crate) const MAX_BYTES: u64 = 4 * 1_048_576;

/// The longest name of a key, in bytes.
const MAX_NAME: usize = 128;

/// The option that ends a key's time.
const EXPIRES: &str = "expires";

/// The option that names by which key the peer's values are signed.
const SIGN: &str = "sign";

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
    /// A word with `=` in it is no option that a key can have.
    UnknownOption {
        /// Which line, from 1.
        line: usize,
        /// The valid name that is nearest.
        nearest: &'static str,
    },
    /// An option has no value that it can have.
    OptionValue {
        /// Which line, from 1.
        line: usize,
        /// Which option.
        option: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// An option stands twice in a line.
    OptionTwice {
        /// Which line, from 1.
        line: usize,
        /// Which option.
        option: &'static str,
    },
    /// Two lines give one name to keys, and other signing keys: whoever checks a value would not know by which.
    SignDiffers {
        /// The first line with the name and a `sign=`, from 1.
        first: usize,
        /// The line whose `sign=` is another, from 1.
        line: usize,
    },
    /// It is neither a file nor a pipe any more: a folder or a device stands in its place.
    NotFile,
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
            AllowListProblem::UnknownOption { line, nearest } => {
                write!(
                    f,
                    ", line {line}: a word with = in it is an option, and there is none of this name; the nearest is `{nearest}=`"
                )
            }
            AllowListProblem::OptionValue { line, option, wanted } => {
                write!(f, ", line {line}: `{option}=` takes {wanted}")
            }
            AllowListProblem::OptionTwice { line, option } => {
                write!(f, ", line {line}: `{option}=` stands twice; keep one of the two")
            }
            AllowListProblem::SignDiffers { first, line } => write!(
                f,
                ", lines {first} and {line}: they have one name and different `sign=`; let both say the same, or take one of \
                 the lines out"
            ),
            AllowListProblem::NotFile => f.write_str(": is not a file; put a file of keys in its place"),
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

/// What a list says about one of its keys.
///
/// ```
/// use np_trust::AllowList;
/// use np_types::{PublicKey, UnixMillis};
/// let key = PublicKey::from_bytes([1; 32]);
/// let list = AllowList::parse(&format!("{key} ada laptop expires=2026-03-01"))?;
/// let entry = list.entry(&key).ok_or("missing")?;
/// assert_eq!(entry.name(), Some("ada laptop"));
/// assert_eq!(entry.expires(), Some(UnixMillis(1_772_323_200_000)));
/// assert!(!entry.is_expired(UnixMillis(1_772_323_199_999)));
/// assert!(entry.is_expired(UnixMillis(1_772_323_200_000)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowEntry {
    name: Option<Box<str>>,
    expires: Option<Day>,
    sign: Option<VerifyKey>,
}

impl AllowEntry {
    /// The name that this side gives the key, where it does.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The moment from which the key is refused: the start of the day that `expires=` names, in UTC.
    #[must_use]
    pub fn expires(&self) -> Option<UnixMillis> {
        self.expires.map(Day::start)
    }

    /// The public half of the key by which this peer signs, as `sign=` names it. Who may connect does not depend on it.
    ///
    /// ```
    /// use np_trust::AllowList;
    /// use np_types::{PublicKey, VerifyKey};
    /// let (key, sign) = (PublicKey::from_bytes([1; 32]), VerifyKey::from_bytes([2; 32]));
    /// let list = AllowList::parse(&format!("{key} orders-1 sign={sign}"))?;
    /// assert_eq!(list.entry(&key).and_then(|entry| entry.sign()), Some(sign));
    /// # Ok::<(), np_trust::AllowListError>(())
    /// ```
    #[must_use]
    pub const fn sign(&self) -> Option<VerifyKey> {
        self.sign
    }

    /// Whether the key is refused at `now` for its age.
    #[must_use]
    pub fn is_expired(&self, now: UnixMillis) -> bool {
        self.expires().is_some_and(|end| end <= now)
    }

    /// The day that `expires=` names: the first on which the key is refused.
    pub(crate) fn expiry_day(&self) -> Option<Day> {
        self.expires
    }
}

/// Public keys, the names that this side gives them, and their options.
///
/// A line is `KEY [name words...] [option=value...]`: words with `=` in them are options, wherever they stand after the
/// key, and the others are the name. `expires=YYYY-MM-DD`: from the start of that day (UTC) on, the key is refused.
/// `sign=npverify1...`: the public half of the Ed25519 key by which the peer signs its values in a cluster. Lines of one name
/// that have a `sign=` have the same.
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
    keys: BTreeMap<PublicKey, AllowEntry>,
}

impl AllowList {
    /// Reads a list from a file, once: later changes of the file are not seen.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 4 MiB, or [`Self::parse`] refuses what it holds.
    pub fn load(path: &Path) -> Result<Self, AllowListError> {
        File::open(path)
            .and_then(|file| read_bounded(&file, MAX_BYTES))
            .map_err(AllowListProblem::Read)
            .and_then(|content| match content {
                Content::Text(bytes) => parse_bytes(&bytes),
                Content::TooLarge => Err(AllowListProblem::TooLarge),
            })
            .map_err(|problem| AllowListError { path: Some(path.to_owned()), problem })
    }

    /// Reads a list from text.
    ///
    /// # Errors
    /// Names the line that does not begin with a public key, repeats one, has too long a name, or an option that does
    /// not exist, stands twice or has a wrong value; or both lines of one name with different `sign=`.
    pub fn parse(text: &str) -> Result<Self, AllowListError> {
        parse(text).map_err(|problem| AllowListError { path: None, problem })
    }

    /// Whether a key stands in the list, expired or not.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.keys.contains_key(key)
    }

    /// What the list says about a key, if the key stands in it.
    #[must_use]
    pub fn entry(&self, key: &PublicKey) -> Option<&AllowEntry> {
        self.keys.get(key)
    }

    /// The name of a key, if it stands in the list and has one.
    #[must_use]
    pub fn name(&self, key: &PublicKey) -> Option<&str> {
        self.entry(key)?.name()
    }

    /// The keys that have this name.
    pub(crate) fn keys_named(&self, name: &str) -> impl Iterator<Item = PublicKey> {
        self.keys.iter().filter(move |(_, entry)| entry.name() == Some(name)).map(|(key, _)| *key)
    }

    /// The names of all keys, where each has one.
    pub(crate) fn all_names(&self) -> Option<Vec<String>> {
        self.keys.values().map(|entry| entry.name().map(ToOwned::to_owned)).collect()
    }

    /// How many keys there are, expired ones too. An empty list allows nobody.
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
        let keys = keys.into_iter().map(|key| (key, AllowEntry::default())).collect();
        Self { keys }
    }
}

/// Reads a list from what a file holds.
pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<AllowList, AllowListProblem> {
    parse(std::str::from_utf8(bytes).map_err(|_| AllowListProblem::NotText)?)
}

fn parse(text: &str) -> Result<AllowList, AllowListProblem> {
    let mut list = AllowList::default();
    let mut signs: HashMap<Box<str>, (VerifyKey, usize)> = HashMap::new();
    for (text, line) in text.lines().zip(1usize..) {
        let mut words = without_comment(text).split_whitespace();
        let Some(key) = words.next() else {
            continue;
        };
        let key = key.parse().map_err(|error| AllowListProblem::Key { line, error })?;
        if list.contains(&key) {
            return Err(AllowListProblem::Duplicate { line });
        }
        let entry = entry(words, line)?;
        if let (Some(name), Some(sign)) = (&entry.name, entry.sign) {
            let (known, first) = *signs.entry(name.clone()).or_insert((sign, line));
            if known != sign {
                return Err(AllowListProblem::SignDiffers { first, line });
            }
        }
        list.keys.insert(key, entry);
    }
    Ok(list)
}

/// Reads what stands behind a key.
fn entry<'a>(words: impl Iterator<Item = &'a str>, line: usize) -> Result<AllowEntry, AllowListProblem> {
    let mut entry = AllowEntry::default();
    let mut name: Vec<&str> = Vec::new();
    for word in words {
        match word.split_once('=') {
            None => name.push(word),
            Some((option, value)) => set(&mut entry, option, value, line)?,
        }
    }
    let name = name.join(" ");
    if name.len() > MAX_NAME {
        return Err(AllowListProblem::Name { line });
    }
    entry.name = (!name.is_empty()).then(|| name.into());
    Ok(entry)
}

fn set(entry: &mut AllowEntry, option: &str, value: &str, line: usize) -> Result<(), AllowListProblem> {
    match option {
        EXPIRES => put(&mut entry.expires, EXPIRES, "a day from 1970 to 9999 as YYYY-MM-DD", Day::parse(value), line),
        SIGN => put(&mut entry.sign, SIGN, "the public half of a signing key (npverify1...)", value.parse().ok(), line),
        // The nearest by its first letter: there are two.
        _ => {
            let nearest = if option.to_ascii_lowercase().starts_with('s') { SIGN } else { EXPIRES };
            Err(AllowListProblem::UnknownOption { line, nearest })
        }
    }
}

/// Sets an option that may stand once.
fn put<T>(
    place: &mut Option<T>,
    option: &'static str,
    wanted: &'static str,
    value: Option<T>,
    line: usize,
) -> Result<(), AllowListProblem> {
    if place.is_some() {
        return Err(AllowListProblem::OptionTwice { line, option });
    }
    *place = Some(value.ok_or(AllowListProblem::OptionValue { line, option, wanted })?);
    Ok(())
}

#[cfg(test)]
mod tests;
