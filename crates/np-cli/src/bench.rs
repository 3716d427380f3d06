//! `np bench`: workloads against a server, what became of each call, how long it took and what it cost.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::ArgPredicate;
use np_facade::{Address, Identity, PublicKey, Suite};

use crate::args::ConnectArgs;
use crate::connect::{Dialer, Target};
use crate::failure::Failure;
use crate::load::identity;
use crate::output::{self, Output};
use crate::screen;
use crate::signals::{Signals, interrupted};

mod compare;
mod live;
mod load;
mod machine;
mod own;
mod pace;
mod report;
mod runner;
mod svg;
mod tally;
mod text;
mod usage;
mod work;
mod workload;

use compare::{Comparison, Read};
use own::Own;
use report::{Report, Run};
use runner::Runner;
use text::Style;
use usage::Watched;
use workload::{Choice, Kind, Name, Workload, all_of, parse_name};

/// Measures a server by its built-in methods: calls, latencies, processor time, memory.
///
/// Workloads: A ping-pong (1 connection, 1 call in flight, 64 bytes), B pipelined (1 connection, 128 in flight, 64 bytes),
/// C many (64 connections, 8 in flight on each, 256 bytes), D bulk (1 connection, 4 in flight, 1 MiB), E set-up (connect,
/// handshake, 64 bytes there and back, close), F idle memory (--idle connections), stream (messages of 64 KiB on one
/// stream), sweep (64 bytes to 1 MiB, 8 in flight), small (64 bytes, --concurrency in flight), echo:SIZE (the same with
/// that many bytes), all (A to F, stream and sweep).
///
/// Each call is `answered`, `not_processed` (the server did no work for it) or `unknown`, and `calls` is the sum. When the
/// time is over, or the first signal comes, calls that were never sent are taken back and count as not processed, and
/// those that were sent are waited for, 5 s at most or until the next signal. A connection that ends ends its workload. The
/// exit code is 0 also where calls were not answered: read the figures. --timeout bounds connecting alone.
#[derive(Debug, Args)]
#[command(mut_arg("address", |it| it
    .required(false)
    .required_unless_present_any(["own", "compare", "serve_for"])
    .default_value_ifs([
        ("own", ArgPredicate::IsPresent, "tcp://127.0.0.1:0"),
        ("compare", ArgPredicate::IsPresent, "-"),
        ("serve_for", ArgPredicate::IsPresent, "-"),
    ])))]
pub(crate) struct Bench {
    #[command(flatten)]
    connect: ConnectArgs,

    /// Start a server for this measurement, in a process of its own on this machine
    #[arg(long = "self", id = "own", conflicts_with_all = ["address", "server_pid"])]
    own: bool,

    /// The cipher suite to ask for with --self; the suite of an ADDR stands in it (?suite=)
    #[arg(long, value_name = "SUITE", conflicts_with_all = ["address", "compare"])]
    suite: Option<Suite>,

    /// What is measured, one after the other: A to F, stream, sweep, small, echo:SIZE, all
    #[arg(long, value_name = "NAME,...", value_parser = parse_name, value_delimiter = ',', default_value = "small")]
    workload: Vec<Name>,

    /// For how many seconds each workload is measured, 0.01 to 86400
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_secs)]
    secs: Duration,

    /// How many calls of small and echo:SIZE are open at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    concurrency: u32,

    /// How many connections F opens
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    idle: u32,

    /// Make so many calls a second whatever the server does (open loop); the latency of a call counts from when it was due
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,

    /// The process of the server, where it runs on this machine: for its processor time and memory (Linux)
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Draw latency over percentile into this file, which must not exist
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Measure nothing, and show the ratios of two reports that --json wrote
    #[arg(long, num_args = 2, value_names = ["A.json", "B.json"], conflicts_with_all = ["address", "own", "svg", "rate"])]
    compare: Option<Vec<PathBuf>>,

    /// What --self starts
    #[arg(long, hide = true, value_name = "KEY")]
    serve_for: Option<PublicKey>,
}

/// Reads seconds, which need not be whole ones.
fn parse_secs(text: &str) -> Result<Duration, String> {
    let secs = text.parse::<f64>().ok().filter(|secs| (0.01..=86_400.0).contains(secs));
    secs.map(Duration::from_secs_f64).ok_or_else(|| "seconds are a number of 0.01 to 86400".to_owned())
}

/// Measures, and reports also what was measured until a signal.
pub(crate) async fn run(command: Bench, output: Output, mut signals: Signals) -> Result<(), Failure> {
    if let Some(client) = command.serve_for {
        return own::serve(client).await;
    }
    if let Some([a, b]) = command.compare.as_deref() {
        return compare(a, b, output);
    }
    let workloads = command.workloads()?;
    if let Some(path) = &command.svg {
        check_new(path)?;
    }
    let (dialer, watched) = command.server().await?;
    let address = dialer.place().to_owned();
    let paced = (command.secs, command.rate);
    let (mut runner, machine) = Runner::connect(dialer, watched, paced, &mut signals).await?;
    if !output.is_json() {
        output::write(machine.text(screen::width()).as_bytes())?;
    }
    let mut runs = Vec::new();
    let ended = measure(&mut runner, &workloads, &address, output, &mut signals, &mut runs).await;
    runner.close().await;
    if !runs.is_empty() {
        report(&Report::new(machine, &address, runs), command.svg.as_deref(), output)?;
    }
    ended
}

/// Runs one workload after the other, and shows people each as it ends.
async fn measure(
    runner: &mut Runner,
    workloads: &[Workload],
    address: &str,
    output: Output,
    signals: &mut Signals,
    runs: &mut Vec<Run>,
) -> Result<(), Failure> {
    let style = Style::of_stdout();
    for workload in workloads {
        let run = runner.run(workload, signals).await?;
        if output.is_ndjson() {
            output.json(&run)?;
        } else if !output.is_json() {
            output::write(text::run(&run, address, style).as_bytes())?;
        }
        runs.push(run);
        if runner.was_interrupted {
            return Err(interrupted());
        }
    }
    Ok(())
}

fn compare(a: &Path, b: &Path, output: Output) -> Result<(), Failure> {
    let comparison = Comparison::new(&Read::file(a)?, &Read::file(b)?)?;
    if output.is_json() {
        return output.json(&comparison.value());
    }
    output::write(comparison.table(screen::width()).as_bytes())
}

impl Bench {
    fn workloads(&self) -> Result<Vec<Workload>, Failure> {
        let choice = Choice { concurrency: self.concurrency, idle: self.idle };
        let refused = |why: String| Failure::usage(format!("--workload: {why}; `np help bench` shows what there is"));
        let all = all_of(&self.workload, choice).map_err(refused)?;
        let unpaced = all.iter().find(|it| matches!(it.kind, Kind::SetUp | Kind::Idle));
        match unpaced.filter(|_| self.rate.is_some()) {
            Some(it) => Err(Failure::usage(format!(
                "--rate: {} opens connections, and only calls and messages have a rate; leave it out of --workload",
                it.name
            ))),
            None => Ok(all),
        }
    }

    /// How to connect, and what is known of the server's process.
    async fn server(&self) -> Result<(Dialer, Watched), Failure> {
        if !self.own {
            let dialer = Dialer::new(&self.connect, Target::new(&self.connect)?, None).await?;
            return Ok((dialer, self.server_pid.map_or(Watched::Nobody, Watched::Process)));
        }
        let client = match &self.connect.identity {
            Some(path) => identity(path.clone(), self.connect.key_mode).await?,
            None => Identity::generate().map_err(|error| Failure::of("--self", error))?,
        };
        let own = Own::start(client.public_key()).await?;
        let listening: Address = own.address.parse().map_err(|error| Failure::address("--self", &error))?;
        let suite = self.suite.or_else(|| listening.suite());
        let address = listening.with_suite(suite).to_string();
        let args = ConnectArgs { address, ..self.connect.clone() };
        let dialer = Dialer::new(&args, Target::new(&args)?, Some(client)).await?;
        Ok((dialer, Watched::Child(Box::new(own))))
    }
}

/// What is left to say once all is measured.
fn report(report: &Report, svg: Option<&Path>, output: Output) -> Result<(), Failure> {
    if output.is_ndjson() {
        output.json(&report.without_runs())?;
    } else if output.is_json() {
        output.json(report)?;
    } else {
        output::write(text::summary(report, Style::of_stdout()).as_bytes())?;
    }
    svg.map_or(Ok(()), |path| write_new(path, &svg::plot(report)))
}

fn exists(path: &Path) -> Failure {
    let shown = np_facade::escape_path(path);
    Failure::usage(format!("--svg {shown}: exists, and nothing is overwritten; name another file, or remove it"))
}

/// Refuses a file that is there before minutes are spent on what belongs into it.
fn check_new(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => {
            let shown = np_facade::escape_path(path);
            Failure::local(format!("--svg {shown}: cannot be written: {error}; name a folder that can"))
        }
    })
}
