//! The bytes of version 1, written by hand from `docs/PROTOCOL.md`. A change here is a change of the protocol.

use np_types::{CloseCode, Codec, Metadata, Status, UnixMillis};
use np_wire::{
    Choices, Encoding, Frame, FrameKind, HandshakeFrame, Open, OpenKind, Preface, Refusal, RemainingTime, Response,
    Settings, Side, StreamId, Trailers, decode_frame, decode_handshake_frame, encode_frame, encode_handshake_message,
    encode_refusal,
};

fn bytes_of(hex: &[&str]) -> Vec<u8> {
    let digits = hex.concat();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

#[track_caller]
fn check(frame: &Frame<'_>, hex: &[&str]) {
    let expected = bytes_of(hex);
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, frame);
    assert_eq!(bytes, expected, "encoded {frame:?}\n left {bytes:02x?}\nright {expected:02x?}");
    assert_eq!(decode_frame(&expected), Ok((frame.clone(), expected.len())));
}

fn one_pair(key: &str, value: &[u8]) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.insert(key, value).unwrap();
    metadata
}

#[test]
fn kinds() {
    let numbers: Vec<u8> = FrameKind::ALL.iter().map(|kind| kind.to_wire()).collect();
    let below = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c];
    let with_stream = [0x10, 0x11, 0x12, 0x13, 0x14, 0x15];
    assert_eq!(numbers, [&below[..], &with_stream].concat());
    for kind in FrameKind::ALL {
        assert_eq!(FrameKind::from_wire(kind.to_wire()), Some(*kind));
        assert_eq!(kind.has_stream(), with_stream.contains(&kind.to_wire()), "{kind:?}");
    }
}

#[test]
fn padding() {
    check(
        &Frame::Padding(3),
        &[
            "00",     // kind 0x00, no flags
            "03",     // payload: 3 bytes
            "000000", // zeros
        ],
    );
}

#[test]
fn settings() {
    let settings = Settings {
        max_message: 16_777_216,
        max_calls: 1_024,
        stream_window: 262_144,
        connection_window: 1_048_576,
        encodings: 0,
    };
    check(
        &Frame::Settings(Settings { encodings: 6, ..settings }),
        &[
            "08", // kind 0x01, no flags
            "14", // payload: 20 bytes
            "01", "81000000", // id 1, longest message: 2^24
            "02", "4400", // id 2, open calls: 1,024
            "03", "80040000", // id 3, window of a stream: 2^18
            "04", "80100000", // id 4, window of the connection: 2^20
            "05", "06", // id 5, encodings: 1 and 2
        ],
    );
    check(
        &Frame::Settings(settings),
        &[
            "08", // kind 0x01, no flags
            "12", // payload: 18 bytes
            "01", "81000000", // id 1, longest message: 2^24
            "02", "4400", // id 2, open calls: 1,024
            "03", "80040000", // id 3, window of a stream: 2^18
            "04", "80100000", // id 4, window of the connection: 2^20
        ],
    );
}

#[test]
fn close() {
    check(
        &Frame::Close { code: CloseCode::HandshakeTimeout, text: "late" },
        &[
            "10",       // kind 0x02, no flags
            "06",       // payload: 6 bytes
            "4040",     // code 0x40
            "6c617465", // text
        ],
    );
}

#[test]
fn go_away() {
    check(
        &Frame::GoAway { accepted: 300, code: CloseCode::Drained },
        &[
            "18",   // kind 0x03, no flags
            "03",   // payload: 3 bytes
            "412c", // streams accepted: 300
            "01",   // code 0x01
        ],
    );
}

#[test]
fn ping_and_pong() {
    check(
        &Frame::Ping(9),
        &[
            "20", // kind 0x04, no flags
            "01", // payload: 1 byte
            "09", // token
        ],
    );
    check(
        &Frame::Pong(4_611_686_018_427_387_903),
        &[
            "28",               // kind 0x05, no flags
            "08",               // payload: 8 bytes
            "ffffffffffffffff", // token: 2^62 - 1
        ],
    );
}

#[test]
fn key_update() {
    check(
        &Frame::KeyUpdate,
        &[
            "30", // kind 0x06, no flags
            "00", // no payload
        ],
    );
}

#[test]
fn method() {
    check(
        &Frame::Method { number: 5, name: "np.echo" },
        &[
            "38",             // kind 0x07, no flags
            "08",             // payload: 8 bytes
            "05",             // number 5
            "6e702e6563686f", // name
        ],
    );
}

#[test]
fn request_with_defaults() {
    check(
        &Frame::Open(Open { method: 5, codec: Codec::Postcard, body: b"hi", ..Open::new(OpenKind::Request) }),
        &[
            "41",   // kind 0x08, flag 1: the default deadline
            "04",   // payload: 4 bytes
            "05",   // method 5
            "01",   // encoding 0 (plain), codec 1 (postcard)
            "6869", // body
        ],
    );
}

#[test]
fn request_with_every_field() {
    check(
        &Frame::Open(Open {
            kind: OpenKind::Request,
            method: 64,
            codec: Codec::Json,
            encoding: Encoding::Zstd { raw: 100_000 },
            remaining: RemainingTime::Millis(1_500),
            total: Some(70_000),
            metadata: one_pair("k", &[0x0a, 0x0b]),
            body: b"ab",
        }),
        &[
            "46",       // kind 0x08, flag 2: more follows, flag 4: an extension
            "17",       // payload: 23 bytes
            "4040",     // method 64
            "22",       // encoding 2 (Zstandard), codec 2 (JSON)
            "800186a0", // bytes once decompressed: 100,000
            "45dd",     // 1,500 ms are left, plus one
            "80011170", // the message has 70,000 bytes
            "07",       // extension: 7 bytes
            "01", "05", // entry 1 (metadata): 5 bytes
            "01", "6b", // key: 1 byte, "k"
            "02", "0a0b", // value: 2 bytes
            "6162", // first bytes of the body
        ],
    );
}

#[test]
fn one_way() {
    check(
        &Frame::Open(Open {
            codec: Codec::MessagePack,
            encoding: Encoding::Lz4 { raw: 5 },
            remaining: RemainingTime::Unlimited,
            body: b"x",
            ..Open::new(OpenKind::OneWay)
        }),
        &[
            "48", // kind 0x09, no flags
            "05", // payload: 5 bytes
            "00", // method 0
            "13", // encoding 1 (LZ4), codec 3 (MessagePack)
            "05", // bytes once decompressed: 5
            "00", // no deadline
            "78", // body
        ],
    );
}

#[test]
fn stream() {
    check(
        &Frame::Open(Open { method: 7, remaining: RemainingTime::Millis(0), ..Open::new(OpenKind::Stream) }),
        &[
            "50", // kind 0x0a, no flags
            "03", // payload: 3 bytes
            "07", // method 7
            "00", // encoding 0 (plain), codec 0 (bytes)
            "01", // 0 ms are left, plus one
        ],
    );
    check(
        &Frame::Open(Open { method: 7, ..Open::new(OpenKind::Stream) }),
        &[
            "51", // kind 0x0a, flag 1: the default deadline
            "02", // payload: 2 bytes
            "07", // method 7
            "00", // encoding 0 (plain), codec 0 (bytes)
        ],
    );
}

#[test]
fn connection_credit_and_call_allowance() {
    check(
        &Frame::ConnectionCredit(65_536),
        &[
            "58",       // kind 0x0b, no flags
            "04",       // payload: 4 bytes
            "80010000", // 65,536 more bytes
        ],
    );
    check(
        &Frame::CallAllowance(2_048),
        &[
            "60",   // kind 0x0c, no flags
            "02",   // payload: 2 bytes
            "4800", // 2,048 calls
        ],
    );
}

#[test]
fn response() {
    let plain = Response {
        id: StreamId::new(Side::Responder, 1),
        codec: Codec::Json,
        encoding: Encoding::Plain,
        total: None,
        metadata: Metadata::default(),
        body: b"{}",
    };
    check(
        &Frame::Response(plain.clone()),
        &[
            "80",   // kind 0x10, no flags
            "03",   // stream: the responder's second
            "03",   // payload: 3 bytes
            "02",   // encoding 0 (plain), codec 2 (JSON)
            "7b7d", // body
        ],
    );
    check(
        &Frame::Response(Response {
            id: StreamId::new(Side::Initiator, 32),
            codec: Codec::Bytes,
            encoding: Encoding::Lz4 { raw: 200_000 },
            total: Some(150_000),
            metadata: one_pair("k", b""),
            body: b"",
        }),
        &[
            "86",       // kind 0x10, flag 2: more follows, flag 4: an extension
            "4040",     // stream: the initiator's 33rd
            "0f",       // payload: 15 bytes
            "10",       // encoding 1 (LZ4), codec 0 (bytes)
            "80030d40", // bytes once decompressed: 200,000
            "800249f0", // the message has 150,000 bytes
            "05",       // extension: 5 bytes
            "01", "03", // entry 1 (metadata): 3 bytes
            "01", "6b", // key: 1 byte, "k"
            "00", // value: empty
        ],
    );
}

#[test]
fn data() {
    let id = StreamId::new(Side::Initiator, 2);
    let tail = "04".to_owned() // stream: the initiator's third
        + "02" // payload: 2 bytes
        + "6869"; // body
    check(&Frame::Data { id, fin: false, end: false, body: b"hi" }, &["88", &tail]); // kind 0x11, no flags
    check(&Frame::Data { id, fin: true, end: false, body: b"hi" }, &["89", &tail]); // flag 1: the direction ends
    check(&Frame::Data { id, fin: false, end: true, body: b"hi" }, &["8a", &tail]); // flag 2: the message ends
    check(&Frame::Data { id, fin: true, end: true, body: b"hi" }, &["8b", &tail]); // both
}

#[test]
fn trailers() {
    let plain = Trailers {
        id: StreamId::new(Side::Initiator, 0),
        status: Status::Unavailable,
        text: "busy",
        metadata: Metadata::default(),
    };
    check(
        &Frame::Trailers(plain.clone()),
        &[
            "90",       // kind 0x12, no flags
            "00",       // stream: the initiator's first
            "05",       // payload: 5 bytes
            "07",       // status 7
            "62757379", // text
        ],
    );
    check(
        &Frame::Trailers(Trailers { metadata: one_pair("k", b"v"), ..plain }),
        &[
            "94", // kind 0x12, flag 4: an extension
            "00", // stream: the initiator's first
            "0c", // payload: 12 bytes
            "07", // status 7
            "06", // extension: 6 bytes
            "01", "04", // entry 1 (metadata): 4 bytes
            "01", "6b", // key: 1 byte, "k"
            "01", "76",       // value: 1 byte
            "62757379", // text
        ],
    );
}

#[test]
fn cancel_and_stream_credit() {
    let id = StreamId::new(Side::Responder, 0);
    check(
        &Frame::Cancel { id, status: Status::Cancelled },
        &[
            "98", // kind 0x13, no flags
            "01", // stream: the responder's first
            "01", // payload: 1 byte
            "02", // status 2
        ],
    );
    check(
        &Frame::StreamCredit { id, bytes: 262_144 },
        &[
            "a0",       // kind 0x14, no flags
            "01",       // stream: the responder's first
            "04",       // payload: 4 bytes
            "80040000", // 262,144 more bytes
        ],
    );
    check(
        &Frame::Compressed { id, encoding: Encoding::Zstd { raw: 300 }, end: true, body: b"ab" },
        &[
            "aa",   // kind 0x15, flag END
            "01",   // stream: the responder's first
            "05",   // payload: 5 bytes
            "20",   // Zstandard
            "412c", // 300 bytes once decompressed
            "6162",
        ],
    );
}

#[test]
fn the_preface() {
    let preface = Preface {
        min_version: 1,
        max_version: 3,
        version: 2,
        suite: 0x11,
        pattern: 0x22,
        time: UnixMillis(1_800_000_000_000),
        nonce: [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff],
        hint: [0xa0, 0xa1, 0xa2, 0xa3],
        key_id: b"me".to_vec(),
    };
    let expected = bytes_of(&[
        "6e700d0a",                         // magic
        "01",                               // lowest version
        "03",                               // highest version
        "02",                               // version of message 1
        "11",                               // suite
        "22",                               // pattern
        "000001a3185c5000",                 // 1,800,000,000,000 ms since 1970
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", // nonce
        "a0a1a2a3",                         // hint
        "02",                               // key id: 2 bytes
        "6d65",                             // "me"
    ]);
    let mut bytes = Vec::new();
    preface.encode(&mut bytes);
    assert_eq!(bytes, expected, "{bytes:02x?}");
    assert_eq!(Preface::decode(&expected), Ok(Some((preface, expected.len()))));
}

#[test]
fn handshake_frames() {
    let message = bytes_of(&[
        "02",         // a handshake message
        "0005",       // 5 bytes
        "6e6f697365", // bytes of the handshake
    ]);
    let mut bytes = Vec::new();
    encode_handshake_message(&mut bytes, b"noise");
    assert_eq!(bytes, message);
    assert_eq!(decode_handshake_frame(&message), Ok(Some((HandshakeFrame::Message(b"noise"), 8))));

    let refusal = bytes_of(&[
        "03",     // a refusal
        "0007",   // 7 bytes
        "0012",   // code 0x12
        "01",     // lowest version spoken
        "01",     // highest version spoken
        "6e6577", // text
    ]);
    let mut bytes = Vec::new();
    encode_refusal(&mut bytes, CloseCode::Version, "new");
    assert_eq!(bytes, refusal);
    let value = Refusal { code: CloseCode::Version, min_version: 1, max_version: 1, text: "new" };
    assert_eq!(decode_handshake_frame(&refusal), Ok(Some((HandshakeFrame::Refusal(value), 10))));
}

#[test]
fn the_servers_choices() {
    // Version, suite, pattern.
    assert_eq!(Choices { version: 1, suite: 2, pattern: 3 }.encode(), [1, 2, 3]);
}
