//! A server with a method that records its executions, on a thread and a runtime of its own: its clock is not the client's.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{Lifetime, OnceSettings, ServerBuilder};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::kind::{Kind, certificates};
use crate::load::id_of;
use crate::middlebox::Place;

/// So often a silent peer is asked, and after twice as long it counts as dead.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(150);

/// The file in which each execution has a line.
pub(crate) const EXECUTIONS: &str = "executions";

enum Command {
    Jump(Duration, oneshot::Sender<()>),
    Connections(oneshot::Sender<usize>),
}

pub(crate) struct House {
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) place: Place,
}

impl House {
    pub(crate) async fn start(kind: Kind, folder: &Path) -> Self {
        let (commands, mut received) = mpsc::unbounded_channel();
        let (started, place) = oneshot::channel();
        let builder = counting(kind.server(&kind.place(folder, "server"), &certificates()), folder);
        let serve = async move {
            let server = builder.start().await.unwrap();
            started.send(kind.place_of(&server.addresses()[0].to_string())).unwrap();
            while let Some(command) = received.recv().await {
                match command {
                    Command::Jump(by, done) => {
                        jump(by).await;
                        done.send(()).unwrap();
                    }
                    Command::Connections(answer) => answer.send(server.connections().len()).unwrap(),
                }
            }
            server.shutdown(Duration::from_secs(1)).await;
        };
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        let thread = std::thread::spawn(move || runtime().block_on(serve));
        Self { commands: Some(commands), thread: Some(thread), place: place.await.unwrap() }
    }

    pub(crate) async fn jump(&self, by: Duration) {
        self.ask(|done| Command::Jump(by, done)).await;
    }

    pub(crate) async fn connections(&self) -> usize {
        self.ask(Command::Connections).await
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (answer, answered) = oneshot::channel();
        assert!(self.commands.as_ref().unwrap().send(question(answer)).is_ok());
        answered.await.unwrap()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.commands.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Moves the clock of this runtime.
pub(crate) async fn jump(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// What a record may take. A length that a fault has changed is known by it alone: the record that it announces never ends,
/// while each byte that comes for it is a sign of life.
pub(crate) const RECORD: Duration = Duration::from_secs(2);

pub(crate) fn lifetime() -> Lifetime {
    Lifetime { heartbeat_interval: Some(HEARTBEAT), ..Lifetime::default() }
}

/// Adds `count`, which writes a line per execution and gives the body back after a while.
pub(crate) fn counting(builder: ServerBuilder, folder: &Path) -> ServerBuilder {
    let file = Arc::new(OpenOptions::new().create(true).append(true).open(folder.join(EXECUTIONS)).unwrap());
    let builder = builder.exactly_once(OnceSettings::default()).lifetime(lifetime()).progress_timeout(RECORD);
    builder.on_async("count", move |_, body: Bytes| {
        let file = Arc::clone(&file);
        async move {
            let id = id_of(&body);
            note(&file, id);
            sleep(Duration::from_millis(id % 5 * 4)).await;
            Ok(body)
        }
    })
}

/// Adds a line in one write, which no kill of this process takes back.
pub(crate) fn note(mut file: &File, id: u64) {
    file.write_all(format!("{id}\n").as_bytes()).unwrap();
}
