//! What one process of clients found in one round: the line of JSON that it prints.

use serde::{Deserialize, Serialize};

use crate::meter::Disturbance;
use crate::workload::Workload;

/// One peer in one round of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The peer.
    pub(crate) peer: String,
    /// The workload.
    pub(crate) workload: Workload,
    /// The round, from 1.
    pub(crate) round: usize,
    /// Calls, or connections, that were done.
    pub(crate) count: u64,
    /// Seconds that passed.
    pub(crate) seconds: f64,
    /// Processor time of the clients, in nanoseconds.
    pub(crate) client_cpu_ns: u64,
    /// Processor time of the server, in nanoseconds.
    pub(crate) server_cpu_ns: u64,
    /// The middle of the latencies, in microseconds; of F nothing.
    pub(crate) p50_us: f64,
    /// The 99th of a hundred, in microseconds.
    pub(crate) p99_us: f64,
    /// KiB of the server per connection, before any call and after one on each; of F alone.
    pub(crate) idle_kib: Option<[f64; 2]>,
    /// What else the machine did.
    pub(crate) disturbance: Disturbance,
}

impl Report {
    /// The figure that the workload is about, in its unit.
    pub(crate) fn figure(&self) -> f64 {
        let cpu = (self.client_cpu_ns + self.server_cpu_ns) as f64 / self.count.max(1) as f64;
        match (self.idle_kib, self.workload.calls()) {
            (Some([idle, _]), _) => idle,
            (None, Some(calls)) if self.workload == Workload::D => cpu / calls.size as f64,
            (None, _) => cpu / 1e3,
        }
    }

    /// Whether it counts; memory is not disturbed by what processors do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.idle_kib.is_some() || self.disturbance.is_small()
    }

    /// Calls, or connections, per second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds
    }
}
