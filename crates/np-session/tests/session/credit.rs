//! Credit stops before memory grows: windows, reassembly budget, and what comes back.

use np_session::{Answer, Event, StreamKey};
use np_testkit::{Dialogue, Setup, body};
use np_types::{Limits, Status};
use np_wire::{Frame, Open, OpenKind, Response, Side, StreamId, Trailers};

use crate::help::{data, first_call, frames, opened, request, small, stream};

fn id(at: u64) -> StreamId {
    StreamId::new(Side::Initiator, at)
}

/// The body bytes of the frames that were heard.
fn body_bytes(heard: &[u8]) -> usize {
    let sizes = frames(heard).into_iter().map(|frame| match frame {
        Frame::Open(open) => open.body.len(),
        Frame::Response(response) => response.body.len(),
        Frame::Data { body, .. } => body.len(),
        _ => 0,
    });
    sizes.sum()
}

/// The credit of the connection among the frames that were heard.
fn credit(heard: &[u8]) -> usize {
    let credits = frames(heard).into_iter().map(|frame| match frame {
        Frame::ConnectionCredit(bytes) => bytes as usize,
        _ => 0,
    });
    credits.sum()
}

#[test]
fn a_consumer_that_takes_nothing_stops_its_sender_at_the_stream_window() {
    for window in [1_024u32, 3_000] {
        let limits = Limits { stream_window: window, connection_window: 4 * window, ..Limits::default() };
        let mut pair = Setup::with_limits(&limits).connect();
        let key = pair.client().open(stream()).unwrap();
        pair.settle();
        pair.client().send(key, body(1, 0, 10 * window as usize)).unwrap();
        pair.settle();
        let events = pair.events(1);
        assert_eq!(data(&events).len(), window as usize);
        let other = opened(&events)[0].0;
        pair.server().consumed(other, window as usize / 2);
        pair.settle();
        assert_eq!(data(&pair.events(1)).len(), window as usize / 2);
    }
}

#[test]
fn all_streams_together_stop_at_the_connection_window() {
    for window in [2_048u32, 2_500] {
        let mut pair = Setup::with_limits(&Limits { connection_window: window, ..small() }).connect();
        let keys: Vec<StreamKey> = (0..4).map(|_| pair.client().open(stream()).unwrap()).collect();
        pair.settle();
        for key in keys {
            pair.client().send(key, body(1, 0, 5_000)).unwrap();
        }
        pair.settle();
        assert_eq!(data(&pair.events(1)).len(), window as usize);
    }
}

#[test]
fn unary_bodies_hold_the_connection_window_until_they_are_released() {
    let mut pair = Setup::with_limits(&small()).connect();
    for _ in 0..4 {
        pair.client().open(request(1_024)).unwrap();
    }
    pair.settle();
    let calls = opened(&pair.events(1));
    assert_eq!(calls.iter().map(|call| call.3).sum::<u32>(), 2_048);
    for (_, _, _, credit) in calls {
        pair.server().release(credit);
    }
    pair.settle();
    assert_eq!(opened(&pair.events(1)).len(), 2);
}

#[test]
fn large_messages_are_granted_in_turn_as_far_as_the_budget_goes() {
    for (budget, at_once) in [(5_000, 1), (10_000, 2), (14_999, 2), (15_000, 3)] {
        let mut talk = Dialogue::open(Side::Responder, &Limits { reassembly_budget: budget, ..small() });
        let large = Frame::Open(Open { total: Some(5_000), ..Open::new(OpenKind::Request) });
        talk.say(&[Frame::Method { number: 0, name: "m" }, large.clone(), large.clone(), large]);
        let granted = |bytes: &[u8]| {
            let credits = frames(bytes).into_iter().filter_map(|frame| match frame {
                Frame::StreamCredit { id, bytes } => Some((id, bytes)),
                _ => None,
            });
            credits.collect::<Vec<_>>()
        };
        let mut all = granted(&talk.hear());
        assert_eq!(all.len(), at_once, "{budget}");
        for at in 0..3 {
            for piece in 0..5 {
                let fin = piece == 4;
                talk.say(&[Frame::Data { id: id(at), fin, end: fin, body: &[7; 1_000] }]);
                all.extend(granted(&talk.hear()));
            }
            assert_eq!(opened(&talk.events()).len(), 1, "{budget}: {:?}", talk.session.error());
        }
        assert_eq!(all, [(id(0), 5_000), (id(1), 5_000), (id(2), 5_000)]);
    }
}

#[test]
fn a_large_message_that_is_given_up_makes_room_for_the_next() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { reassembly_budget: 5_000, ..small() });
    let large = Frame::Open(Open { total: Some(5_000), ..Open::new(OpenKind::Request) });
    talk.say(&[Frame::Method { number: 0, name: "m" }, large.clone(), large.clone(), large]);
    talk.hear();
    // One that waits, and the one that was granted.
    talk.say(&[Frame::Cancel { id: id(1), status: Status::Cancelled }]);
    talk.say(&[Frame::Cancel { id: id(0), status: Status::Cancelled }]);
    assert!(talk.hears(&Frame::StreamCredit { id: id(2), bytes: 5_000 }));
}

/// Does `step` again and again, which sends `each` bytes and gives the credit that it heard, and counts what comes back.
#[track_caller]
fn check_nothing_leaks(each: usize, step: impl Fn(&mut Dialogue, u64) -> usize) {
    let mut talk = Dialogue::open(Side::Responder, &small());
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    let mut left = 2_048usize;
    for at in 0..60 {
        left = left.checked_sub(each).unwrap_or_else(|| panic!("credit ran out in round {at}"));
        left += step(&mut talk, at);
        assert_eq!(talk.session.error(), None, "round {at}");
        left += credit(&talk.hear());
        assert!(talk.session.is_idle(), "round {at}");
    }
}

#[test]
fn bytes_of_cancelled_uploads_come_back() {
    check_nothing_leaks(500, |talk, at| {
        let open = Open { total: Some(1_000), body: &[0; 300], ..Open::new(OpenKind::Request) };
        let data = Frame::Data { id: id(at), fin: false, end: false, body: &[0; 200] };
        talk.say(&[Frame::Open(open), data]);
        talk.say(&[Frame::Cancel { id: id(at), status: Status::Cancelled }]);
        0
    });
}

#[test]
fn bytes_for_a_call_that_is_over_come_back() {
    check_nothing_leaks(500, |talk, at| {
        let open = Open { total: Some(1_000), body: &[0; 300], ..Open::new(OpenKind::Request) };
        talk.say(&[Frame::Open(open), Frame::Cancel { id: id(at), status: Status::Cancelled }]);
        let heard = credit(&talk.hear());
        talk.say(&[Frame::Data { id: id(at), fin: false, end: false, body: &[0; 200] }]);
        heard
    });
}

#[test]
fn bytes_of_refused_calls_come_back() {
    check_nothing_leaks(500, |talk, _| {
        let open = Open { total: Some(5_001), body: &[0; 500], ..Open::new(OpenKind::Request) };
        talk.say(&[Frame::Open(open)]);
        0
    });
}

#[test]
fn released_bodies_and_consumed_streams_come_back() {
    check_nothing_leaks(500, |talk, at| {
        talk.say(&[Frame::Open(Open { body: &[0; 500], ..Open::new(OpenKind::Request) })]);
        let calls = opened(&talk.events());
        talk.session.release(calls[0].3);
        talk.session.end(calls[0].0, Status::Failed, "", Default::default()).unwrap();
        assert_eq!(calls[0].3, 500, "{at}");
        0
    });
    check_nothing_leaks(500, |talk, at| {
        talk.say(&[Frame::Open(Open::new(OpenKind::Stream))]);
        talk.say(&[Frame::Data { id: id(at), fin: false, end: true, body: &[0; 500] }]);
        let key = opened(&talk.events())[0].0;
        talk.session.end(key, Status::Ok, "", Default::default()).unwrap();
        // After the end, too.
        talk.session.consumed(key, 500);
        0
    });
}

/// A stream's message takes credit as it leaves, so what never left has none to give back.
#[test]
fn a_cancelled_stream_message_gives_no_credit_that_it_never_took() {
    let mut talk = Dialogue::open_with(Side::Initiator, &Limits::default(), &small());
    let key = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.session.send(key, body(1, 0, 5_000)).unwrap();
    assert_eq!(body_bytes(&talk.hear()), 1_024);
    talk.session.cancel(key);
    talk.session.open(request(1_024)).unwrap();
    talk.session.open(request(1)).unwrap();
    assert_eq!(body_bytes(&talk.hear()), 1_024);
}

#[test]
fn an_answer_whose_rest_is_not_sent_gives_its_reservation_back() {
    let limits = Limits { stream_window: 100_000, connection_window: 200_000, ..Limits::default() };
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &limits);
    talk.say(&first_call(OpenKind::Request, b""));
    talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    let calls = opened(&talk.events());
    // Two that take turns: the first poll stops in the middle, because the buffer is nearly full.
    for call in &calls {
        talk.session.respond(call.0, Answer::from(body(1, 0, 100_000))).unwrap();
    }
    let mut out = vec![0; (256 << 10) - 30_000];
    talk.session.poll_transmit(talk.now, &mut out);
    let sent = body_bytes(&talk.hand.open(&out[(256 << 10) - 30_000..]));
    assert!((1..200_000).contains(&sent));
    for at in 0..2 {
        talk.say(&[Frame::Cancel { id: id(at), status: Status::Cancelled }]);
    }
    assert_eq!(body_bytes(&talk.hear()), 0);
    // All that was not sent can be sent by others.
    let calls: Vec<_> = (0..3).map(|_| talk.session.open(request(70_000)).unwrap()).collect();
    let heard = body_bytes(&talk.hear());
    assert_eq!(heard, if sent <= 60_000 { 140_000 } else { 70_000 }, "{sent} of {calls:?}");
}

#[test]
fn an_answer_without_a_grant_waits_for_its_whole_size() {
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &small());
    talk.say(&first_call(OpenKind::Request, b"?"));
    let call = opened(&talk.events())[0].0;
    talk.session.respond(call, Answer::from(body(1, 0, 1_500))).unwrap();
    assert_eq!(body_bytes(&talk.hear()), 0);
    talk.say(&[Frame::StreamCredit { id: id(0), bytes: 0 }]);
    assert_eq!(body_bytes(&talk.hear()), 0);
    talk.say(&[Frame::StreamCredit { id: id(0), bytes: 1_500 }]);
    assert_eq!(body_bytes(&talk.hear()), 1_500);
    assert!(talk.session.is_idle());
}

#[test]
fn an_answer_that_begins_stops_the_rest_of_its_request() {
    let mut talk = Dialogue::open_with(Side::Initiator, &Limits::default(), &small());
    talk.session.open(request(1_025)).unwrap();
    talk.hear();
    let (codec, encoding, metadata) = Default::default();
    let head = Response { id: id(0), codec, encoding, total: Some(20), metadata, body: b"abc" };
    talk.say(&[Frame::Response(head), Frame::StreamCredit { id: id(0), bytes: 1_025 }]);
    assert_eq!(body_bytes(&talk.hear()), 0);
}

#[test]
fn credit_for_streams_that_starve_costs_no_memory() {
    let mut talk = Dialogue::open_with(Side::Responder, &Limits::default(), &small());
    talk.say(&first_call(OpenKind::Stream, b""));
    talk.say(&[Frame::Open(Open::new(OpenKind::Stream)), Frame::Open(Open::new(OpenKind::Stream))]);
    for (key, ..) in opened(&talk.events()) {
        talk.session.send(key, body(1, 0, 5_000)).unwrap();
    }
    assert_eq!(body_bytes(&talk.hear()), 2_048);
    let more = |talk: &mut Dialogue| {
        for at in 0..3 {
            talk.say(&[Frame::StreamCredit { id: id(at), bytes: 1 }]);
        }
        talk.hear();
        format!("{:?}", talk.session).matches('#').count()
    };
    let before = more(&mut talk);
    for _ in 0..100 {
        assert_eq!(more(&mut talk), before);
    }
    talk.say(&[Frame::ConnectionCredit(300)]);
    assert_eq!(body_bytes(&talk.hear()), 300);
}

#[test]
fn a_full_buffer_takes_no_more_answers_to_pings() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    let mut out = vec![0; 256 << 10];
    for token in 0..100 {
        talk.say(&[Frame::Ping(token)]);
        assert!(!talk.session.poll_transmit(talk.now, &mut out));
    }
    assert_eq!(frames(&talk.hear()), [Frame::Pong(99)]);
}

#[test]
fn whole_messages_do_not_starve_behind_streams() {
    let mut pair = Setup::with_limits(&small()).connect();
    let keys = [(); 2].map(|()| pair.client().open(stream()).unwrap());
    pair.settle();
    for key in keys {
        pair.client().send(key, body(1, 0, 5_000)).unwrap();
    }
    pair.settle();
    pair.client().open(request(1_024)).unwrap();
    // Both streams are read as they come, so they always want more.
    let mut taken = 0;
    loop {
        let events = pair.events(1);
        if opened(&events).iter().any(|call| call.2.len() == 1_024) {
            break;
        }
        for event in events {
            if let Event::Data { key, body, .. } = event {
                taken += body.len();
                for piece in body.chunks(256) {
                    pair.server().consumed(key, piece.len());
                    pair.settle();
                }
            }
        }
        assert!(taken < 6_000, "the call waits for the streams to end");
    }
}

#[test]
fn a_large_message_that_gives_up_its_place_lets_the_next_pass() {
    let mut talk = Dialogue::open(Side::Responder, &Limits { reassembly_budget: 7_000, ..small() });
    let large = |total| Frame::Open(Open { total: Some(total), ..Open::new(OpenKind::Request) });
    talk.say(&[Frame::Method { number: 0, name: "m" }, large(5_000), large(5_000), large(1_500)]);
    assert_eq!(frames(&talk.hear()), [Frame::StreamCredit { id: id(0), bytes: 5_000 }]);
    talk.say(&[Frame::Cancel { id: id(1), status: Status::Cancelled }]);
    assert!(talk.hears(&Frame::StreamCredit { id: id(2), bytes: 1_500 }));
}

#[test]
fn streams_that_are_given_up_while_they_starve_are_forgotten() {
    let mut talk = Dialogue::open_with(Side::Initiator, &Limits::default(), &small());
    let holder = talk.session.open(stream()).unwrap();
    let other = talk.session.open(stream()).unwrap();
    talk.hear();
    talk.session.send(holder, body(1, 0, 1_024)).unwrap();
    talk.session.send(other, body(1, 0, 1_024)).unwrap();
    talk.hear();
    talk.events();
    let keys = |talk: &Dialogue| format!("{:?}", talk.session).matches('#').count();
    let before = keys(&talk);
    for at in 2..50 {
        let key = talk.session.open(stream()).unwrap();
        talk.hear();
        talk.session.send(key, body(1, 0, 10)).unwrap();
        talk.hear();
        talk.session.cancel(key);
        talk.hear();
        let (status, metadata) = (Status::Cancelled, Default::default());
        talk.say(&[Frame::Trailers(Trailers { id: id(at), status, text: "", metadata })]);
        talk.events();
        assert_eq!(keys(&talk), before, "{at}");
    }
}

/// A window that may grow is measured by a ping, once a quarter of it was taken and no sooner.
#[test]
fn a_round_is_measured_when_credit_is_due_and_no_sooner() {
    let limits = Limits { stream_window: 16_384, connection_window: 65_536, max_window: 1 << 20, ..Limits::default() };
    limits.validate().unwrap();
    let mut talk = Dialogue::open(Side::Responder, &limits);
    let mut pings = Vec::new();
    for at in 0..17 {
        let body = [7; 1_000];
        let call = first_call(OpenKind::Request, &body);
        talk.say(if at == 0 { &call } else { &call[1..] });
        opened(&talk.events()).iter().for_each(|(.., credit)| talk.session.release(*credit));
        pings.push(frames(&talk.hear()).iter().any(|frame| matches!(frame, Frame::Ping(_))));
    }
    assert_eq!(pings.iter().position(|asked| *asked), Some(16), "16,384 bytes are a quarter");
}
