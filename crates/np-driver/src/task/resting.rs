//! A connection on which nothing moves, folded up: of a task and its session only what cannot be had anew. It must never know
//! what wakes it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use np_dispatch::Router;
use np_transport::Io;
use np_types::{CloseCode, Time};
use tokio::time::Sleep;

use super::handing::Handing;
use super::{READ, Task};
use crate::allowance::Allowance;
use crate::commands::Doorbell;
use crate::connection::{ConnectionInfo, WayBack};
use crate::fate::Fate;
use crate::handlers::Handlers;
use crate::lifetime::Life;
use crate::memory::RestingShare;
use crate::progress::Progress;
use crate::recent::Recent;
use crate::slots::Slots;
use crate::telemetry::{Book, Telemetry};

/// What is left of a [`Task`] while its connection rests. What wakes the task wakes this as well: its socket, its doorbell and
/// its timer have the waker of its last turn.
pub(super) struct Resting {
    session: np_session::Resting,
    io: Box<dyn Io>,
    router: Router,
    info: Arc<ConnectionInfo>,
    way_back: WayBack,
    bell: Arc<Doorbell>,
    fate: Arc<Fate>,
    allowance: Allowance,
    telemetry: Telemetry,
    share: RestingShare,
    life: Life,
    max_queued: usize,
    /// Past where it has not moved for as long as a rest.
    rest_at: Time,
    moves: u8,
    timer: Option<(Time, Pin<Box<Sleep>>)>,
}

impl Task {
    /// Folds a connection up that is [calm](Self::is_calm), where nothing is under way; else it gives back what nothing needs,
    /// since it may stay so for as long as its peer likes.
    pub(super) fn put_to_rest(mut self: Box<Self>) -> Result<Box<Resting>, Box<Self>> {
        let session = if self.may_rest() { self.session.put_to_rest(self.now) } else { None };
        let Some(session) = session else {
            self.give_back();
            return Err(self);
        };
        self.bell.rest();
        // Named one by one: none is forgotten that a task has one day.
        let Self {
            session: _,
            io,
            router,
            recent: _,
            info,
            peer_info: _,
            way_back,
            bell,
            slots: _,
            handlers: _,
            allowance,
            spare: _,
            reused: _,
            book,
            share,
            life,
            pings: _,
            now: _,
            handing: _,
            fresh: _,
            max_queued,
            taken: _,
            waiting: _,
            waiting_until: _,
            fate,
            input: _,
            read_size: _,
            out: _,
            rest_at,
            moves,
            moved: _,
            written: _,
            unflushed: _,
            blocked: _,
            timer,
            progress: _,
            opening_until: _,
            drain_until: _,
            drained: _,
            close_until: _,
            handles_gone: _,
            quiet: _,
            yielded: _,
            unsaid: _,
            eof: _,
        } = *self;
        let (share, telemetry) = (share.put_to_rest(), book.into_telemetry());
        Ok(Box::new(Resting {
            session,
            io,
            router,
            info,
            way_back,
            bell,
            fate,
            allowance,
            telemetry,
            share,
            life,
            max_queued,
            rest_at: rest_at.unwrap_or(Time::ZERO),
            moves,
            timer,
        }))
    }

    /// Whether nothing is open, and what the last calls needed is not kept for the next ones: asked after each turn.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        !self.is_busy() && self.session.is_idle() && !self.yielded && !self.unsaid
    }

    /// Whether a [`Resting`] would have all of it but what its session has.
    fn may_rest(&self) -> bool {
        let ends =
            self.drain_until.is_some() || self.close_until.is_some() || self.handles_gone || self.quiet || self.eof;
        let stands = self.opening_until.is_none() && self.book.is_blank() && !ends;
        let nothing_read = self.input.is_empty();
        let all_written = self.written == self.out.len() && !self.unflushed && !self.blocked;
        let nothing_asked = self.taken.is_empty() && self.waiting.is_empty() && self.pings.is_empty();
        let nobody_works = self.slots.is_empty() && self.handlers.are_none() && !self.handing.waits();
        let nothing_counts = self.spare.is_none() && self.progress.due().is_none() && self.share.may_rest();
        stands && nothing_read && all_written && nothing_asked && nobody_works && nothing_counts
    }
}

impl Resting {
    /// The task, as it was.
    pub(super) fn wake(self: Box<Self>) -> Box<Task> {
        let now = self.info.clock.now();
        let session = self.session.wake();
        let side = session.side();
        Box::new(Task {
            io: self.io,
            session,
            router: self.router,
            recent: Recent::default(),
            progress: Progress::new(self.info.progress_timeout),
            peer_info: None,
            way_back: self.way_back,
            info: self.info,
            bell: self.bell,
            slots: Slots::default(),
            handlers: Handlers::default(),
            allowance: self.allowance,
            spare: None,
            reused: 0,
            book: Book::of_standing(self.telemetry, side),
            share: self.share.wake(),
            life: self.life,
            pings: Vec::new(),
            now,
            handing: Handing::default(),
            fresh: false,
            max_queued: self.max_queued,
            taken: Vec::new(),
            waiting: VecDeque::new(),
            waiting_until: None,
            fate: self.fate,
            input: BytesMut::new(),
            read_size: READ,
            out: Vec::new(),
            rest_at: Some(self.rest_at).filter(|at| *at > now),
            moves: self.moves,
            moved: false,
            written: 0,
            unflushed: false,
            blocked: false,
            timer: self.timer,
            opening_until: None,
            drain_until: None,
            drained: CloseCode::Drained,
            close_until: None,
            handles_gone: false,
            quiet: false,
            yielded: false,
            unsaid: false,
            eof: false,
        })
    }
}

#[cfg(test)]
mod tests;
