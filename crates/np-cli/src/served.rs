//! What `np serve` is told by its file, the environment and its arguments together, and where each of it stands. Must never
//! open an address.

use np_facade::{Config, ConfigSource};

use crate::config;
use crate::failure::Failure;
use crate::serve::Serve;

/// The settings of arguments, by how a failure about one begins.
const ARGUMENTS: [(&str, &str); 10] = [
    ("--listen", "server.address"),
    ("--identity", "server.identity"),
    ("--allow", "server.allow"),
    ("--status-allow", "server.status_allow"),
    ("--metrics", "server.metrics"),
    ("--psk-id", "server.psk_id"),
    ("--psk", "server.psk"),
    ("--pattern", "server.patterns"),
    ("--key", "server.tls_key"),
    ("TLS arguments", "server.tls_cert"),
];

/// The file, the environment over it, the arguments over both.
pub(crate) fn effective(command: &Serve) -> Result<Config, Failure> {
    let mut config = config::load(command.config.as_ref())?;
    command.overlay(&mut config);
    Ok(config)
}

/// Says where a setting stands that a failure is about, unless it is the argument that the failure names.
pub(crate) fn located(config: &Config, failure: Failure) -> Failure {
    let found = ARGUMENTS.iter().find(|(argument, _)| failure.line().starts_with(argument));
    match found {
        Some((_, key)) => named(config, key, failure),
        None => failure,
    }
}

/// Says where a setting stands that a failure is about, unless it is an argument.
pub(crate) fn named(config: &Config, key: &str, failure: Failure) -> Failure {
    match config.source(key) {
        Some(source @ (ConfigSource::File { .. } | ConfigSource::Environment { .. })) => {
            let variable = key.replace('.', "__").to_ascii_uppercase();
            failure.prefixed(&format!("{source}: {key} (NP_{variable}): "))
        }
        _ => failure,
    }
}
