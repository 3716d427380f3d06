//! Many connections on one machine: what they cost while they are opened, idle, a few of them busy, and all of them in
//! turn.
//!
//! `cargo bench -p np-benches --bench scale -- [--connections N] [--secs S] [--curve N,N,...] [--servers 1|2]`. Server and
//! client are processes of their own. With `--servers 2` the server is two, each with a runtime of one thread, which share
//! a port (`BindOptions::share_port`). Needs Linux and as many descriptors as connections in each process.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

#[cfg(target_os = "linux")]
#[path = "scale/load.rs"]
mod load;
#[cfg(target_os = "linux")]
#[path = "scale/server.rs"]
mod server;

#[cfg(target_os = "linux")]
fn main() {
    let options = Options::read(std::env::args().collect());
    match options.serve {
        Some(servers) => server::serve(servers),
        None => tokio::runtime::Runtime::new().unwrap().block_on(load::run(options)),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: it reads the server's memory as Linux tells it, and shares a port");
}

/// What the command line asks for.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Options {
    connections: usize,
    secs: f64,
    curve: Vec<usize>,
    servers: usize,
    /// Set in the child: how many servers it is.
    serve: Option<usize>,
}

#[cfg(target_os = "linux")]
impl Options {
    fn read(arguments: Vec<String>) -> Self {
        let after = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            arguments.get(at + 1).cloned()
        };
        let number = |name: &str| after(name).and_then(|text| text.parse().ok());
        let curve = after("--curve").unwrap_or_else(|| "1,10,100,1000,10000".to_owned());
        let connections = number("--connections").unwrap_or(10_000);
        let mut curve: Vec<usize> = curve.split(',').filter_map(|text| text.parse().ok()).collect();
        // Its end is all that there are.
        curve.iter_mut().for_each(|point| *point = connections.min(*point));
        curve.dedup();
        Self {
            connections,
            secs: after("--secs").and_then(|text| text.parse().ok()).unwrap_or(5.0),
            curve,
            servers: number("--servers").unwrap_or(1),
            serve: number("--serve"),
        }
    }
}
