//! The page of errors: every code that crosses the wire, names a limit, comes out of a builder or ends the program `np` has
//! a row, and no row tells of a code that is gone.

use std::collections::BTreeSet;

use super::{Finding, markdown};
use crate::source::{Source, enum_variants, is_word};
use crate::workspace::File;

const PAGE: &str = "docs/ERRORS.md";
const TYPES: &str = "crates/np-types/src/";
const FACADE: &str = "crates/np-facade/src/error.rs";

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
    let mut findings = Vec::new();
    for one in &wanted {
        let told = rows.iter().any(|(_, cells)| {
            let name = one.name.as_ref().is_none_or(|name| cells.get(1) == Some(name));
            cells.first().is_some_and(|cell| cell.split(", ").any(|part| part.split(" (").next() == Some(&one.cell)))
                && name
        });
        if !told {
            let name = one.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let message = format!("has no row for {}{name} of {}: what happened, and what to do", one.cell, one.path);
            findings.push(Finding::new(&page.path, 1, message));
        }
    }
    let known: BTreeSet<(&str, Option<&str>)> =
        wanted.iter().map(|one| (one.cell.as_str(), one.name.as_deref())).collect();
    for (line, cells) in &rows {
        let (first, second) = (cells.first().map_or("", String::as_str), cells.get(1).map(String::as_str));
        let gone = first.starts_with("NP-") && !known.contains(&(first, None));
        let numbered = first.starts_with("0x") && !known.contains(&(first, second));
        // A cell that says more than the code is about when it is seen.
        if !first.contains(", ") && (gone || numbered) {
            findings.push(Finding::new(&page.path, *line, format!("there is no code {first}")));
        }
    }
    findings
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
    for file in files.iter().filter(|file| file.path == FACADE) {
        let one = |cell: String| Wanted { cell, name: None, path: file.path.clone() };
        let variants = enum_variants(&Source::read(&file.text).tokens(), "Error").unwrap_or_default();
        wanted.extend(variants.into_iter().map(|(_, variant)| one(variant)));
        let codes = file.text.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => "));
        let codes = codes.map(|(_, value)| value.trim_end_matches(','));
        wanted.extend(codes.filter(|code| code.parse::<u8>().is_ok()).map(|code| one(code.to_owned())));
    }
    wanted
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

    const CODES: &str = "//! D.\nwire_codes! {\n    /// D.\n    Malformed = 0x10, \"malformed\";\n    Ok = 0, \"ok\";\n}\n\
                         fn code() { match self { Self::Io => \"NP-IO\", } }\n\
                         impl LimitName {\n    fn name() { match self { Self::Pings => \"pings\", } }\n}\nfn other() {}\n";
    const ERRORS: &str = "//! D.\npub enum Error { Address(A), NoAddress, }\nmatch self {\n    Self::Remote => 1,\n    Self::Io => io(),\n}\n";
    const GOOD: &str = "| code | what |\n|---|---|\n| `NP-IO` | x |\n| `0x10` | malformed | y |\n| 0 | ok | z |\n| `pings` | x |\n\
                        | `Address` (`AddressError`), `NoAddress` | x |\n| 1 | x |\n";

    fn found(page: &str) -> Vec<String> {
        let files = [File::new("crates/np-types/src/code.rs", CODES), File::new(FACADE, ERRORS), File::new(PAGE, page)];
        check(&files).into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn a_page_with_a_row_for_every_code_passes() {
        assert_eq!(found(GOOD), [""; 0]);
    }

    #[test]
    fn a_code_without_a_row_is_found() {
        for (row, code) in [
            ("| `NP-IO` | x |\n", "NP-IO"),
            ("| `0x10` | malformed | y |\n", "0x10 malformed"),
            ("| 0 | ok | z |\n", "0 ok"),
            ("| `pings` | x |\n", "pings"),
            ("| `Address` (`AddressError`), `NoAddress` | x |\n", "Address"),
            ("| 1 | x |\n", "for 1 of"),
        ] {
            let without = found(&GOOD.replace(row, ""));
            assert!(without.first().is_some_and(|one| one.contains(code)), "{without:?}");
        }
        let files = [File::new("crates/np-types/src/code.rs", CODES)];
        assert_eq!(check(&files).len(), 1, "no page at all");
    }

    #[test]
    fn a_row_of_a_code_that_is_gone_is_found() {
        for row in ["| `NP-GONE` | x |\n", "| `0x77` | gone | x |\n", "| `0x10` | another name | x |\n"] {
            assert_eq!(found(&format!("{GOOD}{row}")).len(), 1, "{row}");
        }
        assert_eq!(found(&format!("{GOOD}| `NP-GONE`, `not-allowed` | x |\n")), [""; 0]);
    }
}
