//! A client that is made for a call: the call leaves with the end of the handshake where it fits there, and both are told
//! of at once. Must never ask another server where the first may have done a call that does harm when it is done twice.

use std::sync::Arc;

use bytes::Bytes;
use np_dispatch::Reply;
use np_driver::{ConnectError, Connection, Request, Unanswered, Until};
use np_session::EARLY_BYTES;
use np_transport::Address;
use np_types::{CallError, CloseCode, ConnectionError, MethodName, Outcome};

use crate::client::attempt::{Outgoing, Unary, again, pool_time, settle_from};
use crate::client::dialer::Dialer;
use crate::client::once::Once;
use crate::client::pool::{Live, Pool};
use crate::client::station::Station;
use crate::{Client, ClientBuilder, Error};

impl ClientBuilder {
    /// Connects as [`ClientBuilder::connect`] does without [`ClientBuilder::early_call`], and makes a call: where it can, a
    /// round trip sooner than one after the other.
    ///
    /// A call of at most 512 bytes leaves with the client's last message of a handshake in XX, once the server has proven its
    /// key, unless its body is to be compressed, the call belongs to a trace, or calls run
    /// [exactly once](ClientBuilder::exactly_once). In other patterns, in `tls://` and in `?mode=local` it leaves once the
    /// server has taken this client up, as any other call does. Its deadline is [`ClientBuilder::deadline`]; it is sent
    /// again when that is safe, as calls of a client are ([`ClientBuilder::auto_reconnect`]). Further connections of a pool
    /// may be begun after it. Whether later connections call early is for `early_call` to say.
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
    /// As `connect`; no server has done the call then. What became of the call is told beside the client. Where it had left, and its
    /// link was lost, its deadline passed or `handshake_timeout` ran out before the server has said whether it takes this client
    /// up, there is a client all the same, and the call's outcome is unknown, unless it was sent again as one of the
    /// [idempotent methods](ClientBuilder::idempotent_methods).
    pub async fn connect_and_call(
        self,
        method: &str,
        body: impl Into<Bytes> + Send,
    ) -> Result<(Client, Result<Reply, CallError>), Error> {
        self.keeping.check()?;
        let body = body.into();
        let early = self.early_call_of(method, &body);
        // Whatever may fail by itself comes before the call.
        let (dialer, once) = (Dialer::new(self)?, Once::new()?);
        let stations = dialer.stations().await?;
        let mut failed = Vec::new();
        for (at, station) in stations.iter().enumerate() {
            let (connection, first) = match begin(&dialer, station, early.as_ref()).await {
                Ok(begun) => begun,
                Err(error) => {
                    failed.push(error);
                    continue;
                }
            };
            let pool = Pool::new(dialer, stations.len(), at, (Arc::clone(station), connection));
            let live = pool.newest();
            let client = Client::over(pool, once);
            let answer = match (first, early) {
                (Some(first), Some(call)) => client.after_first(&live, &call, first).await,
                _ => client.request(method).body(body).send().await,
            };
            return Ok((client, answer));
        }
        Err(Error::of_attempts(failed))
    }

    /// The call, where it may leave before the server has taken this client up.
    fn early_call_of(&self, method: &str, body: &Bytes) -> Option<Outgoing> {
        let size = u32::try_from(body.len()).ok().filter(|size| u64::from(*size) <= EARLY_BYTES)?;
        let compressed = self.compression.by_default && size >= self.compression.settings.threshold;
        let fits = !compressed && !self.keeping.exactly_once;
        let request = Request::new(MethodName::new(method).ok().filter(|_| fits)?).body(body.clone());
        Some(Outgoing { request, within: Some(self.deadline), idempotent: false })
    }
}

type First = Result<Reply, Unanswered>;

/// One attempt at one address, with the call where that may leave early.
async fn begin(
    dialer: &Dialer,
    station: &Station,
    early: Option<&Outgoing>,
) -> Result<(Connection, Option<First>), Error> {
    let connection = dialer.attempt_with(station, Some(early.is_some())).await?;
    let Some(call) = early else {
        return Ok((connection, None));
    };
    let first = connection.begin(&call.request, Until::Within(dialer.settings.deadline)).await;
    if first.as_ref().is_err_and(|unanswered| unanswered.error.outcome == Outcome::NotProcessed) {
        // Nothing was done, so that there is time to hear whether this client is taken up, and to ask another server.
        let stood = connection.watch().stood().await;
        stood.map_err(|error| refused(&station.address, error))?;
    }
    Ok((connection, Some(first)))
}

/// Why a server has not taken this client up, as `connect` tells it.
fn refused(address: &Address, error: ConnectionError) -> Error {
    let error = match error {
        ConnectionError::ClosedHere(code @ CloseCode::HandshakeTimeout) => {
            ConnectionError::Timeout { what: "the handshake", code }
        }
        other => other,
    };
    Error::Connect(ConnectError::Handshake { address: address.without_keys().to_string(), error })
}

impl Client {
    /// What comes of a call after its first attempt.
    async fn after_first(&self, live: &Arc<Live>, call: &Outgoing, first: First) -> Result<Reply, CallError> {
        let unanswered = match first {
            Ok(reply) => return Ok(reply),
            Err(unanswered) => unanswered,
        };
        let pool = self.pool();
        let until = pool_time(pool, live, unanswered.deadline, call.patience(pool));
        let mut refusals = 0;
        again(pool, live, call, unanswered.error, until, &mut refusals).await?;
        settle_from::<Unary>(pool, call, Some(until), refusals).await.map(|(reply, _)| reply)
    }
}

#[cfg(test)]
mod tests {
    use np_types::{CloseCode, ConnectionError};

    use super::refused;
    use crate::ErrorKind;

    #[test]
    fn silence_is_told_as_connect_tells_it_and_not_as_a_refusal() {
        let kind = |code| refused(&"mem:x".parse().unwrap(), ConnectionError::ClosedHere(code)).kind();
        assert_eq!(kind(CloseCode::HandshakeTimeout), ErrorKind::Timeout);
        assert_eq!(kind(CloseCode::Normal), ErrorKind::Authentication);
    }
}
