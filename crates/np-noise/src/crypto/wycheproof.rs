//! Project Wycheproof's cases against the functions that Noise is built on: every case counts, and the counts are exact.

use np_types::{PublicKey, SecretKey};
use wycheproof::{TestResult, aead, hkdf, mac, xdh};

use super::aead::Key;
use super::{dh, hash};
use crate::NoiseError;

/// All of Wycheproof's public keys, also those that are no canonical number, of low order or on the twist, have a
/// result; np computes it, and refuses the one that is zero.
#[test]
fn x25519_agrees_with_wycheproof() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
        let (secret, public) = (array(&test.private_key), array(&test.public_key));
        let shared = dh::shared(&SecretKey::from_bytes(secret), &PublicKey::from_bytes(public));
        if array(&test.shared_secret) == [0; 32] {
            assert_eq!(shared, Err(NoiseError::ZeroShared), "case {}", test.tc_id);
            refused += 1;
        } else {
            assert_eq!(shared.unwrap()[..], test.shared_secret[..], "case {}", test.tc_id);
            agreed += 1;
        }
    }
    println!("Wycheproof X25519: {agreed} agree and {refused} zero secrets are refused, of {}", set.number_of_tests);
    assert_eq!((agreed, refused, set.number_of_tests), (487, 31, 518));
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    let (mut opened, mut refused, mut no_nonce) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = Key::new(test.key[..].try_into().unwrap());
        let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
            // A nonce of another length cannot even be written down: the functions take 12 bytes.
            assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
            no_nonce += 1;
            continue;
        };
        let tag: [u8; 16] = test.tag[..].try_into().unwrap();
        let mut text = test.ct.to_vec();
        let result = key.open_under(&nonce, &test.aad, &mut text, &tag);
        if test.result == TestResult::Invalid {
            assert_eq!((result, &text[..]), (Err(NoiseError::Decrypt), &test.ct[..]), "case {}", test.tc_id);
            refused += 1;
            continue;
        }
        assert_eq!((result, &text[..]), (Ok(()), &test.pt[..]), "case {}", test.tc_id);
        assert_eq!(key.seal_under(&nonce, &test.aad, &mut text), Ok(tag), "case {}", test.tc_id);
        assert_eq!(text[..], test.ct[..], "case {}", test.tc_id);
        opened += 1;
    }
    println!(
        "Wycheproof ChaCha20-Poly1305: {opened} agree, {refused} are refused and {no_nonce} have nonces of other \
         lengths, of {}",
        set.number_of_tests
    );
    assert_eq!((opened, refused + no_nonce, set.number_of_tests), (256, 69, 325));
}

#[test]
fn hkdf_agrees_with_wycheproof() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut output = vec![0; test.size];
        let expanded = hash::extract(&test.salt, &test.ikm).1.expand(&test.info, &mut output);
        if test.result == TestResult::Invalid {
            assert!(expanded.is_err(), "case {}", test.tc_id);
            refused += 1;
        } else {
            assert_eq!((expanded.is_ok(), &output[..]), (true, &test.okm[..]), "case {}", test.tc_id);
            agreed += 1;
        }
    }
    println!("Wycheproof HKDF-SHA256: {agreed} agree and {refused} too long are refused, of {}", set.number_of_tests);
    assert_eq!((agreed, refused, set.number_of_tests), (83, 3, 86));
}

/// HMAC stands in np as the first half of HKDF. Half of the cases cut the tag to 16 bytes.
#[test]
fn hmac_agrees_with_wycheproof() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (tag, _) = hash::extract(&test.key, &test.msg);
        let valid = test.result != TestResult::Invalid;
        assert_eq!(tag[..test.tag.len()] == test.tag[..], valid, "case {}", test.tc_id);
        if valid { agreed += 1 } else { refused += 1 }
    }
    println!("Wycheproof HMAC-SHA256: {agreed} agree and {refused} are refused, of {}", set.number_of_tests);
    assert_eq!((agreed, refused, set.number_of_tests), (66, 108, 174));
}
