//! Tests of allow lists.

use std::error::Error as _;
use std::fs;

use np_types::{KeyError, PublicKey, SecretKey, UnixMillis, VerifyKey};

use super::{AllowList, AllowListError, AllowListProblem};

fn key(byte: u8) -> PublicKey {
    PublicKey::from_bytes([byte; 32])
}

fn problem_of(text: &str) -> AllowListProblem {
    AllowList::parse(text).unwrap_err().problem
}

#[test]
fn lines_hold_keys_names_and_comments() {
    let text = format!(
        "# all staff\n\n{} ada\r\n\t{}   ada the second # laptop\n{}\n{} c#1#2\n{} # none",
        key(1),
        key(2),
        key(3),
        key(4),
        key(5)
    );
    let list = AllowList::parse(&text).unwrap();
    assert_eq!(list.len(), 5);
    let names: Vec<_> = (1..=5).map(|byte| list.name(&key(byte))).collect();
    assert_eq!(names, [Some("ada"), Some("ada the second"), None, Some("c#1#2"), None]);
    assert!(list.contains(&key(3)));
    assert!(!list.contains(&key(6)));
}

#[test]
fn keys_are_found_by_their_name_and_a_list_knows_whether_it_holds_any() {
    let list = AllowList::parse(&format!("{} ada\n{} bob\n{} ada\n{}", key(1), key(2), key(3), key(4))).unwrap();
    let mut named: Vec<_> = list.keys_named("ada").collect();
    named.sort_by_key(|key| *key.as_bytes());
    assert_eq!(named, [key(1), key(3)]);
    assert_eq!((list.keys_named("eve").count(), list.is_empty()), (0, false));
}

#[test]
fn a_key_behind_a_comment_sign_is_not_allowed() {
    let list = AllowList::parse(&format!("#{}\n # {}", key(1), key(2))).unwrap();
    assert!(list.is_empty());
}

#[test]
fn a_bad_line_is_named() {
    let text = format!("{}\n# fine\nnp1wrong ada\n", key(1));
    assert!(matches!(problem_of(&text), AllowListProblem::Key { line: 3, error: KeyError::Checksum }));
    let text = format!("{} ada\n\n{0} eve", key(1));
    assert!(matches!(problem_of(&text), AllowListProblem::Duplicate { line: 3 }));
}

#[test]
fn names_are_bounded_at_128_and_129() {
    let with_name = |length: usize| format!("{} {}", key(1), "a".repeat(length));
    assert!(AllowList::parse(&with_name(128)).is_ok());
    assert!(matches!(problem_of(&with_name(129)), AllowListProblem::Name { line: 1 }));
}

#[test]
fn a_secret_in_the_list_is_refused_and_not_shown() {
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    let error = AllowList::parse(&secret).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("line 1") && shown.contains("SECRET key"));
    assert!(!shown.contains(&secret[8..20]), "the secret leaked: {shown}");
}

#[test]
fn a_file_is_loaded_and_named_when_it_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("staff.allow");
    fs::write(&path, format!("{} ada\n", key(1))).unwrap();
    assert_eq!(AllowList::load(&path).unwrap().name(&key(1)), Some("ada"));

    fs::write(&path, "\nada").unwrap();
    let error = AllowList::load(&path).unwrap_err().to_string();
    assert!(error.contains("staff.allow, line 2"), "{error}");

    fs::write(&path, [0xff]).unwrap();
    let error = AllowList::load(&path).unwrap_err();
    assert!(matches!(error.problem, AllowListProblem::NotText), "{error}");

    fs::remove_file(&path).unwrap();
    let error = AllowList::load(&path).unwrap_err();
    assert!(matches!(error.problem, AllowListProblem::Read(_)), "{error}");
    assert!(error.to_string().contains("staff.allow"), "{error}");
}

#[test]
fn a_file_past_4_mib_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    let file = fs::File::create(&path).unwrap();
    file.set_len(4 * 1_048_576 + 1).unwrap();
    let error = AllowList::load(&path).unwrap_err();
    assert!(matches!(error.problem, AllowListProblem::TooLarge), "{error}");
    fs::write(&path, "#".repeat(4 * 1_048_576)).unwrap();
    assert!(AllowList::load(&path).unwrap().is_empty());
}

#[test]
fn an_error_gives_the_one_behind_it_where_there_is_one() {
    let behind = |error: &AllowListError| error.source().map(ToString::to_string);
    let error = AllowList::load(&tempfile::tempdir().unwrap().path().join("none")).unwrap_err();
    let AllowListProblem::Read(read) = &error.problem else { panic!("{error}") };
    assert_eq!(behind(&error), Some(read.to_string()));
    let error = AllowList::parse("np1wrong").unwrap_err();
    assert_eq!(behind(&error), Some(KeyError::Checksum.to_string()));
    let error = AllowList::parse(&format!("{} {}", key(1), "a".repeat(129))).unwrap_err();
    assert_eq!(behind(&error), None);
}

#[test]
fn options_stand_anywhere_behind_the_key_and_are_no_part_of_the_name() {
    let text = format!(
        "{} ada expires=2026-03-01 the\tfirst\n{} expires=2000-02-29\n{} bob # expires=2000-01-01",
        key(1),
        key(2),
        key(3)
    );
    let list = AllowList::parse(&text).unwrap();
    let ada = list.entry(&key(1)).unwrap();
    assert_eq!((ada.name(), ada.expires()), (Some("ada the first"), Some(UnixMillis(1_772_323_200_000))));
    let second = list.entry(&key(2)).unwrap();
    assert_eq!((second.name(), second.expires()), (None, Some(UnixMillis(951_782_400_000))));
    let bob = list.entry(&key(3)).unwrap();
    assert_eq!((bob.name(), bob.expires()), (Some("bob"), None));
    assert_eq!(list.entry(&key(4)), None);
}

#[test]
fn a_key_expires_with_the_first_millisecond_of_its_day() {
    let list = AllowList::parse(&format!("{} expires=2026-03-01", key(1))).unwrap();
    let entry = list.entry(&key(1)).unwrap();
    assert!(!entry.is_expired(UnixMillis(1_772_323_199_999)));
    assert!(entry.is_expired(UnixMillis(1_772_323_200_000)));
    assert!(list.contains(&key(1)), "an expired key stands in the list all the same");
}

#[test]
fn an_option_that_does_not_exist_is_refused_with_its_line_and_the_nearest_name() {
    for word in ["expire=2026-03-01", "Expires=2026-03-01", "=", "=2026-03-01", "from=10.0.0.1", "a=b=c"] {
        let error = AllowList::parse(&format!("# one\n{} ada {word}", key(1))).unwrap_err();
        assert!(matches!(error.problem, AllowListProblem::UnknownOption { line: 2, nearest: "expires" }), "{word}");
        let shown = error.to_string();
        assert!(shown.contains("line 2") && shown.contains("`expires=`"), "{shown}");
    }
}

#[test]
fn a_wrong_or_second_value_of_an_option_is_refused() {
    for value in ["", "2026-02-29", "2026-3-1", "tomorrow", "2026-03-01T00:00"] {
        let problem = problem_of(&format!("{} expires={value}", key(1)));
        assert!(matches!(problem, AllowListProblem::OptionValue { line: 1, option: "expires", .. }), "{value}");
    }
    let error = AllowList::parse(&format!("{} expires=x", key(1))).unwrap_err().to_string();
    assert!(error.contains("YYYY-MM-DD"), "{error}");
    let problem = problem_of(&format!("{} expires=2026-03-01 expires=2027-03-01", key(1)));
    assert!(matches!(problem, AllowListProblem::OptionTwice { line: 1, option: "expires" }));
}

#[test]
fn two_lines_of_one_name_with_different_signing_keys_are_refused_with_both_lines() {
    let [one, two] = [9, 8].map(|byte| VerifyKey::from_bytes([byte; 32]));
    let text =
        |second: String| format!("# nodes\n{} a sign={one}\n{} b sign={two}\n{} {second}", key(1), key(2), key(3));
    let error = AllowList::parse(&text(format!("a sign={two}"))).unwrap_err();
    assert!(matches!(error.problem, AllowListProblem::SignDiffers { first: 2, line: 4 }), "{error}");
    assert!(error.to_string().contains("lines 2 and 4"), "{error}");
    // While a key is changed both rows say the same, or one of them nothing.
    for fine in [format!("a sign={one}"), "a".to_owned(), format!("sign={two}"), format!("c sign={two}")] {
        AllowList::parse(&text(fine)).unwrap();
    }
}

#[test]
fn a_key_may_name_the_key_by_which_its_holder_signs() {
    let sign = VerifyKey::from_bytes([9; 32]);
    let text = format!("{} a sign={sign} expires=2026-03-01\n{} b", key(1), key(2));
    let list = AllowList::parse(&text).unwrap();
    let entry = list.entry(&key(1)).unwrap();
    assert_eq!((entry.name(), entry.sign()), (Some("a"), Some(sign)));
    assert_eq!(list.entry(&key(2)).unwrap().sign(), None);

    // Of a peer's key it is not the public half, nor is a secret shown.
    let secret = SecretKey::from_bytes([7; 32]).to_text();
    for wrong in [key(3).to_string(), (*secret).clone(), String::new()] {
        let error = AllowList::parse(&format!("{} a sign={wrong}", key(1))).unwrap_err();
        assert!(matches!(error.problem, AllowListProblem::OptionValue { line: 1, option: "sign", .. }), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("npverify1") && !shown.contains(&secret[8..20]), "{shown}");
    }
    let problem = problem_of(&format!("{} a sign={sign} sign={sign}", key(1)));
    assert!(matches!(problem, AllowListProblem::OptionTwice { line: 1, option: "sign" }));
    let problem = problem_of(&format!("{} a signed={sign}", key(1)));
    assert!(matches!(problem, AllowListProblem::UnknownOption { line: 1, nearest: "sign" }));
}

#[test]
fn a_secret_that_reads_as_an_option_is_not_shown() {
    let error = AllowList::parse(&format!("{} c2VjcmV0IHNlY3JldA==", key(1))).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("c2Vj"), "the secret leaked: {shown}");
}
