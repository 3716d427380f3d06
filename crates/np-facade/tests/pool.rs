//! A client of several addresses: failing over without a failed call, balance, breakers and resolvers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::transport::{BindOptions, Listener};
use np_facade::{
    Address, Balance, CallError, CircuitBreaker, Client, ClientBuilder, ClientEvent, ErrorKind, Identity, Outcome,
    Policy, ResolveError, Resolver, SecretKey, Server, Status,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);
const MILLI: Duration = Duration::from_millis(1);

fn identity() -> Identity {
    Identity::from_secret(SecretKey::from_bytes([9; 32]))
}

fn keyed(place: &str) -> String {
    format!("{place}?key={}", identity().public_key())
}

/// A server that says its place when it is asked `who`, and holds a call of `hold` until there is a permit.
async fn serve(place: &str, permits: &Arc<Semaphore>) -> Server {
    serve_with(place, permits, 1_000).await
}

async fn serve_with(place: &str, permits: &Arc<Semaphore>, max_server_calls: usize) -> Server {
    let (name, gate) = (place.to_owned(), Arc::clone(permits));
    Server::builder(identity(), Policy::anyone())
        .listen(place)
        .max_server_calls(max_server_calls)
        .on("who", move |_, _| Ok(name.clone()))
        .on_async("hold", move |_, body: Bytes| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.map_err(|_| CallError::failed("closed"))?.forget();
                Ok(body)
            }
        })
        .start()
        .await
        .unwrap()
}

fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

fn of_two(one: &str, other: &str) -> ClientBuilder {
    Client::builder(keyed(one)).address(keyed(other))
}

async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            sleep(MILLI).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

async fn who(client: &Client) -> String {
    String::from_utf8(client.call("who", "").await.unwrap().to_vec()).unwrap()
}

/// Waits until so many connections stand.
async fn standing(client: &Client, wanted: usize) {
    let mut events = client.events();
    let mut seen = 0;
    while seen < wanted {
        if let Some(ClientEvent::Connected { .. }) = timeout(PATIENCE, events.next()).await.unwrap() {
            seen += 1;
        }
    }
}

async fn kill(server: Server) {
    drop(server);
    sleep(MILLI).await;
}

#[tokio::test(start_paused = true)]
async fn without_auto_reconnect_calls_wait_for_connections_that_are_made_for_the_first_time() {
    for comes in [true, false] {
        let gate = gate();
        let (one, front) = (format!("mem:first-one-{comes}"), format!("mem:first-front-{comes}"));
        let back = format!("mem:first-back-{comes}");
        let (first, _second) = (serve(&one, &gate).await, serve(&back, &gate).await);
        // The way to the second server opens late, or never.
        let listener = Listener::bind(&front.parse().unwrap(), &BindOptions::default()).await.unwrap();
        let open = Arc::clone(&gate);
        let door = tokio::spawn(async move {
            let mut link = listener.accept().await.unwrap();
            open.acquire().await.unwrap().forget();
            if comes {
                let mut further = np_facade::raw::transport::connect(&back.parse().unwrap()).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut link.io, &mut further.io).await;
            }
        });
        let builder = of_two(&one, &front).balance(Balance::RoundRobin).auto_reconnect(false);
        let client = builder.connect().await.unwrap();
        let held = client.clone();
        let held = tokio::spawn(async move { held.call("hold", "").await });
        sleep(MILLI).await;
        kill(first).await;
        assert_eq!(timeout(PATIENCE, held).await.unwrap().unwrap().unwrap_err().outcome, Outcome::Unknown);
        let caller = client.clone();
        let call = tokio::spawn(async move { caller.call("who", "").await });
        sleep(MILLI).await;
        assert!(!call.is_finished());
        gate.add_permits(1);
        let result = timeout(PATIENCE, call).await.unwrap().unwrap();
        if comes {
            assert_eq!(result.unwrap(), format!("mem:first-back-{comes}"));
        } else {
            let error = result.unwrap_err();
            assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::NotProcessed), "{error}");
        }
        door.abort();
    }
}

/// One address drains and comes back, then the other, while calls go on: none of them may fail.
async fn drains_by_turns(places: [&str; 2], balance: Balance) {
    let gate = gate();
    gate.add_permits(Semaphore::MAX_PERMITS);
    let mut servers = Vec::new();
    let mut addresses = Vec::new();
    for place in places {
        let server = serve(place, &gate).await;
        addresses.push(server.addresses()[0].to_string());
        servers.push(server);
    }
    let builder = Client::builder(&addresses[0]).address(&addresses[1]).reconnect_delay(MILLI * 4);
    let client = builder.balance(balance).connect().await.unwrap();
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..16 {
        let (client, over, answered) = (client.clone(), Arc::clone(&over), Arc::clone(&answered));
        load.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                client.call("hold", "x").await.unwrap();
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for turn in 0..4 {
        let before = answered.load(Ordering::Relaxed);
        until(|| answered.load(Ordering::Relaxed) > before + 100).await;
        let at = turn % 2;
        servers[at].shutdown(Duration::from_secs(20)).await;
        let before = answered.load(Ordering::Relaxed);
        until(|| answered.load(Ordering::Relaxed) > before + 100).await;
        let place = servers[at].addresses()[0].without_keys().to_string();
        servers[at] = serve(&place, &gate).await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = timeout(PATIENCE, load.join_next()).await.unwrap() {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_fails_no_call_while_another_address_is_there_over_tcp() {
    drains_by_turns(["tcp://127.0.0.1:0"; 2], Balance::FailOver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_fails_no_call_of_a_pool_that_is_balanced() {
    drains_by_turns(["mem:drain-a", "mem:drain-b"], Balance::RoundRobin).await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_fails_no_call_while_another_address_is_there_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| format!("unix:{}", folder.path().join(name).display());
    drains_by_turns([&place("a"), &place("b")], Balance::LeastInFlight).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_accepted_finishes_on_the_draining_connection_while_new_ones_go_elsewhere() {
    let gate = gate();
    let (one, _other) = (serve("mem:old", &gate).await, serve("mem:new", &gate).await);
    let client = of_two("mem:old", "mem:new").connect().await.unwrap();
    let accepted = tokio::spawn({
        let client = client.clone();
        async move { client.call("hold", "accepted").await }
    });
    until(|| one.connections().len() == 1).await;
    client.call("who", "").await.unwrap();
    let draining = tokio::spawn(async move { one.shutdown(Duration::from_secs(20)).await });
    sleep(MILLI).await;
    let before = Instant::now();
    assert_eq!(who(&client).await, "mem:new");
    assert!(before.elapsed() <= MILLI * 110, "{:?}", before.elapsed());
    assert!(!accepted.is_finished() && !draining.is_finished());
    gate.add_permits(1);
    assert_eq!(accepted.await.unwrap().unwrap(), "accepted");
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn addresses_are_tried_in_order_and_the_next_follows_the_one_that_is_lost() {
    let gate = gate();
    let places = ["mem:order-0", "mem:order-1", "mem:order-2"];
    let mut servers = Vec::new();
    for place in &places[1..] {
        servers.push(serve(place, &gate).await);
    }
    let builder = of_two(places[0], places[1]).address(keyed(places[2]));
    let client = builder.connect().await.unwrap();
    assert_eq!(who(&client).await, places[1]);
    let zero = serve(places[0], &gate).await;
    assert_eq!(who(&client).await, places[1], "a connection that stands is not left");
    kill(servers.remove(0)).await;
    assert_eq!(who(&client).await, places[2]);
    kill(servers.remove(0)).await;
    assert_eq!(who(&client).await, places[0]);
    kill(zero).await;
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_all_connections_by_turns() {
    let gate = gate();
    let servers = [serve("mem:turns-a", &gate).await, serve("mem:turns-b", &gate).await];
    let client = of_two("mem:turns-a", "mem:turns-b").balance(Balance::RoundRobin).pool_size(2);
    let client = client.connect().await.unwrap();
    standing(&client, 4).await;
    assert_eq!(servers.each_ref().map(|server| server.connections().len()), [2, 2]);
    let mut counts = [0, 0];
    for _ in 0..100 {
        counts[usize::from(who(&client).await == "mem:turns-b")] += 1;
    }
    assert_eq!(counts, [50, 50]);
    // Whatever stands takes the calls of what does not.
    let [one, _other] = servers;
    kill(one).await;
    for _ in 0..10 {
        assert_eq!(who(&client).await, "mem:turns-b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_fails_over_goes_to_one_address_and_takes_its_connections_by_turns() {
    let gate = gate();
    let servers = [serve("mem:pool-a", &gate).await, serve("mem:pool-b", &gate).await];
    let client = of_two("mem:pool-a", "mem:pool-b").pool_size(3).connect().await.unwrap();
    standing(&client, 3).await;
    assert_eq!(servers.each_ref().map(|server| server.connections().len()), [3, 0]);
    let [one, other] = servers;
    kill(one).await;
    standing(&client, 3).await;
    assert_eq!(other.connections().len(), 3);
    assert_eq!(who(&client).await, "mem:pool-b");
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_pool_that_fails_over_go_where_the_first_one_stands() {
    let gate = gate();
    let servers = [serve("mem:follow-a", &gate).await, serve("mem:follow-b", &gate).await];
    let asked = Arc::new(AtomicUsize::new(0));
    // The first connection finds the second server alone.
    let resolver = move || {
        let places =
            ["mem:follow-a", "mem:follow-b"].into_iter().skip(usize::from(asked.fetch_add(1, Ordering::SeqCst) == 0));
        let addresses = places.map(|place| keyed(place).parse().map_err(ResolveError::from));
        std::future::ready(addresses.collect::<Result<Vec<Address>, _>>())
    };
    let client = Client::resolved_by(resolver).pool_size(4).connect().await.unwrap();
    standing(&client, 4).await;
    assert_eq!(servers.each_ref().map(|server| server.connections().len()), [0, 4]);
}

#[tokio::test(start_paused = true)]
async fn least_in_flight_goes_where_the_fewest_calls_wait() {
    let (slow, quick) = (gate(), gate());
    quick.add_permits(1_000);
    let _servers = [serve("mem:least-slow", &slow).await, serve("mem:least-quick", &quick).await];
    let builder = of_two("mem:least-slow", "mem:least-quick").balance(Balance::LeastInFlight);
    let client = builder.connect().await.unwrap();
    standing(&client, 2).await;
    // One by one: the first waits at the slow server for ever, and all others find it busier.
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { client.call("hold", "x").await.map(drop) });
        sleep(MILLI).await;
    }
    for _ in 0..49 {
        timeout(Duration::from_secs(1), calls.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    }
    // A call that is given up counts no more.
    calls.abort_all();
    while calls.join_next().await.is_some() {}
    let mut counts = [0, 0];
    let mut held = JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        held.spawn(async move { client.call("hold", "x").await.map(drop) });
        sleep(MILLI).await;
    }
    while let Some(done) = held.try_join_next() {
        done.unwrap().unwrap();
        counts[0] += 1;
    }
    counts[1] = held.len();
    assert_eq!(counts, [19, 1]);
}

/// A place where every connection is accepted and cut at once; counts them.
async fn cutting(place: &str) -> Arc<AtomicUsize> {
    let listener = Listener::bind(&place.parse().unwrap(), &BindOptions::default()).await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    count
}

/// How often the bad address was tried in the rounds of a client that loses its good one again and again.
async fn tries_of_a_bad_address(name: &str, breaker: Option<CircuitBreaker>) -> usize {
    let gate = gate();
    let (good, bad) = (format!("mem:{name}-good"), format!("mem:{name}-bad"));
    let mut server = serve(&good, &gate).await;
    let builder = of_two(&good, &bad).circuit_breaker(breaker).reconnect_delay(MILLI * 10);
    let client = builder.max_reconnect_delay(MILLI * 10).connect().await.unwrap();
    let tries = cutting(&bad).await;
    for _ in 0..8 {
        // An orderly end is no failure of the good one.
        server.shutdown(Duration::from_secs(1)).await;
        server = serve(&good, &gate).await;
        assert_eq!(who(&client).await, good);
        sleep(MILLI * 100).await;
    }
    let closed = tries.load(Ordering::SeqCst);
    if breaker.is_some() {
        // Half open: one probe, which fails.
        sleep(Duration::from_secs(30)).await;
        for _ in 0..3 {
            server.shutdown(Duration::from_secs(1)).await;
            server = serve(&good, &gate).await;
            who(&client).await;
            sleep(MILLI * 100).await;
        }
        assert_eq!(tries.load(Ordering::SeqCst), closed + 1);
    }
    closed
}

#[tokio::test(start_paused = true)]
async fn a_breaker_leaves_an_address_alone_that_fails_again_and_again_and_probes_it_later() {
    let breaker = CircuitBreaker { failures_in_a_row: 3, open_for: Duration::from_secs(20), failures_of_twenty: 20 };
    assert_eq!(tries_of_a_bad_address("row", Some(breaker)).await, 3);
    let breaker = CircuitBreaker { failures_in_a_row: 100, failures_of_twenty: 2, ..breaker };
    assert_eq!(tries_of_a_bad_address("rate", Some(breaker)).await, 2);
    assert_eq!(tries_of_a_bad_address("none", None).await, 8);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_keeps_calls_from_a_server_that_refuses_them_until_a_probe_succeeds() {
    let gate = gate();
    let (full, _other) = (serve_with("mem:full", &gate, 1).await, serve("mem:free", &gate).await);
    let direct = Client::builder(keyed("mem:full")).connect().await.unwrap();
    let occupant = tokio::spawn(async move { direct.call("hold", "").await });
    sleep(MILLI).await;
    let breaker = CircuitBreaker { failures_in_a_row: 2, ..CircuitBreaker::default() };
    let builder = of_two("mem:full", "mem:free").balance(Balance::RoundRobin).circuit_breaker(breaker);
    let client = builder.connect().await.unwrap();
    standing(&client, 2).await;
    let mut refused = 0;
    // A refused call is sent again to the next in turn, after a pause.
    let mut ask = async |client: &Client| {
        let before = Instant::now();
        let answer = who(client).await;
        refused += usize::from(before.elapsed() > Duration::ZERO);
        answer
    };
    for _ in 0..20 {
        assert_eq!(ask(&client).await, "mem:free");
    }
    sleep(Duration::from_secs(11)).await;
    for _ in 0..20 {
        assert_eq!(ask(&client).await, "mem:free");
    }
    assert!(refused >= 2, "{refused}");
    let before = refused;
    assert!(before <= 4, "two refusals opened it and a probe was refused: {before}");
    occupant.abort();
    sleep(Duration::from_secs(11)).await;
    // A call that cannot be made takes the probe from nobody.
    for _ in 0..2 {
        client.call("no name", "").await.unwrap_err();
        client.request("no name").send().await.unwrap_err();
    }
    let mut counts = [0, 0];
    for _ in 0..20 {
        counts[usize::from(who(&client).await == "mem:free")] += 1;
    }
    assert_eq!(counts, [10, 10]);
    drop(full);
}

/// A resolver that counts how often it is asked, and says what it was last told.
struct Told {
    asked: AtomicUsize,
    answer: Mutex<Option<Vec<String>>>,
}

impl Told {
    fn new(places: &[&str]) -> Arc<Self> {
        let told = Self { asked: AtomicUsize::new(0), answer: Mutex::new(None) };
        told.tell(Some(places));
        Arc::new(told)
    }

    fn tell(&self, places: Option<&[&str]>) {
        *self.answer.lock().unwrap() = places.map(|places| places.iter().map(|place| keyed(place)).collect());
    }

    fn resolver(self: &Arc<Self>) -> impl Resolver + use<> {
        let told = Arc::clone(self);
        move || {
            told.asked.fetch_add(1, Ordering::SeqCst);
            let answer = told.answer.lock().unwrap().clone();
            async move {
                let texts = answer.ok_or("the registry is gone")?;
                texts.iter().map(|text| text.parse().map_err(ResolveError::from)).collect::<Result<Vec<Address>, _>>()
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_is_asked_again_at_each_attempt() {
    let gate = gate();
    let server = serve("mem:resolved-a", &gate).await;
    let told = Told::new(&["mem:resolved-a"]);
    let client = Client::resolved_by(told.resolver()).connect().await.unwrap();
    assert_eq!((who(&client).await.as_str(), told.asked.load(Ordering::SeqCst)), ("mem:resolved-a", 1));
    let mut events = client.events();
    kill(server).await;
    let mut attempts = 0;
    while attempts < 4 {
        attempts += u32::from(matches!(events.next().await, Some(ClientEvent::Reconnecting { .. })));
    }
    // The fourth has not been made yet.
    assert_eq!(told.asked.load(Ordering::SeqCst), 4);
    told.tell(None);
    sleep(Duration::from_secs(10)).await;
    let _server = serve("mem:resolved-b", &gate).await;
    told.tell(Some(&["mem:resolved-b"]));
    assert_eq!(who(&client).await, "mem:resolved-b");
}

#[tokio::test(start_paused = true)]
async fn the_addresses_of_the_builder_follow_those_of_the_resolver() {
    let gate = gate();
    let _servers = [serve("mem:named", &gate).await, serve("mem:asked", &gate).await];
    let told = Told::new(&["mem:asked"]);
    let client = |told: &Arc<Told>| Client::builder(keyed("mem:named")).resolver(told.resolver());
    assert_eq!(who(&client(&told).connect().await.unwrap()).await, "mem:asked");
    told.tell(Some(&["mem:nobody"]));
    assert_eq!(who(&client(&told).connect().await.unwrap()).await, "mem:named");
    told.tell(None);
    assert_eq!(who(&client(&told).connect().await.unwrap()).await, "mem:named");
    let error = Client::resolved_by(told.resolver()).connect().await.unwrap_err();
    assert!(error.to_string().contains("the registry is gone"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Connect);
    // One that hangs is given up with the connect timeout.
    let hangs = || std::future::pending::<Result<Vec<Address>, ResolveError>>();
    let before = Instant::now();
    let error = Client::resolved_by(hangs).connect_timeout(Duration::from_secs(2)).connect().await.unwrap_err();
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    assert_eq!(before.elapsed().as_secs(), 2);
}

#[tokio::test]
async fn settings_out_of_their_range_are_refused_by_name() {
    type Change = fn(ClientBuilder) -> ClientBuilder;
    let wrong: [(&str, Change); 7] = [
        ("reconnect_delay", |it| it.reconnect_delay(Duration::ZERO)),
        ("max_reconnect_delay", |it| it.max_reconnect_delay(MILLI)),
        ("pool_size", |it| it.pool_size(0)),
        ("pool_size", |it| it.pool_size(65)),
        ("failures_in_a_row", |it| it.circuit_breaker(CircuitBreaker { failures_in_a_row: 0, ..Default::default() })),
        ("failures_of_twenty", |it| {
            it.circuit_breaker(CircuitBreaker { failures_of_twenty: 21, ..Default::default() })
        }),
        ("open_for", |it| it.circuit_breaker(CircuitBreaker { open_for: Duration::ZERO, ..Default::default() })),
    ];
    for (setting, change) in wrong {
        let error = change(Client::builder(keyed("mem:nobody"))).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
    // A mistake in any address is told before anything is tried.
    let error = Client::builder(keyed("mem:nobody")).address("mem:keyless").connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}
