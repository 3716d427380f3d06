//! The client's side of TLS: whom it trusts, what it shows, and the sessions that it may take up again.
//!
//! It must never share sessions between different rules of trust.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use np_types::{ALPN, Fingerprint};
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};

use super::error::{TlsError, TlsSetupError};
use super::pem::Pem;
use super::server::{certified, roots};
use super::settings::{TlsSuite, TlsVersion, provider};
use super::verify::{self, Checks};

/// How many servers' sessions are remembered for each set of pins.
const SESSIONS: usize = 256;

/// How many sets of pins are kept ready; beyond that the oldest goes, with its sessions.
const PIN_SETS: usize = 64;

/// A client's trust and certificate for TLS, shared by its connections.
///
/// Clones are the same client, with the same sessions.
///
/// Whom it trusts: the authorities named by [`ca_file`](TlsClientBuilder::ca_file) and
/// [`ca_pem`](TlsClientBuilder::ca_pem); or the keys that are pinned here or by the address (`pin=`); or, where neither is
/// given, the authorities of the operating system. Where both authorities and pins are given, both must hold. Pins
/// alone say which key the server has: its certificate's dates, names and issuer are then not looked at.
///
/// ```
/// use np_transport::TlsClient;
/// # fn load() -> Result<(), np_transport::TlsSetupError> {
/// let client = TlsClient::builder()
///     .ca_file("ca.pem")
///     .client_certificate_files("client.pem", "client-key.pem")
///     .build()?;
/// # Ok(())
/// # }
/// # assert!(load().is_err()); // there are no such files here
/// assert!(TlsClient::builder().build().is_ok()); // trusts as the operating system does
/// ```
#[derive(Clone)]
pub struct TlsClient(Arc<ArcSwap<Loaded>>);

/// A description, what its files held, and the configurations made of it.
struct Loaded {
    recipe: TlsClientBuilder,
    provider: Arc<CryptoProvider>,
    roots: Option<Arc<RootCertStore>>,
    certificate: Option<Arc<CertifiedKey>>,
    ready: Mutex<Vec<(Vec<Fingerprint>, Arc<Ready>)>>,
}

/// What one handshake needs.
pub(crate) struct Ready {
    pub(super) config: Arc<ClientConfig>,
    pub(super) checks: Arc<Checks>,
}

impl TlsClient {
    /// Starts to describe a client.
    pub fn builder() -> TlsClientBuilder {
        TlsClientBuilder::default()
    }

    /// Reads the files, and the trust of the operating system, again: connections from now on use what they hold.
    ///
    /// # Errors
    /// As [`TlsClientBuilder::build`]; all stays as it was then.
    pub fn reload(&self) -> Result<(), TlsSetupError> {
        self.reload_as(self.0.load().recipe.clone())
    }

    /// Does as [`reload`](Self::reload), by another description: for certificates that are not in files.
    ///
    /// # Errors
    /// As [`TlsClientBuilder::build`]; all stays as it was then.
    pub fn reload_as(&self, recipe: TlsClientBuilder) -> Result<(), TlsSetupError> {
        self.0.store(Arc::new(recipe.loaded()?));
        Ok(())
    }

    /// Whether a server has to prove something beside the key of whatever certificate it shows; pins of an address
    /// count beside this.
    ///
    /// ```
    /// use np_transport::TlsClient;
    /// assert!(TlsClient::builder().build()?.verifies());
    /// assert!(!TlsClient::builder().danger_no_verification().build()?.verifies());
    /// # Ok::<(), np_transport::TlsSetupError>(())
    /// ```
    #[must_use]
    pub fn verifies(&self) -> bool {
        !self.0.load().recipe.danger_no_verification
    }

    /// The name that certificates must carry, where one is set for every address.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        let loaded = self.0.load();
        loaded.recipe.server_name.as_deref().and_then(|name| ServerName::try_from(name.to_owned()).ok())
    }

    /// The configuration for an address with these pins.
    pub(crate) fn ready(&self, pins: &[Fingerprint]) -> Result<Arc<Ready>, TlsError> {
        let loaded = self.0.load();
        // Each push and removal is whole, so a panic elsewhere leaves nothing half done.
        let mut ready = loaded.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = ready.iter().find(|(known, _)| known == pins) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(loaded.recipe.ready(&loaded, pins)?);
        if ready.len() >= PIN_SETS {
            ready.remove(0);
        }
        ready.push((pins.to_vec(), Arc::clone(&made)));
        Ok(made)
    }
}

/// Equal where it is the same client.
impl PartialEq for TlsClient {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TlsClient {}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsClient").field(&self.0.load().recipe).finish()
    }
}

/// Describes a [`TlsClient`].
///
/// ```
/// use np_transport::{TlsClient, TlsSetupError};
/// let error = TlsClient::builder().danger_no_verification().trust_platform().build().unwrap_err();
/// assert!(matches!(error, TlsSetupError::Contradiction { .. }));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TlsClientBuilder {
    platform: bool,
    authorities: Vec<Pem>,
    pins: Vec<Fingerprint>,
    danger_no_verification: bool,
    certificate: Option<(Pem, Pem)>,
    server_name: Option<String>,
    least: TlsVersion,
    suites: Option<Vec<TlsSuite>>,
    no_resumption: bool,
}

impl TlsClientBuilder {
    /// Trusts the authorities that the operating system trusts, also where pins are given: then both must hold.
    pub const fn trust_platform(mut self) -> Self {
        self.platform = true;
        self
    }

    /// Trusts the authorities of a PEM file, and no longer those of the operating system.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.authorities.push(Pem::file(path));
        self
    }

    /// Trusts the authorities of PEM text in memory, and no longer those of the operating system.
    pub fn ca_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(Pem::memory(text));
        self
    }

    /// Accepts servers that prove this key: the SHA-256 of its subject public key info. Of several, any one (rotation).
    /// An address may name pins too; a key must then be among those of both.
    pub fn pin(mut self, key: Fingerprint) -> Self {
        self.pins.push(key);
        self
    }

    /// DANGER: accepts any server that holds the key of the certificate it shows, whoever it is. Somebody in between can
    /// read and change everything. Pins of an address still count.
    pub const fn danger_no_verification(mut self) -> Self {
        self.danger_no_verification = true;
        self
    }

    /// Shows a certificate from PEM files to servers that ask for one: the chain, its own certificate first, and the key.
    pub fn client_certificate_files(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate = Some((Pem::file(chain), Pem::file(key)));
        self
    }

    /// Shows a certificate from PEM text in memory; the key's text is wiped when it is dropped.
    pub fn client_certificate_pem(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some((Pem::memory(chain), Pem::memory(key)));
        self
    }

    /// The name that the server's certificate must carry, instead of the host of the address; `name=` in an address goes
    /// before it.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self
    }

    /// The least version. Default: 1.3.
    pub const fn min_version(mut self, version: TlsVersion) -> Self {
        self.least = version;
        self
    }

    /// The cipher suites to offer, best first. Default: all of rustls.
    pub fn cipher_suites(mut self, suites: impl IntoIterator<Item = TlsSuite>) -> Self {
        self.suites = Some(suites.into_iter().collect());
        self
    }

    /// Whether to take up earlier sessions, which saves the server's certificate and signature. Default: yes.
    pub const fn resumption(mut self, on: bool) -> Self {
        self.no_resumption = !on;
        self
    }

    /// Reads and checks everything but the trust of the operating system, which the first connection needs.
    ///
    /// # Errors
    /// [`TlsSetupError`], which names the file or the setting.
    pub fn build(self) -> Result<TlsClient, TlsSetupError> {
        Ok(TlsClient(Arc::new(ArcSwap::from_pointee(self.loaded()?))))
    }

    fn loaded(self) -> Result<Loaded, TlsSetupError> {
        let trusts = self.platform || !self.authorities.is_empty() || !self.pins.is_empty();
        if self.danger_no_verification && trusts {
            return Err(TlsSetupError::Contradiction { what: "danger_no_verification and whom to trust" });
        }
        if self.platform && !self.authorities.is_empty() {
            return Err(TlsSetupError::Contradiction { what: "the authorities of the system and others" });
        }
        if self.server_name.as_deref().is_some_and(|name| ServerName::try_from(name).is_err()) {
            return Err(TlsSetupError::ServerName);
        }
        let provider = provider(self.suites.as_deref(), self.least)?;
        let roots = match self.authorities.as_slice() {
            [] => None,
            texts => Some(Arc::new(roots(texts)?)),
        };
        let certificate = self.certificate.as_ref().map(|(chain, key)| certified(chain, key, &provider)).transpose()?;
        Ok(Loaded { recipe: self, provider, roots, certificate, ready: Mutex::default() })
    }

    fn ready(&self, loaded: &Loaded, pins: &[Fingerprint]) -> Result<Ready, TlsError> {
        let provider = &loaded.provider;
        let authority = self.authority(loaded, pins)?;
        let checks = Checks::new(authority, [self.pins.clone(), pins.to_vec()], Arc::clone(provider));
        let checks = Arc::new(checks);
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&self.least.and_above())
            .map_err(|error| TlsError::Here { what: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&checks) as Arc<dyn ServerCertVerifier>);
        let mut config = match &loaded.certificate {
            Some(certificate) => {
                let resolver = SingleCertAndKey::from(CertifiedKey::clone(certificate));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.require_ems = true;
        config.enable_early_data = false;
        config.resumption =
            if self.no_resumption { Resumption::disabled() } else { Resumption::in_memory_sessions(SESSIONS) };
        Ok(Ready { config: Arc::new(config), checks })
    }

    /// Who vouches for the chain; nobody where pins stand alone.
    fn authority(
        &self,
        loaded: &Loaded,
        pins: &[Fingerprint],
    ) -> Result<Option<Arc<dyn ServerCertVerifier>>, TlsError> {
        if let Some(roots) = &loaded.roots {
            let made = verify::authorities(roots, &loaded.provider);
            return made.map(Some).map_err(|error| TlsError::Here { what: error.to_string() });
        }
        let pinned = !self.pins.is_empty() || !pins.is_empty();
        if self.danger_no_verification || pinned && !self.platform {
            return Ok(None);
        }
        verify::platform(&loaded.provider).map(Some)
    }
}
