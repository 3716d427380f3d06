//! The one ordered message stream of a client: its two halves, opened by whoever needs them first, and again after a loss.

use std::sync::Arc;

use np_dispatch::{MessageReceiver, MessageSender, MessageStream};
use np_driver::ConnectionWatch;
use np_types::{CallError, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::client::pool::Live;

/// The halves, and the connection that they are on.
#[derive(Default)]
pub(crate) struct Messages {
    /// Held while the stream is opened.
    on: Mutex<Option<ConnectionWatch>>,
    sender: Mutex<Option<MessageSender>>,
    receiver: Mutex<Option<MessageReceiver>>,
}

impl Messages {
    /// Opens the stream if there is none, or the last one was lost and somebody has been told so.
    pub(crate) async fn open<F>(&self, open: impl FnOnce() -> F) -> Result<(), CallError>
    where
        F: Future<Output = Result<(MessageStream, Arc<Live>), CallError>>,
    {
        let mut on = self.on.lock().await;
        if on.is_none() {
            let (stream, live) = open().await?;
            let (receiver, sender) = stream.split();
            *self.sender.lock().await = Some(sender);
            *self.receiver.lock().await = Some(receiver);
            *on = Some(live.watch.clone());
        }
        Ok(())
    }

    pub(crate) async fn send<T: Serialize + Sync + ?Sized>(&self, message: &T) -> Result<(), CallError> {
        let sent = match &mut *self.sender.lock().await {
            Some(sender) => sender.send_as(message).await,
            None => Err(no_messages()),
        };
        self.forget_if_lost(sent.is_err()).await;
        sent
    }

    pub(crate) async fn recv<T: DeserializeOwned>(&self) -> Result<Option<T>, CallError> {
        let received = match &mut *self.receiver.lock().await {
            Some(receiver) => receiver.recv_as().await.transpose(),
            None => Err(no_messages()),
        };
        self.forget_if_lost(received.is_err()).await;
        received
    }

    /// After a failure that the end of the connection explains the next use opens another stream.
    async fn forget_if_lost(&self, failed: bool) {
        if failed {
            let mut on = self.on.lock().await;
            if on.as_ref().is_some_and(ConnectionWatch::is_closed) {
                *on = None;
            }
        }
    }
}

fn no_messages() -> CallError {
    CallError::not_processed(Status::Unavailable, "the message stream is not open")
}
