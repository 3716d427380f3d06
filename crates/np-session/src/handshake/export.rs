//! The keys of a connection for a key log, where its driver asked for them. Must never keep any unasked.

use std::fmt;

use np_noise::{Handshake as Noise, NoiseError, TrafficKeys};
use np_types::Misuse;

use super::rules::wrong_keys;
use super::{Agreed, Handshake};
use crate::session::Channel;

/// The traffic keys of a connection, and by what a capture shows which connection it is: for a key log alone.
///
/// See [`Handshake::danger_export_keys`].
#[derive(Debug, Clone)]
pub struct ConnectionKeys {
    /// The nonce of the preface: random, and in clear at the start of the connection.
    pub nonce: [u8; 16],
    /// What the first records of both directions are sealed under.
    pub keys: TrafficKeys,
}

/// Whether the keys are wanted, and once the handshake is done the keys.
pub(super) struct Export {
    pub(super) nonce: [u8; 16],
    wanted: bool,
    keys: Option<Box<ConnectionKeys>>,
}

impl Export {
    /// The export of a connection with this nonce, which keeps nothing.
    pub(super) const fn of(nonce: [u8; 16]) -> Self {
        Self { nonce, wanted: false, keys: None }
    }

    /// Keeps the keys of a finished handshake, if they are wanted.
    pub(super) fn take(&mut self, noise: &Noise) -> Result<(), NoiseError> {
        if self.wanted {
            self.keys = Some(Box::new(ConnectionKeys { nonce: self.nonce, keys: noise.danger_traffic_keys()? }));
        }
        Ok(())
    }
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Handshake {
    /// The keys; of a handshake whose last message this side has not written yet, an error.
    pub(super) fn finish(&mut self, agreed: Agreed) -> Result<Channel, Misuse> {
        match agreed {
            Agreed::Noise(noise) => {
                self.export.take(&noise).map_err(wrong_keys)?;
                Ok(noise.finish().map_err(wrong_keys)?.into())
            }
            Agreed::Outer(binding) => Ok(Channel::outer(binding)),
        }
    }

    /// Has the traffic keys kept for [`Handshake::danger_take_keys`] once they are agreed on: for a key log that the user of
    /// a program asked for. Whoever gets hold of them reads the whole connection.
    ///
    /// ```
    /// use np_session::{Handshake, ResponderConfig};
    /// let mut handshake = Handshake::responder(&ResponderConfig::new(Vec::new()));
    /// handshake.danger_export_keys();
    /// // Nothing is agreed on yet.
    /// assert!(handshake.danger_take_keys().is_none());
    /// ```
    pub const fn danger_export_keys(&mut self) {
        self.export.wanted = true;
    }

    /// The traffic keys, once, after [`HandshakeEvent::Done`](super::HandshakeEvent::Done); none unless they were asked for,
    /// and none in modes without handshakes by key, whose records are not sealed.
    pub fn danger_take_keys(&mut self) -> Option<ConnectionKeys> {
        self.export.keys.take().map(|keys| *keys)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use np_noise::{Crypto, Pattern};
    use np_types::{PeerIdentity, SecretKey, UnixMillis};

    use super::super::{Handshake, HandshakeEvent, InitiatorConfig, ResponderConfig, ResponderKeys};

    /// Runs a handshake to its end.
    fn run(ask: [bool; 2]) -> [Handshake; 2] {
        let start = InitiatorConfig {
            crypto: Crypto::default(),
            pattern: Pattern::DangerNN,
            local: None,
            server_key: None,
            psk: None,
            psk_id: &[],
            time: UnixMillis(7),
            nonce: [9; 16],
            ephemeral: SecretKey::from_bytes([1; 32]),
        };
        let mut sides = [
            Handshake::initiator(start).unwrap(),
            Handshake::responder(&ResponderConfig::new(vec![Pattern::DangerNN])),
        ];
        for (side, ask) in sides.iter_mut().zip(ask) {
            if ask {
                side.danger_export_keys();
            }
            assert!(side.danger_take_keys().is_none(), "there are none yet");
        }
        for at in [0, 1] {
            let (mut out, mut events) = (Vec::new(), Vec::new());
            while let Some(event) = sides[at].poll_event() {
                events.push(event);
            }
            assert!(!events.iter().any(|event| matches!(event, HandshakeEvent::Failed(_))), "{events:?}");
            sides[at].poll_transmit(&mut out);
            let other = &mut sides[1 - at];
            other.handle_bytes(&mut BytesMut::from(&out[..]));
            while let Some(event) = other.poll_event() {
                match event {
                    HandshakeEvent::Preface(_) => {
                        let ephemeral = SecretKey::from_bytes([2; 32]);
                        let keys = ResponderKeys { local: None, client_key: None, psk: None, ephemeral };
                        other.proceed(keys).unwrap();
                    }
                    HandshakeEvent::Peer(peer) => {
                        assert_eq!(peer, PeerIdentity::Anonymous);
                        other.admit().unwrap();
                    }
                    _ => {}
                }
            }
        }
        sides
    }

    #[test]
    fn keys_are_kept_only_where_they_were_asked_for_and_given_once() {
        for ask in [[false, false], [true, false], [false, true], [true, true]] {
            let given = run(ask).map(|mut side| {
                let keys = side.danger_take_keys();
                assert!(side.danger_take_keys().is_none());
                keys
            });
            assert_eq!(given.each_ref().map(Option::is_some), ask);
            for keys in given.iter().flatten() {
                assert_eq!(keys.nonce, [9; 16]);
                assert_ne!(*keys.keys.initiator, *keys.keys.responder);
            }
            if let [Some(ours), Some(theirs)] = &given {
                assert_eq!(*ours.keys.initiator, *theirs.keys.initiator);
            }
        }
    }
}
