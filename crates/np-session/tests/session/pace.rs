//! Large messages beside small ones: how much may be on its way, who lets it go on, and that nothing is held for ever.

use std::time::Duration;

use np_session::{Answer, Event, OpenCall, OpenKind, Priority, Session, StreamKey};
use np_testkit::{Application, Dialogue, NetworkConfig, Pair, Setup, body};
use np_types::{CloseCode, Limits, Time};
use np_wire::{Frame, Open, Side, StreamId};

use crate::help::{first_call, frames, open, opened, request, stream};

/// The floor of what may be on its way, and a piece.
const HELD: usize = 48 << 10;
const PIECE: usize = 16 << 10;
/// What of large messages one write takes.
const WRITE: usize = 64 << 10;

/// As much credit as there can be, so that nothing else holds anything up.
fn wide() -> Limits {
    Limits { connection_window: 16 << 20, stream_window: 8 << 20, ..Limits::default() }
}

/// A session with a stream that has `size` bytes to send, and has sent nothing of them.
fn talk(size: usize) -> (Dialogue, StreamKey) {
    let mut talk = Dialogue::open_with(Side::Initiator, &wide(), &wide());
    let key = talk.session.open(OpenCall { priority: Priority::Bulk, ..stream() }).unwrap();
    talk.hear();
    talk.session.send(key, body(1, 0, size)).unwrap();
    (talk, key)
}

/// Bytes of streams' messages that leave before the peer says anything, and the last ping among them.
fn leaves(talk: &mut Dialogue) -> (usize, Option<u64>) {
    let heard = talk.hear();
    let frames = frames(&heard);
    let bytes = frames.iter().map(|frame| if let Frame::Data { body, .. } = frame { body.len() } else { 0 });
    let mut pings = frames.iter().filter_map(|frame| if let Frame::Ping(token) = frame { Some(*token) } else { None });
    (bytes.sum(), pings.next_back())
}

#[test]
fn a_transfer_alone_is_not_held_nor_measured() {
    let (mut talk, _) = talk(8 << 20);
    assert_eq!(leaves(&mut talk), (8 << 20, None));
}

#[test]
fn a_transfer_beside_a_small_call_is_held_until_the_peer_has_read() {
    let (mut talk, _) = talk(8 << 20);
    talk.session.open(request(64)).unwrap();
    let (bytes, ping) = leaves(&mut talk);
    assert!((HELD..HELD + PIECE).contains(&bytes), "{bytes}");
    assert_eq!(leaves(&mut talk), (0, None));
    // All of it was read, at once: as much again, and a little more, for the way is not full.
    talk.say(&[Frame::Pong(ping.unwrap())]);
    let (bytes, ping) = leaves(&mut talk);
    assert!((HELD..3 * HELD).contains(&bytes), "{bytes}");
    // Nobody has sent a small message for a while: it goes on as if alone.
    talk.now = talk.now + Duration::from_secs(2);
    talk.say(&[Frame::Pong(ping.unwrap())]);
    assert!(leaves(&mut talk).0 > 7 << 20);
}

/// What leaves in one write: small messages, bytes of large ones, whether it makes way for others, and its last ping.
type Write = (usize, usize, bool, Option<u64>);

fn writes(talk: &mut Dialogue) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut out = Vec::new();
    while talk.session.poll_transmit(talk.now, &mut out) {
        let heard = talk.hand.open(&std::mem::take(&mut out));
        let mut write = (0, 0, talk.session.makes_way(), None);
        for frame in frames(&heard) {
            match frame {
                Frame::Open(_) => write.0 += 1,
                Frame::Data { body, .. } => write.1 += body.len(),
                Frame::Ping(token) => write.3 = Some(token),
                _ => {}
            }
        }
        writes.push(write);
    }
    writes
}

/// Whoever is woken by the first write has the small message, and what follows is sealed while that is read.
#[test]
fn small_messages_leave_in_a_write_of_their_own_and_large_ones_in_short_writes() {
    let (mut talk, _) = talk(8 << 20);
    let mut most = 0;
    for round in 0..6 {
        talk.session.open(request(64)).unwrap();
        let writes = writes(&mut talk);
        let [(1, 0, true, _), large @ .., (0, last, false, _)] = &writes[..] else {
            panic!("{round}: {writes:?}");
        };
        // As full as it may be, and by less than a piece fuller.
        assert!(large.iter().all(|(_, bytes, makes_way, _)| (WRITE..WRITE + PIECE).contains(bytes) && *makes_way));
        assert!(*last < WRITE, "{round}: {writes:?}");
        most = most.max(large.len());
        let ping = writes.iter().rev().find_map(|(.., ping)| *ping);
        talk.say(&[Frame::Pong(ping.unwrap())]);
    }
    // The limit doubles with each answer that comes at once.
    assert!(most > 10, "{most}");
    // Alone a transfer fills each write.
    talk.now = talk.now + Duration::from_secs(2);
    let writes = writes(&mut talk);
    assert!(matches!(writes[..], [(0, 245_760.., false, _), ..]), "{writes:?}");
}

/// What is large by its head alone is nothing that would have to arrive before the next.
#[test]
fn heads_of_large_messages_leave_together() {
    let (mut talk, _) = talk(8 << 20);
    talk.session.open(request(64)).unwrap();
    leaves(&mut talk);
    for _ in 0..10 {
        talk.session.open(request(1 << 20)).unwrap();
    }
    assert!(matches!(writes(&mut talk)[..], [(10, 0, false, None)]));
}

/// The small answer has its place behind the large one's piece, and the peer does not wait for more of that.
#[test]
fn a_small_message_behind_a_piece_ends_the_write() {
    let (mut talk, _) = talk(8 << 20);
    talk.session.open(request(64)).unwrap();
    let (_, mark) = leaves(&mut talk);
    let small = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.say(&[Frame::Pong(mark.unwrap())]);
    talk.session.send(small, body(1, 0, 64)).unwrap();
    let large = talk.session.open(OpenCall { body: body(1, 0, 200_000), ..request(0) }).unwrap();
    let first = writes(&mut talk).into_iter().next().unwrap();
    assert!(first.1 <= 64 + PIECE && first.2, "{first:?}");
    talk.session.cancel(large);
}

/// One who was just answered may have a small message to send before the next piece.
#[test]
fn large_messages_crowd_small_ones_while_these_come() {
    let (mut talk, _) = talk(8 << 20);
    assert!(!talk.session.crowds(talk.now), "nobody has sent a small message");
    talk.session.open(request(64)).unwrap();
    let (_, mark) = leaves(&mut talk);
    assert!(!talk.session.crowds(talk.now), "it is held");
    talk.say(&[Frame::Pong(mark.unwrap())]);
    assert!(talk.session.crowds(talk.now));
    assert!(!talk.session.crowds(talk.now + Duration::from_secs(2)), "nobody has sent one for a while");
}

/// A unary message of more than a piece is large too; its bytes were reserved before it was held.
#[test]
fn large_calls_are_held_and_what_is_cancelled_holds_nothing() {
    let (mut talk, stream) = talk(1 << 20);
    talk.session.open(request(64)).unwrap();
    leaves(&mut talk);
    let call = talk.session.open(request(1 << 20)).unwrap();
    let heard = talk.hear();
    let opening = frames(&heard);
    assert!(matches!(&opening[..], [Frame::Open(open)] if open.body.is_empty() && open.total == Some(1 << 20)));
    talk.session.cancel(call);
    talk.session.cancel(stream);
    assert_eq!(leaves(&mut talk).0, 0);
    // The credit of the call that was cut short is there for another.
    talk.now = talk.now + Duration::from_secs(2);
    for _ in 0..15 {
        talk.session.open(open(OpenKind::OneWay, body(1, 0, 1 << 20))).unwrap();
    }
    let heard = talk.hear();
    let bytes = frames(&heard).into_iter().map(|frame| match frame {
        Frame::Open(Open { body, .. }) | Frame::Data { body, .. } => body.len(),
        _ => 0,
    });
    assert_eq!(bytes.sum::<usize>(), 15 << 20);
}

#[test]
fn a_small_message_of_a_stream_makes_room_for_itself_and_is_never_held() {
    let (mut talk, _) = talk(8 << 20);
    let small = talk.session.open(stream()).unwrap();
    talk.session.poll_event();
    let mut total = leaves(&mut talk).0;
    assert_eq!(total, 8 << 20, "an opening says nothing of messages");
    let large = talk.session.open(stream()).unwrap();
    talk.hear();
    for round in 0..100 {
        talk.session.send(small, body(1, 0, PIECE)).unwrap();
        if round == 0 {
            talk.session.send(large, body(1, 0, 8 << 20)).unwrap();
        }
        total = leaves(&mut talk).0;
        assert!((PIECE..HELD + 2 * PIECE).contains(&total), "{round}: {total}");
    }
}

/// A mark may go with the application's ping, and may be answered with it.
#[test]
fn the_applications_pings_are_answered_beside_marks() {
    let (mut talk, _) = talk(8 << 20);
    talk.session.open(request(64)).unwrap();
    let first = talk.session.ping();
    let (_, mark) = leaves(&mut talk);
    let second = talk.session.ping();
    talk.hear();
    assert!(first < mark.unwrap() && mark.unwrap() < second);
    talk.events();
    talk.say(&[Frame::Pong(mark.unwrap())]);
    assert_eq!(talk.events(), [Event::Pong { token: first }], "it answers the first");
    let (_, mark) = leaves(&mut talk);
    talk.say(&[Frame::Pong(mark.unwrap())]);
    assert_eq!(talk.events(), [Event::Pong { token: second }], "it answers the second");
    let (_, mark) = leaves(&mut talk);
    talk.say(&[Frame::Pong(mark.unwrap())]);
    assert_eq!(talk.events(), [], "a mark alone is nobody's business");
    // Nor are marks between two pings that wait.
    let first = talk.session.ping();
    let (_, mark) = leaves(&mut talk);
    let last = talk.session.ping();
    talk.hear();
    assert!(first < mark.unwrap_or(last));
    let heard: Vec<u64> = (first..last).collect();
    let mut told = 0;
    for token in heard {
        talk.say(&[Frame::Pong(token)]);
        told += talk.events().len();
    }
    assert_eq!(told, 1);
}

/// A peer that answers no ping holds up its own transfers for as long as small messages are expected, and nothing else.
#[test]
fn a_peer_that_answers_no_ping_holds_nothing_up_for_long_and_nothing_grows() {
    let (mut talk, _) = talk(8 << 20);
    talk.session.open(request(64)).unwrap();
    let (first, _) = leaves(&mut talk);
    for _ in 0..40 {
        talk.now = talk.now + Duration::from_millis(20);
        talk.session.open(request(64)).unwrap();
        let (bytes, pings) = leaves(&mut talk);
        assert_eq!((bytes, pings), (0, None));
    }
    // Without a PONG, and without anything else that happens.
    talk.now = talk.now + Duration::from_secs(2);
    assert_eq!(leaves(&mut talk).0, (8 << 20) - first);
}

#[test]
fn what_is_held_leaves_before_an_orderly_end() {
    let mut talk = Dialogue::open_with(Side::Responder, &wide(), &wide());
    talk.say(&first_call(OpenKind::Request, b"small"));
    talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    let calls = opened(&talk.events());
    talk.session.respond(calls[0].0, Answer::from(body(1, 0, 64))).unwrap();
    talk.hear();
    talk.session.respond(calls[1].0, Answer::from(body(1, 0, 1 << 20))).unwrap();
    let (before, _) = leaves(&mut talk);
    assert!(before < 2 * HELD, "{before}");
    talk.session.close(CloseCode::Normal, "");
    let heard = talk.hear();
    let frames = frames(&heard);
    let rest: usize =
        frames.iter().map(|frame| if let Frame::Data { body, .. } = frame { body.len() } else { 0 }).sum();
    assert!(before + rest + PIECE >= 1 << 20, "{before} and {rest}");
    assert!(matches!(frames.last(), Some(Frame::Close { .. })));
}

/// Bulk is held whatever its messages are, and keeps its eighth beside small messages that never cease, however long the
/// peer takes to answer.
#[test]
fn bulk_that_is_held_keeps_what_it_is_owed() {
    let (mut talk, bulk) = talk(PIECE);
    let small = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.events();
    let (mut of_bulk, mut all) = (0, 0);
    for _ in 0..2_000 {
        if talk.session.is_writable(small) {
            talk.session.send(small, body(2, 0, PIECE)).unwrap();
        }
        if talk.session.is_writable(bulk) {
            talk.session.send(bulk, body(1, 0, PIECE)).unwrap();
        }
        let heard = talk.hear();
        for frame in frames(&heard) {
            if let Frame::Data { id, body, .. } = frame {
                all += body.len();
                of_bulk += if id == StreamId::new(Side::Initiator, 0) { body.len() } else { 0 };
            }
        }
        let credit = [
            Frame::ConnectionCredit(1 << 20),
            Frame::StreamCredit { id: StreamId::new(Side::Initiator, 1), bytes: 1 << 20 },
        ];
        talk.say(&credit);
        talk.say(&[Frame::StreamCredit { id: StreamId::new(Side::Initiator, 0), bytes: 1 << 20 }]);
    }
    assert!(of_bulk * 8 + 8 * HELD >= all, "{of_bulk} of {all}");
    assert!(of_bulk * 5 <= all, "{of_bulk} of {all}");
}

/// Streams what it can, beside a small call whenever the last is answered; the other end echoes and takes what comes.
#[derive(Debug, Default)]
struct Pump {
    calls: bool,
    got: usize,
    answered: usize,
}

impl Application for Pump {
    fn on_event(&mut self, _: Time, session: &mut Session, event: Event) {
        match event {
            Event::Writable { key } => session.send(key, body(1, 0, 1_000_000)).unwrap(),
            Event::Data { key, body, .. } => {
                self.got += body.len();
                session.consumed(key, body.len());
            }
            Event::Opened { key, kind: OpenKind::Request, body, credit, .. } => {
                session.release(credit);
                session.respond(key, body.into()).unwrap();
            }
            Event::Answered { .. } => {
                self.answered += 1;
                if self.calls {
                    session.open(request(64)).unwrap();
                }
            }
            Event::Pong { token } => panic!("nobody asked for {token}"),
            Event::Closed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// Bytes of the stream and answers to calls in two seconds, after two of a warm-up, over a way of 100 ms and 4 MiB/s
/// that holds `capacity` bytes.
fn over_a_long_way(calls: bool, capacity: usize) -> (usize, usize) {
    let network = NetworkConfig { latency: Duration::from_millis(50), capacity, ..NetworkConfig::default() };
    let pump = || Pump { calls, ..Pump::default() };
    let limits = Limits { max_window: 1 << 20, ..Limits::default() };
    let mut pair = Pair::new(&Setup { network, ..Setup::with_limits(&limits) }, [pump(), pump()]);
    pair.run_until(Time::ZERO + Duration::from_millis(500));
    pair.peers[0].session().open(OpenCall { priority: Priority::Bulk, ..stream() }).unwrap();
    if calls {
        pair.peers[0].session().open(request(64)).unwrap();
    }
    pair.run_for(Duration::from_secs(2));
    let before = (pair.peers[1].app.got, pair.peers[0].app.answered);
    pair.run_for(Duration::from_secs(2));
    (pair.peers[1].app.got - before.0, pair.peers[0].app.answered - before.1)
}

/// The pace finds out how much the way holds: beside calls a transfer keeps its rate, and calls take a round trip each.
#[test]
fn a_long_way_is_filled_beside_small_calls() {
    let (alone, _) = over_a_long_way(false, 2 << 20);
    let (beside, answered) = over_a_long_way(true, 2 << 20);
    assert!(alone > 8 << 20, "{alone}");
    assert!(4 * beside >= 3 * alone, "{beside} beside calls, {alone} alone");
    // Twenty round trips of 100 ms in two seconds; three times as long would be seven.
    assert!(answered >= 14, "{answered}");
    // A way that holds less than windows allow: without a pace the rest would queue in front of each call.
    let (_, answered) = over_a_long_way(true, 128 << 10);
    assert!(answered >= 7, "{answered}");
}

/// Three pieces fill what may be on its way, though each leaves with the head of its call.
#[test]
fn what_leaves_with_the_heads_of_large_calls_counts_as_on_its_way() {
    let mut talk = Dialogue::open_with(Side::Initiator, &wide(), &wide());
    talk.session.open(request(64)).unwrap();
    talk.hear();
    for _ in 0..5 {
        talk.session.open(request(PIECE + 1)).unwrap();
    }
    let heard = talk.hear();
    let opened = frames(&heard).into_iter().filter_map(|frame| match frame {
        Frame::Open(open) => Some(open.body.len()),
        _ => None,
    });
    assert_eq!(opened.collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 0, 0]);
    assert_eq!(leaves(&mut talk), (0, None));
}

/// A stream that is cancelled is held no more; the one beside it still is, and goes on when its time comes.
#[test]
fn what_is_cancelled_while_it_is_held_takes_no_other_with_it() {
    let (mut talk, first) = talk(1 << 20);
    let second = talk.session.open(OpenCall { priority: Priority::Bulk, ..stream() }).unwrap();
    talk.session.open(request(64)).unwrap();
    let (bytes, _) = leaves(&mut talk);
    talk.session.send(second, body(2, 0, 1 << 20)).unwrap();
    assert_eq!((bytes, leaves(&mut talk).0), (HELD, 0));
    talk.session.cancel(first);
    assert_eq!(leaves(&mut talk).0, 0);
    talk.now = talk.now + Duration::from_secs(2);
    assert_eq!(leaves(&mut talk).0, 1 << 20);
}
