//! The one place where randomness is drawn: the operating system's generator.

use np_types::{Psk, SecretKey, SignKey};
use zeroize::Zeroizing;

/// The operating system gave no randomness; nothing secret can be made.
///
/// ```
/// assert!(np_driver::random_secret_key().is_ok());
/// ```
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct EntropyError(#[from] getrandom::Error);

/// A fresh X25519 secret key.
///
/// # Errors
/// When the operating system gives no randomness.
///
/// ```
/// let (one, other) = (np_driver::random_secret_key()?, np_driver::random_secret_key()?);
/// assert_ne!(one, other);
/// # Ok::<(), np_driver::EntropyError>(())
/// ```
pub fn random_secret_key() -> Result<SecretKey, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(SecretKey::from_bytes(*bytes))
}

/// A fresh pre-shared key.
///
/// # Errors
/// When the operating system gives no randomness.
///
/// ```
/// assert!(np_driver::random_psk()?.to_text().starts_with("nppsk1"));
/// # Ok::<(), np_driver::EntropyError>(())
/// ```
pub fn random_psk() -> Result<Psk, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(Psk::from_bytes(*bytes))
}

/// A fresh signing key.
///
/// # Errors
/// When the operating system gives no randomness.
///
/// ```
/// assert!(np_driver::random_sign_key()?.to_text().starts_with("npsign1"));
/// # Ok::<(), np_driver::EntropyError>(())
/// ```
pub fn random_sign_key() -> Result<SignKey, EntropyError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(SignKey::from_bytes(*bytes))
}

/// A number drawn evenly from all of 64 bits: for what must not happen everywhere at once.
///
/// # Errors
/// When the operating system gives no randomness.
///
/// ```
/// let (one, other) = (np_driver::random_number()?, np_driver::random_number()?);
/// assert_ne!(one, other);
/// # Ok::<(), np_driver::EntropyError>(())
/// ```
pub fn random_number() -> Result<u64, EntropyError> {
    Ok(getrandom::u64()?)
}

/// Bytes of which no two draws are alike: for what names something for good.
///
/// # Errors
/// When the operating system gives no randomness.
///
/// ```
/// let (one, other): ([u8; 16], [u8; 16]) = (np_driver::random_bytes()?, np_driver::random_bytes()?);
/// assert_ne!(one, other);
/// # Ok::<(), np_driver::EntropyError>(())
/// ```
pub fn random_bytes<const N: usize>() -> Result<[u8; N], EntropyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The ids of a trace and of a span.
pub(crate) fn trace_ids() -> Result<([u8; 16], [u8; 8]), EntropyError> {
    let mut span = [0; 8];
    getrandom::fill(&mut span)?;
    Ok((nonce()?, span))
}

/// The nonce of a preface and the secret of one handshake, in one question to the system.
pub(crate) fn nonce_and_ephemeral() -> Result<([u8; 16], SecretKey), EntropyError> {
    let mut bytes = Zeroizing::new([0; 48]);
    getrandom::fill(bytes.as_mut_slice())?;
    let (mut nonce, mut secret) = ([0; 16], Zeroizing::new([0; 32]));
    let (first, rest) = bytes.split_at(16);
    nonce.copy_from_slice(first);
    secret.copy_from_slice(rest);
    Ok((nonce, SecretKey::from_bytes(*secret)))
}

pub(crate) fn nonce() -> Result<[u8; 16], EntropyError> {
    random_bytes()
}
