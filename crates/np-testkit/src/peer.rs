//! One end of a connection: what a driver does, without sockets and clocks.

use std::fmt;
use std::sync::OnceLock;

use bytes::BytesMut;
use np_noise::{Crypto, Keypair, Pattern, Provider, Role, RustCrypto, Suite};
use np_session::{
    Event, Handshake, HandshakeEvent, InitiatorConfig, ResponderConfig, ResponderKeys, Session, Side, StreamKey,
    client_key,
};
use np_types::{CloseCode, ConnectionError, Limits, PeerIdentity, Psk, PublicKey, SecretKey, Time, UnixMillis};

use crate::{Rng, Setup};

/// What runs on top of a session.
pub trait Application {
    /// Something happened.
    fn on_event(&mut self, now: Time, session: &mut Session, event: Event);

    /// When [`Application::on_time`] is to be called next.
    fn due(&self) -> Option<Time> {
        None
    }

    /// A time of [`Application::due`] was reached.
    fn on_time(&mut self, _now: Time, _session: &mut Session) {}
}

/// Keeps every event, and does nothing else.
///
/// ```
/// assert!(np_testkit::Recorder::default().events.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The calls and streams that the peer opened.
    pub opened: Vec<StreamKey>,
}

impl Application for Recorder {
    fn on_event(&mut self, _now: Time, _session: &mut Session, event: Event) {
        if let Event::Opened { key, .. } = &event {
            self.opened.push(*key);
        }
        self.events.push(event);
    }
}

/// When a peer refuses the other, and with which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuse {
    /// Never.
    No,
    /// The first flight, in clear.
    Preface(CloseCode),
    /// The proven identity.
    Peer(CloseCode),
}

/// What a peer is.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Its limits.
    pub limits: Limits,
    /// Who computes for it, and the suite that an initiator asks for.
    pub crypto: Crypto,
    /// The suites that a responder takes.
    pub suites: Vec<Suite>,
    /// The handshake pattern that an initiator uses.
    pub pattern: Pattern,
    /// The patterns that a responder takes.
    pub patterns: Vec<Pattern>,
    /// Whom it refuses.
    pub refuse: Refuse,
    /// The key that an initiator takes its server to have.
    pub server: PublicKey,
    /// The pre-shared key that it holds, for patterns that take one.
    pub psk: Psk,
    /// The id that an initiator names its pre-shared key by; a responder looks by the client's key where it is empty.
    pub psk_id: Vec<u8>,
    /// Whether it takes bytes from the handshake at once, or leaves the last of them to the session.
    pub eager: bool,
}

/// The key pair of a side in every test.
#[must_use]
pub fn keypair(side: Side) -> Keypair {
    static PAIRS: OnceLock<[Keypair; 2]> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| [0x11, 0x22].map(|byte| Keypair::from_secret(SecretKey::from_bytes([byte; 32]))));
    pairs[side as usize].clone()
}

/// The same, computed by a provider.
fn keypair_by(provider: &dyn Provider, side: Side) -> Keypair {
    if provider.name() == RustCrypto.name() {
        return keypair(side);
    }
    Keypair::new(provider, &SecretKey::from_bytes([[0x11, 0x22][side as usize]; 32]))
}

/// How far a peer has come.
#[derive(Debug)]
pub enum Stage {
    /// The handshake goes on.
    Shaking(Handshake),
    /// The session stands, or has ended.
    Running(Box<Session>),
    /// The handshake failed.
    Failed(ConnectionError),
}

/// One end of a connection.
pub struct Peer<A> {
    /// Its side.
    pub side: Side,
    /// How far it has come.
    pub stage: Stage,
    /// What runs on it.
    pub app: A,
    /// Bytes that wait for the transport.
    pub out: Vec<u8>,
    /// Bytes that make no whole record yet.
    pub input: BytesMut,
    /// Whom the other side proved to be.
    pub remote: Option<PeerIdentity>,
    config: PeerConfig,
    keys: Keypair,
    ephemeral: SecretKey,
    /// Bytes at the front of `out` that the handshake gave and the session does not count.
    uncounted: usize,
    /// How often its session was folded up and woken again.
    pub rests: u64,
    /// How often nothing was left to do.
    quiet: u64,
    /// Whether nothing may be sent any more.
    dead: bool,
    ended: bool,
}

impl<A: Application> Peer<A> {
    /// A peer at the start of its handshake.
    #[must_use]
    pub fn new(side: Side, config: PeerConfig, app: A, rng: &mut Rng) -> Self {
        let (keys, ephemeral) = (keypair_by(config.crypto.provider, side), SecretKey::from_bytes(rng.bytes32()));
        let pattern = config.pattern;
        let handshake = match side {
            Side::Initiator => Handshake::initiator(InitiatorConfig {
                crypto: config.crypto,
                pattern,
                local: pattern.needs_local_static(Role::Initiator).then_some(&keys),
                server_key: pattern.needs_remote_static_up_front().then_some(config.server),
                psk: pattern.needs_psk().then_some(&config.psk),
                psk_id: if pattern.needs_psk() { &config.psk_id } else { &[] },
                time: UnixMillis(1_800_000_000_000),
                nonce: rng.bytes32()[..16].try_into().expect("16 of 32 bytes"),
                ephemeral: ephemeral.clone(),
            })
            .expect("the keys are those of the pattern"),
            Side::Responder => Handshake::responder(&ResponderConfig {
                patterns: config.patterns.clone(),
                suites: config.suites.clone(),
                provider: config.crypto.provider,
            }),
        };
        Self {
            side,
            stage: Stage::Shaking(handshake),
            app,
            out: Vec::new(),
            input: BytesMut::new(),
            remote: None,
            config,
            keys,
            ephemeral,
            uncounted: 0,
            rests: 0,
            quiet: 0,
            dead: false,
            ended: false,
        }
    }

    /// A peer over a session that stands already.
    #[must_use]
    pub fn over(session: Session, app: A) -> Self {
        let setup = Setup::default();
        let config = PeerConfig {
            limits: setup.limits[0].clone(),
            crypto: Crypto::default(),
            suites: Vec::new(),
            pattern: setup.pattern,
            patterns: Vec::new(),
            refuse: Refuse::No,
            server: setup.server,
            psk: setup.psks[0].clone(),
            psk_id: Vec::new(),
            eager: false,
        };
        let side = session.side();
        let stage = Stage::Running(Box::new(session));
        // A responder computes nothing before it is spoken to.
        Self { side, stage, ..Self::new(Side::Responder, config, app, &mut Rng::new(0)) }
    }

    /// The session, once the handshake is done.
    ///
    /// # Panics
    /// Before that.
    pub fn session(&mut self) -> &mut Session {
        match &mut self.stage {
            Stage::Running(session) => session,
            other => panic!("{:?} has no session: {other:?}", self.side),
        }
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn error(&self) -> Option<&ConnectionError> {
        match &self.stage {
            Stage::Shaking(_) => None,
            Stage::Running(session) => session.error(),
            Stage::Failed(error) => Some(error),
        }
    }

    /// Bytes came.
    pub fn receive(&mut self, now: Time, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if let Stage::Running(session) = &mut self.stage {
            session.handle_bytes(now, &mut self.input);
            self.drop_output_if_closed();
        }
    }

    /// The other side wrote its last byte, or the transport failed with `error`.
    pub fn end(&mut self, error: Option<ConnectionError>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match (&mut self.stage, error) {
            (Stage::Shaking(handshake), _) => handshake.handle_eof(),
            (Stage::Running(session), None) => session.handle_eof(),
            (Stage::Running(session), Some(error)) => session.handle_lost(error),
            (Stage::Failed(_), _) => {}
        }
        self.drop_output_if_closed();
    }

    /// A session that was ended from outside sends nothing more, not even what stands in the buffer.
    fn drop_output_if_closed(&mut self) {
        if let Stage::Running(session) = &self.stage
            && session.is_closed()
            && !self.dead
        {
            self.dead = true;
            self.out.clear();
        }
    }

    /// The transport took `count` bytes of [`Peer::out`].
    pub fn wrote(&mut self, count: usize) {
        self.out.drain(..count);
        let handshake = count.min(self.uncounted);
        self.uncounted -= handshake;
        if let Stage::Running(session) = &mut self.stage {
            session.handle_written(count - handshake);
        }
    }

    /// Does what can be done at `now`; gives whether there was anything.
    pub fn advance(&mut self, now: Time) -> bool {
        if matches!(self.stage, Stage::Shaking(_)) {
            return self.shake(now);
        }
        let Stage::Running(session) = &mut self.stage else {
            return false;
        };
        let mut any = false;
        if session.poll_timeout().is_some_and(|at| at <= now) {
            session.handle_timeout(now);
            assert!(session.poll_timeout().is_none_or(|at| at > now), "a timeout that stays due");
            if session.was_lost() && !std::mem::replace(&mut self.dead, true) {
                self.out.clear();
            }
            any = true;
        }
        if self.app.due().is_some_and(|at| at <= now) {
            self.app.on_time(now, session);
            any = true;
        }
        any |= drain(now, session, &mut self.app);
        let was_closed = session.is_closed();
        any |= session.poll_transmit(now, &mut self.out);
        if !was_closed && session.is_closed() {
            // Its CLOSE is in the buffer and must leave.
            self.dead = true;
        }
        any |= drain(now, session, &mut self.app);
        if !any {
            self.quiet += 1;
            // Seldom at last: where bytes come one by one there are thousands of times.
            if self.quiet.is_power_of_two() {
                self.rests += u64::from(rest(now, session));
            }
        }
        any
    }

    fn shake(&mut self, now: Time) -> bool {
        let Stage::Shaking(handshake) = &mut self.stage else {
            return false;
        };
        handshake.handle_bytes(&mut self.input);
        let (mut any, mut done) = (false, false);
        while let Some(event) = handshake.poll_event() {
            any = true;
            match event {
                HandshakeEvent::Preface(preface) => match self.config.refuse {
                    Refuse::Preface(code) => handshake.refuse(code, "not now", "a test refuses"),
                    _ => {
                        let pattern = Pattern::from_wire(preface.pattern).expect("it was offered");
                        let by_id = pattern.needs_psk() && !preface.key_id.is_empty();
                        let keys = ResponderKeys {
                            local: pattern.needs_local_static(Role::Responder).then_some(&self.keys),
                            client_key: client_key(&preface),
                            psk: by_id.then_some(&self.config.psk),
                            ephemeral: self.ephemeral.clone(),
                        };
                        handshake.proceed(keys).expect("a preface waits");
                    }
                },
                HandshakeEvent::Psk(_) => handshake.provide_psk(&self.config.psk).expect("a client waits"),
                HandshakeEvent::Peer(identity) => {
                    let proves_key = self.config.pattern.authenticates_responder();
                    let wrong = self.side == Side::Initiator
                        && proves_key
                        && identity.public_key() != Some(&self.config.server);
                    self.remote = Some(identity);
                    match self.config.refuse {
                        Refuse::Peer(code) => handshake.refuse(code, "not welcome", "a test refuses"),
                        _ if wrong => handshake.refuse(CloseCode::NotAllowed, "", "another server key"),
                        _ => handshake.admit().expect("a peer waits"),
                    }
                }
                HandshakeEvent::Done => done = true,
                HandshakeEvent::Failed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        self.leave_handshake(now, done) || any
    }

    fn leave_handshake(&mut self, now: Time, done: bool) -> bool {
        let Stage::Shaking(handshake) = &mut self.stage else {
            return false;
        };
        let before = self.out.len();
        if !done || self.config.eager {
            handshake.poll_transmit(&mut self.out);
        }
        self.uncounted += self.out.len() - before;
        if let Some(error) = handshake.error() {
            self.stage = Stage::Failed(error.clone());
            self.dead = true;
            return true;
        }
        if !done {
            return self.out.len() > before;
        }
        let idle = Stage::Failed(ConnectionError::ClosedHere(CloseCode::Internal));
        if let Stage::Shaking(handshake) = std::mem::replace(&mut self.stage, idle) {
            let mut session = handshake.into_session(self.config.limits.clone(), now).expect("it is done");
            session.handle_bytes(now, &mut self.input);
            self.stage = Stage::Running(Box::new(session));
        }
        true
    }

    /// When [`Peer::advance`] has something to do next.
    pub fn due(&self) -> Option<Time> {
        match &self.stage {
            Stage::Running(session) => [session.poll_timeout(), self.app.due()].into_iter().flatten().min(),
            _ => None,
        }
    }

    /// Whether it has nothing more to send, ever.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.dead && self.out.is_empty()
    }
}

/// Folds a session up where nothing moves on it, and wakes it: not a field is another than before. Gives whether it was.
fn rest(now: Time, session: &mut Session) -> bool {
    session.rest(now);
    let before = format!("{session:?}");
    let Some(resting) = session.put_to_rest(now) else {
        return false;
    };
    *session = resting.wake();
    assert_eq!(format!("{session:?}"), before, "a session that rested is as it was");
    true
}

fn drain<A: Application>(now: Time, session: &mut Session, app: &mut A) -> bool {
    let mut any = false;
    while let Some(event) = session.poll_event() {
        app.on_event(now, session, event);
        any = true;
    }
    any
}

impl<A: fmt::Debug> fmt::Debug for Peer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("side", &self.side).field("app", &self.app).finish_non_exhaustive()
    }
}
