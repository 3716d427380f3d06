//! The first bytes: strangers, liars, the slow and the silent, and what each is told.

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

use bytes::BytesMut;
use common::{
    Harm, House, client, config, echo, handshake_error, keypair, now, proxy, refused, request, serve, serve_with, told,
    until, within, xx_flight, xx_initiator,
};
use np_driver::{
    Acceptor, AcceptorConfig, AcceptorError, Clock, ConnectError, ConnectorConfig, connect, random_psk,
    random_secret_key,
};
use np_noise::Pattern;
use np_session::{Encoding, Event, Handshake, HandshakeEvent, InitiatorConfig, OpenCall, OpenKind, Preface, Priority};
use np_transport::{Address, BindOptions, Listener};
use np_trust::{Decision, Policy, Psks};
use np_types::{
    CloseCode, Codec, ConnectionError, Deadline, Incompatible, Limits, Metadata, Outcome, PeerIdentity, Status,
    UnixMillis,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

/// Sends bytes to a house, reads to the end, and gives what a client makes of the answer.
async fn answer_to(house: &House, bytes: &[u8]) -> ConnectionError {
    let mut link = np_transport::connect(&house.address).await.unwrap();
    link.io.write_all(bytes).await.unwrap();
    told(&mut link).await
}

#[tokio::test]
async fn strangers_are_told_what_is_wrong_and_cut() {
    let house = serve("tcp://127.0.0.1:0", echo()).await;
    let error = answer_to(&house, b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(refused(&error).0, CloseCode::Malformed);
    assert!(refused(&error).1.contains("np"), "{error}");

    let mut oversize = xx_flight(now());
    oversize.truncate(Preface::FIXED);
    // The header alone of a message of 1,025 bytes; what follows it is not waited for.
    oversize.extend_from_slice(&[2, 4, 1]);
    let error = answer_to(&house, &oversize).await;
    assert_eq!(refused(&error).0, CloseCode::LimitExceeded);
    assert!(refused(&error).1.contains("handshake message"), "{error}");

    let mut newer = xx_flight(now());
    newer[4..7].copy_from_slice(&[2, 3, 2]);
    let error = answer_to(&house, &newer).await;
    assert!(matches!(error, ConnectionError::Incompatible(Incompatible::Version { .. })), "{error}");

    for skew in [-6_000, 6_000i64] {
        let error = answer_to(&house, &xx_flight(now().wrapping_add_signed(skew))).await;
        assert_eq!(refused(&error).0, CloseCode::ClockSkew);
        assert!(refused(&error).1.contains("ms"), "{error}");
    }
    // The house stands as it did.
    client(&house).await.call(request("np.echo")).await.unwrap();
}

#[tokio::test]
async fn a_replayed_first_flight_is_refused_before_any_work() {
    for pattern in [Pattern::XX, Pattern::IK] {
        let house = serve(&format!("mem:replay-{}", pattern.name()), echo()).await;
        let harm = Arc::new(Harm::default());
        let address = proxy(&format!("mem:replay-{}-proxy", pattern.name()), &house, Arc::clone(&harm)).await;
        let client = connect(&address, ConnectorConfig { pattern, ..config(&house) }).await.unwrap();
        client.call(request("np.echo")).await.unwrap();
        let recorded = harm.sent.lock().unwrap().clone();
        let error = answer_to(&house, &recorded).await;
        assert_eq!(refused(&error).0, CloseCode::Replay, "{error}");
        client.call(request("np.echo")).await.unwrap();
        assert_eq!(house.acceptor.connections().len(), 1);
    }
}

#[tokio::test]
async fn a_pattern_or_a_key_that_the_server_does_not_hold_is_refused() {
    let house = serve_with("mem:patterns", echo(), |config| config.patterns = vec![Pattern::IK]).await;
    let error = handshake_error(connect(&house.address, config(&house)).await.unwrap_err());
    assert_eq!(refused(&error).0, CloseCode::Incompatible);
    let ik = ConnectorConfig { pattern: Pattern::IK, ..config(&house) };
    let client = connect(&house.address, ik.clone()).await.unwrap();
    client.call(request("np.echo")).await.unwrap();
    let other = ConnectorConfig { server_keys: vec![keypair().public()], ..ik };
    let error = handshake_error(connect(&house.address, other).await.unwrap_err());
    assert_eq!(refused(&error).0, CloseCode::UnknownIdentity);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_silent_or_trickles_is_cut_when_the_time_is_over() {
    let house = serve("mem:silent", echo()).await;
    let before = Instant::now();
    let error = answer_to(&house, b"").await;
    assert_eq!(refused(&error).0, CloseCode::HandshakeTimeout);
    assert_eq!(before.elapsed().as_secs(), 10);

    let mut link = np_transport::connect(&house.address).await.unwrap();
    let before = Instant::now();
    for byte in xx_flight(now()).iter().take(30) {
        if link.io.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let mut answer = Vec::new();
    let _ = link.io.read_to_end(&mut answer).await;
    assert!(before.elapsed() <= Duration::from_secs(31));
    assert_eq!(refused(&read_refusal(&answer)).0, CloseCode::HandshakeTimeout);
}

fn read_refusal(answer: &[u8]) -> ConnectionError {
    let mut handshake = xx_initiator(now());
    handshake.handle_bytes(&mut BytesMut::from(answer));
    handshake.error().cloned().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_after_the_first_flight_is_cut_too() {
    let house = serve_with("mem:half-way", echo(), |config| config.handshake_timeout = Duration::from_secs(4)).await;
    let mut link = np_transport::connect(&house.address).await.unwrap();
    link.io.write_all(&xx_flight(now())).await.unwrap();
    let before = Instant::now();
    let mut answer = Vec::new();
    link.io.read_to_end(&mut answer).await.unwrap();
    // The cut at 4 s, and at most a second to say goodbye.
    assert!((4_000..=5_000).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    assert!(house.acceptor.connections().is_empty());
}

#[tokio::test]
async fn the_oldest_silent_peer_gives_its_place_and_is_told() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| config.max_handshakes = 2).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        let mut link = np_transport::connect(&house.address).await.unwrap();
        link.io.write_all(b"np").await.unwrap();
        silent.push(link);
    }
    client(&house).await.call(request("np.echo")).await.unwrap();
    let error = told(&mut silent[0]).await;
    assert_eq!(refused(&error).0, CloseCode::HandshakeLimit);
    assert!(refused(&error).1.contains("max_handshakes"), "{error}");
    // The younger one still has its place.
    let waits = silent[1].io.read_u8();
    assert!(tokio::time::timeout(Duration::from_millis(50), waits).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_refused_peer_keeps_no_place_from_others_while_it_lingers() {
    let house = serve_with("mem:lingering", echo(), |config| config.max_handshakes = 1).await;
    let mut link = np_transport::connect(&house.address).await.unwrap();
    link.io.write_all(&xx_flight(now() - 60_000)).await.unwrap();
    // The refusal has come; the server listens for a second more, and this peer does not go.
    link.io.read_exact(&mut [0; 3]).await.unwrap();
    client(&house).await.call(request("np.echo")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_tells_a_silent_peer_to_go_elsewhere() {
    let mut house = serve("mem:drain-silent", echo()).await;
    let mut silent = np_transport::connect(&house.address).await.unwrap();
    silent.io.write_all(b"np").await.unwrap();
    tokio::task::yield_now().await;
    let (error, ()) = tokio::join!(told(&mut silent), house.acceptor.drain(Duration::from_secs(5)));
    assert_eq!(refused(&error).0, CloseCode::Drained);
}

#[tokio::test(start_paused = true)]
async fn peers_in_the_middle_of_a_handshake_keep_their_places_for_a_second() {
    let house = serve_with("mem:in-the-middle", echo(), |config| config.max_handshakes = 2).await;
    let mut halves = Vec::new();
    for _ in 0..2 {
        let mut link = np_transport::connect(&house.address).await.unwrap();
        link.io.write_all(&xx_flight(now())).await.unwrap();
        // Message 2: the server has heard this one.
        link.io.read_exact(&mut [0; 3 + 96 + 3]).await.unwrap();
        halves.push(link);
    }
    let error = handshake_error(connect(&house.address, config(&house)).await.unwrap_err());
    assert_eq!(refused(&error).0, CloseCode::HandshakeLimit);
    tokio::time::advance(Duration::from_secs(1)).await;
    client(&house).await.call(request("np.echo")).await.unwrap();
    // After message 2 nothing is said in clear.
    assert_eq!(halves[0].io.read(&mut [0; 64]).await.unwrap(), 0);
}

fn early_call() -> OpenCall {
    OpenCall {
        kind: OpenKind::Request,
        method: "np.echo".parse().unwrap(),
        codec: Codec::Bytes,
        encoding: Encoding::Plain,
        metadata: Metadata::new(),
        deadline: Deadline::NONE,
        priority: Priority::default(),
        body: bytes::Bytes::new(),
    }
}

#[tokio::test]
async fn a_handshake_holds_no_place_before_its_first_record() {
    let house = serve_with("mem:no-record", echo(), |config| config.max_connections = 1).await;
    let mut link = np_transport::connect(&house.address).await.unwrap();
    let mut slow = Handshake::initiator(InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::IK,
        local: Some(&keypair()),
        server_key: house.address.keys().first().copied(),
        psk: None,
        psk_id: &[],
        time: UnixMillis(now()),
        nonce: [9; 16],
        ephemeral: random_secret_key().unwrap(),
    })
    .unwrap();
    let (mut out, mut input) = (Vec::new(), BytesMut::new());
    slow.poll_transmit(&mut out);
    link.io.write_all(&out).await.unwrap();
    // The server has admitted it and waits for its first record.
    within(async {
        loop {
            link.io.read_buf(&mut input).await.unwrap();
            slow.handle_bytes(&mut input);
            match slow.poll_event() {
                Some(HandshakeEvent::Peer(_)) => break slow.admit().unwrap(),
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
    })
    .await;
    let quick = client(&house).await;
    quick.call(request("np.echo")).await.unwrap();

    // The place is taken: whoever comes so late is told, and counts nowhere. A call that came along was not acted on.
    let clock = Clock::start();
    let mut session = slow.into_session(Limits::default(), clock.now()).unwrap();
    session.allow_early_call();
    let call = session.open(early_call()).unwrap();
    out.clear();
    session.poll_transmit(clock.now(), &mut out);
    link.io.write_all(&out).await.unwrap();
    within(async { while link.io.read_buf(&mut input).await.is_ok_and(|count| count > 0) {} }).await;
    session.handle_bytes(clock.now(), &mut input);
    let events: Vec<_> = std::iter::from_fn(|| session.poll_event()).collect();
    let failed = events.iter().find_map(|event| match event {
        Event::Failed { key, error } if *key == call => Some(error),
        _ => None,
    });
    let failed = failed.expect("the call's end");
    assert_eq!((failed.status, failed.outcome), (Status::Unavailable, Outcome::NotProcessed), "{failed}");
    assert!(failed.text.contains("max_connections") && failed.cause.is_none(), "refused by itself: {failed:?}");
    let end = events.iter().find_map(|event| match event {
        Event::Closed(error) => Some(error),
        _ => None,
    });
    let end = end.expect("an end");
    assert!(matches!(end, ConnectionError::ClosedByPeer { code: CloseCode::ConnectionLimit, .. }), "{end}");
    assert!(end.to_string().contains("max_connections"), "{end}");
    assert_eq!(house.acceptor.connections().len(), 1);
    quick.call(request("np.echo")).await.unwrap();
}

#[tokio::test]
async fn as_many_handshakes_as_allowed_may_be_in_progress() {
    let house = serve_with("mem:two-handshakes", echo(), |config| config.max_handshakes = 2).await;
    let mut silent = np_transport::connect(&house.address).await.unwrap();
    silent.io.write_all(b"np").await.unwrap();
    tokio::task::yield_now().await;
    // One is silent, the other one is this.
    client(&house).await.call(request("np.echo")).await.unwrap();
}

#[tokio::test]
async fn a_client_whose_bytes_come_one_at_a_time_is_served() {
    let house = serve("mem:slow", echo()).await;
    let harm = Arc::new(Harm { slow: true, ..Harm::default() });
    let address = proxy("mem:slow-proxy", &house, harm).await;
    let client = connect(&address, config(&house)).await.unwrap();
    let body = vec![5; 3_000];
    assert_eq!(client.call(request("np.echo").body(body.clone())).await.unwrap().body, body);
}

#[tokio::test]
async fn a_flipped_bit_ends_the_connection_and_never_changes_data() {
    let house = serve("mem:flip", echo()).await;
    let body: Vec<u8> = (0..=255).collect();
    let (mut failures, mut flipped) = (0, 0);
    // Message 2, the settings and the answer take some 430 bytes: every region is hit.
    for at in (0..400).step_by(13) {
        flipped += 1;
        let harm = Arc::new(Harm::default());
        *harm.flip_back.lock().unwrap() = Some(at);
        let address = proxy(&format!("mem:flip-{at}"), &house, harm).await;
        let mut config = config(&house);
        config.handshake_timeout = Duration::from_millis(300);
        let connected = connect(&address, config).await;
        let Ok(client) = connected else {
            failures += 1;
            continue;
        };
        let deadline = client.clock().deadline(Duration::from_millis(300));
        match client.call(request("np.echo").body(body.clone()).deadline(deadline)).await {
            Ok(reply) => assert_eq!(reply.body, body, "{at}"),
            Err(_) => failures += 1,
        }
    }
    assert_eq!(failures, flipped);
}

#[tokio::test]
async fn a_client_shows_no_key_to_a_server_with_the_wrong_one() {
    let house = serve("mem:wrong-key", echo()).await;
    let harm = Arc::new(Harm::default());
    let address = proxy("mem:wrong-key-proxy", &house, Arc::clone(&harm)).await;
    let policy = Policy::allow_keys([keypair().public()]);
    let error = handshake_error(connect(&address, ConnectorConfig { policy, ..config(&house) }).await.unwrap_err());
    assert!(matches!(error, ConnectionError::Refused { code: CloseCode::NotAllowed, .. }), "{error}");
    // It says which key was met, so that a user can compare.
    assert!(error.to_string().contains(&house.address.keys()[0].to_string()), "{error}");
    assert_eq!(harm.sent.lock().unwrap().len(), xx_flight(now()).len());
}

#[tokio::test]
async fn each_side_knows_who_the_other_is() {
    let router = echo();
    router.on("who", |context, _| Ok(context.peer().to_string())).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (mine, other) = (keypair(), keypair());
    let allowed = PeerIdentity::Noise(mine.public());
    let house = serve_with("mem:who", router, |config| {
        config.policy = Policy::closure(move |peer| {
            count.fetch_add(1, Ordering::SeqCst);
            match *peer == allowed {
                true => Decision::Allow { name: None },
                false => Decision::Refuse { reason: "not the one".to_owned() },
            }
        });
    })
    .await;
    let one = connect(&house.address, ConnectorConfig { identity: mine.clone(), ..config(&house) }).await.unwrap();
    assert_eq!(one.call(request("who")).await.unwrap().body, mine.public().to_string());
    assert_eq!(*one.peer(), PeerIdentity::Noise(house.address.keys()[0]));
    until(|| house.acceptor.connections().len() == 1).await;
    assert_eq!(house.acceptor.connections()[0].binding(), one.binding());
    let refusal = connect(&house.address, ConnectorConfig { identity: other, ..config(&house) }).await.unwrap_err();
    let error = handshake_error(refusal);
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, in_clear: false, .. }));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn connect_timeout_and_handshake_timeout_are_the_clients_own() {
    let options = BindOptions { backlog: 1, ..BindOptions::default() };
    let listener = Listener::bind(&"mem:full".parse().unwrap(), &options).await.unwrap();
    let address = listener.local_address().clone();
    let mut config = ConnectorConfig::new(keypair(), Policy::danger_trust_anyone());
    config.connect_timeout = Duration::from_secs(3);
    config.handshake_timeout = Duration::from_secs(7);
    // The first is in the queue and meets silence.
    let before = Instant::now();
    let error = connect(&address, config.clone()).await.unwrap_err();
    assert!(matches!(handshake_error(error), ConnectionError::Timeout { .. }));
    assert!((7_000..=8_100).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    // The queue is full, so the next finds no link.
    let before = Instant::now();
    let error = connect(&address, config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
    assert_eq!(before.elapsed().as_secs(), 3);
    assert!(error.to_string().contains("connect_timeout"), "{error}");
}

#[test]
fn a_setting_out_of_its_range_is_refused_by_name() {
    type Change = fn(&mut AcceptorConfig);
    let check = |change: Change| {
        let mut config = AcceptorConfig::new(keypair(), Policy::anyone(), echo());
        change(&mut config);
        Acceptor::new(config).err().map(|error: AcceptorError| error.to_string())
    };
    assert_eq!(check(|config| config.replay_capacity = 10_000), None);
    let wrong: [(&str, Change); 12] = [
        ("handshake_timeout", |config| config.handshake_timeout = Duration::ZERO),
        ("replay_capacity", |config| config.replay_capacity = 9_999),
        ("max_connections", |config| config.max_connections = 0),
        ("max_connections", |config| config.max_connections = usize::MAX),
        ("max_handshakes", |config| config.max_handshakes = 0),
        ("patterns", |config| config.patterns.clear()),
        ("patterns", |config| config.patterns = vec![Pattern::NNpsk0]),
        ("patterns", |config| config.psks = Psks::new().with_key(keypair().public(), random_psk().unwrap())),
        ("identities", |config| config.identities = vec![config.identities[0].clone(); 2]),
        ("identities", |config| config.identities = (0..65).map(|_| keypair()).collect()),
        ("max_queued_calls", |config| config.limits.max_queued_calls = 0),
        ("stream_window", |config| config.limits.stream_window = 1),
    ];
    for (setting, change) in wrong {
        let error = check(change).unwrap_or_else(|| panic!("{setting} was accepted"));
        assert!(error.contains(setting), "{error}");
    }
}

#[tokio::test]
async fn a_listener_whose_clients_ask_for_a_key_needs_an_identity() {
    let mut acceptor = Acceptor::new(AcceptorConfig::without_identity(Policy::anyone(), echo())).unwrap();
    let bind = |address: &str| {
        let address = address.parse().unwrap();
        async move { Listener::bind(&address, &BindOptions::default()).await.unwrap() }
    };
    let error = acceptor.listen(bind("mem:keyless").await).unwrap_err();
    assert!(error.to_string().contains("add an identity"), "{error}");
    acceptor.listen(bind("mem:keyless-plain?mode=danger-plaintext").await).unwrap();
}

#[tokio::test]
async fn a_client_with_no_time_at_all_is_refused_by_name() {
    type Change = fn(&mut ConnectorConfig);
    let wrong: [(&str, Change); 2] = [
        ("connect_timeout", |config| config.connect_timeout = Duration::ZERO),
        ("handshake_timeout", |config| config.handshake_timeout = Duration::ZERO),
    ];
    for (setting, change) in wrong {
        let mut config = ConnectorConfig::new(keypair(), Policy::danger_trust_anyone());
        change(&mut config);
        let error = connect(&"mem:no-time".parse().unwrap(), config).await.unwrap_err();
        assert!(matches!(error, ConnectError::Limits(_)), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
}

/// What a client sends for ten pings under some limits.
async fn bytes_of_pings(name: &str, pause: Duration, limits: Limits) -> usize {
    let house = serve(&format!("mem:{name}"), echo()).await;
    let harm = Arc::new(Harm::default());
    let address = proxy(&format!("mem:{name}-proxy"), &house, Arc::clone(&harm)).await;
    let client = connect(&address, ConnectorConfig { limits, ..config(&house) }).await.unwrap();
    client.ping().await.unwrap();
    let before = harm.sent.lock().unwrap().len();
    for _ in 0..10 {
        tokio::time::sleep(pause).await;
        client.ping().await.unwrap();
    }
    let after = harm.sent.lock().unwrap().len();
    after - before
}

#[tokio::test(start_paused = true)]
async fn keys_are_renewed_and_records_padded_as_the_limits_say() {
    let pause = Duration::from_secs(2);
    let plain = bytes_of_pings("plain", pause, Limits::default()).await;
    // A key update takes two bytes of each record.
    let fine = Limits::default();
    let limits = Limits { rekey_records: 1, ..fine.clone() };
    assert_eq!(bytes_of_pings("rekey-records", pause, limits).await, plain + 20);
    let limits = Limits { rekey_bytes: 1, ..fine.clone() };
    assert_eq!(bytes_of_pings("rekey-bytes", pause, limits).await, plain + 20);
    let limits = Limits { rekey_age: Duration::from_secs(4), ..fine.clone() };
    assert_eq!(bytes_of_pings("rekey-age", pause, limits).await, plain + 10);
    // A record is its length, the padded frames and the tag.
    let limits = Limits { pad_records_to: 512, ..fine };
    assert_eq!(bytes_of_pings("padding", pause, limits).await, 10 * (2 + 512 + 16));
}

#[tokio::test]
async fn windows_and_the_reassembly_budget_hold_senders_and_let_everything_through() {
    let limits = Limits {
        max_message: 1 << 20,
        stream_window: 4 << 10,
        connection_window: 8 << 10,
        reassembly_budget: 1 << 20,
        max_calls: 3,
        ..Limits::default()
    };
    let house = serve_with("mem:small-house", echo(), |config| config.limits = limits.clone()).await;
    let client = connect(&house.address, ConnectorConfig { limits, ..config(&house) }).await.unwrap();
    let calls: Vec<_> = [1 << 20, 3 << 10, 1 << 20, 4 << 10, (4 << 10) + 1, 700_000, 0, 1 << 20]
        .into_iter()
        .map(|size: usize| {
            let client = client.clone();
            tokio::spawn(async move {
                let body = vec![size as u8; size];
                assert_eq!(client.call(request("np.echo").body(body.clone())).await.unwrap().body, body);
            })
        })
        .collect();
    for call in calls {
        within(call).await.unwrap();
    }
    let error = client.call(request("np.echo").body(vec![0; (1 << 20) + 1])).await.unwrap_err();
    assert!(error.text.contains("max_message"), "{error}");
}

#[tokio::test]
async fn a_connect_that_nobody_waits_for_lets_its_link_go() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    // Nothing else gives it up.
    let handshake_timeout = Duration::from_secs(3_600);
    let config = ConnectorConfig { handshake_timeout, ..ConnectorConfig::new(keypair(), Policy::anyone()) };
    let connecting = tokio::spawn(async move { connect(&address, config).await });
    let (mut silent, _) = within(listener.accept()).await.unwrap();
    assert_ne!(within(silent.read(&mut [0; 1_024])).await.unwrap(), 0, "the first flight");
    connecting.abort();
    assert_eq!(within(silent.read(&mut [0; 1_024])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_connection_for_an_early_call_that_nobody_takes_ends_in_order_and_at_once() {
    let house = serve("mem:not-taken", echo()).await;
    let config = ConnectorConfig { early_call: true, ..config(&house) };
    let mut connecting = Box::pin(connect(&house.address, config));
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    // Once: the link stands, and a task makes the connection, which waits to be taken.
    let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(connecting.as_mut().poll(cx))).await;
    assert!(polled.is_pending());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let dropped = std::time::Instant::now();
    drop(connecting);
    within(async {
        while alive() > before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(dropped.elapsed() < Duration::from_secs(1), "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_policy_that_panics_is_heard_of_where_it_was_given() {
    let house = serve("mem:panicking-policy", echo()).await;
    let config = ConnectorConfig { policy: Policy::closure(|_| panic!("a policy of the test")), ..config(&house) };
    let address = house.address.clone();
    let ended = tokio::spawn(async move { connect(&address, config).await.map(drop) }).await;
    assert!(ended.unwrap_err().is_panic());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_is_woken_once_for_a_connection_and_its_first_bytes() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, mut met_silent) = (alive(), [0; 2]);
    for round in 0..8 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address: Address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut config = ConnectorConfig::new(keypair(), Policy::anyone());
        config.link.speaks_first = (round % 2 == 0).then_some(false);
        let mut connecting = Box::pin(connect(&address, config));
        // To the poll in which the link stands: the task that speaks begins after it.
        let stands = std::future::poll_fn(|cx| {
            let polled = connecting.as_mut().poll(cx);
            if polled.is_pending() && alive() == before {
                return std::task::Poll::Pending;
            }
            std::task::Poll::Ready(polled.is_pending())
        });
        assert!(stands.await, "it waits for the server's answer");
        met_silent[round % 2] += usize::from(listener.accept().is_ok());
        drop(connecting);
        until(|| alive() == before).await;
    }
    // The kernel waits for 200 ms at most, which a busy machine may take.
    assert!(met_silent[0] > 0 && met_silent[1] < 4, "of four each: {met_silent:?}");
}
