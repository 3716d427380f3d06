//! Every screen as people see it, held against the files in `tests/screens`.
//!
//! `NP_SCREENS=write cargo test -p np-cli --test cli screens` writes them anew; look at the difference before you commit it.

use std::fs;
use std::path::PathBuf;

use crate::support::{Folder, House, Ran, finish, np};
use crate::wire::{conversation_in, packets, pcap};

#[cfg(unix)]
mod cluster;
#[cfg(unix)]
mod commands;
mod mask;
mod narrow;

use self::mask::{masked, shown, squeezed};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/screens"))
}

fn writes() -> bool {
    std::env::var_os("NP_SCREENS").is_some_and(|value| value == "write")
}

/// Holds a screen against its file, or writes it.
#[track_caller]
fn is_screen(name: &str, screen: &str) {
    let file = folder().join(format!("{name}.txt"));
    if writes() {
        fs::create_dir_all(folder()).unwrap();
        return fs::write(file, screen).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    if let Some(at) = kept.lines().zip(screen.lines()).position(|(kept, now)| kept != now) {
        let line = |text: &str| text.lines().nth(at).unwrap_or_default().to_owned();
        panic!("{name}, line {}:\n was: {}\n now: {}\n{HINT}", at + 1, line(&kept), line(screen));
    }
    assert_eq!(kept.lines().count(), screen.lines().count(), "{name}\n{HINT}\n{screen}");
}

const HINT: &str = "if it is meant: NP_SCREENS=write cargo test -p np-cli --test cli screens";

/// What a run prints on a screen of so many columns, its name as it was called on every system.
fn screen(columns: usize, arguments: &[&str]) -> String {
    String::from_utf8(ran_in(columns, arguments).out).unwrap().replace("np.exe", "np")
}

/// A run on such a screen.
fn ran_in(columns: usize, arguments: &[&str]) -> Ran {
    let mut command = np(arguments);
    command.env("COLUMNS", columns.to_string()).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
    finish(command.spawn().unwrap())
}

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed =
        lines.take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The help of a command and of those below it.
fn helps(words: &[String]) {
    let mut arguments = vec!["help".to_owned()];
    arguments.extend(words.iter().cloned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let help = screen(100, &arguments);
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{words:?}: a line is too long\n{help}");
    let name = ["help"].into_iter().chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
    is_screen(&name, &help);
    for command in commands(&help) {
        helps(&[words, &[command]].concat());
    }
}

#[test]
fn the_help_of_every_command_is_as_it_was() {
    helps(&[]);
}

#[test]
fn help_fits_a_narrow_screen() {
    let help = screen(60, &["help", "doctor"]);
    assert!(help.lines().all(|line| line.chars().count() <= 60), "{help}");
    is_screen("narrow-help-doctor", &help);
}

#[test]
fn the_tree_of_a_conversation_is_as_it_was() {
    let files = Folder::new();
    let conversation = conversation_in("Noise_IK_25519_ChaChaPoly_SHA256");
    let file = files.file("np.pcap", pcap(&packets(&conversation.said, 1, 9_000, 1_400), 1, false));
    let keys = files.file("keys.log", &conversation.key_line);
    is_screen("inspect-sealed", &screen(0, &["inspect", &file]));
    is_screen("inspect-opened", &screen(0, &["inspect", &file, "--keys", &keys]));
    let narrow = screen(90, &["inspect", &file, "--keys", &keys]);
    assert!(narrow.lines().all(|line| line.chars().count() <= 90), "{narrow}");
    is_screen("inspect-narrow", &narrow);
    is_screen("inspect-ndjson", &screen(0, &["inspect", &file, "--keys", &keys, "-o", "ndjson"]));
}

#[cfg(target_os = "linux")]
#[test]
fn the_table_of_the_doctor_is_as_it_was() {
    let house = House::start(|builder| builder);
    let files = Folder::new();
    files.secret("a.key", "nonsense");
    // What this machine allows is not what another does.
    files.file("np.toml", "[transport]\nreceive_buffer = 131072\nsend_buffer = 65536\n");
    let doctor = r#"ulimit -n 1024 && exec "$0" doctor "$@""#;
    let screen = |arguments: &[&str]| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", doctor, env!("CARGO_BIN_EXE_np"), "--config", "np.toml"]).args(arguments);
        command.env("COLUMNS", "80").env_remove("NO_COLOR").current_dir(files.path(""));
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ran = finish(command.spawn().unwrap());
        shown(&format!("{}{}", String::from_utf8(ran.out).unwrap(), ran.err), &files)
    };
    let whole =
        screen(&[&house.address, "--max-connections", "10", "--key-file", "a.key", "--listen", "tcp://127.0.0.1:0"]);
    is_screen("doctor", &whole);
    is_screen("doctor-alone", &screen(&[]));
}

#[test]
fn tables_of_figures_are_as_they_were() {
    let house = House::start(|builder| builder.status_for(np_facade::Policy::anyone()));
    let status = screen(100, &["status", &house.address, "--interval", "10ms"]);
    is_screen("status", &squeezed(&status));
    let ping = screen(100, &["ping", &house.address, "--count", "2", "--interval", "0ms"]);
    is_screen("ping", &squeezed(&ping));
    let files = Folder::new();
    let report = r#"{"schema":1,"runs":[{"workload":"A","calls_per_second":1000.5,"latency_us":{"p50":10,"p99":20}}]}"#;
    let other = report.replace("1000.5", "2001").replace("\"p99\":20", "\"p99\":10");
    let (a, b) = (files.file("a.json", report), files.file("b.json", other));
    is_screen("bench-compare", &screen(100, &["bench", "--compare", &a, &b]));
}

#[test]
fn the_rows_of_the_demo_are_as_they_were() {
    let files = Folder::new();
    let out = screen(0, &["demo", "--file", &files.file("empty", "")]);
    // The second part of an item is aligned; figures stand behind it.
    let row = |line: &str| match line.char_indices().nth(49) {
        Some((at, _)) => format!("{}{}", masked(&line[..at]), squeezed(&shown(&line[at..], &files))),
        None => squeezed(line),
    };
    let rows: String = out.lines().map(row).collect();
    if cfg!(unix) {
        is_screen("demo", &rows);
    }
}

#[test]
fn no_color_and_dumb_terminals_get_no_colour_and_whoever_forces_it_does() {
    let coloured = |set: &[(&str, &str)]| {
        let mut command = np(["doctor", "--max-connections", "10"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm").envs(set.iter().copied());
        String::from_utf8(finish(command.spawn().unwrap()).out).unwrap().contains('\u{1b}')
    };
    assert!(!coloured(&[]), "a pipe gets no colour");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "0")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]), "an empty NO_COLOR says nothing");
}

#[test]
fn every_list_is_a_value_a_line_in_ndjson() {
    let house = House::start(|builder| builder);
    let files = Folder::new();
    let lines = |arguments: &[&str]| {
        let ran = finish(np(arguments.iter().chain(&["-o", "ndjson"])).spawn().unwrap());
        let out = ran.ok();
        let values = out.lines().map(|line| serde_json::from_str(line).unwrap());
        values.collect::<Vec<serde_json::Value>>()
    };
    let replies = lines(&["ping", &house.address, "--count", "3", "--interval", "0ms"]);
    assert_eq!((replies.len(), &replies[2]["reply"], &replies[3]["replies"]), (4, &3.into(), &3.into()));
    let settings = lines(&["config", "print", "--defaults"]);
    assert!(settings.len() > 50 && settings.iter().all(|it| it["setting"].is_string() && it["source"] == "default"));
    let pages = lines(&["man", &files.arg("man")]);
    assert!(pages.len() > 10 && pages.iter().all(|page| page["file"].as_str().unwrap().ends_with(".1")));
    let runs = lines(&["bench", &house.address, "--workload", "A,B", "--secs", "0.02"]);
    assert_eq!([&runs[0]["workload"], &runs[1]["workload"]], ["A", "B"]);
    assert!(runs.len() == 3 && runs[2]["schema"] == 1 && runs[2].get("runs").is_none());
    let rows = lines(&["demo", "--file", &files.file("empty", "")]);
    assert!(rows.len() == 32 && rows.iter().all(|row| row["ok"] == true && row["name"].is_string()));
    #[cfg(unix)]
    cluster::lists_are_a_value_a_line();
}

/// A file of a command that is no more is a mistake.
#[test]
fn no_screen_is_left_over() {
    for file in fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if let Some(words) = name.strip_suffix(".txt").filter(|name| name.starts_with("help-")) {
            let words: Vec<&str> = words.split('-').collect();
            assert!(!screen(100, &words).is_empty(), "{name}: there is no such command; remove the file");
        }
    }
}
