//! The callers of a measurement, each with one call open at a time. Must never know what a call is.

use std::sync::Arc;
use std::time::Duration;

use np_facade::{CallError, CloseCode, Connection, Outcome};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::pace::Pace;
use super::tally::Tally;

/// How long calls that were sent are waited for once the time is over.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long a caller rests after a call that was refused without any work, which may take no time at all.
const REST: Duration = Duration::from_millis(10);

/// What a caller does again and again.
pub(super) trait Work: Send + 'static {
    /// Does it once.
    fn once(&self) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Whether it makes no sense to go on.
    fn is_over(&self) -> bool {
        false
    }
}

/// The callers while they are at work.
pub(super) struct Callers {
    callers: JoinSet<()>,
    started: Instant,
    pace: Arc<Pace>,
    tally: Arc<Tally>,
}

impl Callers {
    /// Starts a caller for each piece of work.
    pub(super) fn start<W: Work>(work: impl Iterator<Item = W>, pace: &Arc<Pace>, tally: &Arc<Tally>) -> Self {
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for (caller, work) in work.enumerate() {
            callers.spawn(call_until_over(caller, work, Arc::clone(pace), Arc::clone(tally)));
        }
        Self { callers, started, pace: Arc::clone(pace), tally: Arc::clone(tally) }
    }

    /// Waits until the time is over or `interrupted` comes; what was sent is then waited for, 5 s at most or until
    /// `interrupted` comes again. Gives whether it came.
    pub(super) async fn measure(
        mut self,
        time: Duration,
        connections: &[Connection],
        mut interrupted: impl AsyncFnMut(),
    ) -> bool {
        let was_interrupted = tokio::select! {
            () = join(&mut self.callers) => false,
            () = sleep(time.saturating_sub(self.started.elapsed())) => false,
            () = interrupted() => true,
        };
        self.tally.stop(self.started.elapsed());
        self.pace.stop();
        for connection in connections {
            connection.withdraw().await;
        }
        let was_answered = tokio::select! {
            answered = timeout(LAST_ANSWERS, join(&mut self.callers)) => answered.is_ok(),
            () = interrupted() => false,
        };
        if !was_answered {
            // What is open now fails, and says by itself what is known of it.
            for connection in connections {
                connection.close(CloseCode::Normal, "").await;
            }
            join(&mut self.callers).await;
        }
        was_interrupted
    }
}

async fn join(callers: &mut JoinSet<()>) {
    while callers.join_next().await.is_some() {}
}

async fn call_until_over<W: Work>(caller: usize, work: W, pace: Arc<Pace>, tally: Arc<Tally>) {
    while !work.is_over()
        && let Some(due) = pace.next().await
        && !tally.is_stopped()
    {
        tally.begin();
        let ended = work.once().await;
        tally.end(caller, due.elapsed(), ended.as_ref().copied());
        let is_refused = matches!(&ended, Err(CallError { outcome: Outcome::NotProcessed, .. }));
        if is_refused && pace.rests() && !tally.is_stopped() {
            sleep(REST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hdrhistogram::Histogram;
    use np_facade::CallError;
    use tokio::sync::Mutex;
    use tokio::time::{Instant, sleep, sleep_until};

    use super::super::pace::{Pace, Schedule};
    use super::super::tally::Tally;
    use super::{Callers, Work};

    /// A server that does one call at a time, each in a millisecond, and does nothing at all in its tenth second.
    #[derive(Clone)]
    struct Stalling(Arc<Mutex<()>>, Instant);

    impl Work for Stalling {
        async fn once(&self) -> Result<(), CallError> {
            let _turn = self.0.lock().await;
            let (from, to) = (Duration::from_secs(9), Duration::from_secs(10));
            if (from..to).contains(&self.1.elapsed()) {
                sleep_until(self.1 + to).await;
            }
            sleep(Duration::from_millis(1)).await;
            Ok(())
        }
    }

    const TIME: Duration = Duration::from_secs(20);

    async fn measure(callers: usize, rate: Option<u32>) -> (Histogram<u64>, u64) {
        let started = Instant::now();
        let pace = Arc::new(match rate {
            Some(rate) => Pace::Open(Schedule::new(rate, started, started + TIME)),
            None => Pace::Closed(started + TIME),
        });
        let told = Arc::clone(&pace);
        // In virtual time a task does what the thread does.
        tokio::spawn(async move {
            while let Pace::Open(schedule) = &*told
                && let Some(next) = schedule.release(Instant::now())
            {
                sleep_until(next).await;
            }
        });
        let tally = Arc::new(Tally::default());
        let work = Stalling(Arc::default(), started);
        let callers = Callers::start(std::iter::repeat_n(work, callers), &pace, &tally);
        assert!(!callers.measure(TIME, &[], async || std::future::pending().await).await);
        let counts = tally.counts();
        assert_eq!((tally.calls(), counts.not_processed, counts.unknown), (counts.answered, 0, 0));
        (counts.latencies.unwrap(), tally.calls())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_shows_in_the_percentiles_of_the_open_loop_and_not_of_the_closed_one() {
        let millis = |latencies: &Histogram<u64>, quantile| latencies.value_at_quantile(quantile) / 1_000_000;
        let (closed, calls) = measure(1, None).await;
        // The one call that met the stall is one of thousands: who waits for answers asks less while there are none.
        assert!((18_000..19_100).contains(&calls), "{calls}");
        assert!(millis(&closed, 0.999) <= 2 && closed.max() / 1_000_000 >= 999, "{}", millis(&closed, 0.999));
        let (open, calls) = measure(1, Some(200)).await;
        assert_eq!(calls, 4_000, "the stall takes nothing away");
        // One in twenty was due in the stall, and then some until the server had caught up; the worst waited all of it.
        assert!(millis(&open, 0.5) <= 2, "{}", millis(&open, 0.5));
        assert!((300..=1_000).contains(&millis(&open, 0.97)), "{}", millis(&open, 0.97));
        assert!((900..=1_001).contains(&millis(&open, 0.999)), "{}", millis(&open, 0.999));
    }

    #[tokio::test(start_paused = true)]
    async fn what_counts_is_when_a_call_was_due_also_with_many_callers() {
        let (one, _) = measure(1, Some(200)).await;
        let (many, _) = measure(64, Some(200)).await;
        for quantile in [0.5, 0.97, 0.999] {
            let (one, many) = (one.value_at_quantile(quantile), many.value_at_quantile(quantile));
            assert!(one.abs_diff(many) <= 2_000_000, "{quantile}: {one} {many}");
        }
    }
}
