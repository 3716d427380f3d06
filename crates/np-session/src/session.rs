//! The state of a connection after its handshake, and what happens to it from outside.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_types::{CloseCode, ConnectionError, Limits, Misbehaved, PublicKey, Time};
use np_wire::{Settings, Side, StreamId};

use crate::alive::Alive;
use crate::credit::{ReassemblyBudget, ReceiveWindow, SendWindow};
use crate::flood::Flood;
use crate::growth::Rounds;
use crate::methods::{LocalMethods, PeerMethods};
use crate::pace::Pace;
use crate::receiver::Receiver;
use crate::schedule::Schedule;
use crate::seldom::Seldom;
use crate::sender::Sender;
use crate::table::{Opened, Table};
use crate::{Event, Shortage, StreamKey};

/// Where a connection stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// The peer's first record has not come.
    Opening,
    /// Both sides are connected.
    Open,
    /// This side ends the connection: what can be sent is sent, then CLOSE.
    Closing(CloseCode, String),
    /// The peer broke a rule or was refused: CLOSE is sent and nothing else.
    Failing(CloseCode, String),
    /// Nothing is sent or read any more.
    Closed,
}

/// Room for events that an idle session keeps; what a burst needed beyond it is given back.
const EVENTS_KEPT: usize = 256;

/// Bytes of the body of a call that every responder takes before its settings are known; the last message of a handshake,
/// settings and such a call are read at once, as a kilobyte.
pub const EARLY_BYTES: u64 = 512;

/// Control frames of the connection that wait to be sent; each at most once.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) settings: bool,
    pub(crate) ping: Option<u64>,
    pub(crate) pong: Option<u64>,
    pub(crate) allowance: Option<u32>,
    pub(crate) go_away: Option<(u64, CloseCode)>,
    /// Calls that were refused at their opening frame: an id and a reason each.
    pub(crate) refused: Seldom<(StreamId, np_types::Status, &'static str)>,
}

impl Control {
    /// Whether nothing of the connection's own waits.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { settings, ping, pong, allowance, go_away, refused } = self;
        let none = ping.is_none() && pong.is_none() && allowance.is_none() && go_away.is_none();
        none && !settings && refused.is_empty()
    }
}

/// One connection after its handshake: records in, events out; commands in, records out.
///
/// See the crate's page for the calling order. Nothing here reads a clock: `now` comes with each call that needs it.
///
/// # Limits
/// Worst case per connection, in bytes: `max_window + reassembly_budget + call_budget` of bodies (`connection_window` in
/// place of `max_window` where that is larger; windows grow only as the application consumes), about 300 for each of
/// `2 * max_calls + max_queued_calls` calls, 64 KiB of method names each way, and the caller's two buffers.
#[derive(Debug)]
pub struct Session {
    pub(crate) side: Side,
    pub(crate) limits: Arc<Limits>,
    pub(crate) phase: Phase,
    pub(crate) error: Option<Box<ConnectionError>>,
    /// Whether it ended without a word of this side.
    pub(crate) lost: bool,
    pub(crate) peer: Option<Settings>,
    /// Whether a call may leave before the peer's settings are known.
    pub(crate) early: bool,
    /// Whether what was sent last stopped early, so that small messages find their way between large ones.
    pub(crate) makes_way: bool,
    pub(crate) hash: [u8; 32],
    pub(crate) remote_static: Option<PublicKey>,
    /// The end of the handshake that was not sent yet.
    pub(crate) preceding: Vec<u8>,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) table: Table,
    pub(crate) opened_here: Opened,
    pub(crate) opened_by_peer: Opened,
    pub(crate) local_methods: LocalMethods,
    pub(crate) peer_methods: PeerMethods,
    pub(crate) send_window: SendWindow,
    pub(crate) receive_window: ReceiveWindow,
    pub(crate) budget: ReassemblyBudget,
    /// Bytes of small messages that are put together; large ones have a budget of their own.
    pub(crate) assembling: u64,
    /// Bytes of messages in pieces that came, and of all that left, ever.
    pub(crate) moved: u64,
    pub(crate) shortage: Shortage,
    /// Bytes of large messages that may be granted yet.
    pub(crate) spare: u64,
    pub(crate) flood: Flood,
    pub(crate) control: Control,
    /// Streams with control frames; each stands there at most once.
    pub(crate) control_ready: Seldom<StreamKey>,
    /// Calls of this side that have no id yet, and streams with bytes to send.
    pub(crate) schedule: Schedule,
    /// Streams whose bodies wait for the connection's credit.
    pub(crate) starved: Seldom<StreamKey>,
    pub(crate) pace: Pace,
    /// One-way messages that are sealed and wait to be handed over.
    pub(crate) one_way: Seldom<StreamKey>,
    /// The earliest deadline that may still matter.
    pub(crate) earliest: Option<Time>,
    pub(crate) pings: PingState,
    pub(crate) alive: Alive,
    /// How much of a record lay in the input when it was looked at last.
    pub(crate) partial: usize,
    pub(crate) rounds: Rounds,
    /// How many of the peer's streams were accepted when this side said go-away.
    pub(crate) draining: Option<u64>,
    pub(crate) peer_draining: bool,
    pub(crate) events: VecDeque<Event>,
    /// Whether small calls have a way of their own; a test holds both ways against each other.
    #[cfg(test)]
    pub(crate) straight: bool,
    /// What has left by it.
    #[cfg(test)]
    pub(crate) went_straight: u64,
}

/// Pings: tokens count up, and pongs answer the latest that left or an earlier one. Every token leaves
/// before there is another.
#[derive(Debug, Default)]
pub(crate) struct PingState {
    given: u64,
    /// At most one behind `given`.
    left: u64,
    answered: u64,
    /// The tokens that the application waits for, oldest first; the session's own stand between them.
    asked: Seldom<u64>,
}

impl PingState {
    /// The token of the next ping to leave: whoever asks while one waits shares it.
    pub(crate) const fn next(&mut self) -> u64 {
        self.given = self.left + 1;
        self.given
    }

    /// The ping with the token that was given last leaves.
    pub(crate) const fn leaves(&mut self) {
        self.left = self.given;
    }

    /// The token of the next ping, whose answer the application is told.
    pub(crate) fn ask(&mut self) -> u64 {
        let token = self.next();
        self.asked.push_back(token);
        token
    }

    /// Whether the application waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// A pong came; gives the last ping of the application that it answers.
    pub(crate) fn answer(&mut self, token: u64) -> Result<Option<u64>, Misbehaved> {
        if token <= self.answered || token > self.left {
            return Err(Misbehaved::Pong);
        }
        self.answered = token;
        let mut last = None;
        while self.asked.front().is_some_and(|asked| *asked <= token) {
            last = self.asked.pop_front();
        }
        Ok(last)
    }
}

/// What the records of a session travel under.
pub(crate) struct Channel {
    /// Without a cipher, an outer channel protects the records, or nothing does.
    send: Option<SendCipher>,
    receive: Option<ReceiveCipher>,
    binding: [u8; 32],
    remote_static: Option<PublicKey>,
}

impl Channel {
    pub(crate) const fn outer(binding: [u8; 32]) -> Self {
        Self { send: None, receive: None, binding, remote_static: None }
    }
}

impl From<Traffic> for Channel {
    fn from(traffic: Traffic) -> Self {
        let Traffic { send, receive, hash, remote_static } = traffic;
        Self { send: Some(send), receive: Some(receive), binding: hash, remote_static }
    }
}

impl Session {
    /// Starts over keys that no handshake agreed on: for tests, fuzzing and measurements alone.
    ///
    /// ```
    /// use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// use np_session::{Session, Side};
    /// use np_types::{Limits, Time};
    /// let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
    /// let mut out = Vec::new();
    /// assert!(session.poll_transmit(Time::ZERO, &mut out), "a session begins with its settings");
    /// ```
    #[must_use]
    pub fn danger_from_traffic(side: Side, limits: Limits, traffic: Traffic, now: Time) -> Self {
        Self::new(side, limits.into(), traffic.into(), Vec::new(), now)
    }

    /// A session over what a finished handshake agreed on. `preceding` is what the handshake still has to send.
    pub(crate) fn new(side: Side, limits: Arc<Limits>, channel: Channel, preceding: Vec<u8>, now: Time) -> Self {
        let mut sender = Sender::new(channel.send, &limits, now);
        sender.count_preceding(preceding.len());
        Self {
            side,
            phase: Phase::Opening,
            error: None,
            lost: false,
            peer: None,
            early: false,
            makes_way: false,
            hash: channel.binding,
            remote_static: channel.remote_static,
            // An empty one may have had more in it.
            preceding: if preceding.is_empty() { Vec::new() } else { preceding },
            sender,
            receiver: Receiver::new(channel.receive),
            table: Table::default(),
            opened_here: Opened::new(side),
            opened_by_peer: Opened::new(side.other()),
            local_methods: LocalMethods::default(),
            peer_methods: PeerMethods::default(),
            send_window: SendWindow::default(),
            receive_window: ReceiveWindow::new(limits.connection_window, limits.max_window),
            budget: ReassemblyBudget::new(limits.reassembly_budget),
            assembling: 0,
            moved: 0,
            shortage: Shortage::None,
            spare: u64::MAX,
            flood: Flood::new(&limits, now),
            control: Control { settings: true, ..Control::default() },
            control_ready: Seldom::default(),
            schedule: Schedule::default(),
            starved: Seldom::default(),
            pace: Pace::default(),
            one_way: Seldom::default(),
            earliest: None,
            pings: PingState::default(),
            alive: Alive::default(),
            partial: 0,
            rounds: Rounds::default(),
            draining: None,
            peer_draining: false,
            events: VecDeque::new(),
            #[cfg(test)]
            straight: true,
            #[cfg(test)]
            went_straight: 0,
            limits,
        }
    }

    /// Lets the first call leave with the end of the handshake, before the peer's settings have come: one request of at most
    /// [`EARLY_BYTES`], plain and without metadata, which every responder takes. Whatever else is opened waits for the
    /// settings. Saves that call a round trip.
    ///
    /// A peer that refuses this side in its first record has not acted on the call, which fails as not processed. For
    /// initiators: a responder's settings are on their way before it could open a call, and there this changes nothing.
    ///
    /// ```
    /// use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// use np_session::{OpenCall, OpenKind, Session, Side};
    /// use np_types::{Limits, MethodName, Time};
    /// let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
    /// session.open(OpenCall::new(OpenKind::Request, MethodName::new("np.echo")?))?;
    /// let mut settings = Vec::new();
    /// session.poll_transmit(Time::ZERO, &mut settings);
    /// session.allow_early_call();
    /// assert!(session.poll_transmit(Time::ZERO, &mut Vec::new()), "the call, though nothing has come yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_early_call(&mut self) {
        if self.side == Side::Initiator && self.phase == Phase::Opening && !self.early {
            self.early = true;
            self.send_window.give_back(EARLY_BYTES);
        }
    }

    /// Takes every whole record off `input` and acts on it; a partial record stays.
    ///
    /// Answers nothing once the session is closed: the input is discarded then. To be handed the same part of a record again
    /// is no sign of life.
    pub fn handle_bytes(&mut self, now: Time, input: &mut BytesMut) {
        self.flood.at(now);
        if input.len() != self.partial {
            self.note_heard(now);
        }
        while self.reads() {
            match self.receiver.next_record(input) {
                Ok(Some(record)) => {
                    if let Err(error) = self.handle_record(now, &record) {
                        self.fail(error);
                    }
                }
                Ok(None) => {
                    self.partial = input.len();
                    return;
                }
                Err(error) => self.fail(error),
            }
        }
        input.clear();
    }

    /// The transport's read side ended. Without a CLOSE before it the connection was truncated.
    pub fn handle_eof(&mut self) {
        if self.reads() {
            self.lose(Misbehaved::Truncated.into());
        }
    }

    /// The transport failed; nothing can be sent any more.
    pub fn handle_lost(&mut self, error: ConnectionError) {
        if self.phase != Phase::Closed {
            self.lose(error);
        }
    }

    /// The transport took `bytes` more of what [`Session::poll_transmit`] gave.
    ///
    /// From this the session knows which calls cannot have reached the peer.
    pub fn handle_written(&mut self, bytes: usize) {
        self.sender.written(bytes as u64);
        self.moved += bytes as u64;
        while let Some(key) = self.one_way.front().copied() {
            match self.table.stream(key).and_then(|stream| stream.complete_in) {
                Some(number) if !self.sender.is_written(number) => return,
                Some(_) => {
                    if self.table.stream(key).is_some_and(|stream| !stream.abandoned) {
                        self.events.push_back(Event::Sent { key });
                    }
                    if let Some(stream) = self.table.stream_mut(key) {
                        stream.abandoned = true;
                    }
                }
                None => {}
            }
            self.one_way.pop_front();
        }
    }

    /// The next thing that happened, if any.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`Session::handle_timeout`] must be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let alive = if self.phase == Phase::Open { self.alive.due() } else { None };
        [self.earliest, alive].into_iter().flatten().min()
    }

    /// The channel binding: the hash of the handshake, the same on both ends and unique to this connection.
    #[must_use]
    pub const fn binding(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The peer's static key, where the handshake proved one.
    #[must_use]
    pub const fn remote_static(&self) -> Option<&PublicKey> {
        self.remote_static.as_ref()
    }

    /// Which end of the connection this is.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// The peer's settings, once its first record came.
    #[must_use]
    pub const fn peer_settings(&self) -> Option<&Settings> {
        self.peer.as_ref()
    }

    /// Whether no call or stream is open, in either direction.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.table.is_empty()
    }

    /// Calls and streams that the peer has open.
    #[must_use]
    pub const fn open_by_peer(&self) -> usize {
        self.table.open_by_peer()
    }

    /// Calls and streams that this side has open or queued.
    #[must_use]
    pub const fn open_here(&self) -> usize {
        self.table.open_here()
    }

    /// Calls and streams that were ever opened, by either side.
    #[must_use]
    pub const fn opened(&self) -> u64 {
        self.opened_here.count() + self.opened_by_peer.count()
    }

    /// Calls of this side that wait for the peer's allowance or for credit; one more than `max_queued_calls` is refused.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.schedule.openings()
    }

    /// Bytes of bodies that the peer makes this side hold: those that wait for their rest or for the application, those of
    /// calls at work, their answers included, and messages of streams that have not left as a whole.
    #[must_use]
    pub const fn held_bytes(&self) -> u64 {
        self.receive_window.held() + self.budget.used() + self.table.held_bytes() + self.table.unsent_bytes()
    }

    /// The part of [`Session::held_bytes`] that the application has and has not done with: requests that it has not
    /// answered, and messages of streams that it has not taken. Nothing that the peer sends makes it free.
    #[must_use]
    pub const fn held_by_application(&self) -> u64 {
        self.table.at_work_bytes() + self.receive_window.held().saturating_sub(self.assembling)
    }

    /// Whether the session has ended and has nothing left to send.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Gives back memory that bursts of calls needed, as far as none is open and no event waits, and that of prepared keys:
    /// for connections that have not moved for a while. What comes next takes it anew.
    ///
    /// ```
    /// # use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// # use np_session::{Session, Side};
    /// # use np_types::{Limits, Time};
    /// # let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    /// # let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    /// let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
    /// session.rest(Time::ZERO);
    /// assert!(session.is_idle());
    /// ```
    pub fn rest(&mut self, now: Time) {
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        if self.table.is_empty() {
            self.table.rest();
            self.schedule.rest();
            // It was of a call that is over.
            self.earliest = None;
        }
        for queue in [&mut self.control_ready, &mut self.starved, &mut self.one_way] {
            queue.rest();
        }
        self.control.refused.rest();
        self.pings.asked.rest();
        self.send_window.rest();
        self.budget.rest();
        self.pace.rest(now);
        self.sender.rest();
        self.receiver.rest();
        self.flood.rest(now);
    }

    /// Why the session ended, once it has.
    #[must_use]
    pub fn error(&self) -> Option<&ConnectionError> {
        self.error.as_deref()
    }

    /// Whether the session ended without a word of this side: its transport failed, the peer ended it or is taken for dead,
    /// or [`Session::handle_lost`] said so. Nothing that was sealed and not handed to the transport may leave then: its
    /// calls were told to be not processed. After [`Session::close`], and where the peer broke a rule, the rest leaves.
    ///
    /// ```
    /// use np_noise::{ReceiveCipher, SendCipher, Traffic};
    /// use np_session::{Session, Side};
    /// use np_types::{CloseCode, ConnectionError, Limits, Time};
    /// let session = || {
    ///     let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    ///     let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    ///     Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO)
    /// };
    /// let (mut closed, mut lost) = (session(), session());
    /// closed.close(CloseCode::Normal, "");
    /// lost.handle_lost(ConnectionError::ClosedHere(CloseCode::Progress));
    /// assert!(!closed.was_lost() && lost.was_lost());
    /// ```
    #[must_use]
    pub const fn was_lost(&self) -> bool {
        self.lost
    }

    /// Whether frames from the peer still have an effect.
    pub(crate) const fn reads(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use np_noise::{ReceiveCipher, SendCipher, Traffic};
    use np_types::{Limits, Time};
    use np_wire::Side;

    use super::{EVENTS_KEPT, Session};
    use crate::Event;

    /// A round of calls leaves its room to the next; a flood of events leaves none.
    #[test]
    fn room_for_some_events_is_kept_and_for_many_given_back() {
        let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
        for (room, left) in [(EVENTS_KEPT, EVENTS_KEPT), (EVENTS_KEPT + 1, 0)] {
            session.events = VecDeque::with_capacity(room);
            assert_eq!(session.events.capacity(), room, "the room that this test is about");
            session.events.push_back(Event::Pong { token: 7 });
            assert!(session.poll_event().is_some());
            assert_eq!(session.events.capacity(), room, "kept until it is empty");
            assert!(session.poll_event().is_none());
            assert_eq!(session.events.capacity(), left);
        }
    }
}
