//! What a body announces and does not hold costs no memory, however its lists are nested.
//!
//! All of it is one test, so that nothing else is counted.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell its figures")]

use std::alloc::System;
use std::collections::BTreeMap;

use np_dispatch::{decode, encode_as};
use np_types::Codec;
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "elements that are large cost most")]
enum Deep {
    List(Vec<Self>),
    Keys(BTreeMap<u8, Self>),
    /// Makes an element of a list 256 bytes long.
    Wide([u64; 31]),
}

/// All the bytes that reading a body asked for, which is never less than what it held at once.
fn cost(codec: Codec, body: &[u8]) -> (usize, bool) {
    let region = Region::new(COUNTED);
    let read = decode::<Deep>(codec, body).is_ok();
    (region.change().bytes_allocated, read)
}

#[test]
fn lists_that_are_only_announced_cost_nothing_at_any_level() {
    let bodies: &[(Codec, &[u8])] = &[
        // 2^32 - 1 elements, the first of which is such a list again.
        (Codec::Postcard, b"\x00\xff\xff\xff\xff\x0f"),
        #[cfg(feature = "msgpack")]
        (Codec::MessagePack, b"\x81\xa4List\xdd\xff\xff\xff\xff"),
        #[cfg(feature = "json")]
        (Codec::Json, b"{\"List\":["),
    ];
    for &(codec, level) in bodies {
        for levels in [1, 10, 45] {
            let body = level.repeat(levels);
            let (bytes, read) = cost(codec, &body);
            println!("{codec}: {levels} levels in {} bytes of body ask for {bytes} bytes", body.len());
            assert!(!read);
            let most = 256 * (body.len() + 1_024) + 4_096;
            assert!(bytes <= most, "{codec}: {bytes} bytes for {levels} levels, and {most} are the most");
        }
    }
    // What is there is still read, and room for it is reserved at once.
    let honest = Deep::List((0..4_000).map(|_| Deep::Keys(BTreeMap::new())).collect());
    let body = encode_as(Codec::Postcard, &honest).unwrap();
    let (bytes, read) = cost(Codec::Postcard, &body);
    assert!(read && bytes <= 4_000 * size_of::<Deep>() + 4_096, "{bytes}");
}
