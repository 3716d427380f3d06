//! Stream ids: who opened the stream, and the how-manieth it is.

use std::fmt;

/// The two ends of a connection: the one that sent the preface, and the other.
///
/// ```
/// use np_wire::Side;
/// assert_eq!(Side::Initiator.other(), Side::Responder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Sent the preface.
    Initiator,
    /// Answered it.
    Responder,
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// The id of a stream: its opener in the lowest bit, its place among the opener's streams above it.
///
/// Frames that open a stream carry no id: the first one a side opens is 0, the next 1, and so on.
///
/// ```
/// use np_wire::{Side, StreamId};
/// let id = StreamId::new(Side::Responder, 3);
/// assert_eq!(id.to_wire(), 7);
/// assert_eq!((id.opener(), id.index()), (Side::Responder, 3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The id of the `index`-th stream (from 0) that `opener` opened.
    #[must_use]
    pub const fn new(opener: Side, index: u64) -> Self {
        Self(index << 1 | matches!(opener, Side::Responder) as u64)
    }

    /// The id of a number from the wire.
    #[must_use]
    pub const fn from_wire(value: u64) -> Self {
        Self(value)
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u64 {
        self.0
    }

    /// Who opened it.
    #[must_use]
    pub const fn opener(self) -> Side {
        if self.0 & 1 == 0 { Side::Initiator } else { Side::Responder }
    }

    /// Its place among the opener's streams.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0 >> 1
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.opener() {
            Side::Initiator => 'i',
            Side::Responder => 'r',
        };
        write!(f, "{side}{}", self.index())
    }
}

#[cfg(test)]
mod tests {
    use super::{Side, StreamId};

    #[test]
    fn ids_tell_the_opener_and_the_place() {
        for (wire, side, index) in
            [(0, Side::Initiator, 0), (1, Side::Responder, 0), (2, Side::Initiator, 1), (9, Side::Responder, 4)]
        {
            let id = StreamId::new(side, index);
            assert_eq!(id, StreamId::from_wire(wire));
            assert_eq!((id.to_wire(), id.opener(), id.index()), (wire, side, index));
        }
    }

    #[test]
    fn debug_names_the_side() {
        assert_eq!(format!("{:?} {:?}", StreamId::from_wire(6), StreamId::from_wire(7)), "i3 r3");
    }
}
