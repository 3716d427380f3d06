//! Names whose key was taken off the list. It must never know who took it off, nor why.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::message::Id;

/// The names, as many as there may be nodes.
pub(super) struct Retired {
    names: HashMap<Arc<str>, Name>,
    most: usize,
    next: u64,
}

struct Name {
    /// Counts up with each name that is retired.
    number: u64,
    /// The start from which on it is heard again: that of a node which has proven to be the one of this name since.
    back: Option<u64>,
}

impl Retired {
    pub(super) fn new(most: usize) -> Self {
        Self { names: HashMap::new(), most, next: 0 }
    }

    /// Hears no more of a name. When they are too many, the name that was retired first is forgotten: the others have forgotten
    /// it, too, long before.
    pub(super) fn insert(&mut self, name: &Arc<str>) {
        self.next += 1;
        self.names.insert(Arc::clone(name), Name { number: self.next, back: None });
        if self.names.len() > self.most {
            let oldest = self.names.iter().min_by_key(|(_, name)| name.number).map(|(name, _)| Arc::clone(name));
            oldest.and_then(|oldest| self.names.remove(&oldest));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn contains(&self, id: &Id<'_>) -> bool {
        self.names.get(id.name).is_some_and(|name| name.back.is_none_or(|back| id.generation < back))
    }

    /// Hears a start again, and later ones: its node has said so itself, over a link that has proven its name.
    pub(super) fn bring_back(&mut self, id: &Id<'_>) {
        if let Some(name) = self.names.get_mut(id.name) {
            name.back = Some(name.back.map_or(id.generation, |back| back.min(id.generation)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, generation: u64) -> Id<'_> {
        Id { name, generation, address: ([10, 0, 0, 1], 7400).into() }
    }

    #[test]
    fn of_too_many_names_the_one_that_was_retired_first_is_forgotten() {
        let mut retired = Retired::new(3);
        for name in ["z", "c", "a", "b"] {
            retired.insert(&name.into());
        }
        assert!(!retired.contains(&id("z", 1)), "it was the first, and is the last in the alphabet");
        assert!(["a", "b", "c"].iter().all(|name| retired.contains(&id(name, 1))));
        // Whoever is retired again is not the oldest any more.
        retired.insert(&"c".into());
        retired.insert(&"d".into());
        assert!(!retired.contains(&id("a", 1)) && retired.contains(&id("c", 1)));
        // However many come.
        let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
        for (at, name) in names.iter().enumerate() {
            retired.insert(&name.as_str().into());
            let is_there = |name: &String| retired.contains(&id(name, 1));
            assert!(names[..at].iter().rev().take(2).all(is_there) && !names[..at].iter().rev().skip(2).any(is_there));
        }
    }

    #[test]
    fn a_name_that_is_back_is_heard_from_that_start_on() {
        let mut retired = Retired::new(3);
        retired.bring_back(&id("a", 7));
        assert!(retired.is_empty());
        retired.insert(&"a".into());
        assert!(retired.contains(&id("a", 9)) && !retired.is_empty());
        retired.bring_back(&id("a", 7));
        assert!(retired.contains(&id("a", 6)) && !retired.contains(&id("a", 7)) && !retired.contains(&id("a", 8)));
        retired.insert(&"a".into());
        assert!(retired.contains(&id("a", 8)));
    }
}
