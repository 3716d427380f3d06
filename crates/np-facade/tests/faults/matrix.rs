//! A row of the matrix: one fault in each of its cells, for each seed, and a table of what came of it.

use std::sync::mpsc;
use std::time::Duration;

use np_testkit::Rng;
use tokio::runtime::Builder;

use crate::kind::Kind;
use crate::load::Tally;
use crate::middlebox::Side;

/// Seeds of every run of the tests.
const SEEDS: u64 = 3;
/// Runs at the same time. Most of a run is waiting.
const AT_ONCE: usize = 6;
/// What a run may take: more than a deadline and all that comes after.
const LONGEST: Duration = Duration::from_secs(60);

/// One run of one cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) side: Side,
    seed: u64,
}

impl Cell {
    /// The chance of this run.
    pub(crate) fn rng(&self) -> Rng {
        let cell = self.kind as u64 * 2 + self.side as u64;
        Rng::new(Rng::new(self.seed).next_u64() ^ cell)
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs a fault over all transports, sides and seeds, and fails with the seeds that replay what went wrong.
pub(crate) fn row<F>(fault: &str, run: impl Fn(Cell) -> F + Clone + Send + 'static)
where
    F: Future<Output = Result<Tally, String>>,
{
    let seeds = match number("NP_FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("NP_FAULT_SEEDS").unwrap_or(SEEDS),
    };
    let sides = [Side::Client, Side::Server];
    let cells: Vec<_> = Kind::ALL.iter().flat_map(|kind| sides.map(|side| (*kind, side))).collect();
    let runs = cells.iter().flat_map(|(kind, side)| seeds.clone().map(|seed| Cell { kind: *kind, side: *side, seed }));
    let (mut waiting, mut running) = (runs.collect::<Vec<_>>().into_iter(), 0);
    let (told, ended) = mpsc::channel();
    let mut tallies = vec![Tally::default(); cells.len()];
    let mut failures = Vec::new();
    loop {
        for cell in waiting.by_ref().take(AT_ONCE - running) {
            let (run, told) = (run.clone(), told.clone());
            running += 1;
            std::thread::spawn(move || {
                // A panic drops nothing that the other runs need; its text is on the terminal.
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    Builder::new_current_thread().enable_all().build().unwrap().block_on(run(cell))
                }));
                let _ = told.send((cell, result.unwrap_or_else(|_| Err("it panicked".to_owned()))));
            });
        }
        if running == 0 {
            break;
        }
        let (cell, result) =
            ended.recv_timeout(LONGEST).expect("a run hangs: NP_FAULT_SEED=0 and on, one by one, find it");
        running -= 1;
        let place = cells.iter().position(|known| *known == (cell.kind, cell.side)).unwrap();
        match result {
            Ok(tally) => tallies[place].add(tally),
            Err(why) => failures.push(format!("{fault}, {cell:?} (replay: NP_FAULT_SEED={}):\n{why}", cell.seed)),
        }
    }
    let rows = cells.iter().zip(&tallies).map(|((kind, side), tally)| {
        let Tally { calls, answered, not_processed, unknown, twice, hangs } = tally;
        let cell = format!("{fault} / {kind:?} / {side:?}");
        format!("{cell:<32}{calls:>8}{answered:>10}{not_processed:>15}{unknown:>9}{twice:>16}{hangs:>7}\n")
    });
    let head = "cell                               calls  answered  not processed  unknown  executed twice  hangs\n";
    // In one piece, since other tests print too.
    print!("{head}{}", rows.collect::<String>());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
