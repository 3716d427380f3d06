//! Keys that are renewed by two sessions whose limits are low.

use bytes::BytesMut;
use np_noise::{Crypto, ReceiveCipher, SendCipher, Suite, Traffic};
use np_session::{Session, Side};
use np_types::{Limits, Time};
use np_wire::{Frame, Frames};
use serde::Serialize;

use super::hex;
use super::sessions::small;

/// Records under keys that are renewed after every second one, in both directions.
#[derive(Debug, Serialize)]
pub(super) struct Rekeys {
    suite: &'static str,
    initiator_key: String,
    responder_key: String,
    said: Vec<Sealed>,
}

#[derive(Debug, Serialize)]
struct Sealed {
    from: &'static str,
    record: u64,
    rekeyed: u32,
    plaintext: String,
    bytes: String,
}

/// The first keys are fixed; what is said is settings, then PINGs and their PONGs.
pub(super) fn rekeys(suite: Suite) -> Rekeys {
    let keys = [[0x11; 32], [0x22; 32]];
    let limits = Limits { rekey_records: 2, ..small() };
    let session = |side, send, receive| {
        let (send, receive) =
            (SendCipher::danger_with(crypto(suite), send), ReceiveCipher::danger_with(crypto(suite), receive));
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        Session::danger_from_traffic(side, limits.clone(), traffic, Time::ZERO)
    };
    let mut client = session(Side::Initiator, keys[0], keys[1]);
    let mut server = session(Side::Responder, keys[1], keys[0]);
    let mut listeners = keys.map(|key| Listener { cipher: ReceiveCipher::danger_with(crypto(suite), key), rekeyed: 0 });
    let mut said = Vec::new();
    for _ in 0..4 {
        hand(&mut client, &mut server, "initiator", &mut listeners[0], &mut said);
        hand(&mut server, &mut client, "responder", &mut listeners[1], &mut said);
        client.ping();
    }
    let [initiator_key, responder_key] = keys.map(|key| hex(&key));
    Rekeys { suite: suite.noise_name(), initiator_key, responder_key, said }
}

fn crypto(suite: Suite) -> Crypto {
    Crypto { suite, ..Crypto::default() }
}

/// One direction's key as whoever reads it has it.
struct Listener {
    cipher: ReceiveCipher,
    rekeyed: u32,
}

fn hand(from: &mut Session, to: &mut Session, who: &'static str, listener: &mut Listener, said: &mut Vec<Sealed>) {
    let mut bytes = Vec::new();
    while from.poll_transmit(Time::ZERO, &mut bytes) {}
    from.handle_written(bytes.len());
    to.handle_bytes(Time::ZERO, &mut BytesMut::from(&bytes[..]));
    assert!(!to.is_closed(), "it reads every record");
    let mut rest = &bytes[..];
    while let [high, low, ..] = rest {
        let (record, behind) = rest.split_at(2 + usize::from(u16::from_be_bytes([*high, *low])));
        rest = behind;
        said.push(listener.hear(who, record));
    }
}

impl Listener {
    fn hear(&mut self, from: &'static str, record: &[u8]) -> Sealed {
        let (number, rekeyed) = (self.cipher.counter(), self.rekeyed);
        let mut sealed = record[2..].to_vec();
        let plain = self.cipher.open_in_place(&mut sealed).expect("the next record");
        let update = Frames::new(plain).last() == Some(Ok(Frame::KeyUpdate));
        let row = Sealed { from, record: number, rekeyed, plaintext: hex(plain), bytes: hex(record) };
        if update {
            self.cipher.rekey();
            self.rekeyed += 1;
        }
        row
    }
}
