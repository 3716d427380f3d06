//! The replay guard: remembers the nonces of recent first messages. Owns the table; must never read a clock, nor draw
//! randomness: both come as arguments.

use std::fmt;
use std::time::Duration;

use np_types::UnixMillis;

use crate::crypto::hash;

/// The fewest nonces that a guard remembers.
const MIN_CAPACITY: usize = 10_000;
/// The most: half a gigabyte.
const MAX_CAPACITY: usize = 1 << 24;
/// The widest window; wider ones would need more memory than any handshake rate justifies.
const MAX_WINDOW: Duration = Duration::from_secs(3_600);
/// How finely expiry is sorted at most: one slot per millisecond for windows up to 8 s.
const MAX_SLOTS: u64 = 1 << 14;
/// The end of a list.
const NONE: u32 = u32::MAX;

/// Why a guard cannot be made.
///
/// ```
/// use np_noise::{ReplayGuard, ReplayGuardError};
/// use std::time::Duration;
/// let guard = ReplayGuard::new(10, Duration::from_secs(5), [0; 16]);
/// assert_eq!(guard.err(), Some(ReplayGuardError::Capacity(10)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayGuardError {
    /// The capacity is out of range.
    #[error("a replay guard holds 10,000 to 16,777,216 nonces, not {0}")]
    Capacity(usize),
    /// The window is out of range.
    #[error("the window of a replay guard is 1 ms to 1 h, not {0:?}")]
    Window(Duration),
}

/// Why a first message is refused before any cryptography.
///
/// ```
/// use np_noise::ReplayError;
/// let error = ReplayError::Skew { measured: -5_100 };
/// assert_eq!(error.to_string(), "the peer's clock is off by -5100 ms");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The stamp is too far from this side's time.
    #[error("the peer's clock is off by {measured} ms")]
    Skew {
        /// Milliseconds by which the stamp is ahead; negative if it is behind.
        measured: i64,
    },
    /// The nonce was admitted before and its stamp is still in the window.
    #[error("the nonce has been seen before")]
    Seen,
    /// The table is full of nonces whose stamps are still in the window.
    #[error("the replay guard is full")]
    Full,
    /// This side's clock was set back past stamps whose nonces are already forgotten, so a replay could not be told.
    #[error("this machine's clock was set back; stamps this old are refused for another {wait} ms")]
    ClockSetBack {
        /// Milliseconds until a stamp of this age would be judged again.
        wait: u64,
    },
}

/// Refuses a first message that is too old, too new, or a copy of one that was admitted.
///
/// [`check`](Self::check) costs no cryptography and changes nothing; [`admit`](Self::admit) tests and inserts in one
/// step and is called only for an authenticated and allowed peer, so strangers cannot fill the table. A nonce leaves
/// once its stamp is out of the window; none leaves earlier, so a full table refuses.
///
/// # Limits
///
/// Memory is taken at once and never grows: 32 bytes per nonce, 4 to 8 bytes per nonce for the index, and at most
/// 64 KiB for the sorting by age. Both calls take constant time on average, whatever nonces a peer picks: the index
/// hashes with SHA-256 under a key that no peer knows, on which the layout depends and no answer does.
///
/// ```
/// use np_noise::{ReplayError, ReplayGuard};
/// use np_types::UnixMillis;
/// use std::time::Duration;
/// // Outside examples, random bytes.
/// let key = [3; 16];
/// let mut guard = ReplayGuard::new(100_000, Duration::from_secs(5), key)?;
/// let (now, stamp) = (UnixMillis(60_000), UnixMillis(58_000));
/// assert_eq!(guard.admit(now, stamp, &[7; 16]), Ok(()));
/// assert_eq!(guard.check(now, stamp, &[7; 16]), Err(ReplayError::Seen));
/// assert_eq!(guard.check(now, UnixMillis(54_900), &[8; 16]), Err(ReplayError::Skew { measured: -5_100 }));
/// # Ok::<(), np_noise::ReplayGuardError>(())
/// ```
pub struct ReplayGuard {
    window: u64,
    capacity: usize,
    /// Milliseconds per slot.
    grain: u64,
    /// The lowest grain of stamps that is still remembered; never moves back.
    horizon: u64,
    entries: Vec<Entry>,
    /// Per hash value, the first entry of its chain.
    index: Vec<u32>,
    /// Per grain of stamps, as a ring, the first entry of its list.
    slots: Vec<u32>,
    /// The list of unused entries.
    free: u32,
    live: usize,
    key: [u8; 16],
}

struct Entry {
    nonce: [u8; 16],
    grain: u64,
    next_in_chain: u32,
    next_in_slot: u32,
}

impl ReplayGuard {
    /// Makes an empty guard that accepts stamps up to `window` before and after the time given.
    ///
    /// `key` is 16 random bytes of this guard alone: a peer that knew them could pick nonces that share a place in the
    /// index, and make every call walk past them all. Answers are the same under every key.
    ///
    /// # Errors
    ///
    /// [`ReplayGuardError`] if the capacity or the window is out of range.
    pub fn new(capacity: usize, window: Duration, key: [u8; 16]) -> Result<Self, ReplayGuardError> {
        if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
            return Err(ReplayGuardError::Capacity(capacity));
        }
        let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 || window > MAX_WINDOW {
            return Err(ReplayGuardError::Window(window));
        }
        let grain = 2 * millis / (MAX_SLOTS - 2) + 1;
        // Stamps from one window before to one window after touch at most this many grains.
        let slots = usize::try_from(2 * millis / grain + 2).unwrap_or(usize::MAX);
        Ok(Self {
            window: millis,
            capacity,
            grain,
            horizon: 0,
            entries: Vec::with_capacity(capacity),
            index: vec![NONE; capacity.next_power_of_two()],
            slots: vec![NONE; slots],
            free: NONE,
            live: 0,
            key,
        })
    }

    /// Judges a stamp and a nonce without remembering them.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] names the reason; the measured skew is for the operator's log.
    pub fn check(&self, now: UnixMillis, stamp: UnixMillis, nonce: &[u8; 16]) -> Result<(), ReplayError> {
        if now.0.abs_diff(stamp.0) > self.window {
            return Err(ReplayError::Skew { measured: signed_difference(stamp.0, now.0) });
        }
        if stamp.0 / self.grain < self.horizon {
            let first = self.horizon.saturating_mul(self.grain);
            return Err(ReplayError::ClockSetBack { wait: first - stamp.0 });
        }
        let horizon = self.horizon_at(now);
        if self.contains(nonce, horizon) {
            return Err(ReplayError::Seen);
        }
        if self.live == self.capacity && !self.any_before(horizon) {
            return Err(ReplayError::Full);
        }
        Ok(())
    }

    /// Judges a stamp and a nonce and remembers them if they pass, as one step.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check); nothing is then remembered.
    pub fn admit(&mut self, now: UnixMillis, stamp: UnixMillis, nonce: &[u8; 16]) -> Result<(), ReplayError> {
        self.check(now, stamp, nonce)?;
        self.forget_before(self.horizon_at(now));
        self.insert(stamp.0 / self.grain, nonce)
    }

    /// How many nonces are remembered, expired ones that have not been swept included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether no nonce is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The first grain that may hold stamps within the window at `now`.
    fn horizon_at(&self, now: UnixMillis) -> u64 {
        self.horizon.max(now.0.saturating_sub(self.window) / self.grain)
    }

    fn contains(&self, nonce: &[u8; 16], horizon: u64) -> bool {
        let mut at = get(&self.index, self.bucket(nonce));
        while let Some(entry) = self.entry(at) {
            if entry.nonce == *nonce && entry.grain >= horizon {
                return true;
            }
            at = entry.next_in_chain;
        }
        false
    }

    /// Whether a sweep to `horizon` would free an entry.
    fn any_before(&self, horizon: u64) -> bool {
        self.grains_before(horizon).any(|grain| get(&self.slots, self.slot(grain)) != NONE)
    }

    fn forget_before(&mut self, horizon: u64) {
        for grain in self.grains_before(horizon) {
            let slot = self.slot(grain);
            let mut at = put(&mut self.slots, slot, NONE);
            while let Some(entry) = self.entry(at) {
                let (next, nonce) = (entry.next_in_slot, entry.nonce);
                self.unlink(&nonce, at);
                let free = std::mem::replace(&mut self.free, at);
                if let Some(entry) = self.entry_mut(at) {
                    entry.next_in_slot = free;
                }
                self.live = self.live.saturating_sub(1);
                at = next;
            }
        }
        self.horizon = horizon;
    }

    /// The grains from the present horizon to the next one; never more than there are slots, since all are then empty.
    fn grains_before(&self, horizon: u64) -> std::ops::Range<u64> {
        let count = horizon.saturating_sub(self.horizon);
        let slots = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        self.horizon..self.horizon.saturating_add(count.min(slots))
    }

    /// Puts the nonce at the head of its chain and of its slot.
    fn insert(&mut self, grain: u64, nonce: &[u8; 16]) -> Result<(), ReplayError> {
        let at = self.take_free()?;
        let (bucket, slot) = (self.bucket(nonce), self.slot(grain));
        let entry = Entry {
            nonce: *nonce,
            grain,
            next_in_chain: put(&mut self.index, bucket, at),
            next_in_slot: put(&mut self.slots, slot, at),
        };
        if let Some(place) = self.entry_mut(at) {
            *place = entry;
        }
        self.live += 1;
        Ok(())
    }

    fn take_free(&mut self) -> Result<u32, ReplayError> {
        if let Some(entry) = self.entry(self.free) {
            let next = entry.next_in_slot;
            return Ok(std::mem::replace(&mut self.free, next));
        }
        let at = u32::try_from(self.entries.len()).map_err(|_| ReplayError::Full)?;
        if self.entries.len() >= self.capacity {
            return Err(ReplayError::Full);
        }
        self.entries.push(Entry { nonce: [0; 16], grain: 0, next_in_chain: NONE, next_in_slot: NONE });
        Ok(at)
    }

    /// Takes entry `target` out of the chain of its nonce.
    fn unlink(&mut self, nonce: &[u8; 16], target: u32) {
        let after = self.entry(target).map_or(NONE, |e| e.next_in_chain);
        let bucket = self.bucket(nonce);
        let mut at = get(&self.index, bucket);
        if at == target {
            put(&mut self.index, bucket, after);
            return;
        }
        while let Some(entry) = self.entry_mut(at) {
            if entry.next_in_chain == target {
                entry.next_in_chain = after;
                return;
            }
            at = entry.next_in_chain;
        }
    }

    fn bucket(&self, nonce: &[u8; 16]) -> usize {
        // The index has a power of two of places, at most 2^24, so cutting the hash down loses nothing that counts.
        let places = u64::try_from(self.index.len()).unwrap_or(u64::MAX);
        let place = keyed_hash(&self.key, nonce) & places.saturating_sub(1);
        usize::try_from(place).unwrap_or_default()
    }

    fn slot(&self, grain: u64) -> usize {
        let slots = u64::try_from(self.slots.len()).unwrap_or(u64::MAX);
        usize::try_from(grain % slots.max(1)).unwrap_or_default()
    }

    fn entry(&self, at: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(at).ok()?)
    }

    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(at).ok()?)
    }
}

impl fmt::Debug for ReplayGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayGuard")
            .field("window_millis", &self.window)
            .field("capacity", &self.capacity)
            .field("len", &self.live)
            .finish_non_exhaustive()
    }
}

/// The first 8 bytes of SHA-256 over key and nonce: both have a fixed length, so nobody without the key can find two
/// nonces with the same place but by chance.
fn keyed_hash(key: &[u8; 16], nonce: &[u8; 16]) -> u64 {
    let digest = hash::hash(&[key, nonce]);
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn get(list: &[u32], at: usize) -> u32 {
    list.get(at).copied().unwrap_or(NONE)
}

/// Stores `value` and returns what stood there.
fn put(list: &mut [u32], at: usize, value: u32) -> u32 {
    list.get_mut(at).map_or(NONE, |place| std::mem::replace(place, value))
}

/// `a - b`, held within what the type can say.
fn signed_difference(a: u64, b: u64) -> i64 {
    let distance = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a >= b { distance } else { -distance }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ReplayGuard, keyed_hash};

    /// SHA-256 of the bytes 0 to 31, as other programs compute it.
    #[test]
    fn the_place_of_a_nonce_is_sha_256_under_the_key() {
        let key = std::array::from_fn(|at| at as u8);
        let nonce = std::array::from_fn(|at| at as u8 + 16);
        assert_eq!(keyed_hash(&key, &nonce).to_le_bytes(), [0x63, 0x0d, 0xcd, 0x29, 0x66, 0xc4, 0x33, 0x66]);
        assert_ne!(keyed_hash(&[0; 16], &nonce), keyed_hash(&key, &nonce));
    }

    /// No first message makes another one's search long, and nobody without the key can tell which would.
    #[test]
    fn nonces_spread_over_the_whole_index_by_the_key() {
        let [guard, other] =
            [1, 2].map(|key| ReplayGuard::new(10_000, Duration::from_secs(5), [key; 16]).expect("a guard"));
        let nonce = |number: u128| number.to_be_bytes();
        let mut held = vec![0_u32; 16_384];
        (0..16_384).for_each(|number| held[guard.bucket(&nonce(number))] += 1);
        let (most, used) = (held.iter().max(), held.iter().filter(|count| **count > 0).count());
        assert!(most < Some(&12), "{most:?}");
        // By chance 1 - 1/e of all places have one.
        assert!((10_000..10_700).contains(&used), "{used}");
        let moved = (0..1_000).filter(|number| guard.bucket(&nonce(*number)) != other.bucket(&nonce(*number))).count();
        assert!(moved > 990, "{moved}");
    }
}
