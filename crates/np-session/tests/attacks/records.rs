//! Records of a live connection, in the hands of somebody on the path: sent again, dropped, swapped, cut, sent back,
//! and moved between two connections of the same peers.

use np_noise::Pattern;
use np_session::{Event, Side};
use np_types::{ConnectionError, Misbehaved, Status};

use crate::world::{Client, End, Server, connected, connected_to};

/// The two ends of a connection, the victim first.
fn ends(pattern: Pattern, victim: Side) -> [End; 2] {
    let [client, server] = connected(pattern);
    if victim == Side::Initiator { [client, server] } else { [server, client] }
}

/// One record with a call in it.
fn record(from: &mut End, body: &'static [u8]) -> Vec<u8> {
    from.call(body);
    from.transmit()
}

/// Runs an attack against both ends of a connection of every pattern. It gives what the victim reads; `delivered`
/// calls, the ones that were sealed and came in order, may be acted on, and the rest is refused as forged.
fn check(delivered: usize, attack: impl Fn(&mut End, &mut End) -> Vec<u8>) {
    for pattern in Pattern::ALL {
        for side in [Side::Initiator, Side::Responder] {
            let [mut victim, mut other] = ends(pattern, side);
            let bytes = attack(&mut victim, &mut other);
            victim.events.clear();
            victim.receive(&bytes);
            victim.hang_up();
            let what = format!("{pattern:?}, {side:?}");
            assert_eq!(victim.calls().len(), delivered, "{what}: {:?}", victim.events);
            assert_eq!(victim.error(), Some(&Misbehaved::Record.into()), "{what}");
            assert!(matches!(victim.events.last(), Some(Event::Closed(_))), "{what}");
            // Nothing but the calls, and their end with the connection.
            assert!(victim.accepted().len() <= 2 * delivered, "{what}: {:?}", victim.events);
        }
    }
}

#[test]
fn a_replayed_record_is_refused() {
    check(1, |_, other| record(other, b"once").repeat(2));
}

#[test]
fn a_record_from_long_ago_is_refused() {
    check(3, |_, other| {
        let first = record(other, b"1");
        [first.clone(), record(other, b"2"), record(other, b"3"), first].concat()
    });
}

#[test]
fn a_dropped_record_is_missed_with_the_next() {
    check(0, |_, other| {
        record(other, b"dropped");
        record(other, b"next")
    });
}

#[test]
fn reordered_records_are_refused() {
    check(0, |_, other| {
        let first = record(other, b"1");
        [record(other, b"2"), first].concat()
    });
}

#[test]
fn a_reflected_record_is_refused() {
    check(0, |victim, _| record(victim, b"mine"));
}

#[test]
fn a_record_spliced_in_from_another_connection_of_the_same_peers_is_refused() {
    for pattern in Pattern::ALL {
        for side in [Side::Initiator, Side::Responder] {
            let mut server = Server::new();
            let mut first = connected_to(&mut server, Client { seed: 1, ..Client::new(pattern) });
            let mut second = connected_to(&mut server, Client { seed: 2, ..Client::new(pattern) });
            let (victim, sender) = if side == Side::Initiator { (0, 1) } else { (1, 0) };
            // At the same place in the order of records, so that the counter alone would not tell.
            first[victim].receive(&record(&mut second[sender], b"spliced"));
            first[victim].refused_record(&format!("{pattern:?}, {side:?}"));
            // And reflected across.
            let own = record(&mut second[sender], b"crossed");
            second[sender].receive(&own);
            second[sender].refused_record(&format!("{pattern:?}, {side:?}"));
        }
    }
}

/// A server's end that has everything but the client's last words: message 3 where there is one, and the first record.
fn before_the_first_record(pattern: Pattern, seed: u64, server: &mut Server) -> (End, Vec<u8>, Vec<u8>) {
    let (mut client, mut end) = (Client { seed, ..Client::new(pattern) }.start(), server.accept());
    end.receive(&client.transmit());
    client.receive(&end.transmit());
    let last = client.transmit();
    let (message, record) = if pattern.messages() == 3 { last.split_at(3 + 64) } else { last.split_at(0) };
    (end, message.to_vec(), record.to_vec())
}

/// The first record decides whether a peer counts as connected, so it is attacked on its own.
#[test]
fn a_first_record_of_another_connection_makes_nobody_connected() {
    for pattern in Pattern::ALL {
        let mut server = Server::new();
        let (_, _, foreign) = before_the_first_record(pattern, 1, &mut server);
        let (mut end, message, own) = before_the_first_record(pattern, 2, &mut server);
        assert_eq!(own.len(), foreign.len());
        end.receive(&message);
        assert!(end.proven.is_some() && end.events.is_empty(), "{pattern:?}");
        end.receive(&foreign);
        end.refused_record(&format!("{pattern:?}"));
        let (mut end, message, own) = before_the_first_record(pattern, 3, &mut server);
        end.receive(&[message, own].concat());
        assert!(end.is_ready(), "{pattern:?}");
    }
}

#[test]
fn an_end_of_file_inside_a_record_is_truncation_and_delivers_no_part_of_it() {
    for pattern in Pattern::ALL {
        for side in [Side::Initiator, Side::Responder] {
            let [mut victim, mut other] = ends(pattern, side);
            let size = record(&mut other, b"cut").len();
            for cut in [1, 2, 3, size / 2, size - 17, size - 16, size - 1] {
                let [mut victim, mut other] = ends(pattern, side);
                let bytes = record(&mut other, b"cut");
                victim.receive(&bytes[..cut]);
                assert!(victim.events.is_empty());
                victim.hang_up();
                assert_eq!(victim.refused("cut"), &Misbehaved::Truncated.into(), "{pattern:?}, {side:?}, {cut}");
            }
            victim.hang_up();
            assert_eq!(victim.refused("between records"), &Misbehaved::Truncated.into(), "{pattern:?}, {side:?}");
        }
    }
}

/// What came whole before the cut counts; that the connection was cut is never taken for its end.
#[test]
fn an_end_of_file_without_close_is_truncation_whatever_came_before() {
    for pattern in Pattern::ALL {
        let [mut victim, mut other] = ends(pattern, Side::Responder);
        victim.receive(&record(&mut other, b"whole"));
        victim.hang_up();
        let truncated = ConnectionError::Misbehaved(Misbehaved::Truncated);
        assert_eq!(truncated.code(), "NP-TRUNCATED");
        let [Event::Opened { key, .. }, Event::Cancelled { key: gone, status }, Event::Closed(error)] =
            &victim.events[..]
        else {
            panic!("{pattern:?}: {:?}", victim.events);
        };
        assert_eq!((key, *status, error), (gone, Status::Unavailable, &truncated));
    }
}

/// A close that was cut off, or forged, is none.
#[test]
fn a_close_counts_only_when_it_is_authentic() {
    for pattern in Pattern::ALL {
        let [mut victim, mut other] = ends(pattern, Side::Responder);
        other.session().close(np_types::CloseCode::Normal, "bye");
        let mut bytes = other.transmit();
        *bytes.last_mut().unwrap() ^= 1;
        victim.receive(&bytes);
        victim.refused_record(&format!("{pattern:?}"));
    }
}
