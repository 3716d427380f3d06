//! Whole Noise handshakes, both sides and no socket, per pattern and provider, beside snow with its own primitives: the same
//! keys, prologue and empty payloads.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use np_benches::crypto::{PROLOGUE, PSK, Sides, secret, word};
use np_noise::{Crypto, PROVIDERS, Pattern, Role};
use snow::{Builder, HandshakeState};

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("both sides of a handshake");
    let providers = PROVIDERS.iter().map(|provider| {
        let crypto = Crypto { provider: *provider, ..Crypto::default() };
        (word(*provider), Sides::new(crypto))
    });
    let all: Vec<_> = providers.collect();
    let (_, keys) = all.first().unwrap();
    for pattern in Pattern::ALL {
        for (name, sides) in &all {
            group.bench_function(format!("{}, np by {name}", pattern.name()), |b| {
                b.iter(|| black_box(sides.shake_hands(pattern).unwrap()));
            });
        }
        group.bench_function(format!("{}, snow", pattern.name()), |b| {
            b.iter(|| black_box(snow(pattern, keys)));
        });
    }
    group.finish();
}

/// snow draws its ephemeral keys itself, and takes static keys by their bytes.
fn snow(pattern: Pattern, keys: &Sides) -> [Vec<u8>; 2] {
    let [mut a, mut b] = [Role::Initiator, Role::Responder].map(|role| begin(pattern, role, keys));
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    while !a.is_handshake_finished() {
        let (from, to) = if a.is_my_turn() { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let written = from.write_message(b"", &mut message).unwrap();
        to.read_message(message.get(..written).unwrap(), &mut payload).unwrap();
    }
    [a, b].map(|side| {
        let hash = side.get_handshake_hash().to_vec();
        black_box(side.into_transport_mode().unwrap());
        hash
    })
}

fn begin(pattern: Pattern, role: Role, keys: &Sides) -> HandshakeState {
    let name = format!("Noise_{}_25519_ChaChaPoly_SHA256", pattern.name());
    let (own, other) = (secret(role), keys.keys(role.other()).public());
    let mut builder = Builder::new(name.parse().unwrap()).prologue(PROLOGUE).unwrap();
    if pattern.needs_local_static(role) {
        builder = builder.local_private_key(&own).unwrap();
    }
    if pattern.needs_remote_static(role) {
        builder = builder.remote_public_key(other.as_bytes()).unwrap();
    }
    if pattern.needs_psk() {
        let place = pattern.name().as_bytes().last().unwrap() - b'0';
        builder = builder.psk(place, &PSK).unwrap();
    }
    match role {
        Role::Initiator => builder.build_initiator().unwrap(),
        Role::Responder => builder.build_responder().unwrap(),
    }
}

criterion_group!(benches, handshakes);
criterion_main!(benches);
