//! What is encoded decodes to the same value, and heads say how long the frame is.

use np_types::CloseCode;
use np_wire::{
    Choices, Frame, Frames, HandshakeFrame, OpenKind, Preface, Refusal, Settings, decode_frame, decode_handshake_frame,
    encode_frame, encode_frame_head, encode_handshake_message, encode_open, encode_refusal, encode_response,
    put_varint, varint_len,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fields::{Fields, fields, preface, settings, small_numbers, varint};

/// Reads a varint as RFC 9000, section 16, describes it.
fn read_varint(bytes: &[u8]) -> (u64, usize) {
    let size = 1 << (bytes[0] >> 6);
    let first = u64::from(bytes[0] & 0x3f);
    (bytes[1..size].iter().fold(first, |value, byte| value << 8 | u64::from(*byte)), size)
}

/// The whole size that the head of a frame announces.
fn announced(bytes: &[u8]) -> usize {
    let id = if bytes[0] >> 3 >= 0x10 { read_varint(&bytes[1..]).1 } else { 0 };
    let (payload, size) = read_varint(&bytes[1 + id..]);
    1 + id + size + payload as usize
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_frame_goes_round(fields in fields()) {
        let frame = fields.frame();
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, &frame);
        prop_assert_eq!(decode_frame(&bytes), Ok((frame, bytes.len())));
    }

    #[test]
    fn the_head_announces_the_frames_length(fields in fields()) {
        let frame = fields.frame();
        let (mut head, mut whole) = (b"before".to_vec(), Vec::new());
        let body = encode_frame_head(&mut head, &frame);
        encode_frame(&mut whole, &frame);
        prop_assert_eq!(announced(&whole), whole.len());
        prop_assert_eq!([&head, body].concat(), [&b"before"[..], &whole].concat());
    }

    /// Small calls and their answers leave by these alone.
    #[test]
    fn openings_and_answers_are_the_same_frames_by_themselves(fields in fields()) {
        let frame = fields.frame();
        let (mut alone, mut whole) = (b"before".to_vec(), b"before".to_vec());
        match &frame {
            Frame::Open(open) => encode_open(&mut alone, open),
            Frame::Response(response) => encode_response(&mut alone, response),
            other => encode_frame(&mut alone, other),
        }
        encode_frame(&mut whole, &frame);
        prop_assert_eq!(alone, whole);
    }

    #[test]
    fn bodies_borrow_from_the_record(fields in fields()) {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, &fields.frame());
        let body = match decode_frame(&bytes).unwrap().0 {
            Frame::Open(open) => open.body,
            Frame::Response(response) => response.body,
            Frame::Data { body, .. } => body,
            Frame::Close { text, .. } => text.as_bytes(),
            Frame::Method { name, .. } => name.as_bytes(),
            Frame::Trailers(trailers) => trailers.text.as_bytes(),
            _ => &bytes,
        };
        let (outer, inner) = (bytes.as_ptr_range(), body.as_ptr_range());
        prop_assert!(body.is_empty() || (outer.start <= inner.start && inner.end == outer.end));
    }

    #[test]
    fn a_record_gives_its_frames_in_order(many in vec(fields(), 0..6)) {
        let mut record = Vec::new();
        many.iter().for_each(|fields| encode_frame(&mut record, &fields.frame()));
        let frames: Result<Vec<_>, _> = Frames::new(&record).collect();
        prop_assert_eq!(frames.unwrap(), many.iter().map(Fields::frame).collect::<Vec<_>>());
    }

    #[test]
    fn settings_go_round(values in small_numbers()) {
        let mut bytes = Vec::new();
        settings(values).encode(&mut bytes);
        prop_assert_eq!(Settings::decode(&bytes), Ok(settings(values)));
    }

    #[test]
    fn a_preface_goes_round(preface in preface(), after in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        preface.encode(&mut bytes);
        let size = bytes.len();
        prop_assert_eq!(size, 38 + preface.key_id.len());
        bytes.extend_from_slice(&after);
        prop_assert_eq!(Preface::decode(&bytes), Ok(Some((preface, size))));
    }

    #[test]
    fn a_handshake_message_goes_round(message in vec(any::<u8>(), 0..=1024), after in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        encode_handshake_message(&mut bytes, &message);
        let size = bytes.len();
        prop_assert_eq!(size, 3 + message.len());
        bytes.extend_from_slice(&after);
        prop_assert_eq!(decode_handshake_frame(&bytes), Ok(Some((HandshakeFrame::Message(&message), size))));
    }

    #[test]
    fn a_refusal_goes_round(code in any::<u16>(), text in ".{0,64}", after in vec(any::<u8>(), 0..9)) {
        let code = CloseCode::from_wire(code);
        let mut bytes = Vec::new();
        encode_refusal(&mut bytes, code, &text);
        let size = bytes.len();
        bytes.extend_from_slice(&after);
        let refusal = Refusal { code, min_version: 1, max_version: 1, text: &text };
        prop_assert_eq!(decode_handshake_frame(&bytes), Ok(Some((HandshakeFrame::Refusal(refusal), size))));
    }

    #[test]
    fn choices_go_round(bytes in any::<[u8; 3]>(), after in vec(any::<u8>(), 0..9)) {
        let choices = Choices { version: bytes[0], suite: bytes[1], pattern: bytes[2] };
        prop_assert_eq!(choices.encode(), bytes);
        prop_assert_eq!(Choices::decode(&[&bytes[..], &after].concat()), Ok(choices));
    }

    #[test]
    fn a_varint_is_what_the_rfc_says(value in varint()) {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, value);
        prop_assert_eq!(read_varint(&bytes), (value, bytes.len()));
        prop_assert_eq!(varint_len(value), bytes.len());
    }
}

#[test]
fn choices_need_three_bytes() {
    assert!(Choices::decode(&[1, 1]).is_err());
}

#[test]
fn nothing_follows_the_first_error_of_a_record() {
    let mut frames = Frames::new(&[0x30, 0x00, 0x31, 0x00, 0x30, 0x00]);
    assert_eq!(frames.next(), Some(Ok(Frame::KeyUpdate)));
    assert!(matches!(frames.next(), Some(Err(_))));
    assert_eq!(frames.next(), None);
    assert!(frames.is_empty());
}

#[test]
fn an_encoding_is_read_where_its_own_bit_is_set() {
    let reads = |encodings| {
        let settings = Settings { encodings, ..settings([1; 4]) };
        (0..=255).filter(|encoding| settings.reads(*encoding)).collect::<Vec<_>>()
    };
    assert_eq!(reads(0), [0]);
    assert_eq!(reads(1 << 1 | 1 << 2), [0, 1, 2]);
    assert_eq!(reads(1 << 2 | 1 << 31), [0, 2, 31]);
}

#[test]
fn what_opens_and_what_answers_is_known_before_it_is_read() {
    let sorts = |kind: u8| {
        let id = if kind >= 0x10 { &[0][..] } else { &[] };
        let bytes = [&[kind << 3], id, &[0]].concat();
        let mut frames = Frames::new(&bytes);
        assert!(!frames.is_empty());
        let raw = frames.next_raw().unwrap().unwrap();
        assert!(frames.is_empty());
        (raw.opens(), raw.answers())
    };
    for kind in 0..32 {
        let opens = match kind {
            0x08 => Some(OpenKind::Request),
            0x09 => Some(OpenKind::OneWay),
            0x0a => Some(OpenKind::Stream),
            _ => None,
        };
        assert_eq!(sorts(kind), (opens, kind == 0x10), "{kind:#04x}");
    }
}
