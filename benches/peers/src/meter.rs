//! Clocks and gauges: processor time of a process, resident memory, and what the rest of the machine did meanwhile.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Failure;

/// Lets this process, and those that it starts, open as many sockets as it may: the usual soft limit is too low for the
/// workload F.
pub(crate) fn open_many() -> Result<(), Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor time, user and system, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Resident memory, in KiB.
    pub(crate) rss_kib: u64,
}

impl Usage {
    /// Reads the calling process.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(u64::try_from(time.tv_sec)?, u32::try_from(time.tv_nsec)?);
        let status = fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
        let rss_kib = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(Self { cpu_ns: u64::try_from(cpu.as_nanos())?, rss_kib })
    }
}

/// The whole machine's clocks at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    at: Instant,
    /// Processor time of all programs and interrupts.
    busy: Duration,
    /// Time that the host gave to others.
    stolen: Duration,
}

/// What disturbed a span, as parts of the machine's whole processor time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Disturbance {
    /// Time that the host gave to others.
    pub(crate) steal: f64,
    /// Time that other programs used.
    pub(crate) others: f64,
}

impl Disturbance {
    /// A round above this is shown and not counted.
    pub(crate) const MOST: f64 = 0.05;

    /// Whether the span may be counted.
    pub(crate) fn is_small(self) -> bool {
        self.steal <= Self::MOST && self.others <= Self::MOST
    }
}

/// Ticks of `/proc/stat` in a second: the same on every Linux that Rust's tier 1 names.
const TICKS: u64 = 100;

impl Machine {
    /// Reads `/proc/stat`.
    pub(crate) fn now() -> Result<Self, Failure> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("no `cpu` in /proc/stat")?;
        let ticks = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let &[user, nice, system, _idle, _wait, irq, softirq, steal, ..] = ticks.as_slice() else {
            return Err("/proc/stat has too few columns".into());
        };
        let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / TICKS);
        Ok(Self { at: Instant::now(), busy: time(user + nice + system + irq + softirq), stolen: time(steal) })
    }

    /// What disturbed the span since `self`, in which this comparison's processes used `own`.
    pub(crate) fn disturbance(self, own: Duration) -> Result<Disturbance, Failure> {
        let now = Self::now()?;
        let cores = std::thread::available_parallelism()?.get() as f64;
        let whole = (now.at - self.at).as_secs_f64() * cores;
        let others = (now.busy - self.busy).saturating_sub(own);
        Ok(Disturbance {
            steal: (now.stolen - self.stolen).as_secs_f64() / whole,
            others: others.as_secs_f64() / whole,
        })
    }
}
