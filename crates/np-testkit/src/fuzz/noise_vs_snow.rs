//! The same handshake by np and by `snow`, from the same keys: equal bytes, equal hashes, equal traffic. A message that is
//! changed on the way is refused by both, or read as the same by both. Owns this comparison alone.

use std::cell::RefCell;
use std::collections::BTreeMap;

use np_noise::{Handshake, NoiseError, Pattern, Role, Suite, Traffic};
use np_types::SecretKey;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState, TransportState};

use super::input::Input;
use super::noise::{PROLOGUE, PSK, ephemeral, own, side, suite_and_pattern};
use super::quick::{Table, remembered};

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let (suite, pattern) = suite_and_pattern(&mut input);
    let mut ours = [Role::Initiator, Role::Responder].map(|role| side((suite, pattern), role, false));
    let mut theirs = [Role::Initiator, Role::Responder].map(|role| snow(suite, pattern, role));
    let mut buffer = vec![0; 2_048];
    for index in 0..pattern.messages() {
        let size = usize::from(input.u8());
        let payload = input.take(size);
        let (from, to) = (index % 2, 1 - index % 2);
        let mut message = Vec::new();
        ours[from].write_message(payload, &mut message).expect("it is this side's turn");
        let written = theirs[from].write_message(payload, &mut buffer).expect("it is this side's turn");
        assert_eq!(message, buffer[..written], "{pattern:?}, message {index}");
        let changes = usize::from(input.u8()) % 3;
        let message = input.edit(&message, changes);
        if !read_alike(&mut ours[to], &mut theirs[to], &message) {
            return false;
        }
        if message != buffer[..written] {
            // Both took a change in clear text: from here on the two sides of each pair differ.
            return false;
        }
    }
    let [a, b] = ours.map(|side| side.finish().expect("no message is left"));
    let [c, d] = theirs.map(|side| side.into_transport_mode().expect("no message is left"));
    traffic_alike(&mut input, (a, b), (c, d));
    true
}

/// Both read the message as the same or both refuse it. np alone refuses a shared secret of zero.
fn read_alike(ours: &mut Handshake, theirs: &mut HandshakeState, message: &[u8]) -> bool {
    let mut payload = Vec::new();
    let mut buffer = vec![0; 2_048];
    let read = theirs.read_message(message, &mut buffer);
    match (ours.read_message(message, &mut payload), read) {
        (Ok(()), Ok(size)) => {
            assert_eq!(payload, buffer[..size]);
            assert_eq!(ours.hash(), theirs.get_handshake_hash());
            true
        }
        (Err(NoiseError::ZeroShared), _) | (Err(_), Err(_)) => false,
        (ours, theirs) => panic!("np says {ours:?}, snow {theirs:?}"),
    }
}

fn traffic_alike(
    input: &mut Input<'_>,
    (mut a, mut b): (Traffic, Traffic),
    (mut c, mut d): (TransportState, TransportState),
) {
    let mut buffer = vec![0; 2_048];
    for turn in 0..4 {
        let size = usize::from(input.u8());
        let text = input.take(size);
        let mut record = text.to_vec();
        let tag = a.send.seal_in_place(&mut record).expect("a short record");
        record.extend_from_slice(&tag);
        let written = c.write_message(text, &mut buffer).expect("a short record");
        assert_eq!(record, buffer[..written]);
        assert_eq!(b.receive.open_in_place(&mut record).expect("the next record"), text);
        let mut opened = vec![0; written];
        let read = d.read_message(&buffer[..written], &mut opened).expect("the next record");
        assert_eq!(text, &opened[..read]);
        if turn % 2 == 0 {
            a.send.rekey();
            b.receive.rekey();
            c.rekey_outgoing();
            d.rekey_incoming();
        }
        std::mem::swap(&mut a, &mut b);
        std::mem::swap(&mut c, &mut d);
    }
}

fn snow(suite: Suite, pattern: Pattern, role: Role) -> HandshakeState {
    let name = format!("Noise_{}_{}", pattern.name(), suite.noise_name());
    let secret = match role {
        Role::Initiator => SecretKey::from_bytes([0x11; 32]),
        Role::Responder => SecretKey::from_bytes([0x22; 32]),
    };
    let (ephemeral, remote) = (ephemeral(role), own(role.other()).public());
    let params = name.parse().expect("a name");
    let mut builder = Builder::with_resolver(params, Box::new(Resolver)).prologue(PROLOGUE).expect("once");
    builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
    if pattern.needs_local_static(role) {
        builder = builder.local_private_key(secret.expose()).expect("once");
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

/// snow's own cryptography, of which X25519 is remembered as np's is, in tables of its own.
struct Resolver;

thread_local! {
    static PUBLIC: Table<[u8; 32], [u8; 32]> = const { RefCell::new(BTreeMap::new()) };
    static SHARED: Table<[[u8; 32]; 2], Option<[u8; 32]>> = const { RefCell::new(BTreeMap::new()) };
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, _choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Agreement::default()))
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

#[derive(Default)]
struct Agreement {
    secret: [u8; 32],
    public: [u8; 32],
}

impl Agreement {
    /// snow's implementation, with this secret key.
    fn real(&self) -> Box<dyn Dh> {
        let mut dh = DefaultResolver.resolve_dh(&DHChoice::Curve25519).expect("snow has X25519");
        dh.set(&self.secret);
        dh
    }
}

impl Dh for Agreement {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = remembered(&PUBLIC, self.secret, || self.real().pubkey().try_into().expect("32 bytes"));
    }

    fn generate(&mut self, _random: &mut dyn Random) -> Result<(), Error> {
        Err(Error::Rng)
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, peer: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let peer: [u8; 32] = peer[..32].try_into().expect("32 bytes");
        let shared = remembered(&SHARED, [self.secret, peer], || {
            let mut shared = [0; 32];
            self.real().dh(&peer, &mut shared).is_ok().then_some(shared)
        });
        out[..32].copy_from_slice(&shared.ok_or(Error::Dh)?);
        Ok(())
    }
}
