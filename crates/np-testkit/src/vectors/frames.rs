//! Numbers, and a frame of every kind with every field that it may have; then bytes that are no frame.

use np_types::{CloseCode, Codec, LimitHit, LimitName, Malformed, Metadata, Status};
use np_wire::{
    Encoding, Frame, Open, OpenKind, Reader, RemainingTime, Response, Settings, Side, StreamId, Trailers, WireError,
    decode_frame, encode_frame, put_varint,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{hex, sorted};

/// A number and its only form.
#[derive(Debug, Serialize)]
pub(super) struct Number {
    value: u64,
    bytes: String,
}

pub(super) fn numbers() -> Vec<Number> {
    let edges = [1 << 6, 1 << 14, 1 << 30, 1 << 62];
    let values = edges.into_iter().flat_map(|edge: u64| [edge - 1, edge]).filter(|value| *value < 1 << 62);
    [0, 37].into_iter().chain(values).map(|value| Number { value, bytes: written(value) }).collect()
}

fn written(value: u64) -> String {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, value);
    assert_eq!(Reader::new(&bytes).varint("a number"), Ok(value));
    hex(&bytes)
}

/// A frame, or bytes that are none.
#[derive(Debug, Serialize)]
pub(super) struct FrameVector {
    about: &'static str,
    bytes: String,
    /// Its kind, stream and fields as the page names them; none where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<Value>,
    /// The code that ends the connection, and why; none where the frame is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

pub(super) fn frames() -> Vec<FrameVector> {
    let mut all: Vec<_> = taken().iter().map(|(about, frame)| good(about, frame)).collect();
    all.extend(skipped());
    all.extend(refused());
    all
}

fn good(about: &'static str, frame: &Frame<'_>) -> FrameVector {
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, frame);
    assert_eq!(decode_frame(&bytes), Ok((frame.clone(), bytes.len())), "{about}");
    FrameVector { about, bytes: hex(&bytes), frame: Some(sorted(described(frame))), refused: None }
}

const SETTINGS: Settings = Settings {
    max_message: 16 << 20,
    max_calls: 1_024,
    stream_window: 262_144,
    connection_window: 1 << 20,
    encodings: 0,
};

fn id(side: Side, index: u64) -> StreamId {
    StreamId::new(side, index)
}

fn pairs(pairs: &[(&str, &[u8])]) -> Metadata {
    let mut metadata = Metadata::default();
    pairs.iter().for_each(|(key, value)| metadata.insert(key, value).expect("a good pair"));
    metadata
}

fn taken() -> Vec<(&'static str, Frame<'static>)> {
    let (first, second) = (id(Side::Initiator, 0), id(Side::Responder, 70));
    let mut all = vec![
        ("padding of three zeros", Frame::Padding(3)),
        ("padding of no zeros", Frame::Padding(0)),
        ("the default settings without encodings", Frame::Settings(SETTINGS)),
        ("settings with encodings 1 and 2", Frame::Settings(Settings { encodings: 6, ..SETTINGS })),
        ("a close without text", Frame::Close { code: CloseCode::Normal, text: "" }),
        (
            "a close with a code of two bytes, and text",
            Frame::Close { code: CloseCode::HandshakeTimeout, text: "zu spät" },
        ),
        ("a close with a code that nobody knows", Frame::Close { code: CloseCode::from_wire(65_535), text: "" }),
        ("a go-away", Frame::GoAway { accepted: 300, code: CloseCode::Drained }),
        ("a ping", Frame::Ping(9)),
        ("a ping with the largest number", Frame::Ping((1 << 62) - 1)),
        ("a pong", Frame::Pong(9)),
        ("a key update", Frame::KeyUpdate),
        ("a method's name", Frame::Method { number: 64, name: "shop/orders.list_all-2" }),
        ("credit of the connection", Frame::ConnectionCredit(u32::MAX)),
        ("an allowance of no calls", Frame::CallAllowance(0)),
        ("credit of a stream", Frame::StreamCredit { id: second, bytes: 16_384 }),
        ("a cancel", Frame::Cancel { id: first, status: Status::DeadlineExceeded }),
        ("data", Frame::Data { id: second, fin: false, end: false, body: b"more" }),
        ("data that ends a message", Frame::Data { id: first, fin: false, end: true, body: b"" }),
        ("data that ends a direction", Frame::Data { id: first, fin: true, end: false, body: b"" }),
        ("data that ends both", Frame::Data { id: first, fin: true, end: true, body: b"last" }),
    ];
    all.extend(openings());
    all.extend(answers(first, second));
    all
}

fn openings() -> Vec<(&'static str, Frame<'static>)> {
    let of = |kind| Open::new(kind);
    let (request, one_way, stream) = (of(OpenKind::Request), of(OpenKind::OneWay), of(OpenKind::Stream));
    let lz4 = Encoding::Lz4 { raw: 70_000 };
    vec![
        ("a request with the default deadline", Frame::Open(Open { body: b"hello", ..request.clone() })),
        (
            "a request without a deadline, in JSON",
            Frame::Open(Open {
                method: 3,
                codec: Codec::Json,
                remaining: RemainingTime::Unlimited,
                body: b"{}",
                ..request.clone()
            }),
        ),
        ("a request with no time left", Frame::Open(Open { remaining: RemainingTime::Millis(0), ..request.clone() })),
        (
            "a request with 250 ms left, the first bytes of 100,000, and metadata",
            Frame::Open(Open {
                method: 1_023,
                codec: Codec::Postcard,
                remaining: RemainingTime::Millis(250),
                total: Some(100_000),
                metadata: pairs(&[("traceparent", b"00-ab"), ("empty", b"")]),
                body: b"the first bytes",
                ..request.clone()
            }),
        ),
        ("a large request, which waits for its grant", Frame::Open(Open { total: Some(3 << 20), ..request.clone() })),
        ("a request in LZ4", Frame::Open(Open { encoding: lz4, body: b"lz4", ..request.clone() })),
        (
            "a request in an encoding that nobody knows",
            Frame::Open(Open {
                encoding: Encoding::Other { number: 15, raw: 9 },
                codec: Codec::MessagePack,
                ..request
            }),
        ),
        ("a one-way message", Frame::Open(Open { body: b"note", ..one_way })),
        ("a stream", Frame::Open(Open { codec: Codec::Json, remaining: RemainingTime::Unlimited, ..stream.clone() })),
        ("a stream with metadata", Frame::Open(Open { metadata: pairs(&[("np-schema", &[7; 8])]), ..stream })),
    ]
}

fn answers(first: StreamId, second: StreamId) -> Vec<(&'static str, Frame<'static>)> {
    let response = Response {
        id: first,
        codec: Codec::Bytes,
        encoding: Encoding::Plain,
        total: None,
        metadata: Metadata::default(),
        body: b"",
    };
    let zstd = Encoding::Zstd { raw: 500 };
    vec![
        ("an empty response", Frame::Response(response.clone())),
        (
            "the first bytes of a response in Zstandard, with metadata",
            Frame::Response(Response {
                id: second,
                codec: Codec::Json,
                encoding: zstd,
                total: Some(200),
                metadata: pairs(&[("cost", b"3")]),
                body: b"first",
            }),
        ),
        (
            "trailers of a stream that ended well",
            Frame::Trailers(Trailers { id: first, status: Status::Ok, text: "", metadata: Metadata::default() }),
        ),
        (
            "trailers with text and metadata",
            Frame::Trailers(Trailers {
                id: second,
                status: Status::Failed,
                text: "out of stock",
                metadata: pairs(&[("retry-after", b"60")]),
            }),
        ),
        (
            "trailers with a status that nobody knows",
            Frame::Trailers(Trailers {
                id: first,
                status: Status::from_wire(65_535),
                text: "",
                metadata: Metadata::default(),
            }),
        ),
        ("a compressed message", Frame::Compressed { id: first, encoding: zstd, end: true, body: b"zstd" }),
        (
            "the first bytes of a compressed message",
            Frame::Compressed { id: second, encoding: Encoding::Lz4 { raw: 70_000 }, end: false, body: b"lz4" },
        ),
    ]
}

/// What a reader skips. Their bytes are put together here, since no writer of this version makes them.
fn skipped() -> Vec<FrameVector> {
    let mut settings = Vec::new();
    SETTINGS.encode(&mut settings);
    settings.extend([0x40, 0x4d, 7]);
    [
        ("an unknown kind without a stream id", frame_of(0x0f << 3 | 5, b"abcd")),
        ("an unknown kind with a stream id", [&[0xf8, 0x40, 0x46], &b"\x01a"[..]].concat()),
        ("settings with an id that nobody knows", frame_of(0x01 << 3, &settings)),
        ("a request with an extension entry that nobody knows", extended(&[9, 2, 0, 0, 1, 3, 1, b'a', 0], b"body")),
        ("an extension that says nothing", extended(&[], b"hi")),
    ]
    .map(|(about, bytes)| {
        let (frame, size) = decode_frame(&bytes).expect(about);
        assert_eq!(size, bytes.len(), "{about}");
        FrameVector { about, bytes: hex(&bytes), frame: Some(sorted(described(&frame))), refused: None }
    })
    .into()
}

/// A frame without a stream id from its first byte and its payload.
fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first][..], &prefixed(payload)].concat()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out
}

/// A request with the default deadline and these extension entries.
fn extended(entries: &[u8], body: &[u8]) -> Vec<u8> {
    frame_of(0x08 << 3 | 5, &[&[0, 0][..], &prefixed(entries), body].concat())
}

/// A request with these keys of metadata, whose values are zeros.
fn with_metadata(pairs: &[(&[u8], usize)]) -> Vec<u8> {
    let pairs: Vec<u8> =
        pairs.iter().flat_map(|(key, size)| [prefixed(key), prefixed(&vec![0; *size])].concat()).collect();
    extended(&[&[1][..], &prefixed(&pairs)].concat(), b"")
}

/// Bytes that are no frame, by hand, and why: a row that breaks another rule than it names tests nothing.
// tidy: flat table: bytes that are refused, a row each
const BROKEN: &[(&str, &str, Malformed)] = &[
    ("padding that is not zero", "0003000100", Malformed::Value("padding")),
    ("a flag that its kind does not have", "210109", Malformed::Value("the flags of a frame")),
    ("a number in more bytes than it needs", "20024009", Malformed::LongVarint),
    ("a length in more bytes than it needs", "20400109", Malformed::LongVarint),
    ("a stream id in more bytes than it needs", "88400000", Malformed::LongVarint),
    ("a frame that is cut short", "200409", Malformed::Truncated("a frame")),
    ("a payload that is cut short", "180101", Malformed::Truncated("a code")),
    ("bytes behind the last field", "20020909", Malformed::Trailing("a frame")),
    ("a key update with a payload", "300100", Malformed::Trailing("a frame")),
    ("a close code above 65,535", "100480010000", Malformed::Value("a code")),
    ("the code of a go-away above 65,535", "18050080010000", Malformed::Value("a code")),
    ("the status of trailers above 65,535", "90000480010000", Malformed::Value("a status")),
    ("the status of a cancel above 65,535", "98000480010000", Malformed::Value("a status")),
    ("a credit above 32 bits", "5808c000000100000000", Malformed::Value("a credit")),
    ("a text that is not UTF-8", "100200ff", Malformed::Text("a text")),
    ("settings without the fourth", "0806010902090309", Malformed::Truncated("the settings")),
    ("settings whose ids do not ascend", "08080209010903090412", Malformed::Value("the order of the settings")),
    ("a setting that stands twice", "080a01090109020903090412", Malformed::Duplicate("a settings id")),
    ("a setting above 32 bits", "080f01c000000100000000020903090412", Malformed::Value("a setting")),
    ("encodings of none", "080a01090209030904120500", Malformed::Value("a setting that says nothing")),
    ("metadata that stands twice", "450700000401000100", Malformed::Duplicate("metadata")),
    ("a key of metadata with a capital", "45080000050103014100", Malformed::Text("a metadata key")),
    ("a key of metadata without a letter", "450700000401020000", Malformed::Text("a metadata key")),
    ("a compressed message without an encoding", "a80003000961", Malformed::Value("an encoding")),
    ("a compressed message with a codec", "a80003110961", Malformed::Value("a codec")),
];

fn refused() -> Vec<FrameVector> {
    let keys: Vec<_> = (0..33u8).map(|at| [b'k', b'a' + at % 26, b'0' + at / 26]).collect();
    let keys: Vec<(&[u8], usize)> = keys.iter().map(|key| (&key[..], 0)).collect();
    let settings: Vec<u8> = (1..=33).flat_map(|at| [at, 9]).collect();
    let over = |limit, allowed, seen| WireError::Limit(LimitHit { limit, allowed, seen });
    let broken = |malformed| WireError::Malformed(malformed);
    let made = [
        (
            "a text of 1,025 bytes",
            frame_of(0x02 << 3, &[&[0][..], &[b'a'; 1_025]].concat()),
            over(LimitName::Text, 1_024, 1_025),
        ),
        (
            "a method's name of 129 bytes",
            frame_of(0x07 << 3, &[&[0][..], &[b'a'; 129]].concat()),
            over(LimitName::MethodName, 128, 129),
        ),
        ("33 settings", frame_of(0x01 << 3, &settings), over(LimitName::Settings, 32, 33)),
        (
            "a key of metadata twice",
            with_metadata(&[(b"a", 0), (b"a", 0)]),
            broken(Malformed::Duplicate("a metadata key")),
        ),
        (
            "a key of metadata of 65 bytes",
            with_metadata(&[(&[b'a'; 65], 0)]),
            broken(Malformed::Text("a metadata key")),
        ),
        ("33 pairs of metadata", with_metadata(&keys), over(LimitName::Metadata, 32, 33)),
    ];
    let made = made.map(|(about, bytes, error)| no_frame(about, hex(&bytes), error));
    let broken = BROKEN.iter().map(|(about, digits, error)| no_frame(about, (*digits).to_owned(), broken(*error)));
    broken.chain(made).collect()
}

fn no_frame(about: &'static str, digits: String, error: WireError) -> FrameVector {
    assert_eq!(decode_frame(&super::unhex(&digits)), Err(error), "{about}");
    FrameVector { about, bytes: digits, frame: None, refused: Some(told(error)) }
}

fn told(error: WireError) -> String {
    let error = np_types::ConnectionError::from(error);
    format!("{}: {error}", error.close_code())
}

/// A frame as the page names its parts.
pub(super) fn described(frame: &Frame<'_>) -> Value {
    match frame {
        Frame::Padding(zeros) => json!({"kind": "PADDING", "zeros": zeros}),
        Frame::Settings(settings) => json!({"kind": "SETTINGS", "settings": of_settings(settings)}),
        Frame::Close { code, text } => json!({"kind": "CLOSE", "code": code.to_wire(), "text": text}),
        Frame::GoAway { accepted, code } => json!({"kind": "GO_AWAY", "accepted": accepted, "code": code.to_wire()}),
        Frame::Ping(token) => json!({"kind": "PING", "token": token}),
        Frame::Pong(token) => json!({"kind": "PONG", "token": token}),
        Frame::KeyUpdate => json!({"kind": "KEY_UPDATE"}),
        Frame::Method { number, name } => json!({"kind": "METHOD", "number": number, "name": name}),
        Frame::Open(open) => opening(open),
        Frame::ConnectionCredit(bytes) => json!({"kind": "CONNECTION_CREDIT", "bytes": bytes}),
        Frame::CallAllowance(calls) => json!({"kind": "CALL_ALLOWANCE", "calls": calls}),
        Frame::Response(response) => {
            let Response { id, codec, encoding, total, metadata, body } = response;
            let head = head("RESPONSE", *codec, *encoding, *total, metadata, body);
            with(head, "stream", json!(id.to_wire()))
        }
        Frame::Data { id, fin, end, body } => {
            json!({"kind": "DATA", "stream": id.to_wire(), "fin": fin, "end": end, "body": hex(body)})
        }
        Frame::Trailers(trailers) => json!({
            "kind": "TRAILERS", "stream": trailers.id.to_wire(), "status": trailers.status.to_wire(),
            "metadata": of_metadata(&trailers.metadata), "text": trailers.text,
        }),
        Frame::Cancel { id, status } => {
            json!({"kind": "CANCEL", "stream": id.to_wire(), "status": status.to_wire()})
        }
        Frame::StreamCredit { id, bytes } => {
            json!({"kind": "STREAM_CREDIT", "stream": id.to_wire(), "bytes": bytes})
        }
        Frame::Compressed { id, encoding, end, body } => json!({
            "kind": "COMPRESSED", "stream": id.to_wire(), "encoding": encoding.to_wire(), "size": encoding.raw_size(),
            "end": end, "body": hex(body),
        }),
        _ => json!({"kind": "UNKNOWN"}),
    }
}

fn opening(open: &Open<'_>) -> Value {
    let kind = match open.kind {
        OpenKind::Request => "REQUEST",
        OpenKind::OneWay => "ONE_WAY",
        OpenKind::Stream => "STREAM",
    };
    let remaining = match open.remaining {
        RemainingTime::Default => json!("default"),
        RemainingTime::Unlimited => Value::Null,
        RemainingTime::Millis(millis) => json!(millis),
    };
    let head = head(kind, open.codec, open.encoding, open.total, &open.metadata, open.body);
    with(with(head, "method", json!(open.method)), "remaining_ms", remaining)
}

fn head(kind: &str, codec: Codec, encoding: Encoding, total: Option<u32>, metadata: &Metadata, body: &[u8]) -> Value {
    json!({
        "kind": kind, "codec": codec.to_wire(), "encoding": encoding.to_wire(), "size": encoding.raw_size(),
        "total": total, "metadata": of_metadata(metadata), "body": hex(body),
    })
}

fn with(mut value: Value, name: &str, field: Value) -> Value {
    value[name] = field;
    value
}

pub(super) fn of_settings(settings: &Settings) -> Value {
    json!({
        "max_message": settings.max_message, "max_calls": settings.max_calls,
        "stream_window": settings.stream_window, "connection_window": settings.connection_window,
        "encodings": settings.encodings,
    })
}

fn of_metadata(metadata: &Metadata) -> Value {
    metadata.iter().map(|(key, value)| json!([key, hex(value)])).collect()
}

/// The frames of a record's plaintext, one by one.
pub(super) fn described_all(plain: &[u8]) -> Vec<Value> {
    np_wire::Frames::new(plain).map(|frame| sorted(described(&frame.expect("a session's own frame")))).collect()
}
