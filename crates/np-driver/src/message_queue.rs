//! Messages of a stream that wait for their reader, small ones packed: a slice would pin the whole record it came in.
//!
//! It must never know credit's rules: it only says how many bytes of it each message holds.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

/// Messages up to this size are copied together; larger ones stay slices of what was received.
const SMALL: usize = 4 << 10;
/// Empty messages hold no credit, so their number is bounded by itself.
const MAX_EMPTY: usize = 16_384;
/// Marks a message that stands in the queue of the large ones.
const LARGE: u32 = u32::MAX;

#[derive(Default)]
pub(crate) struct MessageQueue {
    /// The sizes of all messages in order; [`LARGE`] stands for one of `large`.
    sizes: VecDeque<u32>,
    small: BytesMut,
    large: VecDeque<(Bytes, usize)>,
    empty: usize,
}

impl MessageQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    pub(crate) const fn is_full_of_empty(&self) -> bool {
        self.empty >= MAX_EMPTY
    }

    /// Adds a message that holds credit for all of its bytes.
    pub(crate) fn push(&mut self, message: Bytes) {
        let held = message.len();
        self.push_held(message, held);
    }

    /// Adds a message that holds credit for `held` of its bytes.
    pub(crate) fn push_held(&mut self, message: Bytes, held: usize) {
        if message.len() > SMALL || message.len() != held {
            self.sizes.push_back(LARGE);
            self.large.push_back((message, held));
        } else {
            self.empty += usize::from(message.is_empty());
            self.sizes.push_back(held as u32);
            self.small.extend_from_slice(&message);
        }
    }

    /// The oldest message, and the bytes whose credit goes back.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, usize)> {
        let size = self.sizes.pop_front()?;
        if size == LARGE {
            return self.large.pop_front();
        }
        let size = size as usize;
        self.empty -= usize::from(size == 0);
        let message = self.small.get(..size).map(Bytes::copy_from_slice).unwrap_or_default();
        self.small.advance(size);
        Some((message, size))
    }

    /// The bytes whose credit all messages together hold.
    pub(crate) fn held(&self) -> usize {
        self.small.len() + self.large.iter().map(|(_, held)| held).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{MAX_EMPTY, MessageQueue, SMALL};

    #[test]
    fn messages_of_all_sizes_come_out_in_order_with_their_credit() {
        let mut queue = MessageQueue::default();
        let sizes = [0, 1, SMALL, SMALL + 1, 0, 7, 100_000, 3];
        for (at, size) in sizes.into_iter().enumerate() {
            queue.push(Bytes::from(vec![at as u8; size]));
        }
        queue.push_held(Bytes::from_static(b"assembled"), 4);
        assert_eq!(queue.held(), sizes.iter().sum::<usize>() + 4);
        for (at, size) in sizes.into_iter().enumerate() {
            assert_eq!(queue.pop(), Some((Bytes::from(vec![at as u8; size]), size)));
        }
        assert_eq!(queue.pop(), Some((Bytes::from_static(b"assembled"), 4)));
        assert_eq!((queue.pop(), queue.held(), queue.is_empty()), (None, 0, true));
    }

    #[test]
    fn empty_messages_are_counted_as_long_as_they_wait() {
        let mut queue = MessageQueue::default();
        for _ in 0..MAX_EMPTY - 1 {
            queue.push(Bytes::new());
        }
        assert!(!queue.is_full_of_empty());
        queue.push(Bytes::new());
        assert!(queue.is_full_of_empty());
        queue.pop().unwrap();
        assert!(!queue.is_full_of_empty());
    }

    #[test]
    fn a_small_message_does_not_pin_what_it_came_in() {
        let mut queue = MessageQueue::default();
        let record = Bytes::from(vec![0; 65_000]);
        queue.push(record.slice(5..6));
        queue.push(record.slice(6..9));
        assert!(record.is_unique());
    }
}
