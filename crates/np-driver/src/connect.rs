//! The connector: a link, a handshake, a connection.

use std::sync::Arc;
use std::time::Duration;

use np_dispatch::Router;
use np_noise::{Crypto, Keypair, Pattern, Role};
use np_session::{Handshake, InitiatorConfig, Outer, Preface, Side};
use np_transport::{Address, ConnectOptions, Dialled, Link, SecurityMode, TransportError};
use np_trust::{Decision, Policy};
use np_types::{CloseCode, ConnectionError, Limits, LimitsError, Misuse, PeerIdentity, Psk, PublicKey, SecretKey};
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::alarm::Alarm;
use crate::audit::Audit;
use crate::call_limits::CallPlaces;
use crate::clock::{Clock, after, unix_now};
use crate::compression::{Compression, Contexts};
use crate::connection::{Connection, ConnectionInfo};
use crate::entropy::{self, EntropyError};
use crate::establish::{Establish, Judge, too_long};
use crate::key_log::KeyLog;
use crate::lifetime::Lifetime;
use crate::memory::Share;
use crate::task;
use crate::telemetry::{Telemetry, result_of};

/// What a connecting side brings.
#[derive(Debug, Clone)]
pub struct ConnectorConfig {
    /// This side's identity.
    pub identity: Keypair,
    /// Which servers are accepted: their keys, as the address names them, or a policy of one's own.
    pub policy: Policy,
    /// The cipher suite, where the address names none, and who computes. Default: ChaCha20-Poly1305, by the provider in Rust.
    pub crypto: Crypto,
    /// The handshake pattern. Default XX.
    pub pattern: Pattern,
    /// The keys of which the server has to prove one, beside what the policy says; empty leaves it to the policy. Where the
    /// pattern needs a key before message 1 (IK, NK, KK, IKpsk2) they are tried in their order, each on a link of its own,
    /// until the server does not say that it lacks the key.
    pub server_keys: Vec<PublicKey>,
    /// The pre-shared key of a pattern with psk.
    pub psk: Option<Psk>,
    /// By what name the server finds it, 1 to 64 bytes of printable ASCII; empty for a server that finds it by this
    /// side's key.
    pub psk_id: String,
    /// What the connection may cost this side.
    pub limits: Limits,
    /// How long a link may take to come about. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the handshake may take after that, the one of TLS included. Default 10 s.
    pub handshake_timeout: Duration,
    /// Whether the first call may leave with the end of the handshake, before the server has said that it takes this side:
    /// [`connect`] then does not wait for that either. For Noise XX alone, whose server waits for the client's last message
    /// where others have spoken already, and has proven its key by then. That last message leaves once the future of
    /// [`connect`] has given the connection, or is dropped: one that is kept and not polled holds it back until
    /// `handshake_timeout`. Default: no.
    pub early_call: bool,
    /// How long what is written may wait for the peer to take it, and a record that has begun to come for its end. Default
    /// 60 s, in which the slowest peer takes 256 KiB and gives 64 KiB.
    pub progress_timeout: Duration,
    /// How long the connection lives. Default: as long as its peer is heard.
    pub lifetime: Lifetime,
    /// How messages of this side are compressed. Default: LZ4, where a call asks for it.
    pub compression: Compression,
    /// How the link comes about: trust and certificates of TLS, the user of a local listener.
    pub link: ConnectOptions,
    /// Where the client counts what it does. Default: nowhere.
    pub telemetry: Telemetry,
    /// Where the traffic keys of connections are written down. Default: nowhere.
    pub key_log: Option<KeyLog>,
    /// Handlers for calls that the server makes; empty answers none.
    pub router: Router,
}

impl ConnectorConfig {
    /// A configuration with default limits and an empty method table.
    #[must_use]
    pub fn new(identity: Keypair, policy: Policy) -> Self {
        Self {
            identity,
            policy,
            crypto: Crypto::default(),
            pattern: Pattern::XX,
            server_keys: Vec::new(),
            psk: None,
            psk_id: String::new(),
            limits: Limits::default(),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            early_call: false,
            progress_timeout: Duration::from_secs(60),
            lifetime: Lifetime::default(),
            compression: Compression::default(),
            link: ConnectOptions::default(),
            telemetry: Telemetry::off(),
            key_log: None,
            router: Router::new(),
        }
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No link: the name, the network, or nobody there.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No link within the connect timeout.
    #[error(
        "cannot connect to {address}: nothing answered within {within:?}; check the network, or raise connect_timeout"
    )]
    Timeout {
        /// The address, without keys.
        address: String,
        /// The connect timeout.
        within: Duration,
    },
    /// A link, but no handshake; the peer may have said why.
    #[error("no secure connection to {address}: {error}")]
    Handshake {
        /// The address, without keys.
        address: String,
        /// Why.
        error: ConnectionError,
    },
    /// The limits cannot be.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The configuration cannot be.
    #[error(transparent)]
    Misuse(#[from] Misuse),
    /// No randomness for fresh keys.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The runtime ended first. Where that was while the link was made, the system's error says so instead.
    #[error("the runtime ended before the connection was made")]
    Stopped,
}

/// Connects to one address, with a task on the current runtime.
///
/// # Errors
/// Once, and at once: nothing is retried here.
pub async fn connect(address: &Address, mut config: ConnectorConfig) -> Result<Connection, ConnectError> {
    let contexts = check(address, &config)?;
    // The preface, or the hello of TLS.
    config.link.speaks_first.get_or_insert(true);
    // The link is waited for here: a task that begins where the last thing was an event of a socket is run next by the same
    // thread, while one that begins in a chain of tasks (such as from a connection that was just closed) wakes another.
    let mut alarm = Alarm::default();
    let first = Box::pin(reach(address, &config, &mut alarm)).await?;
    let (told, made) = oneshot::channel();
    let (address, span) = (address.clone(), Span::current());
    // The task of the connection from its first byte on: it alone is woken by the socket, and whoever waits here once more.
    let task = tokio::spawn(async move {
        let made = Box::pin(make(&address, config, &contexts, (first, alarm)).instrument(span)).await;
        drop((address, contexts));
        match made {
            Ok((connection, task)) => {
                // Where nobody waits any more, the connection ends as it does without its last handle.
                drop(told.send(Ok(connection)));
                task.await;
            }
            Err(error) => drop(told.send(Err(error))),
        }
    });
    Attempt { made, task }.finish().await
}

/// Refuses a configuration that cannot be, before anything is done for it.
fn check(address: &Address, config: &ConnectorConfig) -> Result<Arc<Contexts>, ConnectError> {
    config.limits.validate()?;
    config.lifetime.validate()?;
    let contexts = Contexts::new(config.compression)?;
    let timeouts = [
        ("connect_timeout", config.connect_timeout),
        ("handshake_timeout", config.handshake_timeout),
        ("progress_timeout", config.progress_timeout),
    ];
    if let Some((setting, _)) = timeouts.into_iter().find(|(_, timeout)| timeout.is_zero()) {
        return Err(LimitsError { setting, value: 0, rule: "longer than 0" }.into());
    }
    // A first handshake that cannot be started is the caller's mistake: nothing is sent then.
    if address.mode().uses_keys() {
        // Nothing of it is sent, so that nothing of it needs to be random.
        let start = initiator(address, config, config.server_keys.first(), ([0; 16], SecretKey::from_bytes([0; 32])));
        if config.pattern.needs_remote_static_up_front() {
            // Whether a key can be agreed with is known by doing so.
            Handshake::initiator(start)?;
        } else {
            start.check()?;
        }
    }
    Ok(contexts)
}

/// A connection that is being made. Without whoever waits for it, it is given up.
struct Attempt {
    made: oneshot::Receiver<Result<Connection, ConnectError>>,
    task: JoinHandle<()>,
}

impl Attempt {
    async fn finish(mut self) -> Result<Connection, ConnectError> {
        if let Ok(made) = (&mut self.made).await {
            return made.inspect(Connection::take_up);
        }
        // The task is gone without a word: with its runtime, or since a policy of the program's own panicked.
        match (&mut self.task).await {
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            _ => Err(ConnectError::Stopped),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // One that has come about ends in order, without its handle. A channel that was closed here is never empty, so that it is
        // asked first.
        if let Err(TryRecvError::Empty) = self.made.try_recv() {
            self.made.close();
            if self.made.try_recv().is_err() {
                self.task.abort();
            }
        }
    }
}

/// The other end of a link, before anything was said.
async fn reach(address: &Address, config: &ConnectorConfig, alarm: &mut Alarm) -> Result<Dialled, ConnectError> {
    let within = config.connect_timeout;
    match alarm.bound(after(Instant::now(), within), np_transport::dial(address, &config.link)).await {
        Ok(reached) => Ok(reached?),
        Err(_) => Err(ConnectError::Timeout { address: address.without_keys().to_string(), within }),
    }
}

/// The connection, and the future of its task.
async fn make(
    address: &Address,
    config: ConnectorConfig,
    contexts: &Arc<Contexts>,
    (first, mut alarm): (Dialled, Alarm),
) -> Result<(Connection, task::Running), ConnectError> {
    let keyed = address.mode().uses_keys();
    let mut key = config.server_keys.first();
    let in_turn = keyed && config.pattern.needs_remote_static_up_front();
    let mut others = config.server_keys.iter().skip(1).filter(|_| in_turn);
    let label = || address.without_keys().to_string();
    let mut reached = first;
    loop {
        let began = Instant::now();
        let until = after(began, config.handshake_timeout);
        let Ok(link) = alarm.bound(until, reached.into_link()).await else {
            config.telemetry.shaken(Side::Initiator, "timeout", Some(began.elapsed()));
            return Err(ConnectError::Handshake { address: label(), error: too_long() });
        };
        let link = link.inspect_err(|_| config.telemetry.shaken(Side::Initiator, "failed", None))?;
        let handshake = match link.mode {
            SecurityMode::Noise | SecurityMode::TlsNoise => {
                start_handshake(address, &config, key, link.channel_binding)?
            }
            _ => {
                let outer = Outer { peer: link.identity.clone(), binding: link.channel_binding };
                Handshake::initiator_inside(outer, unix_now(), entropy::nonce()?)
            }
        };
        let shaken = shake(link, handshake, &config, contexts, (began, until, &mut alarm)).await;
        // One that may call early has yet to hear whether it was taken up: its task counts it then.
        if shaken.as_ref().map_or(true, |(connection, _)| connection.has_stood()) {
            let result = result_of(shaken.as_ref().map(|_| ()));
            config.telemetry.shaken(Side::Initiator, result, Some(began.elapsed()));
        }
        let error = match shaken {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        match others.next() {
            // Nobody signed that answer. All it can bring about is a try with another key that the caller accepts.
            Some(other) if lacks_key(&error) => key = Some(other),
            _ => return Err(ConnectError::Handshake { address: label(), error }),
        }
        reached = reach(address, &config, &mut alarm).await?;
    }
}

const fn lacks_key(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::UnknownIdentity, in_clear: true, .. })
}

fn start_handshake(
    address: &Address,
    config: &ConnectorConfig,
    server_key: Option<&PublicKey>,
    outer_binding: Option<[u8; 32]>,
) -> Result<Handshake, ConnectError> {
    let fresh = entropy::nonce_and_ephemeral()?;
    Ok(Handshake::initiator_bound(initiator(address, config, server_key, fresh), outer_binding)?)
}

fn initiator<'a>(
    address: &Address,
    config: &'a ConnectorConfig,
    server_key: Option<&PublicKey>,
    (nonce, ephemeral): ([u8; 16], SecretKey),
) -> InitiatorConfig<'a> {
    let pattern = config.pattern;
    let suite = address.suite().unwrap_or(config.crypto.suite);
    InitiatorConfig {
        crypto: Crypto { suite, ..config.crypto },
        pattern,
        local: pattern.needs_local_static(Role::Initiator).then_some(&config.identity),
        server_key: server_key.filter(|_| pattern.needs_remote_static_up_front()).copied(),
        psk: config.psk.as_ref(),
        psk_id: config.psk_id.as_bytes(),
        time: unix_now(),
        nonce,
        ephemeral,
    }
}

async fn shake(
    link: Link,
    handshake: Handshake,
    config: &ConnectorConfig,
    contexts: &Arc<Contexts>,
    (began, until, alarm): (Instant, Instant, &mut Alarm),
) -> Result<(Connection, task::Running), ConnectionError> {
    let keyed = link.mode.uses_keys();
    let Link { mut io, peer, local, tls, .. } = link;
    let clock = Clock::since(began);
    let judge = ServerJudge { policy: &config.policy, keys: &config.server_keys };
    let limits = Arc::new(config.limits.clone());
    let key_log = config.key_log.as_ref();
    let early = config.early_call && config.pattern == Pattern::XX && keyed;
    let establish = Establish { io: &mut io, judge, limits, clock, until, alarm, early, key_log };
    let established = establish.run(handshake).await?;
    let info = ConnectionInfo {
        clock,
        peer: established.peer.clone(),
        address: peer.text.into(),
        local: local.map(Box::new),
        tls: tls.map(Box::new),
        binding: *established.session.binding(),
        bodies: established.bodies(Arc::clone(contexts), &config.limits),
        places: CallPlaces::default(),
        once: None,
        progress_timeout: config.progress_timeout,
        max_message: config.limits.max_message,
        reassembly_budget: config.limits.reassembly_budget,
        audit: Arc::new(Audit::new(config.telemetry.clone(), clock)),
    };
    let alarm = std::mem::take(alarm);
    Ok(task::start(established, (io, alarm), info, &config.lifetime, Share::default(), config.router.clone()))
}

/// Decides on a server by the keys of its address and the policy.
struct ServerJudge<'a> {
    policy: &'a Policy,
    keys: &'a [PublicKey],
}

impl Judge for ServerJudge<'_> {
    fn first_flight(&mut self, _: &mut Handshake, _: &Preface) -> Result<(), Misuse> {
        Err(Misuse::State("a connecting side gets no first flight"))
    }

    fn psk(&mut self, _: &mut Handshake, _: &PublicKey) -> Result<(), Misuse> {
        Err(Misuse::State("a connecting side brings its own pre-shared key"))
    }

    fn peer(&mut self, handshake: &mut Handshake, peer: &PeerIdentity) -> Result<(), Misuse> {
        let named = peer.public_key().is_none_or(|key| self.keys.is_empty() || self.keys.contains(key));
        let decision = match named {
            true => self.policy.decide(peer),
            false => Decision::Refuse { reason: "the key is none of the address's".to_owned() },
        };
        match decision {
            Decision::Refuse { reason } => {
                let why = format!(
                    "the server is {peer}, which is not accepted here ({reason}); compare it with the address \
                     that the server printed"
                );
                handshake.refuse(CloseCode::NotAllowed, "", &why);
                Ok(())
            }
            _ => handshake.admit(),
        }
    }
}
