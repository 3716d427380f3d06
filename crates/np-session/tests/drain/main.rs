//! Every order of events of a drain within bounds, walked through on real sessions: two clients with calls, go-away with
//! the last accepted call, connections that are lost, a server that starts again. With a part broken the walk finds an
//! order in which it matters.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "how far the walks went is told")]

mod graph;
mod link;

use std::collections::BTreeMap;

use graph::Graph;
use link::{Flaw, Op, Sights};

const CLIENTS: usize = 2;

/// What may happen, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Budget {
    losses: u8,
    restarts: u8,
}

/// The states of both connections, and what may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    at: [usize; CLIENTS],
    left: Budget,
}

/// The client to whom it happens, and what. A restart happens to both.
type Step = (usize, Op);

struct Walk {
    graphs: [Graph; CLIENTS],
    /// Each state that was seen, with the one before it.
    states: Vec<(State, Option<(usize, Step)>)>,
    known: BTreeMap<State, usize>,
    steps: usize,
    ends: usize,
    sights: Sights,
}

impl Walk {
    /// Walks through all states, the nearest first; gives the first order of events that breaks a rule.
    fn go(calls: [usize; CLIENTS], budget: Budget, flaw: Flaw) -> Result<Self, (Vec<Step>, String)> {
        let graphs = calls.map(|calls| Graph::new(calls, flaw));
        let first = State { at: [0; CLIENTS], left: budget };
        let (states, known) = (vec![(first, None)], BTreeMap::from([(first, 0)]));
        let mut walk = Self { graphs, states, known, steps: 0, ends: 0, sights: Sights::default() };
        let mut next = 0;
        while let Some((state, _)) = walk.states.get(next).copied() {
            walk.judge(state).map_err(|why| (walk.path(next), why))?;
            for step in walk.possible(state) {
                let to = walk.step(state, step);
                walk.steps += 1;
                let number = walk.states.len();
                if *walk.known.entry(to).or_insert(number) == number {
                    walk.states.push((to, Some((next, step))));
                }
            }
            next += 1;
        }
        Ok(walk)
    }

    fn possible(&self, state: State) -> Vec<Step> {
        let mut steps = Vec::new();
        for (client, graph) in self.graphs.iter().enumerate() {
            let allowed = |op: &&Op| match op {
                Op::Lose(_) => state.left.losses > 0,
                Op::Restart => state.left.restarts > 0 && !steps.iter().any(|(_, other)| *other == Op::Restart),
                _ => true,
            };
            let ops: Vec<_> = graph.nodes[state.at[client]].ops.iter().filter(allowed).copied().collect();
            steps.extend(ops.into_iter().map(|op| (client, op)));
        }
        steps
    }

    fn step(&mut self, state: State, (client, op): Step) -> State {
        let State { mut at, mut left } = state;
        match op {
            Op::Lose(_) => left.losses -= 1,
            Op::Restart => left.restarts -= 1,
            _ => {}
        }
        for (number, graph) in self.graphs.iter_mut().enumerate() {
            let meant = number == client || op == Op::Restart && graph.nodes[at[number]].ops.contains(&op);
            if meant {
                at[number] = graph.step(at[number], op);
            }
        }
        State { at, left }
    }

    fn judge(&mut self, state: State) -> Result<(), String> {
        let nodes = || self.graphs.iter().zip(state.at).map(|(graph, at)| &graph.nodes[at]);
        for (client, node) in nodes().enumerate() {
            node.judged.clone().map_err(|why| format!("client {client}: {why}"))?;
        }
        // Losses and restarts need not happen: without them nothing else is left to.
        let rest = |op: &Op| matches!(op, Op::Lose(_) | Op::Restart | Op::Notice);
        if nodes().all(|node| node.ops.iter().all(rest)) {
            self.ends += 1;
            for (client, node) in nodes().enumerate() {
                node.at_end.clone().map_err(|why| format!("client {client}: {why}"))?;
            }
            let seen: Vec<_> = nodes().map(|node| node.sights).collect();
            seen.iter().for_each(|sights| self.sights.add(sights));
        }
        Ok(())
    }

    /// The way to a state.
    fn path(&self, mut at: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((before, step)) = self.states[at].1 {
            steps.push(step);
            at = before;
        }
        steps.reverse();
        steps
    }
}

fn holds(calls: [usize; CLIENTS], budget: Budget) -> Sights {
    match Walk::go(calls, budget, Flaw::None) {
        Ok(Walk { graphs, states, steps, ends, sights, .. }) => {
            let own = graphs.map(|graph| graph.nodes.len());
            println!(
                "calls {calls:?}, {budget:?}: {} states, {steps} steps, {ends} ends, of connections with {own:?} states each; \
                 {sights:?}",
                states.len()
            );
            assert!(states.len() > 1_000, "the walk is short");
            sights
        }
        Err((path, why)) => panic!("{why}: {path:?}"),
    }
}

#[test]
fn a_drain_at_every_step_loses_and_doubles_no_call_of_two_clients() {
    let sights = holds([2, 1], Budget { losses: 0, restarts: 0 });
    assert!(sights.answered_while_draining && sights.moved && !sights.unknown, "{sights:?}");
}

#[test]
fn connections_are_lost_at_every_step_of_a_drain() {
    let sights = holds([2, 1], Budget { losses: 1, restarts: 0 });
    assert!(sights.answered_while_draining && sights.moved && sights.unknown, "{sights:?}");
}

#[test]
fn a_server_starts_again_at_every_step_of_a_drain() {
    let sights = holds([1, 1], Budget { losses: 1, restarts: 1 });
    assert!(sights.moved && sights.unknown, "{sights:?}");
    let sights = holds([2, 1], Budget { losses: 0, restarts: 1 });
    assert!(sights.answered_while_draining && sights.moved && sights.unknown, "{sights:?}");
}

/// Walks with a part broken until a rule is.
fn finds(flaw: Flaw, losses: u8, expected: &str) {
    let Err((path, why)) = Walk::go([2, 1], Budget { losses, restarts: 0 }, flaw) else {
        panic!("{flaw:?} breaks nothing");
    };
    println!("{flaw:?}: {why}: {path:?}");
    assert!(why.contains(expected), "{flaw:?}: {why}: {path:?}");
}

#[test]
fn each_rule_of_a_drain_is_needed() {
    finds(Flaw::TooFewAccepted, 0, "was not processed, and ran");
    finds(Flaw::TooManyAccepted, 0, "the client ended the connection");
    finds(Flaw::ClosesTooSoon, 0, "unknown though nothing was lost");
    finds(Flaw::LostIsNotProcessed, 1, "was not processed, and ran");
    finds(Flaw::RunsRefused, 0, "was not processed, and ran");
}
