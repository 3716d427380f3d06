//! A configuration taken over while a server runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use np_facade::{CallError, Client, ConnectionError, Decision, Error, ErrorKind, Identity, Outcome, Policy, Server};

use tokio::time::timeout;

use crate::effects::{Place, address};

/// How long what happens at once may take.
const SOON: Duration = Duration::from_secs(20);

fn text(name: &str, more: &str) -> String {
    format!("[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\n{more}")
}

#[tokio::test]
async fn limits_change_on_a_running_server_and_cut_nobody() {
    let place = Place::new();
    place.key("server");
    let of = |most: usize| place.config(&text("r-limits", &format!("allow = \"anyone\"\nmax_connections = {most}\n")));
    let server = Server::from_config(&of(1)).unwrap().start().await.unwrap();
    let one = Client::connect(&address(&server)).await.unwrap();
    Client::connect(&address(&server)).await.unwrap_err();
    let reload = server.reload(&of(2)).await.unwrap();
    assert_eq!((reload.changed(), reload.needs_restart()), (&["server.max_connections".to_owned()][..], &[][..]));
    let two = Client::connect(&address(&server)).await.unwrap();
    server.reload(&of(1)).await.unwrap();
    for client in [&one, &two] {
        assert_eq!(client.call("np.echo", "x").await.unwrap(), "x");
    }
    two.close().await;
    let error = Client::connect(&address(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    // A server that was told nothing new has nothing to tell.
    assert_eq!(server.reload(&of(1)).await.unwrap(), np_facade::Reload::default());
}

#[tokio::test]
async fn limits_of_connections_count_for_the_next_one() {
    let place = Place::new();
    place.key("server");
    let of = |size: &str| {
        place.config(&text("r-next", &format!("allow = \"anyone\"\n[transport]\nmax_message = \"{size}\"\n")))
    };
    let server = Server::from_config(&of("1KiB")).unwrap().start().await.unwrap();
    let before = Client::connect(&address(&server)).await.unwrap();
    server.reload(&of("2KiB")).await.unwrap();
    let after = Client::connect(&address(&server)).await.unwrap();
    after.call("np.echo", vec![0; 2 << 10]).await.unwrap();
    before.call("np.echo", vec![0; 2 << 10]).await.unwrap_err();
    before.call("np.echo", vec![0; 1 << 10]).await.unwrap();
}

#[tokio::test]
async fn a_peer_that_may_no_longer_connect_is_cut_and_others_are_not() {
    let place = Place::new();
    place.key("server");
    let (ada, bob) = (place.key("ada"), place.key("bob"));
    let of = |keys: &str| place.config(&text("r-policy", &format!("allow = [{keys}]\n")));
    let server = Server::from_config(&of(&format!("\"{ada}\", \"{bob}\""))).unwrap().start().await.unwrap();
    let one = place.connect(&address(&server), "identity = \"@ada\"\n").await.unwrap();
    let other = place.connect(&address(&server), "identity = \"@bob\"\n").await.unwrap();
    let reload = server.reload(&of(&format!("\"{ada}\""))).await.unwrap();
    assert_eq!(reload.changed(), ["server.allow"]);
    let error = timeout(SOON, other.closed()).await.expect("it is cut");
    assert!(matches!(&error, ConnectionError::ClosedByPeer { .. }), "{error}");
    assert!(error.to_string().contains("no longer allowed"), "{error}");
    assert_eq!(one.call("np.echo", "x").await.unwrap(), "x");
    let error = place.connect(&address(&server), "identity = \"@bob\"\n").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn a_key_file_that_was_replaced_is_the_servers_identity_from_then_on() {
    let place = Place::new();
    let old = place.key("server");
    let config = place.config(&text("r-key", "allow = \"anyone\"\n"));
    let server = Server::from_config(&config).unwrap().start().await.unwrap();
    let before = Client::connect(&address(&server)).await.unwrap();
    std::fs::remove_file(place.path("server")).unwrap();
    let new = place.key("server");
    server.reload(&config).await.unwrap();
    Client::connect(&format!("mem:r-key?key={new}")).await.unwrap();
    let error = Client::connect(&format!("mem:r-key?key={old}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert_eq!(before.call("np.echo", "x").await.unwrap(), "x");
}

#[tokio::test]
async fn certificates_are_read_again() {
    let place = Place::new();
    let write = || {
        let made = np_facade::raw::transport::dev_certificates(&[]).unwrap();
        std::fs::write(place.path("cert"), &made.server).unwrap();
        std::fs::write(place.path("cert-key"), made.server_key.as_bytes()).unwrap();
        made.server_pin
    };
    let old = write();
    let base = "[server]\naddress = \"tls://127.0.0.1:0\"\nallow = \"anonymous\"\n";
    let config = place.config(&format!("{base}tls_cert = \"@cert\"\ntls_key = \"@cert-key\"\n"));
    let server = Server::from_config(&config).unwrap().start().await.unwrap();
    let at = server.addresses()[0].without_keys().to_string();
    let connect = async |pin| place.connect(&at, &format!("tls_pin = \"sha256:{pin}\"\n")).await;
    connect(old).await.unwrap();
    let new = write();
    server.reload(&config).await.unwrap();
    connect(new).await.unwrap();
    assert!(connect(old).await.is_err());
    // A bad one changes nothing, nor does a configuration without any.
    std::fs::write(place.path("cert"), "nonsense").unwrap();
    let error = server.reload(&config).await.unwrap_err();
    assert!(error.to_string().contains("server.tls_cert"), "{error}");
    connect(new).await.unwrap();
    let mut without = place.config("[server]\nallow = \"anonymous\"\n");
    without.server.address = vec!["mem:x".to_owned()];
    let error = server.reload(&without).await.unwrap_err();
    assert!(error.to_string().contains("restart"), "{error}");
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let place = Place::new();
    place.key("server");
    let good = place.config(&text("r-bad", "allow = \"anyone\"\nmax_connections = 1\n"));
    let server = Server::from_config(&good).unwrap().start().await.unwrap();
    let mut wrong = good.clone();
    wrong.server.max_connections = 5;
    wrong.server.allow = vec!["/nowhere/list".to_owned()];
    let mut wild = good.clone();
    wild.server.max_connections = 5;
    wild.server.max_handshakes = 0;
    for config in [wrong, wild] {
        assert!(matches!(server.reload(&config).await, Err(Error::Config(_))));
        let _one = Client::connect(&address(&server)).await.unwrap();
        Client::connect(&address(&server)).await.unwrap_err();
        drop(_one);
        while !server.connections().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named_and_stay() {
    let place = Place::new();
    place.key("server");
    let good = place.config(&text("r-restart", "allow = \"anyone\"\n"));
    let server = Server::from_config(&good).unwrap().start().await.unwrap();
    let mut other = good.clone();
    other.server.address = vec!["mem:r-elsewhere".to_owned()];
    other.server.patterns = vec![np_facade::Pattern::NK];
    other.server.exactly_once = true;
    other.transport.no_delay = false;
    other.client.address = vec!["mem:nobody-asks".to_owned()];
    let reload = server.reload(&other).await.unwrap();
    assert_eq!(
        reload.needs_restart(),
        ["server.address", "server.patterns", "server.exactly_once", "transport.no_delay"]
    );
    assert!(reload.changed().is_empty());
    Client::connect(&address(&server)).await.unwrap();
}

#[tokio::test]
async fn numbers_of_calls_and_handshakes_change_at_once() {
    let place = Place::new();
    place.key("server");
    let of = |more: &str| place.config(&text("r-numbers", &format!("allow = \"anyone\"\n{more}")));
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (started, gate) = (begun.clone(), go.clone());
    let builder = Server::from_config(&of("")).unwrap().on_async("gate", move |_, _| {
        let (started, gate) = (started.clone(), gate.clone());
        async move {
            started.notify_one();
            gate.notified().await;
            Ok("through")
        }
    });
    let server = builder.start().await.unwrap();
    let client = Client::connect(&address(&server)).await.unwrap();
    let open = tokio::spawn({
        let client = client.clone();
        async move { client.call("gate", "").await }
    });
    begun.notified().await;
    for setting in ["max_server_calls", "max_identity_calls"] {
        client.call("np.echo", "x").await.unwrap();
        let reload = server.reload(&of(&format!("{setting} = 1\n"))).await.unwrap();
        assert!(reload.changed().contains(&format!("server.{setting}")));
        let error = client.call("np.echo", "x").await.unwrap_err();
        assert_eq!(error.outcome, Outcome::NotProcessed, "{error}");
        server.reload(&of("")).await.unwrap();
    }
    go.notify_one();
    assert_eq!(open.await.unwrap().unwrap(), "through");

    server.reload(&of("max_handshakes = 1\nconnection_timeout = \"1h\"\n")).await.unwrap();
    let mut silent = np_facade::raw::transport::connect(&server.addresses()[0]).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut silent.io, b"np").await.unwrap();
    tokio::task::yield_now().await;
    Client::connect(&address(&server)).await.unwrap();
    let mut told = Vec::new();
    let end = tokio::io::AsyncReadExt::read_to_end(&mut silent.io, &mut told);
    timeout(SOON, end).await.expect("it goes for the next one").unwrap();
    assert!(String::from_utf8_lossy(&told).contains("max_handshakes"), "{told:?}");
}

#[tokio::test]
async fn limits_of_sources_and_rates_change_at_once() {
    let place = Place::new();
    place.key("server");
    let text = "[server]\naddress = \"tcp://127.0.0.1:0\"\nidentity = \"@server\"\nallow = \"anyone\"\n";
    let of = |more: &str| place.config(&format!("{text}{more}"));
    let server = Server::from_config(&of("")).unwrap().start().await.unwrap();
    let client = Client::builder(address(&server)).retry_budget(0).connect().await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    for setting in ["max_source_connections", "max_source_handshakes_per_second"] {
        let reload = server.reload(&of(&format!("{setting} = 1\n"))).await.unwrap();
        assert_eq!(reload.needs_restart(), [""; 0]);
        let _one = Client::connect(&address(&server)).await.unwrap();
        let error = Client::connect(&address(&server)).await.unwrap_err();
        assert!(error.to_string().contains(setting), "{error}");
        server.reload(&of("")).await.unwrap();
        Client::connect(&address(&server)).await.unwrap();
    }
    // Of the connection that stands, too.
    server.reload(&of("max_peer_calls_per_second = 1\n")).await.unwrap();
    client.call("np.echo", "x").await.unwrap();
    let error = client.call("np.echo", "x").await.unwrap_err();
    assert!(error.to_string().contains("max_peer_calls_per_second"), "{error}");
    server.reload(&of("")).await.unwrap();
    client.call("np.echo", "x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_server_changes_at_once() {
    let place = Place::new();
    place.key("server");
    let of = |more: &str| place.config(&text("r-memory", &format!("allow = \"anyone\"\n{more}")));
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let builder = Server::from_config(&of("")).unwrap().on_async("hold", move |_, body: bytes::Bytes| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            std::future::pending::<()>().await;
            Ok::<_, CallError>(body)
        }
    });
    let server = builder.start().await.unwrap();
    let client = Client::connect(&address(&server)).await.unwrap();
    let reload = server.reload(&of("max_memory = \"100KiB\"\n")).await.unwrap();
    assert_eq!(reload.changed(), ["server.max_memory"]);
    for _ in 0..8 {
        let client = client.clone();
        tokio::spawn(async move { client.call("hold", vec![0; 80 << 10]).await });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let at_once = begun.load(Ordering::SeqCst);
    assert!((1..8).contains(&at_once), "{at_once}");
    // Those who do not read for want of memory go on, too.
    server.reload(&of("")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_half_way_in_is_judged_by_the_new_policy_too() {
    let place = Place::new();
    place.key("server");
    let (ada, bob) = (place.key("ada"), place.key("bob"));
    let of = |keys: &str| place.config(&text("r-half", &format!("allow = [{keys}]\n")));
    let server = Server::from_config(&of(&format!("\"{ada}\", \"{bob}\""))).unwrap().start().await.unwrap();
    // It has seen the server's key, and shows its own only once the list has changed.
    let ((meets, met), (goes, go)) = (mpsc::channel(), mpsc::channel::<()>());
    let go = Mutex::new(go);
    let policy = Policy::closure(move |_| {
        let _ = meets.send(());
        let _ = go.lock().unwrap().recv();
        Decision::Allow { name: None }
    });
    let identity = Identity::load(place.path("bob")).unwrap();
    let joining = tokio::spawn(
        Client::builder(address(&server)).identity(identity).policy(policy).auto_reconnect(false).connect(),
    );
    tokio::task::spawn_blocking(move || met.recv()).await.unwrap().unwrap();
    server.reload(&of(&format!("\"{ada}\""))).await.unwrap();
    goes.send(()).unwrap();
    let told = match joining.await.unwrap() {
        Ok(client) => timeout(SOON, client.closed()).await.expect("it is cut").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("no longer allowed"), "{told}");
}
