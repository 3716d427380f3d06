//! Samples that a careless counter gets wrong.

use super::*;

fn lengths(text: &str) -> Vec<(String, usize)> {
    let source = Source::read(text);
    source.functions(&source.production().tokens).into_iter().map(|function| (function.name, function.lines)).collect()
}

#[test]
fn braces_in_strings_comments_and_characters_do_not_count() {
    let text = r####"
fn tricky<'a>(x: &'a str) -> [u8; 2] {
    let a = "} \" {"; // }
    let b = '}'; let c = '\''; let d = b'{'; let e = '\u{7d}';
    /* } /* nested } */ */
    let f = r#"}"{"#; let g = br##"}"##; let r#type = "";
    [1, 2]
}
fn next() {}
"####;
    assert_eq!(lengths(text), [("tricky".to_owned(), 6), ("next".to_owned(), 1)]);
}

#[test]
fn comments_and_blank_lines_are_free() {
    assert_eq!(lengths("fn a() {\n    // why\n\n    one();\n}\n"), [("a".to_owned(), 3)]);
}

#[test]
fn declarations_pointers_and_semicolons_in_types_are_no_ends() {
    let text = "trait T { fn declared(&self, x: [u8; 4]); }\ntype F = fn(u8) -> u8;\nfn real(x: [u8; 4]) -> [u8; 2]\nwhere\n    u8: Copy,\n{\n}\n";
    assert_eq!(lengths(text), [("real".to_owned(), 5)]);
}

#[test]
fn parts_for_tests_are_taken_out_and_their_files_named() {
    let text = "#[cfg(test)]\nmod tests;\n#[cfg(all(test, unix))]\n#[path = \"x.rs\"]\nmod deep { fn hidden() {} }\n#[cfg(not(test))]\nfn seen() {}\n#[cfg(test)]\nfn helper() { if a { b } }\nfn also() {}\n";
    let source = Source::read(text);
    let production = source.production();
    assert_eq!(production.test_files, ["tests"]);
    assert_eq!(production.tests, [(1, 2), (3, 5), (8, 9)]);
    let names: Vec<String> = lengths(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["seen", "also"]);
}

#[test]
fn variants_are_read_past_payloads_attributes_and_numbers() {
    let text = "#[derive(Debug)]\npub enum Kind {\n    /// A, b.\n    #[doc(alias = \"x\")]\n    One = 0x01,\n    Two(Vec<u8>, u8),\n    Three { a: u8, b: u8 },\n}\n";
    let source = Source::read(text);
    let variants = enum_variants(&source.tokens(), "Kind").unwrap_or_default();
    assert_eq!(variants, [(5, "One".to_owned()), (6, "Two".to_owned()), (7, "Three".to_owned())]);
    assert_eq!(enum_variants(&source.tokens(), "Other"), None);
}

#[test]
fn both_sides_keep_the_lines() {
    let text = "a /* b\nc */ d // e\n\"f\ng\" h\n";
    let source = Source::read(text);
    assert_eq!(source.code.lines().count(), 4);
    assert_eq!(source.comments.lines().count(), 4);
    assert!(source.comments.contains("// e"));
    assert!(!source.code.contains('g'));
}

#[test]
fn a_field_that_stands_for_tests_alone_ends_at_its_comma() {
    let text = "struct A {\n    #[cfg(test)]\n    seen: Option<(u8, u8)>,\n    kept: u8,\n}\n\
                fn make() -> A {\n    A {\n        #[cfg(test)]\n        seen: Some((1, B { c: 2 }.c)),\n        kept: 3,\n    }\n}\n\
                fn last() -> A {\n    A { kept: 1, #[cfg(test)] seen: None }\n}\nfn next() {}\n";
    let lengths: Vec<String> = lengths(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(lengths, ["make", "last", "next"]);
    let source = Source::read(text);
    let kept = source.production().tokens.iter().filter(|token| token.text == "kept").count();
    assert_eq!(kept, 3);
}
