//! What tasks share, under many orders of their steps: the files of `src` themselves, with the locks and counters of
//! shuttle in place of the standard ones (`src/sync.rs`).
//!
//! Each scene is run some hundreds of times, each time with another schedule, by chance from a seed or with few
//! preemptions in the worst places. A wake-up that is lost is a deadlock here, and a failure prints its schedule, which
//! `shuttle::replay` runs again. `NP_INTERLEAVINGS` asks for more runs of each scene.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "files of the crate are taken whole, and a test may fail"
)]

#[path = "../src/at_work.rs"]
mod at_work;
#[path = "../src/call_limits.rs"]
mod call_limits;
#[path = "../src/commands.rs"]
#[allow(unnameable_types, reason = "the crate names it at its root")]
mod commands;
#[path = "../src/identities.rs"]
mod identities;
#[path = "../src/message_queue.rs"]
mod message_queue;
#[path = "../src/queue.rs"]
mod queue;
#[path = "../src/rate.rs"]
mod rate;
#[path = "../src/stream_cell.rs"]
mod stream_cell;
#[path = "../src/threads.rs"]
mod threads;

/// In place of `src/sync.rs`.
mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};

    /// One beside which the others may have their turn.
    #[derive(Debug, Default)]
    pub(crate) struct AtomicWaker(futures_util::task::AtomicWaker);

    impl AtomicWaker {
        pub(crate) fn register(&self, waker: &std::task::Waker) {
            shuttle::thread::yield_now();
            self.0.register(waker);
        }

        pub(crate) fn wake(&self) {
            shuttle::thread::yield_now();
            self.0.wake();
        }

        pub(crate) const fn new() -> Self {
            Self(futures_util::task::AtomicWaker::new())
        }
    }
}

/// The part of a connection that its streams know.
mod connection {
    #[derive(Debug)]
    pub(crate) struct ConnectionInfo {
        pub(crate) max_message: u32,
        pub(crate) reassembly_budget: u32,
        pub(crate) bodies: crate::compression::Bodies,
    }
}

/// In place of the codecs: messages of 100 bytes or more pass through them and stay as they are.
mod compression {
    use bytes::Bytes;
    use np_session::Encoding;
    use np_types::{CallError, MethodName};

    pub(crate) const LARGE: usize = 1 << 20;

    #[derive(Debug)]
    pub(crate) struct Bodies;

    pub(crate) struct Whole {
        pub(crate) body: Bytes,
    }

    impl Bodies {
        pub(crate) const fn tries(&self, _asked: Option<bool>, size: usize) -> bool {
            size >= 100
        }

        pub(crate) fn pack(&self, _method: &MethodName, body: Bytes) -> (Encoding, Bytes) {
            shuttle::thread::yield_now();
            (Encoding::Lz4 { raw: body.len() as u32 }, body)
        }

        pub(crate) const fn unpack(&self, _from: Encoding, body: Bytes) -> Result<Whole, CallError> {
            Ok(Whole { body })
        }
    }
}

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt as _;
use np_dispatch::MessageStream;
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{Encoding, OpenCall, OpenKind, Session, Side, StreamKey};
use np_types::{CallError, Codec, Limits, PeerIdentity, PublicKey, Status, Time};
use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};
use tokio::sync::oneshot;

use at_work::AtWork;
use call_limits::{CallLimits, WhenFull};
use commands::{Command, Doorbell, Keeper};
use connection::ConnectionInfo;
use queue::Queue;
use rate::{Bucket, Tap};
use stream_cell::{Errands, Opening, StreamCell};
use sync::{AtomicUsize, AtomicWaker, Ordering};

const BUDGET: u32 = 4_096;
/// Of the schedules.
const SEED: u64 = 5;

/// Some key of a stream; only sessions make them.
fn key() -> StreamKey {
    static KEY: OnceLock<StreamKey> = OnceLock::new();
    *KEY.get_or_init(|| {
        let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        let mut session = Session::danger_from_traffic(Side::Initiator, Limits::default(), traffic, Time::ZERO);
        session.open(OpenCall::new(OpenKind::Stream, "chat".parse().unwrap())).unwrap()
    })
}

/// What the connection task of a scene has: the bell, and one stream.
struct Line {
    bell: Arc<Doorbell>,
    cell: Arc<StreamCell>,
    /// Bytes whose credit went back, by the stream or by the connection.
    returned: usize,
    /// Messages of the user, in order.
    sent: Vec<Bytes>,
    finished: bool,
    dropped: bool,
    cancelled: Option<Status>,
    /// Whether the slot of the stream is gone.
    over: bool,
}

impl Line {
    fn new() -> (Self, MessageStream) {
        let info = ConnectionInfo { max_message: 1 << 16, reassembly_budget: BUDGET, bodies: compression::Bodies };
        let info = Arc::new(info);
        let bell = Arc::new(Doorbell::default());
        let cell = StreamCell::new(&bell, &info, "chat".parse().unwrap(), None);
        let stream = cell.open(key(), Opening { local: true, codec: Codec::Bytes, max_message: 1 << 16 });
        let line = Self {
            bell,
            cell,
            returned: 0,
            sent: Vec::new(),
            finished: false,
            dropped: false,
            cancelled: None,
            over: false,
        };
        (line, stream)
    }

    /// A piece of a message came, as it does in `events.rs`.
    fn arrive(&mut self, body: Bytes, end: bool, fin: bool) {
        let size = body.len();
        self.returned += self.cell.arrived(body, Encoding::Plain, end, fin).unwrap_or(size);
    }

    /// The session has forgotten the stream: whatever its user asked for and was not told yet stays unheard.
    fn end(&mut self, error: Option<CallError>) {
        self.over = true;
        self.cell.ended(error);
    }

    /// Does what the user asked for since the last time; gives whether there was anything.
    fn errands(&mut self) -> bool {
        let rung = self.bell.take_rung();
        let leftover = self.bell.take_leftover();
        self.returned += leftover;
        assert!(rung.len() <= 1, "a stream stands in the list once");
        for rung in rung.iter().filter(|_| !self.over) {
            assert_eq!(*rung, key());
            let Errands { consumed, message, finish, cancel, dropped } = self.cell.errands();
            self.returned += consumed;
            assert!(!self.finished || message.is_none(), "no message follows the end");
            self.sent.extend(message.map(|(_, body)| body));
            assert!(!(finish && self.finished), "the end is told once");
            self.finished |= finish;
            self.dropped |= dropped;
            if let Some(error) = cancel {
                assert!(self.cancelled.replace(error.status).is_none(), "a stream is given up once");
            }
        }
        !rung.is_empty() || leftover > 0
    }

    /// Waits for the user, as a turn of the connection task does.
    fn wait(&mut self) {
        block_on(poll_fn(|cx| {
            self.bell.register(cx.waker());
            if self.errands() { Poll::Ready(()) } else { Poll::Pending }
        }));
    }
}

/// Messages in pieces: their numbers tell their bytes.
fn pieces(sizes: &[usize]) -> VecDeque<(Bytes, bool)> {
    let mut pieces = VecDeque::new();
    for (at, size) in sizes.iter().enumerate() {
        let message = Bytes::from(vec![at as u8; *size]);
        let cut = size / 2;
        if *size > 1 {
            pieces.push_back((message.slice(..cut), false));
        }
        pieces.push_back((message.slice(if *size > 1 { cut } else { 0 }..), true));
    }
    pieces
}

const SIZES: [usize; 4] = [3, 0, 900, 40];

/// Everything arrives while the user reads: all of it, in order, and every byte of credit comes back.
fn a_reader_gets_every_message_and_every_credit_comes_back() {
    let (mut line, mut stream) = Line::new();
    let reader = thread::spawn(move || {
        let mut sizes = Vec::new();
        block_on(async {
            while let Some(message) = stream.recv().await {
                let message = message.unwrap();
                assert!(message.iter().all(|byte| usize::from(*byte) == sizes.len()));
                sizes.push(message.len());
            }
        });
        sizes
    });
    for (body, end) in pieces(&SIZES) {
        line.arrive(body, end, false);
        line.errands();
    }
    line.arrive(Bytes::new(), false, true);
    let all = SIZES.iter().sum::<usize>();
    while line.returned < all || !line.dropped {
        line.wait();
    }
    assert_eq!(reader.join().unwrap(), SIZES);
    assert_eq!(line.returned, all);
    assert!(line.bell.borrow(BUDGET as usize, BUDGET as usize), "what was borrowed is repaid");
}

/// The stream ends, or is cut off in the middle of a message, while its user reads or leaves.
fn an_end_that_comes_at_any_moment_loses_no_credit() {
    let (mut line, mut stream) = Line::new();
    let (reads, cut) = (thread_rng().gen_range(0..4), thread_rng().gen_range(0..6));
    let user = thread::spawn(move || {
        block_on(async {
            for _ in 0..reads {
                if !matches!(stream.recv().await, Some(Ok(_))) {
                    break;
                }
            }
        });
        drop(stream);
    });
    let mut arrived = 0;
    for (body, end) in pieces(&SIZES).into_iter().take(cut) {
        arrived += body.len();
        line.arrive(body, end, false);
        line.errands();
    }
    let error = thread_rng().gen_bool(0.5).then(|| CallError::answered(Status::Failed, "cut"));
    line.end(error);
    user.join().unwrap();
    line.errands();
    assert_eq!(line.returned, arrived, "of {cut} pieces, {reads} messages read");
    assert!(line.bell.borrow(BUDGET as usize, BUDGET as usize), "what was borrowed is repaid");
}

/// The user sends as fast as it may: each message leaves once, in order, and the end after them.
fn a_writer_hands_over_each_message_once_and_its_end_last() {
    const COUNT: usize = 3;
    let (mut line, mut stream) = Line::new();
    let writer = thread::spawn(move || {
        block_on(async {
            for at in 0..COUNT {
                stream.send(Bytes::from(vec![at as u8; 1 + 120 * (at % 2)])).await.unwrap();
            }
            stream.finish().await.unwrap();
        });
        stream
    });
    let mut taken = 0;
    while !line.finished {
        line.wait();
        while line.sent.len() > taken {
            taken += 1;
            // The session takes one at a time, and some time later; then the next may be there.
            thread::yield_now();
            line.cell.writable();
            line.errands();
        }
    }
    let sent: Vec<_> = line.sent.iter().map(|message| usize::from(message[0])).collect();
    assert_eq!(sent, [0, 1, 2]);
    drop(writer.join().unwrap());
    assert!(line.cancelled.is_none());
}

/// A writer whose stream ends is told so, whatever it waits for.
fn a_writer_is_told_of_an_end_at_any_moment() {
    let (mut line, mut stream) = Line::new();
    let writer = thread::spawn(move || {
        block_on(async {
            let mut sent = 0;
            while stream.send(Bytes::from_static(b"more")).await.is_ok() {
                sent += 1;
            }
            sent
        })
    });
    for _ in 0..thread_rng().gen_range(0..3) {
        line.wait();
        line.cell.writable();
    }
    line.end(None);
    let sent: usize = writer.join().unwrap();
    line.errands();
    assert!(line.sent.len() <= sent + 1);
}

/// Giving a stream up reaches the task once, or finds it over.
fn a_stream_is_given_up_once() {
    let (mut line, stream) = Line::new();
    let ends = thread_rng().gen_bool(0.5);
    let user = thread::spawn(move || {
        stream.cancel(Status::Failed, "enough");
    });
    if ends {
        line.arrive(Bytes::from_static(b"some"), true, false);
        line.end(None);
        user.join().unwrap();
        line.errands();
        assert_eq!(line.returned, 4);
    } else {
        while line.cancelled.is_none() {
            line.wait();
        }
        assert_eq!(line.cancelled, Some(Status::Failed));
        user.join().unwrap();
    }
}

/// A call that was dropped is noticed by a task that was about to sleep.
fn a_bell_is_never_missed() {
    let bell = Arc::new(Doorbell::default());
    let ringers: Vec<_> = (0..2)
        .map(|_| {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                bell.ring(key());
                bell.give_back(3);
                bell.cancel();
            })
        })
        .collect();
    let (mut rung, mut leftover, mut cancelled) = (0, 0, false);
    block_on(poll_fn(|cx| {
        bell.register(cx.waker());
        cancelled |= bell.take_cancelled();
        rung += bell.take_rung().len();
        leftover += bell.take_leftover();
        if rung == 2 && leftover == 6 && cancelled { Poll::Ready(()) } else { Poll::Pending }
    }));
    for ringer in ringers {
        ringer.join().unwrap();
    }
}

/// Many fill a queue of two places, and wait where it is full: the one that empties it gets everything, of each in its
/// order, and is woken for it.
fn a_full_queue_loses_nothing_and_leaves_nobody_waiting() {
    let queue = Arc::new((Queue::<(usize, usize), 2>::default(), AtomicWaker::new()));
    let callers: Vec<_> = (0..3)
        .map(|caller| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                for at in 0..3 {
                    let first = match queue.0.put(|| (caller, at)) {
                        Ok(first) => first,
                        Err(_) => block_on(queue.0.put_later((caller, at))).unwrap(),
                    };
                    if first {
                        queue.1.wake();
                    }
                }
            })
        })
        .collect();
    let mut all = [0; 3];
    let mut taken = Vec::new();
    block_on(poll_fn(|cx| {
        queue.1.register(cx.waker());
        if queue.0.take(&mut taken).more {
            cx.waker().wake_by_ref();
        }
        for (caller, at) in taken.drain(..) {
            assert_eq!(all[caller], at);
            all[caller] += 1;
        }
        if all == [3; 3] { Poll::Ready(()) } else { Poll::Pending }
    }));
    for caller in callers {
        caller.join().unwrap();
    }
}

/// A queue that is closed at any moment: what it took is there, and whoever it refuses is told.
fn a_queue_that_closes_keeps_or_refuses_each() {
    let queue = Arc::new(Queue::<usize, 2>::default());
    let callers: Vec<_> = (0..3)
        .map(|caller| {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (0..2).filter(|_| block_on(queue.put_later(caller)).is_some()).count())
        })
        .collect();
    let (mut taken, mut all) = (Vec::new(), 0);
    for _ in 0..thread_rng().gen_range(0..3) {
        queue.take(&mut taken);
        all += taken.drain(..).count();
    }
    queue.close();
    queue.take(&mut taken);
    let put: usize = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
    assert_eq!(put, all + taken.len());
    taken.clear();
    queue.take(&mut taken);
    assert!(taken.is_empty(), "nothing comes after the close");
}

/// The task that sees that the last handle has gone finds what was asked for through it.
fn what_the_last_handle_asked_for_is_there_when_it_has_gone() {
    let bell = Arc::new(Doorbell::default());
    let keeper = Keeper::of(&bell);
    let handles: Vec<_> = (0..2)
        .map(|_| {
            let (bell, keeper) = (Arc::clone(&bell), Arc::clone(&keeper));
            thread::spawn(move || {
                let (call, sent) = (OpenCall::new(OpenKind::OneWay, "m".parse().unwrap()), oneshot::channel().0);
                assert!(bell.put(|| Command::OneWay { call, sent }).is_ok());
                drop(keeper);
            })
        })
        .collect();
    drop(keeper);
    let (mut taken, mut all) = (Vec::new(), 0);
    block_on(poll_fn(|cx| {
        bell.register(cx.waker());
        let left = bell.has_left();
        bell.take_calls(&mut taken);
        all += taken.drain(..).count();
        if left { Poll::Ready(()) } else { Poll::Pending }
    }));
    assert_eq!(all, 2);
    for handle in handles {
        handle.join().unwrap();
    }
}

/// A future that is woken at any moment has its turn.
fn whoever_is_at_work_is_never_left_asleep() {
    let mut at_work = AtWork::new();
    let gates: Vec<_> = (0..2).map(|_| Arc::new((AtomicUsize::new(0), AtomicWaker::new()))).collect();
    // The first is woken, and stays shut: whoever polls it for nothing must not miss the others.
    let openers: Vec<_> = (0..2)
        .map(|number| {
            let gate = Arc::clone(&gates[number]);
            thread::spawn(move || {
                gate.0.store(usize::from(number > 0), Ordering::SeqCst);
                gate.1.wake();
            })
        })
        .collect();
    let (mut entered, mut ended) = (false, 0);
    block_on(poll_fn(|cx| {
        if !std::mem::replace(&mut entered, true) {
            for gate in &gates {
                let gate = Arc::clone(gate);
                let opened = poll_fn(move |cx| {
                    gate.1.register(cx.waker());
                    if gate.0.load(Ordering::SeqCst) == 1 { Poll::Ready(()) } else { Poll::Pending }
                });
                ended += usize::from(at_work.enter(cx.waker(), Box::pin(opened)).is_ok());
            }
        }
        while at_work.poll_next(cx.waker()).is_ready() {
            ended += 1;
        }
        if ended == gates.len() - 1 { Poll::Ready(()) } else { Poll::Pending }
    }));
    for opener in openers {
        opener.join().unwrap();
    }
    assert!(at_work.leave(0, |_| true).is_some() && at_work.is_empty());
}

/// Calls that wait for a place get one, past those that gave up, and never too many.
fn places_are_never_too_many_and_whoever_waits_gets_one() {
    let limits = CallLimits::new(1, 1, WhenFull::Wait);
    let peer = PeerIdentity::Noise(PublicKey::from_bytes([1; 32]));
    let at_work = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..3)
        .map(|at| {
            let (places, at_work) = (limits.of(&peer, Time::ZERO), Arc::clone(&at_work));
            thread::spawn(move || {
                if at == 0 {
                    // Asks, and gives up some time later unless there is a place at once.
                    let mut asks = Box::pin(places.enter());
                    let permit = (&mut asks).now_or_never();
                    thread::yield_now();
                    drop((asks, permit));
                    return;
                }
                let permit = block_on(places.enter());
                assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "two hold the only place");
                thread::yield_now();
                at_work.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            })
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    assert!(limits.of(&peer, Time::ZERO).try_enter().is_ok(), "every place is free again");
}

/// Large messages of several streams share one budget.
fn a_budget_is_never_overdrawn() {
    let bell = Arc::new(Doorbell::default());
    let borrowers: Vec<_> = (0..3)
        .map(|_| {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                let fits = bell.borrow(60, 100);
                if fits {
                    assert!(!bell.borrow(60, 100), "two do not fit");
                    bell.repay(60);
                }
            })
        })
        .collect();
    for borrower in borrowers {
        borrower.join().unwrap();
    }
    assert!(bell.borrow(100, 100));
}

/// A message that came whole waits for its reader alone: in no moment of his taking it do its bytes look as if the peer still
/// had to bring the rest.
fn a_whole_message_never_looks_like_one_in_part() {
    let (mut line, mut stream) = Line::new();
    for (body, end) in pieces(&[900]) {
        line.arrive(body, end, false);
    }
    let (all, whole) = line.bell.kept();
    assert!(all > 0 && whole == all, "{whole} of {all}");
    let reader = thread::spawn(move || block_on(stream.recv()).unwrap().unwrap().len());
    loop {
        let (all, whole) = line.bell.kept();
        assert_eq!(all, whole);
        if all == 0 {
            break;
        }
        thread::yield_now();
    }
    assert_eq!(reader.join().unwrap(), 900);
}

/// Calls that several connections make at one moment are as many as the rate allows, and no fewer.
fn a_rate_is_shared_to_the_last_act() {
    let shared = Arc::new((Bucket::default(), Tap::default()));
    shared.1.set(Some(3));
    let takers: Vec<_> = (0..3)
        .map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || (0..2).filter(|_| shared.0.take(&shared.1, Time::ZERO)).count())
        })
        .collect();
    let taken: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
    assert_eq!(taken, 3);
}

const SCENES: &[(&str, fn())] = &[
    (
        "a_reader_gets_every_message_and_every_credit_comes_back",
        a_reader_gets_every_message_and_every_credit_comes_back,
    ),
    ("an_end_that_comes_at_any_moment_loses_no_credit", an_end_that_comes_at_any_moment_loses_no_credit),
    ("a_writer_hands_over_each_message_once_and_its_end_last", a_writer_hands_over_each_message_once_and_its_end_last),
    ("a_writer_is_told_of_an_end_at_any_moment", a_writer_is_told_of_an_end_at_any_moment),
    ("a_stream_is_given_up_once", a_stream_is_given_up_once),
    ("a_bell_is_never_missed", a_bell_is_never_missed),
    ("a_full_queue_loses_nothing_and_leaves_nobody_waiting", a_full_queue_loses_nothing_and_leaves_nobody_waiting),
    ("a_queue_that_closes_keeps_or_refuses_each", a_queue_that_closes_keeps_or_refuses_each),
    (
        "what_the_last_handle_asked_for_is_there_when_it_has_gone",
        what_the_last_handle_asked_for_is_there_when_it_has_gone,
    ),
    ("whoever_is_at_work_is_never_left_asleep", whoever_is_at_work_is_never_left_asleep),
    ("places_are_never_too_many_and_whoever_waits_gets_one", places_are_never_too_many_and_whoever_waits_gets_one),
    ("a_budget_is_never_overdrawn", a_budget_is_never_overdrawn),
    ("a_whole_message_never_looks_like_one_in_part", a_whole_message_never_looks_like_one_in_part),
    ("a_rate_is_shared_to_the_last_act", a_rate_is_shared_to_the_last_act),
];

/// Runs a scene under so many schedules of each kind: always the same ones.
fn run(scene: fn(), runs: usize) {
    let mut config = Config::new();
    // Every ordering of a counter counts as the strongest here; where a weaker one is enough is argued at its place.
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new_from_seed(SEED, runs), config.clone()).run(scene);
    Runner::new(PctScheduler::new_from_seed(SEED, 3, runs), config).run(scene);
}

fn main() {
    let runs =
        std::env::var("NP_INTERLEAVINGS").map_or(500, |text| text.parse().expect("NP_INTERLEAVINGS is a number"));
    for (name, scene) in SCENES {
        let begun = std::time::Instant::now();
        run(*scene, runs);
        println!("{name}: {} schedules in {:?}", 2 * runs, begun.elapsed());
    }
}
