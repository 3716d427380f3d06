//! Lengths: of files, of functions, of in-file tests, and the ninetieth percentile of functions per package.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Finding;
use crate::source::{Function, Source};
use crate::workspace::File;

const FILE_WANTED: usize = 500;
const FILE_REFUSED: usize = 1000;
const FUNCTION_REFUSED: usize = 80;
const P90_REFUSED: usize = 30;
const INLINE_TESTS_WANTED: usize = 300;
/// A percentile of fewer functions than this says nothing.
const P90_SAMPLE: usize = 10;

/// The comment that lets a flat `match` over a table be long; a reason follows it.
const FLAT: &str = "// tidy: flat table";

/// What the budgets say.
#[derive(Default)]
pub(super) struct Report {
    /// Over a hard limit.
    pub(super) refused: Vec<Finding>,
    /// Over a wish.
    pub(super) warnings: Vec<Finding>,
    /// One per package.
    pub(super) rows: Vec<Row>,
}

/// The function lengths of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    package: String,
    pub(super) functions: usize,
    median: usize,
    p90: usize,
    longest: usize,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<13} {:>5} functions, median {:>2}, p90 {:>2}, longest {:>2}",
            self.package, self.functions, self.median, self.p90, self.longest
        )
    }
}

/// Measures every file.
pub(super) fn check(files: &[File]) -> Report {
    let mut report = Report::default();
    let mut lengths = BTreeMap::<String, Vec<usize>>::new();
    let rust: Vec<_> =
        files.iter().filter(|file| file.extension() == "rs").map(|file| (file, Source::read(&file.text))).collect();
    let declared = test_files(&rust);
    for (file, source) in &rust {
        let total = file.text.lines().count();
        if total > FILE_REFUSED {
            report.refused.push(Finding::new(
                &file.path,
                1,
                format!("{total} lines; {FILE_REFUSED} are refused: split it by what it owns"),
            ));
        }
        if is_test(&file.path) || declared.contains(&file.path) {
            continue;
        }
        let functions = check_production(file, source, total, &mut report);
        let package = lengths.entry(package_of(&file.path)).or_default();
        package.extend(functions.iter().map(|function| function.lines));
    }
    for (package, lengths) in lengths {
        rate(&package, lengths, &mut report);
    }
    report
}

fn check_production(file: &File, source: &Source, total: usize, report: &mut Report) -> Vec<Function> {
    let production = source.production();
    let tests: usize = production.tests.iter().map(|(a, b)| b - a + 1).sum();
    let code = total.saturating_sub(tests);
    if code > FILE_WANTED {
        report.warnings.push(Finding::new(
            &file.path,
            1,
            format!("{code} lines outside tests; {FILE_WANTED} are wanted"),
        ));
    }
    if tests > INLINE_TESTS_WANTED {
        report.warnings.push(Finding::new(
            &file.path,
            1,
            format!("{tests} lines of tests inside; move them to a sibling file"),
        ));
    }
    let functions = source.functions(&production.tokens);
    for function in &functions {
        if function.lines > FUNCTION_REFUSED && !is_flat(file, function) {
            report.refused.push(Finding::new(
                &file.path,
                function.first,
                format!(
                    "`{}` has {} lines; {FUNCTION_REFUSED} are refused (a flat match carries `{FLAT}: REASON`)",
                    function.name, function.lines
                ),
            ));
        }
    }
    functions
}

fn rate(package: &str, mut lengths: Vec<usize>, report: &mut Report) {
    lengths.sort_unstable();
    let at = |percent: usize| {
        let rank = (lengths.len() * percent).div_ceil(100).max(1);
        lengths.get(rank - 1).copied().unwrap_or_default()
    };
    let row =
        Row { package: package.to_owned(), functions: lengths.len(), median: at(50), p90: at(90), longest: at(100) };
    if row.p90 > P90_REFUSED && row.functions >= P90_SAMPLE {
        report.refused.push(Finding::new(
            package,
            1,
            format!("p90 of function lengths is {}; {P90_REFUSED} is allowed", row.p90),
        ));
    }
    report.rows.push(row);
}

/// Whether the marker with a reason stands in the function or on the line above it, and there is a `match` to excuse.
fn is_flat(file: &File, function: &Function) -> bool {
    let from = function.first.saturating_sub(2);
    let lines = file.text.lines().skip(from).take(function.last - from);
    let mut reasons = lines.filter_map(|line| line.trim().strip_prefix(FLAT));
    function.matches && reasons.any(|reason| reason.chars().filter(|c| c.is_alphabetic()).count() >= 10)
}

/// Paths of the files that hold a module declared for tests alone.
pub(super) fn test_files(rust: &[(&File, Source)]) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (file, source) in rust {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let stem = name.trim_end_matches(".rs");
        let folder =
            if matches!(stem, "lib" | "main" | "mod") { folder.to_owned() } else { format!("{folder}/{stem}") };
        for module in source.production().test_files {
            paths.insert(format!("{folder}/{module}.rs"));
            paths.insert(format!("{folder}/{module}/mod.rs"));
        }
    }
    paths
}

pub(super) fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    path.split('/').any(|part| part == "tests") || name == "tests.rs"
}

fn package_of(path: &str) -> String {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(room)) => room.to_owned(),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    one();\n".repeat(lines - 2))
    }

    fn refused(path: &str, text: &str) -> Vec<Finding> {
        check(&[File::new(path, text)]).refused
    }

    #[test]
    fn a_function_of_80_lines_passes_and_one_of_81_does_not() {
        assert_eq!(refused("crates/np-a/src/lib.rs", &function("f", 80)), []);
        let findings = refused("crates/np-a/src/lib.rs", &function("f", 81));
        assert_eq!(findings.len(), 1);
        assert!(findings.iter().all(|one| one.message.contains("`f` has 81")));
    }

    #[test]
    fn tests_may_be_long() {
        let long = function("f", 200);
        assert_eq!(refused("crates/np-a/tests/all.rs", &long), []);
        assert_eq!(refused("crates/np-a/src/x/tests.rs", &long), []);
        let inside = format!("#[cfg(test)]\nmod tests {{\n{long}}}\n");
        assert_eq!(refused("crates/np-a/src/lib.rs", &inside), []);
        let files = [
            File::new("crates/np-a/src/lib.rs", "#[cfg(test)]\nmod samples;\n"),
            File::new("crates/np-a/src/samples.rs", &long),
        ];
        assert_eq!(check(&files).refused, []);
    }

    #[test]
    fn a_flat_table_needs_its_marker_a_reason_and_a_match() {
        let body =
            |marker: &str, head: &str| format!("fn f() {{\n{marker}\n{head}\n{}}}\n}}\n", "    1 => 2,\n".repeat(100));
        let path = "crates/np-a/src/lib.rs";
        let reason = "    // tidy: flat table: one row per code of the specification";
        assert_eq!(refused(path, &body(reason, "match x {")), []);
        assert_eq!(refused(path, &body(reason, "loop {")).len(), 1);
        assert_eq!(refused(path, &body("    // tidy: flat table", "match x {")).len(), 1);
        assert_eq!(refused(path, &body("", "match x {")).len(), 1);
    }

    #[test]
    fn a_file_of_1000_lines_passes_and_one_of_1001_does_not() {
        let path = "crates/np-a/src/lib.rs";
        assert_eq!(refused(path, &"//! x\n".repeat(1000)), []);
        assert_eq!(refused(path, &"//! x\n".repeat(1001)).len(), 1);
        let warned = |lines| check(&[File::new(path, &"//! x\n".repeat(lines))]).warnings;
        assert_eq!(warned(500), []);
        assert_eq!(warned(501).len(), 1);
    }

    #[test]
    fn long_tests_inside_a_file_are_warned_of() {
        let text = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// x\n".repeat(300));
        let report = check(&[File::new("crates/np-a/src/lib.rs", &text)]);
        assert_eq!(report.warnings.len(), 1);
    }

    #[test]
    fn the_ninetieth_percentile_is_refused_above_thirty() {
        let path = "crates/np-a/src/lib.rs";
        let of = |long: usize, lines: usize| {
            (0..10).map(|n| function("f", if n < long { lines } else { 3 })).collect::<String>()
        };
        assert_eq!(refused(path, &of(1, 60)), [], "one of ten is above the ninetieth");
        assert_eq!(refused(path, &of(2, 30)), []);
        assert_eq!(refused(path, &of(2, 31)).len(), 1);
        let rows = check(&[File::new(path, &of(2, 31))]).rows;
        assert!(rows.iter().any(|row| (row.median, row.p90, row.longest, row.functions) == (3, 31, 31, 10)));
    }
}
