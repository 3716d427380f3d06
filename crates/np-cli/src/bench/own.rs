//! The server that `--self` starts: a child process with the built-in methods, for this client alone, as long as its
//! standard input is open. Must never outlive who started it.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use np_facade::{Error, Identity, Policy, PublicKey, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::usage::Usage;
use crate::descriptors;
use crate::failure::Failure;
use crate::output;

/// How long the child may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the child lets the one client have, so that its limits are not what is measured.
const CONNECTIONS: usize = 65_536;
const CALLS: usize = 131_072;
/// First flights that are remembered: one for each connection of E in the minutes that they stay fresh.
const FLIGHTS: usize = 1_000_000;

/// The child, from the side of its parent; killed when dropped.
#[derive(Debug)]
pub(super) struct Own {
    /// Kept, since dropping it ends the child.
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// Where it listens, with its key.
    pub(super) address: String,
}

impl Own {
    /// Starts a server that lets in whoever proves this key.
    pub(super) async fn start(client: PublicKey) -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::local(format!(
                "--self: its server cannot be started: {error}; start np serve, and pass its address"
            ))
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["bench", "--serve-for", &client.to_string()]).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let gone = || failed(io::ErrorKind::BrokenPipe.into());
        let (stdin, stdout) = (child.stdin.take().ok_or_else(gone)?, child.stdout.take().ok_or_else(gone)?);
        let mut lines = BufReader::new(stdout).lines();
        let said = timeout(PATIENCE, lines.next_line()).await.map_err(|_| failed(io::ErrorKind::TimedOut.into()))?;
        let address = said.map_err(failed)?.ok_or_else(gone)?;
        Ok(Self { _child: child, stdin, lines, address })
    }

    /// What it has used so far, as it says itself.
    pub(super) async fn usage(&mut self) -> Usage {
        let asked = async {
            self.stdin.write_all(b"\n").await?;
            self.stdin.flush().await?;
            self.lines.next_line().await
        };
        // One that has gone has nothing to tell, and its connections say so.
        match timeout(PATIENCE, asked).await {
            Ok(Ok(Some(line))) => Usage::parse(&line),
            _ => Usage::default(),
        }
    }
}

/// What the child does: serves, tells for each line of its standard input what it has used, and ends with it. Signals are
/// for its parent: a terminal sends them to both.
pub(super) async fn serve(client: PublicKey) -> Result<(), Failure> {
    descriptors::raise_for_connections(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX));
    let failed = |error: Error| Failure::of("bench --self", error);
    let server = Server::builder(Identity::generate().map_err(failed)?, Policy::allow_keys([client]))
        .listen("tcp://127.0.0.1:0")
        .max_connections(CONNECTIONS)
        .max_server_calls(CALLS)
        .max_identity_calls(CALLS)
        .replay_capacity(FLIGHTS)
        .start()
        .await
        .map_err(failed)?;
    let address = server.addresses().first().map(ToString::to_string).unwrap_or_default();
    output::write(format!("{address}\n").as_bytes())?;
    let mut asked = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(_)) = asked.next_line().await {
        output::write(Usage::of_this().line().as_bytes())?;
    }
    Ok(())
}
