//! The alarm of a connection: one timer from its first byte on, set anew and never made anew.
//!
//! A timer of tokio's that is earlier than all others wakes whoever waits for sockets, and one that only moves later wakes
//! nobody. Limits in time of some seconds, one after the other, would each do so; an alarm is set to a second at first,
//! for whatever it may be needed, and moves on.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// For how long it is set at first; where less is waited for, for that.
const STEP: Duration = Duration::from_secs(1);

/// One timer for all that a connection waits for before it stands.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The time was over first.
#[derive(Debug)]
pub(crate) struct Late;

impl Alarm {
    /// Runs a future until a time.
    pub(crate) async fn bound<F: Future>(&mut self, until: Instant, future: F) -> Result<F::Output, Late> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.poll(cx, until).map(|()| Err(Late))
        })
        .await
    }

    /// Ready once the time has come.
    fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        loop {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until.min(Instant::now() + STEP))));
            let set = sleep.deadline();
            if set > until {
                sleep.as_mut().reset(until);
                continue;
            }
            ready!(sleep.as_mut().poll(cx));
            if set >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until.min(set + STEP));
        }
    }

    /// The timer as it is set, for what follows.
    pub(crate) fn into_sleep(self) -> Option<Pin<Box<Sleep>>> {
        self.sleep
    }
}

/// Keeps a timer set that is earlier than those of new connections, while they come: then none of them is the next to ring,
/// and wakes nobody. A server to which nobody comes has none.
#[derive(Debug, Default)]
pub(crate) struct Pacemaker {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whether a connection has come since it rang last.
    busy: bool,
}

impl Pacemaker {
    /// A connection has come.
    pub(crate) fn accepted(&mut self) {
        self.busy = true;
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + STEP / 2)));
    }

    /// Sets the timer again as often as it rings, while connections come; never ends.
    pub(crate) async fn beat(&mut self) {
        std::future::poll_fn(|cx| {
            while let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                if std::mem::take(&mut self.busy) {
                    sleep.as_mut().reset(Instant::now() + STEP / 2);
                } else {
                    self.sleep = None;
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::{Alarm, Pacemaker};

    #[tokio::test(start_paused = true)]
    async fn a_pacemaker_beats_while_connections_come() {
        let (start, mut pace) = (Instant::now(), Pacemaker::default());
        let beat = async |pace: &mut Pacemaker, millis| {
            tokio::time::timeout(Duration::from_millis(millis), pace.beat()).await.unwrap_err();
            pace.sleep.as_ref().map(|sleep| (sleep.deadline() - start).as_millis())
        };
        assert_eq!(beat(&mut pace, 10).await, None, "nobody came yet");
        pace.accepted();
        assert_eq!(beat(&mut pace, 490).await, Some(510));
        assert_eq!(beat(&mut pace, 100).await, Some(1_010), "one more beat for what came before the first");
        pace.accepted();
        assert_eq!(beat(&mut pace, 500).await, Some(1_510));
        assert_eq!(beat(&mut pace, 500).await, None, "nobody came since");
    }

    #[tokio::test(start_paused = true)]
    async fn it_rings_when_it_is_time_and_not_before() {
        let (start, mut alarm) = (Instant::now(), Alarm::default());
        for millis in [10_300, 10_300, 11_000, 11_001, 20_000, 20_000] {
            let until = start + Duration::from_millis(millis);
            alarm.bound(until, pending::<()>()).await.unwrap_err();
            assert_eq!(start.elapsed(), Duration::from_millis(millis));
        }
        let until = Instant::now() + Duration::from_millis(1);
        alarm.bound(until, pending::<()>()).await.unwrap_err();
        assert_eq!(Instant::now(), until, "earlier than it was set for");
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_in_time_is_given_on() {
        let mut alarm = Alarm::default();
        let until = Instant::now() + Duration::from_secs(3);
        let slow = async {
            sleep(Duration::from_millis(2_900)).await;
            5
        };
        assert_eq!(alarm.bound(until, slow).await.unwrap(), 5);
        assert_eq!(alarm.bound(Instant::now(), ready(6)).await.unwrap(), 6, "what is there already is never late");
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_one_wait_after_the_other() {
        let mut alarm = Alarm::default();
        let until = Instant::now() + Duration::from_secs(10);
        for _ in 0..3 {
            alarm.bound(until, tokio::task::yield_now()).await.unwrap();
        }
        let sleep = alarm.into_sleep().expect("set when something had to be waited for");
        assert_eq!(sleep.deadline(), Instant::now() + super::STEP, "set once, and not for each");
    }
}
