//! Abuse of the cipher states, a test per rule: lengths, order, counters, rekey, death.
#![cfg(test)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{cryptos, side_with, traffic};
use np_noise::{
    AgreementKey, CipherKey, Crypto, Handshake, MAX_MESSAGE, NoiseError, Pattern, Provider, ReceiveCipher, Role,
    RustCrypto, SendCipher, Suite, TAG_LENGTH,
};
use np_types::SecretKey;
use proptest::prelude::{any, prop_assert_eq, proptest};

const KEY: [u8; 32] = [7; 32];

#[test]
fn rekey_is_the_cipher_over_zeros_under_the_last_nonce() {
    // Rekey(k) is the first 32 bytes of ENCRYPT(k, 2^64-1, "", zeros); a cipher made from those bytes must agree.
    for crypto in cryptos() {
        let aead = |key: &[u8; 32], nonce, text: &[u8]| match crypto.suite {
            Suite::AesGcm => aes(key, nonce, text),
            _ => chacha(key, nonce, text),
        };
        let text = aead(&KEY, u64::MAX, &[0; 32]);
        let next: [u8; 32] = text[..32].try_into().unwrap();
        let (mut send, mut receive) = pair_of(crypto);
        send.rekey();
        receive.rekey();
        for counter in 0..3 {
            let record = sealed(&mut send, b"text");
            assert_eq!(record, aead(&next, counter, b"text"), "{crypto:?}");
            assert_eq!(opened(&mut receive, &record), Ok(b"text".to_vec()), "{crypto:?}");
        }
    }
}

#[test]
fn a_rest_changes_no_record_and_brings_nothing_dead_to_life() {
    for crypto in cryptos() {
        let ((mut send, mut receive), (mut restless, _)) = (pair_of(crypto), pair_of(crypto));
        for text in [b"one", b"two"] {
            send.rest();
            receive.rest();
            let record = sealed(&mut send, text);
            assert_eq!(record, sealed(&mut restless, text), "{crypto:?}");
            assert_eq!(opened(&mut receive, &record), Ok(text.to_vec()), "{crypto:?}");
        }
        assert_eq!(opened(&mut receive, &[0; 20]), Err(NoiseError::Decrypt));
        receive.rest();
        assert!(opened(&mut receive, &sealed(&mut send, b"three")).is_err(), "{crypto:?}");
    }
}

/// Counts the keys that are prepared; the other provider does the work.
#[derive(Debug)]
struct Counting;

static PREPARED: AtomicUsize = AtomicUsize::new(0);

impl Provider for Counting {
    fn name(&self) -> &'static str {
        "Counting"
    }

    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey> {
        RustCrypto.agreement_key(secret)
    }

    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey> {
        PREPARED.fetch_add(1, Ordering::Relaxed);
        Box::new(Counted(RustCrypto.cipher_key(suite, key)))
    }
}

struct Counted(Box<dyn CipherKey>);

impl CipherKey for Counted {
    fn seal_in_place(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_LENGTH], NoiseError> {
        self.0.seal_in_place(nonce, ad, text)
    }

    fn open_in_place(&self, nonce: &[u8; 12], ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError> {
        self.0.open_in_place(nonce, ad, record)
    }

    fn renewed(&self, key: &[u8; 32]) -> Box<dyn CipherKey> {
        Counting.cipher_key(Suite::default(), key)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        PREPARED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No other test uses the provider, so that the count is this one's.
#[test]
fn a_cipher_that_rests_keeps_no_prepared_key_until_its_next_record() {
    let prepared = || PREPARED.load(Ordering::Relaxed);
    let (mut send, mut receive) = pair_of(Crypto { provider: &Counting, ..Crypto::default() });
    for text in [b"one", b"two"] {
        assert_eq!(prepared(), 2);
        send.rest();
        assert_eq!(prepared(), 1);
        receive.rest();
        assert_eq!(prepared(), 0);
        let record = sealed(&mut send, text);
        assert_eq!(prepared(), 1);
        assert_eq!(opened(&mut receive, &record), Ok(text.to_vec()));
    }
}

/// What a connection keeps of its keys beside what the provider keeps: see the providers for that.
#[test]
fn a_cipher_is_small() {
    assert_eq!([size_of::<SendCipher>(), size_of::<ReceiveCipher>()], [56, 56]);
}

#[test]
fn another_suite_opens_nothing() {
    for [ours, theirs] in [Suite::ALL, [Suite::AesGcm, Suite::ChaChaPoly]] {
        let (mut send, _) = pair_of(Crypto { suite: ours, ..Crypto::default() });
        let (_, mut receive) = pair_of(Crypto { suite: theirs, ..Crypto::default() });
        assert_eq!(opened(&mut receive, &sealed(&mut send, b"text")), Err(NoiseError::Decrypt));
    }
}

/// What a key log holds: the keys that both sides agree on, in every pattern and suite, and those after a rekey.
#[test]
fn traffic_keys_open_each_direction_over_a_rekey_and_are_there_at_the_end_alone() {
    for crypto in cryptos() {
        for pattern in Pattern::ALL {
            let [a, b] = finished(crypto, pattern);
            let (keys, theirs) = (a.danger_traffic_keys().unwrap(), b.danger_traffic_keys().unwrap());
            assert_eq!((*keys.initiator, *keys.responder), (*theirs.initiator, *theirs.responder), "{pattern:?}");
            assert_eq!(format!("{keys:?}"), "TrafficKeys { .. }");
            for (mut send, key) in
                [(a.finish().unwrap().send, keys.initiator), (b.finish().unwrap().send, keys.responder)]
            {
                let mut reader = ReceiveCipher::danger_with(crypto, *key);
                for _ in 0..3 {
                    let record = sealed(&mut send, b"text");
                    assert_eq!(opened(&mut reader, &record), Ok(b"text".to_vec()), "{crypto:?} {pattern:?}");
                    send.rekey();
                    reader.rekey();
                }
            }
        }
    }
    let [a, _] = common::after(Pattern::XX, 2);
    assert_eq!(a.danger_traffic_keys().err(), Some(NoiseError::OutOfTurn));
}

#[test]
fn the_counter_goes_on_over_a_rekey() {
    let (mut send, mut receive) = pair();
    for round in 0..5u64 {
        let record = sealed(&mut send, b"text");
        assert_eq!(opened(&mut receive, &record), Ok(b"text".to_vec()));
        send.rekey();
        receive.rekey();
        assert_eq!((send.counter(), receive.counter()), (round + 1, round + 1));
    }
}

#[test]
fn the_old_key_opens_nothing_after_a_rekey() {
    let (mut send, mut receive) = pair();
    send.rekey();
    let record = sealed(&mut send, b"new");
    assert_eq!(opened(&mut receive, &record), Err(NoiseError::Decrypt));

    let (mut send, mut receive) = pair();
    let record = sealed(&mut send, b"old");
    receive.rekey();
    assert_eq!(opened(&mut receive, &record), Err(NoiseError::Decrypt));
}

#[test]
fn rekey_touches_one_direction() {
    let [mut a, mut b] = traffic(Pattern::XX);
    a.send.rekey();
    b.receive.rekey();
    let record = sealed(&mut b.send, b"back");
    assert_eq!(opened(&mut a.receive, &record), Ok(b"back".to_vec()));
    let record = sealed(&mut a.send, b"forth");
    assert_eq!(opened(&mut b.receive, &record), Ok(b"forth".to_vec()));
}

#[test]
fn the_directions_have_different_keys() {
    let [mut a, _] = traffic(Pattern::XX);
    let reflected = sealed(&mut a.send, b"text");
    assert_eq!(opened(&mut a.receive, &reflected), Err(NoiseError::Decrypt));
}

#[test]
fn replayed_dropped_and_reordered_records_are_refused() {
    for order in [[0, 0], [1, 0], [0, 2]] {
        let (mut send, mut receive) = pair();
        let records: Vec<_> = (0..3u8).map(|n| sealed(&mut send, &[n])).collect();
        let all: Result<Vec<_>, _> = order.iter().map(|n| opened(&mut receive, &records[*n])).collect();
        assert_eq!(all, Err(NoiseError::Decrypt), "{order:?}");
    }
}

#[test]
fn a_cipher_is_dead_after_its_first_failed_open() {
    let (mut send, _) = pair();
    let good = sealed(&mut send, b"text");
    let mut changed = good.clone();
    changed[0] ^= 1;
    let oversize = vec![0; MAX_MESSAGE + 1];
    for (bad, error) in [
        (&changed[..], NoiseError::Decrypt),
        (&good[..TAG_LENGTH - 1], NoiseError::BadLength),
        (&[][..], NoiseError::BadLength),
        (&oversize[..], NoiseError::BadLength),
    ] {
        let mut receive = ReceiveCipher::danger_from_key(KEY);
        assert_eq!(opened(&mut receive, bad), Err(error));
        assert_eq!(receive.counter(), 0);
        assert_eq!(opened(&mut receive, &good), Err(NoiseError::Dead));
        receive.rekey();
        assert_eq!(opened(&mut receive, &good), Err(NoiseError::Dead));
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_refused_by_every_provider() {
    for crypto in cryptos() {
        let (mut send, _) = pair_of(crypto);
        let record = sealed(&mut send, b"some text");
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (_, mut receive) = pair_of(crypto);
            assert_eq!(receive.open_in_place(&mut changed), Err(NoiseError::Decrypt), "{crypto:?}, bit {bit}");
            assert!(!changed.windows(4).any(|part| b"some text".windows(4).any(|plain| part == plain)), "{crypto:?}");
        }
    }
}

#[test]
fn the_counter_moves_only_on_success() {
    let mut send = SendCipher::danger_from_key(KEY);
    let mut long = vec![3; MAX_MESSAGE - TAG_LENGTH + 1];
    assert_eq!(send.seal_in_place(&mut long), Err(NoiseError::BadLength));
    assert!(long.iter().all(|byte| *byte == 3), "a refused text is left as it was");
    assert_eq!(send.counter(), 0);
    // The refusal was the caller's mistake: the direction lives on, with the record that is due.
    let record = sealed(&mut send, b"text");
    assert_eq!(opened(&mut ReceiveCipher::danger_from_key(KEY), &record), Ok(b"text".to_vec()));
}

#[test]
fn the_longest_and_the_empty_record_pass() {
    for crypto in cryptos() {
        let (mut send, mut receive) = pair_of(crypto);
        let longest = vec![9; MAX_MESSAGE - TAG_LENGTH];
        let record = sealed(&mut send, &longest);
        assert_eq!(record.len(), MAX_MESSAGE);
        assert_eq!(opened(&mut receive, &record), Ok(longest));
        let record = sealed(&mut send, b"");
        assert_eq!(opened(&mut receive, &record), Ok(Vec::new()));
    }
}

#[test]
fn the_last_nonce_is_never_used() {
    let mut send = SendCipher::danger_from_key(KEY).danger_with_counter(u64::MAX - 1);
    let mut receive = ReceiveCipher::danger_from_key(KEY).danger_with_counter(u64::MAX - 1);
    let record = sealed(&mut send, b"last");
    assert_eq!(opened(&mut receive, &record), Ok(b"last".to_vec()));
    assert_eq!(send.seal_in_place(&mut [0; 4]), Err(NoiseError::Exhausted));
    send.rekey();
    assert_eq!(send.seal_in_place(&mut [0; 4]), Err(NoiseError::Exhausted), "rekey keeps the counter");
    // A peer who goes on all the same is cut off, even with a record that is right under the reserved nonce.
    let forged = chacha(&KEY, u64::MAX, b"text");
    assert_eq!(opened(&mut receive, &forged), Err(NoiseError::Exhausted));
    assert_eq!(opened(&mut receive, &forged), Err(NoiseError::Dead));
}

#[test]
fn debug_shows_counter_and_life_alone() {
    let (send, mut receive) = pair();
    assert_eq!(format!("{send:?}"), "SendCipher { counter: 0, dead: false, .. }");
    let _ = opened(&mut receive, &[]);
    assert_eq!(format!("{receive:?}"), "ReceiveCipher { counter: 0, dead: true, .. }");
}

proptest! {
    #[test]
    fn what_is_sealed_opens(texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..20), rekeys in any::<u32>()) {
        let (mut send, mut receive) = pair();
        for (index, text) in texts.iter().enumerate() {
            let record = sealed(&mut send, text);
            prop_assert_eq!(opened(&mut receive, &record), Ok(text.clone()));
            if rekeys >> index & 1 == 1 {
                send.rekey();
                receive.rekey();
            }
        }
    }

    #[test]
    fn made_up_records_are_refused(record in proptest::collection::vec(any::<u8>(), 0..100)) {
        let short = record.len() < TAG_LENGTH;
        let error = if short { NoiseError::BadLength } else { NoiseError::Decrypt };
        prop_assert_eq!(opened(&mut ReceiveCipher::danger_from_key(KEY), &record), Err(error));
    }
}

fn pair() -> (SendCipher, ReceiveCipher) {
    (SendCipher::danger_from_key(KEY), ReceiveCipher::danger_from_key(KEY))
}

fn pair_of(crypto: Crypto) -> (SendCipher, ReceiveCipher) {
    (SendCipher::danger_with(crypto, KEY), ReceiveCipher::danger_with(crypto, KEY))
}

fn sealed(cipher: &mut SendCipher, text: &[u8]) -> Vec<u8> {
    let mut record = text.to_vec();
    let tag = cipher.seal_in_place(&mut record).expect("seals");
    record.extend_from_slice(&tag);
    record
}

fn opened(cipher: &mut ReceiveCipher, record: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut record = record.to_vec();
    cipher.open_in_place(&mut record).map(|text| text.to_vec())
}

/// What the AEAD itself makes of a text under a nonce, beside the code under test.
fn chacha(key: &[u8; 32], nonce: u64, text: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
    let mut full = [0; 12];
    full[4..].copy_from_slice(&nonce.to_le_bytes());
    let mut out = text.to_vec();
    let cipher = ChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(&full.into(), &[], out.as_mut_slice().into()).expect("seals");
    out.extend_from_slice(&tag);
    out
}

fn aes(key: &[u8; 32], nonce: u64, text: &[u8]) -> Vec<u8> {
    use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
    let mut full = [0; 12];
    full[4..].copy_from_slice(&nonce.to_be_bytes());
    let mut out = text.to_vec();
    let tag = Aes256Gcm::new(key.into()).encrypt_inout_detached(&full.into(), &[], out.as_mut_slice().into());
    out.extend_from_slice(&tag.expect("seals"));
    out
}

/// Both sides after the last message.
fn finished(crypto: Crypto, pattern: Pattern) -> [Handshake; 2] {
    let [mut a, mut b] = [Role::Initiator, Role::Responder].map(|role| side_with(crypto, pattern, role));
    while !a.is_finished() {
        let (from, to) = if a.is_my_turn() { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let (mut message, mut payload) = (Vec::new(), Vec::new());
        from.write_message(b"", &mut message).unwrap();
        to.read_message(&message, &mut payload).unwrap();
    }
    [a, b]
}
