//! A responder that chooses its pre-shared key by the initiator's static key.
#![cfg(test)]

mod common;

use common::{PROLOGUE, keypair};
use np_noise::{Handshake, Keys, NoiseError, Pattern, Role};
use np_types::{Psk, SecretKey};

const BOTH: [Pattern; 2] = [Pattern::XXpsk3, Pattern::IKpsk2];

/// Both sides up to the point at which the responder wants its key.
fn until_wanted(pattern: Pattern, psk: &Psk) -> [Handshake; 2] {
    let local = keypair(Role::Initiator);
    let remote = pattern.needs_remote_static_up_front().then(|| keypair(Role::Responder).public());
    let keys = Keys { local: Some(&local), remote, psk: Some(psk) };
    let mut a = Handshake::new(pattern, Role::Initiator, PROLOGUE, keys, SecretKey::from_bytes([1; 32])).unwrap();
    let local = keypair(Role::Responder);
    let keys = Keys { local: Some(&local), ..Keys::default() };
    let mut b = Handshake::new(pattern, Role::Responder, PROLOGUE, keys, SecretKey::from_bytes([2; 32])).unwrap();
    while !b.wants_psk() {
        let mut message = Vec::new();
        if a.is_my_turn() {
            a.write_message(b"", &mut message).unwrap();
            b.read_message(&message, &mut Vec::new()).unwrap();
        } else {
            b.write_message(b"", &mut message).unwrap();
            a.read_message(&message, &mut Vec::new()).unwrap();
        }
    }
    [a, b]
}

#[test]
fn a_responder_that_learns_who_the_other_is_may_have_its_key_late_and_nobody_else() {
    for pattern in Pattern::ALL {
        for role in [Role::Initiator, Role::Responder] {
            let late = role == Role::Responder && BOTH.contains(&pattern);
            assert_eq!(pattern.takes_psk_late(role), late, "{pattern:?}, {role:?}");
        }
    }
}

#[test]
fn a_key_before_its_time_is_refused() {
    let local = keypair(Role::Responder);
    for pattern in BOTH {
        let keys = Keys { local: Some(&local), ..Keys::default() };
        let ephemeral = SecretKey::from_bytes([2; 32]);
        let mut early = Handshake::new(pattern, Role::Responder, PROLOGUE, keys, ephemeral).unwrap();
        assert_eq!(early.provide_psk(&Psk::from_bytes([9; 32]), &mut Vec::new()), Err(NoiseError::UnusedKey));
        assert_eq!(early.read_message(&[], &mut Vec::new()), Err(NoiseError::Dead));
    }
}

#[test]
fn the_key_can_be_chosen_when_the_initiator_is_known() {
    for pattern in BOTH {
        let psk = Psk::from_bytes([9; 32]);
        let [mut a, mut b] = until_wanted(pattern, &psk);
        assert_eq!(b.remote_static(), Some(keypair(Role::Initiator).public()));
        assert!(!b.is_finished());
        b.provide_psk(&psk, &mut Vec::new()).unwrap();
        assert!(!b.wants_psk());
        if b.is_my_turn() {
            let mut message = Vec::new();
            b.write_message(b"", &mut message).unwrap();
            a.read_message(&message, &mut Vec::new()).unwrap();
        }
        assert_eq!(a.finish().unwrap().hash, b.finish().unwrap().hash);
    }
}

#[test]
fn another_key_fails_on_either_side() {
    let [_, mut b] = until_wanted(Pattern::XXpsk3, &Psk::from_bytes([9; 32]));
    assert_eq!(b.provide_psk(&Psk::from_bytes([8; 32]), &mut Vec::new()), Err(NoiseError::Decrypt));
    assert_eq!(b.write_message(b"", &mut Vec::new()), Err(NoiseError::Dead));
    let [mut a, mut b] = until_wanted(Pattern::IKpsk2, &Psk::from_bytes([9; 32]));
    b.provide_psk(&Psk::from_bytes([8; 32]), &mut Vec::new()).unwrap();
    let mut message = Vec::new();
    b.write_message(b"", &mut message).unwrap();
    assert_eq!(a.read_message(&message, &mut Vec::new()), Err(NoiseError::Decrypt));
}

#[test]
fn nothing_goes_on_without_the_key() {
    for pattern in BOTH {
        let [_, mut b] = until_wanted(pattern, &Psk::from_bytes([9; 32]));
        let went_on = if pattern == Pattern::IKpsk2 {
            b.write_message(b"", &mut Vec::new())
        } else {
            b.read_message(&[0; 64], &mut Vec::new())
        };
        assert_eq!(went_on, Err(NoiseError::MissingKey));
        let [_, b] = until_wanted(pattern, &Psk::from_bytes([9; 32]));
        assert!(matches!(b.finish(), Err(NoiseError::OutOfTurn)));
    }
}

#[test]
fn nobody_else_may_leave_the_key_out() {
    for pattern in Pattern::ALL.into_iter().filter(|pattern| pattern.needs_psk()) {
        let late = pattern.takes_psk_late(Role::Responder);
        assert_eq!(late, BOTH.contains(&pattern));
        assert!(!pattern.takes_psk_late(Role::Initiator));
        for role in [Role::Initiator, Role::Responder] {
            let local = keypair(role);
            let local = pattern.needs_local_static(role).then_some(&local);
            let remote = pattern.needs_remote_static(role).then(|| keypair(role.other()).public());
            let keys = Keys { local, remote, psk: None };
            let started = Handshake::new(pattern, role, PROLOGUE, keys, SecretKey::from_bytes([1; 32]));
            assert_eq!(started.is_ok(), late && role == Role::Responder, "{pattern:?} {role:?}");
        }
    }
}
