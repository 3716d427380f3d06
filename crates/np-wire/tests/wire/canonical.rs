//! Any bytes decode or err, and what decodes has one form in bytes, but for the exceptions that this file lists.
//!
//! The exceptions are frames with parts that a reader skips: unknown kinds, unknown settings, unknown or empty
//! extension entries. All else that decodes encodes to the very bytes it was read from.

use np_types::{Malformed, Metadata};
use np_wire::{
    Choices, Frame, Frames, HandshakeFrame, Preface, Reader, Settings, Trailers, WireError, decode_frame,
    decode_handshake_frame, encode_frame, encode_handshake_message, record_len,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::fields::{fields, preface, settings};

/// Whether the form of a frame may differ from the bytes it was read from, judged by its first byte.
fn may_be_skipped_in_part(first: u8) -> bool {
    const SETTINGS: u8 = 0x01;
    const HAVE_EXTENSION: [u8; 5] = [0x08, 0x09, 0x0a, 0x10, 0x12];
    let (kind, extension) = (first >> 3, first & 0b100 != 0);
    kind == SETTINGS || (extension && HAVE_EXTENSION.contains(&kind))
}

fn check_frame(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok((frame, used)) = decode_frame(bytes) else {
        return Ok(());
    };
    prop_assert!((2..=bytes.len()).contains(&used));
    let mut again = Vec::new();
    encode_frame(&mut again, &frame);
    if let Frame::Unknown { kind, size } = frame {
        prop_assert_eq!((kind, size, again.len()), (bytes[0] >> 3, used, 0));
    } else if may_be_skipped_in_part(bytes[0]) {
        prop_assert!(again.len() <= used);
        prop_assert_eq!(decode_frame(&again), Ok((frame, again.len())));
    } else {
        prop_assert_eq!(again, &bytes[..used]);
    }
    Ok(())
}

/// Changes, takes out and puts in single bytes.
fn mutate(bytes: &mut Vec<u8>, changes: &[(Index, u8, u8)]) {
    for (at, how, byte) in changes {
        let at = at.index(bytes.len() + 1);
        match (how % 4, at < bytes.len()) {
            (0, true) => bytes[at] = *byte,
            (1, true) => bytes[at] ^= 1 << (byte % 8),
            (2, true) => drop(bytes.remove(at)),
            _ => bytes.insert(at, *byte),
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    vec(any::<(Index, u8, u8)>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_bytes_decode_or_err(bytes in vec(any::<u8>(), 0..300), least in 0usize..20) {
        check_frame(&bytes)?;
        let taken = Frames::new(&bytes).count();
        prop_assert!(taken <= bytes.len());
        let _ = (Settings::decode(&bytes), Choices::decode(&bytes), Preface::decode(&bytes));
        let _ = (decode_handshake_frame(&bytes), record_len(&bytes, least));
        let mut reader = Reader::new(&bytes);
        while reader.varint("a number").is_ok() {}
    }

    #[test]
    fn short_payloads_of_every_kind_decode_or_err(first in any::<u8>(), payload in vec(any::<u8>(), 0..12)) {
        let id = if first >> 3 >= 0x10 { &[0x05][..] } else { &[] };
        check_frame(&[&[first][..], id, &[payload.len() as u8], &payload].concat())?;
    }

    #[test]
    fn a_changed_frame_decodes_or_errs(fields in fields(), changes in changes()) {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, &fields.frame());
        mutate(&mut bytes, &changes);
        check_frame(&bytes)?;
    }

    #[test]
    fn a_changed_preface_decodes_or_errs(preface in preface(), changes in changes()) {
        let mut bytes = Vec::new();
        preface.encode(&mut bytes);
        mutate(&mut bytes, &changes);
        if let Ok(Some((preface, used))) = Preface::decode(&bytes) {
            let mut again = Vec::new();
            preface.encode(&mut again);
            prop_assert_eq!(again, &bytes[..used]);
        }
    }

    #[test]
    fn a_handshake_frame_has_one_form(kind in 1u8..5, body in vec(any::<u8>(), 0..300)) {
        let length = (body.len() as u16).to_be_bytes();
        let bytes = [&[kind][..], &length, &body].concat();
        match decode_handshake_frame(&bytes) {
            Ok(Some((HandshakeFrame::Message(message), used))) => {
                let mut again = Vec::new();
                encode_handshake_message(&mut again, message);
                prop_assert_eq!((kind, again.as_slice()), (0x02, &bytes[..used]));
            }
            Ok(Some((HandshakeFrame::Refusal(refusal), used))) => {
                prop_assert_eq!((kind, used), (0x03, bytes.len()));
                prop_assert_eq!(refusal.code.to_wire().to_be_bytes(), [body[0], body[1]]);
                prop_assert_eq!([refusal.min_version, refusal.max_version], [body[2], body[3]]);
                prop_assert_eq!(refusal.text.as_bytes(), &body[4..]);
            }
            Ok(None) => prop_assert!(false, "a whole frame is not cut short"),
            Err(_) => prop_assert!(kind != 0x02),
        }
    }
}

/// Decodes and encodes again.
fn again(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, &decode_frame(bytes).unwrap().0);
    out
}

#[test]
fn unknown_kinds_are_skipped_with_any_flags() {
    // 0x0f has no stream id, 0x1f has one.
    assert_eq!(decode_frame(&[0x0f << 3 | 7, 1, 9, 9]), Ok((Frame::Unknown { kind: 0x0f, size: 3 }, 3)));
    assert_eq!(decode_frame(&[0x1f << 3 | 7, 1, 1, 9]), Ok((Frame::Unknown { kind: 0x1f, size: 4 }, 4)));
    assert_eq!(again(&[0x0f << 3, 0]), b"");
}

#[test]
fn unknown_settings_are_skipped() {
    let bytes = [0x08, 14, 0, 9, 1, 1, 2, 2, 3, 3, 4, 4, 5, 1, 6, 9];
    assert_eq!(decode_frame(&bytes), Ok((Frame::Settings(settings([1, 2, 3, 4])), bytes.len())));
    assert_eq!(again(&bytes), [0x08, 10, 1, 1, 2, 2, 3, 3, 4, 4, 5, 1]);
    let without = [0x08, 8, 1, 1, 2, 2, 3, 3, 4, 4];
    assert_eq!(again(&without), without, "the fifth need not be there");
    assert!(decode_frame(&[0x08, 10, 1, 1, 2, 2, 3, 3, 4, 4, 5, 0]).is_err(), "and says something where it is");
}

#[test]
fn unknown_and_empty_extension_entries_are_skipped() {
    let expected = Frame::Trailers(Trailers {
        id: np_wire::StreamId::from_wire(0),
        status: np_types::Status::Ok,
        text: "",
        metadata: Metadata::default(),
    });
    let forms: [&[u8]; 4] = [
        // No entry at all.
        &[0x94, 0, 2, 0, 0],
        // Metadata without a pair.
        &[0x94, 0, 4, 0, 2, 1, 0],
        // Tag 2, unknown, with one byte.
        &[0x94, 0, 5, 0, 3, 2, 1, 9],
        // Tags in any order, an unknown one twice.
        &[0x94, 0, 8, 0, 6, 7, 0, 2, 0, 7, 0],
    ];
    for bytes in forms {
        assert_eq!(decode_frame(bytes), Ok((expected.clone(), bytes.len())), "{bytes:02x?}");
        assert_eq!(again(bytes), [0x90, 0, 1, 0]);
    }
}

#[test]
fn metadata_may_stand_once() {
    let twice = [0x94, 0, 6, 0, 4, 1, 0, 1, 0];
    assert_eq!(decode_frame(&twice), Err(WireError::Malformed(Malformed::Duplicate("metadata"))));
    // Key `k` with an empty value, twice.
    let key_twice = [0x94, 0, 10, 0, 8, 1, 6, 1, b'k', 0, 1, b'k', 0];
    assert_eq!(decode_frame(&key_twice), Err(WireError::Malformed(Malformed::Duplicate("a metadata key"))));
}
