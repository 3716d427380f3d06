//! Exactly-once calls over connections that are lost, servers that start again, and drains.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::by_hand::ByHand;
use common::{House, config, echo, keypair, request, serve, serve_with, until, within};
use np_dispatch::{
    AttemptEnd, CallContext, Epoch, InstanceId, OnceClient, OnceHeader, OnceNext, OnceSettings, Reply, Router,
};
use np_driver::{AcceptorConfig, Compression, Connection, ConnectorConfig, WhenFull, connect};
use np_noise::Keypair;
use np_session::{Event, OpenCall, OpenKind};
use np_trust::Policy;
use np_types::{CallError, CloseCode, Deadline, Metadata, Outcome, Status};
use tokio::sync::Notify;
use tokio::time::Instant;

fn remembers(config: &mut AcceptorConfig) {
    config.exactly_once = Some(OnceSettings::default());
}

/// Work that counts how often it began, and ends when it is let.
#[derive(Clone, Default)]
struct Work {
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    open: Arc<Notify>,
}

impl Work {
    fn router(&self) -> Router {
        let (router, work) = (echo(), self.clone());
        let at_work = move |_, _| {
            let work = work.clone();
            async move {
                let number = work.begun.fetch_add(1, Ordering::SeqCst) + 1;
                work.open.notified().await;
                work.ended.fetch_add(1, Ordering::SeqCst);
                Ok(format!("work {number}"))
            }
        };
        router.on_async("work", at_work).unwrap();
        let panics = Arc::clone(&self.begun);
        let handler = move |_, _| -> Result<Reply, CallError> {
            panics.fetch_add(1, Ordering::SeqCst);
            panic!("out of paper")
        };
        router.on("panic", handler).unwrap();
        router
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    async fn has_begun(&self, times: usize) {
        until(|| self.begun() == times).await;
    }
}

/// A client that keeps its key and its calls while connections come and go.
struct Caller {
    key: Keypair,
    calls: OnceClient,
}

impl Caller {
    fn new() -> Self {
        Self { key: keypair(), calls: OnceClient::new(InstanceId::from_bytes([7; 16])) }
    }

    async fn connect(&self, house: &House) -> (Connection, Epoch) {
        let own = config(house);
        let own = ConnectorConfig { identity: self.key.clone(), ..own };
        let connection = connect(&house.address, own).await.unwrap();
        let epoch = connection.once_epoch(self.calls.instance(), Deadline::NONE).await.unwrap();
        (connection, epoch)
    }

    /// Sends an attempt; the call is under way when its result is waited for.
    fn send(&mut self, connection: &Connection, method: &str, number: u64, epoch: Epoch) -> Sent {
        let header = self.calls.attempt(number, epoch).unwrap();
        send(connection, method, header)
    }
}

type Sent = tokio::task::JoinHandle<Result<Reply, CallError>>;

fn send(connection: &Connection, method: &str, header: OnceHeader) -> Sent {
    let (connection, request) = (connection.clone(), request(method).deadline(Deadline::NONE).once(header));
    tokio::spawn(async move { connection.call(request).await })
}

async fn lose(connection: Connection, sent: Sent) -> AttemptEnd {
    connection.close(CloseCode::Normal, "").await;
    AttemptEnd::of(&within(sent).await.unwrap())
}

#[tokio::test]
async fn a_lost_connection_stops_nothing_and_a_retry_joins_or_has_the_reply() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (first, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let sent = caller.send(&first, "work", number, epoch);
    work.has_begun(1).await;
    let end = lose(first, sent).await;
    assert_eq!(caller.calls.ended(number, end), OnceNext::Retry { only: Some(epoch) });
    until(|| house.acceptor.connections().is_empty()).await;

    // A retry joins the call that runs; it is lost as well, and so is nothing.
    let (second, again) = caller.connect(&house).await;
    assert_eq!(again, epoch);
    let sent = caller.send(&second, "work", number, epoch);
    second.ping().await.unwrap();
    let end = lose(second, sent).await;
    assert_eq!(end, AttemptEnd::Lost);
    caller.calls.ended(number, end);

    let (third, _) = caller.connect(&house).await;
    let header = caller.calls.attempt(number, epoch).unwrap();
    let sent = send(&third, "work", header.clone());
    third.ping().await.unwrap();
    work.open.notify_one();
    assert_eq!(within(sent).await.unwrap().unwrap().body, "work 1");
    // The answer did not arrive: it is given again.
    for _ in 0..3 {
        assert_eq!(within(send(&third, "work", header.clone())).await.unwrap().unwrap().body, "work 1");
    }
    assert_eq!(work.begun(), 1);
    assert_eq!(caller.calls.ended(number, AttemptEnd::Answered), OnceNext::Done);

    // The next call acknowledges the first, of which nothing is known from then on.
    let next = caller.calls.begin().unwrap();
    let sent = caller.send(&third, "work", next, epoch);
    work.has_begun(2).await;
    let error = within(send(&third, "work", header)).await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::OutcomeUnknown, Outcome::Unknown));
    work.open.notify_one();
    assert_eq!(within(sent).await.unwrap().unwrap().body, "work 2");
    assert_eq!(work.begun(), 2);
}

#[tokio::test]
async fn a_server_that_ends_a_connection_answers_nothing_of_what_runs() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (first, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let sent = caller.send(&first, "work", number, epoch);
    work.has_begun(1).await;
    house.acceptor.connections()[0].close(CloseCode::Internal, "cut").await;
    let end = AttemptEnd::of(&within(sent).await.unwrap());
    assert_eq!(caller.calls.ended(number, end), OnceNext::Retry { only: Some(epoch) });
    let (second, _) = caller.connect(&house).await;
    let sent = caller.send(&second, "work", number, epoch);
    second.ping().await.unwrap();
    work.open.notify_one();
    assert_eq!(within(sent).await.unwrap().unwrap().body, "work 1");
}

#[tokio::test]
async fn a_server_that_started_again_runs_no_call_of_before() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (first, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch).unwrap();
    let sent = send(&first, "work", header.clone());
    work.has_begun(1).await;
    drop(house);
    let end = AttemptEnd::of(&within(sent).await.unwrap());
    caller.calls.ended(number, end);

    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let (second, other) = caller.connect(&house).await;
    assert_ne!(other, epoch);
    assert!(caller.calls.attempt(number, other).is_err());
    let error = within(send(&second, "work", header)).await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::OutcomeUnknown, Outcome::Unknown));
    assert_eq!(work.begun(), 1);
}

#[tokio::test]
async fn a_panic_is_a_reply_and_so_is_every_refusal_of_the_method() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    for (method, status) in
        [("panic", Status::Internal), ("nobody", Status::UnknownMethod), ("np.echo-stream", Status::WrongKind)]
    {
        let number = caller.calls.begin().unwrap();
        let header = caller.calls.attempt(number, epoch).unwrap();
        for _ in 0..2 {
            let error = within(send(&client, method, header.clone())).await.unwrap().unwrap_err();
            assert_eq!((error.status, error.outcome), (status, Outcome::Answered), "{method}");
        }
    }
    assert_eq!(work.begun(), 1);
    assert_eq!(client.call(request("np.echo").body("still here")).await.unwrap().body, "still here");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_stops_a_call_whose_connection_is_gone() {
    let work = Work::default();
    let house = serve_with("mem:once-deadline", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (first, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch).unwrap();
    let within_5s = first.clock().deadline(Duration::from_secs(5));
    let (connection, call) = (first.clone(), request("work").deadline(within_5s).once(header.clone()));
    let sent = tokio::spawn(async move { connection.call(call).await });
    work.has_begun(1).await;
    lose(first, sent).await;
    let (second, _) = caller.connect(&house).await;
    let before = Instant::now();
    let error = within(send(&second, "work", header)).await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::DeadlineExceeded);
    assert!(before.elapsed() <= Duration::from_secs(5));
    work.open.notify_one();
    assert_eq!((work.begun(), work.ended.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_calls_whose_connection_is_gone_and_no_longer_than_told() {
    for lets in [true, false] {
        let work = Work::default();
        let mut house = serve_with(&format!("mem:once-drain-{lets}"), work.router(), remembers).await;
        let mut caller = Caller::new();
        let (client, epoch) = caller.connect(&house).await;
        let number = caller.calls.begin().unwrap();
        let sent = caller.send(&client, "work", number, epoch);
        work.has_begun(1).await;
        lose(client, sent).await;
        let before = Instant::now();
        let open = Arc::clone(&work.open);
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(4)).await;
            if lets {
                open.notify_one();
            }
        });
        within(house.acceptor.drain(Duration::from_secs(10))).await;
        later.await.unwrap();
        let ended = work.ended.load(Ordering::SeqCst);
        let took = before.elapsed().as_secs();
        assert_eq!((ended, took), if lets { (1, 4) } else { (0, 10) });
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_drain_cuts_one_short_that_waits_for_calls_whose_connection_is_gone() {
    let work = Work::default();
    let mut house = serve_with("mem:once-two-drains", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let sent = caller.send(&client, "work", number, epoch);
    work.has_begun(1).await;
    lose(client, sent).await;
    let (before, roster) = (Instant::now(), house.acceptor.roster());
    let drain = tokio::spawn(async move { house.acceptor.drain(Duration::from_secs(600)).await });
    // Two that come meanwhile: the later one ends sooner, and one that would end later than both changes nothing.
    for (at, span) in [(4, 100), (10, 5), (12, 50)] {
        tokio::time::sleep_until(before + Duration::from_secs(at)).await;
        roster.drain(Duration::from_secs(span)).await;
        assert!(!drain.is_finished(), "{at}");
    }
    within(drain).await.unwrap();
    assert_eq!((work.ended.load(Ordering::SeqCst), before.elapsed().as_secs()), (0, 15));
}

#[tokio::test]
async fn whoever_drops_the_acceptor_stops_its_calls() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let sent = caller.send(&client, "work", number, epoch);
    work.has_begun(1).await;
    lose(client, sent).await;
    drop(house);
    // The call holds its part of the work for as long as it is there.
    until(|| Arc::strong_count(&work.open) == 1).await;
}

#[tokio::test]
async fn identities_have_nothing_to_do_with_each_other() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), remembers).await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch).unwrap();
    let sent = send(&client, "work", header.clone());
    work.has_begun(1).await;
    // The same instance of somebody else.
    let (thief, other) = Caller::new().connect(&house).await;
    assert_ne!(other, epoch);
    let error = within(send(&thief, "work", header)).await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::OutcomeUnknown);
    work.open.notify_one();
    assert_eq!(within(sent).await.unwrap().unwrap().body, "work 1");
    assert_eq!(work.begun(), 1);
}

#[tokio::test]
async fn without_the_setting_such_calls_are_refused_and_not_run() {
    let work = Work::default();
    let house = serve("tcp://127.0.0.1:0", work.router()).await;
    let mut caller = Caller::new();
    let client = connect(&house.address, config(&house)).await.unwrap();
    let error = client.once_epoch(caller.calls.instance(), Deadline::NONE).await.unwrap_err();
    assert_eq!(error.status, Status::UnknownMethod);
    assert!(error.text.contains("exactly_once"), "{error}");
    let number = caller.calls.begin().unwrap();
    let error = caller.send(&client, "work", number, Epoch::from_bytes([1; 16])).await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::InvalidArgument);
    assert_eq!(work.begun(), 0);
}

#[tokio::test]
async fn calls_beyond_a_limit_are_refused_as_safe_to_send_again_or_wait() {
    for when_full in [WhenFull::Refuse, WhenFull::Wait] {
        let work = Work::default();
        let house = serve_with("tcp://127.0.0.1:0", work.router(), |config| {
            remembers(config);
            (config.max_identity_calls, config.when_full) = (1, when_full);
        })
        .await;
        let mut caller = Caller::new();
        let (client, epoch) = caller.connect(&house).await;
        let (one, two) = (caller.calls.begin().unwrap(), caller.calls.begin().unwrap());
        let header = caller.calls.attempt(one, epoch).unwrap();
        let first = send(&client, "work", header.clone());
        work.has_begun(1).await;
        let mut second = caller.send(&client, "work", two, epoch);
        if when_full == WhenFull::Refuse {
            let result = within(second).await.unwrap();
            assert!(result.as_ref().unwrap_err().text.contains("max_identity_calls"));
            assert_eq!(caller.calls.ended(two, AttemptEnd::of(&result)), OnceNext::Retry { only: None });
        } else {
            client.ping().await.unwrap();
            assert_eq!(work.begun(), 1);
            work.open.notify_one();
            work.has_begun(2).await;
            work.open.notify_one();
            assert_eq!(within(second).await.unwrap().unwrap().body, "work 2");
            assert_eq!(within(first).await.unwrap().unwrap().body, "work 1");
            continue;
        }
        // A retry of the one that runs needs no place.
        let retry = send(&client, "work", header);
        client.ping().await.unwrap();
        work.open.notify_one();
        assert_eq!(within(first).await.unwrap().unwrap().body, "work 1");
        assert_eq!(within(retry).await.unwrap().unwrap().body, "work 1");
        // And the one that was refused was not taken for one that ran.
        second = caller.send(&client, "work", two, epoch);
        work.has_begun(2).await;
        work.open.notify_one();
        assert_eq!(within(second).await.unwrap().unwrap().body, "work 2");
    }
}

#[tokio::test]
async fn a_call_counts_for_its_identity_when_its_connection_is_gone() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), |config| {
        remembers(config);
        config.max_identity_calls = 1;
    })
    .await;
    let mut caller = Caller::new();
    let (first, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let sent = caller.send(&first, "work", number, epoch);
    work.has_begun(1).await;
    lose(first, sent).await;
    until(|| house.acceptor.connections().is_empty()).await;
    let own = ConnectorConfig { identity: caller.key.clone(), ..config(&house) };
    let second = connect(&house.address, own).await.unwrap();
    let error = second.call(request("np.echo")).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed));
    work.open.notify_one();
    until(|| work.ended.load(Ordering::SeqCst) == 1).await;
    until_answered(&second).await;
}

async fn until_answered(client: &Connection) {
    within(async { while client.call(request("np.echo")).await.is_err() {} }).await;
}

#[tokio::test(start_paused = true)]
async fn each_attempt_counts_for_the_rate_of_its_peer() {
    let house = serve_with("mem:once-rate", echo(), |config| {
        remembers(config);
        config.max_peer_calls_per_second = Some(5);
    })
    .await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch).unwrap();
    for _ in 0..4 {
        within(send(&client, "np.echo", header.clone())).await.unwrap().unwrap();
    }
    let error = within(send(&client, "np.echo", header)).await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert!(error.text.contains("max_peer_calls_per_second"), "{error}");
}

#[tokio::test]
async fn the_limits_of_what_is_remembered_are_told_by_name() {
    let work = Work::default();
    let house = serve_with("tcp://127.0.0.1:0", work.router(), |config| {
        let settings = OnceSettings {
            max_identity_remembered: 1,
            max_identity_remembered_bytes: 1_000,
            max_identity_instances: 1,
            ..OnceSettings::default()
        };
        config.exactly_once = Some(settings);
    })
    .await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let (one, two) = (caller.calls.begin().unwrap(), caller.calls.begin().unwrap());
    let first = caller.send(&client, "work", one, epoch);
    work.has_begun(1).await;
    let error = caller.send(&client, "work", two, epoch).await.unwrap().unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed));
    assert!(error.text.contains("max_identity_remembered"), "{error}");
    let error = client.once_epoch(InstanceId::from_bytes([8; 16]), Deadline::NONE).await.unwrap_err();
    assert_eq!(error.status, Status::LimitReached);
    assert!(error.text.contains("max_identity_instances"), "{error}");
    work.open.notify_one();
    within(first).await.unwrap().unwrap();
    // What no waiting helps against is an answer.
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch);
    let large = request("np.echo").body(vec![0; 1_001]).once(header.unwrap());
    let error = client.call(large).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::Answered));
    assert!(error.text.contains("max_identity_remembered_bytes"), "{error}");
}

#[tokio::test]
async fn a_reply_is_compressed_for_each_peer_that_has_it() {
    let router = echo();
    router.on("long", |_, body| Ok(body)).unwrap();
    let house = serve_with("tcp://127.0.0.1:0", router, |config| {
        remembers(config);
        config.compression = Compression { by_default: true, ..Compression::default() };
    })
    .await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let header = caller.calls.attempt(number, epoch).unwrap();
    let body = vec![7; 200_000];
    for compress in [true, false] {
        let request = request("long").body(body.clone()).compress(compress).once(header.clone());
        assert_eq!(client.call(request).await.unwrap().body, body);
    }
}

/// A method that counts the pairs that it sees, of all of its calls.
fn pairs() -> (Router, Arc<AtomicUsize>) {
    let (router, seen) = (echo(), Arc::new(AtomicUsize::new(0)));
    let pairs = Arc::clone(&seen);
    let handler = move |ctx: CallContext, _| {
        pairs.fetch_add(ctx.metadata().iter().len(), Ordering::SeqCst);
        Ok("")
    };
    router.on("pairs", handler).unwrap();
    (router, seen)
}

fn traced() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("traceparent", b"00").unwrap();
    metadata
}

#[tokio::test]
async fn handlers_do_not_see_the_header_and_clients_send_it_with_calls_alone() {
    let (router, seen) = pairs();
    let house = serve_with("tcp://127.0.0.1:0", router, remembers).await;
    let mut caller = Caller::new();
    let (client, epoch) = caller.connect(&house).await;
    let number = caller.calls.begin().unwrap();
    let request = request("pairs").metadata(traced()).once(caller.calls.attempt(number, epoch).unwrap());
    client.call(request.clone()).await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
    let error = client.send_one_way(request).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
}

#[tokio::test]
async fn a_header_that_is_none_and_one_that_is_no_calls_are_refused() {
    let (router, seen) = pairs();
    let house = serve_with("mem:once-by-hand?mode=danger-plaintext", router, |config| {
        remembers(config);
        config.policy = Policy::anyone().or(Policy::anonymous());
    })
    .await;
    let mut hand = ByHand::connect(&house.address).await;
    let mut ask = async |kind, header: &[u8]| {
        let mut metadata = traced();
        metadata.insert(OnceHeader::KEY, header).unwrap();
        hand.session.open(OpenCall { metadata, ..OpenCall::new(kind, "pairs".parse().unwrap()) }).unwrap();
        loop {
            if let Event::Failed { error, .. } = hand.event().await {
                return error;
            }
        }
    };
    let error = ask(OpenKind::Request, &[0; 47]).await;
    assert_eq!(error.status, Status::InvalidArgument);
    assert!(error.text.contains("np-once") && error.text.contains("47"), "{error}");
    let error = ask(OpenKind::Stream, &[0; 48]).await;
    assert_eq!((error.status, error.text.as_str()), (Status::InvalidArgument, "only calls run exactly once"));
    // This one is a call's, of an instance that nobody knows.
    let error = ask(OpenKind::Request, &[0; 48]).await;
    assert_eq!(error.status, Status::OutcomeUnknown);
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}
