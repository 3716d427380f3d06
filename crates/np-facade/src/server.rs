//! A server: addresses, methods, a policy, and the way to stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{
    CallContext, Handler, Health, HealthState, MessageStream, MethodOptions, OnceSettings, RegisterError, Reply,
    Router, StreamHandler, Target,
};
use np_driver::{Acceptor, AcceptorConfig, Compression, Connection, Roster, Telemetry};
use np_noise::{Pattern, Provider};
use np_transport::{Address, BindOptions, TlsServer};
use np_trust::{Policy, Psks};
use np_types::{CallError, Suite};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::config::{Config, End, Running, Unread};
use crate::crypto::advised;
use crate::listen::{Listen, Opening};
use crate::status::{self, Asking};
use crate::{Error, Identity, MESSAGES, default_suite, provider};

mod limits;
mod running;

/// Builds a [`Server`]. An identity and a policy are asked for at once: a server without them would be a mistake.
///
/// Mistakes in addresses and method names are reported by [`ServerBuilder::start`].
#[derive(Debug)]
pub struct ServerBuilder {
    pub(crate) config: AcceptorConfig,
    pub(crate) patterns: Option<Vec<Pattern>>,
    health: Health,
    pub(crate) status: Option<Policy>,
    /// Addresses, with options of their own where they have some.
    pub(crate) addresses: Vec<Opening>,
    pub(crate) bind: BindOptions,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) drain_delay: Duration,
    /// Settings of a configuration that name files, which only [`Server::from_config`] reads.
    pub(crate) unread: Unread,
    /// The configuration that this was built from.
    pub(crate) configured: Option<Box<Config>>,
    mistake: Option<RegisterError>,
}

impl ServerBuilder {
    /// Adds an address to listen on: `tcp://127.0.0.1:0`, `tls://127.0.0.1:0`, `unix:/run/app.sock`, `pipe:name`,
    /// `mem:name`. All of them have the same methods, policy and limits, and one shutdown ends them all.
    ///
    /// It may name this server's own key or pin, as the server printed it; any other is refused.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(Opening::new(address.into()));
        self
    }

    /// As [`ServerBuilder::listen`], with options for this listener alone: socket settings, a PROXY header, certificates.
    #[must_use]
    pub fn listen_with(mut self, address: impl Into<String>, options: BindOptions) -> Self {
        self.addresses.push(Opening { options: Some(options), ..Opening::new(address.into()) });
        self
    }

    /// Sets the certificates and rules of `tls://` and `tls+noise://` addresses. Keep a clone to
    /// [`reload`](TlsServer::reload) them while the server runs. Clients without a certificate are anonymous: where they
    /// shall be let in, the policy says so ([`Policy::anonymous`]).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::prelude::*;
    /// use np_facade::TlsServer;
    /// use np_facade::raw::transport::dev_certificates; // with the feature `dev-certificates`
    /// let made = dev_certificates(&[])?;
    /// let tls = TlsServer::builder().certificate_pem(made.server.as_str(), made.server_key.as_str()).build()?;
    /// let server = Server::builder_without_identity(Policy::anonymous())
    ///     .tls(tls)
    ///     .listen("tls://127.0.0.1:0")
    ///     .start().await?;
    /// // The address carries the pin of the server's key, which is all that a client needs.
    /// let client = Client::connect(&server.addresses()[0].to_string()).await?;
    /// assert_eq!(client.call("np.echo", "hello").await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: TlsServer) -> Self {
        self.bind.tls = Some(tls);
        self
    }

    /// Sets the options of every listener that has none of its own, certificates included.
    #[must_use]
    pub fn bind_options(mut self, options: BindOptions) -> Self {
        self.bind = options;
        self
    }

    /// Adds a method: a plain function over bytes. It must not block.
    #[must_use]
    pub fn on<F, R>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(CallContext, Bytes) -> Result<R, CallError> + Send + Sync + 'static,
        R: Into<Reply> + 'static,
    {
        let added = self.config.router.on(name, handler);
        self.note(added);
        self
    }

    /// Adds a method: an async function over bytes. Dropping its future is how it is cancelled.
    #[must_use]
    pub fn on_async<F, Fut, R>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(CallContext, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, CallError>> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        let added = self.config.router.on_async(name, handler);
        self.note(added);
        self
    }

    /// Adds a method over serde types, in the codec of each request: postcard, and what the features `json` and `msgpack`
    /// add. A plain function; it must not block.
    #[must_use]
    pub fn on_typed<F, Req, Resp>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(CallContext, Req) -> Result<Resp, CallError> + Send + Sync + 'static,
        Req: DeserializeOwned + Send + 'static,
        Resp: Serialize + Send + 'static,
    {
        let added = self.config.router.on_typed(name, handler);
        self.note(added);
        self
    }

    /// Adds a method over serde types, as [`ServerBuilder::on_typed`]: an async function.
    #[must_use]
    pub fn on_typed_async<F, Fut, Req, Resp>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(CallContext, Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Resp, CallError>> + Send + 'static,
        Req: DeserializeOwned + Send + 'static,
        Resp: Serialize + Send + 'static,
    {
        let added = self.config.router.on_typed_async(name, handler);
        self.note(added);
        self
    }

    /// Adds a stream of messages both ways.
    #[must_use]
    pub fn on_stream<F, Fut>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(CallContext, MessageStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), CallError>> + Send + 'static,
    {
        let added = self.config.router.on_stream(name, handler);
        self.note(added);
        self
    }

    /// Takes the messages that clients send with [`Client::send`](crate::Client::send), one ordered stream each.
    #[must_use]
    pub fn on_messages<F, Fut>(self, handler: F) -> Self
    where
        F: Fn(CallContext, MessageStream) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), CallError>> + Send + 'static,
    {
        self.on_stream(MESSAGES, handler)
    }

    /// Adds any handler, with options: `MethodOptions::default().spawned()` gives it tasks of its own, `.schema("orders/3")`
    /// lets callers find out that their types differ.
    ///
    /// ```
    /// # fn example(builder: np_facade::ServerBuilder) -> np_facade::ServerBuilder {
    /// use np_facade::{MethodOptions, typed};
    /// let double = typed(|_ctx, number: u32| Ok(u64::from(number) * 2));
    /// builder.method("double", double, MethodOptions::default().schema("double/1"))
    /// # }
    /// ```
    #[must_use]
    pub fn method(self, name: &str, handler: impl Handler, options: MethodOptions) -> Self {
        self.target(name, Target::Unary(Arc::new(handler)), options)
    }

    /// As [`ServerBuilder::method`], for a stream.
    #[must_use]
    pub fn stream_method(self, name: &str, handler: impl StreamHandler, options: MethodOptions) -> Self {
        self.target(name, Target::Stream(Arc::new(handler)), options)
    }

    fn target(mut self, name: &str, target: Target, options: MethodOptions) -> Self {
        let added = self.config.router.register_target(name, target, options);
        self.note(added);
        self
    }

    /// Adds an identity beside the first. Clients that know its key and use a pattern that says so beforehand (IK, NK,
    /// KK, IKpsk2) get it; all others get the first. At most 64.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.config.identities.push(identity.into_keys());
        self
    }

    /// Sets the pre-shared keys that clients have to hold, beside a key that the policy allows. A client that proves
    /// nothing else (NNpsk0) needs [`Policy::allow_psk`] or [`Policy::anyone`].
    #[must_use]
    pub fn psks(mut self, psks: Psks) -> Self {
        self.config.psks = psks;
        self
    }

    /// Sets which handshake patterns are accepted. Default XX and IK; with pre-shared keys XXpsk3, IKpsk2 and NNpsk0.
    #[must_use]
    pub fn patterns(mut self, patterns: impl Into<Vec<Pattern>>) -> Self {
        self.patterns = Some(patterns.into());
        self
    }

    /// Sets which cipher suites are accepted, of which a client chooses one. Default both. An address that names one by
    /// `suite=` takes that one alone, whatever stands here.
    ///
    /// Clients find the only one, or the one that this machine is faster at where it has no instructions for AES, in the
    /// addresses of [`Server::addresses`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{Suite, prelude::*};
    /// let server = Server::builder(Identity::generate()?, Policy::anyone())
    ///     .suites([Suite::ChaChaPoly])
    ///     .listen("mem:suites")
    ///     .start().await?;
    /// assert!(server.addresses()[0].to_string().ends_with("&suite=chacha"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn suites(mut self, suites: impl Into<Vec<Suite>>) -> Self {
        self.config.suites = suites.into();
        self
    }

    /// Sets who computes the keys of one handshake and the records. Default: [`provider`]. What is computed with the identity's
    /// own key is its provider's: [`Identity::from_secret_with`]. Nothing that travels depends on either.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::{prelude::*, raw::noise::RustCrypto};
    /// let server = Server::builder(Identity::generate()?, Policy::anyone()).provider(&RustCrypto);
    /// let server = server.listen("mem:provider").start().await?;
    /// let address = server.addresses()[0].to_string();
    /// let client = Client::builder(address).provider(&RustCrypto).connect().await?;
    /// assert_eq!(client.call("np.echo", "hi").await?, "hi");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn provider(mut self, provider: &'static dyn Provider) -> Self {
        self.config.provider = provider;
        self
    }

    /// Remembers the replies of exactly-once calls, over all connections, so that a client may send such a call again when
    /// its connection was lost. Default: off, and such calls are refused. What is promised, and when the answer is *outcome
    /// unknown*: `docs/EXACTLY_ONCE.md`.
    ///
    /// The handler of such a call has a task of its own, which the end of its connection does not stop: its deadline does,
    /// and the end of [`Server::shutdown`].
    ///
    /// # Limits
    /// See [`OnceSettings`]: 288 MiB in the worst case by default.
    ///
    /// ```
    /// use np_facade::OnceSettings;
    /// use np_facade::prelude::*;
    /// let builder = Server::builder(Identity::generate()?, Policy::anyone())
    ///     .exactly_once(OnceSettings::default())
    ///     .on("order", |_ctx, _body| Ok("ordered"));
    /// # Ok::<(), np_facade::Error>(())
    /// ```
    #[must_use]
    pub const fn exactly_once(mut self, settings: OnceSettings) -> Self {
        self.config.exactly_once = Some(settings);
        self
    }

    /// Sets how replies are compressed, and whether they are where their method says nothing; see
    /// [`MethodOptions::compressed`]. Requests that come compressed are read whatever stands here.
    ///
    /// ```
    /// use np_facade::prelude::*;
    /// use np_facade::{Compression, CompressionSettings, Encoder};
    /// let settings = CompressionSettings { encoder: Encoder::Zstd { level: 3 }, ..CompressionSettings::default() };
    /// let builder = Server::builder(Identity::generate()?, Policy::anyone())
    ///     .compression(Compression { settings, by_default: true });
    /// # Ok::<(), np_facade::Error>(())
    /// ```
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// Sets where the server counts what it does. Default: nowhere. Names and meanings: `docs/OBSERVABILITY.md`.
    ///
    /// ```
    /// use np_facade::{Telemetry, prelude::*};
    /// // First install a recorder of the `metrics` crate; what is counted before goes nowhere.
    /// let builder = Server::builder(Identity::generate()?, Policy::anyone()).telemetry(Telemetry::recording());
    /// # Ok::<(), np_facade::Error>(())
    /// ```
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.config.telemetry = telemetry;
        self
    }

    /// Sets the mode of Unix sockets. Default 0600: this user alone.
    #[must_use]
    pub const fn unix_mode(mut self, mode: u32) -> Self {
        self.bind.unix_mode = mode;
        self
    }

    /// Sets how long [`Server::stop`] lets open calls go on. Default 10 s.
    #[must_use]
    pub const fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Sets for how long [`Server::stop`] lets the server go on as before, but for `np.health`, which answers `draining`: time
    /// for load balancers to send new clients elsewhere. Default 0 s.
    #[must_use]
    pub const fn drain_delay(mut self, delay: Duration) -> Self {
        self.drain_delay = delay;
        self
    }

    /// Opens every address and begins to accept, on the current tokio runtime.
    ///
    /// # Errors
    /// When an address is malformed, taken or names another server's key, a method name is wrong or taken, or a setting
    /// is out of its range. Nothing listens then.
    pub async fn start(self) -> Result<Server, Error> {
        if let Some(mistake) = self.mistake {
            return Err(mistake.into());
        }
        self.unread.check(&self.config.psks, self.bind.tls.as_ref(), self.status.as_ref())?;
        if self.addresses.is_empty() {
            return Err(Error::NoAddress);
        }
        let listens = self.addresses.into_iter().map(|opening| Listen::new(opening, &self.bind));
        let listens = listens.collect::<Result<Vec<_>, _>>()?;
        if self.bind.tls.is_some() && !listens.iter().any(|listen| listen.address.scheme().is_tls()) {
            return Err(Error::Unfit {
                setting: "tls",
                mode: "these addresses".to_owned(),
                why: "none of them is tls:// or tls+noise://; add one, or drop the certificates",
            });
        }
        let mut config = self.config;
        match self.patterns {
            Some(patterns) => config.patterns = patterns,
            None if !config.psks.is_empty() => {
                config.patterns = vec![Pattern::XXpsk3, Pattern::IKpsk2, Pattern::NNpsk0];
            }
            None => {}
        }
        let own: Vec<_> = config.identities.iter().map(|identity| identity.public()).collect();
        for listen in &listens {
            listen.check(&own, &config.policy, &config.patterns)?;
        }
        let proves_key = config.patterns.iter().any(|pattern| pattern.authenticates_responder());
        let suite = advised(&config.suites, default_suite());
        let shown = own.first().copied().filter(|_| proves_key);
        let router = config.router.clone();
        let mut acceptor = Acceptor::new(config)?;
        let asking = self.status.map(Asking::new);
        if let Some(asking) = &asking {
            status::offer(&router, asking.clone(), acceptor.status_source(), self.health.clone())?;
        }
        let mut listeners = Vec::new();
        for listen in listens {
            listeners.push(listen.open().await?);
        }
        let mut addresses = Vec::new();
        for listener in listeners {
            let address = listener.local_address().clone();
            let suite = address.suite().or(suite);
            let address = address.with_suite(suite);
            addresses.push(match shown {
                Some(key) if address.mode().uses_keys() => address.with_key(key),
                _ => address,
            });
            acceptor.listen(listener)?;
        }
        let roster = acceptor.roster();
        let end = End { delay: self.drain_delay, within: self.shutdown_timeout };
        let running = Running::new(self.bind.tls, asking, end, self.configured);
        let parts = Parts { acceptor: Mutex::new(acceptor), roster, addresses, router, health: self.health, running };
        Ok(Server { parts: Arc::new(parts) })
    }

    fn note(&mut self, added: Result<(), RegisterError>) {
        if let Err(mistake) = added {
            self.mistake.get_or_insert(mistake);
        }
    }
}

/// A running server. `Clone`, `Send` and `Sync`: clones are handles of the same server.
///
/// Dropping the last clone ends it at once; [`Server::shutdown`] ends it in order. A handler that holds a clone keeps
/// its server running until it is shut down.
///
/// # Limits
/// At most `max_connections` connections, each of which may cost what its [`Limits`](crate::Limits) say.
#[derive(Debug, Clone)]
pub struct Server {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Locked for as long as a shutdown takes.
    acceptor: Mutex<Acceptor>,
    roster: Roster,
    addresses: Vec<Address>,
    router: Router,
    health: Health,
    running: Running,
}

impl Server {
    /// Starts to build a server with an identity and the policy that says who is let in.
    ///
    /// The built-in methods `np.echo`, `np.echo-stream`, `np.health`, `np.methods` and `np.once` are there from the start.
    #[must_use]
    pub fn builder(identity: Identity, policy: Policy) -> ServerBuilder {
        Self::builder_without_identity(policy).identity(identity)
    }

    /// As [`Server::builder`], for servers all of whose addresses do without a key of np: `tls://` and `?mode=local`.
    #[must_use]
    pub fn builder_without_identity(policy: Policy) -> ServerBuilder {
        let health = Health::default();
        let router = Router::with_builtins(health.clone());
        let config = AcceptorConfig { provider: provider(), ..AcceptorConfig::without_identity(policy, router) };
        ServerBuilder {
            config,
            patterns: None,
            health,
            status: None,
            addresses: Vec::new(),
            bind: BindOptions::default(),
            shutdown_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            unread: Unread::default(),
            configured: None,
            mistake: None,
        }
    }

    /// The addresses, with real ports and this server's key: what a client connects to.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.parts.addresses
    }

    /// The method table: methods may come and go while the server runs.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.parts.router
    }

    /// What `np.health` answers.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.parts.health
    }

    /// The connections that stand now, in the order in which they came: to call or push to a client.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.parts.roster.connections()
    }

    /// Stops listening, tells every client to go away, lets open calls finish, exactly-once calls also of clients that are
    /// gone, and cuts what is left after `within`.
    ///
    /// While one shutdown waits, another with less time cuts it short; [`Duration::ZERO`] ends everything now.
    pub async fn shutdown(&self, within: Duration) {
        self.parts.health.set(HealthState::Draining);
        let mut acceptor = match self.parts.acceptor.try_lock() {
            Ok(acceptor) => acceptor,
            Err(_) => {
                self.parts.roster.drain(within).await;
                self.parts.acceptor.lock().await
            }
        };
        acceptor.drain(within).await;
    }

    /// As [`Server::shutdown_after`], in the times of [`ServerBuilder::drain_delay`] and
    /// [`ServerBuilder::shutdown_timeout`].
    pub async fn stop(&self) {
        let End { delay, within } = self.parts.running.end();
        self.shutdown_after(delay, within).await;
    }

    pub(crate) fn running(&self) -> &Running {
        &self.parts.running
    }

    pub(crate) async fn reconfigure(&self, config: AcceptorConfig) -> Result<(), Error> {
        Ok(self.parts.acceptor.lock().await.reconfigure(config)?)
    }
}
