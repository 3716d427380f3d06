//! `np serve --receive`: files from clients into a folder. Must never write outside of it, nor over a file.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use np_facade::{CallContext, CallError, MessageStream, Status};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::counted::counted;
use crate::files::{CHUNK, Kept, Offer, Wanted};

/// The longest name of a file, in bytes: room for what stands behind it while it is not whole.
const MAX_NAME: usize = 160;

/// A folder that takes files.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    folder: Arc<PathBuf>,
    /// The most bytes of one file.
    most: u64,
    /// The files that are being written.
    busy: Arc<Mutex<BTreeSet<PathBuf>>>,
}

/// A file's place among the busy ones, free again when this is dropped.
struct Busy {
    all: Arc<Mutex<BTreeSet<PathBuf>>>,
    path: PathBuf,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Receiver {
    pub(crate) fn new(folder: PathBuf, most: u64) -> Self {
        Self { folder: Arc::new(folder), most, busy: Arc::default() }
    }

    /// Takes one file. A stream that ends before its file is whole leaves the part, from which the same client may go on.
    pub(crate) async fn receive(self, context: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
        let offer: Offer = stream.recv_as().await.ok_or_else(|| refused("no file was offered"))??;
        if offer.size > self.most {
            let text = format!(
                "limit --receive-max of {} reached: the file has {}",
                counted(self.most, "byte", "bytes"),
                counted(offer.size, "byte", "bytes")
            );
            return Err(CallError::answered(Status::LimitReached, text));
        }
        let name = last_part(&offer.name)?;
        let whole = self.folder.join(&name);
        let part = self.folder.join(part_name(&name, &offer, &context));
        let _busy = self.enter(&part)?;
        if tokio::fs::symlink_metadata(&whole).await.is_ok() {
            return Err(exists(&name));
        }
        let (mut file, from, mut hash) = begin(&part, offer.size).await.map_err(|error| failed("open", &error))?;
        stream.send_as(&Wanted { from }).await?;
        let size = fill(&mut stream, &mut file, &mut hash, from, offer.size).await?;
        let sha256: [u8; 32] = hash.finalize().into();
        if sha256 != offer.sha256 {
            drop(file);
            // What is there is not what was offered, so nothing can go on from it.
            let _ = tokio::fs::remove_file(&part).await;
            return Err(refused(
                "the bytes have another SHA-256 than was offered: the file changed meanwhile; send it anew",
            ));
        }
        file.sync_all().await.map_err(|error| failed("write", &error))?;
        drop(file);
        keep(part, whole).await.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&name),
            _ => failed("keep", &error),
        })?;
        tracing::info!(target: "np::audit", peer = %context.peer(), name, size, "file received");
        stream.send_as(&Kept { size, sha256 }).await?;
        stream.finish().await
    }

    fn enter(&self, part: &Path) -> Result<Busy, CallError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(part.to_owned()) {
            return Err(refused("the same file is being sent already; wait for that to end"));
        }
        Ok(Busy { all: Arc::clone(&self.busy), path: part.to_owned() })
    }
}

/// Opens the part of a file, and reads what an earlier try has left of it.
async fn begin(part: &Path, size: u64) -> io::Result<(File, u64, Sha256)> {
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    let mut file = options.open(part).await?;
    if file.metadata().await?.len() > size {
        file.set_len(0).await?;
    }
    let (mut hash, mut from, mut buffer) = (Sha256::new(), 0u64, vec![0; CHUNK]);
    loop {
        // The file's place moves to its end on the way, which is where more is written.
        match file.read(&mut buffer).await? {
            0 => return Ok((file, from, hash)),
            count => {
                hash.update(buffer.get(..count).unwrap_or_default());
                from = from.saturating_add(count as u64);
            }
        }
    }
}

/// Writes what comes; gives the size, which is the one that was offered.
async fn fill(
    stream: &mut MessageStream,
    file: &mut File,
    hash: &mut Sha256,
    from: u64,
    size: u64,
) -> Result<u64, CallError> {
    let mut have = from;
    while let Some(chunk) = stream.recv().await {
        let chunk = chunk?;
        have = have.saturating_add(chunk.len() as u64);
        if have > size {
            return Err(refused("more bytes came than were offered"));
        }
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(|error| failed("write", &error))?;
    }
    file.flush().await.map_err(|error| failed("write", &error))?;
    if have < size {
        return Err(refused("fewer bytes came than were offered; send it again to go on from there"));
    }
    Ok(have)
}

/// Gives a part its name, which nothing has yet.
async fn keep(part: PathBuf, whole: PathBuf) -> io::Result<()> {
    let linked = tokio::task::spawn_blocking(move || {
        // A link fails where the name is taken; renaming would put it in the place of what is there.
        std::fs::hard_link(&part, &whole)?;
        std::fs::remove_file(&part)
    });
    linked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// The last part of a name, as it may stand in the folder.
fn last_part(name: &str) -> Result<String, CallError> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let strange = |ch: char| ch.is_control() || matches!(ch, ':' | '*' | '?' | '"' | '<' | '>' | '|');
    if last.is_empty() || last.starts_with('.') || last.ends_with(['.', ' ']) || last.chars().any(strange) {
        return Err(refused("the file's name cannot be used here: it is empty, hidden, or has strange characters"));
    }
    if last.len() > MAX_NAME {
        return Err(refused(&format!("the file's name is longer than {MAX_NAME} bytes; shorten it")));
    }
    Ok(last.to_owned())
}

/// Of one client and one content: only that client can go on from it, and only with the same bytes.
fn part_name(name: &str, offer: &Offer, context: &CallContext) -> String {
    let mut hash = Sha256::new();
    hash.update(offer.sha256);
    hash.update(context.peer().to_string());
    let digest: [u8; 32] = hash.finalize().into();
    let short: String = crate::files::hex(&digest).chars().take(24).collect();
    format!("{name}.{short}.part")
}

fn exists(name: &str) -> CallError {
    let shown = np_facade::escape(name, MAX_NAME);
    refused(&format!("{shown} exists there already, and is not overwritten; send it under another name (--name)"))
}

fn refused(text: &str) -> CallError {
    CallError::failed(text)
}

/// The disk's own words stay here: they may name folders.
fn failed(what: &str, error: &io::Error) -> CallError {
    tracing::error!(target: "np::audit", %error, "cannot {what} a file that a client sends");
    CallError::answered(Status::Internal, format!("the server cannot {what} the file; its log says why"))
}

#[cfg(test)]
mod tests {
    use super::last_part;

    #[test]
    fn a_name_is_its_last_part_or_none() {
        for (name, last) in
            [("a.bin", "a.bin"), ("/etc/passwd", "passwd"), ("..\\..\\boot.ini", "boot.ini"), ("ä b", "ä b")]
        {
            assert_eq!(last_part(name).unwrap(), last);
        }
        let long = "a".repeat(161);
        for name in ["", ".", "..", "a/", ".ssh", "a\0b", "a\nb", "nul:", "x.", "x ", "a|b", &long] {
            assert!(last_part(name).is_err(), "{name:?}");
        }
    }
}
