//! System calls per request, counted by strace at a client and a server in processes of their own.
//!
//! Owns the counting and the table; the processes are those of the benchmark `path`. Tracing slows both
//! and changes who waits for whom, so the figure tells the size of it, and nothing finer.

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

/// How many system calls a request may take, on each side.
const TARGET: f64 = 0.10;

/// How long a process may take to end once its work is done.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts them; a machine without strace is told so, and that is no failure.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let calls = calls(arguments)?;
    if !process::works("strace", &["-c", "-U", "calls,name", "true"]) {
        println!(
            "skipped: strace is not installed, or may not trace, so no system calls are counted (apt install strace)"
        );
        return Ok(());
    }
    let program = super::build_path(workspace)?;
    let (server, client) = (program.with_extension("server"), program.with_extension("client"));
    trace(&program, [&server, &client], calls)?;
    let sides = [("client", counts(&fs::read_to_string(client)?)), ("server", counts(&fs::read_to_string(server)?))];
    print(&sides, calls);
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

/// Runs both processes, each under a strace of its own, whose tables go to two files.
fn trace(program: &Path, [server, client]: [&Path; 2], calls: u64) -> Result<(), Failure> {
    let mut serving = strace(server, program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let called = call(&mut serving, program, client, calls);
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

fn call(serving: &mut Child, program: &Path, client: &Path, calls: u64) -> Result<(), Failure> {
    let mut address = String::new();
    BufReader::new(serving.stdout.take().ok_or("the server has no output")?).read_line(&mut address)?;
    let mut calling = strace(client, program);
    calling.args(["call", address.trim(), &IN_FLIGHT.to_string(), &calls.to_string()]);
    process::succeed(calling, "strace path call")
}

fn strace(table: &Path, program: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-U", "calls,name", "-o"]).arg(table).arg(program);
    command
}

/// The counts of strace's table, by name.
fn counts(table: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let count = words.next()?.parse().ok()?;
        let name = words.next().filter(|name| *name != "total")?;
        Some((name.to_owned(), count))
    };
    table.lines().filter_map(row).collect()
}

fn print(sides: &[(&str, BTreeMap<String, u64>); 2], calls: u64) {
    println!("{calls} requests of 64 B, {IN_FLIGHT} at once on one connection, client and server traced");
    println!("{:<8} {:<16} {:>10} {:>12}", "side", "system call", "count", "per request");
    for (side, counts) in sides {
        let mut rows: Vec<_> = counts.iter().collect();
        rows.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        for (name, count) in rows.into_iter().filter(|(_, count)| **count * 1_000 >= calls) {
            println!("{side:<8} {name:<16} {count:>10} {:>12.4}", per_request(*count, calls));
        }
        let all = per_request(counts.values().sum(), calls);
        let word = if all <= TARGET { "within" } else { "above" };
        println!(
            "{side:<8} {:<16} {:>10} {all:>12.4}  {word} the target of {TARGET:.2}",
            "all",
            counts.values().sum::<u64>()
        );
    }
}

fn per_request(count: u64, calls: u64) -> f64 {
    count as f64 / calls as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read_without_its_frame_and_its_sum() {
        let table = "     calls syscall\n--------- ----------------\n      1306 epoll_wait\n       386 sendto\n         1 exit\n\
                     --------- ----------------\n      1693 total\n";
        let counts = counts(table);
        assert_eq!(counts.len(), 3);
        assert_eq!(counts.get("epoll_wait"), Some(&1_306));
        assert_eq!(counts.values().sum::<u64>(), 1_693);
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
