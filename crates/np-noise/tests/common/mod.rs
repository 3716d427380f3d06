//! What several test files share: two sides with fixed keys, and a whole handshake between them.

use np_noise::{Crypto, Handshake, Keypair, Keys, PROVIDERS, Pattern, Role, Suite, Traffic};
use np_types::{Psk, SecretKey};

pub(crate) const PSK: [u8; 32] = [0x50; 32];
pub(crate) const PROLOGUE: &[u8] = b"prologue";

/// The static secret of a side.
pub(crate) fn secret(role: Role) -> [u8; 32] {
    match role {
        Role::Initiator => [0x11; 32],
        Role::Responder => [0x22; 32],
    }
}

pub(crate) fn keypair(role: Role) -> Keypair {
    Keypair::from_secret(SecretKey::from_bytes(secret(role)))
}

/// Every suite by every provider.
#[allow(dead_code, reason = "not every test file that shares this module is about them")]
pub(crate) fn cryptos() -> impl Iterator<Item = Crypto> {
    PROVIDERS.iter().flat_map(|provider| Suite::ALL.map(|suite| Crypto { suite, provider: *provider }))
}

/// One side with exactly the keys that its pattern takes.
#[allow(dead_code, reason = "not every test file that shares this module is content with the default")]
pub(crate) fn side(pattern: Pattern, role: Role) -> Handshake {
    side_with(Crypto::default(), pattern, role)
}

/// The same, of a suite and by a provider.
pub(crate) fn side_with(crypto: Crypto, pattern: Pattern, role: Role) -> Handshake {
    let own = Keypair::new(crypto.provider, &SecretKey::from_bytes(secret(role)));
    let other = keypair(role.other());
    let psk = Psk::from_bytes(PSK);
    let keys = Keys {
        local: pattern.needs_local_static(role).then_some(&own),
        remote: pattern.needs_remote_static(role).then(|| other.public()),
        psk: pattern.needs_psk().then_some(&psk),
    };
    let ephemeral = match role {
        Role::Initiator => [0x33; 32],
        Role::Responder => [0x44; 32],
    };
    Handshake::with(crypto, pattern, role, PROLOGUE, keys, SecretKey::from_bytes(ephemeral)).expect("the keys fit")
}

/// Both sides after the first `count` messages, each with a payload of its own.
#[allow(dead_code, reason = "not every test file that shares this module stops midway")]
pub(crate) fn after(pattern: Pattern, count: usize) -> [Handshake; 2] {
    let mut sides = [side(pattern, Role::Initiator), side(pattern, Role::Responder)];
    for index in 0..count {
        let [a, b] = &mut sides;
        let (from, to) = if index % 2 == 0 { (a, b) } else { (b, a) };
        let (mut message, mut payload) = (Vec::new(), Vec::new());
        from.write_message(&[index as u8; 3], &mut message).expect("writes");
        to.read_message(&message, &mut payload).expect("reads");
        assert_eq!(payload, [index as u8; 3]);
    }
    sides
}

/// Both ends of a finished handshake, the initiator's first.
#[allow(dead_code, reason = "not every test file that shares this module needs traffic")]
pub(crate) fn traffic(pattern: Pattern) -> [Traffic; 2] {
    after(pattern, pattern.messages()).map(|side| side.finish().expect("finished"))
}
