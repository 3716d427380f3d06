//! What the tests of this crate share: a house that serves, clients of it, and a proxy that does harm in between.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use np_dispatch::{Health, Router};
use np_driver::{
    Acceptor, AcceptorConfig, ConnectError, Connection, ConnectorConfig, Request, connect, random_secret_key,
};
use np_noise::{Keypair, Pattern};
use np_session::{Handshake, InitiatorConfig};
use np_transport::{Address, BindOptions, Link, Listener};
use np_trust::{Policy, Psks};
use np_types::{CloseCode, ConnectionError, Psk, UnixMillis};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

pub(crate) mod by_hand;
pub(crate) mod middle;
pub(crate) mod process;

pub(crate) struct House {
    pub(crate) acceptor: Acceptor,
    pub(crate) address: Address,
}

pub(crate) fn keypair() -> Keypair {
    Keypair::from_secret(random_secret_key().unwrap())
}

pub(crate) fn echo() -> Router {
    Router::with_builtins(Health::default())
}

pub(crate) fn request(method: &str) -> Request {
    Request::new(method.parse().unwrap())
}

pub(crate) async fn serve(address: &str, router: Router) -> House {
    serve_with(address, router, |_| {}).await
}

pub(crate) async fn serve_with(address: &str, router: Router, change: impl FnOnce(&mut AcceptorConfig)) -> House {
    serve_at(address, &BindOptions::default(), router, change).await
}

pub(crate) async fn serve_at(
    address: &str,
    options: &BindOptions,
    router: Router,
    change: impl FnOnce(&mut AcceptorConfig),
) -> House {
    let identity = keypair();
    let mut config = AcceptorConfig::new(identity.clone(), Policy::anyone(), router);
    change(&mut config);
    let key = config.identities[0].public();
    let mut acceptor = Acceptor::new(config).unwrap();
    let listener = Listener::bind(&address.parse().unwrap(), options).await.unwrap();
    let address = listener.local_address().clone();
    let address = if address.mode().uses_keys() { address.with_key(key) } else { address };
    acceptor.listen(listener).unwrap();
    House { acceptor, address }
}

/// What an acceptor is like that nobody configured.
pub(crate) fn defaults() -> AcceptorConfig {
    AcceptorConfig::new(keypair(), Policy::anyone(), Router::new())
}

pub(crate) fn config(house: &House) -> ConnectorConfig {
    let policy = Policy::allow_keys(house.address.keys().iter().copied());
    let server_keys = house.address.keys().to_vec();
    ConnectorConfig { server_keys, ..ConnectorConfig::new(keypair(), policy) }
}

pub(crate) async fn client(house: &House) -> Connection {
    connect(&house.address, config(house)).await.unwrap()
}

pub(crate) async fn client_with(house: &House, router: Router) -> Connection {
    connect(&house.address, ConnectorConfig { router, ..config(house) }).await.unwrap()
}

pub(crate) fn handshake_error(error: ConnectError) -> ConnectionError {
    match error {
        ConnectError::Handshake { error, .. } => error,
        other => panic!("not a handshake's error: {other}"),
    }
}

pub(crate) fn psk(byte: u8) -> Psk {
    Psk::from_bytes([byte; 32])
}

/// A house that takes every pattern, from anyone who is not barred by the pattern itself.
pub(crate) fn every_pattern(config: &mut AcceptorConfig) {
    config.patterns = Pattern::ALL.to_vec();
    config.psks = Psks::new().with_id("team", psk(1)).unwrap();
    config.policy = Policy::anyone().or(Policy::anonymous());
}

/// A client with what a pattern needs; its policy is that of somebody who knows the keys.
pub(crate) fn fitting(house: &House, pattern: Pattern) -> ConnectorConfig {
    let mut config = ConnectorConfig { pattern, ..config(house) };
    if pattern.needs_psk() {
        (config.psk, config.psk_id) = (Some(psk(1)), "team".to_owned());
    }
    config.policy = match pattern {
        Pattern::NNpsk0 => Policy::allow_psk("team").unwrap(),
        Pattern::DangerNN => Policy::danger_trust_anyone(),
        _ => config.policy,
    };
    config
}

/// Places to listen on: TCP and, where there are any, Unix sockets; the folder goes with it.
pub(crate) struct Places {
    folder: PathBuf,
    next: usize,
}

impl Places {
    pub(crate) fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("np-driver-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, next: 0 }
    }

    pub(crate) fn next(&mut self, kind: &str) -> String {
        self.next += 1;
        match kind {
            "unix" => format!("unix:{}/{}.sock", self.folder.display(), self.next),
            _ => "tcp://127.0.0.1:0".to_owned(),
        }
    }

    pub(crate) fn kinds() -> &'static [&'static str] {
        if cfg!(unix) { &["tcp", "unix"] } else { &["tcp"] }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The wall clock, as a preface tells it.
pub(crate) fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A stranger's handshake.
pub(crate) fn xx_initiator(time: u64) -> Handshake {
    let local = keypair();
    let config = InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::XX,
        local: Some(&local),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(time),
        nonce: [9; 16],
        ephemeral: random_secret_key().unwrap(),
    };
    Handshake::initiator(config).unwrap()
}

/// The first flight of a stranger.
pub(crate) fn xx_flight(time: u64) -> Vec<u8> {
    let mut out = Vec::new();
    xx_initiator(time).poll_transmit(&mut out);
    out
}

/// Reads what a house says to the end, and gives what a client makes of it.
pub(crate) async fn told(link: &mut Link) -> ConnectionError {
    let mut answer = BytesMut::new();
    within(async { while link.io.read_buf(&mut answer).await.is_ok_and(|count| count > 0) {} }).await;
    let mut handshake = xx_initiator(now());
    handshake.handle_bytes(&mut answer);
    handshake.error().cloned().unwrap_or_else(|| panic!("no refusal in {answer:?}"))
}

/// The code and the text of a refusal in clear.
pub(crate) fn refused(error: &ConnectionError) -> (CloseCode, &str) {
    match error {
        ConnectionError::ClosedByPeer { code, text, in_clear: true } => (*code, text),
        other => panic!("not a refusal in clear: {other}"),
    }
}

/// A handler that says when it begins and waits for a permit to answer.
pub(crate) fn gate(router: &Router, method: &str) -> (Arc<Notify>, Arc<Notify>) {
    let (started, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begun, gate) = (Arc::clone(&started), Arc::clone(&open));
    router
        .on_async(method, move |_, _| {
            let (begun, gate) = (Arc::clone(&begun), Arc::clone(&gate));
            async move {
                begun.notify_one();
                gate.notified().await;
                Ok("through")
            }
        })
        .unwrap();
    (started, open)
}

/// What a proxy does to the bytes that go through it, towards the server and back.
#[derive(Default)]
pub(crate) struct Harm {
    /// Everything that the client sent.
    pub(crate) sent: Mutex<Vec<u8>>,
    /// Cuts both ways.
    pub(crate) cut: Notify,
    /// The position of a byte to flip on the way to the client.
    pub(crate) flip_back: Mutex<Option<usize>>,
    /// Passes nothing on any more.
    pub(crate) stalled: AtomicBool,
    /// Passes bytes one at a time.
    pub(crate) slow: bool,
}

/// Puts a proxy between clients and a house; gives the address to connect to.
pub(crate) async fn proxy(name: &str, house: &House, harm: Arc<Harm>) -> Address {
    let listener = Listener::bind(&name.parse().unwrap(), &BindOptions::default()).await.unwrap();
    let mut address = listener.local_address().clone();
    for key in house.address.keys() {
        address = address.with_key(*key);
    }
    let inner = house.address.clone();
    tokio::spawn(async move {
        loop {
            let outside = listener.accept().await.unwrap();
            let inside = np_transport::connect(&inner).await.unwrap();
            let harm = Arc::clone(&harm);
            tokio::spawn(async move {
                let (out_read, out_write) = tokio::io::split(outside.io);
                let (in_read, in_write) = tokio::io::split(inside.io);
                tokio::select! {
                    () = async { tokio::join!(forward(out_read, in_write, &harm, true), forward(in_read, out_write, &harm, false)); } => {}
                    () = harm.cut.notified() => {}
                }
            });
        }
    });
    address
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, harm: &Harm, towards: bool) {
    let mut buffer = vec![0; if harm.slow { 1 } else { 64 << 10 }];
    let mut passed = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if harm.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let bytes = &mut buffer[..count];
        if towards {
            harm.sent.lock().unwrap().extend_from_slice(bytes);
        } else if let Some(at) = *harm.flip_back.lock().unwrap()
            && let Some(byte) = at.checked_sub(passed).and_then(|at| bytes.get_mut(at))
        {
            *byte ^= 1;
        }
        passed += count;
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Waits for something that other tasks bring about.
pub(crate) async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

/// Runs a test's body; a hang fails it.
pub(crate) async fn within<T>(body: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), body).await.unwrap()
}
