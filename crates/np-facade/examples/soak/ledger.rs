//! What became of each call: what its caller was told, held against how often its handler began.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use np_facade::{CallError, Outcome};

/// So long after its end a call may still be executed a second time, and be caught at it by number. Whatever is executed
/// later is caught because nobody knows it.
const REMEMBERED: Duration = Duration::from_secs(20);

/// What is counted apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work {
    Once,
    Plain,
    Stream,
}

const WORKS: [(Work, &str); 3] =
    [(Work::Once, "exactly once"), (Work::Plain, "plain calls"), (Work::Stream, "streams")];

#[derive(Default)]
pub(crate) struct Ledger {
    next: AtomicU64,
    calls: Mutex<HashMap<u64, Call>>,
    counts: [Counts; 3],
    lost: AtomicU64,
    twice: AtomicU64,
    hangs: AtomicU64,
    wrong: AtomicU64,
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    not_processed: AtomicU64,
    unknown: AtomicU64,
}

/// What matters of what a caller was told.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// An answer: it was executed.
    Done,
    NotDone,
    Unknown,
}

/// An exactly-once call.
#[derive(Default)]
struct Call {
    executed: u64,
    ended: Option<(Instant, Told)>,
}

impl Ledger {
    /// The number of a call that begins.
    pub(crate) fn begin(&self) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.calls().insert(id, Call::default());
        id
    }

    /// A handler has begun.
    pub(crate) fn execute(&self, id: u64) {
        match self.calls().get_mut(&id) {
            Some(call) => call.executed += 1,
            // It was judged long ago.
            None => add(&self.twice),
        }
    }

    /// The caller of an exactly-once call was told.
    pub(crate) fn end_once(&self, id: u64, told: &Result<bool, CallError>, late: bool) {
        self.end(Work::Once, told, late);
        if let Some(call) = self.calls().get_mut(&id) {
            let told = match told {
                Ok(_) => Told::Done,
                Err(error) if error.outcome == Outcome::NotProcessed => Told::NotDone,
                Err(_) => Told::Unknown,
            };
            call.ended = Some((Instant::now(), told));
        }
    }

    /// Any caller was told: whether the answer was its own, or an error.
    pub(crate) fn end(&self, work: Work, told: &Result<bool, CallError>, late: bool) {
        let Some(counts) = self.counts.get(work as usize) else {
            return;
        };
        match outcome(told) {
            Outcome::Answered => add(&counts.answered),
            Outcome::NotProcessed => add(&counts.not_processed),
            _ => add(&counts.unknown),
        }
        if matches!(told, Ok(false)) {
            add(&self.wrong);
        }
        if late {
            add(&self.hangs);
        }
    }

    /// Judges the calls that ended a while ago, and forgets them.
    pub(crate) fn sweep(&self) {
        self.judge(|at| at.elapsed() > REMEMBERED);
    }

    /// Judges all that have ended.
    pub(crate) fn sweep_all(&self) {
        self.judge(|_| true);
    }

    fn judge(&self, is_due: impl Fn(Instant) -> bool) {
        self.calls().retain(|_, call| {
            let Some((at, told)) = call.ended else {
                return true;
            };
            if !is_due(at) {
                return true;
            }
            match (told, call.executed) {
                (Told::Done, 0) => add(&self.lost),
                // What is told to be not processed and was is as bad as a second time: its caller may do it again.
                (Told::NotDone, 1) | (_, 2..) => add(&self.twice),
                _ => {}
            }
            false
        });
    }

    pub(crate) fn is_good(&self) -> bool {
        let bad = [&self.lost, &self.twice, &self.hangs, &self.wrong];
        let answered = self.counts.iter().all(|counts| get(&counts.answered) > 0);
        answered && bad.into_iter().all(|count| get(count) == 0) && self.calls().is_empty()
    }

    /// One line while it goes on.
    pub(crate) fn line(&self) -> String {
        let mut line = String::new();
        for (work, name) in WORKS {
            let answered = self.counts.get(work as usize).map_or(0, |counts| get(&counts.answered));
            let _ = write!(line, "{name} {answered}, ");
        }
        let (lost, twice, hangs) = (get(&self.lost), get(&self.twice), get(&self.hangs));
        line + &format!("lost {lost}, twice {twice}, hangs {hangs}")
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!("{:<16}{:>12}{:>15}{:>10}\n", "", "answered", "not processed", "unknown");
        for ((_, name), counts) in WORKS.into_iter().zip(&self.counts) {
            let Counts { answered, not_processed, unknown } = counts;
            let [answered, not_processed, unknown] = [answered, not_processed, unknown].map(get);
            let _ = writeln!(table, "{name:<16}{answered:>12}{not_processed:>15}{unknown:>10}");
        }
        let [lost, twice, hangs, wrong] = [&self.lost, &self.twice, &self.hangs, &self.wrong].map(get);
        let open = self.calls().len();
        table + &format!("lost {lost}, executed twice {twice}, hangs {hangs}, answers of others {wrong}, open {open}")
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outcome(told: &Result<bool, CallError>) -> Outcome {
    told.as_ref().map_or_else(|error| error.outcome, |_| Outcome::Answered)
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
