//! The table in a document: Markdown between two markers, with what it was measured on.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::Failure;
use crate::peers::{self, About, BASE};
use crate::report::Report;
use crate::summary::{Row, Summary};
use crate::workload::Workload;

/// The line before the table.
const BEGIN: &str = "<!-- peers: written by `cargo xtask bench peers --write`, and not by hand -->";

/// The line behind it.
const END: &str = "<!-- peers: end -->";

/// Puts text between the markers of a file.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let document = fs::read_to_string(path)?;
    let changed =
        between(&document, text).ok_or_else(|| format!("{} has no lines `{BEGIN}` and `{END}`", path.display()))?;
    Ok(fs::write(path, changed)?)
}

fn between(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

/// The tables, with machine, versions and date; `picture` is how the document reaches it.
pub(crate) fn markdown(summary: &Summary, reports: &[Report], how: &str, picture: &str) -> Result<String, Failure> {
    let mut text = format!("{}\n\n", heading(reports, how)?);
    let workloads: Vec<Workload> =
        Workload::ALL.into_iter().filter(|workload| summary.rows.iter().any(|row| row.workload == *workload)).collect();
    let names: Vec<String> =
        workloads.iter().map(|workload| format!("{} {}", workload.letter(), workload.unit())).collect();
    writeln!(text, "| peer | {} |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(names.len()))?;
    for about in peers::ALL {
        let rows: Vec<Option<&Row>> = workloads.iter().map(|workload| summary.row(*workload, about.name)).collect();
        if rows.iter().any(Option::is_some) {
            let cells: Vec<String> = rows.into_iter().map(|row| row.map_or_else(|| "-".to_owned(), cell)).collect();
            writeln!(text, "| {} | {} |", titled(about), cells.join(" | "))?;
        }
    }
    writeln!(text, "\n![The same as bars, {BASE} = 1]({picture})\n")?;
    for workload in &workloads {
        writeln!(text, "- {}", workload.about())?;
    }
    for about in peers::ALL.iter().filter(|about| summary.rows.iter().any(|row| row.peer == about.name)) {
        writeln!(text, "- `{}`: {}", about.name, about.text)?;
    }
    Ok(text)
}

fn titled(about: &About) -> String {
    let name = if about.package == "np-facade" { format!("**{}**", about.name) } else { about.name.to_owned() };
    if about.secure { name } else { format!("{name} (plaintext)") }
}

/// The median, its ratio to the base, and what says how far to trust it.
fn cell(row: &Row) -> String {
    let mut text = number(row.figure.median);
    if let Some(ratio) = row.ratio.filter(|_| row.peer != BASE) {
        let _ = write!(text, " (× {:.2})", ratio.median);
    }
    if row.rounds[1] == 0 {
        text.push_str(" †");
    }
    text
}

/// A figure with three digits that count.
fn number(figure: f64) -> String {
    let digits = if figure >= 100.0 {
        0
    } else if figure >= 10.0 {
        1
    } else {
        2
    };
    format!("{figure:.digits$}")
}

fn heading(reports: &[Report], how: &str) -> Result<String, Failure> {
    let quiet = reports.iter().filter(|report| report.is_quiet()).count();
    Ok(format!(
        "{}, {} cores of {}, Linux {}, {}; {how}. Medians; in brackets the median of the ratios to `{BASE}` in the same \
         round. Steal and other programs took less than 5 % each in {quiet} of {} measurements, and those alone count; \
         where a cell has none of them it counts all and carries a †. Versions: {}.",
        date()?,
        std::thread::available_parallelism()?,
        processor()?,
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        compiler(),
        reports.len(),
        versions(),
    ))
}

fn processor() -> Result<String, Failure> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(line.map_or("an unnamed processor", |(_, name)| name).to_owned())
}

fn compiler() -> String {
    let output = std::process::Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    text.split(" (").next().map_or_else(|| "rustc".to_owned(), str::to_owned)
}

/// The lock file that this program was built with.
const LOCK: &str = include_str!("../Cargo.lock");

/// The version of each peer's package, once.
fn versions() -> String {
    let mut seen: Vec<String> = Vec::new();
    for about in peers::ALL.iter().filter(|about| about.package != "np-facade") {
        let text = format!("{} {}", about.package, version(LOCK, about.package).unwrap_or("?"));
        if !seen.contains(&text) {
            seen.push(text);
        }
    }
    seen.join(", ")
}

fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

/// Today, as year, month and day.
fn date() -> Result<String, Failure> {
    let days = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 86_400;
    let (year, month, day) = civil(days);
    Ok(format!("{year}-{month:02}-{day:02}"))
}

/// Days since 1970 as a date: eras of 400 years that begin in March, so that a leap day is the last of its year.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_between_the_markers_and_nothing_else_changes() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let written = between(&document, "new\n").unwrap();
        assert_eq!(written, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
        assert_eq!(between(&written, "new").unwrap(), written);
        assert_eq!(between("no markers", "new"), None);
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_783), (2026, 11, 26));
    }

    #[test]
    fn versions_come_of_the_lock_file() {
        assert_eq!(version("[[package]]\nname = \"snow\"\nversion = \"0.10.0\"\n", "snow"), Some("0.10.0"));
        for about in peers::ALL {
            assert!(version(LOCK, about.package).is_some(), "{}", about.package);
        }
    }

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!([0.783, 18.49, 1408.4].map(number), ["0.78", "18.5", "1408"]);
    }
}
