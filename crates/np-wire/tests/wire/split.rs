//! However the input is cut, the result is the same: a prefix asks for more, or errs as the whole does.

use np_types::{CloseCode, Malformed, UnixMillis};
use np_wire::{
    Preface, WireError, decode_frame, decode_handshake_frame, encode_frame, encode_handshake_message, encode_refusal,
    record_len,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fields::{fields, preface};

/// Feeds `bytes` one at a time: nothing may be said before the answer, and the answer may not change after it.
/// Returns how many bytes the answer needed; `None` when it never came.
fn first_answer<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Option<T>, WireError>,
) -> Option<(usize, Result<T, WireError>)> {
    let whole = decode(bytes).transpose();
    let mut needed = None;
    for size in 0..=bytes.len() {
        match decode(&bytes[..size]).transpose() {
            None => assert_eq!(needed, None, "{size} bytes ask for more where fewer did not"),
            answer => {
                assert_eq!(answer, whole, "{size} bytes of {bytes:02x?}");
                needed = needed.or(Some(size));
            }
        }
    }
    needed.map(|needed| (needed, whole.unwrap()))
}

fn owned_handshake_frame(bytes: &[u8]) -> Result<Option<(String, usize)>, WireError> {
    Ok(decode_handshake_frame(bytes)?.map(|(frame, used)| (format!("{frame:?}"), used)))
}

fn sample() -> Vec<u8> {
    let (versions, nonce, hint) = ([1, 1, 1], [7; 16], [0; 4]);
    let [min_version, max_version, version] = versions;
    let (time, key_id) = (UnixMillis(1_800_000_000_000), b"key".to_vec());
    let mut bytes = Vec::new();
    Preface { min_version, max_version, version, suite: 1, pattern: 1, time, nonce, hint, key_id }.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_preface_needs_all_its_bytes(preface in preface(), after in vec(any::<u8>(), 0..5)) {
        let mut bytes = Vec::new();
        preface.encode(&mut bytes);
        let size = bytes.len();
        bytes.extend_from_slice(&after);
        prop_assert_eq!(first_answer(&bytes, Preface::decode), Some((size, Ok((preface, size)))));
    }

    #[test]
    fn any_start_of_a_connection_is_cut_alike(bytes in vec(any::<u8>(), 0..120), change in any::<(u8, u8)>()) {
        first_answer(&bytes, Preface::decode);
        first_answer(&bytes, owned_handshake_frame);
        let mut changed = sample();
        let at = usize::from(change.0) % changed.len();
        changed[at] = change.1;
        first_answer(&[changed, bytes].concat(), Preface::decode);
    }

    #[test]
    fn handshake_frames_are_cut_alike(message in vec(any::<u8>(), 0..200), kind in 1u8..5, code in any::<u16>()) {
        let mut bytes = Vec::new();
        encode_handshake_message(&mut bytes, &message);
        prop_assert_eq!(first_answer(&bytes, owned_handshake_frame).unwrap().0, bytes.len());
        bytes[0] = kind;
        first_answer(&bytes, owned_handshake_frame);
        let mut refusal = Vec::new();
        encode_refusal(&mut refusal, CloseCode::from_wire(code), "no");
        prop_assert_eq!(first_answer(&refusal, owned_handshake_frame).unwrap().0, refusal.len());
    }

    #[test]
    fn a_cut_frame_is_called_cut_short(fields in fields()) {
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, &fields.frame());
        for size in 0..bytes.len() {
            let error = decode_frame(&bytes[..size]).unwrap_err();
            prop_assert!(matches!(error, WireError::Malformed(Malformed::Truncated(_))), "{:?}", error);
        }
    }

    #[test]
    fn a_record_length_needs_two_bytes(length in any::<u16>(), after in vec(any::<u8>(), 0..5), least in 0usize..30) {
        let bytes = [&length.to_be_bytes()[..], &after].concat();
        let (needed, answer) = first_answer(&bytes, |bytes| record_len(bytes, least)).unwrap();
        prop_assert_eq!(needed, 2);
        prop_assert_eq!(answer.ok(), (usize::from(length) >= least).then_some(usize::from(length)));
    }
}

#[test]
fn a_wrong_magic_is_found_at_its_first_wrong_byte() {
    for at in 0..4 {
        let mut bytes = sample();
        bytes[at] ^= 0x20;
        let (needed, answer) = first_answer(&bytes, Preface::decode).unwrap();
        assert_eq!((needed, answer.unwrap_err()), (at + 1, WireError::Malformed(Malformed::Magic)));
    }
    // A link that turns line breaks into one byte.
    assert_eq!(Preface::decode(b"np\n"), Err(WireError::Malformed(Malformed::Magic)));
}

#[test]
fn a_wrong_version_range_is_found_at_the_seventh_byte() {
    // The lowest above the highest; the version below and above the range.
    for range in [[2, 1, 2], [2, 3, 1], [2, 3, 4]] {
        let mut bytes = sample();
        bytes[4..7].copy_from_slice(&range);
        let (needed, answer) = first_answer(&bytes, Preface::decode).unwrap();
        assert_eq!((needed, answer.unwrap_err()), (7, WireError::Malformed(Malformed::Value("the version range"))));
    }
}

#[test]
fn an_announced_oversize_is_found_at_the_header() {
    let cases: [(&[u8], usize); 3] = [
        // A preface whose key id has 65 bytes.
        (&[&sample()[..37], &[65; 66]].concat(), 38),
        // A handshake message of 1,025 bytes.
        (&[&[0x02, 0x04, 0x01][..], &[0; 1_025]].concat(), 3),
        // A refusal with a text of 257 bytes.
        (&[&[0x03, 0x01, 0x05][..], &[0; 261]].concat(), 3),
    ];
    for (bytes, header) in cases {
        let whole = |bytes: &[u8]| match header {
            38 => Preface::decode(bytes).map(|found| found.map(|(_, used)| used)),
            _ => decode_handshake_frame(bytes).map(|found| found.map(|(_, used)| used)),
        };
        let (needed, answer) = first_answer(bytes, whole).unwrap();
        assert_eq!(needed, header);
        assert!(matches!(answer, Err(WireError::Limit(_))), "{answer:?}");
    }
}

#[test]
fn an_unknown_handshake_kind_is_found_at_its_byte() {
    for kind in (0..=255).filter(|kind| ![0x02, 0x03].contains(kind)) {
        assert!(decode_handshake_frame(&[kind]).is_err(), "{kind:#04x}");
    }
}
