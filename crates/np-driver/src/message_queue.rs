//! Messages of a stream that wait for their reader, small ones packed: a slice would pin the whole buffer it came in.
//!
//! It must never know credit's rules: it only says how many bytes of it each message holds.

use std::collections::VecDeque;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use np_session::Encoding;

/// Messages up to this size are copied together, larger ones each by itself.
const SMALL: usize = 4 << 10;
/// Empty messages hold no credit, so their number is bounded by itself.
const MAX_EMPTY: usize = 16_384;
/// Marks a message that stands in the queue of the large ones.
const LARGE: u16 = u16::MAX;
/// Marks the size of a small message that came compressed: its encoding stands before it.
const PACKED: u16 = 1 << 15;
/// Bytes of an encoding: its number and the size that it declares.
const ENCODING: usize = 5;

/// A message as it came.
#[derive(Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) body: Bytes,
    pub(crate) encoding: Encoding,
    /// Bytes of credit that it holds.
    pub(crate) held: usize,
}

#[derive(Default)]
pub(crate) struct MessageQueue {
    /// The sizes of all messages in order; [`LARGE`] stands for one of `large`. Two bytes each, so that a message of one
    /// byte costs little more than its credit says.
    sizes: VecDeque<u16>,
    small: BytesMut,
    /// Bytes of `small` that are encodings.
    encodings: usize,
    large: VecDeque<Message>,
    empty: usize,
}

impl MessageQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    pub(crate) const fn is_full_of_empty(&self) -> bool {
        self.empty >= MAX_EMPTY
    }

    /// Adds a message, which pins nothing of what it came in.
    pub(crate) fn push(&mut self, mut message: Message) {
        if message.body.len() > SMALL || message.body.len() != message.held {
            own(&mut message.body);
            self.sizes.push_back(LARGE);
            self.large.push_back(message);
            return;
        }
        let Message { body, encoding, held } = message;
        let packed = encoding.raw_size();
        self.empty += usize::from(body.is_empty());
        self.sizes.push_back(held as u16 | if packed.is_some() { PACKED } else { 0 });
        if let Some(raw) = packed {
            self.small.put_u8(encoding.to_wire());
            self.small.put_u32_le(raw);
            self.encodings += ENCODING;
        }
        self.small.extend_from_slice(&body);
    }

    /// The oldest message.
    pub(crate) fn pop(&mut self) -> Option<Message> {
        let size = self.sizes.pop_front()?;
        if size == LARGE {
            return self.large.pop_front();
        }
        let (held, mut encoding) = (usize::from(size & !PACKED), Encoding::Plain);
        if size & PACKED != 0 && self.small.len() >= ENCODING {
            self.encodings -= ENCODING;
            encoding = match (self.small.get_u8(), self.small.get_u32_le()) {
                (1, raw) => Encoding::Lz4 { raw },
                (2, raw) => Encoding::Zstd { raw },
                (number, raw) => Encoding::Other { number, raw },
            };
        }
        self.empty -= usize::from(held == 0);
        let body = self.small.get(..held).map(Bytes::copy_from_slice).unwrap_or_default();
        self.small.advance(held);
        Some(Message { body, encoding, held })
    }

    /// The bytes whose credit all messages together hold.
    pub(crate) fn held(&self) -> usize {
        self.small.len() - self.encodings + self.large.iter().map(|message| message.held).sum::<usize>()
    }
}

/// Leaves the bytes of a body by themselves: a slice, however short, keeps the whole buffer that was read into, up to a quarter
/// of a MiB, and whoever holds the body holds that.
pub(crate) fn own(body: &mut Bytes) {
    if !body.is_unique() {
        *body = Bytes::copy_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use np_session::Encoding;

    use super::{MAX_EMPTY, Message, MessageQueue, SMALL};

    fn message(body: impl Into<Bytes>) -> Message {
        let body = body.into();
        Message { held: body.len(), body, encoding: Encoding::Plain }
    }

    #[test]
    fn messages_of_all_sizes_come_out_in_order_with_their_credit() {
        let mut queue = MessageQueue::default();
        let sizes = [0, 1, SMALL, SMALL + 1, 0, 7, 100_000, 3];
        let plain = |at: usize, size: usize| message(vec![at as u8; size]);
        let assembled = || Message { held: 4, ..message("assembled") };
        let packed = || Message { encoding: Encoding::Lz4 { raw: 9 }, ..message("packed") };
        let zstd = || Message { encoding: Encoding::Zstd { raw: u32::MAX }, ..message("z") };
        let large = || Message { encoding: Encoding::Zstd { raw: 7 }, ..message(vec![1; SMALL + 1]) };
        for (at, size) in sizes.into_iter().enumerate() {
            queue.push(plain(at, size));
        }
        queue.push(assembled());
        queue.push(packed());
        queue.push(zstd());
        queue.push(large());
        assert_eq!(queue.held(), sizes.iter().sum::<usize>() + 4 + 6 + 1 + SMALL + 1);
        for (at, size) in sizes.into_iter().enumerate() {
            assert_eq!(queue.pop(), Some(plain(at, size)));
        }
        for last in [assembled(), packed(), zstd(), large()] {
            assert_eq!(queue.pop(), Some(last));
        }
        assert_eq!((queue.pop(), queue.held(), queue.is_empty()), (None, 0, true));
    }

    #[test]
    fn empty_messages_are_counted_as_long_as_they_wait() {
        let mut queue = MessageQueue::default();
        for _ in 0..MAX_EMPTY - 1 {
            queue.push(message(""));
        }
        assert!(!queue.is_full_of_empty());
        queue.push(message(""));
        assert!(queue.is_full_of_empty());
        queue.pop().unwrap();
        assert!(!queue.is_full_of_empty());
    }

    #[test]
    fn a_message_does_not_pin_what_it_came_in() {
        let mut queue = MessageQueue::default();
        let record = Bytes::from(vec![0; 65_000]);
        queue.push(message(record.slice(5..6)));
        queue.push(message(record.slice(6..9)));
        queue.push(message(record.slice(9..9 + 2 * SMALL)));
        assert!(record.is_unique());
    }
}
