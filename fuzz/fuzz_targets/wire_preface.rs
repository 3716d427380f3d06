//! Any bytes before the first record: preface, handshake message, refusal, the server's choices. What is read is what
//! was written, byte for byte, and a verdict never changes when more bytes arrive. Owns these rules alone; it must never
//! know a key.
#![no_main]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use np_wire::{
    Choices, HandshakeFrame, MAX_HANDSHAKE_MESSAGE, Preface, WireError, decode_handshake_frame,
    encode_handshake_message,
};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let part = &bytes[..usize::from(cut).min(bytes.len())];

    let whole = Preface::decode(bytes);
    same_verdict(&Preface::decode(part), &whole, part.len());
    if let Ok(Some((preface, size))) = whole {
        let mut encoded = Vec::new();
        preface.encode(&mut encoded);
        assert_eq!(encoded, bytes[..size]);
    }

    let whole = decode_handshake_frame(bytes);
    same_verdict(&decode_handshake_frame(part), &whole, part.len());
    if let Ok(Some((HandshakeFrame::Message(message), size))) = whole {
        assert!(message.len() <= MAX_HANDSHAKE_MESSAGE);
        let mut encoded = Vec::new();
        encode_handshake_message(&mut encoded, message);
        assert_eq!(encoded, bytes[..size]);
    }

    if let Ok(choices) = Choices::decode(bytes) {
        assert_eq!(choices.encode(), bytes[..3]);
    }
});

/// A part of the bytes may leave the verdict open; where it gives one, the whole gives the same.
fn same_verdict<T: PartialEq + Debug>(
    part: &Result<Option<(T, usize)>, WireError>,
    whole: &Result<Option<(T, usize)>, WireError>,
    length: usize,
) {
    match part {
        Ok(None) => {}
        Ok(Some((_, size))) => {
            assert!(*size <= length);
            assert_eq!(part.as_ref().ok(), whole.as_ref().ok());
        }
        Err(_) => assert!(whole.is_err(), "{part:?} became {whole:?}"),
    }
}
