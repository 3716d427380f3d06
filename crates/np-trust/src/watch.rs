//! An allow list that follows its file. Must never decide about a peer, and never lose the last good list to a bad file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::file::{self, read_bounded, shown};
use crate::list::{MAX_BYTES, parse_bytes};
use crate::{AllowList, AllowListError, AllowListProblem};

/// How long a file whose stamp has changed is read again at each look. File systems count time in steps of up to 2 s, so
/// within one step a file may change and keep its stamp.
const SETTLE: Duration = Duration::from_secs(2);

/// A list, and the file that it follows.
pub(crate) struct WatchedList {
    path: PathBuf,
    shown: Arc<str>,
    state: Mutex<State>,
}

struct State {
    list: Arc<AllowList>,
    stamp: Option<Stamp>,
    content: Content,
    /// When a look saw the stamp first.
    since: Instant,
    /// Whether the file has been read so late after `since` that no later change can have the same stamp.
    settled: bool,
    /// How often the file was read.
    #[cfg(test)]
    reads: u32,
}

/// What the last read found.
#[derive(PartialEq)]
enum Content {
    /// Bytes with this SHA-256, good or bad.
    Read([u8; 32]),
    /// No file.
    Gone,
    /// Something that could not be read.
    Failed(io::ErrorKind),
    /// More than a list may hold.
    TooLarge,
    /// A folder, a pipe or a device.
    NotFile,
}

/// What tells one version of a file from another without reading it.
#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// Device, inode and the time of the last change of either, which nobody can set.
    #[cfg(unix)]
    node: (u64, u64, i64, i64),
    #[cfg(not(unix))]
    created: Option<SystemTime>,
}

/// What a file held.
type Bytes = zeroize::Zeroizing<Vec<u8>>;

/// What a look has to tell the audit log.
enum News {
    Read { keys: usize },
    Gone,
    Kept(AllowListError),
}

impl WatchedList {
    /// Reads a list and begins to follow its file; `None` where there is no file to follow, but a pipe, say.
    pub(crate) fn open(path: &Path, now: Instant) -> Result<Option<Self>, AllowListError> {
        // Before the read: a file that is replaced after this has another stamp at the next look.
        let stamp = match fs::metadata(path) {
            Ok(meta) if meta.is_file() => Stamp::of(&meta),
            _ => return Ok(None),
        };
        let at = |problem| AllowListError { path: Some(path.to_owned()), problem };
        let read = read(path);
        let content = Content::of(&read);
        let list = read.and_then(|bytes| parse_bytes(&bytes)).map_err(at)?;
        let state = State {
            list: Arc::new(list),
            stamp: Some(stamp),
            content,
            since: now,
            settled: false,
            #[cfg(test)]
            reads: 1,
        };
        Ok(Some(Self { path: path.to_owned(), shown: shown(path).into(), state: Mutex::new(state) }))
    }

    /// The file's name, as it is shown.
    pub(crate) fn name(&self) -> &str {
        &self.shown
    }

    /// The list as the last look found it.
    pub(crate) fn last(&self) -> Arc<AllowList> {
        Arc::clone(&self.lock().list)
    }

    /// The list as the file has it now.
    pub(crate) fn current(&self, now: Instant) -> Arc<AllowList> {
        let mut state = self.lock();
        let news = state.look(&self.path, now);
        let list = Arc::clone(&state.list);
        // A log may take its time; the others need not wait for it.
        drop(state);
        if let Some(news) = news {
            self.audit(&news);
        }
        list
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of another thread leaves a list that was good, at worst with a stamp that makes the next look read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn audit(&self, news: &News) {
        let list = &*self.shown;
        match news {
            News::Read { keys } => tracing::info!(target: "np::audit", list, keys, "allow list read again"),
            News::Gone => tracing::warn!(target: "np::audit", list, "allow list is gone: it allows nobody"),
            News::Kept(error) => {
                tracing::error!(target: "np::audit", list, %error, "allow list cannot be used: the last good one stays in force");
            }
        }
    }
}

impl State {
    fn look(&mut self, path: &Path, now: Instant) -> Option<News> {
        let meta = fs::metadata(path);
        let stamp = meta.as_ref().ok().map(Stamp::of);
        if stamp == self.stamp && self.settled {
            return None;
        }
        if stamp != self.stamp {
            (self.stamp, self.since) = (stamp, now);
        }
        #[cfg(test)]
        {
            self.reads += 1;
        }
        // The time before the read: what changes during the read must be seen by the next.
        let late = now.saturating_duration_since(self.since) >= SETTLE;
        let read = match meta {
            Ok(meta) if meta.is_file() => read(path),
            Ok(_) => Err(AllowListProblem::NotFile),
            Err(error) => Err(AllowListProblem::Read(error)),
        };
        // What failed may succeed without any change to the file; trying again is cheap.
        self.settled = late && read.is_ok();
        self.take(path, read)
    }

    /// Acts on what was read, unless it is what was there before.
    fn take(&mut self, path: &Path, read: Result<Bytes, AllowListProblem>) -> Option<News> {
        let content = Content::of(&read);
        if content == self.content {
            return None;
        }
        self.content = content;
        if self.content == Content::Gone {
            self.list = Arc::default();
            return Some(News::Gone);
        }
        match read.and_then(|bytes| parse_bytes(&bytes)) {
            Ok(list) => {
                let keys = list.len();
                self.list = Arc::new(list);
                Some(News::Read { keys })
            }
            Err(problem) => Some(News::Kept(AllowListError { path: Some(path.to_owned()), problem })),
        }
    }
}

impl Content {
    fn of(read: &Result<Bytes, AllowListProblem>) -> Self {
        match read {
            Ok(bytes) => Self::Read(Sha256::digest(bytes).into()),
            Err(AllowListProblem::Read(error)) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Gone,
                kind => Self::Failed(kind),
            },
            Err(AllowListProblem::TooLarge) => Self::TooLarge,
            Err(_) => Self::NotFile,
        }
    }
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt as _;

        Self {
            length: meta.len(),
            modified: meta.modified().ok(),
            #[cfg(unix)]
            node: (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec()),
            #[cfg(not(unix))]
            created: meta.created().ok(),
        }
    }
}

fn read(path: &Path) -> Result<Bytes, AllowListProblem> {
    match File::open(path).and_then(|file| read_bounded(&file, MAX_BYTES)).map_err(AllowListProblem::Read)? {
        file::Content::Text(bytes) => Ok(bytes),
        file::Content::TooLarge => Err(AllowListProblem::TooLarge),
    }
}

#[cfg(test)]
mod tests;
