//! Bodies that would grow without end cost no more than what is declared and allowed.
//!
//! The memory is counted by `stats_alloc`, a published allocator of two hundred lines that adds up the bytes asked for:
//! the workspace forbids the unsafe code that an allocator of our own would need. The sum of all that is asked for is
//! never less than the peak. Zstandard's own memory goes through the same allocator here, by a feature that
//! Cargo.toml asks for in tests. All of it is one test, so that nothing else is counted.
#![cfg(test)]

use std::alloc::System;

use np_compress::{Algorithm, Caps, DecompressError, Decompressor};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[path = "compress/input.rs"]
#[allow(dead_code, reason = "the other tests use the rest of it")]
mod input;

use input::{lz4_zeros, zstd_frame, zstd_zeros};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KIB: usize = 1 << 10;
const CAP: u32 = 1 << 20;
const CAPS: Caps = Caps { max_message: CAP, max_ratio: 256 };

/// The bytes that were asked for, all in all, and what came of the body.
fn cost(
    decompressor: &mut Decompressor,
    (algorithm, declared, bytes): (Algorithm, u32, &[u8]),
    caps: Caps,
) -> (usize, Result<Vec<u8>, DecompressError>) {
    let region = Region::new(COUNTED);
    let result = decompressor.decompress(algorithm, declared, bytes, caps);
    let change = region.change();
    (change.bytes_allocated + usize::try_from(change.bytes_reallocated).unwrap_or(0), result)
}

/// What a frame of Zstandard says and what its blocks give need not be the same.
fn lying(states: u32, gives: u32) -> Vec<u8> {
    zstd_frame(0xa0, &states.to_le_bytes(), &vec![128 << 10; (gives / (128 << 10)) as usize])
}

#[test]
fn bombs_are_refused_before_memory_is_reserved_for_them() {
    let mut decompressor = Decompressor::new();
    let honest = cost(&mut decompressor, (Algorithm::Zstd, CAP, &zstd_zeros(CAP)), Caps { max_ratio: 1 << 20, ..CAPS });
    assert_eq!(honest.1, Ok(vec![0; CAP as usize]));
    assert!(honest.0 >= CAP as usize + 64 * KIB, "the body and the context of zstd are counted: {} bytes", honest.0);

    let (lz4, zstd) = (lz4_zeros(16 << 20), zstd_zeros(16 << 20));
    let wide = Caps { max_message: 1 << 30, ..CAPS };
    let window = zstd_frame(0x80, &[&[0xa0], &CAP.to_le_bytes()[..]].concat(), &[128 << 10; 8]);
    let padded = [lying(CAP, CAP), vec![0; 8 * KIB]].concat();
    let before = [
        ("lz4 beyond max_message", Algorithm::Lz4, 16 << 20, &lz4, CAPS),
        ("zstd beyond max_message", Algorithm::Zstd, 16 << 20, &zstd, CAPS),
        ("lz4 beyond max_ratio", Algorithm::Lz4, 16 << 20, &lz4, Caps { max_ratio: 200, ..wide }),
        ("zstd beyond max_ratio", Algorithm::Zstd, 16 << 20, &zstd, wide),
        ("lz4 of the largest size", Algorithm::Lz4, u32::MAX, &lz4, wide),
        ("a size that the frame denies", Algorithm::Zstd, CAP, &zstd, Caps { max_ratio: 1 << 20, ..CAPS }),
        ("a window beyond the content", Algorithm::Zstd, CAP, &window, Caps { max_ratio: 1 << 20, ..CAPS }),
        ("bytes behind the frame", Algorithm::Zstd, CAP, &padded, CAPS),
    ];
    for (name, algorithm, declared, bytes, caps) in before {
        let (asked, result) = cost(&mut decompressor, (algorithm, declared, bytes), caps);
        assert!(result.is_err(), "{name}");
        assert!(asked < KIB, "{name}: {asked} bytes were asked for");
    }

    let blocks = lying(CAP, 16 << 20);
    let within = [
        ("lz4 that gives more than declared", Algorithm::Lz4, CAP, &lz4, CAPS),
        ("zstd that gives more than it states", Algorithm::Zstd, CAP, &blocks, Caps { max_ratio: 1 << 20, ..CAPS }),
    ];
    for (name, algorithm, declared, bytes, caps) in within {
        let (asked, result) = cost(&mut decompressor, (algorithm, declared, bytes), caps);
        assert!(result.is_err(), "{name}");
        assert!(asked <= CAP as usize + 64 * KIB, "{name}: {asked} bytes were asked for");
    }
}
