//! What the settings are put into: a builder, and the names of files that are read for it. Must never read one.

use std::net::SocketAddr;
use std::path::PathBuf;

use np_dispatch::OnceSettings;
use np_driver::{AcceptorConfig, Compression, Telemetry};
use np_noise::Pattern;
use np_transport::{BindOptions, ClientAuth, SocketOptions, TlsSuite, TlsVersion};
use np_types::{Fingerprint, Limits, Suite};

use crate::listen::Opening;
use crate::{CircuitBreaker, ClientBuilder, ServerBuilder};

/// What `[transport]` says, for either side.
#[derive(Debug, Default)]
pub(super) struct TransportPlan {
    pub(super) limits: Limits,
    pub(super) compression: Compression,
    pub(super) socket: SocketOptions,
    pub(super) suite: Option<Suite>,
}

/// What `[server]` says.
#[derive(Debug)]
pub(super) struct ServerPlan {
    pub(super) builder: ServerBuilder,
    pub(super) files: ServerFiles,
    pub(super) exactly_once: bool,
    /// What counts where `exactly_once` is on.
    pub(super) once: OnceSettings,
}

/// What a server's files are, and whom they let in.
#[derive(Debug, Default)]
pub(super) struct ServerFiles {
    pub(super) identity: Vec<PathBuf>,
    pub(super) allow: Vec<String>,
    pub(super) status_allow: Vec<String>,
    pub(super) psk: Vec<PathBuf>,
    pub(super) psk_id: Vec<String>,
    pub(super) danger_key_mode: bool,
    pub(super) tls: ServerTls,
}

#[derive(Debug, Default)]
pub(super) struct ServerTls {
    pub(super) cert: Vec<PathBuf>,
    pub(super) key: Vec<PathBuf>,
    pub(super) ca: Vec<PathBuf>,
    pub(super) crl: Vec<PathBuf>,
    pub(super) auth: Option<ClientAuth>,
    pub(super) least: TlsVersion,
    pub(super) suites: Vec<TlsSuite>,
    pub(super) no_resumption: bool,
}

impl ServerPlan {
    pub(super) fn new(builder: ServerBuilder) -> Self {
        Self { builder, files: ServerFiles::default(), exactly_once: false, once: OnceSettings::default() }
    }

    /// The builder with what is more than one setting.
    pub(super) fn built(mut self) -> (ServerBuilder, ServerFiles) {
        self.builder.config.exactly_once = self.exactly_once.then_some(self.once);
        (self.builder, self.files)
    }

    pub(super) fn accept(&mut self) -> &mut AcceptorConfig {
        &mut self.builder.config
    }

    pub(super) fn bind(&mut self) -> &mut BindOptions {
        &mut self.builder.bind
    }

    pub(super) fn address(&mut self, addresses: &[String]) {
        self.builder.addresses.extend(addresses.iter().cloned().map(Opening::new));
    }

    /// Who asks for figures has them counted; who serves them is the program.
    pub(super) fn metrics(&mut self, address: Option<SocketAddr>) {
        if address.is_some() {
            self.builder.config.telemetry = Telemetry::recording();
        }
    }

    pub(super) fn patterns(&mut self, patterns: &[Pattern]) {
        if !patterns.is_empty() {
            self.builder.patterns = Some(patterns.to_vec());
        }
    }
}

/// What `[client]` says.
#[derive(Debug)]
pub(super) struct ClientPlan {
    pub(super) builder: ClientBuilder,
    pub(super) files: ClientFiles,
    pub(super) circuit_breaker: bool,
    /// What counts where `circuit_breaker` is on.
    pub(super) breaker: CircuitBreaker,
}

impl ClientPlan {
    pub(super) fn new(builder: ClientBuilder) -> Self {
        let breaker = CircuitBreaker::default();
        Self { builder, files: ClientFiles::default(), circuit_breaker: true, breaker }
    }

    pub(super) fn idempotent(&mut self, methods: &[String]) {
        let methods = methods.iter().cloned();
        self.builder.keeping.idempotent.extend(methods);
        self.builder.keeping.idempotent.sort_unstable();
    }

    /// The builder with what is more than one setting.
    pub(super) fn built(mut self) -> (ClientBuilder, ClientFiles) {
        self.builder.keeping.breaker = self.circuit_breaker.then_some(self.breaker);
        (self.builder, self.files)
    }
}

/// What a client's files are.
#[derive(Debug, Default)]
pub(super) struct ClientFiles {
    pub(super) identity: Option<PathBuf>,
    pub(super) psk: Option<PathBuf>,
    pub(super) known_peers: Option<PathBuf>,
    pub(super) danger_trust_anyone: bool,
    pub(super) danger_key_mode: bool,
    pub(super) tls: ClientTls,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct ClientTls {
    pub(super) ca: Vec<PathBuf>,
    pub(super) pins: Vec<Fingerprint>,
    pub(super) platform: bool,
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) name: Option<String>,
    pub(super) least: TlsVersion,
    pub(super) suites: Vec<TlsSuite>,
    pub(super) no_resumption: bool,
}
