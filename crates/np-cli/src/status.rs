//! `np status`: how a server does, and whom `np serve` tells it. Must never trust what a server answers.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use np_facade::{ErrorKind, Policy, escape};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::args::ConnectArgs;
use crate::connect::{Connected, Target, connect};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::refusal::failed_call;
use crate::screen;
use crate::span::parse_span;

/// The figures that are taken of one answer, and the characters of each name and value that are shown.
const MAX_FIGURES: usize = 256;
const MAX_TEXT: usize = 128;
/// Totals whose growth is shown as a rate, and the name of the rate.
const RATES: [(&str, &str); 2] = [("calls_total", "calls_per_second"), ("connections_total", "connections_per_second")];

/// Shows how a server does: connections, handshakes, sources, calls, memory and exactly-once calls, each beside its limit,
/// how often limits were reached, totals, rates, uptime, version.
///
/// The server must run with --status-allow and this client's key. It is asked twice, --interval apart, for the rates; the
/// questions are calls too, and count as such.
#[derive(Debug, Args)]
pub(crate) struct StatusCommand {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The time over which rates are measured; 0s asks once and shows none
    #[arg(short, long, value_name = "TIME", value_parser = parse_span, default_value = "1s")]
    interval: Duration,
}

/// Asks, and prints the latest answer.
pub(crate) async fn run(command: StatusCommand, output: Output) -> Result<(), Failure> {
    let target = Target::new(&command.connect)?;
    let connected = connect(&command.connect, target).await?;
    let asked = ask_all(&command, &connected).await;
    let figures = connected.close_after(asked).await?;
    if output.is_json() {
        return output.json(&figures.object());
    }
    output::write(figures.table(screen::width()).as_bytes())
}

async fn ask_all(command: &StatusCommand, connected: &Connected) -> Result<Figures, Failure> {
    let figures = ask(connected, connected.remaining()).await?;
    if command.interval.is_zero() {
        return Ok(figures);
    }
    sleep(command.interval).await;
    let mut later = ask(connected, command.connect.timeout).await?;
    let rates = rates(&figures, &later);
    later.0.extend(rates);
    Ok(later)
}

/// Whom a server tells how it does; `None` is nobody. Reads the files of lists.
pub(crate) fn policy(allow: &[String]) -> Result<Option<Policy>, Failure> {
    allow.iter().try_fold(None, |all: Option<Policy>, text| {
        let one = Policy::parse_allow(text)
            .map_err(|error| Failure::usage(format!("--status-allow: {error}; `np help serve` tells what it takes")))?;
        if one.is_empty() {
            let shown = escape(text, 4_096);
            return Err(Failure::usage(format!(
                "--status-allow: {shown}: no key is in it, so it would tell nobody; write public keys (np1...) into it"
            )));
        }
        Ok(Some(match all {
            Some(others) => others.or(one),
            None => one,
        }))
    })
}

async fn ask(connected: &Connected, within: Duration) -> Result<Figures, Failure> {
    let reply = connected.client.request("np.status").deadline(within).send().await;
    let reply = reply.map_err(|error| failed_call("np.status", &connected.place, &error))?;
    let figures = Figures::read(&String::from_utf8_lossy(&reply.body));
    if figures.0.is_empty() {
        let line = format!("status of {}: the answer holds no figures; is it an np server?", connected.place);
        return Err(Failure::new(ErrorKind::Remote, line));
    }
    Ok(figures)
}

/// Names and values, in the order in which the server tells them.
struct Figures(Vec<(String, String)>);

impl Figures {
    /// Reads lines of a name and a value; nothing of them can move a cursor.
    fn read(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once(' ')).take(MAX_FIGURES);
        Self(pairs.map(|(name, value)| (escape(name, MAX_TEXT), escape(value, MAX_TEXT))).collect())
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(found, _)| found == name)?.1.parse().ok()
    }

    fn object(&self) -> Value {
        let value = |text: &str| match (text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(number), _) => json!(number),
            (_, Ok(number)) if number.is_finite() && text.starts_with(|first: char| first.is_ascii_digit()) => {
                json!(number)
            }
            _ => json!(text),
        };
        Value::Object(self.0.iter().map(|(name, text)| (name.clone(), value(text))).collect::<Map<_, _>>())
    }

    fn table(&self, columns: Option<usize>) -> String {
        let width = self.0.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
        self.0.iter().fold(String::new(), |mut table, (name, value)| {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{}", screen::fit(&format!("{name:<width$}  {value}"), width + 2, columns));
            table
        })
    }
}

/// How fast totals grew, by the server's own clock.
fn rates(before: &Figures, after: &Figures) -> Vec<(String, String)> {
    let grown = |name: &str| after.number(name)?.checked_sub(before.number(name)?);
    let Some(millis) = grown("uptime_ms").filter(|millis| *millis > 0) else {
        return Vec::new();
    };
    RATES
        .iter()
        .filter_map(|(total, rate)| {
            let tenths = u128::from(grown(total)?) * 10_000 / u128::from(millis);
            Some(((*rate).to_owned(), format!("{}.{}", tenths / 10, tenths % 10)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Figures, rates};

    #[test]
    fn rates_are_what_totals_grew_by() {
        let before = Figures::read("uptime_ms 1000\ncalls_total 10\nconnections_total 1");
        let after = Figures::read("uptime_ms 3000\ncalls_total 25\nconnections_total 1");
        let rates = rates(&before, &after);
        assert_eq!(rates, [("calls_per_second", "7.5"), ("connections_per_second", "0.0")].map(own));
        let restarted = Figures::read("uptime_ms 10\ncalls_total 1");
        assert!(super::rates(&before, &restarted).is_empty());
    }

    #[test]
    fn what_a_server_says_is_shown_and_moves_no_cursor() {
        let figures = Figures::read("version 0.1.0\ncalls 7\nevil\u{1b}[2J \u{1b}]0;x\nrate 7.5\nnonsense");
        assert!(!figures.table(None).contains('\u{1b}') && !figures.object().to_string().contains('\u{1b}'));
        assert!(figures.table(None).starts_with("version"), "{}", figures.table(None));
        let object = figures.object();
        assert_eq!((&object["version"], &object["calls"], &object["rate"]), (&"0.1.0".into(), &7.into(), &7.5.into()));
        let many: String = (0..1_000).map(|at| format!("n{at} 1\n")).collect();
        assert_eq!(Figures::read(&many).0.len(), 256);
    }

    fn own((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }
}
