//! The queue to a connection's task: many put into it, one takes all that is there. Must never know what is in it.
//!
//! One lock, which is held while one thing is made in its place. Who puts something there writes to one place of memory
//! beside it that others write to, where a list without a lock has four (its length, its end, its block and its waker).
//! Only the first since it was emptied has to wake the task. One that rests has no memory.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::commands::lock;
use crate::sync::Mutex;
use crate::threads::here;

/// Commands that wait for a connection's task at most; a caller that finds it full waits until it was emptied.
const QUEUE: usize = 1_024;

pub(crate) struct Queue<T, const MOST: usize = QUEUE>(Mutex<List<T, MOST>>);

struct List<T, const MOST: usize> {
    items: Vec<T>,
    closed: bool,
    /// The thread that took last, and how many things others have put there since.
    taker: usize,
    elsewhere: u32,
    /// Those who found it full, or others waiting. While there are any it will be taken again.
    waiting: Option<Box<Turns>>,
}

/// Who waits for a place, the first in front. Apart from the list, as most connections never have any.
#[derive(Default)]
struct Turns(VecDeque<oneshot::Sender<()>>);

/// What is known of things that were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Others wait for a place, for whom it has to be taken again.
    pub(crate) more: bool,
    /// How many were put there by other threads than the one that took before.
    pub(crate) elsewhere: u32,
}

/// Why there is no place for something; with what makes it.
pub(crate) enum Refused<M> {
    Full(M),
    Closed(M),
}

impl<T, const MOST: usize> Default for Queue<T, MOST> {
    fn default() -> Self {
        Self(Mutex::new(List { items: Vec::new(), closed: false, taker: 0, elsewhere: 0, waiting: None }))
    }
}

impl<T, const MOST: usize> Queue<T, MOST> {
    /// Puts something there; gives whether it is the first, so that its taker has to be woken. It is made where it is to
    /// stand: it is large, and each move of what was just written has to wait for the writing.
    #[inline]
    pub(crate) fn put<M: FnOnce() -> T>(&self, make: M) -> Result<bool, Refused<M>> {
        let mut list = lock(&self.0);
        if list.waiting.is_some() { Err(Refused::Full(make)) } else { list.put(make) }
    }

    /// As [`Self::put`], however long it takes until there is a place: behind those who wait already. None where it was
    /// closed.
    pub(crate) async fn put_later(&self, mut item: T) -> Option<bool> {
        let mut told = false;
        loop {
            let place = {
                let mut list = lock(&self.0);
                let passes = list.waiting.is_some() && !told;
                let make = move || item;
                let put = if passes { Err(Refused::Full(make)) } else { list.put(make) };
                let turn = matches!(put, Err(Refused::Full(_))).then(|| list.wait());
                drop(list);
                match put {
                    Ok(first) => return Some(first),
                    Err(Refused::Closed(_)) => return None,
                    Err(Refused::Full(make)) => item = make(),
                }
                turn
            };
            if let Some(turn) = place {
                // A queue that was closed tells nobody, and lets go of all.
                let _ = turn.await;
            }
            told = true;
        }
    }

    /// Takes all that is there, in the order in which it came, and tells as many who wait as there are places. `taken` must be
    /// empty: its memory serves the next ones.
    pub(crate) fn take(&self, taken: &mut Vec<T>) -> Taken {
        debug_assert!(taken.is_empty(), "what is in there would be put into the queue");
        let mut list = lock(&self.0);
        std::mem::swap(&mut list.items, taken);
        list.taker = here();
        let elsewhere = std::mem::take(&mut list.elsewhere);
        if list.waiting.is_none() {
            return Taken { more: false, elsewhere };
        }
        let (told, more) = list.next();
        drop(list);
        // Without the lock: who is woken may put something there at once.
        for turn in told {
            // Whoever waited may have left a moment ago.
            let _ = turn.send(());
        }
        Taken { more, elsewhere }
    }

    /// Takes nothing more from anybody. What is there stays.
    pub(crate) fn close(&self) {
        let mut list = lock(&self.0);
        list.closed = true;
        let waiting = list.waiting.take();
        drop(list);
        drop(waiting);
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
        self.elsewhere += u32::from(self.taker != here());
        Ok(first)
    }

    /// A turn behind all who wait.
    fn wait(&mut self) -> oneshot::Receiver<()> {
        let (turn, told) = oneshot::channel();
        self.waiting.get_or_insert_default().0.push_back(turn);
        told
    }

    /// Those whose turn it is, and whether there are others.
    fn next(&mut self) -> (Vec<oneshot::Sender<()>>, bool) {
        let mut told = Vec::new();
        if let Some(Turns(waiting)) = self.waiting.as_deref_mut() {
            while told.len() < MOST
                && let Some(turn) = waiting.pop_front()
            {
                if !turn.is_closed() {
                    told.push(turn);
                }
            }
        }
        self.waiting.take_if(|waiting| waiting.0.is_empty());
        (told, self.waiting.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::{QUEUE, Queue, Refused, Taken};

    fn taken(queue: &Queue<usize>) -> Vec<usize> {
        let mut taken = Vec::new();
        assert!(!queue.take(&mut taken).more, "nobody waits behind those who were told");
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
    fn who_finds_it_full_waits_until_it_was_emptied() {
        let queue = Queue::default();
        fill(&queue);
        assert_eq!(put(&queue, QUEUE), Err((Why::Full, QUEUE)));
        let mut late = pin!(queue.put_later(7));
        assert!(late.as_mut().now_or_never().is_none());
        assert_eq!(taken(&queue).len(), QUEUE);
        assert_eq!(late.now_or_never(), Some(Some(true)));
        assert_eq!(taken(&queue), [7]);
    }

    #[test]
    fn as_many_are_told_as_there_are_places_and_nobody_passes_those_who_wait() {
        let queue = Queue::<usize, 2>::default();
        for item in 0..2 {
            assert!(queue.put(|| item).is_ok());
        }
        let mut late: Vec<_> = (2..7).map(|item| Box::pin(queue.put_later(item))).collect();
        assert!(late.iter_mut().all(|late| late.as_mut().now_or_never().is_none()));
        // Who leaves takes no place from the others.
        drop(late.remove(0));
        let mut taken = Vec::new();
        assert!(queue.take(&mut taken).more, "two of four are told, and it is to be taken again");
        taken.clear();
        assert!(matches!(queue.put(|| 9), Err(Refused::Full(_))), "there is room, but not for one who came later");
        let ends: Vec<_> = late.iter_mut().map(|late| late.as_mut().now_or_never()).collect();
        assert_eq!(ends, [Some(Some(true)), Some(Some(false)), None, None]);
        assert!(!queue.take(&mut taken).more);
        assert_eq!(std::mem::take(&mut taken), [3, 4]);
        // One who was told and finds it full again waits behind the others.
        assert!(queue.put(|| 9).is_ok(), "nobody is known to wait any more");
        let ends: Vec<_> = late.iter_mut().skip(2).map(|late| late.as_mut().now_or_never()).collect();
        assert_eq!(ends, [Some(Some(false)), None]);
        assert!(!queue.take(&mut taken).more);
        assert_eq!(std::mem::take(&mut taken), [9, 5]);
        assert_eq!(late.pop().unwrap().now_or_never(), Some(Some(true)));
    }

    #[test]
    fn what_other_threads_put_there_is_counted() {
        let queue = Queue::default();
        taken(&queue);
        put(&queue, 1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (2..4).for_each(|item| assert_eq!(put(&queue, item), Ok(false))));
        });
        let mut taken = Vec::new();
        assert_eq!(queue.take(&mut taken), Taken { more: false, elsewhere: 2 });
        taken.clear();
        put(&queue, 4).unwrap();
        assert_eq!(queue.take(&mut taken), Taken::default(), "each is counted once");
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
