//! Bodies and frames that are made by rule, the same in every run. Owns no check.

use np_compress::{Adaptive, Compressor, Encoder, Packed, Settings};

/// LZ4 and every kind of level of Zstandard that a test has time for.
pub(crate) const ENCODERS: [Encoder; 3] = [Encoder::Lz4, Encoder::Zstd { level: 1 }, Encoder::Zstd { level: 3 }];

/// The library's own number for a sequence without end.
pub(crate) fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16)
    })
}

/// Bytes that nothing makes smaller.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    numbers(seed).map(|number| number as u8).take(length).collect()
}

/// Words and figures, as a log or a document has them.
pub(crate) fn text(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 8] = ["order", "shipped", "pending", "customer", "amount", "street", "of", "the"];
    let mut text = Vec::with_capacity(length + 16);
    for number in numbers(seed) {
        if text.len() >= length {
            break;
        }
        text.extend_from_slice(WORDS[(number % 8) as usize].as_bytes());
        text.extend_from_slice(format!(" {} ", (number >> 8) % 5_000).as_bytes());
    }
    text.truncate(length);
    text
}

/// A compressor that tries every body.
pub(crate) fn eager(encoder: Encoder) -> Compressor {
    let settings = Settings { encoder, threshold: 1, max_ratio: 32_768, adaptive: false };
    Compressor::new(settings).expect("settings in their ranges")
}

/// The compressed bytes of a body that shrinks.
pub(crate) fn packed(encoder: Encoder, body: &[u8]) -> Vec<u8> {
    match eager(encoder).compress(body, &mut Adaptive::new()) {
        Packed::Compressed { raw, bytes } => {
            assert_eq!(raw as usize, body.len());
            bytes
        }
        Packed::Plain(reason) => panic!("{encoder:?} leaves {} bytes plain: {reason:?}", body.len()),
    }
}

/// A block of LZ4, written by hand, that gives so many zeros: at least 25.
pub(crate) fn lz4_zeros(length: usize) -> Vec<u8> {
    let more = length - 1 - 19 - 5;
    let mut block = vec![0x1f, 0, 1, 0];
    block.resize(4 + more / 255, 255);
    block.push((more % 255) as u8);
    block.extend_from_slice(&[0x50, 0, 0, 0, 0, 0]);
    block
}

/// A frame of Zstandard, written by hand: its descriptor, what else stands in its head, and the lengths of its blocks,
/// each of which is one repeated zero.
pub(crate) fn zstd_frame(descriptor: u8, head: &[u8], blocks: &[u32]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, descriptor];
    frame.extend_from_slice(head);
    for (index, length) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend_from_slice(&(last | 1 << 1 | length << 3).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// One segment of so many zeros, in blocks as long as they may be.
pub(crate) fn zstd_zeros(length: u32) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let mut blocks = vec![BLOCK; (length / BLOCK) as usize];
    blocks.extend((!length.is_multiple_of(BLOCK)).then_some(length % BLOCK));
    zstd_frame(0xa0, &length.to_le_bytes(), &blocks)
}
