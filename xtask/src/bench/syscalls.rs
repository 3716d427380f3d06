//! System calls per request, counted at a client and a server in processes of their own.
//!
//! Owns the counting and the table; the processes are those of the benchmark `path`. The kernel's own counters (perf) leave
//! them as fast as they are. Where those may not be read strace counts, which slows both and changes who waits for whom.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// Requests at once, all on one connection.
const IN_FLIGHT: u64 = 128;

/// Requests of a run that names none: so many that start and end show in the third digit alone.
const CALLS: u64 = 200_000;
/// Runs of which the median counts.
const RUNS: usize = 7;

/// How often each system call was made.
type Counts = BTreeMap<String, u64>;

/// How many system calls a request may take, on each side.
const TARGET: f64 = 0.10;

/// Who is counted: what its server is told, and what its rows are called.
const PEERS: [(&[&str], [&str; 2]); 2] = [
    (&["serve"], ["client", "server"]),
    (&["serve", "plain"], ["client, plaintext by hand", "server, plaintext by hand"]),
];

/// How long a process may take to end once its work is done.
const PATIENCE: Duration = Duration::from_secs(10);

/// What counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counter {
    Perf,
    Strace,
}

/// The kernel's counters of system calls: one for all, and one for each that a connection may make. A counter takes a moment
/// to begin and to end, so that there are no more of them.
const ALL: &str = "raw_syscalls:sys_enter";
const EVENTS: &str = "syscalls:sys_enter_";
const NAMED: [&str; 12] = [
    "epoll_ctl",
    "epoll_wait",
    "futex",
    "madvise",
    "mmap",
    "munmap",
    "read",
    "recvfrom",
    "sched_yield",
    "sendto",
    "write",
    "writev",
];
/// What no counter of its own has.
const OTHERS: &str = "others";

impl Counter {
    /// The best that this machine has.
    fn find() -> Option<Self> {
        // All of them: some processors have other calls, and perf counts nothing where it does not know one.
        if process::works("perf", &["stat", "-e", &Self::events(), "true"]) {
            Some(Self::Perf)
        } else if process::works("strace", &["-c", "-U", "calls,name", "true"]) {
            Some(Self::Strace)
        } else {
            None
        }
    }

    /// What perf is to count.
    fn events() -> String {
        format!("{ALL},{}", NAMED.map(|name| format!("{EVENTS}{name}")).join(","))
    }

    /// A command that runs the program and writes a table.
    fn command(self, table: &Path, program: &Path) -> Command {
        let mut command = match self {
            Self::Perf => {
                let mut perf = Command::new("perf");
                perf.args(["stat", "-x", ",", "-e", &Self::events(), "-o"]).arg(table).arg("--");
                perf
            }
            Self::Strace => {
                let mut strace = Command::new("strace");
                strace.args(["-c", "-f", "-U", "calls,name", "-o"]).arg(table);
                strace
            }
        };
        command.arg(program);
        command
    }

    /// The counts of its table, by name.
    fn counts(self, table: &str) -> Counts {
        let row = |line: &str| {
            let (count, name) = match self {
                Self::Perf => {
                    let mut cells = line.split(',');
                    let (count, event) = (cells.next()?, cells.nth(1)?);
                    (count, if event == ALL { OTHERS } else { event.strip_prefix(EVENTS)? })
                }
                Self::Strace => {
                    let mut words = line.split_whitespace();
                    (words.next()?, words.next().filter(|name| *name != "total")?)
                }
            };
            Some((name.to_owned(), count.parse().ok()?))
        };
        let mut counts: Counts = table.lines().filter_map(row).collect();
        // Of all, those that are named: the table has them already.
        let named = counts.iter().filter(|(name, _)| *name != OTHERS).map(|(_, count)| count).sum();
        if let Some(all) = counts.get_mut(OTHERS) {
            *all = all.saturating_sub(named);
        }
        counts
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Perf => "counted by the kernel",
            Self::Strace => "traced, which slows both",
        }
    }
}

/// Counts them; a machine that cannot is told so, and that is no failure.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let calls = calls(arguments)?;
    let Some(counter) = Counter::find() else {
        println!("skipped: neither perf nor strace is installed and may count system calls (apt install strace)");
        return Ok(());
    };
    let program = super::build_path(workspace)?;
    let (server, client) = (program.with_extension("server"), program.with_extension("client"));
    let read = |table| fs::read_to_string(table).map(|table| counter.counts(&table));
    let mut runs = [(); 2 * PEERS.len()].map(|()| Vec::new());
    for _ in 0..RUNS {
        for ((serve, _), of_peer) in PEERS.iter().zip(runs.chunks_exact_mut(2)) {
            trace(counter, &program, serve, [&server, &client], calls)?;
            for (runs, table) in of_peer.iter_mut().zip([&client, &server]) {
                runs.push(read(table)?);
            }
        }
    }
    println!(
        "{RUNS} runs of {calls} requests of 64 B, {IN_FLIGHT} at once on one connection, client and server {}; of each side the \
         run of the median",
        counter.name()
    );
    print(&runs, calls);
    Ok(())
}

/// The number behind `--calls`.
fn calls(arguments: &[String]) -> Result<u64, Failure> {
    let calls = match arguments {
        [] => Some(CALLS),
        [name, calls] if name == "--calls" => calls.parse().ok().filter(|calls| *calls >= IN_FLIGHT),
        _ => None,
    };
    calls.ok_or_else(|| format!("usage: cargo xtask bench syscalls [--calls N]; N is {IN_FLIGHT} or more").into())
}

/// Runs both processes, each counted by itself, whose tables go to two files.
fn trace(
    counter: Counter,
    program: &Path,
    serve: &[&str],
    [server, client]: [&Path; 2],
    calls: u64,
) -> Result<(), Failure> {
    let mut serving = counter.command(server, program);
    let mut serving = serving.args(serve).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let called = call(&mut serving, counter.command(client, program), calls);
    // Without its input the server ends.
    drop(serving.stdin.take());
    let ended = process::wait(&mut serving, PATIENCE)?;
    called?;
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the server ended with {status}").into()),
        None => Err("the server did not end".into()),
    }
}

fn call(serving: &mut Child, mut calling: Command, calls: u64) -> Result<(), Failure> {
    let mut address = String::new();
    BufReader::new(serving.stdout.take().ok_or("the server has no output")?).read_line(&mut address)?;
    calling.args(["call", address.trim(), &IN_FLIGHT.to_string(), &calls.to_string()]);
    process::succeed(calling, "path call")
}

/// What np's sides did, call by call, and beside it what the peers by hand did in all.
fn print(runs: &[Vec<Counts>], calls: u64) {
    println!("{:<26} {:<12} {:>10} {:>12}", "side", "system call", "count", "per request");
    for (at, (side, runs)) in PEERS.iter().flat_map(|(_, sides)| sides).zip(runs).enumerate() {
        let (counts, [least, most]) = median(runs);
        let mut rows: Vec<_> = counts.iter().filter(|(_, count)| at < 2 && **count * 1_000 >= calls).collect();
        rows.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in rows {
            println!("{side:<26} {name:<12} {count:>10} {:>12.4}", per_request(*count, calls));
        }
        let all = per_request(sum(&counts), calls);
        let word = match at {
            2.. => String::new(),
            _ if all <= TARGET => format!("within the target of {TARGET:.2}; "),
            _ => format!("above the target of {TARGET:.2}; "),
        };
        let (least, most) = (per_request(least, calls), per_request(most, calls));
        println!("{side:<26} {:<12} {:>10} {all:>12.4}  {word}{least:.4} to {most:.4}", "all", sum(&counts));
    }
}

/// The run of the median, and the least and the most of all: whether a runtime wakes its other thread differs from run to run.
fn median(runs: &[Counts]) -> (Counts, [u64; 2]) {
    let mut runs: Vec<&Counts> = runs.iter().collect();
    runs.sort_by_key(|counts| sum(counts));
    let ends = [runs.first(), runs.last()].map(|end| end.map_or(0, |counts| sum(counts)));
    (runs.get(runs.len() / 2).map_or_else(Counts::new, |counts| (*counts).clone()), ends)
}

fn sum(counts: &Counts) -> u64 {
    counts.values().sum()
}

fn per_request(count: u64, calls: u64) -> f64 {
    count as f64 / calls as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_without_its_frame_and_its_sum() {
        let strace = "     calls syscall\n--------- ----------------\n      1306 epoll_wait\n       386 sendto\n         1 exit\n\
                      --------- ----------------\n      1693 total\n";
        let perf = "# started on Thu\n\n1306,,syscalls:sys_enter_epoll_wait,900,100.00,,\n386,,syscalls:sys_enter_sendto,900,100.00,,\n\
                    1693,,raw_syscalls:sys_enter,900,100.00,,\n<not counted>,,syscalls:sys_enter_read,0,0.00,,\n";
        for (counter, table) in [(Counter::Strace, strace), (Counter::Perf, perf)] {
            let counts = counter.counts(table);
            assert_eq!(counts.len(), 3);
            assert_eq!(counts.get("epoll_wait"), Some(&1_306));
            assert_eq!(counts.values().sum::<u64>(), 1_693);
        }
    }

    #[test]
    fn of_several_runs_the_median_is_shown_and_both_ends() {
        let run = |futex: u64, read: u64| Counts::from([("futex".to_owned(), futex), ("read".to_owned(), read)]);
        assert_eq!(median(&[run(9, 1), run(1, 1), run(2, 1)]), (run(2, 1), [2, 10]));
    }

    #[test]
    fn the_number_of_calls_is_read_and_everything_else_is_refused() {
        let read = |words: &[&str]| calls(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).ok();
        assert_eq!(read(&[]), Some(CALLS));
        assert_eq!(read(&["--calls", "128"]), Some(128));
        for wrong in [&["--calls"][..], &["--calls", "127"], &["--calls", "x"], &["--all", "200"]] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
