//! `np bench`: many calls for a while, and what became of each of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use np_facade::{CallError, CloseCode, Connection, Deadline, Limits, MethodName, Outcome, Request};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::args::ConnectArgs;
use crate::connect::{Target, connect};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::signals::{Signals, interrupted};

mod tally;

use tally::Tally;

/// How long calls that were sent are waited for once the time is over.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long a caller waits after a call that was refused without any work, which may take no time at all.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls np.echo for --secs over one connection, and counts what became of each call.
///
/// Each call is `answered`, `not_processed` (the server did no work for it) or `unknown`, and `calls` is the sum. When the
/// time is over, or the first signal comes, calls that were never sent are taken back and count as not processed, and
/// those that were sent are waited for, 5 s at most or until the next signal. A connection that ends ends the measurement. The exit code is 0
/// also where calls were not answered: read the figures. --timeout bounds connecting alone.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    connect: ConnectArgs,

    /// What is called: small (64 bytes there and back) or echo:SIZE, in bytes or with a unit (KiB, MiB)
    #[arg(long, value_name = "WORKLOAD", value_parser = parse_workload, default_value = "small")]
    workload: Workload,

    /// For how many seconds calls are made
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    secs: u64,

    /// How many calls are open at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,
}

/// The bytes of each call's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Workload(usize);

/// Bytes of a body of `small`.
const SMALL: usize = 64;

fn parse_workload(text: &str) -> Result<Workload, String> {
    if text == "small" {
        return Ok(Workload(SMALL));
    }
    let size = text.strip_prefix("echo:").ok_or_else(|| "there are small and echo:SIZE".to_owned())?;
    let digits = size.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = size.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        _ => return Err("a size is a number and perhaps a unit: echo:4096, echo:64KiB, echo:1MiB".to_owned()),
    };
    let size = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
    let most = usize::try_from(Limits::default().max_message).unwrap_or(usize::MAX);
    size.filter(|size| *size <= most)
        .map(Workload)
        .ok_or_else(|| format!("a size is at most {} MiB, the limit of one message (max_message)", most >> 20))
}

/// Measures, and reports also what was measured until a signal.
pub(crate) async fn run(command: Bench, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let target = Target::new(&command.connect)?;
    let connected = tokio::select! {
        connected = connect(&command.connect, target) => connected?,
        () = signals.next() => return Err(interrupted()),
    };
    let tally = Arc::new(Tally::default());
    let connection = &connected.client.connection();
    let callers = Callers::start(&command, connection, &tally)?;
    let was_interrupted = callers.measure(Duration::from_secs(command.secs), connection, &mut signals).await;
    let report = tally.report(&connected.place, command.workload.0, command.concurrency, connection.error().as_ref());
    if output.is_json() {
        output.json(&report)?;
    } else {
        output::write(report.table().as_bytes())?;
    }
    connected.client.close().await;
    if was_interrupted { Err(interrupted()) } else { Ok(()) }
}

/// The callers of a measurement, each with one call open at a time.
struct Callers {
    callers: JoinSet<()>,
    started: Instant,
    tally: Arc<Tally>,
}

impl Callers {
    fn start(command: &Bench, connection: &Connection, tally: &Arc<Tally>) -> Result<Self, Failure> {
        let failed = |error| Failure::local(format!("np.echo: {error}; report this"));
        let request = Request::new(MethodName::new("np.echo").map_err(failed)?)
            .body(Bytes::from(vec![0x6e; command.workload.0]))
            .deadline(Deadline::NONE);
        let started = Instant::now();
        let until = started + Duration::from_secs(command.secs);
        let mut callers = JoinSet::new();
        for _ in 0..command.concurrency {
            callers.spawn(call_until(until, connection.clone(), request.clone(), Arc::clone(tally)));
        }
        Ok(Self { callers, started, tally: Arc::clone(tally) })
    }

    /// Waits for the end; gives whether a signal brought it.
    async fn measure(mut self, secs: Duration, connection: &Connection, signals: &mut Signals) -> bool {
        let was_interrupted = tokio::select! {
            () = join(&mut self.callers) => false,
            () = sleep(secs.saturating_sub(self.started.elapsed())) => false,
            () = signals.next() => true,
        };
        self.tally.stop(self.started.elapsed());
        connection.withdraw().await;
        let was_answered = tokio::select! {
            answered = timeout(LAST_ANSWERS, join(&mut self.callers)) => answered.is_ok(),
            () = signals.next() => false,
        };
        if !was_answered {
            // What is open now fails, and says by itself what is known of it.
            connection.close(CloseCode::Normal, "").await;
            join(&mut self.callers).await;
        }
        was_interrupted
    }
}

async fn join(callers: &mut JoinSet<()>) {
    while callers.join_next().await.is_some() {}
}

async fn call_until(until: Instant, connection: Connection, request: Request, tally: Arc<Tally>) {
    while !tally.is_stopped() && Instant::now() < until && connection.error().is_none() {
        let begun = tally.begin();
        let answered = connection.call(request.clone()).await;
        let is_refused = matches!(&answered, Err(CallError { outcome: Outcome::NotProcessed, .. }));
        tally.end(begun, answered.as_ref().map(|_| ()));
        if is_refused && !tally.is_stopped() {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Workload, parse_workload};

    #[test]
    fn workloads_are_read_up_to_the_limit_of_one_message() {
        for (text, size) in [("small", 64), ("echo:0", 0), ("echo:4096", 4_096), ("echo:16MiB", 16 << 20)] {
            assert_eq!(parse_workload(text), Ok(Workload(size)), "{text}");
        }
        for text in ["", "large", "echo", "echo:", "echo:1GiB", "echo:16777217", "echo:99999999999999999999KiB"] {
            assert!(parse_workload(text).is_err(), "{text}");
        }
    }
}
