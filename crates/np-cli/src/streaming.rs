//! `np call --stream`: a message for each line, and replies as they come.

use bytes::Bytes;
use np_facade::{CallError, MessageReceiver, MessageSender};
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use crate::connect::Connected;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::refusal::failed_call;

/// The most bytes of one line: those of one message.
const LINE: u64 = 16 << 20;

/// Sends the lines of `input`, each as a message, and prints what comes back, a line each.
pub(crate) async fn run(
    connected: &Connected,
    method: &str,
    input: impl AsyncBufRead + Unpin + Send,
    output: Output,
) -> Result<(), Failure> {
    let told = |error: CallError| failed_call(method, &connected.place, &error);
    let (receiver, sender) = connected.client.open_stream(method).await.map_err(told)?.split();
    let mut print = std::pin::pin!(print(receiver, method, &connected.place, output));
    let mut say = std::pin::pin!(say(sender, input));
    tokio::select! {
        // The peer may end before the input does.
        printed = &mut print => printed,
        said = &mut say => {
            said?;
            print.await
        }
    }
}

async fn say(mut sender: MessageSender, mut input: impl AsyncBufRead + Unpin) -> Result<(), Failure> {
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(LINE + 1).read_until(b'\n', &mut line).await;
        let count = read.map_err(|error| Failure::local(format!("body: cannot be read: {error}; check the pipe")))?;
        if count == 0 {
            // What the stream's end says is told by the other half.
            let _ = sender.finish().await;
            return Ok(());
        }
        if line.len() as u64 > LINE {
            let line = format!("body: a line holds more than {} MiB, the limit of one message; split it", LINE >> 20);
            return Err(Failure::new(np_facade::ErrorKind::Limit, line));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if sender.send(line).await.is_err() {
            return Ok(());
        }
    }
}

async fn print(mut receiver: MessageReceiver, method: &str, place: &str, output: Output) -> Result<(), Failure> {
    while let Some(message) = receiver.recv().await {
        let message: Bytes = message.map_err(|error| failed_call(method, place, &error))?;
        if output.is_json() {
            output.json(
                &json!({ "method": method, "bytes": message.len(), "text": String::from_utf8_lossy(&message) }),
            )?;
        } else {
            output::write(&[&message[..], b"\n"].concat())?;
        }
    }
    Ok(())
}
