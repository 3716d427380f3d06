//! Seeded simulation of two peers: `NP_SIM_SEED` replays one seed, `NP_SIM_SEEDS` runs that many.
#![cfg(test)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use np_testkit::flows::{self, Flows};
use np_testkit::sim::{self, Kind};

/// Seeds of every run of the tests.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs every seed of a simulation on all processors; a failure says how its seed is run again.
fn every_seed<T: Send>(run: impl Fn(u64) -> Result<T, String> + Sync) -> Vec<T> {
    let seeds = match number("NP_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NP_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let (next, failures) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let worker = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.load(Ordering::Relaxed) > 5 {
                return outcomes;
            }
            let outcome =
                catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|_| Err("it panicked".to_owned()));
            failures.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
            outcomes.push(outcome.map_err(|error| format!("seed {seed} (replay: NP_SIM_SEED={seed}): {error}")));
        }
    };
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    let bad: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    good.into_iter().filter_map(Result::ok).collect()
}

#[test]
fn every_seed_keeps_the_model() {
    let runs = every_seed(|seed| sim::run(seed, false));
    let healthy = runs.iter().filter(|run| run.kind == Kind::Healthy).count();
    let (calls, fine) = runs.iter().fold((0, 0), |(calls, fine), run| (calls + run.calls, fine + run.fine));
    let rests: u64 = runs.iter().map(|run| run.rests).sum();
    println!("simulated {} seeds ({healthy} healthy): {calls} calls, {fine} of them fine, {rests} rests", runs.len());
    // A simulation in which little goes well proves little.
    assert!(fine * 2 > calls || runs.len() == 1, "{fine} of {calls} calls went well");
    assert!(rests > runs.len() as u64 || runs.len() == 1, "{rests} rests");
}

#[test]
fn every_byte_of_streams_is_delivered_as_the_model_foretells() {
    let runs = every_seed(flows::run);
    let sum = |part: fn(&Flows) -> usize| runs.iter().map(part).sum::<usize>();
    let (opened, messages, foretold) = (sum(|run| run.opened), sum(|run| run.messages), sum(|run| run.foretold));
    println!("simulated {} seeds: {opened} streams and calls, {messages} messages, {foretold} foretold", runs.len());
    assert!(foretold * 2 > opened || runs.len() == 1, "{foretold} of {opened} were left to their plans");
}

#[test]
fn a_seed_determines_every_byte() {
    let mut long = 0;
    for seed in 0..200 {
        let [first, second] = [(); 2].map(|()| sim::run(seed, true).map(|summary| summary.transcript));
        assert_eq!(first, second, "seed {seed}");
        long += usize::from(first.unwrap().len() > 100);
    }
    // A fault in the first flight ends a run early.
    assert!(long > 190, "{long}");
}
