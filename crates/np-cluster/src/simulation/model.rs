//! Heartbeats alone, by the engine's rules and np's own detector: a thousand minutes of a hundred nodes in a minute.
//!
//! It owns a model of the rounds: whom a node speaks to, what a message tells, when a heartbeat grows. Failure is judged by the
//! detector that members are judged by. Keys, the gate and the engine itself are not in it; [`super::measure`] has them. The
//! same seed gives the same figures.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Plan, Random};
use crate::detector::{Life, asked, doubt, patience};

const INTERVAL: Duration = Duration::from_secs(1);
/// Members that a node speaks to in a round.
const GOSSIP: usize = 3;
/// Looks in an interval.
const LOOKS: u32 = 5;
/// Nodes that are seeds: the first.
const SEEDS: usize = 2;
/// How long the nodes run before anything is counted.
const WARM: Duration = Duration::from_secs(30);
/// How long a message takes: between these two.
const DELAY: (f64, f64) = (0.001, 0.020);
/// What is too long to wait for.
const MOST: Duration = Duration::from_secs(120);

/// What a model showed.
///
/// ```
/// assert_eq!(np_cluster::simulation::Watched::default().false_failures, 0);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Watched {
    /// Messages a node sent in a second.
    pub messages_per_node_second: f64,
    /// Times that a node took another for failed which was not.
    pub false_failures: usize,
    /// The longest time between two signs of life of a living node, as another saw them.
    pub longest_silence: Duration,
    /// From a node's sudden end until every other had seen it.
    pub detected: Duration,
}

/// Watches as many nodes as the plan has for its time, then ends one and waits until all others see it.
///
/// ```
/// use std::time::Duration;
/// use np_cluster::simulation::{Plan, watch};
/// let watched = watch(Plan { nodes: 5, loss: 0.0, steady: Duration::from_secs(60), seed: 1 });
/// assert_eq!(watched.false_failures, 0);
/// ```
#[must_use]
pub fn watch(plan: Plan) -> Watched {
    let mut model = Model::new(&plan);
    model.run(WARM);
    let before = model.sent;
    model.counts = true;
    model.run(WARM + plan.steady);
    let mut watched = Watched {
        messages_per_node_second: (model.sent - before) as f64 / plan.steady.as_secs_f64() / plan.nodes as f64,
        false_failures: model.false_failures,
        longest_silence: model.longest_silence,
        detected: Duration::ZERO,
    };
    model.counts = false;
    let (ended, last) = (model.now, plan.nodes.saturating_sub(1));
    model.ended = Some(last);
    while model.seen_alive(last) > 0 && watched.detected < MOST {
        let next = model.now + INTERVAL / LOOKS;
        model.run(next);
        watched.detected = model.now.saturating_sub(ended);
    }
    watched
}

/// What happens at a time.
enum What {
    /// A node's round begins.
    Round(usize),
    /// A node looks who lives.
    Look(usize),
    /// A message arrives.
    Message { from: usize, to: usize, kind: Kind },
}

enum Kind {
    Syn(Vec<u32>),
    SynAck(Vec<u32>),
    Ack,
}

/// The earliest first, and of two at once the one that was planned first.
struct Planned(Duration, u64, What);

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// What a node knows.
struct Node {
    heartbeats: Vec<u32>,
    lives: Vec<Life>,
    alive: Vec<bool>,
    heard: Vec<Option<Instant>>,
}

struct Model {
    nodes: Vec<Node>,
    planned: BinaryHeap<Reverse<Planned>>,
    looks: usize,
    start: Instant,
    now: Duration,
    next: u64,
    loss: f64,
    random: Random,
    sent: u64,
    ended: Option<usize>,
    counts: bool,
    false_failures: usize,
    longest_silence: Duration,
}

impl Model {
    fn new(plan: &Plan) -> Self {
        let count = plan.nodes;
        let node = |_| Node {
            heartbeats: vec![1; count],
            lives: vec![Life::new(0); count],
            alive: vec![false; count],
            heard: vec![None; count],
        };
        let mut model = Self {
            nodes: (0..count).map(node).collect(),
            planned: BinaryHeap::new(),
            looks: 0,
            start: Instant::now(),
            now: Duration::ZERO,
            next: 0,
            loss: plan.loss / 100.0,
            random: Random::new(plan.seed),
            sent: 0,
            ended: None,
            counts: false,
            false_failures: 0,
            longest_silence: Duration::ZERO,
        };
        for node in 0..count {
            let phase = INTERVAL.mul_f64(model.random.chance());
            model.plan(phase, What::Round(node));
            model.plan(phase, What::Look(node));
        }
        model
    }

    fn plan(&mut self, after: Duration, what: What) {
        self.next += 1;
        self.planned.push(Reverse(Planned(self.now + after, self.next, what)));
    }

    fn run(&mut self, until: Duration) {
        while self.planned.peek().is_some_and(|Reverse(next)| next.0 <= until) {
            let Some(Reverse(Planned(at, _, what))) = self.planned.pop() else { break };
            self.now = at;
            match what {
                What::Round(node) => self.round(node),
                What::Look(node) => self.look(node),
                What::Message { from, to, kind } => self.arrive(from, to, kind),
            }
        }
        self.now = until;
    }

    fn round(&mut self, at: usize) {
        self.plan(INTERVAL, What::Round(at));
        if self.ended == Some(at) {
            return;
        }
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        if let Some(node) = self.nodes.get_mut(at) {
            for (other, alive) in node.alive.iter().enumerate().filter(|(other, _)| *other != at) {
                if *alive { live.push(other) } else { dead.push(other) }
            }
            node.beat(at);
        }
        let (live_count, dead_count) = (live.len() as f64, dead.len() as f64);
        let from = if live.is_empty() { &mut dead } else { &mut live };
        let mut to: Vec<usize> = (0..GOSSIP).filter_map(|_| self.random.take(from)).collect();
        if !live.is_empty() && dead_count / (live_count + 1.0) > self.random.chance() {
            to.extend(self.random.take(&mut dead));
        }
        let mut seeds: Vec<usize> = (0..SEEDS.min(self.nodes.len())).filter(|seed| *seed != at).collect();
        let has_seed = to.iter().take(GOSSIP).any(|to| seeds.contains(to));
        let chance = seeds.len() as f64 / (live_count + dead_count).max(1.0);
        if (!has_seed || live_count < seeds.len() as f64) && self.random.chance() <= chance {
            to.extend(self.random.take(&mut seeds));
        }
        for to in to {
            self.ask(at, to);
        }
    }

    fn ask(&mut self, from: usize, to: usize) {
        let digest = self.nodes.get(from).map(|node| node.heartbeats.clone()).unwrap_or_default();
        self.send(from, to, Kind::Syn(digest));
    }

    fn send(&mut self, from: usize, to: usize, kind: Kind) {
        self.sent += 1;
        let lost = self.random.chance() < self.loss;
        let delay = DELAY.0 + (DELAY.1 - DELAY.0) * self.random.chance();
        if !lost {
            self.plan(Duration::from_secs_f64(delay), What::Message { from, to, kind });
        }
    }

    fn arrive(&mut self, from: usize, to: usize, kind: Kind) {
        let now = self.start + self.now;
        let Some(node) = self.nodes.get_mut(to).filter(|_| self.ended != Some(to)) else {
            return;
        };
        node.beat(to);
        if let Some(heard) = node.heard.get_mut(from) {
            *heard = Some(now);
        }
        let answer = match kind {
            Kind::Syn(digest) => {
                node.merge(&digest);
                Kind::SynAck(node.heartbeats.clone())
            }
            Kind::SynAck(digest) => {
                node.merge(&digest);
                Kind::Ack
            }
            Kind::Ack => return,
        };
        self.send(to, from, answer);
    }

    fn look(&mut self, at: usize) {
        self.plan(INTERVAL / LOOKS, What::Look(at));
        self.looks = self.looks.wrapping_add(1);
        let (now, patience, mut doubted) = (self.start + self.now, patience(INTERVAL), Vec::new());
        let Some(node) = self.nodes.get_mut(at).filter(|_| self.ended != Some(at)) else {
            return;
        };
        let others = node.lives.iter_mut().zip(&mut node.alive).zip(&node.heartbeats).zip(&node.heard).enumerate();
        for (other, (((life, alive), heartbeat), heard)) in others.filter(|(other, _)| *other != at) {
            let (was, sign) = (*alive, life.last_sign());
            *alive = life.look(u64::from(*heartbeat), *heard, now, patience);
            if life.is_doubted(now, doubt(INTERVAL)) {
                doubted.push(other);
            }
            if self.counts && self.ended != Some(other) {
                self.false_failures += usize::from(was && !*alive);
                let silent = sign.map(|sign| life.last_sign().unwrap_or(sign).saturating_duration_since(sign));
                self.longest_silence = self.longest_silence.max(silent.unwrap_or_default());
            }
        }
        for to in asked(doubted, self.looks / self.nodes.len().max(1)) {
            self.ask(at, to);
        }
    }

    /// How many nodes take one for alive.
    fn seen_alive(&self, of: usize) -> usize {
        let sees = |(at, node): &(usize, &Node)| *at != of && node.alive.get(of) == Some(&true);
        self.nodes.iter().enumerate().filter(sees).count()
    }
}

impl Node {
    fn beat(&mut self, own: usize) {
        if let Some(heartbeat) = self.heartbeats.get_mut(own) {
            *heartbeat = heartbeat.saturating_add(1);
        }
    }

    fn merge(&mut self, digest: &[u32]) {
        for (own, told) in self.heartbeats.iter_mut().zip(digest) {
            *own = (*own).max(*told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(nodes: usize, minutes: u64, loss: f64) -> Plan {
        Plan { nodes, loss, steady: Duration::from_secs(60 * minutes), seed: 9 }
    }

    /// The engine draws whom it speaks to by itself, so its figures are compared within what they spread.
    #[tokio::test(start_paused = true)]
    async fn the_model_speaks_as_often_as_the_engine_and_sees_an_end_as_soon() {
        let model = watch(plan(20, 10, 5.0));
        let engine = super::super::measure(plan(20, 1, 5.0)).await.unwrap();
        println!("{model:?}\n{engine:?}");
        let near = |model: f64, engine: f64, by: f64| (model - engine).abs() < by;
        assert!(near(model.messages_per_node_second, engine.messages_per_node_second, 0.5));
        assert!(near(model.detected.as_secs_f64(), engine.detected.as_secs_f64(), 2.5));
    }

    #[test]
    fn a_line_that_loses_most_shows_failures_that_are_none_and_the_same_seed_the_same() {
        let one = watch(plan(20, 5, 85.0));
        assert!(one.false_failures > 0 && one.longest_silence > Duration::from_secs(3), "{one:?}");
        assert_eq!(format!("{one:?}"), format!("{:?}", watch(plan(20, 5, 85.0))));
    }

    #[test]
    fn a_hundred_nodes_see_no_failure_that_is_none_in_five_minutes_and_an_end_within_six_seconds() {
        let watched = watch(plan(100, 5, 5.0));
        println!("{watched:?}");
        assert_eq!(watched.false_failures, 0);
        assert!(watched.longest_silence < Duration::from_secs(3), "{watched:?}");
        assert!(watched.detected > Duration::from_secs(3) && watched.detected < Duration::from_secs(6), "{watched:?}");
        for nodes in [10, 50] {
            let watched = watch(plan(nodes, 5, 5.0));
            assert!(watched.false_failures == 0 && watched.detected < Duration::from_secs(6), "{watched:?}");
        }
    }
}
