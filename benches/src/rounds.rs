//! Rounds, processor time and medians.

use std::time::{Duration, Instant};

/// What one peer did in one round.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Calls that were answered.
    pub calls: u64,
    /// Time that passed.
    pub wall: Duration,
    /// Processor time of this process: client and server together.
    pub cpu: Duration,
}

impl Sample {
    /// Processor time per call, in microseconds.
    #[must_use]
    pub fn cpu_per_call(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.calls.max(1) as f64
    }

    /// Calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.wall.as_secs_f64()
    }
}

/// Runs `work` and measures what it cost; `work` gives the calls it made.
pub async fn measure(work: impl Future<Output = u64>) -> Sample {
    let (start, before) = (Instant::now(), cpu());
    let calls = work.await;
    Sample { calls, wall: start.elapsed(), cpu: cpu().saturating_sub(before) }
}

/// The middle of some figures.
///
/// ```
/// assert_eq!(np_benches::rounds::median(vec![3.0, 1.0, 2.0]), 2.0);
/// ```
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time of this process, user and system.
#[cfg(unix)]
#[must_use]
pub fn cpu() -> Duration {
    read(rustix::time::ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread, user and system.
#[cfg(unix)]
#[must_use]
pub fn thread_cpu() -> Duration {
    read(rustix::time::ClockId::ThreadCPUTime)
}

#[cfg(unix)]
fn read(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Elsewhere the processor's time is not read, and the figure shown is zero.
#[cfg(not(unix))]
#[must_use]
pub const fn cpu() -> Duration {
    Duration::ZERO
}

/// Elsewhere the processor's time is not read, and the figure shown is zero.
#[cfg(not(unix))]
#[must_use]
pub const fn thread_cpu() -> Duration {
    Duration::ZERO
}
