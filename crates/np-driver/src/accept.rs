//! The acceptor: listeners, admission, handshakes, and the connections that came of them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use np_dispatch::BoxFuture;
use np_noise::ReplayGuard;
use np_session::{Event, Handshake, Outer, ResponderConfig, Side};
use np_transport::{Incoming, Io, Link, Listener, PeerLabel, SecurityMode, TlsInfo, TransportError};
use np_types::{CloseCode, LocalPeer, Metadata, PeerIdentity, Status};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use crate::alarm::{Alarm, Pacemaker};
use crate::audit::{Audit, Kind};
use crate::call_limits::CallLimits;
use crate::clock::{Clock, after};
use crate::compression::Contexts;
use crate::connection::{Connection, ConnectionInfo};
use crate::entropy;
use crate::establish::{Establish, Established};
use crate::farewell::{farewell, parting_word};
use crate::half_open::{Entered, HalfOpen, Place};
use crate::memory::Memory;
use crate::once::OnceCalls;
use crate::sources::{FromSource, SourceLimit, Sources};
use crate::task;
use crate::telemetry::result_of;

mod config;
mod judge;
mod live;
mod places;
mod reconfigure;
mod roster;
mod status;

pub use config::{AcceptorConfig, AcceptorError};
use judge::ClientJudge;
pub use live::Roster;
use live::{Live, Registered};
use places::{Places, Slot};
use reconfigure::Settings;
pub use status::{OnceStatus, ServerStatus, StatusSource};

/// How long an accept loop waits after the system was short of something.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// How far a client's clock may be from ours, and how long its nonce is remembered.
const REPLAY_WINDOW: Duration = Duration::from_secs(5);
/// Peers beyond `max_handshakes` that are told so and listened to for a while; those beyond these are told alone.
const MAX_REFUSALS: usize = 256;
/// What a peer is told that finds every place taken.
const FULL: &str = "limit max_connections reached; try again later, or another server";
/// How long a handshake that is half-way in when a drain begins may go on.
const LAST_HANDSHAKES: Duration = Duration::from_secs(1);

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
    /// What counts for handshakes from now on.
    settings: Mutex<Arc<Settings>>,
    clock: Clock,
    audit: Arc<Audit>,
    replay: Mutex<ReplayGuard>,
    contexts: Arc<Contexts>,
    calls: CallLimits,
    memory: Arc<Memory>,
    sources: Arc<Sources>,
    once: Option<Arc<OnceCalls>>,
    connections: Arc<Places>,
    half_open: Arc<HalfOpen>,
    /// Peers that are being told that there are too many handshakes.
    refusals: Semaphore,
    live: Mutex<Live>,
    /// When what is left is ended, once a drain has begun.
    drained_by: watch::Sender<Option<Instant>>,
}

impl Acceptor {
    /// Checks the configuration and makes an acceptor without listeners.
    ///
    /// # Errors
    /// When a setting is out of its range; the error names it.
    pub fn new(config: AcceptorConfig) -> Result<Self, AcceptorError> {
        config.validate()?;
        let replay = Mutex::new(ReplayGuard::new(config.replay_capacity, REPLAY_WINDOW, entropy::nonce()?)?);
        let clock = Clock::start();
        let audit = Arc::new(Audit::new(config.telemetry.clone().with_hits(), clock));
        let once =
            config.exactly_once.map(|settings| OnceCalls::new(settings, clock, Arc::clone(&audit))).transpose()?;
        let shared = Shared {
            once,
            audit,
            connections: Places::new(config.max_connections),
            half_open: HalfOpen::new(config.max_handshakes),
            refusals: Semaphore::new(MAX_REFUSALS),
            contexts: Contexts::new(config.compression)?,
            memory: Memory::new(config.max_memory),
            calls: CallLimits::new(config.max_server_calls, config.max_identity_calls, config.when_full),
            sources: Sources::new(config.max_source_connections, config.max_source_handshakes_per_second),
            settings: Mutex::new(Arc::new(Settings::new(config))),
            clock,
            replay,
            live: Mutex::default(),
            drained_by: watch::Sender::default(),
        };
        shared.calls.set_per_second(shared.settings().config.max_peer_calls_per_second);
        Ok(Self { shared: Arc::new(shared), loops: JoinSet::new(), stop: watch::Sender::new(false) })
    }

    /// Accepts from one more listener, on the current runtime.
    ///
    /// A listener that breaks for good is given up with an error in the audit log; its connections, and the other
    /// listeners, go on.
    ///
    /// # Errors
    /// When its mode asks for a key of this side, and the configuration holds none.
    pub fn listen(&mut self, listener: Listener) -> Result<(), AcceptorError> {
        if self.shared.settings().config.identities.is_empty() && listener.local_address().mode().uses_keys() {
            return Err(AcceptorError::Identities("clients of this address ask for a key: add an identity"));
        }
        self.loops.spawn(Arc::clone(&self.shared).accept_all(listener, self.stop.subscribe()));
        Ok(())
    }

    /// The connections that are open now.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        self.roster().connections()
    }

    /// A view of the connections that works while the acceptor drains. It keeps nothing open.
    #[must_use]
    pub fn roster(&self) -> Roster {
        Roster(Arc::clone(&self.shared))
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // They outlive connections, and not the acceptor.
        if let Some(once) = &self.shared.once {
            once.stop();
        }
    }
}

/// Where links come from.
trait Source: Send + Sync {
    fn next(&self) -> impl Future<Output = Result<Incoming, TransportError>> + Send;
}

impl Source for Listener {
    fn next(&self) -> impl Future<Output = Result<Incoming, TransportError>> + Send {
        self.accept_incoming()
    }
}

impl Shared {
    /// Serves what comes from one source, until a drain begins or the source is of no further use.
    async fn accept_all(self: Arc<Self>, source: impl Source, mut stop: watch::Receiver<bool>) {
        let (mut tasks, mut pace) = (JoinSet::new(), Pacemaker::default());
        while !*stop.borrow() {
            tokio::select! {
                accepted = source.next() => match accepted {
                    Ok(link) => {
                        pace.accepted();
                        tasks.spawn(Arc::clone(&self).serve(link, stop.clone()));
                    }
                    Err(error) if error.is_transient() => {
                        if let Some(suppressed) = self.audit.admit(Kind::Accept) {
                            tracing::warn!(target: "np::audit", %error, suppressed, "accept failed; trying again");
                        }
                        sleep(SHORTAGE_PAUSE).await;
                    }
                    Err(error) => {
                        let address = error.address();
                        tracing::error!(target: "np::audit", address, %error, "stopped listening for good");
                        break;
                    }
                },
                Some(_) = tasks.join_next() => {}
                () = pace.beat() => {}
                _ = stop.changed() => {}
            }
        }
        // The place is free for a successor while the open connections finish.
        drop(source);
        while tasks.join_next().await.is_some() {}
    }

    /// Tells a peer that has no place among the handshakes; in the middle of one there is nothing to say in clear.
    async fn turn_away(&self, io: Box<dyn Io>, peer: &str, in_clear: bool) {
        self.audit_evicted(peer);
        if in_clear {
            self.say_in_clear(io, CloseCode::HandshakeLimit, "limit max_handshakes reached; try again later").await;
        }
    }

    /// A refusal to a peer that message 2 has not been sent to.
    async fn say_in_clear(&self, mut io: Box<dyn Io>, code: CloseCode, text: &str) {
        let mut handshake = Handshake::responder(&ResponderConfig::new(Vec::new()));
        handshake.refuse(code, text, text);
        let mut out = Vec::new();
        handshake.poll_transmit(&mut out);
        match self.refusals.try_acquire() {
            Ok(_permit) => farewell(&mut io, &out).await,
            Err(_) => parting_word(&mut io, &out).await,
        }
    }

    /// Tells a peer that others have taken the last place since its handshake was let on.
    async fn send_away(&self, mut io: Box<dyn Io>, established: Box<Established>) {
        let Established { mut session, peer, .. } = *established;
        self.audit_full(&peer);
        self.audit.telemetry.shaken(Side::Responder, "refused", None);
        // A call that came with the handshake is not acted on, and may be made elsewhere.
        while let Some(event) = session.poll_event() {
            if let Event::Opened { key, .. } = event {
                let _ = session.end(key, Status::Unavailable, FULL, Metadata::new());
            }
        }
        session.close(CloseCode::ConnectionLimit, FULL);
        let mut out = Vec::new();
        session.poll_transmit(self.clock.now(), &mut out);
        farewell(&mut io, &out).await;
    }

    /// As [`Self::turn_away`], of somebody of whom nothing was read. Where TLS would have to come first the peer is cut
    /// without a word: a handshake is what there is no room for.
    async fn turn_away_unheard(&self, incoming: Incoming) {
        let peer = incoming.label().text.clone();
        match incoming.try_into_link() {
            Ok(link) => self.turn_away(link.io, &peer, true).await,
            Err(_) => self.audit_evicted(&peer),
        }
    }

    fn enter_source(&self, label: &PeerLabel) -> Result<Option<FromSource>, SourceLimit> {
        self.sources.enter(label.ip, self.clock.now())
    }

    /// Tells a peer whose source has had its share; as [`Self::turn_away_unheard`], without a word inside TLS.
    async fn turn_source_away(&self, incoming: Incoming, limit: SourceLimit) {
        let peer = incoming.label().text.clone();
        match incoming.try_into_link() {
            Ok(link) => self.tell_source(link.io, &peer, limit).await,
            Err(_) => self.audit_source(&peer, limit),
        }
    }

    async fn tell_source(&self, io: Box<dyn Io>, peer: &str, limit: SourceLimit) {
        self.audit_source(peer, limit);
        let code = match limit.setting {
            "max_source_connections" => CloseCode::ConnectionLimit,
            _ => CloseCode::HandshakeLimit,
        };
        let text = format!("limit {} reached by your address; try again later", limit.setting);
        self.say_in_clear(io, code, &text).await;
    }

    /// What comes before np: the header of a proxy, the handshake of an outer channel.
    async fn secure(
        &self,
        incoming: Incoming,
        until: Instant,
        (place, evicted): (&Place, &mut oneshot::Receiver<()>),
        stop: watch::Receiver<bool>,
    ) -> Option<Link> {
        let peer = incoming.label().text.clone();
        let secured = tokio::select! {
            secured = timeout_at(until, incoming.into_link_hearing(|| place.greeted())) => secured,
            Ok(()) = evicted => {
                self.audit_evicted(&peer);
                return None;
            }
            () = overstayed(stop) => return None,
        };
        match secured {
            Ok(Ok(link)) => Some(link),
            Ok(Err(error)) => {
                self.audit.no_link(&peer, "failed", &format_args!("{}: {error}", outer_step(&error)));
                None
            }
            Err(_) => {
                self.audit.telemetry.refused("handshake_timeout");
                let why = "a PROXY header or a TLS handshake: it took longer than handshake_timeout";
                self.audit.no_link(&peer, "timeout", &why);
                None
            }
        }
    }

    /// The handshake that a link's mode asks for.
    fn responder(&self, link: &Link, settings: &Settings) -> Handshake {
        let AcceptorConfig { patterns, suites, provider, .. } = &settings.config;
        let suites = link.suite.map_or_else(|| suites.clone(), |suite| vec![suite]);
        let config = ResponderConfig { patterns: patterns.clone(), suites, provider: *provider };
        match link.mode {
            SecurityMode::Noise => Handshake::responder(&config),
            SecurityMode::TlsNoise => Handshake::responder_bound(&config, link.channel_binding),
            _ => Handshake::responder_inside(Outer { peer: link.identity.clone(), binding: link.channel_binding }),
        }
    }

    fn audit_evicted(&self, peer: &str) {
        self.audit.turned_away(Kind::Handshakes, peer, "max_handshakes", self.half_open.max() as u64);
    }

    fn audit_source(&self, peer: &str, limit: SourceLimit) {
        self.audit.turned_away(Kind::Source, peer, limit.setting, limit.allowed);
    }

    fn audit_full(&self, peer: &PeerIdentity) {
        let limit = self.connections.most();
        self.audit.telemetry.refused("max_connections");
        if let Some(suppressed) = self.audit.admit(Kind::Connections) {
            tracing::warn!(target: "np::audit", %peer, limit, suppressed, "refused: limit max_connections reached");
        }
    }

    /// Serves a link to its end.
    fn serve(self: Arc<Self>, incoming: Incoming, stop: watch::Receiver<bool>) -> Serving {
        // Its place is taken as it comes, and not when its task first runs: tasks begin in any order. One whose source has
        // had its share takes nobody else's.
        let source = if incoming.is_proxied() { Ok(None) } else { self.enter_source(incoming.label()) };
        let admitted = source.map(|source| (source, self.half_open.enter()));
        // Each part in its own box: a stranger costs no room for what may come after the handshake, and a connection that
        // lasts holds none for what came before.
        Serving::Handshake(match admitted {
            Ok(places) => Box::pin(async move {
                let met = self.meet(incoming, places, stop).await?;
                Some(self.attend(met))
            }),
            Err(limit) => Box::pin(async move {
                self.turn_source_away(incoming, limit).await;
                None
            }),
        })
    }

    /// The handshake, up to a peer that has shown that it holds the keys, and has a place.
    async fn meet(
        &self,
        incoming: Incoming,
        (source, entered): (Option<FromSource>, Option<Entered>),
        stop: watch::Receiver<bool>,
    ) -> Option<Box<Met>> {
        let proxied = incoming.is_proxied();
        let settings = self.settings();
        let began = Instant::now();
        let until = after(began, settings.config.handshake_timeout);
        let Some((place, mut evicted)) = entered else {
            Box::pin(self.turn_away_unheard(incoming)).await;
            return None;
        };
        let link = match incoming.try_into_link() {
            Ok(link) => link,
            // In its own box: most links have no such handshake.
            Err(incoming) => Box::pin(self.secure(*incoming, until, (&place, &mut evicted), stop.clone())).await?,
        };
        let source = if proxied { self.enter_source(&link.peer) } else { Ok(source) };
        let source = match source {
            Ok(source) => source,
            Err(limit) => {
                Box::pin(self.tell_source(link.io, &link.peer.text, limit)).await;
                return None;
            }
        };
        let handshake = self.responder(&link, &settings);
        let inside = !link.mode.uses_keys();
        let Link { mut io, peer: label, local, tls, .. } = link;
        let judge = ClientJudge {
            shared: self,
            settings: &settings,
            place: &place,
            inside,
            preface: None,
            psk: None,
            lingers: None,
        };
        let limits = Arc::clone(&settings.limits);
        let key_log = settings.config.key_log.as_ref();
        let mut alarm = Alarm::default();
        let establish = Establish {
            io: &mut io,
            judge,
            limits,
            clock: self.clock,
            until,
            alarm: &mut alarm,
            early: false,
            key_log,
        };
        let established = tokio::select! {
            established = establish.run(handshake) => established,
            Ok(()) = evicted => {
                Box::pin(self.turn_away(io, &label.text, place.is_silent())).await;
                return None;
            }
            () = overstayed(stop) => {
                if place.is_silent() {
                    Box::pin(self.say_in_clear(io, CloseCode::Drained, "this server shuts down; try another")).await;
                }
                return None;
            }
        };
        let established = match established {
            Ok(established) => established,
            Err(error) => {
                self.audit.no_connection(&label.text, &error, began);
                return None;
            }
        };
        // Only now is the peer known to be there, and not a copy of what it once sent.
        let Some(slot) = self.connections.try_take() else {
            Box::pin(self.send_away(io, established)).await;
            return None;
        };
        self.audit.telemetry.shaken(Side::Responder, result_of(Ok(())), Some(began.elapsed()));
        Some(Box::new(Met { established, io, alarm, address: label.text, local, tls, slot, source, settings }))
    }

    /// The connection, to its end. Begun outside its future, which then holds nothing of how it came about.
    #[expect(clippy::boxed_local, reason = "whoever waits for it keeps room for a box and not for all that")]
    fn attend(self: &Arc<Self>, met: Box<Met>) -> Attended {
        let Met { established, io, alarm, address, local, tls, slot, source, settings } = *met;
        let config = &settings.config;
        let info = ConnectionInfo {
            clock: self.clock,
            peer: established.peer.clone(),
            address: address.into(),
            local: local.map(Box::new),
            tls: tls.map(Box::new),
            binding: *established.session.binding(),
            bodies: established.bodies(Arc::clone(&self.contexts), &config.limits),
            places: self.calls.of(&established.peer, self.clock.now()),
            once: self.once.clone(),
            progress_timeout: config.progress_timeout,
            max_message: config.limits.max_message,
            reassembly_budget: config.limits.reassembly_budget,
            audit: Arc::clone(&self.audit),
        };
        if let Some(suppressed) = self.audit.admit(Kind::Connected) {
            let address = &*info.address;
            tracing::info!(target: "np::audit", peer = %info.peer, address, suppressed, "connected");
        }
        let share = self.memory.share();
        let (connection, task) =
            task::start(established, (io, alarm), info, &config.lifetime, share, config.router.clone());
        let registered = self.register(&connection, &settings);
        drop(settings);
        let about = Arc::clone(connection.info());
        drop(connection);
        Attended { task, about, _registered: registered, _slot: slot, _source: source }
    }
}

/// The task of a link: a handshake, which is over, or a connection. There are as many as connections, so that it is no
/// `async` block: that would have room for its parts twice.
enum Serving {
    Handshake(BoxFuture<Option<Attended>>),
    Connection(Attended),
    Over,
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Handshake(handshake) = &mut *self {
            let met = ready!(handshake.as_mut().poll(cx));
            *self = met.map_or(Self::Over, Self::Connection);
        }
        if let Self::Connection(connection) = &mut *self {
            ready!(Pin::new(connection).poll(cx));
            *self = Self::Over;
        }
        Poll::Ready(())
    }
}

/// A connection that stands: its task, and what it holds of the acceptor until its end.
struct Attended {
    task: task::Running,
    about: Arc<ConnectionInfo>,
    _registered: Registered,
    _slot: Slot,
    _source: Option<FromSource>,
}

impl Future for Attended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let error = ready!(Pin::new(&mut self.task).poll(cx));
        let about = &self.about;
        if let Some(suppressed) = about.audit.admit(Kind::Disconnected) {
            let address = &*about.address;
            tracing::info!(target: "np::audit", peer = %about.peer, address, %error, suppressed, "disconnected");
        }
        Poll::Ready(())
    }
}

/// What has failed of that which comes before np.
const fn outer_step(error: &TransportError) -> &'static str {
    match error {
        TransportError::Tls { .. } => "a TLS handshake",
        _ => "a PROXY header",
    }
}

/// A peer that is known and has a place among the connections.
struct Met {
    established: Box<Established>,
    io: Box<dyn Io>,
    alarm: Alarm,
    address: String,
    local: Option<LocalPeer>,
    tls: Option<TlsInfo>,
    slot: Slot,
    source: Option<FromSource>,
    /// What was in force when its handshake began.
    settings: Arc<Settings>,
}

/// Ends some time after a drain began.
async fn overstayed(mut stop: watch::Receiver<bool>) {
    // An error means that the acceptor is gone, and this task with it.
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(LAST_HANDSHAKES).await;
}

#[cfg(test)]
mod tests;
