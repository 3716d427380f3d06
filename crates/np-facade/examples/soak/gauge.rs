//! What the process holds: memory over time, tasks, descriptors. It must never know what they are for.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

/// Resident memory over time.
#[derive(Default)]
pub(crate) struct Gauge {
    /// Minutes, and KiB.
    samples: Vec<(f64, f64)>,
}

impl Gauge {
    pub(crate) fn sample(&mut self, at: Duration) {
        if let Some(kib) = resident() {
            self.samples.push((at.as_secs_f64() / 60.0, kib as f64));
        }
    }

    pub(crate) fn last(&self) -> Option<f64> {
        self.samples.last().map(|(_, kib)| *kib)
    }

    /// KiB a minute, by least squares.
    pub(crate) fn slope(&self) -> Option<f64> {
        let count = self.samples.len() as f64;
        let mean = |part: fn(&(f64, f64)) -> f64| self.samples.iter().map(part).sum::<f64>() / count;
        let (at, kib) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let spread: f64 = self.samples.iter().map(|sample| (sample.0 - at).powi(2)).sum();
        let both: f64 = self.samples.iter().map(|sample| (sample.0 - at) * (sample.1 - kib)).sum();
        (spread > 0.0).then_some(both / spread)
    }
}

/// Resident memory in KiB, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Tasks that are alive, and descriptors that are open, where the system tells.
pub(crate) struct Held {
    tasks: usize,
    descriptors: Option<usize>,
}

impl Held {
    pub(crate) fn now(runtime: &Handle) -> Self {
        let descriptors = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self { tasks: runtime.metrics().num_alive_tasks(), descriptors }
    }

    pub(crate) fn beyond(&self, before: &Self) -> Self {
        let more = self.descriptors.zip(before.descriptors).map(|(now, then)| now.saturating_sub(then));
        Self { tasks: self.tasks.saturating_sub(before.tasks), descriptors: more }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.tasks == 0 && self.descriptors.unwrap_or_default() == 0
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.descriptors {
            Some(descriptors) => write!(f, "{} tasks, {descriptors} descriptors", self.tasks),
            None => write!(f, "{} tasks; descriptors not counted: this system has no /proc/self/fd", self.tasks),
        }
    }
}
