//! The way out: frames are put together in a record, sealed in place where they stand, and counted.

use std::collections::VecDeque;
use std::time::Duration;

use np_noise::SendCipher;
use np_types::{Limits, Time};
use np_wire::{Frame, MAX_FIRST_RECORD, MAX_PLAINTEXT, RECORD_HEAD, TAG, encode_frame};

/// A key update is two bytes; room for it is kept in every record, so that a worn key never waits.
const KEY_UPDATE_SIZE: usize = 2;
/// The longest padding frame whose length takes two bytes.
const MAX_PADDING: usize = 3 + 16_383;

/// One direction's cipher, the record being put together, and which records the transport has taken.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Without one the records carry no tag, and there is no key to renew.
    cipher: Option<SendCipher>,
    /// Where the open record begins in the output.
    start: Option<usize>,
    pad_to: usize,
    soft: SoftLimits,
    records: u64,
    bytes: u64,
    key_since: Time,
    update_asked: bool,
    /// Bytes given to the transport's buffer so far, and by how many of them each record ends.
    produced: u64,
    written: u64,
    sealed: u64,
    unwritten: VecDeque<u64>,
}

/// What is left of it where nothing moves.
#[derive(Debug)]
pub(crate) struct RestingSender {
    cipher: Option<SendCipher>,
    records: u64,
    bytes: u64,
    key_since: Time,
    sealed: u64,
    written: u64,
}

#[derive(Debug)]
struct SoftLimits {
    records: u64,
    bytes: u64,
    age: Duration,
}

impl Sender {
    pub(crate) const fn new(cipher: Option<SendCipher>, limits: &Limits, now: Time) -> Self {
        Self {
            cipher,
            start: None,
            pad_to: limits.pad_records_to as usize,
            soft: SoftLimits { records: limits.rekey_records, bytes: limits.rekey_bytes, age: limits.rekey_age },
            records: 0,
            bytes: 0,
            key_since: now,
            update_asked: false,
            produced: 0,
            written: 0,
            sealed: 0,
            unwritten: VecDeque::new(),
        }
    }

    /// Counts bytes that stand in the output before the first record: the end of the handshake.
    pub(crate) const fn count_preceding(&mut self, bytes: usize) {
        self.produced += bytes as u64;
    }

    /// Gives back what the next record can have anew.
    pub(crate) fn rest(&mut self) {
        if let Some(cipher) = &mut self.cipher {
            cipher.rest();
        }
        if self.unwritten.is_empty() {
            self.unwritten = VecDeque::new();
        }
    }

    /// Whether all that was sealed is written, and nothing else was asked for.
    pub(crate) fn may_rest(&self) -> bool {
        self.start.is_none() && self.unwritten.is_empty() && self.written == self.produced && !self.update_asked
    }

    pub(crate) const fn put_to_rest(&mut self) -> RestingSender {
        let (records, bytes, key_since) = (self.records, self.bytes, self.key_since);
        RestingSender {
            cipher: self.cipher.take(),
            records,
            bytes,
            key_since,
            sealed: self.sealed,
            written: self.written,
        }
    }

    pub(crate) fn wake(resting: RestingSender, limits: &Limits) -> Self {
        let RestingSender { cipher, records, bytes, key_since, sealed, written } = resting;
        Self { records, bytes, sealed, written, produced: written, ..Self::new(cipher, limits, key_since) }
    }

    pub(crate) const fn ask_key_update(&mut self) {
        self.update_asked = true;
    }

    /// Opens a record if none is open, and seals the open one first if it has less than `needed` bytes of room.
    pub(crate) fn make_room(&mut self, now: Time, out: &mut Vec<u8>, needed: usize) {
        if self.start.is_some() && self.room(out) < needed {
            self.seal(now, out);
        }
        if self.start.is_none() {
            self.start = Some(out.len());
            out.extend_from_slice(&[0; RECORD_HEAD]);
        }
    }

    /// Frame bytes that the open record still takes.
    pub(crate) fn room(&self, out: &[u8]) -> usize {
        let used = self.start.map_or(0, |start| out.len().saturating_sub(start + RECORD_HEAD));
        (MAX_PLAINTEXT - KEY_UPDATE_SIZE).saturating_sub(used)
    }

    /// The number of the open record, or of the next one.
    pub(crate) const fn current_record(&self) -> u64 {
        self.sealed + 1
    }

    /// Seals the open record: its key update if one is due, padding, length and tag.
    pub(crate) fn seal(&mut self, now: Time, out: &mut Vec<u8>) {
        let Some(start) = self.start.take() else {
            return;
        };
        let tag_size = if self.cipher.is_some() { TAG } else { 0 };
        let from = start + RECORD_HEAD;
        let used = out.len().saturating_sub(from);
        let mut padding = self.padding(used);
        // Padding wears the key as well.
        let update = self.update_is_due(now, RECORD_HEAD + used + padding + tag_size);
        if update {
            padding = self.padding(used + KEY_UPDATE_SIZE);
        }
        pad(out, padding);
        if update {
            encode_frame(out, &Frame::KeyUpdate);
        }
        let length = out.len().saturating_sub(from) + tag_size;
        if let Some(cipher) = &mut self.cipher {
            let sealed = out.get_mut(from..).map(|plaintext| cipher.seal_in_place(plaintext));
            // Sealing fails only when 2^64 nonces are used up or a record is too long; neither can be reached, and the
            // peer refuses what is cut off here.
            let Some(Ok(tag)) = sealed else {
                out.truncate(start);
                return;
            };
            out.extend_from_slice(&tag);
        }
        if let Some(head) = out.get_mut(start..from) {
            head.copy_from_slice(&(length as u16).to_be_bytes());
        }
        self.count(now, out.len() - start, update);
    }

    fn count(&mut self, now: Time, size: usize, updated: bool) {
        self.sealed += 1;
        self.produced += size as u64;
        self.unwritten.push_back(self.produced);
        if updated {
            if let Some(cipher) = &mut self.cipher {
                cipher.rekey();
            }
            (self.records, self.bytes, self.key_since, self.update_asked) = (0, 0, now, false);
        } else {
            self.records += 1;
            self.bytes += size as u64;
        }
    }

    fn update_is_due(&self, now: Time, size: usize) -> bool {
        let due = self.update_asked
            || self.records + 1 >= self.soft.records
            || self.bytes + size as u64 >= self.soft.bytes
            || now.since(self.key_since) >= self.soft.age;
        due && self.cipher.is_some()
    }

    /// Bytes of padding that make `used` bytes of frames a multiple of `pad_to`, or none where the record has no room.
    fn padding(&self, used: usize) -> usize {
        let over = used.checked_rem(self.pad_to).unwrap_or(0);
        if over == 0 {
            return 0;
        }
        // A padding frame has a head of at least two bytes; a gap of one takes a whole step more.
        let gap = self.pad_to - over;
        let gap = if gap == 1 { gap + self.pad_to } else { gap };
        let most = if self.sealed == 0 { MAX_FIRST_RECORD - TAG } else { MAX_PLAINTEXT };
        if used + gap > most { 0 } else { gap }
    }

    /// Notes that the transport took `bytes` more.
    pub(crate) fn written(&mut self, bytes: u64) {
        self.written += bytes;
        while self.unwritten.front().is_some_and(|end| *end <= self.written) {
            self.unwritten.pop_front();
        }
    }

    /// Whether the whole of record `number` was handed to the transport.
    pub(crate) fn is_written(&self, number: u64) -> bool {
        number + self.unwritten.len() as u64 <= self.sealed
    }
}

/// Adds padding frames of `gap` bytes together.
fn pad(out: &mut Vec<u8>, mut gap: usize) {
    while gap > 0 {
        // The length of a frame takes one byte up to 63 zeros and two from 64 on, so no frame has 66 bytes.
        let size = match gap {
            66 => 64,
            other => other.min(MAX_PADDING),
        };
        encode_frame(out, &Frame::Padding(size - if size < 66 { 2 } else { 3 }));
        gap -= size;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_noise::{ReceiveCipher, SendCipher};
    use np_types::{Limits, Time};
    use np_wire::{Frame, Frames, encode_frame};

    use super::Sender;

    fn sender(limits: &Limits) -> Sender {
        Sender::new(Some(SendCipher::danger_from_key([1; 32])), limits, Time::ZERO)
    }

    fn record(sender: &mut Sender, now: Time) -> Vec<u8> {
        let mut out = Vec::new();
        sender.make_room(now, &mut out, 16);
        encode_frame(&mut out, &Frame::Ping(7));
        sender.seal(now, &mut out);
        out
    }

    fn open(cipher: &mut ReceiveCipher, record: &mut [u8]) -> Vec<u8> {
        cipher.open_in_place(&mut record[2..]).unwrap().to_vec()
    }

    fn updates(plain: &[u8]) -> bool {
        Frames::new(plain).last() == Some(Ok(Frame::KeyUpdate))
    }

    #[test]
    fn a_key_update_ends_the_record_that_reaches_a_soft_limit() {
        let by_records = Limits { rekey_records: 3, ..Limits::default() };
        let by_bytes = Limits { rekey_bytes: 60, ..Limits::default() };
        for limits in [by_records, by_bytes] {
            let (mut sender, mut cipher) = (sender(&limits), ReceiveCipher::danger_from_key([1; 32]));
            let mut seen = Vec::new();
            for _ in 0..6 {
                let plain = open(&mut cipher, &mut record(&mut sender, Time::ZERO));
                seen.push(updates(&plain));
                if updates(&plain) {
                    cipher.rekey();
                }
            }
            assert_eq!(seen, [false, false, true, false, false, true]);
        }
    }

    #[test]
    fn padding_counts_where_a_record_reaches_the_soft_limit() {
        // 2 + 100 + 16 bytes a record: two are below, the third is not.
        let limits = Limits { rekey_bytes: 300, pad_records_to: 100, ..Limits::default() };
        let (mut sender, mut cipher) = (sender(&limits), ReceiveCipher::danger_from_key([1; 32]));
        for renews in [false, false, true, false, false, true] {
            let mut record = record(&mut sender, Time::ZERO);
            assert_eq!(record.len(), 118);
            assert_eq!(updates(&open(&mut cipher, &mut record)), renews);
            if renews {
                cipher.rekey();
            }
        }
    }

    #[test]
    fn age_renews_the_key_only_when_something_is_sent() {
        let (mut sender, mut cipher) = (sender(&Limits::default()), ReceiveCipher::danger_from_key([1; 32]));
        let young = Time::ZERO + Duration::from_secs(119);
        assert!(!updates(&open(&mut cipher, &mut record(&mut sender, young))));
        let old = Time::ZERO + Duration::from_secs(121);
        assert!(updates(&open(&mut cipher, &mut record(&mut sender, old))));
    }

    #[test]
    fn without_a_cipher_records_carry_no_tag_and_no_key_is_renewed() {
        let limits = Limits { rekey_records: 1, ..Limits::default() };
        let mut sender = Sender::new(None, &limits, Time::ZERO);
        sender.ask_key_update();
        for _ in 0..3 {
            let record = record(&mut sender, Time::ZERO);
            assert_eq!(usize::from(record[0]) << 8 | usize::from(record[1]), record.len() - 2);
            assert!(Frames::new(&record[2..]).eq([Ok(Frame::Ping(7))]));
        }
    }

    #[test]
    fn padding_hides_the_length() {
        for pad_to in [1u16, 16, 64, 69, 70, 71, 72, 73, 255, 16_384] {
            let limits = Limits { pad_records_to: pad_to, ..Limits::default() };
            for token in [0, 100, 1 << 20, 1 << 40] {
                let limits = Limits { rekey_records: if token == 100 { 1 } else { 1 << 20 }, ..limits.clone() };
                let mut sender = sender(&limits);
                // The first record is small, and has no room for much padding.
                sender.sealed = 1;
                let mut out = Vec::new();
                sender.make_room(Time::ZERO, &mut out, 16);
                encode_frame(&mut out, &Frame::Ping(token));
                sender.seal(Time::ZERO, &mut out);
                assert_eq!((out.len() - 2 - 16) % usize::from(pad_to), 0, "{pad_to} {token}");
                let plain = open(&mut ReceiveCipher::danger_from_key([1; 32]), &mut out);
                assert!(Frames::new(&plain).all(|frame| frame.is_ok()));
            }
        }
    }

    #[test]
    fn a_record_counts_as_written_with_its_last_byte() {
        let mut sender = sender(&Limits::default());
        let number = sender.current_record();
        let size = record(&mut sender, Time::ZERO).len() as u64;
        sender.written(size - 1);
        assert!(!sender.is_written(number));
        sender.written(1);
        assert!(sender.is_written(number) && !sender.is_written(number + 1));
    }

    /// No padding frame has one byte.
    #[test]
    fn a_gap_of_one_byte_takes_a_step_more() {
        let sender = sender(&Limits { pad_records_to: 16, ..Limits::default() });
        assert_eq!([13, 14, 15, 16, 17].map(|used| sender.padding(used)), [3, 2, 17, 0, 15]);
    }

    /// The peer refuses a first record of more than 4,096 bytes, tag included.
    #[test]
    fn padding_does_not_take_a_first_record_beyond_what_it_may_have() {
        let mut sender = sender(&Limits { pad_records_to: 4_081, ..Limits::default() });
        assert_eq!([100, 4_000, 4_079].map(|used| sender.padding(used)), [0; 3], "4,081 bytes and a tag are too many");
        sender.pad_to = 4_080;
        assert_eq!(sender.padding(100), 3_980, "4,080 bytes and a tag are what it may have");
        sender.sealed = 1;
        sender.pad_to = 4_081;
        assert_eq!(sender.padding(100), 3_981);
    }
}
