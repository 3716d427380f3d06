//! A shutdown under load: every call is answered or marked as not processed, and nothing is left behind.
//!
//! One test: it counts the tasks of its runtimes and the open files of its process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use np_facade::prelude::*;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
const CALLERS: usize = 16;

/// What the calls of the clients came to.
#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    not_processed: AtomicU64,
    unknown: AtomicU64,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Calls until the connection ends or drains.
async fn call_on(client: Client, counts: Arc<Counts>, begun: Arc<Notify>) {
    loop {
        match client.call("work", "a body").await {
            Ok(_) => counts.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.outcome == Outcome::NotProcessed => {
                counts.not_processed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => {
                assert_ne!(error.outcome, Outcome::Answered, "{error}");
                counts.unknown.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        begun.notify_one();
    }
}

/// Waits until no task is left, for a while.
fn no_task_is_left(runtime: &Runtime, whose: &str) {
    let metrics = runtime.metrics();
    // A task that has been told to stop still has to be dropped by its worker.
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(5), async {
            while metrics.num_alive_tasks() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{} tasks of the {whose} are left", metrics.num_alive_tasks()));
    });
}

/// How many files this process has open, where the system tells.
fn open_files() -> Option<usize> {
    cfg!(target_os = "linux").then(|| std::fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn a_shutdown_under_load_leaves_no_call_in_doubt_and_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("np.sock");
    let (near, far) = (runtime(), runtime());
    // What a runtime opens when it is first used.
    for runtime in [&near, &far] {
        runtime.block_on(async { TcpListener::bind("127.0.0.1:0").await.unwrap() });
    }
    let before = open_files();
    let (counts, executed) = (Arc::new(Counts::default()), Arc::new(AtomicU64::new(0)));
    let begun = Arc::new(Notify::new());
    let server = far.block_on(serve(&socket, Arc::clone(&executed)));
    let addresses: Vec<_> = server.addresses().iter().map(ToString::to_string).collect();
    let callers = near.block_on(async {
        let mut callers = JoinSet::new();
        for address in addresses.iter().cycle().take(CLIENTS * addresses.len()) {
            let client = Client::builder(address).auto_reconnect(false).connect().await.unwrap();
            for _ in 0..CALLERS {
                callers.spawn(call_on(client.clone(), Arc::clone(&counts), Arc::clone(&begun)));
            }
        }
        for _ in 0..50 {
            begun.notified().await;
        }
        callers
    });
    far.block_on(server.shutdown(Duration::from_secs(60)));
    near.block_on(async {
        let mut callers = callers;
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    });
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!(of(&counts.unknown), 0);
    assert_eq!(of(&counts.not_processed), (CLIENTS * CALLERS * addresses.len()) as u64, "each caller's last call");
    assert!(of(&counts.answered) >= 50);
    assert_eq!(of(&executed), of(&counts.answered), "what was not processed was not worked on");
    assert!(!socket.exists(), "the file of the socket is gone");
    // The server's handle is still there: it holds nothing.
    no_task_is_left(&far, "server");
    no_task_is_left(&near, "clients");
    assert_eq!(open_files(), before);
    drop(server);
}

async fn serve(socket: &std::path::Path, executed: Arc<AtomicU64>) -> Server {
    let builder = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("tcp://127.0.0.1:0");
    let builder = if cfg!(unix) { builder.listen(format!("unix:{}", socket.display())) } else { builder };
    builder
        .on_async("work", move |_ctx, body| {
            let executed = Arc::clone(&executed);
            async move {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
                executed.fetch_add(1, Ordering::Relaxed);
                Ok(body)
            }
        })
        .start()
        .await
        .unwrap()
}
