//! Calls and pings that work, and those that the server fails.

use std::sync::mpsc;

use np_facade::CallError;
use serde_json::json;

use crate::support::{Folder, House, Serve, finish, np, run, run_with_input};

#[test]
fn the_reply_is_printed_byte_for_byte() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let address = serve.address();
    let every_byte: Vec<u8> = (0..=255u8).cycle().take(100_000).collect();
    let file = format!("@{}", folder.file("body", &every_byte));
    let quiet = |ran: crate::support::Ran| {
        assert_eq!(ran.err, "");
        ran.ok_bytes()
    };
    assert_eq!(quiet(run(["call", address, "np.echo", "hello"])), b"hello");
    assert_eq!(quiet(run(["call", address, "np.echo", &file])), every_byte);
    assert_eq!(quiet(run_with_input(["call", address, "np.echo", "-"], &every_byte)), every_byte);
    assert_eq!(quiet(run_with_input(["call", address, "np.echo", "-"], b"")), b"");
    assert_eq!(quiet(run_with_input(["call", address, "np.echo"], b"not read")), b"");
    assert_eq!(quiet(run(["call", address, "np.health"])), b"ok");
    assert_eq!(quiet(run(["call", address, "np.methods"])), b"np.echo\nnp.echo-stream\nnp.health\nnp.methods\nnp.once");
}

#[cfg(unix)]
#[test]
fn a_body_on_the_command_line_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let body = OsStr::from_bytes(b"\xff\xfe");
    let reply = run([OsStr::new("call"), OsStr::new(serve.address()), OsStr::new("np.echo"), body]);
    assert_eq!(reply.ok_bytes(), b"\xff\xfe");
}

#[test]
fn json_holds_text_or_base64() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let reply = run(["call", "--json", serve.address(), "np.echo", "hé\n"]).ok_json();
    assert_eq!(reply, json!({ "method": "np.echo", "codec": "bytes", "bytes": 4, "text": "hé\n" }));
    let reply = run_with_input(["-o", "json", "call", serve.address(), "np.echo", "-"], &[0xff, 0]).ok_json();
    assert_eq!(reply, json!({ "method": "np.echo", "codec": "bytes", "bytes": 2, "base64": "/wA=" }));
}

#[test]
fn pings_are_counted_and_summed_up() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let out = run(["ping", serve.address(), "--count", "3", "--interval", "0ms"]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].starts_with("reply 1 from tcp://127.0.0.1:") && lines[0].contains("s"), "{out}");
    assert!(lines[3].starts_with("3 replies, min/median/max "), "{out}");
    let value = run(["ping", serve.address(), "--count", "2", "--interval", "0ms", "--json"]).ok_json();
    assert_eq!((&value["replies"], value["times_ms"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    let figure = |name: &str| value[name].as_f64().unwrap();
    assert!(
        0.0 < figure("min_ms") && figure("min_ms") <= figure("median_ms") && figure("median_ms") <= figure("max_ms")
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_ping_sums_up_what_it_measured() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let mut child = np(["ping", serve.address(), "--interval", "1h"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (mut line, mut rest) = (String::new(), String::new());
    stdout.read_line(&mut line).unwrap();
    crate::support::send(&child, rustix::process::Signal::INT);
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("1 reply, min/median/max "), "{line}{rest}");
    let ran = finish(child);
    assert_eq!((ran.code, ran.err.as_str()), (Some(130), "np: interrupted: stopped before the end\n"));
}

#[test]
fn a_ping_that_loses_its_server_sums_up_what_it_measured() {
    use std::io::{BufRead as _, BufReader, Read as _};
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let mut child = np(["ping", serve.address(), "--interval", "1ms", "--count", "1000000"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut out = String::new();
    stdout.read_line(&mut out).unwrap();
    drop(serve);
    stdout.read_to_string(&mut out).unwrap();
    let measured = out.lines().filter(|line| line.starts_with("reply ")).count();
    let noun = if measured == 1 { "reply" } else { "replies" };
    let last = out.lines().last().unwrap();
    assert!(last.starts_with(&format!("{measured} {noun}, min/median/max ")), "{last}");
    finish(child).fails(3, &["ping tcp://127.0.0.1:", "check the server and the network", "[NP-"]);
}

#[test]
fn pings_keep_their_interval() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let begun = std::time::Instant::now();
    run(["ping", serve.address(), "--count", "3", "--interval", "150ms"]).ok();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(300));
}

#[test]
fn what_happens_is_logged_to_stderr_when_asked() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let ran = run(["-v", "call", serve.address(), "np.echo", "hello"]);
    assert!(ran.err.contains("np::audit") && ran.err.contains("allowed"), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "colour without a terminal: {}", ran.err);
    assert_eq!(ran.ok(), "hello");
}

#[test]
fn a_server_that_is_not_verified_is_said_to_be_so() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let bare = serve.address().split('?').next().unwrap();
    let ran = run(["call", bare, "np.echo", "hello", "--danger-trust-anyone"]);
    assert!(ran.err.contains("warning: --danger-trust-anyone"), "{}", ran.err);
    assert_eq!(ran.ok(), "hello");
}

#[test]
fn an_unknown_method_is_1() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    run(["call", serve.address(), "np.dance"]).fails(1, &["call np.dance at tcp://", "unknown-method", "np.methods"]);
}

#[test]
fn an_error_of_the_server_is_1_and_moves_no_cursor() {
    let house = House::start(|builder| {
        builder.on("fail", |_, _| Err::<&str, _>(CallError::failed("boom\u{1b}[2J\nnp: all is well")))
    });
    let ran = run(["call", &house.address, "fail"]);
    ran.fails(1, &["failed: boom\\u{1b}[2J\\nnp: all is well", "answered"]);
    assert!(!ran.err.contains('\u{1b}'));
}

#[test]
fn a_reply_that_is_escape_sequences_reaches_stdout_as_it_is() {
    let house = House::start(|builder| builder.on("raw", |_, _| Ok("\u{1b}[2J")));
    assert_eq!(run(["call", &house.address, "raw"]).ok(), "\u{1b}[2J");
}

#[test]
fn a_call_that_takes_too_long_is_5() {
    let house = House::start(|builder| builder.on_async("never", |_, _| std::future::pending::<Result<&str, _>>()));
    let ran = run(["call", &house.address, "never", "--timeout", "300ms"]);
    ran.fails(5, &["call never at tcp://", "deadline-exceeded", "raise --timeout"]);
}

#[test]
fn a_connection_that_is_lost_during_a_call_is_3() {
    let (begun, wait) = mpsc::channel();
    let mut house = House::start(move |builder| {
        builder.on_async("doom", move |_, _| {
            begun.send(()).unwrap();
            std::future::pending::<Result<&str, _>>()
        })
    });
    let child = np(["call", &house.address, "doom"]).spawn().unwrap();
    wait.recv().unwrap();
    drop(house.server.take());
    house.runtime.shutdown_background();
    finish(child).fails(3, &["call doom at tcp://", "outcome unknown", "before you call again", "[NP-"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_call_is_130() {
    let (begun, wait) = mpsc::channel();
    let house = House::start(move |builder| {
        builder.on_async("never", move |_, _| {
            begun.send(()).unwrap();
            std::future::pending::<Result<&str, _>>()
        })
    });
    let child = np(["call", &house.address, "never", "--timeout", "60s"]).spawn().unwrap();
    wait.recv().unwrap();
    crate::support::send(&child, rustix::process::Signal::INT);
    let ran = finish(child);
    assert_eq!(ran.code, Some(130));
    assert_eq!(ran.err, "np: interrupted: stopped before the end\n");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let file = format!("@{}", folder.file("body", vec![b'x'; 1 << 20]));
    let mut child = np(["call", serve.address(), "np.echo", &file]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_7() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child =
        np(["call", serve.address(), "np.echo", "hello"]).stdout(std::process::Stdio::from(full)).spawn().unwrap();
    finish(child).fails(7, &["cannot write to stdout", "check the disk"]);
}
