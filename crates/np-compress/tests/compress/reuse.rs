//! A context that is used again tells nothing of what came before.

use np_compress::{Adaptive, Compressor, Encoder, Packed, Settings};

use crate::input::{noise, numbers, text};

fn compressor(encoder: Encoder, adaptive: bool) -> Compressor {
    let settings = Settings { encoder, threshold: 1, max_ratio: 32_768, adaptive };
    Compressor::new(settings).expect("settings in their ranges")
}

/// Few different bytes in no order: matches everywhere, and more of them than the tables hold.
fn crowded(length: usize, seed: u64) -> Vec<u8> {
    numbers(seed).map(|number| b"ACGT"[(number % 4) as usize]).take(length).collect()
}

/// Long and short by turns, so that each meets tables that another filled.
fn bodies(longest: usize) -> Vec<Vec<u8>> {
    vec![
        text(1_000, 1),
        crowded(longest, 2),
        text(1_000, 1),
        text(70_000, 3),
        noise(20_000, 4),
        text(longest, 3),
        crowded(30_000, 2),
        vec![0; 40_000],
        crowded(longest, 5),
        text(70_000, 3),
    ]
}

fn check(encoder: Encoder, longest: usize) {
    let mut reused = compressor(encoder, false);
    let mut shrunk = 0;
    for body in bodies(longest) {
        let fresh = compressor(encoder, false).compress(&body, &mut Adaptive::new());
        shrunk += usize::from(matches!(fresh, Packed::Compressed { .. }));
        let again = reused.compress(&body, &mut Adaptive::new());
        assert!(again == fresh, "{encoder:?}: {} bytes differ by what came before", body.len());
    }
    assert!(shrunk >= 8, "{encoder:?} compressed {shrunk}");
}

#[test]
fn lz4_gives_the_same_bytes_whatever_came_before() {
    check(Encoder::Lz4, 600_000);
}

#[test]
fn every_level_of_zstd_gives_the_same_bytes_whatever_came_before() {
    for level in 1..=19 {
        check(Encoder::Zstd { level }, if level <= 12 { 600_000 } else { 100_000 });
    }
}

#[test]
fn a_sample_leaves_no_trace_in_the_body() {
    let body = text(300_000, 9);
    for encoder in [Encoder::Lz4, Encoder::Zstd { level: 3 }, Encoder::Zstd { level: 7 }] {
        let plain = compressor(encoder, false).compress(&body, &mut Adaptive::new());
        let sampled = compressor(encoder, true).compress(&body, &mut Adaptive::new());
        assert!(plain == sampled, "{encoder:?}");
    }
}
