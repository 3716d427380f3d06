//! Every setting of the two builders, by its effect on a real connection; and what a user of `Server` meets.

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
    CallError, Client, CloseCode, ConnectionError, Error, ErrorKind, HealthState, Identity, Limits, Message,
    MessageStream, MethodOptions, Outcome, Pattern, Policy, RegisterError, Router, Server, ServerBuilder, Status,
    bytes_async,
};
use tokio::sync::Notify;
use tokio::time::Instant;

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

fn address(server: &Server) -> String {
    server.addresses()[0].to_string()
}

async fn connect(server: &Server) -> Client {
    Client::connect(&address(server)).await.unwrap()
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

#[test]
fn the_handles_go_wherever_a_user_wants_them() {
    fn check<T: Send + Sync + 'static>() {}
    fn check_clone<T: Clone>() {}
    check::<Client>();
    check::<Server>();
    check::<np_facade::Connection>();
    check_clone::<Client>();
    check_clone::<Server>();
    check_clone::<np_facade::Connection>();
}

/// Nothing waits for the end of a connection but the connection itself: each task more is one to wake, and to make.
#[tokio::test]
async fn a_connection_that_stands_is_one_task_on_each_side() {
    let server = builder("mem:one-task").start().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let client = connect(&server).await;
    client.call("np.echo", "hi").await.unwrap();
    assert_eq!(tasks() - before, 2);
    client.close().await;
    until(|| tasks() == before).await;
}

#[tokio::test]
async fn handlers_of_every_form_answer() {
    let server = builder("mem:forms")
        .on("bytes", |_, body| Ok(body.to_ascii_uppercase()))
        .on_async("bytes-async", |_, body: Bytes| async move { Ok(body) })
        .on_typed("typed", |_, (a, b): (u8, u8)| Ok(u16::from(a) * u16::from(b)))
        .on_typed_async("typed-async", |_, text: String| async move { Ok(text.len() as u64) })
        .method(
            "spawned",
            bytes_async(|_, _| async { Ok(format!("{:?}", tokio::task::id())) }),
            MethodOptions::default().spawned(),
        )
        .on_stream("count", |_, mut stream: MessageStream| async move {
            let mut count = 0u32;
            while let Some(message) = stream.recv().await {
                message?;
                count += 1;
            }
            stream.send_as(&count).await
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    assert_eq!(client.call("bytes", "up").await.unwrap(), "UP");
    assert_eq!(client.call("bytes-async", "same").await.unwrap(), "same");
    assert_eq!(client.call_as::<u16>("typed", &(200u8, 3u8)).await.unwrap(), 600);
    assert_eq!(client.call_as::<u64>("typed-async", "four").await.unwrap(), 4);
    // A task of its own each time.
    assert_ne!(client.call("spawned", "").await.unwrap(), client.call("spawned", "").await.unwrap());
    let mut stream = client.open_stream("count").await.unwrap();
    for _ in 0..3 {
        stream.send("x").await.unwrap();
    }
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_as::<u32>().await.unwrap().unwrap(), 3);
    let error = client.call_as::<u16>("typed", "not two numbers, and too long").await.unwrap_err();
    assert_eq!(error.status, Status::InvalidArgument);
    let error = client.call("not a name", "").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
}

/// The future of a call moves with each caller: into a task, between threads.
#[tokio::test]
async fn a_future_of_a_plain_call_is_small() {
    let server = builder("mem:small-future").start().await.unwrap();
    let client = connect(&server).await;
    let size = size_of_val(&client.call("np.echo", ""));
    assert!(size <= 112, "{size}");
}

#[tokio::test]
async fn one_way_messages_arrive_and_nobody_answers() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = builder("mem:one-way")
        .on("note", move |_, body| {
            count.fetch_add(body.len(), Ordering::SeqCst);
            Err::<Bytes, _>(CallError::failed("nobody reads this"))
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    client.send_one_way("note", "12345").await.unwrap();
    client.send_one_way("note", vec![0; 600_000]).await.unwrap();
    until(|| seen.load(Ordering::SeqCst) == 600_005).await;
}

#[tokio::test]
async fn messages_go_both_ways_in_order_and_end() {
    let server = builder("mem:messages")
        .on_messages(|_, mut stream| async move {
            stream.send_as(&Message::Custom { command: "welcome".into(), payload: vec![] }).await?;
            while let Some(message) = stream.recv_as::<Message>().await {
                match message? {
                    Message::Custom { .. } => return Ok(()),
                    other => stream.send_as(&other.respond()).await?,
                }
            }
            Ok(())
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let other = client.clone();
    assert!(matches!(client.recv().await.unwrap(), Some(Message::Custom { command, .. }) if command == "welcome"));
    for number in 0..100 {
        client.send(&Message::Echo(number.to_string())).await.unwrap();
    }
    // Clones share the stream.
    for number in 0..100 {
        assert_eq!(other.recv().await.unwrap(), Some(Message::Echo(number.to_string())));
    }
    other.send(&Message::Ping).await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some(Message::Pong));
    client.send(&Message::Custom { command: "bye".into(), payload: vec![1] }).await.unwrap();
    assert_eq!(client.recv::<Message>().await.unwrap(), None);
    assert!(client.send(&Message::Ping).await.is_err());
    // The end of the stream is not the end of the connection.
    client.call("np.echo", "on").await.unwrap();
}

#[tokio::test]
async fn a_server_without_messages_says_so() {
    let server = builder("mem:no-messages").start().await.unwrap();
    let client = connect(&server).await;
    let error = client.recv::<Message>().await.unwrap_err();
    assert_eq!(error.status, Status::UnknownMethod, "{error}");
    assert!(error.text.contains(np_facade::MESSAGES), "{error}");
}

#[tokio::test]
async fn mistakes_are_reported_at_the_start_and_nothing_listens() {
    type Change = fn(ServerBuilder) -> ServerBuilder;
    let start = |change: Change| async move { change(builder("mem:mistakes")).start().await.err() };
    let twice = start(|it| it.on("a", |_, _| Ok("")).on("a", |_, _| Ok(""))).await;
    assert!(matches!(twice, Some(Error::Register(RegisterError::Taken(_)))), "{twice:?}");
    let reserved = start(|it| it.on("np.mine", |_, _| Ok(""))).await;
    assert!(matches!(reserved, Some(Error::Register(RegisterError::Reserved(_)))), "{reserved:?}");
    let named = start(|it| it.on_typed("two words", |_, (): ()| Ok(()))).await;
    assert!(matches!(named, Some(Error::Register(RegisterError::Name { .. }))), "{named:?}");
    let wrong: [(&str, Change); 6] = [
        ("handshake_timeout", |it| it.handshake_timeout(Duration::ZERO)),
        ("replay_capacity", |it| it.replay_capacity(9_999)),
        ("max_connections", |it| it.max_connections(0)),
        ("max_handshakes", |it| it.max_handshakes(0)),
        ("patterns", |it| it.patterns([])),
        ("max_calls", |it| it.limits(Limits { max_calls: 0, ..Limits::default() })),
    ];
    for (setting, change) in wrong {
        let error = start(change).await.unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(setting), "{error}");
    }
    // The second address cannot be had, so the first is free again.
    let error = start(|it| it.listen("tls://127.0.0.1:0")).await.unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    let none = Server::builder(Identity::generate().unwrap(), Policy::anyone()).start().await.unwrap_err();
    assert!(matches!(none, Error::NoAddress));
    let server = builder("mem:mistakes").start().await.unwrap();
    let taken = builder("mem:mistakes").start().await.unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::Local, "{taken}");
    connect(&server).await.call("np.echo", "").await.unwrap();
}

#[tokio::test]
async fn methods_come_and_go_while_the_server_runs() {
    let server = builder("mem:come-and-go").start().await.unwrap();
    let client = connect(&server).await;
    for _ in 0..3 {
        assert_eq!(client.call("later", "").await.unwrap_err().status, Status::UnknownMethod);
        server.router().on("later", |_, _| Ok("here")).unwrap();
        assert_eq!(client.call("later", "").await.unwrap(), "here");
        let listed = client.call("np.methods", "").await.unwrap();
        assert!(String::from_utf8_lossy(&listed).lines().any(|name| name == "later"));
        assert!(server.router().remove("later").is_some());
    }
}

#[tokio::test]
async fn a_client_needs_a_key_or_says_that_it_does_not_care() {
    let server = builder("mem:keyless").start().await.unwrap();
    let keyless = server.addresses()[0].without_keys().to_string();
    let error = Client::connect(&keyless).await.unwrap_err();
    assert!(matches!(error, Error::NoServerKey { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let client = Client::builder(&keyless).danger_trust_anyone().connect().await.unwrap();
    client.call("np.echo", "").await.unwrap();
    // A policy of one's own takes the place of the address's keys.
    let wrong = Policy::allow_keys([Identity::generate().unwrap().public_key()]);
    let error = Client::builder(address(&server)).policy(wrong).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let text = error.to_string();
    assert!(text.contains("the server is np1") && text.contains("mem:keyless"), "{text}");
    // Of several keys any one is accepted.
    let other = Identity::generate().unwrap().public_key();
    let rotated = server.addresses()[0].clone().with_key(other).to_string();
    Client::connect(&rotated).await.unwrap().call("np.echo", "").await.unwrap();
}

#[tokio::test]
async fn a_key_that_would_be_ignored_is_refused() {
    let server = builder("mem:ignored-key").start().await.unwrap();
    let error = Client::builder(address(&server)).danger_trust_anyone().connect().await.unwrap_err();
    assert!(matches!(error, Error::IgnoredKey { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("danger_trust_anyone"), "{error}");
    // The last word counts.
    let policy = Policy::allow_keys(server.addresses()[0].keys().iter().copied());
    let client = Client::builder(address(&server)).danger_trust_anyone().policy(policy).connect().await.unwrap();
    client.call("np.echo", "").await.unwrap();
}

#[tokio::test]
async fn a_pattern_that_needs_a_key_takes_them_from_the_address() {
    let server = builder("mem:needs-key").patterns(Pattern::ALL[..4].to_vec()).start().await.unwrap();
    let one = server.addresses()[0].clone();
    for pattern in [Pattern::IK, Pattern::NK, Pattern::KK] {
        let client = Client::builder(one.without_keys().to_string()).policy(Policy::anyone()).pattern(pattern);
        let error = client.connect().await.unwrap_err();
        assert!(matches!(error, Error::NeedsKey { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(pattern.name()), "{error}");
        // NK shows no client key, and this server lets in none but proven ones.
        let connected = Client::builder(one.to_string()).pattern(pattern).connect().await;
        assert_eq!(connected.is_ok(), pattern != Pattern::NK, "{connected:?}");
    }
    // The first key is that of an identity that the server has given up; then comes the one that it holds.
    let rotated = format!("mem:needs-key?key={}&key={}", Identity::generate().unwrap().public_key(), one.keys()[0]);
    Client::builder(rotated).pattern(Pattern::IK).connect().await.unwrap();
}

#[tokio::test]
async fn a_server_listens_under_its_own_key_alone() {
    let (mine, other) = (Identity::generate().unwrap(), Identity::generate().unwrap().public_key());
    let start = |key| {
        let address = format!("mem:own-key?key={key}");
        Server::builder(mine.clone(), Policy::anyone()).listen(address).start()
    };
    let error = start(other).await.unwrap_err();
    assert!(matches!(error, Error::ForeignKey { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains(&other.to_string()), "{error}");
    let server = start(mine.public_key()).await.unwrap();
    assert_eq!(server.addresses()[0].keys(), [mine.public_key()]);
    connect(&server).await.call("np.echo", "").await.unwrap();
}

#[tokio::test]
async fn identity_policy_and_pattern_are_those_that_were_set() {
    let mine = Identity::generate().unwrap();
    let key = mine.public_key();
    let server = Server::builder(Identity::generate().unwrap(), Policy::allow_keys([key]))
        .listen("mem:identity")
        .patterns([Pattern::IK])
        .on("who", |context, _| Ok(context.peer().to_string()))
        .start()
        .await
        .unwrap();
    let address = address(&server);
    let client = Client::builder(&address).identity(mine.clone()).pattern(Pattern::IK).connect().await.unwrap();
    assert_eq!(client.call("who", "").await.unwrap(), key.to_string());
    let error = Client::builder(&address).pattern(Pattern::IK).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.to_string().contains("not-allowed"), "{error}");
    let error = Client::builder(&address).identity(mine).connect().await.unwrap_err();
    assert!(error.to_string().contains("pattern"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_the_default_the_clients_or_the_calls() {
    let server = builder("mem:deadlines")
        .on_async("forever", |_, _| std::future::pending::<Result<Bytes, CallError>>())
        .start()
        .await
        .unwrap();
    let took = |before: Instant| before.elapsed().as_millis();
    let client = connect(&server).await;
    let before = Instant::now();
    let error = client.call("forever", "").await.unwrap_err();
    assert_eq!(ErrorKind::of_call(&error), ErrorKind::Timeout);
    assert!((29_900..30_100).contains(&took(before)), "{}", took(before));
    let hasty = Client::builder(address(&server)).deadline(Duration::from_secs(2)).connect().await.unwrap();
    let before = Instant::now();
    hasty.call("forever", "").await.unwrap_err();
    assert!((1_900..2_100).contains(&took(before)), "{}", took(before));
    let before = Instant::now();
    hasty.request("forever").deadline(Duration::from_secs(7)).send().await.unwrap_err();
    assert!((6_900..7_100).contains(&took(before)), "{}", took(before));
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_both_builders_hold() {
    let server = builder("mem:timeouts").handshake_timeout(Duration::from_secs(2)).start().await.unwrap();
    let mut silent = np_facade::raw::transport::connect(&server.addresses()[0]).await.unwrap();
    let before = Instant::now();
    let mut told = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut silent.io, &mut told).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 2);

    let options = np_facade::BindOptions { backlog: 1, ..np_facade::BindOptions::default() };
    let mute = np_facade::raw::transport::Listener::bind(&"mem:mute".parse().unwrap(), &options).await.unwrap();
    let client = || {
        let builder = Client::builder("mem:mute").danger_trust_anyone();
        builder.connect_timeout(Duration::from_secs(3)).handshake_timeout(Duration::from_secs(5))
    };
    let before = Instant::now();
    let error = client().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!((5..=6).contains(&before.elapsed().as_secs()), "{:?}", before.elapsed());
    let before = Instant::now();
    let error = client().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert_eq!(before.elapsed().as_secs(), 3);
    drop(mute);
}

#[tokio::test]
async fn the_limits_of_both_builders_hold() {
    let small = Limits { max_message: 1 << 10, ..Limits::default() };
    let server = builder("mem:limits").limits(small.clone()).max_connections(1).start().await.unwrap();
    let client = connect(&server).await;
    client.call("np.echo", vec![0; 1 << 10]).await.unwrap();
    let error = client.call("np.echo", vec![0; (1 << 10) + 1]).await.unwrap_err();
    assert_eq!(ErrorKind::of_call(&error), ErrorKind::Limit);
    let error = Client::connect(&address(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("max_connections"), "{error}");

    let server = builder("mem:client-limits").start().await.unwrap();
    let client = Client::builder(address(&server)).limits(small).connect().await.unwrap();
    let error = client.call("np.echo", vec![0; 2 << 10]).await.unwrap_err();
    // The answer is what is too large, and the server says so.
    assert_eq!((error.status, error.outcome), (Status::LimitReached, Outcome::Answered), "{error}");
    for (setting, client) in [
        ("connect_timeout", Client::builder(address(&server)).connect_timeout(Duration::ZERO)),
        ("handshake_timeout", Client::builder(address(&server)).handshake_timeout(Duration::ZERO)),
    ] {
        let error = client.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.to_string().contains(setting), "{error}");
    }
    let wrong = Limits { max_queued_calls: 0, ..Limits::default() };
    let error = Client::builder(address(&server)).limits(wrong).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("max_queued_calls"), "{error}");
}

#[tokio::test]
async fn one_handshake_more_than_max_handshakes_takes_the_place_of_a_silent_one() {
    let server = builder("mem:handshakes").max_handshakes(1).start().await.unwrap();
    let mut silent = np_facade::raw::transport::connect(&server.addresses()[0]).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut silent.io, b"np").await.unwrap();
    tokio::task::yield_now().await;
    Client::connect(&address(&server)).await.unwrap().call("np.echo", "").await.unwrap();
    let mut told = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut silent.io, &mut told).await.unwrap();
    assert!(String::from_utf8_lossy(&told).contains("max_handshakes"), "{told:?}");
}

#[tokio::test]
async fn the_server_calls_and_pushes_to_its_clients() {
    let mine = Router::new();
    mine.on("name", |_, _| Ok("client")).unwrap();
    let server = builder("mem:push-to-clients").start().await.unwrap();
    let client = Client::builder(address(&server)).router(mine).connect().await.unwrap();
    client.ping().await.unwrap();
    let connections = server.connections();
    assert_eq!(connections.len(), 1);
    let reply = connections[0].call(np_facade::raw::driver::Request::new("name".parse().unwrap())).await.unwrap();
    assert_eq!(reply.body, "client");
    // A client without a router answers too: that it has no such method.
    let plain = connect(&server).await;
    plain.ping().await.unwrap();
    let connections = server.connections();
    let error = connections[1].call(np_facade::raw::driver::Request::new("name".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.status, Status::UnknownMethod);
}

#[tokio::test]
async fn a_shutdown_answers_what_was_accepted_and_says_that_it_drains() {
    let (started, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, gate) = (Arc::clone(&started), Arc::clone(&open));
    let server = builder("tcp://127.0.0.1:0")
        .on_async("gate", move |_, _| {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            async move {
                begun.notify_one();
                gate.notified().await;
                Ok("through")
            }
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    assert_eq!(client.call("np.health", "").await.unwrap(), "ok");
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("gate", "").await }
    });
    started.notified().await;
    let shutdown = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(Duration::from_secs(20)).await }
    });
    until(|| server.health().state() == HealthState::Draining).await;
    // A handler may still look at the connections while the shutdown waits for it.
    assert_eq!(server.connections().len(), 1);
    open.notify_one();
    assert_eq!(call.await.unwrap().unwrap(), "through");
    shutdown.await.unwrap();
    assert!(matches!(
        client.connection().closed().await,
        ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }
    ));
    let error = Client::connect(&address(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    server.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_what_is_left_when_its_time_is_over() {
    let server = builder("mem:hard-cut")
        .on_async("forever", |_, _| std::future::pending::<Result<Bytes, CallError>>())
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("forever", "").await.unwrap_err() }
    });
    client.ping().await.unwrap();
    let before = Instant::now();
    server.shutdown(Duration::from_secs(3)).await;
    assert!((3_000..5_500).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    assert_ne!(call.await.unwrap().outcome, Outcome::NotProcessed);
}

#[tokio::test]
async fn dropping_the_server_ends_everything_at_once() {
    let started = Arc::new(Notify::new());
    let begun = Arc::clone(&started);
    let server = builder("mem:dropped")
        .on_async("forever", move |_, _| {
            begun.notify_one();
            std::future::pending::<Result<Bytes, CallError>>()
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call("forever", "").await.unwrap_err() }
    });
    started.notified().await;
    // One of two handles changes nothing.
    drop(server.clone());
    client.call("np.echo", "").await.unwrap();
    drop(server);
    let error = call.await.unwrap();
    assert_eq!((error.outcome, ErrorKind::of_call(&error)), (Outcome::Unknown, ErrorKind::Connect));
    assert!(error.cause.is_some());
    // It waits for another server until its deadline.
    let late = client.request("np.echo").deadline(Duration::from_millis(20)).send().await.unwrap_err();
    assert_eq!((late.outcome, late.cause.is_some()), (Outcome::NotProcessed, true));
    // The name is free again.
    builder("mem:dropped").start().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_has_its_mode_and_goes_with_its_server() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    for (mode, expected) in [(None, 0o600), (Some(0o660), 0o660)] {
        let path = folder.path().join("np.sock");
        let mut builder = builder(&format!("unix:{}", path.display()));
        if let Some(mode) = mode {
            builder = builder.unix_mode(mode);
        }
        let server = builder.start().await.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, expected);
        connect(&server).await.call("np.echo", "").await.unwrap();
        server.shutdown(Duration::from_secs(5)).await;
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_server_listens_on_all_its_addresses_under_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = builder("tcp://127.0.0.1:0").listen("mem:all-of-them");
    if cfg!(unix) {
        builder = builder.listen(format!("unix:{}/np.sock", folder.path().display()));
    }
    let server = builder.start().await.unwrap();
    for address in server.addresses() {
        assert_eq!(address.keys(), server.addresses()[0].keys());
        Client::connect(&address.to_string()).await.unwrap().call("np.echo", "").await.unwrap();
    }
}

#[tokio::test]
async fn compression_and_the_limits_of_calls_reach_the_connection() {
    use np_facade::{Compression, WhenFull};
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (started, gate) = (Arc::clone(&begun), Arc::clone(&go));
    let waiting = move |_, _: Bytes| {
        let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
        async move {
            started.notify_one();
            gate.notified().await;
            Ok::<_, CallError>("through")
        }
    };
    for (at, (server_calls, identity_calls, when)) in
        [(1, 10, WhenFull::Refuse), (10, 1, WhenFull::Refuse), (10, 1, WhenFull::Wait)].into_iter().enumerate()
    {
        let compression = Compression { by_default: true, ..Compression::default() };
        let server = builder(&format!("mem:call-limits-{at}"))
            .max_server_calls(server_calls)
            .max_identity_calls(identity_calls)
            .when_full(when)
            .progress_timeout(Duration::from_secs(5))
            .compression(compression)
            .on_async("gate", waiting.clone())
            .start()
            .await
            .unwrap();
        let client =
            Client::builder(address(&server)).compression(compression).progress_timeout(Duration::from_secs(5));
        let client = client.connect().await.unwrap();
        let text = "again and again ".repeat(1_000);
        assert_eq!(client.call("np.echo", text.clone()).await.unwrap(), text);
        let open = tokio::spawn({
            let client = client.clone();
            async move { client.call("gate", "").await }
        });
        begun.notified().await;
        let beyond = client.request("np.echo").deadline(Duration::from_millis(50)).send().await.unwrap_err();
        match when {
            WhenFull::Refuse => assert_eq!(beyond.outcome, Outcome::NotProcessed, "{beyond}"),
            WhenFull::Wait => assert_eq!(beyond.status, Status::DeadlineExceeded, "{beyond}"),
        }
        go.notify_one();
        open.await.unwrap().unwrap();
        client.call("np.echo", "").await.unwrap();
    }
}

#[tokio::test]
async fn settings_of_progress_and_call_limits_are_checked_by_name() {
    for (setting, server) in [
        ("progress_timeout", builder("mem:wrong").progress_timeout(Duration::ZERO)),
        ("max_server_calls", builder("mem:wrong").max_server_calls(0)),
        ("max_identity_calls", builder("mem:wrong").max_identity_calls(0)),
    ] {
        let error = server.start().await.unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(setting), "{error}");
    }
    let server = builder("mem:right").start().await.unwrap();
    let error = Client::builder(address(&server)).progress_timeout(Duration::ZERO).connect().await.unwrap_err();
    assert!(error.to_string().contains("progress_timeout"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_server_is_a_setting() {
    for (memory, fits) in [(100_000, false), (1_000_000, true)] {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (started, gate) = (Arc::clone(&begun), Arc::clone(&go));
        let waiting = move |_, _: Bytes| {
            let (started, gate) = (Arc::clone(&started), Arc::clone(&gate));
            async move {
                started.notify_one();
                gate.notified().await;
                Ok::<_, CallError>("through")
            }
        };
        let server = builder(&format!("mem:memory-{memory}")).max_memory(memory).on_async("gate", waiting);
        let server = server.start().await.unwrap();
        let full = Client::connect(&address(&server)).await.unwrap();
        let open = tokio::spawn({
            let client = full.clone();
            async move { client.call("gate", vec![0; 200_000]).await }
        });
        begun.notified().await;
        let beside = full.request("np.echo").deadline(Duration::from_secs(5)).send().await;
        assert_eq!(beside.is_ok(), fits, "{beside:?}");
        Client::connect(&address(&server)).await.unwrap().call("np.echo", "").await.unwrap();
        go.notify_one();
        assert_eq!(open.await.unwrap().unwrap(), "through");
    }
    let error = builder("mem:memory-none").max_memory(0).start().await.unwrap_err();
    assert!(error.to_string().contains("max_memory"), "{error}");
}

#[tokio::test]
async fn limits_of_sources_and_rates_of_peers_are_settings() {
    let refused = |error: Error, setting: &str| assert!(error.to_string().contains(setting), "{error}");
    let server = builder("tcp://127.0.0.1:0").max_source_connections(1).start().await.unwrap();
    let _held = Client::connect(&address(&server)).await.unwrap();
    refused(Client::connect(&address(&server)).await.unwrap_err(), "max_source_connections");
    let server = builder("tcp://127.0.0.1:0").max_source_handshakes_per_second(1).start().await.unwrap();
    let mut seen = None;
    for _ in 0..100 {
        seen = Client::connect(&address(&server)).await.err();
        if seen.is_some() {
            break;
        }
    }
    refused(seen.unwrap(), "max_source_handshakes_per_second");
    let server = builder("mem:peer-rate").max_peer_calls_per_second(1).start().await.unwrap();
    let client = Client::connect(&address(&server)).await.unwrap();
    let mut seen = None;
    for _ in 0..100 {
        seen = client.call("np.echo", "").await.err();
        if seen.is_some() {
            break;
        }
    }
    assert!(seen.unwrap().text.contains("max_peer_calls_per_second"));
}
