//! Any text as a key of each sort: at most one sort accepts it, and what is accepted prints as what was read. Any 32
//! bytes as a key: the text reads back. Owns these rules alone; it must never compute with a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use np_types::{Psk, PublicKey, SecretKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        any_text(text);
    }
    if let Some(key) = bytes.first_chunk::<32>() {
        any_key(*key);
    }
});

fn any_text(text: &str) {
    // Bech32 is read in small or in capital letters and always printed in small ones.
    let small = text.to_ascii_lowercase();
    let mut accepted = 0;
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(key.to_string(), small);
        accepted += 1;
    }
    if let Ok(key) = text.parse::<SecretKey>() {
        assert_eq!(*key.to_text(), small);
        accepted += 1;
    }
    if let Ok(key) = text.parse::<Psk>() {
        assert_eq!(*key.to_text(), small);
        accepted += 1;
    }
    assert!(accepted <= 1, "a text is a key of one sort");
}

fn any_key(bytes: [u8; 32]) {
    let secret = SecretKey::from_bytes(bytes);
    let text = secret.to_text();
    assert_eq!(text.parse::<SecretKey>().expect("a printed key reads back"), secret);
    text.parse::<PublicKey>().expect_err("a secret key is no public key");
    text.parse::<Psk>().expect_err("a secret key is no pre-shared key");
    assert_eq!(format!("{secret:?}"), "SecretKey(..)");
}
