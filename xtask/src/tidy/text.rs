//! Rules about single lines: module docs, work left open, blanks at line ends, tests that are switched off, and paths
//! of one person's machine.

use super::{Finding, markdown};
use crate::source::{Source, Token, is_word};
use crate::workspace::File;

/// Kinds of text that people write; captures and vectors are data.
const WRITTEN: &[&str] = &["rs", "md", "toml", "yml", "yaml", "sh"];

/// Words that mark work left open. Spelled apart so that this file does not mark itself.
const OPEN: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Folders of one machine, spelled apart for the same reason.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("../sha", "red"),
];

/// Checks every line of every file.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        check_machine_paths(file, &mut findings);
        if WRITTEN.contains(&file.extension()) || file.path.starts_with(".ci/") {
            check_line_ends(file, &mut findings);
        }
        match file.extension() {
            "rs" => check_rust(file, &mut findings),
            "md" => {
                let prose = markdown::prose(&file.text);
                check_open_work(&file.path, prose, &mut findings);
            }
            "toml" | "yml" | "yaml" | "sh" => {
                let comments =
                    numbered(&file.text).filter_map(|(line, text)| Some((line, text.split_once('#')?.1.to_owned())));
                check_open_work(&file.path, comments, &mut findings);
            }
            _ => {}
        }
    }
    findings
}

fn check_rust(file: &File, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//!") {
        findings.push(Finding::new(
            &file.path,
            1,
            "line 1 is not a module doc: `//!` and what the file owns and must never know",
        ));
    }
    let source = Source::read(&file.text);
    let comments = numbered(&source.comments).map(|(line, text)| (line, markdown::without_code_spans(text)));
    check_open_work(&file.path, comments, findings);
    check_switched_off(file, &source, findings);
}

fn check_machine_paths(file: &File, findings: &mut Vec<Finding>) {
    for (line, text) in numbered(&file.text) {
        for folder in MACHINE {
            let named = text.match_indices(folder).any(|(at, _)| {
                let before = text.get(..at).and_then(|text| text.chars().next_back());
                !before.is_some_and(|c| is_word(c) || matches!(c, '.' | '-' | '/' | '}' | '>'))
            });
            if named {
                let message = format!("names `{folder}`, a folder of one machine");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
}

fn check_line_ends(file: &File, findings: &mut Vec<Finding>) {
    for (line, text) in numbered(&file.text) {
        if text.ends_with([' ', '\t']) {
            findings.push(Finding::new(&file.path, line, "blanks at the end of the line"));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        let last = file.text.lines().count();
        findings.push(Finding::new(&file.path, last, "no line feed at the end of the file"));
    }
}

fn check_open_work(path: &str, lines: impl Iterator<Item = (usize, String)>, findings: &mut Vec<Finding>) {
    for (line, text) in lines {
        for word in OPEN {
            let open = text.match_indices(word).any(|(at, _)| {
                let (before, rest) = text.split_at_checked(at).unwrap_or_default();
                let after = rest.get(word.len()..).unwrap_or_default();
                !before.ends_with(is_word) && !after.starts_with(is_word) && !has_owner(after)
            });
            if open {
                let message = format!("{word} without an owner: write `{word}(name)` or do it");
                findings.push(Finding::new(path, line, message));
            }
        }
    }
}

fn has_owner(after: &str) -> bool {
    let owner = after.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    owner.is_some_and(|(owner, _)| owner.starts_with(is_word))
}

/// Tests that never run or that pass by failing, in code and in the fences of doc comments.
fn check_switched_off(file: &File, source: &Source, findings: &mut Vec<Finding>) {
    let tokens = source.tokens();
    let mut rest = tokens.as_slice();
    while let Some((hash, after)) = rest.split_first() {
        rest = after;
        if hash.text != "#" || after.first().is_none_or(|token| token.text != "[") {
            continue;
        }
        if let Some(word) = switch_in_attribute(after) {
            let message = format!("`{word}`: a test runs, and says itself what it expects");
            findings.push(Finding::new(&file.path, hash.line, message));
        }
    }
    for (line, text) in numbered(&source.comments) {
        let text = text.trim();
        let Some(fence) = text.strip_prefix("/// ```").or_else(|| text.strip_prefix("//! ```")) else {
            continue;
        };
        if fence.split(',').any(|word| word == "ignore" || word == "should_panic") {
            let message = format!("a doc test marked `{fence}` shows nothing");
            findings.push(Finding::new(&file.path, line, message));
        }
    }
}

fn switch_in_attribute<'a>(after: &[Token<'a>]) -> Option<&'a str> {
    let mut words = after.iter().skip(1).map(|token| token.text);
    let first = words.next()?;
    let is_switch = |word: &str| word == "ignore" || word == "should_panic";
    if is_switch(first) {
        return Some(first);
    }
    if first != "cfg_attr" {
        return None;
    }
    words.take_while(|word| *word != "]").find(|word| is_switch(word))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let findings = check(&[File::new(path, text)]);
        findings.into_iter().map(|one| one.to_string()).collect()
    }

    fn finds(path: &str, text: &str, part: &str) {
        let found = messages(path, text);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.concat().contains(part), "{found:?}");
    }

    #[test]
    fn a_file_without_a_module_doc_on_line_1_is_found() {
        finds("a.rs", "\n//! Late.\n", "line 1");
        assert_eq!(messages("a.rs", "//! On time.\n"), [""; 0]);
    }

    #[test]
    fn open_work_needs_an_owner() {
        for word in OPEN {
            finds("a.rs", &format!("//! D.\n// {word}: later\n"), "a.rs:2: ");
            finds("a.md", &format!("{word}: later\n"), word);
            finds("a.toml", &format!("a = 1 # {word}\n"), word);
            finds("a.rs", &format!("//! D.\n// {word}() x\n"), word);
            assert_eq!(messages("a.rs", &format!("//! D.\n// {word}(ann): x\n")), [""; 0]);
            assert_eq!(messages("a.rs", &format!("//! D.\nconst A: &str = \"{word}\";\n")), [""; 0]);
            assert_eq!(messages("a.md", &format!("Write no `{word}`, nor {word}psk3.\n")), [""; 0]);
        }
    }

    #[test]
    fn blanks_at_line_ends_and_missing_line_feeds_are_found() {
        finds("a.md", "one \ntwo\n", "a.md:1: blanks");
        finds("a.rs", "//! D.\t\n", "blanks");
        finds("a.toml", "a = 1", "no line feed");
        assert_eq!(messages("vector.txt", "one \n"), [""; 0]);
    }

    #[test]
    fn tests_that_are_switched_off_are_found() {
        finds("a.rs", "//! D.\n#[ignore]\nfn a() {}\n", "a.rs:2: `ignore`");
        finds("a.rs", "//! D.\n#[ignore = \"slow\"]\nfn a() {}\n", "`ignore`");
        finds("a.rs", "//! D.\n#[should_panic(expected = \"x\")]\nfn a() {}\n", "`should_panic`");
        finds("a.rs", "//! D.\n#[cfg_attr(windows, ignore)]\nfn a() {}\n", "`ignore`");
        finds("a.rs", "//! D.\n/// ```rust,ignore\n/// ```\nfn a() {}\n", "doc test");
        let fine = "//! D.\n// #[ignore]\n/// ```no_run\n/// ```\n#[cfg_attr(a, b)]\nfn ignore() {}\n";
        assert_eq!(messages("a.rs", fine), [""; 0]);
    }

    #[test]
    fn folders_of_one_machine_are_found_and_parts_of_addresses_are_not() {
        for folder in MACHINE {
            finds("a.md", &format!("See {folder}x.\n"), "one machine");
            finds("any.txt", &format!("\"{folder}x\"\n"), "one machine");
        }
        let fine = format!("https://a.example{}x and a{}\n", MACHINE.concat(), "/b/");
        let address = fine.replace(concat!("../sha", "red"), "");
        assert_eq!(messages("a.md", &address), [""; 0]);
    }
}
