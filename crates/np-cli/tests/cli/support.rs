//! Runs the program, and servers for it to talk to.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;

use np_facade::{Identity, Policy, PublicKey, Server, ServerBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const UNCHECKED: &str = "np: note: permissions of key files are not checked on this system; see to them yourself\n";

/// The program with arguments, not yet started.
pub(crate) fn np<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_np"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// Runs the program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    finish(np(arguments).spawn().unwrap())
}

/// Runs the program to its end with something on its standard input.
pub(crate) fn run_with_input<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
    let mut child = np(arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let ran = finish(child);
    writer.join().unwrap().unwrap();
    ran
}

/// Waits for the end of a run.
pub(crate) fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    // Said before anything else, once, where the system has no modes of files.
    let err = if cfg!(windows) { err.strip_prefix(UNCHECKED).unwrap_or(&err).to_owned() } else { err };
    Ran { code: output.status.code(), out: output.stdout, err }
}

impl Ran {
    /// It did what it was asked for; what it printed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        String::from_utf8(self.ok_bytes()).unwrap()
    }

    /// As [`Ran::ok`], for results that are no text.
    #[track_caller]
    pub(crate) fn ok_bytes(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// As [`Ran::ok`], for results that are JSON on one line.
    #[track_caller]
    pub(crate) fn ok_json(self) -> Value {
        let out = self.ok();
        assert_eq!(out.trim_end().lines().count(), 1, "{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// It failed with this code, no result, and one line on stderr that holds these parts, the next step among them.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.err.trim_end().lines().count(), 1, "{}", self.err);
        self.fails_with_pointer(code, parts);
    }

    /// As [`Ran::fails`], with lines after the first that point into an address.
    #[track_caller]
    pub(crate) fn fails_with_pointer(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.err);
        assert_eq!(String::from_utf8_lossy(&self.out), "", "{}", self.err);
        let line = self.err.lines().next().unwrap();
        assert!(line.starts_with("np: ") && line.contains("; "), "no `np: what: why; next step`: {line}");
        for part in parts {
            assert!(line.contains(part), "no `{part}` in: {line}");
        }
    }
}

/// A folder that goes away with the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A file with this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.arg(name)
    }

    /// A file with this content that its owner alone may read.
    pub(crate) fn secret(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.file(name, content);
        #[cfg(unix)]
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// A fresh key file, and its public key.
    pub(crate) fn key(&self, name: &str) -> (String, PublicKey) {
        let identity = Identity::create(self.path(name)).unwrap();
        (self.arg(name), identity.public_key())
    }
}

/// A running `np serve`; killed when dropped.
pub(crate) struct Serve {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// Its addresses, in the order of `--listen`.
    pub(crate) addresses: Vec<String>,
}

impl Serve {
    /// Serves at one TCP port for anyone, with a fresh key.
    pub(crate) fn anyone(folder: &Folder, more: &[&str]) -> Self {
        let (key, _) = folder.key("server.key");
        let mut arguments = vec!["--listen", "tcp://127.0.0.1:0", "--identity", &key, "--allow", "anyone"];
        arguments.extend(more);
        Self::start(&arguments)
    }

    /// Serves, and waits until it says where.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let addresses = arguments.iter().filter(|argument| **argument == "--listen").count();
        Self::spawn(&mut np(["serve"].iter().chain(arguments)), addresses)
    }

    /// Runs a command that serves at so many addresses, and waits until it says where.
    pub(crate) fn spawn(command: &mut Command, addresses: usize) -> Self {
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (stdout, stderr) = (BufReader::new(stdout), BufReader::new(stderr));
        let mut serve = Self { child, stdout, stderr, addresses: Vec::new() };
        for _ in 0..addresses {
            let line = serve.line();
            let address = line.strip_prefix("listening ").unwrap_or_else(|| panic!("{line} {}", serve.rest()));
            serve.addresses.push(address.to_owned());
        }
        serve
    }

    /// The first address.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// The next line of its stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads its stderr up to a line that holds this text, and gives that line.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no `{text}`");
        }
        line
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        send(&self.child, signal);
    }

    /// Its process id.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and gives its exit code.
    #[cfg(unix)]
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What is left of its stderr.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a run of the program.
#[cfg(unix)]
pub(crate) fn send(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// A server of the test's own, with methods that the program's has not.
pub(crate) struct House {
    pub(crate) runtime: Runtime,
    pub(crate) server: Option<Server>,
    pub(crate) address: String,
}

impl House {
    pub(crate) fn start(methods: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let runtime = Runtime::new().unwrap();
        let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("tcp://127.0.0.1:0");
        let server = runtime.block_on(methods(builder).start()).unwrap();
        let address = server.addresses()[0].to_string();
        Self { runtime, server: Some(server), address }
    }
}
