//! A call that leaves before the peer's settings have come.

use bytes::Bytes;
use np_session::{EARLY_BYTES, Encoding, Event, OpenCall, OpenKind, Settings, Side, StreamId};
use np_testkit::{Dialogue, settings};
use np_types::{CloseCode, Codec, ConnectionError, Limits, Malformed, Metadata, Outcome};
use np_wire::{Frame, Open, Response};

use crate::help::{answers, failures, frames, open, request, stream};

fn early() -> Dialogue {
    let mut talk = Dialogue::start(Side::Initiator, &Limits::default());
    talk.session.allow_early_call();
    talk
}

/// How many calls are opened by what is sent now.
fn openings(talk: &mut Dialogue) -> usize {
    let heard = talk.hear();
    frames(&heard).iter().filter(|frame| matches!(frame, Frame::Open(_))).count()
}

fn least() -> Settings {
    let limits = Limits { max_message: 1_024, max_calls: 1, stream_window: 1_024, ..Limits::default() };
    settings(&Limits { connection_window: 2_048, ..limits })
}

fn answer(body: &'static [u8]) -> Frame<'static> {
    let id = StreamId::new(Side::Initiator, 0);
    let (codec, encoding, metadata) = (Codec::Bytes, Encoding::Plain, Metadata::new());
    Frame::Response(Response { id, codec, encoding, total: None, metadata, body })
}

#[test]
fn it_is_sent_behind_the_settings_and_answered_behind_the_peers() {
    let mut talk = early();
    let key = talk.session.open(request(EARLY_BYTES as usize)).unwrap();
    let heard = talk.hear();
    let heard = frames(&heard);
    assert!(
        matches!(heard[..], [Frame::Settings(_), Frame::Method { .. }, Frame::Open(Open { body, .. })]
        if body.len() as u64 == EARLY_BYTES),
        "{heard:?}"
    );
    talk.say(&[Frame::Settings(least())]);
    talk.say(&[answer(b"yes")]);
    assert_eq!(answers(&talk.events()), [(key, Bytes::from_static(b"yes"))]);
}

#[test]
fn without_leave_and_on_the_other_side_nothing_is_opened() {
    for side in [Side::Initiator, Side::Responder] {
        let mut talk = Dialogue::start(side, &Limits::default());
        if side == Side::Responder {
            talk.session.allow_early_call();
        }
        talk.session.open(request(1)).unwrap();
        assert_eq!(openings(&mut talk), 0, "{side:?}");
        talk.say(&[Frame::Settings(least())]);
        assert_eq!(openings(&mut talk), 1, "{side:?}");
    }
}

#[test]
fn what_not_every_peer_takes_waits_for_the_settings() {
    let compressed = OpenCall { encoding: Encoding::Lz4 { raw: 9 }, ..request(9) };
    let mut told = request(9);
    told.metadata.insert("key", b"value").unwrap();
    let one_way = open(OpenKind::OneWay, Bytes::from_static(b"x"));
    for call in [request(EARLY_BYTES as usize + 1), stream(), compressed, told, one_way] {
        let mut talk = early();
        talk.session.open(call.clone()).unwrap();
        assert_eq!(openings(&mut talk), 0, "{call:?}");
        talk.say(&[Frame::Settings(settings(&Limits::default()))]);
        assert_eq!(openings(&mut talk), 1, "{call:?}");
    }
}

#[test]
fn one_leaves_and_no_second() {
    let mut talk = early();
    for _ in 0..2 {
        talk.session.open(request(1)).unwrap();
    }
    assert_eq!(openings(&mut talk), 1);
    talk.say(&[Frame::Settings(settings(&Limits::default()))]);
    assert_eq!(openings(&mut talk), 1);
}

#[test]
fn its_bytes_are_a_part_of_the_windows_credit() {
    let mut talk = early();
    talk.session.open(request(EARLY_BYTES as usize)).unwrap();
    assert_eq!(openings(&mut talk), 1);
    talk.say(&[Frame::Settings(Settings { max_calls: 9, ..least() })]);
    for _ in 0..2 {
        talk.session.open(request(1_024)).unwrap();
    }
    assert_eq!(openings(&mut talk), 1, "of 2,048 bytes 512 are used up");
    talk.say(&[Frame::ConnectionCredit(512)]);
    assert_eq!(openings(&mut talk), 1);
}

#[test]
fn a_peer_that_refuses_this_side_has_not_acted_on_it() {
    let mut talk = early();
    let key = talk.session.open(request(5)).unwrap();
    assert_eq!(openings(&mut talk), 1);
    talk.say(&[Frame::Close { code: CloseCode::NotAllowed, text: "who are you" }]);
    let failed = failures(&talk.events());
    let [(failed, error)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!((*failed, error.outcome), (key, Outcome::NotProcessed));
    let closed = error.cause.as_deref();
    assert!(matches!(closed, Some(ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. })), "{closed:?}");
    // One that is just gone may have.
    let mut talk = early();
    talk.session.open(request(5)).unwrap();
    assert_eq!(openings(&mut talk), 1);
    talk.session.handle_eof();
    assert_eq!(failures(&talk.events())[0].1.outcome, Outcome::Unknown);
}

#[test]
fn settings_that_would_not_have_taken_it_end_the_connection() {
    let fine = least();
    for theirs in [
        Settings { max_message: 511, ..fine },
        Settings { max_calls: 0, ..fine },
        Settings { stream_window: 511, ..fine },
    ] {
        let mut talk = early();
        talk.session.open(request(1)).unwrap();
        assert_eq!(openings(&mut talk), 1);
        talk.say(&[Frame::Settings(theirs)]);
        let error = Malformed::Value("a setting below what an early call needs").into();
        assert_eq!(talk.session.error(), Some(&error), "{theirs:?}");
        // Who has sent none waits and sees.
        let mut talk = early();
        talk.say(&[Frame::Settings(theirs)]);
        assert!(matches!(talk.events()[..], [Event::Ready(_)]), "{theirs:?}");
    }
}

#[test]
fn a_peer_that_spoke_is_told_the_settings_before_it_is_cut() {
    let fine = Frame::Settings(settings(&Limits::default()));
    for (said, first) in [(&[fine][..], true), (&[Frame::Ping(1)][..], false)] {
        let mut talk = Dialogue::start(Side::Responder, &Limits::default());
        let mut bytes = talk.hand.seal(said);
        bytes.extend_from_slice(&[0, 18, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        talk.feed(&bytes);
        assert!(talk.session.error().is_some());
        let heard = talk.hear();
        let heard = frames(&heard);
        assert_eq!(matches!(heard[..], [Frame::Settings(_), Frame::Close { .. }]), first, "{heard:?}");
        assert_eq!(matches!(heard[..], [Frame::Close { .. }]), !first, "CLOSE alone where nothing was taken up");
    }
}
