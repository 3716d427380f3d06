//! Keys that do not fit: another server's, a stranger's, a public key without its secret, another psk, an unknown id.

use np_noise::Pattern;
use np_session::Side;
use np_types::{Blame, CloseCode, ConnectionError, Misbehaved, PublicKey};

use crate::forger::{Forger, Lie};
use crate::world::{
    ATTACKER, CLIENT, Client, End, PSK, PSK_ID, SERVER, Server, converse_to_the_end, pair, proving, proving_client,
    proving_server, untouched,
};

fn talk(client: Client, mut server: Server) -> [End; 2] {
    let (mut client, mut server) = (client.start(), server.accept());
    converse_to_the_end(&mut client, &mut server, untouched);
    [client, server]
}

#[test]
fn a_server_with_another_key_is_refused_by_the_client() {
    for pattern in proving_server() {
        let mut server = Server::new();
        server.identities = vec![ATTACKER];
        let [client, server] = talk(Client::new(pattern), server);
        let what = format!("{pattern:?}");
        if pattern.needs_remote_static_up_front() {
            // No identity of this server has the hint; it says so, and did no work.
            assert_eq!(client.refused(&what).blame(), Blame::Closed, "{what}");
            server.refused_by_policy(&what);
            assert_eq!(server.proven, None);
        } else {
            client.refused_by_policy(&what);
            assert_eq!(server.refused(&what), &Misbehaved::Truncated.into(), "{what}");
            assert_eq!(server.proven, None, "{what}: the client's key was not shown");
        }
    }
}

/// As above, by a server that claims the hint.
#[test]
fn a_server_that_takes_the_hint_without_the_key_cannot_read_message_1() {
    for pattern in proving_server().filter(|pattern| pattern.needs_remote_static_up_front()) {
        let mut client = Client::new(pattern).start();
        let forger = Forger::new(pattern, pair(CLIENT).public());
        assert!(forger.answer(&client.transmit()).is_none(), "{pattern:?}");
        client.receive(&forger.guess());
        client.refused_as_forged(&format!("{pattern:?}"));
    }
}

#[test]
fn a_client_whose_key_is_not_allowed_is_told_under_encryption() {
    for client in proving_client().flat_map(Client::both) {
        let (pattern, named) = (client.pattern, !client.psk_id.is_empty());
        let [client, server] = talk(Client { own: pair(ATTACKER), ..client }, Server::new());
        let what = format!("{pattern:?}");
        if pattern.needs_psk() && !named {
            // There is no psk for a client that is not known; it cannot tell that from a wrong one.
            let error = client.refused(&what);
            if pattern == Pattern::IKpsk2 {
                assert_eq!(error, &Misbehaved::PreSharedKey.into(), "{what}");
                server.refused_by_policy(&what);
            } else {
                server.refused_as_forged(&what);
                assert_eq!(server.proven, None, "{what}");
            }
        } else {
            server.refused_by_policy(&what);
            let (code, text) = (CloseCode::NotAllowed, "not welcome".to_owned());
            let told = ConnectionError::ClosedByPeer { code, text, in_clear: false };
            assert_eq!(client.refused(&what), &told, "{what}");
        }
    }
}

#[test]
fn another_psk_is_refused_by_the_end_that_finds_it_first() {
    for client in proving().filter(|pattern| pattern.needs_psk()).flat_map(Client::both) {
        let what = format!("{:?} {:?}", client.pattern, client.psk_id);
        // Where the psk stands in message 2, the client finds it; else the server does.
        let client_finds = client.pattern == Pattern::IKpsk2;
        let [client, server] = talk(Client { psk: [0x51; 32], ..client }, Server::new());
        client.refused(&what);
        server.refused(&what);
        let finder = if client_finds { &client } else { &server };
        assert_eq!(finder.error(), Some(&Misbehaved::PreSharedKey.into()), "{what}");
    }
}

#[test]
fn an_unknown_psk_id_looks_like_a_wrong_psk_from_outside() {
    for pattern in proving().filter(|pattern| pattern.needs_psk()) {
        let answers = [(b"nobody".to_vec(), PSK), (PSK_ID.to_vec(), [0x51; 32])].map(|(psk_id, psk)| {
            let client = Client { psk_id, psk, ..Client::new(pattern) };
            let (mut client, mut server) = (client.start(), Server::new().accept());
            let flights = converse_to_the_end(&mut client, &mut server, untouched);
            client.refused(&format!("{pattern:?}"));
            server.refused(&format!("{pattern:?}"));
            let heard = flights.iter().filter(|(side, _)| *side == Side::Responder).map(|(_, bytes)| bytes.len());
            (heard.collect::<Vec<_>>(), client.error().cloned(), server.error().cloned())
        });
        assert_eq!(answers[0], answers[1], "{pattern:?}");
    }
}

/// The psk is no substitute for the static key, and the static key none for the psk.
#[test]
fn each_secret_of_a_pattern_with_two_is_needed() {
    for client in [Pattern::XXpsk3, Pattern::IKpsk2].into_iter().flat_map(Client::both) {
        let what = format!("{:?} {:?}", client.pattern, client.psk_id);
        for (own, psk) in [(CLIENT, [0x51; 32]), (ATTACKER, PSK)] {
            let ends = talk(Client { own: pair(own), psk, ..client.clone() }, Server::new());
            ends.iter().for_each(|end| drop(end.refused(&what).clone()));
        }
    }
}

/// Everything but the secret: the pinned public key, the psk, the ids, the hint.
fn with_pin_alone(pattern: Pattern, pin: PublicKey, victim: PublicKey) -> Forger {
    Forger { fixed: Some(Lie::without_secret(pin)), ..Forger::new(pattern, victim) }
}

#[test]
fn who_shows_the_servers_key_without_its_secret_is_refused() {
    for pattern in proving_server() {
        let mut client = Client::new(pattern).start();
        let forger = with_pin_alone(pattern, pair(SERVER).public(), pair(CLIENT).public());
        let flight = client.transmit();
        let answer = forger.answer(&flight).map_or_else(|| forger.guess(), |(_, message)| message);
        client.receive(&answer);
        client.refused_as_forged(&format!("{pattern:?}"));
        assert_eq!(client.proven, None, "{pattern:?}");
    }
}

/// A client that shows a key without its secret; gives its end at the server and what the server answered.
fn show_pin(pattern: Pattern, pin: PublicKey, server: &mut Server) -> (End, Vec<usize>) {
    let mut end = server.accept();
    let (mut forged, flight) = with_pin_alone(pattern, pin, pair(SERVER).public()).first_flight();
    end.receive(&flight);
    let answer = end.transmit();
    if forged.read(&answer).is_some() && !forged.has_keys() {
        end.receive(&forged.write(&[]).unwrap());
    }
    let last = end.transmit();
    (end, vec![answer.len(), last.len()])
}

#[test]
fn who_shows_an_allowed_clients_key_without_its_secret_is_refused() {
    for pattern in proving_client() {
        let mut server = Server::new();
        let (end, _) = show_pin(pattern, pair(CLIENT).public(), &mut server);
        end.refused_as_forged(&format!("{pattern:?}"));
        assert_eq!(end.proven, None, "{pattern:?}");
        assert!(server.guard.borrow().is_empty(), "{pattern:?}: it takes no place in the guard");
    }
}

#[test]
fn who_lacks_the_secret_does_not_learn_whether_a_key_is_allowed() {
    for pattern in proving_client() {
        let keys = [pair(CLIENT).public(), pair([0x77; 32]).public()];
        let [allowed, unknown] = keys.map(|pin| {
            let (end, answers) = show_pin(pattern, pin, &mut Server::new());
            (end.error().cloned(), answers)
        });
        assert_eq!(allowed, unknown, "{pattern:?}");
    }
}
