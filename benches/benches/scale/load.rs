//! The client's process: it starts the server and puts one load after the other on it. Must never print a figure of calls
//! that were not answered rightly.

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use np_benches::rounds::cpu;
use np_facade::prelude::*;
use tokio::task::JoinSet;

use crate::Options;
use crate::server::Usage;

const BODY: &[u8] = &[7; 64];
/// How many connections are opened at the same time.
const DIALERS: usize = 64;
/// How many calls are in flight where connections take turns.
const IN_FLIGHT: usize = 128;
/// How often each busy connection calls, where a few are.
const PACE: Duration = Duration::from_millis(10);

pub(crate) async fn run(options: Options) {
    let mut child = start(options.servers);
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: Arc<str> = line.trim().into();
    let span = Duration::from_secs_f64(options.secs);
    // It asks for the server's usage, and keeps what is set up once out of the figures.
    let meter = Client::connect(&address).await.unwrap();
    println!(
        "{} connections, {} server(s), {} s a figure, 64-byte calls",
        options.connections, options.servers, options.secs
    );

    let clients = open(&meter, &address, options.connections).await;
    idle(&meter, span).await;
    busy(&meter, &clients, span).await;
    curve(&meter, &clients, &options.curve, span).await;
    drop(clients);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn start(servers: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--serve", &servers.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

async fn usage(meter: &Client) -> Usage {
    let reply = meter.call("usage", Bytes::new()).await.unwrap();
    Usage::parse(std::str::from_utf8(&reply).unwrap())
}

/// A span of time, and what both processes used in it.
struct Watched {
    begun: Instant,
    own: Duration,
    server: Usage,
}

impl Watched {
    async fn begin(meter: &Client) -> Self {
        let server = usage(meter).await;
        Self { begun: Instant::now(), own: cpu(), server }
    }

    /// Time passed, processor time of client and server, and the server's usage now.
    async fn end(self, meter: &Client) -> (Duration, Duration, Duration, Usage) {
        let (wall, own) = (self.begun.elapsed(), cpu().saturating_sub(self.own));
        let now = usage(meter).await;
        (wall, own, now.cpu.saturating_sub(self.server.cpu), now)
    }
}

async fn open(meter: &Client, address: &Arc<str>, count: usize) -> Vec<Client> {
    let before = usage(meter).await.resident;
    let watched = Watched::begin(meter).await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut dialers = JoinSet::new();
    for _ in 0..DIALERS.min(count) {
        let (address, next) = (Arc::clone(address), Arc::clone(&next));
        dialers.spawn(async move {
            let mut opened = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                opened.push(Client::connect(&address).await.unwrap());
            }
            opened
        });
    }
    let clients: Vec<_> = dialers.join_all().await.into_iter().flatten().collect();
    let (wall, own, server, _) = watched.end(meter).await;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "accepted   {:>8.0} a second; server {:.0} µs each, client {:.0} µs each",
        count as f64 / wall.as_secs_f64(),
        each(server),
        each(own)
    );
    // What a connection needs at its beginning goes once it rests.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = usage(meter).await.resident.saturating_sub(before);
    println!("memory     {:>8.1} KiB each in the server, idle", held as f64 / 1024.0 / count as f64);
    clients
}

async fn idle(meter: &Client, span: Duration) {
    let watched = Watched::begin(meter).await;
    tokio::time::sleep(span).await;
    let (wall, _, server, _) = watched.end(meter).await;
    println!("idle       {:>8.2} % of a core in the server", 100.0 * server.as_secs_f64() / wall.as_secs_f64());
}

/// One connection in a hundred calls each [`PACE`]; a call that is late does not put off those that follow.
async fn busy(meter: &Client, clients: &[Client], span: Duration) {
    let active = (clients.len() / 100).max(1);
    let watched = Watched::begin(meter).await;
    let until = watched.begun + span;
    let mut callers = JoinSet::new();
    for (number, client) in clients.iter().step_by(clients.len() / active).take(active).enumerate() {
        let (client, first) = (client.clone(), watched.begun + PACE * u32::try_from(number).unwrap() / 100);
        callers.spawn(async move {
            let mut times = Vec::new();
            let mut due = first;
            while due < until {
                tokio::time::sleep_until(due.into()).await;
                call(&client).await;
                times.push(due.elapsed());
                due += PACE;
            }
            times
        });
    }
    let mut times: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    let (wall, own, server, now) = watched.end(meter).await;
    println!(
        "1 % busy   {:>8.0} calls a second on {active} connections; server {:.1} µs a call, client {:.1} µs; p50 {:?}, p99 {:?}, \
         p99.9 {:?}; server {:.1} MiB",
        times.len() as f64 / wall.as_secs_f64(),
        per_call(server, times.len()),
        per_call(own, times.len()),
        at(&times, 0.5),
        at(&times, 0.99),
        at(&times, 0.999),
        now.resident as f64 / (1 << 20) as f64
    );
}

/// Calls go round the first connections, more and more of them.
async fn curve(meter: &Client, clients: &[Client], points: &[usize], span: Duration) {
    println!("connections  calls/s  server µs  client µs   both µs   p50 µs    p99 µs");
    for connections in points.iter().copied().filter(|point| (1..=clients.len()).contains(point)) {
        let (times, _) = around(meter, clients, connections, span / 4).await;
        drop(times);
        let (times, (wall, own, server, _)) = around(meter, clients, connections, span).await;
        println!(
            "{connections:>11}  {:>7.0}  {:>9.2}  {:>9.2}  {:>8.2}  {:>7.0}  {:>8.0}",
            times.len() as f64 / wall.as_secs_f64(),
            per_call(server, times.len()),
            per_call(own, times.len()),
            per_call(server + own, times.len()),
            at(&times, 0.5).as_secs_f64() * 1e6,
            at(&times, 0.99).as_secs_f64() * 1e6,
        );
    }
}

type Spent = (Duration, Duration, Duration, Usage);

/// `IN_FLIGHT` callers, each of whom takes the next connection for each call.
async fn around(meter: &Client, clients: &[Client], connections: usize, span: Duration) -> (Vec<Duration>, Spent) {
    let clients: Arc<[Client]> = clients.iter().take(connections).cloned().collect();
    let watched = Watched::begin(meter).await;
    let until = watched.begun + span;
    let mut callers = JoinSet::new();
    for caller in 0..IN_FLIGHT {
        let clients = Arc::clone(&clients);
        callers.spawn(async move {
            let mut times = Vec::new();
            let mut turn = caller;
            loop {
                let begun = Instant::now();
                if begun >= until {
                    return times;
                }
                call(clients.get(turn % clients.len()).unwrap()).await;
                times.push(begun.elapsed());
                turn += IN_FLIGHT;
            }
        });
    }
    let mut times: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    (times, watched.end(meter).await)
}

async fn call(client: &Client) {
    assert_eq!(client.call("np.echo", Bytes::from_static(BODY)).await.unwrap(), BODY);
}

fn per_call(time: Duration, calls: usize) -> f64 {
    time.as_secs_f64() * 1e6 / calls.max(1) as f64
}

fn at(times: &[Duration], part: f64) -> Duration {
    let place = (times.len() as f64 * part) as usize;
    times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}
