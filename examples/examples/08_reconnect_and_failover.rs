//! Staying connected: a server's process is killed and comes back, another one drains, and the calls go on.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::{Balance, CallError, ClientEvent, SecretKey};

type Failure = Box<dyn std::error::Error>;

/// A server that can come back at the same place with the same key. It says when `slow` has begun, which never answers.
async fn start_server(place: &str) -> Result<Server, np_facade::Error> {
    Server::builder(Identity::from_secret(SecretKey::from_bytes([1; 32])), Policy::anyone())
        .listen(place)
        .on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))
        .on_async("slow", |_ctx, _body| {
            println!("slow has begun");
            std::future::pending::<Result<Bytes, CallError>>()
        })
        .start()
        .await
}

/// This program once more, as a server that runs until it is killed, or nobody holds its input any more. Reading what it
/// says holds up one thread of the runtime; `tokio::process` holds up none.
struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Process {
    fn start(place: &str) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        let mut child = command.args(["serve", place]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let says = child.stdout.take().map(BufReader::new).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, says })
    }

    /// The next line that it prints.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.says.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL on Unix: it has no time to say goodbye to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "serve", place] => {
            let server = start_server(place).await?;
            println!("{}", server.addresses().first().ok_or("no address")?);
            tokio::task::spawn_blocking(|| io::copy(&mut io::stdin(), &mut io::sink())).await??;
            Ok(())
        }
        _ => {
            let address = survive_a_kill().await?;
            survive_a_drain(&address).await
        }
    }
}

async fn survive_a_kill() -> Result<String, Failure> {
    let mut process = Process::start("tcp://127.0.0.1:0")?;
    let address = process.line()?;
    let client = Client::connect(&address).await?;
    let mut events = client.events();
    let listener = tokio::spawn(async move {
        let mut names = Vec::new();
        while let Some(event) = events.next().await {
            println!("event: {event:?}");
            names.push(event.name());
            if matches!(event, ClientEvent::Closed { .. }) {
                break;
            }
        }
        names
    });

    // The server dies in the midst of a call: nobody knows whether its work was done, so the client does not do it twice.
    let worker = client.clone();
    let call = tokio::spawn(async move { worker.call("slow", "").await });
    assert_eq!(process.line()?, "slow has begun");
    drop(process);
    let Err(lost) = call.await? else { return Err("there was nobody to answer".into()) };
    println!("the call in flight: {lost}");
    assert_eq!(lost.outcome, Outcome::Unknown);

    // A call that is made meanwhile waits, and is answered once the server is back.
    let worker = client.clone();
    let waiting = tokio::spawn(async move { worker.call("shout", "back again").await });
    let place = address.split('?').next().unwrap_or(&address);
    let mut process = Process::start(place)?;
    assert_eq!(process.line()?, address, "the same place, and the same key");
    assert_eq!(waiting.await??, "BACK AGAIN");
    client.close().await;
    let names = listener.await?;
    assert_eq!((names.first(), names.last()), (Some(&"connected"), Some(&"closed")));
    assert!(names.contains(&"reconnecting"));
    Ok(place.to_owned())
}

/// With a second address a server drains without a failed call.
async fn survive_a_drain(place: &str) -> Result<(), Failure> {
    let (server, other) = (start_server(place).await?, start_server("tcp://127.0.0.1:0").await?);
    let at = |server: &Server| server.addresses().first().map(ToString::to_string).ok_or("no address");
    let client = Client::builder(at(&server)?)
        .address(at(&other)?)
        .balance(Balance::RoundRobin)
        .idempotent_methods(["shout"])
        .connect()
        .await?;
    let drain = tokio::spawn(async move { server.shutdown(Duration::from_secs(10)).await });
    for _ in 0..1_000 {
        assert_eq!(client.call("shout", "on").await?, "ON");
    }
    drain.await?;
    println!("1,000 calls went on while one of two servers drained");
    client.close().await;
    other.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
