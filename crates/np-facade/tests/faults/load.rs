//! Calls with numbers, what becomes of each, and the judgement: none lost, none doubled, none late.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use np_facade::{CallError, Client, Outcome};
use np_testkit::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::house::EXECUTIONS;

/// What a call may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// What the machine may add to it.
const SLACK: Duration = Duration::from_secs(1);
/// Calls on their way at the same time.
const WORKERS: u64 = 4;
/// Calls of a run at least; they go on until the faults are over.
pub(crate) const CALLS: u64 = 32;
const MOST_CALLS: u64 = 2_000;

/// Calls of one client.
pub(crate) struct Load {
    pub(crate) next: AtomicU64,
    most: u64,
    over: AtomicBool,
    ended: Mutex<Vec<Ended>>,
}

struct Ended {
    id: u64,
    result: Result<bool, CallError>,
    late: bool,
}

impl Load {
    /// The first call has the number `first`.
    pub(crate) fn new(first: u64) -> Arc<Self> {
        let (next, over) = (AtomicU64::new(first), AtomicBool::new(false));
        Arc::new(Self { next, most: first + MOST_CALLS, over, ended: Mutex::default() })
    }

    /// Calls until [`Self::finish`]; the same body goes with the same number of the same seed.
    pub(crate) fn start(self: &Arc<Self>, client: &Client, seed: u64) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for worker in 0..WORKERS {
            let (load, client) = (Arc::clone(self), client.clone());
            workers.spawn(async move {
                let mut rng = Rng::new(seed ^ worker);
                while !load.over.load(Ordering::SeqCst) {
                    let id = load.next.fetch_add(1, Ordering::SeqCst);
                    assert!(id < load.most, "the faults do not end");
                    load.call(&client, id, &mut rng).await;
                    sleep(Duration::from_millis(rng.below(8))).await;
                }
            });
        }
        workers
    }

    pub(crate) async fn call(&self, client: &Client, id: u64, rng: &mut Rng) {
        let mut body = id.to_be_bytes().to_vec();
        body.extend((0..rng.below(700)).map(|_| rng.next_u64() as u8));
        let before = Instant::now();
        let answer = client.request("count").body(body.clone()).deadline(DEADLINE).send().await;
        let (result, late) = (answer.map(|reply| reply.body == body), before.elapsed() > DEADLINE + SLACK);
        self.ended.lock().unwrap().push(Ended { id, result, late });
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended.lock().unwrap().len() as u64
    }

    pub(crate) fn answered(&self) -> u64 {
        self.ended.lock().unwrap().iter().filter(|ended| ended.result.is_ok()).count() as u64
    }

    /// No call begins from now on; waits for the ends of those that have.
    pub(crate) async fn finish(&self, mut workers: JoinSet<()>) {
        self.over.store(true, Ordering::SeqCst);
        while let Some(ended) = workers.join_next().await {
            ended.unwrap();
        }
    }

    /// Holds what the client was told against what the server did. `all` must have been answered where nothing but
    /// connections was lost.
    pub(crate) fn judge(&self, folder: &Path, all: bool) -> Result<Tally, String> {
        let executed = executions(folder);
        let (mut tally, mut wrong) = (Tally::default(), Vec::new());
        for Ended { id, result, late } in &*self.ended.lock().unwrap() {
            let times = executed.get(id).copied().unwrap_or_default();
            tally.calls += 1;
            tally.twice += u64::from(times > 1);
            tally.hangs += u64::from(*late);
            let outcome = result.as_ref().map_or_else(|error| error.outcome, |_| Outcome::Answered);
            match outcome {
                Outcome::Answered => tally.answered += 1,
                Outcome::NotProcessed => tally.not_processed += 1,
                _ => tally.unknown += 1,
            }
            let right = match result {
                Ok(own) => *own && times == 1,
                Err(_) if all => false,
                Err(_) if outcome == Outcome::NotProcessed => times == 0,
                Err(_) => times <= 1,
            };
            if !right || *late {
                wrong.push(format!("call {id} ended with {result:?}, late {late}, and was executed {times} times"));
            }
        }
        if wrong.is_empty() { Ok(tally) } else { Err(wrong.join("\n")) }
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) not_processed: u64,
    pub(crate) unknown: u64,
    pub(crate) twice: u64,
    pub(crate) hangs: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.not_processed += other.not_processed;
        self.unknown += other.unknown;
        self.twice += other.twice;
        self.hangs += other.hangs;
    }
}

pub(crate) fn id_of(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().unwrap())
}

/// How often each call was executed, by the server's file.
pub(crate) fn executions(folder: &Path) -> HashMap<u64, u32> {
    numbers(&folder.join(EXECUTIONS))
}

/// How often each number stands in a file of lines.
pub(crate) fn numbers(file: &Path) -> HashMap<u64, u32> {
    let mut times = HashMap::new();
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        *times.entry(line.parse().unwrap()).or_default() += 1;
    }
    times
}
