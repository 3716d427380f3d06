//! Records against a live cipher: sealed, held back, repeated, changed, turned round or made up. A record opens when it is
//! the next one under the key of the moment and not a bit was changed, and then alone; the first that does not open is
//! the last that is looked at. Owns this rule alone.

use np_noise::{NoiseError, ReceiveCipher, SendCipher};

use super::input::Input;
use crate::Rng;

const MOST_OPERATIONS: usize = 200;

struct Record {
    bytes: Vec<u8>,
    text: Vec<u8>,
    number: u64,
    key: u32,
}

struct Line {
    send: SendCipher,
    receive: ReceiveCipher,
    /// What the reader itself sends: nothing of it may come back as the peer's.
    back: SendCipher,
    /// How often each end of the line renewed its key.
    keys: (u32, u32),
    records: Vec<Record>,
    opened: u64,
    dead: bool,
}

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    // A fuzzer sees what tags are compared with, and would forge one under a key that it met before: so every input has
    // keys of its own.
    let mut keys =
        Rng::new(data.iter().fold(1, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)));
    let (there, back) = (keys.bytes32(), keys.bytes32());
    let mut line = Line {
        send: SendCipher::danger_from_key(there),
        receive: ReceiveCipher::danger_from_key(there),
        back: SendCipher::danger_from_key(back),
        keys: (0, 0),
        records: Vec::new(),
        opened: 0,
        dead: false,
    };
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        line.operate(&mut input);
    }
    line.opened > 0 && !line.dead
}

impl Line {
    fn operate(&mut self, input: &mut Input<'_>) {
        match input.u8() % 8 {
            0 => {
                let at = self.seal(input);
                self.deliver(at, self.records[at].bytes.clone());
            }
            1 => {
                let at = self.seal(input);
                let bytes = input.edit(&self.records[at].bytes, 2);
                self.deliver(at, bytes);
            }
            2 => drop(self.seal(input)),
            3 => {
                // An old one again, or one that was held back.
                let choice = usize::from(input.u8());
                if let Some(at) = choice.checked_rem(self.records.len()) {
                    self.deliver(at, self.records[at].bytes.clone());
                }
            }
            4 => {
                let size = usize::from(input.u8());
                let mut bytes = input.take(size).to_vec();
                let tag = self.back.seal_in_place(&mut bytes).expect("a short record");
                bytes.extend_from_slice(&tag);
                self.refuse(bytes);
            }
            5 => {
                let size = usize::from(input.u16());
                self.refuse(input.take(size).to_vec());
            }
            6 => {
                self.send.rekey();
                self.keys.0 += 1;
            }
            _ => {
                self.receive.rekey();
                self.keys.1 += 1;
            }
        }
    }

    fn seal(&mut self, input: &mut Input<'_>) -> usize {
        let size = usize::from(input.u8());
        let text = input.take(size).to_vec();
        let (number, mut bytes) = (self.send.counter(), text.clone());
        let tag = self.send.seal_in_place(&mut bytes).expect("a short record");
        bytes.extend_from_slice(&tag);
        self.records.push(Record { bytes, text, number, key: self.keys.0 });
        self.records.len() - 1
    }

    fn deliver(&mut self, at: usize, mut bytes: Vec<u8>) {
        let record = &self.records[at];
        let next = record.number == self.opened && record.key == self.keys.1;
        if self.dead || !next || bytes != record.bytes {
            return self.refuse(bytes);
        }
        assert_eq!(self.receive.open_in_place(&mut bytes).expect("the next record opens"), record.text);
        self.opened += 1;
        assert_eq!(self.receive.counter(), self.opened);
    }

    fn refuse(&mut self, mut bytes: Vec<u8>) {
        let before = bytes.clone();
        let error = self.receive.open_in_place(&mut bytes).expect_err("no other record opens");
        assert_eq!(error == NoiseError::Dead, self.dead);
        assert_eq!((bytes, self.receive.counter()), (before, self.opened), "a refused record leaves no trace");
        self.dead = true;
    }
}
