//! The acceptor: listeners, admission, handshakes, and the connections that came of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use np_dispatch::Router;
use np_noise::{Keypair, Pattern, ReplayError, ReplayGuard, ReplayGuardError, Role};
use np_session::{Handshake, Preface, ResponderConfig, ResponderKeys, server_hint};
use np_transport::{Link, Listener, TransportError};
use np_trust::{Decision, Policy};
use np_types::{CloseCode, Limits, LimitsError, Misuse, PeerIdentity};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clock::{Clock, unix_now};
use crate::commands::lock;
use crate::connection::{Connection, ConnectionInfo};
use crate::entropy;
use crate::establish::{Establish, Judge};
use crate::farewell::farewell;
use crate::task;

/// How long an accept loop waits after the system was short of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// How far a client's clock may be from ours, and how long its nonce is remembered.
const REPLAY_WINDOW: Duration = Duration::from_secs(5);

/// What an accepting side offers, and what it lets in.
#[derive(Debug, Clone)]
pub struct AcceptorConfig {
    /// This side's identity.
    pub identity: Keypair,
    /// Who is let in.
    pub policy: Policy,
    /// The handshake patterns that are accepted. Default XX and IK.
    pub patterns: Vec<Pattern>,
    /// What each connection may cost.
    pub limits: Limits,
    /// Connections at once; one more is refused and told. Default 16,384.
    pub max_connections: usize,
    /// Handshakes in progress at once; one more is refused and told. Default 4,096.
    pub max_handshakes: usize,
    /// How long a handshake may take, up to the peer's first record. Default 10 s.
    pub handshake_timeout: Duration,
    /// First flights remembered against replay. Default 100,000; at least 10,000.
    pub replay_capacity: usize,
    /// The methods that peers may call.
    pub router: Router,
}

impl AcceptorConfig {
    /// A configuration with default limits.
    #[must_use]
    pub fn new(identity: Keypair, policy: Policy, router: Router) -> Self {
        Self {
            identity,
            policy,
            patterns: vec![Pattern::XX, Pattern::IK],
            limits: Limits::default(),
            max_connections: 16_384,
            max_handshakes: 4_096,
            handshake_timeout: Duration::from_secs(10),
            replay_capacity: 100_000,
            router,
        }
    }
}

/// Accepts connections from any number of listeners under one set of limits.
///
/// Dropping it ends every listener and every connection at once; [`Acceptor::drain`] ends them in order.
#[derive(Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
    loops: JoinSet<()>,
    stop: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    config: AcceptorConfig,
    clock: Clock,
    hint: [u8; 4],
    replay: Mutex<ReplayGuard>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    live: Mutex<Live>,
    /// Moves whenever a connection goes, so that a drain can wait.
    gone: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Live {
    next: u64,
    connections: HashMap<u64, Connection>,
    draining: Option<Duration>,
}

/// Why an acceptor cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptorError {
    /// A limit is out of its range.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The replay guard cannot be made.
    #[error("replay_capacity: {0}")]
    Replay(#[from] ReplayGuardError),
    /// No pattern is offered, or one that needs more than an identity.
    #[error("patterns: {0}")]
    Patterns(&'static str),
}

impl Acceptor {
    /// Checks the configuration and makes an acceptor without listeners.
    ///
    /// # Errors
    /// When a setting is out of its range; the error names it.
    pub fn new(config: AcceptorConfig) -> Result<Self, AcceptorError> {
        config.limits.validate()?;
        for (setting, value) in [("max_connections", config.max_connections), ("max_handshakes", config.max_handshakes)]
        {
            if !(1..=Semaphore::MAX_PERMITS).contains(&value) {
                return Err(LimitsError { setting, value: value as u64, rule: "at least 1" }.into());
            }
        }
        if config.patterns.is_empty() {
            return Err(AcceptorError::Patterns("at least one pattern must be offered"));
        }
        if config.patterns.iter().any(|pattern| !matches!(pattern, Pattern::XX | Pattern::IK)) {
            return Err(AcceptorError::Patterns("XX and IK are the patterns that a server can offer"));
        }
        let replay = Mutex::new(ReplayGuard::new(config.replay_capacity, REPLAY_WINDOW)?);
        let shared = Shared {
            hint: server_hint(&config.identity.public()),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            handshakes: Arc::new(Semaphore::new(config.max_handshakes)),
            config,
            clock: Clock::start(),
            replay,
            live: Mutex::default(),
            gone: watch::Sender::new(0),
        };
        Ok(Self { shared: Arc::new(shared), loops: JoinSet::new(), stop: watch::Sender::new(false) })
    }

    /// Accepts from one more listener, on the current runtime.
    pub fn listen(&mut self, listener: Listener) {
        let (shared, mut stop) = (Arc::clone(&self.shared), self.stop.subscribe());
        self.loops.spawn(async move {
            let mut tasks = JoinSet::new();
            while !*stop.borrow() {
                tokio::select! {
                    accepted = listener.accept() => shared.accepted(accepted, &mut tasks).await,
                    Some(_) = tasks.join_next() => {}
                    _ = stop.changed() => {}
                }
            }
            // The place is free for a successor while the open connections finish.
            drop(listener);
            while tasks.join_next().await.is_some() {}
        });
    }

    /// The connections that are open now.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        lock(&self.shared.live).connections.values().cloned().collect()
    }

    /// Stops listening, tells every peer to go away, lets open calls finish, and ends what is left after `within`.
    pub async fn drain(&mut self, within: Duration) {
        self.stop.send_replace(true);
        let connections: Vec<Connection> = {
            let mut live = lock(&self.shared.live);
            live.draining = Some(within);
            live.connections.values().cloned().collect()
        };
        let mut drains = JoinSet::new();
        for connection in connections {
            drains.spawn(async move { connection.drain(within).await });
        }
        let all = async {
            while drains.join_next().await.is_some() {}
            while self.loops.join_next().await.is_some() {}
        };
        // The connections cut themselves after `within`; the farewell takes at most a second more.
        let _ = tokio::time::timeout(within + Duration::from_secs(2), all).await;
        self.loops.shutdown().await;
    }
}

impl Shared {
    async fn accepted(self: &Arc<Self>, accepted: Result<Link, TransportError>, tasks: &mut JoinSet<()>) {
        match accepted {
            Ok(link) => {
                let shared = Arc::clone(self);
                tasks.spawn(async move { shared.serve(link).await });
            }
            Err(error) => {
                // An accept that fails must never end the loop.
                tracing::warn!(target: "np::audit", %error, transient = error.is_transient(), "accept failed");
                sleep(SHORTAGE_PAUSE).await;
            }
        }
    }

    async fn serve(self: Arc<Self>, link: Link) {
        let Link { mut io, peer: label, .. } = link;
        let mut handshake = Handshake::responder(&ResponderConfig { patterns: self.config.patterns.clone() });
        let Ok(permit) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            let limit = self.config.max_handshakes;
            tracing::warn!(target: "np::audit", peer = label.text, limit, "refused: limit max_handshakes reached");
            handshake.refuse(
                CloseCode::HandshakeLimit,
                "limit max_handshakes reached; try again later",
                "max_handshakes",
            );
            let mut out = Vec::new();
            handshake.poll_transmit(&mut out);
            return farewell(&mut io, &out).await;
        };
        let mut slot = None;
        let judge = ClientJudge { shared: &self, preface: None, slot: &mut slot };
        let establish = Establish {
            io: &mut io,
            judge,
            limits: self.config.limits.clone(),
            clock: self.clock,
            until: Instant::now() + self.config.handshake_timeout,
        };
        let established = match establish.run(handshake).await {
            Ok(established) => established,
            Err(error) => {
                tracing::info!(target: "np::audit", peer = label.text, %error, "no connection came of a handshake");
                return;
            }
        };
        drop(permit);
        let info = ConnectionInfo {
            clock: self.clock,
            peer: established.peer.clone(),
            address: label.text,
            binding: *established.session.binding(),
            max_message: self.config.limits.max_message,
        };
        tracing::info!(target: "np::audit", peer = %info.peer, address = info.address, "connected");
        let (connection, task) = task::start(established, io, info, self.config.router.clone());
        let id = self.register(&connection);
        drop(connection);
        let error = task.await;
        tracing::info!(target: "np::audit", %error, "disconnected");
        self.unregister(id);
        drop(slot);
    }

    fn register(&self, connection: &Connection) -> u64 {
        let mut live = lock(&self.live);
        live.next += 1;
        let id = live.next;
        live.connections.insert(id, connection.clone());
        if let Some(within) = live.draining {
            // It was half-way in when the drain began.
            let connection = connection.clone();
            tokio::spawn(async move { connection.drain(within).await });
        }
        id
    }

    fn unregister(&self, id: u64) {
        lock(&self.live).connections.remove(&id);
        self.gone.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The cheap checks on a first flight, before any Diffie-Hellman.
    fn check(&self, preface: &Preface, pattern: Pattern) -> Result<(), Refused> {
        if pattern.needs_remote_static(Role::Initiator) && preface.hint != self.hint {
            return Err(Refused {
                code: CloseCode::UnknownIdentity,
                text: "this server does not hold the key that you named".to_owned(),
            });
        }
        lock(&self.replay).check(unix_now(), preface.time, &preface.nonce).map_err(Refused::from)
    }

    /// The one test-and-set of a first flight's nonce, once its sender is known and welcome.
    fn remember(&self, preface: &Preface) -> Result<(), Refused> {
        lock(&self.replay).admit(unix_now(), preface.time, &preface.nonce).map_err(Refused::from)
    }
}

struct Refused {
    code: CloseCode,
    text: String,
}

impl From<ReplayError> for Refused {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Skew { .. } | ReplayError::ClockSetBack { .. } => CloseCode::ClockSkew,
            ReplayError::Full => CloseCode::ReplayGuardFull,
            _ => CloseCode::Replay,
        };
        Self { code, text: error.to_string() }
    }
}

/// Decides on clients: limits and replay first, then the policy.
struct ClientJudge<'a> {
    shared: &'a Shared,
    preface: Option<Preface>,
    slot: &'a mut Option<OwnedSemaphorePermit>,
}

impl Judge for ClientJudge<'_> {
    fn first_flight(&mut self, handshake: &mut Handshake, preface: &Preface) -> Result<(), Misuse> {
        let pattern = Pattern::from_wire(preface.pattern).ok_or(Misuse::State("the pattern was not offered"))?;
        if let Err(Refused { code, text }) = self.shared.check(preface, pattern) {
            handshake.refuse(code, &text, &text);
            return Ok(());
        }
        self.preface = Some(preface.clone());
        let Ok(ephemeral) = entropy::random_secret_key() else {
            handshake.refuse(CloseCode::Internal, "", "the operating system gave no randomness");
            return Ok(());
        };
        let local = Some(&self.shared.config.identity);
        handshake.proceed(ResponderKeys { local, client_key: None, psk: None, ephemeral })
    }

    fn peer(&mut self, handshake: &mut Handshake, peer: &PeerIdentity) -> Result<(), Misuse> {
        if let Decision::Refuse { reason } = self.shared.config.policy.decide(peer) {
            handshake.refuse(CloseCode::NotAllowed, "this key is not allowed here", &reason);
            return Ok(());
        }
        if let Some(Err(Refused { code, text })) = self.preface.as_ref().map(|preface| self.shared.remember(preface)) {
            handshake.refuse(code, &text, &text);
            return Ok(());
        }
        let Ok(permit) = Arc::clone(&self.shared.connections).try_acquire_owned() else {
            let limit = self.shared.config.max_connections;
            tracing::warn!(target: "np::audit", %peer, limit, "refused: limit max_connections reached");
            let text = "limit max_connections reached; try again later, or another server";
            handshake.refuse(CloseCode::ConnectionLimit, text, text);
            return Ok(());
        };
        *self.slot = Some(permit);
        handshake.admit()
    }
}
