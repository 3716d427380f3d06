//! A client whose server goes and comes back: what happens to its calls, what it tells, and when it stops trying.

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
    CallError, Client, ClientBuilder, ClientEvent, ClientEvents, CloseCode, ConnectionError, Decision, ErrorKind,
    Identity, Lifetime, Limits, Message, Outcome, Policy, SecretKey, Server, ServerBuilder, Status,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

/// A server that can be started again at the same place, with the same key; `begun` counts the calls of `forever`.
struct Service {
    place: String,
    begun: Arc<AtomicUsize>,
}

impl Service {
    fn new(place: &str) -> Self {
        Self { place: place.to_owned(), begun: Arc::default() }
    }

    fn identity() -> Identity {
        Identity::from_secret(SecretKey::from_bytes([9; 32]))
    }

    fn builder(&self) -> ServerBuilder {
        self.builder_for(Policy::anyone())
    }

    fn builder_for(&self, policy: Policy) -> ServerBuilder {
        let begun = Arc::clone(&self.begun);
        Server::builder(Self::identity(), policy).listen(self.place.as_str()).on_async("forever", move |_, _| {
            begun.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<Bytes, CallError>>()
        })
    }

    async fn start(&self) -> Server {
        self.builder().start().await.unwrap()
    }

    fn client(&self) -> ClientBuilder {
        let key = Self::identity().public_key();
        Client::builder(format!("{}?key={key}", self.place))
    }

    async fn until_begun(&self, calls: usize) {
        until(|| self.begun.load(Ordering::SeqCst) == calls).await;
    }
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            // In paused time this lets the others go on.
            tokio::time::sleep(MILLI).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

/// Ends a server at once, and waits until its place is free.
async fn kill(server: Server) {
    drop(server);
    tokio::time::sleep(MILLI).await;
}

/// A call on its way.
fn call(client: &Client, method: &'static str, idempotent: bool) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
    let client = client.clone();
    tokio::spawn(async move {
        let call = client.request(method).body("x");
        let call = if idempotent { call.idempotent() } else { call };
        call.send().await.map(|reply| reply.body)
    })
}

/// The next event, from the stream that events are.
async fn next(events: &mut ClientEvents) -> ClientEvent {
    timeout(PATIENCE, futures_util::StreamExt::next(events)).await.unwrap().expect("no event follows")
}

/// The next event that is no attempt.
async fn outcome(events: &mut ClientEvents) -> (u32, ClientEvent) {
    let mut attempts = 0;
    loop {
        match next(events).await {
            ClientEvent::Reconnecting { .. } => attempts += 1,
            other => return (attempts, other),
        }
    }
}

async fn comes_back(place: &str) {
    let mut service = Service::new(place);
    let server = service.start().await;
    // A port that the system chose is the one to come back to.
    service.place = server.addresses()[0].without_keys().to_string();
    let client = service.client().reconnect_delay(MILLI * 5).connect().await.unwrap();
    assert_eq!(client.call("np.echo", "before").await.unwrap(), "before", "{place}");
    let before = client.connection();
    kill(server).await;
    before.closed().await;
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let client = client.clone();
        waiting.spawn(async move { (number, client.call("np.echo", format!("{number}")).await) });
    }
    tokio::task::yield_now().await;
    let server = service.start().await;
    while let Some(answered) = timeout(PATIENCE, waiting.join_next()).await.unwrap() {
        let (number, answer) = answered.unwrap();
        assert_eq!(answer.unwrap(), number.to_string(), "{place}");
    }
    assert_ne!(client.connection().binding(), before.binding(), "another connection stands");
    kill(server).await;
}

#[tokio::test]
async fn waiting_calls_are_answered_when_the_server_is_back_over_tcp() {
    comes_back("tcp://127.0.0.1:0").await;
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_answered_when_the_server_is_back_in_memory() {
    comes_back("mem:comes-back").await;
}

#[cfg(unix)]
#[tokio::test]
async fn waiting_calls_are_answered_when_the_server_is_back_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    comes_back(&format!("unix:{}", folder.path().join("np.sock").display())).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_of_unknown_outcome_is_told_and_runs_once() {
    let service = Service::new("mem:unknown");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let lost = call(&client, "forever", false);
    service.until_begun(1).await;
    kill(server).await;
    let error = timeout(PATIENCE, lost).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::Unknown), "{error}");
    let _server = service.start().await;
    client.call("np.echo", "").await.unwrap();
    assert_eq!(service.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_call_of_unknown_outcome_runs_again() {
    let service = Service::new("mem:idempotent");
    let mut server = service.start().await;
    let listed = service.client().idempotent_methods(["other", "zebra", "forever"]).connect().await.unwrap();
    let marked = service.client().connect().await.unwrap();
    let calls = [call(&listed, "forever", false), call(&marked, "forever", true)];
    service.until_begun(2).await;
    kill(server).await;
    server = service.start().await;
    service.until_begun(4).await;
    calls.iter().for_each(|call| call.abort());
    kill(server).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_sent_is_sent_again_by_itself() {
    let service = Service::new("mem:unsent");
    let limits = Limits { max_calls: 1, ..Limits::default() };
    let server = service.builder().limits(limits).start().await.unwrap();
    let client = service.client().retry_budget(0).connect().await.unwrap();
    client.call("np.echo", "").await.unwrap();
    let lost = call(&client, "forever", false);
    service.until_begun(1).await;
    // The server takes one call at a time, so these wait on this side.
    let unsent: Vec<_> = (0..50).map(|_| call(&client, "np.echo", false)).collect();
    tokio::time::sleep(MILLI).await;
    kill(server).await;
    let _server = service.start().await;
    for call in unsent {
        assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap().unwrap(), "x");
    }
    assert_eq!(lost.await.unwrap().unwrap_err().outcome, Outcome::Unknown);
    assert_eq!(service.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_of_unknown_outcomes_end_with_the_budget() {
    let service = Service::new("mem:budget-unknown");
    let mut server = service.start().await;
    let client = service.client().retry_budget(2).connect().await.unwrap();
    let call = call(&client, "forever", true);
    for begun in 1..=3 {
        service.until_begun(begun).await;
        kill(server).await;
        server = service.start().await;
    }
    let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.outcome, Outcome::Unknown);
    assert!(error.text.contains("retry_budget"), "{error}");
    assert_eq!(service.begun.load(Ordering::SeqCst), 3, "once, and twice again");
}

#[tokio::test(start_paused = true)]
async fn ten_successes_give_one_retry_back() {
    let service = Service::new("mem:deposits");
    let mut server = service.start().await;
    let client = service.client().retry_budget(1).connect().await.unwrap();
    let mut begun = 0;
    for successes in [10, 9, 1] {
        let call = call(&client, "forever", true);
        service.until_begun(begun + 1).await;
        kill(server).await;
        server = service.start().await;
        // Full at first, then ten tenths; in the third turn what nine of them left out is made up for.
        if successes == 1 {
            let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
            assert!(error.text.contains("retry_budget"), "{error}");
            begun += 1;
        } else {
            service.until_begun(begun + 2).await;
            call.abort();
            begun += 2;
        }
        for _ in 0..successes {
            client.call("np.echo", "").await.unwrap();
        }
    }
    let call = call(&client, "forever", true);
    service.until_begun(begun + 1).await;
    kill(server).await;
    let _server = service.start().await;
    service.until_begun(begun + 2).await;
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_call_holds_over_all_of_its_attempts() {
    let service = Service::new("mem:one-deadline");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let before = Instant::now();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.request("forever").deadline(Duration::from_secs(2)).idempotent().send().await }
    });
    service.until_begun(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    kill(server).await;
    let _server = service.start().await;
    service.until_begun(2).await;
    let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.status, before.elapsed().as_secs()), (Status::DeadlineExceeded, 2), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_way_messages_wait_for_a_connection_too() {
    let service = Service::new("mem:one-way-waits");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    kill(server).await;
    let sent = tokio::spawn({
        let client = client.clone();
        async move { client.send_one_way("forever", "").await }
    });
    tokio::time::sleep(MILLI * 10).await;
    let _server = service.start().await;
    timeout(PATIENCE, sent).await.unwrap().unwrap().unwrap();
    service.until_begun(1).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_sent_again_until_there_is_room_or_the_budget_ends() {
    let service = Service::new("mem:refused");
    let server = service.builder().max_server_calls(1).start().await.unwrap();
    let patient = service.client().connect().await.unwrap();
    let occupant = call(&patient, "forever", false);
    service.until_begun(1).await;
    let hasty = service.client().retry_budget(0).connect().await.unwrap();
    let refused = hasty.call("np.echo", "").await.unwrap_err();
    assert_eq!((refused.status, refused.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert!(refused.text.contains("max_server_calls") && refused.text.contains("retry_budget"), "{refused}");
    // Four refusals take 25 + 50 + 100 ms at most, and half of that at least.
    let three = service.client().retry_budget(3).connect().await.unwrap();
    let before = Instant::now();
    three.call("np.echo", "").await.unwrap_err();
    assert!((87..=177).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    // A pause does not outlast the deadline.
    let before = Instant::now();
    patient.request("np.echo").deadline(MILLI * 60).send().await.unwrap_err();
    assert!(before.elapsed() <= MILLI * 62, "{:?}", before.elapsed());
    let waiting = call(&patient, "np.echo", false);
    tokio::time::sleep(MILLI * 100).await;
    occupant.abort();
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), "x");
    kill(server).await;
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_their_deadline_and_no_longer() {
    let service = Service::new("mem:deadline");
    let server = service.start().await;
    let client = service.client().deadline(Duration::from_secs(3)).connect().await.unwrap();
    kill(server).await;
    client.connection().closed().await;
    for (wanted, deadline) in [(3_000, None), (500, Some(MILLI * 500))] {
        let before = Instant::now();
        let call = client.request("np.echo");
        let error = match deadline {
            Some(deadline) => call.deadline(deadline),
            None => call,
        };
        let error = error.send().await.unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::DeadlineExceeded, Outcome::NotProcessed));
        assert_eq!(ErrorKind::of_call(&error), ErrorKind::Connect, "{error}");
        let waited = before.elapsed().as_millis();
        assert!((wanted..wanted + 20).contains(&waited), "{waited}");
    }
    // A stream waits for a connection as long as a call.
    let before = Instant::now();
    let error = client.open_stream("np.echo-stream").await.unwrap_err();
    assert_eq!((error.status, before.elapsed().as_secs()), (Status::DeadlineExceeded, 3));
}

#[tokio::test(start_paused = true)]
async fn events_tell_in_order_what_becomes_of_the_connection() {
    let service = Service::new("mem:events");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let mut events = client.events();
    let connected = ClientEvent::Connected { connection: 0, address: "mem:events".to_owned() };
    assert_eq!(next(&mut events).await, connected);
    client.call("np.echo", "").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    kill(server).await;
    let mut ceiling = MILLI * 100;
    for wanted in 1..=12 {
        let ClientEvent::Reconnecting { connection: 0, attempt, delay, reason } = next(&mut events).await else {
            panic!()
        };
        assert_eq!(attempt, wanted);
        assert!(delay >= ceiling / 2 && delay <= ceiling, "{attempt}: {delay:?}");
        let lost = matches!(reason, ConnectionError::ClosedByPeer { .. } | ConnectionError::Misbehaved(_));
        let absent = matches!(&reason, ConnectionError::Io { text, .. } if text.contains("nobody listens there"));
        assert!(if attempt == 1 { lost } else { absent }, "{attempt}: {reason}");
        ceiling = (ceiling * 2).min(Duration::from_secs(30));
    }
    let server = service.start().await;
    assert_eq!(outcome(&mut events).await.1, connected);
    // A late subscriber learns where things stand.
    assert_eq!(next(&mut client.events()).await, connected);
    // Once it has stood the steps begin again.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let draining = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    assert_eq!(next(&mut events).await, ClientEvent::Draining { connection: 0, address: "mem:events".to_owned() });
    let again = next(&mut events).await;
    assert!(matches!(again, ClientEvent::Reconnecting { attempt: 1, .. }), "{again:?}");
    draining.await.unwrap();
    assert_eq!(client.close().await, ConnectionError::ClosedHere(CloseCode::Normal));
    let closed = ClientEvent::Closed { reason: ConnectionError::ClosedHere(CloseCode::Normal) };
    assert_eq!(outcome(&mut events).await.1, closed);
    assert_eq!(events.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_the_delay_are_kept() {
    let service = Service::new("mem:delays");
    let server = service.start().await;
    let builder = service.client().reconnect_delay(MILLI * 8).max_reconnect_delay(MILLI * 20);
    let client = builder.connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    kill(server).await;
    for ceiling in [8, 16, 20, 20].map(|ceiling| MILLI * ceiling) {
        let ClientEvent::Reconnecting { delay, .. } = next(&mut events).await else { panic!() };
        assert!(delay >= ceiling / 2 && delay <= ceiling, "{delay:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_max_reconnect_attempts_the_client_is_over() {
    let service = Service::new("mem:attempts");
    let server = service.start().await;
    let client = service.client().max_reconnect_attempts(3).connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    let waiting = call(&client, "forever", true);
    service.until_begun(1).await;
    kill(server).await;
    let (attempts, end) = outcome(&mut events).await;
    let ClientEvent::Closed { reason } = end else { panic!("{end:?}") };
    assert_eq!(attempts, 3);
    assert!(reason.to_string().contains("max_reconnect_attempts"), "{reason}");
    assert_eq!(client.closed().await, reason);
    // Neither those that wait nor those that come wait any longer.
    for error in [waiting.await.unwrap().unwrap_err(), client.call("np.echo", "").await.unwrap_err()] {
        assert_eq!((error.outcome, error.cause.as_deref()), (Outcome::NotProcessed, Some(&reason)));
    }
}

#[tokio::test(start_paused = true)]
async fn without_auto_reconnect_the_loss_is_the_end() {
    let service = Service::new("mem:once");
    let server = service.start().await;
    let client = service.client().auto_reconnect(false).connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    let lost = call(&client, "forever", true);
    service.until_begun(1).await;
    kill(server).await;
    assert_eq!(lost.await.unwrap().unwrap_err().outcome, Outcome::Unknown);
    let reason = client.closed().await;
    assert_eq!(Some(&reason), client.connection().error().as_ref());
    assert_eq!(next(&mut events).await, ClientEvent::Closed { reason });
    let _server = service.start().await;
    let error = client.call("np.echo", "").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed));
}

#[tokio::test(start_paused = true)]
async fn a_first_connect_that_fails_is_told_at_once() {
    let before = Instant::now();
    let builder = Service::new("mem:nobody-one").client().address("mem:nobody-two");
    let error = builder.danger_trust_anyone().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "a key that is ignored: {error}");
    let error = Client::builder("mem:nobody-one").address("mem:nobody-two").danger_trust_anyone().connect().await;
    let error = error.unwrap_err();
    assert_eq!((error.kind(), before.elapsed()), (ErrorKind::Connect, Duration::ZERO));
    // Each was tried.
    assert!(error.to_string().contains("mem:nobody-one") && error.to_string().contains("mem:nobody-two"), "{error}");
    let error = Service::new("mem:nobody-one").client().connect().await.unwrap_err();
    assert!(matches!(error, np_facade::Error::Connect(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_is_not_tried_again() {
    let service = Service::new("mem:refused-key");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    kill(server).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let policy = Policy::closure(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Decision::Refuse { reason: "not any more".to_owned() }
    });
    let _server = service.builder_for(policy).start().await.unwrap();
    let (_, end) = outcome(&mut events).await;
    let ClientEvent::Closed { reason } = end else { panic!("{end:?}") };
    assert!(matches!(reason, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. }));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let error = client.call("np.echo", "").await.unwrap_err();
    assert_eq!(ErrorKind::of_call(&error), ErrorKind::Authentication, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_key_is_given_up_after_ten_attempts() {
    let service = Service::new("mem:impostor");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    kill(server).await;
    let impostor = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("mem:impostor");
    let _impostor = impostor.start().await.unwrap();
    let (attempts, end) = outcome(&mut events).await;
    let ClientEvent::Closed { reason: ConnectionError::Refused { reason, .. } } = end else { panic!("{end:?}") };
    assert_eq!(attempts, 10);
    assert!(reason.contains("not accepted here"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn refusals_before_a_connection_stood_count_no_more() {
    let service = Service::new("mem:impostor-leaves");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    kill(server).await;
    for _ in 0..2 {
        let impostor = Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen("mem:impostor-leaves");
        let impostor = impostor.start().await.unwrap();
        for _ in 0..9 {
            assert!(matches!(next(&mut events).await, ClientEvent::Reconnecting { .. }));
        }
        kill(impostor).await;
        let server = service.start().await;
        let (_, stands) = outcome(&mut events).await;
        assert!(matches!(stands, ClientEvent::Connected { .. }), "{stands:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        kill(server).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_ends_calls_on_a_connection_that_drains() {
    let service = Service::new("mem:close-drains");
    let server = service.start().await;
    let client = service.client().connect().await.unwrap();
    let mut events = client.events();
    next(&mut events).await;
    let open = call(&client, "forever", false);
    service.until_begun(1).await;
    let draining = tokio::spawn(async move { server.shutdown(Duration::from_secs(600)).await });
    assert!(matches!(next(&mut events).await, ClientEvent::Draining { .. }));
    client.close().await;
    let error = timeout(Duration::from_secs(1), open).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.outcome, Outcome::Unknown);
    timeout(PATIENCE, draining).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_fails_with_its_connection_and_the_next_one_opens() {
    let service = Service::new("mem:streams");
    let start = || {
        let builder = service.builder().on_stream("count", |_, mut stream: np_facade::MessageStream| async move {
            while let Some(message) = stream.recv().await {
                stream.send(message?).await?;
            }
            Ok(())
        });
        builder.start()
    };
    let server = start().await.unwrap();
    let client = service.client().connect().await.unwrap();
    let mut stream = client.open_stream("count").await.unwrap();
    stream.send("one").await.unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap(), "one");
    kill(server).await;
    let error = stream.recv().await.unwrap().unwrap_err();
    assert_eq!((error.status, error.cause.is_some()), (Status::Unavailable, true), "{error}");
    let _server = start().await.unwrap();
    let mut stream = client.open_stream("count").await.unwrap();
    stream.send("two").await.unwrap();
    assert_eq!(stream.recv().await.unwrap().unwrap(), "two");
}

#[tokio::test(start_paused = true)]
async fn a_lost_message_stream_is_told_once_and_opened_again() {
    let service = Service::new("mem:lost-messages");
    let start = || {
        let builder = service.builder().on_messages(|_, mut stream: np_facade::MessageStream| async move {
            while let Some(message) = stream.recv_as::<Message>().await {
                stream.send_as(&message?.respond()).await?;
            }
            Ok(())
        });
        builder.start()
    };
    let server = start().await.unwrap();
    let client = service.client().connect().await.unwrap();
    client.send(&Message::Ping).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(Message::Pong));
    kill(server).await;
    client.connection().closed().await;
    let error = client.recv::<Message>().await.unwrap_err();
    assert_eq!((error.status, error.cause.is_some()), (Status::Unavailable, true), "{error}");
    let _server = start().await.unwrap();
    client.send(&Message::Ping).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(Message::Pong));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_ends_the_connections_and_the_events() {
    let service = Service::new("mem:last-clone");
    let server = service.start().await;
    let client = service.client().pool_size(3).connect().await.unwrap();
    let mut events = client.events();
    until(|| server.connections().len() == 3).await;
    let other = client.clone();
    drop(client);
    other.call("np.echo", "").await.unwrap();
    drop(other);
    until(|| server.connections().is_empty()).await;
    while let Some(event) = events.next().await {
        assert!(matches!(event, ClientEvent::Connected { .. } | ClientEvent::Closed { .. }), "{event:?}");
    }
}

/// An age on either side: the connection is another one now and then, and no call fails.
#[tokio::test(start_paused = true)]
async fn connections_of_an_age_are_replaced_without_a_failed_call() {
    let age = Lifetime { max_age: Some(Duration::from_secs(100)), ..Lifetime::default() };
    for (place, server_age, client_age) in
        [("mem:age-server", age, Lifetime::default()), ("mem:age-client", Lifetime::default(), age)]
    {
        let service = Service::new(place);
        let _server = service.builder().lifetime(server_age).start().await.unwrap();
        let client = service.client().lifetime(client_age).connect().await.unwrap();
        let mut events = client.events();
        let asking = async {
            for _ in 0..500 {
                client.call("np.echo", "x").await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        asking.await;
        client.close().await;
        let mut connected = 0;
        while let Some(event) = futures_util::StreamExt::next(&mut events).await {
            connected += usize::from(matches!(event, ClientEvent::Connected { .. }));
        }
        assert!((5..=8).contains(&connected), "{place}: {connected}");
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_end_where_a_lifetime_says_so() {
    let idle = Lifetime { idle_timeout: Some(Duration::from_secs(60)), ..Lifetime::default() };
    for (place, server_idle, client_idle) in
        [("mem:idle-server", idle, Lifetime::default()), ("mem:idle-client", Lifetime::default(), idle)]
    {
        let service = Service::new(place);
        let _server = service.builder().lifetime(server_idle).start().await.unwrap();
        let client = service.client().auto_reconnect(false).lifetime(client_idle).connect().await.unwrap();
        let since = Instant::now();
        client.connection().closed().await;
        assert!((60..65).contains(&since.elapsed().as_secs()), "{place}: {:?}", since.elapsed());
    }
}

/// A resolver that panics once costs an attempt, and not the client.
#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_costs_an_attempt_alone() {
    let service = Service::new("mem:panicking-resolver");
    let server = service.start().await;
    let (asked, address) = (Arc::new(AtomicUsize::new(0)), server.addresses()[0].clone());
    let count = Arc::clone(&asked);
    let resolver = move || {
        let (turn, address) = (count.fetch_add(1, Ordering::SeqCst), address.clone());
        async move {
            assert_ne!(turn, 1, "the second time it panics");
            Ok(vec![address])
        }
    };
    let client = Client::resolved_by(resolver).reconnect_delay(MILLI).connect().await.unwrap();
    let before = client.connection();
    kill(server).await;
    before.closed().await;
    let _server = service.start().await;
    assert_eq!(client.call("np.echo", "after").await.unwrap(), "after");
    assert!(asked.load(Ordering::SeqCst) >= 3);
}
