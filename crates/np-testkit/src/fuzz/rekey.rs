//! Two sessions whose keys hardly last: they are renewed by records, by bytes, by age and by what the input asks for, while
//! calls and streams go on. Somebody who has both first keys reads along: each record opens under the key of its place, no
//! key outlives its soft limit by more than the record that renews it, and a renewal loses nothing. Owns this rule alone.

use std::time::Duration;

use bytes::BytesMut;
use np_noise::ReceiveCipher;
use np_session::Side;
use np_types::Limits;
use np_wire::{Frame, Frames, TAG, record_len};

use super::input::Input;
use super::quick::ciphers;
use super::session_ops::{KEYS, Line, MOST_OPERATIONS, limits};

/// The operation whose time is longer than the life of a key.
pub(super) const AGE: u8 = 14;

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let limits = [short(&mut input), short(&mut input)];
    let mut line = Line::new(false, &limits);
    line.taps = Some([Tap::new(Side::Initiator, &limits[0]), Tap::new(Side::Responder, &limits[1])]);
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = input.u8();
        if operation % 16 == AGE {
            line.pass(line.now + Duration::from_millis(u64::from(input.u8()) * 20));
        } else {
            line.operate(usize::from(operation >> 7), operation % 0x80, &mut input);
        }
    }
    let (whole, taps) = line.judge(&limits);
    whole && taps.is_some_and(|taps| taps.iter().all(|tap| tap.renewals > 0))
}

/// Limits whose keys last for a record, for some, for few bytes or for a second.
fn short(input: &mut Input<'_>) -> Limits {
    let (choice, lives) = (input.u8(), input.u8());
    let limits = Limits {
        rekey_records: [1, 2, 3, 1 << 20][usize::from(lives & 3)],
        rekey_bytes: [1, 100, 3_000, 64 << 30][usize::from(lives >> 2 & 3)],
        rekey_age: Duration::from_secs([1, 120][usize::from(lives >> 4 & 1)]),
        ..limits(choice)
    };
    limits.validate().expect("limits in their ranges");
    limits
}

/// What a side sends, read by somebody who has its first key.
pub(super) struct Tap {
    cipher: ReceiveCipher,
    /// The start of a record that has not left as a whole.
    held: BytesMut,
    most_records: u64,
    most_bytes: u64,
    /// Under the key of the moment, and how often there was another.
    records: u64,
    bytes: u64,
    renewals: u64,
}

impl Tap {
    fn new(side: Side, limits: &Limits) -> Self {
        Self {
            cipher: ciphers([KEYS[side as usize]; 32]).1,
            held: BytesMut::new(),
            most_records: limits.rekey_records,
            most_bytes: limits.rekey_bytes,
            records: 0,
            bytes: 0,
            renewals: 0,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while let Some(length) = record_len(&self.held, TAG + 1).expect("a record") {
            if self.held.len() < 2 + length {
                break;
            }
            let mut record = self.held.split_to(2 + length);
            self.note(&mut record);
        }
    }

    fn note(&mut self, record: &mut [u8]) {
        assert!(self.bytes < self.most_bytes, "a key of {} bytes is used further", self.bytes);
        (self.records, self.bytes) = (self.records + 1, self.bytes + record.len() as u64);
        assert!(self.records <= self.most_records, "record {} under one key", self.records);
        let plain = self.cipher.open_in_place(&mut record[2..]).expect("a record under the key of its place");
        let updates = Frames::new(plain).filter(|frame| *frame == Ok(Frame::KeyUpdate)).count();
        assert!(updates <= 1, "one renewal a record");
        if updates == 1 {
            assert_eq!(Frames::new(plain).last(), Some(Ok(Frame::KeyUpdate)), "a renewal ends its record");
            self.cipher.rekey();
            (self.records, self.bytes, self.renewals) = (0, 0, self.renewals + 1);
        }
    }
}
