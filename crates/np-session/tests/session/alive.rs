//! Signs of life: silence is asked about, traffic is not, and a peer of which nothing comes is dead in time.

use std::time::Duration;

use np_session::{Event, OpenKind};
use np_testkit::{Dialogue, Setup};
use np_types::{CloseCode, ConnectionError, Limits, Outcome, Time};
use np_wire::{Frame, Side};

use crate::help::{failures, frames, open};

const BEAT: Duration = Duration::from_secs(15);

fn after(beats: u32) -> Time {
    Time::ZERO + BEAT * beats
}

fn watching() -> Dialogue {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    talk.session.keep_alive(Some(BEAT), Time::ZERO);
    talk
}

/// Lets the session look at the clock, and gives what it says.
fn at(talk: &mut Dialogue, now: Time) -> Vec<u8> {
    talk.now = now;
    talk.session.handle_timeout(now);
    talk.hear()
}

#[test]
fn a_silent_peer_is_asked_once_and_is_dead_after_two_intervals() {
    let mut talk = watching();
    assert_eq!(talk.session.poll_timeout(), Some(after(1)));
    let early = Time::from_nanos(after(1).as_nanos() - 1);
    assert!(at(&mut talk, early).is_empty());
    assert_eq!(frames(&at(&mut talk, after(1))), [Frame::Ping(1)]);
    assert_eq!(talk.session.poll_timeout(), Some(after(2)));
    let key = talk.session.open(open(OpenKind::Request, "x".into())).unwrap();
    talk.hear();
    let late = Time::from_nanos(after(2).as_nanos() - 1);
    assert!(at(&mut talk, late).is_empty() && talk.session.error().is_none());
    at(&mut talk, after(2));
    let code = CloseCode::HeartbeatTimeout;
    assert!(matches!(talk.session.error(), Some(ConnectionError::Timeout { code: other, .. }) if *other == code));
    assert!(talk.session.error().unwrap().to_string().contains("heartbeat_interval"));
    let events = talk.events();
    let failed = failures(&events);
    assert_eq!((failed[0].0, failed[0].1.outcome), (key, Outcome::Unknown), "it was handed over, and nobody knows");
    assert_eq!(talk.session.poll_timeout(), None);
}

/// A side that looks late, since its machine slept, asks before it gives up.
#[test]
fn a_late_look_asks_first() {
    let mut talk = watching();
    for _ in 0..3 {
        let heard = at(&mut talk, after(40));
        assert!(heard.is_empty() || frames(&heard).contains(&Frame::Ping(1)));
        assert!(talk.session.error().is_none());
    }
    at(&mut talk, after(41));
    assert!(talk.session.error().is_some());
}

#[test]
fn any_byte_is_life_and_nothing_is_asked_while_some_come() {
    let mut talk = watching();
    let ping = talk.hand.seal(&[Frame::Ping(7)]);
    for (beat, byte) in (1..10).zip(&ping) {
        // Not even a whole record.
        let now = Time::from_nanos(after(beat).as_nanos() - 1);
        talk.now = now;
        talk.feed(&[*byte]);
        assert!(at(&mut talk, now).is_empty(), "{beat}");
        assert_eq!(talk.session.poll_timeout(), Some(now + BEAT));
    }
    // What it was asked is not the application's affair.
    talk.feed(&ping[9..]);
    let now = talk.now;
    let next = now + BEAT;
    assert!(frames(&at(&mut talk, next)).contains(&Frame::Ping(1)));
    talk.say(&[Frame::Pong(1)]);
    assert!(!talk.events().iter().any(|event| matches!(event, Event::Pong { .. })));
    assert_eq!(talk.session.poll_timeout(), Some(next + BEAT));
}

#[test]
fn a_part_of_a_record_that_lies_there_is_no_sign_of_life() {
    let mut talk = watching();
    let ping = talk.hand.seal(&[Frame::Ping(7)]);
    talk.feed(&ping[..9]);
    for (beats, asks) in [(1, true), (2, false)] {
        talk.now = after(beats);
        // The driver hands over what it holds in each of its turns, also in that of a timer.
        talk.feed(&[]);
        assert_eq!(frames(&at(&mut talk, after(beats))).contains(&Frame::Ping(1)), asks);
    }
    assert!(matches!(talk.session.error(), Some(ConnectionError::Timeout { code: CloseCode::HeartbeatTimeout, .. })));
}

#[test]
fn nobody_is_asked_where_nothing_was_said_about_it() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    assert!(at(&mut talk, after(1_000)).is_empty() && talk.session.error().is_none());
    assert_eq!(talk.session.poll_timeout(), None);
}

/// Of two that watch each other each hears the other ask, so an idle connection costs a ping and a pong per interval.
#[test]
fn two_idle_peers_stay_for_a_day_and_one_asks_for_both() {
    let mut pair = Setup::default().connect();
    let now = pair.now;
    for peer in &mut pair.peers {
        peer.session().keep_alive(Some(BEAT), now);
    }
    pair.network.pipes[0].transcript = Some(Vec::new());
    pair.run_for(BEAT * 4 * 60 * 24);
    assert!(pair.peers.iter_mut().all(|peer| peer.session().error().is_none()));
    let written = pair.network.pipes[0].transcript.as_ref().map_or(0, Vec::len);
    assert!(written > 0 && written <= 4 * 60 * 24 * 30, "{written}");
}
