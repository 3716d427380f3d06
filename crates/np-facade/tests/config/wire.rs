//! What settings of connections do, seen from the way between a client and a server: how many bytes pass, and how long
//! it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_facade::raw::transport::{Listener, connect};
use np_facade::{CallError, Client, Identity, Outcome, Server, Status};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::effects::{Place, address};

pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A way between a client and a server that counts bytes, delays them, and takes none once it is told so.
pub(crate) struct Way {
    /// What a client connects to.
    pub(crate) address: String,
    passed: Arc<AtomicUsize>,
    pub(crate) open: watch::Sender<bool>,
}

impl Way {
    pub(crate) async fn to(server: &Server, delay: Duration) -> Self {
        let at = server.addresses()[0].without_keys().to_string();
        let front = address(server).replacen(&at, &format!("{at}-front"), 1);
        let options = np_facade::BindOptions::default();
        let listener = Listener::bind(&format!("{at}-front").parse().unwrap(), &options).await.unwrap();
        let (passed, open) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(true));
        let (count, gate) = (Arc::clone(&passed), open.clone());
        tokio::spawn(async move {
            while let Ok(near) = listener.accept().await {
                let (near_in, near_out) = split(near.io);
                let (far_in, far_out) = split(connect(&at.parse().unwrap()).await.unwrap().io);
                tokio::spawn(carry(near_in, far_out, delay, Arc::clone(&count), gate.subscribe()));
                tokio::spawn(carry(far_in, near_out, delay, Arc::clone(&count), gate.subscribe()));
            }
        });
        Self { address: front, passed, open }
    }

    /// How many bytes pass while something is done.
    pub(crate) async fn bytes_of<T>(&self, work: impl Future<Output = T>) -> usize {
        let before = self.passed.load(Ordering::SeqCst);
        work.await;
        // What follows from it passes, too.
        sleep(Duration::from_millis(10)).await;
        self.passed.load(Ordering::SeqCst) - before
    }
}

/// Carries bytes one way; each comes `delay` later, and as fast as it came.
async fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin + Send + 'static,
    delay: Duration,
    count: Arc<AtomicUsize>,
    mut open: watch::Receiver<bool>,
) {
    let (put, mut take) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = take.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        if open.wait_for(|open| *open).await.is_err() {
            break;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = open.changed() => continue,
        };
        count.fetch_add(read, Ordering::SeqCst);
        if read == 0 || put.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
            break;
        }
    }
}

/// A server and a client with these settings of `[transport]` each, and the way between them.
async fn pair(name: &str, server: &str, client: &str, delay: Duration) -> (Server, Way, Client) {
    let place = Place::new();
    let server = place.open(name, &format!("[transport]\n{server}")).await;
    let way = Way::to(&server, delay).await;
    let text = format!("heartbeat_interval = \"off\"\n[transport]\n{client}");
    let client = place.connect(&way.address, &text).await.unwrap();
    (server, way, client)
}

/// Bytes that do not shrink, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_for_its_server_to_take_bytes_as_long_as_operation_timeout() {
    let place = Place::new();
    for (text, seconds) in [("operation_timeout = \"2s\"\n", 2..=3), ("", 60..=61)] {
        let server = place.open(&format!("w-slow-{}", seconds.start()), "heartbeat_interval = \"off\"\n").await;
        let way = Way::to(&server, Duration::ZERO).await;
        let client = place.connect(&way.address, &format!("heartbeat_interval = \"off\"\n{text}")).await.unwrap();
        way.open.send_replace(false);
        let before = Instant::now();
        // More than there is room for on the way.
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let client = client.clone();
                let body = vec![0; 100 << 10];
                tokio::spawn(async move { client.request("np.echo").body(body).deadline(PATIENCE).send().await })
            })
            .collect();
        let reason = timeout(PATIENCE, client.closed()).await.unwrap();
        assert!(seconds.contains(&before.elapsed().as_secs()), "{:?}: {reason}", before.elapsed());
        for call in calls {
            call.await.unwrap().unwrap_err();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn instances_of_all_identities_together_are_bounded_by_max_instances() {
    for (most, taken) in [(1, false), (2, true)] {
        let place = Place::new();
        place.key("ada");
        place.key("bob");
        let more = format!("exactly_once = true\nmax_instances = {most}\nmax_identity_instances = 1\n");
        let server = place.open(&format!("w-instances-{most}"), &more).await;
        let text = "exactly_once = true\nretry_budget = 0\nresponse_timeout = \"5s\"\n";
        let connect = async |name: &str| {
            place.connect(&address(&server), &format!("identity = \"@{name}\"\n{text}")).await.unwrap()
        };
        let (one, other) = (connect("ada").await, connect("bob").await);
        assert_eq!(one.call("np.echo", "x").await.unwrap(), "x");
        match other.call("np.echo", "x").await {
            Ok(_) => assert!(taken),
            Err(error) => {
                assert!(!taken && error.to_string().contains("limit max_instances"), "{error}");
                assert_eq!(error.outcome, Outcome::NotProcessed, "{error}");
            }
        }
        assert_eq!(server.status().exactly_once.unwrap().instances, most);
    }
}

/// How many bytes a client sends into streams that nobody reads.
async fn taken(name: &str, server: &str, streams: usize) -> usize {
    let place = Place::new();
    place.key("server");
    let text = format!(
        "[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\n[transport]\n{server}"
    );
    let builder = Server::from_config(&place.config(&text)).unwrap();
    let deaf = |_, stream: np_facade::MessageStream| async move {
        std::future::pending::<()>().await;
        drop(stream);
        Ok(())
    };
    let server = builder.on_stream("deaf", deaf).start().await.unwrap();
    let way = Way::to(&server, Duration::ZERO).await;
    let client = place.connect(&way.address, "heartbeat_interval = \"off\"\n").await.unwrap();
    let mut open = Vec::new();
    for _ in 0..streams {
        open.push(client.open_stream("deaf").await.unwrap());
    }
    way.bytes_of(async {
        let send = |mut stream: np_facade::MessageStream| async move {
            while let Ok(Ok(())) = timeout(Duration::from_secs(1), stream.send(vec![0; 512])).await {}
            stream
        };
        futures_util::future::join_all(open.into_iter().map(send)).await
    })
    .await
}

/// Whether a number is another one, give or take what frames and records cost.
#[track_caller]
fn assert_near(seen: usize, wanted: usize) {
    assert!((wanted..wanted + wanted / 4 + 512).contains(&seen), "{seen} where {wanted} was to be expected");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_takes_stream_window_and_all_of_them_connection_window() {
    let of = |stream: &str, connection: &str| {
        format!("stream_window = \"{stream}\"\nmax_window = \"{stream}\"\nconnection_window = \"{connection}\"\n")
    };
    for kib in [16, 64] {
        let one = taken(&format!("w-stream-{kib}"), &of(&format!("{kib}KiB"), "1MiB"), 1).await;
        assert_near(one, kib << 10);
        let all = taken(&format!("w-all-{kib}"), &of("16KiB", &format!("{}KiB", 4 * kib)), 20).await;
        assert_near(all, (4 * kib) << 10);
    }
}

#[tokio::test(start_paused = true)]
async fn large_messages_come_one_by_one_where_reassembly_budget_has_room_for_one() {
    let time = async |name: &str, budget: &str| {
        let text = format!(
            "max_message = \"256KiB\"\nstream_window = \"4KiB\"\nconnection_window = \"4MiB\"\nmax_window = \"4KiB\"\n\
             reassembly_budget = \"{budget}\"\n"
        );
        let (_server, _way, client) = pair(name, &text, "", Duration::from_millis(50)).await;
        let before = Instant::now();
        let call = || client.request("np.echo").body(vec![0; 256 << 10]).send();
        for answer in futures_util::future::join_all((0..8).map(|_| call())).await {
            answer.unwrap();
        }
        before.elapsed()
    };
    let (one, eight) = (time("w-one", "256KiB").await, time("w-eight", "4MiB").await);
    assert!(one > eight * 2, "{one:?} {eight:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_call_budget_of_the_file_are_refused() {
    let place = Place::new();
    place.key("server");
    for (name, budget, fits) in [("w-budget", "16KiB", 2), ("w-budgets", "64KiB", 11)] {
        let text = format!(
            "[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\n[transport]\n\
             max_message = \"8KiB\"\ncall_budget = \"{budget}\"\n"
        );
        let builder = Server::from_config(&place.config(&text)).unwrap();
        let builder = builder.on_async("hold", |_, _| std::future::pending::<Result<&str, CallError>>());
        let server = builder.start().await.unwrap();
        let client = place.connect(&address(&server), "retry_budget = 0\nresponse_timeout = \"5s\"\n").await.unwrap();
        let calls = (0..16).map(|_| client.call("hold", vec![0; 5_500]));
        let ended = futures_util::future::join_all(calls).await;
        let refused: Vec<_> = ended.iter().filter_map(|end| end.as_ref().err()).collect();
        let refused: Vec<_> = refused.iter().filter(|error| error.status == Status::Unavailable).collect();
        assert!(refused.iter().all(|error| error.to_string().contains("call_budget")), "{refused:?}");
        assert_eq!(16 - refused.len(), fits, "{name}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_compressed_and_how_is_what_the_files_say() {
    let text: String = (0..2_000).map(|at| format!("a line that comes again and again, number {at}\n")).collect();
    let bytes = async |name: &str, server: &str, client: &str, body: &[u8]| {
        let (_server, way, client) = pair(name, server, client, Duration::ZERO).await;
        way.bytes_of(async { client.send_one_way("np.echo", body.to_vec()).await.unwrap() }).await
    };
    let (on, body) = ("compression_enabled = true\n", text.as_bytes());
    let plain = bytes("w-plain", "", "", body).await;
    let lz4 = bytes("w-lz4", "", on, body).await;
    assert!(plain > body.len() && lz4 < body.len() / 2, "{plain} {lz4}");
    let zstd = bytes("w-zstd", "", &format!("{on}compression_algorithm = \"zstd:19\"\n"), body).await;
    assert!(zstd < lz4, "{zstd} {lz4}");
    for (name, server, client) in [
        ("w-refused", "accept_compressed = false\n", on.to_owned()),
        ("w-short", "", format!("{on}compression_threshold_bytes = {}\n", body.len() + 1)),
        ("w-thin", "", format!("{on}compression_max_ratio = 2\n")),
    ] {
        assert!(bytes(name, server, &client, body).await > body.len(), "{name}");
    }
    let at = format!("{on}compression_threshold_bytes = {}\n", body.len());
    assert!(bytes("w-long", "", &at, body).await < body.len() / 2);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_shrink_are_left_alone_unless_the_file_says_otherwise() {
    for (text, is_tried) in [("", false), ("compression_adaptive = false\n", true)] {
        let name = if is_tried { "w-tried" } else { "w-left" };
        let (_server, way, client) =
            pair(name, "", &format!("compression_enabled = true\n{text}"), Duration::ZERO).await;
        client.call("np.echo", noise(4_096)).await.unwrap();
        let send = async { client.send_one_way("np.echo", vec![0; 4_096]).await.unwrap() };
        assert_eq!(way.bytes_of(send).await < 1_000, is_tried);
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_padded_as_the_file_says() {
    for (text, size) in [("pad_records_to = 4096\n", 4_096..4_200), ("", 30..200)] {
        let (_server, way, client) = pair(&format!("w-pad-{}", size.start), "", text, Duration::ZERO).await;
        // The first call of a method names it.
        client.send_one_way("np.echo", "x").await.unwrap();
        let sent = way.bytes_of(async { client.send_one_way("np.echo", "x").await.unwrap() }).await;
        assert!(size.contains(&sent), "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_renewed_as_often_as_the_file_says() {
    let bytes = async |name: &str, text: &str| {
        let (_server, way, client) = pair(name, "", text, Duration::ZERO).await;
        way.bytes_of(async {
            for _ in 0..20 {
                client.send_one_way("np.echo", "x").await.unwrap();
                sleep(Duration::from_secs(2)).await;
            }
        })
        .await
    };
    let seldom = bytes("w-seldom", "rekey_age = \"1h\"\n").await;
    for (name, text) in [
        ("w-records", "rekey_age = \"1h\"\nrekey_records = 1\n"),
        ("w-bytes", "rekey_age = \"1h\"\nrekey_bytes = 1\n"),
        ("w-age", "rekey_age = \"1s\"\n"),
    ] {
        let often = bytes(name, text).await;
        // Each renewal is a frame.
        assert!(often >= seldom + 19, "{name}: {often} {seldom}");
    }
}

#[tokio::test(start_paused = true)]
async fn useless_acts_of_a_peer_are_borne_as_the_file_says() {
    for (text, lasts) in [("useless_acts = 256\n", false), ("", true)] {
        let (_server, _way, client) = pair(&format!("w-useless-{lasts}"), text, "", Duration::ZERO).await;
        let mut pings = 0;
        while pings < 600 && client.connection().ping().await.is_ok() {
            pings += 1;
        }
        assert_eq!(pings == 600, lasts, "{pings}");
        assert!(lasts || pings >= 250, "{pings}");
    }
}

#[tokio::test(start_paused = true)]
async fn windows_grow_as_far_as_max_window() {
    let small = "stream_window = \"8KiB\"\nconnection_window = \"16KiB\"\n";
    let still = time_of_a_flow("w-still", &format!("{small}max_window = \"8KiB\"\n")).await;
    let grown = time_of_a_flow("w-grown", &format!("{small}max_window = \"4MiB\"\n")).await;
    assert!(grown * 3 < still, "{grown:?} {still:?}");
}

/// How long a server 50 ms away needs to take a stream of 2 MiB that it reads as it comes.
async fn time_of_a_flow(name: &str, server: &str) -> Duration {
    let place = Place::new();
    place.key("server");
    let text = format!(
        "[server]\naddress = \"mem:{name}\"\nidentity = \"@server\"\nallow = \"anyone\"\n[transport]\n{server}"
    );
    let builder = Server::from_config(&place.config(&text)).unwrap();
    let reads = |_, mut stream: np_facade::MessageStream| async move {
        while let Some(message) = stream.recv().await {
            message?;
        }
        stream.finish().await
    };
    let server = builder.on_stream("reads", reads).start().await.unwrap();
    let way = Way::to(&server, Duration::from_millis(50)).await;
    let client = place.connect(&way.address, "heartbeat_interval = \"off\"\n").await.unwrap();
    let mut stream = client.open_stream("reads").await.unwrap();
    let before = Instant::now();
    for _ in 0..1_024 {
        stream.send(vec![0; 2 << 10]).await.unwrap();
    }
    stream.finish().await.unwrap();
    while stream.recv().await.is_some() {}
    before.elapsed()
}

/// What a client says whose connection has no heartbeat, so that nothing but its calls passes.
fn early(on: bool) -> String {
    format!("heartbeat_interval = \"off\"\nhandshake_timeout = \"5s\"\nearly_call = {on}\n")
}

#[tokio::test(start_paused = true)]
async fn the_first_call_saves_a_round_trip_where_early_call_says_so() {
    for (on, flights) in [(false, 6), (true, 4)] {
        let place = Place::new();
        let server = place.open(&format!("w-early-{on}"), "").await;
        let way = Way::to(&server, Duration::from_millis(100)).await;
        let before = Instant::now();
        let client = place.connect(&way.address, &early(on)).await.unwrap();
        assert_eq!(client.call("np.echo", "x").await.unwrap(), "x");
        let took = before.elapsed().as_millis();
        assert!((flights * 100..flights * 100 + 20).contains(&took), "{on}: {took} ms");
        // What the server's settings say holds from the second call on: that it reads what is compressed.
        let zeros = vec![0; 100_000];
        let call = client.request("np.echo").body(zeros.clone()).compress(true).send();
        let passed = way.bytes_of(async { assert_eq!(call.await.unwrap().body, zeros) }).await;
        assert!(passed < 110_000, "{on}: {passed} bytes, of which the answer is not compressed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_learns_it_from_its_early_call() {
    let place = Place::new();
    place.key("somebody");
    let others = Identity::generate().unwrap().public_key();
    let server = Server::builder(Identity::generate().unwrap(), np_facade::Policy::allow_keys([others]));
    let server = server.listen("mem:w-early-refused").start().await.unwrap();
    let connect =
        async |on| place.connect(&address(&server), &format!("identity = \"@somebody\"\n{}", early(on))).await;
    let error = connect(false).await.unwrap_err();
    assert_eq!(error.kind(), np_facade::ErrorKind::Authentication, "{error}");
    let client = connect(true).await.unwrap();
    let error = client.call("np.echo", "x").await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed), "{error}");
    let reason = timeout(PATIENCE, client.closed()).await.unwrap().to_string();
    assert!(reason.contains("not-allowed"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_may_call_early_and_does_not_is_connected_all_the_same() {
    let place = Place::new();
    let server = place.open("w-early-none", "").await;
    let before = Instant::now();
    let _client = place.connect(&address(&server), &early(true)).await.unwrap();
    let came = async {
        while server.connections().is_empty() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, came).await.unwrap();
    // What a server hears in time it has not waited for: the end of the handshake left with no timer.
    assert!(before.elapsed() < Duration::from_millis(100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_an_early_call_is_cut_at_the_handshake_timeout() {
    let place = Place::new();
    let server = place.open("w-early-mute", "").await;
    let way = Way::to(&server, Duration::from_millis(100)).await;
    let before = Instant::now();
    // After message 2 nothing passes any more.
    let shut = async {
        sleep(Duration::from_millis(150)).await;
        way.open.send_replace(false);
    };
    let text = early(true);
    let (client, ()) = tokio::join!(place.connect(&way.address, &text), shut);
    let client = client.unwrap();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.request("np.echo").deadline(PATIENCE).send().await }
    });
    let reason = timeout(PATIENCE, client.closed()).await.unwrap();
    assert!((5..=6).contains(&before.elapsed().as_secs()), "{:?}: {reason}", before.elapsed());
    call.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn connections_that_no_server_took_up_are_attempts_that_failed() {
    let place = Place::new();
    let server = place.open("w-early-full", "max_connections = 1\n").await;
    let first = place.connect(&address(&server), "").await.unwrap();
    let way = Way::to(&server, Duration::from_millis(300)).await;
    let text = "max_reconnect_attempts = 3\nreconnect_delay = \"100ms\"\n";
    let mut config = place.config(&format!("[client]\n{text}{}", early(true)));
    config.client.address = vec![way.address.clone()];
    let client = Client::from_config(&config).unwrap().connect().await.unwrap();
    // Each attempt takes longer than the delay before it, as one does that brings a connection for a while.
    let reason = timeout(PATIENCE, client.closed()).await.unwrap().to_string();
    assert!(reason.contains("attempts"), "{reason}");
    drop(first);
}
