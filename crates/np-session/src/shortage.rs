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
    /// Sets what the peer may not add for now, and for how many bytes larger messages may be granted meanwhile; the one that
    /// comes to the end of them is granted whole. A session begins with nothing short.
    ///
    /// ```
    /// # use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// # use np_session::{Session, Shortage, Side};
    /// # use np_types::{Limits, Time};
    /// # let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// # let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// let mut session = Session::danger_from_traffic(Side::Responder, Limits::default(), traffic, Time::ZERO);
    /// session.set_shortage(Shortage::Grants, 0);
    /// assert!(!session.waits_for_grants() && session.moved_bytes() == 0);
    /// ```
    pub fn set_shortage(&mut self, shortage: Shortage, spare: u64) {
        (self.shortage, self.spare) = (shortage, spare);
        self.grant_waiting();
    }

    pub(crate) fn may_grant(&self) -> bool {
        self.shortage == Shortage::None && self.spare > 0
    }

    /// How much of what waits for the peer it can make free now, at most, in bytes: all while it has credit of the connection
    /// left. Else what it has begun of messages of a stream window or less, for which a sender keeps credit, and what it has to
    /// take; the application has what it would need for the rest.
    #[must_use]
    pub const fn movable_bytes(&self) -> u64 {
        if self.receive_window.is_open() { u64::MAX } else { self.assembling + self.table.leaving_bytes() }
    }

    /// Whether a message of the peer waits to be granted.
    #[must_use]
    pub fn waits_for_grants(&self) -> bool {
        self.budget.has_waiting()
    }

    /// Bytes that the peer has moved, ever, of what only it makes free: of messages in pieces those that came, and all that
    /// the transport took. What stands is [`Session::held_bytes`] less [`Session::held_by_application`].
    #[must_use]
    pub const fn moved_bytes(&self) -> u64 {
        self.moved
    }

    /// Makes a request of the peer count for `bytes`, or gives why it is refused.
    pub(crate) fn admit(&mut self, key: StreamKey, bytes: usize) -> Result<(), &'static str> {
        if self.shortage == Shortage::Calls {
            return Err(SHORT);
        }
        self.hold(key, bytes).then_some(()).ok_or(CALL_BUDGET)
    }
}

#[cfg(test)]
mod tests {
    use np_noise::{ReceiveCipher, SendCipher, Traffic};
    use np_types::{Limits, Time};
    use np_wire::Side;

    use crate::Session;

    /// Or a window full of small messages that are never finished would excuse whoever filled it.
    #[test]
    fn a_full_window_excuses_nobody_who_has_begun_small_messages() {
        let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        let limits = Limits::default();
        let window = u64::from(limits.connection_window);
        let mut session = Session::danger_from_traffic(Side::Responder, limits, traffic, Time::ZERO);
        assert_eq!(session.movable_bytes(), u64::MAX);
        session.receive_window.receive(window).unwrap();
        assert_eq!(session.movable_bytes(), 0);
        session.assembling = 7;
        assert_eq!(session.movable_bytes(), 7);
    }
}
