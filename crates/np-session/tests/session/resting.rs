//! Sessions that are folded up: when they are, and that nothing is lost of one that is not.

use bytes::Bytes;
use np_session::{Answer, Event, OpenKind, Resting, Session};
use np_testkit::{Dialogue, Recorder, Setup};
use np_types::{CloseCode, Limits, Time};
use np_wire::{Frame, Side};

use crate::help::{echo, first_call, frames, open, opened, request};

/// A session whose peer is a session too, after a call each way.
fn pair() -> np_testkit::Pair<Recorder> {
    let mut pair = Setup::default().connect();
    for (from, to) in [(0, 1), (1, 0)] {
        pair.events(from);
        pair.peers[from].session().open(request(100)).unwrap();
        pair.settle();
        assert_eq!(echo(&mut pair, to), 1);
        for event in pair.events(from) {
            if let Event::Answered { credit, .. } = event {
                pair.peers[from].session().release(credit);
            }
        }
        pair.settle();
    }
    pair
}

fn put_to_rest(session: &mut Session) -> bool {
    match session.put_to_rest(Time::ZERO) {
        Some(resting) => {
            *session = resting.wake();
            true
        }
        None => false,
    }
}

/// What is said or opened, taken or asked for, and not done with, keeps a session from its rest; and it is still there.
#[test]
fn what_is_to_be_done_keeps_a_session_from_its_rest() {
    type Act = fn(&mut Session);
    let acts: [(&str, Act); 6] = [
        ("a ping", |session| assert!(session.ping() > 0)),
        ("a sign of life", Session::show_life),
        ("a word of the end", |session| session.go_away(CloseCode::Drained)),
        ("an end", |session| session.close(CloseCode::Normal, "")),
        ("a call", |session| assert!(session.open(request(1)).is_ok())),
        ("an allowance", |session| session.announce_allowance(1)),
    ];
    for (what, act) in acts {
        let mut pair = pair();
        assert!(put_to_rest(pair.client()) && put_to_rest(pair.server()), "{what}");
        act(pair.client());
        assert!(!put_to_rest(pair.client()), "{what} is to be said");
        let mut out = Vec::new();
        assert!(pair.client().poll_transmit(Time::ZERO, &mut out), "{what} is said");
        assert!(!put_to_rest(pair.client()), "{what} is not written");
    }
    let mut pair = pair();
    pair.client().update_key();
    assert!(!put_to_rest(pair.client()), "the next record is the last under its key");
}

#[test]
fn what_was_not_taken_or_is_not_whole_keeps_a_session_from_its_rest() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&first_call(OpenKind::Request, b"asked"));
    assert!(!put_to_rest(&mut talk.session), "an event waits");
    let [(key, _, _, credit)] = <[_; 1]>::try_from(opened(&talk.events())).unwrap();
    assert!(!put_to_rest(&mut talk.session), "a call is at work");
    talk.session.respond(key, Answer::from(Bytes::from_static(b"heard"))).unwrap();
    talk.session.release(credit);
    assert!(!put_to_rest(&mut talk.session), "an answer waits");
    let heard = talk.hear();
    assert!(matches!(frames(&heard)[..], [Frame::Response(_), ..]), "{heard:?}");
    assert!(put_to_rest(&mut talk.session));
    // A part of a record, and its rest.
    let mut record = bytes::BytesMut::from(&talk.hand.seal(&[Frame::Ping(9)])[..]);
    let rest = record.split_off(5);
    talk.session.handle_bytes(Time::ZERO, &mut record);
    assert!(!put_to_rest(&mut talk.session), "a part of a record was seen");
    record.extend_from_slice(&rest);
    talk.session.handle_bytes(Time::ZERO, &mut record);
    assert_eq!(frames(&talk.hear()), [Frame::Pong(9)]);
    assert!(put_to_rest(&mut talk.session));
}

/// Nobody is told of the answer by a session that forgot the question.
#[test]
fn a_ping_is_answered_over_a_rest() {
    let mut pair = pair();
    let token = pair.client().ping();
    let mut out = Vec::new();
    pair.client().poll_transmit(Time::ZERO, &mut out);
    pair.client().handle_written(out.len());
    assert!(put_to_rest(pair.client()), "all was said");
    pair.server().handle_bytes(Time::ZERO, &mut bytes::BytesMut::from(&out[..]));
    pair.settle();
    assert_eq!(pair.events(0), [Event::Pong { token }]);
}

#[test]
fn news_that_nobody_has_taken_keep_a_session_from_its_rest() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    let token = talk.session.ping();
    assert_eq!(frames(&talk.hear()), [Frame::Ping(token)]);
    talk.say(&[Frame::Pong(token)]);
    assert!(!put_to_rest(&mut talk.session));
    assert_eq!(talk.events(), [Event::Pong { token }]);
    assert!(put_to_rest(&mut talk.session));
}

/// Credit, ids, numbers of methods, keys and their counters go on where they were.
#[test]
fn a_conversation_goes_on_over_rests() {
    let mut pair = pair();
    for round in 0..20 {
        for at in [0, 1] {
            assert!(put_to_rest(pair.peers[at].session()), "{round}");
        }
        let binding = *pair.client().binding();
        assert_eq!(binding, *pair.server().binding());
        assert!(pair.server().remote_static().is_some() && pair.client().peer_settings().is_some());
        let (from, to) = if round % 2 == 0 { (0, 1) } else { (1, 0) };
        pair.peers[from].session().open(open(OpenKind::Request, np_testkit::body(7, round, 3_000))).unwrap();
        pair.settle();
        assert_eq!(echo(&mut pair, to), 1);
        let events = pair.events(from);
        let [Event::Answered { answer, credit, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(answer.body, np_testkit::body(7, round, 3_000));
        pair.peers[from].session().release(*credit);
        pair.settle();
    }
    assert_eq!(pair.client().opened(), 22);
}

/// An old key names nothing, also once its session has rested.
#[test]
fn keys_of_before_a_rest_name_nothing() {
    let mut pair = pair();
    let old = pair.client().open(request(1)).unwrap();
    pair.settle();
    assert_eq!(echo(&mut pair, 1), 1);
    let events = pair.events(0);
    assert!(matches!(&events[..], [Event::Answered { key, .. }] if *key == old), "{events:?}");
    pair.settle();
    assert!(put_to_rest(pair.client()));
    let new = pair.client().open(request(1)).unwrap();
    assert_eq!(new.slot(), old.slot());
    assert_ne!(new, old);
    pair.client().cancel(old);
    pair.settle();
    assert_eq!(echo(&mut pair, 1), 1, "what was cancelled was not this one");
}

/// A peer that takes no more calls may stay for long.
#[test]
fn who_heard_that_the_peer_drains_rests_too_and_does_not_forget_it() {
    let mut pair = pair();
    pair.server().go_away(CloseCode::Drained);
    pair.settle();
    assert!(put_to_rest(pair.client()) && !put_to_rest(pair.server()));
    assert!(pair.client().open(request(1)).is_err(), "the peer takes no calls");
}

#[test]
fn a_rest_is_over_when_the_peer_is_to_be_asked_for_a_sign_of_life() {
    let mut pair = pair();
    let beat = std::time::Duration::from_secs(15);
    pair.client().keep_alive(Some(beat), Time::ZERO);
    let due = pair.client().poll_timeout();
    let resting = pair.client().put_to_rest(Time::ZERO).unwrap();
    assert_eq!((resting.poll_timeout(), due), (Some(Time::ZERO + beat), Some(Time::ZERO + beat)));
    assert_eq!(resting.wake().poll_timeout(), due);
}

#[test]
fn what_is_left_of_a_session_is_small() {
    assert!(size_of::<Resting>() <= 520 && size_of::<Session>() > 1_000, "{}", size_of::<Resting>());
}
