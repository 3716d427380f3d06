//! The traffic keys as bytes, for whoever asks for them by a name with `danger`. Must never give any away unasked.

use std::fmt;

use zeroize::Zeroizing;

use super::Handshake;
use crate::NoiseError;

/// The keys of a finished handshake's records, for a key log alone: whoever has them reads the whole connection and can
/// forge it, for rekey derives each key from the one before. They are wiped when dropped and do not appear in `Debug`.
///
/// See [`Handshake::danger_traffic_keys`] for an example.
#[derive(Clone)]
pub struct TrafficKeys {
    /// What the initiator's records are sealed under, up to its first key update.
    pub initiator: Zeroizing<[u8; 32]>,
    /// What the responder's are.
    pub responder: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for TrafficKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficKeys").finish_non_exhaustive()
    }
}

impl Handshake {
    /// Gives the traffic keys away: for a key log, where the user of a program asked for one, and for nothing else.
    ///
    /// ```
    /// # use np_noise::{Crypto, Handshake, Keys, Pattern, ReceiveCipher, Role};
    /// # use np_types::SecretKey;
    /// # let new = |role, byte| Handshake::new(Pattern::DangerNN, role, b"", Keys::default(), SecretKey::from_bytes([byte; 32]));
    /// # let (mut a, mut b) = (new(Role::Initiator, 1)?, new(Role::Responder, 2)?);
    /// # let (mut first, mut second, mut payload) = (Vec::new(), Vec::new(), Vec::new());
    /// # a.write_message(b"", &mut first)?;
    /// # b.read_message(&first, &mut payload)?;
    /// # b.write_message(b"", &mut second)?;
    /// let keys = b.danger_traffic_keys()?;
    /// let mut record = b"text".to_vec();
    /// let tag = b.finish()?.send.seal_in_place(&mut record)?;
    /// record.extend_from_slice(&tag);
    /// // Somebody who was neither side reads along.
    /// let mut reader = ReceiveCipher::danger_with(Crypto::default(), *keys.responder);
    /// assert_eq!(reader.open_in_place(&mut record)?, b"text");
    /// # Ok::<(), np_noise::NoiseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NoiseError::OutOfTurn`] before the last message, [`NoiseError::Dead`] after a failure.
    pub fn danger_traffic_keys(&self) -> Result<TrafficKeys, NoiseError> {
        let state = self.state.as_ref().ok_or(NoiseError::Dead)?;
        if state.tokens().is_some() {
            return Err(NoiseError::OutOfTurn);
        }
        let [initiator, responder] = state.symmetric.traffic_keys();
        Ok(TrafficKeys { initiator, responder })
    }
}
