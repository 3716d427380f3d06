//! The bytes before the first record, changed on the way: an offer that was edited or talked down, and every byte of
//! every handshake message.

use np_noise::{Pattern, Suite};
use np_session::{Preface, Side, server_hint};
use np_types::{Blame, CloseCode, Misbehaved, UnixMillis};

use crate::world::{
    ATTACKER, Client, End, NOW, SERVER, Server, converse_to_the_end, pair, proving_server, split_preface,
};

/// Two ends whose flights pass `edit`; both have hung up, and neither may have accepted anything.
#[track_caller]
fn check_refused(client: Client, what: &str, edit: impl FnMut(Side, usize, &mut Vec<u8>)) -> [End; 2] {
    let what = format!("{:?} {:?}: {what}", client.pattern, client.psk_id);
    let (mut client, mut server) = (client.start(), Server::new().accept());
    converse_to_the_end(&mut client, &mut server, edit);
    client.refused(&what);
    server.refused(&what);
    [client, server]
}

fn everybody() -> impl Iterator<Item = Client> {
    Pattern::ALL.into_iter().flat_map(Client::both)
}

#[test]
fn every_bit_of_the_preface_counts_in_every_pattern() {
    for client in everybody() {
        let size = split_preface(&client.clone().start().transmit()).0.len();
        for bit in 0..size * 8 {
            check_refused(client.clone(), &format!("bit {bit} of the preface"), |_, number, bytes| {
                if number == 0 {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    }
}

/// Also where changed bytes pass as handshake messages, the first record does not come.
#[test]
fn every_byte_of_every_handshake_message_counts_in_every_pattern() {
    for client in everybody() {
        for number in 0..client.pattern.messages() {
            let size = size_of_flight(&client, number);
            assert!(size > 32, "{:?} has a message {number}", client.pattern);
            for at in 0..size {
                // The top bit, which X25519 itself ignores, and one of the others.
                for mask in [0x80, 1 << (at % 7)] {
                    check_refused(client.clone(), &format!("byte {at} of {number} ^ {mask:#x}"), |_, flight, bytes| {
                        if flight == number {
                            bytes[at] ^= mask;
                        }
                    });
                }
            }
        }
    }
}

fn size_of_flight(client: &Client, number: usize) -> usize {
    let mut size = 0;
    converse_to_the_end(&mut client.clone().start(), &mut Server::new().accept(), |_, at, bytes| {
        if at == number {
            size = handshake_bytes(bytes, at);
        }
    });
    size
}

/// The bytes of a flight up to the end of its handshake message. A record may follow.
fn handshake_bytes(flight: &[u8], number: usize) -> usize {
    let preface = if number == 0 { split_preface(flight).0.len() } else { 0 };
    let length = u16::from_be_bytes([flight[preface + 1], flight[preface + 2]]);
    preface + 3 + usize::from(length)
}

/// What an attacker makes of a preface.
type Edit = fn(&mut Preface);

/// A preface with fields edited; the client's own message 1 follows.
#[track_caller]
fn edited(client: &Client, what: &str, edit: impl Fn(&mut Preface)) -> [End; 2] {
    let pattern = client.pattern;
    check_refused(client.clone(), what, |_, number, bytes| {
        if number == 0 {
            let (preface, message) = split_preface(bytes);
            let (mut preface, _) = Preface::decode(preface).unwrap().unwrap();
            edit(&mut preface);
            let mut flight = Vec::new();
            preface.encode(&mut flight);
            flight.extend_from_slice(message);
            assert_ne!(&flight, bytes, "{pattern:?}: {what} changes nothing");
            *bytes = flight;
        }
    })
}

#[test]
fn an_edited_offer_is_never_accepted() {
    for client in everybody() {
        let edits: [(&str, Blame, Edit); 8] = [
            ("a wider version range", Blame::Misbehaved, |p| p.max_version = 9),
            ("a lower version", Blame::Incompatible, |p| (p.min_version, p.version) = (0, 0)),
            ("a higher version", Blame::Incompatible, |p| (p.max_version, p.version) = (2, 2)),
            ("a suite that is none", Blame::Incompatible, |p| p.suite = 99),
            ("a pattern that is none", Blame::Incompatible, |p| p.pattern = 99),
            ("a fresh nonce", Blame::Misbehaved, |p| p.nonce = [1; 16]),
            ("a later time", Blame::Misbehaved, |p| p.time = UnixMillis(NOW.0 + 1_000)),
            ("a time that is off", Blame::Refused, |p| p.time = UnixMillis(NOW.0 + 60_000)),
        ];
        for (what, blame, edit) in edits {
            let ends = edited(&client, what, edit);
            // Where the server could go on, one of the two found the prologue changed; else the server names the rule.
            let blames = ends.each_ref().map(|end| end.error().unwrap().blame());
            assert!(blames.contains(&blame), "{:?}: {what}: {blames:?}", client.pattern);
        }
    }
}

/// Both suites are offered and either is safe; whoever is in between does not choose.
#[test]
fn a_suite_rewritten_into_the_other_is_refused_in_every_pattern() {
    for client in everybody() {
        for [asked, other] in [Suite::ALL, [Suite::AesGcm, Suite::ChaChaPoly]] {
            let client = Client { suite: asked, ..client.clone() };
            let ends = edited(&client, &format!("{asked} made {other}"), |p| p.suite = other.to_wire());
            let blames = ends.each_ref().map(|end| end.error().unwrap().blame());
            assert!(blames.contains(&Blame::Misbehaved), "{:?}: {asked} made {other}: {blames:?}", client.pattern);
        }
    }
}

/// With the key id and hint that the other pattern would have, so that it is not refused for these.
#[test]
fn a_pattern_rewritten_into_another_is_refused_in_every_pairing() {
    for client in everybody() {
        for other in Pattern::ALL.into_iter().filter(|other| *other != client.pattern) {
            edited(&client, &format!("taken for {other:?}"), |p| p.pattern = other.to_wire());
            for likely in Client::both(other) {
                let (theirs, _) = Preface::decode(&likely.start().transmit()).unwrap().unwrap();
                let ends = edited(&client, &format!("made to look like {other:?}"), |p| {
                    (p.pattern, p.key_id, p.hint) = (theirs.pattern, theirs.key_id.clone(), theirs.hint);
                });
                let blames = ends.each_ref().map(|end| end.error().unwrap().blame());
                // Message 1 has another length in the other pattern, or another meaning.
                let found = blames.iter().any(|blame| matches!(blame, Blame::Malformed | Blame::Misbehaved));
                assert!(found, "{:?} {other:?}: {blames:?}", client.pattern);
            }
        }
    }
}

#[test]
fn a_rewritten_hint_leads_to_no_identity_or_to_one_that_cannot_answer() {
    let other = [0x23; 32];
    for client in everybody() {
        let [_, server] = edited(&client, "a hint of nobody", |p| p.hint = [1, 2, 3, 4]);
        let needed = client.pattern.needs_remote_static_up_front();
        let blame = if needed { Blame::Refused } else { Blame::Malformed };
        assert_eq!(server.error().unwrap().blame(), blame, "{:?}", client.pattern);
    }
    // A server of two identities is led to the wrong one.
    for pattern in proving_server().filter(|pattern| pattern.needs_remote_static_up_front()) {
        let mut server = Server::new();
        server.identities = vec![SERVER, other];
        let (mut client, mut server) = (Client::new(pattern).start(), server.accept());
        converse_to_the_end(&mut client, &mut server, |_, number, bytes| {
            if number == 0 {
                let at = Preface::FIXED - 5;
                bytes[at..at + 4].copy_from_slice(&server_hint(&pair(other).public()));
            }
        });
        client.refused(&format!("{pattern:?}"));
        server.refused_as_forged(&format!("{pattern:?}"));
    }
}

#[test]
fn an_edited_key_id_is_never_accepted() {
    for client in everybody() {
        let edits: [(&str, Edit); 5] = [
            ("another id", |p| p.key_id = b"other".to_vec()),
            ("another key", |p| p.key_id = pair(ATTACKER).public().as_bytes().to_vec()),
            ("a longer id", |p| p.key_id.push(b'x')),
            ("the longest id", |p| p.key_id = vec![b'k'; 64]),
            ("no id", |p| p.key_id.clear()),
        ];
        for (what, edit) in edits {
            let has_none = client.pattern != Pattern::KK && client.psk_id.is_empty();
            if what != "no id" || !has_none {
                edited(&client, what, edit);
            }
        }
    }
}

/// A refusal in clear is nobody's word: it ends the attempt, and leads to no other version, suite or pattern.
#[test]
fn a_forged_refusal_ends_the_attempt_and_nothing_else() {
    for pattern in Pattern::ALL {
        for code in [CloseCode::Version, CloseCode::Incompatible, CloseCode::NotAllowed] {
            let mut client = Client::new(pattern).start();
            client.transmit();
            let mut refusal = Vec::new();
            np_wire::encode_refusal(&mut refusal, code, "speak NN to me");
            client.receive(&refusal);
            client.refused(&format!("{pattern:?}"));
            assert!(client.transmit().is_empty(), "{pattern:?}: it says no more");
        }
    }
}

/// Once the client has its keys, words in clear are bytes that do not open.
#[test]
fn a_refusal_in_clear_after_message_2_is_no_word_of_the_server() {
    for who in everybody() {
        for rest in [0, 1_000] {
            let (mut client, mut server) = (who.clone().start(), Server::new().accept());
            server.receive(&client.transmit());
            let answer = server.transmit();
            client.receive(&answer[..handshake_bytes(&answer, 1)]);
            client.transmit();
            let mut refusal = Vec::new();
            np_wire::encode_refusal(&mut refusal, CloseCode::NotAllowed, "go away");
            refusal.resize(refusal.len() + rest, 0);
            client.receive(&refusal);
            client.hang_up();
            // Read as the length of a record, which never comes, or does not open.
            let error = if rest == 0 { Misbehaved::Truncated } else { Misbehaved::Record };
            assert_eq!(client.refused("in clear"), &error.into(), "{:?}", who.pattern);
        }
    }
}
