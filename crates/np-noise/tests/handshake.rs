//! Abuse of a handshake, a test per rule: turns, lengths, changed bytes, wrong keys, low-order points, death.
#![cfg(test)]

mod common;

use common::{PROLOGUE, after, keypair, side, traffic};
use np_noise::{Crypto, Handshake, Keypair, Keys, MAX_MESSAGE, NoiseError, Pattern, Role, Suite};
use np_types::{Psk, PublicKey, SecretKey};
use proptest::prelude::{any, prop_assert, proptest};

/// Points whose order divides eight, and their non-canonical and high-bit forms: RFC 7748 turns each into zero.
const LOW_ORDER: [&str; 9] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];

#[test]
fn both_sides_agree_in_every_pattern() {
    for pattern in Pattern::ALL {
        let [mut a, mut b] = traffic(pattern);
        assert_eq!(a.hash, b.hash);
        let known = |role| pattern.needs_local_static(role).then(|| keypair(role).public());
        assert_eq!(a.remote_static, known(Role::Responder), "{pattern:?}");
        assert_eq!(b.remote_static, known(Role::Initiator), "{pattern:?}");
        for (send, receive) in [(&mut a.send, &mut b.receive), (&mut b.send, &mut a.receive)] {
            let mut record = b"text".to_vec();
            let tag = send.seal_in_place(&mut record).unwrap();
            record.extend_from_slice(&tag);
            assert_eq!(receive.open_in_place(&mut record).unwrap(), b"text");
        }
    }
}

#[test]
fn the_overhead_is_what_messages_have_beyond_their_payload() {
    for pattern in Pattern::ALL {
        for index in 0..pattern.messages() {
            let mut message = b"before".to_vec();
            writer(after(pattern, index)).write_message(&[1; 10], &mut message).unwrap();
            assert!(message.starts_with(b"before"));
            let overhead = pattern.message_overhead(index).unwrap();
            assert_eq!(message.len(), 6 + 10 + overhead, "{pattern:?} message {index}");
        }
        assert_eq!(pattern.message_overhead(pattern.messages()), None);
        assert_eq!(pattern.message_overhead(usize::MAX), None);
    }
}

#[test]
fn wire_numbers_and_names_are_these() {
    let rows = [(1, "XX"), (2, "IK"), (3, "NK"), (4, "KK"), (5, "XXpsk3"), (6, "IKpsk2"), (7, "NNpsk0"), (8, "NN")];
    for number in 0..=u8::MAX {
        let row = rows.iter().find(|row| row.0 == number);
        let pattern = Pattern::from_wire(number);
        assert_eq!(pattern.map(Pattern::name), row.map(|row| row.1));
        assert!(pattern.is_none_or(|pattern| pattern.to_wire() == number));
    }
}

#[test]
fn what_a_pattern_proves_and_needs() {
    let row = |pattern: Pattern| {
        (
            pattern.authenticates_initiator(),
            pattern.authenticates_responder(),
            pattern.needs_remote_static_up_front(),
            pattern.needs_remote_static(Role::Responder),
            pattern.needs_psk(),
        )
    };
    assert_eq!(row(Pattern::XX), (true, true, false, false, false));
    assert_eq!(row(Pattern::IK), (true, true, true, false, false));
    assert_eq!(row(Pattern::NK), (false, true, true, false, false));
    assert_eq!(row(Pattern::KK), (true, true, true, true, false));
    assert_eq!(row(Pattern::XXpsk3), (true, true, false, false, true));
    assert_eq!(row(Pattern::IKpsk2), (true, true, true, false, true));
    assert_eq!(row(Pattern::NNpsk0), (false, false, false, false, true));
    assert_eq!(row(Pattern::DangerNN), (false, false, false, false, false));
}

#[test]
fn missing_and_surplus_keys_are_refused() {
    let (own, psk) = (keypair(Role::Initiator), Psk::from_bytes([1; 32]));
    let other = keypair(Role::Responder).public();
    for pattern in Pattern::ALL {
        for role in [Role::Initiator, Role::Responder] {
            for given in 0..8 {
                let given = [given & 1 > 0, given & 2 > 0, given & 4 > 0];
                let psk_needed = pattern.needs_psk() && (given[2] || !pattern.takes_psk_late(role));
                let needed = [pattern.needs_local_static(role), pattern.needs_remote_static(role), psk_needed];
                let keys = Keys {
                    local: given[0].then_some(&own),
                    remote: given[1].then_some(other),
                    psk: given[2].then_some(&psk),
                };
                let made = Handshake::new(pattern, role, b"", keys, SecretKey::from_bytes([9; 32]));
                let first = given.iter().zip(needed).find(|(given, needed)| *given != needed);
                let expected = first.map(|(_, needed)| match needed {
                    true => NoiseError::MissingKey,
                    false => NoiseError::UnusedKey,
                });
                assert_eq!(made.err(), expected, "{pattern:?} {role:?} {given:?}");
            }
        }
    }
}

#[test]
fn turns_are_kept() {
    for pattern in Pattern::ALL {
        for index in 0..=pattern.messages() {
            let finished = index == pattern.messages();
            let error = if finished { NoiseError::Finished } else { NoiseError::OutOfTurn };
            for (at, mut side) in after(pattern, index).into_iter().enumerate() {
                assert_eq!(side.is_finished(), finished);
                assert_eq!(side.is_my_turn(), !finished && at == index % 2);
                let mut out = b"kept".to_vec();
                if finished || side.is_my_turn() {
                    assert_eq!(side.read_message(&[9; 200], &mut out), Err(error));
                } else {
                    assert_eq!(side.write_message(b"", &mut out), Err(error));
                }
                assert_eq!(out, b"kept");
                assert_dead(side);
            }
        }
    }
}

#[test]
fn no_traffic_before_the_last_message() {
    for pattern in Pattern::ALL {
        for index in 0..pattern.messages() {
            for side in after(pattern, index) {
                assert_eq!(side.finish().err(), Some(NoiseError::OutOfTurn));
            }
        }
    }
}

#[test]
fn nothing_is_written_after_the_end() {
    let [mut a, _] = after(Pattern::XX, 3);
    assert_eq!(a.write_message(b"", &mut Vec::new()), Err(NoiseError::Finished));
    assert_dead(a);
}

#[test]
fn every_truncation_is_refused() {
    for_each_message(|pattern, index, message, _| {
        for length in 0..message.len() {
            let overhead = pattern.message_overhead(index).unwrap();
            // In clear the payload's end cannot be told, so a cut there shows up in the next message at the latest.
            if length >= overhead && is_clear(pattern, index) {
                continue;
            }
            let error = refused(pattern, index, &message[..length]);
            let short = length < overhead;
            let expected = if short { NoiseError::BadLength } else { NoiseError::Decrypt };
            assert_eq!(error, expected, "{pattern:?} message {index} cut to {length}");
        }
    });
}

#[test]
fn messages_end_at_65535_bytes() {
    for pattern in Pattern::ALL {
        for index in 0..pattern.messages() {
            let room = MAX_MESSAGE - pattern.message_overhead(index).unwrap();
            let mut message = Vec::new();
            let [a, b] = after(pattern, index);
            let (mut from, mut to) = if index % 2 == 0 { (a, b) } else { (b, a) };
            from.write_message(&vec![7; room], &mut message).unwrap();
            assert_eq!(message.len(), MAX_MESSAGE);
            let mut payload = Vec::new();
            to.read_message(&message, &mut payload).unwrap();
            assert_eq!(payload, vec![7; room]);

            message.push(0);
            assert_eq!(refused(pattern, index, &message), NoiseError::BadLength);
            let mut side = writer(after(pattern, index));
            let mut out = b"kept".to_vec();
            let error = side.write_message(&vec![7; room + 1], &mut out);
            assert_eq!(error, Err(NoiseError::BadLength));
            assert_eq!(out, b"kept");
            assert_dead(side);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for_each_message(|pattern, index, message, _| {
        for bit in 0..message.len() * 8 {
            let mut changed = message.to_vec();
            changed[bit / 8] ^= 1 << (bit % 8);
            if is_clear(pattern, index) {
                refused_later(pattern, index, &changed);
            } else if is_top_bit_of_ephemeral(pattern, index, bit) {
                // X25519 ignores this bit, but the transcript does not.
                assert_eq!(refused(pattern, index, &changed), NoiseError::Decrypt);
            } else {
                let error = refused(pattern, index, &changed);
                let known = matches!(error, NoiseError::Decrypt | NoiseError::ZeroShared);
                assert!(known, "{pattern:?} message {index} bit {bit}: {error}");
            }
        }
    });
}

#[test]
fn another_prologue_is_refused() {
    for pattern in Pattern::ALL {
        let error = strange(pattern, b"another prologue", Psk::from_bytes(common::PSK));
        assert_eq!(error, NoiseError::Decrypt, "{pattern:?}");
    }
}

#[test]
fn another_pre_shared_key_is_refused() {
    for pattern in Pattern::ALL.into_iter().filter(|p| p.needs_psk()) {
        let error = strange(pattern, PROLOGUE, Psk::from_bytes([0; 32]));
        assert_eq!(error, NoiseError::Decrypt, "{pattern:?}");
    }
}

#[test]
fn low_order_ephemeral_keys_of_initiators_are_refused() {
    for (point, pattern) in low_order_in_every_pattern() {
        let mut responder = side(pattern, Role::Responder);
        let mut message = point.as_bytes().to_vec();
        message.resize(pattern.message_overhead(0).unwrap(), 0);
        let read = responder.read_message(&message, &mut Vec::new());
        match pattern {
            // It shows in `ee`, with which the responder answers.
            Pattern::XX | Pattern::DangerNN => {
                assert_eq!(read, Ok(()));
                let written = responder.write_message(b"", &mut Vec::new());
                assert_eq!(written, Err(NoiseError::ZeroShared), "{pattern:?}");
            }
            // Here a tag comes first, which this message does not have right.
            Pattern::XXpsk3 | Pattern::NNpsk0 => assert_eq!(read, Err(NoiseError::Decrypt)),
            _ => assert_eq!(read, Err(NoiseError::ZeroShared), "{pattern:?}"),
        }
        assert_dead(responder);
    }
}

#[test]
fn low_order_ephemeral_keys_of_responders_are_refused() {
    for (point, pattern) in low_order_in_every_pattern() {
        let mut initiator = side(pattern, Role::Initiator);
        initiator.write_message(b"", &mut Vec::new()).unwrap();
        let mut message = point.as_bytes().to_vec();
        message.resize(pattern.message_overhead(1).unwrap(), 0);
        let read = initiator.read_message(&message, &mut Vec::new());
        assert_eq!(read, Err(NoiseError::ZeroShared), "{pattern:?}");
        assert_dead(initiator);
    }
}

#[test]
fn low_order_static_keys_are_refused() {
    let own = keypair(Role::Initiator);
    for point in LOW_ORDER.map(point) {
        let keys = Keys { local: Some(&own), remote: Some(point), psk: None };
        let ephemeral = SecretKey::from_bytes([9; 32]);
        let mut side = Handshake::new(Pattern::IK, Role::Initiator, b"", keys, ephemeral).unwrap();
        let mut out = b"kept".to_vec();
        assert_eq!(side.write_message(b"", &mut out), Err(NoiseError::ZeroShared));
        assert_eq!(out, b"kept");
        assert_dead(side);
    }
}

#[test]
fn the_static_key_is_known_with_the_message_that_proves_it() {
    let known = |pattern, index| after(pattern, index).map(|side| side.remote_static().is_some());
    assert_eq!(known(Pattern::XX, 1), [false, false]);
    assert_eq!(known(Pattern::XX, 2), [true, false]);
    assert_eq!(known(Pattern::XX, 3), [true, true]);
    assert_eq!(known(Pattern::IK, 0), [true, false]);
    assert_eq!(known(Pattern::IK, 1), [true, true]);
    assert_eq!(known(Pattern::NK, 2), [true, false]);
    assert_eq!(known(Pattern::DangerNN, 2), [false, false]);
}

#[test]
fn a_claimed_key_is_not_known_when_its_proof_fails() {
    // A thief who has only the public half of a static key sends it, sealed rightly, with a wrong last tag.
    for (pattern, index) in [(Pattern::XX, 1), (Pattern::XX, 2), (Pattern::IK, 0)] {
        let [a, b] = after(pattern, index);
        let (mut from, mut to) = if index % 2 == 0 { (a, b) } else { (b, a) };
        let mut message = Vec::new();
        from.write_message(b"", &mut message).unwrap();
        *message.last_mut().unwrap() ^= 1;
        assert_eq!(to.read_message(&message, &mut Vec::new()), Err(NoiseError::Decrypt));
        assert_eq!(to.remote_static(), None);
        assert_dead(to);
    }
}

#[test]
fn a_stranger_cannot_answer_for_the_responder() {
    let stranger = Keypair::from_secret(SecretKey::from_bytes([0x77; 32]));
    for pattern in [Pattern::IK, Pattern::NK, Pattern::KK] {
        let mut message = Vec::new();
        side(pattern, Role::Initiator).write_message(b"", &mut message).unwrap();
        let keys = Keys {
            local: Some(&stranger),
            remote: pattern.needs_remote_static(Role::Responder).then(|| keypair(Role::Initiator).public()),
            psk: None,
        };
        let ephemeral = SecretKey::from_bytes([9; 32]);
        let mut side = Handshake::new(pattern, Role::Responder, PROLOGUE, keys, ephemeral).unwrap();
        assert_eq!(side.read_message(&message, &mut Vec::new()), Err(NoiseError::Decrypt));
    }
}

#[test]
fn debug_shows_no_secret() {
    let [side, _] = after(Pattern::XX, 2);
    let [traffic, _] = traffic(Pattern::XX);
    let text = format!("{side:?} {:?} {:?}", keypair(Role::Initiator), traffic.send);
    // The secrets of this test are bytes of 0x11 = 17, 0x33 = 51.
    for secret in ["17, 17", "51, 51", "1111", "3333", "npsec"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.starts_with("Handshake { pattern: XX, role: Initiator, next: 2, .. } "), "{text}");
}

#[test]
fn a_handshake_tells_its_suite_until_it_fails() {
    for suite in Suite::ALL {
        let crypto = Crypto { suite, ..Crypto::default() };
        let key = SecretKey::from_bytes([3; 32]);
        let mut side = Handshake::with(crypto, Pattern::DangerNN, Role::Initiator, b"", Keys::default(), key).unwrap();
        assert_eq!(side.suite(), Some(suite));
        assert_eq!(side.read_message(&[0; 32], &mut Vec::new()), Err(NoiseError::OutOfTurn));
        assert_eq!(side.suite(), None);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..300), number in 1u8..=8, index in 0usize..3) {
        let pattern = Pattern::from_wire(number).unwrap();
        let index = index.min(pattern.messages() - 1);
        let mut side = reader(after(pattern, index));
        let read = side.read_message(&message, &mut Vec::new());
        // Only a first message without any encryption can be made up.
        prop_assert!(read.is_err() || is_clear(pattern, index));
    }
}

/// The side that writes next.
fn writer(sides: [Handshake; 2]) -> Handshake {
    sides.into_iter().find(Handshake::is_my_turn).expect("a writer")
}

/// The side that reads next.
fn reader(sides: [Handshake; 2]) -> Handshake {
    sides.into_iter().find(|side| !side.is_my_turn()).expect("a reader")
}

/// Calls `check` with every message of every pattern: pattern, index, bytes, payload.
fn for_each_message(check: impl Fn(Pattern, usize, &[u8], &[u8])) {
    for pattern in Pattern::ALL {
        for index in 0..pattern.messages() {
            let mut message = Vec::new();
            writer(after(pattern, index)).write_message(b"abc", &mut message).unwrap();
            check(pattern, index, &message, b"abc");
        }
    }
}

fn low_order_in_every_pattern() -> impl Iterator<Item = (PublicKey, Pattern)> {
    let points = LOW_ORDER.into_iter().map(point);
    points.flat_map(|point| Pattern::ALL.map(|pattern| (point, pattern)))
}

/// Whether nothing of the message is encrypted: the first of XX and NN.
fn is_clear(pattern: Pattern, index: usize) -> bool {
    pattern.message_overhead(index) == Some(32)
}

fn is_top_bit_of_ephemeral(pattern: Pattern, index: usize, bit: usize) -> bool {
    let has_ephemeral = index < 2 || !matches!(pattern, Pattern::XX | Pattern::XXpsk3);
    has_ephemeral && bit == 255
}

/// The error with which the reader of message `index` refuses `message`; checks that nothing else works afterwards.
fn refused(pattern: Pattern, index: usize, message: &[u8]) -> NoiseError {
    let mut side = reader(after(pattern, index));
    let mut payload = b"kept".to_vec();
    let error = side.read_message(message, &mut payload).expect_err("refused");
    assert_eq!(payload, b"kept");
    assert_dead(side);
    error
}

/// A changed message in clear is taken, and the answer to it, or the answer's making, fails.
fn refused_later(pattern: Pattern, index: usize, message: &[u8]) {
    let [mut initiator, mut responder] = after(pattern, index);
    initiator.write_message(b"abc", &mut Vec::new()).unwrap();
    responder.read_message(message, &mut Vec::new()).unwrap();
    let mut answer = Vec::new();
    if responder.write_message(b"", &mut answer).is_ok() {
        let read = initiator.read_message(&answer, &mut Vec::new());
        assert_eq!(read, Err(NoiseError::Decrypt));
    }
}

/// The error that ends a handshake in which the responder has another prologue or pre-shared key.
fn strange(pattern: Pattern, prologue: &[u8], psk: Psk) -> NoiseError {
    let (own, other) = (keypair(Role::Responder), keypair(Role::Initiator));
    let keys = Keys {
        local: pattern.needs_local_static(Role::Responder).then_some(&own),
        remote: pattern.needs_remote_static(Role::Responder).then(|| other.public()),
        psk: pattern.needs_psk().then_some(&psk),
    };
    let ephemeral = SecretKey::from_bytes([0x44; 32]);
    let mut a = side(pattern, Role::Initiator);
    let mut b = Handshake::new(pattern, Role::Responder, prologue, keys, ephemeral).unwrap();
    for _ in 0..pattern.messages() {
        let (from, to) = if a.is_my_turn() { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let mut message = Vec::new();
        from.write_message(b"", &mut message).unwrap();
        if let Err(error) = to.read_message(&message, &mut Vec::new()) {
            return error;
        }
    }
    panic!("{pattern:?} went through");
}

fn assert_dead(mut side: Handshake) {
    let mut out = Vec::new();
    assert_eq!(side.write_message(b"", &mut out), Err(NoiseError::Dead));
    assert_eq!(side.read_message(&[9; 96], &mut out), Err(NoiseError::Dead));
    assert!(out.is_empty());
    assert!(!side.is_my_turn() && !side.is_finished());
    assert_eq!((side.hash(), side.remote_static()), ([0; 32], None));
    assert_eq!(side.finish().err(), Some(NoiseError::Dead));
}

fn point(hex: &str) -> PublicKey {
    let byte = |at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    PublicKey::from_bytes(std::array::from_fn(byte))
}
