//! What can go wrong in a handshake or a cipher state. Owns names alone: who is told what is decided above.

/// Why a handshake step, a seal or an open was refused.
///
/// The variants hold no data: what a peer sent, and every secret, stays out of them.
///
/// ```
/// use np_noise::{NoiseError, SendCipher};
/// let mut cipher = SendCipher::danger_from_key([7; 32]);
/// assert_eq!(cipher.seal_in_place(&mut [0; 65_520]), Err(NoiseError::BadLength));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// It is the other side's turn, or the handshake was asked for its traffic keys before its last message.
    #[error("it is not this side's turn in the handshake")]
    OutOfTurn,
    /// The tag does not match: another key, another record than the next one, or changed bytes.
    #[error("the message is not authentic")]
    Decrypt,
    /// The message is shorter than its fields and tags, or longer than 65,535 bytes.
    #[error("a Noise message of this length is not allowed")]
    BadLength,
    /// A Diffie-Hellman result is all zero: the peer's public key has low order.
    #[error("the peer's public key has low order")]
    ZeroShared,
    /// The pattern and role need a key that was not given.
    #[error("the pattern needs a key that was not given")]
    MissingKey,
    /// A key was given that the pattern and role would ignore, which would look like a check that is not made.
    #[error("a key was given that the pattern does not use")]
    UnusedKey,
    /// The handshake has no message left.
    #[error("the handshake is finished")]
    Finished,
    /// The 2^64-1 nonces of the cipher state are used up.
    #[error("the nonces of this cipher are used up")]
    Exhausted,
    /// An earlier step failed; nothing works afterwards.
    #[error("an earlier failure ended this handshake or cipher")]
    Dead,
}
