//! What a stranger's first flight costs a server: processor time of the server's thread, by kind of flight, beside whole
//! handshakes of clients who are welcome. Over TCP on the loopback, from accepting the socket to closing it. At the end known
//! clients call, and come in, beside a flood of recorded flights from other addresses; each must be answered.
//!
//! `cargo bench -p np-benches --bench handshakes -- [--rounds N] [--count N]`. Kinds take turns within a round; the
//! figure is the median of the rounds.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use np_benches::rounds::{median, thread_cpu};
use np_dispatch::{Health, Router};
use np_driver::{Acceptor, AcceptorConfig, ConnectorConfig, Request, connect, random_psk, random_secret_key};
use np_noise::{Keypair, Pattern, Role};
use np_session::{Handshake, InitiatorConfig, Preface};
use np_transport::{Address, BindOptions, ConnectOptions, Listener, connect_with};
use np_trust::{Policy, Psks};
use np_types::{CloseCode, Psk, PublicKey, UnixMillis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Handle};

/// What comes to the server.
#[derive(Debug, Clone, Copy)]
enum Kind {
    HangUp,
    OverRate,
    Garbage,
    Version,
    Skewed,
    UnknownHint,
    Replayed,
    ForgedIk,
    UnknownPsk,
    SilentXx,
    Good(Pattern),
}

const KINDS: [(&str, Kind); 12] = [
    ("connects and hangs up", Kind::HangUp),
    ("IK, beyond its source's rate", Kind::OverRate),
    ("a wrong magic", Kind::Garbage),
    ("another version", Kind::Version),
    ("a stamp that is 60 s old", Kind::Skewed),
    ("IK for a key that is not held", Kind::UnknownHint),
    ("a copy of an accepted flight", Kind::Replayed),
    ("IK, forged", Kind::ForgedIk),
    ("NNpsk0 with an unknown id", Kind::UnknownPsk),
    ("XX that hangs up after message 2", Kind::SilentXx),
    ("whole: XX, and a close", Kind::Good(Pattern::XX)),
    ("whole: IK, and a close", Kind::Good(Pattern::IK)),
];

/// The server, and what its clients know.
struct Bench {
    server: Handle,
    address: Address,
    /// Where a source may begin one handshake a second.
    rated: Address,
    key: PublicKey,
    client: Keypair,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (rounds, count) = (option("--rounds", 7), option("--count", 1_000));
    let clients = Builder::new_current_thread().enable_all().build().unwrap();
    let bench = start_server();
    println!("server's processor time per connection, {rounds} rounds of {count} connections of each kind");
    let mut table = vec![Vec::new(); KINDS.len()];
    for round in 0..=rounds {
        for ((_, kind), figures) in KINDS.iter().zip(&mut table) {
            let micros = clients.block_on(bench.measure(*kind, count));
            if round > 0 {
                // Round 0 warms up.
                figures.push(micros);
            }
        }
    }
    for ((name, _), figures) in KINDS.iter().zip(&table) {
        let (least, most) =
            figures.iter().fold((f64::MAX, 0f64), |(least, most), one| (least.min(*one), most.max(*one)));
        println!("{name:>34}  {:>7.1} µs  ({least:.1} to {most:.1})", median(figures.clone()));
    }
    let bench = Arc::new(bench);
    let alone = clients.block_on(bench.known(None));
    let flood = bench.start_flood();
    let beside = clients.block_on(bench.known(Some(&flood)));
    let sent = flood.end();
    println!("known clients, alone and beside a flood of recorded flights from {SOURCES} other addresses");
    alone.print("alone", 0);
    beside.print("beside", sent);
    assert_eq!((beside.failed, alone.failed), (0, 0), "known clients are served");
}

/// How a refusal in clear begins.
const REFUSAL: u8 = 3;
/// Addresses of the loopback that a flood comes from, 127.0.0.2 and those that follow it.
const SOURCES: usize = 16;
/// For how long known clients call, alone and beside the flood.
const KNOWN_FOR: Duration = Duration::from_secs(3);

/// What known clients have met.
#[derive(Default)]
struct Known {
    micros: Vec<f64>,
    newcomers: usize,
    failed: usize,
    took: Duration,
    /// Processor time of the server.
    cpu: Duration,
}

impl Known {
    fn print(&self, name: &str, flood: usize) {
        let at = |share: f64| {
            let mut sorted = self.micros.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
        };
        println!(
            "{name:>34}  {} calls answered, {} failed; p50 {:.0} µs, p99 {:.0} µs; {} clients came in; {:.0} refused a second; \
             server busy for {:.2} of the time",
            self.micros.len(),
            self.failed,
            at(0.5),
            at(0.99),
            self.newcomers,
            flood as f64 / self.took.as_secs_f64(),
            self.cpu.as_secs_f64() / self.took.as_secs_f64(),
        );
    }
}

/// A thread that sends recorded flights as fast as it can.
struct Flood {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Flood {
    fn end(self) -> usize {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.sent.load(Ordering::SeqCst)
    }
}

/// The address that connection number `at` of a flood comes from. Other systems than these have one loopback address.
fn source(at: usize) -> ConnectOptions {
    let last = u8::try_from(2 + at % SOURCES).unwrap();
    let source = cfg!(any(target_os = "linux", windows)).then(|| IpAddr::from([127, 0, 0, last]));
    ConnectOptions { source, ..ConnectOptions::default() }
}

/// Starts a server whose every act is on one thread.
fn start_server() -> Bench {
    let (identity, client) = (keypair(), keypair());
    let key = identity.public();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut config = AcceptorConfig::new(identity, Policy::anyone(), Router::with_builtins(Health::default()));
            config.patterns.push(Pattern::NNpsk0);
            config.psks = Psks::new().with_id("team", random_psk().unwrap()).unwrap();
            let rated = AcceptorConfig { max_source_handshakes_per_second: Some(1), ..config.clone() };
            let mut addresses = Vec::new();
            let mut acceptors = Vec::new();
            for config in [config, rated] {
                let mut acceptor = Acceptor::new(config).unwrap();
                let at = "tcp://127.0.0.1:0".parse().unwrap();
                let listener = Listener::bind(&at, &BindOptions::default()).await.unwrap();
                addresses.push(listener.local_address().clone());
                acceptor.listen(listener).unwrap();
                acceptors.push(acceptor);
            }
            tell.send((Handle::current(), addresses)).unwrap();
            std::future::pending::<()>().await;
        });
    });
    let (server, addresses) = told.recv().unwrap();
    let [address, rated] = addresses.try_into().unwrap();
    Bench { server, address: address.with_key(key), rated, key, client }
}

fn keypair() -> Keypair {
    Keypair::from_secret(random_secret_key().unwrap())
}

impl Bench {
    /// Calls one by one, and comes in anew each second, as clients do that the server knows.
    async fn known(&self, flood: Option<&Flood>) -> Known {
        // The source may begin one handshake a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let client = connect(&self.rated, self.config(Pattern::IK)).await.unwrap();
        let (begun, cpu) = (Instant::now(), self.server_cpu().await);
        let before = flood.map_or(0, |flood| flood.sent.load(Ordering::SeqCst));
        let mut known = Known::default();
        let mut came = begun;
        while begun.elapsed() < KNOWN_FOR {
            let at = Instant::now();
            match client.call(Request::new("np.echo".parse().unwrap())).await {
                Ok(_) => known.micros.push(at.elapsed().as_secs_f64() * 1e6),
                Err(_) => known.failed += 1,
            }
            if came.elapsed() > Duration::from_millis(1_100) {
                came = Instant::now();
                self.come_in(&mut known).await;
            }
        }
        known.cpu = self.server_cpu().await - cpu;
        known.took = begun.elapsed();
        if let Some(flood) = flood {
            // What came before does not count.
            flood.sent.fetch_sub(before, Ordering::SeqCst);
        }
        known
    }

    async fn come_in(&self, known: &mut Known) {
        match connect(&self.rated, self.config(Pattern::IK)).await {
            Ok(newcomer) => {
                known.newcomers += 1;
                newcomer.close(CloseCode::Normal, "").await;
            }
            Err(_) => known.failed += 1,
        }
    }

    /// Begins a flood at the server that has a rate; its flights are recorded before the first one is sent.
    fn start_flood(self: &Arc<Self>) -> Flood {
        let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (bench, ends, count) = (Arc::clone(self), Arc::clone(&over), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let flight = bench.flight(Kind::OverRate).await.unwrap();
                for at in 0.. {
                    if ends.load(Ordering::SeqCst) {
                        break;
                    }
                    bench.send(Kind::OverRate, at, &flight).await;
                    count.fetch_add(1, Ordering::SeqCst);
                }
            });
        });
        Flood { over, sent, thread }
    }

    /// The server's processor time per connection of a kind, in microseconds.
    async fn measure(&self, kind: Kind, count: usize) -> f64 {
        let flight = self.flight(kind).await;
        let before = self.server_cpu().await;
        for at in 0..count {
            match (kind, &flight) {
                (Kind::Good(pattern), _) => self.good(pattern).await,
                (_, Some(flight)) => self.send(kind, at, flight).await,
                (_, None) => drop(np_transport::connect(&self.address).await.unwrap()),
            }
        }
        // What the last ones cause is done before the clock is read.
        tokio::time::sleep(Duration::from_millis(20)).await;
        (self.server_cpu().await - before).as_secs_f64() * 1e6 / count as f64
    }

    async fn server_cpu(&self) -> Duration {
        self.server.spawn(async { thread_cpu() }).await.unwrap()
    }

    async fn good(&self, pattern: Pattern) {
        let client = connect(&self.address, self.config(pattern)).await.unwrap();
        client.close(CloseCode::Normal, "").await;
    }

    fn config(&self, pattern: Pattern) -> ConnectorConfig {
        let policy = Policy::allow_keys([self.key]);
        ConnectorConfig { pattern, server_keys: vec![self.key], ..ConnectorConfig::new(self.client.clone(), policy) }
    }

    /// Sends a flight and reads the server's answer to its end, or, of XX, its message alone.
    async fn send(&self, kind: Kind, at: usize, flight: &[u8]) {
        let over_rate = matches!(kind, Kind::OverRate);
        let mut link = match over_rate {
            true => connect_with(&self.rated, &source(at)).await.unwrap(),
            false => np_transport::connect(&self.address).await.unwrap(),
        };
        // Who is refused unread may find the connection gone while it writes, or what it has sent thrown away.
        let sent = link.io.write_all(flight).await;
        assert!(sent.is_ok() || over_rate);
        let mut answer = [0; 1_024];
        loop {
            match link.io.read(&mut answer).await {
                Ok(0) => break,
                // The first of its second is answered, and waited for; a refusal is followed by the end.
                Ok(_) if over_rate && answer.first() != Some(&REFUSAL) => break,
                Ok(_) => {}
                Err(error) => {
                    assert!(over_rate, "{error}");
                    break;
                }
            }
            if matches!(kind, Kind::SilentXx) {
                break;
            }
        }
    }

    /// The bytes of a kind. They are the same for each connection: only an accepted flight is remembered.
    async fn flight(&self, kind: Kind) -> Option<Vec<u8>> {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let flight = match kind {
            Kind::HangUp | Kind::Good(_) => return None,
            Kind::OverRate => self.made(Pattern::IK, self.key, now),
            Kind::Garbage => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Kind::Version => {
                let mut flight = self.made(Pattern::IK, self.key, now);
                flight.splice(4..7, [9; 3]);
                flight
            }
            Kind::Skewed => self.made(Pattern::IK, self.key, now - 60_000),
            Kind::UnknownHint => self.made(Pattern::IK, keypair().public(), now),
            Kind::Replayed => {
                let flight = self.made(Pattern::IK, self.key, now);
                // Its first use, which the server remembers.
                let mut link = np_transport::connect(&self.address).await.unwrap();
                link.io.write_all(&flight).await.unwrap();
                link.io.read_u8().await.unwrap();
                flight
            }
            Kind::ForgedIk => {
                let mut flight = self.made(Pattern::IK, self.key, now);
                flight.last_mut().into_iter().for_each(|last| *last ^= 1);
                flight
            }
            Kind::UnknownPsk => self.made(Pattern::NNpsk0, self.key, now),
            Kind::SilentXx => self.made(Pattern::XX, self.key, now),
        };
        Some(flight)
    }

    fn made(&self, pattern: Pattern, server: PublicKey, time: u64) -> Vec<u8> {
        let psk = Psk::from_bytes([9; 32]);
        let config = InitiatorConfig {
            crypto: Default::default(),
            pattern,
            local: pattern.needs_local_static(Role::Initiator).then_some(&self.client),
            server_key: pattern.needs_remote_static_up_front().then_some(server),
            psk: pattern.needs_psk().then_some(&psk),
            psk_id: if pattern.needs_psk() { b"nobody" } else { &[] },
            time: UnixMillis(time),
            nonce: *keypair().public().as_bytes().first_chunk().unwrap(),
            ephemeral: random_secret_key().unwrap(),
        };
        let mut flight = Vec::new();
        Handshake::initiator(config).unwrap().poll_transmit(&mut flight);
        assert!(Preface::decode(&flight).unwrap().is_some());
        flight
    }
}
