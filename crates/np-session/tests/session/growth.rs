//! Windows grow with what is consumed within a round trip, up to their limit, and never for who consumes nothing.

use std::time::Duration;

use np_session::{Event, OpenCall, OpenKind, Session};
use np_testkit::{Application, Dialogue, NetworkConfig, Pair, Setup, body};
use np_types::{Limits, Time};
use np_wire::{Frame, Side, StreamId};

use crate::help::{first_call, frames, open, opened, stream};

/// Sends for ever what a stream takes, or consumes what comes as it comes.
#[derive(Debug)]
struct Pump {
    consumes: bool,
    /// Bytes of messages, or of unary calls where it makes these.
    got: usize,
    unary: bool,
}

impl Pump {
    fn pair(limits: &Limits, unary: bool, consumes: bool) -> Pair<Self> {
        let network = NetworkConfig { latency: Duration::from_millis(50), ..NetworkConfig::default() };
        let pump = || Self { consumes, got: 0, unary };
        let mut pair = Pair::new(&Setup { network, ..Setup::with_limits(limits) }, [pump(), pump()]);
        pair.run_until(Time::ZERO + Duration::from_millis(500));
        if unary {
            (0..20).for_each(|_| Self::call(pair.peers[0].session()));
        } else {
            pair.peers[0].session().open(stream()).unwrap();
        }
        pair
    }

    fn call(session: &mut Session) {
        session.open(open(OpenKind::Request, body(1, 0, 100_000))).unwrap();
    }
}

impl Application for Pump {
    fn on_event(&mut self, _: Time, session: &mut Session, event: Event) {
        match event {
            Event::Writable { key } => session.send(key, body(1, 0, 1_000_000)).unwrap(),
            Event::Data { key, body, .. } => {
                self.got += body.len();
                if self.consumes {
                    session.consumed(key, body.len());
                }
            }
            Event::Opened { key, kind: OpenKind::Request, body, credit, .. } => {
                self.got += body.len();
                session.release(credit);
                session.respond(key, bytes::Bytes::new().into()).unwrap();
            }
            Event::Answered { .. } if self.unary => Self::call(session),
            Event::Pong { token } => panic!("nobody asked for {token}"),
            Event::Closed(error) => panic!("{error}"),
            _ => {}
        }
    }
}

/// Bytes a second that arrive after a warm-up of two.
fn throughput(limits: &Limits, unary: bool) -> usize {
    let span = if unary { 3 } else { 1 };
    let mut pair = Pump::pair(limits, unary, true);
    pair.run_for(Duration::from_secs(2));
    let before = pair.peers[1].app.got;
    pair.run_for(Duration::from_secs(span));
    (pair.peers[1].app.got - before) / span as usize
}

fn windows(max_window: u32) -> Limits {
    Limits { stream_window: 64 << 10, connection_window: 128 << 10, max_window, ..Limits::default() }
}

#[test]
fn a_stream_grows_to_many_times_its_window_over_a_long_way() {
    let fixed = throughput(&windows(64 << 10), false);
    // A window for each round trip of 100 ms, and nothing more.
    assert!((600 << 10..=680 << 10).contains(&fixed), "{fixed}");
    let grown = throughput(&windows(1 << 20), false);
    assert!(grown > 5 * fixed, "{grown} of {fixed}");
    // And no more than its limit.
    assert!(grown <= 11 << 20, "{grown}");
    // By itself, too, where the connection's window is fixed.
    let grown = throughput(&Limits { connection_window: 2 << 20, ..windows(1 << 20) }, false);
    assert!(grown > 5 * fixed, "{grown} of {fixed}");
}

#[test]
fn large_messages_grow_the_connections_window() {
    let fixed = throughput(&windows(64 << 10), true);
    let grown = throughput(&windows(1 << 20), true);
    assert!(grown > 3 * fixed, "{grown} of {fixed}");
}

#[test]
fn nothing_grows_while_the_application_takes_nothing() {
    let mut pair = Pump::pair(&windows(16 << 20), false, false);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.peers[1].app.got, 64 << 10);
    // Nor does what was consumed before count for later.
    let mut pair = Pump::pair(&windows(16 << 20), false, true);
    pair.run_for(Duration::from_secs(1));
    pair.peers[1].app.consumes = false;
    let before = pair.peers[1].app.got;
    pair.run_for(Duration::from_secs(5));
    assert!(pair.peers[1].app.got - before <= 16 << 20);
}

/// A responder with stream 0 of its peer open, which has just given credit back beside a ping of its own.
fn measuring() -> (Dialogue, np_session::StreamKey) {
    let mut talk = Dialogue::open(Side::Responder, &windows(1 << 20));
    talk.say(&first_call(OpenKind::Stream, b""));
    let key = opened(&talk.events())[0].0;
    talk.say(&[data(&[0; 32 << 10])]);
    talk.events();
    talk.session.consumed(key, 32 << 10);
    (talk, key)
}

/// A message on stream 0 of the initiator.
fn data(body: &[u8]) -> Frame<'_> {
    Frame::Data { id: StreamId::new(Side::Initiator, 0), fin: false, end: true, body }
}

fn stream_credit(heard: &[u8]) -> u32 {
    let credits = frames(heard).into_iter().filter_map(|frame| match frame {
        Frame::StreamCredit { bytes, .. } => Some(bytes),
        _ => None,
    });
    credits.sum()
}

#[test]
fn a_slow_consumer_leaves_its_window_as_it_is() {
    let (mut talk, key) = measuring();
    assert!(talk.hears(&Frame::Ping(1)));
    for round in 1..20 {
        // Half a window in each round trip, and what comes after its end is of the next one.
        talk.say(&[data(&[0; 32 << 10])]);
        talk.session.consumed(key, 32 << 10);
        talk.say(&[Frame::Pong(round)]);
        talk.session.consumed(key, 0);
        assert_eq!(stream_credit(&talk.hear()), 32 << 10, "round {round}");
        assert!(!talk.events().iter().any(|event| matches!(event, Event::Pong { .. })));
    }
    // A byte more than half.
    talk.say(&[data(&[0; (32 << 10) + 1])]);
    talk.session.consumed(key, (32 << 10) + 1);
    assert_eq!(stream_credit(&talk.hear()), (96 << 10) + 1);
}

/// One pong may answer the application's ping and the session's: the application hears of it.
#[test]
fn a_ping_of_the_application_is_answered_beside_the_sessions_own() {
    let (mut talk, _) = measuring();
    let asked = talk.session.ping();
    let heard = talk.hear();
    let pings = frames(&heard).iter().filter(|frame| matches!(frame, Frame::Ping(_))).count();
    assert_eq!(pings, 1, "none of its own beside the application's");
    talk.say(&[Frame::Pong(asked)]);
    assert!(talk.events().contains(&Event::Pong { token: asked }));
    // The other way round.
    assert!(talk.hears(&Frame::Ping(asked + 1)));
    let asked = talk.session.ping();
    talk.hear();
    talk.say(&[Frame::Pong(asked)]);
    assert!(talk.events().contains(&Event::Pong { token: asked }));
}

/// The session's own pings share a token too: the one for a round that of a sign of life.
#[test]
fn a_round_begins_with_the_ping_that_waits() {
    let (mut talk, _) = measuring();
    talk.session.show_life();
    assert!(talk.hears(&Frame::Ping(1)));
    talk.say(&[Frame::Pong(1)]);
    assert!(talk.session.error().is_none());
}

#[test]
fn a_stream_of_the_callers_own_grows_too() {
    let mut talk = Dialogue::open(Side::Initiator, &windows(1 << 20));
    let key = talk.session.open(OpenCall { body: bytes::Bytes::new(), ..stream() }).unwrap();
    talk.hear();
    for size in [32 << 10, 64 << 10] {
        talk.say(&[data(&vec![0; size / 2])]);
        talk.say(&[data(&vec![0; size / 2])]);
        talk.session.consumed(key, size);
        assert!(stream_credit(&talk.hear()) >= size as u32);
    }
    assert_eq!(stream_credit(&talk.hear()), 0);
    for _ in 0..2 {
        talk.say(&[data(&[0; 50_000])]);
    }
    assert!(talk.session.error().is_none(), "its window has doubled");
}

/// A ping of the application's hides how long the round trip is: what is consumed meanwhile counts for nothing.
#[test]
fn nothing_is_measured_while_the_applications_ping_is_out() {
    let (mut talk, key) = measuring();
    assert!(talk.hears(&Frame::Ping(1)));
    talk.say(&[Frame::Pong(1)]);
    talk.session.ping();
    for at in 0..4 {
        talk.say(&[data(&[0; 32 << 10])]);
        talk.session.consumed(key, 32 << 10);
        assert_eq!(stream_credit(&talk.hear()), 32 << 10, "{at}");
    }
}

#[test]
fn a_window_that_does_not_grow_is_not_measured() {
    let mut talk = Dialogue::open(Side::Responder, &windows(64 << 10));
    talk.say(&first_call(OpenKind::Stream, b""));
    let key = opened(&talk.events())[0].0;
    for _ in 0..20 {
        talk.say(&[data(&[0; 32 << 10])]);
        talk.session.consumed(key, 32 << 10);
        let heard = talk.hear();
        assert!(frames(&heard).iter().all(|frame| !matches!(frame, Frame::Ping(_))));
        assert_eq!(stream_credit(&heard), 32 << 10);
    }
}
