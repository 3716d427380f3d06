//! Exactly-once calls of a client whose connections come and go.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use np_facade::{
    Balance, CallError, Client, ClientBuilder, CloseCode, Identity, OnceSettings, Outcome, Policy, SecretKey, Server,
    ServerBuilder, Status,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// A server that can be started again at the same place, with work that counts how often it began.
struct Service {
    place: &'static str,
    begun: Arc<AtomicUsize>,
    open: Arc<Notify>,
}

impl Service {
    fn new(place: &'static str) -> Self {
        Self { place, begun: Arc::default(), open: Arc::default() }
    }

    fn builder(&self) -> ServerBuilder {
        let (begun, open) = (Arc::clone(&self.begun), Arc::clone(&self.open));
        let identity = Identity::from_secret(SecretKey::from_bytes([9; 32]));
        Server::builder(identity, Policy::anyone()).listen(self.place).on_async("work", move |_, body: Bytes| {
            let (begun, open) = (Arc::clone(&begun), Arc::clone(&open));
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                open.notified().await;
                Ok(body)
            }
        })
    }

    async fn start(&self) -> Server {
        self.builder().exactly_once(OnceSettings::default()).start().await.unwrap()
    }

    fn address(&self) -> String {
        let key = Identity::from_secret(SecretKey::from_bytes([9; 32])).public_key();
        format!("{}?key={key}", self.place)
    }

    fn client(&self) -> ClientBuilder {
        Client::builder(self.address()).reconnect_delay(MILLI).exactly_once()
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

type Calling = JoinHandle<Result<Bytes, CallError>>;

fn call(client: &Client, method: &'static str, body: &'static str) -> Calling {
    let client = client.clone();
    tokio::spawn(async move { client.call(method, body).await })
}

async fn ended(call: Calling) -> Result<Bytes, CallError> {
    timeout(PATIENCE, call).await.unwrap().unwrap()
}

/// Ends every connection of a server, which goes on.
async fn cut(server: &Server) {
    for connection in server.connections() {
        connection.close(CloseCode::Internal, "cut").await;
    }
}

#[tokio::test(start_paused = true)]
async fn calls_whose_connection_is_lost_are_answered_and_run_once() {
    let service = Service::new("mem:once-lost");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let calls: Vec<_> = ["a", "b", "c"].into_iter().map(|body| call(&client, "work", body)).collect();
    service.has_begun(3).await;
    for _ in 0..3 {
        let before = *client.connection().binding();
        cut(&server).await;
        until(|| *client.connection().binding() != before).await;
    }
    service.open.notify_waiters();
    for (call, body) in calls.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(ended(call).await.unwrap(), body);
    }
    assert_eq!(service.begun.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_outcome_is_unknown_and_what_was_not_sent_is_answered() {
    let service = Service::new("mem:once-restart");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let lost = call(&client, "work", "lost");
    service.has_begun(1).await;
    drop(server);
    client.connection().closed().await;
    let waiting = call(&client, "np.echo", "waits");
    sleep(MILLI).await;
    let _server = service.start().await;
    let error = ended(lost).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::OutcomeUnknown, Outcome::Unknown), "{error}");
    assert_eq!(ended(waiting).await.unwrap(), "waits");
    assert_eq!(service.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_says_so_by_itself_and_others_are_as_before() {
    let service = Service::new("mem:once-one");
    let server = service.start().await;
    let client = Client::builder(service.address()).reconnect_delay(MILLI).connect().await.unwrap();
    let plain = call(&client, "work", "plain");
    service.has_begun(1).await;
    let other = client.clone();
    let once = async move { other.request("work").body("once").exactly_once().send().await.map(|reply| reply.body) };
    let once = tokio::spawn(once);
    service.has_begun(2).await;
    cut(&server).await;
    assert_eq!(ended(plain).await.unwrap_err().status, Status::Cancelled);
    until(|| {
        service.open.notify_waiters();
        once.is_finished()
    })
    .await;
    assert_eq!(ended(once).await.unwrap(), "once");
    assert_eq!(service.begun.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_offer_it_runs_nothing() {
    let service = Service::new("mem:once-not");
    let _server = service.builder().start().await.unwrap();
    let client = service.client().connect().await.unwrap();
    let error = client.call("work", "").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::UnknownMethod, Outcome::NotProcessed));
    assert!(error.text.contains("exactly_once"), "{error}");
    assert_eq!(service.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_forgotten_goes_on_under_another_epoch() {
    let service = Service::new("mem:once-forgotten");
    let settings = OnceSettings { remember_for: Duration::from_secs(5), ..OnceSettings::default() };
    let _server = service.builder().exactly_once(settings).start().await.unwrap();
    let client = service.client().connect().await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.call("np.echo", "hello").await.unwrap(), "hello");
        sleep(Duration::from_secs(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_pool_a_lost_call_goes_back_to_its_own_server() {
    let (one, two) = (Service::new("mem:once-one-of-two"), Service::new("mem:once-two-of-two"));
    let servers = [one.start().await, two.start().await];
    let client = one.client().address(two.address()).balance(Balance::RoundRobin).connect().await.unwrap();
    until(|| servers.iter().all(|server| server.connections().len() == 1)).await;
    let calls: Vec<_> = (0..4).map(|_| call(&client, "work", "x")).collect();
    let begun = || one.begun.load(Ordering::SeqCst) + two.begun.load(Ordering::SeqCst);
    until(|| begun() == 4).await;
    cut(&servers[0]).await;
    cut(&servers[1]).await;
    until(|| {
        one.open.notify_waiters();
        two.open.notify_waiters();
        calls.iter().all(|call| call.is_finished())
    })
    .await;
    for call in calls {
        assert_eq!(ended(call).await.unwrap(), "x");
    }
    assert_eq!(begun(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call_that_is_lost_and_says_what_is_known() {
    let service = Service::new("mem:once-deadline");
    let server = service.start().await;
    let client = service.client().deadline(Duration::from_secs(5)).connect().await.unwrap();
    let lost = call(&client, "work", "lost");
    service.has_begun(1).await;
    drop(server);
    client.connection().closed().await;
    let unsent = call(&client, "work", "unsent");
    let error = ended(lost).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::Unknown), "{error}");
    let error = ended(unsent).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::NotProcessed), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_drained_server_answers_what_it_runs_and_the_rest_goes_elsewhere() {
    let (one, two) = (Service::new("mem:once-drains"), Service::new("mem:once-stays"));
    let servers = [one.start().await, two.start().await];
    let client = one.client().address(two.address()).connect().await.unwrap();
    let running = call(&client, "work", "here");
    one.has_begun(1).await;
    let drained = tokio::spawn({
        let server = servers[0].clone();
        async move { server.shutdown(Duration::from_secs(10)).await }
    });
    until(|| !servers[1].connections().is_empty()).await;
    let later = call(&client, "work", "there");
    two.has_begun(1).await;
    one.open.notify_waiters();
    two.open.notify_waiters();
    assert_eq!(ended(running).await.unwrap(), "here");
    assert_eq!(ended(later).await.unwrap(), "there");
    drained.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_wait_where_too_many_were_begun_since_the_first_that_is_open() {
    let service = Service::new("mem:once-span");
    let _server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let first = call(&client, "work", "first");
    service.has_begun(1).await;
    for _ in 1..1_024 {
        client.call("np.echo", "").await.unwrap();
    }
    let error = client.request("np.echo").deadline(Duration::from_secs(1)).send().await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::NotProcessed));
    assert!(error.text.contains("1024"), "{error}");
    let waits = call(&client, "np.echo", "waits");
    sleep(MILLI).await;
    service.open.notify_waiters();
    assert_eq!(ended(first).await.unwrap(), "first");
    assert_eq!(ended(waits).await.unwrap(), "waits");
}
