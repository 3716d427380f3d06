//! The server's side of TLS: its certificates, whom it asks for theirs, and the reload of all that.
//!
//! It must never take up a session that an earlier set of authorities and revocation lists has let in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use np_types::{ALPN, Fingerprint};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::error::TlsSetupError;
use super::identity;
use super::pem::Pem;
use super::settings::{TlsSuite, TlsVersion, provider};
use super::verify::ClientChecks;

/// How many sessions a server remembers for clients that take no tickets.
const SESSIONS: usize = 1024;

/// Whether a server asks its clients for a certificate.
///
/// ```
/// assert_eq!(np_transport::ClientAuth::default(), np_transport::ClientAuth::Off);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientAuth {
    /// It does not ask: every client is anonymous to TLS.
    #[default]
    Off,
    /// It asks. A client without one is anonymous; a client whose certificate does not stand is refused.
    Optional,
    /// It asks, and refuses clients without one.
    Required,
}

/// A server's certificates and rules for TLS, shared by its listeners and handshakes.
///
/// Clones are the same server: a [`reload`](Self::reload) of one reaches all.
///
/// ```
/// # fn load() -> Result<(), np_transport::TlsSetupError> {
/// use np_transport::{TlsServer, TlsVersion};
/// let server = TlsServer::builder()
///     .certificate_files("server.pem", "server-key.pem")
///     .client_ca_file("ca.pem") // clients must show a certificate of this authority
///     .min_version(TlsVersion::Tls13)
///     .build()?;
/// // Later, when the files have changed:
/// server.reload()?;
/// # Ok(())
/// # }
/// # assert!(load().is_err()); // there are no such files here
/// ```
#[derive(Clone)]
pub struct TlsServer(Arc<ArcSwap<Ready>>);

/// What one handshake needs, all of one load, and the description that it was loaded by.
pub(super) struct Ready {
    recipe: TlsServerBuilder,
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    pins: Vec<Fingerprint>,
}

impl TlsServer {
    /// Starts to describe a server.
    pub fn builder() -> TlsServerBuilder {
        TlsServerBuilder::default()
    }

    /// Reads the files again. Handshakes from now on use what they hold; connections that stand go on as they are.
    ///
    /// Sessions of before cannot be resumed, so that nobody slips past a revocation list or a change of authorities.
    ///
    /// # Errors
    /// As [`TlsServerBuilder::build`]; all stays as it was then.
    pub fn reload(&self) -> Result<(), TlsSetupError> {
        self.reload_as(self.0.load().recipe.clone())
    }

    /// Does as [`reload`](Self::reload), by another description: for certificates that are not in files.
    ///
    /// # Errors
    /// As [`TlsServerBuilder::build`]; all stays as it was then.
    pub fn reload_as(&self, recipe: TlsServerBuilder) -> Result<(), TlsSetupError> {
        let loaded = recipe.ready().inspect_err(|error| {
            tracing::error!(target: "np::audit", %error, "certificates cannot be used: those of before stay in force");
        })?;
        tracing::info!(target: "np::audit", certificates = loaded.pins.len(), "certificates read again");
        self.0.store(Arc::new(loaded));
        Ok(())
    }

    /// Does as [`reload_as`](Self::reload_as), with what another server has loaded: nothing is read, and nothing can fail.
    ///
    /// ```
    /// use np_transport::TlsServer;
    /// # let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    /// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// # let next = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    /// # let (next_chain, next_key) = (next.cert.pem(), next.signing_key.serialize_pem());
    /// let server = TlsServer::builder().certificate_pem(chain, key).build()?;
    /// let next = TlsServer::builder().certificate_pem(next_chain, next_key).build()?;
    /// server.take_over(&next);
    /// assert_eq!(server.pins(), next.pins());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_over(&self, other: &Self) {
        let loaded = other.0.load_full();
        tracing::info!(target: "np::audit", certificates = loaded.pins.len(), "certificates read again");
        self.0.store(loaded);
    }

    /// The SHA-256 of the public key (SPKI) of each certificate: what clients may pin.
    #[must_use]
    pub fn pins(&self) -> Vec<Fingerprint> {
        self.0.load().pins.clone()
    }

    /// Whether clients are asked for a certificate, as it was decided at the last load.
    ///
    /// ```
    /// use np_transport::{ClientAuth, TlsServer};
    /// # let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    /// # let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    /// let server = TlsServer::builder().certificate_pem(chain.clone(), key);
    /// assert_eq!(server.clone().build()?.client_auth(), ClientAuth::Off);
    /// assert_eq!(server.client_ca_pem(chain).build()?.client_auth(), ClientAuth::Required);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn client_auth(&self) -> ClientAuth {
        self.0.load().recipe.auth()
    }

    pub(super) fn ready(&self) -> Arc<Ready> {
        self.0.load_full()
    }
}

/// Equal where it is the same server.
impl PartialEq for TlsServer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TlsServer {}

impl fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsServer").field(&self.0.load().recipe).finish()
    }
}

/// Describes a [`TlsServer`].
///
/// ```
/// use np_transport::{ClientAuth, TlsServer, TlsSetupError};
/// let error = TlsServer::builder().certificate_pem("", "").client_auth(ClientAuth::Required).build().unwrap_err();
/// assert!(matches!(error, TlsSetupError::Missing { .. }));
/// ```
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct TlsServerBuilder {
    certificates: Vec<(Pem, Pem)>,
    client_auth: Option<ClientAuth>,
    client_authorities: Vec<Pem>,
    revocation_lists: Vec<Pem>,
    least: TlsVersion,
    suites: Option<Vec<TlsSuite>>,
    no_resumption: bool,
}

impl TlsServerBuilder {
    /// Adds a certificate from PEM files: the chain, its own certificate first, and the private key.
    ///
    /// Of several, a client gets the first that carries the name it asks for, or else the first of all.
    pub fn certificate_files(self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificate(Pem::file(chain), Pem::file(key))
    }

    /// Adds a certificate from PEM text in memory; the key's text is wiped when it is dropped.
    pub fn certificate_pem(self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate(Pem::memory(chain), Pem::memory(key))
    }

    fn certificate(mut self, chain: Pem, key: Pem) -> Self {
        self.certificates.push((chain, key));
        self
    }

    /// Whether clients are asked for a certificate. Default: required where an authority is named, else off.
    pub const fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.client_auth = Some(auth);
        self
    }

    /// Adds a PEM file of authorities that sign clients' certificates.
    pub fn client_ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.client_authorities.push(Pem::file(path));
        self
    }

    /// Adds authorities that sign clients' certificates, as PEM text in memory.
    pub fn client_ca_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.client_authorities.push(Pem::memory(text));
        self
    }

    /// Adds a PEM file of revocation lists for clients' certificates.
    ///
    /// With any list, every certificate of a client's chain but the authority itself must be covered by a list that is not
    /// past its next update: what cannot be looked up is refused.
    pub fn crl_file(mut self, path: impl AsRef<Path>) -> Self {
        self.revocation_lists.push(Pem::file(path));
        self
    }

    /// Adds revocation lists for clients' certificates, as PEM text in memory; see [`crl_file`](Self::crl_file).
    pub fn crl_pem(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.revocation_lists.push(Pem::memory(text));
        self
    }

    /// The least version. Default: 1.3.
    pub const fn min_version(mut self, version: TlsVersion) -> Self {
        self.least = version;
        self
    }

    /// The cipher suites that may be used, best first; the client's order decides. Default: all of rustls.
    pub fn cipher_suites(mut self, suites: impl IntoIterator<Item = TlsSuite>) -> Self {
        self.suites = Some(suites.into_iter().collect());
        self
    }

    /// Whether clients may take up earlier sessions, by tickets that live 12 hours at most. Default: yes.
    pub const fn resumption(mut self, on: bool) -> Self {
        self.no_resumption = !on;
        self
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`TlsSetupError`], which names the file or the setting.
    pub fn build(self) -> Result<TlsServer, TlsSetupError> {
        Ok(TlsServer(Arc::new(ArcSwap::from_pointee(self.ready()?))))
    }

    fn ready(self) -> Result<Ready, TlsSetupError> {
        let failed = |error: rustls::Error| TlsSetupError::Provider(error.to_string());
        let provider = provider(self.suites.as_deref(), self.least)?;
        let chooser = self.chooser(&provider)?;
        let pins = chooser.pins()?;
        let verifier = self.verifier(&provider)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.least.and_above())
            .map_err(failed)?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(chooser));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.require_ems = true;
        config.max_early_data_size = 0;
        if self.no_resumption {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
            config.ticketer = Ticketer::new().map_err(failed)?;
        }
        Ok(Ready { recipe: self, config: Arc::new(config), verifier, pins })
    }

    fn chooser(&self, provider: &Arc<CryptoProvider>) -> Result<Chooser, TlsSetupError> {
        if self.certificates.is_empty() {
            return Err(TlsSetupError::NoCertificate);
        }
        let load = |(chain, key): &(Pem, Pem)| certified(chain, key, provider).map(Offer::new);
        Ok(Chooser(self.certificates.iter().map(load).collect::<Result<_, _>>()?))
    }

    fn auth(&self) -> ClientAuth {
        let default = if self.client_authorities.is_empty() { ClientAuth::Off } else { ClientAuth::Required };
        self.client_auth.unwrap_or(default)
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsSetupError> {
        let named = !self.client_authorities.is_empty();
        let auth = self.auth();
        if auth == ClientAuth::Off {
            return match (named, self.revocation_lists.is_empty()) {
                (false, true) => Ok(None),
                (true, _) => Err(TlsSetupError::Unused { what: "an authority for clients" }),
                (false, false) => Err(TlsSetupError::Unused { what: "a revocation list" }),
            };
        }
        if !named {
            return Err(TlsSetupError::NoClientAuthority);
        }
        let roots = roots(&self.client_authorities)?;
        let mut builder =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        for list in &self.revocation_lists {
            builder = builder.with_crls(list.revocation_lists()?);
        }
        builder = builder.enforce_revocation_expiration();
        if auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        match builder.build() {
            Ok(verifier) => Ok(Some(Arc::new(ClientChecks(verifier)))),
            Err(error) => Err(TlsSetupError::Malformed {
                what: "revocation list",
                place: self.revocation_lists.iter().map(Pem::place).collect::<Vec<_>>().join(", "),
                why: error.to_string(),
            }),
        }
    }
}

/// The authorities of all the texts.
pub(super) fn roots(texts: &[Pem]) -> Result<RootCertStore, TlsSetupError> {
    let mut roots = RootCertStore::empty();
    for text in texts {
        for certificate in text.certificates()? {
            roots.add(certificate).map_err(|error| text.malformed("authority's certificate", error.to_string()))?;
        }
    }
    Ok(roots)
}

/// A certificate with its key, which belong together.
pub(super) fn certified(
    chain: &Pem,
    key: &Pem,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<CertifiedKey>, TlsSetupError> {
    let certificates = chain.certificates()?;
    let private = key.private_key()?;
    let loaded = provider.key_provider.load_private_key(private);
    let signer = loaded.map_err(|_| key.malformed("private key", "no signature scheme known here takes it"))?;
    let certified = CertifiedKey::new(certificates, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsSetupError::KeyMismatch { place: chain.place() }),
        Err(error) => Err(chain.malformed("certificate", error.to_string())),
    }
}

/// Chooses among several certificates.
#[derive(Debug)]
struct Chooser(Vec<Offer>);

#[derive(Debug)]
struct Offer {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Offer {
    fn new(key: Arc<CertifiedKey>) -> Self {
        let names = key.cert.first().map(identity::names).unwrap_or_default();
        Self { key, names }
    }

    fn carries(&self, wanted: &str) -> bool {
        let parent = wanted.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(domain) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(domain)),
            None => name.eq_ignore_ascii_case(wanted),
        })
    }
}

impl Chooser {
    fn pins(&self) -> Result<Vec<Fingerprint>, TlsSetupError> {
        let mut pins = Vec::new();
        for certificate in self.0.iter().filter_map(|offer| offer.key.cert.first()) {
            let pin = identity::fingerprint(certificate);
            let pin = pin.map_err(|error| TlsSetupError::Provider(error.to_string()))?;
            if !pins.contains(&pin) {
                pins.push(pin);
            }
        }
        Ok(pins)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |offer: &&Offer| offer.key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name().and_then(|name| {
            let mut carrying = self.0.iter().filter(|offer| offer.carries(name));
            carrying.clone().find(signs).or_else(|| carrying.next())
        });
        let offer = named.or_else(|| self.0.iter().find(signs)).or_else(|| self.0.first());
        offer.map(|offer| Arc::clone(&offer.key))
    }
}
