//! Any text as a key of each sort: at most one sort accepts it, and what is accepted prints as what was read. Any 32
//! bytes as a key: the text reads back. Owns these rules alone; it must never compute with a key.

use np_types::{Psk, PublicKey, SecretKey};

pub(super) fn target(data: &[u8]) -> bool {
    if let Some(key) = data.first_chunk::<32>() {
        any_key(*key);
    }
    std::str::from_utf8(data).is_ok_and(any_text)
}

fn any_text(text: &str) -> bool {
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
    accepted == 1
}

fn any_key(bytes: [u8; 32]) {
    let secret = SecretKey::from_bytes(bytes);
    let text = secret.to_text();
    assert_eq!(text.parse::<SecretKey>().expect("a printed key reads back"), secret);
    text.parse::<PublicKey>().expect_err("a secret key is no public key");
    text.parse::<Psk>().expect_err("a secret key is no pre-shared key");
    assert_eq!(format!("{secret:?}"), "SecretKey(..)");
}
