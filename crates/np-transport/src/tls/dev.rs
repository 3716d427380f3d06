//! Certificates for development: an authority of one's own, a server and a client of it.
//!
//! It must never write a file: whoever does sets its permissions.

use std::fmt;
use std::time::{Duration, SystemTime};

use np_types::{Fingerprint, escape};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The names that a server's certificate carries in any case.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long the certificates are good, and for how long they already were: clocks differ.
const AHEAD: Duration = Duration::from_secs(365 * 86_400);
const BEHIND: Duration = Duration::from_secs(86_400);

/// An authority, a server and a client, as PEM text; made by [`dev_certificates`].
///
/// `Debug` shows no key. The keys are wiped when it is dropped.
pub struct DevCertificates {
    /// The authority's certificate: what both ends trust.
    pub ca: String,
    /// The authority's key: whoever has it can be any server and client to those that trust it.
    pub ca_key: Zeroizing<String>,
    /// The server's certificate.
    pub server: String,
    /// The server's key.
    pub server_key: Zeroizing<String>,
    /// The server's pin, for `?pin=sha256:`.
    pub server_pin: Fingerprint,
    /// The client's certificate.
    pub client: String,
    /// The client's key.
    pub client_key: Zeroizing<String>,
    /// The client's fingerprint, for `--allow spki:`.
    pub client_pin: Fingerprint,
}

impl fmt::Debug for DevCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("DevCertificates");
        shown.field("server_pin", &self.server_pin).field("client_pin", &self.client_pin).finish_non_exhaustive()
    }
}

/// Why no certificates could be made: a name that none can carry, or no randomness.
///
/// ```
/// use np_transport::{DevCertificatesError, dev_certificates};
/// let error = dev_certificates(&["bücher.example"]).unwrap_err();
/// assert!(matches!(error, DevCertificatesError::Name(name) if name == "bücher.example"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevCertificatesError {
    /// A name that no client would ask for.
    #[error(
        "`{}` is neither a DNS name nor an IP address; write it as db.test, *.db.test or 192.0.2.7, and names of other \
         scripts in their xn-- form", escape(.0, 253)
    )]
    Name(String),
    /// Keys or certificates could not be made.
    #[error("cannot make the certificates: {0}; check this machine's randomness and clock")]
    Make(#[from] rcgen::Error),
}

/// Makes an authority, a certificate of it for a server under `localhost`, `127.0.0.1`, `::1` and the names given, and one
/// for a client under the name `np-dev-client`. They are good for a year. Each call makes new keys.
///
/// For development alone: the authority's key lies beside what it has signed.
///
/// ```
/// use np_transport::{TlsClient, TlsServer, dev_certificates};
/// let made = dev_certificates(&["db.test"])?;
/// let server = TlsServer::builder()
///     .certificate_pem(made.server.as_str(), made.server_key.as_str())
///     .client_ca_pem(made.ca.as_str())
///     .build()?;
/// let client = TlsClient::builder()
///     .ca_pem(made.ca.as_str())
///     .client_certificate_pem(made.client.as_str(), made.client_key.as_str())
///     .build()?;
/// assert_eq!(server.pins(), [made.server_pin]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`DevCertificatesError`].
pub fn dev_certificates(more_names: &[&str]) -> Result<DevCertificates, DevCertificatesError> {
    let names = server_names(more_names)?;
    let ca_key = KeyPair::generate()?;
    let ca_pem = Zeroizing::new(ca_key.serialize_pem());
    let mut params = dated(&[], "np development authority")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Two authorities under one name make verifiers try the wrong one.
    let number: String =
        ca_key.subject_public_key_info().iter().rev().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name.push(DnType::OrganizationalUnitName, number);
    let ca = CertifiedIssuer::self_signed(params, ca_key)?;

    let (server, server_key, server_pin) =
        signed(&ca, &names, "np development server", ExtendedKeyUsagePurpose::ServerAuth)?;
    let (client, client_key, client_pin) =
        signed(&ca, &["np-dev-client"], "np development client", ExtendedKeyUsagePurpose::ClientAuth)?;
    Ok(DevCertificates { ca: ca.pem(), ca_key: ca_pem, server, server_key, server_pin, client, client_key, client_pin })
}

/// The names of the server's certificate, each once.
fn server_names<'a>(more: &[&'a str]) -> Result<Vec<&'a str>, DevCertificatesError> {
    let mut names: Vec<&str> = LOOPBACK.to_vec();
    for name in more {
        if !can_be_asked_for(name) {
            return Err(DevCertificatesError::Name((*name).to_owned()));
        }
        if !names.contains(name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a client could find a server by this name. The dot at the end of an absolute name is in no certificate.
fn can_be_asked_for(name: &str) -> bool {
    ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok_and(|rest| match rest {
        ServerName::DnsName(_) => !name.ends_with('.'),
        _ => !name.starts_with('*'),
    })
}

fn dated(names: &[&str], subject: &str) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, subject);
    let now = SystemTime::now();
    params.not_before = now.checked_sub(BEHIND).unwrap_or(now).into();
    params.not_after = now.checked_add(AHEAD).unwrap_or(now).into();
    Ok(params)
}

/// A certificate of the authority, its key and the key's fingerprint.
fn signed(
    ca: &CertifiedIssuer<'_, KeyPair>,
    names: &[&str],
    subject: &str,
    purpose: ExtendedKeyUsagePurpose,
) -> Result<(String, Zeroizing<String>, Fingerprint), rcgen::Error> {
    let mut params = dated(names, subject)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    let pin = Fingerprint(Sha256::digest(key.subject_public_key_info()).into());
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem()), pin))
}
