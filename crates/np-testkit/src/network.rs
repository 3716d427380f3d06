//! A network in virtual time: two pipes, each with latency, jitter, a capacity, split reads and faults by seed.

use std::collections::VecDeque;
use std::time::Duration;

use np_types::Time;

use crate::Rng;

/// What somebody on the way does to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// A bit is turned.
    Flip,
    /// What was written with the byte, from it on, is lost.
    Lose,
    /// The same arrives twice.
    Twice,
    /// The same arrives in another order.
    Swap,
}

/// What goes wrong on one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fault {
    /// Nothing arrives from the first time until the second.
    pub stall: Option<(Time, Time)>,
    /// Harm is done at the byte of this offset.
    pub harm: Option<(u64, Harm)>,
    /// The direction is cut, and a tail of what was on its way is lost.
    pub cut: Option<Time>,
}

/// What both directions of a network have in common.
///
/// ```
/// let config = np_testkit::NetworkConfig::default();
/// assert_eq!(config.capacity, usize::MAX);
/// ```
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// The least time from one end to the other.
    pub latency: Duration,
    /// The most time that is added by chance. Bytes are never reordered.
    pub jitter: Duration,
    /// The most bytes on their way in one direction: a writer that has filled it waits.
    pub capacity: usize,
    /// The most bytes of one read; reads have random sizes from 1 byte on. Zero: all that is there.
    pub chunk: usize,
    /// Faults of the direction from the initiator, and of the other.
    pub faults: [Fault; 2],
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            capacity: usize::MAX,
            chunk: 0,
            faults: [Fault::default(); 2],
        }
    }
}

/// Two pipes: the initiator writes to the first, the responder to the second.
#[derive(Debug)]
pub struct Network {
    /// The two directions.
    pub pipes: [Pipe; 2],
}

impl Network {
    /// The network of a seed.
    #[must_use]
    pub fn new(seed: u64, config: &NetworkConfig) -> Self {
        let pipe = |at: usize| Pipe::new(Rng::new(seed ^ (0xa5a5 << at)), config, config.faults[at]);
        Self { pipes: [pipe(0), pipe(1)] }
    }

    /// When something arrives next, after `now`.
    #[must_use]
    pub fn next_at(&self, now: Time) -> Option<Time> {
        self.pipes.iter().filter_map(|pipe| pipe.next_at(now)).min()
    }

    /// Cuts both directions at once.
    pub fn cut(&mut self) {
        self.pipes.iter_mut().for_each(Pipe::cut);
    }
}

/// What a read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Bytes, at least one.
    Bytes(Vec<u8>),
    /// Nothing now.
    Nothing,
    /// The writer shut the pipe and all was read.
    End,
    /// The pipe was cut and what survived was read.
    Lost,
}

/// One direction of a network.
#[derive(Debug)]
pub struct Pipe {
    rng: Rng,
    config: NetworkConfig,
    fault: Fault,
    queue: VecDeque<(Time, Vec<u8>)>,
    in_flight: usize,
    last_arrival: Time,
    shut: bool,
    lost: bool,
    taken: u64,
    /// Every byte that was written, where a test asked for it.
    pub transcript: Option<Vec<u8>>,
    /// Whether harm was done.
    pub harmed: bool,
}

impl Pipe {
    fn new(rng: Rng, config: &NetworkConfig, fault: Fault) -> Self {
        Self {
            rng,
            config: config.clone(),
            fault,
            queue: VecDeque::new(),
            in_flight: 0,
            last_arrival: Time::ZERO,
            shut: false,
            lost: false,
            taken: 0,
            transcript: None,
            harmed: false,
        }
    }

    /// Takes as many bytes as there is room for; `None` if the pipe is cut.
    pub fn write(&mut self, now: Time, bytes: &[u8]) -> Option<usize> {
        if self.fault.cut.is_some_and(|at| at <= now) {
            self.cut();
        }
        if self.lost {
            return None;
        }
        let count = bytes.len().min(self.config.capacity.saturating_sub(self.in_flight));
        if count == 0 {
            return Some(0);
        }
        let mut segment = bytes[..count].to_vec();
        if let Some((at, harm)) = self.fault.harm
            && let Some(at) = at.checked_sub(self.taken).filter(|at| *at < count as u64)
        {
            self.harm(&mut segment, at as usize, harm);
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.extend_from_slice(&segment);
        }
        let jitter = self.rng.below(self.config.jitter.as_nanos() as u64 + 1);
        let at = now + self.config.latency + Duration::from_nanos(jitter);
        self.last_arrival = self.last_arrival.max(at);
        self.taken += count as u64;
        if !segment.is_empty() {
            self.in_flight += segment.len();
            self.queue.push_back((self.last_arrival, segment));
        }
        Some(count)
    }

    fn harm(&mut self, segment: &mut Vec<u8>, at: usize, harm: Harm) {
        let before = segment.clone();
        match harm {
            Harm::Flip => segment[at] ^= 1 << self.rng.below(8),
            Harm::Lose => segment.truncate(at),
            Harm::Twice => segment.extend_from_within(at..),
            Harm::Swap => {
                let rest = &mut segment[at..];
                rest.rotate_left(self.rng.below(rest.len() as u64) as usize);
            }
        }
        self.harmed = *segment != before;
    }

    /// Gives what has arrived by `now`, in pieces of random sizes.
    pub fn read(&mut self, now: Time) -> Read {
        if self.fault.cut.is_some_and(|at| at <= now) {
            self.cut();
        }
        if self.stalled(now).is_some() {
            return Read::Nothing;
        }
        match self.queue.front_mut() {
            None if self.lost => Read::Lost,
            None if self.shut => Read::End,
            Some((at, segment)) if *at <= now => {
                let most = segment.len() as u64;
                let chunk = self.config.chunk as u64;
                let size = if chunk == 0 { most } else { most.min(self.rng.between(1, chunk)) } as usize;
                let rest = segment.split_off(size);
                let bytes = std::mem::replace(segment, rest);
                self.in_flight -= size;
                if segment.is_empty() {
                    self.queue.pop_front();
                }
                Read::Bytes(bytes)
            }
            _ => Read::Nothing,
        }
    }

    /// The writer writes no more.
    pub const fn shut(&mut self) {
        self.shut = true;
    }

    /// Loses a tail of what is on its way, and everything after it.
    pub fn cut(&mut self) {
        if std::mem::replace(&mut self.lost, true) {
            return;
        }
        let mut keep = self.rng.below(self.in_flight as u64 + 1) as usize;
        for (_, segment) in &mut self.queue {
            segment.truncate(keep);
            keep -= segment.len();
        }
        self.queue.retain(|(_, segment)| !segment.is_empty());
        self.in_flight = self.queue.iter().map(|(_, segment)| segment.len()).sum();
    }

    fn stalled(&self, now: Time) -> Option<Time> {
        self.fault.stall.filter(|(from, until)| (*from..*until).contains(&now)).map(|(_, until)| until)
    }

    fn next_at(&self, now: Time) -> Option<Time> {
        let arrival = self.queue.front().map(|(at, _)| match self.stalled(*at) {
            Some(until) => until,
            None => self.stalled(now).map_or(*at, |until| until.max(*at)),
        });
        let cut = self.fault.cut.filter(|_| !self.lost);
        [arrival, cut].into_iter().flatten().filter(|at| *at > now && *at < FOREVER).min()
    }

    /// Bytes that were written and not read.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }
}

/// The end of a stall that does not end.
pub(crate) const FOREVER: Time = Time::from_nanos(u64::MAX);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_types::Time;

    use super::{FOREVER, Fault, Harm, Network, NetworkConfig, Pipe, Read};

    const SECOND: Duration = Duration::from_secs(1);

    fn pipe(seed: u64, config: NetworkConfig) -> Pipe {
        let [pipe, _] = Network::new(seed, &config).pipes;
        pipe
    }

    fn fault(fault: Fault) -> NetworkConfig {
        NetworkConfig { faults: [fault, Fault::default()], ..NetworkConfig::default() }
    }

    /// Reads what is there at `now`, and how many pieces it was.
    fn read_all(pipe: &mut Pipe, now: Time) -> (Vec<u8>, usize) {
        let (mut all, mut pieces) = (Vec::new(), 0);
        while let Read::Bytes(bytes) = pipe.read(now) {
            all.extend(bytes);
            pieces += 1;
        }
        (all, pieces)
    }

    #[test]
    fn bytes_arrive_after_the_latency_and_in_order() {
        for seed in 0..20 {
            let config = NetworkConfig { latency: SECOND, jitter: SECOND, ..NetworkConfig::default() };
            let mut pipe = pipe(seed, config);
            for byte in 0..10u8 {
                assert_eq!(pipe.write(Time::ZERO, &[byte]), Some(1));
            }
            assert_eq!(pipe.read(Time::ZERO + SECOND / 2), Read::Nothing);
            let at = pipe.next_at(Time::ZERO).unwrap();
            assert!(at >= Time::ZERO + SECOND && at <= Time::ZERO + 2 * SECOND);
            assert_eq!(read_all(&mut pipe, Time::ZERO + 2 * SECOND).0, (0..10).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let mut pipe = pipe(1, NetworkConfig { capacity: 5, chunk: 1, ..NetworkConfig::default() });
        assert_eq!(pipe.write(Time::ZERO, &[7; 8]), Some(5));
        assert_eq!(pipe.write(Time::ZERO, &[7; 8]), Some(0));
        assert_eq!(pipe.read(Time::ZERO), Read::Bytes(vec![7]));
        assert_eq!((pipe.write(Time::ZERO, &[8; 8]), pipe.in_flight()), (Some(1), 5));
        assert_eq!(read_all(&mut pipe, Time::ZERO), (vec![7, 7, 7, 7, 8], 5));
        pipe.shut();
        assert_eq!(pipe.read(Time::ZERO), Read::End);
    }

    #[test]
    fn a_stall_holds_what_comes_and_ends_when_it_says() {
        let until = Time::ZERO + SECOND;
        let mut held = pipe(1, fault(Fault { stall: Some((Time::ZERO, until)), ..Fault::default() }));
        held.write(Time::ZERO, b"abc");
        assert_eq!((held.read(Time::ZERO), held.next_at(Time::ZERO)), (Read::Nothing, Some(until)));
        assert_eq!(held.read(until), Read::Bytes(b"abc".to_vec()));
        let mut ever = pipe(1, fault(Fault { stall: Some((Time::ZERO, FOREVER)), ..Fault::default() }));
        ever.write(Time::ZERO, b"abc");
        assert_eq!(ever.next_at(Time::ZERO), None);
    }

    #[test]
    fn a_cut_loses_a_tail_and_nothing_else() {
        let mut kept = Vec::new();
        for seed in 0..50 {
            let mut pipe = pipe(seed, fault(Fault { cut: Some(Time::ZERO + SECOND), ..Fault::default() }));
            pipe.write(Time::ZERO, b"abc");
            pipe.write(Time::ZERO, b"defgh");
            assert_eq!(pipe.write(Time::ZERO + SECOND, b"late"), None);
            let (bytes, _) = read_all(&mut pipe, Time::ZERO + SECOND);
            assert!(b"abcdefgh".starts_with(&bytes[..]));
            assert_eq!(pipe.read(Time::ZERO + SECOND), Read::Lost);
            kept.push(bytes.len());
        }
        assert!(kept.contains(&0) && kept.contains(&8) && kept.contains(&4), "{kept:?}");
    }

    #[test]
    fn bytes_are_lost_repeated_and_put_into_another_order() {
        for (harm, expected) in [(Harm::Lose, "abcdXX"), (Harm::Twice, "abcdefefXX"), (Harm::Swap, "abcdfeXX")] {
            let seen = (0..20).map(|seed| {
                let mut pipe = pipe(seed, fault(Fault { harm: Some((4, harm)), ..Fault::default() }));
                for bytes in [&b"ab"[..], b"cdef", b"XX"] {
                    assert_eq!(pipe.write(Time::ZERO, bytes), Some(bytes.len()));
                }
                (read_all(&mut pipe, Time::ZERO).0, pipe.harmed)
            });
            let seen: Vec<_> = seen.collect();
            assert!(seen.contains(&(expected.as_bytes().to_vec(), true)), "{harm:?} {seen:?}");
            assert!(seen.iter().all(|(bytes, harmed)| *harmed == (bytes != b"abcdefXX")));
        }
    }

    #[test]
    fn a_flip_turns_one_bit_of_one_byte() {
        let mut pipe = pipe(1, fault(Fault { harm: Some((4, Harm::Flip)), ..Fault::default() }));
        pipe.write(Time::ZERO, &[0; 3]);
        assert!(!pipe.harmed);
        pipe.write(Time::ZERO, &[0; 3]);
        let (bytes, _) = read_all(&mut pipe, Time::ZERO);
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 0]);
        assert!(pipe.harmed);
    }
}
