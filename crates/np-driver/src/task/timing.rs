//! What a connection task does when it is time to: deadlines, slow peers, the end of a drain, of idleness and of age.

use std::collections::VecDeque;
use std::future::Future as _;
use std::task::Context;
use std::time::Duration;

use bytes::BytesMut;
use np_session::Side;
use np_types::{CallError, CloseCode, ConnectionError, Status, Time};

use super::{FEW, READ, REST, Task};
use crate::farewell::PATIENCE;
use crate::lifetime::GRACE;

impl Task {
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) {
        loop {
            if self.session.error().is_some() && self.close_until.is_none() {
                self.close_until = Some(self.now + PATIENCE);
            }
            // While replies wait nothing is read: what the session waits for may have come.
            let reads = !self.handing.waits();
            let wanted = [
                self.session.poll_timeout().filter(|_| reads),
                self.opening_until,
                self.drain_until,
                self.waiting_until,
                self.close_until,
                self.progress.due(),
                self.share.due(self.now),
                self.life.due(),
                self.allowance.due(),
                self.rest_due(),
            ];
            let Some(at) = wanted.into_iter().flatten().min() else {
                self.timer = None;
                return;
            };
            if at <= self.now {
                if reads {
                    self.session.handle_timeout(self.now);
                }
                self.expire_waiting();
                self.cut_who_is_late();
                self.raise_allowance();
                self.rest();
                self.note_use();
                if let Some(code) = self.life.is_over(self.now)
                    && self.drain_until.is_none()
                {
                    self.drain(code, GRACE);
                }
                if self.close_until.is_some_and(|until| until <= self.now) {
                    // The error stands already; the peer does not take the rest.
                    self.session.handle_lost(ConnectionError::ClosedHere(CloseCode::Progress));
                    self.timer = None;
                    return;
                }
                if self.opening_until.is_some_and(|until| until <= self.now) {
                    self.opening_until = None;
                    self.session.close(CloseCode::HandshakeTimeout, "the handshake took too long");
                }
                if self.drain_until.is_some_and(|until| until <= self.now) {
                    self.drain_until = None;
                    self.session.close(self.drained, "the time to drain is over");
                }
                continue;
            }
            let Some(armed) = self.poll_alarm(cx, at) else {
                return;
            };
            self.now = self.info.clock.now().max(armed);
            self.cut_who_is_late();
        }
    }

    /// Waits for `at`. An alarm that rings too soon is kept, since most times that are waited for move on with each turn;
    /// gives for when it was set once it rang.
    fn poll_alarm(&mut self, cx: &mut Context<'_>, at: Time) -> Option<Time> {
        let instant = self.info.clock.instant(at);
        match &mut self.timer {
            None => self.timer = Some((at, Box::pin(tokio::time::sleep_until(instant)))),
            Some((armed, sleep)) if *armed > at => {
                sleep.as_mut().reset(instant);
                *armed = at;
            }
            Some(_) => {}
        }
        let (armed, sleep) = self.timer.as_mut()?;
        if sleep.as_mut().poll(cx).is_pending() {
            return None;
        }
        let rang = *armed;
        self.timer = None;
        Some(rang)
    }

    /// Notes whether the connection is in use: what is open is no idleness, however long nothing moves.
    pub(super) fn note_use(&mut self) {
        self.life.note(self.now, !self.session.is_idle() || !self.waiting.is_empty(), self.session.opened());
    }

    /// Bytes came or went.
    pub(super) fn note_move(&mut self) {
        if !std::mem::replace(&mut self.moved, true) {
            self.moves = match self.rest_at {
                // Of most peers what comes and goes before the first call is little, and over soon.
                _ if self.session.opened() == 0 => 0,
                Some(at) if at > self.now => self.moves.saturating_add(1),
                _ => 1,
            };
        }
        self.rest_at = Some(self.now + REST);
    }

    /// Whether what the last calls needed stays for the next ones.
    pub(super) const fn is_busy(&self) -> bool {
        self.rest_at.is_some() && self.moves > FEW
    }

    /// When to rest. One that is not busy does so at the end of its turn, and needs no time for it, unless something was open at the
    /// end of a turn.
    pub(super) fn rest_due(&self) -> Option<Time> {
        self.rest_at.filter(|_| self.is_busy() || self.life.is_in_use())
    }

    /// Gives the buffers back of a connection that has not moved for a while: idle ones are many.
    fn rest(&mut self) {
        if self.rest_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.rest_at = None;
        self.give_back();
    }

    /// Gives back all that nothing in progress needs.
    pub(super) fn give_back(&mut self) {
        if self.input.is_empty() {
            (self.input, self.read_size) = (BytesMut::new(), READ);
        }
        if self.written == self.out.len() {
            (self.out, self.written) = (Vec::new(), 0);
        }
        if self.taken.is_empty() {
            self.taken = Vec::new();
        }
        self.bell.rest();
        self.handing.rest(self.slots.calls());
        if self.session.is_idle() {
            self.session.rest(self.now);
            self.slots.rest();
            self.book.rest();
            self.handlers.rest();
            self.peer_info = None;
        }
    }

    /// Fails the waiting calls whose deadline has passed.
    fn expire_waiting(&mut self) {
        if self.waiting_until.is_none_or(|until| until > self.now) {
            return;
        }
        let text = "the deadline passed before the call could be sent";
        let now = self.now;
        let (late, waiting) = self.waiting.drain(..).partition::<VecDeque<_>, _>(|one| one.deadline().passed(now));
        self.waiting_until = waiting.iter().filter_map(|one| one.deadline().time()).min();
        self.waiting = waiting;
        for command in late {
            command.fail(CallError::not_processed(Status::DeadlineExceeded, text));
        }
    }

    /// Accepts nothing new, and ends once nothing is open, or when the time is over.
    pub(super) fn drain(&mut self, code: CloseCode, within: Duration) {
        self.session.go_away(code);
        let until = self.now + within;
        if self.drain_until.is_none() {
            self.drained = code;
        }
        self.drain_until = Some(self.drain_until.map_or(until, |other| other.min(until)));
    }

    /// Ends a drained connection, or one that nobody holds, once nothing is open.
    pub(super) fn finish_drain(&mut self) -> bool {
        let alone = self.handles_gone && self.session.side() == Side::Initiator;
        let idle = self.session.is_idle() && self.waiting.is_empty();
        let over = idle && self.session.error().is_none() && (self.drain_until.is_some() || alone);
        if alone && !over {
            // Nobody here takes new calls; without this a peer that goes on calling would keep the connection.
            self.session.go_away(CloseCode::Normal);
        }
        if over {
            let code = if alone { CloseCode::Normal } else { self.drained };
            self.close(code, "");
        }
        over
    }
}
