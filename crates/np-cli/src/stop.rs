//! How `np serve` ends: not ready, drained, cut. Must never decide when.

use std::time::Duration;

use np_facade::{HealthState, Server};
use tokio::time::sleep;

use crate::failure::Failure;
use crate::output;
use crate::signals::Signals;
use crate::span::write_span;

/// Ends the server in order after the first signal; the next one cuts it.
pub(crate) async fn stop(
    server: &Server,
    delay: Duration,
    within: Duration,
    signals: &mut Signals,
) -> Result<(), Failure> {
    tokio::select! {
        () = in_order(server, delay, within) => Ok(()),
        () = signals.next() => Err(Failure::interrupted(
            "interrupted while draining: open calls were cut; give them time, or a shorter --drain",
        )),
    }
}

async fn in_order(server: &Server, delay: Duration, within: Duration) {
    if !delay.is_zero() {
        // What Server::shutdown_after does, in steps that the user hears of.
        server.health().set(HealthState::Draining);
        output::note(&format!("not ready: np.health answers draining; the drain begins in {}", write_span(delay)));
        sleep(delay).await;
    }
    output::note(&format!("draining: open calls have {} to finish; a second signal ends them now", write_span(within)));
    server.shutdown(within).await;
}
