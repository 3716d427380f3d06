//! The settings of an acceptor, and what they may be.

use std::collections::BTreeSet;
use std::time::Duration;

use np_dispatch::{OnceSettings, Router};
use np_noise::{Keypair, Pattern, Provider, ReplayGuardError, RustCrypto, Suite};
use np_session::server_hint;
use np_trust::{Policy, Psks};
use np_types::{Limits, LimitsError};

use crate::call_limits::WhenFull;
use crate::compression::Compression;
use crate::entropy::EntropyError;
use crate::key_log::KeyLog;
use crate::lifetime::Lifetime;
use crate::telemetry::Telemetry;

/// The most connections or handshakes that can be asked for, on any machine.
const MAX_COUNT: usize = (1 << 28) - 1;
/// The most identities of one server.
const MAX_IDENTITIES: usize = 64;

/// What an accepting side offers, and what it lets in.
#[derive(Debug, Clone)]
pub struct AcceptorConfig {
    /// This side's identities, at most 64; none where every listener's mode does without keys. A client that knows the key of one (IK, NK, KK, IKpsk2) gets that one; the
    /// others get the first.
    pub identities: Vec<Keypair>,
    /// Who is let in.
    pub policy: Policy,
    /// The pre-shared keys, for the patterns that take one.
    pub psks: Psks,
    /// The handshake patterns that are accepted. Default XX and IK.
    pub patterns: Vec<Pattern>,
    /// The cipher suites that are accepted, of which a client chooses one, where the address of the listener names none.
    /// Default both.
    pub suites: Vec<Suite>,
    /// Who computes. Default: the provider in Rust.
    pub provider: &'static dyn Provider,
    /// What each connection may cost.
    pub limits: Limits,
    /// Connections at once; one more is refused and told. Default 16,384.
    pub max_connections: usize,
    /// Handshakes in progress at once. One more takes the place of the oldest peer that has not sent its first flight,
    /// else of the oldest that has had a second to finish; else it is refused. Who goes is told; 256 at once are also
    /// listened to for up to a second, without which the word may be lost to a peer that is talking. Default 4,096.
    pub max_handshakes: usize,
    /// Connections at once from one source, handshakes in progress included: an IPv4 address, or an IPv6 network of 64 bits.
    /// One more is refused and told. Default: no limit.
    pub max_source_connections: Option<usize>,
    /// Handshakes a second from one source, of which as many may come at once. One more is refused and told, before
    /// anything is read of it but, behind a proxy, the proxy's header and the handshake of TLS. Default: no limit.
    pub max_source_handshakes_per_second: Option<u32>,
    /// How long a handshake may take, up to the peer's first record. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long what is written may wait for a peer to take it, and a record that has begun to come for its end. A peer
    /// that is slower is cut (`progress-timeout`). Default 60 s, in which the slowest takes 256 KiB and gives 64 KiB.
    pub progress_timeout: Duration,
    /// How long connections live. Default: as long as their peer is heard.
    pub lifetime: Lifetime,
    /// Calls and streams at work for all peers. Default 65,536.
    pub max_server_calls: usize,
    /// Calls and streams at work for one identity, over all of its connections; peers that have proven nothing are not
    /// counted so. Default 8,192.
    pub max_identity_calls: usize,
    /// Calls and streams a second of one identity, over all of its connections, of which as many may come at once; of a
    /// peer that has proven nothing each connection counts by itself. One more is refused as safe to send again. A peer
    /// that comes again has no more: its rate is kept without a connection until it counts for nothing, which takes a second
    /// at most, of about 4,096 such peers. Default: no limit.
    pub max_peer_calls_per_second: Option<u32>,
    /// Bytes of bodies that all connections may hold together, decompressed ones by their whole size. Above it those of which
    /// the application holds more than 64 KiB (requests that it has not answered, messages of streams that it has not
    /// taken) are not read, and are cut (`limit-exceeded`) when that lasts as long as `progress_timeout`. What one turn has
    /// read is let through. What only peers can make free (messages half-way in, by their whole size once they are granted,
    /// and answers on their way) may come to half of it, and a message more of each that asks at that moment. Beyond that no
    /// message larger than a stream window is granted; a connection of which more waits so than its part (that half divided by
    /// the number of connections, at most 64 KiB) gets no call taken (`unavailable`, not processed), and is cut if less than
    /// half of it has moved in half of `progress_timeout`. Default: no limit but that of each connection.
    pub max_memory: Option<usize>,
    /// What happens to a call beyond one of these two. Default: it is refused as safe to send again.
    pub when_full: WhenFull,
    /// First flights remembered against replay. Default 100,000; at least 10,000.
    pub replay_capacity: usize,
    /// How much is remembered of exactly-once calls, over all connections; `None` refuses such calls. Default `None`.
    pub exactly_once: Option<OnceSettings>,
    /// How messages of this side are compressed. Default: LZ4, where a method asks for it.
    pub compression: Compression,
    /// Where the server counts what it does. Default: nowhere.
    pub telemetry: Telemetry,
    /// Where the traffic keys of connections are written down. Default: nowhere.
    pub key_log: Option<KeyLog>,
    /// The methods that peers may call.
    pub router: Router,
}

impl AcceptorConfig {
    /// A configuration with default limits.
    #[must_use]
    pub fn new(identity: Keypair, policy: Policy, router: Router) -> Self {
        Self { identities: vec![identity], ..Self::without_identity(policy, router) }
    }

    /// A configuration with default limits and no key: for listeners whose modes do without.
    #[must_use]
    pub fn without_identity(policy: Policy, router: Router) -> Self {
        Self {
            identities: Vec::new(),
            policy,
            psks: Psks::new(),
            patterns: vec![Pattern::XX, Pattern::IK],
            suites: Suite::ALL.to_vec(),
            provider: &RustCrypto,
            limits: Limits::default(),
            max_connections: 16_384,
            max_handshakes: 4_096,
            max_source_connections: None,
            max_source_handshakes_per_second: None,
            handshake_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(60),
            lifetime: Lifetime::default(),
            max_server_calls: 65_536,
            max_identity_calls: 8_192,
            max_peer_calls_per_second: None,
            max_memory: None,
            when_full: WhenFull::Refuse,
            replay_capacity: 100_000,
            exactly_once: None,
            compression: Compression::default(),
            telemetry: Telemetry::off(),
            key_log: None,
            router,
        }
    }

    /// Checks every setting; the error names the first that cannot be.
    pub(super) fn validate(&self) -> Result<(), AcceptorError> {
        self.limits.validate()?;
        for (setting, value) in [
            ("max_connections", self.max_connections),
            ("max_handshakes", self.max_handshakes),
            ("max_server_calls", self.max_server_calls),
            ("max_identity_calls", self.max_identity_calls),
        ] {
            if !(1..=MAX_COUNT).contains(&value) {
                return Err(LimitsError { setting, value: value as u64, rule: "1 to 268435455" }.into());
            }
        }
        if self.handshake_timeout.is_zero() {
            return Err(LimitsError { setting: "handshake_timeout", value: 0, rule: "longer than 0" }.into());
        }
        if self.progress_timeout.is_zero() {
            return Err(LimitsError { setting: "progress_timeout", value: 0, rule: "longer than 0" }.into());
        }
        self.lifetime.validate()?;
        for (setting, none) in [
            ("max_memory", self.max_memory == Some(0)),
            ("max_source_connections", self.max_source_connections == Some(0)),
            ("max_source_handshakes_per_second", self.max_source_handshakes_per_second == Some(0)),
            ("max_peer_calls_per_second", self.max_peer_calls_per_second == Some(0)),
        ] {
            if none {
                return Err(LimitsError { setting, value: 0, rule: "at least 1, or none" }.into());
            }
        }
        self.check_identities()?;
        if self.suites.is_empty() {
            return Err(AcceptorError::Suites("at least one suite must be offered"));
        }
        self.check_patterns()
    }

    fn check_identities(&self) -> Result<(), AcceptorError> {
        if self.identities.len() > MAX_IDENTITIES {
            return Err(AcceptorError::Identities("a server has at most 64 of them"));
        }
        let hints: BTreeSet<_> = self.identities.iter().map(|identity| server_hint(&identity.public())).collect();
        if hints.len() < self.identities.len() {
            return Err(AcceptorError::Identities("two have the same hint: drop one of them"));
        }
        Ok(())
    }

    fn check_patterns(&self) -> Result<(), AcceptorError> {
        let takes_psk = self.patterns.iter().any(|pattern| pattern.needs_psk());
        match (self.patterns.is_empty(), takes_psk, self.psks.is_empty()) {
            (true, ..) => Err(AcceptorError::Patterns("at least one pattern must be offered")),
            (_, true, true) => Err(AcceptorError::Patterns(
                "XXpsk3, IKpsk2 and NNpsk0 need a pre-shared key: add one, or drop the pattern",
            )),
            (_, false, false) => Err(AcceptorError::Patterns(
                "there is a pre-shared key and no pattern that takes one: add XXpsk3, IKpsk2 or NNpsk0, or drop the key",
            )),
            _ => Ok(()),
        }
    }
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
    /// No identity, too many, or two of which no hint tells one from the other.
    #[error("identities: {0}")]
    Identities(&'static str),
    /// No pattern is offered, or pre-shared keys and patterns that do not fit.
    #[error("patterns: {0}")]
    Patterns(&'static str),
    /// No suite is offered.
    #[error("suites: {0}")]
    Suites(&'static str),
    /// No randomness for the replay guard's key.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}
