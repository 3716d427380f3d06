//! Unix sockets: connecting, accepting, and who the operating system says is at the other end.
//!
//! It must never touch the file system: that is the business of `unix_claim`.

use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use np_types::LocalPeer;
use tokio::net::{UnixListener, UnixStream};

use crate::address::{Address, SecurityMode};
use crate::connect::ConnectOptions;
use crate::error::{Action, TransportError};
use crate::link::{Link, PeerLabel};
use crate::listener::BindOptions;
use crate::unix_claim::{self, Claim};

/// The most bytes of a socket's path: the system's field holds a NUL byte besides.
pub(crate) const MAX_PATH: usize = if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// A listener's queue that is full is looked at again after this, then after twice as long, up to the second value.
const FULL_QUEUE_PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// The listening end of a socket file.
#[derive(Debug)]
pub(crate) struct UnixEnd {
    /// Before the socket, so that it is dropped first: as long as the socket lives, no other file has its inode. An
    /// abstract name has no file.
    _claim: Option<Claim>,
    socket: UnixListener,
}

pub(crate) async fn bind(address: &Address, options: &BindOptions) -> Result<UnixEnd, TransportError> {
    let path = short_path(Action::Bind, address)?;
    if options.unix_mode > 0o777 {
        let why = "the mode of a socket file is at most 0o777; choose such as 0o660".to_owned();
        return Err(TransportError::unusable(Action::Bind, address, why));
    }
    let (claim, socket) = match abstract_name(Action::Bind, address, &path)? {
        Some(name) => (None, unix_claim::listen(&name, options).map_err(|error| in_use(address, error))?),
        None => {
            let (claim, socket) = unix_claim::claim(address, &path, options).await?;
            (Some(claim), socket)
        }
    };
    let socket = UnixListener::from_std(socket).map_err(|error| TransportError::bind(address, error))?;
    Ok(UnixEnd { _claim: claim, socket })
}

/// A socket of somebody else's making, who also keeps its file.
pub(crate) fn inherit(socket: std::os::unix::net::UnixListener) -> io::Result<UnixEnd> {
    socket.set_nonblocking(true)?;
    Ok(UnixEnd { _claim: None, socket: UnixListener::from_std(socket)? })
}

pub(crate) async fn connect(address: &Address, options: &ConnectOptions) -> Result<Link, TransportError> {
    let path = short_path(Action::Connect, address)?;
    let path = abstract_name(Action::Connect, address, &path)?.unwrap_or(path);
    let stream = connect_when_free(&path).await.map_err(|source| TransportError::connect(address, source))?;
    let link = link(address, stream, address.without_keys().to_string());
    if address.mode() != SecurityMode::Local {
        return Ok(link);
    }
    let expected = match &options.local_user {
        Some(user) => user.clone(),
        None => rustix::process::geteuid().as_raw().to_string(),
    };
    link.of_user(Action::Connect, address, Some(&expected))
}

/// What the system calls the name after `unix:@`: there it starts with a NUL byte, and is no file.
fn abstract_name(action: Action, address: &Address, path: &Path) -> Result<Option<PathBuf>, TransportError> {
    let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") else { return Ok(None) };
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        let why = "only Linux has abstract names; write the path of a socket file, or ./@... for a file of that name";
        return Err(TransportError::unusable(action, address, why.to_owned()));
    }
    if name.is_empty() {
        let why = "the name is missing after @".to_owned();
        return Err(TransportError::unusable(action, address, why));
    }
    let bytes = [b"\0", name].concat();
    Ok(Some(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
}

fn in_use(address: &Address, error: io::Error) -> TransportError {
    if error.kind() == io::ErrorKind::AddrInUse {
        return unix_claim::live(address);
    }
    TransportError::bind(address, error)
}

/// Waits while the queue is full, as a blocking socket would.
async fn connect_when_free(path: &Path) -> io::Result<UnixStream> {
    let [mut pause, longest] = FULL_QUEUE_PAUSE;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(longest);
            }
            outcome => return outcome,
        }
    }
}

impl UnixEnd {
    pub(crate) async fn accept(&self, address: &Address) -> Result<Link, TransportError> {
        let (stream, _) = self.socket.accept().await.map_err(|source| TransportError::accept(address, source))?;
        let link = link(address, stream, "unix".to_owned());
        if address.mode() == SecurityMode::Local { link.of_user(Action::Accept, address, None) } else { Ok(link) }
    }
}

fn link(address: &Address, stream: UnixStream, place: String) -> Link {
    let local = stream.peer_cred().ok().map(|who| LocalPeer {
        user: who.uid().to_string(),
        group: Some(who.gid().to_string()),
        process: who.pid().and_then(|pid| u32::try_from(pid).ok()),
    });
    let text = match &local {
        Some(LocalPeer { user, process: Some(process), .. }) => format!("{place} (uid {user}, pid {process})"),
        Some(LocalPeer { user, .. }) => format!("{place} (uid {user})"),
        None => place,
    };
    let mut link = Link::at(Box::new(stream), address, PeerLabel { text, ip: None });
    link.local = local;
    link
}

fn short_path(action: Action, address: &Address) -> Result<PathBuf, TransportError> {
    let path = address.path().unwrap_or_default();
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_PATH {
        return Err(too_long(action, address, length, MAX_PATH));
    }
    Ok(path)
}

pub(crate) fn too_long(action: Action, address: &Address, length: usize, limit: usize) -> TransportError {
    let why = format!("the path has {length} bytes and this system allows {limit}; choose a shorter one");
    TransportError::unusable(action, address, why)
}
