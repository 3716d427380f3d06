//! The changes that a message carries: blocks, compressed or not, of operations on nodes.
//!
//! It owns their form and the bound on what they unfold to. It must never decide which may pass; [`super::gate`] does.

use std::collections::HashSet;

use super::message::{Garbage, Id, Reader, TOO_MANY, put_id, put_text};
use crate::limits::{BLOCK, BLOCKS_MAX, ENTRY_MAX, ENVELOPE_MAX, KEY_MAX, NODES_MAX};

/// How the blocks begin, and what ends them.
const END: u8 = 0;
const COMPRESSED: u8 = 1;
const PLAIN: u8 = 2;
/// The level of compression that the engine uses.
const LEVEL: i32 = 3;

/// What is to be done about one start of a node.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) id: Id<'a>,
    cleared: u64,
    from: u64,
    pub(super) entries: Vec<Entry<'a>>,
    /// The version, where there is no entry that has it.
    version: Option<u64>,
}

impl Change<'_> {
    /// Whether the engine drops what it keeps of the node before it takes this: deletions have been forgotten that it has not
    /// seen.
    pub(super) const fn starts_anew(&self, version: u64, cleared: u64) -> bool {
        self.from == 0 && self.cleared > cleared && self.cleared > version
    }

    /// The highest version that it would leave behind.
    pub(super) fn highest(&self) -> u64 {
        let of_entries = self.entries.last().map_or(0, |last| last.version);
        of_entries.max(self.version.unwrap_or(0)).max(self.cleared)
    }
}

/// A key that was set or deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) text: &'a str,
    pub(super) version: u64,
    status: u8,
}

/// What to do with more than is allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    /// It is no message.
    Refuse,
    /// What fits is taken.
    Cut,
}

/// How many blocks there are; none is looked into.
pub(super) fn count_blocks(blocks: &[u8]) -> Result<usize, Garbage> {
    let mut reader = Reader(blocks);
    let mut count = 0;
    while next_block(&mut reader)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Unfolds the blocks, to `most` bytes.
pub(super) fn unfold(blocks: &[u8], most: usize, excess: Excess) -> Result<Vec<u8>, Garbage> {
    let mut reader = Reader(blocks);
    let (mut unfolded, mut count) = (Vec::new(), 0);
    while let Some((compressed, block)) = next_block(&mut reader)? {
        count += 1;
        if count > BLOCKS_MAX && excess == Excess::Refuse {
            return Err(Garbage("more than 32 blocks of changes"));
        }
        let before = unfolded.len();
        // Room for no more than a block may have and the whole may still take: the decompressor stops there.
        let room = most.saturating_sub(before).min(usize::from(u16::MAX));
        let fits = if compressed {
            unfolded.resize(before + room, 0);
            let place = unfolded.get_mut(before..).unwrap_or_default();
            let len = zstd_safe::decompress(place, block);
            unfolded.truncate(before + len.unwrap_or_default());
            len.is_ok()
        } else {
            let fits = block.len() <= room;
            unfolded.extend(block.iter().take(if fits { block.len() } else { 0 }));
            fits
        };
        match excess {
            Excess::Refuse if !fits => return Err(Garbage("changes that unfold to more than 512 KiB, or not at all")),
            Excess::Cut if !fits => return Ok(unfolded),
            Excess::Refuse | Excess::Cut => {}
        }
    }
    if reader.0.is_empty() { Ok(unfolded) } else { Err(Garbage("bytes behind the changes")) }
}

fn next_block<'a>(reader: &mut Reader<'a>) -> Result<Option<(bool, &'a [u8])>, Garbage> {
    let compressed = match reader.byte()? {
        END => return Ok(None),
        COMPRESSED => true,
        PLAIN => false,
        _ => return Err(Garbage("unknown kind of block")),
    };
    let len = reader.len()?;
    Ok(Some((compressed, reader.take(len)?)))
}

/// Reads unfolded changes. Everything that the engine would stumble over is refused: versions that do not grow, a version
/// behind entries that is not theirs, keys whose first byte is no character.
pub(super) fn read(unfolded: &[u8], excess: Excess) -> Result<Vec<Change<'_>>, Garbage> {
    let mut reader = Reader(unfolded);
    // Many nodes fit a message: each is looked for in one step.
    let (mut changes, mut nodes) = (Vec::new(), HashSet::new());
    while !reader.0.is_empty() {
        match read_operation(&mut reader, &mut changes, &mut nodes) {
            Err(_) if excess == Excess::Cut => break,
            other => other?,
        }
    }
    Ok(changes)
}

fn read_operation<'a>(
    reader: &mut Reader<'a>,
    changes: &mut Vec<Change<'a>>,
    nodes: &mut HashSet<Id<'a>>,
) -> Result<(), Garbage> {
    match reader.byte()? {
        0 => {
            let id = reader.id()?;
            let [cleared, from] = [reader.counter()?, reader.counter()?];
            if changes.len() == NODES_MAX {
                return Err(TOO_MANY);
            }
            if !nodes.insert(id) {
                return Err(Garbage("a node twice"));
            }
            changes.push(Change { id, cleared, from, entries: Vec::new(), version: None });
            Ok(())
        }
        1 => {
            let entry = read_entry(reader)?;
            let change = changes.last_mut().filter(|change| change.version.is_none());
            let change = change.ok_or(Garbage("an entry of no node"))?;
            if change.entries.last().map_or(0, |last| last.version) >= entry.version {
                return Err(Garbage("versions that do not grow"));
            }
            change.entries.push(entry);
            Ok(())
        }
        2 => {
            let version = reader.counter()?;
            let bare = changes.last_mut().filter(|change| change.entries.is_empty() && change.version.is_none());
            bare.ok_or(Garbage("a version out of its place"))?.version = Some(version);
            Ok(())
        }
        _ => Err(Garbage("unknown operation")),
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, Garbage> {
    let (key, text) = (reader.text()?, reader.text()?);
    if !is_key(key) {
        return Err(Garbage("no key"));
    }
    if key.len() + text.len() > ENTRY_MAX + ENVELOPE_MAX {
        return Err(Garbage("a key and value of more than 32 KiB"));
    }
    let version = reader.counter()?;
    let status = reader.byte()?;
    // The engine's third status, an end of life of its own, is one that np does not use.
    if status > 1 { Err(Garbage("unknown status")) } else { Ok(Entry { key, text, version, status }) }
}

/// Whether a text may be a key.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=KEY_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The changes as blocks.
pub(super) fn write(changes: &[Change<'_>], compress: bool) -> Vec<u8> {
    let mut operations = Vec::new();
    for change in changes {
        operations.push(0);
        put_id(&mut operations, &change.id);
        operations.extend(change.cleared.to_le_bytes());
        operations.extend(change.from.to_le_bytes());
        for entry in &change.entries {
            operations.push(1);
            put_text(&mut operations, entry.key);
            put_text(&mut operations, entry.text);
            operations.extend(entry.version.to_le_bytes());
            operations.push(entry.status);
        }
        if let Some(version) = change.version {
            operations.push(2);
            operations.extend(version.to_le_bytes());
        }
    }
    fold(&operations, compress)
}

fn fold(operations: &[u8], compress: bool) -> Vec<u8> {
    let mut blocks = Vec::new();
    let mut place = vec![0; BLOCK];
    for block in operations.chunks(BLOCK) {
        let room = place.get_mut(..block.len()).unwrap_or_default();
        let compressed = if compress { zstd_safe::compress(room, block, LEVEL).ok() } else { None };
        let (kind, bytes) = match compressed.and_then(|len| place.get(..len)) {
            Some(smaller) => (COMPRESSED, smaller),
            None => (PLAIN, block),
        };
        blocks.push(kind);
        super::message::put_len(&mut blocks, bytes.len());
        blocks.extend(bytes);
    }
    blocks.push(END);
    blocks
}
