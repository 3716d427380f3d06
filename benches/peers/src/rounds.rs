//! The rounds: every peer in turns, each in processes of its own, and what came of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;

use crate::Failure;
use crate::document;
use crate::peers;
use crate::picture;
use crate::report::Report;
use crate::summary::Summary;
use crate::workload::{IDLE, Workload};

/// What to run.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds of each workload; of F no more than three.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that each peer is measured in a round.
    #[arg(long, default_value_t = 2.0)]
    secs: f64,
    /// Workloads, by commas; all of them if none is named.
    #[arg(long, value_delimiter = ',', ignore_case = true)]
    workloads: Vec<Workload>,
    /// Peers, by commas; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// One short round: whether everything runs. Its figures say nothing.
    #[arg(long)]
    quick: bool,
    /// Where every report goes, as a list of JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The document between whose markers the table goes.
    #[arg(long, requires = "svg", conflicts_with = "quick")]
    document: Option<PathBuf>,
    /// Where the picture goes; the document and it are in one folder.
    #[arg(long, requires = "document")]
    svg: Option<PathBuf>,
}

/// Rounds of the workload F at most: memory repeats itself.
const IDLE_ROUNDS: usize = 3;

/// Runs everything, and prints it as it comes.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let options = options.clone().settled()?;
    let mut reports = Vec::new();
    for peer in &options.peers {
        // A peer that does not answer rightly is not timed.
        child(&["check", "--peer", peer]).map_err(|error| format!("{peer} does not work: {error}"))?;
    }
    println!("{} peers answer rightly; {} rounds of {} s", options.peers.len(), options.rounds, options.secs);
    for workload in &options.workloads {
        options.rounds_of(*workload, &mut reports)?;
    }
    if let Some(path) = &options.json {
        fs::write(path, serde_json::to_string_pretty(&reports)?)?;
    }
    let summary = Summary::of(&reports);
    println!("\n{}", summary.terminal());
    options.write(&summary, &reports)
}

impl Options {
    /// With its defaults filled in.
    fn settled(mut self) -> Result<Self, Failure> {
        if self.workloads.is_empty() {
            self.workloads = Workload::ALL.to_vec();
        }
        if self.peers.is_empty() {
            self.peers = peers::ALL.iter().map(|about| about.name.to_owned()).collect();
        }
        if self.quick {
            (self.rounds, self.secs) = (1, 0.3);
        }
        if self.rounds == 0 || Duration::try_from_secs_f64(self.secs)?.is_zero() {
            return Err("rounds and seconds are more than 0".into());
        }
        Ok(self)
    }

    fn rounds_of(&self, workload: Workload, reports: &mut Vec<Report>) -> Result<(), Failure> {
        println!("\n{} [{}]", workload.about(), workload.unit());
        let rounds = if workload == Workload::F { self.rounds.min(IDLE_ROUNDS) } else { self.rounds };
        for round in 1..=rounds {
            // Each round begins with another peer, so that none is always behind the same one.
            let (before, after) = self.peers.split_at((round - 1) % self.peers.len());
            for peer in after.iter().chain(before) {
                let report = self.drive(peer, workload, round)?;
                println!("{}", line(&report));
                reports.push(report);
            }
        }
        Ok(())
    }

    /// Writes what was asked for.
    fn write(&self, summary: &Summary, reports: &[Report]) -> Result<(), Failure> {
        let (Some(document), Some(svg)) = (&self.document, &self.svg) else { return Ok(()) };
        fs::write(svg, picture::svg(summary))?;
        let name = svg.file_name().and_then(|name| name.to_str()).ok_or("the picture has no name")?;
        let how = format!("{} rounds of {} s after a warm-up", self.rounds, self.secs);
        document::write(document, &document::markdown(summary, reports, &how, name)?)
    }

    fn drive(&self, peer: &str, workload: Workload, round: usize) -> Result<Report, Failure> {
        let workload = format!("{workload:?}");
        let (secs, round) = (self.secs.to_string(), round.to_string());
        let idle = if self.quick { IDLE / 20 } else { IDLE }.to_string();
        let out = child(&[
            "drive",
            "--peer",
            peer,
            "--workload",
            &workload,
            "--secs",
            &secs,
            "--round",
            &round,
            "--idle",
            &idle,
        ])
        .map_err(|error| format!("{peer}, workload {workload}, round {round}: {error}"))?;
        Ok(serde_json::from_slice(&out)?)
    }
}

/// Runs this program once more, and gives what it printed.
fn child(arguments: &[&str]) -> Result<Vec<u8>, Failure> {
    let output = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("ended with {}", output.status).into()) }
}

/// One report, as it comes.
fn line(report: &Report) -> String {
    let cpu = |ns: u64| ns as f64 / 1e3 / report.count.max(1) as f64;
    let more = match report.idle_kib {
        Some([_, called]) => format!("{called:.1} KiB after a call on each"),
        None => format!(
            "client {:.2} µs, server {:.2} µs, {:.0}/s, p50 {:.1} µs, p99 {:.1} µs",
            cpu(report.client_cpu_ns),
            cpu(report.server_cpu_ns),
            report.rate(),
            report.p50_us,
            report.p99_us,
        ),
    };
    format!(
        "{:>2} {:<18} {:>9.2}  {more}; steal {:.0} %, others {:.0} %{}",
        report.round,
        report.peer,
        report.figure(),
        report.disturbance.steal * 100.0,
        report.disturbance.others * 100.0,
        if report.is_quiet() { "" } else { "  (not counted)" },
    )
}
