//! Whether the peer is still there: any byte is life, and silence is asked about once.
//!
//! After an interval without a byte a PING goes out; after another without one the peer is dead. So traffic costs nothing, and
//! a peer that asks first is not asked. It must never know what the bytes were.

use std::time::Duration;

use np_types::{CloseCode, ConnectionError, Time};

use crate::session::{Phase, Session};

/// What was heard of a peer.
#[derive(Debug, Default)]
pub(crate) struct Alive {
    interval: Option<Duration>,
    heard: Time,
    /// When it was asked, since it was heard last.
    asked: Option<Time>,
}

impl Alive {
    const fn hear(&mut self, now: Time) {
        (self.heard, self.asked) = (now, None);
    }

    /// When something has to be done if nothing comes.
    pub(crate) fn due(&self) -> Option<Time> {
        let interval = self.interval?;
        Some(self.asked.unwrap_or(self.heard) + interval)
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

    /// The peer is there: bytes of it came, or it made room for bytes that had none. Or this side did not look.
    pub const fn note_heard(&mut self, now: Time) {
        self.alive.hear(now);
    }

    /// Asks, or gives up, where it is time to.
    pub(crate) fn check_alive(&mut self, now: Time) {
        if self.phase != Phase::Open || self.alive.due().is_none_or(|at| at > now) {
            return;
        }
        if self.alive.asked.is_some() {
            let what = "the wait for any byte of the peer (two heartbeat_interval)";
            self.lose(ConnectionError::Timeout { what, code: CloseCode::HeartbeatTimeout });
            return;
        }
        self.alive.asked = Some(now);
        self.show_life();
    }

    /// Says something, so that the peer hears that this side is there: for a side that does not read for a while.
    pub fn show_life(&mut self) {
        if self.phase == Phase::Open && self.control.ping.is_none() {
            self.control.ping = Some(self.pings.next());
        }
    }
}
