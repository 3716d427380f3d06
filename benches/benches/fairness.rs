//! Small calls beside large ones on one connection: how much longer a call of 64 bytes takes while messages of 16 MiB
//! travel the same way or the other, and what that costs them. Client and server are processes of their own.
//!
//! `cargo bench -p np-benches --bench fairness -- [--rounds N] [--secs S] [--window KIB]`; the window is that of the
//! connection, and then does not grow.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use np_benches::rounds::median;
use np_facade::Limits;
use np_facade::prelude::*;

const LARGE: usize = 16 << 20;
const SMALL: &[u8] = &[7; 64];

/// For longer than this after a small message a sender holds large ones back no more.
const FORGOTTEN: Duration = Duration::from_millis(2_500);

/// When the first message is on its way, all that the windows let of it, and not yet there.
const MIDDLE: Duration = Duration::from_millis(5);

#[derive(Clone, Copy)]
enum Way {
    /// The large messages are requests, as the small ones are.
    Same,
    /// The large messages are answers; the small calls' requests go against them.
    Other,
}

/// What the server's process is started with.
const SERVE: &str = "--serve";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: f64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let window = option("--window", 0.0) as u32;
    if arguments.iter().any(|argument| argument == SERVE) {
        serve(window).await;
    } else {
        // A task of the runtime, as the callers of a program are.
        tokio::spawn(measure(option("--rounds", 5.0) as usize, option("--secs", 2.0), window)).await.unwrap();
    }
}

fn limits(window: u32) -> Limits {
    match window {
        0 => Limits::default(),
        kib => {
            let window = kib << 10;
            Limits { stream_window: window / 2, connection_window: window, max_window: window / 2, ..Limits::default() }
        }
    }
}

/// Serves until the input ends, and says where.
async fn serve(window: u32) {
    let answer = Bytes::from(vec![0x5a; LARGE]);
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone())
        .limits(limits(window))
        .on("take", |_, body: Bytes| Ok(u64::try_from(body.len()).unwrap_or_default().to_string()))
        .on("give", move |_, _| Ok(answer.clone()))
        .listen("tcp://127.0.0.1:0");
    let server = server.start().await.unwrap();
    println!("{}", server.addresses().first().unwrap());
    let input = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    input.await.unwrap().unwrap();
    server.shutdown(Duration::from_secs(1)).await;
}

/// The server's process, which ends with its input, and its address.
fn start(window: u32) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([SERVE, "--window", &window.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    assert!(!address.is_empty(), "the server did not start: what it said stands above");
    (child, address.trim().to_owned())
}

async fn measure(rounds: usize, secs: f64, window: u32) {
    let span = Duration::from_secs_f64(secs);
    let large = Bytes::from(vec![0x5a; LARGE]);
    let (mut server, address) = start(window);
    let client = Client::builder(&address).limits(limits(window)).connect().await.unwrap();

    println!("calls of 64 bytes, one at a time, beside messages of 16 MiB, one at a time, on one connection over TCP");
    println!("{rounds} rounds of {secs} s for each figure, after one that warms up");
    println!("large    p50 idle    p50 beside   ratio  p99 beside   alone MiB/s  beside MiB/s  ratio");
    for way in [Way::Same, Way::Other] {
        let mut rows = Vec::new();
        for round in 0..=rounds {
            let idle = small(&client, span).await;
            tokio::time::sleep(FORGOTTEN).await;
            let alone = transfers(&client, way, &large, span).await;
            let stop = Arc::new(AtomicBool::new(false));
            let (beside, times) = both(&client, way, &large, span, &stop).await;
            if round > 0 {
                rows.push([at(&idle, 0.5), at(&times, 0.5), at(&times, 0.99), alone, beside]);
            }
        }
        let figure = |column: usize| median(rows.iter().filter_map(|row| row.get(column).copied()).collect());
        let ratio = |over: usize, under: usize| {
            median(rows.iter().filter_map(|row| Some(row.get(over)? / row.get(under)?)).collect())
        };
        let name = match way {
            Way::Same => "same way ",
            Way::Other => "other way",
        };
        println!(
            "{name}  {:>6.0} µs  {:>8.0} µs  {:>6.2}  {:>7.0} µs  {:>12.0}  {:>12.0}  {:>5.2}",
            figure(0),
            figure(1),
            ratio(1, 0),
            figure(2),
            figure(3),
            figure(4),
            ratio(4, 3)
        );
    }
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

/// The times of small calls, in microseconds, in order.
async fn small(client: &Client, span: Duration) -> Vec<f64> {
    let until = Instant::now() + span;
    let mut times = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        assert_eq!(client.call("np.echo", Bytes::from_static(SMALL)).await.unwrap(), SMALL);
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn at(times: &[f64], share: f64) -> f64 {
    times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

async fn one(client: &Client, way: Way, large: &Bytes) {
    match way {
        Way::Same => assert_eq!(client.call("take", large.clone()).await.unwrap(), LARGE.to_string()),
        Way::Other => assert_eq!(client.call("give", "").await.unwrap().len(), LARGE),
    }
}

/// Large messages for a while; gives MiB/s.
async fn transfers(client: &Client, way: Way, large: &Bytes, span: Duration) -> f64 {
    let begun = Instant::now();
    let mut count = 0u32;
    while begun.elapsed() < span {
        one(client, way, large).await;
        count += 1;
    }
    f64::from(count) * 16.0 / begun.elapsed().as_secs_f64()
}

/// Both at once: MiB/s of the large ones and the times of the small ones, which begin in the middle of a transfer.
async fn both(client: &Client, way: Way, large: &Bytes, span: Duration, stop: &Arc<AtomicBool>) -> (f64, Vec<f64>) {
    let stopped = Arc::clone(stop);
    let transfer = {
        let (client, large) = (client.clone(), large.clone());
        tokio::spawn(async move {
            let (begun, mut moved) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                one(&client, way, &large).await;
                moved += 16;
            }
            f64::from(moved) / begun.elapsed().as_secs_f64()
        })
    };
    tokio::time::sleep(MIDDLE).await;
    let times = small(client, span).await;
    stop.store(true, Ordering::Relaxed);
    (transfer.await.unwrap(), times)
}
