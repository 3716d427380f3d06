//! How a client connects: who it is, whom it accepts, and what it may cost. Must never leave a server unproven unless
//! told so by a name with `danger` in it, nor take a setting that would have no effect.

use std::sync::Arc;
use std::time::Duration;

use np_dispatch::Router;
use np_driver::{Compression, ConnectorConfig, KeyLog, Lifetime, Telemetry};
use np_noise::{Crypto, Pattern, Provider, Role, Suite};
use np_transport::{Address, ConnectOptions, Scheme, SecurityMode, TlsClient};
use np_trust::{KnownPeers, Policy, psk_id};
use np_types::{Deadline, Limits, Psk};

use crate::client::dialer::Dialer;
use crate::client::keeping::Keeping;
use crate::client::once::Once;
use crate::client::pool::Pool;
use crate::{Client, Config, Error, Identity, default_suite, provider};

/// Builds a [`Client`].
#[derive(Debug)]
pub struct ClientBuilder {
    pub(crate) addresses: Vec<String>,
    pub(crate) keeping: Keeping,
    pub(crate) identity: Option<Identity>,
    trust: Trust,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) suite: Option<Suite>,
    pub(crate) provider: Option<&'static dyn Provider>,
    psk: Option<Psk>,
    pub(crate) psk_id: Option<String>,
    pub(crate) link: ConnectOptions,
    pub(crate) compression: Compression,
    pub(crate) progress_timeout: Duration,
    pub(crate) lifetime: Lifetime,
    pub(crate) limits: Limits,
    pub(crate) connect_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) early_call: bool,
    pub(crate) deadline: Duration,
    pub(crate) telemetry: Telemetry,
    pub(crate) key_log: Option<KeyLog>,
    router: Router,
    /// The configuration that this was built from.
    pub(crate) configured: Option<Box<Config>>,
}

/// Which servers are accepted.
#[derive(Debug)]
enum Trust {
    /// Those whose keys the address names, and those that hold the pre-shared key.
    Address,
    Policy(Policy),
    FirstUse(KnownPeers),
    DangerAnyone,
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            addresses: Vec::new(),
            keeping: Keeping::default(),
            identity: None,
            trust: Trust::Address,
            pattern: None,
            suite: None,
            provider: None,
            psk: None,
            psk_id: None,
            link: ConnectOptions::default(),
            compression: Compression::default(),
            progress_timeout: Duration::from_secs(60),
            lifetime: Lifetime::default(),
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            early_call: false,
            deadline: Deadline::DEFAULT,
            telemetry: Telemetry::off(),
            key_log: None,
            router: Router::new(),
            configured: None,
        }
    }

    /// What of a reloaded builder counts for the connections of a client that runs by this one: who proves what to whom,
    /// limits and times. Where it connects from, and what all of its connections share, stays: nobody asks its `keeping`.
    pub(crate) fn renewed(&self, wanted: Self) -> Self {
        let link = ConnectOptions { tls: wanted.link.tls, ..self.link.clone() };
        Self {
            addresses: self.addresses.clone(),
            pattern: self.pattern,
            suite: self.suite,
            provider: self.provider,
            compression: self.compression,
            deadline: self.deadline,
            telemetry: self.telemetry.clone(),
            key_log: self.key_log.clone(),
            router: self.router.clone(),
            link,
            ..wanted
        }
    }

    /// Sets who this client is. Default: a fresh identity, one for all of its connections.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Sets which servers are accepted, of those whose keys the address names, or of all where it names none. In XX a
    /// policy that accepts anyone needs such a key: without one, say [`ClientBuilder::danger_trust_anyone`].
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.trust = Trust::Policy(policy);
        self
    }

    /// Accepts the key that the server shows at the first connection, remembers it in a file, and refuses another one
    /// from then on. For addresses without a key: nothing protects that first connection. The file is read, and
    /// written at first use, on the thread that drives the handshake; where another process holds its lock that may
    /// take up to 5 s.
    #[must_use]
    pub fn trust_first_use(mut self, known: KnownPeers) -> Self {
        self.trust = Trust::FirstUse(known);
        self
    }

    /// Sets whom `tls://` and `tls+noise://` servers are trusted by, and the certificate that this client shows. Default:
    /// the pins of the address (`?pin=`), or else the authorities of the operating system; no certificate. Clones of one
    /// [`TlsClient`] take up each other's sessions.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{Client, TlsClient};
    /// let tls = TlsClient::builder()
    ///     .ca_file("ca.pem")
    ///     .client_certificate_files("client.pem", "client-key.pem")
    ///     .build()?;
    /// let client = Client::builder("tls://db.example.com:9443").tls(tls).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.link.tls = Some(tls);
        self
    }

    /// Sets how the link comes about: socket settings, the source address, the user of a `?mode=local` listener, and TLS.
    #[must_use]
    pub fn connect_options(mut self, options: ConnectOptions) -> Self {
        self.link = options;
        self
    }

    /// Talks to whoever answers: nothing tells the server from an impostor who sits in between. In `tls://` its
    /// certificate is then looked at only as [`ClientBuilder::tls`] says, and without that not at all.
    ///
    /// For addresses without a key or pin; with one, [`ClientBuilder::connect`] refuses the contradiction.
    #[must_use]
    pub fn danger_trust_anyone(mut self) -> Self {
        self.trust = Trust::DangerAnyone;
        self
    }

    /// Sets the pre-shared key. Both sides then prove that they hold it, beside their keys.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{Client, KeyFileMode, read_psk};
    /// let psk = read_psk("team.psk".as_ref(), KeyFileMode::Checked)?;
    /// // Without a key in the address the pre-shared key alone proves both sides.
    /// let client = Client::builder("tcp://10.0.0.1:9000").psk(psk).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn psk(mut self, psk: Psk) -> Self {
        self.psk = Some(psk);
        self
    }

    /// Sets by what name the server finds the pre-shared key: 1 to 64 bytes of printable ASCII. Default: the
    /// [`psk_id`] of the key. Empty: the server finds it by this client's key.
    #[must_use]
    pub fn psk_id(mut self, id: impl Into<String>) -> Self {
        self.psk_id = Some(id.into());
        self
    }

    /// Sets the handshake pattern. Default XX; with a pre-shared key XXpsk3, or NNpsk0 where the address names no key.
    ///
    /// IK and IKpsk2 save half a round trip, NK shows no client key, KK shows the client's key in clear; these four need a
    /// key in the address, and try its keys in turn.
    #[must_use]
    pub const fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// Sets the cipher suite to ask for, where the address names none. Default: [`default_suite`], which this machine is fast
    /// at. A server that does not take it says which it does; nothing is tried again.
    ///
    /// ```
    /// use np_facade::{Client, Suite};
    /// let builder = Client::builder("tcp://10.0.0.1:9000?key=np1...").suite(Suite::ChaChaPoly);
    /// ```
    #[must_use]
    pub const fn suite(mut self, suite: Suite) -> Self {
        self.suite = Some(suite);
        self
    }

    /// Sets who computes the keys of one handshake and the records; see
    /// [`ServerBuilder::provider`](crate::ServerBuilder::provider). Default: [`provider`].
    #[must_use]
    pub const fn provider(mut self, provider: &'static dyn Provider) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Sets how long written bytes may wait for the server to take them, and a record that has begun to come for its end.
    /// Default 60 s.
    #[must_use]
    pub const fn progress_timeout(mut self, timeout: Duration) -> Self {
        self.progress_timeout = timeout;
        self
    }

    /// Sets how long connections live: heartbeat, idle timeout and maximum age. Default: a heartbeat of 15 s, and no end.
    ///
    /// ```
    /// use np_facade::{Client, Lifetime};
    /// use std::time::Duration;
    /// let lifetime = Lifetime { heartbeat_interval: Some(Duration::from_secs(5)), ..Lifetime::default() };
    /// let builder = Client::builder("tcp://127.0.0.1:9005?key=np1...").lifetime(lifetime);
    /// ```
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets how messages are compressed, and whether they are where their call says nothing ([`Call::compress`]).
    ///
    /// [`Call::compress`]: crate::Call::compress
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets what the connection may cost this side. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long a link may take to come about. Default 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long the handshake may take. Default 10 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Sets the deadline of calls that name none. Default 30 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets where the client counts what it does. Default: nowhere.
    ///
    /// ```no_run
    /// # async fn run(address: &str) -> Result<(), np_facade::Error> {
    /// use np_facade::{Client, Telemetry};
    /// let client = Client::builder(address).telemetry(Telemetry::recording()).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = telemetry;
        self
    }

    /// Sets the methods that the server may call back. Default: none.
    #[must_use]
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Connects, on the current tokio runtime: returns as soon as one connection stands. Each address is tried once, in
    /// order, and nothing is retried, but for the keys of an address: see [`ClientBuilder::pattern`].
    ///
    /// # Errors
    /// When an address is malformed, names no key, or other keys than the settings ask for, when a setting is out of
    /// its range or does not fit the pattern, when nobody answers, or when either side refuses the other.
    pub async fn connect(self) -> Result<Client, Error> {
        self.keeping.check()?;
        let dialer = Dialer::new(self)?;
        let stations = dialer.stations().await?;
        let mut failed = Vec::new();
        for (at, station) in stations.iter().enumerate() {
            match dialer.attempt(station).await {
                Ok(connection) => {
                    let first = (Arc::clone(station), connection);
                    return Ok(Client::over(Pool::new(dialer, stations.len(), at, first), Once::new()?));
                }
                Err(error) => failed.push(error),
            }
        }
        Err(Error::of_attempts(failed))
    }

    /// What one attempt at an address is made of. `own` is who the client is where nobody said it.
    pub(crate) fn config(&self, address: &Address, own: &Identity) -> Result<ConnectorConfig, Error> {
        self.check_link(address)?;
        if !address.mode().uses_keys() {
            return self.config_inside(address, own);
        }
        let pattern = self.pattern.unwrap_or_else(|| self.default_pattern(address));
        self.check_fit(pattern)?;
        self.check_keys(pattern, address)?;
        let psk_id = match (&self.psk, &self.psk_id) {
            (Some(psk), None) => psk_id(psk),
            (_, id) => id.clone().unwrap_or_default(),
        };
        if !psk_id.is_empty() {
            // It travels in clear: a secret in its place must be refused before.
            Policy::allow_psk(&psk_id)?;
        }
        let policy = match &self.trust {
            Trust::Policy(policy) => policy.clone(),
            Trust::FirstUse(known) => Policy::first_use(known.clone(), &place(address)),
            Trust::DangerAnyone => Policy::danger_trust_anyone(),
            Trust::Address if pattern == Pattern::NNpsk0 => Policy::allow_psk(&psk_id)?,
            // Whoever answers has to hold the pre-shared key as well.
            Trust::Address if pattern.needs_psk() && address.keys().is_empty() => Policy::anyone(),
            // TLS has proven the server, and the handshake is bound to it.
            Trust::Address if address.mode() == SecurityMode::TlsNoise && address.keys().is_empty() => Policy::anyone(),
            Trust::Address => Policy::allow_keys(address.keys().iter().copied()),
        };
        let identity = self.identity.as_ref().unwrap_or(own).clone();
        Ok(ConnectorConfig {
            pattern,
            server_keys: address.keys().to_vec(),
            psk: self.psk.clone(),
            psk_id,
            ..self.connector(identity, policy, self.link.clone())
        })
    }

    /// The same in a mode that proves peers without a key of np.
    fn config_inside(&self, address: &Address, own: &Identity) -> Result<ConnectorConfig, Error> {
        self.check_inside(address)?;
        let mode = address.mode();
        let mut link = self.link.clone();
        let policy = match &self.trust {
            Trust::Policy(policy) => policy.clone(),
            Trust::DangerAnyone if mode == SecurityMode::Tls && link.tls.is_none() => {
                link.tls = Some(TlsClient::builder().danger_no_verification().build()?);
                Policy::danger_trust_anyone()
            }
            Trust::DangerAnyone => Policy::danger_trust_anyone(),
            // The address itself says that nothing is proven.
            _ if mode == SecurityMode::DangerPlaintext => Policy::danger_trust_anyone(),
            // TLS, or the operating system, has refused any other by now.
            Trust::Address | Trust::FirstUse(_) => Policy::anyone(),
        };
        Ok(self.connector(own.clone(), policy, link))
    }

    fn connector(&self, identity: Identity, policy: Policy, link: ConnectOptions) -> ConnectorConfig {
        ConnectorConfig {
            crypto: Crypto {
                suite: self.suite.unwrap_or_else(default_suite),
                provider: self.provider.unwrap_or_else(provider),
            },
            link,
            compression: self.compression,
            progress_timeout: self.progress_timeout,
            lifetime: self.lifetime,
            limits: self.limits.clone(),
            connect_timeout: self.connect_timeout,
            handshake_timeout: self.handshake_timeout,
            early_call: self.early_call,
            telemetry: self.telemetry.clone(),
            key_log: self.key_log.clone(),
            router: self.router.clone(),
            ..ConnectorConfig::new(identity.into_keys(), policy)
        }
    }

    /// Refuses settings of the link that the address would ignore.
    fn check_link(&self, address: &Address) -> Result<(), Error> {
        let mode = format!("the mode {}", address.mode());
        if self.link.tls.is_some() && !address.scheme().is_tls() {
            let why = "there is no TLS on the way: write tls:// or tls+noise://, or drop it";
            return Err(Error::Unfit { setting: "tls", mode, why });
        }
        let looks_at_user = address.mode() == SecurityMode::Local || address.scheme() == Scheme::Pipe;
        if self.link.local_user.is_some() && !looks_at_user {
            let why = "nobody looks at the user of the server: write ?mode=local, or drop it";
            return Err(Error::Unfit { setting: "local_user", mode, why });
        }
        Ok(())
    }

    fn configured_suite(&self) -> Option<Suite> {
        self.configured.as_ref().and_then(|config| config.suite())
    }

    /// Refuses settings of handshakes by key, where there is none.
    fn check_inside(&self, address: &Address) -> Result<(), Error> {
        let mode = address.mode();
        let set = [
            ("identity", self.identity.is_some()),
            ("psk", self.psk.is_some()),
            ("psk_id", self.psk_id.is_some()),
            ("pattern", self.pattern.is_some()),
            // That of a file is for all of its addresses, which may be of several modes.
            ("suite", self.suite.is_some() && self.suite != self.configured_suite()),
            ("trust_first_use", matches!(self.trust, Trust::FirstUse(_))),
        ];
        if let Some((setting, _)) = set.into_iter().find(|(_, set)| *set) {
            let why = match mode {
                SecurityMode::Tls => {
                    "certificates prove the peers there: show one by tls(), trust by it or by ?pin=, or write tls+noise://"
                }
                _ => "no key is proven there: drop it, or use another mode",
            };
            return Err(Error::Unfit { setting, mode: format!("the mode {mode}"), why });
        }
        if matches!(self.trust, Trust::DangerAnyone) && !address.pins().is_empty() {
            let place = address.without_keys().to_string();
            return Err(Error::IgnoredKey { address: place, by: "danger_trust_anyone" });
        }
        Ok(())
    }

    fn default_pattern(&self, address: &Address) -> Pattern {
        match (&self.psk, &self.trust) {
            (None, _) => Pattern::XX,
            (Some(_), Trust::Address) if address.keys().is_empty() => Pattern::NNpsk0,
            (Some(_), _) => Pattern::XXpsk3,
        }
    }

    /// Refuses settings that the pattern would ignore, and the lack of one that it needs.
    fn check_fit(&self, pattern: Pattern) -> Result<(), Error> {
        let refuse = |setting, why| Err(Error::Unfit { setting, mode: format!("the pattern {}", pattern.name()), why });
        if self.psk.is_none() && pattern.needs_psk() {
            return refuse("psk", "the pattern needs a pre-shared key: set one");
        }
        if self.psk.is_some() && !pattern.needs_psk() {
            return refuse("psk", "the pattern takes no pre-shared key: use XXpsk3, IKpsk2 or NNpsk0");
        }
        if self.psk.is_none() && self.psk_id.is_some() {
            return refuse("psk_id", "there is no pre-shared key: set one, or drop its id");
        }
        if self.psk_id.as_ref().is_some_and(String::is_empty) && !pattern.takes_psk_late(Role::Responder) {
            return refuse("psk_id", "the pattern needs an id: set one");
        }
        if self.identity.is_some() && !pattern.needs_local_static(Role::Initiator) {
            return refuse("identity", "the pattern shows no key of the client: drop it, or use another pattern");
        }
        if matches!(self.trust, Trust::FirstUse(_)) && pattern.needs_psk() {
            return refuse(
                "trust_first_use",
                "a key would be kept before its holder has proven the pre-shared key: add it to the address",
            );
        }
        if matches!(self.trust, Trust::FirstUse(_)) && !pattern.authenticates_responder() {
            return refuse("trust_first_use", "the server proves no key that could be remembered: use XX");
        }
        if matches!(self.trust, Trust::DangerAnyone) && pattern == Pattern::NNpsk0 {
            return refuse("danger_trust_anyone", "the server has to hold the pre-shared key: drop one of them");
        }
        Ok(())
    }

    /// Refuses keys that would be ignored, the lack of one that is needed, and a server that nothing would prove.
    fn check_keys(&self, pattern: Pattern, address: &Address) -> Result<(), Error> {
        let place = || address.without_keys().to_string();
        let any = !address.keys().is_empty();
        let by = match &self.trust {
            Trust::DangerAnyone => Some("danger_trust_anyone"),
            Trust::FirstUse(_) => Some("trust_first_use"),
            _ if !pattern.authenticates_responder() => Some(pattern.name()),
            _ => None,
        };
        match by {
            Some(by) if any => return Err(Error::IgnoredKey { address: place(), by }),
            _ if !any && pattern.needs_remote_static_up_front() => {
                return Err(Error::NeedsKey { pattern: pattern.name(), address: place() });
            }
            _ => {}
        }
        // The handshake inside TLS is bound to it, so that a server which TLS has proven needs no key beside.
        let by_tls = address.mode() == SecurityMode::TlsNoise
            && (!address.pins().is_empty() || self.link.tls.as_ref().is_none_or(TlsClient::verifies));
        let unproven = !any && !pattern.needs_psk() && !by_tls;
        let unproven = match &self.trust {
            Trust::Address => unproven,
            Trust::Policy(policy) => unproven && pattern == Pattern::XX && policy.accepts_anyone(),
            Trust::FirstUse(_) | Trust::DangerAnyone => false,
        };
        if unproven {
            return Err(Error::NoServerKey { address: place() });
        }
        Ok(())
    }
}

/// What a server is remembered by: where it is, however it is spoken to.
fn place(address: &Address) -> String {
    address.without_keys().with_suite(None).to_string()
}
