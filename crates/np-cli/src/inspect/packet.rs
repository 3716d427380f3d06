//! From a captured packet to the segment of TCP in it: headers of links, of IP and of TCP. Must never know what a stream is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::bytes::Cursor;
use super::capture::Packet;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
/// Tags of virtual networks, and headers of IPv6, that are stepped over.
const MAX_STEPS: usize = 8;

/// A segment of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
}

/// Why a packet holds no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Another protocol.
    Other,
    /// A part of a packet: np's own never are, since TCP avoids it.
    Fragment,
    /// A header that is cut short or contradicts itself.
    Malformed,
    /// A kind of link that is not read.
    Link(u32),
}

/// The segment of a packet.
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Result<Segment<'a>, Skipped> {
    let mut cursor = Cursor::new(packet.bytes);
    let kind = link(&mut cursor, packet.link)?;
    match kind {
        IPV4 => ipv4(cursor),
        IPV6 => ipv6(cursor),
        _ => Err(Skipped::Other),
    }
}

/// Steps over the header of the link, and gives the protocol behind it.
fn link(cursor: &mut Cursor<'_>, link: u32) -> Result<u16, Skipped> {
    let protocol = match link {
        // BSD's loopback: four bytes of a family, in the order of whoever captured; the packet itself says what it is.
        0 | 108 => cursor.take(4).and_then(|_| version(cursor)),
        1 => cursor.take(12).and_then(|_| ether_type(cursor)),
        12 | 14 | 101 | 228 | 229 => version(cursor),
        // Linux's "any" interface, in its two forms.
        113 => cursor.take(14).and_then(|_| ether_type(cursor)),
        276 => {
            let mut head = *cursor;
            cursor.take(20).and_then(|_| ether_type(&mut head))
        }
        other => return Err(Skipped::Link(other)),
    };
    protocol.ok_or(Skipped::Malformed)
}

/// The type of what follows, past tags of virtual networks.
fn ether_type(cursor: &mut Cursor<'_>) -> Option<u16> {
    for _ in 0..MAX_STEPS {
        match cursor.u16()? {
            0x8100 | 0x88a8 => cursor.take(2)?,
            other => return Some(other),
        };
    }
    None
}

/// The version of IP by its first four bits.
fn version(cursor: &Cursor<'_>) -> Option<u16> {
    match cursor.rest().first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => Some(0),
    }
}

fn ipv4(cursor: Cursor<'_>) -> Result<Segment<'_>, Skipped> {
    let parse = || {
        let whole = cursor.rest();
        let mut cursor = cursor;
        let header = usize::from(cursor.u8()? & 0x0f) * 4;
        cursor.u8()?;
        let length = usize::from(cursor.u16()?);
        cursor.u16()?;
        let fragment = cursor.u16()?;
        cursor.u8()?;
        let protocol = cursor.u8()?;
        cursor.u16()?;
        let addresses = [cursor.u32()?, cursor.u32()?].map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
        // A length of zero is that of a packet which the network card was to cut.
        let length = if length == 0 { whole.len() } else { length.min(whole.len()) };
        let body = whole.get(header.max(20)..length)?;
        Some((fragment & 0x3fff != 0, protocol, addresses, body))
    };
    let (fragment, protocol, addresses, body) = parse().ok_or(Skipped::Malformed)?;
    inside(fragment, protocol, addresses, body)
}

fn ipv6(cursor: Cursor<'_>) -> Result<Segment<'_>, Skipped> {
    let parse = || {
        let mut cursor = cursor;
        cursor.u32()?;
        let length = usize::from(cursor.u16()?);
        let mut next = cursor.u8()?;
        cursor.u8()?;
        let mut address = || {
            let bytes: [u8; 16] = cursor.take(16)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        };
        let addresses = [address()?, address()?];
        let length = if length == 0 { cursor.rest().len() } else { length.min(cursor.rest().len()) };
        let mut body = Cursor::new(cursor.take(length)?);
        for _ in 0..MAX_STEPS {
            match next {
                // Options for routers, routes, and options for the end.
                0 | 43 | 60 => {
                    next = body.u8()?;
                    let eights = usize::from(body.u8()?);
                    body.take(eights * 8 + 6)?;
                }
                44 => {
                    next = body.u8()?;
                    body.u8()?;
                    let fragment = body.u16()? & 0xfff9 != 0;
                    body.u32()?;
                    if fragment {
                        return Some((true, next, addresses, body.rest()));
                    }
                }
                _ => break,
            }
        }
        Some((false, next, addresses, body.rest()))
    };
    let (fragment, protocol, addresses, body) = parse().ok_or(Skipped::Malformed)?;
    inside(fragment, protocol, addresses, body)
}

fn inside(fragment: bool, protocol: u8, [from, to]: [IpAddr; 2], body: &[u8]) -> Result<Segment<'_>, Skipped> {
    if protocol != TCP {
        return Err(Skipped::Other);
    }
    if fragment {
        return Err(Skipped::Fragment);
    }
    let parse = || {
        let mut cursor = Cursor::new(body);
        let (source, target) = (cursor.u16()?, cursor.u16()?);
        let sequence = cursor.u32()?;
        cursor.u32()?;
        let header = usize::from(cursor.u8()? >> 4) * 4;
        let flags = cursor.u8()?;
        let payload = body.get(header.max(20)..)?;
        let has = |bit: u8| flags & bit != 0;
        let (from, to) = (SocketAddr::new(from, source), SocketAddr::new(to, target));
        Some(Segment { from, to, sequence, syn: has(2), ack: has(16), fin: has(1), rst: has(4), payload })
    };
    parse().ok_or(Skipped::Malformed)
}
