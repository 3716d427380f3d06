//! Settings that do not fit each other, each named with what it lacks. Must never read a file.

use np_noise::Pattern;
use np_transport::{Address, ClientAuth, Scheme, SecurityMode};

use super::problem::ConfigProblem;
use super::settings::ENTRIES;
use super::{Config, layer};

impl Config {
    /// Values out of the range of their setting: the layers refuse them when they are read, code may set them.
    pub(super) fn out_of_range(&self) -> Vec<ConfigProblem> {
        let mut copy = self.clone();
        let judged = ENTRIES.iter().filter_map(|entry| {
            let raw = layer::value((entry.write)(self).as_str())?;
            let message = (entry.read)(&mut copy, &raw).err()?;
            Some(self.problem(&entry.key(), message))
        });
        judged.collect()
    }

    /// Settings that do not fit each other.
    pub(super) fn disagreements(&self) -> Vec<ConfigProblem> {
        let mut problems: Vec<_> = self.limits().problems().into_iter().map(|error| self.limit(&error)).collect();
        let found = self
            .server_lists()
            .into_iter()
            .chain(self.server_sockets())
            .chain(self.server_once())
            .chain(self.client_pairs());
        problems.extend(found.map(|(key, message)| self.problem(key, message)));
        problems
    }

    fn limit(&self, error: &np_types::LimitsError) -> ConfigProblem {
        let key = format!("transport.{}", error.setting);
        self.problem(&key, format!("is {}, but must be {}", error.value, error.rule))
    }

    fn server_lists(&self) -> Vec<Disagreement> {
        let it = &self.server;
        let mut found = Vec::new();
        if it.tls_cert.len() != it.tls_key.len() {
            found.push((
                "server.tls_key",
                format!(
                    "names {} files for {} of tls_cert; give each certificate its key, in the same order",
                    it.tls_key.len(),
                    it.tls_cert.len()
                ),
            ));
        }
        if !it.psk_id.is_empty() && it.psk_id.len() != it.psk.len() {
            found.push((
                "server.psk_id",
                format!(
                    "holds {} ids for {} files of psk; give each its id, in the same order, or none of them",
                    it.psk_id.len(),
                    it.psk.len()
                ),
            ));
        }
        let default = super::ServerConfig::default();
        let needs_cert = [
            ("server.tls_ca", it.tls_ca != default.tls_ca),
            ("server.tls_crl", it.tls_crl != default.tls_crl),
            ("server.tls_client_auth", it.tls_client_auth != default.tls_client_auth),
            ("server.tls_min", it.tls_min != default.tls_min),
            ("server.tls_suites", it.tls_suites != default.tls_suites),
            ("server.tls_resumption", it.tls_resumption != default.tls_resumption),
        ];
        let lacking = needs_cert.into_iter().filter(|(_, set)| *set && it.tls_cert.is_empty());
        found.extend(lacking.map(|(key, _)| (key, "has no effect without server.tls_cert; name one".to_owned())));
        let asks = matches!(it.tls_client_auth, Some(ClientAuth::Optional | ClientAuth::Required));
        if asks && it.tls_ca.is_empty() {
            found.push((
                "server.tls_client_auth",
                "asks for certificates of no authority; name some in server.tls_ca".to_owned(),
            ));
        }
        if !it.tls_crl.is_empty() && it.tls_ca.is_empty() {
            found.push((
                "server.tls_crl",
                "revokes certificates that nobody is asked for; name authorities in server.tls_ca".to_owned(),
            ));
        }
        found
    }

    /// Settings of handshakes and sockets that no address has; nothing is said where there is no address at all.
    fn server_sockets(&self) -> Vec<Disagreement> {
        let it = &self.server;
        let mut found = Vec::new();
        let takes_psk = it.patterns.iter().any(|pattern| pattern.needs_psk());
        if takes_psk && it.psk.is_empty() {
            found.push((
                "server.patterns",
                "needs a pre-shared key; name its file in server.psk, or drop the pattern".to_owned(),
            ));
        }
        if !takes_psk && !it.patterns.is_empty() && !it.psk.is_empty() {
            found.push(("server.psk", "is taken by none of server.patterns; add xxpsk3, ikpsk2 or nnpsk0".to_owned()));
        }
        let addresses: Vec<Address> = it.address.iter().filter_map(|text| text.parse().ok()).collect();
        let any = |test: fn(&Address) -> bool| addresses.is_empty() || addresses.iter().any(test);
        let unused = |what: &str| format!("has no effect: no server.address is {what}; add one, or drop it");
        if it.unix_mode != super::ServerConfig::default().unix_mode && !any(|one| one.scheme() == Scheme::Unix) {
            found.push(("server.unix_mode", unused("unix:")));
        }
        if it.proxy_protocol && !any(|one| one.port().is_some()) {
            found.push(("server.proxy_protocol", unused("reached over TCP")));
        }
        if !it.tls_cert.is_empty() && !any(|one| one.scheme().is_tls()) {
            found.push(("server.tls_cert", unused("tls:// or tls+noise://")));
        }
        if it.tls_cert.is_empty() && !addresses.is_empty() && addresses.iter().any(|one| one.scheme().is_tls()) {
            found.push((
                "server.tls_cert",
                "names no certificate, and an address is tls:// or tls+noise://; name one".to_owned(),
            ));
        }
        let keyed = [("server.psk", !it.psk.is_empty()), ("server.patterns", !it.patterns.is_empty())];
        let unkeyed = keyed.into_iter().filter(|(_, set)| *set && !any(|one| one.mode().uses_keys()));
        found.extend(unkeyed.map(|(key, _)| (key, unused("with a handshake of keys, such as tcp://"))));
        let clients = self.client.address.iter().filter_map(|text| text.parse().ok());
        let all: Vec<Address> = addresses.iter().cloned().chain(clients).collect();
        if self.transport.suite.is_some() && !all.is_empty() && !all.iter().any(|one| one.mode().uses_keys()) {
            found.push(("transport.suite", "has no effect: no address has a handshake of keys; drop it".to_owned()));
        }
        found
    }

    fn client_pairs(&self) -> Vec<Disagreement> {
        let it = &self.client;
        let mut found = Vec::new();
        if it.tls_cert.is_some() != it.tls_key.is_some() {
            found.push(("client.tls_key", "and client.tls_cert belong together; name both or none".to_owned()));
        }
        if it.psk_id.is_some() && it.psk.is_none() {
            found.push(("client.psk_id", "has no effect without client.psk; name its file, or drop the id".to_owned()));
        }
        if it.danger_trust_anyone && it.known_peers.is_some() {
            found.push((
                "client.danger_trust_anyone",
                "trusts whom client.known_peers would refuse; drop one of them".to_owned(),
            ));
        }
        if it.pattern == Some(Pattern::DangerNN) && !it.danger_trust_anyone {
            found.push((
                "client.pattern",
                "proves neither side; say so with client.danger_trust_anyone, or take another".to_owned(),
            ));
        }
        let addresses: Vec<Address> = it.address.iter().filter_map(|text| text.parse().ok()).collect();
        let unlooked = |one: &Address| one.mode() == SecurityMode::Noise && one.scheme() != Scheme::Pipe;
        if it.local_user.is_some() && addresses.iter().any(unlooked) {
            found.push((
                "client.local_user",
                "has no effect: nobody looks at the user there; write ?mode=local".to_owned(),
            ));
        }
        found.extend(self.client_keeping());
        found
    }

    /// Settings of what a client does not do.
    fn client_keeping(&self) -> Vec<Disagreement> {
        let it = &self.client;
        let default = super::ClientConfig::default();
        let idle = |on: bool, by: &str, set: &[(&'static str, bool)]| -> Vec<Disagreement> {
            let set = set.iter().filter(|(_, set)| *set && !on);
            set.map(|(key, _)| (*key, format!("has no effect where {by} is false; drop one of them"))).collect()
        };
        let mut found = idle(
            it.auto_reconnect,
            "client.auto_reconnect",
            &[
                ("client.max_reconnect_attempts", it.max_reconnect_attempts != default.max_reconnect_attempts),
                ("client.reconnect_delay", it.reconnect_delay != default.reconnect_delay),
                ("client.max_reconnect_delay", it.max_reconnect_delay != default.max_reconnect_delay),
            ],
        );
        found.extend(idle(
            it.circuit_breaker,
            "client.circuit_breaker",
            &[
                (
                    "client.circuit_breaker_failures_in_a_row",
                    it.circuit_breaker_failures_in_a_row != default.circuit_breaker_failures_in_a_row,
                ),
                (
                    "client.circuit_breaker_failures_of_twenty",
                    it.circuit_breaker_failures_of_twenty != default.circuit_breaker_failures_of_twenty,
                ),
                ("client.circuit_breaker_open_for", it.circuit_breaker_open_for != default.circuit_breaker_open_for),
            ],
        ));
        if it.max_reconnect_delay < it.reconnect_delay {
            found.push(("client.max_reconnect_delay", "must be at least client.reconnect_delay".to_owned()));
        }
        found
    }

    /// Settings of exactly-once calls that no call has, or that do not fit each other.
    fn server_once(&self) -> Vec<Disagreement> {
        let it = &self.server;
        let default = super::ServerConfig::default();
        let set = [
            ("server.max_remembered", it.max_remembered != default.max_remembered),
            ("server.max_identity_remembered", it.max_identity_remembered != default.max_identity_remembered),
            ("server.max_remembered_bytes", it.max_remembered_bytes != default.max_remembered_bytes),
            (
                "server.max_identity_remembered_bytes",
                it.max_identity_remembered_bytes != default.max_identity_remembered_bytes,
            ),
            ("server.max_instances", it.max_instances != default.max_instances),
            ("server.max_identity_instances", it.max_identity_instances != default.max_identity_instances),
            ("server.remember_for", it.remember_for != default.remember_for),
        ];
        let lacking = set.into_iter().filter(|(_, set)| *set && !it.exactly_once);
        let mut found: Vec<_> =
            lacking.map(|(key, _)| (key, "has no effect without server.exactly_once; set it".to_owned())).collect();
        let shares = [
            ("server.max_identity_remembered", it.max_identity_remembered > it.max_remembered, "max_remembered"),
            (
                "server.max_identity_remembered_bytes",
                it.max_identity_remembered_bytes > it.max_remembered_bytes,
                "max_remembered_bytes",
            ),
            ("server.max_identity_instances", it.max_identity_instances > it.max_instances, "max_instances"),
        ];
        let larger = shares.into_iter().filter(|(_, larger, _)| *larger && it.exactly_once);
        found.extend(larger.map(|(key, _, whole)| (key, format!("must be at most server.{whole}"))));
        found
    }
}

/// A key, and what it lacks.
type Disagreement = (&'static str, String);
