//! What is logged: spans of connections and calls, the audit log, and nothing that is secret or a payload, at any level.
//!
//! One subscriber listens for the whole program, to everything, as text and as JSON; tests find their lines by keys and
//! names that are theirs alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::io::{self, Write};
use std::sync::{Mutex, Once};
use std::time::Duration;

use np_facade::raw::transport::dev_certificates;
use np_facade::{
    AllowList, CallError, Client, Config, Identity, Metadata, Policy, Psk, Psks, Request, SecretKey, Server,
    ServerBuilder, Status, TlsServer,
};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on everything is written down.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let (text, json) = (fmt::layer().with_ansi(false), fmt::layer().json());
        let both = tracing_subscriber::registry()
            .with(LevelFilter::TRACE)
            .with(text.with_span_events(FmtSpan::FULL).with_writer(|| Log))
            .with(json.with_span_events(FmtSpan::FULL).with_writer(|| Log));
        tracing::subscriber::set_global_default(both).unwrap();
    });
}

fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned()
}

/// The lines of text, not JSON, that hold all of these.
fn lines(parts: &[&str]) -> Vec<String> {
    let all = log();
    let text = all.lines().filter(|line| !line.starts_with('{'));
    text.filter(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned).collect()
}

#[track_caller]
fn assert_logged(parts: &[&str]) {
    assert!(!lines(parts).is_empty(), "{parts:?} is not in the log:\n{}", lines(&["np::"]).join("\n"));
}

fn builder(address: &str, policy: Policy) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), policy).listen(address)
}

/// The forms in which bytes could stand in a log: as text, as hexadecimal digits, as a list of numbers.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool| {
        let digits = secret.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
        digits.collect::<String>()
    };
    let list = format!("{secret:?}");
    let list = list.trim_matches(['[', ']']).to_owned();
    let text = String::from_utf8(secret.to_vec()).ok();
    [hex(false), hex(true), list].into_iter().chain(text).collect()
}

#[tokio::test]
async fn nothing_secret_and_no_payload_is_logged_at_any_level() {
    listen();
    let (ours, theirs, psk, wrong) = ([0xa7; 32], [0xb7; 32], [0xc7; 32], [0xd7; 32]);
    let payloads = ["MARK-request-body", "MARK-reply-body", "MARK-metadata", "MARK-stream", "MARK-one-way", "MARK-why"];
    let server = Server::builder(Identity::from_secret(SecretKey::from_bytes(theirs)), Policy::anyone())
        .psks(Psks::new().with_id("team", Psk::from_bytes(psk)).unwrap())
        .listen("tcp://127.0.0.1:0")
        .on("swap", |_, body| if body == "MARK-request-body" { Ok("MARK-reply-body") } else { Ok("") })
        .on("fails", |_, _| Err::<&str, _>(CallError::failed("MARK-why")))
        .on("panics", |_, _| -> Result<&str, CallError> { panic!("a handler's own words") })
        .start()
        .await
        .unwrap();
    let address = server.addresses()[0].to_string();
    let dial = |key| Client::builder(&address).psk(Psk::from_bytes(key)).psk_id("team");
    let client = dial(psk).identity(Identity::from_secret(SecretKey::from_bytes(ours))).connect().await.unwrap();
    let mut metadata = Metadata::new();
    metadata.insert("note", b"MARK-metadata").unwrap();
    metadata.insert("traceparent", b"MARK-metadata").unwrap();
    let request = client.request("swap").metadata(metadata).body("MARK-request-body");
    assert_eq!(request.send().await.unwrap().body, "MARK-reply-body");
    assert_eq!(client.call("fails", "").await.unwrap_err().text, "MARK-why");
    assert_eq!(client.call("panics", "MARK-request-body").await.unwrap_err().status, Status::Internal);
    client.send_one_way("swap", "MARK-one-way").await.unwrap();
    let mut stream = client.open_stream("np.echo-stream").await.unwrap();
    stream.send("MARK-stream").await.unwrap();
    stream.finish().await.unwrap();
    while stream.recv().await.is_some() {}
    // A key that is wrong is as secret as one that is right.
    dial(wrong).connect().await.unwrap_err();
    let secrets = [ours, theirs, psk, wrong];
    client.close().await;
    server.shutdown(Duration::from_secs(5)).await;

    let log = log();
    // The log is there, and it is that of these calls.
    assert_logged(&["call{", "method=swap", "direction=\"in\""]);
    for payload in payloads {
        assert!(!log.contains(payload), "{payload}");
        assert!(forms(payload.as_bytes()).iter().all(|form| !log.contains(form)), "{payload}");
    }
    for secret in secrets {
        let texts = [SecretKey::from_bytes(secret).to_text(), Psk::from_bytes(secret).to_text()];
        let texts = texts.iter().map(|text| text.to_string());
        for form in forms(&secret).into_iter().chain(texts) {
            assert!(!log.contains(&form), "{form}");
        }
    }
}

#[tokio::test]
async fn connections_and_calls_have_spans_with_peer_method_and_outcome() {
    listen();
    let identity = Identity::generate().unwrap();
    let key = identity.public_key().to_string();
    let server = builder("mem:spans", Policy::anyone())
        .on("spans.good", |_, _| {
            tracing::info!("the handler of spans.good says so");
            Ok("")
        })
        .on_async("spans.later", |_, _| async {
            tokio::task::yield_now().await;
            tracing::info!("the handler of spans.later says so");
            Err::<&str, _>(CallError::failed("no"))
        })
        .start()
        .await
        .unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).identity(identity).connect().await.unwrap();
    client.request("spans.good").traced().send().await.unwrap();
    client.call("spans.later", "").await.unwrap_err();
    client.close().await;
    server.shutdown(Duration::from_secs(5)).await;

    let peer = format!("connection{{peer={key}");
    for method in ["spans.good", "spans.later"] {
        let says = format!("the handler of {method} says so");
        assert_logged(&[&says, &peer, "side=Responder", "address=", "call{", &format!("method={method}")]);
    }
    for direction in ["direction=\"in\"", "direction=\"out\""] {
        assert_logged(&["close", direction, "method=spans.good", "status=\"ok\"", "trace=00-"]);
        assert_logged(&["close", direction, "method=spans.later", "status=\"failed\""]);
    }
    assert!(lines(&["method=spans.later", "trace="]).is_empty(), "a call without a trace has none in its span");
}

#[tokio::test]
async fn the_audit_log_tells_of_handshakes_limits_reloads_and_drains() {
    listen();
    let (friend, stranger) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let (friends_key, strangers_key) = (friend.public_key().to_string(), stranger.public_key().to_string());
    let list = AllowList::parse(&friends_key).unwrap();
    let server = builder("mem:audit", Policy::allow_list(list, "audit-list"))
        .max_connections(1)
        .max_server_calls(1)
        .on_async("audit.waits", |_, _| std::future::pending::<Result<&str, CallError>>())
        .start()
        .await
        .unwrap();
    let dial = |identity: &Identity| Client::builder(server.addresses()[0].to_string()).identity(identity.clone());
    dial(&stranger).connect().await.unwrap_err();
    let client = dial(&friend).connect().await.unwrap();
    dial(&friend).connect().await.unwrap_err();
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.call("audit.waits", "").await }
    });
    // On the connection itself: a client sends again what was refused as not processed.
    let connection = client.connection();
    while connection.call(Request::new("np.echo".parse().unwrap())).await.is_ok() {
        tokio::task::yield_now().await;
    }
    waits.abort();
    server.shutdown(Duration::from_secs(5)).await;

    assert_logged(&["WARN", "np::audit", "refused", &strangers_key, "audit-list"]);
    assert_logged(&["INFO", "np::audit", "no connection came of a handshake", "not-allowed"]);
    assert_logged(&["INFO", "np::audit", "allowed", &friends_key, "audit-list"]);
    assert_logged(&["INFO", "np::audit", ": connected", &friends_key]);
    assert_logged(&["WARN", "np::audit", "limit max_connections reached", &friends_key]);
    assert_logged(&["INFO", "np::audit", "limit max_server_calls reached", &friends_key]);
    assert_logged(&["INFO", "np::audit", ": disconnected", &friends_key, "error="]);
    assert_logged(&["INFO", "np::audit", "drain began", "within=5s"]);
    assert_logged(&["INFO", "np::audit", "drain ended", "cut=0"]);

    let made = dev_certificates(&[]).unwrap();
    let recipe = TlsServer::builder().certificate_pem(made.server.as_str(), made.server_key.as_str());
    let tls = recipe.clone().build().unwrap();
    tls.reload_as(recipe).unwrap();
    assert_logged(&["INFO", "np::audit", "certificates read again", "certificates=1"]);
    tls.reload_as(TlsServer::builder().certificate_pem("none", "none")).unwrap_err();
    assert_logged(&["ERROR", "np::audit", "certificates cannot be used", "stay in force"]);
}

#[tokio::test]
async fn the_text_of_a_panic_is_the_one_text_of_a_handler_that_is_logged() {
    listen();
    let server = builder("mem:panic-text", Policy::anyone())
        .on("bursts", |_, _| -> Result<&str, CallError> { panic!("panic-words\u{1b}[2J\nof its own") })
        .on("gives-up", |_, _| Err::<&str, _>(CallError::failed("error-words of its own")))
        .start()
        .await
        .unwrap();
    let client = Client::connect(&server.addresses()[0].to_string()).await.unwrap();
    let error = client.call("bursts", "").await.unwrap_err();
    assert!(!error.to_string().contains("panic-words"), "the caller is told nothing of it: {error}");
    client.call("gives-up", "").await.unwrap_err();
    assert_logged(&["ERROR", "np::audit", "a handler panicked", "panic-words", "of its own"]);
    let told = lines(&["panic-words"]).join("");
    assert!(!told.contains('\u{1b}'), "{told}");
    assert!(!log().contains("error-words"));
}

#[tokio::test]
async fn a_reload_names_what_has_changed_and_what_waits_for_a_restart() {
    listen();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("server.key");
    Identity::create(&key).unwrap();
    let mut config = Config::default();
    config.server.address = vec!["mem:audit-reload".to_owned()];
    config.server.identity = vec![key];
    config.server.allow = vec!["anyone".to_owned()];
    let server = Server::from_config(&config).unwrap().start().await.unwrap();
    config.client.address = vec![server.addresses()[0].to_string()];
    let client = Client::from_config(&config).unwrap().connect().await.unwrap();

    config.server.max_connections = 77;
    config.server.when_full = np_facade::WhenFull::Wait;
    config.server.replay_capacity = 20_000;
    config.server.exactly_once = true;
    config.server.max_remembered = 70_000;
    config.client.stagger = Duration::from_secs(7);
    config.client.max_age = Some(Duration::from_secs(700));
    config.transport.compression_enabled = true;
    config.transport.send_buffer = Some(65_536);
    let later = "server.when_full server.replay_capacity server.exactly_once server.max_remembered \
                 transport.compression_enabled transport.send_buffer";
    let reload = server.reload(&config).await.unwrap();
    assert_eq!(
        (reload.changed().join(" "), reload.needs_restart().join(" ")),
        ("server.max_connections".into(), later.into())
    );
    let told = |side: &str, changed: &str, later: &str| {
        let (changed, later) = (format!("changed=\"{changed}\""), format!("needs_restart=\"{later}\""));
        assert_logged(&["WARN", "np::audit", "wait for a restart", &format!("side=\"{side}\""), &changed, &later]);
    };
    told("server", "server.max_connections", later);
    let later = "client.stagger transport.compression_enabled transport.send_buffer";
    let reload = client.reload(&config).await.unwrap();
    assert_eq!((reload.changed().join(" "), reload.needs_restart().join(" ")), ("client.max_age".into(), later.into()));
    told("client", "client.max_age", later);
    config.client.identity = Some(folder.path().join("gone.key"));
    client.reload(&config).await.unwrap_err();
    assert_logged(&["ERROR", "np::audit", "cannot be used", "side=\"client\"", "client.identity"]);
}
