//! What a thief can do with one stolen secret: be its owner, which nobody can prevent, and nobody else.

use np_noise::Pattern;

use crate::forger::{Forger, Lie};
use crate::world::{CLIENT, Client, SERVER, Server, pair, proving_client, proving_server};

/// Key-compromise impersonation: the thief has the server's own secret and poses as a client towards that server.
#[test]
fn who_stole_the_servers_key_cannot_pose_as_a_client_to_it() {
    for pattern in proving_client() {
        let mut server = Server::new().accept();
        let fixed = Some(Lie::to_a_victim_with(SERVER, pair(CLIENT).public()));
        let (mut forged, flight) = Forger { fixed, ..Forger::new(pattern, pair(SERVER).public()) }.first_flight();
        server.receive(&flight);
        let what = format!("{pattern:?}");
        // Message 1 of IK and KK proves the client by a secret that the thief shares: it passes, and is no connection.
        let passes = matches!(pattern, Pattern::IK | Pattern::KK | Pattern::IKpsk2);
        assert_eq!(server.proven.is_some(), passes, "{what}");
        let message_2 = server.transmit();
        let read = forged.read(&message_2).is_some();
        assert_eq!(read, !passes, "{what}: message 2 needs the client's own secret");
        if read {
            server.receive(&forged.write(&[]).unwrap());
            server.refused_as_forged(&what);
        } else {
            // Whatever it says next under keys that it does not have.
            server.receive(&[&[0, 40][..], &[7; 40]].concat());
            server.refused_record(&what);
        }
    }
}

/// The other way: the thief has a client's secret and poses as the server towards that client.
#[test]
fn who_stole_a_clients_key_cannot_pose_as_the_server_to_it() {
    for pattern in proving_server() {
        let mut client = Client::new(pattern).start();
        let fixed = Some(Lie::to_a_victim_with(CLIENT, pair(SERVER).public()));
        let forger = Forger { fixed, ..Forger::new(pattern, pair(CLIENT).public()) };
        let flight = client.transmit();
        let answer = forger.answer(&flight).map_or_else(|| forger.guess(), |(_, message)| message);
        client.receive(&answer);
        client.refused_as_forged(&format!("{pattern:?}"));
        assert_eq!(client.proven, None, "{pattern:?}");
    }
}
