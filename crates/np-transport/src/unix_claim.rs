//! The file of a listening Unix socket: how it comes to its place, and how it goes.
//!
//! A socket is bound and listens in a private directory beside its place, gets its mode there, and is then linked into
//! its place, which fails where anything is. So the file has its mode from the first instant, whatever the umask; a file
//! at the place that refuses connections is dead for certain; and nothing that lives is ever replaced. Starters of one
//! place take turns under a lock. Others know nothing of it, so a dead file is moved into a private directory and asked
//! once more there, where nobody can exchange it: what turns out to be alive is put back. This module must never follow
//! a symbolic link or touch what is no socket.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixStream;

use crate::address::Address;
use crate::error::{Action, TransportError};
use crate::listener::BindOptions;
use crate::unix::{MAX_PATH, too_long};
use crate::unix_lock::Turn;

/// How often the place is tried before others' coming and going is taken for their being there.
const ATTEMPTS: usize = 16;

/// How many names of private directories are tried; each that exists is another process's or left by a crash.
const NAMES: u32 = 1000;

/// A socket file that is ours: removed on drop, unless another has taken its place.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Absolute, since the process may change its directory.
    path: PathBuf,
    identity: Identity,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode: two files of one machine that exist at the same time differ in it.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()))
}

/// Binds a socket and puts its file in place.
pub(crate) async fn claim(
    address: &Address,
    path: &Path,
    options: &BindOptions,
) -> Result<(Claim, UnixListener), TransportError> {
    let failed = |error| TransportError::bind(address, error);
    let _turn = Turn::wait(path).await.map_err(failed)?.ok_or_else(|| live(address))?;
    let staging = Staging::create(path).map_err(failed)?;
    let name = path.file_name().unwrap_or_else(|| OsStr::new("s"));
    let staged = staging.place(address, path, name)?;
    let socket = listen(&staged.to_socket, options).map_err(failed)?;
    let mode = fs::Permissions::from_mode(options.unix_mode);
    fs::set_permissions(&staged.file, mode).map_err(failed)?;
    let claim =
        Claim { path: std::path::absolute(path).map_err(failed)?, identity: identity(&staged.file).map_err(failed)? };
    for _ in 0..ATTEMPTS {
        match fs::hard_link(&staged.file, path) {
            Ok(()) => return Ok((claim, socket)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                vacate(address, path).await?;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(live(address))
}

/// Where the path's file is; a bare name is in the working directory.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

pub(crate) fn listen(path: &Path, options: &BindOptions) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(i32::try_from(options.backlog.max(1)).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Makes room at the place, where what is there is a socket that nobody listens on.
async fn vacate(address: &Address, path: &Path) -> Result<(), TransportError> {
    if !is_socket(path).map_err(|error| TransportError::bind(address, error))? {
        return Err(no_socket(address));
    }
    if answers(path).await {
        return Err(live(address));
    }
    evict(address, path).await
}

/// Moves a socket that did not answer out of its place, and removes it if it is still dead there.
async fn evict(address: &Address, path: &Path) -> Result<(), TransportError> {
    let staging = Staging::create(path).map_err(|error| TransportError::bind(address, error))?;
    let old = staging.place(address, path, OsStr::new("s"))?;
    match fs::rename(path, &old.file) {
        Ok(()) => {}
        // Another starter was quicker: the next attempt meets what it has put there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(TransportError::bind(address, error)),
    }
    let socket = is_socket(&old.file).unwrap_or(false);
    if socket && !answers(&old.to_socket).await {
        tracing::info!(address = %address.without_keys(), "replaced the socket of a process that is gone");
        return fs::remove_file(&old.file).map_err(|error| TransportError::bind(address, error));
    }
    if let Err(error) = fs::hard_link(&old.file, path) {
        tracing::warn!(address = %address.without_keys(), %error, "could not put back what another process has just bound");
    }
    Err(if socket { live(address) } else { no_socket(address) })
}

/// Whether the path is a socket; what is gone by now counts as one, and the next attempt finds the place free.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(data) => Ok(data.file_type().is_socket()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether somebody may listen on a socket file: in doubt, yes.
async fn answers(path: &Path) -> bool {
    match UnixStream::connect(path).await {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

pub(crate) fn live(address: &Address) -> TransportError {
    TransportError::InUse {
        address: address.without_keys().to_string(),
        what: "another process listens there",
        next: "stop it, or choose another path",
    }
}

fn no_socket(address: &Address) -> TransportError {
    TransportError::InUse {
        address: address.without_keys().to_string(),
        what: "a file that is no socket is there",
        next: "move it away, or choose another path",
    }
}

/// A directory beside the place that nobody else may enter; gone, with what is in it, on drop.
struct Staging {
    directory: PathBuf,
    /// Open, so that a path through it can be written in few bytes on Linux.
    handle: File,
}

/// A file in the private directory, by its name for the file system and by one that is short enough for a socket.
struct Staged {
    file: PathBuf,
    to_socket: PathBuf,
}

impl Staging {
    fn create(path: &Path) -> io::Result<Self> {
        let parent = directory_of(path);
        let process = std::process::id();
        for number in 0..NAMES {
            let directory = parent.join(format!(".np-{process}-{number}"));
            match DirBuilder::new().mode(0o700).create(&directory) {
                Ok(()) => {
                    return match File::open(&directory) {
                        Ok(handle) => Ok(Self { directory, handle }),
                        Err(error) => fs::remove_dir(&directory).and(Err(error)),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A name in the directory: the wanted one, since tools show it, or else a short one.
    fn place(&self, address: &Address, path: &Path, name: &OsStr) -> Result<Staged, TransportError> {
        let file = self.directory.join(name);
        let descriptor = self.handle.as_raw_fd();
        let through = PathBuf::from(format!("/proc/self/fd/{descriptor}")).join(name);
        let length = |path: &Path| path.as_os_str().as_bytes().len();
        if length(&file) <= MAX_PATH {
            let to_socket = file.clone();
            return Ok(Staged { file, to_socket });
        }
        if cfg!(target_os = "linux") && length(&through) <= MAX_PATH {
            return Ok(Staged { file, to_socket: through });
        }
        if name.len() > 1 {
            return self.place(address, path, OsStr::new("s"));
        }
        let spare = length(&file).saturating_sub(MAX_PATH);
        let limit = length(path).saturating_sub(spare);
        Err(too_long(Action::Bind, address, length(path), limit))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::evict;
    use crate::address::Address;
    use crate::error::TransportError;

    /// A program that knows nothing of the lock may bind between the question and the move.
    #[tokio::test]
    async fn what_came_alive_after_it_was_asked_is_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("np.sock");
        let _live = UnixListener::bind(&path).unwrap();
        let error = evict(&Address::unix(&path).unwrap(), &path).await.unwrap_err();
        assert!(matches!(error, TransportError::InUse { .. }), "{error}");
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn what_became_a_file_after_it_was_asked_is_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("np.sock");
        fs::write(&path, "precious").unwrap();
        let error = evict(&Address::unix(&path).unwrap(), &path).await.unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
