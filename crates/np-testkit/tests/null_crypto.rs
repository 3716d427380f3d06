//! Ciphers that hide nothing differ from real ones in what they hide, and in nothing else.
#![cfg(test)]

use np_noise::{MAX_MESSAGE, NoiseError, ReceiveCipher, SendCipher, TAG_LENGTH};

#[test]
fn the_text_stays_and_any_tag_passes() {
    let (mut send, mut receive) = (SendCipher::danger_null(), ReceiveCipher::danger_null());
    let mut record = b"as it is".to_vec();
    assert_eq!(send.seal_in_place(&mut record), Ok([0; TAG_LENGTH]));
    assert_eq!(record, b"as it is");
    record.extend_from_slice(&[9; TAG_LENGTH]);
    assert_eq!(receive.open_in_place(&mut record).unwrap(), b"as it is");
}

#[test]
fn counters_limits_and_rekey_are_those_of_real_ciphers() {
    let real = || (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([1; 32]));
    for (mut send, mut receive) in [real(), (SendCipher::danger_null(), ReceiveCipher::danger_null())] {
        for number in 0..3 {
            assert_eq!((send.counter(), receive.counter()), (number, number));
            let mut record = vec![7; 5];
            let tag = send.seal_in_place(&mut record).unwrap();
            record.extend_from_slice(&tag);
            assert_eq!(receive.open_in_place(&mut record).unwrap(), [7; 5]);
            send.rekey();
            receive.rekey();
        }
        let mut long = vec![0; MAX_MESSAGE - TAG_LENGTH + 1];
        assert_eq!(send.seal_in_place(&mut long), Err(NoiseError::BadLength));
        assert_eq!(send.counter(), 3);
        assert_eq!(receive.open_in_place(&mut [0; TAG_LENGTH - 1]), Err(NoiseError::BadLength));
        assert_eq!(receive.open_in_place(&mut [0; TAG_LENGTH]), Err(NoiseError::Dead));
        let mut last = send.danger_with_counter(u64::MAX);
        assert_eq!(last.seal_in_place(&mut []), Err(NoiseError::Exhausted));
    }
}
