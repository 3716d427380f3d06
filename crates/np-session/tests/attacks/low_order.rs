//! Public keys of low order: whoever shows one knows every secret shared with it, which is zero. The attacker here goes
//! on with that zero, so a victim that took it would be connected.

use np_noise::Pattern;
use np_types::PublicKey;

use crate::forger::{Forger, Lie};
use crate::world::{CLIENT, Client, End, SERVER, Server, pair, proving_client, proving_server};

/// The points of small order on the curve and its twist, and spellings of them beyond the field.
fn points() -> Vec<[u8; 32]> {
    let mut points = vec![[0; 32], [0; 32], [0xff; 32], [0xff; 32], [0xff; 32]];
    points[1][0] = 1;
    for (point, low) in points[2..].iter_mut().zip([0xec, 0xed, 0xee]) {
        (point[0], point[31]) = (low, 0x7f);
    }
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    points
        .extend(order_8.map(|hex| std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())));
    // The top bit is ignored, so each has a second spelling.
    let masked: Vec<[u8; 32]> = points.iter().map(|point| with_top_bit(*point)).collect();
    points.extend(masked);
    points
}

const fn with_top_bit(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

/// An attacker as client; goes as far as the server lets it.
fn pose_as_client(forger: &Forger, server: &mut End) {
    let (mut forged, flight) = forger.first_flight();
    server.receive(&flight);
    if forged.read(&server.transmit()).is_some() && !forged.has_keys() {
        server.receive(&forged.write(&[]).unwrap());
    }
    if forged.has_keys() {
        server.receive(&forged.settings());
    }
}

/// An attacker as server; goes as far as the client lets it.
fn pose_as_server(forger: &Forger, client: &mut End) {
    let flight = client.transmit();
    let Some((mut forged, message_2)) = forger.answer(&flight) else {
        client.receive(&forger.guess());
        return;
    };
    client.receive(&message_2);
    let rest = client.transmit();
    if forged.has_keys() || forged.read(&rest).is_some() {
        client.receive(&forged.settings());
    }
}

#[test]
fn an_ephemeral_key_of_low_order_is_refused_by_servers() {
    for point in points() {
        for pattern in Pattern::ALL {
            let mut server = Server::new();
            // The attacker may even be somebody whose key is allowed.
            server.allowed.push(pair(crate::world::ATTACKER).public());
            let mut server = server.accept();
            let ephemeral = Some(Lie::low_order(point, 0xb1));
            pose_as_client(&Forger { ephemeral, ..Forger::new(pattern, pair(SERVER).public()) }, &mut server);
            server.refused_as_forged(&format!("{pattern:?} {point:02x?}"));
        }
    }
}

#[test]
fn an_ephemeral_key_of_low_order_is_refused_by_clients() {
    for point in points() {
        for pattern in Pattern::ALL {
            let mut client = Client::new(pattern).start();
            let ephemeral = Some(Lie::low_order(point, 0xb1));
            pose_as_server(&Forger { ephemeral, ..Forger::new(pattern, pair(CLIENT).public()) }, &mut client);
            client.refused_as_forged(&format!("{pattern:?} {point:02x?}"));
        }
    }
}

/// Even where the point stands in the list of those who are let in: its secrets are everybody's.
#[test]
fn a_static_key_of_low_order_is_refused_by_servers_that_allow_it() {
    for point in points() {
        for pattern in proving_client() {
            let mut server = Server::new();
            server.allowed = vec![PublicKey::from_bytes(point)];
            let mut server = server.accept();
            let fixed = Some(Lie::low_order(point, 0xb2));
            pose_as_client(&Forger { fixed, ..Forger::new(pattern, pair(SERVER).public()) }, &mut server);
            server.refused_as_forged(&format!("{pattern:?} {point:02x?}"));
            assert_eq!(server.proven, None);
        }
    }
}

/// In XX; the other patterns do not even start towards such a key.
#[test]
fn a_static_key_of_low_order_is_refused_by_clients_that_accept_it() {
    for point in points() {
        for pattern in proving_server().filter(|pattern| !pattern.needs_remote_static_up_front()) {
            let accepts = vec![PublicKey::from_bytes(point)];
            let mut client = Client { accepts, ..Client::new(pattern) }.start();
            let fixed = Some(Lie::low_order(point, 0xb2));
            pose_as_server(&Forger { fixed, ..Forger::new(pattern, pair(CLIENT).public()) }, &mut client);
            client.refused_as_forged(&format!("{pattern:?} {point:02x?}"));
            assert_eq!(client.proven, None);
        }
    }
}

#[test]
fn nothing_is_sent_to_a_server_key_of_low_order() {
    use np_session::{Handshake, InitiatorConfig};
    for point in points() {
        for pattern in proving_server().filter(|pattern| pattern.needs_remote_static_up_front()) {
            let (own, psk) = (pair(CLIENT), np_types::Psk::from_bytes(crate::world::PSK));
            let started = Handshake::initiator(InitiatorConfig {
                crypto: Default::default(),
                pattern,
                local: pattern.authenticates_initiator().then_some(&own),
                server_key: Some(PublicKey::from_bytes(point)),
                psk: pattern.needs_psk().then_some(&psk),
                psk_id: if pattern.needs_psk() { b"id" } else { b"" },
                time: crate::world::NOW,
                nonce: [0; 16],
                ephemeral: np_types::SecretKey::from_bytes([3; 32]),
            });
            assert!(started.is_err(), "{pattern:?} {point:02x?}");
        }
    }
}
