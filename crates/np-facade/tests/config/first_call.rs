//! A client that is made for a call: how long both take together, and what is told of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_facade::{
    CallError, Client, CloseCode, Compression, ErrorKind, Identity, Lifetime, OnceSettings, Outcome, Policy, Server,
    ServerBuilder, Status,
};
use tokio::time::{Instant, sleep, timeout};

use crate::effects::address;
use crate::wire::{PATIENCE, Way};

/// How long one way takes.
const WAY: Duration = Duration::from_millis(100);

/// A server of one method that counts how often it was run, and of `slow`, which takes a second; and that count.
fn counting(policy: Policy) -> (ServerBuilder, Arc<AtomicUsize>) {
    let runs = Arc::<AtomicUsize>::default();
    let (count, slow) = (Arc::clone(&runs), Arc::clone(&runs));
    let builder = Server::builder(Identity::generate().unwrap(), policy)
        .on("count", move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, CallError>("counted")
        })
        .on_async("slow", move |_, _| {
            slow.fetch_add(1, Ordering::SeqCst);
            async {
                sleep(Duration::from_secs(1)).await;
                Ok::<_, CallError>("late")
            }
        });
    (builder, runs)
}

async fn open(name: &str, policy: Policy) -> (Server, Arc<AtomicUsize>) {
    let (builder, runs) = counting(policy);
    (builder.listen(format!("mem:first-{name}")).start().await.unwrap(), runs)
}

fn nobody() -> Policy {
    Policy::allow_keys([Identity::generate().unwrap().public_key()])
}

/// What leaves with the handshake, and what has to wait for the server's first record.
fn bodies() -> [Vec<u8>; 2] {
    [vec![7; 64], vec![7; 2_000]]
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_made_for_a_call_has_its_answer_after_two_round_trips() {
    let (server, _) = open("flights", Policy::anyone()).await;
    let way = Way::to(&server, WAY).await;
    for (body, flights) in bodies().into_iter().zip([4, 6]) {
        let before = Instant::now();
        let (client, answer) = Client::builder(&way.address).connect_and_call("np.echo", body.clone()).await.unwrap();
        assert_eq!(answer.unwrap().body, body);
        let took = before.elapsed().as_millis();
        assert!((flights * 100..flights * 100 + 20).contains(&took), "{} bytes: {took} ms", body.len());
        assert_eq!(client.call("np.echo", "again").await.unwrap(), "again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_made_for_a_call_tells_that_it_was_refused_and_nothing_is_done() {
    let (server, runs) = open("refused", nobody()).await;
    for body in bodies() {
        let error = Client::builder(address(&server)).connect_and_call("count", body).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let by_connect = Client::builder(address(&server)).connect().await.unwrap_err();
        assert_eq!(error.to_string(), by_connect.to_string());
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn another_address_is_called_where_the_first_has_no_place_or_refuses() {
    let (refusing, none) = open("refusing", nobody()).await;
    let (full, full_runs) = counting(Policy::anyone());
    let full = full.max_connections(1).listen("mem:first-full").start().await.unwrap();
    let (taking, runs) = open("taking", Policy::anyone()).await;
    let _first = Client::connect(&address(&full)).await.unwrap();
    let builder = Client::builder(address(&refusing)).address(address(&full)).address(address(&taking));
    // It is the attempt to connect that goes on, and not a connection that is made again.
    let builder = builder.auto_reconnect(false);
    let (client, answer) = builder.connect_and_call("count", "").await.unwrap();
    assert_eq!(answer.unwrap().body, "counted");
    let ran = [none, full_runs, runs].map(|runs| runs.load(Ordering::SeqCst));
    assert_eq!(ran, [0, 0, 1]);
    assert_eq!(client.call("count", "").await.unwrap(), "counted");
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_call_leaves_a_client_that_can_be_used() {
    let (server, runs) = open("errors", Policy::anyone()).await;
    for (method, status) in [("no.such", Status::UnknownMethod), ("", Status::InvalidArgument)] {
        let (client, answer) = Client::builder(address(&server)).connect_and_call(method, "").await.unwrap();
        let error = answer.unwrap_err();
        assert_eq!(error.status, status, "{error}");
        assert_eq!(client.call("count", "").await.unwrap(), "counted");
    }
    let (client, answer) = Client::builder(address(&server))
        .deadline(Duration::from_millis(100))
        .connect_and_call("slow", "")
        .await
        .unwrap();
    assert_eq!(answer.unwrap_err().status, Status::DeadlineExceeded);
    assert_eq!(client.call("count", "").await.unwrap(), "counted");
    assert_eq!(runs.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_done_is_not_made_at_another_address() {
    let ends = [(1, 10, Status::DeadlineExceeded), (30, 1, Status::Unavailable)];
    for (deadline, handshake, status) in ends {
        let (server, done) = open(&format!("mute-{deadline}"), Policy::anyone()).await;
        let (other, runs) = open(&format!("other-{deadline}"), Policy::anyone()).await;
        let way = Way::to(&server, WAY).await;
        // The call has gone in when the way is shut, and its answer does not come out: the client cannot know that it was done.
        let shut = async {
            sleep(Duration::from_millis(250)).await;
            way.open.send_replace(false);
        };
        let builder = Client::builder(&way.address)
            .address(address(&other))
            .deadline(Duration::from_secs(deadline))
            .handshake_timeout(Duration::from_secs(handshake));
        let before = Instant::now();
        let (made, ()) = tokio::join!(builder.connect_and_call("count", ""), shut);
        let (_client, answer) = made.unwrap();
        let error = answer.unwrap_err();
        assert_eq!((error.status, error.outcome), (status, Outcome::Unknown), "{error}");
        assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
        assert_eq!([done, runs].map(|runs| runs.load(Ordering::SeqCst)), [1, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_calls_run_once_has_its_first_call_numbered_too() {
    let (server, _) = counting(Policy::anyone());
    let server = server.exactly_once(OnceSettings::default()).listen("mem:first-once").start().await.unwrap();
    let way = Way::to(&server, WAY).await;
    let before = Instant::now();
    let builder = Client::builder(&way.address).exactly_once();
    let made = timeout(PATIENCE, builder.connect_and_call("count", "")).await.unwrap();
    let (_client, answer) = made.unwrap();
    assert_eq!(answer.unwrap().body, "counted");
    // It asks first in whose memory the reply is to be.
    assert!(before.elapsed() >= WAY * 8, "{:?}", before.elapsed());
    // A refusal is told as `connect` tells it, also where later connections are to call early.
    let (refusing, _) = open("once-refused", nobody()).await;
    let builder = Client::builder(address(&refusing)).exactly_once().early_call(true);
    let error = builder.connect_and_call("count", "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_first_call_that_is_to_be_compressed_is() {
    let (server, _) = open("compressed", Policy::anyone()).await;
    let way = Way::to(&server, WAY).await;
    for size in [512, 100_000] {
        let mut bytes = [0; 2];
        for (by_default, passed) in [false, true].into_iter().zip(&mut bytes) {
            let compression = Compression { by_default, ..Compression::default() };
            let builder = Client::builder(&way.address).compression(compression);
            let call = async { builder.connect_and_call("count", vec![0; size]).await.unwrap().1.unwrap() };
            *passed = way.bytes_of(call).await;
        }
        let [plain, compressed] = bytes;
        assert!(compressed + size * 3 / 4 < plain, "{size}: {compressed} bytes, and {plain} plain");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_call_whose_link_is_lost_is_sent_again_where_its_method_says_so() {
    for idempotent in [false, true] {
        let (server, runs) = open(&format!("lost-{idempotent}"), Policy::anyone()).await;
        let way = Way::to(&server, WAY).await;
        let methods: &[&str] = if idempotent { &["slow"] } else { &[] };
        let lifetime = Lifetime { heartbeat_interval: Some(Duration::from_millis(500)), ..Lifetime::default() };
        let builder = Client::builder(&way.address)
            .lifetime(lifetime)
            .handshake_timeout(Duration::from_secs(2))
            .idempotent_methods(methods.iter().copied());
        // The call is at work when nothing passes any more, for long enough to be noticed.
        let lost = async {
            while runs.load(Ordering::SeqCst) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            way.open.send_replace(false);
            sleep(Duration::from_secs(5)).await;
            way.open.send_replace(true);
        };
        let (made, ()) = tokio::join!(timeout(PATIENCE, builder.connect_and_call("slow", "")), lost);
        let (client, answer) = made.unwrap().unwrap();
        match answer {
            Ok(reply) => assert!(idempotent && reply.body == "late"),
            Err(error) => assert_eq!((idempotent, error.outcome), (false, Outcome::Unknown), "{error}"),
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1 + usize::from(idempotent));
        // The client makes a connection again, as any other does.
        assert_eq!(client.call("count", "").await.unwrap(), "counted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_calls_early_connects_again_once_it_has_stood() {
    let (server, _) = open("again", Policy::anyone()).await;
    let client = Client::builder(address(&server)).early_call(true).connect().await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.call("count", "").await.unwrap(), "counted");
        server.connections()[0].close(CloseCode::Internal, "").await;
    }
    assert_eq!(client.call("count", "").await.unwrap(), "counted");
}
