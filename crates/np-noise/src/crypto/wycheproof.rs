//! Project Wycheproof's cases against the functions that Noise is built on, by every provider: every case counts, and the
//! counts are exact.

use np_types::{PublicKey, SecretKey, Suite};
use wycheproof::{TestResult, aead, hkdf, mac, xdh};

use super::hash;
use crate::provider::shared;
use crate::{NoiseError, PROVIDERS, Provider};

/// All of Wycheproof's public keys, also those that are no canonical number, of low order or on the twist, have a
/// result; np computes it, and refuses the one that is zero.
#[test]
fn x25519_agrees_with_wycheproof() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    for provider in PROVIDERS {
        let (mut agreed, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
            let key = provider.agreement_key(&SecretKey::from_bytes(array(&test.private_key)));
            let shared = shared(&*key, &PublicKey::from_bytes(array(&test.public_key)));
            if array(&test.shared_secret) == [0; 32] {
                assert_eq!(shared, Err(NoiseError::ZeroShared), "case {}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(shared.unwrap()[..], test.shared_secret[..], "case {}", test.tc_id);
                agreed += 1;
            }
        }
        let (name, all) = (provider.name(), set.number_of_tests);
        println!("Wycheproof X25519 by {name}: {agreed} agree and {refused} zero secrets are refused, of {all}");
        assert_eq!((agreed, refused, all), (487, 31, 518));
    }
}

/// How many cases agree, are refused, and have keys or nonces of lengths that Noise has not.
fn run(provider: &dyn Provider, suite: Suite, set: &aead::TestSet) -> (u32, u32, u32) {
    let (mut opened, mut refused, mut lengths) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Ok(key), Ok(nonce)) = (<[u8; 32]>::try_from(&test.key[..]), <[u8; 12]>::try_from(&test.nonce[..])) else {
            // They cannot even be written down: the functions take 32 and 12 bytes.
            lengths += 1;
            continue;
        };
        let key = provider.cipher_key(suite, &key);
        let sealed = [&test.ct[..], &test.tag[..]].concat();
        let mut record = sealed.clone();
        let result = key.open_in_place(&nonce, &test.aad, &mut record);
        if test.result == TestResult::Invalid {
            assert_eq!(result, Err(NoiseError::Decrypt), "case {}", test.tc_id);
            refused += 1;
            continue;
        }
        assert_eq!((result, &record[..test.pt.len()]), (Ok(()), &test.pt[..]), "case {}", test.tc_id);
        let mut text = test.pt.to_vec();
        let tag = key.seal_in_place(&nonce, &test.aad, &mut text).unwrap();
        assert_eq!([&text[..], &tag].concat(), sealed, "case {}", test.tc_id);
        opened += 1;
    }
    let (name, all) = (provider.name(), set.number_of_tests);
    println!(
        "Wycheproof {suite} by {name}: {opened} agree, {refused} are refused and {lengths} have keys or nonces of other \
         lengths, of {all}"
    );
    (opened, refused, lengths)
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).unwrap();
    for provider in PROVIDERS {
        let (opened, refused, lengths) = run(*provider, Suite::ChaChaPoly, &set);
        assert_eq!((opened, refused + lengths, set.number_of_tests), (256, 69, 325));
    }
}

/// The cases of AES-256 with a nonce of 12 bytes are those that Noise has.
#[test]
fn aes_gcm_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    for provider in PROVIDERS {
        let (opened, refused, lengths) = run(*provider, Suite::AesGcm, &set);
        assert_eq!((opened, refused, lengths, set.number_of_tests), (39, 27, 250, 316));
    }
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
