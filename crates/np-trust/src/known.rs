//! The file of servers whose keys were seen before. Must never decide about a peer: that is the policy's.
//!
//! A line is `ADDRESS KEY [YYYY-MM-DD]`, the day on which the key was seen first; `#` at a line's start or after a space
//! begins a comment.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use np_types::{KeyError, PublicKey, UnixMillis};

use crate::file::{Content, read_bounded, shown, without_comment};
use crate::replace::Turn;
use crate::time::{Day, unix_now};

/// The most bytes of the file: about 30,000 servers.
const MAX_BYTES: u64 = 4 * 1_048_576;

/// The longest address, in bytes.
const MAX_ADDRESS: usize = 512;

/// What is wrong with a file of known peers, or with what was asked of it. Shows no part of a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum KnownPeersProblem {
    /// The system did not let it be read.
    Read(io::Error),
    /// The system did not let it be written; it is as it was.
    Write(io::Error),
    /// It is a folder, a pipe or a device, or a link that leads nowhere.
    NotFile,
    /// It holds more than 4 MiB.
    TooLarge,
    /// One more line would make it larger than 4 MiB.
    Full,
    /// It is not UTF-8 text.
    NotText,
    /// A line does not have a public key as its second word.
    Key {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A line has something other than a day behind the key.
    Day {
        /// Which line, from 1.
        line: usize,
    },
    /// An address is empty, longer than 512 bytes, begins with `#`, or holds white space or a control character.
    Address,
}

/// What is wrong with a file of known peers, which, and what to do next.
///
/// ```
/// use np_trust::{KnownPeers, KnownPeersProblem};
/// # let dir = tempfile::tempdir()?;
/// let error = KnownPeers::open(dir.path()).unwrap_err();
/// assert!(matches!(error.problem, KnownPeersProblem::NotFile));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct KnownPeersError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: KnownPeersProblem,
}

impl fmt::Display for KnownPeersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "known peers {}", shown(&self.path))?;
        match &self.problem {
            KnownPeersProblem::Read(error) => write!(f, ": cannot be read: {error}"),
            KnownPeersProblem::Write(error) => write!(f, ": cannot be written: {error}"),
            KnownPeersProblem::NotFile => f.write_str(": is not a file; name a file, which may be a new one"),
            KnownPeersProblem::TooLarge => f.write_str(": holds more than 4 MiB; is it a list of known peers?"),
            KnownPeersProblem::Full => f.write_str(": has no room below its limit of 4 MiB; remove old lines"),
            KnownPeersProblem::NotText => f.write_str(": does not hold text; is it a list of known peers?"),
            KnownPeersProblem::Key { line, error } => {
                write!(f, ", line {line}: {error}; a line is an address, a public key (np1...) and perhaps a day")
            }
            KnownPeersProblem::Day { line } => write!(
                f,
                ", line {line}: behind the key stands something other than a day as YYYY-MM-DD; a comment begins with #"
            ),
            KnownPeersProblem::Address => write!(
                f,
                ": an address there has 1 to {MAX_ADDRESS} bytes, does not begin with # and holds no white space"
            ),
        }
    }
}

impl std::error::Error for KnownPeersError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            KnownPeersProblem::Read(error) | KnownPeersProblem::Write(error) => Some(error),
            KnownPeersProblem::Key { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What a file of known peers says about an address and the key that was proven there.
///
/// ```
/// use np_trust::KnownPeer;
/// assert_ne!(KnownPeer::Known, KnownPeer::New);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownPeer {
    /// A line has the address and the key.
    Known,
    /// No line has the address.
    New,
    /// Lines have the address, but all with other keys: somebody may stand in between.
    Changed {
        /// The key of the last of these lines.
        expected: PublicKey,
        /// Which line that is, from 1.
        line: usize,
    },
}

/// A file of servers' addresses and the keys that were seen there: trust on first use.
///
/// An address is any text without white space that does not begin with `#`, compared byte for byte: pass the canonical
/// form, without keys. An address may have several lines, for servers that change their key: any of the keys is known.
///
/// The file is read as a whole at each look, so that what another process writes counts at once; that costs about
/// 2 µs a line, and a look comes once a connection. A change is made under a lock (a file beside it, `.lock`)
/// that waits up to 5 s for other processes, in a new file that takes the place of the old in one step; other lines
/// and comments stay as they are. These methods wait for the disk.
///
/// # Limits
/// 4 MiB for the file, 512 bytes for an address. A line that cannot be read makes the whole file an error, since it may
/// hide the very key that was expected.
///
/// ```
/// use np_trust::{KnownPeer, KnownPeers};
/// use np_types::PublicKey;
/// # let dir = tempfile::tempdir()?;
/// let known = KnownPeers::open(&dir.path().join("np/known_peers"))?;
/// let (old, new) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
/// assert_eq!(known.check("tcp://db:4711", &old)?, KnownPeer::New);
/// known.remember("tcp://db:4711", &old)?;
/// assert_eq!(known.check("tcp://db:4711", &old)?, KnownPeer::Known);
/// assert_eq!(known.check("tcp://db:4711", &new)?, KnownPeer::Changed { expected: old, line: 1 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct KnownPeers {
    path: Arc<Path>,
}

impl KnownPeers {
    /// Names a file, and reads it once to find what is wrong with it. One that is missing is empty; it and its folders
    /// (0700) are made when the first key is kept.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 4 MiB, or holds a line that is none.
    pub fn open(path: &Path) -> Result<Self, KnownPeersError> {
        let read = |problem| KnownPeersError { path: path.to_owned(), problem };
        // What the path means must not change with the current directory.
        let absolute = std::path::absolute(path).map_err(|error| read(KnownPeersProblem::Read(error)))?;
        let known = Self { path: absolute.into() };
        known.lines().and_then(|text| Lines::parse(&text).map(drop)).map_err(|problem| known.error(problem))?;
        Ok(known)
    }

    /// Where users keep the file: `known_peers` in `$XDG_CONFIG_HOME/np`, else `$HOME/.config/np`; on Windows
    /// `%APPDATA%\np`. `None` where the environment, which is given as a function, has no such variable with an
    /// absolute path.
    ///
    /// ```
    /// use std::ffi::OsString;
    /// use np_trust::KnownPeers;
    /// let home = |name: &str| (name == "HOME").then(|| OsString::from("/srv/ada"));
    /// if cfg!(unix) {
    ///     let path = KnownPeers::default_path(&home).ok_or("no home")?;
    ///     assert_eq!(path, std::path::Path::new("/srv/ada/.config/np/known_peers"));
    /// }
    /// assert_eq!(KnownPeers::default_path(&|_| None), None);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn default_path(env: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = if cfg!(windows) {
            folder("APPDATA")
        } else {
            folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))
        };
        Some(config?.join("np").join("known_peers"))
    }

    /// The file, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about an address and a key.
    ///
    /// # Errors
    /// As [`Self::open`], or when the address is not one.
    pub fn check(&self, address: &str, key: &PublicKey) -> Result<KnownPeer, KnownPeersError> {
        self.look(address, key).map_err(|problem| self.error(problem))
    }

    /// Keeps a key for an address, beside others that the address has; does nothing where the line is there already.
    /// When it returns, the line is on the disk.
    ///
    /// # Errors
    /// As [`Self::check`], and when the file cannot be written, has no room, or is locked for longer than 5 s; then the
    /// file is as it was.
    pub fn remember(&self, address: &str, key: &PublicKey) -> Result<(), KnownPeersError> {
        self.keep(address, key, unix_now(), |found| found != KnownPeer::Known).map(drop)
    }

    /// Keeps a key for an address that has none, in one step: of two processes that see two keys at the same time, one
    /// keeps its key and the other gets [`KnownPeer::Changed`]. [`KnownPeer::New`] means that the key is kept by now.
    ///
    /// `now` becomes the day that the line names.
    ///
    /// # Errors
    /// As [`Self::remember`]. A key whose keeping failed must not be trusted.
    pub fn first_use(&self, address: &str, key: &PublicKey, now: UnixMillis) -> Result<KnownPeer, KnownPeersError> {
        self.keep(address, key, now, |found| found == KnownPeer::New)
    }

    fn look(&self, address: &str, key: &PublicKey) -> Result<KnownPeer, KnownPeersProblem> {
        check_address(address)?;
        Ok(Lines::parse(&self.lines()?)?.find(address, key))
    }

    /// Adds a line if `wanted` says so about what stands there; gives what stood there before.
    fn keep(
        &self,
        address: &str,
        key: &PublicKey,
        now: UnixMillis,
        wanted: fn(KnownPeer) -> bool,
    ) -> Result<KnownPeer, KnownPeersError> {
        let found = match self.look(address, key) {
            Ok(found) if wanted(found) => self.keep_locked(address, key, now, wanted),
            other => other,
        };
        found.map_err(|problem| self.error(problem))
    }

    fn keep_locked(
        &self,
        address: &str,
        key: &PublicKey,
        now: UnixMillis,
        wanted: fn(KnownPeer) -> bool,
    ) -> Result<KnownPeer, KnownPeersProblem> {
        let turn = Turn::wait(&self.path).map_err(KnownPeersProblem::Write)?;
        // Once more: another process may have been quicker.
        let mut text = self.lines()?;
        let found = Lines::parse(&text)?.find(address, key);
        if !wanted(found) {
            return Ok(found);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{address} {key} {}\n", Day::of(now)));
        if u64::try_from(text.len()).is_ok_and(|length| length > MAX_BYTES) {
            return Err(KnownPeersProblem::Full);
        }
        turn.replace(text.as_bytes()).map_err(KnownPeersProblem::Write)?;
        Ok(found)
    }

    /// What the file holds.
    fn lines(&self) -> Result<String, KnownPeersProblem> {
        // Looked at before it is opened: to open a pipe would wait for its writer.
        match fs::metadata(&self.path) {
            Ok(meta) if meta.is_file() => {}
            Ok(_) => return Err(KnownPeersProblem::NotFile),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(&self.path) {
                Ok(meta) if meta.is_symlink() => return Err(KnownPeersProblem::NotFile),
                // Another process has made it in this moment.
                Ok(_) => {}
                Err(_) => return Ok(String::new()),
            },
            Err(error) => return Err(KnownPeersProblem::Read(error)),
        }
        let file = File::open(&self.path).map_err(KnownPeersProblem::Read)?;
        match read_bounded(&file, MAX_BYTES).map_err(KnownPeersProblem::Read)? {
            Content::TooLarge => Err(KnownPeersProblem::TooLarge),
            Content::Text(bytes) => {
                std::str::from_utf8(&bytes).map(ToOwned::to_owned).map_err(|_| KnownPeersProblem::NotText)
            }
        }
    }

    fn error(&self, problem: KnownPeersProblem) -> KnownPeersError {
        KnownPeersError { path: self.path.to_path_buf(), problem }
    }
}

fn check_address(address: &str) -> Result<(), KnownPeersProblem> {
    let fine = (1..=MAX_ADDRESS).contains(&address.len())
        && !address.starts_with('#')
        && !address.contains(|ch: char| ch.is_whitespace() || ch.is_control());
    if fine { Ok(()) } else { Err(KnownPeersProblem::Address) }
}

/// The lines of a file that hold keys.
struct Lines<'a>(Vec<Line<'a>>);

struct Line<'a> {
    number: usize,
    address: &'a str,
    key: PublicKey,
}

impl<'a> Lines<'a> {
    fn parse(text: &'a str) -> Result<Self, KnownPeersProblem> {
        // Editors of Windows put a mark before the first line; as part of an address it would hide the line.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().zip(1usize..).filter_map(|(text, number)| Line::parse(text, number).transpose());
        lines.collect::<Result<_, _>>().map(Self)
    }

    fn find(&self, address: &str, key: &PublicKey) -> KnownPeer {
        let mut found = KnownPeer::New;
        for line in self.0.iter().filter(|line| line.address == address) {
            if line.key == *key {
                return KnownPeer::Known;
            }
            found = KnownPeer::Changed { expected: line.key, line: line.number };
        }
        found
    }
}

impl<'a> Line<'a> {
    fn parse(text: &'a str, number: usize) -> Result<Option<Self>, KnownPeersProblem> {
        let mut words = without_comment(text).split_whitespace();
        let Some(address) = words.next() else {
            return Ok(None);
        };
        let key = words.next().unwrap_or_default().parse();
        let key = key.map_err(|error| KnownPeersProblem::Key { line: number, error })?;
        let day = words.next().is_none_or(|day| Day::parse(day).is_some());
        if !day || words.next().is_some() {
            return Err(KnownPeersProblem::Day { line: number });
        }
        Ok(Some(Self { number, address, key }))
    }
}

#[cfg(test)]
mod tests;
