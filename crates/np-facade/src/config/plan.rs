//! What the settings are put into: a builder, and the names of files that are read for it. Must never read one.

use std::path::PathBuf;

use np_driver::{AcceptorConfig, Compression};
use np_noise::Pattern;
use np_transport::{BindOptions, ClientAuth, SocketOptions, TlsSuite, TlsVersion};
use np_types::{Fingerprint, Limits};

use crate::listen::Opening;
use crate::{ClientBuilder, ServerBuilder};

/// What `[transport]` says, for either side.
#[derive(Debug, Default)]
pub(super) struct TransportPlan {
    pub(super) limits: Limits,
    pub(super) compression: Compression,
    pub(super) socket: SocketOptions,
}

/// What `[server]` says.
#[derive(Debug)]
pub(super) struct ServerPlan {
    pub(super) builder: ServerBuilder,
    pub(super) files: ServerFiles,
}

/// What a server's files are, and whom they let in.
#[derive(Debug, Default)]
pub(super) struct ServerFiles {
    pub(super) identity: Vec<PathBuf>,
    pub(super) allow: Vec<String>,
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
    pub(super) fn accept(&mut self) -> &mut AcceptorConfig {
        &mut self.builder.config
    }

    pub(super) fn bind(&mut self) -> &mut BindOptions {
        &mut self.builder.bind
    }

    pub(super) fn address(&mut self, addresses: &[String]) {
        self.builder.addresses.extend(addresses.iter().cloned().map(Opening::new));
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
}

impl ClientPlan {
    pub(super) fn address(&mut self, address: &str) {
        if !address.is_empty() {
            self.builder.addresses.push(address.to_owned());
        }
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
