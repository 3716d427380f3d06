//! Whose turn it is: calls to open and bodies to send, in two classes. It must never know what they hold.
//!
//! Within a class openings keep their order and bodies go by turns. Interactive ones go first. What they send while bulk
//! ones wait is owed to these at one byte for seven, so that bulk keeps an eighth of all bytes.

use std::collections::VecDeque;

use crate::{Priority, StreamKey};

/// Bytes of one body per turn while others wait.
pub(crate) const TURN: usize = 16 << 10;
/// Interactive bytes for one of bulk.
const SHARE: u64 = 7;

/// One class: each stream stands at most once in `ready`.
#[derive(Debug, Default)]
struct Class {
    openings: VecDeque<StreamKey>,
    ready: VecDeque<StreamKey>,
}

/// The streams of a connection that have something to send.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    classes: [Class; 2],
    /// Interactive bytes that bulk has not had its share of.
    owed: u64,
}

impl Schedule {
    /// The classes in the order in which they may send now.
    pub(crate) const fn order(&self) -> [Priority; 2] {
        if self.owed >= SHARE * TURN as u64 {
            [Priority::Bulk, Priority::Interactive]
        } else {
            [Priority::Interactive, Priority::Bulk]
        }
    }

    /// Counts what a class sent.
    pub(crate) const fn sent(&mut self, class: Priority, bytes: usize) {
        let bytes = bytes as u64;
        self.owed = match class {
            Priority::Interactive => self.owed.saturating_add(bytes),
            Priority::Bulk => self.owed.saturating_sub(bytes.saturating_mul(SHARE)),
        };
    }

    /// Bulk was asked and has nothing that could leave: nothing is owed.
    pub(crate) const fn passed(&mut self, class: Priority) {
        if matches!(class, Priority::Bulk) {
            self.owed = 0;
        }
    }

    pub(crate) fn add_opening(&mut self, class: Priority, key: StreamKey) {
        self.class_mut(class).openings.push_back(key);
    }

    pub(crate) fn first_opening(&self, class: Priority) -> Option<StreamKey> {
        self.class(class).openings.front().copied()
    }

    pub(crate) fn drop_first_opening(&mut self, class: Priority) {
        self.class_mut(class).openings.pop_front();
    }

    pub(crate) fn forget_opening(&mut self, key: StreamKey) {
        self.classes.iter_mut().for_each(|class| class.openings.retain(|other| *other != key));
    }

    pub(crate) fn clear_openings(&mut self) {
        self.classes.iter_mut().for_each(|class| class.openings.clear());
    }

    pub(crate) fn openings(&self) -> usize {
        self.classes.iter().map(|class| class.openings.len()).sum()
    }

    pub(crate) fn add_ready(&mut self, class: Priority, key: StreamKey) {
        self.class_mut(class).ready.push_back(key);
    }

    pub(crate) fn next_ready(&mut self, class: Priority) -> Option<StreamKey> {
        self.class_mut(class).ready.pop_front()
    }

    pub(crate) fn first_ready(&self, class: Priority) -> Option<StreamKey> {
        self.class(class).ready.front().copied()
    }

    /// The next of a class: openings go before what has begun.
    pub(crate) fn first(&self, class: Priority) -> Option<StreamKey> {
        self.first_opening(class).or_else(|| self.first_ready(class))
    }

    /// Whether no body waits for its turn.
    pub(crate) fn none_ready(&self) -> bool {
        self.classes.iter().all(|class| class.ready.is_empty())
    }

    /// Whether nothing waits for its turn.
    pub(crate) fn is_empty(&self) -> bool {
        self.none_ready() && self.openings() == 0
    }

    /// Gives memory back, where nothing waits: nothing is owed then.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    const fn class(&self, class: Priority) -> &Class {
        let [interactive, bulk] = &self.classes;
        match class {
            Priority::Interactive => interactive,
            Priority::Bulk => bulk,
        }
    }

    const fn class_mut(&mut self, class: Priority) -> &mut Class {
        let [interactive, bulk] = &mut self.classes;
        match class {
            Priority::Interactive => interactive,
            Priority::Bulk => bulk,
        }
    }
}
