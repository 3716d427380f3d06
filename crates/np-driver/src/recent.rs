//! The method that was called last: peers tend to repeat themselves, and to compare once is cheaper than to look up.

use std::sync::Arc;

use np_dispatch::{Registered, Router};
use np_types::MethodName;

/// The last look-up, as long as the table has not changed.
#[derive(Default)]
pub(crate) struct Recent {
    name: Option<MethodName>,
    generation: u64,
    found: Option<Arc<Registered>>,
}

impl Recent {
    /// What a name stands for now. It is taken out, so that it need not be counted: [`Self::keep`] puts it back.
    pub(crate) fn take(&mut self, router: &Router, name: &MethodName) -> Option<Arc<Registered>> {
        // Read before the look-up: a change in between is seen by the next one.
        let generation = router.generation();
        if self.generation == generation
            && self.name.as_ref() == Some(name)
            && let Some(found) = self.found.take()
        {
            return Some(found);
        }
        // What is kept is of another name, and a call that is refused does not put its own back.
        (self.name, self.generation, self.found) = (Some(name.clone()), generation, None);
        router.find(name)
    }

    /// Puts back what [`Self::take`] gave last.
    pub(crate) fn keep(&mut self, found: Arc<Registered>) {
        self.found = Some(found);
    }
}

#[cfg(test)]
mod tests {
    use np_dispatch::Router;

    use super::Recent;

    #[test]
    fn what_was_not_put_back_is_looked_up_again() {
        let router = Router::new();
        router.on("a", |_ctx, _body| Ok("1")).unwrap();
        router.on("b", |_ctx, _body| Ok("2")).unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut recent = Recent::default();
        let first = recent.take(&router, &a).unwrap();
        recent.keep(first);
        // Refused, both times: the second one must not find what was kept of the other name.
        let refused = recent.take(&router, &b).unwrap();
        assert!(std::sync::Arc::ptr_eq(&refused, &recent.take(&router, &b).unwrap()));
    }

    #[test]
    fn a_change_of_the_table_is_seen_by_the_next_look_up() {
        let router = Router::new();
        router.on("a", |_ctx, _body| Ok("1")).unwrap();
        router.on("b", |_ctx, _body| Ok("2")).unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut recent = Recent::default();
        let first = recent.take(&router, &a).unwrap();
        recent.keep(first.clone());
        let second = recent.take(&router, &a).unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &second) && recent.found.is_none(), "the one that was kept");
        recent.keep(second);
        let other = recent.take(&router, &b).unwrap();
        assert!(!std::sync::Arc::ptr_eq(&first, &other));
        recent.keep(other);
        router.remove("b");
        assert!(recent.take(&router, &b).is_none());
        assert!(recent.take(&router, &a).is_some());
    }
}
