//! The method `np.status` of a server: whom it answers, and what. Must never tell who is connected.

use np_dispatch::{Health, RegisterError, Router};
use np_driver::StatusSource;
use np_trust::Policy;

/// Adds the method to a server's table.
pub(crate) fn offer(
    router: &Router,
    policy: Policy,
    source: StatusSource,
    health: Health,
) -> Result<(), RegisterError> {
    let allows = move |peer: &_| policy.decide(peer).is_allowed();
    router.offer_status(allows, move || {
        let own = [("version", env!("CARGO_PKG_VERSION")), ("state", health.state().name())];
        let own = own.into_iter().map(|(name, value)| (name, value.to_owned()));
        own.chain(source.status().iter().flat_map(|status| status.pairs())).collect()
    })
}
