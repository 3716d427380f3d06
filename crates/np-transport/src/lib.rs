//! Byte streams, listeners and the address grammar of np: TCP, TLS, Unix sockets and pipes inside the process.
//!
//! This crate turns an [`Address`] into a [`Link`]: a both-way stream of bytes and what the operating system says about
//! its other end. It must never know Noise, sessions or handlers: a link carries whatever its owner writes.
//!
//! ```
//! use np_transport::{Address, BindOptions, Listener, connect};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = Listener::bind(&"tcp://127.0.0.1:0".parse()?, &BindOptions::default()).await?;
//! let mut client = connect(listener.local_address()).await?;
//! let mut server = listener.accept().await?;
//! client.io.write_all(b"hello").await?;
//! let mut bytes = [0; 5];
//! server.io.read_exact(&mut bytes).await?;
//! assert_eq!(&bytes, b"hello");
//! # Ok(())
//! # }
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod connect;
mod error;
mod incoming;
mod link;
mod listener;
mod mem;
#[cfg(windows)]
mod pipe;
#[cfg(windows)]
mod pipe_user;
mod proxy;
mod socket;
mod tcp;
mod tls;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod unix_claim;
#[cfg(unix)]
mod unix_lock;

pub use address::{Address, AddressError, Scheme, SecurityMode};
pub use connect::{ConnectOptions, Dialled, check_supported, connect, connect_with, dial};
pub use error::{Action, Failure, TransportError};
pub use incoming::Incoming;
pub use link::{Io, Link, PeerLabel};
pub use listener::{BindOptions, InheritedSocket, Listener};
pub use socket::SocketOptions;
pub use tls::{
    ClientAuth, Party, TlsClient, TlsClientBuilder, TlsError, TlsInfo, TlsServer, TlsServerBuilder, TlsSetupError,
    TlsSuite, TlsVersion,
};
#[cfg(feature = "dev-certificates")]
pub use tls::{DevCertificates, DevCertificatesError, dev_certificates};
