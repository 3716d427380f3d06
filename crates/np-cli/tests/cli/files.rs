//! Files and streams from the command line: np send with np serve --receive, np call --stream, and compression.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use sha2::{Digest as _, Sha256};

use crate::support::{Folder, Serve, finish, np, run, run_with_input};

/// A server that takes files into `into`, from the client of `member.key` and anyone else.
fn receiving(folder: &Folder, more: &[&str]) -> Serve {
    let into = folder.path("into");
    if !into.exists() {
        fs::create_dir(&into).unwrap();
    }
    let receive = folder.arg("into");
    Serve::anyone(folder, &[&["--receive", receive.as_str()], more].concat())
}

fn noise(size: usize) -> Vec<u8> {
    let mut state = 7u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as u8
    })
    .take(size)
    .collect()
}

fn names(folder: &Folder) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path("into"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_arrives_whole_and_both_sides_name_its_hash() {
    let folder = Folder::new();
    let serve = receiving(&folder, &[]);
    for (name, size) in [("empty", 0), ("small.txt", 11), ("large.bin", 5_000_001)] {
        let content = noise(size);
        let file = folder.file(name, &content);
        let sent = run(["send", &file, serve.address(), "--json"]).ok_json();
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((sent["bytes"].as_u64(), sent["sha256"].as_str()), (Some(size as u64), Some(digest.as_str())));
        assert_eq!(fs::read(folder.path("into").join(name)).unwrap(), content);
    }
    assert_eq!(names(&folder), ["empty", "large.bin", "small.txt"], "no part is left");
    let text = run(["send", &folder.file("again.txt", "x"), serve.address()]).ok();
    assert!(text.starts_with("sent again.txt: 1 B in ") && text.contains("sha256 "), "{text}");
}

#[test]
fn a_file_that_is_there_is_never_overwritten_and_names_lead_nowhere_else() {
    let folder = Folder::new();
    let serve = receiving(&folder, &[]);
    let file = folder.file("data", "new");
    fs::write(folder.path("into").join("data"), "old").unwrap();
    run(["send", &file, serve.address()]).fails(1, &["exists there already", "--name"]);
    assert_eq!(fs::read(folder.path("into").join("data")).unwrap(), b"old");
    run(["send", &file, serve.address(), "--name", "../../outside"]).ok();
    assert!(folder.path("into").join("outside").exists() && !folder.path("outside").exists());
    for name in ["..", ".bashrc", "a\nb"] {
        run(["send", &file, serve.address(), "--name", name]).fails(1, &["cannot be used here"]);
    }
    assert_eq!(names(&folder), ["data", "outside"]);
}

/// A transfer whose server was killed in the midst of it.
struct Cut {
    folder: Folder,
    /// The client's key file.
    member: String,
    file: String,
    content: Vec<u8>,
    /// How much of it the server had.
    had: u64,
}

/// None where the file was there before its server could be killed.
fn cut_transfer(size: usize) -> Option<Cut> {
    let folder = Folder::new();
    let (member, _) = folder.key("member.key");
    let mut serve = Some(receiving(&folder, &[]));
    let content = noise(size);
    let file = folder.file("big.bin", &content);
    let address = serve.as_ref().unwrap().address().to_owned();
    let mut sending = np(["send", &file, &address, "--identity", &member]).spawn().unwrap();
    let part = || {
        let found = names(&folder).into_iter().find(|name| name.ends_with(".part"));
        found.map_or(0, |name| fs::metadata(folder.path("into").join(name)).map_or(0, |meta| meta.len()))
    };
    while part() < 1_000_000 && sending.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    drop(serve.take());
    let cut = finish(sending);
    if cut.code == Some(0) {
        return None;
    }
    cut.fails(3, &["the same command goes on"]);
    let had = part();
    Some(Cut { folder, member, file, content, had })
}

#[test]
fn a_transfer_that_was_cut_goes_on_for_the_same_key_and_content_alone() {
    // A fast machine may be through with the smaller one.
    let cut = [40_000_000, 400_000_000].into_iter().find_map(cut_transfer);
    let Cut { folder, member, file, content, had } = cut.expect("no server was killed in time");
    assert!(had >= 1_000_000 && had < content.len() as u64, "{had}");
    let serve = receiving_again(&folder);
    // Another client has a part of its own, and so has another content.
    let (stranger, _) = folder.key("stranger.key");
    let other = folder.file("other.bin", &noise(2_000_000)[1..]);
    for (key, file, name) in [(&stranger, &file, "big-2.bin"), (&member, &other, "big-3.bin")] {
        let sent = run(["send", file, serve.address(), "--identity", key, "--name", name, "--json"]).ok_json();
        assert_eq!(sent["from"], 0);
    }
    let sent = run(["send", &file, serve.address(), "--identity", &member, "--json"]).ok_json();
    assert_eq!(sent["from"], had);
    assert_eq!(fs::read(folder.path("into").join("big.bin")).unwrap(), content);
    assert_eq!(names(&folder), ["big-2.bin", "big-3.bin", "big.bin"]);
}

fn receiving_again(folder: &Folder) -> Serve {
    let (key, receive) = (folder.arg("server.key"), folder.arg("into"));
    Serve::start(&["--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone", "--receive", &receive])
}

#[test]
fn what_cannot_be_sent_or_taken_is_refused_by_name() {
    let folder = Folder::new();
    let serve = receiving(&folder, &["--receive-max", "1KiB"]);
    let at_most = folder.file("at-most", noise(1_024));
    let more = folder.file("more", noise(1_025));
    run(["send", &at_most, serve.address()]).ok();
    run(["send", &more, serve.address()]).fails(6, &["--receive-max", "1025"]);
    run(["send", &folder.arg("gone"), serve.address()]).fails(2, &["gone", "cannot be read"]);
    run(["send", folder.path("into").to_str().unwrap(), serve.address()]).fails(2, &["no plain file"]);
    let plain = Folder::new();
    let without = Serve::anyone(&plain, &[]);
    run(["send", &at_most, without.address()]).fails(1, &["unknown-method", "np.methods"]);
    let start = ["serve", "--listen", "tcp://127.0.0.1:0", "--identity", &plain.arg("server.key"), "--allow", "anyone"];
    let serve = |more: &[&str]| run(start.iter().chain(more));
    serve(&["--receive", &folder.arg("nowhere")]).fails(2, &["--receive", "is no folder"]);
    serve(&["--receive-max", "1KiB"]).fails(2, &["--receive"]);
    serve(&["--receive", &folder.arg("into"), "--receive-max", "1KB"]).fails(2, &["--receive-max", "KiB"]);
    serve(&["--compress", "gzip"]).fails(2, &["--compress", "zstd:LEVEL"]);
}

#[test]
fn lines_stream_there_and_back_as_they_come() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &[]);
    let call = ["call", serve.address(), "np.echo-stream", "--stream"];
    assert_eq!(run_with_input(call, b"one\n\ntwo\nlast").ok(), "one\n\ntwo\nlast\n");
    let file = folder.file("lines", "a\nb\n");
    assert_eq!(run(call.iter().copied().chain([&format!("@{file}")[..]])).ok(), "a\nb\n");
    assert_eq!(run(call.iter().chain(&["x"])).ok(), "x\n");
    let json = run(call.iter().chain(&["x", "--json"])).ok();
    assert_eq!(json, "{\"bytes\":1,\"method\":\"np.echo-stream\",\"text\":\"x\"}\n");
    run(["call", serve.address(), "np.echo", "--stream", "x"]).fails(1, &["wrong-kind"]);
    // An answer does not wait for the end of the input.
    let mut child = np(call).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for line in ["first\n", "second\n"] {
        stdin.write_all(line.as_bytes()).unwrap();
        let mut back = String::new();
        stdout.read_line(&mut back).unwrap();
        assert_eq!(back, line);
    }
    drop(stdin);
    assert_eq!(finish(child).code, Some(0));
}

#[test]
fn compression_is_asked_for_by_name() {
    let folder = Folder::new();
    let serve = Serve::anyone(&folder, &["--compress", "zstd:5"]);
    let text = folder.file("text", "the same words again and again; ".repeat(10_000));
    for codec in ["lz4", "zstd", "zstd:19"] {
        let reply = run(["call", serve.address(), "np.echo", &format!("@{text}"), "--compress", codec]).ok_bytes();
        assert_eq!(reply, fs::read(&text).unwrap(), "{codec}");
    }
    run(["call", serve.address(), "np.echo", "x", "--compress", "lz4:3"]).fails(2, &["--compress", "no levels"]);
    run(["call", serve.address(), "np.echo", "x", "--compress", "lz4", "--stream"]).fails(2, &["--stream"]);
}
