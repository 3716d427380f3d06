//! Bytes that a lenient reader would take, and that this one refuses.

use np_types::Malformed;
use np_wire::{FrameKind, Settings, Versions, WireError, decode_frame};

/// The shortest payload of each kind, with no flags but those given; `None` for flags that the kind does not have.
fn shortest(kind: u8, flags: u8) -> Option<Vec<u8>> {
    const NONE: u8 = 0b000;
    let (allowed, payload): (u8, &[u8]) = match kind {
        0x00 | 0x06 => (NONE, &[]),
        0x01 => (NONE, &[1, 1, 2, 2, 3, 3, 4, 4]),
        0x02 | 0x04 | 0x05 | 0x07 | 0x0b | 0x0c | 0x13 | 0x14 => (NONE, &[0]),
        0x03 => (NONE, &[0, 0]),
        0x08..=0x0a => (0b111, &[0, 0]),
        0x10 => (0b110, &[0]),
        0x11 => (0b011, &[]),
        0x12 => (0b100, &[0]),
        0x15 => (0b010, &[0x10, 0]),
        other => panic!("no payload for kind {other:#04x}"),
    };
    let mut payload = payload.to_vec();
    // Each of these adds one field that may be a zero.
    let deadline = matches!(kind, 0x08..=0x0a) && flags & 0b001 == 0;
    let total = matches!(kind, 0x08..=0x0a | 0x10) && flags & 0b010 != 0;
    let extension = matches!(kind, 0x08..=0x0a | 0x10 | 0x12) && flags & 0b100 != 0;
    payload.resize(payload.len() + usize::from(deadline) + usize::from(total) + usize::from(extension), 0);
    (flags & !allowed == 0).then_some(payload)
}

fn malformed(bytes: &[u8]) -> Malformed {
    match decode_frame(bytes) {
        Err(WireError::Malformed(malformed)) => malformed,
        other => panic!("{bytes:02x?} gave {other:?}"),
    }
}

#[test]
fn flags_that_a_kind_does_not_have_are_refused() {
    for kind in FrameKind::ALL {
        let number = kind.to_wire();
        let id: &[u8] = if number >= 0x10 { &[0] } else { &[] };
        for flags in 0..8 {
            let payload = shortest(number, flags);
            let known = payload.is_some();
            let payload = payload.or_else(|| shortest(number, 0)).unwrap();
            let bytes = [&[number << 3 | flags][..], id, &[payload.len() as u8], &payload].concat();
            if known {
                assert!(decode_frame(&bytes).is_ok(), "{kind:?} with flags {flags:03b}");
            } else {
                assert_eq!(malformed(&bytes), Malformed::Value("the flags of a frame"), "{kind:?} {flags:03b}");
            }
        }
    }
}

#[test]
fn numbers_in_more_bytes_than_they_need_are_refused() {
    // In each, `40 00` is zero in two bytes, `40 01` one in two.
    let frames: [(&str, &[u8]); 25] = [
        ("length", b"\x30\x40\x00"),
        ("length of an unknown kind", b"\x78\x40\x00"),
        ("stream id", b"\x88\x40\x00\x00"),
        ("stream id of an unknown kind", b"\xf8\x40\x00\x00"),
        ("code of a close", b"\x10\x02\x40\x00"),
        ("accepted streams", b"\x18\x03\x40\x00\x00"),
        ("code of a go-away", b"\x18\x03\x00\x40\x00"),
        ("token of a ping", b"\x20\x02\x40\x00"),
        ("token of a pong", b"\x28\x02\x40\x00"),
        ("number of a method", b"\x38\x03\x40\x00a"),
        ("method of a request", b"\x41\x03\x40\x00\x00"),
        ("decompressed size", b"\x41\x04\x00\x10\x40\x00"),
        ("deadline", b"\x40\x04\x00\x00\x40\x00"),
        ("total of a request", b"\x43\x04\x00\x00\x40\x00"),
        ("total of a response", b"\x82\x00\x03\x00\x40\x00"),
        ("length of an extension", b"\x45\x04\x00\x00\x40\x00"),
        ("tag of an entry", b"\x45\x06\x00\x00\x03\x40\x01\x00"),
        ("length of an entry", b"\x45\x06\x00\x00\x03\x01\x40\x00"),
        ("length of a key", b"\x45\x09\x00\x00\x06\x01\x04\x40\x01k\x00"),
        ("length of a value", b"\x45\x09\x00\x00\x06\x01\x04\x01k\x40\x00"),
        ("connection credit", b"\x58\x02\x40\x00"),
        ("call allowance", b"\x60\x02\x40\x00"),
        ("status of trailers", b"\x90\x00\x02\x40\x00"),
        ("status of a cancel", b"\x98\x00\x02\x40\x00"),
        ("stream credit", b"\xa0\x00\x02\x40\x00"),
    ];
    for (field, bytes) in frames {
        assert_eq!(malformed(bytes), Malformed::LongVarint, "{field}");
    }
    for pairs in [b"\x40\x01\x01\x02\x02\x03\x03\x04\x04", b"\x01\x40\x01\x02\x02\x03\x03\x04\x04"] {
        assert_eq!(Settings::decode(pairs), Err(WireError::Malformed(Malformed::LongVarint)));
    }
}

#[test]
fn bytes_after_the_last_field_are_refused() {
    let frames: [&[u8]; 8] = [
        b"\x18\x03\x00\x00\x00", // GO_AWAY
        b"\x20\x02\x00\x00",     // PING
        b"\x28\x02\x00\x00",     // PONG
        b"\x30\x01\x00",         // KEY_UPDATE
        b"\x58\x02\x00\x00",     // CONNECTION_CREDIT
        b"\x60\x02\x00\x00",     // CALL_ALLOWANCE
        b"\x98\x00\x02\x00\x00", // CANCEL
        b"\xa0\x00\x02\x00\x00", // STREAM_CREDIT
    ];
    for bytes in frames {
        assert_eq!(malformed(bytes), Malformed::Trailing("a frame"), "{bytes:02x?}");
    }
}

#[test]
fn fields_that_are_not_there_are_named() {
    let frames: [(&str, &[u8]); 12] = [
        ("a frame", b""),
        ("a frame", b"\x30"),
        ("a stream id", b"\x88"),
        ("a code", b"\x10\x00"),
        ("a ping", b"\x20\x00"),
        ("a method number", b"\x38\x00"),
        ("a method number", b"\x41\x00"),
        ("a codec", b"\x41\x01\x00"),
        ("a size", b"\x41\x02\x00\x10"),
        ("a deadline", b"\x40\x02\x00\x00"),
        ("the size of a message", b"\x43\x02\x00\x00"),
        ("an extension", b"\x45\x02\x00\x00"),
    ];
    for (field, bytes) in frames {
        assert_eq!(malformed(bytes), Malformed::Truncated(field), "{bytes:02x?}");
    }
}

#[test]
fn values_that_a_field_cannot_have_are_named() {
    let frames: [(Malformed, &[u8]); 7] = [
        (Malformed::Value("padding"), b"\x00\x02\x00\x01"),
        // An encoding that nobody knows declares its size all the same.
        (Malformed::Truncated("a size"), b"\x41\x02\x00\x30"),
        (Malformed::Text("a text"), b"\x10\x02\x00\xff"),
        (Malformed::Text("a text"), b"\x90\x00\x02\x00\xff"),
        (Malformed::Value("an encoding"), b"\xa8\x00\x01\x00"),
        (Malformed::Value("a codec"), b"\xa8\x00\x02\x11\x00"),
        (Malformed::Text("a method name"), b"\x38\x02\x00\xff"),
    ];
    for (error, bytes) in frames {
        assert_eq!(malformed(bytes), error, "{bytes:02x?}");
    }
    let refusal = np_wire::decode_handshake_frame(b"\x03\x00\x05\x00\x12\x01\x01\xff");
    assert_eq!(refusal, Err(WireError::Malformed(Malformed::Text("a refusal"))));
}

#[test]
fn settings_are_ascending_and_complete() {
    let cases: [(Malformed, &[u8]); 5] = [
        (Malformed::Duplicate("a settings id"), &[1, 1, 1, 1, 2, 2, 3, 3, 4, 4]),
        (Malformed::Value("the order of the settings"), &[2, 2, 1, 1, 3, 3, 4, 4]),
        (Malformed::Truncated("the settings"), &[1, 1, 2, 2, 3, 3]),
        (Malformed::Truncated("a settings value"), &[1, 1, 2, 2, 3, 3, 4]),
        (Malformed::Truncated("the settings"), &[]),
    ];
    for (error, bytes) in cases {
        assert_eq!(Settings::decode(bytes), Err(WireError::Malformed(error)), "{bytes:02x?}");
    }
}

#[test]
fn a_preface_of_another_version_is_told_by_its_first_bytes_and_not_spoken() {
    for (range, spoken) in [([1, 1, 1], true), ([1, 3, 1], true), ([1, 3, 2], false), ([2, 3, 2], false)] {
        let bytes = [b"np\r\n", &range[..]].concat();
        let versions = Versions::decode(&bytes).unwrap().unwrap();
        assert_eq!(versions.is_spoken(), spoken, "{range:?}");
        assert_eq!(Versions::decode(&bytes[..6]), Ok(None));
    }
    let outside = WireError::Malformed(Malformed::Value("the version range"));
    assert_eq!(Versions::decode(b"np\r\n\x01\x02\x03"), Err(outside));
}
