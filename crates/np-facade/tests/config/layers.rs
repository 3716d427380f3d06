//! Which layer wins, and what is refused in which words.

use std::path::Path;
use std::time::Duration;

use np_facade::{Config, ConfigError, ConfigSource, Encoder, Error, ErrorKind, LogLevel, Pattern, Server, WhenFull};

const NO_ENV: [(&str, &str); 0] = [];

fn refused(text: &str) -> ConfigError {
    Config::parse(text, "np.toml").unwrap_err()
}

#[test]
fn the_later_layer_wins_and_each_value_knows_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("np.toml");
    let text = "[server]\nmax_connections = 2\nmax_handshakes = 2\n\n[transport]\nmax_message = \"1MiB\"\n";
    std::fs::write(&file, text).unwrap();
    let env = [("NP_SERVER__MAX_HANDSHAKES", "3"), ("PATH", "/bin"), ("NP_SIM_SEED", "1")];
    let mut config = Config::load(Some(&file), env).unwrap();
    config.transport.max_message = 4_096;
    let server = &config.server;
    assert_eq!((server.max_connections, server.max_handshakes, server.backlog), (2, 3, 1_024));
    let at = |line| ConfigSource::File { path: file.clone(), line };
    for (key, source) in [
        ("server.max_connections", at(2)),
        ("server.max_handshakes", ConfigSource::Environment { variable: "NP_SERVER__MAX_HANDSHAKES".to_owned() }),
        ("transport.max_message", ConfigSource::Code),
        ("server.backlog", ConfigSource::Default),
    ] {
        assert_eq!(config.source(key), Some(source), "{key}");
    }
    assert_eq!(config.source("server.nothing"), None);
    assert!(config.to_toml(true).contains("\nmax_message = \"4KiB\" # code\n"));
}

#[test]
fn values_of_every_form_are_read_from_a_file_and_from_variables() {
    let text = r#"
        [server]
        address = ["tcp://127.0.0.1:0", "unix:/run/np.sock"]
        allow = "anyone"
        patterns = ["xx", "NK"]
        when_full = "wait"
        unix_mode = "660"
        shutdown_timeout = "0s"
        reuse_address = false
        [transport]
        compression_algorithm = "zstd:19"
        keep_alive = "1m"
        unsent_limit = "default"
        rekey_records = 0x1_000
        [logging]
        level = "trace"
    "#;
    let config = Config::parse(text, "np.toml").unwrap();
    let server = &config.server;
    assert_eq!(server.address, ["tcp://127.0.0.1:0", "unix:/run/np.sock"]);
    assert_eq!(
        (server.allow.as_slice(), server.patterns.as_slice()),
        (&["anyone".to_owned()][..], &[Pattern::XX, Pattern::NK][..])
    );
    assert_eq!((server.when_full, server.unix_mode, server.reuse_address), (WhenFull::Wait, 0o660, Some(false)));
    assert_eq!(server.shutdown_timeout, Duration::ZERO);
    let transport = &config.transport;
    assert_eq!(transport.compression_algorithm, Encoder::Zstd { level: 19 });
    assert_eq!((transport.keep_alive, transport.unsent_limit), (Some(Duration::from_secs(60)), None));
    assert_eq!((transport.rekey_records, config.logging.level), (4_096, LogLevel::Trace));
    // What a file can say, variables can say: each value in the words in which it is printed.
    let env: Vec<(String, String)> = config
        .settings()
        .map(|(key, value, _)| {
            let items = value.trim_start_matches('[').trim_end_matches(']');
            let words: Vec<_> = items.split(", ").map(|item| item.trim_matches('"')).collect();
            (format!("NP_{}", key.replace('.', "__").to_uppercase()), words.join(","))
        })
        .collect();
    assert_eq!(Config::load(None, env).unwrap(), config);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_file_line_key_and_variable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("np.toml");
    let text = "[server]\nmax_conections = 5\nmax_handshakes = \"5\"\nconnection_timeout = 5\n\n[transport]\n\
                max_message = \"64MiB\"\nstream_window = \"1MB\"\n\n[serve]\nbacklog = 1\n";
    std::fs::write(&file, text).unwrap();
    let env = [("NP_SERVER__MAX_CONNECTIONS", "many"), ("NP_SERVER__MAX_HANDSHAKE", "1"), ("NP_SERVER_BACKLOG", "1")];
    let error = Config::load(Some(&file), env).unwrap_err();
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    let name = file.to_str().unwrap();
    let expected = [
        format!(
            "{name}:2: server.max_conections (NP_SERVER__MAX_CONECTIONS): there is no such setting; did you mean server.max_connections?"
        ),
        format!("{name}:10: serve (NP_SERVE): there is no such table; did you mean [server]?"),
        format!(
            "environment, over {name}: server.max_handshake (NP_SERVER__MAX_HANDSHAKE): there is no such setting; did you mean server.max_handshakes?"
        ),
        format!(
            "environment, over {name}: NP_SERVER_BACKLOG: is ignored with one underscore; write NP_SERVER__BACKLOG"
        ),
        format!(
            "{name}:3: server.max_handshakes (NP_SERVER__MAX_HANDSHAKES): is \"5\", but must be a whole number of 1 to 268435455"
        ),
        format!(
            "{name}:4: server.connection_timeout (NP_SERVER__CONNECTION_TIMEOUT): is 5, but must be a time of 1ms to 365d, such as \"250ms\" (units: ms, s, m, h, d)"
        ),
        format!(
            "{name}:8: transport.stream_window (NP_TRANSPORT__STREAM_WINDOW): is \"1MB\", but must be a number of bytes, 1KiB to 1GiB, such as \"16MiB\" (units: B, KiB, MiB, GiB, TiB)"
        ),
        format!(
            "environment, over {name}: server.max_connections (NP_SERVER__MAX_CONNECTIONS): is \"many\", but must be a whole number of 1 to 268435455"
        ),
        format!(
            "{name}: transport.reassembly_budget (NP_TRANSPORT__REASSEMBLY_BUDGET): is 33554432, but must be at least max_message"
        ),
    ];
    for line in &expected {
        assert!(lines.contains(line), "no {line} in\n{error}");
    }
    // The last: call_budget, which is as large as the message, and 8 KiB too small.
    assert_eq!(lines.len(), expected.len() + 1, "{error}");
    assert_eq!(error.problems()[0].key(), Some("server.max_conections"));
}

#[test]
fn files_that_are_none_are_told_by_name_and_line() {
    let error = Config::load(Some(Path::new("/nowhere/np.toml")), NO_ENV).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/np.toml: cannot be read: "), "{error}");
    let error = refused("[server]\nbacklog = \n");
    assert!(error.to_string().starts_with("np.toml:2: is no TOML: "), "{error}");
    let error = refused("[server]\nbacklog = 1\nbacklog = 2\n");
    assert!(error.to_string().contains("np.toml:3: is no TOML: duplicate key"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.toml");
    std::fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    let error = Config::load(Some(&large), NO_ENV).unwrap_err();
    assert!(error.to_string().contains("1 MiB"), "{error}");
    std::fs::write(&large, "#".repeat(1 << 20)).unwrap();
    Config::load(Some(&large), NO_ENV).unwrap();
}

#[test]
fn names_in_the_wrong_place_are_refused_with_the_right_one() {
    for (text, says) in [
        ("backlog = 1\n", "stands in no table; did you mean server.backlog?"),
        ("server = 1\n", "write [server]"),
        ("[client]\nmax_connections = 1\n", "did you mean server.max_connections?"),
        ("[logging]\nmax_message = 1\n", "did you mean transport.max_message?"),
        ("[servers]\n", "did you mean [server]?"),
        ("[server.tls]\ncert = \"a\"\n", "there is no such setting"),
        ("[server]\naddress.x = 1\n", "but must be a text in quotes"),
    ] {
        let error = refused(text);
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    for text in ["zqx = 1\n", "[zqx]\n", "[server]\nzqx = 1\n"] {
        let error = refused(text);
        assert!(!error.to_string().contains("did you mean"), "{text}: {error}");
    }
    Config::parse("[logging]\n[server]\n", "np.toml").unwrap();
}

#[test]
fn settings_that_do_not_fit_each_other_are_refused_by_name() {
    for (text, key) in [
        ("[transport]\nconnection_window = \"300KiB\"", "transport.connection_window"),
        ("[transport]\nmax_window = \"1KiB\"", "transport.max_window"),
        ("[transport]\ncall_budget = \"16MiB\"", "transport.call_budget"),
        ("[transport]\nreassembly_budget = \"1MiB\"", "transport.reassembly_budget"),
        ("[server]\ntls_cert = [\"a\", \"b\"]\ntls_key = \"a\"", "server.tls_key"),
        ("[server]\npsk = \"a\"\npsk_id = [\"1\", \"2\"]", "server.psk_id"),
        ("[server]\ntls_ca = \"a\"", "server.tls_ca"),
        ("[server]\ntls_min = \"1.2\"", "server.tls_min"),
        ("[server]\ntls_suites = \"TLS13_AES_128_GCM_SHA256\"", "server.tls_suites"),
        ("[server]\ntls_resumption = false", "server.tls_resumption"),
        ("[server]\ntls_cert = \"a\"\ntls_key = \"a\"\ntls_client_auth = \"required\"", "server.tls_client_auth"),
        ("[server]\ntls_cert = \"a\"\ntls_key = \"a\"\ntls_crl = \"a\"", "server.tls_crl"),
        ("[server]\npatterns = \"xxpsk3\"", "server.patterns"),
        ("[server]\npatterns = \"xx\"\npsk = \"a\"", "server.psk"),
        ("[server]\naddress = \"tcp://a:1\"\nunix_mode = \"660\"", "server.unix_mode"),
        ("[server]\naddress = \"mem:a\"\nproxy_protocol = true", "server.proxy_protocol"),
        ("[server]\naddress = \"tcp://a:1\"\ntls_cert = \"a\"\ntls_key = \"a\"", "server.tls_cert"),
        ("[server]\naddress = [\"mem:a\", \"tls://a:1\"]", "server.tls_cert"),
        ("[server]\naddress = \"unix:/a?mode=local\"\npsk = \"a\"", "server.psk"),
        ("[server]\naddress = \"tcp//a\"", "server.address"),
        ("[client]\ntls_cert = \"a\"", "client.tls_key"),
        ("[client]\npsk_id = \"a\"", "client.psk_id"),
        ("[client]\nknown_peers = \"a\"\ndanger_trust_anyone = true", "client.danger_trust_anyone"),
        ("[client]\npattern = \"danger-nn\"", "client.pattern"),
        ("[client]\naddress = \"tcp://a:1\"\nlocal_user = \"1\"", "client.local_user"),
        ("[client]\naddress = [\"pipe:a\", \"tcp://a:1\"]\nlocal_user = \"1\"", "client.local_user"),
        ("[client]\nidempotent_methods = \"two words\"", "client.idempotent_methods"),
        ("[client]\npool_size = 65", "client.pool_size"),
        ("[client]\nmax_reconnect_delay = \"50ms\"", "client.max_reconnect_delay"),
        ("[client]\nauto_reconnect = false\nmax_reconnect_attempts = 5", "client.max_reconnect_attempts"),
        ("[client]\nauto_reconnect = false\nreconnect_delay = \"1s\"", "client.reconnect_delay"),
        ("[client]\ncircuit_breaker_failures_of_twenty = 21", "client.circuit_breaker_failures_of_twenty"),
        ("[client]\ncircuit_breaker = false\ncircuit_breaker_open_for = \"1s\"", "client.circuit_breaker_open_for"),
        ("[server]\nmax_remembered = 5000", "server.max_remembered"),
        ("[server]\nremember_for = \"5s\"", "server.remember_for"),
        ("[server]\nexactly_once = true\nmax_remembered = 5", "server.max_identity_remembered"),
        ("[server]\nexactly_once = true\nmax_remembered_bytes = 5", "server.max_identity_remembered_bytes"),
        ("[server]\nexactly_once = true\nmax_instances = 5", "server.max_identity_instances"),
    ] {
        let error = refused(text);
        let keys: Vec<_> = error.problems().iter().filter_map(np_facade::ConfigProblem::key).collect();
        assert_eq!(keys, [key], "{text}: {error}");
        assert!(error.to_string().contains("np.toml"), "{error}");
    }
}

#[test]
fn what_code_has_set_is_checked_too() {
    let mut config = Config::default();
    config.check().unwrap();
    config.server.max_connections = 0;
    config.client.response_timeout = Duration::ZERO;
    config.server.address = vec!["nonsense".to_owned()];
    config.transport.max_message = 1 << 30;
    let error = config.check().unwrap_err();
    let keys: Vec<_> = error.problems().iter().filter_map(np_facade::ConfigProblem::key).collect();
    assert_eq!(
        keys,
        [
            "server.address",
            "server.max_connections",
            "client.response_timeout",
            "transport.reassembly_budget",
            "transport.call_budget"
        ]
    );
    assert!(error.problems()[1].to_string().starts_with("code: server.max_connections (NP_SERVER__MAX_CONNECTIONS): "));
    assert!(matches!(Server::from_config(&config), Err(Error::Config(again)) if again == error));
}

#[test]
fn files_that_settings_name_are_refused_with_the_setting() {
    for (text, says) in [
        (
            "[server]\nallow = \"anyone\"\nidentity = \"/nowhere/key\"",
            "np.toml:3: server.identity (NP_SERVER__IDENTITY): ",
        ),
        ("[server]\nallow = \"/nowhere/list\"", "np.toml:2: server.allow (NP_SERVER__ALLOW): "),
        ("[server]\nallow = \"anyone\"\npsk = \"/nowhere/psk\"", "np.toml:3: server.psk (NP_SERVER__PSK): "),
        (
            "[server]\nallow = \"anyone\"\ntls_cert = \"/nowhere/a\"\ntls_key = \"/nowhere/b\"",
            "np.toml:3: server.tls_cert",
        ),
        ("[server]\n", "np.toml: server.allow (NP_SERVER__ALLOW): says nobody"),
    ] {
        let error = Server::from_config(&Config::parse(text, "np.toml").unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().starts_with(says), "{error}");
    }
    for (text, says) in [
        ("[client]\nidentity = \"/nowhere/key\"", "np.toml:2: client.identity"),
        ("[client]\npsk = \"/nowhere/key\"", "np.toml:2: client.psk"),
        ("[client]\ntls_ca = \"/nowhere/ca\"", "np.toml:2: client.tls_ca"),
    ] {
        let error = np_facade::Client::from_config(&Config::parse(text, "np.toml").unwrap()).unwrap_err();
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[test]
fn no_secret_is_shown_in_an_error() {
    let secret = np_facade::SecretKey::from_bytes([9; 32]).to_text();
    for text in [
        format!("[server]\nidentity = \"{}\"", *secret),
        format!("[server]\nallow = \"{}\"", *secret),
        format!("[server]\nmax_connections = \"{}\"", *secret),
        format!("[client]\naddress = \"tcp://a:1?key={}\"", *secret),
    ] {
        let error = refused(&text).to_string();
        assert!(!error.contains(&secret[10..30]), "{error}");
    }
}

#[test]
fn no_text_makes_reading_panic_and_every_mistake_has_a_line() {
    let sample = Config::sample();
    for at in (0..sample.len()).step_by(499) {
        for put in ["", "\u{0}", "\"", "[", "=", "9", "\n", "\u{1f980}"] {
            let text = format!("{}{put}{}", &sample[..at], &sample[(at + 1).min(sample.len())..]);
            if let Err(error) = Config::parse(&text, "np.toml") {
                assert!(error.to_string().lines().all(|line| line.starts_with("np.toml")), "{error}");
            }
        }
    }
}
