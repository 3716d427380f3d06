//! A house in a process of its own: the test program, run once more as a server.
//!
//! What peers cost can be read from such a process, and it can be killed. It must never decide what a test is about.

#![allow(clippy::print_stdout, reason = "the server tells its parent where it is")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use np_transport::{Address, BindOptions, TlsServer, dev_certificates};
use np_trust::Policy;
use tokio::runtime::Runtime;

use super::{echo, serve_at};

/// Tells the test program that it is to serve, and how: `max_handshakes,handshake_timeout in milliseconds,scheme`.
const SETTINGS: &str = "NP_TEST_SERVER";
/// Tells it how many files it may have open, where that matters.
pub(crate) const FILES: &str = "NP_TEST_FILES";
/// The test of that name in each program that starts servers calls [`serve_if_asked`].
const ENTRY: &str = "server_process";

/// A server in its own process, killed when this is dropped.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: Address,
    /// Its open files while it had no peer.
    base: usize,
}

impl Served {
    pub(crate) fn start(max_handshakes: usize, handshake_timeout: Duration) -> Self {
        Self::start_over("tcp", max_handshakes, handshake_timeout)
    }

    /// With the scheme `tcp`, or `tls` and a certificate that clients know by its pin.
    pub(crate) fn start_over(scheme: &str, max_handshakes: usize, handshake_timeout: Duration) -> Self {
        Self::start_with(scheme, max_handshakes, handshake_timeout, None)
    }

    /// With a limit of open files of its own.
    pub(crate) fn start_with(
        scheme: &str,
        max_handshakes: usize,
        handshake_timeout: Duration,
        files: Option<u64>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .envs(files.map(|files| (FILES, files.to_string())))
            .args(["--exact", ENTRY, "--nocapture"])
            .env(SETTINGS, format!("{max_handshakes},{},{scheme}", handshake_timeout.as_millis()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().split_once("address ")?.1.parse().ok()).unwrap();
        // Nothing more comes; the pipe must stay, or a word to it would end the server.
        std::mem::forget(lines);
        let mut served = Self { child, address, base: 0 };
        served.base = if cfg!(target_os = "linux") { served.files().unwrap() } else { 0 };
        served
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Memory that is in use now, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was ever in use, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// Sockets of peers that it holds, where the system tells.
    pub(crate) fn sockets(&self) -> usize {
        self.files().unwrap() - self.base
    }

    fn files(&self) -> std::io::Result<usize> {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map(Iterator::count)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the parent goes, where this process was started for that.
pub(crate) fn serve_if_asked() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    limit_files();
    let [max_handshakes, timeout, scheme] = settings.split(',').collect::<Vec<_>>()[..] else { panic!("{settings}") };
    let tls = (scheme == "tls").then(|| {
        let made = dev_certificates(&[]).unwrap();
        let server = TlsServer::builder().certificate_pem(made.server.as_str(), made.server_key.as_str());
        server.build().unwrap()
    });
    let router = echo();
    router.on_async("forever", |_, _: bytes::Bytes| std::future::pending::<Result<(), np_types::CallError>>()).unwrap();
    Runtime::new().unwrap().block_on(async {
        let options = BindOptions { tls, ..BindOptions::default() };
        let house = serve_at(&format!("{scheme}://127.0.0.1:0"), &options, router, |config| {
            config.policy = Policy::anyone().or(Policy::anonymous());
            config.max_handshakes = max_handshakes.parse().unwrap();
            config.handshake_timeout = Duration::from_millis(timeout.parse().unwrap());
        })
        .await;
        println!("address {}", house.address);
        // A parent that dies closes the pipe, so that no server is left behind.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    });
}

#[cfg(target_os = "linux")]
fn limit_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if let Ok(files) = std::env::var(FILES) {
        let files = Some(files.parse().unwrap());
        setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).unwrap();
    }
}

#[cfg(not(target_os = "linux"))]
fn limit_files() {}
