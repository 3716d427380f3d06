//! The message style with an enum of your own in place of the built-in one: anything that serde knows will do.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_facade::prelude::*;
use serde::{Deserialize, Serialize};

/// What the client says.
#[derive(Debug, Serialize, Deserialize)]
enum Command {
    Add(i64),
    Total,
}

/// What the server says. The two directions need not speak the same language.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Added { count: u32 },
    Total(i64),
}

/// The state of one connection lives in its handler's variables.
async fn count(_ctx: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let (mut count, mut total) = (0, 0_i64);
    while let Some(command) = stream.recv_as::<Command>().await {
        let event = match command? {
            Command::Add(number) => {
                (count, total) = (count + 1, total.saturating_add(number));
                Event::Added { count }
            }
            Command::Total => Event::Total(total),
        };
        stream.send_as(&event).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_messages(count)
        .start()
        .await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();

    let client = Client::connect(&address).await?;
    for number in [20, 22] {
        client.send(&Command::Add(number)).await?;
    }
    client.send(&Command::Total).await?;
    // Answers come in the order of the messages.
    for expected in [Event::Added { count: 1 }, Event::Added { count: 2 }, Event::Total(42)] {
        let event = client.recv::<Event>().await?;
        println!("{event:?}");
        assert_eq!(event, Some(expected));
    }

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
