//! Streams: messages both ways, half close, ends and cancels.

use std::time::Duration;

use bytes::Bytes;
use np_session::{Event, OpenCall, StreamKey};
use np_testkit::{Dialogue, Pair, Recorder, Setup, body};
use np_types::{Deadline, Limits, Metadata, Outcome, Status};
use np_wire::{Encoding, Frame, OpenKind, Side, StreamId, Trailers};

use crate::help::{data, failures, first_call, frames, opened, small, stream};

/// A pair with an open stream, and its two keys.
fn joined(limits: &Limits) -> (Pair<Recorder>, StreamKey, StreamKey) {
    let mut pair = Setup::with_limits(limits).connect();
    let key = pair.client().open(stream()).unwrap();
    pair.settle();
    assert!(pair.events(0).contains(&Event::Writable { key }));
    let other = opened(&pair.events(1))[0].0;
    (pair, key, other)
}

/// Takes what came and gives its credit back.
fn take(pair: &mut Pair<Recorder>, at: usize, key: StreamKey) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let came = data(&pair.events(at));
        if came.is_empty() {
            return all;
        }
        pair.peers[at].session().consumed(key, came.len());
        all.extend_from_slice(&came);
        pair.settle();
    }
}

#[test]
fn messages_go_both_ways_and_each_side_ends_its_own() {
    let (mut pair, key, other) = joined(&small());
    for at in 0..5 {
        pair.client().send(key, body(1, at, 3_000)).unwrap();
        pair.server().send(other, body(2, at, 2_000)).unwrap();
        assert!(!pair.client().is_writable(key));
        pair.settle();
        assert_eq!(take(&mut pair, 1, other), body(1, at, 3_000));
        assert_eq!(take(&mut pair, 0, key), body(2, at, 2_000));
    }
    pair.events(1);
    pair.client().finish(key).unwrap();
    pair.settle();
    assert_eq!(
        pair.events(1),
        [Event::Data { key: other, body: Bytes::new(), encoding: Encoding::Plain, end: false, fin: true }]
    );
    assert!(pair.client().send(key, Bytes::new()).is_err());
    // The other direction goes on.
    pair.server().send(other, body(3, 0, 10)).unwrap();
    pair.settle();
    assert_eq!(take(&mut pair, 0, key), body(3, 0, 10));
    let mut metadata = Metadata::default();
    metadata.insert("rows", b"7").unwrap();
    pair.server().end(other, Status::Ok, "", metadata.clone()).unwrap();
    pair.settle();
    assert_eq!(pair.events(0), [Event::Ended { key, metadata }]);
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

#[test]
fn marks_of_messages_survive_the_way() {
    let (mut pair, key, other) = joined(&Limits::default());
    for size in [0usize, 1, 100] {
        pair.client().send(key, body(1, 0, size)).unwrap();
        pair.settle();
        let expected =
            Event::Data { key: other, body: body(1, 0, size), encoding: Encoding::Plain, end: true, fin: false };
        assert_eq!(pair.events(1), [expected]);
    }
}

#[test]
fn a_stream_that_ends_with_an_error_fails_with_what_it_said() {
    let (mut pair, key, other) = joined(&small());
    pair.server().end(other, Status::Failed, "out of stock", Metadata::default()).unwrap();
    pair.settle();
    let failed = failures(&pair.events(0));
    assert_eq!((failed[0].0, failed[0].1.status, failed[0].1.outcome), (key, Status::Failed, Outcome::Answered));
    assert_eq!(failed[0].1.text, "out of stock");
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

#[test]
fn a_good_end_waits_for_the_message_before_it() {
    let (mut pair, key, other) = joined(&small());
    pair.client().send(key, body(2, 0, 600)).unwrap();
    pair.settle();
    pair.server().send(other, body(1, 0, 3_000)).unwrap();
    pair.server().end(other, Status::Ok, "", Metadata::default()).unwrap();
    pair.settle();
    // Credit that leaves meanwhile does not take the end with it.
    pair.server().consumed(other, 600);
    pair.settle();
    let first = data(&pair.events(0));
    assert_eq!(first.len(), 1_024);
    pair.client().consumed(key, first.len());
    pair.settle();
    let mut rest = Vec::new();
    let mut ended = false;
    while !ended {
        let events = pair.events(0);
        assert!(!events.is_empty(), "the end never came");
        rest.extend(data(&events));
        ended = events.contains(&Event::Ended { key, metadata: Metadata::default() });
        pair.client().consumed(key, data(&events).len());
        pair.settle();
    }
    assert_eq!(first.len() + rest.len(), 3_000);
    assert!(pair.server().is_idle());
}

#[test]
fn a_cancelled_stream_tells_its_handler_and_frees_its_slot() {
    let (mut pair, key, other) = joined(&small());
    pair.server().send(other, body(1, 0, 3_000)).unwrap();
    pair.settle();
    take(&mut pair, 0, key);
    pair.client().cancel(key);
    pair.settle();
    assert!(pair.events(1).contains(&Event::Cancelled { key: other, status: Status::Cancelled }));
    assert!(pair.server().send(other, Bytes::new()).is_err() && pair.client().send(key, Bytes::new()).is_err());
    pair.server().end(other, Status::Cancelled, "", Metadata::default()).unwrap();
    pair.settle();
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

#[test]
fn pairs_beside_an_error_come_before_it_and_beside_ok_with_it() {
    let mut metadata = Metadata::default();
    metadata.insert("rows", b"3").unwrap();
    let (mut pair, key, other) = joined(&small());
    pair.server().end(other, Status::Failed, "no more", metadata.clone()).unwrap();
    pair.settle();
    let events = pair.events(0);
    let trailers = Event::Trailers { key, metadata: metadata.clone() };
    let at = events.iter().position(|event| *event == trailers).unwrap();
    assert!(
        matches!(&events[at + 1], Event::Failed { key: failed, error } if *failed == key && error.text == "no more")
    );

    let (mut pair, key, other) = joined(&small());
    pair.server().end(other, Status::Ok, "", metadata.clone()).unwrap();
    pair.settle();
    assert!(pair.events(0).contains(&Event::Ended { key, metadata }));
}

#[test]
fn a_cancel_may_say_why() {
    let (mut pair, key, other) = joined(&small());
    pair.client().cancel_with(key, Status::LimitReached);
    // The first reason stands.
    pair.client().cancel_with(key, Status::Failed);
    pair.settle();
    assert!(pair.events(1).contains(&Event::Cancelled { key: other, status: Status::LimitReached }));
    pair.server().end(other, Status::LimitReached, "", Metadata::default()).unwrap();
    pair.settle();
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

/// The handler is done, so nobody would end the stream a second time.
#[test]
fn a_cancel_after_the_handlers_end_needs_no_second_end() {
    let (mut pair, key, other) = joined(&small());
    pair.server().send(other, body(1, 0, 3_000)).unwrap();
    pair.server().end(other, Status::Ok, "", Metadata::default()).unwrap();
    pair.settle();
    assert_eq!(pair.server().open_by_peer(), 1);
    pair.client().cancel(key);
    pair.settle();
    assert!(!pair.events(1).iter().any(|event| matches!(event, Event::Cancelled { .. })));
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

/// The callee's clock may be the first to see the deadline: its last messages could not leave then.
#[test]
fn a_stream_that_was_given_up_never_ends_well() {
    let mut pair = Setup::with_limits(&small()).connect();
    let soon = pair.now + Duration::from_millis(50);
    let key = pair.client().open(OpenCall { deadline: Deadline::at(soon), ..stream() }).unwrap();
    pair.settle();
    let other = opened(&pair.events(1))[0].0;
    pair.server().handle_timeout(soon + Duration::from_millis(50));
    pair.settle();
    assert!(pair.events(1).contains(&Event::Cancelled { key: other, status: Status::DeadlineExceeded }));
    assert!(pair.server().send(other, body(1, 0, 10)).is_err());
    pair.server().end(other, Status::Ok, "", Metadata::default()).unwrap();
    pair.settle();
    let failed = failures(&pair.events(0));
    assert_eq!((failed[0].0, failed[0].1.status), (key, Status::DeadlineExceeded));
    assert!(pair.client().is_idle() && pair.server().is_idle());
}

#[test]
fn a_stream_message_above_max_message_is_refused_by_name() {
    let limits = Limits { stream_window: 8_192, connection_window: 16_384, ..small() };
    let mut talk = Dialogue::open(Side::Responder, &limits);
    let id = StreamId::new(Side::Initiator, 0);
    talk.say(&first_call(OpenKind::Stream, &[]));
    talk.say(&[Frame::Data { id, fin: false, end: false, body: &[0; 4_000] }]);
    talk.say(&[Frame::Data { id, fin: false, end: true, body: &[0; 1_000] }]);
    talk.say(&[Frame::Data { id, fin: false, end: false, body: &[0; 2_000] }]);
    assert_eq!(talk.session.error(), None);
    let key = opened(&talk.events())[0].0;
    talk.session.consumed(key, 7_000);
    talk.hear();
    talk.say(&[Frame::Data { id, fin: false, end: false, body: &[0; 3_001] }]);
    assert!(talk.session.error().is_some_and(|error| error.to_string().contains("max_message")));
    let key_limits = Setup::with_limits(&small());
    let mut pair = key_limits.connect();
    let key = pair.client().open(stream()).unwrap();
    pair.settle();
    assert!(pair.client().send(key, body(0, 0, 5_001)).is_err());
}

#[test]
fn the_end_of_a_stream_names_it() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&first_call(OpenKind::Stream, &[]));
    let key = opened(&talk.events())[0].0;
    talk.session.end(key, Status::Ok, "done", Metadata::default()).unwrap();
    let id = StreamId::new(Side::Initiator, 0);
    let expected = Trailers { id, status: Status::Ok, text: "done", metadata: Metadata::default() };
    assert_eq!(frames(&talk.hear()), [Frame::Trailers(expected)]);
}

/// It says so once, however many pieces it takes, and the next message is another one.
#[test]
fn a_compressed_message_tells_its_encoding_with_all_of_its_bytes() {
    let (mut pair, key, other) = joined(&Limits::default());
    let encoding = Encoding::Zstd { raw: 1 << 20 };
    for (encoding, size) in [(encoding, 100_000), (Encoding::Plain, 10), (Encoding::Lz4 { raw: 500 }, 3)] {
        pair.client().send_encoded(key, encoding, body(1, 0, size)).unwrap();
        pair.settle();
        let events = pair.events(1);
        let told = events.iter().map(|event| match event {
            Event::Data { key, encoding, .. } if *key == other => *encoding,
            other => panic!("{other:?}"),
        });
        assert!(told.clone().count() > 0 && told.eq(std::iter::repeat_n(encoding, events.len())));
        assert_eq!(data(&events), body(1, 0, size));
    }
    let empty = pair.client().send_encoded(key, encoding, Bytes::new());
    assert!(empty.is_err_and(|error| error.to_string().contains("empty")));
    let long = Encoding::Lz4 { raw: Limits::default().max_message + 1 };
    assert!(pair.client().send_encoded(key, long, body(1, 0, 9)).is_err());
}

#[test]
fn a_message_that_declares_too_much_ends_the_connection_and_one_for_a_stream_given_up_does_not() {
    let id = StreamId::new(Side::Responder, 0);
    let frame = |raw, body| Frame::Compressed { id, encoding: Encoding::Lz4 { raw }, end: false, body };
    let mut talk = Dialogue::open(Side::Responder, &small());
    let key = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.say(&[Frame::Data { id, fin: false, end: false, body: &[0; 300] }]);
    talk.session.cancel(key);
    talk.say(&[frame(9, &[0; 300])]);
    assert_eq!(talk.session.error(), None);
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.session.open(stream()).unwrap();
    talk.hear();
    talk.say(&[frame(small().max_message, b"x")]);
    assert_eq!(talk.session.error(), None);
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.session.open(stream()).unwrap();
    talk.hear();
    talk.say(&[frame(small().max_message + 1, b"x")]);
    assert!(talk.session.error().unwrap().to_string().contains("max_message"));
}
