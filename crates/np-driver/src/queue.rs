//! The queue to a connection's task: many put into it, one takes all that is there. Must never know what is in it.
//!
//! One lock, which is held for one move, and no more: who puts something there touches one line of memory that others
//! write to, where a list without a lock has four (its length, its end, its block and its waker). Only the first since it
//! was emptied has to wake the task. An empty one has no memory.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::commands::lock;
use crate::sync::Mutex;

/// Commands that wait for a connection's task at most; a caller that finds it full waits until it was emptied.
const QUEUE: usize = 1_024;

pub(crate) struct Queue<T, const MOST: usize = QUEUE>(Mutex<List<T, MOST>>);

struct List<T, const MOST: usize> {
    items: Vec<T>,
    closed: bool,
    /// Where those wait who found it full. While there are any, nobody else goes ahead of them.
    room: Option<Arc<Notify>>,
}

/// Why there is no place for something; with what makes it.
pub(crate) enum Refused<M> {
    Full(M),
    Closed(M),
}

impl<T, const MOST: usize> Default for Queue<T, MOST> {
    fn default() -> Self {
        Self(Mutex::new(List { items: Vec::new(), closed: false, room: None }))
    }
}

impl<T, const MOST: usize> Queue<T, MOST> {
    /// Puts something there; gives whether it is the first, so that its taker has to be woken. It is made where it is to
    /// stand: it is large, and each move of what was just written has to wait for the writing.
    #[inline]
    pub(crate) fn put<M: FnOnce() -> T>(&self, make: M) -> Result<bool, Refused<M>> {
        let mut list = lock(&self.0);
        if list.room.is_some() && !list.closed { Err(Refused::Full(make)) } else { list.put(make) }
    }

    /// As [`Self::put`], however long it takes until there is a place. None where it was closed.
    pub(crate) async fn put_later(&self, mut item: T) -> Option<bool> {
        loop {
            let emptied = {
                let mut list = lock(&self.0);
                item = match list.put(move || item) {
                    Ok(first) => return Some(first),
                    Err(Refused::Closed(_)) => return None,
                    Err(Refused::Full(item)) => item(),
                };
                // Made under the lock: it hears of the next time, whenever that is.
                Arc::clone(list.room.get_or_insert_default()).notified_owned()
            };
            emptied.await;
        }
    }

    /// Takes all that is there, in the order in which it came. `taken` must be empty: its memory serves the next ones.
    pub(crate) fn take(&self, taken: &mut Vec<T>) {
        debug_assert!(taken.is_empty(), "what is in there would be put into the queue");
        let mut list = lock(&self.0);
        std::mem::swap(&mut list.items, taken);
        list.make_room();
    }

    /// Takes nothing more from anybody. What is there stays.
    pub(crate) fn close(&self) {
        let mut list = lock(&self.0);
        list.closed = true;
        list.make_room();
    }

    /// Gives its memory back, where nothing is there.
    pub(crate) fn rest(&self) {
        let mut list = lock(&self.0);
        if list.items.is_empty() {
            list.items = Vec::new();
        }
    }
}

impl<T, const MOST: usize> List<T, MOST> {
    #[inline]
    fn put<M: FnOnce() -> T>(&mut self, make: M) -> Result<bool, Refused<M>> {
        if self.closed {
            return Err(Refused::Closed(make));
        }
        if self.items.len() >= MOST {
            return Err(Refused::Full(make));
        }
        let first = self.items.is_empty();
        self.items.push(make());
        Ok(first)
    }

    fn make_room(&mut self) {
        if let Some(room) = self.room.take() {
            room.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::{QUEUE, Queue, Refused};

    fn taken(queue: &Queue<usize>) -> Vec<usize> {
        let mut taken = Vec::new();
        queue.take(&mut taken);
        taken
    }

    #[derive(Debug, PartialEq)]
    enum Why {
        Full,
        Closed,
    }

    fn put(queue: &Queue<usize>, item: usize) -> Result<bool, (Why, usize)> {
        queue.put(move || item).map_err(|refused| match refused {
            Refused::Full(make) => (Why::Full, make()),
            Refused::Closed(make) => (Why::Closed, make()),
        })
    }

    fn fill(queue: &Queue<usize>) {
        (0..QUEUE).for_each(|at| assert_eq!(put(queue, at), Ok(at == 0)));
    }

    #[test]
    fn what_is_put_there_is_taken_in_order_and_its_first_one_is_known() {
        let queue = Queue::default();
        assert!(put(&queue, 1).unwrap());
        assert!(!put(&queue, 2).unwrap());
        assert_eq!(taken(&queue), [1, 2]);
        assert!(taken(&queue).is_empty());
        assert!(put(&queue, 3).unwrap(), "it is the first again");
    }

    #[test]
    fn who_finds_it_full_waits_until_it_was_emptied_and_is_not_passed_by() {
        let queue = Queue::default();
        fill(&queue);
        assert_eq!(put(&queue, QUEUE), Err((Why::Full, QUEUE)));
        let mut late = pin!(queue.put_later(7));
        assert!(late.as_mut().now_or_never().is_none());
        assert_eq!(taken(&queue).len(), QUEUE);
        assert_eq!(late.now_or_never(), Some(Some(true)));
        assert_eq!(taken(&queue), [7]);
        // One who waits goes first, also where there would be a place by now.
        fill(&queue);
        let mut late = pin!(queue.put_later(8));
        assert!(late.as_mut().now_or_never().is_none());
        queue.0.lock().unwrap().items.pop();
        assert_eq!(put(&queue, 9), Err((Why::Full, 9)));
        taken(&queue);
        assert!(put(&queue, 9).unwrap(), "nobody is known to wait any more");
        assert_eq!(late.now_or_never(), Some(Some(false)));
    }

    #[test]
    fn a_closed_one_keeps_what_is_there_and_refuses_all_else() {
        let queue = Queue::default();
        fill(&queue);
        let mut late = pin!(queue.put_later(7));
        assert!(late.as_mut().now_or_never().is_none());
        queue.close();
        assert_eq!(late.now_or_never(), Some(None), "whoever waits learns of it");
        assert_eq!(put(&queue, 8), Err((Why::Closed, 8)));
        assert_eq!(queue.put_later(9).now_or_never(), Some(None));
        assert_eq!(taken(&queue).len(), QUEUE);
    }

    #[test]
    fn at_rest_it_has_no_memory() {
        let queue = Queue::default();
        let capacity = || queue.0.lock().unwrap().items.capacity();
        put(&queue, 1).unwrap();
        queue.rest();
        assert_eq!(taken(&queue), [1], "what waits is not lost");
        put(&queue, 2).unwrap();
        assert!(capacity() > 0);
        let mut taken = Vec::with_capacity(8);
        queue.take(&mut taken);
        assert!(capacity() > 0, "it goes on with the memory of what was taken before");
        queue.rest();
        assert_eq!(capacity(), 0);
    }
}
