//! A server in a process of its own, which can be killed: this test program, run once more.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use np_facade::CallError;
use tokio::runtime::Runtime;

use crate::certificates::{FOLDER, certificates};
use crate::kinds::Kind;

/// Tells the test program that it is to serve, and over what.
const KIND: &str = "NP_TEST_KIND";

pub(crate) struct Served {
    child: Child,
    pub(crate) address: String,
}

impl Served {
    pub(crate) fn start(kind: Kind) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::server_process", "--nocapture"])
            .env(KIND, format!("{kind:?}"))
            .env(FOLDER, &certificates().folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| Some(line.unwrap().split_once("address ")?.1.to_owned())).unwrap();
        // Nothing more comes; the pipe must stay, or a word to it would end the server.
        std::mem::forget(lines);
        Self { child, address }
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn server_process() {
    let Ok(name) = std::env::var(KIND) else { return };
    let kind = Kind::all().into_iter().find(|kind| format!("{kind:?}") == name).unwrap();
    Runtime::new().unwrap().block_on(async {
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let forever = move |_, _: Bytes| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Bytes, CallError>>()
        };
        let server = kind.server().on_async("forever", forever);
        let server = server.on("begun", move |_, _| Ok(begun.load(Ordering::SeqCst).to_string()));
        let server = server.start().await.unwrap();
        println!("address {}", server.addresses()[0]);
        // A parent that dies closes the pipe, so that no server is left behind.
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    });
}
