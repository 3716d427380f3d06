//! Peers and handlers that do not keep up, in virtual time: what they hold, who is cut, who is told to wait, and that
//! another connection of the same server is served meanwhile.
//!
//! Memory of the whole process is counted, so it is one test. What each row may hold is the formula of
//! `Limits::worst_case_bytes`; most hold a small part of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod common;

use std::alloc::System;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::by_hand::{ByHand, open, settle};
use common::echo;
use np_dispatch::Router;
use np_driver::{Acceptor, AcceptorConfig};
use np_session::{Event, OpenKind, StreamKey};
use np_transport::{Address, BindOptions, Listener};
use np_trust::Policy;
use np_types::{CallError, CloseCode, ConnectionError, Limits, Outcome, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How long a peer may take over one record: less than the heartbeats take that would end it else.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the server may hold beside the messages of a row.
const BUFFERS: usize = 768 << 10;

fn held() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn limits() -> Limits {
    let limits = Limits {
        max_message: 256 << 10,
        max_calls: 8,
        stream_window: 64 << 10,
        connection_window: 256 << 10,
        max_window: 256 << 10,
        reassembly_budget: 1 << 20,
        call_budget: 1 << 20,
        ..Limits::default()
    };
    limits.validate().unwrap();
    limits
}

fn router() -> Router {
    let router = echo();
    router.on("large", |_, _: Bytes| Ok(vec![7u8; 200_000])).unwrap();
    router
        .on_async("hold", |_, body: Bytes| async move {
            std::future::pending::<()>().await;
            Ok::<_, CallError>(body)
        })
        .unwrap();
    router
        .on_stream("sit", |_, stream| async move {
            std::future::pending::<()>().await;
            drop(stream);
            Ok(())
        })
        .unwrap();
    router
}

/// A server, a peer that will not keep up, and another that does.
struct Scene {
    acceptor: Acceptor,
    hand: ByHand,
    other: ByHand,
    before: usize,
    begun: Instant,
}

impl Scene {
    async fn new(name: &str, change: impl FnOnce(&mut AcceptorConfig)) -> Self {
        let mut config = AcceptorConfig::without_identity(Policy::anonymous(), router());
        (config.limits, config.progress_timeout) = (limits(), PATIENCE);
        change(&mut config);
        let mut acceptor = Acceptor::new(config).unwrap();
        let at: Address = format!("mem:slow-{name}?mode=danger-plaintext").parse().unwrap();
        acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
        let (mut hand, mut other) = (ByHand::connect(&at).await, ByHand::connect(&at).await);
        settle(&mut hand).await;
        settle(&mut other).await;
        Self { acceptor, hand, other, before: held(), begun: Instant::now() }
    }

    /// The other connection is answered at once, in the same moment of virtual time.
    async fn is_served(&mut self) -> bool {
        let before = Instant::now();
        open(&mut self.other, OpenKind::Request, "np.echo", |call| call.body = Bytes::from_static(b"here"));
        let events = settle(&mut self.other).await;
        let answered =
            events.iter().any(|event| matches!(event, Event::Answered { answer, .. } if answer.body == "here"));
        answered && before.elapsed() < Duration::from_millis(10)
    }

    /// Says what a row came to.
    fn row(&self, what: &str, most: usize, end: &str) {
        let held = held().saturating_sub(self.before);
        let formula = limits().worst_case_bytes();
        println!("{what:36} {held:>9} {most:>9} {formula:>10}  {end}");
        assert!(held <= most + BUFFERS, "{what}: {held} bytes are held, and {most} are said to be the most");
        assert!((most + BUFFERS) as u64 <= formula);
    }

    /// Lets time pass in which both peers answer signs of life and do nothing else.
    async fn live_on(&mut self) {
        for _ in 0..PATIENCE.as_secs() * 2 {
            sleep(Duration::from_secs(1)).await;
            settle(&mut self.hand).await;
            settle(&mut self.other).await;
        }
    }

    /// Lets time pass until the server has one connection less; gives how long that took.
    async fn until_cut(&mut self, mut meanwhile: impl AsyncFnMut(&mut ByHand)) -> Duration {
        while self.acceptor.connections().len() > 1 {
            assert!(self.begun.elapsed() < PATIENCE * 3, "nobody is cut");
            sleep(Duration::from_secs(1)).await;
            settle(&mut self.other).await;
            meanwhile(&mut self.hand).await;
        }
        assert!(self.is_served().await, "the other connection is not the one that was cut");
        self.begun.elapsed()
    }
}

/// A peer that asks and reads nothing: answers wait for its credit, and it is cut.
async fn slow_reader() {
    let mut scene = Scene::new("reader", |_| {}).await;
    let mut out = Vec::new();
    for _ in 0..8 {
        open(&mut scene.hand, OpenKind::Request, "large", |_| {});
    }
    scene.hand.session.poll_transmit(scene.hand.clock.now(), &mut out);
    scene.hand.link.io.write_all(&out).await.unwrap();
    assert!(scene.is_served().await);
    // The answers that this side may still give: no more than what handlers may hold.
    scene.row("reader that reads nothing", limits().call_budget as usize, "answers wait");
    let took = scene.until_cut(async |_| {}).await;
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(5), "{took:?}");
    scene.row("  after progress_timeout", 0, &format!("cut after {took:?}"));
}

/// A record of which a byte comes each second.
async fn slow_writer() {
    let mut scene = Scene::new("writer", |_| {}).await;
    open(&mut scene.hand, OpenKind::Request, "np.echo", |call| call.body = Bytes::from(vec![1; 60_000]));
    let mut record = Vec::new();
    scene.hand.session.poll_transmit(scene.hand.clock.now(), &mut record);
    let mut bytes = record.into_iter();
    assert!(scene.is_served().await);
    scene.row("writer of one byte a second", 0, "a record is waited for");
    let took = scene
        .until_cut(async |hand| {
            let _ = hand.link.io.write_all(&[bytes.next().unwrap()]).await;
        })
        .await;
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(5), "{took:?}");
    let mut input = BytesMut::new();
    while scene.hand.link.io.read_buf(&mut input).await.is_ok_and(|count| count > 0) {}
    scene.hand.session.handle_bytes(scene.hand.clock.now(), &mut input);
    let told = scene.hand.session.error().cloned();
    assert!(matches!(told, Some(ConnectionError::ClosedByPeer { code: CloseCode::Progress, .. })), "{told:?}");
    scene.row("  after progress_timeout", 0, &format!("told and cut after {took:?}"));
}

/// Says as much on a stream as there is credit for; gives the messages of 1 KiB that its session took and sent.
async fn say_all(hand: &mut ByHand, key: StreamKey) -> usize {
    let mut sent = 0;
    loop {
        settle(hand).await;
        if !hand.session.is_writable(key) {
            return sent;
        }
        hand.session.send(key, Bytes::from(vec![7; 1 << 10])).unwrap();
        sent += 1;
    }
}

/// A stream whose handler never reads, and then as many as use up the connection's credit.
async fn stalled_handler() {
    let mut scene = Scene::new("handler", |_| {}).await;
    let (window, all) = (limits().stream_window as usize, limits().connection_window as usize);
    let key = open(&mut scene.hand, OpenKind::Stream, "sit", |_| {});
    let sent = say_all(&mut scene.hand, key).await;
    // The last one is with the session, which has no credit for it.
    assert_eq!(sent - 1, window >> 10);
    open(&mut scene.hand, OpenKind::Request, "np.echo", |call| call.body = Bytes::from_static(b"beside"));
    let events = settle(&mut scene.hand).await;
    assert!(matches!(events.last(), Some(Event::Answered { .. })), "a stream stops itself alone: {events:?}");
    assert!(scene.is_served().await);
    scene.row("handler that reads nothing", 2 * window, &format!("the sender stops after {} KiB", sent - 1));
    let mut total = sent - 1;
    for _ in 0..4 {
        let key = open(&mut scene.hand, OpenKind::Stream, "sit", |_| {});
        total += say_all(&mut scene.hand, key).await.saturating_sub(1);
    }
    // The few bytes of the call before are owed, and not yet worth a frame.
    assert!((all >> 10) - 1 <= total && total <= all >> 10, "{total}");
    assert!(scene.is_served().await);
    // Nobody is too slow here: whole records came, and whatever was written was read.
    scene.live_on().await;
    assert_eq!(scene.acceptor.connections().len(), 2);
    assert!(scene.is_served().await);
    scene.row("handlers that read nothing", 2 * all, &format!("the peer stops after {total} KiB"));
}

/// Requests whose handlers do not answer: the callee takes `max_calls`, and as many bytes as its budget has.
async fn full_dispatcher() {
    let mut scene = Scene::new("calls", |_| {}).await;
    let calls = limits().max_calls as usize;
    let body = Bytes::from(vec![1; 200_000]);
    for _ in 0..calls {
        open(&mut scene.hand, OpenKind::Request, "hold", |call| call.body = body.clone());
    }
    let events = settle(&mut scene.hand).await;
    let refused = |event: &&Event| {
        matches!(event, Event::Failed { error, .. }
            if (error.status, error.outcome) == (Status::Unavailable, Outcome::NotProcessed))
    };
    let fit = limits().call_budget as usize / body.len();
    assert_eq!(events.iter().filter(refused).count(), calls - fit, "{events:?}");
    assert!(scene.is_served().await);
    let most = limits().call_budget as usize;
    scene.row("requests beyond call_budget", most, &format!("{fit} at work, {} refused as safe", calls - fit));
    // The places that are left, and one call more: it waits with its sender.
    for _ in fit..=calls {
        open(&mut scene.hand, OpenKind::Request, "hold", |_| {});
    }
    assert_eq!(settle(&mut scene.hand).await, []);
    assert_eq!(scene.hand.session.queued(), 1);
    assert!(scene.is_served().await);
    scene.live_on().await;
    assert_eq!(scene.acceptor.connections().len(), 2);
    scene.row("requests beyond max_calls", most, "one waits with its caller");
}

/// The same where it is the server's limit that is reached: refused by name, and others may still ask what needs no place.
async fn full_server() {
    let mut scene = Scene::new("server", |config| config.max_server_calls = 2).await;
    for _ in 0..3 {
        open(&mut scene.hand, OpenKind::Request, "hold", |_| {});
    }
    let events = settle(&mut scene.hand).await;
    let Some(Event::Failed { error, .. }) = events.first() else { panic!("{events:?}") };
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert!(error.text.contains("max_server_calls"), "{error}");
    // Its calls go, and with them what they held: the other has a place again.
    scene.hand.link.io.shutdown().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(scene.is_served().await);
    scene.row("calls beyond max_server_calls", 0, "refused as safe, by name");
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_keep_up_holds_little_and_stops_nobody_else() {
    println!("{:36} {:>9} {:>9} {:>10}  end", "who", "held", "at most", "formula");
    slow_reader().await;
    slow_writer().await;
    stalled_handler().await;
    full_dispatcher().await;
    full_server().await;
}
