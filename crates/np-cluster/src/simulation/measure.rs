//! What is measured of a simulated cluster: rounds to converge, bytes, the time to detect a failure, failures that were none.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Simulation;
use crate::cluster::Cluster;
use crate::error::ClusterError;
use crate::member::MemberState;

/// The interval of the nodes measured.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is too long to wait for, in rounds.
const PATIENCE: u32 = 120;

/// What to simulate.
///
/// ```
/// use std::time::Duration;
/// let plan = np_cluster::simulation::Plan { nodes: 10, loss: 5.0, steady: Duration::from_secs(60), seed: 1 };
/// assert_eq!(plan.nodes, 10);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Nodes that start within one interval.
    pub nodes: usize,
    /// Messages lost, of a hundred.
    pub loss: f64,
    /// For how long the nodes are watched when nothing happens.
    pub steady: Duration,
    /// Of the loss and the latency.
    pub seed: u64,
}

/// What was measured.
///
/// ```
/// assert_eq!(np_cluster::simulation::Figures::default().false_failures, 0);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Figures {
    /// Rounds from the start of the last node until every node saw every node live.
    pub joined_rounds: f64,
    /// Rounds until a key set on one node was on all.
    pub key_rounds: f64,
    /// Bytes a node sent in a second while nothing happened.
    pub bytes_per_node_second: f64,
    /// Messages a node sent in a second while nothing happened.
    pub messages_per_node_second: f64,
    /// Times that a node reported another as failed which had not.
    pub false_failures: usize,
    /// From a node's sudden end until every other had reported it.
    pub detected: Duration,
}

/// Runs a plan.
///
/// ```
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
/// # runtime.expect("a runtime").block_on(async {
/// use std::time::Duration;
/// use np_cluster::simulation::{Plan, measure};
/// let figures = measure(Plan { nodes: 3, loss: 0.0, steady: Duration::from_secs(10), seed: 1 }).await?;
/// assert!(figures.detected < Duration::from_secs(6));
/// # Ok::<(), np_cluster::ClusterError>(())
/// # }).expect("figures");
/// ```
///
/// # Errors
/// When a node does not start.
pub async fn measure(plan: Plan) -> Result<Figures, ClusterError> {
    let net = Simulation::new(plan.seed);
    net.lose(plan.loss);
    let count = u32::try_from(plan.nodes).unwrap_or(u32::MAX).max(1);
    let mut nodes = Vec::new();
    for number in 0..plan.nodes {
        nodes.push(net.join(net.config(number)).await?);
        sleep(INTERVAL / count).await;
    }
    let mut figures = Figures { joined_rounds: rounds(joined(&nodes).await), ..Figures::default() };
    figures.key_rounds = rounds(spread(&nodes).await?);
    // Till here nodes were strangers to each other; what failed falsely counts from now on.
    settle(&net, &nodes, plan.steady, &mut figures).await;
    let last = plan.nodes.saturating_sub(1);
    net.kill(Simulation::address(last));
    figures.detected = detected(&nodes, &format!("node-{last}")).await;
    Ok(figures)
}

fn rounds(span: Duration) -> f64 {
    span.as_secs_f64() / INTERVAL.as_secs_f64()
}

async fn until(mut done: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !done().await && started.elapsed() < INTERVAL * PATIENCE {
        sleep(INTERVAL / 10).await;
    }
    started.elapsed()
}

fn live(node: &Cluster) -> usize {
    node.members().iter().filter(|member| member.state == MemberState::Live).count()
}

async fn joined(nodes: &[Cluster]) -> Duration {
    until(async || nodes.iter().all(|node| live(node) == nodes.len())).await
}

async fn spread(nodes: &[Cluster]) -> Result<Duration, ClusterError> {
    let Some(writer) = nodes.first() else {
        return Ok(Duration::ZERO);
    };
    writer.set("measured", "x").await?;
    let mut lacking: Vec<&Cluster> = nodes.iter().collect();
    let took = until(async || {
        let mut still = Vec::new();
        for node in &lacking {
            if node.get(writer.name(), "measured").await.is_none() {
                still.push(*node);
            }
        }
        lacking = still;
        lacking.is_empty()
    });
    Ok(took.await)
}

/// Watches while nothing happens. Whoever is seen failed, by whomever, is one failure until it is seen live again.
async fn settle(net: &Simulation, nodes: &[Cluster], time: Duration, figures: &mut Figures) {
    let sent = || {
        let all = (0..nodes.len()).map(|number| net.traffic(Simulation::address(number)));
        all.fold((0, 0), |(messages, bytes), traffic| (messages + traffic.messages, bytes + traffic.bytes))
    };
    let (before, started) = (sent(), Instant::now());
    let mut missing = vec![0; nodes.len()];
    while started.elapsed() < time {
        for (node, missing) in nodes.iter().zip(&mut missing) {
            let now = nodes.len().saturating_sub(live(node));
            figures.false_failures += now.saturating_sub(*missing);
            *missing = now;
        }
        sleep(INTERVAL / 5).await;
    }
    let after = sent();
    let share = started.elapsed().as_secs_f64() * nodes.len() as f64;
    figures.messages_per_node_second = (after.0 - before.0) as f64 / share;
    figures.bytes_per_node_second = (after.1 - before.1) as f64 / share;
}

async fn detected(nodes: &[Cluster], gone: &str) -> Duration {
    let sees = |node: &Cluster| {
        let state = node.members().into_iter().find(|member| member.name == gone).map(|member| member.state);
        node.name() == gone || state == Some(MemberState::Failed)
    };
    until(async || nodes.iter().all(sees)).await
}
