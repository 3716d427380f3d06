//! `np doctor`: what is well is ok, what is not says what to do, and the exit code tells.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Folder, House, run};

/// The rows of a run with `-o json`, whatever its exit code.
fn rows(arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let ran = run(["doctor", "-o", "json", "--max-connections", "10"].iter().chain(arguments));
    let rows: Value = serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.err));
    (ran.code, rows.as_array().unwrap().clone())
}

#[track_caller]
fn row<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter()
        .find(|row| row["check"].as_str().unwrap().starts_with(name))
        .unwrap_or_else(|| panic!("{name}: {rows:?}"))
}

#[test]
fn a_machine_that_is_well_is_told_so() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    let psk = folder.arg("team.psk");
    run(["keygen", "--psk", "--out", &psk]).ok();
    let house = House::start(|builder| builder);
    let (code, rows) = rows(&[
        &house.address,
        "--key-file",
        &key,
        "--key-file",
        &psk,
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "tls://127.0.0.1:0",
    ]);
    assert_eq!(code, Some(0), "{rows:?}");
    for name in ["clock", "server tcp://127.0.0.1", "clock of the server", "key file", "listen tcp", "listen tls"] {
        assert_eq!(row(&rows, name)["state"], "ok", "{rows:?}");
    }
    assert_eq!(row(&rows, "clock of the server")["found"], "at most 5 s from this machine's");
    let of_psk = row(&rows, &format!("key file {psk}"));
    assert!(of_psk["found"].as_str().unwrap().contains("a pre-shared key"), "{rows:?}");
    assert!(row(&rows, "clock").get("todo").is_none());
    if cfg!(target_os = "linux") {
        assert!(row(&rows, "receive buffers")["found"].as_str().unwrap().contains("KiB"));
        assert!(row(&rows, "open files")["found"].as_str().unwrap().contains("10 connections take 74"));
    }
}

#[test]
fn what_is_not_well_fails_with_the_way_out() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp://{}", taken.local_addr().unwrap());
    let gone = folder.arg("gone.key");
    let (code, rows) = rows(&["--listen", &place, "--key-file", &gone]);
    assert_eq!(code, Some(1));
    assert_eq!(row(&rows, "listen")["state"], "fail");
    assert_eq!(row(&rows, "key file")["state"], "fail");
    for row in rows.iter().filter(|row| row["state"] == "fail") {
        assert!(!row["todo"].as_str().unwrap().is_empty(), "{row}");
    }
    // As people see it: rows on stdout, one line that sums up on stderr.
    let ran = run(["doctor", "--listen", &place, "--key-file", &gone]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(1), 1), "{}", ran.err);
    assert!(ran.err.contains("2 of") && ran.err.contains(&place), "{}", ran.err);
    let out = String::from_utf8(ran.out).unwrap();
    assert!(out.lines().any(|line| line.starts_with("fail  listen tcp://127.0.0.1")), "{out}");
    assert!(!out.contains('\u{1b}'), "{out}");
}

#[cfg(unix)]
#[test]
fn a_key_file_that_others_may_read_fails() {
    let folder = Folder::new();
    let (key, _) = folder.key("server.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let config = folder.file("np.toml", format!("[server]\nidentity = {key:?}\n"));
    for arguments in [["--key-file", &key], ["--config", &config]] {
        let (code, rows) = rows(&arguments);
        assert_eq!(code, Some(1));
        let row = row(&rows, "key file");
        assert!(row["found"].as_str().unwrap().contains("0644"), "{row}");
        assert!(row["todo"].as_str().unwrap().contains("chmod 600"), "{row}");
    }
}

#[test]
fn a_server_that_is_not_there_or_is_none_fails() {
    let nobody = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let (code, rows) = rows(&[&format!("tcp://{nobody}")]);
    assert_eq!((code, row(&rows, "server")["state"].as_str()), (Some(1), Some("fail")));
    assert_eq!(row(&rows, "clock of the server")["state"], "warn");
    // One that answers in another language.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp://{}", other.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail ready\r\n").unwrap();
        // Its end would be another answer: the first is read before.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (code, rows) = self::rows(&[&place]);
    answer.join().unwrap();
    assert_eq!((code, row(&rows, "server")["state"].as_str()), (Some(1), Some("fail")), "{rows:?}");
    run(["doctor", "tcp://localhost:99999"]).fails_with_pointer(2, &["a port is a number"]);
}

/// A server whose clock is an hour off, played by hand: it says so in clear, as np's do.
#[test]
fn a_server_with_another_clock_fails_with_the_difference() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("tcp://{}", server.local_addr().unwrap());
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut refusal = Vec::new();
        let text = "the peer's clock is off by -3600000 ms";
        np_facade::raw::wire::encode_refusal(&mut refusal, np_facade::CloseCode::ClockSkew, text);
        std::io::Write::write_all(&mut stream, &refusal).unwrap();
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let (code, rows) = rows(&[&place]);
    answer.join().unwrap();
    assert_eq!(code, Some(1), "{rows:?}");
    assert_eq!(row(&rows, "server")["state"], "ok", "{rows:?}");
    let clock = row(&rows, "clock of the server");
    assert_eq!(
        (clock["state"].as_str(), clock["found"].as_str()),
        (Some("fail"), Some("3600.0 s ahead of this machine's"))
    );
}

#[test]
fn a_row_is_a_line_where_lines_are_asked_for() {
    let out = run(["doctor", "-o", "ndjson", "--max-connections", "10"]).ok();
    assert!(out.lines().count() >= 3, "{out}");
    for line in out.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(row["check"].is_string() && row["state"].is_string(), "{line}");
    }
}
