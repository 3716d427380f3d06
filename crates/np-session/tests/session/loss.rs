//! The end of a connection as every call sees it: at each moment of a call's life, for each way to end, what its owner
//! is told in the same poll, and that nobody is told twice.

use std::io::ErrorKind;

use np_session::{Event, OpenKind, StreamKey};
use np_testkit::{Dialogue, body};
use np_types::{CloseCode, ConnectionError, Limits, Metadata, Misbehaved, Outcome, Status};
use np_wire::{Frame, Open, Response, Side, StreamId, Trailers};

use crate::help::{failures, open, opened, small};

const SIDES: [Side; 2] = [Side::Initiator, Side::Responder];

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The transport failed.
    Lost,
    /// End of file without CLOSE.
    Eof,
    /// End of file inside a record.
    EofInRecord,
    /// The peer's CLOSE.
    ByPeer,
    /// This side's CLOSE.
    Here,
    /// The peer broke a rule.
    Broken,
    /// A record that is not authentic.
    Forged,
}

const ENDS: [End; 7] = [End::Lost, End::Eof, End::EofInRecord, End::ByPeer, End::Here, End::Broken, End::Forged];

impl End {
    /// Ends a connection and gives its error.
    fn bring(self, talk: &mut Dialogue) -> ConnectionError {
        let code = CloseCode::Normal;
        match self {
            Self::Lost => {
                let error = ConnectionError::io("read", &ErrorKind::ConnectionReset.into());
                talk.session.handle_lost(error.clone());
                return error;
            }
            Self::Eof => talk.session.handle_eof(),
            Self::EofInRecord => {
                talk.feed(&[1, 0, 7, 7]);
                talk.session.handle_eof();
            }
            Self::ByPeer => {
                talk.say(&[Frame::Close { code, text: "bye" }]);
                return ConnectionError::ClosedByPeer { code, text: "bye".to_owned(), in_clear: false };
            }
            Self::Here => {
                talk.session.close(code, "bye");
                return ConnectionError::ClosedHere(code);
            }
            Self::Broken => {
                let first = talk.session.peer_settings().is_none();
                talk.say(&[Frame::Pong(77)]);
                return if first { Misbehaved::FirstRecord } else { Misbehaved::Pong }.into();
            }
            Self::Forged => {
                talk.feed(&[&[0, 20][..], &[7; 20]].concat());
                return Misbehaved::Record.into();
            }
        }
        Misbehaved::Truncated.into()
    }

    /// Whether bytes that wait for the transport still leave: what was sealed then may arrive.
    const fn still_sends(self) -> bool {
        matches!(self, Self::Here | Self::Broken | Self::Forged)
    }
}

/// How far a call of this side has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// It waits for the peer's settings.
    Unconnected,
    /// It waits for its turn: the peer takes no more calls.
    Queued,
    /// It stands in a sealed record of which the transport took nothing.
    Sealed,
    /// The transport took all but the last byte of its record.
    AlmostWritten,
    /// The transport took the whole of it.
    Written,
    /// The transport took its head; the rest waits for credit.
    HeadWritten,
    /// The first part of its answer is there.
    HalfAnswered,
    /// Messages of the stream went both ways.
    Talked,
    /// It was answered, and is over.
    Answered,
    /// The callee refused it.
    Refused,
    /// The caller gave it up.
    GivenUp,
    /// The peer drains, and has accepted it.
    Draining,
}

use Moment::{
    AlmostWritten, Answered, Draining, GivenUp, HalfAnswered, HeadWritten, Queued, Refused, Sealed, Talked,
    Unconnected, Written,
};

const MOMENTS: [Moment; 12] = [
    Unconnected,
    Queued,
    Sealed,
    AlmostWritten,
    Written,
    HeadWritten,
    HalfAnswered,
    Talked,
    Answered,
    Refused,
    GivenUp,
    Draining,
];
const KINDS: [OpenKind; 3] = [OpenKind::Request, OpenKind::OneWay, OpenKind::Stream];

/// What the owner of a call is told when the connection ends. `None`: nothing, it has its result.
const fn expected(kind: OpenKind, moment: Moment, end: End) -> Option<Outcome> {
    match (moment, kind) {
        (Unconnected | Queued | HeadWritten, _) => Some(Outcome::NotProcessed),
        (Sealed | AlmostWritten, _) if end.still_sends() => Some(Outcome::Unknown),
        (Sealed | AlmostWritten, _) => Some(Outcome::NotProcessed),
        // A one-way message has its result when it was handed over.
        (Written | Draining, OpenKind::OneWay) | (Answered | Refused | GivenUp, _) => None,
        (Written | HalfAnswered | Talked | Draining, _) => Some(Outcome::Unknown),
    }
}

/// Whether a kind of call has such a moment.
const fn exists(kind: OpenKind, moment: Moment) -> bool {
    match moment {
        HalfAnswered => matches!(kind, OpenKind::Request),
        Talked => matches!(kind, OpenKind::Stream),
        HeadWritten => !matches!(kind, OpenKind::Stream),
        _ => true,
    }
}

/// A call of a session, at a moment of its life. Its events so far are taken.
fn reach(side: Side, kind: OpenKind, moment: Moment) -> (Dialogue, StreamKey) {
    let peer = Limits { max_calls: if moment == Queued { 1 } else { 8 }, ..small() };
    let limits = Limits::default();
    let mut talk = match moment {
        Unconnected => Dialogue::start(side, &limits),
        _ => Dialogue::open_with(side, &limits, &peer),
    };
    if moment == Queued {
        talk.session.open(open(OpenKind::Stream, body(1, 0, 0))).unwrap();
        talk.hear();
    }
    let size = if kind == OpenKind::Stream { 0 } else { 100 };
    let size = if moment == HeadWritten { 1_025 } else { size };
    let key = talk.session.open(open(kind, body(1, 0, size))).unwrap();
    match moment {
        Sealed | AlmostWritten => {
            let mut out = Vec::new();
            assert!(talk.session.poll_transmit(talk.now, &mut out));
            if moment == AlmostWritten {
                talk.session.handle_written(out.len() - 1);
            }
        }
        _ => drop(talk.hear()),
    }
    live_on(&mut talk, key, kind, moment);
    talk.events();
    (talk, key)
}

fn response(id: StreamId, total: Option<u32>) -> Response<'static> {
    let (codec, encoding, metadata) = (np_types::Codec::Bytes, np_session::Encoding::Plain, Metadata::default());
    Response { id, codec, encoding, total, metadata, body: &[7; 20] }
}

/// What happens to a call that the peer has got.
fn live_on(talk: &mut Dialogue, key: StreamKey, kind: OpenKind, moment: Moment) {
    let id = StreamId::new(talk.session.side(), 0);
    let trailers = |status| Frame::Trailers(Trailers { id, status, text: "", metadata: Metadata::default() });
    match moment {
        HalfAnswered => talk.say(&[Frame::Response(response(id, Some(50)))]),
        Talked => {
            talk.session.send(key, body(1, 0, 30)).unwrap();
            talk.hear();
            talk.say(&[Frame::Data { id, fin: false, end: true, body: &[7; 20] }]);
        }
        Answered if kind == OpenKind::Request => {
            talk.say(&[Frame::Response(response(id, None))]);
        }
        Answered => talk.say(&[trailers(Status::Ok)]),
        Refused => talk.say(&[trailers(Status::Unavailable)]),
        GivenUp => talk.session.cancel(key),
        Draining => talk.say(&[Frame::GoAway { accepted: 1, code: CloseCode::Drained }]),
        _ => {}
    }
}

#[test]
fn every_call_of_this_side_ends_in_the_same_poll_and_is_told_what_is_known() {
    let mut cases = 0;
    for side in SIDES {
        for (kind, moment) in KINDS.into_iter().flat_map(|kind| MOMENTS.map(|moment| (kind, moment))) {
            for end in ENDS.into_iter().filter(|_| exists(kind, moment)) {
                let (mut talk, key) = reach(side, kind, moment);
                let error = end.bring(&mut talk);
                let events = talk.events();
                let what = format!("{side:?} {kind:?} {moment:?} {end:?}: {events:?}");
                assert_eq!(events.last(), Some(&Event::Closed(error.clone())), "{what}");
                let told: Vec<_> = failures(&events).into_iter().filter(|(failed, _)| *failed == key).collect();
                let outcomes = told.iter().map(|(_, error)| error.outcome).collect::<Vec<_>>();
                assert_eq!(outcomes, expected(kind, moment, end).into_iter().collect::<Vec<_>>(), "{what}");
                for (_, failure) in told {
                    assert_eq!(failure.status, Status::Unavailable, "{what}");
                    assert_eq!(failure.cause.as_deref(), Some(&error), "{what}");
                }
                check_silence(&mut talk, &what);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 2 * 7 * (11 + 10 + 10));
}

/// Nothing more is told, whatever still happens to the connection.
fn check_silence(talk: &mut Dialogue, what: &str) {
    talk.session.handle_eof();
    talk.session.handle_lost(ConnectionError::io("read", &ErrorKind::BrokenPipe.into()));
    let mut out = Vec::new();
    talk.session.poll_transmit(talk.now, &mut out);
    talk.session.handle_written(out.len());
    talk.session.handle_timeout(talk.now + std::time::Duration::from_secs(3_600));
    assert!(talk.events().is_empty() && talk.session.open_here() == 0, "{what}");
    assert_eq!(talk.session.poll_timeout(), None, "{what}");
}

/// How far a call of the peer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Parts of its message are still to come: nobody works on it.
    Incomplete,
    /// A handler has it.
    Begun,
    /// It was answered, and the answer has left.
    Done,
    /// The caller gave it up, and the handler knows.
    Stopped,
}

/// A call of the peer at a moment of its work; gives whether a handler must be stopped when the connection ends.
fn work(side: Side, kind: OpenKind, work: Work) -> (Dialogue, Option<StreamKey>) {
    let mut talk = Dialogue::open(side, &Limits::default());
    let total = (work == Work::Incomplete).then_some(50);
    let call = Open { total, ..Open::new(kind) };
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(call)]);
    let key = opened(&talk.events()).first().map(|(key, ..)| *key);
    assert_eq!(key.is_some(), work != Work::Incomplete);
    let id = StreamId::new(side.other(), 0);
    match (work, key) {
        (Work::Done, Some(key)) if kind == OpenKind::Request => talk.session.respond(key, Default::default()).unwrap(),
        (Work::Done, Some(key)) => talk.session.end(key, Status::Ok, "", Metadata::default()).unwrap(),
        (Work::Stopped, _) => talk.say(&[Frame::Cancel { id, status: Status::Cancelled }]),
        _ => {}
    }
    talk.hear();
    talk.events();
    (talk, key.filter(|_| work == Work::Begun))
}

#[test]
fn every_handler_of_a_call_of_the_peer_is_stopped_in_the_same_poll_and_once() {
    for (side, kind) in SIDES.into_iter().flat_map(|side| KINDS.map(|kind| (side, kind))) {
        for state in [Work::Incomplete, Work::Begun, Work::Done, Work::Stopped] {
            for end in ENDS.into_iter().filter(|_| kind != OpenKind::Stream || state != Work::Incomplete) {
                let (mut talk, working) = work(side, kind, state);
                let error = end.bring(&mut talk);
                let stopped = working.map(|key| Event::Cancelled { key, status: Status::Unavailable });
                let expected: Vec<_> = stopped.into_iter().chain([Event::Closed(error)]).collect();
                let what = format!("{side:?} {kind:?} {state:?} {end:?}");
                assert_eq!(talk.events(), expected, "{what}");
                check_silence(&mut talk, &what);
            }
        }
    }
}

/// Many at once, of all kinds and both directions: each has exactly one end, and the last event is the connection's.
#[test]
fn a_thousand_calls_end_together() {
    for end in ENDS {
        let limits = Limits { max_calls: 2_000, max_queued_calls: 2_000, ..Limits::default() };
        let mut talk = Dialogue::open_with(Side::Initiator, &limits, &Limits { max_calls: 700, ..limits.clone() });
        let keys: Vec<_> =
            (0..1_000).map(|at| talk.session.open(open(KINDS[at % 3], body(1, 0, 0))).unwrap()).collect();
        talk.say(&[Frame::Method { number: 0, name: "m" }]);
        (0..500).for_each(|_| talk.say(&[Frame::Open(Open::new(OpenKind::Request))]));
        talk.hear();
        let sent = talk.events().iter().filter(|event| matches!(event, Event::Sent { .. })).count();
        let error = end.bring(&mut talk);
        let events = talk.events();
        let failed = failures(&events);
        assert_eq!(failed.len() + sent, keys.len(), "{end:?}");
        let unknown = failed.iter().filter(|(_, error)| error.outcome == Outcome::Unknown).count();
        assert_eq!(unknown + sent, 700, "{end:?}: those that left");
        let stopped = events.iter().filter(|event| matches!(event, Event::Cancelled { .. })).count();
        assert_eq!((stopped, events.last()), (500, Some(&Event::Closed(error))), "{end:?}");
    }
}
