//! Claims about what shares a connection: streams that run at once, and bodies that take fewer bytes than they have.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use np_facade::{Client, Compression, Encoder, MessageStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::compress::always;
use crate::demo::house::Place;
use crate::demo::items::{Checked, ensure, told};
use crate::demo::relay::{Relay, Way};
use crate::span::show_span;

/// Streams at once, and messages each way on each of them.
const STREAMS: u32 = 16;
const MESSAGES: u32 = 250;
/// When a message that is not taken counts as held up, and the bytes by which that must have been.
const HELD_UP: Duration = Duration::from_millis(20);
const MOST_HELD: usize = 32 << 20;
/// The body of the compressed calls.
const LOG: usize = 1 << 20;

/// Streams that share a connection with one that nobody reads.
pub(crate) async fn streams(place: &Place) -> Checked {
    let client = place.client().await?;
    let mut unread = client.open_stream("demo.unread").await.map_err(told)?;
    let held = fill(&mut unread).await?;
    let begun = Instant::now();
    let mut all = JoinSet::new();
    for number in 0..STREAMS {
        all.spawn(there_and_back(client.clone(), number));
    }
    while let Some(done) = all.join_next().await {
        done.map_err(told)??;
    }
    let took = show_span(begun.elapsed());
    client.close().await;
    let (messages, held) = (STREAMS.saturating_mul(MESSAGES), held >> 10);
    Ok(format!(
        "{STREAMS} streams, {messages} messages back in order in {took}, beside one held up at {held} KiB unread"
    ))
}

/// Sends until credit is used up; gives the bytes.
async fn fill(unread: &mut MessageStream) -> Result<usize, String> {
    let piece = Bytes::from(vec![0; 16 << 10]);
    let mut bytes = 0usize;
    while let Ok(sent) = timeout(HELD_UP, unread.send(piece.clone())).await {
        sent.map_err(told)?;
        bytes = bytes.saturating_add(piece.len());
        ensure(bytes <= MOST_HELD, format!("{bytes} bytes left for a handler that reads none"))?;
    }
    Ok(bytes)
}

/// One stream: all messages there, the end, all of them back.
async fn there_and_back(client: Client, number: u32) -> Result<(), String> {
    let stream = client.open_stream("np.echo-stream").await.map_err(told)?;
    let (mut from, mut to) = stream.split();
    let message = |count: u32| Bytes::from([number.to_be_bytes(), count.to_be_bytes()].concat().repeat(64));
    let send = async {
        for count in 0..MESSAGES {
            to.send(message(count)).await.map_err(told)?;
        }
        to.finish().await.map_err(told)
    };
    let receive = async {
        for count in 0..MESSAGES {
            let came = from.recv().await.transpose().map_err(told)?;
            ensure(came == Some(message(count)), format!("message {count} of stream {number} came back as another"))?;
        }
        let end = from.recv().await.transpose().map_err(told)?;
        ensure(end.is_none(), format!("stream {number} went on after its last message"))
    };
    tokio::try_join!(send, receive).map(|_| ())
}

/// The same call plain and by both codecs, through a relay that counts what travels.
pub(crate) async fn compression(place: &Place) -> Checked {
    let log = log();
    let plain = carried(place, Compression::default(), &log).await?;
    let mut text = format!("{} KiB of log take {} KiB", log.len() >> 10, plain >> 10);
    for (name, encoder) in [("lz4", Encoder::Lz4), ("zstd", Encoder::Zstd { level: 3 })] {
        let bytes = carried(place, always(encoder), &log).await?;
        judge(name, plain, bytes)?;
        text.push_str(&format!(", {} KiB by {name}", bytes >> 10));
    }
    Ok(text)
}

fn judge(name: &str, plain: u64, bytes: u64) -> Result<(), String> {
    ensure(bytes.saturating_mul(2) < plain, format!("{name} took {bytes} bytes on the way, plain took {plain}"))
}

/// The bytes on the way to the server of one call whose answer is its request.
async fn carried(place: &Place, compression: Compression, body: &Bytes) -> Result<u64, String> {
    let relay = Relay::start(&place.relay, place.address.clone()).await?;
    let address = relay.address().clone().with_key(place.server);
    let builder = Client::builder(address.to_string()).identity(place.member.clone()).compression(compression);
    let client = builder.connect().await.map_err(told)?;
    let reply = client.call("np.echo", body.clone()).await.map_err(told)?;
    ensure(reply == body, "the answer is not what was sent")?;
    Ok(relay.carried(Way::ToServer))
}

/// Lines as services write them.
fn log() -> Bytes {
    let mut text = String::new();
    for line in 0u64.. {
        // The numbers look random, and the words do not.
        let mixed = line.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let status = if mixed % 19 == 0 { 503 } else { 200 };
        let _ = writeln!(
            text,
            "2026-01-01T00:{:02}:{:02}.{:03}Z INFO orders: request id={mixed:016x} status={status} took={}us",
            line / 60_000 % 60,
            line / 1_000 % 60,
            line % 1_000,
            mixed >> 52,
        );
        if text.len() >= LOG {
            break;
        }
    }
    text.truncate(LOG);
    text.into()
}

#[cfg(test)]
mod tests {
    use np_facade::{Compression, Encoder};

    use super::{carried, compression, fill, judge, log, streams};
    use crate::compress::always;
    use crate::demo::house::House;

    #[tokio::test]
    async fn the_row_of_compression_fails_where_nothing_is_compressed() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            assert!(compression(place).await.is_ok(), "{:?}", compression(place).await);
            let log = log();
            let plain = carried(place, Compression::default(), &log).await.unwrap();
            assert!(plain > log.len() as u64, "{plain}");
            assert!(judge("none", plain, plain).is_err());
            assert!(carried(place, always(Encoder::Lz4), &log).await.unwrap() * 2 < plain);
        }
    }

    #[tokio::test]
    async fn the_row_of_streams_fails_where_nothing_is_held_up() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            assert!(streams(place).await.is_ok(), "{:?}", streams(place).await);
            let client = place.client().await.unwrap();
            // A handler that reads its stream never holds up its sender.
            let mut read = client.open_stream("demo.file").await.unwrap();
            assert!(fill(&mut read).await.unwrap_err().contains("reads none"));
        }
    }
}
