//! The head of a Zstandard frame (RFC 8878, section 3.1.1). Owns which frames are read at all; it must never decompress.

use crate::{Algorithm, DecompressError};

/// The first four bytes of a frame with content.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The last three of the first four bytes of a frame to skip; the first is 0x50 to 0x5f.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The smallest window that the format can name.
const LEAST_WINDOW: u64 = 1 << 10;

const SINGLE_SEGMENT: u8 = 0x20;
const CHECKSUM: u8 = 0x04;
const DICTIONARY: u8 = 0x03;

/// Checks that the bytes are one plain frame of the declared size, without reserving memory.
///
/// # Errors
/// Names the first rule that the frame breaks.
pub(crate) fn check(bytes: &[u8], declared: u32) -> Result<(), DecompressError> {
    let (descriptor, rest) = descriptor(bytes)?;
    if descriptor & DICTIONARY != 0 {
        return Err(DecompressError::Dictionary);
    }
    if descriptor & CHECKSUM != 0 {
        return Err(DecompressError::Checksum);
    }
    let (window, rest) = window(descriptor, rest)?;
    let frame = content_size(descriptor, rest)?;
    if frame != u64::from(declared) {
        return Err(DecompressError::FrameSize { declared, frame });
    }
    let allowed = frame.max(LEAST_WINDOW);
    if window > allowed {
        return Err(DecompressError::Window { window, allowed });
    }
    let length = zstd_safe::find_frame_compressed_size(bytes).map_err(refused)?;
    match bytes.len().saturating_sub(length) {
        0 => Ok(()),
        bytes => Err(DecompressError::Trailing { bytes }),
    }
}

/// What the library says about bytes that it does not take.
pub(crate) fn refused(code: usize) -> DecompressError {
    malformed(zstd_safe::get_error_name(code))
}

const fn malformed(detail: &'static str) -> DecompressError {
    DecompressError::Malformed { algorithm: Algorithm::Zstd, detail }
}

const CUT: DecompressError = malformed("the head of the frame is cut short");

fn descriptor(bytes: &[u8]) -> Result<(u8, &[u8]), DecompressError> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    let [first, last @ ..] = magic;
    if last == &SKIPPABLE && first & 0xf0 == 0x50 {
        return Err(DecompressError::Skippable);
    }
    if magic != &MAGIC {
        return Err(malformed("the first bytes are not those of a frame"));
    }
    rest.split_first().map(|(descriptor, rest)| (*descriptor, rest)).ok_or(CUT)
}

/// The window that the frame names; one segment needs none.
fn window(descriptor: u8, rest: &[u8]) -> Result<(u64, &[u8]), DecompressError> {
    if descriptor & SINGLE_SEGMENT != 0 {
        return Ok((0, rest));
    }
    let (byte, rest) = rest.split_first().ok_or(CUT)?;
    let base = LEAST_WINDOW << (byte >> 3);
    Ok((base + base / 8 * u64::from(byte & 7), rest))
}

fn content_size(descriptor: u8, rest: &[u8]) -> Result<u64, DecompressError> {
    match descriptor >> 6 {
        0 if descriptor & SINGLE_SEGMENT == 0 => Err(DecompressError::NoFrameSize),
        0 => number(rest, 1),
        1 => Ok(number(rest, 2)? + 256),
        2 => number(rest, 4),
        _ => number(rest, 8),
    }
}

/// A little-endian number of so many bytes.
fn number(bytes: &[u8], length: usize) -> Result<u64, DecompressError> {
    let bytes = bytes.get(..length).ok_or(CUT)?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
