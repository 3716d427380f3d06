//! Peers that keep the memory of a server by doing nothing: messages half-way in, and answers that they do not take.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::by_hand::{self, ByHand, settle};
use common::echo;
use futures_util::FutureExt as _;
use np_dispatch::{MethodOptions, Router, Target, bytes_async};
use np_driver::{Acceptor, AcceptorConfig};
use np_session::{Event, OpenCall, OpenKind, StreamKey};
use np_transport::{Address, BindOptions, Listener};
use np_trust::Policy;
use np_types::{CloseCode, ConnectionError, Deadline, Misbehaved, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

const MIB: usize = 1 << 20;
/// Of the server.
const MOST: usize = 64 * MIB;
const PATIENCE: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(5);

/// Answers `large` with 8 MiB, `quarter` with almost 256 KiB, `late` so too after five seconds, `size` with how long the body is,
/// and `hold` never. `pour` sends 8 MiB on its stream, `gather` reads what comes, and `sit` nothing.
fn router() -> Router {
    let router = echo();
    router.on("large", |_, _| Ok(vec![7u8; 8 * MIB])).unwrap();
    router.on("size", |_, body: Bytes| Ok(body.len().to_string())).unwrap();
    router.on("quarter", |_, _| Ok(vec![7u8; 250 << 10])).unwrap();
    router
        .on_async("late", |_, _: Bytes| async {
            sleep(LATE).await;
            Ok(vec![7u8; 250 << 10])
        })
        .unwrap();
    router
        .on_stream("pour", |_, mut stream| async move {
            stream.send(vec![7u8; 8 * MIB]).await?;
            std::future::pending().await
        })
        .unwrap();
    router
        .on_stream("gather", |_, mut stream| async move {
            while let Some(message) = stream.recv().await {
                message?;
            }
            Ok(())
        })
        .unwrap();
    router
        .on_stream("sit", |_, stream| async move {
            let _held = stream;
            std::future::pending().await
        })
        .unwrap();
    let hold = bytes_async(|_, body: Bytes| async move {
        let _held = body;
        std::future::pending::<Result<Bytes, np_types::CallError>>().await
    });
    router.register_target("hold", Target::Unary(Arc::new(hold)), MethodOptions::default()).unwrap();
    router
}

fn scarce(config: &mut AcceptorConfig) {
    (config.max_memory, config.progress_timeout) = (Some(MOST), PATIENCE);
    config.lifetime.heartbeat_interval = None;
}

/// A server that clients move by hand.
async fn open(name: &str) -> (Acceptor, Address) {
    open_with(name, MOST).await
}

/// One whose connections may hold so much together.
async fn open_with(name: &str, most: usize) -> (Acceptor, Address) {
    let mut config = AcceptorConfig::without_identity(Policy::anonymous(), router());
    scarce(&mut config);
    config.max_memory = Some(most);
    let mut acceptor = Acceptor::new(config).unwrap();
    let at: Address = format!("mem:{name}?mode=danger-plaintext").parse().unwrap();
    acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
    (acceptor, at)
}

/// What a call takes to begin; of a large body that is the head alone.
fn begin(hand: &mut ByHand, method: &str, size: usize) -> Vec<u8> {
    let mut call = OpenCall::new(OpenKind::Request, method.parse().unwrap());
    (call.deadline, call.body) = (Deadline::NONE, vec![1; size].into());
    hand.session.open(call).unwrap();
    let mut out = Vec::new();
    hand.session.poll_transmit(hand.clock.now(), &mut out);
    out
}

/// A client that begins two of the largest messages, and sends nothing of them.
async fn idler(at: &Address) -> ByHand {
    let mut hand = ByHand::connect(at).await;
    for _ in 0..2 {
        let head = begin(&mut hand, "np.echo", 16 * MIB);
        assert!(head.len() < 200, "{}", head.len());
        hand.link.io.write_all(&head).await.unwrap();
    }
    hand
}

/// Reads until the server ends the connection; gives when, and why.
async fn ended(hand: &mut ByHand) -> (Instant, ConnectionError) {
    let mut input = BytesMut::new();
    while hand.session.error().is_none() {
        // Long after anybody is cut.
        let read = timeout(PATIENCE * 5, hand.link.io.read_buf(&mut input)).await;
        assert_ne!(read.expect("it is never cut").unwrap(), 0);
        hand.session.handle_bytes(hand.clock.now(), &mut input);
    }
    (Instant::now(), hand.session.error().unwrap().clone())
}

fn is_for_memory(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::LimitExceeded, text, .. } if text.contains("max_memory"))
}

/// Two of them hold all the memory there is with some hundred bytes. They are cut, and who works beside them is not.
#[tokio::test(start_paused = true)]
async fn who_begins_messages_and_sends_nothing_is_cut_and_nobody_beside_it_is() {
    let (_acceptor, at) = open("kept-idle").await;
    let mut honest = ByHand::connect(&at).await;
    // Of this the handler has much, and it stays at work.
    let work = begin(&mut honest, "hold", 200_000);
    honest.link.io.write_all(&work).await.unwrap();
    honest.ping().await;
    let begun = Instant::now();
    let (mut one, mut other) = (idler(&at).await, idler(&at).await);
    let idle = tokio::spawn(async move { [ended(&mut one).await, ended(&mut other).await] });
    // Its large message waits for theirs to go, and is taken then.
    let mut patient = ByHand::connect(&at).await;
    let head = begin(&mut patient, "np.echo", 16 * MIB);
    patient.link.io.write_all(&head).await.unwrap();
    sleep(PATIENCE / 4).await;
    assert!(settle(&mut patient).await.is_empty(), "no further message is granted");
    while !settle(&mut patient).await.iter().any(|event| matches!(event, Event::Answered { .. })) {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(5), "{:?}", begun.elapsed());
    // The messages of the other are granted when those of the one are gone.
    for (turn, (at, why)) in (1..).zip(idle.await.unwrap()) {
        let (took, due) = (at - begun, PATIENCE / 2 * turn);
        assert!(took >= due && took < due + Duration::from_secs(3), "{took:?}");
        assert!(is_for_memory(&why), "{why}");
    }
    sleep(PATIENCE * 3).await;
    honest.ping().await;
}

/// What came of a record counts for nobody's part until it is whole, be it more than one: its calls are taken.
#[tokio::test(start_paused = true)]
async fn a_record_in_two_parts_is_not_kept_while_memory_is_short() {
    let (_acceptor, at) = open_with("kept-record", 128 << 10).await;
    let (_idle, mut hand) = (idler(&at).await, ByHand::connect(&at).await);
    // A part is 32 KiB.
    let record = begin(&mut hand, "size", 40_000);
    let (most, rest) = record.split_at(36_000);
    for part in [most, rest] {
        hand.link.io.write_all(part).await.unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    let answered = |event: &Event| matches!(event, Event::Answered { answer, .. } if answer.body == "40000");
    assert!(settle(&mut hand).await.iter().any(answered));
}

/// Answers that wait for credit are held as messages half-way in are: who does not take them gets no more, and is cut.
#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_gets_no_more_calls_taken_and_is_cut() {
    let (_acceptor, at) = open("kept-answers").await;
    let mut hands = [ByHand::connect(&at).await, ByHand::connect(&at).await, ByHand::connect(&at).await];
    let begun = Instant::now();
    for hand in &mut hands {
        for _ in 0..2 {
            let call = begin(hand, "large", 0);
            hand.link.io.write_all(&call).await.unwrap();
        }
        // It sees that answers begin, and says nothing to them.
        hand.link.io.read_buf(&mut BytesMut::new()).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    let [mut hand, others @ ..] = hands;
    let call = begin(&mut hand, "np.echo", 0);
    hand.link.io.write_all(&call).await.unwrap();
    let refused = timeout(Duration::from_secs(1), async {
        let mut input = BytesMut::new();
        loop {
            hand.link.io.read_buf(&mut input).await.unwrap();
            hand.session.handle_bytes(hand.clock.now(), &mut input);
            while let Some(event) = hand.session.poll_event() {
                if let Event::Failed { error, .. } = event {
                    return error;
                }
            }
        }
    });
    let refused = refused.await.unwrap();
    assert!(refused.status == Status::Unavailable && refused.to_string().contains("max_memory"), "{refused}");
    assert!(is_for_memory(&ended(&mut hand).await.1));
    assert!(begun.elapsed() < PATIENCE / 2 + Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(others);
}

/// Opens streams.
async fn streams(hand: &mut ByHand, method: &str, count: usize) -> Vec<StreamKey> {
    let keys = (0..count).map(|_| by_hand::open(hand, OpenKind::Stream, method, |_| {})).collect();
    settle(hand).await;
    keys
}

/// A client that sends so much of the largest messages on two streams, and no more.
async fn half_way(at: &Address, bytes: usize) -> ByHand {
    let mut hand = ByHand::connect(at).await;
    for key in streams(&mut hand, "gather", 2).await {
        hand.session.send(key, vec![7; 16 * MIB].into()).unwrap();
    }
    let (mut out, mut input, mut said) = (Vec::new(), BytesMut::new(), 0);
    while said < bytes {
        if hand.session.poll_transmit(hand.clock.now(), &mut out) {
            hand.link.io.write_all(&out).await.unwrap();
            hand.session.handle_written(out.len());
            said += out.len();
            out.clear();
        } else {
            assert_ne!(hand.link.io.read_buf(&mut input).await.unwrap(), 0, "{said} of {bytes}");
            hand.session.handle_bytes(hand.clock.now(), &mut input);
        }
    }
    hand
}

/// A message of a stream that came in part is its peer's as one of a call is: with nobody's, they would be stopped and cut who
/// have work of theirs done.
#[tokio::test(start_paused = true)]
async fn who_sends_a_part_of_a_streams_message_is_cut_and_nobody_beside_it_is() {
    let (acceptor, at) = open("kept-parts").await;
    let mut honest = ByHand::connect(&at).await;
    let work = begin(&mut honest, "hold", 200_000);
    honest.link.io.write_all(&work).await.unwrap();
    honest.ping().await;
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(half_way(&at, 24 * MIB).await);
    }
    assert!(acceptor.status_source().status().unwrap().memory_bytes > MOST);
    let (when, why) = ended(&mut idle[0]).await;
    let took = when - begun;
    assert!(took >= PATIENCE / 2 && took < PATIENCE / 2 + Duration::from_secs(3), "{took:?}");
    assert!(is_for_memory(&why), "{why}");
    sleep(PATIENCE * 2).await;
    honest.ping().await;
}

/// As answers, what a handler sends on a stream waits for its peer.
#[tokio::test(start_paused = true)]
async fn who_takes_no_messages_of_streams_is_cut() {
    let (_acceptor, at) = open("kept-poured").await;
    let begun = Instant::now();
    let mut hands = Vec::new();
    for _ in 0..3 {
        let mut hand = ByHand::connect(&at).await;
        streams(&mut hand, "pour", 2).await;
        hands.push(hand);
    }
    let (when, why) = ended(&mut hands[0]).await;
    let took = when - begun;
    assert!(took >= PATIENCE / 2 && took < PATIENCE / 2 + Duration::from_secs(3), "{took:?}");
    assert!(is_for_memory(&why), "{why}");
}

/// Its last turn before that wrote nothing, and nothing else of the connection is due.
#[tokio::test(start_paused = true)]
async fn who_begins_to_keep_when_all_is_quiet_is_cut_in_time() {
    let (_acceptor, at) = open("kept-quiet").await;
    let mut hand = ByHand::connect(&at).await;
    // It gives none of the credit back that these take, so that there is too little for the last.
    for method in ["quarter", "quarter", "quarter", "quarter", "late"] {
        let call = begin(&mut hand, method, 0);
        hand.link.io.write_all(&call).await.unwrap();
    }
    let begun = Instant::now();
    assert_eq!(settle(&mut hand).await.len(), 4);
    sleep(LATE * 2).await;
    let _other = idler(&at).await;
    let (when, why) = ended(&mut hand).await;
    let (took, due) = (when - begun, LATE + PATIENCE / 2);
    assert!(is_for_memory(&why) && took >= due && took < due + Duration::from_secs(2), "{took:?}: {why}");
}

/// A handler that takes nothing keeps its client from sending the rest of what it has begun, which excuses it for a while.
#[tokio::test(start_paused = true)]
async fn who_has_no_credit_since_a_handler_takes_nothing_is_cut_later() {
    let (_acceptor, at) = open("kept-stuck").await;
    let mut hand = ByHand::connect(&at).await;
    for key in streams(&mut hand, "sit", 5).await {
        // The first waits to be read, so that the second keeps its credit.
        for size in [1, 250 << 10] {
            hand.session.send(key, vec![7; size].into()).unwrap();
            settle(&mut hand).await;
        }
    }
    let begun = Instant::now();
    for _ in 0..2 {
        let head = begin(&mut hand, "np.echo", 16 * MIB);
        hand.link.io.write_all(&head).await.unwrap();
    }
    let (when, why) = ended(&mut hand).await;
    let (took, due) = (when - begun, PATIENCE + PATIENCE / 2);
    assert!(is_for_memory(&why) && took >= due && took < due + Duration::from_secs(3), "{took:?}: {why}");
}

/// Says 256 KiB and hears as much in each `tick`, until so many answers have come or the connection has ended.
async fn moves(hand: &mut ByHand, answers: usize, tick: Duration) -> Result<(), ConnectionError> {
    let (mut out, mut input, mut done) = (Vec::new(), BytesMut::new(), 0);
    while done < answers {
        sleep(tick).await;
        hand.session.poll_transmit(hand.clock.now(), &mut out);
        if hand.link.io.write_all(&out).await.is_ok() {
            hand.session.handle_written(out.len());
        }
        out.clear();
        let mut heard = 0;
        while heard < 256 << 10
            && let Some(Ok(count)) = hand.link.io.read_buf(&mut input).now_or_never()
        {
            heard += count;
            hand.session.handle_bytes(hand.clock.now(), &mut input);
            if count == 0 {
                hand.session.handle_eof();
                break;
            }
            tokio::task::yield_now().await;
        }
        while let Some(event) = hand.session.poll_event() {
            done += usize::from(matches!(event, Event::Answered { .. }));
        }
        if let Some(error) = hand.session.error() {
            return Err(error.clone());
        }
    }
    Ok(())
}

/// Half of what waits has to move in half a minute: 32 MiB at half a MiB a second and a little more, or not so fast; be it
/// messages that come or answers that leave.
#[tokio::test(start_paused = true)]
async fn who_moves_its_messages_is_not_cut_while_memory_is_short() {
    for (name, method, size, calls) in [("kept-up", "size", 16 * MIB, 2), ("kept-down", "large", 0, 4)] {
        for (millis, is_cut) in [(400, false), (600, true)] {
            let (_acceptor, at) = open(&format!("{name}-{millis}")).await;
            let mut hand = ByHand::connect(&at).await;
            let begun = Instant::now();
            for _ in 0..calls {
                let head = begin(&mut hand, method, size);
                hand.link.io.write_all(&head).await.unwrap();
            }
            let moved = moves(&mut hand, calls, Duration::from_millis(millis)).await;
            let took = begun.elapsed();
            assert!(took > PATIENCE / 2, "{name}: {took:?}");
            match moved {
                Ok(()) => assert!(!is_cut, "{name}: {millis} ms, {took:?}"),
                Err(error) => {
                    assert!(is_cut && took < PATIENCE, "{name}: {millis} ms, {took:?}: {error}");
                    // Who takes so little does not come to the reason, which stands behind what waited for it.
                    let is_right =
                        if size == 0 { error == Misbehaved::Truncated.into() } else { is_for_memory(&error) };
                    assert!(is_right, "{name}: {error}");
                }
            }
        }
    }
}
