//! What the demo claims to be refused: strangers, impostors, and bytes that were changed on their way.

use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::driver::ConnectError;
use np_facade::{CallError, Client, CloseCode, ConnectionError, Error, Identity, Misbehaved};
use tokio::time::timeout;

use crate::demo::house::Place;
use crate::demo::items::{Checked, ensure, told};
use crate::demo::relay::{Relay, Way};

/// How long a connection may take to end after its call has failed.
const DEATH: Duration = Duration::from_secs(3);

/// A client whose key the server does not know must be told so, and get no connection.
pub(crate) async fn stranger(place: &Place) -> Checked {
    let nobody = Identity::generate().map_err(told)?;
    let tried = Client::builder(place.address.to_string()).identity(nobody).connect().await;
    match tried.map_err(handshake_error) {
        Err(Some(ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. })) => {
            Ok(format!("the server closed with `{}`", CloseCode::NotAllowed))
        }
        Ok(_) => Err("the server let a stranger in".to_owned()),
        Err(other) => Err(format!("the stranger was not refused by the server, but got {other:?}")),
    }
}

/// A server that does not prove the key of the address must be refused by its client.
pub(crate) async fn wrong_server(place: &Place) -> Checked {
    let other = Identity::generate().map_err(told)?.public_key();
    let address = place.address.without_keys().with_key(other);
    let tried = Client::builder(address.to_string()).identity(place.member.clone()).connect().await;
    match tried.map_err(handshake_error) {
        Err(Some(ConnectionError::Refused { code: CloseCode::NotAllowed, reason })) => {
            ensure(reason.contains(&place.server.to_string()), format!("the refusal names another key: {reason}"))?;
            Ok("the client asked for another key, and refused this one".to_owned())
        }
        Ok(_) => Err("the client took a server with another key".to_owned()),
        Err(other) => Err(format!("the client did not refuse the key, but got {other:?}")),
    }
}

/// One flipped bit must end the connection, whichever way it travels, and reach nobody as data.
pub(crate) async fn tampering(place: &Place) -> Checked {
    for way in [Way::ToServer, Way::ToClient] {
        judge(way, &tamper(place, way, true).await?)?;
    }
    Ok("one bit flipped each way: the call failed, the connection ended, no changed byte was delivered".to_owned())
}

/// What was seen of a call whose record was tampered with.
#[derive(Debug)]
struct Evidence {
    /// Whether the relay says that it flipped a bit.
    flipped: bool,
    /// What the caller got.
    answer: Result<Bytes, CallError>,
    /// Whether the server's handler ran for this call.
    handled: bool,
    /// How the client's connection ended, if it did.
    ended: Option<ConnectionError>,
}

/// Makes a call through a relay that flips a bit of its record, or of its answer's.
async fn tamper(place: &Place, way: Way, flip: bool) -> Result<Evidence, String> {
    let relay = Relay::start(&place.relay, place.address.clone()).await?;
    let address = relay.address().clone().with_key(place.server);
    // What this connection comes to is what is looked at.
    let builder = Client::builder(address.to_string()).identity(place.member.clone()).auto_reconnect(false);
    let client = builder.connect().await.map_err(told)?;
    let honest = Bytes::from_static(b"through the relay, unharmed");
    let reply = client.call("demo.keep", honest.clone()).await.map_err(told)?;
    ensure(reply == honest, "the relay changed a byte before it was asked to")?;
    let before = place.kept.len();
    if flip {
        relay.flip_next(way);
    }
    let answer = client.call("demo.keep", "pay 10 to Ada").await;
    let ended = match &answer {
        Ok(_) => client.connection().error(),
        Err(_) => timeout(DEATH, client.closed()).await.ok(),
    };
    Ok(Evidence { flipped: relay.has_flipped(), answer, handled: place.kept.len() > before, ended })
}

/// Whether what was seen is what must be seen.
fn judge(way: Way, seen: &Evidence) -> Result<(), String> {
    ensure(seen.flipped, "no bit was flipped, so nothing was shown")?;
    ensure(seen.answer.is_err(), format!("{way}: the call succeeded though a bit was flipped"))?;
    let noticed = match way {
        Way::ToServer => {
            matches!(seen.ended, Some(ConnectionError::ClosedByPeer { code: CloseCode::Authentication, .. }))
        }
        Way::ToClient => matches!(seen.ended, Some(ConnectionError::Misbehaved(Misbehaved::Record))),
    };
    ensure(noticed, format!("{way}: the connection did not end for a bad record, but {:?}", seen.ended))?;
    ensure(way == Way::ToClient || !seen.handled, format!("{way}: the server's handler got the changed call"))
}

/// Why the handshake failed, if that is what failed.
fn handshake_error(error: Error) -> Option<ConnectionError> {
    match error {
        Error::Connect(ConnectError::Handshake { error, .. }) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, tamper, tampering};
    use crate::demo::house::House;
    use crate::demo::relay::Way;

    #[tokio::test]
    async fn the_row_fails_when_nothing_tampers() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            assert!(tampering(place).await.is_ok(), "{:?}", tampering(place).await);
            for way in [Way::ToServer, Way::ToClient] {
                let mut seen = tamper(place, way, false).await.unwrap();
                assert!(judge(way, &seen).unwrap_err().contains("no bit was flipped"));
                // Even a relay that lies about it does not make the row ok.
                seen.flipped = true;
                assert!(judge(way, &seen).unwrap_err().contains("the call succeeded"));
            }
        }
    }

    #[tokio::test]
    async fn the_row_fails_when_the_wrong_thing_is_noticed() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            let mut seen = tamper(place, Way::ToServer, true).await.unwrap();
            assert!(judge(Way::ToServer, &seen).is_ok());
            assert!(judge(Way::ToClient, &seen).is_err(), "the other side noticed");
            seen.handled = true;
            assert!(judge(Way::ToServer, &seen).unwrap_err().contains("handler"));
            seen.ended = None;
            assert!(judge(Way::ToServer, &seen).unwrap_err().contains("did not end"));
        }
    }
}
