//! What handles ask of a connection task, and how they wake it.

use std::sync::Arc;
use std::time::Duration;

use np_dispatch::MessageStream;
use np_session::{Answer, OpenCall, StreamKey};
use np_types::{CallError, CloseCode, Deadline, Time};
use tokio::sync::oneshot;

use crate::queue::{Queue, Refused, Taken};
use crate::sync::{AtomicBool, AtomicUsize, AtomicWaker, Mutex, MutexGuard, Ordering};

/// Where the answer of a unary call goes.
pub(crate) type Answering = oneshot::Sender<Result<Answer, Unanswered>>;

/// Why a call has no answer, and when it would have been over.
///
/// ```
/// use np_driver::Unanswered;
/// use np_types::{CallError, Status};
/// let unanswered = Unanswered::from(CallError::not_processed(Status::Unavailable, "no connection"));
/// assert!(unanswered.deadline.is_none(), "no connection has counted its time");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Unanswered {
    /// Why, and what is known about the work.
    pub error: CallError,
    /// Its deadline on the clock of its connection, where that has learned of it.
    pub deadline: Option<Deadline>,
}

impl From<CallError> for Unanswered {
    fn from(error: CallError) -> Self {
        Self { error, deadline: None }
    }
}

impl From<Unanswered> for CallError {
    fn from(unanswered: Unanswered) -> Self {
        unanswered.error
    }
}

/// What waits in the queue of a connection.
pub(crate) enum Command {
    /// A unary call.
    /// `nested` says that a handler makes it for a call that was accepted.
    /// `relative` says that its deadline is a span, which counts from when the task takes the command.
    Call { call: OpenCall, nested: bool, relative: bool, reply: Answering },
    /// A one-way message; the answer is that it was handed over.
    OneWay { call: OpenCall, sent: oneshot::Sender<Result<(), CallError>> },
    /// A stream of messages; `compress` says whether they are made smaller.
    Stream { call: OpenCall, compress: Option<bool>, opened: oneshot::Sender<Result<MessageStream, CallError>> },
}

/// What is asked that is no call, and must get through when calls cannot.
pub(crate) enum Control {
    /// A sign of life.
    Ping { answered: oneshot::Sender<Duration> },
    /// A new key for this direction.
    UpdateKey,
    /// No new calls from the peer; end once the open ones are over, or when the time is.
    Drain { within: Duration },
    /// No calls but those that have begun to leave.
    Withdraw,
    /// The end.
    Close { code: CloseCode, text: String },
}

impl Command {
    /// Whether whoever asked has gone, so that nothing needs to be done.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::Call { reply, .. } => reply.is_closed(),
            Self::OneWay { sent, .. } => sent.is_closed(),
            Self::Stream { opened, .. } => opened.is_closed(),
        }
    }

    /// Counts a deadline that was given as a span from `now` on.
    pub(crate) fn count_from(&mut self, now: impl FnOnce() -> Time) {
        if let Self::Call { call, relative: relative @ true, .. } = self {
            call.deadline = call.deadline.from(now());
            *relative = false;
        }
    }

    /// When whoever asked stops waiting.
    pub(crate) const fn deadline(&self) -> Deadline {
        match self {
            Self::Call { call, .. } | Self::OneWay { call, .. } | Self::Stream { call, .. } => call.deadline,
        }
    }

    /// Whether it opens something that no accepted call asked for: what a side that said go-away does no more.
    pub(crate) const fn is_new_work(&self) -> bool {
        match self {
            Self::Call { nested, .. } => !*nested,
            Self::OneWay { .. } | Self::Stream { .. } => true,
        }
    }

    /// Answers a call that was never given to the session.
    pub(crate) fn fail(self, error: CallError) {
        // A waiter that has gone needs no answer.
        match self {
            Self::Call { call, relative, reply, .. } => {
                let deadline = (!relative).then_some(call.deadline);
                drop(reply.send(Err(Unanswered { error, deadline })));
            }
            Self::OneWay { sent, .. } => drop(sent.send(Err(error))),
            Self::Stream { opened, .. } => drop(opened.send(Err(error))),
        }
    }
}

/// What wakes a connection task besides its socket.
///
/// Calls, one-way messages and streams stand in a queue. Cancelled calls are found by looking at their own slots, so a
/// cancel needs no room in the queue. Streams that have something to say stand in a list once each, so the list is bounded
/// by the streams.
#[derive(Default)]
pub(crate) struct Doorbell {
    waker: AtomicWaker,
    calls: Queue<Command>,
    /// The last handle of the side that connected has gone.
    left: AtomicBool,
    cancelled: AtomicBool,
    rung: AtomicBool,
    streams: Mutex<Vec<StreamKey>>,
    /// Bytes that were taken out of streams which the session no longer has; they hold the connection's credit.
    leftover: AtomicUsize,
    /// Bytes of streams' messages that are kept without credit, since their messages are larger than a window.
    uncredited: AtomicUsize,
    /// The part of them that is of whole messages, which wait for their readers alone.
    whole: AtomicUsize,
    asked: AtomicBool,
    control: Mutex<Asked>,
    /// Whoever made the connection has it.
    taken: AtomicBool,
}

/// What the handles of the side that connected share: with the last of them the connection ends.
pub(crate) struct Keeper(Arc<Doorbell>);

impl Keeper {
    pub(crate) fn of(bell: &Arc<Doorbell>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(bell)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// What this side's own application asks of the connection beside its calls.
#[derive(Default)]
struct Asked {
    list: Vec<Control>,
    /// The connection has ended.
    is_over: bool,
}

impl Doorbell {
    pub(crate) fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Gives the task a command, if there is a place for it.
    #[inline]
    pub(crate) fn put<M: FnOnce() -> Command>(&self, make: M) -> Result<(), Refused<M>> {
        if self.calls.put(make)? {
            self.waker.wake();
        }
        Ok(())
    }

    /// As [`Self::put`], however long it takes until there is a place; false where the connection has ended.
    pub(crate) async fn put_later(&self, command: Command) -> bool {
        let first = self.calls.put_later(command).await;
        if first == Some(true) {
            self.waker.wake();
        }
        first.is_some()
    }

    /// Takes all commands that wait; tells whether others wait to be put there, for whom the task has to come again. `taken`
    /// must be empty.
    pub(crate) fn take_calls(&self, taken: &mut Vec<Command>) -> Taken {
        self.calls.take(taken)
    }

    /// Whether the last handle has gone. What came through it can be taken once this was seen.
    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Gives memory back that nobody uses.
    pub(crate) fn rest(&self) {
        self.calls.rest();
    }

    /// Asks for something that is no call; it comes before all calls. Nothing is asked of a connection that has ended: what
    /// waits for an answer then sees that nobody will give one.
    pub(crate) fn ask(&self, control: Control) {
        let mut asked = lock(&self.control);
        if asked.is_over {
            return;
        }
        asked.list.push(control);
        drop(asked);
        self.asked.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// What was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Control> {
        if self.asked.load(Ordering::Relaxed) && self.asked.swap(false, Ordering::Acquire) {
            std::mem::take(&mut lock(&self.control).list)
        } else {
            Vec::new()
        }
    }

    /// The connection has ended: nothing more is asked of it, and no more commands come than are in the queue.
    pub(crate) fn ask_no_more(&self) {
        self.calls.close();
        let mut asked = lock(&self.control);
        (asked.is_over, asked.list) = (true, Vec::new());
    }

    /// Whoever made the connection has it, and may call at once: in the same run of its task, behind which that of the connection
    /// comes where both share a thread.
    pub(crate) fn take_up(&self) {
        self.taken.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// Some call's receiver was dropped.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn take_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) && self.cancelled.swap(false, Ordering::Acquire)
    }

    /// A stream has bytes to send, credit to give back, or an end.
    pub(crate) fn ring(&self, key: StreamKey) {
        lock(&self.streams).push(key);
        self.rung.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Bytes were taken, or thrown away, from a stream that has ended.
    pub(crate) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.leftover.fetch_add(bytes, Ordering::AcqRel);
            self.waker.wake();
        }
    }

    /// Takes `bytes` of a budget that all streams share; false if they do not fit.
    pub(crate) fn borrow(&self, bytes: usize, budget: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= budget);
        self.uncredited.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    pub(crate) fn repay(&self, bytes: usize) {
        if bytes > 0 {
            self.uncredited.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Bytes without credit are of a whole message now, or no more.
    pub(crate) fn completed(&self, bytes: usize) {
        if bytes > 0 {
            self.whole.fetch_add(bytes, Ordering::AcqRel);
        }
    }

    pub(crate) fn taken(&self, bytes: usize) {
        if bytes > 0 {
            self.whole.fetch_sub(bytes, Ordering::AcqRel);
        }
    }

    /// Bytes that are kept without credit, and the part of them that is of whole messages. A reader that takes one in this
    /// moment repays it before it is no longer whole: read the other way round, so it never looks like a message in part.
    pub(crate) fn kept(&self) -> (usize, usize) {
        let whole = self.whole.load(Ordering::Acquire);
        (self.uncredited.load(Ordering::Acquire).max(whole), whole)
    }

    pub(crate) fn take_leftover(&self) -> usize {
        if self.leftover.load(Ordering::Relaxed) == 0 { 0 } else { self.leftover.swap(0, Ordering::AcqRel) }
    }

    pub(crate) fn take_rung(&self) -> Vec<StreamKey> {
        if self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::Acquire) {
            std::mem::take(&mut *lock(&self.streams))
        } else {
            Vec::new()
        }
    }
}

/// A lock whose holder panicked still guards valid data here: every critical section is a few assignments.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
