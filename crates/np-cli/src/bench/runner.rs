//! The way from a workload to its report: connections, callers, what both sides used. Must never print a result.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use np_facade::{Client, Connection};
use tokio::time::{Instant, sleep};

use super::live::Live;
use super::load::{Callers, Work};
use super::machine::Machine;
use super::pace::{self, Pace, Schedule};
use super::report::{Around, Run, Used};
use super::tally::Tally;
use super::usage::{Usage, Watched};
use super::work::{Echo, Open, SetUp, Streamed, close_all, request};
use super::workload::{Kind, Workload};
use crate::connect::Dialer;
use crate::descriptors;
use crate::failure::Failure;
use crate::refusal::failed_call;
use crate::signals::{Signals, interrupted};

/// How long opening the connections of F may take.
const OPENING: Duration = Duration::from_secs(120);
/// How many of them are opened at once.
const AT_ONCE: usize = 32;

/// Runs workloads against one server.
#[derive(Debug)]
pub(super) struct Runner {
    dialer: Arc<Dialer>,
    watched: Watched,
    time: Duration,
    rate: Option<u32>,
    /// A connection that stands already, for the first run that wants one.
    first: Option<Client>,
    /// Whether a signal has asked for the end.
    pub(super) was_interrupted: bool,
}

impl Runner {
    /// Connects once: a server that cannot be reached is told of before anything is measured.
    pub(super) async fn connect(
        dialer: Dialer,
        watched: Watched,
        (time, rate): (Duration, Option<u32>),
        signals: &mut Signals,
    ) -> Result<(Self, Machine), Failure> {
        let first = until(signals, dialer.connect()).await?.client;
        let connection = first.connection();
        let machine = Machine::new(&connection, dialer.mode(), dialer.suite());
        // A Unix socket tells whose it is.
        let process = connection.local().and_then(|local| local.process);
        let watched = match (watched, process) {
            (Watched::Nobody, Some(process)) => Watched::Process(process),
            (watched, _) => watched,
        };
        let dialer = Arc::new(dialer);
        Ok((Self { dialer, watched, time, rate, first: Some(first), was_interrupted: false }, machine))
    }

    /// Runs one workload to its end, or to a signal.
    pub(super) async fn run(&mut self, workload: &Workload, signals: &mut Signals) -> Result<Run, Failure> {
        descriptors::raise_for_connections(workload.connections);
        match workload.kind {
            Kind::Calls => self.calls(workload, signals).await,
            Kind::Stream => self.stream(workload, signals).await,
            Kind::SetUp => self.set_up(workload, signals).await,
            Kind::Idle => self.idle(workload, signals).await,
        }
    }

    async fn calls(&mut self, workload: &Workload, signals: &mut Signals) -> Result<Run, Failure> {
        let request = request("np.echo", workload.body)?;
        let (clients, connections) = self.clients(workload.connections, signals).await?;
        let work: Vec<Echo> = (0..workload.in_flight)
            .flat_map(|_| &connections)
            .map(|connection| Echo { connection: connection.clone(), request: request.clone(), body: workload.body })
            .collect();
        let run = self.measure(workload, work, &connections, signals).await?;
        close_all(clients).await;
        Ok(run)
    }

    async fn stream(&mut self, workload: &Workload, signals: &mut Signals) -> Result<Run, Failure> {
        let (clients, connections) = self.clients(1, signals).await?;
        let mut work = Vec::new();
        for connection in &connections {
            let opened = Streamed::open(connection, workload.in_flight, workload.body).await;
            let stream = opened.map_err(|error| failed_call("np.echo-stream", self.dialer.place(), &error))?;
            work.extend((0..workload.in_flight).map(|_| stream.clone()));
        }
        let run = self.measure(workload, work, &connections, signals).await?;
        close_all(clients).await;
        Ok(run)
    }

    async fn set_up(&mut self, workload: &Workload, signals: &mut Signals) -> Result<Run, Failure> {
        let request = request("np.echo", workload.body)?;
        let work = SetUp { dialer: Arc::clone(&self.dialer), request, body: workload.body };
        self.measure(workload, vec![work; callers(workload)], &[], signals).await
    }

    async fn idle(&mut self, workload: &Workload, signals: &mut Signals) -> Result<Run, Failure> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(AtomicU32::new(workload.connections));
        let work = Open { dialer: Arc::clone(&self.dialer), left, kept: Arc::clone(&kept) };
        let before = self.used().await;
        let stay = std::mem::replace(&mut self.time, OPENING);
        let run = self.measure(workload, vec![work; AT_ONCE.min(callers(workload))], &[], signals).await;
        self.time = stay;
        if !self.was_interrupted {
            self.was_interrupted = tokio::select! {
                () = sleep(stay) => false,
                () = signals.next() => true,
            };
        }
        let run = run?.with_memory(before, self.used().await);
        let kept = std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        close_all(kept).await;
        Ok(run)
    }

    async fn measure<W: Work>(
        &mut self,
        workload: &Workload,
        work: Vec<W>,
        connections: &[Connection],
        signals: &mut Signals,
    ) -> Result<Run, Failure> {
        let tally = Arc::new(Tally::default());
        let before = self.used().await;
        let started = Instant::now();
        let until = started + self.time;
        let pace =
            Arc::new(self.rate.map_or(Pace::Closed(until), |rate| Pace::Open(Schedule::new(rate, started, until))));
        pace::keep(&pace).map_err(|error| {
            Failure::local(format!("--rate: a thread cannot be started: {error}; check the limits of this user"))
        })?;
        let live = Live::start(&workload.name, self.time, &tally);
        let callers = Callers::start(work.into_iter(), &pace, &tally);
        self.was_interrupted |= callers.measure(self.time, connections, async || signals.next().await).await;
        drop(live);
        let after = self.used().await;
        let is_known = after.server != Usage::default();
        let ended = connections.iter().find_map(Connection::error);
        let (rate, missed) = (self.rate, pace.missed());
        let server_unknown = (!is_known).then(|| self.watched.why_not());
        Ok(Run::new(workload, &tally, &Around { rate, missed, before, after, ended: ended.as_ref(), server_unknown }))
    }

    async fn used(&mut self) -> Used {
        Used { client: Usage::of_this(), server: self.watched.usage().await }
    }

    async fn clients(&mut self, count: u32, signals: &mut Signals) -> Result<(Vec<Client>, Vec<Connection>), Failure> {
        let mut clients: Vec<Client> = self.first.take().into_iter().collect();
        while clients.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            clients.push(until(signals, self.dialer.connect()).await?.client);
        }
        let connections = clients.iter().map(Client::connection).collect();
        Ok((clients, connections))
    }

    /// Ends what stands still.
    pub(super) async fn close(self) {
        close_all(self.first.into_iter().collect()).await;
    }
}

fn callers(workload: &Workload) -> usize {
    usize::try_from(workload.callers()).unwrap_or(usize::MAX)
}

async fn until<T>(signals: &mut Signals, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::select! {
        ended = work => ended,
        () = signals.next() => Err(interrupted()),
    }
}
