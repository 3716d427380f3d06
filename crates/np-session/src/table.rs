//! The streams of a connection: slots that are reused, and the ids that name them on the wire.

use std::fmt;

use np_wire::{Side, StreamId};

use crate::ids::Ids;
use crate::stream::Stream;

/// Names a stream to its session. Slots are reused, but never under the same key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    slot: u32,
    generation: u32,
}

impl StreamKey {
    /// Fills places that name no stream.
    pub(crate) const NONE: Self = Self { slot: u32::MAX, generation: u32::MAX };

    /// The number of the slot: small, and unique among the streams that are open.
    #[must_use]
    pub const fn slot(self) -> usize {
        self.slot as usize
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot, self.generation)
    }
}

/// A place for a stream: blank where none is open. A stream begins where it stands, since it is large, and to move what was
/// just written has to wait for the writing.
#[derive(Debug)]
struct Slot {
    generation: u32,
    open: bool,
    stream: Stream,
}

/// What is left of a stream that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removed {
    /// Bytes that the peer may still send for it.
    pub(crate) coming: u64,
    /// Whether its work was given up.
    pub(crate) abandoned: bool,
}

/// All streams of a connection. Its size is bounded by the two sides' allowances and the local queue.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Where the generations of new slots begin: past those of slots that were given back.
    floor: u32,
    ids: Ids,
    open_by_peer: usize,
    open_here: usize,
    held: u64,
    /// The part of it that the application has not answered.
    at_work: u64,
    /// Bytes of streams' messages that have not left as a whole.
    unsent: u64,
}

impl Table {
    /// Bytes that the calls of the peer hold.
    pub(crate) const fn held_bytes(&self) -> u64 {
        self.held
    }

    /// Bytes of calls that the application has not answered.
    pub(crate) const fn at_work_bytes(&self) -> u64 {
        self.at_work
    }

    /// Bytes that wait to leave: of answers, and of streams' messages.
    pub(crate) const fn leaving_bytes(&self) -> u64 {
        self.held - self.at_work + self.unsent
    }

    /// Bytes of messages that streams have to send.
    pub(crate) const fn unsent_bytes(&self) -> u64 {
        self.unsent
    }

    /// A stream has so much to send, in place of what it had.
    pub(crate) fn sends(&mut self, key: StreamKey, bytes: usize) {
        if let Some(stream) = stream_in(&mut self.slots, key) {
            let bytes = bytes as u64;
            self.unsent = self.unsent - std::mem::replace(&mut stream.unsent, bytes) + bytes;
        }
    }

    /// A call was answered, or ended: what it holds waits for the peer from now on.
    pub(crate) fn answered(&mut self, key: StreamKey) {
        if let Some(bytes) = self.stream_mut(key).map(|stream| std::mem::take(&mut stream.at_work)) {
            self.at_work -= bytes;
        }
    }

    /// Opens a stream; `begin` makes it of a blank one.
    #[inline]
    pub(crate) fn insert(&mut self, begin: impl FnOnce(&mut Stream)) -> StreamKey {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: self.floor, open: false, stream: Stream::BLANK });
            (self.slots.len() - 1) as u32
        });
        // A free place is one of the slots.
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return StreamKey::NONE;
        };
        slot.open = true;
        begin(&mut slot.stream);
        let (key, id) = (StreamKey { slot: at, generation: slot.generation }, slot.stream.id);
        if slot.stream.local {
            self.open_here += 1;
        } else {
            self.open_by_peer += 1;
        }
        if let Some(id) = id {
            self.name(key, id);
        }
        key
    }

    /// Gives a stream its id on the wire.
    pub(crate) fn name(&mut self, key: StreamKey, id: StreamId) {
        self.ids.insert(id.to_wire(), key);
        if let Some(stream) = self.stream_mut(key) {
            stream.id = Some(id);
        }
    }

    pub(crate) fn find(&self, id: StreamId) -> Option<StreamKey> {
        self.ids.find(id.to_wire())
    }

    pub(crate) fn stream(&self, key: StreamKey) -> Option<&Stream> {
        let slot = self.slots.get(key.slot as usize)?;
        (slot.open && slot.generation == key.generation).then_some(&slot.stream)
    }

    pub(crate) fn stream_mut(&mut self, key: StreamKey) -> Option<&mut Stream> {
        stream_in(&mut self.slots, key)
    }

    /// Ends a stream where it stands: gives what its end may need to know.
    pub(crate) fn remove(&mut self, key: StreamKey) -> Option<Removed> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if !slot.open || slot.generation != key.generation {
            return None;
        }
        let stream = &slot.stream;
        let removed = Removed {
            coming: if stream.peer_finished { 0 } else { stream.receive_credit },
            abandoned: stream.abandoned,
        };
        self.held -= stream.held;
        self.at_work -= stream.at_work;
        self.unsent -= stream.unsent;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.slot);
        if let Some(id) = stream.id {
            self.ids.remove(id.to_wire());
        }
        if stream.local {
            self.open_here -= 1;
        } else {
            self.open_by_peer -= 1;
        }
        slot.open = false;
        slot.stream.clear();
        Some(removed)
    }

    /// Gives its memory back, where no stream is open. Keys of before name nothing all the same.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && !self.slots.is_empty() {
            let highest = self.slots.iter().map(|slot| slot.generation).max().unwrap_or_default();
            *self = Self { floor: highest.wrapping_add(1), ..Self::default() };
        }
    }

    /// Past every generation that a slot had which was given back.
    pub(crate) const fn floor(&self) -> u32 {
        self.floor
    }

    /// An empty one in the place of another that rested.
    pub(crate) fn after(floor: u32) -> Self {
        Self { floor, ..Self::default() }
    }

    /// The keys of all streams, in the order of their slots.
    pub(crate) fn keys(&self) -> Vec<StreamKey> {
        let occupied = self.slots.iter().enumerate().filter(|(_, slot)| slot.open);
        occupied.map(|(at, slot)| StreamKey { slot: at as u32, generation: slot.generation }).collect()
    }

    /// Makes a call count for `bytes` against `most` in all; changes nothing and gives false where that is too much.
    pub(crate) fn hold(&mut self, key: StreamKey, bytes: u64, most: u64) -> bool {
        let Some(stream) = stream_in(&mut self.slots, key) else {
            return false;
        };
        let sum = self.held - stream.held + bytes;
        if sum > most {
            return false;
        }
        (self.held, stream.held) = (sum, bytes);
        self.at_work = self.at_work - std::mem::replace(&mut stream.at_work, bytes) + bytes;
        true
    }

    /// As [`Self::hold`], for a call that the application has answered; gives the call.
    pub(crate) fn hold_answer(&mut self, key: StreamKey, bytes: u64, most: u64) -> Option<&mut Stream> {
        let stream = stream_in(&mut self.slots, key)?;
        let sum = self.held - stream.held + bytes;
        if sum > most {
            return None;
        }
        self.held = sum;
        stream.held = bytes;
        self.at_work -= std::mem::take(&mut stream.at_work);
        Some(stream)
    }

    pub(crate) const fn open_by_peer(&self) -> usize {
        self.open_by_peer
    }

    pub(crate) const fn open_here(&self) -> usize {
        self.open_here
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open_by_peer == 0 && self.open_here == 0
    }
}

#[inline]
fn stream_in(slots: &mut [Slot], key: StreamKey) -> Option<&mut Stream> {
    let slot = slots.get_mut(key.slot as usize)?;
    (slot.open && slot.generation == key.generation).then_some(&mut slot.stream)
}

/// How many streams a side has opened so far: the ids that exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opened {
    side: Side,
    count: u64,
}

impl Opened {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, count: 0 }
    }

    /// Of a side that has opened so many.
    pub(crate) const fn after(side: Side, count: u64) -> Self {
        Self { side, count }
    }

    pub(crate) const fn next(&mut self) -> StreamId {
        let id = StreamId::new(self.side, self.count);
        self.count += 1;
        id
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use np_types::{Deadline, Time};
    use np_wire::{OpenKind, Side, StreamId};

    use super::{StreamKey, Table};

    /// Keys of different slots.
    pub(crate) fn keys() -> impl Iterator<Item = StreamKey> {
        (0..).map(|slot| StreamKey { slot, generation: 0 })
    }

    #[test]
    fn an_old_key_names_nothing() {
        let mut table = Table::default();
        let id = StreamId::new(Side::Responder, 0);
        let key = table.insert(|stream| stream.accept(id, OpenKind::Request, Deadline::NONE, Time::ZERO));
        assert_eq!(table.find(id), Some(key));
        table.remove(key).unwrap();
        assert_eq!(table.find(id), None);
        let again = table.insert(|stream| stream.accept(id, OpenKind::Request, Deadline::NONE, Time::ZERO));
        assert_eq!(again.slot(), key.slot());
        assert!(table.stream(key).is_none() && table.remove(key).is_none());
        assert!(table.stream(again).is_some());
        table.rest();
        assert!(table.stream(again).is_some(), "one is open");
        table.remove(again).unwrap();
        table.rest();
        assert_eq!(table.slots.capacity(), 0);
        let anew = table.insert(|stream| stream.accept(id, OpenKind::Request, Deadline::NONE, Time::ZERO));
        assert!(anew.slot() == again.slot() && table.stream(again).is_none() && table.stream(anew).is_some());
    }

    #[test]
    fn what_is_answered_is_held_and_no_work_any_more() {
        let mut table = Table::default();
        let [first, second] = [0, 1].map(|at| {
            let id = StreamId::new(Side::Responder, at);
            table.insert(|stream| stream.accept(id, OpenKind::Request, Deadline::NONE, Time::ZERO))
        });
        assert!(table.hold(first, 100, 150) && table.hold(second, 50, 150));
        assert_eq!((table.held_bytes(), table.at_work_bytes()), (150, 150));
        assert!(table.hold_answer(first, 101, 150).is_none());
        assert_eq!((table.held_bytes(), table.at_work_bytes()), (150, 150));
        assert!(table.hold_answer(first, 100, 150).is_some(), "all of what there is may be taken");
        assert_eq!((table.held_bytes(), table.at_work_bytes()), (150, 50));
        assert!(table.hold_answer(first, 70, 150).is_some());
        assert_eq!((table.held_bytes(), table.at_work_bytes()), (120, 50));
        table.remove(first).unwrap();
        assert_eq!((table.held_bytes(), table.at_work_bytes()), (50, 50));
    }
}
