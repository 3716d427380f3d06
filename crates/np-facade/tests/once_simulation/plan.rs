//! What a seed decides before a run begins: who there is, which calls are made, and what goes wrong when. It knows no
//! connection.

use std::time::Duration;

use np_noise::Pattern;
use np_testkit::{NetworkConfig, Rng};
use np_types::Time;

/// What goes wrong in a run: a row of the matrix, nothing, or any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Healthy,
    Delay,
    Loss,
    Reorder,
    Duplicate,
    Partition,
    HalfOpen,
    Reset,
    CutInFrame,
    ByteAtATime,
    BitFlip,
    ClockJump,
    Kill,
    Restart,
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Healthy,
        Self::Delay,
        Self::Loss,
        Self::Reorder,
        Self::Duplicate,
        Self::Partition,
        Self::HalfOpen,
        Self::Reset,
        Self::CutInFrame,
        Self::ByteAtATime,
        Self::BitFlip,
        Self::ClockJump,
        Self::Kill,
        Self::Restart,
        Self::Mixed,
    ];

    /// Whether each call that may take its time is answered: connections alone are lost.
    pub(crate) const fn answers_all(self) -> bool {
        !matches!(self, Self::ClockJump | Self::Kill | Self::Restart | Self::Mixed)
    }
}

/// A part of the code that is broken on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// The server forgets what an instance did when it connects again, and says the same epoch.
    ForgetsAtReconnect,
    /// A server that starts again has the epoch that it had.
    SameEpoch,
    /// The server runs a retry of a call that runs.
    RunsAgain,
    /// The client takes a call of unknown outcome for one that was not processed.
    RetriesUnknown,
    /// The server gives the reply before the work is done.
    AnswersFirst,
    /// The client hands its deadlines to nobody.
    NoDeadline,
}

/// Something that happens to a connection or a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) at: Time,
    pub(crate) kind: Kind,
    /// Whose: a client and the end of its connection, or a server.
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) side: usize,
    pub(crate) lasts: Duration,
    /// What else is to be chosen.
    pub(crate) chance: u64,
}

impl Strike {
    /// The directions that a partition stops: one, or both.
    pub(crate) fn directions(&self) -> impl Iterator<Item = usize> + use<> {
        let both = self.chance.is_multiple_of(2);
        let side = self.side;
        (0..2).filter(move |at| both || *at == side)
    }
}

/// A call to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) at: Time,
    pub(crate) patience: Duration,
    pub(crate) gives_up: Option<Duration>,
    pub(crate) size: usize,
    /// How long its handler works.
    pub(crate) works: Duration,
    pub(crate) fails: bool,
}

/// Everything that a seed decides.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    pub(crate) pattern: Pattern,
    pub(crate) clients: Vec<Vec<Plan>>,
    pub(crate) strikes: Vec<Strike>,
    pub(crate) network: NetworkConfig,
    /// Whether the servers remember little, so that they forget.
    pub(crate) forgetful: bool,
    /// Whether a client whose connection is lost may go to another server, where nobody knows what it sent.
    pub(crate) roams: bool,
}

pub(crate) const SERVERS: usize = 2;
/// A call with this much time is answered where it can be.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

impl Setup {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x09ce_09ce);
        let rng = &mut rng;
        let kind = Kind::ALL[(seed % Kind::ALL.len() as u64) as usize];
        let pattern = rng.pick(&[Pattern::NNpsk0, Pattern::NNpsk0, Pattern::NNpsk0, Pattern::XX, Pattern::DangerNN]);
        let clients = rng.between(2, 3) as usize;
        let strikes = if kind == Kind::Healthy { 0 } else { rng.between(1, 3) };
        let mut strikes: Vec<_> = (0..strikes).map(|_| strike(kind, clients, rng)).collect();
        strikes.sort_by_key(|strike| strike.at);
        Self {
            kind,
            pattern,
            clients: (0..clients).map(|_| calls(rng)).collect(),
            strikes,
            network: network(kind, rng),
            forgetful: rng.chance(10),
            roams: rng.chance(25),
        }
    }
}

fn millis(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_micros(rng.between(low * 1_000, high * 1_000))
}

fn strike(kind: Kind, clients: usize, rng: &mut Rng) -> Strike {
    let kind = if kind == Kind::Mixed { rng.pick(&Kind::ALL[1..14]) } else { kind };
    Strike {
        at: Time::ZERO + millis(rng, 20, 2_500),
        kind,
        client: rng.below(clients as u64) as usize,
        server: if rng.chance(75) { 0 } else { 1 },
        side: rng.below(2) as usize,
        lasts: millis(rng, 50, 3_000),
        chance: rng.next_u64(),
    }
}

fn calls(rng: &mut Rng) -> Vec<Plan> {
    let call = |rng: &mut Rng| Plan {
        at: Time::ZERO + millis(rng, 0, 2_500),
        patience: if rng.chance(10) { millis(rng, 1, 800) } else { PATIENCE },
        gives_up: rng.chance(5).then(|| millis(rng, 0, 600)),
        size: if rng.chance(4) { rng.below(8_000) } else { rng.between(16, 300) } as usize,
        works: if rng.chance(50) { Duration::ZERO } else { millis(rng, 1, 700) },
        fails: rng.chance(8),
    };
    (0..rng.between(2, 8)).map(|_| call(rng)).collect()
}

fn network(kind: Kind, rng: &mut Rng) -> NetworkConfig {
    let slow = kind == Kind::Delay || kind == Kind::Mixed && rng.chance(20);
    let drip = kind == Kind::ByteAtATime || kind == Kind::Mixed && rng.chance(10);
    NetworkConfig {
        latency: if slow { millis(rng, 20, 120) } else { millis(rng, 0, 15) },
        jitter: if slow { millis(rng, 0, 120) } else { millis(rng, 0, 10) },
        capacity: if rng.chance(25) { rng.between(400, 4_000) as usize } else { usize::MAX },
        chunk: if drip { 1 } else { rng.pick(&[0, 0, 40, 700]) },
        ..NetworkConfig::default()
    }
}
