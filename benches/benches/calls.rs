//! Calls of 64 bytes, 128 in flight, one connection: np with Noise beside a plaintext echo written by hand.
//!
//! `cargo bench -p np-benches --bench calls -- [--rounds N] [--secs S]`. Both run on the same runtime in the same
//! process, in turns; the figure to trust is the ratio within a round.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use np_benches::plain;
use np_benches::rounds::{Sample, measure, median};
use np_facade::prelude::*;

const IN_FLIGHT: usize = 128;
const BODY: &[u8] = &[7; 64];

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: f64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (rounds, secs) = (option("--rounds", 7.0) as usize, option("--secs", 1.0));
    let only = arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    let span = Duration::from_secs_f64(secs);

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(plain::serve(listener));
    let raw = plain::Client::connect(address).await.unwrap();

    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = server.listen("tcp://127.0.0.1:0").start().await.unwrap();
    let client = Client::connect(&server.addresses().first().unwrap().to_string()).await.unwrap();

    println!("64-byte calls, {IN_FLIGHT} in flight, one connection, TCP loopback; {rounds} rounds of {secs} s each");
    println!("{:>5}  {:>22}  {:>22}  {:>9}", "round", "plaintext: k/s, µs cpu", "np Noise: k/s, µs cpu", "cpu ratio");
    let mut table = Vec::new();
    for round in 0..=rounds {
        let skip = |name: &str| only.is_some_and(|only| only != name);
        let plain = if skip("plain") { run(&raw, Duration::ZERO).await } else { run(&raw, span).await };
        let np = if skip("np") { run(&client, Duration::ZERO).await } else { run(&client, span).await };
        if round > 0 {
            // Round 0 warms up.
            println!(
                "{round:>5}  {:>13.0} {:>8.2}  {:>13.0} {:>8.2}  {:>9.2}",
                plain.rate() / 1e3,
                plain.cpu_per_call(),
                np.rate() / 1e3,
                np.cpu_per_call(),
                np.cpu_per_call() / plain.cpu_per_call()
            );
            table.push((plain, np));
        }
    }
    let of = |figure: &dyn Fn(&(Sample, Sample)) -> f64| median(table.iter().map(figure).collect());
    println!(
        "median  plaintext {:.0} k/s, {:.2} µs; np {:.0} k/s, {:.2} µs; ratio of cpu per call {:.2}, of rate {:.2}",
        of(&|(plain, _)| plain.rate() / 1e3),
        of(&|(plain, _)| plain.cpu_per_call()),
        of(&|(_, np)| np.rate() / 1e3),
        of(&|(_, np)| np.cpu_per_call()),
        of(&|(plain, np)| np.cpu_per_call() / plain.cpu_per_call()),
        of(&|(plain, np)| np.rate() / plain.rate()),
    );
    server.shutdown(Duration::from_secs(1)).await;
}

/// A connection that answers 64 bytes with the same 64 bytes.
trait Peer: Clone + Send + Sync + 'static {
    fn call(&self) -> impl Future<Output = ()> + Send;
}

impl Peer for plain::Client {
    async fn call(&self) {
        assert_eq!(Self::call(self, Bytes::from_static(BODY)).await.unwrap(), BODY);
    }
}

impl Peer for Client {
    async fn call(&self) {
        assert_eq!(Self::call(self, "np.echo", Bytes::from_static(BODY)).await.unwrap(), BODY);
    }
}

/// Keeps `IN_FLIGHT` callers busy for `span`.
async fn run(peer: &impl Peer, span: Duration) -> Sample {
    let until = Instant::now() + span;
    measure(async {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let peer = peer.clone();
            callers.spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    peer.call().await;
                    calls += 1;
                }
                calls
            });
        }
        callers.join_all().await.into_iter().sum()
    })
    .await
}
