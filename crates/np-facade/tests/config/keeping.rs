//! What settings do to clients that lose their connections, and to calls that are sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_facade::{
    CallError, Client, ClientBuilder, ClientEvent, CloseCode, Identity, Outcome, Server, ServerBuilder, Status,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::effects::{Place, address};

const PATIENCE: Duration = Duration::from_secs(600);
const MILLI: Duration = Duration::from_millis(1);

/// Files for servers with one key, and work that counts how often it began.
struct Service {
    place: Place,
    begun: Arc<AtomicUsize>,
    open: Arc<Notify>,
}

impl Service {
    fn new() -> Self {
        let place = Place::new();
        place.key("server");
        Self { place, begun: Arc::default(), open: Arc::default() }
    }

    fn server(&self, name: &str, more: &str) -> ServerBuilder {
        let text = format!("[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\n{more}");
        let (begun, open) = (Arc::clone(&self.begun), Arc::clone(&self.open));
        Server::from_config(&self.place.config(&text)).unwrap().on_async("work", move |_, _| {
            let (begun, open) = (Arc::clone(&begun), Arc::clone(&open));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                open.notified().await;
                Ok("done")
            }
        })
    }

    async fn serve(&self, name: &str, more: &str) -> Server {
        self.server(name, more).start().await.unwrap()
    }

    /// A client of these addresses.
    fn client(&self, addresses: &[String], text: &str) -> ClientBuilder {
        let config = self.place.config(&format!("[client]\naddress = {addresses:?}\n{text}"));
        Client::from_config(&config).unwrap()
    }

    async fn connect(&self, server: &Server, text: &str) -> Client {
        self.client(&[address(server)], text).connect().await.unwrap()
    }

    async fn has_begun(&self, times: usize) {
        until(|| self.begun.load(Ordering::SeqCst) == times).await;
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            // In paused time this lets the others go on.
            sleep(MILLI).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

/// Calls the work in a task of its own.
fn work(client: &Client) -> tokio::task::JoinHandle<Result<bytes::Bytes, CallError>> {
    let client = client.clone();
    tokio::spawn(async move { client.call("work", vec![0; 100]).await })
}

/// Ends every connection of a server, which goes on.
async fn cut(server: &Server) {
    for connection in server.connections() {
        connection.close(CloseCode::Internal, "cut").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_made_again_unless_the_file_says_otherwise() {
    let service = Service::new();
    let server = service.serve("k-again", "").await;
    let client = service.connect(&server, "").await;
    cut(&server).await;
    assert_eq!(client.call("np.echo", "x").await.unwrap(), "x");
    let client = service.connect(&server, "auto_reconnect = false\n").await;
    cut(&server).await;
    assert!(timeout(PATIENCE, client.closed()).await.unwrap().to_string().contains("cut"));
}

#[tokio::test(start_paused = true)]
async fn delays_and_attempts_are_those_of_the_file() {
    let service = Service::new();
    let server = service.serve("k-delays", "").await;
    let text = "reconnect_delay = \"2s\"\nmax_reconnect_delay = \"3s\"\nmax_reconnect_attempts = 3\n";
    let client = service.connect(&server, text).await;
    let mut events = client.events();
    drop(server);
    let mut delays = Vec::new();
    while let Some(event) = timeout(PATIENCE, events.next()).await.unwrap() {
        if let ClientEvent::Reconnecting { delay, .. } = event {
            delays.push(delay.as_millis());
        }
    }
    let steps = [1_000..=2_000, 1_500..=3_000, 1_500..=3_000];
    assert!(delays.len() == 3 && steps.iter().zip(&delays).all(|(step, delay)| step.contains(delay)), "{delays:?}");
    assert!(client.closed().await.to_string().contains("max_reconnect_attempts"));
}

#[tokio::test(start_paused = true)]
async fn calls_of_the_methods_that_the_file_names_are_sent_again_within_its_budget() {
    let service = Service::new();
    let mut server = service.serve("k-budget", "").await;
    for (text, runs, says) in [
        ("", 1, "before an answer"),
        ("idempotent_methods = \"other\"\n", 1, "before an answer"),
        ("idempotent_methods = [\"other\", \"work\"]\nretry_budget = 2\n", 3, "retry_budget"),
        ("idempotent_methods = \"work\"\nretry_budget = 0\n", 1, "retry_budget"),
    ] {
        service.begun.store(0, Ordering::SeqCst);
        let client = service.connect(&server, text).await;
        let call = work(&client);
        for begun in 1..=runs {
            service.has_begun(begun).await;
            drop(server);
            // So that its place is free.
            sleep(MILLI).await;
            server = service.serve("k-budget", "").await;
        }
        let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.outcome, Outcome::Unknown, "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
        assert_eq!(service.begun.load(Ordering::SeqCst), runs, "{text}");
        client.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_spreads_its_connections_as_the_file_says() {
    let service = Service::new();
    let servers = [service.serve("k-one", "").await, service.serve("k-two", "").await];
    let addresses = servers.each_ref().map(address);
    for (text, wanted) in [
        ("", [1, 0]),
        ("balance = \"fail-over\"\npool_size = 3\n", [3, 0]),
        ("balance = \"round-robin\"\n", [1, 1]),
        ("balance = \"least-in-flight\"\npool_size = 2\n", [2, 2]),
    ] {
        let client = service.client(&addresses, text).connect().await.unwrap();
        until(|| servers.each_ref().map(|server| server.connections().len()) == wanted).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(servers.each_ref().map(|server| server.connections().len()), wanted, "{text}");
        client.close().await;
        until(|| servers.iter().all(|server| server.connections().is_empty())).await;
    }
    // The next address follows the one that is lost.
    let client = service.client(&addresses, "").connect().await.unwrap();
    let [one, two] = servers;
    drop(one);
    client.connection().closed().await;
    client.call("np.echo", "x").await.unwrap();
    assert_eq!(two.connections().len(), 1);
}

/// How often a bad address is tried by a client that loses its good one eight times, once in ten seconds.
async fn tries_of_a_bad_address(name: &str, text: &str) -> usize {
    let service = Service::new();
    let mut server = service.serve(name, "").await;
    let bad = format!("mem:{name}-bad?key={}", Identity::generate().unwrap().public_key());
    let client = service.client(&[address(&server), bad], text).connect().await.unwrap();
    let (place, options) = (format!("mem:{name}-bad").parse().unwrap(), np_facade::BindOptions::default());
    let listener = np_facade::raw::transport::Listener::bind(&place, &options).await.unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&tries);
    tokio::spawn(async move {
        // Each is cut at once.
        while listener.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    for _ in 0..8 {
        // An orderly end is no failure of the good one.
        server.shutdown(Duration::from_secs(1)).await;
        server = service.serve(name, "").await;
        client.call("np.echo", "x").await.unwrap();
        sleep(Duration::from_secs(10)).await;
    }
    tries.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn the_breaker_of_the_file_leaves_a_bad_address_alone() {
    let (row, twenty) = ("circuit_breaker_failures_in_a_row", "circuit_breaker_failures_of_twenty");
    let hour = "circuit_breaker_open_for = \"1h\"\n";
    for (name, text, tries) in [
        ("k-row", format!("{hour}{row} = 3\n"), 3),
        ("k-twenty", format!("{hour}{row} = 100\n{twenty} = 2\n"), 2),
        // Tried again, once, when the time is over.
        ("k-probe", format!("circuit_breaker_open_for = \"35s\"\n{row} = 1\n"), 2),
        ("k-none", "circuit_breaker = false\n".to_owned(), 8),
    ] {
        assert_eq!(tries_of_a_bad_address(name, &text).await, tries, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_client_live_as_long_as_its_file_says() {
    let service = Service::new();
    let server = service.serve("k-life", "").await;
    let once = "auto_reconnect = false\n";
    for (more, span) in [
        ("idle_timeout = \"5s\"\n", 5_000..=5_100),
        ("max_age = \"100s\"\nheartbeat_interval = \"off\"\n", 80_000..=100_100),
    ] {
        let client = service.connect(&server, &format!("{once}{more}")).await;
        let before = Instant::now();
        timeout(PATIENCE, client.closed()).await.unwrap();
        assert!(span.contains(&before.elapsed().as_millis()), "{more}: {:?}", before.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_once_of_both_files_answers_a_lost_call_that_ran_once() {
    let service = Service::new();
    let server = service.serve("k-once", "exactly_once = true\n").await;
    let client = service.connect(&server, "exactly_once = true\n").await;
    let call = work(&client);
    service.has_begun(1).await;
    cut(&server).await;
    until(|| {
        service.open.notify_waiters();
        call.is_finished()
    })
    .await;
    assert_eq!(call.await.unwrap().unwrap(), "done");
    assert_eq!(service.begun.load(Ordering::SeqCst), 1);
    // A server whose file says nothing of it refuses such calls.
    let server = service.serve("k-once-not", "").await;
    let error = service.connect(&server, "exactly_once = true\n").await.call("np.echo", "").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::UnknownMethod, Outcome::NotProcessed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_exactly_once_calls_is_bounded_as_the_file_says() {
    let service = Service::new();
    for (name, more) in [
        ("max_identity_remembered", "max_identity_remembered = 1\n"),
        ("max_remembered", "max_remembered = 1\nmax_identity_remembered = 1\n"),
        ("max_identity_remembered_bytes", "max_identity_remembered_bytes = \"150B\"\n"),
        ("max_remembered_bytes", "max_remembered_bytes = 150\nmax_identity_remembered_bytes = 150\n"),
        ("max_identity_instances", "max_identity_instances = 1\n"),
        ("max_instances", "max_instances = 1\nmax_identity_instances = 1\n"),
    ] {
        let place = format!("k-{}", name.replace('_', "-"));
        let server = service.serve(&place, &format!("exactly_once = true\n{more}")).await;
        if !service.place.path("ada").exists() {
            service.place.key("ada");
        }
        let text = "identity = \"@ada\"\nexactly_once = true\nretry_budget = 0\nresponse_timeout = \"5s\"\n";
        service.begun.store(0, Ordering::SeqCst);
        let client = service.connect(&server, text).await;
        let first = work(&client);
        service.has_begun(1).await;
        let other = match name.ends_with("instances") {
            true => service.connect(&server, text).await,
            false => client.clone(),
        };
        let error = timeout(PATIENCE, work(&other)).await.unwrap().unwrap().unwrap_err();
        // Of a limit for all and a share that are alike, the share is told.
        let told = if name.contains("identity") { name.to_owned() } else { name.replacen("max_", "max_identity_", 1) };
        assert!(error.to_string().contains(&told), "{name}: {error}");
        assert_eq!(error.outcome, Outcome::NotProcessed, "{name}: {error}");
        assert_eq!(service.begun.load(Ordering::SeqCst), 1, "{name}");
        first.abort();
    }
}
