//! The demo as a whole; what makes its rows fail is tested beside its checks.

use serde_json::Value;

use crate::support::{Folder, run};

#[test]
fn every_row_is_ok() {
    let rows = run(["demo", "--json"]).ok_json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 32);
    for row in rows {
        let fields: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.len(), 3, "{row}");
        assert_eq!(row["ok"], Value::Bool(true), "{row}");
        assert!(row["name"].is_string() && !row["detail"].as_str().unwrap().is_empty(), "{row}");
    }
    assert_eq!(rows[31]["name"], "cluster of five nodes over tcp");
    for over in ["over tcp", if cfg!(unix) { "over unix" } else { "over mem" }] {
        assert_eq!(rows[..28].iter().filter(|row| row["name"].as_str().unwrap().ends_with(over)).count(), 14);
    }
    let names = ["server certificate over tls", "certificates both ways over tls", "pinned server key over tls"];
    assert!(names.iter().all(|name| rows.iter().any(|row| row["name"] == *name)), "{rows:?}");
}

#[test]
fn the_table_is_for_people_and_the_file_is_the_one_that_was_named() {
    let folder = Folder::new();
    let file = folder.file("three", vec![7; 3 << 20]);
    let ran = run(["demo", "--file", &file]);
    assert_eq!(ran.err, "");
    let out = ran.ok();
    assert!(!out.contains('\u{1b}'), "colour without a terminal");
    assert_eq!(out.lines().filter(|line| line.starts_with("✓ ok  ")).count(), 32, "{out}");
    assert_eq!(out.matches(" 3.0 MiB at ").count(), 2, "{out}");
    assert!(out.contains("32 of 32 rows ok"), "{out}");
}

#[test]
fn an_empty_file_arrives_too() {
    let folder = Folder::new();
    let out = run(["demo", "--file", &folder.file("empty", "")]).ok();
    assert!(out.contains("e3b0c442"), "{out}");
}

/// A file that has other bytes each time it is read cannot arrive as it is.
#[cfg(target_os = "linux")]
#[test]
fn a_claim_that_does_not_hold_is_a_failed_row_and_ends_the_command_with_1() {
    let ran = run(["demo", "--json", "--file", "/proc/sys/kernel/random/uuid"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let rows: Value = serde_json::from_slice(&ran.out).unwrap();
    let failed = rows.as_array().unwrap().iter().filter(|row| row["ok"] == Value::Bool(false));
    let failed: Vec<&str> = failed.map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(failed, ["file, compared by SHA-256 over tcp", "file, compared by SHA-256 over unix"]);
    assert!(failed.iter().all(|name| ran.err.contains(name)), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_signal_leaves_no_folder_behind() {
    use rustix::process::Signal;
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new();
        let mut child = crate::support::np(["demo"]).env("TMPDIR", folder.path("")).spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // The head of the table comes when the sockets are there.
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 1, "{line}");
        crate::support::send(&child, signal);
        assert_eq!(crate::support::finish(child).code, Some(130));
        assert_eq!(std::fs::read_dir(folder.path("")).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_is_not_there_is_2() {
    let folder = Folder::new();
    run(["demo", "--file", &folder.arg("gone")]).fails(2, &["gone", "cannot be read", "pass --file"]);
    #[cfg(target_os = "linux")]
    run(["demo", "--file", "/dev/zero"]).fails(2, &["/dev/zero", "no plain file"]);
    run(["demo", "--file", folder.path("").to_str().unwrap()]).fails(2, &["no plain file", "pass --file"]);
}
