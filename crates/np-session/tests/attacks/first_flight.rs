//! A recorded first flight, and the whole of what a client said, sent again.

use np_noise::Pattern;
use np_session::Side;
use np_types::{CloseCode, ConnectionError, UnixMillis};

use crate::world::{
    Client, End, NOW, Server, connected_to, converse, converse_to_the_end, is_anonymous, split_preface, untouched,
};

/// What a client said on a connection that went well, up to a call.
fn recorded(server: &mut Server, pattern: Pattern) -> Vec<Vec<u8>> {
    let (mut client, mut end) = (Client::new(pattern).start(), server.accept());
    let mut flights = converse(&mut client, &mut end, untouched);
    client.call(b"pay once");
    flights.extend(converse(&mut client, &mut end, untouched));
    assert_eq!(end.calls(), ["pay once"], "{pattern:?}");
    flights.into_iter().filter(|(side, _)| *side == Side::Initiator).map(|(_, bytes)| bytes).collect()
}

/// Says it all again, at the pace of the conversation; gives what the server answered to the first flight.
fn say_again(end: &mut End, flights: &[Vec<u8>]) -> Vec<u8> {
    let mut answer = Vec::new();
    for flight in flights {
        end.receive(flight);
        answer.extend(end.transmit());
    }
    end.hang_up();
    answer
}

#[test]
fn a_first_flight_repeated_on_its_own_connection_is_refused() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let (mut client, mut end) = (Client::new(pattern).start(), server.accept());
        let flight = client.transmit();
        end.receive(&[&flight[..], &flight[..]].concat());
        end.hang_up();
        end.refused(&format!("{pattern:?}"));
    }
}

#[test]
fn a_first_flight_repeated_on_another_connection_is_refused_in_clear() {
    for pattern in Pattern::ALL.into_iter().filter(|pattern| !is_anonymous(*pattern)) {
        let mut server = Server::new();
        let flights = recorded(&mut server, pattern);
        let mut copy = server.accept();
        let answer = say_again(&mut copy, &flights);
        let told = np_wire::decode_handshake_frame(&answer).unwrap();
        let refused = matches!(&told, Some((np_wire::HandshakeFrame::Refusal(no), _)) if no.code == CloseCode::Replay);
        assert!(refused, "{pattern:?}: {told:?}");
        let error = copy.refused(&format!("{pattern:?}"));
        assert!(matches!(error, ConnectionError::Refused { code: CloseCode::Replay, .. }), "{pattern:?}: {error}");
        assert_eq!(copy.proven, None, "{pattern:?}: no work was done for it");
    }
}

/// The nonces of strangers are not kept: their copies cost work, every time.
#[test]
fn a_strangers_first_flight_repeated_is_never_a_connection_and_takes_no_place() {
    for pattern in [Pattern::NK, Pattern::DangerNN] {
        let mut server = Server::new();
        let flights = recorded(&mut server, pattern);
        for _ in 0..10 {
            let mut copy = server.accept();
            assert!(!say_again(&mut copy, &flights).is_empty());
            copy.refused_record(&format!("{pattern:?}"));
        }
        assert!(server.guard.borrow().is_empty());
    }
}

/// While the first connection has not proven itself, the guard does not know its nonce yet.
#[test]
fn a_first_flight_that_overtakes_its_original_is_never_a_connection() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let (mut client, mut copy) = (Client::new(pattern).start(), server.accept());
        let flight = client.transmit();
        copy.receive(&flight);
        copy.transmit();
        let mut end = server.accept();
        end.receive(&flight);
        converse(&mut client, &mut end, |side, _, bytes| {
            // Whatever the client says to its own server, the copy gets too.
            if side == Side::Initiator {
                copy.receive(bytes);
            }
        });
        copy.hang_up();
        copy.refused(&format!("{pattern:?}"));
    }
}

#[test]
fn a_first_flight_repeated_after_a_restart_costs_work_and_is_never_a_connection() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let flights = recorded(&mut server, pattern);
        let mut restarted = server.restarted();
        for at in 1..=flights.len() {
            let mut copy = restarted.restarted().accept();
            let answer = say_again(&mut copy, &flights[..at]);
            assert!(!answer.is_empty(), "{pattern:?}: it passes the empty guard");
            copy.refused(&format!("{pattern:?}, {at} of {} flights", flights.len()));
        }
        // Where message 1 proves a key the guard remembers it from then on.
        let mut copies = [restarted.accept(), restarted.accept()];
        copies.iter_mut().for_each(|copy| drop(say_again(copy, &flights)));
        let second = copies[1].refused(&format!("{pattern:?}"));
        let seen = matches!(second, ConnectionError::Refused { code: CloseCode::Replay, .. });
        assert_eq!(seen, pattern.messages() == 2 && !is_anonymous(pattern), "{pattern:?}: {second}");
    }
}

/// The records of a conversation fit its own keys alone, also when the client comes again by itself.
#[test]
fn records_of_an_earlier_connection_open_nothing_in_a_later_one() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let flights = recorded(&mut server, pattern);
        let [_, mut end] = connected_to(&mut server, Client { seed: 2, ..Client::new(pattern) });
        end.receive(flights.last().unwrap());
        end.hang_up();
        end.refused_record(&format!("{pattern:?}"));
    }
}

#[test]
fn a_first_flight_counts_within_five_seconds_of_the_servers_clock_both_ways() {
    for pattern in Pattern::ALL {
        for (off, accepted) in [(-5_100, false), (-4_900, true), (4_900, true), (5_100, false)] {
            let (mut client, mut server) = (Client::new(pattern), Server::new());
            client.time = UnixMillis(NOW.0.checked_add_signed(off).unwrap());
            let (mut client, mut end) = (client.start(), server.accept());
            converse(&mut client, &mut end, untouched);
            assert_eq!(end.is_ready(), accepted, "{pattern:?} {off}");
            if !accepted {
                let told =
                    ConnectionError::ClosedByPeer { code: CloseCode::ClockSkew, text: String::new(), in_clear: true };
                assert_eq!(client.refused("skew"), &told);
                assert_eq!(end.proven, None);
            }
        }
    }
}

/// Past the window the clock refuses what the guard has forgotten.
#[test]
fn a_first_flight_older_than_the_window_is_refused_after_a_restart_too() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let flights = recorded(&mut server, pattern);
        let mut later = server.restarted();
        later.now = UnixMillis(NOW.0 + 5_001);
        let mut copy = later.accept();
        say_again(&mut copy, &flights);
        let error = copy.refused(&format!("{pattern:?}"));
        assert!(matches!(error, ConnectionError::Refused { code: CloseCode::ClockSkew, .. }), "{pattern:?}: {error}");
        assert_eq!(copy.proven, None);
    }
}

/// Both connections are of the same peers, and at the same point of their handshakes.
#[test]
fn a_handshake_message_of_another_connection_is_refused() {
    for pattern in Pattern::ALL {
        for number in 1..pattern.messages() {
            let mut server = Server::new();
            let mut foreign = Vec::new();
            let (mut client, mut end) = (Client { seed: 2, ..Client::new(pattern) }.start(), server.accept());
            converse(&mut client, &mut end, |_, at, bytes| {
                if at == number {
                    foreign.clone_from(bytes);
                }
            });
            let (mut client, mut end) = (Client { seed: 3, ..Client::new(pattern) }.start(), server.accept());
            converse_to_the_end(&mut client, &mut end, |_, at, bytes| {
                if at == number {
                    bytes.clone_from(&foreign);
                }
            });
            let what = format!("{pattern:?}, message {}", number + 1);
            client.refused(&what);
            end.refused(&what);
            let reader = if number == 1 { client } else { end };
            reader.refused_as_forged(&what);
        }
    }
}

#[test]
fn a_reflected_handshake_message_is_refused() {
    for pattern in Pattern::ALL {
        let (mut client, mut end) = (Client::new(pattern).start(), Server::new().accept());
        let flight = client.transmit();
        let (_, message_1) = split_preface(&flight);
        client.receive(message_1);
        client.refused_as_forged(&format!("{pattern:?}, message 1 to the client"));
        end.receive(&flight);
        let message_2 = end.transmit();
        end.receive(&message_2);
        end.hang_up();
        end.refused(&format!("{pattern:?}, message 2 to the server"));
    }
}
