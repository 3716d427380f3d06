//! Every state of one client's connection, and where each step leads: sessions cannot be copied, so a state is reached
//! again by the way to it, once for each step, and is a number from then on.

use std::collections::BTreeMap;

use crate::link::{Flaw, Link, Op, Sights};

/// What is known of a state.
pub(crate) struct Node {
    /// The shortest way to it.
    path: Vec<Op>,
    pub(crate) ops: Vec<Op>,
    pub(crate) judged: Result<(), String>,
    pub(crate) at_end: Result<(), String>,
    pub(crate) sights: Sights,
}

/// The states of the connections of clients with so many calls.
pub(crate) struct Graph {
    calls: usize,
    flaw: Flaw,
    pub(crate) nodes: Vec<Node>,
    known: BTreeMap<u64, usize>,
    steps: BTreeMap<(usize, Op), usize>,
}

impl Graph {
    pub(crate) fn new(calls: usize, flaw: Flaw) -> Self {
        let mut graph = Self { calls, flaw, nodes: Vec::new(), known: BTreeMap::new(), steps: BTreeMap::new() };
        graph.place(&Link::new(calls), Vec::new());
        graph
    }

    /// Where a step leads.
    pub(crate) fn step(&mut self, from: usize, op: Op) -> usize {
        if let Some(to) = self.steps.get(&(from, op)) {
            return *to;
        }
        let mut link = Link::new(self.calls);
        let path: Vec<Op> = self.nodes[from].path.iter().copied().chain([op]).collect();
        path.iter().for_each(|op| link.apply(self.flaw, *op));
        let to = self.place(&link, path);
        self.steps.insert((from, op), to);
        to
    }

    fn place(&mut self, link: &Link, path: Vec<Op>) -> usize {
        let next = self.nodes.len();
        let at = *self.known.entry(link.fingerprint()).or_insert(next);
        if at == next {
            let (judged, at_end) = (link.judge(), link.judge_end());
            self.nodes.push(Node { path, ops: link.ops(self.flaw), judged, at_end, sights: link.sights() });
        }
        at
    }
}
