//! Servers and clients made of a configuration: the settings put into a builder, and the files read that they name. Must
//! never open an address.

use np_transport::{Address, Scheme, TlsClient, TlsServer, TlsServerBuilder, TlsSetupError};
use np_trust::{KeyFileMode, KnownPeers, Policy, Psks, psk_id, read_psk};
use np_types::{Limits, Suite};

use super::Config;
use super::plan::{ClientFiles, ClientPlan, ClientTls, ServerFiles, ServerPlan, ServerTls, TransportPlan};
use super::problem::ConfigError;
use crate::{Client, ClientBuilder, Error, Identity, Server, ServerBuilder};

impl Server {
    /// Starts to build a server from `[server]` and `[transport]`, and reads the key files, lists and certificates that they
    /// name. What the builder is told afterwards goes before the configuration.
    ///
    /// # Errors
    /// When the configuration does not pass [`Config::check`], lets nobody in (`server.allow`), or names a file that cannot be
    /// used.
    pub fn from_config(config: &Config) -> Result<ServerBuilder, Error> {
        config.check()?;
        // Nobody is welcome until the files say who is.
        let (mut builder, files) = config.put_into(Self::builder_without_identity(Policy::allow_keys([])));
        let read = config.read_server(&files)?;
        builder.config.identities = read.identities.into_iter().map(Identity::into_keys).collect();
        builder.config.policy = read.policy;
        builder.config.psks = read.psks;
        builder.bind.tls = read.tls;
        builder.status = read.status;
        builder.unread = Unread::default();
        Ok(builder)
    }
}

impl ServerBuilder {
    /// Takes over every setting of `[server]` and `[transport]` but those that name keys, certificates and who may connect:
    /// these the program gives to the builder itself, and [`ServerBuilder::start`] refuses a configuration that names others
    /// where it has given none. [`Server::from_config`] reads them.
    ///
    /// ```
    /// use np_facade::prelude::*;
    /// use np_facade::Config;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut config = Config::default();
    /// config.server.address = vec!["mem:configured".to_owned()];
    /// config.server.max_connections = 1;
    /// let server = Server::builder(Identity::generate()?, Policy::anyone()).config(&config).start().await?;
    /// let client = Client::connect(&server.addresses()[0].to_string()).await?;
    /// assert!(Client::connect(&server.addresses()[0].to_string()).await.is_err());
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn config(self, config: &Config) -> Self {
        let (mut builder, files) = config.put_into(self);
        builder.unread = Unread {
            psk: !files.psk.is_empty(),
            tls: !files.tls.cert.is_empty(),
            status: !files.status_allow.is_empty(),
        };
        builder
    }
}

/// Which files a configuration names that nobody has read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unread {
    psk: bool,
    tls: bool,
    status: bool,
}

impl Unread {
    /// Refuses a configuration whose files nobody has read, nor given anything in place of.
    pub(crate) fn check(
        self,
        psks: &Psks,
        tls: Option<&TlsServer>,
        status: Option<&Policy>,
    ) -> Result<(), ConfigError> {
        let unread = [
            ("server.psk", self.psk && psks.is_empty()),
            ("server.tls_cert", self.tls && tls.is_none()),
            ("server.status_allow", self.status && status.is_none()),
        ];
        match unread.into_iter().find(|(_, unread)| *unread) {
            Some((key, _)) => Err(ConfigError::one(
                "code",
                Some(key.to_owned()),
                "names files, and ServerBuilder::config reads none; use Server::from_config, or give the builder what they hold",
            )),
            None => Ok(()),
        }
    }
}

impl Client {
    /// Starts to build a client from `[client]` and `[transport]`, and reads the key files and certificates that they name.
    /// What the builder is told afterwards goes before the configuration.
    ///
    /// # Errors
    /// When the configuration does not pass [`Config::check`], or names a file that cannot be used.
    pub fn from_config(config: &Config) -> Result<ClientBuilder, Error> {
        config.check()?;
        let transport = config.transport();
        let mut builder = ClientBuilder::new();
        builder.configured = Some(Box::new(config.clone()));
        builder.limits = transport.limits;
        builder.compression = transport.compression;
        builder.suite = transport.suite;
        builder.link.socket = transport.socket;
        let mut plan = ClientPlan::new(builder);
        config.client.apply(&mut plan);
        let (builder, files) = plan.built();
        config.read_client(builder, &files)
    }
}

/// What a server's files hold.
pub(super) struct ServerRead {
    pub(super) identities: Vec<Identity>,
    pub(super) policy: Policy,
    pub(super) psks: Psks,
    pub(super) tls: Option<TlsServer>,
    /// Whom `np.status` answers; `None` is nobody.
    pub(super) status: Option<Policy>,
}

impl Config {
    /// The limits of each connection of a server.
    pub(super) fn limits(&self) -> Limits {
        self.transport().limits
    }

    /// The suite that a file names for all addresses.
    pub(crate) fn suite(&self) -> Option<Suite> {
        self.transport().suite
    }

    pub(super) fn transport(&self) -> TransportPlan {
        let mut plan = TransportPlan::default();
        self.transport.apply(&mut plan);
        plan
    }

    pub(super) fn put_into(&self, mut builder: ServerBuilder) -> (ServerBuilder, ServerFiles) {
        let transport = self.transport();
        builder.config.limits = transport.limits;
        builder.config.compression = transport.compression;
        if let Some(suite) = transport.suite {
            builder.config.suites = vec![suite];
        }
        builder.bind.socket = transport.socket;
        builder.configured = Some(Box::new(self.clone()));
        let mut plan = ServerPlan::new(builder);
        self.server.apply(&mut plan);
        plan.built()
    }

    /// Certificates and rules of TLS as `[server]` names them; none where it names no certificate.
    ///
    /// # Errors
    /// When a file cannot be used.
    ///
    /// ```
    /// assert!(np_facade::Config::default().server_tls()?.is_none());
    /// # Ok::<(), np_facade::TlsSetupError>(())
    /// ```
    pub fn server_tls(&self) -> Result<Option<TlsServer>, TlsSetupError> {
        let (_, files) = self.put_into(Server::builder_without_identity(Policy::allow_keys([])));
        files.tls.builder().map(TlsServerBuilder::build).transpose()
    }

    pub(super) fn read_server(&self, files: &ServerFiles) -> Result<ServerRead, Error> {
        let mode = key_mode(files.danger_key_mode);
        let identity =
            |path: &_| Identity::load_with(path, mode).map_err(|error| self.refuse("server.identity", &error));
        let identities = files.identity.iter().map(identity).collect::<Result<_, _>>()?;
        let policy = self.policy("server.allow", &files.allow)?.ok_or_else(|| {
            let why = "says nobody, and nobody is let in by accident; name public keys (np1...), files of them, or \"anyone\"";
            self.refuse("server.allow", why)
        })?;
        let status = self.policy("server.status_allow", &files.status_allow)?;
        let psks = self.psks(files, mode)?;
        let tls = files.tls.builder().map(TlsServerBuilder::build).transpose();
        let tls = tls.map_err(|error| self.refuse("server.tls_cert", &error))?;
        Ok(ServerRead { identities, policy, psks, tls, status })
    }

    /// Everybody whom one of the texts allows; `None` where there is no text.
    fn policy(&self, key: &str, allow: &[String]) -> Result<Option<Policy>, Error> {
        allow.iter().try_fold(None, |all: Option<Policy>, text| {
            let one = Policy::parse_allow(text).map_err(|error| self.refuse(key, &error))?;
            Ok(Some(match all {
                Some(others) => others.or(one),
                None => one,
            }))
        })
    }

    fn psks(&self, files: &ServerFiles, mode: KeyFileMode) -> Result<Psks, Error> {
        files.psk.iter().enumerate().try_fold(Psks::new(), |psks, (at, path)| {
            let key = read_psk(path, mode).map_err(|error| self.refuse("server.psk", &error))?;
            let id = files.psk_id.get(at).cloned().unwrap_or_else(|| psk_id(&key));
            if let Ok(client) = id.parse() {
                return Ok(psks.with_key(client, key));
            }
            psks.with_id(&id, key).map_err(|error| self.refuse("server.psk_id", &error))
        })
    }

    fn read_client(&self, mut builder: ClientBuilder, files: &ClientFiles) -> Result<ClientBuilder, Error> {
        let mode = key_mode(files.danger_key_mode);
        if let Some(path) = &files.identity {
            let identity = Identity::load_with(path, mode);
            builder = builder.identity(identity.map_err(|error| self.refuse("client.identity", &error))?);
        }
        if let Some(path) = &files.psk {
            builder = builder.psk(read_psk(path, mode).map_err(|error| self.refuse("client.psk", &error))?);
        }
        if let Some(path) = &files.known_peers {
            let known = KnownPeers::open(path).map_err(|error| self.refuse("client.known_peers", &error))?;
            builder = builder.trust_first_use(known);
        }
        if files.danger_trust_anyone {
            builder = builder.danger_trust_anyone();
        }
        // Of tls+noise:// the key inside is what need not be proven then.
        let is_tls = |text: &String| text.parse::<Address>().is_ok_and(|address| address.scheme() == Scheme::Tls);
        let is_tls = self.client.address.iter().any(is_tls);
        if files.tls != ClientTls::default() {
            let tls = files.tls.build(files.danger_trust_anyone && is_tls);
            builder = builder.tls(tls.map_err(|error| self.refuse("client.tls_ca", &error))?);
        }
        Ok(builder)
    }

    pub(super) fn refuse(&self, key: &str, why: &(impl ToString + ?Sized)) -> Error {
        ConfigError { problems: vec![self.problem(key, why.to_string())] }.into()
    }
}

impl ServerTls {
    /// The description that the settings make; none without a certificate.
    pub(super) fn builder(&self) -> Option<TlsServerBuilder> {
        if self.cert.is_empty() {
            return None;
        }
        let pairs = self.cert.iter().zip(&self.key);
        let mut builder = pairs.fold(TlsServer::builder(), |builder, (cert, key)| builder.certificate_files(cert, key));
        builder = self.ca.iter().fold(builder, |builder, file| builder.client_ca_file(file));
        builder = self.crl.iter().fold(builder, |builder, file| builder.crl_file(file));
        if let Some(auth) = self.auth {
            builder = builder.client_auth(auth);
        }
        if !self.suites.is_empty() {
            builder = builder.cipher_suites(self.suites.iter().copied());
        }
        Some(builder.min_version(self.least).resumption(!self.no_resumption))
    }
}

impl ClientTls {
    fn build(&self, unverified: bool) -> Result<TlsClient, TlsSetupError> {
        let mut builder = self.ca.iter().fold(TlsClient::builder(), |builder, file| builder.ca_file(file));
        builder = self.pins.iter().fold(builder, |builder, pin| builder.pin(*pin));
        if self.platform {
            builder = builder.trust_platform();
        }
        if unverified {
            builder = builder.danger_no_verification();
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            builder = builder.client_certificate_files(cert, key);
        }
        if let Some(name) = &self.name {
            builder = builder.server_name(name);
        }
        if !self.suites.is_empty() {
            builder = builder.cipher_suites(self.suites.iter().copied());
        }
        builder.min_version(self.least).resumption(!self.no_resumption).build()
    }
}

const fn key_mode(danger: bool) -> KeyFileMode {
    if danger { KeyFileMode::DangerAny } else { KeyFileMode::Checked }
}
