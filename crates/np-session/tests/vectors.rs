//! The vectors of the protocol: the bytes on the page and in `docs/vectors` are what two peers say to each other.
#![cfg(test)]

use std::fs;
use std::path::Path;

use np_noise::Pattern;
use np_testkit::vectors::{files, said};

const PAGE: &str = include_str!("../../../docs/PROTOCOL.md");

/// The block of a conversation as the page shows it: 32 bytes a line.
fn block(pattern: Pattern) -> String {
    let mut out = String::new();
    for one in said(pattern) {
        out += &format!("{}: {}\n", one.from, one.what);
        for line in one.bytes.as_bytes().chunks(64) {
            out += &format!("  {}\n", String::from_utf8_lossy(line));
        }
    }
    out
}

#[test]
fn the_page_shows_a_whole_conversation_in_each_pattern() {
    for pattern in [Pattern::XX, Pattern::IK] {
        let block = block(pattern);
        assert!(PAGE.contains(&format!("```text\n{block}```\n")), "{}:\n{block}", pattern.name());
    }
}

#[test]
fn the_json_vectors_are_what_the_code_makes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors");
    for file in files() {
        let kept = fs::read_to_string(folder.join(file.name)).unwrap_or_default();
        assert!(kept == file.text, "{} is out of date: cargo xtask vectors", file.name);
    }
    let kept = fs::read_dir(folder).unwrap().count();
    assert_eq!(kept, files().len(), "a file that nothing makes");
}
