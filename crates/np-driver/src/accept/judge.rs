//! An acceptor's decisions on a client, in order of their cost: its names and times, then its key.

use np_noise::{Keypair, Pattern, ReplayError, Role};
use np_session::{Handshake, Preface, ResponderKeys, client_key};
use np_trust::Decision;
use np_types::{CloseCode, ConnectionError, Misbehaved, Misuse, PeerIdentity, Psk, PublicKey, SecretKey};
use tokio::sync::SemaphorePermit;

use super::{FULL, Settings, Shared};
use crate::clock::unix_now;
use crate::commands::lock;
use crate::entropy::{EntropyError, random_psk, random_secret_key};
use crate::establish::Judge;
use crate::half_open::Place;

struct Refused {
    code: CloseCode,
    text: String,
}

impl From<ReplayError> for Refused {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Skew { .. } | ReplayError::ClockSetBack { .. } => CloseCode::ClockSkew,
            ReplayError::Full => CloseCode::ReplayGuardFull,
            _ => CloseCode::Replay,
        };
        Self { code, text: error.to_string() }
    }
}

/// Decides on clients: limits and replay first, then the policy.
pub(super) struct ClientJudge<'a> {
    pub(super) shared: &'a Shared,
    /// What was in force when the handshake began.
    pub(super) settings: &'a Settings,
    pub(super) place: &'a Place,
    /// Whether an outer channel has found out who the peer is, and no keys are exchanged.
    pub(super) inside: bool,
    pub(super) preface: Option<Preface>,
    /// The pre-shared key that the client's id named.
    pub(super) psk: Option<Psk>,
    /// The leave to listen to a peer that was refused, which has given its place back.
    pub(super) lingers: Option<SemaphorePermit<'a>>,
}

impl ClientJudge<'_> {
    /// The identity that the hint names, where the pattern has one; else the first.
    fn identity(&self, preface: &Preface, pattern: Pattern) -> Result<Option<&Keypair>, Refused> {
        let mut identities = self.settings.config.identities.iter();
        if !pattern.needs_local_static(Role::Responder) {
            return Ok(None);
        }
        if !pattern.needs_remote_static(Role::Initiator) {
            return Ok(identities.next());
        }
        let named = identities.zip(&self.settings.hints).find(|(_, hint)| **hint == preface.hint);
        let (identity, _) = named.ok_or_else(|| Refused {
            code: CloseCode::UnknownIdentity,
            text: "this server does not hold the key that you named".to_owned(),
        })?;
        Ok(Some(identity))
    }

    /// The cheap checks on a first flight, before any Diffie-Hellman.
    fn check(&self, preface: &Preface, pattern: Pattern) -> Result<Option<&Keypair>, Refused> {
        let identity = self.identity(preface, pattern)?;
        lock(&self.shared.replay).check(unix_now(), preface.time, &preface.nonce)?;
        Ok(identity)
    }

    fn keys(&self, preface: &Preface, pattern: Pattern) -> Result<(Option<Psk>, SecretKey), EntropyError> {
        let by_id = pattern.needs_psk() && !preface.key_id.is_empty();
        // An id that is not there fails as a wrong key does, after the same work: nobody can ask which ids there are.
        let psk = match by_id {
            true => {
                let random = random_psk()?;
                Some(self.settings.config.psks.by_id(&preface.key_id).cloned().unwrap_or(random))
            }
            false => None,
        };
        Ok((psk, random_secret_key()?))
    }

    /// Whether a client named a key that others hold as well, in place of the one that is its own.
    fn lacks_own_psk(&self, peer: &PeerIdentity) -> bool {
        let own = peer.public_key().and_then(|key| self.settings.config.psks.by_key(key));
        matches!((own, &self.psk), (Some(own), Some(used)) if own != used)
    }

    /// The one test-and-set of a first flight's nonce, once its sender is known and welcome.
    ///
    /// A peer that proves nothing has no nonce kept, or strangers could fill the table; its copies cost work, and
    /// connect nobody.
    fn remember(&self, peer: &PeerIdentity) -> Result<(), Refused> {
        match &self.preface {
            Some(preface) if peer.is_authenticated() => {
                Ok(lock(&self.shared.replay).admit(unix_now(), preface.time, &preface.nonce)?)
            }
            _ => Ok(()),
        }
    }
}

impl Judge for ClientJudge<'_> {
    fn leave(&mut self) -> bool {
        self.place.leave();
        self.lingers = self.shared.refusals.try_acquire().ok();
        self.lingers.is_some()
    }

    fn first_flight(&mut self, handshake: &mut Handshake, preface: &Preface) -> Result<(), Misuse> {
        if self.inside {
            self.place.heard();
            return handshake.proceed_inside();
        }
        let pattern = Pattern::from_wire(preface.pattern).ok_or(Misuse::State("the pattern was not offered"))?;
        let local = match self.check(preface, pattern) {
            Ok(local) => local,
            Err(Refused { code, text }) => {
                handshake.refuse(code, &text, &text);
                return Ok(());
            }
        };
        // What costs the server nothing gives its sender no better place.
        self.place.heard();
        let Ok((psk, ephemeral)) = self.keys(preface, pattern) else {
            return no_randomness(handshake);
        };
        let client_key = client_key(preface);
        handshake.proceed(ResponderKeys { local, client_key, psk: psk.as_ref(), ephemeral })?;
        (self.preface, self.psk) = (Some(preface.clone()), psk);
        Ok(())
    }

    fn psk(&mut self, handshake: &mut Handshake, client: &PublicKey) -> Result<(), Misuse> {
        match (self.settings.config.psks.by_key(client), random_psk()) {
            (Some(psk), _) => handshake.provide_psk(psk),
            // As with ids: a client without a key learns no more than one with a wrong key.
            (None, Ok(random)) => handshake.provide_psk(&random),
            (None, Err(_)) => no_randomness(handshake),
        }
    }

    fn peer(&mut self, handshake: &mut Handshake, peer: &PeerIdentity) -> Result<(), Misuse> {
        if let Decision::Refuse { reason } = self.settings.config.policy.decide(peer) {
            handshake.refuse(CloseCode::NotAllowed, "this key is not allowed here", &reason);
            return Ok(());
        }
        if self.lacks_own_psk(peer) {
            let text = ConnectionError::from(Misbehaved::PreSharedKey).to_string();
            handshake.refuse(
                CloseCode::Authentication,
                &text,
                "the client has a pre-shared key of its own, and used another",
            );
            return Ok(());
        }
        if let Err(Refused { code, text }) = self.remember(peer) {
            handshake.refuse(code, &text, &text);
            return Ok(());
        }
        // A place is taken once the peer's first record has opened; a handshake that is sure to be in vain ends here.
        if self.shared.connections.is_full() {
            self.shared.audit_full(peer);
            handshake.refuse(CloseCode::ConnectionLimit, FULL, FULL);
            return Ok(());
        }
        handshake.admit()
    }
}

fn no_randomness(handshake: &mut Handshake) -> Result<(), Misuse> {
    handshake.refuse(CloseCode::Internal, "", "the operating system gave no randomness");
    Ok(())
}

#[cfg(test)]
mod tests {
    use np_noise::ReplayError;
    use np_session::{Handshake, ResponderConfig};
    use np_types::CloseCode;

    use super::{Refused, no_randomness};

    #[test]
    fn a_first_flight_that_is_no_good_is_refused_by_the_code_of_its_reason() {
        for (error, expected) in [
            (ReplayError::Skew { measured: 5_001 }, CloseCode::ClockSkew),
            (ReplayError::ClockSetBack { wait: 1 }, CloseCode::ClockSkew),
            (ReplayError::Seen, CloseCode::Replay),
            (ReplayError::Full, CloseCode::ReplayGuardFull),
        ] {
            let Refused { code, text } = error.into();
            assert_eq!((code, text), (expected, error.to_string()));
        }
    }

    #[test]
    fn without_randomness_a_client_is_refused() {
        let mut handshake = Handshake::responder(&ResponderConfig::new(Vec::new()));
        no_randomness(&mut handshake).unwrap();
        assert_eq!(handshake.error().map(|error| error.close_code()), Some(CloseCode::Internal));
        let mut out = Vec::new();
        assert!(handshake.poll_transmit(&mut out) && !out.is_empty(), "it is told");
    }
}
