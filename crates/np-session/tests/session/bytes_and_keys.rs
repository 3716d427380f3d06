//! Records as bytes: splits, flipped bits, padding, and keys that are renewed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use np_noise::{
    AgreementKey, CipherKey, Crypto, NoiseError, Provider, ReceiveCipher, RustCrypto, SendCipher, Suite, Traffic,
};
use np_session::{Answer, Event, OpenCall, OpenKind, Session};
use np_testkit::{Dialogue, Setup, body};
use np_types::{CloseCode, ConnectionError, Limits, Malformed, Metadata, Misbehaved, SecretKey, Status, Time};
use np_wire::{Frame, Open, Side, StreamId};

use crate::help::{echo, first_call, frames, opened, request, stream};

/// A whole conversation of the other end, sealed.
fn conversation(talk: &mut Dialogue) -> Vec<u8> {
    let id = |at| StreamId::new(Side::Initiator, at);
    let records: [&[Frame<'_>]; 6] = [
        &[Frame::Settings(np_testkit::settings(&Limits::default()))],
        &[Frame::Method { number: 0, name: "m" }, Frame::Open(Open::new(OpenKind::Stream)), Frame::Ping(3)],
        &[Frame::Open(Open { total: Some(40), body: &[1; 20], ..Open::new(OpenKind::Request) }), Frame::KeyUpdate],
        &[Frame::Data { id: id(1), fin: true, end: true, body: &[2; 20] }, Frame::Padding(4)],
        &[
            Frame::Data { id: id(0), fin: false, end: true, body: b"hello" },
            Frame::Cancel { id: id(1), status: Status::Cancelled },
        ],
        &[Frame::Close { code: CloseCode::Normal, text: "bye" }],
    ];
    records.iter().flat_map(|record| talk.hand.seal(record)).collect()
}

/// What happens at a session that gets the conversation in two pieces, and what it says.
fn after_split(at: usize) -> (Vec<Event>, Vec<u8>) {
    let mut talk = Dialogue::start(Side::Responder, &Limits::default());
    let bytes = conversation(&mut talk);
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    talk.feed(first);
    talk.feed(second);
    (talk.events(), talk.hear())
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    let size = conversation(&mut Dialogue::start(Side::Responder, &Limits::default())).len();
    let whole = after_split(size);
    assert_eq!(whole.0.len(), 7, "{:?}", whole.0);
    for at in 0..size {
        assert_eq!(after_split(at), whole, "{at}");
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_refused() {
    let record = Dialogue::open(Side::Responder, &Limits::default()).hand.seal(&[Frame::Ping(9)]);
    for bit in 0..record.len() * 8 {
        let mut talk = Dialogue::open(Side::Responder, &Limits::default());
        let mut record = talk.hand.seal(&[Frame::Ping(9)]);
        record[bit / 8] ^= 1 << (bit % 8);
        talk.feed(&record);
        if talk.session.error().is_none() {
            // A longer length: the rest never comes.
            assert!(bit < 16 && !talk.input.is_empty(), "{bit}");
            talk.session.handle_eof();
        }
        let error = talk.session.error().cloned().unwrap();
        let fine = match error {
            ConnectionError::Misbehaved(Misbehaved::Record) => true,
            ConnectionError::Malformed(Malformed::Value(_)) | ConnectionError::Misbehaved(Misbehaved::Truncated) => {
                bit < 16
            }
            _ => false,
        };
        assert!(fine, "bit {bit}: {error}");
        assert!(!talk.hears(&Frame::Pong(9)));
    }
}

/// Whether the session's next records renew the key.
fn renewals(talk: &mut Dialogue, records: usize) -> Vec<bool> {
    let each = (0..records).map(|_| {
        talk.session.ping();
        let heard = talk.hear();
        frames(&heard).last() == Some(&Frame::KeyUpdate)
    });
    each.collect()
}

#[test]
fn keys_are_renewed_after_records_bytes_and_time() {
    // The settings are the first record of a session.
    let start = |limits: &Limits| Dialogue::open(Side::Responder, limits);
    let never = Limits::default();
    assert_eq!(renewals(&mut start(&never), 6), [false; 6]);
    let records = Limits { rekey_records: 3, ..Limits::default() };
    assert_eq!(renewals(&mut start(&records), 5), [false, true, false, false, true]);
    let bytes = Limits { rekey_bytes: 60, ..Limits::default() };
    assert!(renewals(&mut start(&bytes), 6).contains(&true));
    let age = Limits { rekey_age: Duration::from_secs(5), ..Limits::default() };
    let mut talk = start(&age);
    talk.now = Time::ZERO + Duration::from_millis(4_999);
    assert_eq!(renewals(&mut talk, 1), [false]);
    talk.now = Time::ZERO + Duration::from_secs(5);
    assert_eq!(renewals(&mut talk, 2), [true, false]);
    let mut asked = start(&never);
    asked.session.update_key();
    assert_eq!(renewals(&mut asked, 2), [true, false]);
}

#[test]
fn a_key_per_record_carries_a_whole_conversation() {
    let limits = Limits { rekey_records: 1, ..Limits::default() };
    let mut pair = Setup::with_limits(&limits).connect();
    for at in 0..20 {
        pair.events(0);
        pair.events(1);
        pair.client().open(request(at * 9_000)).unwrap();
        pair.server().update_key();
        pair.settle();
        assert_eq!(echo(&mut pair, 1), 1);
        let events = pair.events(0);
        let [Event::Answered { answer, credit, .. }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(*answer, Answer::from(body(7, 0, at * 9_000)));
        pair.client().release(*credit);
    }
}

#[test]
fn a_rest_at_any_moment_takes_nothing_away() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    for at in 0..3 {
        talk.session.rest(Time::ZERO);
        let call = first_call(OpenKind::Request, b"asked");
        talk.say(if at == 0 { &call } else { &call[1..] });
        // An event waits for the application, then an answer for its turn, then its bytes for the transport.
        talk.session.rest(Time::ZERO);
        let [(key, _, body, credit)] = <[_; 1]>::try_from(opened(&talk.events())).unwrap();
        assert_eq!(body, "asked");
        talk.session.release(credit);
        talk.session.respond(key, Answer::from(body)).unwrap();
        talk.session.rest(Time::ZERO);
        let mut out = Vec::new();
        assert!(talk.session.poll_transmit(talk.now, &mut out));
        talk.session.rest(Time::ZERO);
        talk.session.handle_written(out.len());
        let heard = talk.hand.open(&out);
        let answered = frames(&heard).iter().any(|frame| matches!(frame, Frame::Response(it) if it.body == b"asked"));
        assert!(answered, "{at}: {heard:?}");
    }
    talk.session.rest(Time::ZERO);
    assert!(talk.session.is_idle() && talk.session.opened() == 3 && talk.session.held_bytes() == 0);
}

/// Counts the keys that are prepared, each until it is dropped.
#[derive(Debug)]
struct Counting(AtomicUsize);

struct Counted(&'static Counting, Box<dyn CipherKey>);

impl Counting {
    fn count(&'static self, key: Box<dyn CipherKey>) -> Box<dyn CipherKey> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::new(Counted(self, key))
    }
}

impl Provider for &'static Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn agreement_key(&self, secret: &SecretKey) -> Box<dyn AgreementKey> {
        RustCrypto.agreement_key(secret)
    }

    fn cipher_key(&self, suite: Suite, key: &[u8; 32]) -> Box<dyn CipherKey> {
        self.count(RustCrypto.cipher_key(suite, key))
    }
}

impl CipherKey for Counted {
    fn seal_in_place(&self, nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; 16], NoiseError> {
        self.1.seal_in_place(nonce, ad, text)
    }

    fn open_in_place(&self, nonce: &[u8; 12], ad: &[u8], record: &mut [u8]) -> Result<(), NoiseError> {
        self.1.open_in_place(nonce, ad, record)
    }

    fn renewed(&self, key: &[u8; 32]) -> Box<dyn CipherKey> {
        self.0.count(self.1.renewed(key))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_rest_keeps_no_prepared_key_of_either_direction() {
    static KEYS: Counting = Counting(AtomicUsize::new(0));
    static PROVIDER: &Counting = &KEYS;
    let prepared = || KEYS.0.load(Ordering::Relaxed);
    let session = |side, crypto, [one, other]: [u8; 2]| {
        let send = SendCipher::danger_with(crypto, [one; 32]);
        let receive = ReceiveCipher::danger_with(crypto, [other; 32]);
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        Session::danger_from_traffic(side, Limits::default(), traffic, Time::ZERO)
    };
    let counted = Crypto { provider: &PROVIDER, ..Crypto::default() };
    let mut here = session(Side::Responder, counted, [1, 2]);
    let mut there = session(Side::Initiator, Crypto::default(), [2, 1]);
    let pass = |from: &mut Session, to: &mut Session| {
        let mut out = Vec::new();
        assert!(from.poll_transmit(Time::ZERO, &mut out));
        from.handle_written(out.len());
        to.handle_bytes(Time::ZERO, &mut bytes::BytesMut::from(&out[..]));
    };
    // The settings of both sides, then a sign of life.
    for round in 0..2 {
        here.rest(Time::ZERO);
        assert_eq!(prepared(), 0, "{round}");
        pass(&mut there, &mut here);
        assert_eq!(prepared(), 1, "the key that opens, {round}");
        here.rest(Time::ZERO);
        assert_eq!(prepared(), 0, "{round}");
        pass(&mut here, &mut there);
        assert_eq!(prepared(), 1, "the key that seals, {round}");
        there.ping();
    }
    assert!(here.error().is_none() && there.error().is_none());
}

#[test]
fn the_settings_name_the_encodings_that_are_read() {
    let (send, receive) = (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([2; 32]));
    let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    let mut session = Session::danger_from_traffic(Side::Responder, Limits::default(), traffic, Time::ZERO);
    let mut out = Vec::new();
    assert!(session.poll_transmit(Time::ZERO, &mut out));
    let first = ReceiveCipher::danger_from_key([1; 32]).open_in_place(&mut out[2..]).unwrap().to_vec();
    let Some(Frame::Settings(settings)) = frames(&first).first().cloned() else { panic!("{first:?}") };
    assert_eq!(settings.encodings, 1 << 1 | 1 << 2, "LZ4 and Zstandard, by their numbers");
}

/// As much as there may be, behind calls that leave just room for it in the record, or just not.
#[test]
fn metadata_of_every_call_fit_their_record() {
    let mut metadata = Metadata::new();
    for at in 0..Metadata::MAX_PAIRS {
        metadata.insert(&format!("{at:02}"), &vec![7; Metadata::MAX_BYTES / Metadata::MAX_PAIRS - 2]).unwrap();
    }
    for last in (0..1_000).step_by(25) {
        let mut pair = Setup::with_limits(&Limits::default()).connect();
        let sizes = [[1_000; 56].as_slice(), &[last]].concat();
        for size in sizes {
            pair.client().open(request(size)).unwrap();
        }
        let full = OpenCall { metadata: metadata.clone(), ..request(1) };
        pair.client().open(full).unwrap();
        pair.settle();
        let came = opened(&pair.events(1)).len();
        assert_eq!((came, pair.client().error().cloned(), pair.server().error().cloned()), (58, None, None), "{last}");
    }
}

#[test]
fn ends_of_streams_share_a_record() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    talk.say(&[Frame::Method { number: 0, name: "m" }]);
    talk.say(&vec![Frame::Open(Open::new(OpenKind::Stream)); 3]);
    for (key, ..) in opened(&talk.events()) {
        talk.session.end(key, Status::Failed, "done", Metadata::new()).unwrap();
    }
    let mut out = Vec::new();
    assert!(talk.session.poll_transmit(talk.now, &mut out));
    talk.session.handle_written(out.len());
    assert_eq!(usize::from(u16::from_be_bytes([out[0], out[1]])), out.len() - 2, "one record");
    let ends = frames(&talk.hand.open(&out)).iter().filter(|frame| matches!(frame, Frame::Trailers(_))).count();
    assert_eq!(ends, 3);
}

#[test]
fn padding_makes_records_alike() {
    let sizes = |pad_records_to| {
        let mut talk = Dialogue::open(Side::Initiator, &Limits { pad_records_to, ..Limits::default() });
        [1, 40, 90].map(|size| {
            talk.session.open(request(size)).unwrap();
            let mut out = Vec::new();
            talk.session.poll_transmit(Time::ZERO, &mut out);
            out.len() - 18
        })
    };
    assert!(sizes(128).iter().all(|size| *size == 128), "{:?}", sizes(128));
    let plain = sizes(0);
    assert!(plain[0] < plain[1] && plain[1] < plain[2]);
}

#[test]
fn pieces_of_streams_share_a_record_while_it_has_room() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    let keys = [(); 3].map(|()| talk.session.open(stream()).unwrap());
    talk.hear();
    for key in keys {
        talk.session.send(key, body(1, 0, 2_000)).unwrap();
    }
    let mut out = Vec::new();
    talk.session.poll_transmit(talk.now, &mut out);
    assert_eq!(usize::from(u16::from_be_bytes([out[0], out[1]])), out.len() - 2, "one record");
    let heard = talk.hand.open(&out);
    assert!(matches!(&frames(&heard)[..], [Frame::Data { .. }, Frame::Data { .. }, Frame::Data { .. }]));
}
