//! Accept loops over a source whose failures are written down beforehand.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use np_dispatch::Router;
use np_noise::{Keypair, Pattern};
use np_transport::{Action, BindOptions, Incoming, Link, Listener, TlsServer, TransportError};
use np_trust::Policy;
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::{Instant, timeout};

use super::judge::ClientJudge;
use super::{Acceptor, AcceptorConfig, MAX_REFUSALS, SHORTAGE_PAUSE, Source};
use crate::connect::{ConnectorConfig, connect};
use crate::entropy::random_secret_key;
use crate::establish::Judge as _;

/// Fails as told, and then waits for ever.
struct Script(Arc<Mutex<VecDeque<TransportError>>>);

impl Source for Script {
    async fn next(&self) -> Result<Incoming, TransportError> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(error) => Err(error),
            None => pending().await,
        }
    }
}

fn aborted() -> TransportError {
    let source = io::ErrorKind::ConnectionAborted.into();
    TransportError::Io { action: Action::Accept, address: "mem:x".to_owned(), source, next: "" }
}

fn gone() -> TransportError {
    TransportError::Refused { address: "mem:x".to_owned(), why: "the listener is gone" }
}

/// Runs a loop over some failures: how long it took if it ended, and how many failures it left.
async fn run(errors: impl IntoIterator<Item = TransportError>) -> (Option<Duration>, usize) {
    let identity = Keypair::from_secret(random_secret_key().unwrap());
    let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new())).unwrap();
    let left = Arc::new(Mutex::new(errors.into_iter().collect()));
    let (shared, source) = (Arc::clone(&acceptor.shared), Script(Arc::clone(&left)));
    let before = Instant::now();
    let ended = timeout(Duration::from_secs(60), shared.accept_all(source, acceptor.stop.subscribe())).await;
    let left = left.lock().unwrap().len();
    (ended.ok().map(|()| before.elapsed()), left)
}

#[tokio::test(start_paused = true)]
async fn an_accept_loop_pauses_over_what_passes_and_goes_on() {
    assert_eq!(run([aborted(), aborted(), aborted()]).await, (None, 0));
}

#[tokio::test(start_paused = true)]
async fn an_accept_loop_ends_when_its_listener_is_gone() {
    let (took, left) = run([aborted(), gone(), aborted()]).await;
    assert_eq!(left, 1);
    let took = took.unwrap();
    assert!((SHORTAGE_PAUSE..SHORTAGE_PAUSE * 2).contains(&took), "{took:?}");
}

/// One stranger, who says nothing, and then nobody; notes when it is asked for more.
struct Stranger {
    came: Instant,
    link: Mutex<Option<Incoming>>,
    asked: Arc<Mutex<Vec<u128>>>,
}

impl Source for Stranger {
    async fn next(&self) -> Result<Incoming, TransportError> {
        if let Some(link) = self.link.lock().unwrap().take() {
            return Ok(link);
        }
        poll_fn(|_| {
            self.asked.lock().unwrap().push(self.came.elapsed().as_millis());
            Poll::Pending
        })
        .await
    }
}

#[tokio::test(start_paused = true)]
async fn an_accept_loop_keeps_a_timer_that_is_earlier_than_those_of_its_connections() {
    let identity = Keypair::from_secret(random_secret_key().unwrap());
    let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new())).unwrap();
    let (near, _far) = duplex(64);
    let link = Mutex::new(Some(Incoming::from(Link::new(Box::new(near), "stranger"))));
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let source = Stranger { came: Instant::now(), link, asked: Arc::clone(&asked) };
    let serving = Arc::clone(&acceptor.shared).accept_all(source, acceptor.stop.subscribe());
    // The handshake has ten seconds.
    timeout(Duration::from_secs(9), serving).await.unwrap_err();
    // Half a second after whoever came last, and once more; then when this test ends.
    assert_eq!(*asked.lock().unwrap(), [0, 500, 1_000, 9_000]);
}

#[tokio::test]
async fn what_failed_before_np_is_called_by_its_name() {
    let made = np_transport::dev_certificates(&[]).unwrap();
    let tls = TlsServer::builder().certificate_pem(made.server, made.server_key.as_str()).build().unwrap();
    for (address, proxy_protocol, what) in [
        ("tcp://127.0.0.1:0", true, "a PROXY header"),
        ("tls://127.0.0.1:0", true, "a PROXY header"),
        ("tls://127.0.0.1:0", false, "a TLS handshake"),
    ] {
        let options = BindOptions { tls: Some(tls.clone()), proxy_protocol, ..BindOptions::default() };
        let listener = Listener::bind(&address.parse().unwrap(), &options).await.unwrap();
        let port = listener.local_address().port().unwrap();
        let plain = format!("tcp://127.0.0.1:{port}").parse().unwrap();
        let mut link = np_transport::connect(&plain).await.unwrap();
        link.io.write_all(&[b'x'; 64]).await.unwrap();
        drop(link);
        assert_eq!(super::outer_step(&listener.accept().await.unwrap_err()), what, "{address}");
    }
}

#[tokio::test]
async fn the_task_of_a_stranger_is_small() {
    let identity = Keypair::from_secret(random_secret_key().unwrap());
    let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new())).unwrap();
    let link = || Incoming::from(Link::new(Box::new(tokio::io::empty()), "stranger"));
    // What each half-open handshake holds for as long as it lasts, beside its socket.
    let meet = size_of_val(&acceptor.shared.meet(
        link(),
        (None, acceptor.shared.half_open.enter()),
        acceptor.stop.subscribe(),
    ));
    let task = size_of_val(&Arc::clone(&acceptor.shared).serve(link(), acceptor.stop.subscribe()));
    assert!(meet <= 3 << 10 && task <= 512, "{meet}, {task}");
}

/// What a client makes of a house with this policy, and how many nonces are kept afterwards.
async fn nonces_after(policy: Policy, pattern: Pattern, name: &str) -> (bool, usize) {
    let identity = Keypair::from_secret(random_secret_key().unwrap());
    let key = identity.public();
    let mut config = AcceptorConfig::new(identity, policy, Router::new());
    config.patterns = Pattern::ALL[..4].to_vec();
    let mut acceptor = Acceptor::new(config).unwrap();
    let address = format!("mem:{name}-{}", pattern.name()).parse().unwrap();
    acceptor.listen(Listener::bind(&address, &BindOptions::default()).await.unwrap()).unwrap();
    let client = Keypair::from_secret(random_secret_key().unwrap());
    let client =
        ConnectorConfig { pattern, server_keys: vec![key], ..ConnectorConfig::new(client, Policy::allow_keys([key])) };
    let connected = connect(&address, client).await.is_ok();
    let kept = acceptor.shared.replay.lock().unwrap().len();
    (connected, kept)
}

#[tokio::test]
async fn a_nonce_is_kept_of_peers_that_are_proven_and_allowed_and_of_nobody_else() {
    for pattern in [Pattern::XX, Pattern::IK, Pattern::KK] {
        assert_eq!(nonces_after(Policy::anyone(), pattern, "allowed").await, (true, 1), "{pattern:?}");
        assert_eq!(nonces_after(Policy::allow_keys([]), pattern, "stranger").await, (false, 0), "{pattern:?}");
    }
    assert_eq!(nonces_after(Policy::anonymous(), Pattern::NK, "anonymous").await, (true, 0));
}

#[tokio::test]
async fn a_peer_that_is_refused_gives_its_place_back_and_is_listened_to_while_there_is_leave() {
    let identity = Keypair::from_secret(random_secret_key().unwrap());
    let acceptor = Acceptor::new(AcceptorConfig::new(identity, Policy::anyone(), Router::new())).unwrap();
    let (shared, settings) = (&acceptor.shared, acceptor.shared.settings());
    let (place, _evicted) = shared.half_open.enter().unwrap();
    let judge = || ClientJudge {
        shared,
        settings: &settings,
        place: &place,
        inside: false,
        preface: None,
        psk: None,
        lingers: None,
    };
    let mut first = judge();
    assert_eq!(shared.half_open.count(), 1);
    assert!(first.leave() && first.lingers.is_some());
    assert_eq!(shared.half_open.count(), 0);
    let _others = shared.refusals.try_acquire_many(MAX_REFUSALS as u32 - 1).unwrap();
    let mut one_more = judge();
    assert!(!one_more.leave() && one_more.lingers.is_none());
    drop(first);
    assert!(one_more.leave());
}
