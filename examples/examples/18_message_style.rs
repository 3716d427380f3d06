//! Messages instead of calls: `send` and `recv` over one ordered stream per connection.
//!
//! Whoever comes from `network-protocol` 1.x finds the three programs of its quick start here, step by step: the TCP
//! server, the dispatcher with handlers by name, the client. The comments say what each step was there.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use np_facade::prelude::*;

/// Was: the crate's dispatcher, a table from a message's name to its handler. Here it is the application's own, in a few
/// lines, because a match over the enum does as well; see `17_custom_messages`.
#[derive(Default)]
struct Dispatcher {
    handlers: BTreeMap<String, Box<MessageHandler>>,
}

type MessageHandler = dyn Fn(&Message) -> Message + Send + Sync;

impl Dispatcher {
    /// Was: registering under an upper-case name.
    fn register(mut self, name: &str, handler: impl Fn(&Message) -> Message + Send + Sync + 'static) -> Self {
        self.handlers.insert(name.to_owned(), Box::new(handler));
        self
    }

    /// What no handler takes is answered, not dropped.
    fn dispatch(&self, message: &Message) -> Message {
        let name = match message {
            Message::Ping => "PING",
            Message::Echo(_) => "ECHO",
            Message::Custom { command, .. } => command,
            _ => "UNKNOWN",
        };
        self.handlers.get(name).map_or(Message::Unknown, |handler| handler(message))
    }
}

/// Was: the loop inside the daemon that read packets, dispatched them and wrote answers.
async fn serve(dispatcher: Arc<Dispatcher>, mut stream: MessageStream) -> Result<(), CallError> {
    while let Some(body) = stream.recv().await {
        let answer = dispatcher.dispatch(&Message::read(&body?));
        stream.send_as(&answer).await?;
    }
    Ok(())
}

async fn start_server() -> Result<Server, np_facade::Error> {
    // Was: make a dispatcher, register a ping handler, an echo handler, and one for a command of your own.
    let dispatcher = Dispatcher::default()
        .register("PING", |_| Message::Pong)
        .register("ECHO", Message::clone)
        .register("COUNT", |message| match message {
            Message::Custom { payload, .. } => {
                Message::Custom { command: "COUNTED".to_owned(), payload: payload.len().to_string().into_bytes() }
            }
            other => other.clone(),
        });
    let dispatcher = Arc::new(dispatcher);

    // Was: fill in a server configuration (address, queue length, timeouts, connections) and start the daemon without
    // signal handlers. New: the server has an identity and a policy, and back-pressure is credit instead of a length.
    Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .handshake_timeout(Duration::from_secs(10))
        .max_connections(1_000)
        .on_messages(move |_ctx, stream| serve(Arc::clone(&dispatcher), stream))
        .start()
        .await
}

async fn run_client(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    // Was: fill in a client configuration and connect with it. New: the address names the server's key.
    let client = Client::builder(address).connect_timeout(Duration::from_secs(5)).connect().await?;

    // Was: send an echo, then receive the reply.
    client.send(&Message::Echo("hello".to_owned())).await?;
    let reply = client.recv::<Message>().await?;
    println!("reply: {reply:?}");
    assert_eq!(reply, Some(Message::Echo("hello".to_owned())));

    // Was: send and wait in one step, under a timeout for the response.
    client.send(&Message::Ping).await?;
    let reply = tokio::time::timeout(Duration::from_secs(30), client.recv::<Message>()).await??;
    println!("reply: {reply:?}");
    assert_eq!(reply, Some(Message::Pong));

    // Was: a custom message, by the name of its command.
    client.send(&Message::Custom { command: "COUNT".to_owned(), payload: vec![7; 120] }).await?;
    let reply = client.recv::<Message>().await?;
    println!("reply: {reply:?}");
    assert_eq!(reply, Some(Message::Custom { command: "COUNTED".to_owned(), payload: b"120".to_vec() }));

    // A command that nobody registered.
    client.send(&Message::Custom { command: "NOBODY".to_owned(), payload: Vec::new() }).await?;
    assert_eq!(client.recv::<Message>().await?, Some(Message::Unknown));

    // Was: send a disconnect message, then drop the client.
    client.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = start_server().await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    println!("listening {address}");
    run_client(&address).await?;

    // Was: tell the daemon's handle to shut down. New: the time that open work gets stands here.
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
