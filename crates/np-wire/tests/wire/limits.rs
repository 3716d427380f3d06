//! Each limit at its height and one above it, and the size of heads.

use np_types::{CloseCode, Codec, LimitHit, LimitName, Malformed, Metadata, Status};
use np_wire::{
    Encoding, Frame, HandshakeFrame, MAX_PLAINTEXT, Open, OpenKind, Preface, Reader, Response, Settings, Side,
    StreamId, Trailers, WireError, decode_frame, decode_handshake_frame, encode_frame, encode_frame_head,
    encode_handshake_message, encode_refusal, record_len,
};

/// A varint in its shortest form.
fn varint(value: usize) -> Vec<u8> {
    match value {
        0..=0x3f => vec![value as u8],
        0x40..=0x3fff => vec![0x40 | (value >> 8) as u8, value as u8],
        _ => vec![0x80 | (value >> 24) as u8, (value >> 16) as u8, (value >> 8) as u8, value as u8],
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len()), bytes].concat()
}

/// A frame without a stream id, its length put before its payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [vec![first], prefixed(payload)].concat()
}

#[track_caller]
fn assert_limit<T: std::fmt::Debug>(result: Result<T, WireError>, limit: LimitName, allowed: u64, seen: u64) {
    assert_eq!(result.unwrap_err(), WireError::Limit(LimitHit { limit, allowed, seen }));
}

#[test]
fn text_1024() {
    let close = |size: usize| frame(0x10, &[&[0][..], &vec![b'a'; size]].concat());
    let trailers = |size: usize| [vec![0x90, 0x00], prefixed(&[&[1][..], &vec![b'a'; size]].concat())].concat();
    assert!(matches!(decode_frame(&close(1_024)), Ok((Frame::Close { text, .. }, _)) if text.len() == 1_024));
    assert!(matches!(decode_frame(&trailers(1_024)), Ok((Frame::Trailers(t), _)) if t.text.len() == 1_024));
    assert_limit(decode_frame(&close(1_025)), LimitName::Text, 1_024, 1_025);
    assert_limit(decode_frame(&trailers(1_025)), LimitName::Text, 1_024, 1_025);
}

#[test]
fn longer_texts_are_cut_at_the_end_of_a_character() {
    // The 1,024th byte would be the first half of a two-byte character.
    let text = "a".repeat(1_023) + "é";
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, &Frame::Close { code: CloseCode::Normal, text: &text });
    let expected = Frame::Close { code: CloseCode::Normal, text: &text[..1_023] };
    assert_eq!(decode_frame(&bytes), Ok((expected, bytes.len())));

    let trailers = |text| {
        let (id, metadata) = (StreamId::from_wire(0), Metadata::default());
        Frame::Trailers(Trailers { id, status: Status::Failed, text, metadata })
    };
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, &trailers(&text));
    assert_eq!(decode_frame(&bytes), Ok((trailers(&text[..1_023]), bytes.len())));
}

#[test]
fn method_name_128() {
    let method = |size: usize| frame(0x38, &[&[0][..], &vec![b'a'; size]].concat());
    assert!(matches!(decode_frame(&method(128)), Ok((Frame::Method { name, .. }, _)) if name.len() == 128));
    assert_limit(decode_frame(&method(129)), LimitName::MethodName, 128, 129);
}

#[test]
fn settings_32_pairs() {
    let pairs = |count: u8| (1..=count).flat_map(|id| [id, 1]).collect::<Vec<_>>();
    assert!(Settings::decode(&pairs(32)).is_ok());
    assert_limit(Settings::decode(&pairs(33)), LimitName::Settings, 32, 33);
}

#[test]
fn metadata_32_pairs() {
    let trailers = |count: u8| {
        let pairs: Vec<u8> = (0..count).flat_map(|at| [2, b'a' + at / 10, b'0' + at % 10, 0]).collect();
        let entries = [vec![1], prefixed(&pairs)].concat();
        [vec![0x94, 0x00], prefixed(&[vec![0], prefixed(&entries)].concat())].concat()
    };
    let bytes = trailers(32);
    let Ok((Frame::Trailers(found), _)) = decode_frame(&bytes) else { panic!("32 pairs are refused") };
    assert_eq!(found.metadata.iter().len(), 32);
    assert_limit(decode_frame(&trailers(33)), LimitName::Metadata, 32, 33);
}

#[test]
fn metadata_8192_bytes() {
    let trailers = |value: usize| {
        let pairs = [prefixed(b"key"), prefixed(&vec![0; value])].concat();
        let entries = [vec![1], prefixed(&pairs)].concat();
        [vec![0x94, 0x00], prefixed(&[vec![0], prefixed(&entries)].concat())].concat()
    };
    assert!(decode_frame(&trailers(8_192 - 3)).is_ok());
    assert_limit(decode_frame(&trailers(8_193 - 3)), LimitName::Metadata, 8_192, 8_193);
    assert_limit(decode_frame(&trailers(20_000 - 3)), LimitName::Metadata, 8_192, 20_000);
}

#[test]
fn metadata_key_64() {
    let trailers = |key: &[u8]| {
        let entries = [vec![1], prefixed(&[prefixed(key), vec![0]].concat())].concat();
        [vec![0x94, 0x00], prefixed(&[vec![0], prefixed(&entries)].concat())].concat()
    };
    assert!(decode_frame(&trailers(&[b'a'; 64])).is_ok());
    for key in [&[b'a'; 65][..], b"", b"A", b"\xff"] {
        let error = decode_frame(&trailers(key)).unwrap_err();
        assert_eq!(error, WireError::Malformed(Malformed::Text("a metadata key")), "{key:02x?}");
    }
}

#[test]
fn key_id_64() {
    let preface = |size: u8| [b"np\r\n\x01\x01\x01", &[0; 30][..], &[size], &vec![7; usize::from(size)]].concat();
    let (found, used) = Preface::decode(&preface(64)).unwrap().unwrap();
    assert_eq!((found.key_id.as_slice(), used), (&[7; 64][..], 102));
    assert_limit(Preface::decode(&preface(65)), LimitName::KeyId, 64, 65);

    let mut cut = Vec::new();
    Preface { key_id: vec![7; 65], ..found }.encode(&mut cut);
    assert_eq!(cut, preface(64));
}

#[test]
fn handshake_message_1024() {
    let message = |size: usize| [&[0x02][..], &(size as u16).to_be_bytes(), &vec![7; size]].concat();
    let most = message(1_024);
    assert_eq!(decode_handshake_frame(&most), Ok(Some((HandshakeFrame::Message(&[7; 1_024]), 1_027))));
    assert_limit(decode_handshake_frame(&message(1_025)), LimitName::HandshakeMessage, 1_024, 1_025);

    let mut cut = Vec::new();
    encode_handshake_message(&mut cut, &[7; 1_025]);
    assert_eq!(cut, most);
}

#[test]
fn refusal_text_256() {
    let refusal = |size: usize| {
        let head = (4 + size as u16).to_be_bytes();
        [&[0x03][..], &head, &[0x00, 0x12, 1, 1], &vec![b'a'; size]].concat()
    };
    assert!(matches!(decode_handshake_frame(&refusal(256)), Ok(Some((_, 263)))));
    assert_limit(decode_handshake_frame(&refusal(257)), LimitName::Text, 256, 257);
    // Four bytes stand before the text.
    assert!(decode_handshake_frame(&[0x03, 0, 3, 0x00, 0x12, 1]).is_err());

    let mut cut = Vec::new();
    encode_refusal(&mut cut, CloseCode::Version, &"a".repeat(257));
    assert_eq!(cut, refusal(256));
    let mut cut = Vec::new();
    encode_refusal(&mut cut, CloseCode::Version, &("a".repeat(255) + "é"));
    assert_eq!(cut, refusal(255));
}

#[test]
fn record_lengths() {
    assert_eq!(record_len(&[0xff, 0xff], 17), Ok(Some(65_535)));
    assert_eq!(record_len(&[0, 17], 17), Ok(Some(17)));
    assert_eq!(record_len(&[0, 16], 17), Err(WireError::Malformed(Malformed::Value("the length of a record"))));
    assert_eq!(MAX_PLAINTEXT, 65_519);
}

#[test]
fn numbers_of_32_bits_and_codes_of_16() {
    let most = b"\xc0\x00\x00\x00\xff\xff\xff\xff";
    let above = b"\xc0\x00\x00\x01\x00\x00\x00\x00";
    // Where the number stands in each frame: what goes before it in the payload, and after it.
    let fields: [(u8, &[u8], &[u8]); 8] = [
        (0x38, b"", b"name"),                         // METHOD: number
        (0x41, b"", b"\x00"),                         // REQUEST: method
        (0x41, b"\x00\x10", b""),                     // REQUEST: decompressed size
        (0x43, b"\x00\x00", b""),                     // REQUEST: total
        (0x58, b"", b""),                             // CONNECTION_CREDIT: bytes
        (0x60, b"", b""),                             // CALL_ALLOWANCE: calls
        (0x08, b"\x01", b"\x02\x00\x03\x00\x04\x00"), // SETTINGS: a value
        (0x51, b"", b"\x00"),                         // STREAM: method
    ];
    for (first, before, after) in fields {
        assert!(decode_frame(&frame(first, &[before, most, after].concat())).is_ok(), "{first:#04x}");
        let error = decode_frame(&frame(first, &[before, above, after].concat())).unwrap_err();
        assert!(matches!(error, WireError::Malformed(Malformed::Value(_))), "{first:#04x} {error:?}");
    }
    let codes: [(u8, &[u8], &[u8]); 4] =
        [(0x10, b"", b""), (0x18, b"", b"\x00"), (0x90, b"\x00", b""), (0x98, b"\x00", b"")];
    for (first, id, before) in codes {
        let coded = |code: &[u8]| [&[first][..], id, &prefixed(&[before, code].concat())].concat();
        assert!(decode_frame(&coded(b"\x80\x00\xff\xff")).is_ok(), "{first:#04x}");
        let error = decode_frame(&coded(b"\x80\x01\x00\x00")).unwrap_err();
        assert!(matches!(error, WireError::Malformed(Malformed::Value(_))), "{first:#04x} {error:?}");
    }
}

#[test]
fn nothing_is_allocated_for_an_announced_length() {
    // 2^40 as a varint of eight bytes. Decoders hold slices of the input alone, so what is announced but not there can
    // only be refused; a decoder that reserved it would abort here.
    const HUGE: &[u8] = b"\xc0\x00\x01\x00\x00\x00\x00\x00";
    let frames: [&[&[u8]]; 8] = [
        &[b"\x88\x00", HUGE],                          // DATA of 2^40 bytes
        &[b"\x00", HUGE],                              // PADDING
        &[b"\x78", HUGE],                              // an unknown kind
        &[b"\x08", HUGE],                              // SETTINGS
        &[b"\x45\x0a\x00\x00", HUGE],                  // the extension of a REQUEST
        &[b"\x45\x0c\x00\x00\x09\x01", HUGE],          // its metadata
        &[b"\x45\x0e\x00\x00\x0b\x01\x09", HUGE],      // a metadata key
        &[b"\x45\x10\x00\x00\x0d\x01\x0b\x01k", HUGE], // a metadata value
    ];
    for parts in frames {
        let bytes = parts.concat();
        let error = decode_frame(&bytes).unwrap_err();
        assert!(matches!(error, WireError::Malformed(Malformed::Truncated(_))), "{bytes:02x?} {error:?}");
    }
    let error = Reader::new(HUGE).prefixed("bytes").unwrap_err();
    assert_eq!(error, WireError::Malformed(Malformed::Truncated("bytes")));
}

/// The bytes of a 64-byte request beside its body.
fn request_head(method: u32) -> usize {
    let mut head = Vec::new();
    encode_frame_head(&mut head, &Frame::Open(Open { method, body: &[7; 64], ..Open::new(OpenKind::Request) }));
    head.len()
}

/// The bytes of a 64-byte response beside its body.
fn response_head(id: u64) -> usize {
    let response = Response {
        id: StreamId::from_wire(id),
        codec: Codec::Postcard,
        encoding: Encoding::Plain,
        total: None,
        metadata: Metadata::default(),
        body: &[7; 64],
    };
    let mut head = Vec::new();
    encode_frame_head(&mut head, &Frame::Response(response));
    head.len()
}

#[test]
fn heads_of_64_byte_calls() {
    for method in 0..65_536 {
        assert!(request_head(method) <= 8, "method {method}");
    }
    assert_eq!(request_head(u32::MAX), 12);
    for index in 0..1 << 13 {
        let sides = [Side::Initiator, Side::Responder];
        assert!(sides.iter().all(|side| response_head(StreamId::new(*side, index).to_wire()) <= 8), "stream {index}");
    }
    assert_eq!(response_head(np_wire::MAX_VARINT), 12);
}
