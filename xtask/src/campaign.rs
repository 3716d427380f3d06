//! Long runs of fuzzing: every target for so many minutes, or until it ran so often, and a table of what they came to.
//!
//! Owns the arguments, the figures and their sum over runs; how a target is started is `fuzz`'s.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::Failure;
use crate::evidence::{self, Section};
use crate::fuzz;
use crate::workspace::Workspace;

/// The name of the figures.
const NAME: &str = "fuzz";

/// A goal of executions that was not reached is run for by so many rounds at most.
const MOST_ROUNDS: u32 = 20;

/// The lines of a target's output that are shown when it fails.
const SHOWN: usize = 60;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    /// Empty: all.
    targets: Vec<String>,
    seconds: u32,
    executions: u64,
    /// Without the address sanitizer, where a target is not about C.
    plain: bool,
}

/// What the runs of one target came to, all together.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    runs: u64,
    executions: u64,
    /// Those of them with the address sanitizer.
    sanitized: u64,
    seconds: f64,
    cpu_seconds: f64,
    peak_mb: u64,
    corpus: u64,
    crashes: u64,
    hangs: u64,
    last: String,
}

/// Runs the targets and writes the table.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let wanted = wanted(arguments)?;
    if !fuzz::tools_are_here() {
        println!("SKIPPED fuzz: {}", fuzz::MISSING);
        return Ok(());
    }
    let all = fuzz::targets(&workspace.root.join("fuzz/fuzz_targets"))?;
    if let Some(unknown) = wanted.targets.iter().find(|name| !all.contains(name)) {
        return Err(format!("no target `{unknown}`; there are {}", all.join(", ")).into());
    }
    let chosen = all.iter().filter(|name| wanted.targets.is_empty() || wanted.targets.contains(name));
    fuzz::fuzz(&workspace.root, &fuzz::with(wanted.plain, vec!["build".to_owned()]))?;
    let mut failed = Vec::new();
    for target in chosen {
        if !rounds(workspace, target, &wanted)? {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("found something: {}; see fuzz/artifacts", failed.join(", ")).into())
    }
}

fn wanted(arguments: &[String]) -> Result<Wanted, Failure> {
    let usage =
        "usage: cargo xtask fuzz --all --minutes N [--execs N] [--plain], or with names of targets instead of --all";
    let mut wanted = Wanted { targets: Vec::new(), seconds: 0, executions: 0, plain: false };
    let (mut all, mut words) = (false, arguments.iter());
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|text| text.parse::<f64>().ok()).filter(|number| *number > 0.0);
        match word.as_str() {
            "--all" => all = true,
            "--plain" => wanted.plain = true,
            "--minutes" => wanted.seconds = (number().ok_or(usage)? * 60.0).ceil() as u32,
            "--execs" => wanted.executions = number().ok_or(usage)? as u64,
            name if !name.starts_with('-') => wanted.targets.push(name.to_owned()),
            _ => return Err(usage.into()),
        }
    }
    if wanted.seconds == 0 || all != wanted.targets.is_empty() { Err(usage.into()) } else { Ok(wanted) }
}

/// Runs one target for its time, and again until it ran as often as is wanted; gives whether it kept its rule.
fn rounds(workspace: &Workspace, target: &str, wanted: &Wanted) -> Result<bool, Failure> {
    let mut ran = 0;
    for _ in 0..MOST_ROUNDS {
        println!("-- fuzz {target}, {} s", wanted.seconds);
        let (row, fine) = once(&workspace.root, target, wanted)?;
        ran += row.executions;
        let mut rows = rows(&evidence::read(workspace, NAME)?);
        let sum = rows.remove(target).unwrap_or_default().and(row);
        rows.insert(target.to_owned(), sum);
        store(workspace, &rows)?;
        if !fine {
            return Ok(false);
        }
        if ran >= wanted.executions {
            break;
        }
    }
    Ok(true)
}

/// One run of one target.
fn once(root: &Path, target: &str, wanted: &Wanted) -> Result<(Row, bool), Failure> {
    let artifacts = root.join("fuzz/artifacts").join(target);
    let before = (found(&artifacts, &["crash-", "oom-", "leak-"]), found(&artifacts, &["timeout-", "slow-unit-"]));
    let (begun, spent) = (Instant::now(), children_cpu());
    let plain = fuzz::is_plain(target, wanted.plain);
    let arguments = fuzz::with(plain, fuzz::arguments(root, target, wanted.seconds)?);
    let mut child = fuzz::command(root, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo fuzz does not start: {error}"))?;
    let mut lines = Vec::new();
    if let Some(output) = child.stderr.take() {
        lines.extend(BufReader::new(output).split(b'\n').map_while(Result::ok));
    }
    let fine = child.wait()?.success();
    let lines: Vec<String> = lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    if !fine {
        lines.iter().rev().take(SHOWN).rev().for_each(|line| println!("{line}"));
    }
    let statistic = |name: &str| statistic(&lines, name);
    let executions = statistic("number_of_executed_units");
    let row = Row {
        runs: 1,
        executions,
        sanitized: if plain { 0 } else { executions },
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: children_cpu() - spent,
        peak_mb: statistic("peak_rss_mb"),
        corpus: found(&root.join("fuzz/corpus").join(target), &[""])
            + found(&root.join("fuzz/seeds").join(target), &[""]),
        crashes: found(&artifacts, &["crash-", "oom-", "leak-"]) - before.0,
        hangs: found(&artifacts, &["timeout-", "slow-unit-"]) - before.1,
        last: evidence::today(),
    };
    println!("   {} executions, {:.0} s of processor time", row.executions, row.cpu_seconds);
    Ok((row, fine))
}

/// A figure that libFuzzer prints at the end: `stat::peak_rss_mb: 57`.
fn statistic(lines: &[String], name: &str) -> u64 {
    let head = format!("stat::{name}:");
    lines.iter().rev().find_map(|line| line.strip_prefix(&head)?.trim().parse().ok()).unwrap_or_default()
}

/// How many files of a folder have names that begin so.
fn found(folder: &Path, heads: &[&str]) -> u64 {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter(|name| heads.iter().any(|head| name.to_string_lossy().starts_with(head))).count() as u64
}

/// Processor seconds of the children that this process has waited for, on systems that tell: user and system time in
/// hundredths of a second, the 16th and 17th field of a process, where its name in brackets is the second.
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    behind.split_whitespace().skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

impl Row {
    /// This run and another.
    fn and(self, next: Self) -> Self {
        Self {
            runs: self.runs + next.runs,
            executions: self.executions + next.executions,
            sanitized: self.sanitized + next.sanitized,
            seconds: self.seconds + next.seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            peak_mb: self.peak_mb.max(next.peak_mb),
            corpus: next.corpus,
            crashes: self.crashes + next.crashes,
            hangs: self.hangs + next.hangs,
            last: next.last,
        }
    }

    /// Executions in a second of processor time.
    fn rate(&self) -> f64 {
        if self.cpu_seconds > 0.0 { self.executions as f64 / self.cpu_seconds } else { 0.0 }
    }

    fn to_json(&self) -> Value {
        json!({
            "runs": self.runs,
            "executions": self.executions,
            "sanitized": self.sanitized,
            "seconds": tenths(self.seconds),
            "cpu_seconds": tenths(self.cpu_seconds),
            "executions_per_cpu_second": self.rate().round(),
            "peak_rss_mb": self.peak_mb,
            "corpus": self.corpus,
            "crashes": self.crashes,
            "hangs": self.hangs,
            "last_run": self.last,
        })
    }

    fn from_json(value: &Value) -> Self {
        let whole = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
        let real = |name: &str| value.get(name).and_then(Value::as_f64).unwrap_or_default();
        Self {
            runs: whole("runs"),
            executions: whole("executions"),
            sanitized: whole("sanitized"),
            seconds: real("seconds"),
            cpu_seconds: real("cpu_seconds"),
            peak_mb: whole("peak_rss_mb"),
            corpus: whole("corpus"),
            crashes: whole("crashes"),
            hangs: whole("hangs"),
            last: value.get("last_run").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

fn rows(stored: &Value) -> BTreeMap<String, Row> {
    let targets = stored.get("targets").and_then(Value::as_object).into_iter().flatten();
    targets.map(|(name, value)| (name.clone(), Row::from_json(value))).collect()
}

fn store(workspace: &Workspace, rows: &BTreeMap<String, Row>) -> Result<(), Failure> {
    let sum = rows.values().cloned().reduce(Row::and).unwrap_or_default();
    let targets: serde_json::Map<String, Value> =
        rows.iter().map(|(name, row)| (name.clone(), row.to_json())).collect();
    evidence::write(
        workspace,
        &Section {
            name: NAME,
            command: "cargo xtask fuzz --all --minutes N",
            result: format!(
                "{} targets, {} executions, {} of them with the address sanitizer, in {:.0} minutes of processor time; found ever: crashes {}, hangs {}",
                rows.len(),
                grouped(sum.executions),
                grouped(sum.sanitized),
                sum.cpu_seconds / 60.0,
                sum.crashes,
                sum.hangs
            ),
            figures: json!({ "targets": targets }),
            text: table(rows),
        },
    )
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let mut text =
        "| target | executions | sanitized | per CPU second | CPU minutes | peak memory | corpus | crashes found | hangs found | last run |\n\
                    |---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for (name, row) in rows {
        text.push_str(&format!(
            "| `{name}` | {} | {} | {} | {:.1} | {} MB | {} | {} | {} | {} |\n",
            grouped(row.executions),
            grouped(row.sanitized),
            grouped(row.rate().round() as u64),
            row.cpu_seconds / 60.0,
            row.peak_mb,
            row.corpus,
            row.crashes,
            row.hangs,
            row.last
        ));
    }
    text
}

/// A number with a comma before each three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Wanted, String> {
        wanted(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn targets_minutes_and_executions_are_read_and_everything_else_is_refused() {
        let all = Wanted { targets: Vec::new(), seconds: 90, executions: 0, plain: false };
        assert_eq!(read(&["--all", "--minutes", "1.5"]).as_ref(), Ok(&all));
        let targets = vec!["codec".into(), "config".into()];
        let some = Wanted { targets, seconds: 60, executions: 100_000, plain: true };
        assert_eq!(read(&["codec", "config", "--plain", "--minutes", "1", "--execs", "100000"]), Ok(some));
        for wrong in [
            &[][..],
            &["--all"],
            &["--minutes", "1"],
            &["--all", "codec", "--minutes", "1"],
            &["--all", "--minutes"],
            &["--all", "--minutes", "0"],
            &["--all", "--hours", "1"],
        ] {
            assert!(read(wrong).is_err_and(|error| error.contains("usage")), "{wrong:?}");
        }
    }

    #[test]
    fn figures_are_read_from_the_output_and_the_last_one_counts() {
        let lines = ["stat::peak_rss_mb: 5", "INFO: x", "stat::peak_rss_mb:              57"].map(str::to_owned);
        assert_eq!(statistic(&lines, "peak_rss_mb"), 57);
        assert_eq!(statistic(&lines, "number_of_executed_units"), 0);
    }

    #[test]
    fn runs_add_up_and_come_back_from_what_is_stored() {
        let run = |executions, peak_mb, last: &str| Row {
            runs: 1,
            executions,
            sanitized: executions / 2,
            seconds: 60.0,
            cpu_seconds: 30.5,
            peak_mb,
            corpus: executions / 10,
            crashes: 1,
            hangs: 0,
            last: last.to_owned(),
        };
        let sum = run(100, 70, "2026-01-01").and(run(500, 60, "2026-01-02"));
        let wanted = Row {
            runs: 2,
            executions: 600,
            sanitized: 300,
            seconds: 120.0,
            cpu_seconds: 61.0,
            crashes: 2,
            ..run(500, 70, "2026-01-02")
        };
        assert_eq!(sum, wanted);
        let rows_before = BTreeMap::from([("codec".to_owned(), sum)]);
        let stored = json!({ "targets": { "codec": wanted.to_json() } });
        assert_eq!(rows(&stored), rows_before);
        assert!(rows(&Value::Null).is_empty());
        assert!(table(&rows_before).contains("| `codec` | 600 | 300 | 10 | 1.0 | 70 MB | 50 | 2 | 0 | 2026-01-02 |"));
    }

    #[test]
    fn numbers_are_grouped_by_threes() {
        let shown = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn files_are_counted_by_how_their_names_begin() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        for name in ["crash-1", "crash-2", "timeout-1"] {
            fs::write(folder.path().join(name), "")?;
        }
        assert_eq!((found(folder.path(), &["crash-", "oom-"]), found(folder.path(), &[""])), (2, 3));
        assert_eq!(found(&folder.path().join("none"), &[""]), 0);
        Ok(())
    }
}
