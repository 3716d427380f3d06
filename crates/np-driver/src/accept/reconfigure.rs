//! A running acceptor's settings, and how they change. Must never change what addresses, patterns or handlers there are.

use std::sync::Arc;

use np_session::server_hint;
use np_trust::Decision;
use np_types::CloseCode;

use super::{Acceptor, AcceptorConfig, AcceptorError, Shared};
use crate::commands::lock;
use crate::connection::Connection;

/// A configuration, and what is made of it for each handshake.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: AcceptorConfig,
    /// Of each identity, in their order.
    pub(super) hints: Vec<[u8; 4]>,
}

impl Settings {
    pub(super) fn new(config: AcceptorConfig) -> Self {
        let hints = config.identities.iter().map(|identity| server_hint(&identity.public())).collect();
        Self { config, hints }
    }
}

impl Acceptor {
    /// Takes over those settings of another configuration that can change while connections stand: identities, policy,
    /// pre-shared keys, `limits`, `lifetime` and both timeouts for handshakes from now on; `max_connections`, `max_handshakes`,
    /// `max_server_calls`, `max_identity_calls`, limits of sources and rates, `max_memory` at once, without cutting what is beyond a lower
    /// number; connections that came before there was a limit of sources are not counted by it. Patterns, suites, the provider, `when_full`,
    /// `replay_capacity`, `exactly_once`, telemetry, the key log, compression and the router stay. Connections whose peer the new policy
    /// refuses are closed (`not-allowed`).
    ///
    /// # Errors
    /// When a setting is out of its range; the error names it, and nothing changes then.
    pub fn reconfigure(&self, wanted: AcceptorConfig) -> Result<(), AcceptorError> {
        let shared = &self.shared;
        let old = shared.settings();
        let config = AcceptorConfig {
            patterns: old.config.patterns.clone(),
            suites: old.config.suites.clone(),
            provider: old.config.provider,
            when_full: old.config.when_full,
            replay_capacity: old.config.replay_capacity,
            exactly_once: old.config.exactly_once,
            telemetry: old.config.telemetry.clone(),
            key_log: old.config.key_log.clone(),
            compression: old.config.compression,
            router: old.config.router.clone(),
            ..wanted
        };
        config.validate()?;
        if config.identities.is_empty() && !old.config.identities.is_empty() {
            return Err(AcceptorError::Identities("there were some, and clients may ask for them: keep one"));
        }
        shared.connections.set(config.max_connections);
        shared.half_open.set_max(config.max_handshakes);
        shared.calls.set(config.max_server_calls, config.max_identity_calls);
        shared.calls.set_per_second(config.max_peer_calls_per_second);
        shared.memory.set(config.max_memory);
        shared.sources.set(config.max_source_connections, config.max_source_handshakes_per_second);
        let live: Vec<Connection> = {
            let live = lock(&shared.live);
            *lock(&shared.settings) = Arc::new(Settings::new(config));
            live.connections.values().cloned().collect()
        };
        live.iter().for_each(|connection| shared.send_away_unless_welcome(connection));
        Ok(())
    }
}

impl Shared {
    /// What counts now.
    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// Closes a connection whose peer is not welcome any more.
    pub(super) fn send_away_unless_welcome(&self, connection: &Connection) {
        if let Decision::Refuse { .. } = self.settings().config.policy.decide(connection.peer()) {
            let connection = connection.clone();
            tokio::spawn(
                async move { connection.close(CloseCode::NotAllowed, "this key is no longer allowed here").await },
            );
        }
    }
}
