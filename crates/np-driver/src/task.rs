//! The connection task: one future that owns a session and its socket.
//!
//! Each turn reads what is there, lets the session act on it, runs handlers, takes commands, and writes once. It never
//! waits for writing before it reads, and it reads the clock once a turn, and once more where it rested before.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use np_dispatch::{PeerInfo, Router};
use np_session::{Event, Session, Shortage, Side};
use np_transport::Io;
use np_types::{CallError, CloseCode, ConnectionError, Status, Time};
use tokio::io::AsyncReadExt as _;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tracing::Span;

use crate::alarm::Alarm;
use crate::allowance::Allowance;
use crate::call_limits::Permit;
use crate::clock::Clock;
use crate::commands::{Command, Control, Doorbell, Keeper};
use crate::connection::{Connection, ConnectionInfo, WayBack, WeakCaller};
use crate::establish::Established;
use crate::farewell::{farewell, goodbye};
use crate::fate::Fate;
use crate::handlers::Handlers;
use crate::lifetime::{Life, Lifetime};
use crate::link_error::{is_end, link_error};
use crate::memory::{Holding, Share};
use crate::progress::Progress;
use crate::queue::Taken;
use crate::recent::Recent;
use crate::slots::Slots;
use crate::telemetry::{Book, Way};

use self::handing::Handing;
use self::resting::Resting;

/// Bytes asked for per read; doubled up to the second figure while reads come back full. The first is small, as most
/// connections of a busy server are idle.
const READ: usize = 2 << 10;
const READ_MOST: usize = 256 << 10;
/// Reads per turn, so that one busy peer does not keep a worker to itself.
const READS: usize = 16;
/// How long what a busy connection needs stays there without traffic.
const REST: Duration = Duration::from_secs(1);
/// A connection is busy on which bytes come or go in more turns than this without a pause as long as a rest: a call is one or
/// two, and of one now and then nothing is kept for the next.
const FEW: u8 = 2;

/// Commands for which a connection keeps room while it is in use.
const COMMANDS: usize = 256;

/// Everything that one connection is made of.
pub(crate) struct Task {
    pub(crate) io: Box<dyn Io>,
    pub(crate) session: Session,
    pub(crate) router: Router,
    pub(crate) recent: Recent,
    pub(crate) info: Arc<ConnectionInfo>,
    /// What handlers know of the peer; there while handlers are.
    peer_info: Option<Arc<PeerInfo>>,
    way_back: WayBack,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) slots: Slots,
    pub(crate) handlers: Handlers,
    pub(crate) allowance: Allowance,
    /// The place of a call that was answered at once, for the next one of the same turn, and how often it served.
    pub(crate) spare: Option<Permit>,
    pub(crate) reused: u64,
    pub(crate) book: Book,
    share: Share,
    life: Life,
    pub(crate) pings: Vec<(u64, Time, oneshot::Sender<Duration>)>,
    pub(crate) now: Time,
    pub(crate) handing: Handing,
    /// Whether replies or commands came: what the yield rule looks at.
    pub(crate) fresh: bool,
    max_queued: usize,
    taken: Vec<Command>,
    /// Calls that the session has no room for, one for each caller that waits, and the earliest of their deadlines.
    waiting: VecDeque<Command>,
    waiting_until: Option<Time>,
    fate: Arc<Fate>,
    input: BytesMut,
    read_size: usize,
    out: Vec<u8>,
    /// When it will have paused for as long as a rest, unless something moves before; what a busy one keeps goes then.
    rest_at: Option<Time>,
    /// In how many turns bytes have come or gone without a pause as long as a rest, and whether they have in this one.
    moves: u8,
    moved: bool,
    written: usize,
    /// Whether something was written since the last flush.
    unflushed: bool,
    /// Whether the transport had no room when it was written to last.
    blocked: bool,
    timer: Option<(Time, Pin<Box<Sleep>>)>,
    progress: Progress,
    /// When a peer is cut whose first record has not come.
    opening_until: Option<Time>,
    /// When a drain is over, whatever is open.
    drain_until: Option<Time>,
    /// What a connection that was drained ends with.
    drained: CloseCode,
    /// When a peer that does not take the last bytes is left alone.
    close_until: Option<Time>,
    handles_gone: bool,
    /// Whether this side connected, and ended the connection while nothing was open: no answer is waited for then.
    quiet: bool,
    yielded: bool,
    /// Whether nothing was written yet of a connection whose first call may leave with the end of the handshake.
    unsaid: bool,
    eof: bool,
}

/// Starts the task of an established connection on the current runtime, and gives its first handle.
pub(crate) fn start(
    established: Box<Established>,
    (io, alarm): (Box<dyn Io>, Alarm),
    info: ConnectionInfo,
    lifetime: &Lifetime,
    share: Share,
    router: Router,
) -> (Connection, Running) {
    let mut established = *established;
    let (fate, bell, info) = (Arc::<Fate>::default(), Arc::new(Doorbell::default()), Arc::new(info));
    let keeper = (established.session.side() == Side::Initiator).then(|| Keeper::of(&bell));
    let connection = Connection::new(keeper, Arc::clone(&bell), Arc::clone(&info), Arc::clone(&fate));
    let clock = info.clock;
    let now = clock.now();
    let life = Life::new(lifetime, now, info.binding.first().copied().unwrap_or_default());
    let (side, peer, address) = (established.session.side(), &info.peer, &*info.address);
    let span = tracing::debug_span!(target: "np::connection", "connection", %peer, address, ?side);
    let book = Book::new(info.audit.telemetry.clone(), side, established.opening.is_none());
    fate.opens(established.opening.is_some());
    if !share.counts() {
        established.session.set_shortage(Shortage::None, u64::MAX);
    }
    established.session.keep_alive(lifetime.heartbeat_interval, now);
    let task = Box::new(Task {
        io,
        session: established.session,
        router,
        recent: Recent::default(),
        progress: Progress::new(info.progress_timeout),
        peer_info: None,
        way_back: connection.way_back(),
        info,
        bell,
        slots: Slots::default(),
        handlers: Handlers::default(),
        allowance: Allowance::new(established.max_calls),
        spare: None,
        reused: 0,
        book,
        share,
        life,
        pings: Vec::new(),
        now,
        handing: Handing::default(),
        fresh: false,
        max_queued: established.max_queued,
        taken: Vec::new(),
        waiting: VecDeque::new(),
        waiting_until: None,
        fate,
        input: established.input,
        read_size: READ,
        out: Vec::new(),
        rest_at: None,
        moves: 0,
        moved: false,
        written: 0,
        unflushed: false,
        blocked: false,
        timer: timer_of(alarm, clock),
        opening_until: established.opening.map(|until| clock.time(until)),
        drain_until: None,
        drained: CloseCode::Drained,
        close_until: None,
        handles_gone: false,
        quiet: false,
        yielded: false,
        unsaid: established.opening.is_some(),
        eof: false,
    });
    let span = if span.is_disabled() { None } else { Some(Box::new(span)) };
    (connection, Running { stage: Stage::Turns(task), span })
}

/// What was set for the handshake serves on: it is earlier than a connection needs it, and then set anew.
fn timer_of(alarm: Alarm, clock: Clock) -> Option<(Time, Pin<Box<Sleep>>)> {
    let sleep = alarm.into_sleep()?;
    Some((clock.time(sleep.deadline()), sleep))
}

/// The future of a connection, small beside what it is made of: whoever waits for it has room for it, and mostly nobody
/// looks at its span.
pub(crate) struct Running {
    stage: Stage,
    span: Option<Box<Span>>,
}

enum Stage {
    Turns(Box<Task>),
    /// Between turns, while nothing moves.
    Rests(Box<Resting>),
    /// What follows the last turn; in a box of its own, as connections are open longer than they end.
    End(Pin<Box<dyn Future<Output = ConnectionError> + Send>>),
    Over,
}

impl Future for Running {
    type Output = ConnectionError;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        let Self { stage, span } = &mut *self;
        let _within = span.as_deref().map(Span::enter);
        stage.wake();
        if let Stage::Turns(task) = stage {
            let turn = task.poll_turn(cx);
            if turn.is_pending() {
                stage.rest();
            }
            ready!(turn);
        }
        *stage = match std::mem::replace(stage, Stage::Over) {
            Stage::Turns(task) => Stage::End(Box::pin(Settled(task).end())),
            other => other,
        };
        match stage {
            Stage::End(end) => end.as_mut().poll(cx),
            Stage::Turns(_) | Stage::Rests(_) | Stage::Over => Poll::Pending,
        }
    }
}

impl Stage {
    #[inline]
    fn wake(&mut self) {
        if matches!(self, Self::Rests(_)) {
            self.wake_up();
        }
    }

    /// Has the task rest, if nothing is open and little moves.
    #[inline]
    fn rest(&mut self) {
        if matches!(self, Self::Turns(task) if task.is_calm()) {
            self.lie_down();
        }
    }

    // Apart from those who ask, who need no room for a whole task on their stack.
    #[cold]
    #[inline(never)]
    fn wake_up(&mut self) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::Rests(resting) => Self::Turns(resting.wake()),
            other => other,
        };
    }

    #[cold]
    #[inline(never)]
    fn lie_down(&mut self) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::Turns(task) => task.put_to_rest().map_or_else(Self::Turns, Self::Rests),
            other => other,
        };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // What a task says that is stopped half-way belongs to its span too.
        let _within = self.span.as_deref().map(Span::enter);
        self.stage.wake();
        // It still answers everyone who waits for it.
        if let Stage::Turns(task) = std::mem::replace(&mut self.stage, Stage::Over) {
            drop(Settled(task));
        }
    }
}

/// A task after its last turn: whoever waits for it is answered, also where it is stopped half-way to its end.
struct Settled(Box<Task>);

impl Drop for Settled {
    fn drop(&mut self) {
        self.0.settle();
    }
}

impl Settled {
    /// What follows the last turn.
    async fn end(mut self) -> ConnectionError {
        let task = &mut *self.0;
        // Everyone learns of the end before the last bytes leave: no call waits for a peer that lingers.
        let error = task.settle();
        match error {
            ConnectionError::Io { .. } | ConnectionError::Tls(_) => {}
            ConnectionError::ClosedByPeer { in_clear: false, .. } => goodbye(&mut task.io, &[]).await,
            ConnectionError::ClosedHere(_) if task.quiet => {
                goodbye(&mut task.io, task.out.get(task.written..).unwrap_or_default()).await;
            }
            // What a peer that is gone, or too slow, did not get was told to be not processed: it must not arrive after all.
            _ if task.session.was_lost() => farewell(&mut task.io, &[]).await,
            _ => farewell(&mut task.io, task.out.get(task.written..).unwrap_or_default()).await,
        }
        error
    }
}

impl Task {
    /// What handlers know of the peer.
    pub(crate) fn peer_info(&mut self) -> Arc<PeerInfo> {
        let made = self.peer_info.get_or_insert_with(|| {
            let (way_back, bell) = (self.way_back.clone(), Arc::clone(&self.bell));
            let (info, fate) = (Arc::clone(&self.info), Arc::clone(&self.fate));
            Arc::new(WeakCaller { way_back, bell, info, fate }.peer_info())
        });
        Arc::clone(made)
    }

    /// Ends whatever is still open here: no caller, stream or handler outlives the connection.
    fn settle(&mut self) -> ConnectionError {
        if self.session.error().is_none() {
            // The task itself was stopped, with its runtime or its acceptor.
            self.session.handle_lost(ConnectionError::ClosedHere(CloseCode::Internal));
        }
        let error = self.session.error().cloned().unwrap_or(ConnectionError::ClosedHere(CloseCode::Normal));
        self.bell.ask_no_more();
        self.fate.ends(&error);
        while let Some(event) = self.session.poll_event() {
            if !matches!(event, Event::Opened { .. }) {
                self.handle_event(&Context::from_waker(Waker::noop()), event);
            }
        }
        self.handing.finish();
        for command in self.unsent_commands() {
            command.fail(unsent(&error));
        }
        for (key, slot) in std::mem::take(&mut self.slots).drain() {
            self.fail(key, slot, unknown(&error));
        }
        self.book.over(&error, self.now);
        self.pings.clear();
        self.handlers = Handlers::default();
        error
    }

    /// Takes the commands that the session was not given.
    fn unsent_commands(&mut self) -> impl Iterator<Item = Command> {
        let mut queued = std::mem::take(&mut self.taken);
        self.bell.take_calls(&mut queued);
        std::mem::take(&mut self.waiting).into_iter().chain(queued)
    }

    /// One turn. Ready when the session has ended and its last bytes are in `out`.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.bell.register(cx.waker());
        self.now = self.info.clock.now();
        self.moved = false;
        let mut more = self.poll_read(cx);
        more |= self.take_commands();
        self.poll_bell();
        self.free_spare();
        self.poll_timer(cx);
        self.poll_handlers(cx);
        self.drain_events(cx);
        self.handing.hand_out();
        self.free_spare();
        self.feed_waiting();
        self.finish_drain();
        if self.session.is_closed() {
            return Poll::Ready(());
        }
        if self.should_yield() {
            // In the queue already, it is not brought forward by the callers that are to run first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.waits_for_early_call() {
            return Poll::Pending;
        }
        more |= self.poll_write(cx);
        if self.finish_drain() {
            // The last answer has just left; now the close.
            more |= self.poll_write(cx);
        }
        if self.session.is_closed() {
            self.drain_events(cx);
            return Poll::Ready(());
        }
        let unwritten = self.written < self.out.len() || self.unflushed;
        self.note_use();
        self.has_memory();
        // What this side does not read is not late.
        let unread = !self.input.is_empty() && !self.share.is_stopped() && !self.handing.waits();
        more |= self.progress.note(self.now, unwritten, unread);
        // Writing may have made room in the session, and a close that began after the timer was set needs one.
        more |= self.feed_waiting();
        more |= self.handing.waits();
        more |= self.session.error().is_some() && self.close_until.is_none();
        // What was written last, or is held since, sets a time that the alarm, which came before, does not know.
        let due = [self.rest_due(), self.share.due(self.now)].into_iter().flatten().min();
        more |= due.is_some_and(|due| self.timer.as_ref().is_none_or(|(armed, _)| *armed > due));
        if self.session.opened() == 0 {
            // Many connections that come at once, and are not called at once, share what each needs for a moment alone.
            self.session.rest(self.now);
        }
        if more {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Reads until nothing is there or the turn's share is used up; gives whether there may be more.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.input.is_empty() {
            // What came with the end of the handshake.
            self.session.handle_bytes(self.now, &mut self.input);
            self.drain_events(cx);
        }
        for _ in 0..READS {
            if self.eof || self.session.is_closed() || !self.has_memory() {
                return false;
            }
            if self.handing.waits() {
                return true;
            }
            match self.poll_read_once(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) => {
                    self.eof = true;
                    self.session.handle_eof();
                }
                Poll::Ready(Ok(_)) => {
                    let before = self.input.len();
                    self.session.handle_bytes(self.now, &mut self.input);
                    if self.input.len() < before {
                        self.progress.record();
                    }
                }
                Poll::Ready(Err(error)) if is_end(&error) => {
                    self.eof = true;
                    self.session.handle_eof();
                }
                Poll::Ready(Err(error)) => {
                    self.eof = true;
                    self.session.handle_lost(link_error("read from the connection", &error));
                }
            }
            self.drain_events(cx);
        }
        true
    }

    /// Whether the server's memory lets this connection read on. While it does not, the peer is told that this side lives,
    /// and is not expected to be heard.
    fn has_memory(&mut self) -> bool {
        if !self.share.counts() {
            return true;
        }
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let unpacked = self.info.bodies.held();
        let unwritten = self.out.len() - self.written;
        let (kept, whole) = self.bell.kept();
        let all = size(self.session.held_bytes()) + unpacked + kept + self.input.len() + unwritten;
        let taken = size(self.session.held_by_application()) + unpacked + whole;
        let (moved, asks) = (self.session.moved_bytes(), self.session.waits_for_grants());
        let (unread, movable) = (self.input.len(), self.session.movable_bytes());
        let reads = self.share.note(self.now, Holding { all, taken, moved, asks, unread, movable });
        self.session.set_shortage(self.share.shortage(), self.share.spare());
        if !reads {
            self.session.note_heard(self.now);
            if self.share.shows_life(self.now) {
                self.session.show_life();
            }
        }
        reads
    }

    fn poll_read_once(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        self.input.reserve(self.read_size);
        let room = self.input.capacity() - self.input.len();
        let read = poll_read_buf(&mut self.io, cx, &mut self.input);
        if let Poll::Ready(Ok(count)) = &read {
            self.book.bytes(Way::In, *count);
            self.note_move();
            if *count >= room {
                self.read_size = (self.read_size * 2).min(READ_MOST);
            }
        } else if !self.is_busy() && self.input.is_empty() {
            // It was woken for something else, or may never be for a call.
            self.input = BytesMut::new();
        }
        read
    }

    /// Takes what handles ask for; gives whether there is more.
    fn take_commands(&mut self) -> bool {
        for control in self.bell.take_asked() {
            self.handle_control(control);
        }
        if self.handles_gone {
            return false;
        }
        // Looked at first: what the last handle asked for is in the queue before it goes.
        let left = self.bell.has_left();
        let mut taken = std::mem::take(&mut self.taken);
        let Taken { more, elsewhere } = self.bell.take_calls(&mut taken);
        // Read where it is asked for: handlers that answer at once may have taken their time since the turn began.
        let (mut now, clock) = (None, self.info.clock);
        for command in &mut taken {
            command.count_from(|| *now.get_or_insert_with(|| clock.now()));
        }
        let count = taken.len();
        for command in taken.drain(..) {
            self.take_command(command);
        }
        self.handing.called(count, elsewhere, self.slots.calls());
        if taken.capacity() <= COMMANDS || count >= COMMANDS / 4 {
            // What a burst needed goes once little comes.
            self.taken = taken;
        }
        self.handles_gone = left;
        more
    }

    /// Gives a command to the session, or keeps it where its deadline is watched and its caller may leave.
    fn take_command(&mut self, command: Command) {
        if self.waiting.is_empty() && self.session.queued() < self.max_queued {
            return self.handle_command(command);
        }
        let until = [command.deadline().time(), self.waiting_until];
        self.waiting_until = until.into_iter().flatten().min();
        self.waiting.push_back(command);
    }

    /// Gives waiting commands to the session as far as it has room; gives whether it took any.
    fn feed_waiting(&mut self) -> bool {
        let mut fed = false;
        while self.session.queued() < self.max_queued
            && let Some(command) = self.waiting.pop_front()
        {
            self.handle_command(command);
            fed = true;
        }
        fed
    }

    fn handle_command(&mut self, command: Command) {
        if command.is_abandoned() {
            return;
        }
        if self.drain_until.is_some() && command.is_new_work() {
            let text = "this side is draining: it opens nothing but calls for those it accepted";
            return command.fail(CallError::not_processed(Status::Unavailable, text));
        }
        self.fresh = true;
        match command {
            Command::Call { call, reply, .. } => self.open_call(call, reply),
            Command::OneWay { call, sent } => self.open_one_way(call, sent),
            Command::Stream { call, compress, opened } => self.open_stream(call, compress, opened),
        }
    }

    fn handle_control(&mut self, control: Control) {
        self.fresh = true;
        match control {
            Control::Ping { answered } => {
                let token = self.session.ping();
                self.pings.retain(|(_, _, waiting)| !waiting.is_closed());
                self.pings.push((token, self.now, answered));
            }
            Control::UpdateKey => self.session.update_key(),
            Control::Drain { within } => self.drain(CloseCode::Drained, within),
            Control::Withdraw => self.withdraw(),
            Control::Close { code, text } => self.close(code, &text),
        }
    }

    /// Ends the connection in order.
    fn close(&mut self, code: CloseCode, text: &str) {
        let idle = self.session.is_idle() && self.session.error().is_none();
        self.quiet |= idle && self.session.side() == Side::Initiator;
        self.session.close(code, text);
    }

    /// Takes back what has not begun to leave, wherever it waits.
    fn withdraw(&mut self) {
        let text = "taken back before it was sent";
        for command in self.unsent_commands() {
            command.fail(CallError::not_processed(Status::Cancelled, text));
        }
        self.session.withdraw();
    }

    /// Cancelled calls, and streams whose users did something.
    fn poll_bell(&mut self) {
        if self.bell.take_cancelled() {
            self.waiting.retain(|command| !command.is_abandoned());
            for key in self.slots.cancelled() {
                self.session.cancel(key);
                self.slots.remove(key);
                self.book.ended(key, Status::Cancelled, self.now);
            }
        }
        for key in self.bell.take_rung() {
            self.run_errands(key);
        }
        let leftover = self.bell.take_leftover();
        if leftover > 0 {
            self.session.release(u32::try_from(leftover).unwrap_or(u32::MAX));
        }
    }

    fn poll_handlers(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready((key, ending)) = self.handlers.poll_ended(cx) {
            self.finish_handler(key, ending);
        }
    }

    /// The settings have come of a peer whose handshake did not wait for them.
    pub(crate) fn ready(&mut self, peer_reads: u32) {
        if self.opening_until.take().is_some() {
            self.info.bodies.learn(peer_reads);
            self.fate.opens(false);
            self.book.taken_up(self.now);
        }
    }

    /// Tells who watches that the peer takes no new calls.
    pub(crate) fn peer_drains(&self, code: CloseCode) {
        self.fate.drains(code);
    }

    pub(crate) fn answered_ping(&mut self, token: u64) {
        let now = self.info.clock.now();
        let at = self.pings.iter().take_while(|(waiting, ..)| *waiting <= token).count();
        for (_, sent, answered) in self.pings.drain(..at) {
            // Whoever asked may have gone.
            let _ = answered.send(now.since(sent));
        }
    }
}

/// What a caller is told whose command was never given to the session.
fn unsent(error: &ConnectionError) -> CallError {
    CallError::not_processed(Status::Unavailable, "the connection has ended").because(error.clone())
}

fn unknown(error: &ConnectionError) -> CallError {
    CallError::unknown(Status::Unavailable, "the connection has ended").because(error.clone())
}

/// Reads once into the spare room of `input`. The future of a read keeps nothing between polls.
fn poll_read_buf(io: &mut Box<dyn Io>, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<std::io::Result<usize>> {
    pin!(io.read_buf(input)).poll(cx)
}

mod handing;
mod output;
mod resting;
#[cfg(test)]
pub(crate) mod tests;
mod timing;
