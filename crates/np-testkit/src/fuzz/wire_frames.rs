//! Any bytes as the plaintext of a record: decoding ends, names an error or gives frames, and every frame given
//! survives a round trip. Owns this rule alone; it must never know a connection.

use np_wire::{Frame, Frames, decode_frame, encode_frame, record_len};

pub(super) fn target(data: &[u8]) -> bool {
    let mut failed = false;
    let mut frames = 0;
    for frame in Frames::new(data) {
        assert!(!failed, "an error is the last thing that an iterator gives");
        match frame {
            Ok(frame) => round_trip(&frame),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                failed = true;
            }
        }
        frames += 1;
    }
    assert!(frames <= data.len(), "a frame takes at least a byte");
    // The length of a record is at most what two bytes hold, whatever is asked for.
    if let Ok(Some(length)) = record_len(data, 1) {
        assert!((1..=np_wire::MAX_RECORD).contains(&length));
    }
    frames > 0 && !failed
}

fn round_trip(frame: &Frame<'_>) {
    // An unknown frame is skipped and never sent, so it has no encoding.
    if matches!(frame, Frame::Unknown { .. }) {
        return;
    }
    let mut encoded = Vec::new();
    encode_frame(&mut encoded, frame);
    let again = decode_frame(&encoded).expect("what was encoded decodes");
    assert_eq!(again, (frame.clone(), encoded.len()));
}
