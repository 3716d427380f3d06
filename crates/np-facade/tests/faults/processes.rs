//! Processes that are killed, and ones that end in order, with others in their place: the server's, and the client's.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;

use crate::house::{EXECUTIONS, House, counting, note};
use crate::kind::{Kind, certificates};
use crate::load::{CALLS, Load, Tally, executions, numbers};
use crate::matrix::{Cell, row};
use crate::middlebox::{Middlebox, Place, Side};
use crate::streams::{patient, until};

/// Tells the test program what it is to be: a server over a transport, or a client of a place.
const ROLE: &str = "NP_FAULT_ROLE";
const FOLDER: &str = "NP_FAULT_FOLDER";
const PLACE: &str = "NP_FAULT_PLACE";
/// The number of a client's first call.
const FIRST: &str = "NP_FAULT_FIRST";

/// The file in which a client's process has a line for each call that was answered.
const ANSWERED: &str = "answered";
/// Calls of one process at most.
const SPAN: u64 = 1_000_000;

/// The test program, run once more; killed when this is dropped.
struct Other {
    child: Child,
    /// What it said where it stood.
    said: String,
}

impl Other {
    async fn start(test: &'static str, kind: Kind, folder: &Path, place: Option<&Place>, first: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, format!("{kind:?}"))
            .env(FOLDER, folder)
            .env(FIRST, first.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if let Some(place) = place {
            command.env(PLACE, text(place));
        }
        let starting = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let said = lines.find_map(|line| Some(line.unwrap().split_once("stands ")?.1.to_owned())).unwrap();
            // The pipe must stay open, or the process ends where it writes a word more.
            std::mem::forget(lines);
            Self { child, said }
        });
        starting.await.unwrap()
    }

    async fn server(kind: Kind, folder: &Path) -> (Self, Place) {
        let server = Self::start("processes::server_process", kind, folder, None, 0).await;
        let place = kind.place_of(&server.said);
        (server, place)
    }

    /// Ends it: at once, as a crash would, or in order.
    async fn end(mut self, kill: bool) {
        let ending = tokio::task::spawn_blocking(move || {
            if kill {
                self.child.kill().unwrap();
            }
            // A process whose input ends goes in order.
            drop(self.child.stdin.take());
            let status = self.child.wait().unwrap();
            assert!(kill || status.success(), "{status}");
        });
        ending.await.unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(place: &Place) -> String {
    match place {
        Place::Tcp(address) => address.to_string(),
        #[cfg(unix)]
        Place::Unix(path) => path.display().to_string(),
    }
}

/// What this process is to be, where it was started for that.
fn role() -> Option<(Kind, PathBuf)> {
    let name = std::env::var(ROLE).ok()?;
    let kind = Kind::ALL.iter().copied().find(|kind| format!("{kind:?}") == name).unwrap();
    Some((kind, PathBuf::from(std::env::var_os(FOLDER).unwrap())))
}

fn block_on(future: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// Ends with this process's input: with the parent too, so that nothing is left behind.
async fn input_ends() {
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

/// The authority and the server's certificate, which the processes of one run share.
fn shared_certificates(folder: &Path) -> [String; 3] {
    ["ca", "chain", "key"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap())
}

fn share_certificates(folder: &Path) {
    for (name, text) in ["ca", "chain", "key"].into_iter().zip(certificates()) {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[test]
fn server_process() {
    let Some((kind, folder)) = role() else { return };
    block_on(async {
        let builder = kind.server(&kind.place(&folder, "server"), &shared_certificates(&folder));
        let server = counting(builder, &folder).start().await.unwrap();
        println!("stands {}", server.addresses()[0]);
        input_ends().await;
        server.shutdown(Duration::from_secs(5)).await;
    });
}

#[test]
fn client_process() {
    let Some((kind, folder)) = role() else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let place = kind.place_of(&format!("{kind:?}:{}", std::env::var(PLACE).unwrap()));
    block_on(async {
        let client = patient(kind.client(&place, &shared_certificates(&folder))).connect().await.unwrap();
        let answered = OpenOptions::new().create(true).append(true).open(folder.join(ANSWERED)).unwrap();
        println!("stands {first}");
        let call = async |worker: u64| {
            for id in (first + worker..first + SPAN).step_by(4) {
                let body = Bytes::copy_from_slice(&id.to_be_bytes());
                assert_eq!(client.call("count", body.clone()).await.unwrap(), body);
                note(&answered, id);
            }
        };
        tokio::select! {
            () = input_ends() => {}
            _ = async { tokio::join!(call(0), call(1), call(2), call(3)) } => {}
        }
        client.close().await;
    });
}

/// A client whose server is killed or restarted while it calls.
async fn server_goes(cell: Cell, kill: bool) -> Result<Tally, String> {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), cell.rng());
    share_certificates(folder.path());
    let (mut server, place) = Other::server(cell.kind, folder.path()).await;
    // Another port may be the next server's; the client knows this one.
    let at = cell.kind.place(folder.path(), "middlebox");
    let (middlebox, at) = Middlebox::start(at, place).await.unwrap();
    let client = patient(cell.kind.client(&at, &certificates())).connect().await.unwrap();
    let load = Load::new(0);
    let workers = load.start(&client, rng.next_u64());
    for _ in 0..rng.between(1, 2) {
        let calls = load.answered() + rng.between(4, 20);
        until("calls are answered", async || load.answered() >= calls).await;
        server.end(kill).await;
        let (next, place) = Other::server(cell.kind, folder.path()).await;
        middlebox.lead_to(place);
        server = next;
    }
    let calls = (load.answered() + 8).max(CALLS);
    until("calls are answered by the new server", async || load.answered() >= calls).await;
    load.finish(workers).await;
    // Of a server that ends in order each call is answered, or goes to the next.
    load.judge(folder.path(), !kill)
}

/// A client that is killed or restarted while it calls.
async fn client_goes(cell: Cell, kill: bool) -> Result<Tally, String> {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), cell.rng());
    share_certificates(folder.path());
    let house = House::start(cell.kind, folder.path()).await;
    let path = folder.path().join(ANSWERED);
    for turn in 0..rng.between(2, 3) {
        let first = turn * SPAN;
        let client =
            Other::start("processes::client_process", cell.kind, folder.path(), Some(&house.place), first).await;
        let wanted = usize::try_from(rng.between(4, 24)).unwrap();
        let of_this = async || numbers(&path).keys().filter(|id| **id >= first).count();
        until("calls are answered", async || of_this().await >= wanted).await;
        client.end(kill).await;
        until("the server has let go of it", async || house.connections().await == 0).await;
    }
    drop(house);
    judge_files(folder.path())
}

fn judge_files(folder: &Path) -> Result<Tally, String> {
    let (executed, answered) = (executions(folder), numbers(&folder.join(ANSWERED)));
    let unanswered = executed.keys().filter(|id| !answered.contains_key(id)).count() as u64;
    let twice = executed.values().filter(|times| **times > 1).count() as u64;
    let lost: Vec<_> = answered.keys().filter(|id| !executed.contains_key(id)).collect();
    let tally = Tally {
        calls: executed.len() as u64,
        answered: answered.len() as u64,
        // Nobody was left to be told.
        unknown: unanswered,
        twice,
        ..Tally::default()
    };
    if twice == 0 && lost.is_empty() {
        Ok(tally)
    } else {
        Err(format!("{tally:?}; answered and not in {EXECUTIONS}: {lost:?}"))
    }
}

async fn goes(cell: Cell, kill: bool) -> Result<Tally, String> {
    match cell.side {
        Side::Client => client_goes(cell, kill).await,
        Side::Server => server_goes(cell, kill).await,
    }
}

#[test]
fn a_killed_process_loses_and_doubles_no_call() {
    row("kill -9", |cell| goes(cell, true));
}

#[test]
fn a_restarted_process_loses_and_doubles_no_call() {
    row("restart", |cell| goes(cell, false));
}
