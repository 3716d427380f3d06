//! What the objects keep between bodies is what their pages say.

use np_compress::{Adaptive, Algorithm, Caps, Compressor, Decompressor, Encoder, Settings};

use crate::input::{lz4_zeros, zstd_zeros};

fn held(encoder: Encoder, length: usize) -> usize {
    let settings = Settings { encoder, adaptive: false, ..Settings::default() };
    let mut compressor = Compressor::new(settings).expect("settings in their ranges");
    assert_eq!(compressor.held(), 0);
    compressor.compress(&vec![0; length], &mut Adaptive::new());
    let held = compressor.held();
    compressor.shrink();
    assert_eq!(compressor.held(), 0);
    held
}

/// The table of the crate's page, in KiB, for bodies of 16 MiB and of 64 KiB.
const PAGE: [(Encoder, usize, usize); 7] = [
    (Encoder::Lz4, 16, 16),
    (Encoder::Zstd { level: 1 }, 600, 320),
    (Encoder::Zstd { level: 3 }, 1_300, 700),
    (Encoder::Zstd { level: 6 }, 3_100, 1_000),
    (Encoder::Zstd { level: 9 }, 11_000, 1_000),
    (Encoder::Zstd { level: 12 }, 42_000, 1_400),
    (Encoder::Zstd { level: 19 }, 84_000, 1_800),
];

#[test]
fn compressors_hold_what_the_page_of_the_crate_says() {
    for (encoder, large, small) in PAGE {
        for (length, kib) in [(16 << 20, large), (64 << 10, small)] {
            let held = held(encoder, length);
            assert!(held <= kib << 10, "{encoder:?} holds {held} bytes after {length}");
            assert!(held >= kib * 850, "{encoder:?} holds {held} bytes only after {length}: the page says too much");
        }
    }
}

#[test]
fn a_decompressor_holds_one_context_of_at_most_128_kib() {
    let caps = Caps { max_message: 16 << 20, max_ratio: u32::MAX };
    let mut decompressor = Decompressor::new();
    decompressor.decompress(Algorithm::Lz4, 1 << 20, &lz4_zeros(1 << 20), caps).expect("zeros");
    assert_eq!(decompressor.held(), 0);
    for length in [1_000, 16 << 20, 1_000] {
        decompressor.decompress(Algorithm::Zstd, length, &zstd_zeros(length), caps).expect("zeros");
        assert!((1..=128 << 10).contains(&decompressor.held()), "{}", decompressor.held());
    }
    decompressor.shrink();
    assert_eq!(decompressor.held(), 0);
}
