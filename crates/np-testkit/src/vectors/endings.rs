//! Records that end a connection, and the code that its reader says so by.

use bytes::BytesMut;
use np_session::{Event, OpenCall, OpenKind, Side};
use np_types::{CloseCode, ConnectionError, Limits, Metadata, Status, Time};
use np_wire::{Encoding, Frame, Frames, Open, RemainingTime, Response, Settings, StreamId, Trailers, encode_frame};
use serde::Serialize;
use serde_json::Value;

use super::frames::of_settings;
use super::sessions::{outer, small};
use super::{hex, sorted};
use crate::Dialogue;

/// Records to a side whose peer has said its settings, and how that ends.
#[derive(Debug, Serialize)]
pub(super) struct Ending {
    about: &'static str,
    /// The side that reads them: `initiator` or `responder`. The initiator has opened one call, or one stream where `opened`
    /// says so, of the method np.echo.
    to: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened: Option<&'static str>,
    /// The settings of the reader; those of the writer are the same.
    settings: Value,
    /// The useless acts of each kind that the reader takes from a writer that does nothing else, where they are what ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    useless_acts: Option<u32>,
    plaintext: String,
    /// The code of the CLOSE that the reader sends.
    closes: &'static str,
    /// The limit that the text of this CLOSE names.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
}

pub(super) fn endings() -> Vec<Ending> {
    let mut all: Vec<_> = to_responder().into_iter().map(|(about, frames)| responder_ends(about, &frames)).collect();
    all.extend(first_records());
    all.extend(floods());
    all.extend(to_initiator().into_iter().map(|(about, kind, frames)| initiator_ends(about, kind, &frames)));
    all
}

/// More than the `stream_window`.
const LONG: &[u8] = &[0; 300];
const METHOD: Frame<'static> = Frame::Method { number: 0, name: "np.echo" };

fn first() -> StreamId {
    StreamId::new(Side::Initiator, 0)
}

fn request(total: Option<u32>, body: &[u8]) -> Frame<'_> {
    Frame::Open(Open { remaining: RemainingTime::Unlimited, total, body, ..Open::new(OpenKind::Request) })
}

const fn data(id: StreamId, body: &[u8], fin: bool, end: bool) -> Frame<'_> {
    Frame::Data { id, fin, end, body }
}

fn response(id: StreamId, total: Option<u32>, body: &[u8]) -> Frame<'_> {
    let metadata = Metadata::default();
    Frame::Response(Response { id, codec: Default::default(), encoding: Default::default(), total, metadata, body })
}

fn trailers(status: Status) -> Frame<'static> {
    Frame::Trailers(Trailers { id: first(), status, text: "", metadata: Metadata::default() })
}

fn compressed() -> Frame<'static> {
    Frame::Compressed { id: first(), encoding: Encoding::Lz4 { raw: 9 }, end: false, body: b"a" }
}

// tidy: flat table: the rules whose breach ends a connection, a row each
fn to_responder() -> Vec<(&'static str, Vec<Frame<'static>>)> {
    let stream = || Frame::Open(Open { remaining: RemainingTime::Unlimited, ..Open::new(OpenKind::Stream) });
    let unopened = StreamId::new(Side::Initiator, 1);
    let settings = Frame::Settings(crate::settings(&small()));
    vec![
        ("a method's number that was never given", vec![request(None, b"")]),
        ("a method's number out of turn", vec![METHOD, Frame::Method { number: 2, name: "a" }]),
        ("a method's number that was given before", vec![METHOD, METHOD]),
        ("settings again", vec![settings]),
        ("a key update where there is no key", vec![Frame::KeyUpdate]),
        ("a stream that was never opened", vec![METHOD, request(Some(9), b""), data(unopened, b"a", false, false)]),
        ("a response from the caller", vec![METHOD, request(Some(9), b""), response(first(), None, b"")]),
        ("trailers from the caller", vec![METHOD, stream(), trailers(Status::Ok)]),
        ("a stream with a body", vec![METHOD, Frame::Open(Open { body: b"a", ..Open::new(OpenKind::Stream) })]),
        ("a stream with a total", vec![METHOD, Frame::Open(Open { total: Some(1), ..Open::new(OpenKind::Stream) })]),
        ("a total that is not larger than the body", vec![METHOD, request(Some(2), b"ab")]),
        ("a total of nothing", vec![METHOD, request(Some(0), b"")]),
        ("a body longer than its total", vec![METHOD, request(Some(2), b""), data(first(), b"abc", true, true)]),
        ("a body shorter than its total", vec![METHOD, request(Some(4), b""), data(first(), b"abc", true, true)]),
        ("a body that ends without END", vec![METHOD, request(Some(2), b""), data(first(), b"ab", true, false)]),
        ("a body that ends without FIN", vec![METHOD, request(Some(2), b""), data(first(), b"ab", false, true)]),
        ("a large message with a body", vec![METHOD, request(Some(300), b"a")]),
        ("a large message whole", vec![METHOD, request(None, LONG)]),
        ("COMPRESSED within a request", vec![METHOD, request(Some(9), b""), compressed()]),
        ("COMPRESSED within a message", vec![METHOD, stream(), data(first(), b"a", false, false), compressed()]),
        (
            "a message that is to grow above max_message",
            vec![
                METHOD,
                stream(),
                Frame::Compressed { id: first(), encoding: Encoding::Lz4 { raw: 8_193 }, end: true, body: &LONG[..33] },
            ],
        ),
        ("bytes of a stream without credit", vec![METHOD, stream(), data(first(), LONG, false, true)]),
        ("data after FIN", vec![METHOD, stream(), data(first(), b"", true, false), data(first(), b"a", false, true)]),
        (
            "FIN within a message",
            vec![METHOD, stream(), data(first(), b"a", false, false), data(first(), b"", true, false)],
        ),
        ("a pong for no ping", vec![Frame::Pong(1)]),
        ("a go-away for more than was opened", vec![Frame::GoAway { accepted: 1, code: CloseCode::Drained }]),
        ("a go-away twice", vec![Frame::GoAway { accepted: 0, code: CloseCode::Drained }; 2]),
        (
            "a cancel for a stream of its own side",
            vec![Frame::Cancel { id: StreamId::new(Side::Responder, 0), status: Status::Cancelled }],
        ),
    ]
}

fn to_initiator() -> Vec<(&'static str, OpenKind, Vec<Frame<'static>>)> {
    use OpenKind::{Request, Stream};
    let (other, own) = (StreamId::new(Side::Initiator, 1), StreamId::new(Side::Responder, 0));
    vec![
        ("a response for a stream that was never opened", Request, vec![response(other, None, b"")]),
        ("a response on a stream of the callee's", Request, vec![response(own, None, b"")]),
        ("trailers ok for a request", Request, vec![trailers(Status::Ok)]),
        ("a cancel from the callee", Request, vec![Frame::Cancel { id: first(), status: Status::Cancelled }]),
        ("data before the response", Request, vec![data(first(), b"abc", true, true)]),
        ("a second response", Request, vec![response(first(), Some(9), b"a"), response(first(), None, b"")]),
        ("a response above max_message", Request, vec![response(first(), Some(8_193), b"")]),
        ("a large response with a body", Request, vec![response(first(), Some(300), b"a")]),
        ("a large response whole", Request, vec![response(first(), None, LONG)]),
        ("a response on a stream", Stream, vec![response(first(), None, b"")]),
        ("FIN from the callee", Stream, vec![data(first(), b"", true, false)]),
        ("trailers ok within a message", Stream, vec![data(first(), b"a", false, false), trailers(Status::Ok)]),
        (
            "a go-away for two where one was opened",
            Request,
            vec![Frame::GoAway { accepted: 2, code: CloseCode::Drained }],
        ),
    ]
}

fn first_records() -> Vec<Ending> {
    let good = crate::settings(&small());
    let settings = |settings: Settings| vec![Frame::Settings(settings)];
    [
        ("first record: a ping", vec![Frame::Ping(1)]),
        ("first record: padding alone", vec![Frame::Padding(3)]),
        ("first record: settings twice", vec![Frame::Settings(good), Frame::Settings(good)]),
        ("first record: settings and a ping", vec![Frame::Settings(good), Frame::Ping(1)]),
        ("first record: a stream_window of 0", settings(Settings { stream_window: 0, ..good })),
        (
            "first record: a connection_window below twice the stream_window",
            settings(Settings { connection_window: 511, ..good }),
        ),
    ]
    .map(|(about, frames)| {
        let mut talk = Dialogue::start(Side::Responder, &small());
        talk.say(&frames);
        ending(about, "responder", None, &mut talk, &frames)
    })
    .into()
}

/// The fewest useless acts of a kind that a reader may take.
const ACTS: u32 = 256;

/// One act more than the budget of its kind: the last alone ends the connection.
fn floods() -> [Ending; 3] {
    let stream = Frame::Open(Open { remaining: RemainingTime::Unlimited, ..Open::new(OpenKind::Stream) });
    let empty = [METHOD, stream].into_iter().chain((0..=ACTS).map(|_| data(first(), b"", false, false)));
    [
        ("more pings than are of use", (0..=ACTS).map(|at| Frame::Ping(u64::from(at) + 1)).collect()),
        ("more allowances than are of use", (0..=ACTS).map(Frame::CallAllowance).collect()),
        ("more empty data than is of use", empty.collect::<Vec<_>>()),
    ]
    .map(|(about, frames)| {
        let limits = Limits { useless_acts: ACTS, ..small() };
        let [mut fewer, mut talk] = [0, 1].map(|_| Dialogue::open_with(Side::Responder, &limits, &small()));
        fewer.say(frames.split_last().map(|(_, before)| before).unwrap_or_default());
        assert!(fewer.session.error().is_none(), "{about}: a frame less ends it too");
        talk.say(&frames);
        Ending { useless_acts: Some(ACTS), ..ending(about, "responder", None, &mut talk, &frames) }
    })
}

fn responder_ends(about: &'static str, frames: &[Frame<'_>]) -> Ending {
    let mut talk = Dialogue::open_with(Side::Responder, &small(), &small());
    if frames == [Frame::KeyUpdate] {
        // Where records are sealed it is no error.
        let [_, server] = outer();
        talk.session = server.into_session(small(), Time::ZERO).expect("it is done");
        let mut input = BytesMut::from(&unsealed(&[Frame::Settings(crate::settings(&small()))])[..]);
        input.extend_from_slice(&unsealed(frames));
        talk.session.handle_bytes(Time::ZERO, &mut input);
        return ending(about, "responder", None, &mut talk, frames);
    }
    talk.say(frames);
    ending(about, "responder", None, &mut talk, frames)
}

fn unsealed(frames: &[Frame<'_>]) -> Vec<u8> {
    let plain = plaintext(frames);
    [&(plain.len() as u16).to_be_bytes()[..], &plain].concat()
}

fn initiator_ends(about: &'static str, kind: OpenKind, frames: &[Frame<'_>]) -> Ending {
    let mut talk = Dialogue::open_with(Side::Initiator, &small(), &small());
    let call = OpenCall::new(kind, "np.echo".parse().expect("a name"));
    talk.session.open(call).expect("the session stands");
    talk.hear();
    talk.say(frames);
    let opened = if kind == OpenKind::Stream { "STREAM" } else { "REQUEST" };
    ending(about, "initiator", Some(opened), &mut talk, frames)
}

fn ending(
    about: &'static str,
    to: &'static str,
    opened: Option<&'static str>,
    talk: &mut Dialogue,
    frames: &[Frame<'_>],
) -> Ending {
    let Some(Event::Closed(error)) = talk.events().pop() else {
        panic!("{about}: the connection goes on");
    };
    let limit = if let ConnectionError::Limit(hit) = &error { Some(hit.limit.name()) } else { None };
    if let Some(limit) = limit {
        let heard = talk.hear();
        let last = Frames::new(&heard).last();
        assert!(matches!(last, Some(Ok(Frame::Close { text, .. })) if text.contains(limit)), "{about}: {last:?}");
    }
    let (settings, plaintext) = (sorted(of_settings(&crate::settings(&small()))), hex(&plaintext(frames)));
    let closes = error.close_code().name();
    Ending { about, to, opened, settings, useless_acts: None, plaintext, closes, limit }
}

fn plaintext(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut plain = Vec::new();
    frames.iter().for_each(|frame| encode_frame(&mut plain, frame));
    plain
}
