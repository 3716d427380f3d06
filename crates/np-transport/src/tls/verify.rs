//! How certificates are checked: a server's by authorities, by pins, by both, or not at all; a client's by authorities.
//!
//! Whatever is checked, the peer must prove that it holds the key: no verifier here accepts a handshake without a valid
//! signature. It must never accept a certificate because a check could not be made.

use std::fmt;
use std::sync::Arc;

use np_types::Fingerprint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::error::{TlsError, TlsSetupError};
use super::identity;

/// The key that was shown instead of a pinned one; travels through rustls.
#[derive(Debug)]
pub(super) struct WrongPin(pub(super) Fingerprint);

impl fmt::Display for WrongPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key {} is not pinned", self.0)
    }
}

impl std::error::Error for WrongPin {}

/// The checks of one client towards one set of pins.
#[derive(Debug)]
pub(super) struct Checks {
    /// Chain, dates and names; `None` where pins stand for them, or nothing does.
    authority: Option<Arc<dyn ServerCertVerifier>>,
    /// Of each set the key must be a member.
    pins: Vec<Vec<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl Checks {
    pub(super) fn new(
        authority: Option<Arc<dyn ServerCertVerifier>>,
        pins: impl IntoIterator<Item = Vec<Fingerprint>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        let pins = pins.into_iter().filter(|set| !set.is_empty()).collect();
        Self { authority, pins, provider }
    }

    /// Whether an authority vouches for the names.
    pub(super) const fn vouches(&self) -> bool {
        self.authority.is_some()
    }

    /// Whether anything ties the server to what was asked for.
    pub(super) fn proves(&self) -> bool {
        self.vouches() || !self.pins.is_empty()
    }
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authority) = &self.authority {
            let checked = authority.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            checked.map_err(foreign_signature)?;
        }
        let seen = identity::fingerprint(end_entity)?;
        if self.pins.iter().all(|set| set.contains(&seen)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(WrongPin(seen))))))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A signature inside the chain that does not hold is that of a namesake of an authority, and no word on the peer's key.
fn foreign_signature(error: Error) -> Error {
    match error {
        Error::InvalidCertificate(CertificateError::BadSignature) => CertificateError::UnknownIssuer.into(),
        other => other,
    }
}

/// The checks of a server that asks for certificates.
#[derive(Debug)]
pub(super) struct ClientChecks(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ClientChecks {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify_client_cert(end_entity, intermediates, now).map_err(foreign_signature)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The authorities that the operating system trusts.
pub(super) fn platform(provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        // The verifier has no other reason to fail where it loads certificates itself, and no name for this one.
        Err(Error::General(_)) => Err(TlsError::EmptyPlatformStore),
        Err(error) => Err(TlsError::Here { what: error.to_string() }),
    }
}

/// The authorities of a list.
pub(super) fn authorities(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsSetupError> {
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    match builder.build() {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(TlsSetupError::Provider(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use np_types::Fingerprint;

    use super::WrongPin;

    #[test]
    fn a_key_that_is_not_pinned_is_shown() {
        let key = Fingerprint([0xab; 32]);
        assert_eq!(WrongPin(key).to_string(), format!("the key {key} is not pinned"));
    }
}
