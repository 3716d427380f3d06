//! Drain, close, loss: what becomes of the calls, and what is known about their work.

use std::io::ErrorKind;

use bytes::BytesMut;
use np_session::{Answer, Event, OpenKind};
use np_testkit::{Dialogue, Setup, body};
use np_types::{CloseCode, ConnectionError, Limits, Metadata, Misbehaved, Outcome, Status};
use np_wire::{Frame, Open, Side, StreamId};

use crate::help::{answers, echo, failures, first_call, frames, open, opened, request, small, stream};

#[test]
fn after_go_away_accepted_calls_finish_and_later_ones_are_not_processed() {
    let mut pair = Setup::with_limits(&Limits { max_calls: 2, ..Limits::default() }).connect();
    let keys: Vec<_> = (0..4).map(|_| pair.client().open(request(10)).unwrap()).collect();
    pair.settle();
    pair.server().go_away(CloseCode::Drained);
    pair.settle();
    // Once is enough: a second one would take the first back.
    pair.server().go_away(CloseCode::Drained);
    pair.settle();
    let events = pair.events(0);
    let news = events.iter().position(|event| *event == Event::GoAway(CloseCode::Drained)).unwrap();
    let first = events.iter().position(|event| matches!(event, Event::Failed { .. })).unwrap();
    assert!(news < first, "who owns a call that fails knows why: {events:?}");
    let failed = failures(&events);
    assert_eq!(failed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys[2..]);
    assert!(failed.iter().all(|(_, error)| error.outcome == Outcome::NotProcessed));
    let late = pair.client().open(request(1)).unwrap_err();
    assert_eq!((late.status, late.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert_eq!(echo(&mut pair, 1), 2);
    assert_eq!(answers(&pair.events(0)).len(), 2);
    assert!(pair.client().is_idle() && pair.server().is_idle());
    // The side that drains may still call: nested work needs it.
    pair.server().open(request(3)).unwrap();
    pair.settle();
    assert_eq!(echo(&mut pair, 0), 1);
}

#[test]
fn a_go_away_fails_exactly_the_calls_that_it_does_not_count() {
    for accepted in 0..=3 {
        let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
        let keys: Vec<_> = (0..3).map(|_| talk.session.open(request(1)).unwrap()).collect();
        talk.hear();
        talk.say(&[Frame::GoAway { accepted, code: CloseCode::Drained }]);
        let failed: Vec<_> = failures(&talk.events()).into_iter().map(|(key, _)| key).collect();
        assert_eq!(failed, keys[accepted as usize..]);
        assert_eq!(talk.session.open_here() as u64, accepted);
    }
}

#[test]
fn a_call_that_crosses_the_go_away_is_not_processed() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&first_call(OpenKind::Request, b""));
    assert_eq!(opened(&talk.events()).len(), 1);
    talk.session.go_away(CloseCode::Drained);
    talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    assert!(talk.events().is_empty());
    let heard = talk.hear();
    let told = frames(&heard);
    assert_eq!(told[0], Frame::GoAway { accepted: 1, code: CloseCode::Drained });
    let refused = |frame: &Frame<'_>| matches!(frame, Frame::Trailers(end) if end.status == Status::Unavailable);
    assert!(refused(&told[1]) && told.len() == 2, "{told:?}");
}

#[test]
fn a_close_fails_what_is_open_on_both_sides() {
    let mut pair = Setup::default().connect();
    let key = pair.client().open(request(10)).unwrap();
    pair.settle();
    pair.events(0);
    let call = opened(&pair.events(1))[0].0;
    pair.client().close(CloseCode::Normal, "bye");
    pair.settle();
    let here = ConnectionError::ClosedHere(CloseCode::Normal);
    let events = pair.events(0);
    let failed = failures(&events);
    assert_eq!((failed[0].0, failed[0].1.outcome), (key, Outcome::Unknown));
    assert_eq!(failed[0].1.cause.as_deref(), Some(&here));
    assert_eq!(events.last(), Some(&Event::Closed(here)));
    let told = ConnectionError::ClosedByPeer { code: CloseCode::Normal, text: "bye".to_owned(), in_clear: false };
    let expected = [Event::Cancelled { key: call, status: Status::Unavailable }, Event::Closed(told)];
    assert_eq!(pair.events(1), expected);
    assert!(pair.client().is_closed() && pair.server().is_closed());
    let late = pair.client().open(request(1)).unwrap_err();
    assert_eq!(late.outcome, Outcome::NotProcessed);
    assert!(late.cause.is_some());
}

#[test]
fn a_close_still_delivers_answers_that_were_given() {
    let mut pair = Setup::default().connect();
    let key = pair.client().open(request(10)).unwrap();
    pair.settle();
    let call = opened(&pair.events(1))[0].0;
    pair.server().respond(call, Answer::from(body(1, 0, 100_000))).unwrap();
    pair.server().close(CloseCode::Normal, "");
    pair.settle();
    assert_eq!(answers(&pair.events(0)), [(key, body(1, 0, 100_000))]);
    assert!(matches!(pair.events(1).last(), Some(Event::Closed(_))));
}

#[test]
fn nothing_follows_the_last_event() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&first_call(OpenKind::Stream, b""));
    let key = opened(&talk.events())[0].0;
    talk.session.send(key, body(1, 0, 100)).unwrap();
    talk.session.close(CloseCode::Normal, "");
    talk.hear();
    talk.session.handle_eof();
    talk.session.handle_lost(ConnectionError::io("x", &ErrorKind::BrokenPipe.into()));
    assert!(matches!(talk.events().last(), Some(Event::Closed(_))));
    assert!(talk.session.is_closed());
}

#[test]
fn an_end_without_close_is_truncation() {
    let mut pair = Setup::default().connect();
    let key = pair.client().open(request(10)).unwrap();
    pair.settle();
    pair.events(0);
    pair.peers[0].end(None);
    pair.settle();
    let events = pair.events(0);
    let truncated: ConnectionError = Misbehaved::Truncated.into();
    assert_eq!((failures(&events)[0].0, failures(&events)[0].1.outcome), (key, Outcome::Unknown));
    assert_eq!(events.last(), Some(&Event::Closed(truncated)));
}

/// How a call is judged when the connection is lost after `written` bytes of its record, counted from the end.
fn outcome_of_loss(missing: usize, close: bool) -> Outcome {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    talk.session.open(request(100)).unwrap();
    let mut out = Vec::new();
    talk.session.poll_transmit(talk.now, &mut out);
    talk.session.handle_written(out.len() - missing);
    if close {
        talk.session.close(CloseCode::Normal, "");
    } else {
        talk.session.handle_eof();
    }
    failures(&talk.events())[0].1.outcome
}

#[test]
fn work_is_unknown_from_the_last_byte_of_its_record_on() {
    assert_eq!(outcome_of_loss(1, false), Outcome::NotProcessed);
    assert_eq!(outcome_of_loss(0, false), Outcome::Unknown);
}

/// What was sealed before a close leaves before it.
#[test]
fn a_close_of_this_side_cannot_take_a_sealed_call_back() {
    assert_eq!(outcome_of_loss(1, true), Outcome::Unknown);
}

#[test]
fn a_call_that_was_not_whole_is_not_processed() {
    let mut talk = Dialogue::open_with(Side::Initiator, &Limits::default(), &small());
    talk.session.open(request(1_025)).unwrap();
    talk.hear();
    talk.session.handle_eof();
    assert_eq!(failures(&talk.events())[0].1.outcome, Outcome::NotProcessed);
}

#[test]
fn a_one_way_message_is_sent_with_the_last_byte_of_its_record() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    let key = talk.session.open(open(OpenKind::OneWay, body(1, 0, 50))).unwrap();
    let mut out = Vec::new();
    talk.session.poll_transmit(talk.now, &mut out);
    talk.session.handle_written(out.len() - 1);
    assert!(talk.events().is_empty());
    talk.session.handle_written(1);
    assert_eq!(talk.events(), [Event::Sent { key }]);
}

#[test]
fn a_lost_transport_is_told_once() {
    let mut pair = Setup::default().connect();
    pair.client().open(stream()).unwrap();
    pair.settle();
    pair.events(0);
    pair.cut();
    let events = pair.events(0);
    assert_eq!(failures(&events).len(), 1);
    assert!(matches!(events.last(), Some(Event::Closed(ConnectionError::Io { .. }))));
    assert!(matches!(pair.events(1)[..], [.., Event::Cancelled { .. }, Event::Closed(_)]));
}

#[test]
fn input_after_the_end_is_thrown_away() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&[Frame::Close { code: CloseCode::Normal, text: "" }]);
    talk.events();
    let mut input = BytesMut::from(&[0; 100][..]);
    talk.session.handle_bytes(talk.now, &mut input);
    assert!(input.is_empty() && talk.events().is_empty() && talk.hear().is_empty());
}

#[test]
fn a_stream_of_the_other_end_is_freed_by_its_trailers_alone() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    let key = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.session.cancel(key);
    talk.events();
    let id = StreamId::new(Side::Initiator, 0);
    assert_eq!(frames(&talk.hear()), [Frame::Cancel { id, status: Status::Cancelled }]);
    assert_eq!(talk.session.open_here(), 1);
    let end = np_wire::Trailers { id, status: Status::Cancelled, text: "", metadata: Metadata::default() };
    talk.say(&[Frame::Trailers(end)]);
    assert!(talk.session.is_idle() && talk.events().is_empty());
}

#[test]
fn frames_behind_a_close_have_no_effect() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    let [method, call] = first_call(OpenKind::Request, b"late");
    talk.say(&[method, Frame::Close { code: CloseCode::Normal, text: "" }, call, Frame::Ping(1)]);
    assert!(matches!(talk.events()[..], [Event::Closed(ConnectionError::ClosedByPeer { .. })]));
    assert!(talk.hear().is_empty() && talk.session.is_idle());
}
