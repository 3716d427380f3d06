//! Key files that cannot be used: what to do about each, with a look at what the file is in place of a key file.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::Path;

use np_facade::{Error, KeyFileError, KeyFileProblem, PublicKey};

use crate::failure::Failure;

/// The most bytes that are looked at for a public key.
const LOOK: u64 = 4_096;

/// A key file that cannot be used. Looks at the file, and so may block.
pub(crate) fn refused(error: KeyFileError) -> Failure {
    if let Some(what) = really(&error) {
        let path = np_facade::escape_path(&error.path);
        return Failure::usage(format!("key file {path}: {what}"));
    }
    let next = match &error.problem {
        KeyFileProblem::Missing | KeyFileProblem::Empty => " with `np keygen --out FILE`",
        KeyFileProblem::Mode { .. } | KeyFileProblem::Owner { .. } => {
            " (or pass --danger-key-mode to accept it as it is)"
        }
        KeyFileProblem::Key { .. } => "; give a file that `np keygen` wrote",
        KeyFileProblem::Read(_) => "; check who may read it",
        KeyFileProblem::Write(_) => "; check the disk and who may write there",
        _ => "",
    };
    let line = format!("{error}{next}");
    Failure::new(Error::from(error).kind(), line)
}

/// What the file is, where its permissions were refused although they are not what is wrong with it.
fn really(error: &KeyFileError) -> Option<&'static str> {
    if !matches!(error.problem, KeyFileProblem::Mode { .. } | KeyFileProblem::Owner { .. }) {
        return None;
    }
    let meta = fs::metadata(&error.path).ok()?;
    if meta.is_file() {
        let next = "holds a public key, where a secret key belongs; give the file that `np keygen` wrote";
        return holds_public_key(&error.path).then_some(next);
    }
    (!is_pipe(&meta)).then_some("is neither a file nor a pipe; give the file that `np keygen` wrote")
}

fn holds_public_key(path: &Path) -> bool {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LOOK).read_to_string(&mut text));
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // The lines of an allow list hold a name behind the key.
    let first = lines.next().and_then(|line| line.split_whitespace().next());
    read.is_ok() && first.is_some_and(|key| key.parse::<PublicKey>().is_ok())
}

#[cfg(unix)]
fn is_pipe(meta: &Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_meta: &Metadata) -> bool {
    false
}
