//! Exactly-once calls over a network in virtual time: real sessions with Noise, the real halves of exactly-once calls on
//! both sides, and everything of the fault matrix by seed. `NP_ONCE_SEED` replays one seed, `NP_ONCE_SEEDS` runs that many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what became of the calls is told")]

mod client;
mod link;
mod plan;
mod server;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use plan::{Flaw, Kind};
use world::{Tally, run};

/// Seeds of every run of the tests.
const SEEDS: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// What became of a seed: its fault and its calls, or the rules that were broken.
type Ran = Result<(Kind, Tally), String>;

fn one(seed: u64, flaw: Flaw) -> Ran {
    let ran = catch_unwind(AssertUnwindSafe(|| run(seed, flaw)));
    ran.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Runs seeds on all processors until enough of them have failed.
fn every_seed(seeds: std::ops::Range<u64>, flaw: Flaw, enough: usize) -> Vec<(u64, Ran)> {
    let (next, failures) = (AtomicU64::new(seeds.start), AtomicUsize::new(0));
    let worker = || {
        let mut outcomes = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failures.load(Ordering::Relaxed) >= enough {
                return outcomes;
            }
            let outcome = one(seed, flaw);
            failures.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
            outcomes.push((seed, outcome));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    })
}

#[test]
fn no_seed_loses_doubles_or_holds_a_call() {
    let seeds = match number("NP_ONCE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NP_ONCE_SEEDS").unwrap_or(SEEDS),
    };
    let (mut rows, mut all, mut bad) = (BTreeMap::<Kind, Tally>::new(), Tally::default(), Vec::new());
    for (seed, outcome) in every_seed(seeds, Flaw::None, 6) {
        match outcome {
            Ok((kind, tally)) => {
                rows.entry(kind).or_default().add(&tally);
                all.add(&tally);
            }
            Err(why) => bad.push(format!("seed {seed} (replay: NP_ONCE_SEED={seed}): {why}")),
        }
    }
    print(&rows, &all);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    if all.runs >= 1_000 {
        // A simulation in which little goes well, or little goes wrong, proves little.
        assert!(all.answered * 10 > all.calls * 8 && all.joined > 0 && all.replayed > 0 && all.unknown > 0, "{all:?}");
    }
}

fn print(rows: &BTreeMap<Kind, Tally>, all: &Tally) {
    let row = |name: &str, tally: &Tally| {
        let Tally { runs, calls, answered, not_processed, unknown, too_late, untold, connections, joined, replayed } =
            tally;
        format!(
            "{name:<12}{runs:>7}{calls:>8}{answered:>10}{not_processed:>15}{unknown:>9}{too_late:>10}{untold:>8}{connections:>13}\
             {joined:>8}{replayed:>10}\n"
        )
    };
    let head = "fault          runs   calls  answered  not processed  unknown  too late  untold  connections  joined  replayed\n";
    let rows: String = rows.iter().map(|(kind, tally)| row(&format!("{kind:?}"), tally)).collect();
    // In one piece, since other tests print too.
    print!("{head}{rows}{}", row("all", all));
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..60 {
        assert_eq!(one(seed, Flaw::None), one(seed, Flaw::None), "seed {seed}");
    }
}

/// Runs with a part of the code broken, one seed after the other so that it is the same ones each time, until one shows
/// the harm that is expected of it. Those before may show `besides` and no other.
fn finds(flaw: Flaw, expected: &str, besides: Option<&str>) {
    let shown = |seed| {
        let why = one(seed, flaw).err()?;
        let is_expected = why.contains(expected);
        assert!(is_expected || besides.is_some_and(|other| why.contains(other)), "{flaw:?}, seed {seed}: {why}");
        is_expected.then_some((seed, why))
    };
    let (seed, why) = (0..2_000).find_map(shown).unwrap_or_else(|| panic!("{flaw:?} never shows {expected:?}"));
    println!("{flaw:?}: seed {seed} shows it: {why}");
    // The seed of a failure replays it.
    assert_eq!(one(seed, flaw).err(), Some(why));
}

#[test]
fn what_is_broken_on_purpose_is_found() {
    finds(Flaw::ForgetsAtReconnect, "executed twice", None);
    finds(Flaw::SameEpoch, "executed twice", None);
    finds(Flaw::RunsAgain, "executed twice", None);
    // Of a call whose retry never came it is told that it was not processed.
    finds(Flaw::RetriesUnknown, "executed twice", Some("not processed, and executed"));
    finds(Flaw::AnswersFirst, "acknowledged and lost", None);
    finds(Flaw::NoDeadline, "past their deadline", None);
}
