//! Each way in which a body is refused, by its error.

use np_compress::{Algorithm, Caps, DecompressError, Decompressor};
use np_types::Blame;

use crate::input::{lz4_zeros, packed, text, zstd_frame, zstd_zeros};

const CAPS: Caps = Caps { max_message: 100_000, max_ratio: 256 };
const WIDE: Caps = Caps { max_message: 1 << 24, max_ratio: u32::MAX };

fn refusal(algorithm: Algorithm, declared: u32, bytes: &[u8], caps: Caps) -> DecompressError {
    match Decompressor::new().decompress(algorithm, declared, bytes, caps) {
        Err(error) => error,
        Ok(body) => panic!("{algorithm:?} gives {} bytes", body.len()),
    }
}

fn zstd(frame: &[u8], declared: u32) -> DecompressError {
    refusal(Algorithm::Zstd, declared, frame, WIDE)
}

#[test]
fn a_body_of_max_message_is_read_and_one_byte_more_is_refused_by_name() {
    for (algorithm, bytes) in [(Algorithm::Lz4, lz4_zeros(100_000)), (Algorithm::Zstd, zstd_zeros(100_000))] {
        let caps = Caps { max_ratio: u32::MAX, ..CAPS };
        let body = Decompressor::new().decompress(algorithm, 100_000, &bytes, caps);
        assert_eq!(body.map(|body| body.len()), Ok(100_000));
        let error = refusal(algorithm, 100_001, &bytes, caps);
        assert_eq!(error, DecompressError::TooLarge { declared: 100_001, allowed: 100_000 });
        assert_eq!(error.blame(), Blame::Limit);
        assert!(error.to_string().contains("max_message reached"), "{error}");
    }
}

#[test]
fn a_ratio_of_256_is_read_and_one_byte_more_is_refused_by_name() {
    // Eleven bytes of head and one block of four.
    let exact = 256 * 13;
    let frame = zstd_zeros(exact);
    assert_eq!(frame.len(), 13);
    let body = Decompressor::new().decompress(Algorithm::Zstd, exact, &frame, CAPS);
    assert_eq!(body, Ok(vec![0; exact as usize]));

    let error = refusal(Algorithm::Zstd, exact + 1, &zstd_zeros(exact + 1), CAPS);
    assert_eq!(error, DecompressError::Ratio { declared: exact + 1, compressed: 13, allowed: 256 });
    assert_eq!(error.blame(), Blame::Limit);
    assert!(error.to_string().contains("max_ratio reached"), "{error}");
    let lz4 = refusal(Algorithm::Lz4, 2_561, &[0; 10], CAPS);
    assert_eq!(lz4, DecompressError::Ratio { declared: 2_561, compressed: 10, allowed: 256 });
}

#[test]
fn the_product_of_a_ratio_does_not_wrap() {
    let caps = Caps { max_message: u32::MAX, max_ratio: u32::MAX };
    assert_eq!(caps.check(u32::MAX, usize::MAX / 2).unwrap_err().blame(), Blame::Misbehaved);
    assert!(caps.check(u32::MAX, 1 << 20).is_ok());
    assert!(Caps { max_ratio: 0, ..caps }.check(1, 0).is_err());
}

#[test]
fn a_body_that_is_no_smaller_than_it_was_is_refused() {
    for (declared, compressed) in [(0, 0), (0, 9), (20, 20), (20, 21)] {
        let error = refusal(Algorithm::Lz4, declared, &vec![0; compressed], CAPS);
        assert_eq!(error, DecompressError::NotSmaller { declared, compressed });
        assert_eq!(error.blame(), Blame::Misbehaved);
    }
    assert!(CAPS.check(21, 20).is_ok());
}

#[test]
fn a_block_that_gives_more_or_less_than_declared_is_refused() {
    let block = lz4_zeros(3_000);
    assert_eq!(refusal(Algorithm::Lz4, 2_999, &block, WIDE), DecompressError::TooLong { declared: 2_999 });
    let short = DecompressError::TooShort { declared: 3_001, given: 3_000 };
    assert_eq!(refusal(Algorithm::Lz4, 3_001, &block, WIDE), short);
}

#[test]
fn a_frame_that_states_another_size_than_the_message_is_refused() {
    let frame = zstd_zeros(3_000);
    for declared in [2_999, 3_001] {
        assert_eq!(zstd(&frame, declared), DecompressError::FrameSize { declared, frame: 3_000 });
    }
    let long = zstd_frame(0xe0, &(1_u64 << 40).to_le_bytes(), &[3_000]);
    assert_eq!(zstd(&long, 3_000), DecompressError::FrameSize { declared: 3_000, frame: 1 << 40 });
}

#[test]
fn sizes_of_every_width_are_read() {
    let narrow = zstd_frame(0x20, &[200], &[200]);
    let two = zstd_frame(0x60, &(3_000_u16 - 256).to_le_bytes(), &[3_000]);
    let eight = zstd_frame(0xe0, &3_000_u64.to_le_bytes(), &[3_000]);
    for (frame, length) in [(narrow, 200), (two, 3_000), (eight, 3_000)] {
        let body = Decompressor::new().decompress(Algorithm::Zstd, length, &frame, WIDE);
        assert_eq!(body, Ok(vec![0; length as usize]));
    }
}

#[test]
fn a_frame_whose_blocks_give_another_size_than_it_states_is_refused() {
    for blocks in [2_999, 3_001] {
        let error = zstd(&zstd_frame(0xa0, &3_000_u32.to_le_bytes(), &[blocks]), 3_000);
        assert!(matches!(error, DecompressError::Malformed { algorithm: Algorithm::Zstd, .. }), "{error:?}");
    }
}

#[test]
fn a_frame_without_a_size_is_refused() {
    assert_eq!(zstd(&zstd_frame(0x00, &[0x00], &[900]), 900), DecompressError::NoFrameSize);
}

#[test]
fn a_frame_with_a_dictionary_is_refused() {
    for (descriptor, id) in [(0xa1, vec![9]), (0xa2, vec![9, 0]), (0xa3, vec![0, 0, 0, 0])] {
        let head = [id, 900_u32.to_le_bytes().to_vec()].concat();
        assert_eq!(zstd(&zstd_frame(descriptor, &head, &[900]), 900), DecompressError::Dictionary);
    }
}

#[test]
fn a_frame_with_a_checksum_is_refused() {
    let mut frame = zstd_frame(0xa4, &900_u32.to_le_bytes(), &[900]);
    frame.extend_from_slice(&[0; 4]);
    assert_eq!(zstd(&frame, 900), DecompressError::Checksum);
}

#[test]
fn a_frame_to_skip_is_refused_wherever_it_stands() {
    let skip = [0x57, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
    let frame = zstd_zeros(900);
    assert_eq!(zstd(&[&skip[..], &frame].concat(), 900), DecompressError::Skippable);
    assert_eq!(zstd(&[&frame[..], &skip].concat(), 900), DecompressError::Trailing { bytes: 10 });
}

#[test]
fn a_second_frame_or_anything_else_behind_the_first_is_refused() {
    let frame = zstd_zeros(900);
    let empty = zstd_frame(0x20, &[0], &[0]);
    for behind in [&frame[..], &empty, &[0]] {
        let error = zstd(&[&frame[..], behind].concat(), 900);
        assert_eq!(error, DecompressError::Trailing { bytes: behind.len() });
    }
}

#[test]
fn a_window_up_to_the_declared_size_is_read_and_a_larger_one_refused() {
    let frame = |window: u8, size: u32| zstd_frame(0x80, &[&[window][..], &size.to_le_bytes()].concat(), &[size]);
    // 1 KiB, the smallest that there is, also for fewer bytes.
    let body = Decompressor::new().decompress(Algorithm::Zstd, 600, &frame(0, 600), WIDE);
    assert_eq!(body, Ok(vec![0; 600]));
    assert_eq!(zstd(&frame(1, 600), 600), DecompressError::Window { window: 1_152, allowed: 1_024 });
    // 2 KiB and 3/8 of it.
    let size = 2_048 + 3 * 256;
    let body = Decompressor::new().decompress(Algorithm::Zstd, size, &frame(1 << 3 | 3, size), WIDE);
    assert_eq!(body, Ok(vec![0; size as usize]));
    let one_less = DecompressError::Window { window: u64::from(size), allowed: u64::from(size) - 1 };
    assert_eq!(zstd(&frame(1 << 3 | 3, size - 1), size - 1), one_less);
    let largest = DecompressError::Window { window: (1 << 41) + 7 * (1 << 38), allowed: 1_024 };
    assert_eq!(zstd(&frame(0xff, 600), 600), largest);
}

#[test]
fn bytes_that_the_algorithm_cannot_have_made_are_malformed() {
    let detail = |algorithm, bytes: &[u8]| match refusal(algorithm, 900, bytes, WIDE) {
        error @ DecompressError::Malformed { detail, .. } => {
            assert_eq!(error.blame(), Blame::Malformed);
            assert!(error.to_string().contains(algorithm.name()), "{error}");
            detail
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(detail(Algorithm::Lz4, &[0xf0]), "it is cut short");
    assert_eq!(detail(Algorithm::Lz4, &[0x10, 7, 0, 0, 0]), "it repeats bytes that do not stand before");
    assert_eq!(detail(Algorithm::Lz4, &[0x10, 7, 2, 0, 0]), "it repeats bytes that do not stand before");
    let foreign = packed(np_compress::Encoder::Lz4, &text(900, 1));
    assert_eq!(detail(Algorithm::Zstd, &foreign), "the first bytes are not those of a frame");
    for length in [1, 4, 5, 8] {
        assert_eq!(detail(Algorithm::Zstd, &zstd_zeros(900)[..length]), "the head of the frame is cut short");
    }
    assert!(!detail(Algorithm::Zstd, &zstd_zeros(900)[..10]).is_empty());
}
