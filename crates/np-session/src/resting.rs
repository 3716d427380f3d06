//! A session on which nothing moves, folded up: most connections of a busy server rest, and what a session has for its streams
//! is as it was at the start then. It must never know the clock: time stands still in it.

use std::sync::Arc;

use np_types::{Limits, PublicKey, Time};
use np_wire::{Settings, Side};

use crate::Shortage;
use crate::alive::Alive;
use crate::credit::{ReceiveWindow, SendWindow};
use crate::flood::{Flood, RestingFlood};
use crate::growth::Rounds;
use crate::methods::{LocalMethods, PeerMethods};
use crate::pace::Pace;
use crate::receiver::{Receiver, RestingReceiver};
use crate::sender::{RestingSender, Sender};
use crate::session::{Channel, Control, Phase, PingState, Session};
use crate::table::{Opened, Table};

/// What is left of a [`Session`] that rests: all that its peer and its application can tell it by, in some 520 bytes in
/// place of 1,380.
///
/// ```
/// use np_noise::{ReceiveCipher, SendCipher, Traffic};
/// use np_session::{Session, Side};
/// use np_types::{Limits, Time};
/// use bytes::BytesMut;
/// let session = |side, sends, receives| {
///     let (send, receive) = (SendCipher::danger_from_key(sends), ReceiveCipher::danger_from_key(receives));
///     let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
///     Session::danger_from_traffic(side, Limits::default(), traffic, Time::ZERO)
/// };
/// let mut here = session(Side::Initiator, [1; 32], [2; 32]);
/// let mut there = session(Side::Responder, [2; 32], [1; 32]);
/// assert!(here.put_to_rest(Time::ZERO).is_none(), "its settings are to be sent");
/// for _ in 0..2 {
///     let mut said = Vec::new();
///     there.poll_transmit(Time::ZERO, &mut said);
///     there.handle_written(said.len());
///     here.handle_bytes(Time::ZERO, &mut BytesMut::from(&said[..]));
///     std::mem::swap(&mut here, &mut there);
/// }
/// while here.poll_event().is_some() {}
/// let resting = here.put_to_rest(Time::ZERO).expect("nothing moves");
/// assert_eq!(resting.poll_timeout(), None, "nobody asked it to look for signs of life");
/// let mut here = resting.wake();
/// assert!(here.peer_settings().is_some() && here.is_idle());
/// ```
#[derive(Debug)]
#[must_use = "it has the keys of the connection, which is over without them"]
pub struct Resting {
    limits: Arc<Limits>,
    hash: [u8; 32],
    remote_static: Option<PublicKey>,
    peer: Option<Settings>,
    sender: RestingSender,
    receiver: RestingReceiver,
    /// How many streams this side has opened, and the peer.
    opened: [u64; 2],
    /// Where the generations of new streams begin.
    floor: u32,
    /// Names that were told, where any were.
    methods: Option<Box<(LocalMethods, PeerMethods)>>,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    moved: u64,
    spare: u64,
    flood: RestingFlood,
    /// Where large messages have left, or small ones lately.
    pace: Option<Box<Pace>>,
    pings: PingState,
    alive: Alive,
    rounds: Rounds,
    side: Side,
    shortage: Shortage,
    peer_draining: bool,
}

impl Session {
    /// Rests as [`Session::rest`] does, and folds the session up where nothing moves on it: connected, not about to end,
    /// nothing open, queued or waiting for its turn, no event untaken, no byte of a record read, and all that was given to be
    /// written [written](Session::handle_written). What is left of the session itself is closed then, and to be thrown away.
    /// Otherwise it goes on as it is, and there is nothing to wake.
    ///
    /// Time goes on: whoever has a session rest wakes it by [`Resting::poll_timeout`].
    #[must_use = "what is left of the session is closed where there is anything to wake"]
    pub fn put_to_rest(&mut self, now: Time) -> Option<Resting> {
        self.rest(now);
        if !self.may_rest() {
            return None;
        }
        self.phase = Phase::Closed;
        let methods = Some((std::mem::take(&mut self.local_methods), std::mem::take(&mut self.peer_methods)));
        let methods = methods.filter(|(local, peer)| !local.is_empty() || !peer.is_empty());
        let pace = std::mem::take(&mut self.pace);
        Some(Resting {
            limits: Arc::clone(&self.limits),
            hash: self.hash,
            remote_static: self.remote_static,
            peer: self.peer.take(),
            sender: self.sender.put_to_rest(),
            receiver: self.receiver.put_to_rest(),
            opened: [self.opened_here.count(), self.opened_by_peer.count()],
            floor: self.table.floor(),
            methods: methods.map(Box::new),
            send_window: std::mem::take(&mut self.send_window),
            receive_window: std::mem::replace(&mut self.receive_window, ReceiveWindow::new(0, 0)),
            moved: self.moved,
            spare: self.spare,
            flood: self.flood.put_to_rest(),
            pace: if pace.is_blank() { None } else { Some(Box::new(pace)) },
            pings: std::mem::take(&mut self.pings),
            alive: std::mem::take(&mut self.alive),
            rounds: std::mem::take(&mut self.rounds),
            side: self.side,
            shortage: self.shortage,
            peer_draining: self.peer_draining,
        })
    }

    /// Whether a [`Resting`] would have all of it, after a rest.
    fn may_rest(&self) -> bool {
        let stands = self.phase == Phase::Open && self.draining.is_none();
        let nothing_said = self.control.is_empty() && self.sender.may_rest();
        let nothing_heard = self.partial == 0 && self.events.is_empty();
        // Where no stream is open all of these are empty; what is not in a Resting is asked for all the same.
        let queues = [&self.control_ready, &self.starved, &self.one_way];
        let nothing_queued = self.schedule.is_empty() && queues.iter().all(|queue| queue.is_empty());
        let nothing_held = !self.budget.has_waiting() && self.budget.used() + self.assembling == 0;
        stands && nothing_said && nothing_heard && self.table.is_empty() && nothing_queued && nothing_held
    }
}

impl Resting {
    /// When the session has to be woken, for [`Session::handle_timeout`], unless something comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.alive.due()
    }

    /// The session, as it was.
    #[must_use]
    pub fn wake(self) -> Session {
        let (local_methods, peer_methods) = self.methods.map(|methods| *methods).unwrap_or_default();
        let channel = Channel::outer(self.hash);
        let mut session = Session::new(self.side, self.limits, channel, Vec::new(), Time::ZERO);
        session.phase = Phase::Open;
        session.peer = self.peer;
        session.peer_draining = self.peer_draining;
        session.remote_static = self.remote_static;
        session.sender = Sender::wake(self.sender, &session.limits);
        session.receiver = Receiver::wake(self.receiver);
        session.table = Table::after(self.floor);
        let [here, by_peer] = self.opened;
        session.opened_here = Opened::after(self.side, here);
        session.opened_by_peer = Opened::after(self.side.other(), by_peer);
        (session.local_methods, session.peer_methods) = (local_methods, peer_methods);
        (session.send_window, session.receive_window) = (self.send_window, self.receive_window);
        (session.moved, session.spare, session.shortage) = (self.moved, self.spare, self.shortage);
        session.flood = Flood::wake(self.flood, &session.limits);
        session.pace = self.pace.map(|pace| *pace).unwrap_or_default();
        (session.pings, session.alive, session.rounds) = (self.pings, self.alive, self.rounds);
        // Nothing is to be sent first, as it is at the start.
        session.control = Control::default();
        session
    }
}
