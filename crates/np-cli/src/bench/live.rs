//! The line that shows how a measurement goes, on a terminal. Must never reach a pipe.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::tally::Tally;
use crate::counted::counted;
use crate::output;
use crate::screen;
use crate::span::show_span;

/// The pause between two drawings.
const PAUSE: Duration = Duration::from_millis(200);

/// The task that draws; it stops when dropped.
#[derive(Debug)]
pub(super) struct Live(Option<JoinHandle<()>>);

impl Live {
    /// Draws until it is dropped, where standard error is a terminal.
    pub(super) fn start(workload: &str, time: Duration, tally: &Arc<Tally>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (workload, tally) = (workload.to_owned(), Arc::clone(tally));
        Self(Some(tokio::spawn(draw(workload, time, tally))))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            write("\r\u{1b}[K");
        }
    }
}

async fn draw(workload: String, time: Duration, tally: Arc<Tally>) {
    let colour = output::takes_colour(true);
    let (started, mut before) = (Instant::now(), (Instant::now(), 0));
    loop {
        sleep(PAUSE).await;
        let (now, counts) = (Instant::now(), tally.counts());
        let latencies = counts.latencies.as_ref();
        let at = |quantile| Duration::from_nanos(latencies.map_or(0, |it| it.value_at_quantile(quantile)));
        let since = now.duration_since(before.0).as_secs_f64();
        let shown = Moment {
            share: started.elapsed().as_secs_f64() / time.as_secs_f64().max(1e-9),
            rate: counts.answered.saturating_sub(before.1) as f64 / since.max(1e-9),
            p50: at(0.5),
            p99: at(0.99),
            errors: counts.errors + counts.not_processed + counts.unknown,
        };
        before = (now, counts.answered);
        write(&format!("\r\u{1b}[K{}", shown.line(&workload, colour, screen::width_of_stderr())));
    }
}

/// Nobody is left to tell when stderr is gone.
fn write(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What a line shows.
struct Moment {
    share: f64,
    rate: f64,
    p50: Duration,
    p99: Duration,
    errors: u64,
}

impl Moment {
    fn line(&self, workload: &str, colour: bool, width: Option<usize>) -> String {
        let share = self.share.clamp(0.0, 1.0);
        let errors = counted(self.errors, "error", "errors");
        let figures =
            format!("{:.0} calls/s, p50 {}, p99 {}, {errors}", self.rate, show_span(self.p50), show_span(self.p99));
        let line = screen::with_bar(&format!("{workload} {:3.0} %", share * 100.0), share, &figures, width);
        // Colour comes last: it takes no room.
        match line.strip_suffix(&errors).filter(|_| colour && self.errors > 0) {
            Some(line) => format!("{line}\u{1b}[31m{errors}\u{1b}[0m"),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Moment;

    #[test]
    fn a_line_shows_share_rate_percentiles_and_errors_in_red() {
        let micros = Duration::from_micros;
        let moment = Moment { share: 0.25, rate: 412_345.4, p50: micros(120), p99: micros(3_100), errors: 2 };
        let line = "B  25 % [######..................] 412345 calls/s, p50 120 µs, p99 3.10 ms, 2 errors";
        assert_eq!(moment.line("B", false, None), line);
        assert_eq!(moment.line("B", true, None), line.replace("2 errors", "\u{1b}[31m2 errors\u{1b}[0m"));
        let narrow = "B  25 % [##........] 412345 calls/s, p50 120 µs, p99 3.10 ms, 2 errors";
        assert_eq!(moment.line("B", true, Some(70)), narrow.replace("2 errors", "\u{1b}[31m2 errors\u{1b}[0m"));
        let well = Moment { share: 7.0, errors: 0, ..moment };
        assert!(well.line("B", true, None).contains("100 % [########################]"));
        assert!(!well.line("B", true, None).contains('\u{1b}'));
    }
}
