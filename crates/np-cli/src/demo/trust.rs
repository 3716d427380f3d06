//! What the demo claims about pre-shared keys and trust at first use.

use std::time::{Duration, Instant};

use np_facade::raw::driver::ConnectError;
use np_facade::{
    Client, ClientBuilder, CloseCode, ConnectionError, Error, Identity, KnownPeers, Misbehaved, Pattern, PeerIdentity,
    Policy, PublicKey, Server, psk_id, random_psk,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::demo::house::Place;
use crate::demo::items::{Checked, ensure, told};
use crate::span::show_span;

/// How long a place may take to be free again after its server has gone.
const FREE: Duration = Duration::from_secs(5);

/// A client that holds the pre-shared key gets in, beside its key and by the pre-shared key alone.
pub(crate) async fn pre_shared_key(place: &Place) -> Checked {
    let alone = format!("psk:{}", psk_id(&place.psk));
    let mine = place.member.public_key().to_string();
    let server = PeerIdentity::Noise(place.server);
    let mut times = Vec::new();
    for (pattern, wanted, shown) in [
        (Pattern::XXpsk3, &server, &mine),
        (Pattern::IKpsk2, &server, &mine),
        (Pattern::NNpsk0, &PeerIdentity::Psk(psk_id(&place.psk)), &alone),
    ] {
        let begun = Instant::now();
        let client = guarded(place, pattern).psk(place.psk.clone()).connect().await.map_err(told)?;
        times.push(show_span(begun.elapsed()));
        let proven = client.connection().peer().clone();
        ensure(proven == *wanted, format!("{}: the server proved {proven}, not {wanted}", pattern.name()))?;
        let seen = client.call("demo.whoami", "").await.map_err(told)?;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        ensure(seen == *shown, format!("{}: the server saw {seen}, not {shown}", pattern.name()))?;
        client.close().await;
    }
    Ok(format!("both ends proved it; connected in {} (XXpsk3, IKpsk2, NNpsk0)", times.join(", ")))
}

/// A client without the pre-shared key, or with another one of the same name, must get no connection.
pub(crate) async fn without_psk(place: &Place) -> Checked {
    let without = Client::builder(place.guarded.to_string()).identity(place.member.clone());
    judge_without_psk("without a psk", without.connect().await)?;
    let id = psk_id(&place.psk);
    for pattern in [Pattern::XXpsk3, Pattern::IKpsk2, Pattern::NNpsk0] {
        let other = random_psk().map_err(told)?;
        let tried = guarded(place, pattern).psk(other).psk_id(id.clone()).connect().await;
        judge_without_psk(&format!("{} with another psk", pattern.name()), tried)?;
    }
    Ok("an allowed key is not enough: none and a wrong psk of the right name got no connection".to_owned())
}

fn judge_without_psk(what: &str, tried: Result<Client, Error>) -> Result<(), String> {
    match tried {
        Err(Error::Connect(ConnectError::Handshake {
            error:
                ConnectionError::ClosedByPeer { code: CloseCode::Incompatible | CloseCode::Authentication, .. }
                | ConnectionError::Misbehaved(Misbehaved::PreSharedKey | Misbehaved::Truncated),
            ..
        })) => Ok(()),
        Ok(_) => Err(format!("{what}: the server let the client in")),
        Err(error) => Err(format!("{what}: not refused for that, but: {error}")),
    }
}

fn guarded(place: &Place, pattern: Pattern) -> ClientBuilder {
    if pattern == Pattern::NNpsk0 {
        return Client::builder(place.guarded.without_keys().to_string()).pattern(pattern);
    }
    Client::builder(place.guarded.to_string()).identity(place.member.clone()).pattern(pattern)
}

/// A key that was kept at first use must be the only one that is accepted at its address from then on.
pub(crate) async fn changed_key(place: &Place) -> Checked {
    let folder = TempDir::with_prefix("np-demo-known-").map_err(told)?;
    let known = KnownPeers::open(&folder.path().join("known_peers")).map_err(told)?;
    let first = Newcomer::start(&place.spare).await?;
    first.meet(&known).await.map_err(told)?;
    first.meet(&known).await.map_err(|error| format!("the key that was kept is refused: {error}"))?;
    let kept = std::fs::read_to_string(known.path()).map_err(told)?;
    ensure(kept.contains(&first.key.to_string()), "the key was not kept")?;
    let (address, expected) = (first.address.clone(), first.key);
    first.server.shutdown(FREE).await;
    drop(first);
    let other = timeout(FREE, Newcomer::start_again(&address)).await.map_err(|_| "the place was not free again")?;
    judge_changed(expected, other.key, other.meet(&known).await)?;
    let after = std::fs::read_to_string(known.path()).map_err(told)?;
    ensure(after == kept, "the file of known peers was changed by a key that was refused")?;
    other.server.shutdown(FREE).await;
    Ok("kept the first key, met it again, and refused another one at the same address".to_owned())
}

/// Whether the refusal is for the change, and names both keys.
fn judge_changed(expected: PublicKey, seen: PublicKey, met: Result<(), Error>) -> Result<(), String> {
    match met {
        Err(Error::Connect(ConnectError::Handshake {
            error: ConnectionError::Refused { code: CloseCode::NotAllowed, reason },
            ..
        })) => {
            let named = [expected, seen].iter().all(|key| reason.contains(&key.to_string()));
            ensure(named && expected != seen, format!("the refusal does not name both keys: {reason}"))
        }
        Ok(()) => Err("the client took a changed key".to_owned()),
        Err(error) => Err(format!("the client did not refuse the key, but: {error}")),
    }
}

/// A server that nobody knows beforehand.
struct Newcomer {
    server: Server,
    key: PublicKey,
    /// Without its key.
    address: String,
}

impl Newcomer {
    async fn start(at: &str) -> Result<Self, String> {
        let identity = Identity::generate().map_err(told)?;
        let key = identity.public_key();
        let server = Server::builder(identity, Policy::anyone()).listen(at).start().await.map_err(told)?;
        let address = server.addresses().first().ok_or("the server has no address")?.without_keys().to_string();
        Ok(Self { server, key, address })
    }

    /// As [`Newcomer::start`], with another key at a place that is about to become free.
    async fn start_again(at: &str) -> Self {
        loop {
            if let Ok(server) = Self::start(at).await {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn meet(&self, known: &KnownPeers) -> Result<(), Error> {
        let client = Client::builder(self.address.clone()).trust_first_use(known.clone()).connect().await?;
        client.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use np_facade::{Client, Identity, KnownPeers};

    use super::{Newcomer, changed_key, guarded, judge_changed, judge_without_psk, pre_shared_key, without_psk};
    use crate::demo::house::{House, Place};

    #[tokio::test]
    async fn a_psk_row_fails_where_the_server_asks_for_none() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            pre_shared_key(place).await.unwrap();
            without_psk(place).await.unwrap();
            let open = Place { guarded: place.address.clone(), ..place.clone() };
            assert!(pre_shared_key(&open).await.is_err());
            assert!(without_psk(&open).await.unwrap_err().contains("without a psk: the server let the client in"));
            let right = guarded(place, np_facade::Pattern::XXpsk3).psk(place.psk.clone()).connect().await;
            assert!(judge_without_psk("right", right).unwrap_err().contains("let the client in"));
            let stranger = Client::builder(place.address.to_string()).connect().await;
            assert!(judge_without_psk("stranger", stranger).unwrap_err().contains("not refused for that"));
        }
    }

    #[tokio::test]
    async fn the_row_of_a_changed_key_fails_where_the_key_did_not_change() {
        let house = House::start("unused".into()).await.unwrap();
        for place in house.places() {
            changed_key(place).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let known = KnownPeers::open(&folder.path().join("known_peers")).unwrap();
            let server = Newcomer::start(&place.spare).await.unwrap();
            let other = Identity::generate().unwrap().public_key();
            let met = server.meet(&known).await;
            assert!(judge_changed(other, server.key, met).unwrap_err().contains("took a changed key"));
        }
    }
}
