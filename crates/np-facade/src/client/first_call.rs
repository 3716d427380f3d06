//! A client that is made for a call: the call leaves with the end of the handshake, and both are told of at once. Must
//! never make the call again where the first server may have done it.

use std::sync::Arc;

use bytes::Bytes;
use np_dispatch::Reply;
use np_driver::{ConnectError, Connection, Request, Until};
use np_types::{CallError, MethodName, Outcome};

use crate::client::dialer::Dialer;
use crate::client::once::Once;
use crate::client::pool::Pool;
use crate::client::station::Station;
use crate::{Client, ClientBuilder, Error};

impl ClientBuilder {
    /// Connects as [`ClientBuilder::connect`] does, and makes the first call, a round trip sooner than one after the other: a
    /// call of at most 512 bytes leaves with the client's last message of a handshake in XX, once the server has proven
    /// its key. Larger ones, those that are to be compressed, other patterns and modes wait for the server's first record.
    ///
    /// It tells whether the server takes this client up, as `connect` does, and beside that what became of the call: its
    /// deadline is that of the builder. The call is made once, and not sent again where it failed. Whether later
    /// connections of the client may call early is for [`ClientBuilder::early_call`] to say. Further connections of a
    /// pool are begun once the call is over. With [`ClientBuilder::exactly_once`] the call waits for a connection that
    /// stands, as all calls do then.
    ///
    /// ```no_run
    /// # async fn run(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    /// use np_facade::Client;
    /// let (client, answer) = Client::builder(address).connect_and_call("np.echo", "hello").await?;
    /// assert_eq!(answer?.body, "hello");
    /// # client.close().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As `connect`; the call was not done by any server then. Where it is not known whether it was, since the connection
    /// was lost under it, or its deadline was over first, there is a client, and the call's error says so by its outcome.
    pub async fn connect_and_call(
        self,
        method: &str,
        body: impl Into<Bytes> + Send,
    ) -> Result<(Client, Result<Reply, CallError>), Error> {
        let body = body.into();
        let name = MethodName::new(method).ok().filter(|_| !self.keeping.exactly_once);
        let Some(name) = name else {
            let client = self.connect().await?;
            let answer = client.request(method).body(body).send().await;
            return Ok((client, answer));
        };
        self.keeping.check()?;
        let (dialer, request) = (Dialer::new(self)?, Request::new(name).body(body));
        let stations = dialer.stations().await?;
        let mut failed = Vec::new();
        for (at, station) in stations.iter().enumerate() {
            match call_at(&dialer, station, &request).await {
                Ok((connection, answer)) => {
                    let first = (Arc::clone(station), connection);
                    let client = Client::over(Pool::new(dialer, stations.len(), at, first), Once::new()?);
                    return Ok((client, answer));
                }
                Err(error) => failed.push(error),
            }
        }
        Err(Error::of_attempts(failed))
    }
}

/// One attempt at one address, with the call.
async fn call_at(
    dialer: &Dialer,
    station: &Station,
    request: &Request,
) -> Result<(Connection, Result<Reply, CallError>), Error> {
    let connection = dialer.attempt_for_call(station).await?;
    let answer = connection.begin(request, Until::Within(dialer.settings.deadline)).await;
    let answer = answer.map_err(|unanswered| unanswered.error);
    if answer.as_ref().is_err_and(|error| error.outcome == Outcome::NotProcessed) {
        // Nothing was done, so that what the server says of the client may still be waited for, and another be asked.
        connection.watch().stood().await.map_err(|error| {
            let address = station.address.without_keys().to_string();
            ConnectError::Handshake { address, error }
        })?;
    }
    if connection.watch().has_stood() {
        station.succeeded();
    }
    Ok((connection, answer))
}
