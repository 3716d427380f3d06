//! This process's own memory, read as a file and looked through for secrets. Linux alone has such a file.
//!
//! A secret that is looked for is kept turned round bit by bit, so that what looks for it is not what is found.

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;

/// Bytes that are looked for: enough of a secret to be no accident, and less than the allocator leaves of it.
const LENGTH: usize = 16;
const CHUNK: usize = 1 << 20;

/// Half a secret.
pub(crate) struct Needle {
    name: String,
    inverted: [u8; LENGTH],
}

/// Both halves of a secret, which is given turned round: freed memory loses its first bytes to the allocator's lists.
pub(crate) fn needles(name: &str, inverted: &[u8; 32]) -> [Needle; 2] {
    let half = |part: &str, at: usize| {
        let mut half = [0; LENGTH];
        half.copy_from_slice(&inverted[at..at + LENGTH]);
        Needle { name: format!("{name}, {part} half"), inverted: half }
    };
    [half("first", 0), half("second", LENGTH)]
}

/// The names of those that stand anywhere in the writable memory of this process, each with the places.
pub(crate) fn search(needles: &[Needle]) -> Vec<String> {
    // A call below this one would have written over what dead calls left on the stack; one that is deep does so here.
    scrub(80);
    let mut buffer = vec![0; CHUNK + LENGTH];
    let own = buffer.as_ptr() as usize;
    let own = own..own + buffer.len();
    let starts: Vec<bool> = (0..=u16::MAX).map(|pair| needles.iter().any(|needle| needle.starts(pair))).collect();
    let (memory, mut found) = (File::open("/proc/self/mem").unwrap(), Vec::new());
    for (from, to, what) in regions() {
        let mut at = from;
        while at < to {
            let size = (to - at).min(CHUNK + LENGTH);
            // A region may go while it is read.
            let read = memory.read_at(&mut buffer[..size], at as u64).unwrap_or(0);
            for (offset, window) in buffer[..read].windows(LENGTH).enumerate() {
                let pair = usize::from(u16::from_le_bytes([window[0], window[1]]));
                // What is read stands in the buffer, too.
                if starts[pair] && !own.contains(&(at + offset)) {
                    let hits = needles.iter().filter(|needle| needle.is(window));
                    found.extend(hits.map(|needle| format!("{} at {:#x} in {what}", needle.name, at + offset)));
                }
            }
            at += CHUNK;
        }
    }
    buffer.fill(0);
    black_box(&buffer);
    found
}

impl Needle {
    fn starts(&self, pair: u16) -> bool {
        pair.to_le_bytes() == [!self.inverted[0], !self.inverted[1]]
    }

    fn is(&self, window: &[u8]) -> bool {
        window.iter().zip(&self.inverted).all(|(one, other)| *one == !*other)
    }
}

/// Memory that may be written: from, to, and what it is.
fn regions() -> Vec<(usize, usize, String)> {
    let text = fs::read_to_string("/proc/self/maps").unwrap();
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (range, rights, what) = (words.next()?, words.next()?, words.nth(3).unwrap_or("memory without a name"));
        let (from, to) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        rights.starts_with("rw").then_some((number(from)?, number(to)?, what.to_owned()))
    });
    lines.collect()
}

/// Writes over the stack below the caller: as many steps of 16 KiB.
#[inline(never)]
fn scrub(steps: usize) {
    let mut block = [0x5a_u8; 16 << 10];
    black_box(&mut block);
    if steps > 0 {
        scrub(steps - 1);
    }
    black_box(&mut block);
}
