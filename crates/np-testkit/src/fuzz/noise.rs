//! Two sides of a Noise handshake with keys that never change, for the targets about Noise.

use std::sync::OnceLock;

use np_noise::{Handshake, Keypair, Keys, NoiseError, Pattern, Role, Suite};
use np_types::{Psk, SecretKey};

use super::input::Input;
use super::quick::{Quick, crypto};

pub(super) const PROLOGUE: &[u8] = b"fuzzing";
pub(super) const PSK: [u8; 32] = [0x50; 32];

/// The pattern that a byte chooses.
pub(super) fn pattern(input: &mut Input<'_>) -> Pattern {
    Pattern::ALL[usize::from(input.u8()) % Pattern::ALL.len()]
}

/// The suite and the pattern that a byte chooses.
pub(super) fn suite_and_pattern(input: &mut Input<'_>) -> (Suite, Pattern) {
    let byte = usize::from(input.u8());
    let (suites, patterns) = (Suite::ALL.len(), Pattern::ALL.len());
    (Suite::ALL[byte / patterns % suites], Pattern::ALL[byte % patterns])
}

/// The key pair of a role.
pub(super) fn own(role: Role) -> Keypair {
    static PAIRS: OnceLock<[Keypair; 2]> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| [0x11, 0x22].map(|byte| Keypair::new(&Quick, &SecretKey::from_bytes([byte; 32]))));
    pairs[usize::from(role == Role::Responder)].clone()
}

pub(super) const fn ephemeral(role: Role) -> [u8; 32] {
    match role {
        Role::Initiator => [0x33; 32],
        Role::Responder => [0x44; 32],
    }
}

/// One side with the keys that its pattern takes; with `late`, a responder that waits for its psk where it may.
pub(super) fn side((suite, pattern): (Suite, Pattern), role: Role, late: bool) -> Handshake {
    let psk = Psk::from_bytes(PSK);
    let local = own(role);
    let waits = late && pattern.takes_psk_late(role);
    let keys = Keys {
        local: pattern.needs_local_static(role).then_some(&local),
        remote: pattern.needs_remote_static(role).then(|| own(role.other()).public()),
        psk: (pattern.needs_psk() && !waits).then_some(&psk),
    };
    let ephemeral = SecretKey::from_bytes(ephemeral(role));
    Handshake::with(crypto(suite), pattern, role, PROLOGUE, keys, ephemeral).expect("the keys fit")
}

/// Reads a message, and gives the psk where it is asked for.
pub(super) fn read(side: &mut Handshake, message: &[u8], payload: &mut Vec<u8>) -> Result<(), NoiseError> {
    side.read_message(message, payload)?;
    if side.wants_psk() { side.provide_psk(&Psk::from_bytes(PSK), payload) } else { Ok(()) }
}
