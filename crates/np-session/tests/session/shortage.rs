//! What the peer may not add while the memory of all connections is short, and what counts as moved.

use np_session::{Answer, Event, Shortage};
use np_testkit::{Pair, Recorder, Setup, body};
use np_types::{CloseCode, Limits, Metadata, Status};

use crate::help::{data, opened, request, small, stream};

/// The status and the text of the one call that failed.
fn failed(events: &[Event]) -> (Status, String) {
    let errors = events.iter().filter_map(|event| match event {
        Event::Failed { error, .. } => Some((error.status, error.to_string())),
        _ => None,
    });
    errors.collect::<Vec<_>>().remove(0)
}

#[test]
fn a_large_message_waits_for_memory_and_a_small_one_does_not() {
    let limits = Limits { stream_window: 1_024, ..Limits::default() };
    let mut pair = Setup::with_limits(&limits).connect();
    pair.server().set_shortage(Shortage::Grants, u64::MAX);
    pair.client().open(request(5_000)).unwrap();
    pair.client().open(request(500)).unwrap();
    pair.settle();
    assert!(pair.server().waits_for_grants());
    let sizes: Vec<usize> = opened(&pair.events(1)).iter().map(|call| call.2.len()).collect();
    assert_eq!(sizes, [500]);
    pair.server().set_shortage(Shortage::None, u64::MAX);
    pair.settle();
    assert!(!pair.server().waits_for_grants());
    assert_eq!(opened(&pair.events(1))[0].2.len(), 5_000);
}

/// The message that comes to the end of what there is, is granted whole; none behind it.
#[test]
fn messages_are_granted_as_far_as_memory_goes() {
    let mut pair = Setup::with_limits(&Limits { stream_window: 1_024, ..Limits::default() }).connect();
    pair.server().set_shortage(Shortage::None, 6_000);
    for _ in 0..3 {
        pair.client().open(request(5_000)).unwrap();
    }
    pair.settle();
    assert_eq!(opened(&pair.events(1)).len(), 2);
    assert!(pair.server().waits_for_grants());
    pair.server().set_shortage(Shortage::None, 1);
    pair.settle();
    assert_eq!(opened(&pair.events(1)).len(), 1);
}

#[test]
fn no_call_is_taken_for_whom_memory_is_short_and_what_is_open_goes_on() {
    let mut pair = Setup::with_limits(&Limits { stream_window: 1_024, ..Limits::default() }).connect();
    pair.client().open(request(100)).unwrap();
    pair.settle();
    let key = opened(&pair.events(1))[0].0;
    pair.server().set_shortage(Shortage::Calls, u64::MAX);
    for size in [100, 5_000] {
        pair.client().open(request(size)).unwrap();
        pair.settle();
        assert!(opened(&pair.events(1)).is_empty());
        let (status, text) = failed(&pair.events(0));
        assert!(status == Status::Unavailable && text.contains("max_memory"), "{text}");
    }
    pair.server().respond(key, Answer { body: body(1, 0, 10), ..Answer::default() }).unwrap();
    pair.settle();
    assert!(pair.events(0).iter().any(|event| matches!(event, Event::Answered { .. })));
    pair.server().set_shortage(Shortage::None, u64::MAX);
    pair.client().open(request(100)).unwrap();
    pair.settle();
    assert_eq!(opened(&pair.events(1)).len(), 1);
}

/// What a peer is sent besides: records, heads, credit.
const BESIDE: u64 = 300;

/// What came of messages in pieces, and all that leaves, with its metadata: not what came whole, nor what the application has.
#[test]
fn what_the_peer_moves_of_what_waits_for_it_is_counted() {
    let mut metadata = Metadata::new();
    metadata.insert("k", &[7; 2_000]).unwrap();
    for size in [0, 700, 1_500, 5_000] {
        let mut pair = Setup::with_limits(&small()).connect();
        pair.client().open(request(1_000)).unwrap();
        pair.settle();
        let (key, .., credit) = opened(&pair.events(1)).remove(0);
        pair.server().release(credit);
        let before = pair.server().moved_bytes();
        assert!(before < BESIDE, "{before}");
        let answer = Answer { body: body(1, 0, size), metadata: metadata.clone(), ..Answer::default() };
        pair.server().respond(key, answer).unwrap();
        let waits = pair.server().held_bytes() - pair.server().held_by_application();
        pair.settle();
        let moved = pair.server().moved_bytes() - before;
        assert!(pair.client().open_here() == 0 && waits == size as u64 + 2_001, "{waits}");
        assert!(moved >= waits && moved < waits + BESIDE, "{moved} of {waits}");
    }
    // A small one in pieces, and a large one.
    for size in [200_000, 300_000] {
        let mut pair = Setup::default().connect();
        pair.client().open(request(size)).unwrap();
        pair.settle();
        let moved = pair.server().moved_bytes();
        assert!(moved >= size as u64 && moved < size as u64 + BESIDE, "{moved}");
        assert_eq!(pair.server().held_bytes() - pair.server().held_by_application(), 0);
        assert_eq!(pair.server().movable_bytes(), u64::MAX);
    }
}

/// As messages of calls: what comes in pieces, and what leaves.
#[test]
fn what_the_peer_moves_of_messages_of_streams_is_counted() {
    for (size, pieces) in [(100, false), (1_000, false), (3_000, true)] {
        let mut pair = Setup::with_limits(&small()).connect();
        let key = pair.client().open(stream()).unwrap();
        pair.settle();
        let theirs = opened(&pair.events(1)).remove(0).0;
        pair.client().send(key, body(1, 0, size)).unwrap();
        pair.settle();
        let mut came = 0;
        while came < size {
            let bytes = data(&pair.events(1)).len();
            assert!(bytes > 0, "{came} of {size}");
            came += bytes;
            pair.server().consumed(theirs, bytes);
            pair.settle();
        }
        let moved = pair.server().moved_bytes();
        assert_eq!(moved > BESIDE, pieces, "{size}: {moved}");
    }
}

/// A message counts from when it is given until it has left as a whole, or its stream is over.
#[test]
fn what_a_stream_has_to_send_waits_for_the_peer() {
    enum End {
        Credit,
        Cancel,
        Cut,
        Close,
    }
    for end in [End::Credit, End::Cancel, End::Cut, End::Close] {
        let mut pair = Setup::with_limits(&small()).connect();
        let key = pair.client().open(stream()).unwrap();
        pair.settle();
        let theirs = opened(&pair.events(1)).remove(0).0;
        pair.server().send(theirs, body(1, 0, 3_000)).unwrap();
        pair.settle();
        let waits = |pair: &mut Pair<Recorder>| (pair.server().held_bytes(), pair.server().held_by_application());
        assert_eq!(waits(&mut pair), (3_000, 0));
        match end {
            End::Credit => pair.client().consumed(key, 1_024),
            End::Cancel => pair.client().cancel(key),
            End::Cut => pair.server().cut(theirs, Status::Failed, "").unwrap(),
            End::Close => pair.client().close(CloseCode::Normal, ""),
        }
        pair.settle();
        if matches!(end, End::Cancel) {
            pair.server().end(theirs, Status::Cancelled, "", Metadata::new()).unwrap();
        }
        pair.settle();
        if matches!(end, End::Credit) {
            pair.client().consumed(key, 1_024);
            pair.settle();
        }
        assert_eq!(waits(&mut pair), (0, 0));
    }
}

/// The end of a stream whose message has not left takes it over, and what this side opened and gives up it does not send.
#[test]
fn what_is_not_sent_any_more_waits_for_nobody_and_nothing_waits_twice() {
    let mut pair = Setup::with_limits(&small()).connect();
    let key = pair.client().open(stream()).unwrap();
    pair.settle();
    let theirs = opened(&pair.events(1)).remove(0).0;
    pair.server().send(theirs, body(1, 0, 3_000)).unwrap();
    pair.client().send(key, body(1, 0, 3_000)).unwrap();
    pair.settle();
    assert_eq!([pair.server().held_bytes(), pair.client().held_bytes()].map(|held| held > 2_000), [true; 2]);
    let (before, taken) = (pair.server().held_bytes(), pair.server().held_by_application());
    pair.server().end(theirs, Status::Ok, "", Metadata::new()).unwrap();
    assert!(pair.server().held_bytes() <= before && pair.server().held_by_application() == taken);
    let before = pair.client().held_bytes();
    pair.client().cancel(key);
    assert_eq!(before - pair.client().held_bytes(), 3_000);
}

/// But to take what it is sent it needs none of this side's.
#[test]
fn a_peer_whose_window_is_full_cannot_move_unless_it_has_something_to_take() {
    let mut pair = Setup::with_limits(&small()).connect();
    pair.client().open(stream()).unwrap();
    for _ in 0..4 {
        pair.client().open(request(1_024)).unwrap();
    }
    pair.settle();
    assert_eq!(pair.server().movable_bytes(), 0);
    let calls = opened(&pair.events(1));
    pair.server().send(calls[0].0, body(1, 0, 3_000)).unwrap();
    assert_eq!(pair.server().movable_bytes(), 3_000);
    pair.settle();
    assert_eq!(pair.server().movable_bytes(), 3_000, "it waits for credit of the peer's");
    pair.server().cut(calls[0].0, Status::Failed, "").unwrap();
    pair.settle();
    assert_eq!(pair.server().movable_bytes(), 0);
    pair.server().respond(calls[1].0, Answer { body: body(1, 0, 3_000), ..Answer::default() }).unwrap();
    assert_eq!(pair.server().movable_bytes(), 3_000);
}
