//! A live peer of another make: every pattern and suite with `snow`, by every provider and in both roles, with rekeys in
//! the middle of the traffic.
#![cfg(test)]

mod common;

use common::{PROLOGUE, PSK, cryptos, keypair, secret, side_with};
use np_noise::{Crypto, Pattern, Role, Suite, Traffic};
use snow::{Builder, HandshakeState, TransportState};

const MESSAGES: usize = 1_000;

#[test]
fn snow_responds_to_every_pattern() {
    for (crypto, pattern) in cryptos().flat_map(|crypto| Pattern::ALL.map(|pattern| (crypto, pattern))) {
        converse(crypto, pattern, Role::Initiator);
    }
}

#[test]
fn snow_initiates_every_pattern() {
    for (crypto, pattern) in cryptos().flat_map(|crypto| Pattern::ALL.map(|pattern| (crypto, pattern))) {
        converse(crypto, pattern, Role::Responder);
    }
}

fn converse(crypto: Crypto, pattern: Pattern, ours: Role) {
    let name = &format!("{} {} {}", crypto.provider.name(), crypto.suite, pattern.name());
    let mut peer = snow_side(crypto.suite, pattern, ours.other());
    let mut own = side_with(crypto, pattern, ours);
    for index in 0..pattern.messages() {
        let text = format!("{name} handshake payload {index}");
        let mut buffer = vec![0; 1_024];
        if own.is_my_turn() {
            let mut message = Vec::new();
            own.write_message(text.as_bytes(), &mut message).expect(name);
            let read = peer.read_message(&message, &mut buffer).expect(name);
            assert_eq!(&buffer[..read], text.as_bytes());
        } else {
            let written = peer.write_message(text.as_bytes(), &mut buffer).expect(name);
            let mut payload = Vec::new();
            own.read_message(&buffer[..written], &mut payload).expect(name);
            assert_eq!(payload, text.as_bytes());
        }
        assert_eq!(own.hash(), peer.get_handshake_hash(), "{name} after message {index}");
    }
    let own = own.finish().expect(name);
    let known = pattern.needs_local_static(ours.other());
    assert_eq!(own.remote_static, known.then(|| keypair(ours.other()).public()), "{name}");
    exchange(own, peer.into_transport_mode().expect(name));
}

/// Each way a thousand messages of many lengths; each direction rekeys on its own beat.
fn exchange(mut own: Traffic, mut peer: TransportState) {
    let mut buffer = vec![0; 65_535];
    for index in 0..MESSAGES {
        let text = vec![index as u8; index * 37 % 700];

        let mut record = text.clone();
        let tag = own.send.seal_in_place(&mut record).expect("seals");
        record.extend_from_slice(&tag);
        let read = peer.read_message(&record, &mut buffer).expect("snow opens");
        assert_eq!(&buffer[..read], text);

        let written = peer.write_message(&text, &mut buffer).expect("snow seals");
        let opened = own.receive.open_in_place(&mut buffer[..written]).expect("opens");
        assert_eq!(opened, text);

        if index % 100 == 42 {
            own.send.rekey();
            peer.rekey_incoming();
        }
        if index % 70 == 13 {
            peer.rekey_outgoing();
            own.receive.rekey();
        }
    }
    assert_eq!(own.send.counter(), MESSAGES as u64);
    assert_eq!(own.receive.counter(), MESSAGES as u64);
}

fn snow_side(suite: Suite, pattern: Pattern, role: Role) -> HandshakeState {
    let name = format!("Noise_{}_{}", pattern.name(), suite.noise_name());
    let (own, remote) = (secret(role), keypair(role.other()).public());
    let mut builder = Builder::new(name.parse().expect("a name")).prologue(PROLOGUE).expect("once");
    if pattern.needs_local_static(role) {
        builder = builder.local_private_key(&own).expect("once");
    }
    if pattern.needs_remote_static(role) {
        builder = builder.remote_public_key(remote.as_bytes()).expect("once");
    }
    if pattern.needs_psk() {
        let place = pattern.name().as_bytes().last().expect("a digit") - b'0';
        builder = builder.psk(place, &PSK).expect("once");
    }
    match role {
        Role::Initiator => builder.build_initiator(),
        Role::Responder => builder.build_responder(),
    }
    .expect("snow knows the pattern")
}
