//! Whether the peer is still there: any byte is life, and silence is asked about once.
//!
//! After an interval without a byte a PING goes out; after two without one the peer is dead. So traffic costs nothing, and
//! a peer that asks first is not asked. It must never know what the bytes were.

use std::time::Duration;

use np_types::{CloseCode, ConnectionError, Time};

use crate::session::{Phase, Session};

/// What was heard of a peer.
#[derive(Debug, Default)]
pub(crate) struct Alive {
    interval: Option<Duration>,
    heard: Time,
    asked: bool,
}

impl Alive {
    const fn hear(&mut self, now: Time) {
        (self.heard, self.asked) = (now, false);
    }

    /// When something has to be done if nothing comes.
    pub(crate) fn due(&self) -> Option<Time> {
        let interval = self.interval?;
        Some(self.heard + if self.asked { interval * 2 } else { interval })
    }
}

impl Session {
    /// Asks the peer for a sign of life after each `interval` without a byte from it, and ends the connection
    /// (`heartbeat-timeout`) after two; `None` waits for ever, as a session does that was told nothing. Nothing is sent
    /// while bytes come.
    ///
    /// ```
    /// # use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// # use np_session::{Session, Side};
    /// # use np_types::{Limits, Time};
    /// # use std::time::Duration;
    /// # let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// # let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// # let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
    /// session.keep_alive(Some(Duration::from_secs(15)), Time::ZERO);
    /// assert_eq!(session.poll_timeout(), None, "it counts from the peer's first record on");
    /// ```
    pub const fn keep_alive(&mut self, interval: Option<Duration>, now: Time) {
        self.alive.interval = interval;
        self.alive.hear(now);
    }

    /// Bytes of the peer came, or this side did not look for any.
    pub const fn note_heard(&mut self, now: Time) {
        self.alive.hear(now);
    }

    /// Asks, or gives up, where it is time to.
    pub(crate) fn check_alive(&mut self, now: Time) {
        if self.phase != Phase::Open || self.alive.due().is_none_or(|at| at > now) {
            return;
        }
        if self.alive.asked {
            let what = "the wait for any byte of the peer (two heartbeat_interval)";
            self.lose(ConnectionError::Timeout { what, code: CloseCode::HeartbeatTimeout });
            return;
        }
        self.alive.asked = true;
        if self.control.ping.is_none() {
            self.control.ping = Some(self.pings.next());
        }
    }
}
