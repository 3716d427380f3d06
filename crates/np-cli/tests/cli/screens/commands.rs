//! What each command prints, and the lines that it fails with.

use super::is_screen;
use super::mask::{shown, squeezed};
use crate::support::{Folder, Serve, finish, np};

/// Commands one after the other in a folder, as a terminal shows them.
struct Terminal {
    files: Folder,
    text: String,
}

impl Terminal {
    fn new() -> Self {
        Self { files: Folder::new(), text: String::new() }
    }

    /// Runs the program, and shows so many lines of what it prints.
    fn run_some(&mut self, arguments: &[&str], lines: usize) {
        let mut command = np(arguments);
        command.env("COLUMNS", "0").env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
        let ran = finish(command.current_dir(self.files.path("")).spawn().unwrap());
        let out = String::from_utf8(ran.out).unwrap();
        let out = out.lines().take(lines).map(|line| format!("{line}\n")).collect::<String>();
        let code = if ran.code == Some(0) { String::new() } else { format!("exit code {}\n", ran.code.unwrap()) };
        let text = format!("$ np {}\n{out}{}{code}", arguments.join(" "), ran.err);
        self.text += &shown(&text, &self.files);
    }

    fn run(&mut self, arguments: &[&str]) {
        self.run_some(arguments, usize::MAX);
    }

    #[track_caller]
    fn is(&mut self, name: &str) {
        is_screen(name, &std::mem::take(&mut self.text));
    }
}

#[test]
fn keys_and_certificates_are_shown_as_they_were() {
    let mut terminal = Terminal::new();
    terminal.run(&["keygen", "--out", "a.key"]);
    terminal.run(&["keygen", "--out", "b.key", "-o", "json"]);
    terminal.run(&["keygen", "--psk", "--out", "team.psk"]);
    terminal.run(&["keygen", "--signing", "--out", "a.sign"]);
    terminal.run(&["keygen", "--out", "a.key"]);
    terminal.is("keygen");
    terminal.run(&["key", "show", "a.key"]);
    terminal.run(&["key", "show", "a.key", "-o", "json"]);
    terminal.run(&["key", "show", "gone.key"]);
    terminal.is("key-show");
    terminal.run(&["cert", "dev", "--out", "certs", "--san", "db.test"]);
    terminal.run(&["cert", "dev", "--out", "certs"]);
    terminal.is("cert-dev");
}

#[test]
fn configurations_are_shown_as_they_were() {
    let mut terminal = Terminal::new();
    terminal.files.file("np.toml", "[server]\nmax_connections = 100\n");
    terminal.files.file("wrong.toml", "[server]\nmax_conections = 100\nmax_handshakes = 0\n");
    terminal.run(&["config", "check", "np.toml"]);
    terminal.run(&["config", "check", "np.toml", "-o", "json"]);
    terminal.run(&["config", "check", "wrong.toml"]);
    terminal.run(&["config", "check", "gone.toml"]);
    terminal.is("config-check");
    terminal.run_some(&["config", "print", "np.toml", "--sources"], 20);
    terminal.run_some(&["config", "print", "--defaults"], 12);
    terminal.run_some(&["config", "print", "np.toml", "-o", "ndjson"], 3);
    terminal.is("config-print");
}

#[test]
fn completions_and_pages_begin_as_they_did() {
    let mut terminal = Terminal::new();
    for shell in ["bash", "zsh", "fish"] {
        terminal.run_some(&["completions", shell], 4);
    }
    terminal.is("completions");
    terminal.run_some(&["man"], 5);
    terminal.run(&["man", "pages"]);
    terminal.is("man");
}

#[test]
fn a_server_and_what_is_asked_of_it_are_shown_as_they_were() {
    let mut terminal = Terminal::new();
    let arguments = ["--status-allow", "anyone", "--metrics", "127.0.0.1:0", "--receive", "in"];
    std::fs::create_dir(terminal.files.path("in")).unwrap();
    let folder = terminal.files.arg("in");
    let mut serve = Serve::anyone(&terminal.files, &[&arguments[..5], &[folder.as_str()]].concat());
    let address = serve.address().to_owned();
    terminal.files.file("small", "hello");
    terminal.run(&["call", &address, "np.echo", "hello"]);
    terminal.run(&["call", &address, "np.echo", "hello", "-o", "json"]);
    terminal.run(&["call", &address, "np.methods"]);
    terminal.run(&["call", &address, "np.dance"]);
    terminal.is("call");
    terminal.run(&["health", &address]);
    terminal.run(&["health", &address, "-o", "json"]);
    terminal.run(&["health", "tcp://127.0.0.1:1", "--danger-trust-anyone"]);
    terminal.is("health");
    terminal.run(&["send", "small", &address]);
    let figures = |line: &str| if line.starts_with("sent ") { squeezed(line) } else { format!("{line}\n") };
    terminal.text = terminal.text.lines().map(figures).collect();
    terminal.run(&["send", "gone", &address]);
    terminal.is("send");
    let metrics = serve.line();
    serve.signal(rustix::process::Signal::TERM);
    assert_eq!(serve.code(), Some(0));
    let said = format!("listening {address}\n{metrics}\n{}", serve.rest());
    is_screen("serve", &shown(&said, &terminal.files));
}

#[test]
fn failures_are_shown_as_they_were() {
    let mut terminal = Terminal::new();
    let serve = Serve::anyone(&terminal.files, &[]);
    let bare = serve.address().split('?').next().unwrap();
    let (_, other) = terminal.files.key("other.key");
    let nobody = format!("tcp://127.0.0.1:1?key={other}");
    terminal.run(&["call", "tcp://localhost:99999", "np.echo"]);
    terminal.run(&["call", &nobody, "np.echo"]);
    terminal.run(&["call", bare, "np.echo"]);
    terminal.run(&["call", &format!("{bare}?key={other}"), "np.echo"]);
    terminal.run(&["call", serve.address(), "np.dance"]);
    terminal.run(&["call", serve.address(), "np.echo", "--identity", "gone.key"]);
    terminal.run(&["serve", "--listen", "tcp://127.0.0.1:0", "--identity", "server.key"]);
    terminal.run(&["serve", "--listen", "tcp://127.0.0.1:0", "--allow", "anyone"]);
    terminal.run(&["cluster", "members", serve.address()]);
    terminal.run(&["dance"]);
    terminal.run(&["keygen"]);
    terminal.is("failures");
}

/// Counts, times and rates are those of a machine, and how many lines tell of them follows from them.
#[cfg(target_os = "linux")]
#[test]
fn what_bench_prints_is_as_it_was() {
    let mut terminal = Terminal::new();
    terminal.run(&[
        "bench",
        "--self",
        "--suite",
        "chacha",
        "--workload",
        "A,stream,F",
        "--idle",
        "10",
        "--secs",
        "0.05",
    ]);
    let provider = np_facade::provider().name();
    let mut lines: Vec<String> = Vec::new();
    for line in terminal.text.replace(provider, "PROVIDER").lines().filter(|line| !line.contains(" build, ")) {
        // A bar of the histogram, which may be empty.
        let bare = line.trim_end_matches('#').trim_end();
        let squeezed = squeezed(if line.starts_with("  up to ") { bare } else { line });
        // In the table of all runs it is a rate.
        let squeezed = squeezed.replace(" MiB ", " KiB ").replace(" GiB ", " KiB ");
        if lines.last() != Some(&squeezed) {
            lines.push(squeezed);
        }
    }
    is_screen("bench", &lines.concat());
}
