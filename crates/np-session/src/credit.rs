//! Credit: how many bytes of bodies each side may send.
//!
//! Every byte of a body uses the connection's credit. A unary message up to the stream window reserves it whole before
//! its first byte leaves, so a message that was begun can always be finished. A larger one waits for a grant of its
//! whole size out of the receiver's reassembly budget, and its bytes give the connection's credit back as they come.

use np_types::Misbehaved;

use crate::StreamKey;
use crate::growth::Growth;
use crate::seldom::Seldom;

/// The most credit that a window can hold; more is the peer's mistake.
pub(crate) const MAX_WINDOW: u64 = (1 << 62) - 1;

/// What this side may still send, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct SendWindow {
    available: u64,
    /// Streams that need a whole reservation, in the order they came. Nobody overtakes them.
    waiting: Seldom<StreamKey>,
}

impl SendWindow {
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), Misbehaved> {
        let sum = self.available.checked_add(bytes).filter(|sum| *sum <= MAX_WINDOW);
        self.available = sum.ok_or(Misbehaved::CreditOverflow)?;
        Ok(())
    }

    /// Gives back a reservation, or a part of it, that was never sent.
    pub(crate) const fn give_back(&mut self, bytes: u64) {
        self.available = self.available.saturating_add(bytes);
    }

    /// Takes `bytes` whole for `key`, or notes that it waits.
    pub(crate) fn reserve(&mut self, key: StreamKey, bytes: u64) -> bool {
        if bytes == 0 {
            return true;
        }
        let turn = self.waiting.front().is_none_or(|first| *first == key);
        if turn && self.available >= bytes {
            self.available -= bytes;
            self.waiting.retain(|other| *other != key);
            return true;
        }
        if !self.waiting.contains(&key) {
            self.waiting.push_back(key);
        }
        false
    }

    /// Whether a reservation of `bytes` can be taken now.
    pub(crate) const fn covers(&self, bytes: u64) -> bool {
        self.available >= bytes
    }

    /// What a stream that takes credit as it comes may use now: nothing while others wait for a reservation.
    pub(crate) fn open_credit(&self) -> u64 {
        if self.waiting.is_empty() { self.available } else { 0 }
    }

    pub(crate) const fn take(&mut self, bytes: u64) {
        self.available = self.available.saturating_sub(bytes);
    }

    pub(crate) fn first_waiting(&self) -> Option<StreamKey> {
        self.waiting.front().copied()
    }

    pub(crate) fn forget(&mut self, key: StreamKey) {
        self.waiting.retain(|other| *other != key);
    }

    /// Gives back what nobody who waits needs.
    pub(crate) fn rest(&mut self) {
        self.waiting.rest();
    }
}

/// What the peer may still send, and what it is to be credited.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    growth: Growth,
    available: u64,
    owed: u64,
    /// Bytes that came and whose memory is not free again.
    held: u64,
}

impl ReceiveWindow {
    pub(crate) const fn new(window: u32, most: u32) -> Self {
        Self { growth: Growth::new(window, most), available: window as u64, owed: 0, held: 0 }
    }

    /// Counts bytes that arrived.
    pub(crate) fn receive(&mut self, bytes: u64) -> Result<(), Misbehaved> {
        self.available = self.available.checked_sub(bytes).ok_or(Misbehaved::Credit)?;
        self.held += bytes;
        Ok(())
    }

    /// Notes bytes whose memory is free again.
    pub(crate) const fn release(&mut self, bytes: u64) {
        self.held = self.held.saturating_sub(bytes);
        self.owed = self.owed.saturating_add(bytes);
    }

    pub(crate) const fn held(&self) -> u64 {
        self.held
    }

    /// Whether the peer may send anything of a body, as far as the connection goes.
    pub(crate) const fn is_open(&self) -> bool {
        self.available > 0
    }

    /// As [`Self::release`], for bytes that the application has taken: the window may grow.
    pub(crate) fn consume(&mut self, bytes: u64, round: Option<u32>) {
        let grown = self.growth.consumed(u32::try_from(bytes).unwrap_or(u32::MAX), round);
        self.release(bytes);
        self.owed = self.owed.saturating_add(u64::from(grown));
    }

    pub(crate) const fn may_grow(&self) -> bool {
        self.growth.may_grow()
    }

    /// Whether enough is owed for a frame: a quarter of the window, so that frames are few and the rest suffices for
    /// any message that needs no grant.
    pub(crate) const fn is_due(&self) -> bool {
        self.owed > 0 && self.owed >= (self.growth.window() / 4) as u64
    }

    /// Takes what is owed, for a frame that is being written.
    pub(crate) fn credit(&mut self) -> u32 {
        let bytes = u32::try_from(self.owed).unwrap_or(u32::MAX);
        self.owed -= u64::from(bytes);
        self.available += u64::from(bytes);
        bytes
    }
}

/// The bytes of large messages that may be put together at once; first come, first served.
#[derive(Debug)]
pub(crate) struct ReassemblyBudget {
    all: u64,
    left: u64,
    waiting: Seldom<(StreamKey, u32)>,
}

impl ReassemblyBudget {
    pub(crate) fn new(bytes: u32) -> Self {
        Self { all: bytes as u64, left: bytes as u64, waiting: Seldom::default() }
    }

    pub(crate) const fn used(&self) -> u64 {
        self.all - self.left
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn ask(&mut self, key: StreamKey, bytes: u32) {
        self.waiting.push_back((key, bytes));
    }

    /// The next message whose whole size fits; none overtakes the first.
    pub(crate) fn next_grant(&mut self) -> Option<(StreamKey, u32)> {
        let (_, bytes) = self.waiting.front()?;
        let left = self.left.checked_sub(u64::from(*bytes))?;
        self.left = left;
        self.waiting.pop_front()
    }

    pub(crate) const fn give_back(&mut self, bytes: u32) {
        self.left += bytes as u64;
    }

    pub(crate) fn forget(&mut self, key: StreamKey) {
        self.waiting.retain(|(other, _)| *other != key);
    }

    /// Gives back what nobody who waits needs.
    pub(crate) fn rest(&mut self) {
        self.waiting.rest();
    }
}

#[cfg(test)]
mod tests {
    use np_types::Misbehaved;

    use super::{ReassemblyBudget, ReceiveWindow, SendWindow};
    use crate::StreamKey;

    #[test]
    fn credit_is_capped_below_two_to_the_62nd() {
        let mut window = SendWindow::default();
        window.add((1 << 62) - 1).unwrap();
        assert_eq!(window.add(1), Err(Misbehaved::CreditOverflow));
        // What was refused changes nothing.
        assert_eq!(window.open_credit(), (1 << 62) - 1);
    }

    #[test]
    fn a_window_that_grows_is_credited_with_what_it_grew_by() {
        let mut window = ReceiveWindow::new(1_000, 3_000);
        for (consumed, credit, may_grow) in [(501, 1_501, true), (1_001, 2_001, false), (3_000, 3_000, false)] {
            window.consume(consumed, Some(1));
            assert_eq!((window.credit(), window.may_grow()), (credit, may_grow), "{consumed}");
        }
    }

    #[test]
    fn what_came_is_held_until_its_memory_is_free_again() {
        let mut window = ReceiveWindow::new(1_000, 1_000);
        window.receive(5).unwrap();
        window.receive(2).unwrap();
        assert_eq!(window.held(), 7);
        window.release(3);
        assert_eq!(window.held(), 4);
        assert_eq!(window.receive(994), Err(Misbehaved::Credit));
        assert_eq!(window.held(), 4, "what was refused is not held");
    }

    #[test]
    fn a_frame_of_credit_is_due_with_a_quarter_of_the_window_and_never_with_nothing() {
        let mut window = ReceiveWindow::new(8, 8);
        window.release(1);
        assert!(!window.is_due());
        window.release(1);
        assert!(window.is_due());
        // A quarter of this one is nothing, which nobody sends a frame for.
        let mut small = ReceiveWindow::new(3, 3);
        assert!(!small.is_due());
        small.release(1);
        assert!(small.is_due());
    }

    #[test]
    fn queues_in_which_nobody_waits_give_their_memory_back() {
        let key = StreamKey::NONE;
        let mut window = SendWindow::default();
        assert!(!window.reserve(key, 1));
        window.forget(key);
        assert!(window.waiting.capacity() > 0);
        window.rest();
        assert_eq!(window.waiting.capacity(), 0);
        let mut budget = ReassemblyBudget::new(1);
        budget.ask(key, 1);
        budget.rest();
        assert_eq!(budget.next_grant(), Some((key, 1)), "one that waits stays");
        assert!(budget.waiting.capacity() > 0);
        budget.rest();
        assert_eq!(budget.waiting.capacity(), 0);
    }
}
