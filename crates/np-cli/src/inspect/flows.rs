//! TCP put together again: the bytes of each direction in the order of their numbers, and in which packet each had come.
//! Must never know what the bytes mean.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::capture::Packet;
use super::packet::Segment;

/// The connections of one capture that are followed.
pub(super) const MAX_CONNECTIONS: usize = 65_536;

/// How a connection's direction ended, as far as the capture tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum End {
    /// It goes on.
    #[default]
    Open,
    /// Its sender had said all.
    Finished,
    /// Its sender broke the connection.
    Reset,
}

/// When bytes had come: the packet that brought the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct When {
    pub(super) packet: usize,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
}

/// The bytes of one direction.
#[derive(Debug, Default)]
pub(super) struct Stream<'a> {
    /// The number of the first byte.
    base: Option<u32>,
    pub(super) bytes: Vec<u8>,
    /// Up to which byte there was what at which time.
    marks: Vec<(usize, When)>,
    /// Segments behind a gap, by their place.
    waiting: BTreeMap<usize, (When, &'a [u8])>,
    pub(super) end: End,
}

impl<'a> Stream<'a> {
    /// Bytes of one direction that were no packets.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// When the byte before `end` had come with all before it.
    pub(super) fn when(&self, end: usize) -> When {
        let at = self.marks.partition_point(|(upto, _)| *upto < end);
        self.marks.get(at).or_else(|| self.marks.last()).map(|(_, when)| *when).unwrap_or_default()
    }

    /// How many bytes are missing before more, and how many stand behind that gap.
    pub(super) fn gap(&self) -> Option<(usize, usize)> {
        let (first, _) = self.waiting.first_key_value()?;
        let behind = self.waiting.values().map(|(_, bytes)| bytes.len()).sum();
        Some((first.saturating_sub(self.bytes.len()), behind))
    }

    fn take(&mut self, segment: &Segment<'a>, when: When) {
        if segment.rst {
            self.end = End::Reset;
        } else if segment.fin && self.end == End::Open {
            self.end = End::Finished;
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.syn));
        let base = *self.base.get_or_insert(first);
        if segment.payload.is_empty() {
            return;
        }
        // Numbers go round after 4 GiB; which round it is, the nearest place tells.
        let expected = base.wrapping_add(self.bytes.len() as u32);
        let ahead = i64::from(first.wrapping_sub(expected) as i32);
        let Ok(place) = usize::try_from((self.bytes.len() as i64).saturating_add(ahead)) else {
            // From before the first byte that was captured.
            return;
        };
        if place > self.bytes.len() {
            let longer = self.waiting.get(&place).is_none_or(|(_, kept)| kept.len() < segment.payload.len());
            if longer {
                self.waiting.insert(place, (when, segment.payload));
            }
            return;
        }
        self.append(place, segment.payload, when);
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.bytes.len() {
                break;
            }
            let (place, (_, payload)) = entry.remove_entry();
            // It counts as there once the gap before it is closed.
            self.append(place, payload, when);
        }
    }

    /// Takes what is new of a segment: what was there before stays as it was.
    fn append(&mut self, place: usize, payload: &[u8], when: When) {
        let known = self.bytes.len().saturating_sub(place);
        let fresh = payload.get(known..).unwrap_or_default();
        if !fresh.is_empty() {
            self.bytes.extend_from_slice(fresh);
            self.marks.push((self.bytes.len(), when));
        }
    }
}

/// One connection, its first sender first.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    pub(super) ends: [SocketAddr; 2],
    pub(super) streams: [Stream<'a>; 2],
}

/// The connections of a capture.
#[derive(Debug, Default)]
pub(super) struct Flows<'a> {
    pub(super) connections: Vec<Connection<'a>>,
    latest: HashMap<[SocketAddr; 2], usize>,
    /// Connections that were too many.
    pub(super) left_out: usize,
}

impl<'a> Flows<'a> {
    /// Takes the next segment of the capture.
    pub(super) fn take(&mut self, packet: &Packet<'a>, segment: &Segment<'a>) {
        let key = if segment.from <= segment.to { [segment.from, segment.to] } else { [segment.to, segment.from] };
        let at = match self.latest.get(&key) {
            Some(at) if !self.begins_anew(*at, segment) => *at,
            _ if self.connections.len() >= MAX_CONNECTIONS => {
                self.left_out += 1;
                return;
            }
            _ => {
                self.connections.push(Connection { ends: [segment.from, segment.to], streams: Default::default() });
                let at = self.connections.len().saturating_sub(1);
                self.latest.insert(key, at);
                at
            }
        };
        let when = When { packet: packet.number, time: packet.time };
        if let Some(Connection { ends: [first, _], streams: [forth, back] }) = self.connections.get_mut(at) {
            let stream = if segment.from == *first { forth } else { back };
            stream.take(segment, when);
        }
    }

    /// Whether a segment opens another connection between the same ends: a SYN with another number.
    fn begins_anew(&self, at: usize, segment: &Segment<'_>) -> bool {
        if !segment.syn || segment.ack {
            return false;
        }
        let Some(Connection { ends: [first, _], streams: [forth, back] }) = self.connections.get(at) else {
            return true;
        };
        let stream = if segment.from == *first { forth } else { back };
        stream.base.is_some_and(|base| base != segment.sequence.wrapping_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, End, Flows, When};
    use crate::inspect::capture::Packet;
    use crate::inspect::packet::Segment;

    fn segment(sequence: u32, payload: &[u8]) -> Segment<'_> {
        let (from, to) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        Segment { from, to, sequence, syn: false, ack: true, fin: false, rst: false, payload }
    }

    fn packet(number: usize) -> Packet<'static> {
        Packet { number, time: number as u64 * 10, link: 1, bytes: &[] }
    }

    /// The connections after these segments, one a packet.
    fn flows<'a>(segments: &[Segment<'a>]) -> Vec<Connection<'a>> {
        let mut flows = Flows::default();
        for (at, segment) in segments.iter().enumerate() {
            flows.take(&packet(at + 1), segment);
        }
        flows.connections
    }

    #[test]
    fn segments_come_together_whatever_their_order_and_how_often_they_come() {
        let syn = Segment { syn: true, ack: false, ..segment(u32::MAX - 2, b"") };
        let first = u32::MAX - 1;
        let at = |place: u32, payload| segment(first.wrapping_add(place), payload);
        // Numbers go round within; a repetition holds other bytes than the first, which count.
        let all = [syn, at(0, b"abc"), at(6, b"ghi"), at(3, b"de"), at(3, b"XXf"), at(0, b"ABC"), at(9, b"j")];
        let [connection] = &flows(&all)[..] else { panic!() };
        let stream = &connection.streams[0];
        assert_eq!(stream.bytes, b"abcdefghij");
        assert_eq!(stream.gap(), None);
        // The bytes behind the gap are there once it is closed.
        let packets: Vec<usize> = [1, 3, 4, 6, 9, 10].map(|end| stream.when(end).packet).to_vec();
        assert_eq!(packets, [2, 2, 4, 5, 5, 7]);
        assert_eq!(stream.when(1), When { packet: 2, time: 20 });
    }

    #[test]
    fn a_gap_is_told_and_what_was_before_the_capture_is_left_out() {
        let all = [segment(1_000, b"abc"), segment(1_010, b"xyz"), segment(990, b"before"), segment(1_013, b"!")];
        let connection = &flows(&all)[0];
        assert_eq!(connection.streams[0].bytes, b"abc");
        assert_eq!(connection.streams[0].gap(), Some((7, 4)));
    }

    #[test]
    fn a_new_syn_begins_a_connection_and_a_repeated_one_does_not() {
        let syn = |sequence| Segment { syn: true, ack: false, ..segment(sequence, b"") };
        let fin = Segment { fin: true, ..segment(103, b"") };
        let found = flows(&[syn(100), syn(100), segment(101, b"ab"), fin, syn(500), segment(501, b"cd")]);
        let bytes: Vec<&[u8]> = found.iter().map(|connection| connection.streams[0].bytes.as_slice()).collect();
        assert_eq!(bytes, [b"ab", b"cd"]);
        assert_eq!((found[0].streams[0].end, found[1].streams[0].end), (End::Finished, End::Open));
        let rst = Segment { rst: true, ..segment(503, b"") };
        assert_eq!(flows(&[syn(500), rst])[0].streams[0].end, End::Reset);
    }
}
