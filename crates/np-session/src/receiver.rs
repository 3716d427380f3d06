//! The way in: whole records are opened in place and cut off the input.

use bytes::{Buf as _, Bytes, BytesMut};
use np_noise::ReceiveCipher;
use np_types::{ConnectionError, LimitHit, LimitName, Misbehaved};
use np_wire::{MAX_FIRST_RECORD, RECORD_HEAD, TAG, record_len};

/// 1.5 times the soft limits of version 1; past these a peer that does not renew its key is cut.
const HARD_RECORDS: u64 = (1 << 20) + (1 << 19);
const HARD_BYTES: u64 = 96 << 30;

/// One direction's cipher, and how much it opened with the key it has.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// Without one the records carry no tag, and a key update is an error.
    cipher: Option<ReceiveCipher>,
    records: u64,
    bytes: u64,
    hard: (u64, u64),
    /// Whether no record has opened yet, so that anybody may have sent what comes.
    first: bool,
}

/// What is left of it where nothing moves.
#[derive(Debug)]
pub(crate) struct RestingReceiver {
    cipher: Option<ReceiveCipher>,
    records: u64,
    bytes: u64,
}

impl Receiver {
    pub(crate) const fn new(cipher: Option<ReceiveCipher>) -> Self {
        Self { cipher, records: 0, bytes: 0, hard: (HARD_RECORDS, HARD_BYTES), first: true }
    }

    /// Takes the next whole record off `input` and opens it; `None` while it is not all there.
    ///
    /// The bytes are a slice of the input's buffer: nothing is copied.
    pub(crate) fn next_record(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, ConnectionError> {
        let tag = if self.cipher.is_some() { TAG } else { 0 };
        let Some(length) = record_len(input, tag + 1)? else {
            return Ok(None);
        };
        if self.first && length > MAX_FIRST_RECORD {
            let (allowed, seen) = (MAX_FIRST_RECORD as u64, length as u64);
            return Err(LimitHit { limit: LimitName::Record, allowed, seen }.into());
        }
        let size = RECORD_HEAD + length;
        if input.len() < size {
            // Bounded by the longest record, 64 KiB, whatever the peer announces.
            input.reserve(size - input.len());
            return Ok(None);
        }
        self.count(size)?;
        let mut record = input.split_to(size);
        record.advance(RECORD_HEAD);
        if let Some(cipher) = &mut self.cipher {
            let plaintext = cipher.open_in_place(&mut record).map_err(|_| Misbehaved::Record)?.len();
            record.truncate(plaintext);
        }
        self.first = false;
        Ok(Some(record.freeze()))
    }

    /// Gives back what the next record can have anew.
    pub(crate) fn rest(&mut self) {
        if let Some(cipher) = &mut self.cipher {
            cipher.rest();
        }
    }

    /// Of a peer that has been heard.
    pub(crate) const fn put_to_rest(&mut self) -> RestingReceiver {
        RestingReceiver { cipher: self.cipher.take(), records: self.records, bytes: self.bytes }
    }

    pub(crate) fn wake(resting: RestingReceiver) -> Self {
        let RestingReceiver { cipher, records, bytes } = resting;
        Self { records, bytes, first: false, ..Self::new(cipher) }
    }

    fn count(&mut self, size: usize) -> Result<(), Misbehaved> {
        self.records += 1;
        self.bytes += size as u64;
        let worn = self.records > self.hard.0 || self.bytes > self.hard.1;
        if worn && self.cipher.is_some() { Err(Misbehaved::KeyWornOut) } else { Ok(()) }
    }

    /// The peer renewed its key: the next record uses it.
    pub(crate) fn update_key(&mut self) -> Result<(), Misbehaved> {
        self.cipher.as_mut().ok_or(Misbehaved::KeyUpdate)?.rekey();
        (self.records, self.bytes) = (0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use np_noise::{ReceiveCipher, SendCipher};
    use np_types::{ConnectionError, LimitHit, LimitName, Limits, Misbehaved};

    use super::{HARD_BYTES, HARD_RECORDS, Receiver};

    /// A record of 20 bytes, its head included.
    fn sealed(cipher: &mut SendCipher) -> BytesMut {
        let mut plain = [0u8; 2];
        let tag = cipher.seal_in_place(&mut plain).unwrap();
        BytesMut::from(&[&18u16.to_be_bytes()[..], &plain, &tag].concat()[..])
    }

    fn input(records: usize) -> BytesMut {
        let mut cipher = SendCipher::danger_from_key([1; 32]);
        (0..records).map(|_| sealed(&mut cipher)).fold(BytesMut::new(), |mut input, record| {
            input.extend_from_slice(&record);
            input
        })
    }

    #[test]
    fn a_worn_key_is_refused_at_its_hard_limit() {
        for hard in [(3, u64::MAX), (u64::MAX, 60)] {
            let cipher = ReceiveCipher::danger_from_key([1; 32]);
            let mut receiver = Receiver { hard, ..Receiver::new(Some(cipher)) };
            let mut input = input(4);
            for _ in 0..3 {
                assert!(receiver.next_record(&mut input).unwrap().is_some());
            }
            let error = receiver.next_record(&mut input).unwrap_err();
            assert_eq!(error, ConnectionError::Misbehaved(Misbehaved::KeyWornOut));
        }
    }

    /// The true limits, at their edges: the last record is read, and the next only after a renewal.
    #[test]
    fn the_hard_limits_are_one_and_a_half_times_the_soft_ones() {
        let soft = Limits::default();
        assert_eq!((2 * HARD_RECORDS, 2 * HARD_BYTES), (3 * soft.rekey_records, 3 * soft.rekey_bytes));
        for (records, bytes) in [(HARD_RECORDS - 1, 0), (0, HARD_BYTES - 20)] {
            for renewed in [true, false] {
                let receiver = Receiver::new(Some(ReceiveCipher::danger_from_key([1; 32])));
                let mut receiver = Receiver { records, bytes, ..receiver };
                let mut cipher = SendCipher::danger_from_key([1; 32]);
                assert!(receiver.next_record(&mut sealed(&mut cipher)).unwrap().is_some());
                if renewed {
                    cipher.rekey();
                    receiver.update_key().unwrap();
                }
                let next = receiver.next_record(&mut sealed(&mut cipher));
                let worn = ConnectionError::Misbehaved(Misbehaved::KeyWornOut);
                assert_eq!(next.err(), (!renewed).then_some(worn));
            }
        }
    }

    /// RFC 8446, section 5.5, lets one key of AES-GCM seal 2^24.5 records of 2^14 bytes, for an attacker's advantage of
    /// 2^-57: that is 2^34.5 blocks. A record of np may be longer than one of TLS, so that blocks count here.
    #[test]
    fn the_hard_limits_are_within_those_of_aes_gcm() {
        // Each record takes a block for its tag, and one that its text does not fill.
        let blocks = HARD_BYTES / 16 + 2 * HARD_RECORDS;
        assert!(blocks < 1 << 34, "{blocks}");
    }

    #[test]
    fn a_first_record_is_small_and_nothing_is_reserved_for_a_larger_one() {
        let mut receiver = Receiver::new(Some(ReceiveCipher::danger_from_key([1; 32])));
        let mut announced = BytesMut::from(&4_097u16.to_be_bytes()[..]);
        let error = receiver.next_record(&mut announced).unwrap_err();
        assert_eq!(error, LimitHit { limit: LimitName::Record, allowed: 4_096, seen: 4_097 }.into());
        assert!(announced.capacity() < 4_096);
        let mut receiver = Receiver::new(Some(ReceiveCipher::danger_from_key([1; 32])));
        assert_eq!(receiver.next_record(&mut BytesMut::from(&4_096u16.to_be_bytes()[..])), Ok(None));
        // From the second on the sender is known, and records have their full length.
        assert!(receiver.next_record(&mut input(1)).unwrap().is_some());
        assert_eq!(receiver.next_record(&mut BytesMut::from(&u16::MAX.to_be_bytes()[..])), Ok(None));
    }

    #[test]
    fn a_record_waits_for_its_last_byte() {
        let mut receiver = Receiver::new(Some(ReceiveCipher::danger_from_key([1; 32])));
        let whole = input(1);
        let mut buffer = BytesMut::new();
        for byte in &whole[..whole.len() - 1] {
            buffer.extend_from_slice(&[*byte]);
            assert_eq!(receiver.next_record(&mut buffer), Ok(None));
        }
        buffer.extend_from_slice(&whole[whole.len() - 1..]);
        assert_eq!(receiver.next_record(&mut buffer).unwrap().unwrap().len(), 2);
    }

    /// What is missing comes in one piece then, and is not moved as it grows.
    #[test]
    fn the_rest_of_a_record_has_its_room_as_soon_as_its_length_is_there() {
        let mut receiver = Receiver::new(Some(ReceiveCipher::danger_from_key([1; 32])));
        for came in [0, 3_000] {
            let mut begun = BytesMut::from(&[&4_096u16.to_be_bytes()[..], &vec![7; came]].concat()[..]);
            assert_eq!(receiver.next_record(&mut begun), Ok(None));
            assert!((4_098..2 * 4_098).contains(&begun.capacity()), "{}", begun.capacity());
        }
    }
}
