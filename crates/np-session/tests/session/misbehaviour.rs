//! A peer that breaks a rule: the right error, the right code, and silence afterwards.

use np_session::{Answer, Event, OpenKind};
use np_testkit::{Dialogue, Rng, body, settings};
use np_types::{
    CloseCode, ConnectionError, LimitHit, LimitName, Limits, Malformed, Metadata, Misbehaved, Misuse, Status, Time,
};
use np_wire::{Encoding, Frame, Open, Response, Side, StreamId, Trailers};

use crate::help::{first_call, frames, opened, request, small, stream};

fn theirs(at: u64) -> StreamId {
    StreamId::new(Side::Initiator, at)
}

fn ours(at: u64) -> StreamId {
    StreamId::new(Side::Responder, at)
}

fn response(id: StreamId, total: Option<u32>, body: &[u8]) -> Frame<'_> {
    let (codec, encoding, metadata) = Default::default();
    Frame::Response(Response { id, codec, encoding, total, metadata, body })
}

fn trailers(id: StreamId, status: Status) -> Frame<'static> {
    Frame::Trailers(Trailers { id, status, text: "", metadata: Metadata::default() })
}

fn data(id: StreamId, size: usize) -> Frame<'static> {
    Frame::Data { id, fin: false, end: false, body: &[0; 4_096][..size] }
}

/// The first bytes of a message of `raw` bytes.
fn compressed(id: StreamId, body: &[u8], raw: u32) -> Frame<'_> {
    Frame::Compressed { id, encoding: Encoding::Lz4 { raw }, end: false, body }
}

/// After its error a session says CLOSE with the code of the error, and the limit where it was one, and is silent.
#[track_caller]
fn check_end(talk: &mut Dialogue, error: &ConnectionError) {
    assert_eq!(talk.session.error(), Some(error));
    let events = talk.events();
    assert_eq!(events.last(), Some(&Event::Closed(error.clone())));
    talk.say(&[Frame::Ping(1)]);
    talk.session.release(1 << 20);
    talk.session.ping();
    let heard = talk.hear();
    let text = if let ConnectionError::Limit(hit) = error { hit.to_string() } else { String::new() };
    assert_eq!(frames(&heard), [Frame::Close { code: error.close_code(), text: &text }]);
    talk.say(&[Frame::Ping(2)]);
    assert!(talk.hear().is_empty() && talk.events().is_empty() && talk.session.is_closed());
    assert!(talk.session.open(request(1)).is_err());
}

/// A responder with a call and a stream of its own open; calls 0 (answered late) and 1 (a stream) of the peer.
fn busy() -> Dialogue {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.session.open(request(1)).unwrap();
    talk.session.open(stream()).unwrap();
    talk.say(&first_call(OpenKind::Request, b"x"));
    talk.say(&[Frame::Open(Open::new(OpenKind::Stream))]);
    talk.hear();
    talk
}

/// Says `frames` to a busy session, each in a record of its own, and checks how it ends.
#[track_caller]
fn check(said: &[Frame<'_>], error: impl Into<ConnectionError>) {
    let mut talk = busy();
    for frame in said {
        assert_eq!(talk.session.error(), None, "before {frame:?}");
        talk.say(std::slice::from_ref(frame));
    }
    check_end(&mut talk, &error.into());
}

#[test]
fn frames_for_streams_that_never_were() {
    for id in [theirs(2), ours(2), theirs(1 << 40)] {
        check(&[Frame::StreamCredit { id, bytes: 1 }], Misbehaved::UnknownStream);
        check(&[data(id, 1)], Misbehaved::UnknownStream);
    }
    check(&[response(ours(2), None, b"")], Misbehaved::UnknownStream);
    check(&[trailers(ours(9), Status::Failed)], Misbehaved::UnknownStream);
    check(&[Frame::Cancel { id: theirs(7), status: Status::Cancelled }], Misbehaved::UnknownStream);
}

#[test]
fn frames_that_a_stream_cannot_get() {
    let wrong = Misbehaved::StreamState;
    // Only a callee answers and ends, only a caller cancels.
    check(&[response(theirs(0), None, b"")], wrong);
    check(&[trailers(theirs(0), Status::Failed)], wrong);
    check(&[Frame::Cancel { id: ours(0), status: Status::Cancelled }], wrong);
    // A whole request has no more bytes; a stream is not answered; a unary call does not end well by trailers.
    check(&[data(theirs(0), 1)], wrong);
    check(&[response(ours(1), None, b"")], wrong);
    check(&[trailers(ours(0), Status::Ok)], wrong);
    // A callee ends its direction by trailers, a caller only once; a stream opens empty.
    let fin = |id| Frame::Data { id, fin: true, end: false, body: &[] };
    check(&[fin(ours(1))], wrong);
    check(&[fin(theirs(1)), fin(theirs(1))], wrong);
    check(&[Frame::Open(Open { body: b"x", ..Open::new(OpenKind::Stream) })], wrong);
    check(&[Frame::Open(Open { total: Some(9), ..Open::new(OpenKind::Stream) })], wrong);
    // A compressed message begins on a stream alone, with a byte, and between messages.
    check(&[compressed(theirs(0), b"x", 9)], wrong);
    check(&[compressed(ours(0), b"x", 9)], wrong);
    check(&[compressed(theirs(1), b"", 9)], wrong);
    check(&[data(theirs(1), 1), compressed(theirs(1), b"x", 9)], wrong);
    check(&[compressed(theirs(1), b"x", 9), compressed(theirs(1), b"x", 9)], wrong);
    // A second answer while the first comes.
    check(&[response(ours(0), Some(900), b""), response(ours(0), None, b"")], wrong);
}

#[test]
fn more_bytes_than_credit() {
    check(&[data(theirs(1), 1_024), data(theirs(1), 1)], Misbehaved::Credit);
    let big = Open { body: &[0; 2_048], ..Open::new(OpenKind::Request) };
    check(&[Frame::Open(big)], Misbehaved::Credit);
    // A large message without a grant.
    let large = Open { total: Some(5_000), ..Open::new(OpenKind::Request) };
    let full = Limits { reassembly_budget: 5_000, ..small() };
    let mut talk = Dialogue::open(Side::Responder, &full);
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(large.clone()), Frame::Open(large)]);
    talk.say(&[data(theirs(1), 1)]);
    check_end(&mut talk, &Misbehaved::Credit.into());
}

#[test]
fn sizes_that_are_not_as_declared() {
    let wrong = Misbehaved::DeclaredSize;
    let open = |total, body| Frame::Open(Open { total: Some(total), body, ..Open::new(OpenKind::Request) });
    check(&[open(3, b"abc")], wrong);
    check(&[open(2, b"abc")], wrong);
    check(&[open(2_000, b"abc")], wrong);
    let piece = |fin, end, body| Frame::Data { id: theirs(2), fin, end, body };
    check(&[open(5, b"abc"), piece(true, true, b"def")], wrong);
    check(&[open(5, b"abc"), piece(true, true, b"d")], wrong);
    check(&[open(5, b"abc"), piece(false, false, b"de")], wrong);
    check(&[open(5, b"abc"), piece(true, false, b"de")], wrong);
    check(&[response(ours(0), Some(1), b"a")], wrong);
}

#[test]
fn settings_methods_pongs_and_go_aways_out_of_place() {
    check(&[Frame::Settings(settings(&Limits::default()))], Misbehaved::SettingsTwice);
    check(&[Frame::Method { number: 0, name: "again" }], Misbehaved::MethodNumber);
    check(&[Frame::Method { number: 2, name: "gap" }], Misbehaved::MethodNumber);
    check(&[Frame::Open(Open { method: 1, ..Open::new(OpenKind::Request) })], Misbehaved::MethodNumber);
    check(&[Frame::Method { number: 1, name: "two words" }], Malformed::Text("a method name"));
    check(&[Frame::Pong(1)], Misbehaved::Pong);
    let go_away = |accepted| Frame::GoAway { accepted, code: CloseCode::Drained };
    check(&[go_away(3)], Misbehaved::GoAway);
    check(&[go_away(2), go_away(2)], Misbehaved::GoAway);
}

#[test]
fn a_pong_counts_once() {
    let mut talk = busy();
    let token = talk.session.ping();
    talk.hear();
    talk.events();
    talk.say(&[Frame::Pong(token)]);
    assert_eq!(talk.events(), [Event::Pong { token }]);
    talk.say(&[Frame::Pong(token)]);
    check_end(&mut talk, &Misbehaved::Pong.into());
}

/// It has its token as soon as it is asked for.
#[test]
fn a_pong_for_a_ping_that_has_not_left() {
    let mut talk = busy();
    let sent = talk.session.ping();
    talk.hear();
    talk.events();
    let waits = talk.session.ping();
    talk.say(&[Frame::Pong(sent)]);
    assert_eq!(talk.events(), [Event::Pong { token: sent }]);
    talk.say(&[Frame::Pong(waits)]);
    check_end(&mut talk, &Misbehaved::Pong.into());
}

/// Whoever asks while a ping waits shares it. So no token is given that never leaves, and could be answered all the same.
#[test]
fn every_token_of_a_ping_leaves() {
    let mut talk = busy();
    let sent = talk.session.ping();
    talk.hear();
    talk.session.show_life();
    let shared = [talk.session.ping(), talk.session.ping()];
    assert_eq!(shared, [sent + 1; 2]);
    let heard = talk.hear();
    let left: Vec<_> = frames(&heard).into_iter().filter(|frame| matches!(frame, Frame::Ping(_))).collect();
    assert_eq!(left, [Frame::Ping(sent + 1)]);
    talk.events();
    talk.say(&[Frame::Pong(sent + 1)]);
    assert_eq!(talk.events(), [Event::Pong { token: sent + 1 }], "both are answered by it");
}

#[test]
fn a_key_update_that_is_not_the_last_of_its_record() {
    let mut talk = busy();
    talk.say(&[Frame::KeyUpdate, Frame::Ping(1)]);
    check_end(&mut talk, &Misbehaved::KeyUpdate.into());
}

#[test]
fn a_first_record_of_something_else() {
    let fine = Frame::Settings(settings(&Limits::default()));
    let cases: [&[Frame<'_>]; 6] = [
        &[Frame::Ping(1)],
        &[Frame::Padding(3)],
        &[fine.clone(), Frame::Ping(1)],
        &[Frame::KeyUpdate],
        &[fine.clone(), Frame::KeyUpdate, Frame::Padding(1)],
        &[fine.clone(), Frame::Close { code: CloseCode::Normal, text: "" }],
    ];
    for said in cases {
        let mut talk = Dialogue::start(Side::Responder, &Limits::default());
        talk.say(said);
        check_end(&mut talk, &Misbehaved::FirstRecord.into());
    }
    let mut talk = Dialogue::start(Side::Responder, &Limits::default());
    talk.say(&[fine.clone(), fine]);
    check_end(&mut talk, &Misbehaved::SettingsTwice.into());
}

#[test]
fn windows_in_which_a_whole_message_never_fits() {
    let fine = settings(&Limits::default());
    for (stream_window, connection_window, accepted) in
        [(1_024, 2_048, true), (1_024, 2_047, false), (0, 2_048, false), (u32::MAX, u32::MAX, false)]
    {
        let mut talk = Dialogue::start(Side::Responder, &small());
        talk.say(&[Frame::Settings(np_wire::Settings { stream_window, connection_window, ..fine })]);
        let error = Malformed::Value("a window in the settings").into();
        assert_eq!(talk.session.error(), (!accepted).then_some(&error), "{stream_window} {connection_window}");
    }
}

#[test]
fn a_direction_that_ends_in_the_middle_of_a_message() {
    let fin = |id, body| Frame::Data { id, fin: true, end: false, body };
    check(&[data(theirs(1), 3), fin(theirs(1), b"")], Misbehaved::StreamState);
    check(&[fin(theirs(1), b"x")], Misbehaved::StreamState);
    check(&[data(ours(1), 3), trailers(ours(1), Status::Ok)], Misbehaved::StreamState);
    let mut talk = busy();
    talk.say(&[Frame::Data { id: theirs(1), fin: true, end: true, body: b"x" }]);
    talk.say(&[data(ours(1), 3), trailers(ours(1), Status::Failed)]);
    assert_eq!(talk.session.error(), None);
}

#[test]
fn a_compressed_message_that_declares_more_than_max_message_is_refused_before_it_grows() {
    let most = small().max_message;
    for raw in [most, most + 1] {
        let mut talk = busy();
        let encoding = Encoding::Zstd { raw };
        talk.say(&[Frame::Open(Open { encoding, body: b"x", ..Open::new(OpenKind::Request) })]);
        let refused = talk.hear();
        let refused = frames(&refused)
            .iter()
            .any(|frame| matches!(frame, Frame::Trailers(Trailers { status: Status::LimitReached, .. })));
        assert_eq!(refused, raw > most, "{raw}");
    }
}

#[test]
fn an_answer_above_this_sides_max_message() {
    let mut talk = busy();
    talk.say(&[response(ours(0), Some(5_001), b"")]);
    let error = talk.session.error().cloned().unwrap();
    assert!(error.to_string().contains("max_message"), "{error}");
    check_end(&mut talk, &error);
}

#[test]
fn bytes_that_are_no_frames() {
    let cases: [&[u8]; 4] = [&[0x04 << 3, 1], &[0x04 << 3 | 1, 1, 9], &[0x04 << 3, 2, 9, 9], &[0, 1, 7]];
    for plain in cases {
        let mut talk = busy();
        let record = talk.hand.seal_bytes(plain);
        talk.feed(&record);
        let error = talk.session.error().cloned().unwrap();
        assert_eq!(error.close_code(), CloseCode::Malformed, "{plain:?}");
        check_end(&mut talk, &error);
    }
    // Shorter than a tag and one byte.
    let mut talk = busy();
    talk.feed(&[0, 16]);
    assert_eq!(talk.session.error(), Some(&Malformed::Value("the length of a record").into()));
}

#[test]
fn a_replayed_a_dropped_and_a_reflected_record_are_refused() {
    let refused: ConnectionError = Misbehaved::Record.into();
    let mut replayed = busy();
    let record = replayed.hand.seal(&[Frame::Ping(1)]);
    replayed.feed(&record);
    replayed.feed(&record);
    assert_eq!(replayed.session.error(), Some(&refused));

    let mut dropped = busy();
    dropped.hand.seal(&[Frame::Ping(1)]);
    dropped.say(&[Frame::Ping(2)]);
    assert_eq!(dropped.session.error(), Some(&refused));

    let mut reflected = busy();
    let mut own = Vec::new();
    reflected.session.ping();
    reflected.session.poll_transmit(reflected.now, &mut own);
    reflected.feed(&own);
    assert_eq!(reflected.session.error(), Some(&refused));
}

/// An answer that waited for its turn must not leave after the error that ends the connection.
#[test]
fn nothing_that_waited_leaves_after_an_error() {
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &small());
    talk.say(&first_call(OpenKind::Request, b""));
    talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    let calls = opened(&talk.events());
    for size in [1_024, 1_000, 500] {
        talk.session.open(request(size)).unwrap();
    }
    talk.hear();
    talk.session.respond(calls[0].0, Answer::from(body(1, 0, 20))).unwrap();
    assert!(talk.hear().is_empty());
    talk.say(&[Frame::Pong(9)]);
    assert_eq!(talk.session.respond(calls[1].0, Answer::default()), Err(Misuse::NoSuchCall));
    check_end(&mut talk, &Misbehaved::Pong.into());
}

#[test]
fn frames_of_later_versions_are_skipped() {
    let mut talk = busy();
    talk.events();
    // Kind 0x0f without a stream, kind 0x1f with stream 5, then a ping.
    let record = talk.hand.seal_bytes(&[0x0f << 3 | 7, 2, 1, 2, 0x1f << 3, 5, 1, 0, 0x04 << 3, 1, 9]);
    talk.feed(&record);
    assert_eq!(talk.session.error(), None);
    assert!(talk.hears(&Frame::Pong(9)));
}

#[test]
fn frames_for_streams_that_are_over_are_no_mistake() {
    let mut talk = busy();
    for (key, ..) in opened(&talk.events()) {
        talk.session.end(key, Status::Failed, "", Metadata::default()).unwrap();
    }
    talk.hear();
    talk.say(&[data(theirs(1), 10), Frame::StreamCredit { id: theirs(1), bytes: 1 }]);
    talk.say(&[Frame::Cancel { id: theirs(0), status: Status::Cancelled }]);
    talk.say(&[trailers(ours(0), Status::Failed), trailers(ours(1), Status::Failed)]);
    talk.say(&[trailers(ours(0), Status::Failed), response(ours(1), None, b"")]);
    assert_eq!(talk.session.error(), None);
    assert!(talk.session.is_idle());
}

/// Any frame, mostly one that could come: `own` is what the other end has opened, `ours_opened` how many the session.
fn any_frame(rng: &mut Rng, own: &mut Vec<OpenKind>, ours_opened: u64) -> Frame<'static> {
    const BYTES: &[u8] = &[5; 1_200];
    let wild = rng.chance(2);
    let body = &BYTES[..rng.pick(&[0, 1, 100])];
    let (id, answer) = if wild {
        (theirs(rng.below(9)), ours(rng.below(9)))
    } else {
        (theirs(rng.below(own.len() as u64)), ours(rng.below(ours_opened)))
    };
    let size = body.len() as u32;
    let total = rng.chance(30).then(|| rng.pick(&[size + 1, size + 600]));
    match rng.below(14) {
        0..=3 => {
            let kind = rng.pick(&[OpenKind::Request, OpenKind::OneWay, OpenKind::Stream]);
            own.push(kind);
            match kind {
                OpenKind::Stream if !wild => Frame::Open(Open::new(kind)),
                _ if rng.chance(20) => {
                    Frame::Open(Open { total: Some(rng.pick(&[1_025, 5_000, 5_001])), ..Open::new(kind) })
                }
                _ => Frame::Open(Open { total, body, ..Open::new(kind) }),
            }
        }
        4 if ours_opened > 0 && rng.chance(20) => response(answer, None, body),
        5 | 6 if wild || own.get(id.index() as usize) == Some(&OpenKind::Stream) => {
            Frame::Data { id, fin: rng.chance(3), end: rng.chance(50), body }
        }
        7 if ours_opened > 0 => trailers(answer, Status::Failed),
        8 if wild || !own.is_empty() => Frame::Cancel { id, status: Status::Cancelled },
        9 if wild || !own.is_empty() => Frame::StreamCredit { id, bytes: rng.pick(&[0, 1, 5_000, u32::MAX >> 2]) },
        10 => Frame::ConnectionCredit(rng.pick(&[0, 1, 1_000, u32::MAX >> 2])),
        11 => Frame::CallAllowance(rng.below(4) as u32),
        12 => Frame::Ping(rng.next_u64() >> 2),
        _ => Frame::Padding(3),
    }
}

/// Answers, sends, cancels and gives credit back, as the events and the seed have it.
fn any_act(talk: &mut Dialogue, rng: &mut Rng) {
    for event in talk.events() {
        match event {
            Event::Opened { key, kind: OpenKind::Request, body, credit, .. } if rng.chance(60) => {
                talk.session.release(credit);
                talk.session.respond(key, Answer::from(body)).unwrap();
            }
            Event::Opened { key, kind: OpenKind::Stream, .. } if rng.chance(60) => {
                talk.session.send(key, body(1, 0, 3_000)).unwrap();
            }
            Event::Opened { key, credit, .. } if rng.chance(80) => {
                talk.session.release(credit);
                talk.session.end(key, Status::Failed, "", Metadata::default()).unwrap();
            }
            Event::Data { key, body, .. } if rng.chance(90) => talk.session.consumed(key, body.len()),
            Event::Answered { credit, .. } => talk.session.release(credit),
            _ => {}
        }
    }
    match rng.below(12) {
        0..=2 => drop(talk.session.open(request(rng.below(6_000) as usize))),
        3 => drop(talk.session.open(stream())),
        4 => {
            if let Ok(key) = talk.session.open(request(10)) {
                talk.session.cancel(key);
            }
        }
        5 => talk.session.handle_timeout(Time::from_nanos(rng.below(60_000_000_000))),
        _ => {}
    }
}

/// Bodies that a session holds are bounded whatever its peer says, and it never panics.
#[test]
fn no_dialogue_of_frames_panics_or_outgrows_the_limits() {
    let (mut lived, mut died) = (0, 0);
    for seed in 0..1_000 {
        let mut rng = Rng::new(seed);
        let mut talk = Dialogue::open_with(Side::Responder, &Limits { max_calls: 4, ..small() }, &small());
        talk.say(&[Frame::Method { number: 0, name: "m" }]);
        let (mut own, mut ours_opened) = (Vec::new(), 0);
        for _ in 0..60 {
            let frame = any_frame(&mut rng, &mut own, ours_opened);
            talk.say(&[frame]);
            if talk.session.error().is_some() {
                died += 1;
                break;
            }
            any_act(&mut talk, &mut rng);
            let heard = if rng.chance(70) { talk.hear() } else { Vec::new() };
            ours_opened += frames(&heard).iter().filter(|frame| matches!(frame, Frame::Open(_))).count() as u64;
            lived += 1;
            assert!(talk.session.open_by_peer() <= 4, "seed {seed}");
        }
        let closed = talk.session.error().is_some();
        let heard = talk.hear();
        assert_eq!(matches!(frames(&heard).last(), Some(Frame::Close { .. })), closed, "seed {seed}");
        assert!(!closed || talk.session.is_closed(), "seed {seed}");
    }
    assert!(died > 100 && lived > 2_000, "{died} {lived}");
}

/// The application is told of no end of a call that it was never told of.
#[test]
fn a_request_whose_first_frame_breaks_its_size_was_never_there() {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.events();
    let open = Open { total: Some(3), body: b"abc", ..Open::new(OpenKind::Request) };
    talk.say(&[Frame::Method { number: 0, name: "m" }, Frame::Open(open)]);
    assert_eq!(talk.events(), [Event::Closed(Misbehaved::DeclaredSize.into())]);
}

/// A peer that is told of each refusal opens no more; one that does not listen is cut before the queue grows.
#[test]
fn more_refusals_than_calls_are_not_queued() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { max_calls: 2, ..small() });
    talk.say(&first_call(OpenKind::Request, b"x"));
    talk.say(&vec![Frame::Open(Open::new(OpenKind::Request)); 3]);
    assert_eq!(talk.session.error(), None, "two are at work, and two are refused");
    talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    check_end(&mut talk, &LimitHit { limit: LimitName::MaxCalls, allowed: 2, seen: 3 }.into());
}

#[test]
fn a_reply_that_breaks_off_gives_back_what_was_put_together_of_it() {
    let mut talk = Dialogue::open(Side::Initiator, &small());
    let (mut came, window) = (0, small().connection_window);
    for at in 0.. {
        if came > 3 * window {
            break;
        }
        talk.session.open(request(1)).unwrap();
        talk.hear();
        talk.say(&[response(theirs(at), Some(1_000), &[0; 600]), trailers(theirs(at), Status::Failed)]);
        assert_eq!(talk.session.error(), None, "after {came} of {window} bytes");
        let ended = matches!(&talk.events()[..], [Event::Failed { error, .. }] if error.status == Status::Failed);
        assert!(ended);
        came += 600;
    }
}
