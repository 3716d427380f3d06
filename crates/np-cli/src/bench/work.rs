//! What callers do: calls, connections, messages on a stream. Must never count or time anything.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use np_facade::{
    CallError, Client, CloseCode, Connection, Deadline, MessageReceiver, MessageSender, MethodName, Request, Status,
};
use tokio::sync::{mpsc, oneshot};

use super::load::Work;
use crate::connect::Dialer;
use crate::counted::counted;
use crate::failure::Failure;

/// The byte that bodies are made of.
const BYTE: u8 = 0x6e;

/// A request with a body of so many bytes, and no deadline: what is measured decides by itself how long it waits.
pub(super) fn request(method: &str, body: usize) -> Result<Request, Failure> {
    let name = MethodName::new(method).map_err(|error| Failure::local(format!("{method}: {error}; report this")))?;
    Ok(Request::new(name).body(bytes(body)).deadline(Deadline::NONE))
}

/// A body of so many bytes.
pub(super) fn bytes(body: usize) -> Bytes {
    Bytes::from(vec![BYTE; body])
}

/// An answer must be as long as what was sent.
fn check(answer: &Bytes, body: usize) -> Result<(), CallError> {
    if answer.len() == body {
        return Ok(());
    }
    let [came, sent] = [answer.len(), body].map(|bytes| counted(bytes, "byte", "bytes"));
    let text = format!("{came} came back for {sent}");
    Err(CallError::answered(Status::Internal, text))
}

/// A call on a connection that stands.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub(super) connection: Connection,
    pub(super) request: Request,
    pub(super) body: usize,
}

impl Work for Echo {
    async fn once(&self) -> Result<(), CallError> {
        check(&self.connection.call(self.request.clone()).await?.body, self.body)
    }

    fn is_over(&self) -> bool {
        self.connection.error().is_some()
    }
}

/// A connection of its own for one call.
#[derive(Debug, Clone)]
pub(super) struct SetUp {
    pub(super) dialer: Arc<Dialer>,
    pub(super) request: Request,
    pub(super) body: usize,
}

impl Work for SetUp {
    async fn once(&self) -> Result<(), CallError> {
        let client = connect(&self.dialer).await?;
        let connection = client.connection();
        let answered = Echo { connection, request: self.request.clone(), body: self.body }.once().await;
        client.close().await;
        answered
    }
}

async fn connect(dialer: &Dialer) -> Result<Client, CallError> {
    let connected = dialer.connect().await;
    // Nobody worked for a connection that did not come about.
    connected.map(|it| it.client).map_err(|failure| CallError::not_processed(Status::Unavailable, failure.line()))
}

/// A connection that stays, until there are enough.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) dialer: Arc<Dialer>,
    pub(super) left: Arc<AtomicU32>,
    pub(super) kept: Arc<Mutex<Vec<Client>>>,
}

impl Work for Open {
    async fn once(&self) -> Result<(), CallError> {
        let client = connect(&self.dialer).await?;
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

/// Messages on one stream, which come back in the order in which they were sent.
#[derive(Debug, Clone)]
pub(super) struct Streamed {
    connection: Connection,
    sending: Arc<tokio::sync::Mutex<Sending>>,
    body: Bytes,
}

#[derive(Debug)]
struct Sending {
    sender: MessageSender,
    /// Who waits for the message that comes back next, and then the others. It holds as many as there are callers.
    waiting: mpsc::Sender<oneshot::Sender<Bytes>>,
}

impl Streamed {
    /// Opens a stream for so many callers.
    pub(super) async fn open(connection: &Connection, callers: u32, body: usize) -> Result<Self, CallError> {
        let method = MethodName::new("np.echo-stream")
            .map_err(|error| CallError::not_processed(Status::InvalidArgument, error.to_string()))?;
        let opened = connection.open_stream(Request::new(method).deadline(Deadline::NONE)).await?;
        let (receiver, sender) = opened.split();
        let (waiting, next) = mpsc::channel(usize::try_from(callers).unwrap_or(usize::MAX).max(1));
        tokio::spawn(hand_out(receiver, next));
        let sending = Arc::new(tokio::sync::Mutex::new(Sending { sender, waiting }));
        Ok(Self { connection: connection.clone(), sending, body: bytes(body) })
    }
}

/// Gives each message that comes back to the caller that sent it; who is left when the stream ends learns of it by that.
async fn hand_out(mut receiver: MessageReceiver, mut next: mpsc::Receiver<oneshot::Sender<Bytes>>) {
    while let Some(Ok(message)) = receiver.recv().await {
        let Some(caller) = next.recv().await else {
            return;
        };
        // A caller that was stopped does not want it any more.
        let _ = caller.send(message);
    }
}

impl Work for Streamed {
    async fn once(&self) -> Result<(), CallError> {
        let gone = || CallError::unknown(Status::Unavailable, "the stream has ended");
        let (caller, came) = oneshot::channel();
        {
            let mut sending = self.sending.lock().await;
            sending.waiting.send(caller).await.map_err(|_| gone())?;
            sending.sender.send(self.body.clone()).await?;
        }
        check(&came.await.map_err(|_| gone())?, self.body.len())
    }

    fn is_over(&self) -> bool {
        self.connection.error().is_some()
    }
}

/// Ends connections that stand, all at once.
pub(super) async fn close_all(clients: Vec<Client>) {
    let mut closing = tokio::task::JoinSet::new();
    for client in clients {
        closing.spawn(async move { client.connection().close(CloseCode::Normal, "").await });
    }
    while closing.join_next().await.is_some() {}
}
