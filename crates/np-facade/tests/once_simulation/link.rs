//! A connection: two real sessions, from the first byte of their handshake on, and what is done to the bytes between
//! them. It knows no call.

use std::io::ErrorKind;
use std::time::Duration;

use np_noise::Pattern;
use np_session::{Event, Session, Side};
use np_testkit::{Harm, Network, NetworkConfig, Peer, PeerConfig, Read, Recorder, Refuse, Rng, Stage, keypair};
use np_types::{CloseCode, ConnectionError, Limits, PeerIdentity, Psk, Time};

pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;
/// What a silent peer is given, twice.
const HEARTBEAT: Duration = Duration::from_millis(700);

/// How long a record may take to come, or what is written to leave, as `progress_timeout` says.
const PROGRESS: Duration = Duration::from_secs(8);
/// Pieces that are read before anything else is done.
const READS: usize = 16;

/// One connection of a client to a life of a server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) made: Time,
    network: Network,
    peers: [Peer<Recorder>; 2],
    /// Ends whose process is gone.
    gone: [bool; 2],
    /// Directions on which nothing arrives any more.
    mute: [bool; 2],
    /// What is done to the next bytes of a direction.
    harm: [Option<Harm>; 2],
    /// Whether a lost direction looks like one that was shut in order.
    orderly: bool,
    alive: [bool; 2],
    blocked: [bool; 2],
    stalled: [Option<Time>; 2],
    /// Ends that have told everything, and written it.
    finished: [bool; 2],
    /// Since when a part of a record lies in the input of an end, and bytes wait for room to be written.
    reading: [Option<Time>; 2],
    writing: [Option<Time>; 2],
    /// Ends that may have something to do, and when the others have.
    awake: [bool; 2],
    wake: [Option<Time>; 2],
    rng: Rng,
}

impl Link {
    pub(crate) fn new(
        (client, server): (usize, usize),
        now: Time,
        pattern: Pattern,
        network: &NetworkConfig,
        rng: &mut Rng,
    ) -> Self {
        let psk = Psk::from_bytes([0x50; 32]);
        let config = PeerConfig {
            limits: Limits::default(),
            crypto: Default::default(),
            suites: np_facade::Suite::ALL.to_vec(),
            pattern,
            patterns: vec![pattern],
            refuse: Refuse::No,
            server: keypair(Side::Responder).public(),
            psk,
            psk_id: format!("client-{client}").into_bytes(),
            eager: rng.chance(50),
        };
        let peers =
            [Side::Initiator, Side::Responder].map(|side| Peer::new(side, config.clone(), Recorder::default(), rng));
        let network = Network::new(rng.next_u64(), network);
        let rng = Rng::new(rng.next_u64());
        Self {
            client,
            server,
            made: now,
            network,
            peers,
            gone: [false; 2],
            mute: [false; 2],
            harm: [None; 2],
            orderly: false,
            alive: [false; 2],
            blocked: [false; 2],
            stalled: [None; 2],
            finished: [false; 2],
            reading: [None; 2],
            writing: [None; 2],
            awake: [true; 2],
            wake: [None; 2],
            rng,
        }
    }

    /// The session of an end that is connected, and not over.
    pub(crate) fn session(&mut self, at: usize) -> Option<&mut Session> {
        self.awake[at] = true;
        match &mut self.peers[at].stage {
            Stage::Running(session) if !self.gone[at] && session.error().is_none() => Some(session),
            _ => None,
        }
    }

    /// Whether an end has such a session, and the other side's first record has come.
    pub(crate) fn is_ready(&self, at: usize) -> bool {
        match &self.peers[at].stage {
            Stage::Running(session) => !self.gone[at] && session.error().is_none() && session.peer_settings().is_some(),
            _ => false,
        }
    }

    /// Whom the client proved to be.
    pub(crate) fn identity(&self) -> Option<&PeerIdentity> {
        self.peers[SERVER].remote.as_ref()
    }

    pub(crate) fn events(&mut self, at: usize) -> Vec<Event> {
        let events = std::mem::take(&mut self.peers[at].app.events);
        if self.gone[at] { Vec::new() } else { events }
    }

    /// Whether an end knows that the connection is over.
    pub(crate) fn is_over(&self, at: usize) -> bool {
        self.gone[at] || self.peers[at].error().is_some()
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_done(&self) -> bool {
        (0..2).all(|at| self.gone[at] || self.finished[at])
    }

    /// The process of an end is gone; what it wrote may still arrive, or the other side hears of nothing.
    pub(crate) fn lose_process(&mut self, at: usize, silent: bool) {
        self.gone[at] = true;
        self.wake();
        match silent {
            true => self.mute = [true; 2],
            false => self.network.cut(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.network.cut();
    }

    /// One direction ends in order in the midst of what was on its way.
    pub(crate) fn cut_in_frame(&mut self, side: usize) {
        self.orderly = true;
        self.network.pipes[side].cut();
    }

    /// An end takes the connection for lost; the other hears nothing of it.
    pub(crate) fn half_open(&mut self, at: usize) {
        self.mute = [true; 2];
        self.peers[at].end(Some(lost()));
    }

    pub(crate) const fn harm(&mut self, side: usize, harm: Harm) {
        self.harm[side] = Some(harm);
    }

    /// What an end writes does not arrive for a while.
    pub(crate) const fn stall(&mut self, side: usize, until: Time) {
        self.stalled[side] = Some(until);
    }

    /// When it has something to do next, in the time of the world.
    pub(crate) fn next_at(&self, now: Time, ahead: [Duration; 2]) -> Option<Time> {
        let due = |at: usize| {
            let due = self.peers[at].due().filter(|_| !self.gone[at])?;
            Some(Time::ZERO + due.since(Time::ZERO + ahead[at]))
        };
        let arrives = self.network.next_at(now).filter(|_| self.mute != [true; 2]);
        let stalls = self.stalled.into_iter().map(|until| until.filter(|until| *until > now));
        let begun = self.reading.into_iter().chain(self.writing);
        let slow = begun.map(|since| since.map(|since| since + PROGRESS).filter(|at| *at > now));
        stalls.chain(slow).chain([arrives, due(0), due(1)]).flatten().min()
    }

    /// Reads, works and writes at one end; gives whether anything happened.
    pub(crate) fn turn(&mut self, at: usize, now: Time, ahead: [Duration; 2]) -> bool {
        let due = self.wake[at].is_some_and(|wake| wake <= now);
        if self.gone[at] || !self.awake[at] && !due {
            return false;
        }
        let any = self.work(at, now, now + ahead[at]) | self.cut_who_is_late(at, now);
        self.awake[at] = any;
        self.awake[1 - at] |= any;
        self.wake[at] = self.next_at(now, ahead);
        any
    }

    /// Something was done to it.
    pub(crate) const fn wake(&mut self) {
        self.awake = [true; 2];
    }

    fn work(&mut self, at: usize, now: Time, local: Time) -> bool {
        let mut any = self.read(at, now, local);
        let peer = &mut self.peers[at];
        any |= peer.advance(local);
        if let Stage::Running(session) = &mut peer.stage
            && !std::mem::replace(&mut self.alive[at], true)
        {
            session.keep_alive(Some(HEARTBEAT), local);
            any = true;
        }
        if self.is_over(at) && self.peers[at].out.is_empty() {
            self.network.pipes[at].shut();
            return any | !std::mem::replace(&mut self.finished[at], true);
        }
        any | self.write(at, now, local)
    }

    /// Ends a connection whose other side takes or gives nothing whole for too long.
    fn cut_who_is_late(&mut self, at: usize, now: Time) -> bool {
        let peer = &mut self.peers[at];
        let Stage::Running(session) = &mut peer.stage else {
            return false;
        };
        let open = session.error().is_none();
        let note = |since: &mut Option<Time>, begun: bool| {
            *since = if begun && open { since.or(Some(now)) } else { None };
            since.is_some_and(|since| since + PROGRESS <= now)
        };
        if note(&mut self.reading[at], !peer.input.is_empty()) {
            session.close(CloseCode::Progress, "a record took longer than progress_timeout to come");
            return true;
        }
        let late = note(&mut self.writing[at], !peer.out.is_empty());
        if late {
            peer.end(Some(ConnectionError::ClosedHere(CloseCode::Progress)));
        }
        late
    }

    fn read(&mut self, at: usize, now: Time, local: Time) -> bool {
        if self.mute[1 - at] || self.stalled[1 - at].is_some_and(|until| until > now) {
            return false;
        }
        let peer = &mut self.peers[at];
        for pieces in 0..READS {
            match self.network.pipes[1 - at].read(now) {
                Read::Bytes(bytes) => {
                    let before = peer.input.len() + bytes.len();
                    peer.receive(local, &bytes);
                    if peer.input.len() < before {
                        self.reading[at] = None;
                    }
                }
                Read::Nothing => return pieces > 0,
                Read::Lost if !self.orderly => {
                    peer.end(Some(lost()));
                    return pieces > 0;
                }
                Read::End | Read::Lost => {
                    peer.end(None);
                    return pieces > 0;
                }
            }
        }
        true
    }

    fn write(&mut self, at: usize, now: Time, local: Time) -> bool {
        if self.peers[at].out.is_empty() {
            return false;
        }
        let bytes = self.harmed(at);
        let harmed = bytes.is_some();
        let peer = &mut self.peers[at];
        let size = peer.out.len();
        match self.network.pipes[at].write(now, bytes.as_deref().unwrap_or(&peer.out)) {
            Some(0) if !harmed => {
                self.blocked[at] = true;
                false
            }
            Some(count) => {
                self.writing[at] = None;
                peer.wrote(if harmed { size } else { count });
                if let Stage::Running(session) = &mut peer.stage
                    && std::mem::take(&mut self.blocked[at])
                {
                    // There was no room, and now there is: the other side took bytes.
                    session.note_heard(local);
                }
                true
            }
            None => {
                peer.out.clear();
                peer.end(Some(lost()));
                true
            }
        }
    }

    /// What becomes of the bytes that an end writes now, where somebody on the way waits for them.
    fn harmed(&mut self, at: usize) -> Option<Vec<u8>> {
        let harm = self.harm[at].take()?;
        let mut bytes = self.peers[at].out.clone();
        let place = self.rng.below(bytes.len() as u64) as usize;
        match harm {
            Harm::Flip => bytes[place] ^= 1 << self.rng.below(8),
            Harm::Lose => bytes.truncate(place),
            Harm::Twice => bytes.extend_from_within(place..),
            Harm::Swap => {
                let rest = &mut bytes[place..];
                rest.rotate_left(self.rng.below(rest.len() as u64) as usize);
            }
        }
        Some(bytes)
    }
}

fn lost() -> ConnectionError {
    ConnectionError::io("the network", &ErrorKind::ConnectionReset.into())
}
