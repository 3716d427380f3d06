//! Known answers for the primitives, taken from their own standards, and providers held against each other.

use np_types::{PublicKey, SecretKey, Suite};
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::hash;
use crate::provider::shared;
use crate::{CipherKey, NoiseError, PROVIDERS, Provider, RustCrypto};

fn bytes(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn array(text: &str) -> [u8; 32] {
    bytes(text).try_into().expect("32 bytes")
}

/// RFC 7748 section 6.1.
#[test]
fn x25519_agrees_with_its_standard() {
    for provider in PROVIDERS {
        let key = |text| provider.agreement_key(&SecretKey::from_bytes(array(text)));
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let forth = shared(&*alice, &bob.public_key()).unwrap();
        let back = shared(&*bob, &alice.public_key()).unwrap();
        let both = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        assert_eq!((*forth, *back), (array(both), array(both)), "{provider:?}");
        let public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
        assert_eq!(*bob.public_key().as_bytes(), array(public), "{provider:?}");
    }
}

/// A provider that leaves a secret of zeros to its caller.
struct Careless;

impl crate::AgreementKey for Careless {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes([0; 32])
    }

    fn agree(&self, _: &PublicKey) -> Result<zeroize::Zeroizing<[u8; 32]>, NoiseError> {
        Ok([0; 32].into())
    }
}

#[test]
fn a_secret_of_zeros_is_refused_whatever_the_provider_says() {
    let zero = PublicKey::from_bytes([0; 32]);
    assert_eq!(shared(&Careless, &zero), Err(NoiseError::ZeroShared));
    for provider in PROVIDERS {
        let key = provider.agreement_key(&SecretKey::from_bytes([7; 32]));
        assert_eq!(shared(&*key, &zero), Err(NoiseError::ZeroShared), "{provider:?}");
    }
}

/// FIPS 180-4 for SHA-256. The derivation has its known answers in the Noise vectors; two keys are the first two of three.
#[test]
fn hashing_agrees_with_its_standard() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hash::hash(&[b"a", b"", b"bc"]), array(abc));
    let [first, second] = hash::derive(&[1; 32], b"input");
    let three: [hash::Secret; 3] = hash::derive(&[1; 32], b"input");
    assert_eq!([&first, &second], [&three[0], &three[1]]);
    assert_ne!(three[1], three[2]);
}

/// A key of each suite by each provider.
fn ciphers(key: &[u8; 32]) -> impl Iterator<Item = (String, Box<dyn CipherKey>)> {
    let each = PROVIDERS.iter().flat_map(|provider| Suite::ALL.map(|suite| (provider, suite)));
    each.map(|(provider, suite)| (format!("{} {suite}", provider.name()), provider.cipher_key(suite, key)))
}

fn sealed(key: &dyn CipherKey, nonce: &[u8; 12], ad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut record = text.to_vec();
    let tag = key.seal_in_place(nonce, ad, &mut record).unwrap();
    record.extend_from_slice(&tag);
    record
}

#[test]
fn the_nonce_and_the_associated_data_are_bound() {
    for (name, key) in ciphers(&[5; 32]) {
        let record = sealed(&*key, &[1; 12], b"ad", b"text");
        for (nonce, ad) in [([2; 12], &b"ad"[..]), ([1; 12], b"da"), ([1; 12], b"")] {
            let opened = key.open_in_place(&nonce, ad, &mut record.clone());
            assert_eq!(opened, Err(NoiseError::Decrypt), "{name}");
        }
        let mut opened = record;
        assert_eq!(key.open_in_place(&[1; 12], b"ad", &mut opened), Ok(()), "{name}");
        assert_eq!(opened[..4], *b"text", "{name}");
    }
}

#[test]
fn every_flipped_bit_is_refused_and_leaves_no_plaintext() {
    let text = b"some text that nobody may see";
    for (name, key) in ciphers(&[5; 32]) {
        let record = sealed(&*key, &[1; 12], b"", text);
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open_in_place(&[1; 12], b"", &mut changed), Err(NoiseError::Decrypt), "{name}, bit {bit}");
            assert!(!changed.windows(4).any(|part| text.windows(4).any(|plain| part == plain)), "{name}, bit {bit}");
        }
        for length in 0..16 {
            let mut short = record[..length].to_vec();
            assert_eq!(key.open_in_place(&[1; 12], b"", &mut short), Err(NoiseError::Decrypt), "{name}, {length}");
        }
    }
}

proptest! {
    /// What any two providers compute of the same input is the same.
    #[test]
    fn providers_agree(
        secret in any::<[u8; 32]>(),
        peer in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
        ad in proptest::collection::vec(any::<u8>(), 0..40),
        text in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let peer = PublicKey::from_bytes(peer);
        let reference = RustCrypto.agreement_key(&SecretKey::from_bytes(secret));
        for provider in PROVIDERS {
            let key = provider.agreement_key(&SecretKey::from_bytes(secret));
            prop_assert_eq!(key.public_key(), reference.public_key());
            prop_assert_eq!(shared(&*key, &peer), shared(&*reference, &peer));
            for suite in Suite::ALL {
                let theirs = RustCrypto.cipher_key(suite, &secret);
                // A key that was made of another is no worse than one that was made alone.
                let ours = provider.cipher_key(suite, &[9; 32]).renewed(&secret);
                let mut record = sealed(&*ours, &nonce, &ad, &text);
                prop_assert_eq!(&record, &sealed(&*theirs, &nonce, &ad, &text));
                prop_assert_eq!(theirs.open_in_place(&nonce, &ad, &mut record.clone()), Ok(()));
                prop_assert_eq!(ours.open_in_place(&nonce, &ad, &mut record), Ok(()));
                prop_assert_eq!(&record[..text.len()], &text[..]);
            }
        }
    }
}
