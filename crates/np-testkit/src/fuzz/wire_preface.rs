//! Any bytes before the first record: preface, handshake message, refusal, the server's choices. What is read is what
//! was written, byte for byte, and a verdict never changes when more bytes arrive. The first two bytes say where the
//! others are cut. Owns these rules alone; it must never know a key.

use std::fmt::Debug;

use np_wire::{
    Choices, HandshakeFrame, MAX_HANDSHAKE_MESSAGE, Preface, WireError, decode_handshake_frame,
    encode_handshake_message,
};

use super::input::Input;

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let cut = usize::from(input.u16());
    let bytes = input.rest();
    let part = &bytes[..cut.min(bytes.len())];
    let mut good = false;

    let whole = Preface::decode(bytes);
    same_verdict(&Preface::decode(part), &whole, part.len());
    if let Ok(Some((preface, size))) = whole {
        let mut encoded = Vec::new();
        preface.encode(&mut encoded);
        assert_eq!(encoded, bytes[..size]);
        good = true;
    }

    let whole = decode_handshake_frame(bytes);
    same_verdict(&decode_handshake_frame(part), &whole, part.len());
    if let Ok(Some((frame, size))) = whole {
        good = true;
        if let HandshakeFrame::Message(message) = frame {
            assert!(message.len() <= MAX_HANDSHAKE_MESSAGE);
            let mut encoded = Vec::new();
            encode_handshake_message(&mut encoded, message);
            assert_eq!(encoded, bytes[..size]);
        }
    }

    if let Ok(choices) = Choices::decode(bytes) {
        assert_eq!(choices.encode(), bytes[..3]);
        good |= bytes.len() == 3;
    }
    good
}

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
