//! The page of errors: every code that crosses the wire, names a limit, comes out of a builder or a cluster, or ends the
//! program `np` has a row, and no row tells of a code that is gone.

use std::collections::BTreeSet;

use super::{Finding, markdown};
use crate::source::{Source, enum_variants, is_word};
use crate::workspace::File;

const PAGE: &str = "docs/ERRORS.md";
const TYPES: &str = "crates/np-types/src/";
const FACADE: &str = "crates/np-facade/src/error.rs";
const CLUSTER: &str = "crates/np-cluster/src/error.rs";
/// What the cell of a cluster's error begins with: some of its variants have the name of another error's.
const OF_CLUSTER: &str = "ClusterError::";
/// Where a setting's name is handed over to whoever makes the error of it.
const REFUSERS: [&str; 2] = ["crates/np-dispatch/src/", "crates/np-driver/src/"];
/// A setting that ends connections in order, by a close code of its own: no error calls it a limit.
const NO_LIMIT: &str = "max_age";
/// What this command says of a capture is a note, and no error.
const NOTES: &str = "crates/np-cli/src/inspect";
/// Exit codes of no error: that all went well, and that a signal ended it.
const BESIDE: [&str; 2] = ["0", "130"];
/// Cells of a row about a code that crosses the wire: number, name, meaning, cause and remedy.
const WIRE_CELLS: usize = 5;
/// Of a row about any other code: its name, what happened, why, and the remedy.
const CELLS: usize = 4;

/// What the first cells of the page have to say, and where it comes from.
struct Wanted {
    cell: String,
    /// The second cell, where the code has a number and a name.
    name: Option<String>,
    path: String,
}

/// Holds the page against the code.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let wanted = wanted(files);
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        let some = wanted.first();
        return some
            .map(|one| Finding::new(&one.path, 1, format!("its codes have no page {PAGE}")))
            .into_iter()
            .collect();
    };
    let rows: Vec<(usize, Vec<String>)> = rows(&page.text);
    let known: BTreeSet<(&str, Option<&str>)> =
        wanted.iter().map(|one| (one.cell.as_str(), one.name.as_deref())).collect();
    let mut findings = missing(&wanted, &known, &rows);
    for (line, cells) in &rows {
        let (first, second) = (cells.first().map_or("", String::as_str), cells.get(1).map(String::as_str));
        let gone = (first.starts_with("NP-") || first.starts_with(OF_CLUSTER)) && !known.contains(&(first, None));
        let numbered = first.starts_with("0x") && !known.contains(&(first, second));
        // A cell that says more than the code is about when it is seen.
        if !first.contains(", ") && (gone || numbered) {
            findings.push(Finding::new(&page.path, *line, format!("there is no code {first}")));
        }
        let on_the_wire = known.contains(&(first, second));
        let told = names(first).all(|name| known.contains(&(name, None)));
        let wanted = if on_the_wire { WIRE_CELLS } else { CELLS };
        if (on_the_wire || told) && (cells.len() < wanted || cells.iter().any(String::is_empty)) {
            let message =
                format!("{first} needs a meaning, a cause and a remedy, each in its cell: {wanted} cells in all");
            findings.push(Finding::new(&page.path, *line, message));
        }
    }
    findings
}

/// The codes without a row, each once.
fn missing(wanted: &[Wanted], known: &BTreeSet<(&str, Option<&str>)>, rows: &[(usize, Vec<String>)]) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for one in wanted.iter().filter(|one| seen.insert((&one.cell, &one.name))) {
        let told = rows.iter().any(|(_, cells)| {
            // A status may have the number of an exit code, and is no row of that.
            let on_the_wire =
                || known.contains(&(cells.first().map_or("", String::as_str), cells.get(1).map(String::as_str)));
            let name = one.name.as_ref().map_or_else(|| !on_the_wire(), |name| cells.get(1) == Some(name));
            cells.first().is_some_and(|cell| names(cell).any(|told| told == one.cell)) && name
        });
        if !told {
            let name = one.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let message = format!("has no row for {}{name} of {}: what happened, and what to do", one.cell, one.path);
            findings.push(Finding::new(PAGE, 1, message));
        }
    }
    findings
}

/// The codes that a first cell is about: some have a row together, some are followed by what they wrap.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split(", ").filter_map(|part| part.split(" (").next())
}

/// The cells of all rows, without back quotes.
fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
    let rows = markdown::outside(text).filter(|(_, line)| line.starts_with('|'));
    rows.map(|(line, row)| (line, row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()))
        .collect()
}

fn wanted(files: &[File]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(TYPES) && file.extension() == "rs") {
        let one = |cell: String, name| Wanted { cell, name, path: file.path.clone() };
        wanted.extend(wire_codes(&file.text).map(|(number, name)| one(number, Some(name))));
        wanted.extend(quoted(&file.text, "=> \"NP-").map(|code| one(format!("NP-{code}"), None)));
        let (_, names) = file.text.split_once("impl LimitName {").unwrap_or_default();
        let names = names.split("\n}").next().unwrap_or_default();
        wanted.extend(quoted(names, "=> \"").map(|name| one(name.to_owned(), None)));
    }
    for file in files {
        let one = |cell: String| Wanted { cell, name: None, path: file.path.clone() };
        match file.path.as_str() {
            FACADE => wanted.extend(facade_codes(&file.text).into_iter().map(one)),
            CLUSTER => {
                let variants = variants(&file.text, "ClusterError").into_iter();
                wanted.extend(variants.map(|variant| one(format!("{OF_CLUSTER}{variant}"))));
            }
            _ => {}
        }
        wanted.extend(limit_names(file).into_iter().map(one));
    }
    wanted
}

/// The errors of the builders, and the exit codes.
fn facade_codes(text: &str) -> Vec<String> {
    let codes = text.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => "));
    let codes = codes.map(|(_, value)| value.trim_end_matches(','));
    let codes = codes.filter(|code| code.parse::<u8>().is_ok()).map(str::to_owned);
    variants(text, "Error").into_iter().chain(codes).chain(BESIDE.map(str::to_owned)).collect()
}

fn variants(text: &str, name: &str) -> Vec<String> {
    let variants = enum_variants(&Source::read(text).tokens(), name).unwrap_or_default();
    variants.into_iter().map(|(_, variant)| variant).collect()
}

/// The limits that a file names in errors beside `LimitName`: in a text of its own, `limit NAME reached`, as a setting that
/// it hands over, or in the list of those that are counted.
fn limit_names(file: &File) -> Vec<String> {
    let (path, text) = (&file.path, &file.text);
    if !path.starts_with("crates/") || !path.contains("/src/") || file.extension() != "rs" {
        return Vec::new();
    }
    if path.starts_with(NOTES) || path.contains("/tests/") || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let source = Source::read(text);
    let tests = source.production().tests;
    let lines = text.lines().enumerate().filter(|(at, line)| {
        let in_tests = tests.iter().any(|(first, last)| (*first..=*last).contains(&(at + 1)));
        !in_tests && !line.trim_start().starts_with("//")
    });
    let refuses = REFUSERS.iter().any(|room| path.starts_with(room));
    let mut names = Vec::new();
    for (_, line) in lines {
        names.extend(reached(line));
        if refuses {
            names.extend(quoted(line, "\"max_").map(|rest| format!("max_{rest}")).filter(|name| is_setting(name)));
        }
    }
    let (_, counted) = text.split_once("const LIMITS: &[&str] = &[\n").unwrap_or_default();
    let counted = counted.split("];").next().unwrap_or_default();
    names.extend(quoted(counted, "    \"").map(str::to_owned));
    names
}

/// The names in `limit NAME reached`, where they are written out and begin a text or follow a colon.
fn reached(line: &str) -> impl Iterator<Item = String> {
    let texts = ["\"limit ", ": limit "].into_iter().flat_map(|before| line.split(before).skip(1));
    texts.filter_map(|rest| {
        let (name, _) = rest.split_once(" reached")?;
        let name = name.strip_prefix("of ").unwrap_or(name).split(" of ").next().unwrap_or_default();
        // A name in braces is another place's, where it is written out.
        (!name.is_empty() && !name.contains(['{', '"'])).then(|| name.replace('`', ""))
    })
}

fn is_setting(name: &str) -> bool {
    name != NO_LIMIT && name.chars().all(is_word)
}

/// `Name = 0x10, "name";` as number and name.
fn wire_codes(text: &str) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(|line| {
        let (variant, rest) = line.trim().split_once(" = ")?;
        let (number, name) = rest.strip_suffix("\";")?.split_once(", \"")?;
        let code = variant.chars().all(is_word) && number.starts_with(|c: char| c.is_ascii_digit());
        code.then(|| (number.to_owned(), name.to_owned()))
    })
}

/// What stands between `before` and the next quotation mark, each time.
fn quoted<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: &str = "//! D.\nwire_codes! {\n    /// D.\n    Malformed = 0x10, \"malformed\";\n    Ok = 0, \"ok\";\n    Failed = 1, \"failed\";\n}\n\
                         fn code() { match self { Self::Io => \"NP-IO\", } }\n\
                         impl LimitName {\n    fn name() { match self { Self::Pings => \"pings\", } }\n}\nfn other() {}\n";
    const ERRORS: &str = "//! D.\npub enum Error { Address(A), NoAddress, }\nmatch self {\n    Self::Remote => 1,\n    Self::Io => io(),\n}\n";
    const CLUSTERS: &str = "//! D.\npub enum ClusterError { Address(A), #[error(\"x\")] Keys { limit: usize, }, }\n";
    const GOOD: &str = "| code | what |\n|---|---|\n| `NP-IO` | x | y | z |\n| `0x10` | malformed | x | y | z |\n\
                        | 0 | ok | x | y | z |\n| 1 | failed | x | y | z |\n| `pings` | x | y | z |\n| `Address` (`AddressError`), `NoAddress` | x | y | z |\n| 1 | x | y | z |\n\
                        | 0 | x | y | z |\n| 130 | x | y | z |\n| `ClusterError::Address` | x | y | z |\n| `ClusterError::Keys` | x | y | z |\n";

    fn found(page: &str) -> Vec<String> {
        let files = [
            File::new("crates/np-types/src/code.rs", CODES),
            File::new(FACADE, ERRORS),
            File::new(CLUSTER, CLUSTERS),
            File::new(PAGE, page),
        ];
        check(&files).into_iter().map(|one| one.to_string()).collect()
    }

    /// What is found where a file holds a line, and the page has no row but those that are given.
    fn found_in(path: &str, line: &str, rows: &str) -> Vec<String> {
        let page = format!("| limit | what |\n|---|---|\n{rows}");
        let files = [File::new(path, &format!("//! D.\n{line}\n")), File::new(PAGE, &page)];
        check(&files).into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn a_page_with_a_row_for_every_code_passes() {
        assert_eq!(found(GOOD), [""; 0]);
    }

    #[test]
    fn a_code_without_a_row_is_found() {
        for (row, code) in [
            ("| `NP-IO` | x | y | z |\n", "NP-IO"),
            ("| `0x10` | malformed | x | y | z |\n", "0x10 malformed"),
            ("| 0 | ok | x | y | z |\n", "0 ok"),
            ("| `pings` | x | y | z |\n", "pings"),
            ("| `Address` (`AddressError`), `NoAddress` | x | y | z |\n", "Address"),
            ("| 1 | x | y | z |\n", "for 1 of"),
            ("| 0 | x | y | z |\n", "for 0 of"),
            ("| 130 | x | y | z |\n", "for 130 of"),
            ("| `ClusterError::Address` | x | y | z |\n", "ClusterError::Address"),
            ("| `ClusterError::Keys` | x | y | z |\n", "ClusterError::Keys"),
        ] {
            let without = found(&GOOD.replace(row, ""));
            assert!(without.first().is_some_and(|one| one.contains(code)), "{without:?}");
        }
        let files = [File::new("crates/np-types/src/code.rs", CODES)];
        assert_eq!(check(&files).len(), 1, "no page at all");
    }

    #[test]
    fn a_row_of_a_code_that_is_gone_is_found() {
        for row in [
            "| `NP-GONE` | x |\n",
            "| `0x77` | gone | x |\n",
            "| `0x10` | another name | x |\n",
            "| `ClusterError::Gone` | x |\n",
        ] {
            assert_eq!(found(&format!("{GOOD}{row}")).len(), 1, "{row}");
        }
        assert_eq!(found(&format!("{GOOD}| `NP-GONE`, `not-allowed` | x |\n")), [""; 0]);
    }

    #[test]
    fn a_code_of_the_wire_without_meaning_cause_or_remedy_is_found() {
        for short in ["| `0x10` | malformed | y | z |\n", "| `0x10` | malformed | x | | z |\n"] {
            let without = found(&GOOD.replace("| `0x10` | malformed | x | y | z |\n", short));
            assert!(matches!(without.as_slice(), [one] if one.contains("0x10 needs")), "{without:?}");
        }
    }

    #[test]
    fn a_code_of_a_program_without_cause_or_remedy_is_found() {
        for (row, short) in [
            ("| `pings` | x | y | z |\n", "| `pings` | x | z |\n"),
            ("| 1 | x | y | z |\n", "| 1 | x | | z |\n"),
            ("`NoAddress` | x | y | z |\n", "`NoAddress` | x | |\n"),
        ] {
            let without = found(&GOOD.replace(row, short));
            assert!(matches!(without.as_slice(), [one] if one.contains("needs a meaning")), "{without:?}");
        }
    }

    #[test]
    fn a_limit_that_an_error_names_without_a_row_is_found() {
        for (path, line, name) in [
            ("crates/np-a/src/a.rs", "const FULL: &str = \"limit codec_depth reached; try again\";", "codec_depth"),
            ("crates/np-a/src/a.rs", "let text = format!(\"put: limit depth of {n} reached\");", "depth"),
            ("crates/np-a/src/a.rs", "#[error(\"limit of 1024 calls reached\")]", "1024 calls"),
            ("crates/np-a/src/a.rs", "    \"limit --most reached: {n} bytes\",", "--most"),
            ("crates/np-driver/src/a.rs", "Gauge::new(\"max_calls\", most)", "max_calls"),
            ("crates/np-dispatch/src/a.rs", "    \"max_remembered\"", "max_remembered"),
            (
                "crates/np-driver/src/a.rs",
                "const LIMITS: &[&str] = &[\n    \"replay_capacity\",\n];",
                "replay_capacity",
            ),
        ] {
            let without = found_in(path, line, "");
            assert!(matches!(without.as_slice(), [one] if one.contains(&format!("for {name} of"))), "{without:?}");
            assert_eq!(found_in(path, line, &format!("| `{name}` | x | y | z |\n")), [""; 0], "{name}");
        }
    }

    #[test]
    fn what_names_no_limit_of_an_error_is_let_alone() {
        for (path, line) in [
            ("crates/np-a/src/a.rs", "let text = format!(\"limit {setting} reached\");"),
            ("crates/np-a/src/a.rs", "let next = \"raise the limit of files if it is reached\";"),
            ("crates/np-a/src/a.rs", "// \"limit depth reached\""),
            ("crates/np-a/src/a.rs", "#[cfg(test)]\nmod tests {\n    const A: &str = \"limit depth reached\";\n}"),
            ("crates/np-a/src/a.rs", "let setting = \"max_calls\";"),
            ("crates/np-a/src/tests.rs", "let a = \"limit depth reached\";"),
            ("crates/np-a/tests/a.rs", "let a = \"limit depth reached\";"),
            ("crates/np-cli/src/inspect.rs", "let a = \"limit depth reached\";"),
            ("crates/np-driver/src/a.rs", "(\"max_age\", self.max_age),"),
            ("crates/np-driver/src/a.rs", "let text = \"max_calls is too low\";"),
        ] {
            assert_eq!(found_in(path, line, ""), [""; 0], "{line}");
        }
    }
}
