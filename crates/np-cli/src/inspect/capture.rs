//! Captures as pcap and pcapng hold them: packets with their time and kind of link, and nothing of what is in them.
//!
//! Both formats are read here and not by a crate: what np needs of them is three blocks and two headers, every length is
//! checked against what is there, and nothing is allocated for one. The crates that do it bring a parser generator each,
//! and leave TCP, which is the larger part, to their users.

use super::bytes::Cursor;

/// The interfaces of a section that are kept.
const MAX_INTERFACES: usize = 1_024;

/// A packet as it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Its number in the capture, from 1.
    pub(super) number: usize,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// The kind of link, a number of the LINKTYPE registry.
    pub(super) link: u32,
    /// What was kept of it.
    pub(super) bytes: &'a [u8],
}

/// The packets of a capture, and where it broke off.
#[derive(Debug, Default)]
pub(super) struct Capture<'a> {
    pub(super) packets: Vec<Packet<'a>>,
    /// Why reading ended before the end.
    pub(super) broken: Option<String>,
}

/// The magic numbers of pcap: whether they stand big-endian, and whether times are in nanoseconds.
const fn pcap_magic(bytes: [u8; 4]) -> Option<(bool, bool)> {
    match bytes {
        [0xa1, 0xb2, 0xc3, 0xd4] => Some((true, false)),
        [0xd4, 0xc3, 0xb2, 0xa1] => Some((false, false)),
        [0xa1, 0xb2, 0x3c, 0x4d] => Some((true, true)),
        [0x4d, 0x3c, 0xb2, 0xa1] => Some((false, true)),
        _ => None,
    }
}

/// The type of the block that begins a pcapng file, the same in both orders of bytes.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reads a capture; nothing where the bytes are none. At most `most` packets are taken.
pub(super) fn read(bytes: &[u8], most: usize) -> Option<Capture<'_>> {
    let magic = *bytes.first_chunk()?;
    if magic == SECTION {
        return Some(Pcapng::read(bytes, most));
    }
    let (big, nanos) = pcap_magic(magic)?;
    Some(pcap(Cursor::new(bytes).in_order(big), nanos, most))
}

fn pcap(mut cursor: Cursor<'_>, nanos: bool, most: usize) -> Capture<'_> {
    let mut capture = Capture::default();
    // The magic, two versions, a time zone, an accuracy and the longest packet stand before the kind of link.
    let Some(link) = cursor.take(20).and_then(|_| cursor.u32()) else {
        capture.broken = Some("the header of the file is cut short".to_owned());
        return capture;
    };
    // The upper bits say whether frames end in a checksum.
    let link = link & 0xffff;
    while !cursor.rest().is_empty() && capture.has_room(most) {
        let number = capture.packets.len() + 1;
        let Some((time, bytes)) = pcap_packet(&mut cursor, nanos) else {
            capture.broken = Some(format!("packet {number} is cut short: the file ends within it"));
            break;
        };
        capture.packets.push(Packet { number, time, link, bytes });
    }
    capture
}

fn pcap_packet<'a>(cursor: &mut Cursor<'a>, nanos: bool) -> Option<(u64, &'a [u8])> {
    let (seconds, fraction) = (cursor.u32()?, cursor.u32()?);
    let (kept, _was) = (cursor.u32()?, cursor.u32()?);
    let bytes = cursor.take(usize::try_from(kept).ok()?)?;
    let fraction = u64::from(fraction) * if nanos { 1 } else { 1_000 };
    Some((u64::from(seconds) * 1_000_000_000 + fraction, bytes))
}

impl Capture<'_> {
    fn has_room(&mut self, most: usize) -> bool {
        let room = self.packets.len() < most;
        if !room {
            self.broken = Some(format!("limit `packets` of {most} reached: what follows is left out"));
        }
        room
    }
}

/// What a section of a pcapng file says of its interfaces.
#[derive(Debug, Default)]
struct Pcapng<'a> {
    capture: Capture<'a>,
    /// The kind of link, the most bytes of a packet (0 is no limit), and the units of time in a second.
    interfaces: Vec<(u32, u32, u64)>,
    big: bool,
}

impl<'a> Pcapng<'a> {
    fn read(bytes: &'a [u8], most: usize) -> Capture<'a> {
        let mut it = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() && it.capture.has_room(most) {
            match it.block(rest) {
                Some(size) => rest = rest.get(size..).unwrap_or_default(),
                None => {
                    let at = bytes.len().saturating_sub(rest.len());
                    it.capture.broken = Some(format!("the block at byte {at} is cut short, or its length is wrong"));
                    break;
                }
            }
        }
        it.capture
    }

    /// Reads a block, and gives how many bytes it takes.
    fn block(&mut self, bytes: &'a [u8]) -> Option<usize> {
        let mut cursor = Cursor::new(bytes);
        let kind = cursor.take(4)?;
        if kind == SECTION {
            // The order of bytes stands behind the length, which is written in it.
            let mut ahead = cursor;
            ahead.take(4)?;
            self.big = match ahead.take(4)? {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ => return None,
            };
            self.interfaces.clear();
        }
        let kind = Cursor::new(kind).in_order(self.big).u32()?;
        let mut cursor = cursor.in_order(self.big);
        let size = usize::try_from(cursor.u32()?).ok()?;
        // Kind and length in front, length behind.
        let body = cursor.take(size.checked_sub(12)?)?;
        let again = usize::try_from(cursor.u32()?).ok()?;
        if again != size || size % 4 != 0 {
            return None;
        }
        let body = Cursor::new(body).in_order(self.big);
        match kind {
            1 => self.interface(body)?,
            3 => self.simple(body)?,
            6 => self.enhanced(body)?,
            _ => {}
        }
        Some(size)
    }

    fn interface(&mut self, mut body: Cursor<'a>) -> Option<()> {
        let link = u32::from(body.u16()?);
        body.u16()?;
        let snap = body.u32()?;
        let mut units = 1_000_000;
        while let (Some(option), Some(length)) = (body.u16(), body.u16()) {
            let value = body.take(usize::from(length).next_multiple_of(4))?;
            match (option, value.first()) {
                (0, _) => break,
                // A power of ten, or with the highest bit of two.
                (9, Some(power)) if power & 0x80 == 0 => units = 10u64.checked_pow(u32::from(*power))?,
                (9, Some(power)) => units = 2u64.checked_pow(u32::from(power & 0x7f))?,
                _ => {}
            }
        }
        if self.interfaces.len() < MAX_INTERFACES {
            self.interfaces.push((link, snap, units));
        }
        Some(())
    }

    fn enhanced(&mut self, mut body: Cursor<'a>) -> Option<()> {
        let interface = usize::try_from(body.u32()?).ok()?;
        let (link, _, units) = *self.interfaces.get(interface)?;
        let time = u64::from(body.u32()?) << 32 | u64::from(body.u32()?);
        let kept = usize::try_from(body.u32()?).ok()?;
        body.u32()?;
        let nanos = u128::from(time) * 1_000_000_000 / u128::from(units);
        self.push(u64::try_from(nanos).unwrap_or(u64::MAX), link, body.take(kept)?);
        Some(())
    }

    /// A packet without a time, of the first interface.
    fn simple(&mut self, mut body: Cursor<'a>) -> Option<()> {
        let (link, snap, _) = *self.interfaces.first()?;
        let was = body.u32()?;
        let kept = if snap == 0 { was } else { was.min(snap) };
        self.push(0, link, body.take(usize::try_from(kept).ok()?)?);
        Some(())
    }

    fn push(&mut self, time: u64, link: u32, bytes: &'a [u8]) {
        let number = self.capture.packets.len() + 1;
        self.capture.packets.push(Packet { number, time, link, bytes });
    }
}
