//! A soak: one server, several clients, and a hostile middlebox between them for as long as somebody wants, with figures at
//! the end. `cargo xtask soak` runs it. It must never judge by what a client believes alone: the ledger knows both sides.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal: printing is what it is for")]

mod gauge;
mod ledger;
// The middlebox of the fault matrix, file and all.
#[path = "../../tests/faults/middlebox.rs"]
#[expect(dead_code, reason = "the tests alone lead it to another server")]
mod middlebox;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use gauge::{Gauge, Held};
use ledger::Ledger;
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, interval, sleep};
use world::World;

/// The first samples of memory are no trend: caches fill, and so does what the server and the ledger remember.
const WARM_UP: Duration = Duration::from_secs(90);
/// Memory that may come by per minute, in KiB, in a run that is long enough to tell.
const MOST_SLOPE: f64 = 512.0;
const LONG_ENOUGH: Duration = Duration::from_secs(300);
/// What ends of connections may take after the last call: a drain, and a farewell.
const SETTLING: Duration = Duration::from_secs(15);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let ended = options().and_then(|(span, seed)| {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::spawn(soak(span, seed)).await? })
    });
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("soak: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// `--minutes N`, fractions too, and `--seed N` for the faults.
fn options() -> Result<(Duration, u64), Failure> {
    let (mut span, mut seed) = (Duration::from_secs(60), 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{name}` needs a number"))?;
        match name.as_str() {
            "--minutes" => span = Duration::try_from_secs_f64(value.parse::<f64>()? * 60.0)?,
            "--seed" => seed = value.parse()?,
            _ => return Err(format!("`{name}` is none of --minutes N, --seed N").into()),
        }
    }
    Ok((span, seed))
}

/// Runs for so long; gives whether nothing was lost, doubled, late or left.
async fn soak(span: Duration, seed: u64) -> Result<bool, Failure> {
    let folder = tempfile::tempdir()?;
    let before = Held::now(&Handle::current());
    println!("soak: {:.1} min, seed {seed}, process {}", span.as_secs_f64() / 60.0, std::process::id());
    let ledger = Arc::new(Ledger::default());
    let mut gauge = Gauge::default();
    let world = World::start(folder.path(), &ledger, seed).await?;
    let mut seconds = interval(Duration::from_secs(1));
    let began = Instant::now();
    let warm_up = WARM_UP.min(span / 2);
    while began.elapsed() < span {
        seconds.tick().await;
        ledger.sweep();
        if began.elapsed() >= warm_up {
            gauge.sample(began.elapsed());
        }
        if began.elapsed().as_secs().is_multiple_of(10) {
            println!("{:>6} s  {}  {}", began.elapsed().as_secs(), ledger.line(), world.line());
        }
    }
    println!("stopping");
    let (connections, strikes) = world.stop().await;
    let left = settle(&before).await;
    ledger.sweep_all();
    Ok(report(&ledger, &gauge, span, &left, &format!("{connections} connections, {strikes} faults")))
}

/// Waits until no more is held than before, or it is time; gives what is too much.
async fn settle(before: &Held) -> Held {
    let until = Instant::now() + SETTLING;
    loop {
        let left = Held::now(&Handle::current()).beyond(before);
        if left.is_nothing() || Instant::now() >= until {
            return left;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn report(ledger: &Ledger, gauge: &Gauge, span: Duration, left: &Held, faults: &str) -> bool {
    let slope = gauge.slope();
    println!("\n{}", ledger.table());
    println!("faults            {faults}");
    match (gauge.last(), slope) {
        (Some(kib), Some(slope)) => {
            let few = if span < LONG_ENOUGH { ", not judged in a run below 5 min" } else { "" };
            println!("memory            {kib} KiB resident, {slope:+.1} KiB a minute (at most {MOST_SLOPE}{few})");
        }
        _ => println!("memory            not measured: this system has no /proc/self/status"),
    }
    println!("left over         {left}");
    let grows = span >= LONG_ENOUGH && slope.is_some_and(|slope| slope > MOST_SLOPE);
    let good = ledger.is_good() && left.is_nothing() && !grows;
    println!("{}", if good { "good" } else { "BAD" });
    good
}
