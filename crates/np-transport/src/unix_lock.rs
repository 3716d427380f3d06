//! The lock that lets the starters of one socket file take turns.
//!
//! The system releases it when its holder dies. It must never be needed for anything but binding, which is short.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

use crate::unix_claim::{directory_of, identity};

/// How long between two looks at a lock that another holds.
const PAUSE: Duration = Duration::from_millis(2);

/// How many looks before the other is taken for the future owner of the place: 5 s, where binding takes milliseconds.
const LOOKS: u32 = 2500;

/// The exclusive right to bind at one path, until dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    file: File,
}

impl Turn {
    /// Waits for the lock beside `path`; `None` if it does not come free.
    pub(crate) async fn wait(path: &Path) -> io::Result<Option<Self>> {
        let mut name = OsString::from(".np-lock-");
        name.push(path.file_name().unwrap_or_default());
        let path = directory_of(path).join(name);
        for _ in 0..LOOKS {
            if let Some(file) = try_lock(&path)? {
                return Ok(Some(Self { path, file }));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }
}

/// The open and locked file, if it could be locked and is still the one at the path.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    // Neither a link nor a named pipe that somebody put there may lead or hold up the process.
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::RUSR | Mode::WUSR)?);
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        // The holder before removed the file between the opening and the locking: this lock is nobody's any more.
        Ok(()) => Ok(is_at(&file, path).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let held = file.metadata().map(|data| (data.dev(), data.ino()));
    held.is_ok_and(|held| identity(path).is_ok_and(|there| there == held))
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Only an empty file is one of these locks. The lock itself ends with the file, which is closed after this.
        let ours = self.file.metadata().is_ok_and(|data| data.is_file() && data.len() == 0);
        if ours && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
