//! `np ping`: the time to a server and back.

use std::time::Duration;

use clap::Args;
use np_facade::ErrorKind;
use serde_json::json;
use tokio::time::timeout;

use crate::args::ConnectArgs;
use crate::connect::{Connected, Target, connect};
use crate::counted::counted;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::signals::{Signals, interrupted};
use crate::span::{parse_span, show_span, write_span};

/// Connects once and measures the time of small frames there and back.
///
/// --timeout bounds connecting with the handshake, and then each answer.
#[derive(Debug, Args)]
pub(crate) struct Ping {
    #[command(flatten)]
    connect: ConnectArgs,

    /// How many times
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,

    /// The pause between an answer and the next question
    #[arg(short, long, value_name = "TIME", value_parser = parse_span, default_value = "1s")]
    interval: Duration,
}

/// Pings, and sums up what was measured even where the end came early.
pub(crate) async fn run(command: Ping, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let target = Target::new(&command.connect)?;
    let connected = tokio::select! {
        connected = connect(&command.connect, target) => connected?,
        () = signals.next() => return Err(interrupted()),
    };
    let mut times = Vec::new();
    let ended = tokio::select! {
        ended = measure(&command, &connected, &mut times, output) => ended,
        () = signals.next() => Err(interrupted()),
    };
    let ended = connected.close_after(ended).await;
    // Where nothing was measured, the failure says all there is.
    if ended.is_ok() || !times.is_empty() {
        report(&connected.place, times, output)?;
    }
    ended
}

async fn measure(
    command: &Ping,
    connected: &Connected,
    times: &mut Vec<Duration>,
    output: Output,
) -> Result<(), Failure> {
    for number in 1..=command.count {
        if number > 1 {
            tokio::time::sleep(command.interval).await;
        }
        let time = ping(connected, command.connect.timeout).await?;
        times.push(time);
        if output.is_ndjson() {
            output.json(&json!({ "reply": number, "time_ms": time.as_secs_f64() * 1e3 }))?;
        } else if !output.is_json() {
            let line = format!("reply {number} from {}: {}\n", connected.place, show_span(time));
            output::write(line.as_bytes())?;
        }
    }
    Ok(())
}

async fn ping(connected: &Connected, within: Duration) -> Result<Duration, Failure> {
    let place = &connected.place;
    match timeout(within, connected.client.ping()).await {
        Ok(Ok(time)) => Ok(time),
        Ok(Err(error)) => {
            let kind = ErrorKind::of_connection(&error);
            let line = format!("ping {place}: {error}; check the server and the network");
            Err(Failure::new(kind, line).coded(error.code()))
        }
        Err(_) => {
            let line =
                format!("ping {place}: no answer within {}; raise --timeout, or check the server", write_span(within));
            Err(Failure::new(ErrorKind::Timeout, line))
        }
    }
}

fn report(place: &str, mut times: Vec<Duration>, output: Output) -> Result<(), Failure> {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let in_order: Vec<f64> = times.iter().copied().map(millis).collect();
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    let last = times.len().saturating_sub(1);
    let (min, median, max) = (at(0), at(last / 2), at(last));
    let text = format!(
        "{}, min/median/max {} / {} / {}",
        counted(times.len(), "reply", "replies"),
        show_span(min),
        show_span(median),
        show_span(max)
    );
    let value = json!({
        "address": place,
        "replies": times.len(),
        "times_ms": in_order,
        "min_ms": millis(min),
        "median_ms": millis(median),
        "max_ms": millis(max),
    });
    output.line(&text, &value)
}
