//! What the peer may not add while the memory of all connections is short, and what counts as moved.

use np_session::{Answer, Event, Shortage};
use np_testkit::{Setup, body};
use np_types::{Limits, Status};

use crate::help::{opened, request, small};

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

/// What came of messages in pieces, and answers as they leave: not what came whole, nor what the application has.
#[test]
fn what_the_peer_moves_of_what_waits_for_it_is_counted() {
    for size in [700, 1_500, 5_000] {
        let mut pair = Setup::with_limits(&small()).connect();
        pair.client().open(request(10)).unwrap();
        pair.settle();
        let (key, .., credit) = opened(&pair.events(1)).remove(0);
        assert_eq!(pair.server().moved_bytes(), 0);
        pair.server().release(credit);
        pair.server().respond(key, Answer { body: body(1, 0, size), ..Answer::default() }).unwrap();
        pair.settle();
        assert_eq!((pair.server().moved_bytes(), pair.client().open_here()), (size as u64, 0));
    }
    // A small one in pieces, and a large one.
    for size in [200_000, 300_000] {
        let mut pair = Setup::default().connect();
        pair.client().open(request(size)).unwrap();
        pair.settle();
        assert_eq!(pair.server().moved_bytes(), size as u64);
        assert_eq!(pair.server().held_bytes() - pair.server().held_by_application(), 0);
        assert!(pair.server().peer_has_credit());
    }
}

#[test]
fn a_peer_whose_window_is_full_has_no_credit() {
    let mut pair = Setup::with_limits(&small()).connect();
    for _ in 0..4 {
        pair.client().open(request(1_024)).unwrap();
    }
    pair.settle();
    assert!(!pair.server().peer_has_credit());
}
