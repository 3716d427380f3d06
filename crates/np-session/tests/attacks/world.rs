//! The world that is attacked: clients and servers of every pattern, and the wire between them in the attacker's hands.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use np_noise::{Crypto, Keypair, Pattern, ReplayError, ReplayGuard, Role, Suite};
use np_session::{
    Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind, Preface, ResponderConfig, ResponderKeys,
    Session, Side, client_key, server_hint,
};
use np_testkit::Rng;
use np_types::{
    Blame, CloseCode, ConnectionError, Limits, Misbehaved, PeerIdentity, Psk, PublicKey, SecretKey, Time, UnixMillis,
};
use np_wire::{HandshakeFrame, decode_handshake_frame, encode_handshake_message};

/// The wall clock of everybody.
pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
/// The id under which servers know the one psk. They know it by the client's key too.
pub(crate) const PSK_ID: &[u8] = b"known";

pub(crate) const CLIENT: [u8; 32] = [0x11; 32];
pub(crate) const SERVER: [u8; 32] = [0x22; 32];
pub(crate) const ATTACKER: [u8; 32] = [0x66; 32];
pub(crate) const PSK: [u8; 32] = [0x50; 32];

pub(crate) fn pair(secret: [u8; 32]) -> Keypair {
    Keypair::from_secret(SecretKey::from_bytes(secret))
}

/// The patterns in which the server proves a static key.
pub(crate) fn proving_server() -> impl Iterator<Item = Pattern> {
    Pattern::ALL.into_iter().filter(|pattern| pattern.authenticates_responder())
}

/// The patterns in which the client proves a static key.
pub(crate) fn proving_client() -> impl Iterator<Item = Pattern> {
    Pattern::ALL.into_iter().filter(|pattern| pattern.authenticates_initiator())
}

/// The patterns in which somebody proves something.
pub(crate) fn proving() -> impl Iterator<Item = Pattern> {
    Pattern::ALL.into_iter().filter(|pattern| *pattern != Pattern::DangerNN)
}

/// The patterns in which a client stays a stranger.
pub(crate) const fn is_anonymous(pattern: Pattern) -> bool {
    matches!(pattern, Pattern::NK | Pattern::DangerNN)
}

/// A client before its first flight. Change what a test is about.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) pattern: Pattern,
    pub(crate) own: Keypair,
    /// The server keys that it accepts; message 1 is made for the first.
    pub(crate) accepts: Vec<PublicKey>,
    pub(crate) psk: [u8; 32],
    pub(crate) psk_id: Vec<u8>,
    pub(crate) suite: Suite,
    pub(crate) time: UnixMillis,
    /// Everything random about this connection.
    pub(crate) seed: u64,
}

impl Client {
    /// The allowed client. Where a server can find the psk by its key, the client names no id.
    pub(crate) fn new(pattern: Pattern) -> Self {
        let needs_id = pattern.needs_psk() && !pattern.takes_psk_late(Role::Responder);
        Self {
            pattern,
            own: pair(CLIENT),
            accepts: vec![pair(SERVER).public()],
            psk: PSK,
            psk_id: if needs_id { PSK_ID.to_vec() } else { Vec::new() },
            suite: Suite::default(),
            time: NOW,
            seed: 1,
        }
    }

    /// The allowed client in both ways in which a pattern may name its psk.
    pub(crate) fn both(pattern: Pattern) -> Vec<Self> {
        let named = Self { psk_id: PSK_ID.to_vec(), ..Self::new(pattern) };
        if pattern.takes_psk_late(Role::Responder) { vec![Self::new(pattern), named] } else { vec![Self::new(pattern)] }
    }

    /// Makes the client; its first flight waits to be sent.
    pub(crate) fn start(self) -> End {
        let mut rng = Rng::new(self.seed);
        let psk = Psk::from_bytes(self.psk);
        let handshake = Handshake::initiator(InitiatorConfig {
            crypto: Crypto { suite: self.suite, ..Crypto::default() },
            pattern: self.pattern,
            local: self.pattern.needs_local_static(Role::Initiator).then_some(&self.own),
            server_key: self.accepts.first().copied().filter(|_| self.pattern.needs_remote_static(Role::Initiator)),
            psk: self.pattern.needs_psk().then_some(&psk),
            psk_id: &self.psk_id,
            time: self.time,
            nonce: rng.bytes32()[..16].try_into().unwrap(),
            ephemeral: SecretKey::from_bytes(rng.bytes32()),
        });
        End::new(Side::Initiator, handshake.unwrap(), Judge::Client(self.accepts))
    }
}

/// A server that connections are made to. Clones share the replay guard: they are connections of one process.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) identities: Vec<[u8; 32]>,
    /// The client keys that are let in.
    pub(crate) allowed: Vec<PublicKey>,
    pub(crate) psk: [u8; 32],
    pub(crate) now: UnixMillis,
    pub(crate) guard: Rc<RefCell<ReplayGuard>>,
    pub(crate) seed: u64,
    current: Option<Preface>,
}

impl Server {
    /// A server of every pattern, which lets one client key in, and strangers where the pattern knows no names.
    pub(crate) fn new() -> Self {
        Self {
            patterns: Pattern::ALL.to_vec(),
            identities: vec![SERVER],
            allowed: vec![pair(CLIENT).public()],
            psk: PSK,
            now: NOW,
            guard: Rc::new(RefCell::new(ReplayGuard::new(10_000, Duration::from_secs(5), [7; 16]).unwrap())),
            seed: 1_000,
            current: None,
        }
    }

    /// The same server after a restart: what it remembered is gone.
    pub(crate) fn restarted(&self) -> Self {
        Self { guard: Self::new().guard, seed: self.seed + 1, ..self.clone() }
    }

    /// The server's end of a new connection; no two connections share their randomness.
    pub(crate) fn accept(&mut self) -> End {
        self.seed += 1;
        let config = ResponderConfig { suites: Suite::ALL.to_vec(), ..ResponderConfig::new(self.patterns.clone()) };
        let handshake = Handshake::responder(&config);
        End::new(Side::Responder, handshake, Judge::Server(Box::new(self.clone())))
    }

    fn first_flight(&mut self, handshake: &mut Handshake, preface: Preface) {
        if let Err(error) = self.guard.borrow().check(self.now, preface.time, &preface.nonce) {
            return refuse_copy(handshake, error);
        }
        let pattern = Pattern::from_wire(preface.pattern).unwrap();
        let hinted = |secret: &&[u8; 32]| {
            !pattern.needs_remote_static_up_front() || server_hint(&pair(**secret).public()) == preface.hint
        };
        let identity = self.identities.iter().find(hinted).map(|secret| pair(*secret));
        if identity.is_none() {
            return handshake.refuse(CloseCode::NotAllowed, "no such identity", "no such identity");
        }
        let psk = self.psk_if(preface.key_id == PSK_ID);
        let keys = ResponderKeys {
            local: identity.as_ref().filter(|_| pattern.needs_local_static(Role::Responder)),
            client_key: client_key(&preface),
            psk: (pattern.needs_psk() && !preface.key_id.is_empty()).then_some(&psk),
            ephemeral: SecretKey::from_bytes(Rng::new(self.seed).bytes32()),
        };
        self.current = Some(preface);
        handshake.proceed(keys).unwrap();
    }

    /// The psk, or for whom it does not know, one that nobody has.
    fn psk_if(&self, known: bool) -> Psk {
        Psk::from_bytes(if known { self.psk } else { Rng::new(!self.seed).bytes32() })
    }

    fn peer(&self, handshake: &mut Handshake, peer: &PeerIdentity) {
        if peer.public_key().is_some_and(|key| !self.allowed.contains(key)) {
            return handshake.refuse(CloseCode::NotAllowed, "not welcome", "not welcome");
        }
        // Strangers have no nonce kept, or they could fill the table.
        if !peer.is_authenticated() {
            return handshake.admit().unwrap();
        }
        let preface = self.current.as_ref().unwrap();
        match self.guard.borrow_mut().admit(self.now, preface.time, &preface.nonce) {
            Ok(()) => handshake.admit().unwrap(),
            Err(error) => refuse_copy(handshake, error),
        }
    }
}

fn refuse_copy(handshake: &mut Handshake, error: ReplayError) {
    let code = if error == ReplayError::Seen { CloseCode::Replay } else { CloseCode::ClockSkew };
    handshake.refuse(code, "", &error.to_string());
}

enum Judge {
    Client(Vec<PublicKey>),
    Server(Box<Server>),
}

enum Stage {
    Shaking(Handshake),
    Running(Box<Session>),
    Over,
}

/// One end of a connection, with everything that its driver would do.
pub(crate) struct End {
    pub(crate) side: Side,
    stage: Stage,
    judge: Judge,
    input: BytesMut,
    error: Option<ConnectionError>,
    /// Whom the other end proved to be, before any verdict.
    pub(crate) proven: Option<PeerIdentity>,
    /// What the application was told.
    pub(crate) events: Vec<Event>,
}

impl End {
    fn new(side: Side, handshake: Handshake, judge: Judge) -> Self {
        let (stage, input, events) = (Stage::Shaking(handshake), BytesMut::new(), Vec::new());
        Self { side, stage, judge, input, error: None, proven: None, events }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        match &mut self.stage {
            Stage::Running(session) => session,
            _ => panic!("{:?} has no session: {:?}", self.side, self.error),
        }
    }

    /// Bytes came.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.advance();
    }

    /// The other end wrote its last byte.
    pub(crate) fn hang_up(&mut self) {
        match &mut self.stage {
            Stage::Shaking(handshake) => handshake.handle_eof(),
            Stage::Running(session) => session.handle_eof(),
            Stage::Over => {}
        }
        self.advance();
    }

    /// What it sends now.
    pub(crate) fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match &mut self.stage {
            Stage::Shaking(handshake) => drop(handshake.poll_transmit(&mut out)),
            Stage::Running(session) => {
                while session.poll_transmit(Time::ZERO, &mut out) {}
                session.handle_written(out.len());
            }
            Stage::Over => {}
        }
        self.advance();
        out
    }

    fn advance(&mut self) {
        if let Stage::Shaking(handshake) = &mut self.stage {
            handshake.handle_bytes(&mut self.input);
            let mut done = false;
            while let Some(event) = handshake.poll_event() {
                match (event, &mut self.judge) {
                    (HandshakeEvent::Preface(preface), Judge::Server(server)) => {
                        server.first_flight(handshake, preface)
                    }
                    (HandshakeEvent::Psk(client), Judge::Server(server)) => {
                        handshake.provide_psk(&server.psk_if(server.allowed.contains(&client))).unwrap();
                    }
                    (HandshakeEvent::Peer(peer), judge) => {
                        judge.peer(handshake, &peer);
                        self.proven = Some(peer);
                    }
                    (HandshakeEvent::Done, _) => done = true,
                    (HandshakeEvent::Failed(error), _) => self.error = Some(error),
                    (other, _) => panic!("{other:?}"),
                }
            }
            if done && let Stage::Shaking(handshake) = std::mem::replace(&mut self.stage, Stage::Over) {
                let session = handshake.into_session(Limits::default(), Time::ZERO).unwrap();
                self.stage = Stage::Running(Box::new(session));
            }
        }
        if let Stage::Running(session) = &mut self.stage {
            session.handle_bytes(Time::ZERO, &mut self.input);
            self.events.extend(std::iter::from_fn(|| session.poll_event()));
            self.error = session.error().cloned();
        }
    }

    /// Opens a call whose body says who made it.
    pub(crate) fn call(&mut self, body: &'static [u8]) {
        let call =
            OpenCall { body: Bytes::from_static(body), ..OpenCall::new(OpenKind::Request, "pay".parse().unwrap()) };
        self.session().open(call).unwrap();
    }

    pub(crate) const fn error(&self) -> Option<&ConnectionError> {
        self.error.as_ref()
    }

    /// What the application took for real: every event but the end, and the end of its own calls with it.
    pub(crate) fn accepted(&self) -> Vec<&Event> {
        let by_the_end = |event: &&Event| match event {
            Event::Closed(_) => true,
            Event::Failed { error, .. } => error.cause.is_some(),
            _ => false,
        };
        self.events.iter().filter(|event| !by_the_end(event)).collect()
    }

    /// Whether the other end counts as connected.
    pub(crate) fn is_ready(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Ready(_)))
    }

    /// The bodies of the calls that were delivered.
    pub(crate) fn calls(&self) -> Vec<Bytes> {
        let bodies = self.events.iter().filter_map(|event| match event {
            Event::Opened { body, .. } => Some(body.clone()),
            _ => None,
        });
        bodies.collect()
    }

    /// Checks that nothing was accepted and that the connection has failed; gives the error.
    #[track_caller]
    pub(crate) fn refused(&self, what: &str) -> &ConnectionError {
        assert!(self.accepted().is_empty(), "{what}: {:?} accepted {:?}", self.side, self.events);
        self.error.as_ref().unwrap_or_else(|| panic!("{what}: {:?} goes on", self.side))
    }

    /// As [`End::refused`], and the reason is that a handshake message was not authentic.
    #[track_caller]
    pub(crate) fn refused_as_forged(&self, what: &str) {
        let error = self.refused(what);
        let forged = [Misbehaved::Handshake, Misbehaved::PreSharedKey].map(ConnectionError::from);
        assert!(forged.contains(error), "{what}: {error:?}");
    }

    /// As [`End::refused`], and the reason is that a record was not authentic.
    #[track_caller]
    pub(crate) fn refused_record(&self, what: &str) {
        assert_eq!(self.refused(what), &Misbehaved::Record.into(), "{what}");
    }

    /// As [`End::refused`], and this end decided so about an identity.
    #[track_caller]
    pub(crate) fn refused_by_policy(&self, what: &str) {
        assert_eq!(self.refused(what).blame(), Blame::Refused, "{what}: {:?}", self.error);
    }
}

impl Judge {
    fn peer(&self, handshake: &mut Handshake, peer: &PeerIdentity) {
        match self {
            Self::Client(accepts) if peer.public_key().is_some_and(|key| !accepts.contains(key)) => {
                handshake.refuse(CloseCode::NotAllowed, "", "another server key");
            }
            Self::Client(_) => handshake.admit().unwrap(),
            Self::Server(server) => server.peer(handshake, peer),
        }
    }
}

/// What went over the wire: who sent, and the bytes.
pub(crate) type Flights = Vec<(Side, Vec<u8>)>;

/// Lets two ends talk until both are silent. `between` sees each flight with its number, counted from 0 over both
/// directions, and may change it.
pub(crate) fn converse(
    client: &mut End,
    server: &mut End,
    mut between: impl FnMut(Side, usize, &mut Vec<u8>),
) -> Flights {
    let mut flights = Flights::new();
    loop {
        let before = flights.len();
        for side in [Side::Initiator, Side::Responder] {
            let (from, to) =
                if side == Side::Initiator { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
            let mut bytes = from.transmit();
            if !bytes.is_empty() {
                between(side, flights.len(), &mut bytes);
                to.receive(&bytes);
                flights.push((side, bytes));
            }
        }
        if flights.len() == before {
            return flights;
        }
    }
}

/// Two ends that talk until both are silent, and then hang up.
pub(crate) fn converse_to_the_end(
    client: &mut End,
    server: &mut End,
    between: impl FnMut(Side, usize, &mut Vec<u8>),
) -> Flights {
    let flights = converse(client, server, between);
    client.hang_up();
    server.hang_up();
    flights
}

/// Nobody touches the wire.
pub(crate) fn untouched(_: Side, _: usize, _: &mut Vec<u8>) {}

/// Two ends that are connected, whose events so far are forgotten.
pub(crate) fn connected(pattern: Pattern) -> [End; 2] {
    connected_to(&mut Server::new(), Client::new(pattern))
}

/// A connection of a client to a server.
pub(crate) fn connected_to(server: &mut Server, client: Client) -> [End; 2] {
    let what = format!("{:?}", client.pattern);
    let (mut client, mut server) = (client.start(), server.accept());
    converse(&mut client, &mut server, untouched);
    assert!(client.is_ready() && server.is_ready(), "{what}: {:?} {:?}", client.error(), server.error());
    client.events.clear();
    server.events.clear();
    [client, server]
}

/// A handshake message as it goes over the wire.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_handshake_message(&mut out, message);
    out
}

/// The handshake message at the start of `bytes`, and what follows it.
pub(crate) fn unframed(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match decode_handshake_frame(bytes) {
        Ok(Some((HandshakeFrame::Message(message), used))) => Some((message.to_vec(), &bytes[used..])),
        _ => None,
    }
}

/// The preface of a first flight, as bytes, and what follows it.
pub(crate) fn split_preface(flight: &[u8]) -> (&[u8], &[u8]) {
    let (_, size) = Preface::decode(flight).unwrap().unwrap();
    flight.split_at(size)
}

#[test]
fn every_pattern_connects_when_nobody_attacks() {
    for pattern in Pattern::ALL {
        let [mut client, mut server] = connected(pattern);
        assert_eq!(client.session().binding(), server.session().binding());
        let name = |end: &End| end.proven.clone().and_then(|peer| peer.public_key().copied());
        assert_eq!(name(&client), pattern.authenticates_responder().then(|| pair(SERVER).public()), "{pattern:?}");
        assert_eq!(name(&server), pattern.authenticates_initiator().then(|| pair(CLIENT).public()), "{pattern:?}");
        client.call(b"client");
        server.call(b"server");
        converse(&mut client, &mut server, untouched);
        assert_eq!((client.calls(), server.calls()), (vec!["server".into()], vec!["client".into()]));
    }
}
