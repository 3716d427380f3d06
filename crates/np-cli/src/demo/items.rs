//! What the demo claims, and how each claim is checked. The claims about refusals stand beside this file.

use std::fmt::Display;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use np_facade::{Client, Message, Pattern, PeerIdentity, Router, Status};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::demo::house::{FileSeen, Order, Place, Receipt};
use crate::demo::refusals;
use crate::demo::traffic;
use crate::demo::trust;
use crate::span::show_span;

/// Calls of the concurrent row, and how many of them are in flight.
const CALLS: u32 = 4_000;
const IN_FLIGHT: u32 = 64;
/// Messages of the message-style row.
const MESSAGES: u32 = 200;
/// Bytes of a file that travel as one message.
const CHUNK: usize = 1 << 20;

/// What a check gives: figures, or what did not hold.
pub(crate) type Checked = Result<String, String>;

/// The claims, in the order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    MutualAuthentication,
    PreSharedKey,
    TypedCalls,
    ConcurrentCalls,
    CallToClient,
    Messages,
    Streams,
    Compression,
    File,
    Stranger,
    WrongServer,
    WithoutPsk,
    ChangedKey,
    Tampering,
}

impl Item {
    pub(crate) const ALL: [Self; 14] = [
        Self::MutualAuthentication,
        Self::PreSharedKey,
        Self::TypedCalls,
        Self::ConcurrentCalls,
        Self::CallToClient,
        Self::Messages,
        Self::Streams,
        Self::Compression,
        Self::File,
        Self::Stranger,
        Self::WrongServer,
        Self::WithoutPsk,
        Self::ChangedKey,
        Self::Tampering,
    ];

    /// The name of its rows.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::MutualAuthentication => "mutual authentication",
            Self::PreSharedKey => "pre-shared key",
            Self::TypedCalls => "typed calls",
            Self::ConcurrentCalls => "concurrent calls",
            Self::CallToClient => "call from server to client",
            Self::Messages => "messages both ways",
            Self::Streams => "streams at once",
            Self::Compression => "compressed calls",
            Self::File => "file, compared by SHA-256",
            Self::Stranger => "stranger's key refused",
            Self::WrongServer => "wrong server key refused",
            Self::WithoutPsk => "peer without psk refused",
            Self::ChangedKey => "changed server key refused",
            Self::Tampering => "tampered byte detected",
        }
    }

    /// Checks the claim over one transport.
    pub(crate) async fn check(self, place: &Place) -> Checked {
        match self {
            Self::MutualAuthentication => mutual_authentication(place).await,
            Self::PreSharedKey => trust::pre_shared_key(place).await,
            Self::TypedCalls => typed_calls(place).await,
            Self::ConcurrentCalls => concurrent_calls(place).await,
            Self::CallToClient => call_to_client(place).await,
            Self::Messages => messages(place).await,
            Self::Streams => traffic::streams(place).await,
            Self::Compression => traffic::compression(place).await,
            Self::File => file(place).await,
            Self::Stranger => refusals::stranger(place).await,
            Self::WrongServer => refusals::wrong_server(place).await,
            Self::WithoutPsk => trust::without_psk(place).await,
            Self::ChangedKey => trust::changed_key(place).await,
            Self::Tampering => refusals::tampering(place).await,
        }
    }
}

/// Fails a check unless `held`.
pub(crate) fn ensure(held: bool, what: impl Display) -> Result<(), String> {
    if held { Ok(()) } else { Err(what.to_string()) }
}

/// An error as the text of a failed check.
pub(crate) fn told(error: impl Display) -> String {
    error.to_string()
}

async fn mutual_authentication(place: &Place) -> Checked {
    let mine = place.member.public_key().to_string();
    let mut times = Vec::new();
    for pattern in [Pattern::XX, Pattern::IK] {
        let begun = Instant::now();
        let builder = Client::builder(place.address.to_string()).identity(place.member.clone()).pattern(pattern);
        let client = builder.connect().await.map_err(told)?;
        times.push(show_span(begun.elapsed()));
        let shown = client.connection().peer().clone();
        ensure(shown == PeerIdentity::Noise(place.server), format!("the server proved {shown} and not its key"))?;
        let seen = client.call("demo.whoami", "").await.map_err(told)?;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        ensure(seen == mine, format!("the server saw {seen}, the client is {mine}"))?;
        client.close().await;
    }
    let start = mine.get(..12).unwrap_or_default();
    Ok(format!("server saw {start}…, client saw the server's key; connected in {} (XX, IK)", times.join(", ")))
}

async fn typed_calls(place: &Place) -> Checked {
    let client = place.client().await?;
    let orders =
        [("tea", 3, 450, 1_350), ("Käse 🧀", -2, 99, -198), ("", 0, i64::MIN, 0), ("gold", 1, i64::MAX, i64::MAX)];
    for (item, count, cents, total) in orders {
        let order = Order { item: item.to_owned(), count, cents };
        let receipt: Receipt = client.call_as("demo.order", &order).await.map_err(told)?;
        let wanted = Receipt { text: format!("{count} × {item}"), total };
        ensure(receipt == wanted, format!("{order:?} gave {receipt:?}"))?;
    }
    let order = Order { item: "moon".to_owned(), count: 2, cents: i64::MAX };
    let refused = client.call_as::<Receipt>("demo.order", &order).await;
    let answered = matches!(&refused, Err(error) if error.status == Status::Failed && error.text == "too much money");
    ensure(answered, format!("the handler's error came as {refused:?}"))?;
    client.close().await;
    Ok(format!("{} values there and back, 1 error of the handler", orders.len()))
}

async fn concurrent_calls(place: &Place) -> Checked {
    let client = place.client().await?;
    let next = Arc::new(AtomicU32::new(0));
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        callers.spawn(caller(client.clone(), Arc::clone(&next)));
    }
    let mut times = Vec::new();
    while let Some(done) = callers.join_next().await {
        times.extend(done.map_err(told)??);
    }
    let whole = begun.elapsed();
    client.close().await;
    ensure(times.len() == CALLS as usize, format!("{} of {CALLS} calls were answered", times.len()))?;
    times.sort_unstable();
    let at = |share: usize| times.get(times.len().saturating_mul(share) / 100).copied().unwrap_or_default();
    let rate = f64::from(CALLS) / whole.as_secs_f64().max(1e-9);
    let (half, most) = (show_span(at(50)), show_span(at(99)));
    Ok(format!("{CALLS} calls, {IN_FLIGHT} in flight: {rate:.0} calls/s, p50 {half}, p99 {most}"))
}

/// Calls until all numbers are taken; every answer must be the number's own.
async fn caller(client: Client, next: Arc<AtomicU32>) -> Result<Vec<Duration>, String> {
    let mut times = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CALLS {
            return Ok(times);
        }
        let body = Bytes::from(number.to_be_bytes().repeat(16));
        let begun = Instant::now();
        let reply = client.call("np.echo", body.clone()).await.map_err(told)?;
        times.push(begun.elapsed());
        ensure(reply == body, format!("call {number} got another call's answer"))?;
    }
}

async fn call_to_client(place: &Place) -> Checked {
    let router = Router::new();
    router.on_typed("demo.double", |_, number: u64| Ok(number.wrapping_mul(2))).map_err(told)?;
    let client = place.client_with(router).await?;
    let begun = Instant::now();
    for question in [0, 21, u64::MAX] {
        let answer: (u64, u64) = client.call_as("demo.ask-back", &question).await.map_err(told)?;
        let wanted = (question, question.wrapping_mul(2));
        ensure(answer == wanted, format!("the server got {answer:?} from its client, not {wanted:?}"))?;
    }
    let each = begun.elapsed() / 3;
    client.close().await;
    Ok(format!("3 answers of the client, each inside a call to the server: {}", show_span(each)))
}

async fn messages(place: &Place) -> Checked {
    let client = place.client().await?;
    let begun = Instant::now();
    client.send(&Message::Ping).await.map_err(told)?;
    for number in 0..MESSAGES {
        client.send(&Message::Echo(number.to_string())).await.map_err(told)?;
    }
    let first: Option<Message> = client.recv().await.map_err(told)?;
    ensure(first == Some(Message::Pong), format!("a ping was answered by {first:?}"))?;
    for number in 0..MESSAGES {
        let message: Option<Message> = client.recv().await.map_err(told)?;
        let wanted = Some(Message::Echo(number.to_string()));
        ensure(message == wanted, format!("message {number} came back as {message:?}"))?;
    }
    let whole = begun.elapsed();
    client.close().await;
    Ok(format!("{} sent and received in order in {}", MESSAGES + 1, show_span(whole)))
}

async fn file(place: &Place) -> Checked {
    let path = place.file.clone();
    let known = tokio::task::spawn_blocking(move || hash_file(&path)).await.map_err(told)?.map_err(told)?;
    let client = place.client().await?;
    let begun = Instant::now();
    let seen = send_file(&client, &place.file).await?;
    let whole = begun.elapsed();
    client.close().await;
    ensure(seen == known, format!("{} bytes were sent, but {} arrived, or others", known.bytes, seen.bytes))?;
    let mebibytes = known.bytes as f64 / f64::from(1 << 20);
    let rate = mebibytes / whole.as_secs_f64().max(1e-9);
    let digest: String = known.sha256.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{mebibytes:.1} MiB at {rate:.0} MiB/s, sha256 {digest}… on both sides"))
}

/// The file's size and hash, by a reading of its own: what was sent proves nothing about itself.
fn hash_file(path: &Path) -> io::Result<FileSeen> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0u64);
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(FileSeen { bytes, sha256: hash.finalize().into() });
        }
        hash.update(chunk.get(..count).unwrap_or_default());
        bytes = bytes.saturating_add(count as u64);
    }
}

async fn send_file(client: &Client, path: &Path) -> Result<FileSeen, String> {
    let mut file = tokio::fs::File::open(path).await.map_err(told)?;
    let mut stream = client.open_stream("demo.file").await.map_err(told)?;
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while chunk.len() < CHUNK {
            let room = CHUNK.saturating_sub(chunk.len()) as u64;
            if (&mut file).take(room).read_buf(&mut chunk).await.map_err(told)? == 0 {
                break;
            }
        }
        if chunk.is_empty() {
            break;
        }
        stream.send(chunk.freeze()).await.map_err(told)?;
    }
    stream.finish().await.map_err(told)?;
    let seen = stream.recv_as().await.ok_or("the server said nothing about the file")?;
    seen.map_err(told)
}
