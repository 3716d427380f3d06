//! Seeded simulation of two peers: `NP_SIM_SEED` replays one seed, `NP_SIM_SEEDS` runs that many.
#![cfg(test)]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use np_testkit::sim::{self, Kind};

/// Seeds of every run of the tests.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs a seed and says how to run it again if it fails.
fn run(seed: u64) -> Result<sim::Summary, String> {
    let outcome = catch_unwind(|| sim::run(seed, false)).unwrap_or_else(|_| Err("it panicked".to_owned()));
    outcome.map_err(|error| format!("seed {seed} (replay: NP_SIM_SEED={seed}): {error}"))
}

#[test]
fn every_seed_keeps_the_model() {
    if let Some(seed) = number("NP_SIM_SEED") {
        let summary = sim::run(seed, false).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        println!("seed {seed}: {:?}, {} calls, {} fine", summary.kind, summary.calls, summary.fine);
        return;
    }
    let seeds = number("NP_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, calls, fine, healthy) =
        (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failures.len() > 5 {
                return failures;
            }
            match run(seed) {
                Ok(summary) => {
                    calls.fetch_add(summary.calls, Ordering::Relaxed);
                    fine.fetch_add(summary.fine, Ordering::Relaxed);
                    healthy.fetch_add(usize::from(summary.kind == Kind::Healthy), Ordering::Relaxed);
                }
                Err(error) => failures.push(error),
            }
        }
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let (calls, fine, healthy) = (calls.into_inner(), fine.into_inner(), healthy.into_inner());
    println!("simulated {seeds} seeds ({healthy} healthy): {calls} calls, {fine} of them fine");
    // A simulation in which little goes well proves little.
    assert!(fine * 2 > calls, "{fine} of {calls} calls went well");
}

#[test]
fn a_seed_determines_every_byte() {
    for seed in 0..200 {
        let [first, second] = [(); 2].map(|()| sim::run(seed, true).map(|summary| summary.transcript));
        assert_eq!(first, second, "seed {seed}");
        assert!(first.unwrap().len() > 100, "seed {seed}");
    }
}
