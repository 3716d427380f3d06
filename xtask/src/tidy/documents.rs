//! Promises of the documents: links and paths that lead somewhere, claims whose tests exist, a protocol page that names
//! every frame, a page of settings with every setting.

use std::collections::BTreeSet;

use super::{Finding, markdown};
use crate::source::{Source, enum_variants, is_word};
use crate::workspace::File;

/// Documents whose tables promise something and name the test that shows it.
const CLAIMS: &[&str] = &["docs/CLAIMS.md", "docs/OBSERVABILITY.md", "docs/THREAT_MODEL.md", "SECURITY.md", SETTINGS];
/// The page with a row for each setting, and the file that the code makes of all settings; a test of np-facade holds that file
/// against the code.
const SETTINGS: &str = "docs/CONFIGURATION.md";
const SAMPLE: &str = "docs/np.sample.toml";
/// The page that leads to all others of its folder.
const INDEX: &str = "docs/README.md";
const PROTOCOL: &str = "docs/PROTOCOL.md";
const WIRE: &str = "crates/np-wire/src/";
const FRAMES: &str = "FrameKind";

/// A code span that begins so is a path of this project and must exist.
const PLACES: &[&str] = &["crates/", "docs/", "xtask/", "fuzz/", "benches/", "examples/", ".ci/", ".github/"];

/// Checks every document.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let known = paths(files);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "md") {
        check_links(file, &known, &mut findings);
        if matches!(file.path.as_str(), "README.md" | "ARCHITECTURE.md" | "docs/ARCHITECTURE.md") {
            check_places(file, &known, &mut findings);
            check_rooms(file, &known, &mut findings);
        }
    }
    if let Some(index) = files.iter().find(|file| file.path == INDEX) {
        check_index(index, files, &mut findings);
    }
    let functions = test_names(files);
    for claims in files.iter().filter(|file| CLAIMS.contains(&file.path.as_str())) {
        check_claims(claims, &functions, &known, &mut findings);
    }
    for page in files.iter().filter(|file| file.extension() == "md") {
        check_sentences(page, &functions, &mut findings);
    }
    if let Some(protocol) = files.iter().find(|file| file.path == PROTOCOL) {
        check_protocol(protocol, files, &mut findings);
    }
    if let Some(sample) = files.iter().find(|file| file.path == SAMPLE) {
        check_settings(sample, files, &mut findings);
    }
    findings
}

/// Every file and every folder that holds one.
fn paths(files: &[File]) -> BTreeSet<&str> {
    let mut paths = BTreeSet::from([""]);
    for file in files {
        let mut path = file.path.as_str();
        while paths.insert(path) {
            path = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        }
    }
    paths
}

fn check_links(file: &File, known: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    for (line, text) in markdown::prose(&file.text) {
        for target in markdown::links(&text) {
            let path = target.split('#').next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains("://") || path.starts_with("mailto:");
            if elsewhere || resolve(&file.path, path).is_some_and(|path| known.contains(path.as_str())) {
                continue;
            }
            let message = format!("the link `{target}` leads nowhere");
            findings.push(Finding::new(&file.path, line, message));
        }
    }
}

/// The path that a link means, seen from the root; nothing if it leaves the project.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn check_places(file: &File, known: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    for (line, text) in markdown::outside(&file.text) {
        for span in markdown::code_spans(text) {
            let place = PLACES.iter().any(|place| span.starts_with(place));
            let plain = !span.contains([' ', '*', '<', '{', '$']);
            let path = span.trim_end_matches('/');
            if place && plain && !known.contains(path) {
                let message = format!("`{span}` does not exist");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
}

fn check_index(index: &File, files: &[File], findings: &mut Vec<Finding>) {
    let linked: BTreeSet<String> = markdown::prose(&index.text).flat_map(|(_, text)| markdown::links(&text)).collect();
    let names = files.iter().filter_map(|file| file.path.strip_prefix("docs/"));
    for name in names.filter(|name| name.ends_with(".md") && !name.contains('/') && *name != "README.md") {
        if !linked.contains(name) {
            findings.push(Finding::new(&index.path, 1, format!("leads nobody to {name}")));
        }
    }
}

/// A file that is named below the heading of a room is one of that room.
fn check_rooms(file: &File, known: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let mut room = None;
    for (line, text) in markdown::outside(&file.text) {
        if text.starts_with('#') {
            room = markdown::code_spans(text).next().filter(|name| name.starts_with("crates/"));
        }
        let Some(room) = room else {
            continue;
        };
        for span in markdown::code_spans(text).filter(|span| span.ends_with(".rs")) {
            let places = [span.to_owned(), format!("{room}/src/{span}"), format!("{room}/{span}")];
            if !places.iter().any(|path| known.contains(path.as_str())) {
                findings.push(Finding::new(&file.path, line, format!("`{span}` is no file of {room}")));
            }
        }
    }
}

/// Every row of a table with a column headed "test" names a function that exists, or says which issue will bring it.
fn check_claims(claims: &File, functions: &BTreeSet<String>, known: &BTreeSet<&str>, findings: &mut Vec<Finding>) {
    let mut column = None;
    for (line, text) in markdown::outside(&claims.text) {
        let cells: Vec<&str> = text.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !text.trim_start().starts_with('|') {
            column = None;
            continue;
        }
        let Some(at) = column else {
            column = Some(cells.iter().position(|cell| cell.to_lowercase().contains("test")));
            continue;
        };
        let Some(cell) = at.and_then(|at: usize| cells.get(at)) else {
            continue;
        };
        if cell.chars().all(|c| matches!(c, '-' | ':')) && !cell.is_empty() {
            continue;
        }
        for message in judge_claim(cell, functions, known) {
            findings.push(Finding::new(&claims.path, line, message));
        }
    }
}

/// A test that a sentence names exists.
fn check_sentences(page: &File, functions: &BTreeSet<String>, findings: &mut Vec<Finding>) {
    for (line, text) in markdown::outside(&page.text).filter(|(_, text)| !text.trim_start().starts_with('|')) {
        let gone = markdown::code_spans(text).filter(|span| is_sentence(span) && !functions.contains(*span));
        findings.extend(gone.map(|span| Finding::new(&page.path, line, format!("the test `{span}` does not exist"))));
    }
}

/// Whether a name is as long as those of tests are, and that of no setting, nor of what counts its refusals.
fn is_sentence(name: &str) -> bool {
    name.matches('_').count() > 4 && name.chars().all(is_word) && !name.starts_with("refused_max_")
}

fn judge_claim(cell: &str, functions: &BTreeSet<String>, known: &BTreeSet<&str>) -> Vec<String> {
    let spans: Vec<&str> = markdown::code_spans(cell).collect();
    if spans.is_empty() && !cell.to_lowercase().contains("issue") {
        return vec!["the row names no test, nor the issue that will bring one".to_owned()];
    }
    let mut messages = Vec::new();
    for span in spans {
        // A command is held against the list of commands elsewhere.
        if span.contains(' ') {
            continue;
        }
        let name = span.rsplit("::").next().unwrap_or_default();
        let name = name.trim_end_matches("()");
        let exists = if name.chars().all(is_word) {
            functions.contains(name)
        } else {
            known.contains(name.trim_end_matches('/'))
        };
        if !exists {
            messages.push(format!("the test `{span}` does not exist"));
        }
    }
    messages
}

/// The names of functions with an attribute that makes them tests: `#[test]`, `#[tokio::test(...)]` and the like.
fn test_names(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        let source = Source::read(&file.text);
        let (tokens, mut is_test) = (source.tokens(), false);
        for three in tokens.windows(3) {
            let [before, word, after] = three else { continue };
            match word.text {
                "test" => is_test |= matches!(before.text, "[" | ":" | "::") && matches!(after.text, "]" | "("),
                "fn" if std::mem::take(&mut is_test) => drop(names.insert(after.text.to_owned())),
                _ => {}
            }
        }
    }
    names
}

/// The page names every frame kind, so that it changes with the enum.
fn check_protocol(protocol: &File, files: &[File], findings: &mut Vec<Finding>) {
    let wire = files.iter().filter(|file| file.path.starts_with(WIRE) && file.extension() == "rs");
    let variants = wire.filter_map(|file| enum_variants(&Source::read(&file.text).tokens(), FRAMES)).next();
    let Some(variants) = variants else {
        let message = format!("no `enum {FRAMES}` under {WIRE}, so nothing guards this page");
        findings.push(Finding::new(&protocol.path, 1, message));
        return;
    };
    let words: BTreeSet<&str> = protocol.text.split(|c| !is_word(c)).collect();
    for (_, variant) in variants {
        let spelled = screaming(&variant);
        if !words.contains(spelled.as_str()) && !words.contains(variant.as_str()) {
            let message = format!("does not describe the frame {spelled}");
            findings.push(Finding::new(&protocol.path, 1, message));
        }
    }
}

/// The page of settings has a row for each setting of the sample, and for no other.
fn check_settings(sample: &File, files: &[File], findings: &mut Vec<Finding>) {
    let settings = sample_settings(&sample.text);
    let Some(page) = files.iter().find(|file| file.path == SETTINGS) else {
        findings.push(Finding::new(&sample.path, 1, format!("there is no {SETTINGS} with a row for each setting")));
        return;
    };
    let mut rows = BTreeSet::new();
    for (line, text) in markdown::outside(&page.text) {
        let first = text.trim().strip_prefix("| `").and_then(|rest| rest.split('`').next());
        let Some(name) = first.filter(|name| name.contains('.') && name.chars().all(|c| is_word(c) || c == '.')) else {
            continue;
        };
        if !settings.contains(name) {
            findings.push(Finding::new(&page.path, line, format!("there is no setting `{name}` in {SAMPLE}")));
        }
        rows.insert(name.to_owned());
    }
    for name in settings.difference(&rows) {
        let message = format!("has no row for the setting `{name}`: what it does, its default, the test of its effect");
        findings.push(Finding::new(&page.path, 1, message));
    }
}

/// `table.key` for each line `key = value` below `[table]`.
fn sample_settings(text: &str) -> BTreeSet<String> {
    let mut table = "";
    let mut settings = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name;
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.insert(format!("{table}.{key}"));
        }
    }
    settings
}

/// `GoAway` as `GO_AWAY`.
fn screaming(name: &str) -> String {
    let mut text = String::new();
    for (at, c) in name.chars().enumerate() {
        if at > 0 && c.is_uppercase() {
            text.push('_');
        }
        text.extend(c.to_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        check(&files).into_iter().map(|one| one.to_string()).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let readme = "[a](docs/A.md#top) [b](docs) [c](https://c.example/x) [d](#here) `[e](f)`\n";
        let page = ("docs/A.md", "[up](../README.md)\n");
        assert_eq!(found(&[("README.md", readme), page]), [""; 0]);
        assert_eq!(
            found(&[("README.md", "text\n[a](docs/B.md)\n"), page]),
            ["README.md:2: the link `docs/B.md` leads nowhere"]
        );
        assert_eq!(found(&[("README.md", "[a](../x)\n")]).len(), 1);
    }

    #[test]
    fn a_page_that_the_index_does_not_name_is_found() {
        let page = ("docs/A.md", "text\n");
        assert_eq!(found(&[(INDEX, "[A](A.md)\n"), page, ("docs/x/B.md", "\n")]), [""; 0]);
        assert_eq!(found(&[(INDEX, "`[A](A.md)`\n"), page]), ["docs/README.md:1: leads nobody to A.md"]);
    }

    #[test]
    fn a_path_of_the_code_map_that_does_not_exist_is_found() {
        let code = ("crates/np-a/src/lib.rs", "");
        let map = "`crates/np-a/` and `crates/np-a/src/lib.rs`, `crates/*`\n";
        assert_eq!(found(&[("ARCHITECTURE.md", map), code]), [""; 0]);
        let stale = found(&[("ARCHITECTURE.md", "`crates/np-b`\n"), code]);
        assert_eq!(stale, ["ARCHITECTURE.md:1: `crates/np-b` does not exist"]);
        let room = "### `crates/np-a`\n\n`lib.rs`, `src/lib.rs` and `gone.rs`\n\n## Else\n\n`other.rs`\n";
        assert_eq!(
            found(&[("ARCHITECTURE.md", room), code]),
            ["ARCHITECTURE.md:3: `gone.rs` is no file of crates/np-a"]
        );
    }

    #[test]
    fn a_claim_whose_test_does_not_exist_is_found() {
        let code = ("crates/np-a/tests/a.rs", "#[test]\nfn it_holds() {}\n\nfn it_helps() {}\n");
        let table = |row: &str| format!("# C\n\n| claim | test |\n|---|---|\n{row}\n");
        for row in
            ["| a | `it_holds` |", "| a | `np_a::a::it_holds`, `crates/np-a/tests/a.rs` |", "| a | not yet: issue 3 |"]
        {
            assert_eq!(found(&[("docs/CLAIMS.md", &table(row)), code]), [""; 0], "{row}");
        }
        for row in ["| a | `it_held` |", "| a | `it_helps` |", "| a | sure |", "| a | |", "| a | `x/y.rs` |"] {
            for page in CLAIMS {
                let found = found(&[(page, &table(row)), code]);
                assert_eq!(found.len(), 1, "{row}: {found:?}");
                assert!(found.concat().starts_with(&format!("{page}:5: ")));
            }
        }
    }

    #[test]
    fn a_test_that_a_sentence_names_and_that_does_not_exist_is_found() {
        let code = ("crates/np-a/tests/a.rs", "#[test]\nfn it_holds_for_each_of_them() {}\n");
        for (line, count) in [
            ("Held by `it_holds_for_each_of_them`, as `np_a::name` is.", 0),
            ("Held by `it_held_for_each_of_them_once`.", 1),
            ("`max_source_handshakes_per_second` is a setting.", 0),
        ] {
            assert_eq!(found(&[("docs/CLAIMS.md", &format!("# C\n\n{line}\n")), code]).len(), count, "{line}");
        }
    }

    #[test]
    fn a_frame_that_the_protocol_page_does_not_name_is_found() {
        let code = ("crates/np-wire/src/kind.rs", "pub enum FrameKind { Padding = 0, KeyUpdate = 1 }\n");
        assert_eq!(found(&[(PROTOCOL, "PADDING and KEY_UPDATE\n"), code]), [""; 0]);
        assert_eq!(found(&[(PROTOCOL, "Padding and KeyUpdate\n"), code]), [""; 0]);
        assert_eq!(
            found(&[(PROTOCOL, "PADDING and KEY_UPDATES\n"), code]),
            ["docs/PROTOCOL.md:1: does not describe the frame KEY_UPDATE"]
        );
        assert_eq!(found(&[(PROTOCOL, "PADDING\n")]).len(), 1, "a guard without its enum");
    }
    #[test]
    fn a_setting_without_a_row_and_a_row_without_a_setting_are_found() {
        let code = ("crates/np-a/tests/a.rs", "#[test]\nfn it_holds() {}\n");
        let sample = (SAMPLE, "# A page.\n[server]\n# Of rooms. b = c\nrooms = 1\n\n[client]\nrooms = [\"a = b\"]\n");
        let page = |rows: &str| format!("| setting | test |\n|---|---|\n{rows}");
        let good = "| `server.rooms` | `it_holds` |\n| `client.rooms` | `it_holds` |\n";
        assert_eq!(found(&[(SETTINGS, &page(good)), sample, code]), [""; 0]);
        let rows = "| `server.rooms` | `it_held` |\n| `server.doors` | `it_holds` |\n";
        assert_eq!(
            found(&[(SETTINGS, &page(rows)), sample, code]),
            [
                "docs/CONFIGURATION.md:3: the test `it_held` does not exist",
                "docs/CONFIGURATION.md:4: there is no setting `server.doors` in docs/np.sample.toml",
                "docs/CONFIGURATION.md:1: has no row for the setting `client.rooms`: what it does, its default, the test of its \
                 effect",
            ]
        );
        assert_eq!(found(&[sample]).len(), 1, "no page at all");
    }
}
