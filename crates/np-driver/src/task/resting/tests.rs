//! When a connection is folded up, and that it is as it was when it wakes.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use np_dispatch::Router;
use np_session::{Event, OpenCall, OpenKind, Session};
use np_transport::Io;
use np_types::{CallError, CloseCode, ConnectionError, Deadline, Outcome, Time};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::time::advance;

use crate::connection::{Connection, Request};
use crate::pending::Until;
use crate::task::tests::{made, sessions};
use crate::task::{FEW, REST, Running, Stage, Task};

use super::Resting;

const A_LITTLE: Duration = Duration::from_millis(1);

/// A connection whose far end is a session by hand.
struct Ends {
    connection: Connection,
    task: Running,
    far: DuplexStream,
    peer: Session,
    input: BytesMut,
}

impl Ends {
    fn new(sessions: (Session, Session)) -> Self {
        let (near, far) = duplex(1 << 16);
        Self::over(Box::new(near), far, sessions)
    }

    fn over(near: Box<dyn Io>, far: DuplexStream, (here, peer): (Session, Session)) -> Self {
        let router = Router::new();
        router.on("echo", |_ctx, body: Bytes| Ok(body)).unwrap();
        router.on_async("wait", |_ctx, _body: Bytes| std::future::pending::<Result<Bytes, CallError>>()).unwrap();
        let (connection, task) = made(near, here, None, router);
        Self { connection, task, far, peer, input: BytesMut::new() }
    }

    fn of_server() -> Self {
        let (client, server) = sessions();
        Self::new((server, client))
    }

    fn turn(&mut self) -> Poll<ConnectionError> {
        Pin::new(&mut self.task).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn rests(&self) -> bool {
        matches!(self.task.stage, Stage::Rests(_))
    }

    /// Carries bytes and gives turns until nothing moves; gives what happened to the peer.
    async fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            let mut out = Vec::new();
            self.peer.poll_transmit(Time::ZERO, &mut out);
            self.peer.handle_written(out.len());
            self.far.write_all(&out).await.unwrap();
            assert!(self.turn().is_pending());
            let mut moved = !out.is_empty();
            while let Poll::Ready(read) =
                pin!(self.far.read_buf(&mut self.input)).poll(&mut Context::from_waker(Waker::noop()))
            {
                read.unwrap();
                moved = true;
                self.peer.handle_bytes(Time::ZERO, &mut self.input);
            }
            events.extend(std::iter::from_fn(|| self.peer.poll_event()));
            if !moved {
                return events;
            }
        }
    }

    /// A call of the peer.
    async fn called(&mut self) {
        let mut call = OpenCall::new(OpenKind::Request, "echo".parse().unwrap());
        (call.body, call.deadline) = (b"said"[..].into(), Deadline::NONE);
        self.peer.open(call).unwrap();
        let events = self.settle().await;
        let [Event::Answered { answer, credit, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(answer.body, "said");
        self.peer.release(*credit);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_called_now_and_then_rests_at_once_and_who_is_busy_a_second_later() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    assert!(ends.rests(), "nothing was ever opened");
    for token in 0..5 {
        ends.peer.ping();
        assert_eq!(ends.settle().await, [Event::Pong { token: token + 1 }]);
        advance(A_LITTLE).await;
        assert!(ends.rests(), "pings are no calls");
    }
    // It is not counted, since nothing had been opened before it came.
    ends.called().await;
    assert!(ends.rests());
    for _ in 0..5 {
        advance(REST).await;
        ends.called().await;
        assert!(ends.rests(), "it had rested for long enough");
    }
    for calls in 2..=FEW {
        advance(A_LITTLE).await;
        ends.called().await;
        assert!(ends.rests(), "{calls}");
    }
    advance(A_LITTLE).await;
    ends.called().await;
    assert!(!ends.rests(), "more than a few");
    for _ in 0..5 {
        advance(REST - A_LITTLE).await;
        assert!(ends.turn().is_pending() && !ends.rests());
        ends.called().await;
    }
    advance(REST).await;
    assert!(ends.turn().is_pending() && ends.rests(), "a second without a call");
    ends.called().await;
    assert!(ends.rests(), "it begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_this_side_wakes_what_rests_and_its_answer_has_it_rest_again() {
    let mut ends = Ends::new(sessions());
    ends.settle().await;
    let request = Request::new("echo".parse().unwrap());
    for _ in 0..3 {
        assert!(ends.rests());
        let connection = ends.connection.clone();
        let mut call = pin!(connection.begin(&request, Until::At(Deadline::NONE)));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(cx).is_pending());
        let events = ends.settle().await;
        let [Event::Opened { key, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert!(!ends.rests(), "a call waits");
        ends.peer.respond(*key, np_session::Answer::from(Bytes::from_static(b"heard"))).unwrap();
        ends.settle().await;
        let Poll::Ready(Ok(reply)) = call.as_mut().poll(cx) else {
            panic!("no answer");
        };
        assert_eq!(reply.body, "heard");
        advance(REST).await;
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_holds_a_connection_that_rests_is_told_when_its_task_is_stopped() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    assert!(ends.rests() && ends.connection.error().is_none());
    let Ends { connection, task, .. } = ends;
    drop(task);
    assert!(matches!(connection.error(), Some(ConnectionError::ClosedHere(CloseCode::Internal))));
    let error = connection.call(Request::new("echo".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::NotProcessed);
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_asked_for_a_sign_of_life_and_ended_in_order() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    assert!(ends.rests());
    // The peer is a session without a heartbeat of its own.
    advance(Duration::from_secs(15)).await;
    let (mut said, mut out) = (BytesMut::new(), Vec::new());
    assert!(ends.turn().is_pending() && ends.rests(), "it has asked");
    ends.far.read_buf(&mut said).await.unwrap();
    ends.peer.handle_bytes(Time::ZERO, &mut said);
    assert!(ends.peer.poll_transmit(Time::ZERO, &mut out), "it is answered");
    ends.far.write_all(&out).await.unwrap();
    ends.peer.handle_written(out.len());
    assert!(ends.turn().is_pending() && ends.rests());
    let closing = ends.connection.clone();
    let mut closed = pin!(closing.close(CloseCode::Normal, "enough"));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(closed.as_mut().poll(cx).is_pending());
    drop(ends.turn());
    ends.far.read_buf(&mut said).await.unwrap();
    ends.peer.handle_bytes(Time::ZERO, &mut said);
    assert!(matches!(ends.peer.error(), Some(ConnectionError::ClosedByPeer { code: CloseCode::Normal, .. })));
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whatever a task waits for wakes it also while it rests.
#[tokio::test(start_paused = true)]
async fn bytes_handles_and_time_wake_what_rests() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    let woken = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&woken));
    let cx = &mut Context::from_waker(&waker);
    let mut rest = |ends: &mut Ends| {
        for _ in 0..10 {
            if woken.0.swap(0, Ordering::Relaxed) == 0 && ends.rests() {
                return;
            }
            assert!(Pin::new(&mut ends.task).poll(cx).is_pending());
        }
        panic!("it goes on and on");
    };
    assert!(Pin::new(&mut ends.task).poll(&mut Context::from_waker(&waker)).is_pending());
    rest(&mut ends);
    let mut out = Vec::new();
    ends.peer.ping();
    ends.peer.poll_transmit(Time::ZERO, &mut out);
    ends.far.write_all(&out).await.unwrap();
    assert!(woken.0.load(Ordering::Relaxed) > 0, "bytes came");
    rest(&mut ends);
    let connection = ends.connection.clone();
    let mut ping = pin!(connection.ping());
    assert!(ping.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(woken.0.load(Ordering::Relaxed) > 0, "a handle asked");
    assert!(ends.turn().is_pending() && !ends.rests(), "it is to be answered");
    woken.0.store(0, Ordering::Relaxed);
    ends.settle().await;
    assert!(matches!(ping.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
    assert!(Pin::new(&mut ends.task).poll(&mut Context::from_waker(&waker)).is_pending());
    rest(&mut ends);
    advance(Duration::from_secs(14)).await;
    assert_eq!(woken.0.load(Ordering::Relaxed), 0, "nothing to do, and no time wakes it for nothing");
    advance(Duration::from_secs(1)).await;
    assert!(woken.0.load(Ordering::Relaxed) > 0, "it is to ask for a sign of life");
}

/// A peer that always has a record half-way keeps the task, and nothing of what its calls needed.
#[tokio::test(start_paused = true)]
async fn what_cannot_rest_gives_back_what_it_does_not_need() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    let mut call = OpenCall::new(OpenKind::Request, "echo".parse().unwrap());
    (call.body, call.deadline) = (vec![7; 20_000].into(), Deadline::NONE);
    ends.peer.open(call).unwrap();
    let mut said = Vec::new();
    ends.peer.poll_transmit(Time::ZERO, &mut said);
    let whole = said.len();
    ends.peer.ping();
    ends.peer.poll_transmit(Time::ZERO, &mut said);
    ends.peer.handle_written(said.len());
    ends.far.write_all(&said[..=whole]).await.unwrap();
    assert!(ends.turn().is_pending());
    let answered = loop {
        ends.far.read_buf(&mut ends.input).await.unwrap();
        ends.peer.handle_bytes(Time::ZERO, &mut ends.input);
        if let Some(event) = ends.peer.poll_event() {
            break event;
        }
    };
    assert!(matches!(answered, Event::Answered { .. }), "{answered:?}");
    let Stage::Turns(task) = &ends.task.stage else {
        panic!("a part of a record is there");
    };
    assert_eq!((task.out.capacity(), task.input.len()), (0, 1));
    // The rest of it lets the connection rest.
    ends.far.write_all(&said[whole + 1..]).await.unwrap();
    assert!(ends.turn().is_pending() && ends.rests());
}

/// While a call waits nothing rests, and all the same nothing stays that it does not need.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_handler_gives_back_after_a_second_what_other_calls_needed() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    for (method, size) in [("wait", 1), ("echo", 1_000)] {
        let mut call = OpenCall::new(OpenKind::Request, method.parse().unwrap());
        (call.body, call.deadline) = (vec![7; size].into(), Deadline::NONE);
        ends.peer.open(call).unwrap();
    }
    assert!(matches!(ends.settle().await[..], [Event::Answered { .. }]));
    let room = |ends: &Ends| match &ends.task.stage {
        Stage::Turns(task) => task.out.capacity(),
        _ => panic!("a call waits"),
    };
    assert!(room(&ends) >= 1_000);
    let woken = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(Pin::new(&mut ends.task).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    advance(REST).await;
    assert_ne!(woken.0.load(Ordering::Relaxed), 0, "it is woken for it");
    assert!(ends.turn().is_pending());
    assert_eq!(room(&ends), 0);
}

/// A pipe that takes bytes, and has them leave once it may.
struct Holding(DuplexStream, Arc<AtomicBool>);

impl AsyncRead for Holding {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Holding {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.1.load(Ordering::Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// TLS may have taken bytes that have not left: they would stay where they are.
#[tokio::test(start_paused = true)]
async fn what_was_written_and_has_not_left_keeps_a_connection_from_its_rest() {
    let (near, far) = duplex(1 << 16);
    let (client, server) = sessions();
    let leaves = Arc::new(AtomicBool::new(false));
    let mut ends = Ends::over(Box::new(Holding(near, Arc::clone(&leaves))), far, (server, client));
    ends.settle().await;
    assert!(ends.rests(), "nothing was written");
    ends.peer.ping();
    assert!(matches!(ends.settle().await[..], [Event::Pong { .. }]));
    assert!(!ends.rests());
    let woken = Arc::new(Counting::default());
    let waker = Waker::from(Arc::clone(&woken));
    assert!(Pin::new(&mut ends.task).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0, "it waits, and does not ask again and again");
    leaves.store(true, Ordering::Relaxed);
    assert!(ends.turn().is_pending() && ends.rests());
}

/// Its time counts from when the transport took it, whatever turns come.
#[tokio::test(start_paused = true)]
async fn what_the_transport_holds_back_has_one_time_until_it_has_left() {
    let (near, far) = duplex(1 << 16);
    let (client, server) = sessions();
    let mut ends = Ends::over(Box::new(Holding(near, Arc::default())), far, (server, client));
    ends.peer.ping();
    ends.settle().await;
    let due = |ends: &Ends| match &ends.task.stage {
        Stage::Turns(task) => task.progress.due(),
        _ => panic!("it waits to leave"),
    };
    let first = due(&ends);
    assert!(first.is_some());
    for _ in 0..3 {
        advance(Duration::from_secs(4)).await;
        assert!(ends.turn().is_pending());
        assert_eq!(due(&ends), first);
    }
}

/// Whom fewer calls were allowed is allowed more again, though it rests.
#[tokio::test(start_paused = true)]
async fn an_allowance_that_was_lowered_is_raised_over_a_rest() {
    let mut ends = Ends::of_server();
    ends.settle().await;
    let lower = |ends: &mut Ends| match &mut ends.task.stage {
        Stage::Rests(resting) => {
            let now = resting.info.clock.now();
            (resting.allowance.full(now, 1), resting.allowance.due())
        }
        _ => panic!("it does not rest"),
    };
    assert!(matches!(lower(&mut ends), (Some(1), Some(_))));
    assert!(ends.turn().is_pending() && ends.rests());
    let (again, due) = lower(&mut ends);
    assert!(again.is_none() && due.is_some(), "it was lowered already, and is to be raised");
    advance(Duration::from_secs(60)).await;
    ends.settle().await;
    let Stage::Rests(resting) = &ends.task.stage else {
        panic!("it does not rest");
    };
    assert!(resting.allowance.due().is_none(), "all of them are allowed again");
}

#[test]
fn what_is_left_is_small() {
    assert!(size_of::<Resting>() <= 752 && size_of::<Task>() > 1_500, "{}", size_of::<Resting>());
}
