//! Pipes inside the process: a table of names, and a bounded pipe per link.
//!
//! It must never reach outside of the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::error::TransportError;
use crate::link::{Link, PeerLabel};
use crate::listener::BindOptions;

/// How many bytes wait in each direction of a pipe before its writer does.
const PIPE_BYTES: usize = 64 * 1024;

/// The most links that wait to be accepted, whatever the option says: a channel cannot be of any size.
const MAX_BACKLOG: u32 = 65_536;

type Names = HashMap<String, mpsc::Sender<DuplexStream>>;

/// One table for the process: that is what makes `mem:name` mean the same in all of it.
static NAMES: OnceLock<Mutex<Names>> = OnceLock::new();

fn names() -> MutexGuard<'static, Names> {
    // A map is whole after each of the calls made here, so a panic elsewhere leaves nothing half done.
    NAMES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The listening end of a name; dropping it frees the name.
#[derive(Debug)]
pub(crate) struct MemEnd {
    name: String,
    queue: tokio::sync::Mutex<mpsc::Receiver<DuplexStream>>,
}

pub(crate) fn bind(address: &Address, name: &str, options: &BindOptions) -> Result<MemEnd, TransportError> {
    let mut names = names();
    if names.contains_key(name) {
        return Err(TransportError::InUse {
            address: address.without_keys().to_string(),
            what: "this process listens there already",
            next: "drop the other listener, or choose another name",
        });
    }
    let backlog = options.backlog.clamp(1, MAX_BACKLOG);
    let (sender, receiver) = mpsc::channel(usize::try_from(backlog).unwrap_or(1));
    names.insert(name.to_owned(), sender);
    Ok(MemEnd { name: name.to_owned(), queue: tokio::sync::Mutex::new(receiver) })
}

pub(crate) async fn connect(address: &Address, name: &str) -> Result<Link, TransportError> {
    let refused = |why| TransportError::Refused { address: address.without_keys().to_string(), why };
    let queue = names().get(name).cloned();
    let queue = queue.ok_or_else(|| refused("nobody listens there in this process"))?;
    let place = queue.reserve().await.map_err(|_| refused("its listener is gone"))?;
    let (near, far) = tokio::io::duplex(PIPE_BYTES);
    place.send(far);
    Ok(link(address, near))
}

impl MemEnd {
    pub(crate) async fn accept(&self, address: &Address) -> Result<Link, TransportError> {
        let stream = self.queue.lock().await.recv().await;
        // The table holds a sender for as long as this end lives, so the queue does not end.
        let stream = stream.ok_or_else(|| TransportError::accept(address, std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(link(address, stream))
    }
}

impl Drop for MemEnd {
    fn drop(&mut self) {
        names().remove(&self.name);
    }
}

fn link(address: &Address, stream: DuplexStream) -> Link {
    let peer = PeerLabel { text: address.without_keys().to_string(), ip: None };
    Link::at(Box::new(stream), address, peer)
}
