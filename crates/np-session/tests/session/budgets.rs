//! What a peer may make this side hold: requests at work, answers without credit, records behind small bodies.

use np_session::{Answer, Event, OpenCall, OpenKind};
use np_testkit::{Dialogue, Setup};
use np_types::{ConnectionError, Deadline, Limits, Metadata, Misbehaved, Outcome, Status, Time};
use np_wire::{Encoding, Frame, Open, RemainingTime, Side, StreamId, Trailers};

use crate::help::{first_call, frames, opened, request, small, stream};

fn theirs(at: u64) -> StreamId {
    StreamId::new(Side::Initiator, at)
}

/// Room for three requests of 1,000 bytes beside the headroom that validation asks for.
fn tight() -> Limits {
    let limits = Limits { call_budget: 5_000 + 8_192, connection_window: 65_536, stream_window: 8_000, ..small() };
    limits.validate().unwrap();
    limits
}

fn ends(heard: &[u8]) -> Vec<(StreamId, Status)> {
    let ends = frames(heard).into_iter().filter_map(|frame| match frame {
        Frame::Trailers(Trailers { id, status, .. }) => Some((id, status)),
        _ => None,
    });
    ends.collect()
}

#[test]
fn requests_beyond_call_budget_are_refused_until_some_have_ended() {
    let mut talk = Dialogue::open(Side::Responder, &tight());
    let body = [7; 4_000];
    talk.say(&first_call(OpenKind::Request, &body));
    for _ in 0..3 {
        talk.say(&[Frame::Open(Open { body: &body, ..Open::new(OpenKind::Request) })]);
    }
    let calls = opened(&talk.events());
    assert_eq!(calls.len(), 3);
    assert_eq!(ends(&talk.hear()), [(theirs(3), Status::Unavailable)]);
    talk.session.end(calls[0].0, Status::Failed, "", Metadata::new()).unwrap();
    talk.hear();
    talk.say(&[Frame::Open(Open { body: &body, ..Open::new(OpenKind::Request) })]);
    assert_eq!(opened(&talk.events()).len(), 1);
}

/// Nothing is reserved for what it would become: the head alone is looked at.
#[test]
fn a_body_that_would_be_too_long_once_decompressed_is_refused_by_its_head() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    for (at, raw) in [5_000, 5_001, u32::MAX].into_iter().enumerate() {
        for (more, encoding) in [Encoding::Lz4 { raw }, Encoding::Zstd { raw }].into_iter().enumerate() {
            talk.say(&[Frame::Open(Open { encoding, body: &[0; 40], ..Open::new(OpenKind::Request) })]);
            let came = opened(&talk.events()).len();
            assert_eq!(came, usize::from(raw <= 5_000), "{raw}");
            let refused = ends(&talk.hear());
            let expected = (theirs(2 * at as u64 + more as u64), Status::LimitReached);
            assert_eq!(refused, if came == 0 { vec![expected] } else { Vec::new() });
        }
    }
    assert_eq!(talk.session.error(), None);
}

/// A sender that knows the limit sends no such body.
#[test]
fn a_compressed_body_counts_by_what_it_becomes_for_its_sender_too() {
    let mut pair = Setup::with_limits(&small()).connect();
    for (raw, fine) in [(5_000, true), (5_001, false)] {
        let call = OpenCall { encoding: Encoding::Lz4 { raw }, ..request(40) };
        let opened = pair.client().open(call);
        assert_eq!(opened.as_ref().map_err(|error| error.status).err(), (!fine).then_some(Status::LimitReached));
    }
}

#[test]
fn metadata_counts_before_its_message_has_come() {
    let mut metadata = Metadata::new();
    metadata.insert("k", &[0; 8_000]).unwrap();
    let head = |metadata| Frame::Open(Open { total: Some(4_000), metadata, ..Open::new(OpenKind::Request) });
    let mut talk = Dialogue::open(Side::Responder, &tight());
    talk.say(&[Frame::Method { number: 0, name: "m" }, head(metadata.clone())]);
    assert!(ends(&talk.hear()).is_empty());
    talk.say(&[head(metadata)]);
    assert_eq!(ends(&talk.hear()), [(theirs(1), Status::Unavailable)]);
}

/// What the peer sent before it heard of the refusal is no mistake of it, and the application hears of none of it.
#[test]
fn what_comes_for_a_call_that_was_turned_away_is_dropped() {
    let mut metadata = Metadata::new();
    metadata.insert("k", &[0; 8_000]).unwrap();
    let opens = [(OpenKind::Request, Some(4_000)), (OpenKind::OneWay, Some(4_000)), (OpenKind::Stream, None)];
    for (kind, total) in opens {
        let mut talk = Dialogue::open(Side::Responder, &tight());
        let head = |kind, total| Frame::Open(Open { total, metadata: metadata.clone(), ..Open::new(kind) });
        talk.say(&[Frame::Method { number: 0, name: "m" }, head(OpenKind::Request, Some(4_000)), head(kind, total)]);
        talk.say(&vec![Frame::Data { id: theirs(1), fin: false, end: false, body: &[7; 300] }; 5]);
        assert!(talk.session.error().is_none() && talk.events().is_empty(), "{kind:?}");
        assert_eq!(ends(&talk.hear()), [(theirs(1), Status::Unavailable)]);
        talk.say(&vec![Frame::Data { id: theirs(1), fin: false, end: false, body: &[7; 300] }; 5]);
        assert!(talk.session.error().is_none() && talk.events().is_empty(), "{kind:?}");
    }
}

#[test]
fn answers_that_get_no_credit_are_bounded_and_end_with_their_deadline() {
    // The other end gives this side credit for 2,048 bytes and no more.
    let mut talk = Dialogue::open_with(Side::Responder, &tight(), &small());
    talk.say(&first_call(OpenKind::Request, b"x"));
    for _ in 0..5 {
        talk.say(&[Frame::Open(Open {
            body: b"x",
            remaining: RemainingTime::Millis(500),
            ..Open::new(OpenKind::Request)
        })]);
    }
    for (key, ..) in opened(&talk.events()) {
        talk.session.respond(key, Answer::from(bytes::Bytes::from(vec![1; 4_000]))).unwrap();
    }
    // Three fit the budget and wait for a grant; the others end by name.
    let ended = ends(&talk.hear());
    assert_eq!(ended, [3, 4, 5].map(|at| (theirs(at), Status::LimitReached)));
    talk.now = Time::ZERO + std::time::Duration::from_secs(1);
    talk.session.handle_timeout(talk.now);
    let ended = ends(&talk.hear());
    assert_eq!(ended, [1, 2].map(|at| (theirs(at), Status::DeadlineExceeded)));
    talk.now = Time::ZERO + Deadline::DEFAULT + std::time::Duration::from_secs(1);
    talk.session.handle_timeout(talk.now);
    assert_eq!(ends(&talk.hear()), [(theirs(0), Status::DeadlineExceeded)]);
    assert!(talk.session.is_idle() && talk.events().is_empty());
}

#[test]
fn a_small_body_does_not_keep_its_record() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    let mut said = first_call(OpenKind::Request, b"x").to_vec();
    said.push(Frame::Padding(60_000));
    talk.say(&said);
    let (_, _, small, _) = opened(&talk.events()).remove(0);
    assert!(small.is_unique(), "one byte keeps a record of 60,000");
}

#[test]
fn data_that_says_nothing_makes_no_event() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.say(&first_call(OpenKind::Stream, b""));
    talk.events();
    talk.say(&vec![Frame::Data { id: theirs(0), fin: false, end: false, body: b"" }; 1_000]);
    assert_eq!(talk.events(), []);
    talk.say(&[Frame::Data { id: theirs(0), fin: false, end: true, body: b"" }]);
    assert_eq!(talk.events().len(), 1);
}

#[test]
fn a_close_takes_no_answer_back_that_was_given() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.say(&first_call(OpenKind::Request, b"x"));
    let (key, ..) = opened(&talk.events()).remove(0);
    talk.session.respond(key, Answer::from(bytes::Bytes::from_static(b"done"))).unwrap();
    talk.session.close(np_types::CloseCode::Normal, "");
    assert!(!talk.events().iter().any(|event| matches!(event, Event::Cancelled { .. })));
    let heard = talk.hear();
    assert!(frames(&heard).iter().any(|frame| matches!(frame, Frame::Response(answer) if answer.body == b"done")));
}

#[test]
fn a_stream_that_talked_is_never_not_processed() {
    let unavailable = || {
        let id = StreamId::new(Side::Responder, 0);
        Frame::Trailers(Trailers { id, status: Status::Unavailable, text: "", metadata: Metadata::new() })
    };
    for (talked, expected) in [(false, Outcome::NotProcessed), (true, Outcome::Unknown)] {
        let mut talk = Dialogue::open(Side::Responder, &small());
        let key = talk.session.open(stream()).unwrap();
        talk.hear();
        if talked {
            talk.session.send(key, bytes::Bytes::from_static(b"x")).unwrap();
            talk.hear();
        }
        talk.events();
        talk.say(&[unavailable()]);
        let events = talk.events();
        assert!(
            matches!(&events[..], [Event::Failed { error, .. }] if error.outcome == expected),
            "{talked} {events:?}"
        );
    }
}

#[test]
fn a_message_that_has_not_left_cannot_be_done() {
    let mut talk = Dialogue::open_with(Side::Responder, &small(), &small());
    let large =
        OpenCall { body: bytes::Bytes::from(vec![1; 4_000]), ..OpenCall::new(OpenKind::OneWay, "m".parse().unwrap()) };
    talk.session.open(large).unwrap();
    talk.hear();
    let id = StreamId::new(Side::Responder, 0);
    talk.say(&[Frame::Trailers(Trailers { id, status: Status::Ok, text: "", metadata: Metadata::new() })]);
    assert_eq!(talk.session.error(), Some(&ConnectionError::Misbehaved(Misbehaved::StreamState)));
}

/// A handler that is done leaves a message behind that gets no credit: it counts, and it does not wait for ever.
#[test]
fn the_last_message_of_a_stream_that_gets_no_credit_is_bounded_and_ends() {
    let limits = Limits { call_budget: 10_000, max_message: 5_000, stream_window: 1_024, ..small() };
    for status in [Status::Ok, Status::Failed] {
        let mut talk = Dialogue::open_with(Side::Responder, &limits, &Limits { stream_window: 1_024, ..small() });
        talk.say(&[Frame::Method { number: 0, name: "m" }]);
        talk.say(&vec![Frame::Open(Open::new(OpenKind::Stream)); 3]);
        let keys: Vec<_> = opened(&talk.events()).into_iter().map(|(key, ..)| key).collect();
        talk.hear();
        for key in &keys {
            talk.session.send(*key, np_testkit::body(1, 0, 5_000)).unwrap();
            talk.hear();
            talk.session.end(*key, status, "done", Metadata::default()).unwrap();
        }
        let heard = talk.hear();
        let ended = frames(&heard).iter().filter(|frame| matches!(frame, Frame::Trailers(_))).count();
        assert!(ended >= 1, "no room for three of them");
        assert!(talk.session.held_bytes() > 0 && talk.session.held_by_application() == 0);
        talk.now = talk.now + std::time::Duration::from_secs(61);
        talk.session.handle_timeout(talk.now);
        let heard = talk.hear();
        let told: Vec<_> = frames(&heard)
            .into_iter()
            .filter_map(|frame| if let Frame::Trailers(trailers) = frame { Some(trailers.status) } else { None })
            .collect();
        assert_eq!(told.len() + ended, 3, "{told:?}");
        assert!(!told.contains(&Status::Ok), "its messages did not all arrive");
        assert_eq!((talk.session.held_bytes(), talk.session.open_by_peer()), (0, 0));
    }
}

/// Room that was promised is taken: the message counts as a whole before its bytes have come, and until it is given up.
#[test]
fn what_was_granted_is_held_before_it_has_come() {
    let limits = Limits { stream_window: 1_024, ..tight() };
    limits.validate().unwrap();
    let mut talk = Dialogue::open(Side::Responder, &limits);
    let head = Open { total: Some(4_000), ..Open::new(OpenKind::Request) };
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(head)]);
    assert_eq!((talk.session.held_bytes(), talk.session.held_by_application()), (4_000, 0));
    talk.say(&[Frame::Data { id: theirs(0), fin: false, end: false, body: &[7; 1_000] }]);
    assert_eq!(talk.session.held_bytes(), 4_000, "what came of it took no more");
    talk.say(&[Frame::Cancel { id: theirs(0), status: Status::Cancelled }]);
    assert_eq!(talk.session.held_bytes(), 0);
}

/// As one that came whole: its body and its metadata, which together may be more than there is room for.
#[test]
fn a_request_that_came_in_pieces_counts_with_its_metadata() {
    let mut metadata = Metadata::new();
    metadata.insert("k", &[0; 999]).unwrap();
    let mut talk = Dialogue::open(Side::Responder, &tight());
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    for at in 0..3 {
        let metadata = metadata.clone();
        let head = Open { total: Some(4_000), metadata, body: &[7; 3_000], ..Open::new(OpenKind::Request) };
        talk.say(&[Frame::Open(head), Frame::Data { id: theirs(at), fin: true, end: true, body: &[7; 1_000] }]);
        let calls = opened(&talk.events());
        // What came is taken at once, so that calls at work are all that is held.
        calls.iter().for_each(|(.., credit)| talk.session.release(*credit));
        // The third would make 15,000; its metadata counts until its end has left.
        let held = [5_000, 10_000, 11_000][at as usize];
        assert_eq!((calls.len(), talk.session.held_bytes()), (usize::from(at < 2), held), "{at}");
    }
    assert_eq!(ends(&talk.hear()), [(theirs(2), Status::Unavailable)]);
}

/// Each holds the record that they share, which is so much theirs that a copy would gain nothing.
#[test]
fn bodies_that_fill_their_record_are_no_copies() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    let open = || Frame::Open(Open { body: &[7; 4_000], ..Open::new(OpenKind::Request) });
    talk.say(&[Frame::Method { number: 0, name: "m" }, open(), open()]);
    let bodies: Vec<_> = opened(&talk.events()).into_iter().map(|(_, _, body, _)| body).collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies.iter().all(|body| !body.is_unique()), "copied");
}
