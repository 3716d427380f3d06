//! TLS: certificates, trust, pins and the handshake that turns a byte stream into a proven one.
//!
//! Owns rustls and everything said about it. The cryptographic provider is passed explicitly; the process-wide default of
//! rustls is neither read nor set. It must never know what is said inside of TLS, nor decide which proven peer may come in.

mod client;
#[cfg(feature = "dev-certificates")]
mod dev;
mod error;
mod handshake;
mod identity;
mod pem;
mod refusal;
mod server;
mod settings;
mod stream;
mod verify;

pub(crate) use client::Ready;
pub use client::{TlsClient, TlsClientBuilder};
#[cfg(feature = "dev-certificates")]
pub use dev::{DevCertificates, DevCertificatesError, dev_certificates};
pub use error::{Party, TlsError, TlsSetupError};
pub(crate) use handshake::{Secured, accept, connect};
pub use server::{ClientAuth, TlsServer, TlsServerBuilder};
pub use settings::{TlsInfo, TlsSuite, TlsVersion};
