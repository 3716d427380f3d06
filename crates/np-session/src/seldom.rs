//! Queues that are empty mostly: a word where a queue would be four. It must never know what is in them.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// A queue that is on the heap, once something was put into it, and until it rests.
#[expect(clippy::box_collection, reason = "four words in place are what it is there to save")]
#[derive(Debug)]
pub(crate) struct Seldom<T>(Option<Box<VecDeque<T>>>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Seldom<T> {
    /// Takes the first, if there is one: asking makes no queue.
    pub(crate) fn pop_front(&mut self) -> Option<T> {
        self.0.as_mut()?.pop_front()
    }

    /// Keeps those that are to stay.
    pub(crate) fn retain(&mut self, stays: impl FnMut(&T) -> bool) {
        if let Some(queue) = &mut self.0 {
            queue.retain(stays);
        }
    }

    /// Drops what is in it.
    pub(crate) fn clear(&mut self) {
        if let Some(queue) = &mut self.0 {
            queue.clear();
        }
    }

    /// Gives back what an empty queue holds.
    pub(crate) fn rest(&mut self) {
        self.0.take_if(|queue| queue.is_empty());
    }
}

impl<T> Deref for Seldom<T> {
    type Target = VecDeque<T>;

    fn deref(&self) -> &VecDeque<T> {
        self.0.as_deref().unwrap_or(const { &VecDeque::new() })
    }
}

impl<T> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Seldom;

    #[test]
    fn only_what_is_put_in_makes_a_queue_and_rest_ends_an_empty_one() {
        let mut queue = Seldom::<u8>::default();
        assert_eq!((queue.pop_front(), queue.front(), queue.len()), (None, None, 0));
        queue.retain(|_| true);
        queue.clear();
        assert!(queue.0.is_none());
        queue.push_back(1);
        queue.rest();
        assert_eq!(queue.pop_front(), Some(1));
        queue.rest();
        assert!(queue.0.is_none());
    }
}
