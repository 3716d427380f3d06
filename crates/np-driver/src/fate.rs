//! How a connection goes, for whoever watches it: the peer's go-away, and the end. Must never keep a connection alive.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use np_types::{CloseCode, ConnectionError};

/// What has become of a connection, and who is to be told. There is one for each connection, so that it is small while
/// nothing has happened and nobody waits.
#[derive(Default)]
pub(crate) struct Fate(Mutex<State>);

#[derive(Default)]
struct State {
    /// The peer's first record is still to come.
    opening: bool,
    /// The peer takes no new calls.
    draining: Option<CloseCode>,
    /// It is over.
    closed: Option<Box<ConnectionError>>,
    /// Who waits, by the number of its place, and how often all of them were woken: places count for one time alone.
    waiting: Vec<Option<Waker>>,
    woken: u32,
    /// What is done as soon as there is news.
    then: Option<Box<dyn FnOnce(News) + Send>>,
}

/// What ends the use of a connection for new calls: the code of the peer's go-away, or why it is over.
type News = Result<CloseCode, ConnectionError>;

impl Fate {
    /// Whether the peer's first record is still to come.
    pub(crate) fn opens(&self, opening: bool) {
        self.change(|state| state.opening = opening);
    }

    /// Whether the peer's first record has come.
    pub(crate) fn has_stood(&self) -> bool {
        !self.lock().opening
    }

    /// The peer takes no new calls.
    pub(crate) fn drains(&self, code: CloseCode) {
        self.change(|state| state.draining = Some(code));
    }

    /// The connection is over. The first reason stays.
    pub(crate) fn ends(&self, error: &ConnectionError) {
        self.change(|state| {
            state.closed.get_or_insert_with(|| Box::new(error.clone()));
        });
    }

    /// Why it is over, if it is.
    pub(crate) fn error(&self) -> Option<ConnectionError> {
        self.lock().closed.as_deref().cloned()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        state.woken = state.woken.wrapping_add(1);
        let waiting = std::mem::take(&mut state.waiting);
        // What is to be done stays until there is news to do it with.
        let news = state.news();
        let then = news.as_ref().and_then(|_| state.then.take());
        drop(state);
        // Without the lock: what is woken, or done, may look at it.
        waiting.into_iter().flatten().for_each(Waker::wake);
        if let (Some(then), Some(news)) = (then, news) {
            then(news);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn news(&self) -> Option<News> {
        match (self.draining, &self.closed) {
            (Some(code), _) => Some(Ok(code)),
            (None, Some(error)) => Some(Err(ConnectionError::clone(error))),
            (None, None) => None,
        }
    }
}

/// Watches a connection without keeping it alive; made by [`Connection::watch`](crate::Connection::watch).
///
/// ```no_run
/// # async fn run(connection: np_driver::Connection) {
/// let watch = connection.watch();
/// drop(connection);
/// println!("it ended: {}", watch.closed().await);
/// # }
/// ```
#[derive(Clone)]
pub struct ConnectionWatch {
    fate: Arc<Fate>,
}

impl ConnectionWatch {
    pub(crate) const fn new(fate: Arc<Fate>) -> Self {
        Self { fate }
    }

    /// Whether the peer's first record has come, by which it took this side up. Of connections that were made without an early
    /// call this is so from their beginning ([`ConnectorConfig::early_call`](crate::ConnectorConfig::early_call)).
    ///
    /// ```no_run
    /// # async fn run(connection: np_driver::Connection) {
    /// let watch = connection.watch();
    /// let why = watch.closed().await;
    /// println!("{}: {why}", if watch.has_stood() { "lost" } else { "never taken up" });
    /// # }
    /// ```
    #[must_use]
    pub fn has_stood(&self) -> bool {
        self.fate.has_stood()
    }

    /// Waits until [`has_stood`](Self::has_stood) is so.
    ///
    /// ```no_run
    /// # async fn run(connection: np_driver::Connection) -> Result<(), np_types::ConnectionError> {
    /// connection.watch().stood().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the connection has ended, and the peer had not taken this side up by then.
    pub async fn stood(&self) -> Result<(), ConnectionError> {
        let settled = |state: &State| match (state.opening, &state.closed) {
            (false, _) => Some(Ok(())),
            (true, closed) => closed.as_deref().cloned().map(Err),
        };
        self.until(settled).await
    }

    /// Waits until the connection is over, and says why.
    pub async fn closed(&self) -> ConnectionError {
        self.until(|state| state.closed.as_deref().cloned()).await
    }

    /// Waits until the peer takes no new calls, and gives the code of its go-away.
    ///
    /// # Errors
    /// When the connection has ended without one.
    pub async fn draining(&self) -> Result<CloseCode, ConnectionError> {
        self.until(State::news).await
    }

    /// Does something as soon as [`draining`](Self::draining) would give a result, and at once where it would now: without
    /// a task that waits for it. It is done by the task of the connection, which it must not hold up; what was to be done
    /// before is forgotten.
    ///
    /// ```no_run
    /// # fn run(connection: np_driver::Connection) {
    /// connection.watch().then(|news| println!("no new calls: {news:?}"));
    /// # }
    /// ```
    pub fn then(&self, act: impl FnOnce(Result<CloseCode, ConnectionError>) + Send + 'static) {
        let mut state = self.fate.lock();
        match state.news() {
            None => state.then = Some(Box::new(act)),
            Some(news) => {
                drop(state);
                act(news);
            }
        }
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.fate.lock().closed.is_some()
    }

    /// Whether the peer may still take new calls.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.fate.lock().news().is_none()
    }

    /// Waits until the state has what is looked for.
    async fn until<T>(&self, look: impl Fn(&State) -> Option<T>) -> T {
        let mut place = Place { fate: &self.fate, held: None };
        poll_fn(|cx| place.poll(cx, &look)).await
    }
}

impl fmt::Debug for ConnectionWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.fate.lock();
        f.debug_struct("ConnectionWatch").field("draining", &state.draining).field("closed", &state.closed).finish()
    }
}

/// The place of one who waits; it is free again when that one goes.
struct Place<'a> {
    fate: &'a Fate,
    /// Its number, and the time that it counts for.
    held: Option<(usize, u32)>,
}

impl Place<'_> {
    fn poll<T>(&mut self, cx: &Context<'_>, look: impl Fn(&State) -> Option<T>) -> Poll<T> {
        let mut state = self.fate.lock();
        if let Some(found) = look(&state) {
            return Poll::Ready(found);
        }
        let held = self.held.filter(|(_, time)| *time == state.woken).map(|(number, _)| number);
        let number = held.or_else(|| state.waiting.iter().position(Option::is_none)).unwrap_or(state.waiting.len());
        self.held = Some((number, state.woken));
        match state.waiting.get_mut(number) {
            Some(place) => *place = Some(cx.waker().clone()),
            None => state.waiting.push(Some(cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some((number, time)) = self.held else {
            return;
        };
        let mut state = self.fate.lock();
        if time == state.woken
            && let Some(place) = state.waiting.get_mut(number)
        {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use np_types::{CloseCode, ConnectionError};

    use super::{ConnectionWatch, Fate};

    /// A future that is polled by hand, and whether it was woken.
    struct Waiter<'a, T>(Pin<Box<dyn Future<Output = T> + 'a>>, Arc<Woken>);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl<'a, T> Waiter<'a, T> {
        fn new(future: impl Future<Output = T> + 'a) -> Self {
            Self(Box::pin(future), Arc::default())
        }

        fn poll(&mut self) -> Poll<T> {
            let waker = Waker::from(Arc::clone(&self.1));
            self.0.as_mut().poll(&mut Context::from_waker(&waker))
        }

        fn is_woken(&self) -> bool {
            self.1.0.load(Ordering::Relaxed) > 0
        }
    }

    const OVER: ConnectionError = ConnectionError::ClosedHere(CloseCode::Normal);

    fn watched() -> (Arc<Fate>, ConnectionWatch) {
        let fate = Arc::<Fate>::default();
        (Arc::clone(&fate), ConnectionWatch::new(fate))
    }

    #[test]
    fn all_who_wait_are_told_each_of_what_it_waits_for() {
        let (fate, watch) = watched();
        let (mut closed, mut draining) = (Waiter::new(watch.closed()), Waiter::new(watch.draining()));
        assert_eq!(closed.poll(), Poll::Pending);
        assert_eq!(draining.poll(), Poll::Pending);
        fate.drains(CloseCode::Drained);
        assert!(draining.is_woken() && !watch.takes_calls() && !watch.is_closed());
        assert_eq!(draining.poll(), Poll::Ready(Ok(CloseCode::Drained)));
        // One that comes between takes the place that the other was woken from, and both are told.
        let mut another = Waiter::new(watch.closed());
        assert_eq!(another.poll(), Poll::Pending);
        assert_eq!(closed.poll(), Poll::Pending);
        drop(draining);
        fate.ends(&OVER);
        assert!(watch.is_closed());
        for waiter in [&mut closed, &mut another] {
            assert!(waiter.is_woken());
            assert_eq!(waiter.poll(), Poll::Ready(OVER));
        }
    }

    #[test]
    fn who_waits_for_the_first_record_is_told_of_it_or_of_the_end() {
        let (_, watch) = watched();
        assert_eq!(Waiter::new(watch.stood()).poll(), Poll::Ready(Ok(())));
        for ends in [false, true] {
            let (fate, watch) = watched();
            fate.opens(true);
            let mut stood = Waiter::new(watch.stood());
            assert_eq!(stood.poll(), Poll::Pending);
            if ends {
                fate.ends(&OVER)
            } else {
                fate.opens(false)
            }
            assert!(stood.is_woken());
            assert_eq!(stood.poll(), Poll::Ready(if ends { Err(OVER) } else { Ok(()) }));
        }
    }

    #[test]
    fn what_is_to_be_done_at_the_end_is_not_lost_when_the_first_record_comes() {
        let (fate, watch) = watched();
        fate.opens(true);
        let done = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&done);
        watch.then(move |news| {
            assert_eq!(news, Err(OVER));
            count.fetch_add(1, Ordering::Relaxed);
        });
        fate.opens(false);
        assert_eq!(done.load(Ordering::Relaxed), 0);
        fate.ends(&OVER);
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_place_is_free_again_when_its_waiter_goes() {
        let (fate, watch) = watched();
        for _ in 0..100 {
            assert_eq!(Waiter::new(watch.closed()).poll(), Poll::Pending);
        }
        assert!(fate.lock().waiting.len() <= 1);
    }

    #[test]
    fn what_is_to_be_done_is_done_once_with_the_first_news() {
        let (fate, watch) = watched();
        let done = Arc::<AtomicUsize>::default();
        let act = |expected| {
            let done = Arc::clone(&done);
            move |news| {
                assert_eq!(news, expected);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        watch.then(act(Ok(CloseCode::Drained)));
        assert_eq!(done.load(Ordering::Relaxed), 0);
        fate.drains(CloseCode::Drained);
        fate.ends(&OVER);
        assert_eq!(done.load(Ordering::Relaxed), 1);
        // The go-away is still what new calls are told.
        watch.then(act(Ok(CloseCode::Drained)));
        let (fate, watch) = watched();
        fate.ends(&OVER);
        fate.ends(&ConnectionError::ClosedHere(CloseCode::Internal));
        watch.then(act(Err(OVER)));
        assert_eq!((done.load(Ordering::Relaxed), fate.error()), (3, Some(OVER)));
    }
}
