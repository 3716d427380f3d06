//! The clients' process: one workload against one peer, whose server it starts in a process of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Failure;
use crate::meter::{Machine, Usage};
use crate::peer::{Connection, Dialer, Peer};
use crate::peers::{self, Visitor};
use crate::report::Report;
use crate::serve::Server;
use crate::workload::{Calls, SMALL, Workload};

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// The peer's name.
    pub(crate) peer: String,
    /// The workload.
    pub(crate) workload: Workload,
    /// How long it is measured.
    pub(crate) span: Duration,
    /// Connections of the workload F.
    pub(crate) idle: usize,
    /// The round, to be told again.
    pub(crate) round: usize,
}

/// Does it.
pub(crate) async fn run(task: Task) -> Result<Report, Failure> {
    let name = task.peer.clone();
    peers::visit(&name, Drive(task)).await
}

/// One call of each size, and nothing measured: whether the peer works at all.
pub(crate) async fn check(name: &str) -> Result<(), Failure> {
    peers::visit(name, Check(name.to_owned())).await
}

struct Check(String);

impl Visitor for Check {
    type Output = ();

    async fn visit(self, peer: impl Peer) -> Result<(), Failure> {
        let server = Server::start(&self.0)?;
        let dialer = peer.dialer(&server.place)?;
        for size in [SMALL, 256, 1 << 20] {
            let connection = dialer.dial().await?;
            let at_once = 8;
            let mut calls = JoinSet::new();
            for _ in 0..at_once {
                let (connection, bodies) = (connection.clone(), Bodies::of(size));
                calls.spawn(async move { bodies.call(&connection).await });
            }
            while let Some(call) = calls.join_next().await {
                call??;
            }
            connection.close().await;
        }
        Ok(())
    }
}

struct Drive(Task);

impl Visitor for Drive {
    type Output = Report;

    async fn visit(self, peer: impl Peer) -> Result<Report, Failure> {
        let task = self.0;
        let server = Server::start(&task.peer)?;
        let dialer = peer.dialer(&server.place)?;
        let mut window = Window { server, task };
        match (window.task.workload.calls(), window.task.workload) {
            (Some(calls), _) => in_a_closed_loop(&dialer, calls, &mut window).await,
            (None, Workload::F) => idle(&dialer, &mut window).await,
            (None, _) => set_up(dialer, &mut window).await,
        }
    }
}

/// The body of one caller, and what must come back. Callers do not share one: what counts its clones would move between
/// processors with every call, and be measured for a part of the peer.
struct Bodies(Bytes);

impl Bodies {
    fn of(size: usize) -> Self {
        Self((0..size).map(|at| (at % 251) as u8).collect())
    }

    /// Calls, and compares what comes back.
    async fn call(&self, connection: &impl Connection) -> Result<(), Failure> {
        self.compare(&connection.call(self.0.clone()).await?)
    }

    /// Connects, calls, and compares what comes back.
    async fn dial_and_call<D: Dialer>(&self, dialer: &D) -> Result<D::Connection, Failure> {
        let (connection, answer) = dialer.dial_and_call(self.0.clone()).await?;
        self.compare(&answer)?;
        Ok(connection)
    }

    fn compare(&self, answer: &Bytes) -> Result<(), Failure> {
        if *answer == self.0 { Ok(()) } else { Err("other bytes came back".into()) }
    }
}

/// What is read at both ends of a span.
struct Window {
    server: Server,
    task: Task,
}

struct Start {
    at: Instant,
    count: u64,
    client: Usage,
    server: Usage,
    machine: Machine,
}

impl Window {
    fn open(&mut self, count: u64) -> Result<Start, Failure> {
        let machine = Machine::now()?;
        let (server, client) = (self.server.usage()?, Usage::of_this_process()?);
        Ok(Start { at: Instant::now(), count, client, server, machine })
    }

    fn close(&mut self, start: &Start, count: u64) -> Result<Report, Failure> {
        let (server, client) = (self.server.usage()?, Usage::of_this_process()?);
        let seconds = start.at.elapsed().as_secs_f64();
        let (client_cpu_ns, server_cpu_ns) = (client.cpu_ns - start.client.cpu_ns, server.cpu_ns - start.server.cpu_ns);
        let disturbance = start.machine.disturbance(Duration::from_nanos(client_cpu_ns + server_cpu_ns))?;
        Ok(Report {
            peer: self.task.peer.clone(),
            workload: self.task.workload,
            round: self.task.round,
            count: count - start.count,
            seconds,
            client_cpu_ns,
            server_cpu_ns,
            p50_us: 0.0,
            p99_us: 0.0,
            idle_kib: None,
            disturbance,
        })
    }
}

/// One of this many calls has its latency taken where many go at once, so that the clock costs next to nothing.
const SAMPLED: u64 = 16;

/// The calls of one caller, in memory that no other caller writes to.
#[derive(Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// Callers that call until they are told to stop.
struct Callers {
    stop: Arc<AtomicBool>,
    counts: Vec<Arc<Count>>,
    tasks: JoinSet<Result<Vec<u32>, Failure>>,
}

impl Callers {
    fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Adds a caller.
    fn add(&mut self, connection: impl Connection, bodies: Bodies, every: u64) {
        let (stop, count) = (Arc::clone(&self.stop), Arc::<Count>::default());
        self.counts.push(Arc::clone(&count));
        self.tasks.spawn(async move {
            let (mut calls, mut latencies) = (0, Vec::new());
            while !stop.load(Ordering::Relaxed) {
                if calls % every == 0 {
                    let begun = Instant::now();
                    bodies.call(&connection).await?;
                    latencies.push(nanoseconds(begun));
                } else {
                    bodies.call(&connection).await?;
                }
                calls += 1;
                count.0.store(calls, Ordering::Relaxed);
            }
            Ok(latencies)
        });
    }

    /// Stops them, and collects their latencies.
    async fn stop(mut self) -> Result<Vec<u32>, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(latencies) = self.tasks.join_next().await {
            all.extend(latencies??);
        }
        Ok(all)
    }
}

fn nanoseconds(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

async fn in_a_closed_loop(dialer: &impl Dialer, calls: Calls, window: &mut Window) -> Result<Report, Failure> {
    let every = if calls.connections * calls.in_flight > 4 { SAMPLED } else { 1 };
    let mut callers = Callers { stop: Arc::default(), counts: Vec::new(), tasks: JoinSet::new() };
    for _ in 0..calls.connections {
        let connection = dialer.dial().await?;
        for _ in 0..calls.in_flight {
            callers.add(connection.clone(), Bodies::of(calls.size), every);
        }
    }
    tokio::time::sleep(warm_up(window.task.span)).await;
    let start = window.open(callers.count())?;
    tokio::time::sleep(window.task.span).await;
    let report = window.close(&start, callers.count())?;
    Ok(with_latencies(report, callers.stop().await?))
}

async fn set_up(dialer: impl Dialer, window: &mut Window) -> Result<Report, Failure> {
    let dialer = Arc::new(dialer);
    let _ = set_up_for(&dialer, warm_up(window.task.span)).await?;
    let start = window.open(0)?;
    let latencies = set_up_for(&dialer, window.task.span).await?;
    let report = window.close(&start, latencies.len() as u64)?;
    Ok(with_latencies(report, latencies))
}

/// Connects, calls and closes, one after the other, in a task of its own as the callers of the other workloads are.
async fn set_up_for(dialer: &Arc<impl Dialer>, span: Duration) -> Result<Vec<u32>, Failure> {
    let (dialer, bodies, until) = (Arc::clone(dialer), Bodies::of(SMALL), Instant::now() + span);
    let caller = tokio::spawn(async move {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let connection = bodies.dial_and_call(&*dialer).await?;
            latencies.push(nanoseconds(begun));
            connection.close().await;
        }
        Ok(latencies)
    });
    caller.await?
}

/// Connections that are open before memory is first read, so that what a server makes once is not counted.
const IDLE_BEFORE: usize = 64;

/// How long a server has to give back what it needs no more.
const SETTLE: Duration = Duration::from_secs(3);

async fn idle(dialer: &impl Dialer, window: &mut Window) -> Result<Report, Failure> {
    let (bodies, mut open) = (Bodies::of(SMALL), Vec::new());
    for _ in 0..IDLE_BEFORE {
        let connection = dialer.dial().await?;
        bodies.call(&connection).await?;
        open.push(connection);
    }
    tokio::time::sleep(SETTLE).await;
    let (start, idle) = (window.open(0)?, window.task.idle);
    for _ in 0..idle {
        open.push(dialer.dial().await?);
    }
    tokio::time::sleep(SETTLE).await;
    let silent = window.server.usage()?.rss_kib;
    for connection in open.iter().skip(IDLE_BEFORE) {
        bodies.call(connection).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let called = window.server.usage()?.rss_kib;
    let each = |after: u64| (after as f64 - start.server.rss_kib as f64) / idle as f64;
    let report = window.close(&start, idle as u64)?;
    Ok(Report { idle_kib: Some([each(silent), each(called)]), ..report })
}

/// How long nothing counts.
fn warm_up(span: Duration) -> Duration {
    (span / 2).min(Duration::from_millis(500))
}

fn with_latencies(report: Report, mut latencies: Vec<u32>) -> Report {
    latencies.sort_unstable();
    let at = |part: usize| {
        let one = latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
        f64::from(one) / 1e3
    };
    Report { p50_us: at(50), p99_us: at(99), ..report }
}
