//! Windows named pipes: connecting, listening, and who may open them.
//!
//! It must never take a peer's word for who it is: the pipe's access list is all that is known of one.

use std::io;
use std::time::Duration;

use interprocess::os::windows::named_pipe::PipeListenerOptions;
use interprocess::os::windows::named_pipe::pipe_mode::Bytes;
use interprocess::os::windows::named_pipe::tokio::PipeListener;
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use tokio::net::windows::named_pipe::{ClientOptions, NamedPipeClient};
use widestring::{U16CStr, u16cstr};

use crate::address::Address;
use crate::error::TransportError;
use crate::link::{Link, PeerLabel};

/// Nobody over the network; all rights for the owner of the pipe, which is the user that listens; nothing for anybody else,
/// and nothing inherited.
const OWNER_ALONE: &U16CStr = u16cstr!("D:P(D;;GA;;;NU)(A;;GA;;;OW)");

/// ERROR_PIPE_BUSY: every instance has a client, and the listener has not made the next one yet.
const BUSY: i32 = 231;

/// ERROR_ACCESS_DENIED: at the first instance it means that the pipe exists.
const DENIED: i32 = 5;

/// A pipe that is busy is looked at again after this, then after twice as long, up to the second value.
const BUSY_PAUSE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// The listening end of a name.
#[derive(Debug)]
pub(crate) struct PipeEnd(PipeListener<Bytes, Bytes>);

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
    let path = path(name);
    let mut options = PipeListenerOptions::new().path(path.as_str());
    options.accept_remote = false;
    options.security_descriptor = Some(SecurityDescriptor::deserialize(OWNER_ALONE).map_err(failed)?);
    options.create_tokio_duplex::<Bytes>().map(PipeEnd).map_err(failed)
}

pub(crate) async fn connect(address: &Address, name: &str) -> Result<Link, TransportError> {
    let stream = open_when_free(&path(name)).await.map_err(|source| TransportError::connect(address, source))?;
    Ok(Link::at(Box::new(stream), address, label(address)))
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
        let stream = self.0.accept().await.map_err(|source| TransportError::accept(address, source))?;
        Ok(Link::at(Box::new(stream), address, label(address)))
    }
}

fn label(address: &Address) -> PeerLabel {
    PeerLabel { text: address.without_keys().to_string(), ip: None }
}
