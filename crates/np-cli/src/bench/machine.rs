//! What a measurement ran on and with: the header of a report. Must never measure anything.

use np_facade::{Connection, SecurityMode, Suite, escape, provider};
use serde::Serialize;
use tokio::net::TcpSocket;

use super::tally::MAX_REASON;
use crate::counted::counted;
use crate::screen;

/// The header of a report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    version: &'static str,
    /// `release` or `debug`.
    profile: &'static str,
    os: &'static str,
    arch: &'static str,
    /// Processors that this process may use.
    cores: usize,
    /// How records are protected.
    suite: String,
    /// Whose code does it in this process.
    provider: &'static str,
    /// What the system gives a new TCP socket before it tunes it: np sets no other size here. None where it does not say.
    socket_send_bytes: Option<u32>,
    socket_receive_bytes: Option<u32>,
}

impl Machine {
    /// This one, with what a connection runs with; `asked` is the suite that its client asked for.
    pub(super) fn new(connection: &Connection, mode: SecurityMode, asked: Suite) -> Self {
        let socket = TcpSocket::new_v4().ok();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            suite: suite(connection, mode, asked),
            provider: provider_of(connection, mode),
            socket_send_bytes: socket.as_ref().and_then(|socket| socket.send_buffer_size().ok()),
            socket_receive_bytes: socket.and_then(|socket| socket.recv_buffer_size().ok()),
        }
    }

    /// For tests.
    #[cfg(test)]
    pub(super) fn sample() -> Self {
        let (version, profile, os, arch) = ("0.1.0", "release", "linux", "x86_64");
        let (suite, provider) = ("Noise 25519_ChaChaPoly_SHA256".to_owned(), "RustCrypto");
        let (socket_send_bytes, socket_receive_bytes) = (Some(16_384), None);
        Self { version, profile, os, arch, cores: 2, suite, provider, socket_send_bytes, socket_receive_bytes }
    }

    /// The header for people: one line each for the program and the sockets.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let bytes = |bytes: Option<u32>| bytes.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes} B"));
        let Self { version, profile, os, arch, cores, suite, provider, .. } = self;
        let slow = if *profile == "debug" { "  (a debug build: its figures say nothing of np's speed)" } else { "" };
        let cores = counted(cores, "core", "cores");
        let program = format!("np {version}, {profile} build, {cores}, {os} {arch}{slow}");
        let sockets = format!(
            "{suite} by {provider}, socket buffers {} out, {} in, tuned by the system",
            bytes(self.socket_send_bytes),
            bytes(self.socket_receive_bytes)
        );
        let [program, sockets] = [program, sockets].map(|line| screen::fit(&line, 2, width));
        format!("{program}\n{sockets}\n\n")
    }
}

/// How this connection's records are protected. A connection of np's own stands only with the suite that was asked for.
fn suite(connection: &Connection, mode: SecurityMode, asked: Suite) -> String {
    let noise = format!("Noise {}", asked.noise_name());
    let tls = connection.tls().map(|tls| escape(&format!("{} {}", tls.version, tls.suite), MAX_REASON));
    match (mode, tls) {
        (SecurityMode::Noise, _) => noise,
        // Records are TLS's there.
        (_, Some(tls)) => tls,
        (mode, None) => format!("none ({})", mode.as_str()),
    }
}

/// Whose code seals and opens this connection's records.
fn provider_of(connection: &Connection, mode: SecurityMode) -> &'static str {
    match (mode, connection.tls().is_some()) {
        (SecurityMode::Noise, _) => provider().name(),
        (_, true) => "rustls with aws-lc-rs",
        (_, false) => "nobody",
    }
}
