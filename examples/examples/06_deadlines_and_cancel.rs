//! Every call has a deadline (30 s unless you say otherwise), and dropping a call stops its handler.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use np_facade::prelude::*;
use tokio::sync::mpsc;

/// Tells when a handler's future is dropped.
struct Stopped(mpsc::Sender<&'static str>);

impl Drop for Stopped {
    fn drop(&mut self) {
        // Whoever listens has room; nobody else needs to know.
        let _ = self.0.try_send("the handler was stopped");
    }
}

/// A server whose method never answers, and says when it begins and when it is stopped.
async fn start_server(
    started: mpsc::Sender<()>,
    stopped: mpsc::Sender<&'static str>,
) -> Result<Server, np_facade::Error> {
    Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .on_async("forever", move |_ctx, _body| {
            let (stopped, started) = (Stopped(stopped.clone()), started.clone());
            async move {
                let _stopped = stopped;
                let _ = started.send(()).await;
                pending::<Result<Bytes, CallError>>().await
            }
        })
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (stopped, mut news) = mpsc::channel(8);
    let (started, mut begun) = mpsc::channel(8);
    let server = start_server(started, stopped).await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    let client = Client::connect(&address).await?;

    // The deadline travels with the call as remaining time, and ends both ends of it.
    let late = client.request("forever").deadline(Duration::from_millis(100)).send().await;
    let Err(error) = late else { return Err("an answer from nowhere".into()) };
    println!("late: {error}");
    assert_eq!(error.status, Status::DeadlineExceeded);
    println!("{}", news.recv().await.ok_or("nobody stopped")?);
    begun.recv().await.ok_or("it never began")?;

    // A call that is dropped is cancelled at the server, here because another branch was faster.
    tokio::select! {
        answer = client.call("forever", "") => return Err(format!("an answer from nowhere: {answer:?}").into()),
        _ = begun.recv() => println!("it runs; we lose interest"),
    }
    println!("{}", news.recv().await.ok_or("nobody stopped")?);

    // The connection is as good as before.
    assert_eq!(client.call("np.echo", "on").await?, "on");
    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
