//! Acts that are legal and of no use: each kind has its budget and its name, and honest peers meet none.

use std::time::Duration;

use np_session::{Answer, Event, OpenKind, StreamKey};
use np_testkit::{Dialogue, Pair, Recorder, Setup, body};
use np_types::{CloseCode, ConnectionError, LimitHit, LimitName, Limits, Metadata, Status};
use np_wire::{Encoding, Frame, Open, RemainingTime, Side, StreamId, Trailers};

use crate::help::{answer, first_call, frames, opened, request, small, stream};

/// The most that a flood may make a session hold.
const GROWTH: usize = 64 << 10;

fn theirs(at: u64) -> StreamId {
    StreamId::new(Side::Initiator, at)
}

fn call() -> Frame<'static> {
    Frame::Open(Open::new(OpenKind::Request))
}

fn data(id: StreamId, end: bool, body: &[u8]) -> Frame<'_> {
    Frame::Data { id, fin: false, end, body }
}

fn with(useless_acts: u32) -> Limits {
    Limits { useless_acts, ..Limits::default() }
}

/// Every queue of a session stands in its debug text, an entry in tens of bytes.
fn held(talk: &Dialogue) -> usize {
    format!("{:?}", talk.session).len()
}

/// Does `act` until the session ends, which must be by `limit` after exactly as many as `height` makes of the setting.
#[track_caller]
fn check_flood(limit: LimitName, height: impl Fn(u64) -> u64, act: impl Fn(&mut Dialogue, u64)) {
    for useless_acts in [256, 4_096] {
        let mut talk = Dialogue::open(Side::Responder, &with(useless_acts));
        talk.say(&first_call(OpenKind::Stream, b""));
        talk.events();
        let allowed = height(u64::from(useless_acts));
        let before = held(&talk);
        for at in 0..allowed {
            act(&mut talk, at);
            assert_eq!(talk.session.error(), None, "act {at} of {allowed}");
        }
        let queued = held(&talk).saturating_sub(before);
        let events = talk.events();
        let size = queued + events.len() * size_of::<Event>();
        assert!(size <= GROWTH, "{} events, {size} bytes", events.len());
        act(&mut talk, allowed);
        let hit = LimitHit { limit, allowed, seen: allowed + 1 };
        let error: ConnectionError = hit.into();
        assert_eq!(talk.session.error(), Some(&error));
        assert_eq!(error.close_code(), CloseCode::Flood);
        let heard = talk.hear();
        assert_eq!(frames(&heard).last(), Some(&Frame::Close { code: CloseCode::Flood, text: &hit.to_string() }));
    }
}

#[test]
fn pings() {
    check_flood(LimitName::Pings, |acts| acts, |talk, at| talk.say(&[Frame::Ping(at)]));
}

#[test]
fn data_that_says_nothing() {
    check_flood(LimitName::EmptyData, |acts| acts, |talk, _| talk.say(&[data(theirs(0), false, b"")]));
    // In a unary message, too.
    let act = |talk: &mut Dialogue, at| {
        if at == 0 {
            talk.say(&[Frame::Open(Open { total: Some(9), ..Open::new(OpenKind::Request) })]);
        }
        talk.say(&[data(theirs(1), false, b"")]);
    };
    check_flood(LimitName::EmptyData, |acts| acts, act);
}

#[test]
fn tiny_pieces_of_a_message() {
    // The bytes of 256 pieces pay for one more.
    let height = |acts: u64| acts / 16;
    let act = |talk: &mut Dialogue, at| {
        talk.say(&[data(theirs(0), false, b"x")]);
        if at == 255 {
            talk.say(&[data(theirs(0), false, b"x")]);
        }
    };
    check_flood(LimitName::TinyPieces, height, act);
    let act = |talk: &mut Dialogue, at| {
        if at == 0 {
            talk.say(&[Frame::Open(Open { total: Some(9_000), ..Open::new(OpenKind::Request) })]);
        }
        act_on(talk, 1, at);
    };
    check_flood(LimitName::TinyPieces, height, act);
}

fn act_on(talk: &mut Dialogue, call: u64, at: u64) {
    for _ in 0..=u64::from(at == 255) {
        talk.say(&[data(theirs(call), false, b"x")]);
    }
}

#[test]
fn tiny_credits() {
    check_flood(LimitName::TinyCredits, |acts| acts, |talk, _| talk.say(&[Frame::ConnectionCredit(255)]));
    let act = |talk: &mut Dialogue, _| talk.say(&[Frame::StreamCredit { id: theirs(0), bytes: 1 }]);
    check_flood(LimitName::TinyCredits, |acts| acts, act);
    // One that is worth its frame is none, however many come.
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&vec![Frame::ConnectionCredit(256); 5_000]);
    assert_eq!(talk.session.error(), None);
}

#[test]
fn frames_of_unknown_kinds() {
    let act = |talk: &mut Dialogue, _| {
        let record = talk.hand.seal_bytes(&[0x0f << 3, 0]);
        talk.feed(&record);
    };
    check_flood(LimitName::UnknownFrames, |acts| acts, act);
}

#[test]
fn padding_alone_and_in_needless_pieces() {
    check_flood(LimitName::Padding, |acts| acts, |talk, _| talk.say(&[Frame::Padding(3)]));
    // Eight frames pass beside another one.
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    let useful = Frame::ConnectionCredit(1_000);
    for (paddings, fine) in [(8 + 256, true), (8, true), (9, false)] {
        let mut said = vec![Frame::Padding(0); paddings];
        said.push(useful.clone());
        talk.say(&said);
        assert_eq!(talk.session.error().is_none(), fine, "{paddings}");
    }
}

#[test]
fn key_updates_alone_in_their_record() {
    check_flood(LimitName::KeyUpdates, |acts| acts, |talk, _| talk.say(&[Frame::KeyUpdate]));
}

#[test]
fn call_allowances() {
    check_flood(LimitName::CallAllowances, |acts| acts, |talk, _| talk.say(&[Frame::CallAllowance(9)]));
}

#[test]
fn frames_for_calls_that_are_over() {
    // Two frames may cross each end: the stream's, and the call's that is answered here.
    let act = |talk: &mut Dialogue, at| {
        if at == 0 {
            talk.say(&[call()]);
            for (key, ..) in opened(&talk.events()) {
                talk.session.end(key, Status::Failed, "", Metadata::default()).unwrap();
            }
            talk.hear();
            talk.say(&vec![Frame::Cancel { id: theirs(1), status: Status::Cancelled }; 2]);
        }
        let late = [Frame::Cancel { id: theirs(1), status: Status::Cancelled }, data(theirs(1), true, b"late")];
        talk.say(&late[at as usize % 2..][..1]);
    };
    check_flood(LimitName::LateFrames, |acts| acts, act);
}

#[test]
fn calls_that_cannot_go_well() {
    let large = Open { encoding: Encoding::Lz4 { raw: 1 << 30 }, ..Open::new(OpenKind::Request) };
    let act = |talk: &mut Dialogue, at: u64| {
        talk.say(&[Frame::Open(large.clone())]);
        if at.is_multiple_of(100) {
            talk.hear();
        }
    };
    check_flood(LimitName::RefusedCalls, |acts| acts, act);
}

#[test]
fn calls_of_methods_that_are_not_there() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    let refuse = |talk: &mut Dialogue, calls: usize, statuses: &[Status]| {
        for at in 0..calls {
            talk.say(&[call()]);
            for (key, ..) in opened(&talk.events()) {
                talk.session.end(key, statuses[at % statuses.len()], "", Metadata::default()).unwrap();
            }
            talk.hear();
        }
    };
    // Errors that a handler makes are answers.
    refuse(&mut talk, 5_000, &[Status::Failed, Status::InvalidArgument, Status::PermissionDenied]);
    assert_eq!(talk.session.error(), None);
    let unknown = [Status::UnknownMethod, Status::UnsupportedCodec, Status::WrongKind];
    refuse(&mut talk, 256, &unknown);
    assert_eq!(talk.session.error(), None);
    talk.say(&[Frame::Open(Open { total: Some(1 << 30), ..Open::new(OpenKind::Request) })]);
    let hit = LimitHit { limit: LimitName::RefusedCalls, allowed: 256, seen: 257 };
    assert_eq!(talk.session.error(), Some(&hit.into()));
}

/// Serves what came as an application does: ends what was cancelled.
fn end_cancelled(talk: &mut Dialogue) -> usize {
    let cancelled: Vec<StreamKey> = talk
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Cancelled { key, .. } => Some(key),
            _ => None,
        })
        .collect();
    for key in &cancelled {
        talk.session.end(*key, Status::Cancelled, "", Metadata::default()).unwrap();
    }
    talk.hear();
    cancelled.len()
}

#[test]
fn calls_that_are_cancelled_right_after_they_are_opened() {
    let act = |talk: &mut Dialogue, at| {
        talk.say(&[call(), Frame::Cancel { id: theirs(1 + at), status: Status::Cancelled }]);
        if talk.session.error().is_none() {
            assert_eq!(end_cancelled(talk), 1);
        }
    };
    check_flood(LimitName::CancelledCalls, |acts| acts, act);
}

/// A call with so much time, which is then over.
fn expire(talk: &mut Dialogue, millis: u64) {
    talk.say(&[Frame::Open(Open { remaining: RemainingTime::Millis(millis), ..Open::new(OpenKind::Request) })]);
    talk.now = talk.now + Duration::from_millis(millis);
    talk.session.handle_timeout(talk.now);
}

#[test]
fn calls_that_have_no_time() {
    let act = |talk: &mut Dialogue, at| {
        expire(talk, 0);
        if talk.session.error().is_none() {
            // Its caller's own clock comes later, and cancels no second call.
            talk.say(&[Frame::Cancel { id: theirs(1 + at), status: Status::DeadlineExceeded }]);
            assert_eq!(end_cancelled(talk), 1);
        }
    };
    check_flood(LimitName::CancelledCalls, |acts| acts, act);
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    talk.events();
    let over = (0..400).any(|_| {
        expire(&mut talk, 19);
        let over = talk.session.error().is_some();
        if !over {
            end_cancelled(&mut talk);
        }
        over
    });
    assert!(over, "19 ms are as good as none, and time alone fills the budget");
}

#[test]
fn calls_that_had_their_time_or_their_answer_cost_nothing() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    talk.events();
    for _ in 0..1_000 {
        expire(&mut talk, 20);
        assert_eq!(end_cancelled(&mut talk), 1);
    }
    for _ in 0..1_000 {
        talk.say(&[Frame::Open(Open { remaining: RemainingTime::Millis(0), ..Open::new(OpenKind::Request) })]);
        let (key, ..) = opened(&talk.events())[0];
        talk.session.respond(key, Answer::from(body(1, 0, 9))).unwrap();
        // The answer has not left yet, and its time is over.
        talk.session.handle_timeout(talk.now);
        talk.hear();
    }
    assert_eq!(talk.session.error(), None);
}

#[test]
fn a_cancelled_call_keeps_its_slot_until_its_work_has_ended() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { max_calls: 3, ..Limits::default() });
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    for at in 0..3 {
        talk.say(&[call(), Frame::Cancel { id: theirs(at), status: Status::Cancelled }]);
    }
    assert!(talk.hear().is_empty());
    assert_eq!(talk.session.open_by_peer(), 3);
    talk.say(&[call()]);
    let refused = |bytes: &[u8]| {
        frames(bytes).iter().any(|frame| matches!(frame, Frame::Trailers(Trailers { status: Status::Unavailable, .. })))
    };
    assert!(refused(&talk.hear()));
    assert_eq!(end_cancelled(&mut talk), 3);
    talk.say(&[call()]);
    assert!(!refused(&talk.hear()));
    assert_eq!((talk.session.open_by_peer(), opened(&talk.events()).len()), (1, 1));
}

#[test]
fn calls_that_were_at_work_for_a_while_are_cancelled_without_end() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    for at in 0..2_000 {
        talk.say(&[call()]);
        talk.now = talk.now + Duration::from_millis(if at < 1_700 { 20 } else { 1 });
        talk.say(&[Frame::Cancel { id: theirs(at), status: Status::Cancelled }]);
        assert_eq!(talk.session.error(), None, "{at}");
        assert_eq!(end_cancelled(&mut talk), 1);
        if at >= 1_700 + 250 {
            return;
        }
    }
}

/// A client that works hard, and wastes as much as it works: each answer is credited alone, a tenth is cancelled late.
#[test]
fn a_hundred_thousand_calls_spend_no_budget() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    for round in 0..1_000u64 {
        let mut said = vec![Frame::Open(Open { body: b"0123456789", ..Open::new(OpenKind::Request) }); 100];
        said.push(Frame::Ping(round));
        talk.say(&said);
        for (key, _, body, credit) in opened(&talk.events()) {
            talk.session.release(credit);
            talk.session.respond(key, Answer::from(body)).unwrap();
        }
        let heard = talk.hear();
        let answers = frames(&heard).iter().filter(|frame| matches!(frame, Frame::Response(_))).count();
        assert_eq!(answers, 100, "round {round}: {:?}", talk.session.error());
        let mut said = vec![Frame::ConnectionCredit(10); 100];
        said.extend((0..10).map(|at| Frame::Cancel { id: theirs(round * 100 + at), status: Status::Cancelled }));
        talk.say(&said);
        assert_eq!(talk.session.error(), None, "round {round}");
    }
}

#[test]
fn a_heartbeat_a_second_goes_on_for_a_day() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    for second in 0..86_400 {
        talk.now = talk.now + Duration::from_secs(1);
        talk.say(&[Frame::Ping(second)]);
        assert!(talk.hears(&Frame::Pong(second)), "second {second}");
    }
}

#[test]
fn messages_of_one_byte_are_messages() {
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&first_call(OpenKind::Stream, b""));
    let key = opened(&talk.events())[0].0;
    for round in 0..200 {
        talk.say(&vec![data(theirs(0), true, b"x"); 500]);
        let events = talk.events();
        assert_eq!(events.len(), 500, "round {round}");
        events.iter().for_each(|_| talk.session.consumed(key, 1));
        talk.hear();
    }
    // And the other way, where the peer gives each byte's credit back alone.
    for at in 0..5_000 {
        talk.session.send(key, body(1, at, 1)).unwrap();
        talk.hear();
        talk.say(&[Frame::ConnectionCredit(1), Frame::StreamCredit { id: theirs(0), bytes: 1 }]);
        assert_eq!(talk.session.error(), None, "message {at}");
    }
}

/// Takes what came in odd bits, so that credit comes back in odd bits.
fn take_all(pair: &mut Pair<Recorder>, at: usize) -> usize {
    let mut messages = 0;
    loop {
        let events = pair.events(at);
        if events.is_empty() {
            return messages;
        }
        for event in events {
            if let Event::Data { key, body, end, .. } = event {
                messages += usize::from(end);
                for bit in body.chunks(97) {
                    pair.peers[at].session().consumed(key, bit.len());
                    pair.settle();
                }
            }
        }
    }
}

/// The smallest windows make the smallest pieces; the smallest setting has room for 16 of them.
#[test]
fn streams_that_share_the_smallest_windows_are_not_cut() {
    let mut pair = Setup::with_limits(&Limits { useless_acts: 256, ..small() }).connect();
    let keys = [(); 3].map(|()| pair.client().open(stream()).unwrap());
    pair.settle();
    for at in 0..100 {
        for key in keys {
            pair.client().send(key, body(1, at, 4_999 - at)).unwrap();
        }
        pair.settle();
        assert_eq!(take_all(&mut pair, 1), 3, "{:?}", pair.server().error());
        pair.events(0);
    }
}

#[test]
fn a_key_for_each_record_is_not_cut() {
    let limits = Limits { rekey_records: 1, useless_acts: 256, ..Limits::default() };
    let mut pair = Setup::with_limits(&limits).connect();
    for round in 0..2_000 {
        pair.client().open(request(10)).unwrap();
        if round % 2 == 0 {
            pair.client().ping();
        }
        pair.settle();
        let calls = opened(&pair.events(1));
        assert_eq!(calls.len(), 1, "round {round}: {:?}", pair.server().error());
        answer(&mut pair, 1, calls);
        crate::help::release_answers(&mut pair, 0);
    }
}

/// A whole window of messages may be on its way when a stream ends.
#[test]
fn what_crosses_the_end_of_a_stream_is_not_late() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { useless_acts: 256, ..small() });
    talk.say(&first_call(OpenKind::Stream, b""));
    let key = opened(&talk.events())[0].0;
    talk.session.end(key, Status::Ok, "", Metadata::default()).unwrap();
    talk.hear();
    for at in 0..1_024 + 2 {
        talk.say(&[data(theirs(0), true, b"x")]);
        assert_eq!(talk.session.error(), None, "byte {at}");
        talk.hear();
    }
    talk.say(&vec![data(theirs(0), true, b"x"); 256]);
    assert_eq!(talk.session.error(), None);
    talk.say(&[data(theirs(0), true, b"x")]);
    let hit = LimitHit { limit: LimitName::LateFrames, allowed: 256, seen: 257 };
    assert_eq!(talk.session.error(), Some(&hit.into()));
}

/// Says `count` messages of a byte for a stream that is over, or about to be; none of them may be late.
#[track_caller]
fn check_crossing(mut talk: Dialogue, id: StreamId, count: usize) {
    for at in 0..count {
        talk.say(&[data(id, id.opener() == Side::Initiator && at % 2 == 0, b"x")]);
        talk.hear();
        assert_eq!(talk.session.error(), None, "byte {at}");
    }
    // And no more than a few.
    talk.say(&vec![data(id, false, b"x"); 260]);
    assert!(talk.session.error().is_some_and(|error| error.to_string().contains("late frames")));
}

#[test]
fn what_crosses_a_refusal_a_deadline_or_a_cancel_is_not_late() {
    let limits = Limits { useless_acts: 256, max_calls: 1, ..small() };
    let talk = || Dialogue::open(Side::Responder, &limits);
    let open = |kind, total| Frame::Open(Open { total, remaining: RemainingTime::Millis(5), ..Open::new(kind) });
    let name = || Frame::Method { number: 0, name: "m" };
    for (kind, total, size) in [(OpenKind::Request, Some(1_000), 1_000), (OpenKind::Stream, None, 1_024)] {
        let mut refused = talk();
        refused.say(&[name(), call(), open(kind, total)]);
        check_crossing(refused, theirs(1), size);
        let mut late = talk();
        late.say(&[name(), open(kind, total)]);
        late.session.handle_timeout(late.now + Duration::from_secs(1));
        check_crossing(late, theirs(0), size);
    }
    let ours = StreamId::new(Side::Responder, 0);
    for call in [request(1), stream()] {
        let mut cancelled = talk();
        let key = cancelled.session.open(call).unwrap();
        cancelled.hear();
        cancelled.session.cancel(key);
        check_crossing(cancelled, ours, 1_024);
    }
}

/// The peer refuses each call that its go-away did not accept, and none of the refusals is late.
#[test]
fn a_drain_of_a_thousand_calls_is_no_flood() {
    let mut talk = Dialogue::open(Side::Initiator, &with(256));
    for _ in 0..1_000 {
        talk.session.open(request(1)).unwrap();
    }
    talk.hear();
    talk.say(&[Frame::GoAway { accepted: 0, code: CloseCode::Drained }]);
    for at in 0..1_000 {
        let (status, metadata) = (Status::Unavailable, Metadata::default());
        talk.say(&[Frame::Trailers(Trailers { id: theirs(at), status, text: "", metadata })]);
    }
    assert_eq!(talk.session.error(), None);
}

/// An empty message is an event, which is worth no act: it pays for none of another kind.
#[test]
fn empty_messages_of_a_stream_pay_for_nothing() {
    let act = |talk: &mut Dialogue, at| talk.say(&[data(theirs(0), true, b""), Frame::Ping(at)]);
    let mut talk = Dialogue::open(Side::Responder, &with(256));
    talk.say(&first_call(OpenKind::Stream, b""));
    (0..256).for_each(|at| act(&mut talk, at));
    assert_eq!(talk.session.error(), None);
    act(&mut talk, 256);
    let error: ConnectionError = LimitHit { limit: LimitName::Pings, allowed: 256, seen: 257 }.into();
    assert_eq!(talk.session.error(), Some(&error));
}
