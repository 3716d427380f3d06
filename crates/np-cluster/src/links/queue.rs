//! What waits to go to one member: a few messages, and no more. Must never wait for room.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Messages that wait for one member. Of 64 KiB each that is 1 MiB.
pub(crate) const CAPACITY: usize = 16;

/// A queue with one reader at a time. It outlives the links to its member.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<Bytes>>,
    news: Notify,
}

impl Queue {
    /// Puts a message in; `false` where there is no room.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let mut waiting = self.lock();
        if waiting.len() >= CAPACITY {
            return false;
        }
        waiting.push_back(message);
        drop(waiting);
        self.news.notify_one();
        true
    }

    /// Takes the oldest message, when there is one. Safe to cancel.
    pub(crate) async fn pop(&self) -> Bytes {
        loop {
            if let Some(message) = self.lock().pop_front() {
                return message;
            }
            // A message that comes in between leaves a permit.
            self.news.notified().await;
        }
    }

    /// Takes everything out.
    pub(crate) fn drain(&self) -> VecDeque<Bytes> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{CAPACITY, Queue};

    #[tokio::test]
    async fn it_holds_n_and_not_one_more_in_order() {
        let queue = Queue::default();
        for number in 0..CAPACITY {
            assert!(queue.push(Bytes::from(vec![number as u8])));
        }
        assert!(!queue.push(Bytes::new()));
        for number in 0..CAPACITY {
            assert_eq!(queue.pop().await, [number as u8][..]);
        }
        assert!(queue.push(Bytes::from_static(b"next")));
        assert_eq!(queue.drain().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken() {
        let queue = std::sync::Arc::new(Queue::default());
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.pop().await }
        });
        tokio::task::yield_now().await;
        assert!(queue.push(Bytes::from_static(b"x")));
        assert_eq!(waiting.await.unwrap(), "x");
    }
}
