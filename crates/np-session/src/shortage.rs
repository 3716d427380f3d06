//! What a session takes no more of while the memory of all connections is short, and how much of what waits for the peer moved.
//!
//! Owns the two refusals and the count; it must never know how much memory there is, nor what others hold.

use crate::StreamKey;
use crate::assembly::CALL_BUDGET;
use crate::session::Session;

/// Why a request is refused while memory is short.
const SHORT: &str = "limit max_memory of the server reached by what waits for this client; try again later";

/// What the peer may not add to what this side holds until it moves on; see [`Session::set_shortage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Shortage {
    /// Everything goes on.
    #[default]
    None,
    /// No further message larger than a stream window is granted: it waits.
    Grants,
    /// Nor is a call taken: it ends as `unavailable`, not processed. What is open goes on.
    Calls,
}

impl Session {
    /// Sets what the peer may not add for now. Messages that waited are granted when it is [`Shortage::None`] again.
    ///
    /// ```
    /// # use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// # use np_session::{Session, Shortage, Side};
    /// # use np_types::{Limits, Time};
    /// # let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// # let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// let mut session = Session::danger_from_traffic(Side::Responder, Limits::default(), traffic, Time::ZERO);
    /// session.set_shortage(Shortage::Grants);
    /// assert!(!session.waits_for_grants());
    /// ```
    pub fn set_shortage(&mut self, shortage: Shortage) {
        self.shortage = shortage;
        if shortage == Shortage::None {
            self.grant_waiting();
        }
    }

    /// Whether a message of the peer waits to be granted.
    #[must_use]
    pub fn waits_for_grants(&self) -> bool {
        self.budget.has_waiting()
    }

    /// Bytes that the peer has moved, ever, of what only it makes free: of messages half-way in those that came, and of
    /// answers those that left with their call. What stands is [`Session::held_bytes`] less
    /// [`Session::held_by_application`].
    #[must_use]
    pub const fn moved_bytes(&self) -> u64 {
        self.arrived + self.table.freed_bytes()
    }

    /// Makes a request of the peer count for `bytes`, or gives why it is refused.
    pub(crate) fn admit(&mut self, key: StreamKey, bytes: usize) -> Result<(), &'static str> {
        if self.shortage == Shortage::Calls {
            return Err(SHORT);
        }
        self.hold(key, bytes).then_some(()).ok_or(CALL_BUDGET)
    }
}
