//! The method `np.status` of a server: whom it answers, and what. Must never tell who is connected.

use std::sync::{Arc, Mutex, PoisonError};

use np_dispatch::{Health, RegisterError, Router};
use np_driver::StatusSource;
use np_trust::Policy;
use np_types::PeerIdentity;

/// Who may ask, which a reload may change.
#[derive(Debug, Clone)]
pub(crate) struct Asking(Arc<Mutex<Policy>>);

impl Asking {
    pub(crate) fn new(policy: Policy) -> Self {
        Self(Arc::new(Mutex::new(policy)))
    }

    /// Whom the method answers from now on.
    pub(crate) fn replace(&self, policy: Policy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn allows(&self, peer: &PeerIdentity) -> bool {
        // Whatever a rule does must not hold others up.
        let policy = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        policy.decide(peer).is_allowed()
    }
}

/// Adds the method to a server's table.
pub(crate) fn offer(
    router: &Router,
    asking: Asking,
    source: StatusSource,
    health: Health,
) -> Result<(), RegisterError> {
    let allows = move |peer: &_| asking.allows(peer);
    router.offer_status(allows, move || {
        let own = [("version", env!("CARGO_PKG_VERSION")), ("state", health.state().name())];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        own.chain(source.status().iter().flat_map(|status| status.pairs())).collect()
    })
}
