//! The certificate that the peers over TLS and QUIC show, and what rustls needs of it.
//!
//! One provider (aws-lc-rs) and one key exchange (X25519) for all peers whose settings allow it, so that they differ by
//! their own work. No session is resumed: each connection is a whole handshake.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::Failure;

/// The name that it is for.
pub(crate) const NAME: &str = "localhost";

/// A certificate signed by itself, of a P-256 key.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) der: Vec<u8>,
    /// The certificate as text.
    pub(crate) pem: String,
    /// Its key as text.
    pub(crate) key_pem: String,
    key_der: Vec<u8>,
}

impl Certificate {
    /// A fresh one.
    pub(crate) fn new() -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
        Ok(Self {
            der: made.cert.der().to_vec(),
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key_der: made.signing_key.serialize_der(),
        })
    }

    /// A server that shows it, by TLS 1.3.
    pub(crate) fn server(&self) -> Result<ServerConfig, Failure> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key_der.clone()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(self.der.clone())], key)?;
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// A client that trusts this certificate alone.
pub(crate) fn client(trust: &[u8]) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trust.to_vec()))?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The provider; also the process's default, for peers that take no other.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() })
}
