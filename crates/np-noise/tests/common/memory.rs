//! This process's own memory, read as a file and looked through for secrets. Linux alone has such a file.
//!
//! A secret that is looked for is kept turned round bit by bit, so that what looks for it is not what is found.

use std::fs::File;
use std::hint::black_box;
use std::io::Read as _;
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

/// Looks through this process's memory. Everything that it needs is there before the secrets are: what it took from the
/// heap when they are gone would be where they were.
pub(crate) struct Search {
    needles: Vec<Needle>,
    /// Whether a needle begins with these two bytes.
    starts: Vec<bool>,
    buffer: Vec<u8>,
    maps: Vec<u8>,
}

impl Search {
    pub(crate) fn new(needles: impl IntoIterator<Item = Needle>) -> Self {
        let needles: Vec<Needle> = needles.into_iter().collect();
        let starts = (0..=u16::MAX).map(|pair| needles.iter().any(|needle| needle.starts(pair))).collect();
        Self { needles, starts, buffer: vec![0; CHUNK + LENGTH], maps: vec![0; CHUNK] }
    }

    /// The names of those that stand anywhere in the writable memory of this process, each with the places.
    pub(crate) fn look(&mut self) -> Vec<String> {
        // A call below this one would have written over what dead calls left on the stack; one that is deep does so here.
        scrub(80);
        let own = self.buffer.as_ptr() as usize;
        let own = own..own + self.buffer.len();
        let (memory, mut found) = (File::open("/proc/self/mem").unwrap(), Vec::new());
        let mut maps = read_maps(&mut self.maps);
        while let Some((line, rest)) = maps.split_once('\n') {
            maps = rest;
            let Some((from, to)) = region(line) else { continue };
            let mut at = from;
            while at < to {
                let size = (to - at).min(CHUNK + LENGTH);
                // A region may go while it is read.
                let read = memory.read_at(&mut self.buffer[..size], at as u64).unwrap_or(0);
                for (offset, window) in self.buffer[..read].windows(LENGTH).enumerate() {
                    let pair = usize::from(u16::from_le_bytes([window[0], window[1]]));
                    // What is read stands in the buffer, too.
                    if self.starts[pair] && !own.contains(&(at + offset)) {
                        let hits = self.needles.iter().filter(|needle| needle.is(window));
                        found.extend(hits.map(|needle| format!("{} at {:#x} of {line}", needle.name, at + offset)));
                    }
                }
                at += CHUNK;
            }
        }
        self.buffer.fill(0);
        black_box(&self.buffer);
        found
    }
}

/// The table of this process's memory.
fn read_maps(buffer: &mut [u8]) -> &str {
    let (mut file, mut length) = (File::open("/proc/self/maps").unwrap(), 0);
    loop {
        match file.read(&mut buffer[length..]).unwrap() {
            0 => break,
            read => length += read,
        }
    }
    assert!(length < buffer.len(), "the table is longer than its buffer");
    std::str::from_utf8(&buffer[..length]).unwrap()
}

/// From where to where a region reaches, if it may be written.
fn region(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split(' ');
    let (range, rights) = (words.next()?, words.next()?);
    let (from, to) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    rights.starts_with("rw").then_some((number(from)?, number(to)?))
}

impl Needle {
    fn starts(&self, pair: u16) -> bool {
        pair.to_le_bytes() == [!self.inverted[0], !self.inverted[1]]
    }

    fn is(&self, window: &[u8]) -> bool {
        window.iter().zip(&self.inverted).all(|(one, other)| *one == !*other)
    }
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
