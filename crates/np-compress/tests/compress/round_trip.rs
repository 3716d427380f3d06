//! What is compressed comes back as it was, and nothing else comes back at all.

use np_compress::{Adaptive, Algorithm, Caps, Decompressor, Encoder, Packed};
use proptest::prelude::*;

use crate::input::{ENCODERS, eager, lz4_zeros, noise, packed, text, zstd_zeros};

/// As wide as the algorithms go, so that no cap hides what the decoders do.
const WIDE: Caps = Caps { max_message: 1 << 24, max_ratio: u32::MAX };

/// Bodies of pieces that repeat, between pieces that do not.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = (proptest::collection::vec(any::<u8>(), 0..200), 1..60_usize);
    proptest::collection::vec(piece, 0..12)
        .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
}

proptest! {
    #[test]
    fn every_body_comes_back_as_it_was(body in bodies()) {
        for encoder in ENCODERS {
            if let Packed::Compressed { raw, bytes } = eager(encoder).compress(&body, &mut Adaptive::new()) {
                prop_assert!(bytes.len() <= body.len() - body.len().div_ceil(16));
                let read = Decompressor::new().decompress(encoder.algorithm(), raw, &bytes, WIDE);
                prop_assert_eq!(read.as_ref(), Ok(&body));
            }
        }
    }

    #[test]
    fn changed_bytes_give_an_error_or_exactly_the_declared_size(
        seed in any::<u64>(), flips in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
    ) {
        let body = text(3_000, seed);
        for encoder in ENCODERS {
            let mut bytes = packed(encoder, &body);
            for flip in &flips {
                let bit = flip.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            if let Ok(read) = Decompressor::new().decompress(encoder.algorithm(), 3_000, &bytes, WIDE) {
                prop_assert_eq!(read.len(), 3_000);
            }
        }
    }

    #[test]
    fn any_bytes_give_an_error_or_exactly_the_declared_size(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), declared in 0..5_000_u32,
    ) {
        let mut decompressor = Decompressor::new();
        for algorithm in [Algorithm::Lz4, Algorithm::Zstd] {
            if let Ok(read) = decompressor.decompress(algorithm, declared, &bytes, WIDE) {
                prop_assert_eq!(read.len(), declared as usize);
            }
        }
    }
}

#[test]
fn bodies_of_every_length_around_the_tables_and_blocks_come_back() {
    for encoder in ENCODERS {
        for length in [512, 65_534, 65_535, 65_536, (128 << 10) - 1, 128 << 10, (128 << 10) + 1, 3 << 20] {
            let body = text(length, 7);
            let bytes = packed(encoder, &body);
            let read = Decompressor::new().decompress(encoder.algorithm(), length as u32, &bytes, WIDE);
            assert!(read.as_ref() == Ok(&body), "{encoder:?} {length}");
        }
    }
}

#[test]
fn every_body_that_is_cut_short_is_refused() {
    let body = text(700, 1);
    for encoder in ENCODERS {
        let bytes = packed(encoder, &body);
        for length in 0..bytes.len() {
            let cut = Decompressor::new().decompress(encoder.algorithm(), 700, &bytes[..length], WIDE);
            assert!(cut.is_err(), "{encoder:?} cut to {length} bytes is read");
        }
    }
}

#[test]
fn what_was_written_by_hand_is_read() {
    for length in [300, 4_096, 200_000] {
        let zeros = vec![0; length as usize];
        let lz4 = Decompressor::new().decompress(Algorithm::Lz4, length, &lz4_zeros(length as usize), WIDE);
        let zstd = Decompressor::new().decompress(Algorithm::Zstd, length, &zstd_zeros(length), WIDE);
        assert_eq!((lz4.as_ref(), zstd.as_ref()), (Ok(&zeros), Ok(&zeros)), "{length}");
    }
}

#[test]
fn a_frame_with_a_window_of_its_own_is_read() {
    // Level 1 uses windows of 512 KiB: a longer body of one segment would need more.
    let body = text(1 << 20, 3);
    let bytes = packed(Encoder::Zstd { level: 1 }, &body);
    assert_eq!(bytes[4] & 0x20, 0, "the frame names a window");
    let read = Decompressor::new().decompress(Algorithm::Zstd, 1 << 20, &bytes, WIDE);
    assert!(read == Ok(body));
}

#[test]
fn a_body_that_fails_leaves_no_trace_in_the_next() {
    let (body, broken) = (text(5_000, 1), noise(400, 1));
    let mut decompressor = Decompressor::new();
    for encoder in ENCODERS {
        let bytes = packed(encoder, &body);
        let mut changed = bytes.clone();
        changed[200..].copy_from_slice(&noise(bytes.len() - 200, 2));
        assert!(decompressor.decompress(encoder.algorithm(), 5_000, &broken, WIDE).is_err());
        let _ = decompressor.decompress(encoder.algorithm(), 5_000, &changed, WIDE);
        assert_eq!(decompressor.decompress(encoder.algorithm(), 5_000, &bytes, WIDE).as_ref(), Ok(&body));
    }
}
