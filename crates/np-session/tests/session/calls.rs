//! Unary calls and one-way messages: sizes, queues, deadlines, cancels.

use std::time::Duration;

use bytes::Bytes;
use np_session::{Answer, Event, OpenCall, OpenKind};
use np_testkit::{Dialogue, Setup, body, settings};
use np_types::{Deadline, Limits, Metadata, Outcome, Status, Time};
use np_wire::{Frame, Open, RemainingTime, Side, StreamId, Trailers};

use crate::help::{answer, answers, echo, failures, first_call, frames, open, opened, release_answers, request, small};

/// Calls with a body of `size` both ways at once and checks that both come back.
#[track_caller]
fn check_echo(limits: &Limits, size: usize) {
    let mut pair = Setup::with_limits(limits).connect();
    pair.events(0);
    pair.events(1);
    let keys = [0, 1].map(|at| pair.peers[at].session().open(request(size)).unwrap());
    pair.settle();
    let calls = [0, 1].map(|at| opened(&pair.events(at)));
    for (at, calls) in calls.into_iter().enumerate() {
        assert_eq!(calls.len(), 1, "{size}");
        answer(&mut pair, at, calls);
    }
    for (at, key) in keys.into_iter().enumerate() {
        let answers = answers(&pair.events(at));
        assert_eq!(answers.len(), 1, "{size}");
        assert!(answers[0] == (key, body(7, 0, size)), "{size}");
        assert!(pair.peers[at].session().is_idle());
    }
}

#[test]
fn bodies_of_every_kind_of_size_come_back() {
    for size in [0, 1, 63, 64, 1_000, 1_023, 1_024, 1_025, 4_999, 5_000] {
        check_echo(&small(), size);
    }
    for size in [65_000, 70_000, 256 << 10, (256 << 10) + 1] {
        check_echo(&Limits::default(), size);
    }
}

#[test]
fn the_largest_messages_of_the_default_limits_pass_both_ways_at_once() {
    check_echo(&Limits::default(), 16 << 20);
}

#[test]
fn a_request_above_max_message_is_refused_by_name() {
    let mut pair = Setup::with_limits(&small()).connect();
    let error = pair.client().open(request(5_001)).unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::NotProcessed));
    assert!(error.text.contains("max_message") && error.text.contains("5000"), "{error}");
    pair.settle();
    assert!(pair.client().is_idle() && opened(&pair.events(1)).is_empty());
}

#[test]
fn before_the_settings_came_a_call_is_checked_when_they_do() {
    let mut talk = Dialogue::start(Side::Initiator, &Limits::default());
    let key = talk.session.open(request(5_001)).unwrap();
    let fine = talk.session.open(request(5_000)).unwrap();
    assert_eq!(frames(&talk.hear()).len(), 1);
    talk.say(&[Frame::Settings(settings(&small()))]);
    let heard = talk.hear();
    assert!(matches!(frames(&heard)[..], [Frame::Method { .. }, Frame::Open(Open { total: Some(5_000), .. })]));
    let failed = failures(&talk.events());
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0, failed[0].1.outcome), (key, Outcome::NotProcessed));
    assert_ne!(fine, key);
}

#[test]
fn a_declared_size_above_max_message_is_refused_and_not_processed() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    let open = Open { total: Some(5_001), ..Open::new(OpenKind::Request) };
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(open)]);
    let heard = talk.hear();
    let told = frames(&heard);
    assert!(
        matches!(&told[..], [Frame::Trailers(Trailers { status: Status::LimitReached, text, .. })] if text.contains("max_message")),
        "{told:?}"
    );
    assert!(talk.events().is_empty() && talk.session.is_idle());
}

#[test]
fn an_answer_above_the_callers_max_message_becomes_an_error() {
    let setup = Setup { limits: [small(), Limits::default()], ..Setup::default() };
    let mut pair = setup.connect();
    let key = pair.client().open(request(1)).unwrap();
    pair.settle();
    let calls = opened(&pair.events(1));
    pair.server().respond(calls[0].0, Answer::from(body(1, 0, 5_001))).unwrap();
    pair.settle();
    let failed = failures(&pair.events(0));
    assert_eq!((failed[0].0, failed[0].1.status), (key, Status::LimitReached));
    assert!(failed[0].1.text.contains("max_message"), "{}", failed[0].1);
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

#[test]
fn a_one_way_message_is_sent_and_its_slot_is_held_until_it_is_done() {
    let mut pair = Setup::default().connect();
    let key = pair.client().open(open(OpenKind::OneWay, body(1, 0, 500))).unwrap();
    pair.settle();
    assert!(pair.events(0).contains(&Event::Sent { key }));
    let calls = opened(&pair.events(1));
    assert_eq!((pair.client().open_here(), pair.server().open_by_peer()), (1, 1));
    pair.server().end(calls[0].0, Status::Ok, "", Metadata::default()).unwrap();
    pair.settle();
    assert!(pair.client().is_idle() && pair.server().is_idle());
    assert!(pair.events(0).is_empty());
    // One place, and so one message at a time.
    let mut pair = Setup::with_limits(&Limits { max_calls: 1, ..small() }).connect();
    pair.settle();
    pair.events(0);
    let [first, second] = [1, 2].map(|seed| pair.client().open(open(OpenKind::OneWay, body(seed, 0, 50))).unwrap());
    pair.settle();
    assert_eq!(pair.events(0), [Event::Sent { key: first }]);
    let calls = opened(&pair.events(1));
    pair.server().end(calls[0].0, Status::Ok, "", Metadata::default()).unwrap();
    pair.settle();
    assert_eq!((calls.len(), opened(&pair.events(1)).len()), (1, 1));
    assert_eq!(pair.events(0), [Event::Sent { key: second }]);
}

#[test]
fn calls_beyond_the_peers_max_calls_queue_and_all_finish() {
    let mut pair = Setup::with_limits(&Limits { max_calls: 3, ..small() }).connect();
    for _ in 0..40 {
        pair.client().open(request(100)).unwrap();
    }
    pair.settle();
    let (mut begun, mut done) = (0, 0);
    for _ in 0..40 {
        assert!(pair.server().open_by_peer() <= 3);
        begun += echo(&mut pair, 1);
        done += release_answers(&mut pair, 0);
    }
    assert_eq!((begun, done), (40, 40));
    assert!(pair.client().is_idle());
}

#[test]
fn a_lower_allowance_holds_from_then_on_and_answers_do_not_wait_for_it() {
    let other = Limits { stream_window: 1_024, connection_window: 2_048, ..Limits::default() };
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &other);
    talk.say(&first_call(OpenKind::Request, b"?"));
    let call = opened(&talk.events())[0].0;
    for _ in 0..3 {
        talk.session.open(request(1_024)).unwrap();
    }
    assert_eq!(frames(&talk.hear()).iter().filter(|frame| matches!(frame, Frame::Open(_))).count(), 2);
    talk.session.respond(call, Answer::from(body(0, 0, 10))).unwrap();
    assert!(talk.hear().is_empty());
    talk.say(&[Frame::CallAllowance(1), Frame::ConnectionCredit(50)]);
    assert!(matches!(frames(&talk.hear())[..], [Frame::Response(_)]));
}

#[test]
fn one_more_than_max_queued_calls_is_refused_by_name() {
    let limits = [Limits { max_queued_calls: 5, ..small() }, Limits { max_calls: 1, ..small() }];
    let mut pair = Setup { limits, ..Setup::default() }.connect();
    for _ in 0..5 {
        pair.client().open(request(1)).unwrap();
    }
    let error = pair.client().open(request(1)).unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::NotProcessed));
    assert!(error.text.contains("max_queued_calls"), "{error}");
    pair.settle();
    assert!(pair.client().open(request(1)).is_ok());
}

#[test]
fn calls_beyond_max_calls_are_refused_and_a_flood_of_them_ends_the_connection() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { max_calls: 1, ..Limits::default() });
    let call = Frame::Open(Open::new(OpenKind::Request));
    talk.say(&[Frame::Method { number: 0, name: "m" }, call.clone(), call.clone()]);
    assert_eq!(opened(&talk.events()).len(), 1);
    let refused = Trailers {
        id: StreamId::new(Side::Initiator, 1),
        status: Status::Unavailable,
        text: "limit max_calls reached; try again later",
        metadata: Metadata::default(),
    };
    assert_eq!(frames(&talk.hear()), [Frame::Trailers(refused)]);
    talk.say(&[call.clone(), call]);
    assert!(talk.session.error().is_some_and(|error| error.to_string().contains("max_calls")));
}

#[test]
fn a_deadline_ends_a_call_on_both_sides() {
    let mut pair = Setup::default().connect();
    let deadline = Deadline::after(Time::ZERO, Duration::from_millis(250));
    let key = pair.client().open(OpenCall { deadline, ..request(10) }).unwrap();
    pair.run_for(Duration::from_millis(249));
    assert!(failures(&pair.events(0)).is_empty());
    let events = pair.events(1);
    let call = opened(&events)[0].0;
    let told = events.iter().any(|event| matches!(event, Event::Opened { deadline: told, .. } if *told == deadline));
    assert!(told, "{events:?}");
    pair.run_for(Duration::from_millis(2));
    let failed = failures(&pair.events(0));
    assert_eq!((failed[0].0, failed[0].1.status), (key, Status::DeadlineExceeded));
    assert_eq!(failed[0].1.outcome, Outcome::Unknown);
    assert_eq!(pair.events(1), [Event::Cancelled { key: call, status: Status::DeadlineExceeded }]);
    assert_eq!((pair.client().open_here(), pair.server().open_by_peer()), (1, 1));
    pair.server().end(call, Status::DeadlineExceeded, "", Metadata::default()).unwrap();
    pair.settle();
    assert!(pair.client().is_idle() && pair.server().is_idle() && pair.events(0).is_empty());
}

#[test]
fn a_deadline_in_the_queue_means_not_processed() {
    let mut pair = Setup::with_limits(&Limits { max_calls: 1, ..small() }).connect();
    let first = pair.client().open(request(1)).unwrap();
    let deadline = Deadline::after(Time::ZERO, Duration::from_millis(5));
    let second = pair.client().open(OpenCall { deadline, ..request(1) }).unwrap();
    pair.run_for(Duration::from_millis(6));
    let failed = failures(&pair.events(0));
    assert_eq!((failed[0].0, failed[0].1.outcome), (second, Outcome::NotProcessed));
    assert_eq!(echo(&mut pair, 1), 1);
    assert_eq!(answers(&pair.events(0))[0].0, first);
    assert!(pair.client().is_idle());
}

/// A sealed record leaves whatever happens to its call, so its work cannot be called undone.
#[test]
fn a_deadline_of_a_sealed_call_means_unknown() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    let deadline = Deadline::after(Time::ZERO, Duration::from_millis(5));
    talk.session.open(OpenCall { deadline, ..request(1) }).unwrap();
    let mut out = Vec::new();
    assert!(talk.session.poll_transmit(Time::ZERO, &mut out));
    talk.session.handle_timeout(Time::ZERO + Duration::from_millis(5));
    assert_eq!(failures(&talk.events())[0].1.outcome, Outcome::Unknown);
}

#[test]
fn an_answer_waits_for_credit_no_longer_than_its_caller() {
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &small());
    talk.say(&first_call(OpenKind::Request, b"?"));
    let call = opened(&talk.events())[0].0;
    talk.session.respond(call, Answer::from(body(1, 0, 1_500))).unwrap();
    talk.hear();
    talk.now = Time::ZERO + Deadline::DEFAULT;
    talk.session.handle_timeout(talk.now);
    let heard = talk.hear();
    let ended = matches!(&frames(&heard)[..], [Frame::Trailers(end)] if end.status == Status::DeadlineExceeded);
    assert!(ended, "{:?}", frames(&heard));
    assert!(talk.events().is_empty() && talk.session.is_idle());
}

#[test]
fn an_answer_after_the_deadline_is_told_as_late() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.say(&first_call(OpenKind::Request, b"?"));
    let call = opened(&talk.events())[0].0;
    talk.now = Time::ZERO + Deadline::DEFAULT;
    talk.session.handle_timeout(talk.now);
    talk.session.respond(call, Answer::from(body(1, 0, 10))).unwrap();
    let heard = talk.hear();
    let ended = matches!(&frames(&heard)[..], [Frame::Trailers(end)] if end.status == Status::DeadlineExceeded);
    assert!(ended, "{:?}", frames(&heard));
}

#[test]
fn a_cancel_reaches_the_handler_and_frees_the_slot_at_its_end() {
    let mut pair = Setup::default().connect();
    let key = pair.client().open(request(10)).unwrap();
    pair.settle();
    pair.events(0);
    let call = opened(&pair.events(1))[0].0;
    pair.client().cancel(key);
    pair.settle();
    assert_eq!(pair.events(1), [Event::Cancelled { key: call, status: Status::Cancelled }]);
    assert_eq!((pair.client().open_here(), pair.server().open_by_peer()), (1, 1));
    pair.server().respond(call, Answer::from(body(0, 0, 10))).unwrap();
    pair.settle();
    assert!(pair.client().is_idle() && pair.server().is_idle() && pair.events(0).is_empty());
    assert!(pair.server().respond(call, Answer::default()).is_err());
}

#[test]
fn withdrawn_calls_never_leave_and_what_has_left_goes_on() {
    let mut pair = Setup::with_limits(&Limits { max_calls: 1, ..Limits::default() }).connect();
    let sent = pair.client().open(request(10)).unwrap();
    pair.settle();
    let queued: Vec<_> = (0..3).map(|_| pair.client().open(request(10)).unwrap()).collect();
    pair.client().withdraw();
    pair.settle();
    let failed = failures(&pair.events(0));
    assert_eq!(failed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), queued);
    assert!(failed.iter().all(|(_, error)| error.outcome == Outcome::NotProcessed));
    assert_eq!(echo(&mut pair, 1), 1);
    assert_eq!(answers(&pair.events(0))[0].0, sent);
    pair.client().withdraw();
    pair.settle();
    assert!(pair.events(0).is_empty() && pair.client().is_idle());
    let next = pair.client().open(request(10)).unwrap();
    pair.settle();
    assert_eq!(echo(&mut pair, 1), 1);
    assert_eq!(answers(&pair.events(0))[0].0, next);
}

#[test]
fn a_cancelled_upload_is_ended_by_the_session_itself() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    let part = Open { total: Some(1_000), body: &[1; 400], ..Open::new(OpenKind::Request) };
    let id = StreamId::new(Side::Initiator, 0);
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(part)]);
    talk.say(&[Frame::Cancel { id, status: Status::Cancelled }]);
    let heard = talk.hear();
    assert!(matches!(frames(&heard)[..], [Frame::Trailers(Trailers { status: Status::Cancelled, .. })]));
    assert!(talk.events().is_empty() && talk.session.is_idle());
}

#[test]
fn calls_nest_both_ways() {
    let mut pair = Setup::default().connect();
    let outer = pair.client().open(request(1)).unwrap();
    pair.settle();
    let call = opened(&pair.events(1))[0].0;
    let inner = pair.server().open(request(2)).unwrap();
    pair.settle();
    assert_eq!(echo(&mut pair, 0), 1);
    assert_eq!(answers(&pair.events(1))[0].0, inner);
    pair.server().respond(call, Answer::default()).unwrap();
    pair.settle();
    assert_eq!(answers(&pair.events(0))[0].0, outer);
}

#[test]
fn pongs_carry_the_token_of_their_ping() {
    let mut pair = Setup::default().connect();
    pair.events(0);
    let first = pair.client().ping();
    pair.settle();
    let second = pair.client().ping();
    pair.settle();
    assert_eq!(pair.events(0), [Event::Pong { token: first }, Event::Pong { token: second }]);
}

#[test]
fn remaining_time_is_computed_when_the_call_is_sealed() {
    let limits = Limits { max_calls: 1, ..Limits::default() };
    let mut talk = Dialogue::open_with(Side::Initiator, &Limits::default(), &limits);
    let seconds = |count| Deadline::after(Time::ZERO, Duration::from_secs(count));
    let mut told = |deadline, waits: Duration| {
        let key = talk.session.open(OpenCall { deadline, ..request(0) }).unwrap();
        talk.now = Time::ZERO + waits;
        let heard = talk.hear();
        let frame = frames(&heard).into_iter().find_map(|frame| match frame {
            Frame::Open(open) => Some(open.remaining),
            _ => None,
        });
        talk.session.cancel(key);
        let id = StreamId::new(Side::Initiator, talk_id(&mut talk));
        talk.say(&[Frame::Trailers(Trailers {
            id,
            status: Status::Cancelled,
            text: "",
            metadata: Metadata::default(),
        })]);
        frame.unwrap()
    };
    assert_eq!(told(Deadline::NONE, Duration::ZERO), RemainingTime::Unlimited);
    assert_eq!(told(seconds(30), Duration::ZERO), RemainingTime::Default);
    assert_eq!(told(seconds(30), Duration::from_millis(998)), RemainingTime::Default);
    assert_eq!(told(seconds(30), Duration::from_secs(2)), RemainingTime::Millis(28_000));
    assert_eq!(told(seconds(5), Duration::from_secs(2)), RemainingTime::Millis(3_000));
}

/// The index of the call that a dialogue's session cancelled last.
fn talk_id(talk: &mut Dialogue) -> u64 {
    let heard = talk.hear();
    let cancelled = frames(&heard).into_iter().find_map(|frame| match frame {
        Frame::Cancel { id, .. } => Some(id.index()),
        _ => None,
    });
    cancelled.unwrap()
}

#[test]
fn names_are_announced_once_and_one_too_many_is_refused() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    let call = |at: u32| OpenCall::new(OpenKind::Request, format!("m{at}").parse().unwrap());
    for at in 0..1_024 {
        let key = talk.session.open(call(at)).unwrap();
        talk.session.cancel(key);
    }
    let error = talk.session.open(call(1_024)).unwrap_err();
    assert!(error.text.contains("method names") && error.outcome == Outcome::NotProcessed, "{error}");
    talk.session.open(call(1)).unwrap();
    let names = |bytes: &[u8]| frames(bytes).iter().filter(|frame| matches!(frame, Frame::Method { .. })).count();
    assert_eq!(names(&talk.hear()), 2);
    talk.session.open(call(1)).unwrap();
    talk.session.open(call(2)).unwrap();
    assert_eq!(names(&talk.hear()), 1);
}

/// A key and a value of 64 bytes and more have lengths of two bytes each, so there is no longer head than this.
#[test]
fn a_head_with_the_longest_metadata_leaves_whole_however_full_its_record_is() {
    let limits = Limits { connection_window: 4 << 20, ..Limits::default() };
    let mut metadata = Metadata::new();
    for at in 0..Metadata::MAX_PAIRS {
        metadata.insert(&format!("{at:064}"), &[7; 192]).unwrap();
    }
    assert_eq!(metadata.size(), Metadata::MAX_BYTES);
    let mut talk = Dialogue::open_with(Side::Initiator, &limits, &limits);
    // Its record has from 8,400 to 8,200 bytes left, about what it takes.
    for last in (14_270..14_270 + 256).step_by(16) {
        for size in [14_270, 14_270, 14_270, last] {
            talk.session.open(open(OpenKind::OneWay, body(7, 0, size))).unwrap();
        }
        let call = OpenCall { metadata: metadata.clone(), ..open(OpenKind::OneWay, Bytes::new()) };
        talk.session.open(call).unwrap();
        let heard = talk.hear();
        let heads = frames(&heard).into_iter().filter_map(|frame| match frame {
            Frame::Open(open) => Some((open.body.len(), open.metadata.size())),
            _ => None,
        });
        let told = [(14_270, 0), (14_270, 0), (14_270, 0), (last, 0), (0, Metadata::MAX_BYTES)];
        assert_eq!(heads.collect::<Vec<_>>(), told);
    }
}
