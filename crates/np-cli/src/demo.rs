//! `np demo`: peers at work over real sockets, every claim checked before its row says ok.

mod certificates;
mod cluster;
mod house;
mod items;
mod refusals;
mod relay;
mod table;
mod traffic;
mod trust;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use np_facade::ErrorKind;
use tokio::time::timeout;

use crate::demo::certificates::Claim;
use crate::demo::house::House;
use crate::demo::items::Item;
use crate::demo::table::{Row, Table};
use crate::failure::Failure;
use crate::output::Output;
use crate::signals::blocking;
use crate::span::show_span;

/// How long one row may take; the file's row gets more for a large file.
const ROW_LIMIT: Duration = Duration::from_secs(15);
/// The slowest transfer that still counts, in bytes per second.
const SLOWEST: u64 = 2 << 20;

/// Starts servers and clients in this process, connects them over TCP, a Unix socket and TLS, and checks what np promises.
///
/// A row is ok only if its claim held. Ends with 1 if any row failed.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// The file to send; this program itself by default
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs every row.
pub(crate) async fn run(command: Demo, output: Output) -> Result<(), Failure> {
    let started = Instant::now();
    let (file, size) = blocking(move || file(command.file)).await?;
    let house = House::start(file).await?;
    let mut table = Table::new(output);
    table.head()?;
    let limit = ROW_LIMIT.saturating_add(Duration::from_secs(size / SLOWEST));
    for item in Item::ALL {
        for place in house.places() {
            let checked = match timeout(limit, item.check(place)).await {
                Ok(checked) => checked,
                Err(_) => Err(format!("not done within {}", show_span(limit))),
            };
            table.row(Row::new(item.name(), place.transport, checked))?;
        }
    }
    house.shut_down().await;
    for claim in Claim::ALL {
        let checked = match timeout(certificates::LIMIT, claim.check()).await {
            Ok(checked) => checked,
            Err(_) => Err(format!("not done within {}", show_span(certificates::LIMIT))),
        };
        table.row(Row::new(claim.name(), "tls", checked))?;
    }
    let checked = match timeout(cluster::LIMIT, cluster::check()).await {
        Ok(checked) => checked,
        Err(_) => Err(format!("not done within {}", show_span(cluster::LIMIT))),
    };
    table.row(Row::new(cluster::NAME, "tcp", checked))?;
    table.foot(started.elapsed())?;
    verdict(&table.failed())
}

/// How the command ends, by the names of the rows that failed.
fn verdict(failed: &[&str]) -> Result<(), Failure> {
    if failed.is_empty() {
        return Ok(());
    }
    let line = format!("demo: failed: {}; run it again with -v to see what happened", failed.join(", "));
    Err(Failure::new(ErrorKind::Remote, line))
}

/// The file to send and its size; refused now where it cannot be read.
fn file(given: Option<PathBuf>) -> Result<(PathBuf, u64), Failure> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()
            .map_err(|error| Failure::local(format!("demo: cannot find this program's file: {error}; pass --file")))?,
    };
    let shown = path.display();
    let unreadable =
        |error| Failure::usage(format!("file {shown}: cannot be read: {error}; pass --file with the name of a file"));
    // Looked at before it is opened: opening a pipe waits for whoever writes into it.
    let meta = std::fs::metadata(&path).map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Failure::usage(format!("file {shown}: is no plain file; pass --file with the name of one")));
    }
    std::fs::File::open(&path).map_err(unreadable)?;
    Ok((path, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn one_row_that_failed_makes_the_demo_end_with_1() {
        assert!(verdict(&[]).is_ok());
        let failure = verdict(&["ping over tcp", "typed calls over unix"]).unwrap_err();
        assert!(format!("{failure:?}").starts_with("Failure { code: 1,"), "{failure:?}");
        assert!(failure.line().contains("ping over tcp, typed calls over unix"), "{}", failure.line());
    }
}
