//! What the tests of all modules say often.

use bytes::Bytes;
use np_session::{Answer, Event, OpenCall, OpenKind, StreamKey};
use np_testkit::{Pair, Recorder};
use np_types::{CallError, Limits};
use np_wire::{Frame, Frames, Open};

/// Small windows, so that few bytes show their effect.
pub(crate) fn small() -> Limits {
    Limits {
        max_message: 5_000,
        stream_window: 1_024,
        connection_window: 2_048,
        reassembly_budget: 10_000,
        ..Limits::default()
    }
}

pub(crate) fn open(kind: OpenKind, body: Bytes) -> OpenCall {
    OpenCall { body, ..OpenCall::new(kind, "np.echo".parse().unwrap()) }
}

pub(crate) fn request(size: usize) -> OpenCall {
    open(OpenKind::Request, np_testkit::body(7, 0, size))
}

pub(crate) fn stream() -> OpenCall {
    open(OpenKind::Stream, Bytes::new())
}

/// The frames that open call 0 of the other end, with the name of its method.
pub(crate) fn first_call(kind: OpenKind, body: &[u8]) -> [Frame<'_>; 2] {
    [Frame::Method { number: 0, name: "m" }, Frame::Open(Open { body, ..Open::new(kind) })]
}

/// The calls among events, with their bodies and credit.
pub(crate) fn opened(events: &[Event]) -> Vec<(StreamKey, OpenKind, Bytes, u32)> {
    let calls = events.iter().filter_map(|event| match event {
        Event::Opened { key, kind, body, credit, .. } => Some((*key, *kind, body.clone(), *credit)),
        _ => None,
    });
    calls.collect()
}

/// Answers every unary call that a peer has got with its body; gives how many.
pub(crate) fn echo(pair: &mut Pair<Recorder>, at: usize) -> usize {
    let calls = opened(&pair.events(at));
    let count = calls.len();
    answer(pair, at, calls);
    count
}

/// Answers unary calls with their bodies.
pub(crate) fn answer(pair: &mut Pair<Recorder>, at: usize, calls: Vec<(StreamKey, OpenKind, Bytes, u32)>) {
    for (key, _, body, credit) in calls {
        let session = pair.peers[at].session();
        session.release(credit);
        session.respond(key, Answer::from(body)).unwrap();
    }
    pair.settle();
}

/// Gives the credit of the answers that a peer has got back; gives how many there were.
pub(crate) fn release_answers(pair: &mut Pair<Recorder>, at: usize) -> usize {
    let mut count = 0;
    for event in pair.events(at) {
        if let Event::Answered { credit, .. } = event {
            pair.peers[at].session().release(credit);
            count += 1;
        }
    }
    pair.settle();
    count
}

/// The answers among events.
pub(crate) fn answers(events: &[Event]) -> Vec<(StreamKey, Bytes)> {
    let answers = events.iter().filter_map(|event| match event {
        Event::Answered { key, answer, .. } => Some((*key, answer.body.clone())),
        _ => None,
    });
    answers.collect()
}

/// The failures among events.
pub(crate) fn failures(events: &[Event]) -> Vec<(StreamKey, CallError)> {
    let failures = events.iter().filter_map(|event| match event {
        Event::Failed { key, error } => Some((*key, error.clone())),
        _ => None,
    });
    failures.collect()
}

/// The bytes of streams among events.
pub(crate) fn data(events: &[Event]) -> Vec<u8> {
    let pieces = events.iter().filter_map(|event| match event {
        Event::Data { body, .. } => Some(&body[..]),
        _ => None,
    });
    pieces.flatten().copied().collect()
}

/// The frames of [`np_testkit::Dialogue::hear`].
pub(crate) fn frames(bytes: &[u8]) -> Vec<Frame<'_>> {
    Frames::new(bytes).map(|frame| frame.unwrap()).collect()
}
