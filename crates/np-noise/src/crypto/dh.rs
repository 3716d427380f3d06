//! X25519 (RFC 7748). Owns the scalar multiplications; must never know which token asked for one.

use np_types::{PublicKey, SecretKey};
use subtle::ConstantTimeEq as _;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::NoiseError;

/// Computes the public half of a secret key: a scalar multiplication, so callers keep the result.
pub(crate) fn public(secret: &SecretKey) -> PublicKey {
    let secret = StaticSecret::from(*secret.expose());
    PublicKey::from_bytes(x25519_dalek::PublicKey::from(&secret).to_bytes())
}

/// Computes the shared secret, and refuses the all-zero one that low-order points lead to.
pub(crate) fn shared(secret: &SecretKey, public: &PublicKey) -> Result<Zeroizing<[u8; 32]>, NoiseError> {
    let secret = StaticSecret::from(*secret.expose());
    let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(*public.as_bytes()));
    if bool::from(shared.as_bytes().ct_eq(&[0; 32])) {
        return Err(NoiseError::ZeroShared);
    }
    Ok(Zeroizing::new(shared.to_bytes()))
}
