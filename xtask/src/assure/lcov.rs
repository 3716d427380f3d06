//! What llvm-cov exports, read: which lines ran, in its `lcov` form, and which ways of a branch, in its JSON.
//!
//! Owns what counts: lines and branches of `src`, without the tests that stand in the same files. It must never start a
//! program.

use std::collections::BTreeMap;

use serde_json::Value;

/// What ran of one file: its lines, and its branches by their place, each with both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    lines: BTreeMap<u64, bool>,
    branches: BTreeMap<(u64, u64, u64, u64), (bool, bool)>,
}

/// How much of something there is and how much of it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) ran: u64,
    pub(super) all: u64,
}

impl Share {
    /// In percent; all of nothing is all.
    pub(super) fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { self.ran as f64 * 100.0 / self.all as f64 }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self { ran: self.ran + other.ran, all: self.all + other.all }
    }
}

impl Ran {
    pub(super) fn lines(&self) -> Share {
        let ran = self.lines.values().filter(|ran| **ran).count() as u64;
        Share { ran, all: self.lines.len() as u64 }
    }

    /// Each branch has two ways.
    pub(super) fn branches(&self) -> Share {
        let ways = self.branches.values().flat_map(|(yes, no)| [*yes, *no]);
        Share { ran: ways.filter(|ran| *ran).count() as u64, all: 2 * self.branches.len() as u64 }
    }

    /// Lines that did not run, and lines with a branch that went one way alone.
    pub(super) fn missed(&self) -> (Vec<u64>, Vec<u64>) {
        let lines = self.lines.iter().filter(|(_, ran)| !**ran).map(|(line, _)| *line).collect();
        let half = self.branches.iter().filter(|(_, (yes, no))| !(*yes && *no));
        let mut branches: Vec<u64> = half.map(|((line, ..), _)| *line).collect();
        branches.dedup();
        (lines, branches)
    }

    /// Leaves what stands before the tests of the file.
    pub(super) fn before(&mut self, line: u64) {
        self.lines.retain(|at, _| *at < line);
        self.branches.retain(|(at, ..), _| *at < line);
    }
}

/// Adds the lines of an export in the form `lcov`: a line is seen if it ran in any of the programs.
pub(super) fn add_lines(files: &mut BTreeMap<String, Ran>, text: &str) {
    let mut file = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("SF:") {
            file = Some(name.to_owned());
        } else if let Some((number, count)) = line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')) {
            let (Some(name), Ok(number)) = (&file, number.parse()) else { continue };
            let ran = count.split(',').next() != Some("0");
            let lines = &mut files.entry(name.clone()).or_default().lines;
            lines.entry(number).and_modify(|before| *before |= ran).or_insert(ran);
        }
    }
}

/// Adds the branches of an export as JSON: a branch stands there once for each copy of its function.
pub(super) fn add_branches(files: &mut BTreeMap<String, Ran>, export: &Value) {
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    for file in list(export, "data").iter().flat_map(|data| list(data, "files")) {
        let Some(name) = file.get("filename").and_then(Value::as_str) else { continue };
        let branches = &mut files.entry(name.to_owned()).or_default().branches;
        for branch in list(&file, "branches") {
            let numbers: Vec<u64> =
                branch.as_array().into_iter().flatten().map(|one| one.as_u64().unwrap_or_default()).collect();
            if let [from, from_at, to, to_at, yes, no, ..] = numbers.as_slice() {
                let ways = branches.entry((*from, *from_at, *to, *to_at)).or_default();
                *ways = (ways.0 || *yes > 0, ways.1 || *no > 0);
            }
        }
    }
}

/// The line where the tests of a file begin: `#[cfg(test)]` before a module with a body.
pub(super) fn tests_begin(text: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = lines.windows(2).position(|pair| {
        matches!(pair, [attribute, module] if *attribute == "#[cfg(test)]" && module.starts_with("mod ") && module.ends_with('{'))
    })?;
    Some(at as u64 + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_and_branches_are_added_over_programs_and_copies() {
        let mut files = BTreeMap::new();
        add_lines(&mut files, "SF:a.rs\nDA:1,5\nDA:2,0\nDA:3,0\nend_of_record\nSF:b.rs\nDA:1,0\nend_of_record\n");
        add_lines(&mut files, "SF:a.rs\nDA:2,1\nDA:3,0\nend_of_record\n");
        let branches = json!([[1, 4, 1, 9, 3, 0, 0, 0, 4], [1, 4, 1, 9, 0, 2, 0, 0, 4], [3, 4, 3, 9, 1, 0, 0, 0, 4]]);
        add_branches(&mut files, &json!({ "data": [{ "files": [{ "filename": "a.rs", "branches": branches }] }] }));
        let mut ran = files.remove("a.rs").unwrap_or_default();
        assert_eq!((ran.lines(), ran.branches()), (Share { ran: 2, all: 3 }, Share { ran: 3, all: 4 }));
        assert_eq!(ran.missed(), (vec![3], vec![3]));
        ran.before(3);
        assert_eq!((ran.lines(), ran.branches()), (Share { ran: 2, all: 2 }, Share { ran: 2, all: 2 }));
        assert_eq!(files.remove("b.rs").map(|ran| ran.lines().percent()), Some(0.0));
    }

    #[test]
    fn the_tests_of_a_file_are_found() {
        assert_eq!(tests_begin("fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), Some(3));
        assert_eq!(tests_begin("#[cfg(test)]\nmod tests;\nfn a() {}\n"), None);
        assert_eq!(tests_begin("#[cfg(test)]\nuse a;\n"), None);
    }

    #[test]
    fn all_of_nothing_is_all() {
        assert_eq!(Share::default().percent(), 100.0);
        assert_eq!(Share { ran: 1, all: 4 }.and(Share { ran: 1, all: 4 }).percent(), 25.0);
    }
}
