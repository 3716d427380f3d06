//! Files that hold one secret: who may read them, how they are read and made. Must never put any of a file's content
//! into an error.
//!
//! A file holds one line of key text; empty lines and lines that begin with `#` do not count.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use np_types::{KeyError, Psk, SecretKey, SignKey};

use crate::file::{Content, read_bounded, shown};
use crate::new_file::{NewFileMode, write_new_file};

/// The most bytes of a key file; a key takes about 70.
const MAX_BYTES: u64 = 65_536;

/// Which permissions a key file may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyFileMode {
    /// 0600 or 0400 and owned by the current user, or 0640 or 0440 and owned by root.
    #[default]
    Checked,
    /// Any: others may be able to read the secret, or to replace it.
    DangerAny,
}

/// Whether this platform's permissions are checked. They are not on Windows: say so to the user there.
///
/// ```
/// assert_eq!(np_trust::checks_mode(), cfg!(unix));
/// ```
#[must_use]
pub const fn checks_mode() -> bool {
    cfg!(unix)
}

/// What is wrong with a key file. Shows no part of what the file holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// It exists, and a key file is never overwritten.
    Exists,
    /// Its folder does not exist.
    NoFolder,
    /// It does not exist.
    Missing,
    /// It is a folder.
    IsFolder,
    /// Others than its owner may read or change it, or it is executable.
    Mode {
        /// Its permission bits.
        mode: u32,
        /// The bits to give it.
        wanted: u32,
    },
    /// It belongs to somebody else.
    Owner {
        /// The file's owner (uid).
        owner: u32,
        /// The current user (uid).
        user: u32,
    },
    /// It holds more than 64 KiB.
    TooLarge,
    /// It is not UTF-8 text.
    NotText,
    /// It holds no key.
    Empty,
    /// It holds a second key.
    Second {
        /// The line of the second, from 1.
        line: usize,
    },
    /// A line is not the key that belongs there.
    Key {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The system did not let it be read.
    Read(io::Error),
    /// The system did not let it be written; nothing is left of it.
    Write(io::Error),
}

/// What is wrong with a key file, which, and what to do next.
///
/// ```
/// use np_trust::{KeyFileMode, KeyFileProblem, read_secret_key};
/// let error = read_secret_key("no/such.key".as_ref(), KeyFileMode::Checked).unwrap_err();
/// assert!(matches!(error.problem, KeyFileProblem::Missing));
/// assert!(error.to_string().contains("no/such.key"));
/// ```
#[derive(Debug)]
pub struct KeyFileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: KeyFileProblem,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        write!(f, "key file {path}: ")?;
        match &self.problem {
            KeyFileProblem::Exists => {
                f.write_str("exists and is never overwritten; choose another name or move it away")
            }
            KeyFileProblem::NoFolder => f.write_str("its folder does not exist; make it first"),
            KeyFileProblem::Missing => f.write_str("does not exist; check the path, or make a key"),
            KeyFileProblem::IsFolder => f.write_str("is a folder; name the file in it"),
            KeyFileProblem::Mode { mode, wanted } => {
                write!(f, "has mode {mode:04o}, which a secret may not have; run `chmod {wanted:o} {path}`")
            }
            KeyFileProblem::Owner { owner, user } => write!(
                f,
                "belongs to user {owner}, but user {user} runs this; run `chown {user} {path}` or run as its owner"
            ),
            KeyFileProblem::TooLarge => f.write_str("holds more than 64 KiB; is it a key file?"),
            KeyFileProblem::NotText => f.write_str("does not hold text; is it a key file?"),
            KeyFileProblem::Empty => f.write_str("holds no key; make a new one"),
            KeyFileProblem::Second { line } => {
                write!(f, "line {line} holds a second key; keep one key per file")
            }
            KeyFileProblem::Key { line, error } => write!(f, "line {line}: {error}"),
            KeyFileProblem::Read(error) => write!(f, "cannot be read: {error}"),
            KeyFileProblem::Write(error) => write!(f, "cannot be written: {error}"),
        }
    }
}

impl std::error::Error for KeyFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            KeyFileProblem::Key { error, .. } => Some(error),
            KeyFileProblem::Read(error) | KeyFileProblem::Write(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads the secret key that a file holds. Symbolic links are followed; what is checked is the file that was opened.
///
/// # Errors
/// When the file cannot be read, others may read it (see [`KeyFileMode`]), or it does not hold one secret key.
///
/// ```
/// use np_trust::{KeyFileMode, read_secret_key, write_new_secret};
/// use np_types::SecretKey;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("server.key");
/// let key = SecretKey::from_bytes([7; 32]);
/// write_new_secret(&path, &key.to_text())?;
/// assert_eq!(read_secret_key(&path, KeyFileMode::Checked)?, key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_secret_key(path: &Path, mode: KeyFileMode) -> Result<SecretKey, KeyFileError> {
    read(path, mode).map_err(at(path))
}

/// Reads the pre-shared key that a file holds, under the same rules as [`read_secret_key`].
///
/// # Errors
/// As [`read_secret_key`].
///
/// ```
/// use np_trust::{KeyFileMode, read_psk, write_new_secret};
/// use np_types::Psk;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("shared.psk");
/// write_new_secret(&path, &Psk::from_bytes([7; 32]).to_text())?;
/// assert_eq!(read_psk(&path, KeyFileMode::Checked)?, Psk::from_bytes([7; 32]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_psk(path: &Path, mode: KeyFileMode) -> Result<Psk, KeyFileError> {
    read(path, mode).map_err(at(path))
}

/// Reads the signing key that a file holds, under the same rules as [`read_secret_key`].
///
/// # Errors
/// As [`read_secret_key`].
///
/// ```
/// use np_trust::{KeyFileMode, read_sign_key, write_new_secret};
/// use np_types::SignKey;
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("orders-1.sign");
/// write_new_secret(&path, &SignKey::from_bytes([7; 32]).to_text())?;
/// assert_eq!(read_sign_key(&path, KeyFileMode::Checked)?, SignKey::from_bytes([7; 32]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_sign_key(path: &Path, mode: KeyFileMode) -> Result<SignKey, KeyFileError> {
    read(path, mode).map_err(at(path))
}

/// Writes a secret's text to a new file that its owner alone may read (0600).
///
/// `text` is a line of key text, perhaps with comment lines around it. The folder must exist; an existing file, or a
/// symbolic link, is never touched. When writing fails, the file is removed again.
///
/// # Errors
/// When the file exists, cannot be written, or `text` would not be read back as one secret.
pub fn write_new_secret(path: &Path, text: &str) -> Result<(), KeyFileError> {
    write(path, text).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(KeyFileProblem) -> KeyFileError {
    let path = path.to_owned();
    move |problem| KeyFileError { path, problem }
}

fn read<K: FromStr<Err = KeyError>>(path: &Path, mode: KeyFileMode) -> Result<K, KeyFileProblem> {
    let file = File::open(path).map_err(|error| match error.kind() {
        // Some systems do not open one at all.
        _ if path.is_dir() => KeyFileProblem::IsFolder,
        io::ErrorKind::NotFound => KeyFileProblem::Missing,
        _ => KeyFileProblem::Read(error),
    })?;
    // Of the open file, not of the path: the path may lead elsewhere by now.
    let meta = file.metadata().map_err(KeyFileProblem::Read)?;
    if meta.is_dir() {
        return Err(KeyFileProblem::IsFolder);
    }
    if mode == KeyFileMode::Checked {
        check_access(&meta)?;
    }
    match read_bounded(&file, MAX_BYTES).map_err(KeyFileProblem::Read)? {
        Content::TooLarge => Err(KeyFileProblem::TooLarge),
        Content::Text(bytes) => parse(std::str::from_utf8(&bytes).map_err(|_| KeyFileProblem::NotText)?),
    }
}

#[cfg(unix)]
fn check_access(meta: &fs::Metadata) -> Result<(), KeyFileProblem> {
    use std::os::unix::fs::MetadataExt as _;

    let user = rustix::process::geteuid().as_raw();
    may_hold_secret(meta.mode() & 0o7777, meta.uid(), user)
}

#[cfg(not(unix))]
fn check_access(_meta: &fs::Metadata) -> Result<(), KeyFileProblem> {
    Ok(())
}

/// The rule of [`KeyFileMode::Checked`] for a file's permission bits and owner and the user who reads it.
#[cfg(unix)]
const fn may_hold_secret(mode: u32, owner: u32, user: u32) -> Result<(), KeyFileProblem> {
    match mode {
        // Root's group is how services get a secret that they cannot change.
        0o640 | 0o440 if owner == 0 => Ok(()),
        0o600 | 0o400 if owner == user => Ok(()),
        0o600 | 0o400 => Err(KeyFileProblem::Owner { owner, user }),
        // Root's file stays readable for the user who is refused here only through the group.
        _ if owner == user => Err(KeyFileProblem::Mode { mode, wanted: 0o600 }),
        _ if owner == 0 => Err(KeyFileProblem::Mode { mode, wanted: 0o640 }),
        _ => Err(KeyFileProblem::Owner { owner, user }),
    }
}

fn parse<K: FromStr<Err = KeyError>>(text: &str) -> Result<K, KeyFileProblem> {
    let mut lines = text
        .lines()
        .zip(1usize..)
        .map(|(text, line)| (text.trim(), line))
        .filter(|(text, _)| !text.is_empty() && !text.starts_with('#'));
    let (text, line) = lines.next().ok_or(KeyFileProblem::Empty)?;
    let key = text.parse().map_err(|error| KeyFileProblem::Key { line, error })?;
    match lines.next() {
        Some((_, line)) => Err(KeyFileProblem::Second { line }),
        None => Ok(key),
    }
}

fn write(path: &Path, text: &str) -> Result<(), KeyFileProblem> {
    // Nothing is written that could not be read back.
    if parse::<Psk>(text).is_err() && parse::<SignKey>(text).is_err() {
        parse::<SecretKey>(text)?;
    }
    write_new_file(path, text, NewFileMode::Private).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFileProblem::Exists,
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => KeyFileProblem::NoFolder,
        _ => KeyFileProblem::Write(error),
    })
}

#[cfg(test)]
mod tests;
