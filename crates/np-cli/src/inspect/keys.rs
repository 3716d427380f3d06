//! The lines of a key log, by the nonce of their connection. Must never show one.

use std::collections::HashMap;

use np_facade::raw::noise::{Crypto, ReceiveCipher};
use np_facade::{SecretKey, Suite, provider};

use super::dissect::Side;

/// The first word of a line that counts; others are skipped, so that one file may hold keys of several kinds.
const LABEL: &str = "NP_TRAFFIC_KEYS";
/// How many lines are tried on a direction that does not say which connection it is of.
const MAX_TRIES: usize = 4_096;

/// The keys of connections.
#[derive(Default)]
pub(super) struct Keys {
    by_nonce: HashMap<[u8; 16], [SecretKey; 2]>,
}

impl Keys {
    /// Reads lines; the error names the line that is none.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut keys = Self::default();
        for (at, line) in text.lines().enumerate() {
            let mut fields = line.split_ascii_whitespace();
            if fields.next() != Some(LABEL) {
                continue;
            }
            let mut field = || fields.next().unwrap_or_default();
            let (nonce, client, server) = (unhex(field()), unhex(field()), unhex(field()));
            let (Some(nonce), Some(client), Some(server), None) = (nonce, client, server, fields.next()) else {
                return Err(format!("line {}: behind {LABEL} belong 32, 64 and 64 hexadecimal digits", at + 1));
            };
            keys.by_nonce.insert(nonce, [client, server].map(SecretKey::from_bytes));
        }
        Ok(keys)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_nonce.is_empty()
    }

    /// What opens the records of a side. Where nothing says which connection it is, the key that opens its first record.
    pub(super) fn cipher(
        &self,
        side: Side,
        nonce: Option<&[u8; 16]>,
        suite: Option<Suite>,
        first: &[u8],
    ) -> Option<ReceiveCipher> {
        let make = |keys: &[SecretKey; 2], suite| {
            let [client, server] = keys;
            let key = if side == Side::Client { client } else { server };
            ReceiveCipher::danger_with(Crypto { suite, provider: provider() }, *key.expose())
        };
        if let Some(nonce) = nonce {
            return Some(make(self.by_nonce.get(nonce)?, suite?));
        }
        let suites = suite.map_or_else(|| Suite::ALL.to_vec(), |suite| vec![suite]);
        self.by_nonce.values().take(MAX_TRIES).find_map(|keys| {
            let fits = |suite: &&Suite| make(keys, **suite).open_in_place(&mut first.to_vec()).is_ok();
            suites.iter().find(fits).map(|suite| make(keys, *suite))
        })
    }
}

/// The bytes of so many hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn lines_of_a_key_log_are_read_and_others_skipped() {
        let line = format!("NP_TRAFFIC_KEYS {} {} {}", "0a".repeat(16), "0b".repeat(32), "0C".repeat(32));
        let keys = Keys::read(&format!("# mine\n\nCLIENT_RANDOM 00 11\n{line}\n")).unwrap();
        let [client, server] = &keys.by_nonce[&[10; 16]];
        assert_eq!((client.expose(), server.expose()), (&[11; 32], &[12; 32]));
        assert!(Keys::read("").unwrap().is_empty());
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_shown() {
        let good = format!("NP_TRAFFIC_KEYS {} {} {}", "0a".repeat(16), "0b".repeat(32), "0c".repeat(32));
        for bad in [
            &good[..good.len() - 1],
            "NP_TRAFFIC_KEYS",
            &format!("{good} 00"),
            &good.replace("0b", "+b"),
            &good.replace("0b", "é"),
        ] {
            let error = Keys::read(&format!("\n{bad}\n")).err().unwrap();
            assert!(error.starts_with("line 2: ") && !error.contains("0c0c"), "{error}");
        }
    }
}
