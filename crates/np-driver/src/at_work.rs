//! The places of one connection for futures that go on, and whose turn it is. It must never know what they do.
//!
//! A place is made once and serves one future after the other: its waker marks it in a word of 64 bits and wakes whoever
//! owns the places. So a future that waits costs no allocation but its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::sync::{AtomicU64, AtomicWaker, Ordering};

/// Futures at work, each in its place: 64 at the most, as a word has bits.
pub(crate) struct AtWork<F> {
    places: Vec<Place<F>>,
    /// A bit for each place that is free, made or not.
    free: u64,
    /// Places that have been woken, and not polled since.
    due: u64,
    woken: Arc<Woken>,
}

struct Place<F> {
    future: Option<F>,
    waker: Waker,
}

/// What wakers of the places reach.
#[derive(Default)]
struct Woken {
    places: AtomicU64,
    owner: AtomicWaker,
}

struct PlaceWaker {
    bit: u64,
    woken: Arc<Woken>,
}

impl Wake for PlaceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Where it is marked already, its owner was woken and has not looked since.
        if self.woken.places.fetch_or(self.bit, Ordering::AcqRel) & self.bit == 0 {
            self.woken.owner.wake();
        }
    }
}

impl<F: Future + Unpin> AtWork<F> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: u64::MAX, due: 0, woken: Arc::default() }
    }

    /// Whether no future is at work.
    pub(crate) const fn is_empty(&self) -> bool {
        self.free == u64::MAX
    }

    /// Whether every place is taken.
    pub(crate) const fn is_full(&self) -> bool {
        self.free == 0
    }

    /// Puts a future into a place and polls it there: its output where it is there at once, or the number of the place.
    /// There must be a free one, which whoever calls this has asked for.
    pub(crate) fn enter(&mut self, owner: &Waker, future: F) -> Result<F::Output, usize> {
        let at = self.free.trailing_zeros() as usize;
        self.woken.owner.register(owner);
        if at == self.places.len() {
            let waker = Waker::from(Arc::new(PlaceWaker { bit: 1 << at, woken: Arc::clone(&self.woken) }));
            self.places.push(Place { future: None, waker });
        }
        if let Some(place) = self.places.get_mut(at) {
            place.future = Some(future);
            self.free &= !(1 << at);
        }
        match self.poll_place(at) {
            Poll::Ready(output) => Ok(output),
            Poll::Pending => Err(at),
        }
    }

    /// The next output, to be asked for until there is none: the owner is sure to be woken again only then. What is woken
    /// meanwhile has its turn behind all that were woken before.
    pub(crate) fn poll_next(&mut self, owner: &Waker) -> Poll<F::Output> {
        if self.due == 0 {
            self.woken.owner.register(owner);
            self.due = self.woken.places.swap(0, Ordering::AcqRel);
        }
        while self.due != 0 {
            let at = self.due.trailing_zeros() as usize;
            self.due &= self.due - 1;
            if let Poll::Ready(output) = self.poll_place(at) {
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    }

    /// Takes a future out of its place, where it is the one that is meant.
    pub(crate) fn leave(&mut self, at: usize, is_meant: impl FnOnce(&F) -> bool) -> Option<F> {
        let place = self.places.get_mut(at)?;
        let left = place.future.take_if(|future| is_meant(future))?;
        self.free |= 1 << at;
        Some(left)
    }

    fn poll_place(&mut self, at: usize) -> Poll<F::Output> {
        let Some(Place { future: Some(future), waker }) = self.places.get_mut(at) else {
            // Somebody woke it after its future had ended.
            return Poll::Pending;
        };
        let polled = Pin::new(future).poll(&mut Context::from_waker(waker));
        if polled.is_ready() {
            self.leave(at, |_| true);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Poll, Wake, Waker};

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use tokio::sync::oneshot::{Sender, channel};

    use super::AtWork;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn waits(number: usize) -> (Sender<()>, BoxFuture<'static, usize>) {
        let (sender, receiver) = channel();
        (sender, receiver.map(move |_| number).boxed())
    }

    #[test]
    fn whoever_is_woken_and_nobody_else_has_a_turn() {
        let count = Arc::<Count>::default();
        let owner = &Waker::from(Arc::clone(&count));
        let mut at_work = AtWork::new();
        let mut senders: Vec<_> = (0..64)
            .map(|number| {
                assert!(!at_work.is_full());
                let (sender, future) = waits(number);
                assert_eq!(at_work.enter(owner, future), Err(number));
                Some(sender)
            })
            .collect();
        assert!(at_work.is_full() && at_work.poll_next(owner).is_pending());
        for number in [63, 5, 0] {
            senders[number].take().unwrap().send(()).unwrap();
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "woken once for three");
        let ended: Vec<_> = std::iter::from_fn(|| match at_work.poll_next(owner) {
            Poll::Ready(number) => Some(number),
            Poll::Pending => None,
        })
        .collect();
        assert_eq!(ended, [0, 5, 63]);
        // Their places serve again.
        let (_sender, future) = waits(9);
        assert_eq!(at_work.enter(owner, future), Err(0));
        assert_eq!(at_work.enter(owner, async { 7 }.boxed()), Ok(7), "over at once, it needs none");
        let (_sender, future) = waits(9);
        assert_eq!(at_work.enter(owner, future), Err(5));
    }

    #[test]
    fn who_left_is_gone_and_wakes_nobody() {
        let (owner, mut at_work) = (Waker::noop(), AtWork::new());
        let (sender, future) = waits(1);
        let at = at_work.enter(owner, future).unwrap_err();
        assert!(at_work.leave(at, |_| false).is_none() && !at_work.is_empty(), "another was meant");
        let left = at_work.leave(at, |_| true).unwrap();
        assert!(at_work.is_empty() && at_work.leave(at, |_| true).is_none());
        sender.send(()).unwrap();
        assert!(at_work.poll_next(owner).is_pending());
        drop(left);
    }

    #[test]
    fn one_that_wakes_itself_leaves_the_others_their_turn() {
        let (owner, mut at_work) = (Waker::noop(), AtWork::new());
        let mut turns = 0;
        let busy = std::future::poll_fn(move |cx| {
            turns += 1;
            cx.waker().wake_by_ref();
            if turns < 4 { Poll::Pending } else { Poll::Ready(8) }
        });
        assert_eq!(at_work.enter(owner, busy.boxed()), Err(0));
        let (sender, other) = waits(1);
        assert_eq!(at_work.enter(owner, other), Err(1));
        sender.send(()).unwrap();
        assert_eq!([(); 3].map(|()| at_work.poll_next(owner)), [Poll::Ready(1), Poll::Pending, Poll::Ready(8)]);
    }

    #[test]
    fn who_comes_into_a_place_before_the_others_waits_behind_those_who_were_woken_before() {
        let (owner, mut at_work) = (Waker::noop(), AtWork::new());
        let enter = |at_work: &mut AtWork<_>, place, number| {
            let (sender, future) = waits(number);
            assert_eq!(at_work.enter(owner, future), Err(place));
            sender
        };
        for sender in [0, 1, 2].map(|place| enter(&mut at_work, place, place)) {
            sender.send(()).unwrap();
        }
        assert_eq!(at_work.poll_next(owner), Poll::Ready(0));
        enter(&mut at_work, 0, 9).send(()).unwrap();
        assert_eq!([(); 3].map(|()| at_work.poll_next(owner)), [1, 2, 9].map(Poll::Ready));
    }
}
