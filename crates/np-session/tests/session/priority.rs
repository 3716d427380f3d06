//! Who goes first: interactive before bulk, which keeps its share, and by turns within a class.

use np_session::{Answer, OpenCall, OpenKind, Priority, StreamKey};
use np_testkit::{Dialogue, body};
use np_types::{Limits, Metadata, Status};
use np_wire::{Frame, Open, Side, StreamId, Trailers};

use crate::help::{first_call, frames, opened, request, stream};

const LARGE: usize = 16 << 20;

/// As much room as there can be, so that nothing but the order decides.
fn wide() -> Limits {
    Limits {
        max_calls: 1 << 20,
        max_queued_calls: 1 << 20,
        stream_window: 1 << 20,
        connection_window: 1 << 30,
        call_budget: 64 << 20,
        ..Limits::default()
    }
}

fn talk(side: Side) -> Dialogue {
    let mut talk = Dialogue::open_with(side, &wide(), &Limits { stream_window: 128 << 20, ..wide() });
    if side == Side::Responder {
        talk.say(&[Frame::Method { number: 0, name: "m" }]);
    }
    talk
}

fn bulk(kind: OpenKind) -> OpenCall {
    OpenCall { priority: Priority::Bulk, ..OpenCall::new(kind, "np.echo".parse().unwrap()) }
}

/// What leaves with one poll: 256 KiB, or all there is. The peer reads it at once.
fn poll(talk: &mut Dialogue) -> Vec<u8> {
    let mut out = Vec::new();
    talk.session.poll_transmit(talk.now, &mut out);
    talk.session.handle_written(out.len());
    let heard = talk.hand.open(&out);
    let mut pings = frames(&heard).into_iter().filter_map(|frame| match frame {
        Frame::Ping(token) => Some(token),
        _ => None,
    });
    if let Some(token) = pings.next_back() {
        talk.say(&[Frame::Pong(token)]);
    }
    heard
}

/// The streams whose bodies `heard` holds, in order, with their bytes.
fn turns(heard: &[u8]) -> Vec<(StreamId, usize)> {
    let data = frames(heard).into_iter().filter_map(|frame| match frame {
        Frame::Data { id, body, .. } => Some((id, body.len())),
        _ => None,
    });
    data.collect()
}

/// Opens a stream in a class, with a message of `size` bytes that waits.
fn sending(talk: &mut Dialogue, priority: Priority, size: usize) -> StreamKey {
    let key = talk.session.open(OpenCall { priority, ..stream() }).unwrap();
    poll(talk);
    talk.session.send(key, body(1, 0, size)).unwrap();
    key
}

#[track_caller]
fn check_small_call_passes(talk: &mut Dialogue) {
    assert!(!turns(&poll(talk)).is_empty());
    talk.session.open(request(64)).unwrap();
    let heard = poll(talk);
    let first = frames(&heard).into_iter().find(|frame| !matches!(frame, Frame::Method { .. }));
    assert!(matches!(first, Some(Frame::Open(open)) if open.body.len() == 64));
}

#[test]
fn a_small_call_leaves_with_the_next_record_beside_a_transfer() {
    let mut of_stream = talk(Side::Initiator);
    sending(&mut of_stream, Priority::Bulk, LARGE);
    check_small_call_passes(&mut of_stream);
    let mut of_unary = Dialogue::open_with(Side::Initiator, &wide(), &Limits::default());
    of_unary.session.open(request(LARGE)).unwrap();
    poll(&mut of_unary);
    let id = StreamId::new(Side::Initiator, 0);
    of_unary.say(&[Frame::StreamCredit { id, bytes: LARGE as u32 }, Frame::ConnectionCredit(LARGE as u32)]);
    check_small_call_passes(&mut of_unary);
}

#[test]
fn a_small_call_does_not_wait_for_bulk_calls_in_front_of_it() {
    let mut talk = talk(Side::Initiator);
    for _ in 0..50 {
        talk.session.open(OpenCall { body: body(1, 0, 100_000), ..bulk(OpenKind::Request) }).unwrap();
    }
    talk.session.open(request(64)).unwrap();
    let heard = talk.hear();
    let sizes = frames(&heard).into_iter().filter_map(|frame| match frame {
        Frame::Open(Open { body, .. }) => Some(body.len()),
        _ => None,
    });
    assert_eq!(sizes.take(2).collect::<Vec<_>>(), [64, 16 << 10]);
}

/// Answers: those that need a grant are bulk by themselves, streams by what their handler says.
#[test]
fn a_small_answer_passes_large_ones_and_bulk_streams() {
    let small_first = |talk: &mut Dialogue| {
        talk.say(&[Frame::Open(Open::new(OpenKind::Request))]);
        let small = opened(&talk.events())[0].0;
        talk.session.respond(small, Answer::from(body(1, 0, 64))).unwrap();
        matches!(frames(&poll(talk)).first(), Some(Frame::Response(_)))
    };
    let mut large = Dialogue::open_with(Side::Responder, &wide(), &Limits::default());
    large.say(&first_call(OpenKind::Request, b""));
    large.say(&[Frame::Open(Open::new(OpenKind::Request))]);
    for (key, ..) in opened(&large.events()) {
        large.session.respond(key, Answer::from(body(1, 0, LARGE))).unwrap();
    }
    poll(&mut large);
    for at in 0..2 {
        let id = StreamId::new(Side::Initiator, at);
        large.say(&[Frame::StreamCredit { id, bytes: LARGE as u32 }, Frame::ConnectionCredit(LARGE as u32)]);
    }
    poll(&mut large);
    assert!(small_first(&mut large));
    for (priority, passes) in [(Priority::Interactive, false), (Priority::Bulk, true)] {
        let mut talk = talk(Side::Responder);
        talk.say(&vec![Frame::Open(Open::new(OpenKind::Stream)); 3]);
        for (key, ..) in opened(&talk.events()) {
            talk.session.set_priority(key, priority);
            talk.session.send(key, body(1, 0, 1 << 20)).unwrap();
        }
        poll(&mut talk);
        assert_eq!(small_first(&mut talk), passes, "{priority:?}");
    }
}

/// Bytes of the stream `id`, and of all bodies, over polls that find interactive work each time.
fn share(talk: &mut Dialogue, id: StreamId, mut work: impl FnMut(&mut Dialogue)) -> (usize, usize) {
    let (mut of_bulk, mut all) = (0, 0);
    for _ in 0..40 {
        work(talk);
        // A write ends where bulk is owed its share; the next one begins with that.
        let heard = [poll(talk), poll(talk)].concat();
        all += heard.len();
        of_bulk += turns(&heard).iter().filter(|turn| turn.0 == id).map(|turn| turn.1).sum::<usize>();
    }
    (of_bulk, all)
}

/// At least an eighth, but for one turn that is still owed; and not much more.
#[track_caller]
fn check_share((of_bulk, all): (usize, usize)) {
    assert!(all > 8 << 20, "{all}");
    assert!(of_bulk * 8 + 8 * (17 << 10) >= all, "{of_bulk} of {all}");
    assert!(of_bulk * 7 <= all, "{of_bulk} of {all}");
}

#[test]
fn bulk_keeps_an_eighth_under_endless_calls() {
    let mut talk = talk(Side::Initiator);
    sending(&mut talk, Priority::Bulk, LARGE);
    let got = share(&mut talk, StreamId::new(Side::Initiator, 0), |talk| {
        for _ in 0..300 {
            talk.session.open(request(1_000)).unwrap();
        }
    });
    check_share(got);
}

#[test]
fn bulk_keeps_an_eighth_under_endless_streams_and_answers() {
    let mut talk = talk(Side::Initiator);
    sending(&mut talk, Priority::Bulk, LARGE);
    for _ in 0..3 {
        sending(&mut talk, Priority::Interactive, LARGE);
    }
    let got = share(&mut talk, StreamId::new(Side::Initiator, 0), |_| {});
    check_share(got);
    let mut talk = self::talk(Side::Responder);
    talk.say(&[Frame::Open(Open::new(OpenKind::Stream))]);
    let key = opened(&talk.events())[0].0;
    talk.session.set_priority(key, Priority::Bulk);
    talk.session.send(key, body(1, 0, LARGE)).unwrap();
    let got = share(&mut talk, StreamId::new(Side::Initiator, 0), |talk| {
        talk.say(&vec![Frame::Open(Open::new(OpenKind::Request)); 300]);
        for (key, ..) in opened(&talk.events()) {
            talk.session.respond(key, Answer::from(body(1, 0, 1_000))).unwrap();
        }
    });
    check_share(got);
}

/// What bulk could not use is not owed to it.
#[test]
fn bulk_that_comes_late_has_no_claim_on_the_past() {
    let mut talk = talk(Side::Initiator);
    sending(&mut talk, Priority::Interactive, LARGE);
    for _ in 0..20 {
        poll(&mut talk);
    }
    sending(&mut talk, Priority::Bulk, LARGE);
    let heard = poll(&mut talk);
    assert_eq!(turns(&heard).first().map(|turn| turn.0), Some(StreamId::new(Side::Initiator, 0)));
}

#[test]
fn streams_of_a_class_go_by_turns() {
    for priority in [Priority::Interactive, Priority::Bulk] {
        let mut talk = talk(Side::Initiator);
        let keys = [(); 3].map(|()| talk.session.open(OpenCall { priority, ..stream() }).unwrap());
        poll(&mut talk);
        for key in keys {
            talk.session.send(key, body(1, 0, 100_000)).unwrap();
        }
        let heard = poll(&mut talk);
        let ids: Vec<u64> = turns(&heard).iter().map(|turn| turn.0.index()).collect();
        assert_eq!(ids[..9], [0, 1, 2, 0, 1, 2, 0, 1, 2], "{priority:?}");
        assert!(turns(&heard)[..9].iter().all(|turn| turn.1 <= 16 << 10), "{priority:?}");
    }
}

/// Of a class that is gone, none holds the others up.
#[test]
fn a_bulk_stream_that_is_given_up_owes_nothing() {
    let mut talk = talk(Side::Initiator);
    let key = sending(&mut talk, Priority::Bulk, LARGE);
    poll(&mut talk);
    talk.session.cancel(key);
    let id = StreamId::new(Side::Initiator, 0);
    talk.say(&[Frame::Trailers(Trailers { id, status: Status::Cancelled, text: "", metadata: Metadata::default() })]);
    sending(&mut talk, Priority::Interactive, LARGE);
    assert!(turns(&poll(&mut talk)).iter().all(|turn| turn.0.index() == 1));
    assert!(talk.session.error().is_none());
}
