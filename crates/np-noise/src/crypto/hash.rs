//! SHA-256 and the HKDF of Noise section 4.3. Owns hashing; must never know what is hashed.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

/// A derived key or chaining key, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// Hashes the parts as if they stood in one slice.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Sha256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

/// Derives two or three keys: RFC 5869 with the chaining key as salt and no info is exactly Noise's HKDF.
pub(crate) fn derive<const COUNT: usize>(chaining_key: &[u8; 32], input: &[u8]) -> [Secret; COUNT] {
    const { assert!(COUNT == 2 || COUNT == 3) };
    let mut output = Zeroizing::new([0u8; 96]);
    // Expanding fails above 255 blocks alone; this asks for three at most.
    let expanded = extract(chaining_key, input).1.expand(&[], output.get_mut(..32 * COUNT).unwrap_or_default());
    debug_assert!(expanded.is_ok());
    let mut blocks = output.as_chunks::<32>().0.iter();
    std::array::from_fn(|_| Zeroizing::new(blocks.next().copied().unwrap_or_default()))
}

/// The first half of HKDF: HMAC-SHA256 of `input` under `salt`, as bytes and as the key of the second half.
pub(super) fn extract(salt: &[u8], input: &[u8]) -> (Secret, Hkdf<Sha256>) {
    let (mut extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), input);
    let secret = Zeroizing::new(extracted.into());
    extracted.zeroize();
    (secret, hkdf)
}
