//! Tables on screens of few columns.

use super::{is_screen, screen};
use crate::support::{Folder, finish, np};

/// No line is longer than the screen, but for a word that has no room in any.
#[track_caller]
fn fits(text: &str, columns: usize) {
    let is_long = |line: &&str| line.chars().count() > columns;
    let is_word = |line: &&str| line.trim().trim_end_matches(" \\").trim_start_matches("np call ").contains(' ');
    let long: Vec<&str> = text.lines().filter(is_long).filter(is_word).collect();
    assert!(long.is_empty() && !text.is_empty(), "{columns} columns: {long:#?}\n{text}");
}

#[test]
fn what_bench_prints_fits_from_sixty_columns_on() {
    for columns in [60, 80] {
        let all = ["bench", "--self", "--workload", "A,stream,echo:64KiB", "--concurrency", "2", "--secs", "0.03"];
        let text = screen(columns, &all);
        fits(&text, columns);
        let names = text.lines().find(|line| line.starts_with("workload ")).unwrap();
        for name in ["calls/s", "p50", "p99", "failed"] {
            assert!(names.contains(name), "{names}");
        }
        assert!(text.lines().any(|line| line.starts_with("  up to ") && line.ends_with('#')), "{text}");
        assert!(text.lines().any(|line| line.starts_with("echo:64KiB  ") && line.ends_with(" 0")), "{text}");
    }
}

#[test]
fn two_reports_side_by_side_fit_from_sixty_columns_on() {
    let files = Folder::new();
    let report = r#"{"schema":1,"runs":[{"workload":"sweep:256KiB","calls_per_second":123456.5,"bytes_per_second":12345678901,
        "memory":{"server_kib_per_connection":12.5}}]}"#;
    let (a, b) = (files.file("a.json", report), files.file("b.json", report.replace("12.5", "25")));
    for columns in [60, 80] {
        let table = screen(columns, &["bench", "--compare", &a, &b]);
        fits(&table, columns);
        assert!(table.lines().last().unwrap().ends_with("2.000  worse"), "{table}");
        is_screen(&format!("bench-compare-{columns}"), &table);
    }
}

#[test]
fn what_cert_dev_prints_fits_and_its_commands_are_those_of_json() {
    let files = Folder::new();
    for columns in [40, 60, 100] {
        let name = columns.to_string();
        let mut command = np(["cert", "dev", "--out", &name]);
        command.env("COLUMNS", &name).current_dir(files.path(""));
        let text = finish(command.spawn().unwrap()).ok();
        if cfg!(unix) {
            fits(&text, columns);
        }
        // A shell takes broken lines for one.
        let commands = text.replace(" \\\n    ", " ");
        let serve =
            format!("np serve --listen tls://127.0.0.1:9443 --cert {name}/server.pem --key {name}/server-key.pem");
        assert!(commands.replace('\\', "/").lines().any(|line| line.starts_with(&serve)), "{text}");
    }
}
