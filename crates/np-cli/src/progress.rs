//! How far long work has come, on a terminal. Must never reach a pipe.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::screen;

/// The pause between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// A bar on standard error with the share done, the rate, and the time that is left.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    from: u64,
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// Work over `total` bytes, of which `from` were done before.
    pub(crate) fn new(what: &'static str, from: u64, total: u64) -> Self {
        Self { what, from, total, begun: Instant::now(), drawn: None, shown: io::stderr().is_terminal() }
    }

    /// Notes that so many bytes are done.
    pub(crate) fn at(&mut self, done: u64) {
        let now = Instant::now();
        if self.shown && self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= PAUSE) {
            self.drawn = Some(now);
            // Nobody is left to tell when stderr is gone.
            let line = self.line(done, now.duration_since(self.begun), screen::width_of_stderr());
            let _ = write!(io::stderr(), "\r\u{1b}[K{line}");
        }
    }

    /// Clears the line.
    pub(crate) fn end(self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }

    fn line(&self, done: u64, took: Duration, width: Option<usize>) -> String {
        let share = if self.total == 0 { 1.0 } else { done as f64 / self.total as f64 };
        let rate = done.saturating_sub(self.from) as f64 / took.as_secs_f64().max(1e-9);
        let left = if rate > 0.0 { self.total.saturating_sub(done) as f64 / rate } else { f64::INFINITY };
        let left = if left.is_finite() { format!("{left:.0} s left") } else { "stalled".to_owned() };
        let [done, total] = [done, self.total].map(show_bytes);
        let head = format!("{} {:3.0} %", self.what, share * 100.0);
        screen::with_bar(&head, share, &format!("{done} of {total}, {}/s, {left}", show_bytes(rate as u64)), width)
    }
}

/// Bytes in the unit that suits them.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1 << 10 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in UNITS.iter().skip(1) {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Progress, show_bytes};

    #[test]
    fn a_line_tells_share_rate_and_what_is_left() {
        let bar =
            Progress { what: "sending", from: 0, total: 4 << 20, begun: Instant::now(), drawn: None, shown: false };
        let line = bar.line(1 << 20, Duration::from_secs(1), None);
        assert_eq!(line, "sending  25 % [######..................] 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left");
        assert!(bar.line(0, Duration::from_secs(1), None).ends_with("stalled"));
        let narrow = bar.line(1 << 20, Duration::from_secs(1), Some(64));
        assert_eq!(narrow, "sending  25 % [##......] 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left");
        let resumed = Progress { from: 3 << 20, ..bar };
        assert!(resumed.line(3 << 20, Duration::from_secs(1), None).ends_with("stalled"), "what was there is no rate");
    }

    #[test]
    fn bytes_have_a_fitting_unit() {
        for (bytes, text) in [(1023, "1023 B"), (1024, "1.0 KiB"), (3 << 19, "1.5 MiB"), (5 << 40, "5.0 TiB")] {
            assert_eq!(show_bytes(bytes), text);
        }
    }
}
