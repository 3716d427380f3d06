//! Somebody who stands between client and server with keys of its own, opens what it can and seals it anew.

use np_noise::Pattern;
use np_types::PublicKey;
use np_wire::{Frame, Frames, Open};

use crate::forger::{Forged, Forger};
use crate::world::{CLIENT, Client, End, SERVER, Server, is_anonymous, pair, proving, split_preface};

/// Both halves of the attack: the client as it talked to the attacker, the server as the attacker talked to it.
struct Middle {
    client: End,
    server: End,
    /// The attacker's halves, where its handshakes came to an end.
    towards_client: Option<Forged>,
    towards_server: Forged,
}

/// Stands between a client and a server of a pattern. `psk` is what the attacker takes the psk to be.
fn stand_between(pattern: Pattern, psk: [u8; 32]) -> Middle {
    let (mut client, mut server) = (Client::new(pattern).start(), Server::new().accept());
    let with = |victim: PublicKey| Forger { psk, ..Forger::new(pattern, victim) };
    let towards_client = answer(&with(pair(CLIENT).public()), &mut client);
    let towards_server = connect(&with(pair(SERVER).public()), &mut server);
    Middle { client, server, towards_client, towards_server }
}

/// Poses as the server; gives the attacker's end if its handshake came through.
fn answer(forger: &Forger, client: &mut End) -> Option<Forged> {
    let flight = client.transmit();
    let Some((mut forged, message_2)) = forger.answer(&flight) else {
        client.receive(&forger.guess());
        client.hang_up();
        return None;
    };
    client.receive(&message_2);
    let mut rest = client.transmit();
    if !forged.has_keys() {
        rest = forged.read(&rest)?;
    }
    forged.open(&rest)?;
    client.receive(&forged.settings());
    Some(forged)
}

/// Poses as the client, as far as the server lets it; says its settings and a call if it got keys.
fn connect(forger: &Forger, server: &mut End) -> Forged {
    let (mut forged, flight) = forger.first_flight();
    server.receive(&flight);
    let message_2 = server.transmit();
    if forged.read(&message_2).is_some() && !forged.has_keys() {
        let message_3 = forged.write(&[]).unwrap();
        server.receive(&message_3);
    }
    if forged.has_keys() {
        let open = Frame::Open(Open { body: b"of the attacker", ..Open::new(np_wire::OpenKind::Request) });
        server.receive(&forged.settings());
        server.receive(&forged.seal(&[Frame::Method { number: 0, name: "pay" }, open]));
    }
    server.hang_up();
    forged
}

#[test]
fn a_man_in_the_middle_is_refused_by_both_ends() {
    for pattern in proving() {
        let Middle { client, server, towards_client, .. } = stand_between(pattern, [0; 32]);
        let what = format!("{pattern:?}");
        client.refused(&what);
        assert!(towards_client.is_none(), "{what}");
        // A server of strangers serves the attacker as itself, and nobody else.
        if !is_anonymous(pattern) {
            server.refused(&what);
        }
    }
}

/// In the patterns where static keys count, knowing the psk does not help.
#[test]
fn a_man_in_the_middle_who_knows_the_psk_is_refused_where_keys_are_proven() {
    for pattern in proving().filter(|pattern| pattern.authenticates_responder()) {
        let Middle { client, server, .. } = stand_between(pattern, crate::world::PSK);
        let what = format!("{pattern:?}");
        match pattern {
            // The client sees whose key it is before it has shown its own.
            Pattern::XX | Pattern::XXpsk3 => client.refused_by_policy(&what),
            // Message 1 was made for the true server, so that nobody else can answer it.
            _ => client.refused_as_forged(&what),
        }
        match pattern {
            Pattern::NK => assert_eq!(server.calls(), ["of the attacker"], "strangers are served as strangers"),
            _ => server.refused_by_policy(&what),
        }
    }
}

/// What no pattern can give: whoever holds the one secret of NNpsk0, and anybody at all in NN, can stand between.
fn stands_between_unseen(pattern: Pattern) {
    let Middle { mut client, mut server, towards_client, mut towards_server } =
        stand_between(pattern, crate::world::PSK);
    let mut towards_client = towards_client.unwrap();
    assert!(client.is_ready() && server.is_ready());
    client.call(b"secret");
    let record = client.transmit();
    let plain = towards_client.open(&record).unwrap();
    let read = Frames::new(&plain).any(|frame| matches!(frame, Ok(Frame::Open(open)) if open.body == b"secret"));
    assert!(read && towards_server.has_keys());
    assert!(!towards_server.settings().is_empty());
    // What is left to the two: their channel bindings differ.
    assert_ne!(client.session().binding(), server.session().binding());
}

#[test]
fn danger_nn_does_not_protect_from_a_man_in_the_middle_but_its_bindings_differ() {
    stands_between_unseen(Pattern::DangerNN);
}

#[test]
fn nnpsk0_does_not_protect_its_members_from_each_other() {
    stands_between_unseen(Pattern::NNpsk0);
}

/// The server would take NN, the client asked for better: rewriting its wish gains nothing.
#[test]
fn a_client_is_not_talked_down_to_danger_nn() {
    for pattern in proving() {
        let (mut client, mut server) = (Client::new(pattern).start(), Server::new().accept());
        let flight = client.transmit();
        let (preface, _) = split_preface(&flight);
        let (mut preface, _) = np_session::Preface::decode(preface).unwrap().unwrap();
        (preface.pattern, preface.hint) = (Pattern::DangerNN.to_wire(), [0; 4]);
        preface.key_id.clear();
        let (_, edited) = Forger::new(Pattern::DangerNN, pair(SERVER).public()).first_flight_with(preface);
        server.receive(&edited);
        client.receive(&server.transmit());
        client.refused_as_forged(&format!("{pattern:?}"));
        server.hang_up();
        server.refused(&format!("{pattern:?}"));
    }
}
