//! The server's process: one peer, and its clocks for whoever asks on its standard input.
//!
//! It prints its place as a line of JSON, then a line of its usage for each line that it reads, and ends with its input.

use std::io::{self, BufRead as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failure;
use crate::meter::Usage;
use crate::peer::{Peer, Place};
use crate::peers::{self, Visitor};

/// Serves a peer until the input ends.
pub(crate) async fn run(name: &str) -> Result<(), Failure> {
    peers::visit(name, Serve).await
}

struct Serve;

impl Visitor for Serve {
    type Output = ();

    async fn visit(self, peer: impl Peer) -> Result<(), Failure> {
        let served = peer.serve().await?;
        say(&served.place)?;
        tokio::task::spawn_blocking(answer).await??;
        drop(served.keep);
        Ok(())
    }
}

fn answer() -> Result<(), Failure> {
    for line in io::stdin().lock().lines() {
        line?;
        say(&Usage::of_this_process()?)?;
    }
    Ok(())
}

fn say(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server in a child process; it ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    ask: Option<ChildStdin>,
    told: io::BufReader<ChildStdout>,
    /// Where it is.
    pub(crate) place: Place,
}

impl Server {
    /// Starts this program once more, as a server.
    pub(crate) fn start(peer: &str) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", "--peer", peer]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let ask = child.stdin.take();
        let mut told = io::BufReader::new(child.stdout.take().ok_or("the server has no output")?);
        let place = hear(&mut told)?;
        Ok(Self { child, ask, told, place })
    }

    /// What it has used so far.
    pub(crate) fn usage(&mut self) -> Result<Usage, Failure> {
        self.ask.as_mut().ok_or("the server has no input")?.write_all(b"\n")?;
        hear(&mut self.told)
    }
}

fn hear<T: DeserializeOwned>(told: &mut impl io::BufRead) -> Result<T, Failure> {
    let mut line = String::new();
    if told.read_line(&mut line)? == 0 {
        return Err("the server ended early".into());
    }
    Ok(serde_json::from_str(&line)?)
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without its input it ends by itself, and takes what it made on the disk with it.
        drop(self.ask.take());
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
