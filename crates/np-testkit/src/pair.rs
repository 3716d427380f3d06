//! Two peers and the network between them, in virtual time.

use std::io::ErrorKind;
use std::time::Duration;

use np_noise::{Crypto, Pattern, Provider, RustCrypto, Suite};
use np_session::{Session, Side};
use np_types::{ConnectionError, Limits, Psk, PublicKey, Time};

use crate::{Application, Network, NetworkConfig, Peer, PeerConfig, Read, Recorder, Refuse, Rng, keypair};

/// The most turns at one instant before a run counts as a loop that never ends.
const MAX_TURNS: usize = 200_000;

/// What two peers are made of. Change the fields that a test is about.
///
/// ```
/// use np_testkit::Setup;
/// let pair = Setup::default().connect();
/// assert!(pair.peers.iter().all(|peer| peer.remote.is_some()));
/// ```
#[derive(Debug, Clone)]
pub struct Setup {
    /// The seed of keys and network.
    pub seed: u64,
    /// Who computes for the initiator, and for the responder.
    pub providers: [&'static dyn Provider; 2],
    /// The suite that the initiator asks for.
    pub suite: Suite,
    /// The suites that the responder takes.
    pub suites: Vec<Suite>,
    /// The pattern that the initiator uses.
    pub pattern: Pattern,
    /// The patterns that the responder takes.
    pub patterns: Vec<Pattern>,
    /// The limits of the initiator, and of the responder.
    pub limits: [Limits; 2],
    /// Whom the initiator refuses, and the responder.
    pub refuse: [Refuse; 2],
    /// The key that the initiator takes its server to have.
    pub server: PublicKey,
    /// The pre-shared keys of the initiator and of the responder.
    pub psks: [Psk; 2],
    /// See [`PeerConfig::psk_id`].
    pub psk_id: Vec<u8>,
    /// See [`PeerConfig::eager`].
    pub eager: bool,
    /// The network.
    pub network: NetworkConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            providers: [&RustCrypto; 2],
            suite: Suite::default(),
            suites: Suite::ALL.to_vec(),
            pattern: Pattern::XX,
            patterns: Pattern::ALL.to_vec(),
            limits: [Limits::default(), Limits::default()],
            refuse: [Refuse::No; 2],
            server: keypair(Side::Responder).public(),
            psks: [Psk::from_bytes([0x50; 32]), Psk::from_bytes([0x50; 32])],
            psk_id: b"team".to_vec(),
            eager: false,
            network: NetworkConfig::default(),
        }
    }
}

impl Setup {
    /// A setup with limits for both sides.
    #[must_use]
    pub fn with_limits(limits: &Limits) -> Self {
        Self { limits: [limits.clone(), limits.clone()], ..Self::default() }
    }

    /// Two recorders, run until nothing happens any more.
    #[must_use]
    pub fn connect(&self) -> Pair<Recorder> {
        let mut pair = Pair::new(self, [Recorder::default(), Recorder::default()]);
        pair.settle();
        pair
    }
}

/// Two peers and the network between them.
#[derive(Debug)]
pub struct Pair<A> {
    /// The initiator and the responder.
    pub peers: [Peer<A>; 2],
    /// What joins them.
    pub network: Network,
    /// The virtual time.
    pub now: Time,
}

impl<A: Application> Pair<A> {
    /// Two peers at the start of their handshake.
    #[must_use]
    pub fn new(setup: &Setup, apps: [A; 2]) -> Self {
        let mut rng = Rng::new(setup.seed);
        let mut peer = |side: Side, app: A| {
            let at = side as usize;
            let config = PeerConfig {
                limits: setup.limits[at].clone(),
                crypto: Crypto { suite: setup.suite, provider: setup.providers[at] },
                suites: setup.suites.clone(),
                pattern: setup.pattern,
                patterns: setup.patterns.clone(),
                refuse: setup.refuse[at],
                server: setup.server,
                psk: setup.psks[at].clone(),
                psk_id: setup.psk_id.clone(),
                eager: setup.eager,
            };
            Peer::new(side, config, app, &mut rng)
        };
        let [first, second] = apps;
        let peers = [peer(Side::Initiator, first), peer(Side::Responder, second)];
        Self { peers, network: Network::new(setup.seed, &setup.network), now: Time::ZERO }
    }

    /// Runs until nothing happens at this instant.
    ///
    /// # Panics
    /// When it never stops.
    pub fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            let first = self.turn(0);
            let second = self.turn(1);
            if !first && !second {
                return;
            }
        }
        panic!("the peers never come to rest at {:?}", self.now);
    }

    /// Runs on until nothing is left to happen, or `limit` is reached; gives whether there is nothing left.
    pub fn run_until(&mut self, limit: Time) -> bool {
        loop {
            self.settle();
            let peers = self.peers.iter().filter_map(Peer::due);
            match peers.chain(self.network.next_at(self.now)).min() {
                None => return true,
                Some(at) if at > limit => {
                    self.now = limit;
                    return false;
                }
                Some(at) => self.now = at.max(self.now),
            }
        }
    }

    /// Lets time pass.
    pub fn run_for(&mut self, span: Duration) -> bool {
        let limit = self.now + span;
        let quiet = self.run_until(limit);
        self.now = limit;
        self.settle();
        quiet
    }

    /// Cuts the network; both ends notice.
    pub fn cut(&mut self) {
        self.network.cut();
        self.settle();
        let lost = || ConnectionError::io("the network", &ErrorKind::ConnectionReset.into());
        self.peers.iter_mut().for_each(|peer| peer.end(Some(lost())));
        self.settle();
    }

    /// Reads, works and writes for one peer; gives whether anything happened.
    fn turn(&mut self, at: usize) -> bool {
        let (now, peer) = (self.now, &mut self.peers[at]);
        let mut any = match self.network.pipes[1 - at].read(now) {
            Read::Bytes(bytes) => {
                peer.receive(now, &bytes);
                true
            }
            Read::Nothing => false,
            Read::End => {
                peer.end(None);
                false
            }
            Read::Lost => {
                peer.end(Some(ConnectionError::io("the network", &ErrorKind::ConnectionReset.into())));
                false
            }
        };
        any |= peer.advance(now);
        let pipe = &mut self.network.pipes[at];
        if peer.is_finished() {
            pipe.shut();
            return any;
        }
        if peer.out.is_empty() {
            return any;
        }
        match pipe.write(now, &peer.out) {
            Some(0) => any,
            Some(count) => {
                peer.wrote(count);
                true
            }
            None => {
                peer.out.clear();
                peer.end(Some(ConnectionError::io("the network", &ErrorKind::BrokenPipe.into())));
                any
            }
        }
    }
}

impl Pair<Recorder> {
    /// The initiator's session.
    pub fn client(&mut self) -> &mut Session {
        self.peers[0].session()
    }

    /// The responder's session.
    pub fn server(&mut self) -> &mut Session {
        self.peers[1].session()
    }

    /// What happened at a peer since this was asked last.
    pub fn events(&mut self, at: usize) -> Vec<np_session::Event> {
        std::mem::take(&mut self.peers[at].app.events)
    }
}
