//! Windows named pipes: connecting, listening, who may open them, and whose they are.
//!
//! It must never take a peer's word for who it is: a client goes by the pipe's owner, a listener by its access list.

use std::io;
use std::time::Duration;

use interprocess::os::windows::named_pipe::PipeListenerOptions;
use interprocess::os::windows::named_pipe::pipe_mode::Bytes;
use interprocess::os::windows::named_pipe::tokio::PipeListener;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use np_types::LocalPeer;
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};
use widestring::U16CString;

use crate::address::Address;
use crate::connect::ConnectOptions;
use crate::error::{Action, TransportError};
use crate::link::{Io, Link, PeerLabel};
use crate::pipe_user;

/// ERROR_PIPE_BUSY: every instance has a client, and the listener has not made the next one yet.
const BUSY: i32 = 231;

/// ERROR_ACCESS_DENIED: at the first instance it means that the pipe exists.
const DENIED: i32 = 5;

/// A pipe that is busy is looked at again after this, then after twice as long, up to the second value.
const BUSY_PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// The listening end of a name.
#[derive(Debug)]
pub(crate) struct PipeEnd {
    listener: PipeListener<Bytes, Bytes>,
    /// The SID of the one user that the access list lets in, and so of every client.
    user: String,
}

fn path(name: &str) -> String {
    format!(r"\\.\pipe\{name}")
}

pub(crate) fn bind(address: &Address, name: &str) -> Result<PipeEnd, TransportError> {
    let failed = |error: io::Error| {
        if error.raw_os_error() == Some(DENIED) {
            return TransportError::InUse {
                address: address.without_keys().to_string(),
                what: "another process has a pipe of that name",
                next: "stop it, or choose another name",
            };
        }
        TransportError::bind(address, error)
    };
    let user = pipe_user::current_user().map_err(|source| TransportError::bind(address, source))?;
    let path = path(name);
    let mut options = PipeListenerOptions::new().path(path.as_str());
    options.accept_remote = false;
    options.security_descriptor = Some(one_user_alone(&user).map_err(failed)?);
    let listener = options.create_tokio_duplex::<Bytes>().map_err(failed)?;
    Ok(PipeEnd { listener, user })
}

/// All rights for this user, nothing over the network, nothing for anybody else, and nothing inherited. The user owns it by
/// name: what a process makes when it is raised to an administrator would else belong to all administrators.
fn one_user_alone(user: &str) -> io::Result<SecurityDescriptor> {
    let text = format!("O:{user}D:P(D;;GA;;;NU)(A;;GA;;;{user})");
    let text = U16CString::from_str(text).map_err(io::Error::other)?;
    SecurityDescriptor::deserialize(&text)
}

pub(crate) async fn connect(address: &Address, name: &str, options: &ConnectOptions) -> Result<Link, TransportError> {
    let failed = |source| TransportError::connect(address, source);
    let expected = options.local_user.clone().map_or_else(pipe_user::current_user, Ok).map_err(failed)?;
    let stream = open_when_free(&path(name)).await.map_err(failed)?;
    // The system would tell a process id too. It is of the one that made the pipe, which may have handed it on.
    let owner = pipe_user::owner(&stream).ok().map(|user| LocalPeer { user, group: None, process: None });
    link(address, Box::new(stream), owner).of_user(Action::Connect, address, Some(&expected))
}

/// Waits while every instance is taken. A server may learn who its client is, and not act in its name: so tokio opens pipes.
async fn open_when_free(path: &str) -> io::Result<NamedPipeClient> {
    let [mut pause, longest] = BUSY_PAUSE;
    loop {
        match ClientOptions::new().open(path) {
            Err(error) if error.raw_os_error() == Some(BUSY) => {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(longest);
            }
            outcome => return outcome,
        }
    }
}

impl PipeEnd {
    pub(crate) async fn accept(&self, address: &Address) -> Result<Link, TransportError> {
        let stream = self.listener.accept().await.map_err(|source| TransportError::accept(address, source))?;
        let client = LocalPeer { user: self.user.clone(), group: None, process: stream.client_process_id().ok() };
        link(address, Box::new(stream), Some(client)).of_user(Action::Accept, address, None)
    }
}

fn link(address: &Address, io: Box<dyn Io>, local: Option<LocalPeer>) -> Link {
    let place = address.without_keys();
    let text = match &local {
        Some(LocalPeer { user, process: Some(process), .. }) => format!("{place} (user {user}, pid {process})"),
        Some(LocalPeer { user, .. }) => format!("{place} (user {user})"),
        None => place.to_string(),
    };
    let mut link = Link::at(io, address, PeerLabel { text, ip: None });
    link.local = local;
    link
}
