//! Streams: many messages both ways under one call, with back-pressure by credit.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;

const LINES: u32 = 10_000;

/// Adds up what comes, and says the sum after each number.
async fn add_up(_ctx: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let mut sum = 0_u64;
    while let Some(number) = stream.recv_as::<u64>().await {
        sum = sum.saturating_add(number?);
        stream.send_as(&sum).await?;
    }
    Ok(())
}

/// Sends as fast as the caller takes: `send` waits for credit, so an idle reader costs a window and no more.
async fn lines(_ctx: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    for at in 0..LINES {
        stream.send(format!("line {at}: {}", "x".repeat(200))).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_stream("add-up", add_up)
        .on_stream("lines", lines)
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    let client = Client::connect(&address).await?;

    // The halves of a stream may live in tasks of their own.
    let (mut receiver, mut sender) = client.open_stream("add-up").await?.split();
    let writer = tokio::spawn(async move {
        for number in 1..=100_u64 {
            sender.send_as(&number).await?;
        }
        sender.finish().await
    });
    let mut last = 0;
    while let Some(sum) = receiver.recv_as::<u64>().await {
        last = sum?;
    }
    writer.await??;
    println!("the sum of 1 to 100 is {last}");
    assert_eq!(last, 5_050);

    // A slow reader: the server waits meanwhile, and other calls of the connection do not.
    let mut stream = client.open_stream("lines").await?;
    let first: Bytes = stream.recv().await.ok_or("no line")??;
    assert!(first.starts_with(b"line 0:"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(client.call("np.echo", "still here").await?, "still here");
    let mut count = 1;
    while let Some(line) = stream.recv().await {
        line?;
        count += 1;
    }
    println!("{count} lines, none lost");
    assert_eq!(count, LINES);

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
