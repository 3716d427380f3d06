//! What a stranger's first flight costs a server: processor time of the server's thread, by kind of flight, beside whole
//! handshakes of clients who are welcome. Over TCP on the loopback, from accepting the socket to closing it.
//!
//! `cargo bench -p np-benches --bench handshakes -- [--rounds N] [--count N]`. Kinds take turns within a round; the
//! figure is the median of the rounds.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use np_benches::rounds::{median, thread_cpu};
use np_dispatch::{Health, Router};
use np_driver::{Acceptor, AcceptorConfig, ConnectorConfig, connect, random_psk, random_secret_key};
use np_noise::{Keypair, Pattern, Role};
use np_session::{Handshake, InitiatorConfig, Preface};
use np_transport::{Address, BindOptions, Listener};
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
    /// The server's processor time per connection of a kind, in microseconds.
    async fn measure(&self, kind: Kind, count: usize) -> f64 {
        let flight = self.flight(kind).await;
        let before = self.server_cpu().await;
        for _ in 0..count {
            match (kind, &flight) {
                (Kind::Good(pattern), _) => self.good(pattern).await,
                (_, Some(flight)) => self.send(kind, flight).await,
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
    async fn send(&self, kind: Kind, flight: &[u8]) {
        let address = if matches!(kind, Kind::OverRate) { &self.rated } else { &self.address };
        let mut link = np_transport::connect(address).await.unwrap();
        link.io.write_all(flight).await.unwrap();
        let mut answer = [0; 1_024];
        while link.io.read(&mut answer).await.unwrap() > 0 {
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
