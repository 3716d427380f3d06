//! What a peer is: something that serves an echo in one process, and that another process dials and calls.
//!
//! Owns the three traits that every peer fills in. It must never know a workload, nor how a figure is taken.

use std::any::Any;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Where a server is, as its process tells the driver's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The address, in the form that the peer takes.
    pub(crate) address: String,
    /// What the client trusts: a certificate, a public key, or nothing.
    pub(crate) trust: Vec<u8>,
}

/// A server that runs until this is dropped.
pub(crate) struct Served {
    /// Where it is.
    pub(crate) place: Place,
    /// What keeps it alive.
    pub(crate) keep: Box<dyn Any + Send>,
}

impl Served {
    /// A server at an address, which tasks of the runtime keep alive by themselves.
    pub(crate) fn at(address: impl fmt::Display, trust: &[u8]) -> Self {
        Self { place: Place { address: address.to_string(), trust: trust.to_vec() }, keep: Box::new(()) }
    }
}

/// One row of the comparison.
pub(crate) trait Peer: Send + Sync + 'static {
    /// Its client, before a connection.
    type Dialer: Dialer;

    /// Starts an echo on the loopback.
    fn serve(&self) -> impl Future<Output = Result<Served, Failure>> + Send;

    /// Reads once what every connection to this place needs.
    fn dialer(&self, place: &Place) -> Result<Self::Dialer, Failure>;
}

/// Makes connections.
pub(crate) trait Dialer: Send + Sync + 'static {
    /// A connection.
    type Connection: Connection;

    /// Connects, with the handshake done.
    fn dial(&self) -> impl Future<Output = Result<Self::Connection, Failure>> + Send;

    /// Connects for a call that is there already, and gives its answer too, by the way that the peer has for that.
    fn dial_and_call(&self, body: Bytes) -> impl Future<Output = Result<(Self::Connection, Bytes), Failure>> + Send {
        async {
            let connection = self.dial().await?;
            let answer = connection.call(body).await?;
            Ok((connection, answer))
        }
    }
}

/// A handle to one connection, which many tasks use at once.
pub(crate) trait Connection: Clone + Send + Sync + 'static {
    /// Sends bytes and waits for the same bytes.
    fn call(&self, body: Bytes) -> impl Future<Output = Result<Bytes, Failure>> + Send;

    /// Closes, as far as the peer has a way to.
    fn close(self) -> impl Future<Output = ()> + Send;
}
