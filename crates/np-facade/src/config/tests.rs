//! Every setting, changed by itself: it reaches what servers and clients are made of, and is written as it is read.

use np_trust::Policy;

use super::declare::Entry;
use super::plan::{ClientPlan, ServerPlan};
use super::settings::{ENTRIES, LogFormat, LogLevel};
use super::{Config, layer};
use crate::{Client, ClientBuilder, Server};

/// Another value of each setting, as TOML has it, but of those whose form has one by itself.
const OTHERS: [(&str, &str); 56] = [
    ("server.address", "\"mem:other\""),
    ("server.identity", "\"other\""),
    ("server.allow", "\"anyone\""),
    ("server.psk", "\"other\""),
    ("server.psk_id", "\"other\""),
    ("server.patterns", "\"nk\""),
    ("server.tls_cert", "\"other\""),
    ("server.tls_key", "\"other\""),
    ("server.tls_ca", "\"other\""),
    ("server.tls_crl", "\"other\""),
    ("server.tls_client_auth", "\"optional\""),
    ("server.tls_min", "\"1.2\""),
    ("server.tls_suites", "\"TLS13_AES_128_GCM_SHA256\""),
    ("server.status_allow", "\"anyone\""),
    ("server.metrics", "\"127.0.0.1:9100\""),
    ("server.when_full", "\"wait\""),
    ("server.unix_mode", "\"660\""),
    ("server.reuse_address", if cfg!(unix) { "false" } else { "true" }),
    ("server.ipv6_only", "true"),
    ("server.idle_timeout", "\"10m\""),
    ("server.max_age", "\"1d\""),
    ("server.max_memory", "\"1GiB\""),
    ("server.max_source_connections", "5"),
    ("server.max_source_handshakes_per_second", "5"),
    ("server.max_peer_calls_per_second", "5"),
    ("client.idle_timeout", "\"10m\""),
    ("client.max_age", "\"1d\""),
    ("client.max_reconnect_attempts", "5"),
    ("client.idempotent_methods", "\"other\""),
    ("client.balance", "\"round-robin\""),
    ("client.address", "\"mem:other\""),
    ("client.identity", "\"other\""),
    ("client.psk", "\"other\""),
    ("client.psk_id", "\"other\""),
    ("client.pattern", "\"ik\""),
    ("client.known_peers", "\"other\""),
    ("client.tls_ca", "\"other\""),
    ("client.tls_pin", "\"sha256:0000000000000000000000000000000000000000000000000000000000000000\""),
    ("client.tls_cert", "\"other\""),
    ("client.tls_key", "\"other\""),
    ("client.tls_server_name", "\"other\""),
    ("client.tls_min", "\"1.2\""),
    ("client.tls_suites", "\"TLS13_AES_128_GCM_SHA256\""),
    ("client.local_user", "\"other\""),
    ("client.source_address", "\"127.0.0.2\""),
    ("transport.compression_algorithm", "\"zstd:5\""),
    ("transport.keep_alive", "\"77s\""),
    ("transport.send_buffer", "40000"),
    ("transport.receive_buffer", "40000"),
    ("transport.unsent_limit", "9000"),
    ("transport.user_timeout", "\"77s\""),
    ("transport.suite", "\"chacha\""),
    ("transport.rekey_records", "1000"),
    ("transport.rekey_bytes", "1000"),
    ("logging.level", "\"trace\""),
    ("logging.format", "\"json\""),
];

/// Another value, of a setting that is a number, a size, a time or a flag.
fn other(entry: &Entry, default: &str) -> String {
    if let Some((_, other)) = OTHERS.iter().find(|(key, _)| *key == entry.key()) {
        return (*other).to_owned();
    }
    let digits = default.trim_matches('"').bytes().take_while(u8::is_ascii_digit).count();
    match (default, default.trim_matches('"').split_at(digits)) {
        ("true", _) => "false".to_owned(),
        ("false", _) => "true".to_owned(),
        (_, ("", _)) => panic!("{}: what is another value than {default}?", entry.key()),
        (_, (number, "")) => (number.parse::<u64>().unwrap() + 1).to_string(),
        (_, (number, unit)) => format!("\"{}{unit}\"", number.parse::<u64>().unwrap() + 1),
    }
}

/// All that servers and clients are made of.
fn made_of(config: &Config) -> String {
    let mut builder = Server::builder_without_identity(Policy::anyone());
    builder.config.limits = config.limits();
    let mut server = ServerPlan::new(builder);
    config.server.apply(&mut server);
    let mut client = ClientPlan::new(ClientBuilder::new());
    config.client.apply(&mut client);
    let mut log = (LogLevel::Off, LogFormat::Text);
    config.logging.apply(&mut log);
    format!("{server:?} {client:?} {:?} {log:?}", config.transport())
}

#[test]
fn no_setting_is_taken_and_ignored() {
    let before = made_of(&Config::default());
    for entry in ENTRIES {
        let mut config = Config::default();
        let raw = layer::value(&other(entry, &(entry.write)(&config))).unwrap();
        (entry.read)(&mut config, &raw).unwrap_or_else(|why| panic!("{}: {why}", entry.key()));
        assert_ne!(made_of(&config), before, "{} has no effect", entry.key());
        assert!(config.differences(&Config::default()).map(Entry::key).eq([entry.key()]));
        let again = layer::value(&(entry.write)(&config)).unwrap();
        let mut copy = Config::default();
        (entry.read)(&mut copy, &again).unwrap();
        assert_eq!(copy, config, "{} is not read as it is written", entry.key());
    }
}

#[test]
fn every_default_is_what_a_builder_begins_with() {
    let mut builder = Server::builder_without_identity(Policy::anyone());
    let by_hand = format!("{builder:?}");
    builder = builder.config(&Config::default());
    builder.configured = None;
    assert_eq!(format!("{builder:?}"), by_hand);
    let by_hand = format!("{:?}", ClientBuilder::new());
    let mut builder = Client::from_config(&Config::default()).unwrap();
    builder.configured = None;
    assert_eq!(format!("{builder:?}"), by_hand);
}

#[test]
fn limits_of_sources_rates_and_memory_are_off_until_they_are_set() {
    let config = Config::default();
    for name in
        ["max_source_connections", "max_source_handshakes_per_second", "max_peer_calls_per_second", "max_memory"]
    {
        let key = format!("server.{name}");
        let entry = ENTRIES.iter().find(|entry| entry.key() == key).unwrap();
        assert_eq!((entry.write)(&config), "\"off\"", "{key}");
    }
}
