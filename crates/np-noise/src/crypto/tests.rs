//! Known answers for the primitives, taken from their own standards.

use np_types::SecretKey;

use super::aead::Key;
use super::{dh, hash};
use crate::NoiseError;

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
    let secret = |text| SecretKey::from_bytes(array(text));
    let alice = secret("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = secret("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let forth = dh::shared(&alice, &dh::public(&bob)).unwrap();
    let back = dh::shared(&bob, &dh::public(&alice)).unwrap();
    let both = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
    assert_eq!((*forth, *back), (array(both), array(both)));
    let public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    assert_eq!(*dh::public(&bob).as_bytes(), array(public));
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

#[test]
fn the_nonce_and_the_associated_data_are_bound() {
    let key = Key::new(&[5; 32]);
    let mut text = *b"text";
    let tag = key.seal(1 << 40, b"ad", &mut text).unwrap();
    for (nonce, ad) in [(1 << 40 | 1, &b"ad"[..]), (1 << 8, b"ad"), (1 << 40, b"da")] {
        let opened = key.open(nonce, ad, &mut text.clone(), &tag);
        assert_eq!(opened, Err(NoiseError::Decrypt));
    }
    assert_eq!(key.open(1 << 40, b"ad", &mut text, &tag), Ok(()));
    assert_eq!(text, *b"text");
}
