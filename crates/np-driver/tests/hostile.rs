//! Hostile peers by the thousand, against a server in its own process: what they cost, when they are cut, and that
//! those who are known are served meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured, and what could not be, is told")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::process::{Served, serve_if_asked};
use common::{keypair, now, refused, request, told, xx_flight};
use futures_util::FutureExt as _;
use np_driver::{Connection, ConnectorConfig, connect};
use np_transport::{Address, Link};
use np_trust::Policy;
use np_types::CloseCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// What one peer that is not known may cost, in bytes.
const MOST: u64 = 16 << 10;
/// Files that this process and the server need beside the sockets of a test.
#[cfg(target_os = "linux")]
const SPARE: usize = 200;
const PEERS: usize = 10_000;

/// One test at a time: they need most of the descriptors, and measure.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[test]
fn server_process() {
    serve_if_asked();
}

/// Whether this system can hold so many sockets; says so where it cannot.
#[cfg(target_os = "linux")]
fn has_room_for(sockets: usize) -> bool {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let enough = most >= (sockets + SPARE) as u64;
    if !enough {
        println!("SKIPPED: {sockets} sockets are more than the {most} files that this process may open");
    }
    enough
}

#[cfg(not(target_os = "linux"))]
fn has_room_for(_: usize) -> bool {
    println!("SKIPPED: what a process uses is read from /proc, which is Linux's");
    false
}

async fn known_client(address: &Address) -> Connection {
    let policy = match address.mode().uses_keys() {
        true => Policy::allow_keys(address.keys().iter().copied()),
        // The pin of the address has proven it.
        false => Policy::anyone(),
    };
    connect(address, ConnectorConfig::new(keypair(), policy)).await.unwrap()
}

/// Calls over one connection and makes new ones, until it is stopped; gives the slowest of both.
async fn be_served(address: Address, stop: Arc<AtomicBool>) -> [Duration; 2] {
    let client = known_client(&address).await;
    let mut worst = [Duration::ZERO; 2];
    while !stop.load(Ordering::SeqCst) {
        let before = Instant::now();
        assert_eq!(client.call(request("np.echo").body("here")).await.unwrap().body, "here");
        worst[0] = worst[0].max(before.elapsed());
        let before = Instant::now();
        known_client(&address).await;
        worst[1] = worst[1].max(before.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worst
}

/// Connects so many peers, each of which says what it is given, and waits until the server holds them all. `None` where
/// this machine takes longer than `patience`.
async fn besiege(
    server: &Served,
    count: usize,
    patience: Duration,
    mut says: impl FnMut(usize) -> Vec<u8>,
) -> Option<Vec<(Instant, Link)>> {
    let start = Instant::now();
    let mut peers = Vec::with_capacity(count);
    for at in 0..count {
        let mut link = np_transport::connect(&server.address).await.unwrap();
        link.io.write_all(&says(at)).await.unwrap();
        peers.push((Instant::now(), link));
    }
    while server.sockets() < count && start.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (start.elapsed() < patience).then_some(peers)
}

/// Ten thousand peers that say nothing, or a part of a preface; `None` where they cannot all be there in time.
async fn silent_siege(timeout: Duration) -> Option<()> {
    let server = Served::start(12_000, timeout);
    // What the first connection brings about is none of the strangers' cost.
    known_client(&server.address).await.call(request("np.echo")).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let served = tokio::spawn(be_served(server.address.clone(), Arc::clone(&stop)));
    let before = server.resident();
    let patience = timeout - Duration::from_secs(1);
    let peers = besiege(&server, PEERS, patience, |at| b"np\r\n"[..at % 2 * 4].to_vec()).await;
    let each = server.resident().saturating_sub(before) / PEERS as u64;
    if peers.is_none() {
        served.abort();
    }

    let mut endings = JoinSet::new();
    for (since, mut link) in peers? {
        endings.spawn(async move { (told(&mut link).await, since.elapsed()) });
    }
    let mut last = Duration::ZERO;
    while let Some(ending) = endings.join_next().await {
        let (error, took) = ending.unwrap();
        assert_eq!(refused(&error).0, CloseCode::HandshakeTimeout);
        assert!(took >= timeout - Duration::from_millis(100), "cut too early: {took:?}");
        last = last.max(took);
    }
    assert!(last < timeout + Duration::from_secs(10), "{last:?}");
    let at_the_cut = server.peak().saturating_sub(before) / PEERS as u64;
    stop.store(true, Ordering::SeqCst);
    let [call, connect] = served.await.unwrap();
    println!(
        "{PEERS} silent peers: {each} bytes each, {at_the_cut} at the most; the last was cut after {last:?}; \
         a known client waited {call:?} for an answer and {connect:?} for a connection at the most"
    );
    assert!(each <= MOST && at_the_cut <= MOST, "{each}, {at_the_cut}");
    assert!(call.max(connect) < Duration::from_secs(5), "{call:?}, {connect:?}");
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_silent_peers_cost_little_and_are_cut_in_time() {
    let _alone = ALONE.lock().await;
    if !has_room_for(PEERS) {
        return;
    }
    // A busy machine gets a second chance.
    for seconds in [6, 20] {
        if silent_siege(Duration::from_secs(seconds)).await.is_some() {
            return;
        }
    }
    panic!("this machine is too slow to measure on");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_default_limit_the_oldest_silent_peers_go_first_and_all_of_them_are_told() {
    const LIMIT: usize = 4_096;
    const MORE: usize = 1_500;
    let _alone = ALONE.lock().await;
    if !has_room_for(LIMIT + MORE) {
        return;
    }
    assert_eq!(common::defaults().max_handshakes, LIMIT);
    let server = Served::start(LIMIT, Duration::from_secs(60));
    let mut peers = Vec::new();
    for _ in 0..LIMIT + MORE {
        peers.push(np_transport::connect(&server.address).await.unwrap());
    }
    // Whoever came first is told first, by an end in order; nobody reads while they come, so that all are told at once.
    for link in &mut peers[..MORE] {
        let error = told(link).await;
        assert_eq!(refused(&error).0, CloseCode::HandshakeLimit);
        assert!(refused(&error).1.contains("max_handshakes"), "{error}");
    }
    // The others are there, save those whose places known clients took.
    for _ in 0..10 {
        known_client(&server.address).await.call(request("np.echo")).await.unwrap();
    }
    let gone = peers[MORE..].iter_mut().filter_map(|link| link.io.read_u8().now_or_never()).count();
    assert!(gone <= 11, "{gone} younger peers were sent away");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_stop_after_their_first_flight_cost_little_too() {
    const HALVES: usize = 4_000;
    let _alone = ALONE.lock().await;
    if !has_room_for(HALVES) {
        return;
    }
    let server = Served::start(12_000, Duration::from_secs(60));
    known_client(&server.address).await.call(request("np.echo")).await.unwrap();
    let before = server.resident();
    let peers = besiege(&server, HALVES, Duration::from_secs(50), |_| xx_flight(now())).await.unwrap();
    let mut waiting = JoinSet::new();
    for (_, mut link) in peers {
        waiting.spawn(async move {
            // Message 2: the server has done what it does for this one.
            link.io.read_exact(&mut [0; 3 + 96 + 3]).await.unwrap();
            link
        });
    }
    let peers = waiting.join_all().await;
    let each = server.resident().saturating_sub(before) / HALVES as u64;
    println!("{HALVES} peers that stop after their first flight: {each} bytes each");
    assert!(each <= MOST, "{each}");
    drop(peers);
}

/// Silent, or with the first bytes of a handshake of TLS: none of them outlives the handshake's time.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_silent_peers_on_a_tls_port_are_all_cut_at_the_handshake_timeout() {
    const SILENT: usize = 2_000;
    let timeout = Duration::from_secs(4);
    let _alone = ALONE.lock().await;
    if !has_room_for(SILENT) {
        return;
    }
    let server = Served::start_over("tls", 4_096, timeout);
    let stop = Arc::new(AtomicBool::new(false));
    let served = tokio::spawn(be_served(server.address.clone(), Arc::clone(&stop)));
    // What the known client costs is none of the strangers' doing.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = server.resident();
    let at = (server.address.host().unwrap(), server.address.port().unwrap());
    let mut peers = JoinSet::new();
    for number in 0..SILENT {
        let mut stream = tokio::net::TcpStream::connect((at.0.as_str(), at.1)).await.unwrap();
        let since = Instant::now();
        // The head of a record that is a client hello of 512 bytes, and no more of it.
        stream.write_all(&[22, 3, 1, 2, 0][..number % 2 * 5]).await.unwrap();
        peers.spawn(async move {
            // An end in order or a reset, as the system has it; what matters is when.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            since.elapsed()
        });
    }
    let each = server.resident().saturating_sub(before) / SILENT as u64;
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    while let Some(took) = peers.join_next().await {
        let took = took.unwrap();
        (first, last) = (first.min(took), last.max(took));
    }
    stop.store(true, Ordering::SeqCst);
    let [call, connect] = served.await.unwrap();
    println!(
        "{SILENT} silent peers on a TLS port: {each} bytes each, cut after {first:?} to {last:?}; a known client waited \
         {call:?} for an answer and {connect:?} for a connection at the most"
    );
    assert!(
        first >= timeout - Duration::from_millis(100) && last < timeout + Duration::from_secs(10),
        "{first:?} {last:?}"
    );
    assert!(each <= MOST, "{each}");
    assert!(call.max(connect) < Duration::from_secs(5), "{call:?}, {connect:?}");
}

/// Descriptors that run out make newcomers wait, end no listener, and are used again as soon as they are back.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn accepting_goes_on_within_a_tenth_of_a_second_once_descriptors_are_back() {
    const FILES: u64 = 64;
    let _alone = ALONE.lock().await;
    let server = Served::start_with("tcp", 4_096, Duration::from_secs(60), Some(FILES));
    known_client(&server.address).await.call(request("np.echo")).await.unwrap();
    let mut took = Vec::new();
    for round in 0..10 {
        let mut peers = Vec::new();
        for _ in 0..FILES + 20 {
            peers.push(np_transport::connect(&server.address).await.unwrap());
        }
        let address = server.address.clone();
        let waiting = tokio::spawn(async move { known_client(&address).await.call(request("np.echo")).await });
        // Never in step with the server's pause, of which the median then shows the half.
        tokio::time::sleep(Duration::from_millis(150 + 41 * round)).await;
        assert!(!waiting.is_finished(), "the server had descriptors left");
        let freed = Instant::now();
        drop(peers);
        waiting.await.unwrap().unwrap();
        took.push(freed.elapsed());
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "accepting went on after descriptors were back: the median of ten rounds {median:?}, the longest {longest:?}"
    );
    // A busy machine may be late now and then; the rule is the pause between two tries.
    assert!(median < Duration::from_millis(100), "{took:?}");
    assert!(longest < Duration::from_secs(2), "{took:?}");
}
