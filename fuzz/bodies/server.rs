//! A whole server that is fed any bytes, in one process and in virtual time: its listeners, handshakes, sessions, router
//! and handlers. It says little to a peer that proves nothing, lets go of every connection, goes on answering others, and
//! leaves no task behind. Owns this rule alone; it must never open a socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use np_facade::raw::noise::{Pattern, RustCrypto};
use np_facade::raw::transport::connect;
use np_facade::raw::wire::{Frame, Preface, Settings, encode_frame};
use np_facade::{CallError, Client, Identity, Policy, SecretKey, Server};
use np_types::UnixMillis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MOST_OPERATIONS: usize = 200;
/// From here on an operation lets time pass, and from [`SHUT`] on it ends what this side says.
const PASS: u8 = 0xe0;
const SHUT: u8 = 0xf8;
/// More than every timer of a server.
const FOREVER: Duration = Duration::from_secs(3_600);
/// What a server may say to few bytes, and for each byte.
const MOST_SAID: usize = 16 << 10;
const MOST_SAID_PER_BYTE: usize = 256;

/// Gives whether the server still talked to the peer when it had nothing more to say.
pub(crate) fn target(data: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("a runtime: {error}"));
    let welcome = runtime.block_on(against(data));
    // A task that was told to stop is dropped by its next turn.
    runtime.block_on(async { tokio::time::sleep(FOREVER).await });
    assert_eq!(runtime.metrics().num_alive_tasks(), 0, "tasks are left when the server is gone");
    welcome
}

/// How the bytes reach the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The listener that wants a handshake, from the first byte.
    Shaking,
    /// The same, past a preface of this moment.
    Introduced,
    /// The listener that wants none, from the first byte.
    Plain,
    /// The same, as records behind an honest beginning.
    Records,
}

async fn against(data: &[u8]) -> bool {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = NEXT.fetch_add(1, Ordering::Relaxed);
    let [sealed, plain] = [format!("mem:fuzz-{name}"), format!("mem:fuzz-plain-{name}?mode=danger-plaintext")];
    let identity = Identity::from_secret(SecretKey::from_bytes([7; 32]));
    let server = Server::builder(identity, Policy::anyone().or(Policy::anonymous()))
        .listen(sealed.as_str())
        .listen(plain.as_str())
        .provider(&RustCrypto)
        .on("length", |_, body| Ok(body.len().to_string()))
        .on_async("later", |_, body| async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            if body.is_empty() { Err(CallError::failed("empty")) } else { Ok(body) }
        })
        .start()
        .await
        .unwrap_or_else(|error| panic!("a server: {error}"));

    let (choice, rest) = data.split_first().map_or((0, data), |(choice, rest)| (*choice, rest));
    let way = [Way::Shaking, Way::Introduced, Way::Plain, Way::Records][usize::from(choice & 3)];
    let welcome = attack(if choice & 2 == 0 { &sealed } else { &plain }, way, choice >> 2, rest).await;
    honest(&plain).await;
    tokio::time::sleep(FOREVER).await;
    assert!(server.connections().is_empty(), "{} connections are left", server.connections().len());
    server.shutdown(Duration::ZERO).await;
    welcome
}

/// Another client is served as if nothing were.
async fn honest(address: &str) {
    let client = Client::builder(address).connect().await.unwrap_or_else(|error| panic!("another client: {error}"));
    let answer = client.call("np.echo", "hello").await.unwrap_or_else(|error| panic!("another's call: {error}"));
    assert_eq!(answer, "hello");
    client.close().await;
}

/// Says what the input says, and listens to the end.
async fn attack(address: &str, way: Way, choice: u8, input: &[u8]) -> bool {
    let address = address.parse().unwrap_or_else(|error| panic!("{error}"));
    let link = connect(&address).await.unwrap_or_else(|error| panic!("{error}"));
    let (mut from, mut to) = tokio::io::split(link.io);
    let mut said = beginning(way, choice);
    let mut alive = to.write_all(&said).await.is_ok();
    let mut sent = said.len();
    let listener = tokio::spawn(async move {
        let mut heard = Vec::new();
        // A cut is an end, too.
        let _ = from.read_to_end(&mut heard).await;
        heard.len()
    });
    let mut rest = input;
    for _ in 0..MOST_OPERATIONS {
        let Some((operation, after)) = rest.split_first().filter(|_| alive) else {
            break;
        };
        rest = after;
        match *operation {
            size @ ..PASS => {
                let (bytes, after) = rest.split_at(usize::from(size).min(rest.len()));
                rest = after;
                said.clear();
                if way == Way::Records {
                    said.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
                }
                said.extend_from_slice(bytes);
                sent += said.len();
                alive = to.write_all(&said).await.is_ok();
            }
            pass @ ..SHUT => tokio::time::sleep(Duration::from_millis(u64::from(pass - PASS) * 100)).await,
            _ => break,
        }
    }
    // Whoever is still heard after a moment is welcome.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let welcome = alive && !listener.is_finished();
    let _ = to.shutdown().await;
    let heard = listener.await.unwrap_or_else(|error| panic!("{error}"));
    let most = MOST_SAID + sent * MOST_SAID_PER_BYTE;
    assert!(heard <= most, "{heard} bytes are said to {sent}, and {most} are the most");
    drop(to);
    welcome
}

/// What is said before the input's bytes.
fn beginning(way: Way, choice: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let (suite, pattern) = match way {
        Way::Shaking | Way::Plain => return out,
        Way::Introduced => (1, Pattern::ALL[usize::from(choice) % Pattern::ALL.len()].to_wire()),
        Way::Records => (0, 0),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let preface = Preface {
        min_version: 1,
        max_version: 1,
        version: 1,
        suite,
        pattern,
        time: UnixMillis(now.as_millis() as u64),
        nonce: [9; 16],
        hint: [0; 4],
        key_id: Vec::new(),
    };
    preface.encode(&mut out);
    if way == Way::Records {
        let settings = Settings {
            max_message: 1 << 20,
            max_calls: 16,
            stream_window: 1 << 16,
            connection_window: 1 << 18,
            encodings: 0,
        };
        let mut plain = Vec::new();
        encode_frame(&mut plain, &Frame::Settings(settings));
        out.extend_from_slice(&(plain.len() as u16).to_be_bytes());
        out.extend_from_slice(&plain);
    }
    out
}
