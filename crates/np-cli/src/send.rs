//! `np send`: a file to a server that receives files. Must never hold more of it than a few messages.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use np_facade::{CallError, ErrorKind, MessageStream};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::time::timeout;

use crate::args::ConnectArgs;
use crate::connect::{Connected, Target, connect};
use crate::failure::Failure;
use crate::files::{CHUNK, Kept, METHOD, Offer, Wanted, hex};
use crate::output::Output;
use crate::progress::{Progress, show_bytes};
use crate::refusal::failed_call;
use crate::span::{show_span, write_span};

/// How long the server may take to read what it has, and to write what it got, whatever --timeout says.
const READING: Duration = Duration::from_secs(60);

/// Sends a file to a server that runs with --receive, and compares its SHA-256 at the end.
///
/// A transfer that was cut goes on where it ended when the same client sends the same file again. --timeout bounds
/// connecting, and then each time without progress.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The name that it gets there; its own by default
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// Sends the file.
pub(crate) async fn run(command: Send, output: Output) -> Result<(), Failure> {
    let target = Target::new(&command.connect)?;
    let (mut file, offer) = offer(&command).await?;
    let connected = connect(&command.connect, target).await?;
    let begun = Instant::now();
    let patience = command.connect.timeout;
    let sent = transfer(&connected, &mut file, &offer, patience).await;
    let took = begun.elapsed();
    let from = connected.close_after(sent).await?;
    report(&offer, from, took, output)
}

fn report(offer: &Offer, from: u64, took: Duration, output: Output) -> Result<(), Failure> {
    let (sent, sha256) = (offer.size.saturating_sub(from), hex(&offer.sha256));
    let rate = (sent as f64 / took.as_secs_f64().max(1e-9)) as u64;
    let resumed = if from > 0 { format!(" (it had {})", show_bytes(from)) } else { String::new() };
    let text = format!(
        "sent {}: {}{resumed} in {}, {}/s, sha256 {sha256} on both sides",
        np_facade::escape(&offer.name, 256),
        show_bytes(sent),
        show_span(took),
        show_bytes(rate)
    );
    let value = json!({
        "name": offer.name, "bytes": offer.size, "from": from, "sha256": sha256, "seconds": took.as_secs_f64(),
    });
    output.line(&text, &value)
}

/// Looks at the file, and computes its SHA-256.
async fn offer(command: &Send) -> Result<(File, Offer), Failure> {
    let path = &command.file;
    let unreadable = |error| {
        Failure::usage(format!("file {}: cannot be read: {error}; name a file that this user may read", shown(path)))
    };
    let plain = |meta: &std::fs::Metadata| match meta.is_file() {
        true => Ok(()),
        false => Err(Failure::usage(format!("file {}: is no plain file; name one", shown(path)))),
    };
    // Looked at before it is opened as well: a folder cannot be on Windows, and a pipe waits elsewhere for whoever fills it.
    plain(&tokio::fs::metadata(path).await.map_err(unreadable)?)?;
    let mut file = File::open(path).await.map_err(unreadable)?;
    let meta = file.metadata().await.map_err(unreadable)?;
    plain(&meta)?;
    let name = match &command.name {
        Some(name) => name.clone(),
        None => path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    let mut progress = Progress::new("reading", 0, meta.len());
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0u64, vec![0; CHUNK]);
    loop {
        let count = file.read(&mut buffer).await.map_err(unreadable)?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(count as u64);
        progress.at(size);
    }
    progress.end();
    Ok((file, Offer { name, size, sha256: hash.finalize().into() }))
}

/// Gives from where on the server wanted it.
async fn transfer(connected: &Connected, file: &mut File, offer: &Offer, patience: Duration) -> Result<u64, Failure> {
    let place = connected.place.as_str();
    let told = |error: CallError| failed_call(METHOD, place, &error);
    let long = patience.max(READING);
    let mut stream =
        in_time(place, patience, connected.client.request(METHOD).bulk().open_stream()).await?.map_err(told)?;
    in_time(place, patience, stream.send_as(offer)).await?.map_err(told)?;
    let wanted: Wanted = answer(place, long, &mut stream).await?;
    let changed = || Failure::local("the file became shorter while it was sent; send it again");
    file.seek(SeekFrom::Start(wanted.from)).await.map_err(|_| changed())?;
    let mut progress = Progress::new("sending", wanted.from, offer.size);
    let mut at = wanted.from;
    while at < offer.size {
        let mut chunk = vec![0; CHUNK];
        let count =
            file.read(&mut chunk).await.map_err(|error| Failure::local(format!("file: {error}; check the disk")))?;
        if count == 0 {
            return Err(changed());
        }
        chunk.truncate(count);
        // The server may have ended the stream: its reason is what is told, and not that nothing can be sent.
        if in_time(place, patience, stream.send(chunk)).await?.is_err() {
            break;
        }
        at = at.saturating_add(count as u64);
        progress.at(at);
    }
    progress.end();
    // As above.
    let _ = in_time(place, patience, stream.finish()).await?;
    let kept: Kept = answer(place, long, &mut stream).await?;
    if (kept.size, kept.sha256) != (offer.size, offer.sha256) {
        return Err(Failure::new(
            ErrorKind::Remote,
            "the server kept other bytes than were sent; look at its file and its disk",
        ));
    }
    Ok(wanted.from)
}

async fn answer<T: serde::de::DeserializeOwned>(
    place: &str,
    patience: Duration,
    stream: &mut MessageStream,
) -> Result<T, Failure> {
    match in_time(place, patience, stream.recv_as()).await? {
        Some(answer) => answer.map_err(|error| {
            let mut failure = failed_call(METHOD, place, &error);
            if error.cause.is_some() {
                failure = Failure::new(
                    ErrorKind::of_call(&error),
                    format!("send to {place}: {error}; the same command goes on where this one was cut"),
                );
            }
            failure
        }),
        None => Err(Failure::new(
            ErrorKind::Remote,
            format!("send to {place}: the server ended without an answer; ask who runs it"),
        )),
    }
}

async fn in_time<T>(place: &str, patience: Duration, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout(patience, work).await.map_err(|_| {
        let line = format!(
            "send to {place}: no progress for {}; the same command goes on where this one ended, or raise --timeout",
            write_span(patience)
        );
        Failure::new(ErrorKind::Timeout, line)
    })
}

fn shown(path: &Path) -> String {
    np_facade::escape_path(path)
}
