//! What is left of keys in memory when a handshake and its traffic are over: nothing. The process looks through its own
//! memory, and another process tells it what to look for.
#![cfg(test)]
#![cfg(target_os = "linux")]

mod common;
#[path = "common/memory.rs"]
mod memory;

use std::hint::black_box;
use std::process::Command;

use common::{PROLOGUE, cryptos};
use memory::{Needle, Search, needles};
use np_noise::{Crypto, Handshake, Keypair, Keys, Pattern, Role, Suite, Traffic};
use np_types::{Psk, SecretKey};
use snow::Builder;

const PATTERN: Pattern = Pattern::XXpsk3;
const SUITE: &str = "NP_RESIDUE_SUITE";
/// The secrets of a handshake, by the number that they are made from.
const OWN: [(&str, u8); 5] = [
    ("initiator's key", 1),
    ("responder's key", 2),
    ("initiator's ephemeral", 3),
    ("responder's ephemeral", 4),
    ("psk", 5),
];

/// A secret that stands nowhere before it is made.
fn secret(number: u8) -> [u8; 32] {
    inverted(number).map(|byte| !byte)
}

fn inverted(number: u8) -> [u8; 32] {
    std::array::from_fn(|at| {
        (at as u8).wrapping_mul(101).wrapping_add(number.wrapping_mul(57)) ^ number.rotate_left(at as u32)
    })
}

fn side(crypto: Crypto, role: Role) -> Handshake {
    let (own, other, ephemeral) = match role {
        Role::Initiator => (1, 2, 3),
        Role::Responder => (2, 1, 4),
    };
    let key = |number| SecretKey::from_bytes(secret(number));
    let own = Keypair::new(crypto.provider, &key(own));
    let other = Keypair::new(crypto.provider, &key(other)).public();
    let psk = Psk::from_bytes(secret(5));
    let keys = Keys { local: Some(&own), remote: PATTERN.needs_remote_static(role).then_some(other), psk: Some(&psk) };
    Handshake::with(crypto, PATTERN, role, PROLOGUE, keys, key(ephemeral)).unwrap()
}

/// Both ends, past the handshake.
#[inline(never)]
fn shake(crypto: Crypto) -> [Traffic; 2] {
    let mut sides = [side(crypto, Role::Initiator), side(crypto, Role::Responder)];
    for index in 0..PATTERN.messages() {
        let [a, b] = &mut sides;
        let (from, to) = if index % 2 == 0 { (a, b) } else { (b, a) };
        let (mut message, mut payload) = (Vec::new(), Vec::new());
        from.write_message(b"", &mut message).unwrap();
        to.read_message(&message, &mut payload).unwrap();
    }
    sides.map(|side| side.finish().unwrap())
}

/// A record each way.
#[inline(never)]
fn talk([a, b]: &mut [Traffic; 2]) {
    for (send, receive) in [(&mut a.send, &mut b.receive), (&mut b.send, &mut a.receive)] {
        let mut record = b"a record".to_vec();
        let tag = send.seal_in_place(&mut record).unwrap();
        record.extend_from_slice(&tag);
        assert_eq!(receive.open_in_place(&mut record).unwrap(), b"a record");
    }
}

#[test]
fn no_key_of_a_handshake_or_of_its_traffic_is_left_in_memory() {
    a_secret_that_nobody_wiped_is_found();
    for (crypto, renewed) in cryptos().flat_map(|crypto| [(crypto, false), (crypto, true)]) {
        let name = format!("{} by {}", crypto.suite, crypto.provider.name());
        let own = OWN.iter().flat_map(|(name, number)| needles(name, &inverted(*number)));
        let mut search = Search::new(own.chain(keys_of_another_process(crypto.suite)));
        let mut ends = shake(crypto);
        assert_eq!(
            search.look().iter().find(|found| !found.starts_with("key of the")),
            None,
            "{name}: the handshake's"
        );
        talk(&mut ends);
        if (crypto.suite, crypto.provider.name()) == (Suite::ChaChaPoly, "RustCrypto") {
            // A cipher that keeps its key as it is: so the search finds what is there.
            assert!(search.look().len() >= 8, "{name}: the keys in use are not found");
        }
        if renewed {
            ends.iter_mut().for_each(|end| (end.send.rekey(), end.receive.rekey()).0);
        } else {
            ends.into_iter().for_each(|end| drop(black_box(end)));
        }
        assert_eq!(search.look(), [""; 0], "{name}: keys of the traffic, renewed: {renewed}");
    }
}

/// The search finds secrets that were given back and not wiped. A part of the test above: another thread that searches holds what it reads.
fn a_secret_that_nobody_wiped_is_found() {
    let mut search = Search::new(needles("forgotten", &inverted(9)));
    assert_eq!(search.look(), [""; 0]);
    let forgotten: Vec<Box<[u8; 32]>> = (0..4).map(|_| Box::new(secret(9))).collect();
    drop(black_box(forgotten));
    assert_ne!(search.look(), [""; 0]);
}

/// The traffic keys, as another implementation derives them; they come turned round, and stand nowhere as they are.
fn keys_of_another_process(suite: Suite) -> Vec<Needle> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tells_the_keys_where_it_is_asked", "--nocapture"])
        .env(SUITE, suite.noise_name())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<Needle> = text
        .lines()
        .filter_map(|line| line.strip_prefix("key "))
        .flat_map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
            needles(&format!("key of the {name}"), bytes.as_slice().try_into().unwrap())
        })
        .collect();
    assert_eq!(keys.len(), 4, "{text}");
    keys
}

/// The child of [`keys_of_another_process`]; by itself it does nothing.
#[test]
fn tells_the_keys_where_it_is_asked() {
    let Ok(suite) = std::env::var(SUITE) else {
        return;
    };
    let name = format!("Noise_{}_{suite}", PATTERN.name());
    let (keys, psk) = ([1, 2, 3, 4].map(secret), secret(5));
    let builder = |own: usize| {
        Builder::new(name.parse().unwrap())
            .prologue(PROLOGUE)
            .and_then(|builder| builder.local_private_key(&keys[own]))
            .and_then(|builder| builder.psk(3, &psk))
            .map(|builder| builder.fixed_ephemeral_key_for_testing_only(&keys[own + 2]))
            .unwrap()
    };
    let (mut a, mut b) = (builder(0).build_initiator().unwrap(), builder(1).build_responder().unwrap());
    for index in 0..PATTERN.messages() {
        let (from, to) = if index % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let (mut message, mut payload) = (vec![0; 1_024], vec![0; 1_024]);
        let written = from.write_message(&[], &mut message).unwrap();
        to.read_message(&message[..written], &mut payload).unwrap();
    }
    let (first, second) = a.dangerously_get_raw_split();
    for (name, key) in [("initiator", first), ("responder", second)] {
        let hex: String = key.iter().map(|byte| format!("{:02x}", !byte)).collect();
        println!("\nkey {name} {hex}");
    }
}
