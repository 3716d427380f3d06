//! The server's process: it prints its address, and ends with its standard input. Must never know what is measured.

use std::io::Read as _;
use std::time::Duration;

use np_facade::BindOptions;
use np_facade::prelude::*;

/// What the server lets its client have, so that no limit of its own is what is measured.
const MOST: usize = 65_536;

/// Serves by one server on the default runtime, or by several that share a port, each on a thread of its own.
pub(crate) fn serve(servers: usize) {
    let identity = Identity::generate().unwrap();
    if servers == 1 {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(start(identity, "tcp://127.0.0.1:0".to_owned()));
        tell(&server);
        return;
    }
    let (told, address) = std::sync::mpsc::channel();
    for number in 0..servers {
        // Later ones bind where the first did.
        let at = if number == 0 { "tcp://127.0.0.1:0".to_owned() } else { address.recv().unwrap() };
        let (identity, told) = (identity.clone(), told.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = start(identity, at).await;
                let address = server.addresses().first().unwrap().to_string();
                told.send(address).unwrap();
                std::future::pending::<()>().await;
            });
        });
    }
    println!("{}", address.recv().unwrap());
    until_parent_goes();
}

async fn start(identity: Identity, at: String) -> Server {
    Server::builder(identity, Policy::anyone())
        .bind_options(BindOptions { share_port: true, ..BindOptions::default() })
        .max_connections(MOST)
        .max_server_calls(MOST)
        .max_identity_calls(MOST)
        .max_handshakes(4_096)
        .replay_capacity(1_000_000)
        .on("usage", |_, _| Ok(usage()))
        .listen(at)
        .start()
        .await
        .unwrap()
}

fn tell(server: &Server) {
    println!("{}", server.addresses().first().unwrap());
    until_parent_goes();
}

fn until_parent_goes() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// Processor time of this process in nanoseconds, and its resident memory in bytes.
fn usage() -> String {
    format!("{} {}", np_benches::rounds::cpu().as_nanos(), resident())
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    kilobytes * 1024
}

/// What [`usage`] said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident: u64,
}

impl Usage {
    pub(crate) fn parse(text: &str) -> Self {
        let mut numbers = text.split(' ').filter_map(|number| number.parse::<u64>().ok());
        let cpu = Duration::from_nanos(numbers.next().unwrap_or(0));
        Self { cpu, resident: numbers.next().unwrap_or(0) }
    }
}
