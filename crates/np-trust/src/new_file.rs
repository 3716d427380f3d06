//! Files that are new: never over another, with their mode from the first instant, gone again where they could not be
//! filled. Must never know what a file holds, nor put any of it into an error.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use crate::replace::private;

/// Who may read a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewFileMode {
    /// Its owner alone (0600); on Windows, whoever its folder lets.
    Private,
    /// Whoever the system lets read a new file of this user: 0644 under the usual umask.
    Shared,
}

/// Writes text to a new file, with a line end behind it where it has none.
///
/// For texts that np does not read back as its own keys, such as a certificate and its key in PEM; for those there is
/// [`write_new_secret`](crate::write_new_secret). The folder must exist; an existing file, or a symbolic link, is never
/// touched. When writing fails, the file is removed again.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the file exists, and whatever else the system says.
///
/// ```
/// use np_trust::{NewFileMode, write_new_file};
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("server-key.pem");
/// write_new_file(&path, "-----BEGIN PRIVATE KEY-----", NewFileMode::Private)?;
/// let again = write_new_file(&path, "another", NewFileMode::Private).unwrap_err();
/// assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_new_file(path: &Path, text: &str, mode: NewFileMode) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    if mode == NewFileMode::Private {
        private(&mut options);
    }
    let mut file = options.open(path)?;
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    fill_or_remove(path, || {
        file.write_all(text.as_bytes())?;
        file.write_all(line_end.as_bytes())?;
        file.sync_all()
    })
}

/// Fills a file that was just created, and removes it where that fails.
fn fill_or_remove(path: &Path, fill: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    fill().inspect_err(|_| {
        // The first error is the one to tell; that the file cannot be removed either adds nothing to it.
        let _ = fs::remove_file(path);
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;

    use super::{NewFileMode, fill_or_remove, write_new_file};

    #[test]
    fn a_text_ends_in_one_line_end() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("bare", "a\nb"), ("ended", "a\nb\n")] {
            write_new_file(&dir.path().join(name), text, NewFileMode::Shared).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "a\nb\n");
        }
    }

    #[test]
    fn nothing_is_left_of_a_file_that_could_not_be_filled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        let full = || {
            fs::write(&path, "npsec1half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        assert_eq!(fill_or_remove(&path, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_its_owners_alone_and_a_shared_one_is_the_umasks() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        write_new_file(&dir.path().join("private"), "text", NewFileMode::Private).unwrap();
        write_new_file(&dir.path().join("shared"), "text", NewFileMode::Shared).unwrap();
        fs::write(dir.path().join("usual"), "text").unwrap();
        assert_eq!(mode("private"), 0o600);
        assert_eq!(mode("shared"), mode("usual"));
    }
}
