//! Renewing keys: a thousand times under load, against peers that forget it, and never because nothing was said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{Answer, Event, OpenKind, Session, StreamKey};
use np_testkit::{Dialogue, Setup, settings};
use np_types::{Limits, Misbehaved, Time};
use np_wire::{Frame, Frames, Side, encode_frame, record_len};

use crate::help::{answers, echo, frames, open, request};

fn key(side: Side) -> [u8; 32] {
    if side == Side::Initiator { [1; 32] } else { [2; 32] }
}

fn session(side: Side, limits: &Limits) -> Session {
    let (send, receive) = (SendCipher::danger_from_key(key(side)), ReceiveCipher::danger_from_key(key(side.other())));
    let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    Session::danger_from_traffic(side, limits.clone(), traffic, Time::ZERO)
}

/// Somebody with a copy of one direction's key: counts renewals, and what each key was used for.
struct Tap {
    cipher: ReceiveCipher,
    renewals: usize,
    records: u64,
    bytes: u64,
    /// The most records, and the most bytes, under one key.
    worst: (u64, u64),
}

impl Tap {
    const fn on(cipher: ReceiveCipher) -> Self {
        Self { cipher, renewals: 0, records: 0, bytes: 0, worst: (0, 0) }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while let Ok(Some(length)) = record_len(bytes, 17) {
            let (record, rest) = bytes.split_at(2 + length);
            bytes = rest;
            (self.records, self.bytes) = (self.records + 1, self.bytes + record.len() as u64);
            self.worst = (self.worst.0.max(self.records), self.worst.1.max(self.bytes));
            let mut record = record[2..].to_vec();
            let plain = self.cipher.open_in_place(&mut record).unwrap();
            if Frames::new(plain).last() == Some(Ok(Frame::KeyUpdate)) {
                self.cipher.rekey();
                (self.renewals, self.records, self.bytes) = (self.renewals + 1, 0, 0);
            }
        }
        assert!(bytes.is_empty());
    }
}

/// One end under load: what it asked for and got, and the stream that it talks on.
struct Loaded {
    session: Session,
    tap: Tap,
    asked: BTreeMap<StreamKey, Bytes>,
    answered: BTreeSet<StreamKey>,
    served: BTreeSet<Bytes>,
    stream: Option<StreamKey>,
    said: u64,
    heard: u64,
}

impl Loaded {
    fn new(side: Side, limits: &Limits) -> Self {
        let tap = Tap::on(ReceiveCipher::danger_from_key(key(side)));
        let session = session(side, limits);
        let (asked, answered, served) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { session, tap, asked, answered, served, stream: None, said: 0, heard: 0 }
    }

    /// A call whose body is like no other.
    fn ask(&mut self) {
        let number = self.asked.len() as u64;
        let mut body = number.to_be_bytes().to_vec();
        body.resize(8 + number as usize * 37 % 300, number as u8);
        let body = Bytes::from(body);
        let key = self.session.open(open(OpenKind::Request, body.clone())).unwrap();
        self.asked.insert(key, body);
    }

    /// The next number on the stream, if it takes one.
    fn say(&mut self) {
        if let Some(key) = self.stream.filter(|key| self.session.is_writable(*key)) {
            self.session.send(key, Bytes::copy_from_slice(&self.said.to_be_bytes())).unwrap();
            self.said += 1;
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.session.handle_bytes(Time::ZERO, &mut BytesMut::from(bytes));
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Opened { key, kind: OpenKind::Stream, .. } => self.stream = Some(key),
                Event::Opened { key, body, credit, .. } => {
                    self.session.release(credit);
                    assert!(self.served.insert(body.clone()), "a call was delivered twice");
                    self.session.respond(key, Answer::from(body)).unwrap();
                }
                Event::Answered { key, answer, credit } => {
                    self.session.release(credit);
                    assert_eq!(answer.body, self.asked[&key]);
                    assert!(self.answered.insert(key), "a call was answered twice");
                }
                Event::Data { key, body, .. } => {
                    assert_eq!(body[..], self.heard.to_be_bytes());
                    self.heard += 1;
                    self.session.consumed(key, body.len());
                }
                Event::Ready(_) | Event::Writable { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What it sends now; the tap reads along.
    fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.session.poll_transmit(Time::ZERO, &mut out) {}
        self.session.handle_written(out.len());
        self.tap.read(&out);
        out
    }
}

/// Lets two loaded ends talk until each has renewed its key `renewals` times, and everything is answered.
fn load(limits: &Limits, renewals: usize) -> [Loaded; 2] {
    let mut ends = [Side::Initiator, Side::Responder].map(|side| Loaded::new(side, limits));
    ends[0].stream = Some(ends[0].session.open(open(OpenKind::Stream, Bytes::new())).unwrap());
    let mut quiet = false;
    while !quiet {
        let loading = ends.iter().any(|end| end.tap.renewals < renewals);
        quiet = !loading;
        for at in 0..2 {
            if loading {
                ends[at].ask();
                ends[at].say();
            }
            let bytes = ends[at].transmit();
            quiet &= bytes.is_empty();
            ends[1 - at].receive(&bytes);
        }
    }
    ends
}

fn check_nothing_is_lost(ends: &[Loaded; 2], renewals: usize) {
    for (end, other) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
        assert!(end.tap.renewals >= renewals);
        assert_eq!(end.session.error(), None);
        assert!(end.asked.len() > 100 && end.said > 100);
        assert_eq!(end.answered.len(), end.asked.len());
        assert_eq!(other.served.len(), end.asked.len());
        assert_eq!(other.heard, end.said);
    }
}

#[test]
fn a_thousand_renewals_under_load_lose_nothing_and_answer_nothing_twice() {
    let limits = Limits { rekey_records: 2, ..Limits::default() };
    let ends = load(&limits, 1_000);
    check_nothing_is_lost(&ends, 1_000);
    let counts = ends.each_ref().map(|end| (end.tap.renewals, end.asked.len(), end.said));
    println!("renewals, calls and messages of each end: {counts:?}");
}

/// A sender keeps to its soft limits, so it is always below the hard ones, which are 1.5 times as high.
#[test]
fn no_key_is_used_past_its_soft_limit_but_for_the_record_that_renews_it() {
    let by_records = Limits { rekey_records: 7, ..Limits::default() };
    let ends = load(&by_records, 50);
    check_nothing_is_lost(&ends, 50);
    assert!(ends.iter().all(|end| end.tap.worst.0 == 7), "the renewal stands in the seventh record");
    let by_bytes = Limits { rekey_bytes: 3_000, ..Limits::default() };
    let ends = load(&by_bytes, 50);
    check_nothing_is_lost(&ends, 50);
    assert!(ends.iter().all(|end| end.tap.worst.1 < 3_000 + 1_000), "one record of this load more at the most");
}

/// A session that is open, and the cipher of its peer.
fn open_session(side: Side) -> (Session, SendCipher) {
    let (mut session, mut cipher) = (session(side, &Limits::default()), SendCipher::danger_from_key(key(side.other())));
    let first = seal(&mut cipher, &[Frame::Settings(settings(&Limits::default()))]);
    feed(&mut session, &first);
    assert!(session.peer_settings().is_some());
    (session, cipher)
}

/// Seals frames and does not renew the key, whatever they say.
fn seal(cipher: &mut SendCipher, said: &[Frame<'_>]) -> Vec<u8> {
    let mut plain = Vec::new();
    said.iter().for_each(|frame| encode_frame(&mut plain, frame));
    let tag = cipher.seal_in_place(&mut plain).unwrap();
    let size = (plain.len() + tag.len()) as u16;
    [&size.to_be_bytes()[..], &plain, &tag].concat()
}

fn feed(session: &mut Session, bytes: &[u8]) {
    session.handle_bytes(Time::ZERO, &mut BytesMut::from(bytes));
    while session.poll_event().is_some() {}
}

#[test]
fn a_peer_that_forgets_to_renew_its_key_after_key_update_is_refused() {
    for side in [Side::Initiator, Side::Responder] {
        let (mut session, mut cipher) = open_session(side);
        feed(&mut session, &seal(&mut cipher, &[Frame::KeyUpdate]));
        assert_eq!(session.error(), None);
        // The counter is right; the key is the one before.
        feed(&mut session, &seal(&mut cipher, &[Frame::Ping(1)]));
        assert_eq!(session.error(), Some(&Misbehaved::Record.into()));
    }
}

#[test]
fn a_peer_that_renews_its_key_without_key_update_is_refused() {
    for side in [Side::Initiator, Side::Responder] {
        let (mut session, mut cipher) = open_session(side);
        cipher.rekey();
        feed(&mut session, &seal(&mut cipher, &[Frame::Ping(1)]));
        assert_eq!(session.error(), Some(&Misbehaved::Record.into()));
    }
}

/// Whoever has the key of some time opens nothing of any later time.
#[test]
fn no_key_of_the_past_opens_or_seals_anything_new() {
    for ago in 1..20 {
        let (mut session, mut cipher) = open_session(Side::Responder);
        let mut thief = SendCipher::danger_from_key(key(Side::Initiator));
        seal(&mut thief, &[]);
        for _ in 0..ago {
            feed(&mut session, &seal(&mut cipher, &[Frame::KeyUpdate]));
            cipher.rekey();
            // Right in everything but the renewals.
            seal(&mut thief, &[]);
        }
        assert_eq!((session.error(), thief.counter()), (None, cipher.counter()));
        let next = seal(&mut cipher, &[Frame::Ping(1)]);
        let mut late = ReceiveCipher::danger_from_key(key(Side::Initiator)).danger_with_counter(thief.counter());
        assert!(late.open_in_place(&mut next[2..].to_vec()).is_err(), "{ago}");
        feed(&mut session, &seal(&mut thief, &[Frame::Ping(1)]));
        assert_eq!(session.error(), Some(&Misbehaved::Record.into()), "{ago}");
    }
}

#[test]
fn a_direction_renews_its_key_alone() {
    let (mut session, mut cipher) = open_session(Side::Responder);
    let mut tap = Tap::on(ReceiveCipher::danger_from_key(key(Side::Responder)));
    for token in 0..10 {
        feed(&mut session, &seal(&mut cipher, &[Frame::Ping(token), Frame::KeyUpdate]));
        cipher.rekey();
        let mut out = Vec::new();
        session.poll_transmit(Time::ZERO, &mut out);
        tap.read(&out);
    }
    assert_eq!((tap.renewals, session.error()), (0, None));
}

const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);

#[test]
fn idle_for_a_month_is_no_reason_to_renew_or_to_cut() {
    let mut pair = Setup::default().connect();
    let before = pair.network.pipes.each_ref().map(|pipe| pipe.in_flight());
    assert!(pair.run_for(MONTH), "nothing was due");
    assert_eq!(before, pair.network.pipes.each_ref().map(|pipe| pipe.in_flight()));
    for (caller, callee) in [(0, 1), (1, 0)] {
        pair.events(caller);
        pair.events(callee);
        pair.peers[caller].session().open(request(100)).unwrap();
        pair.settle();
        assert_eq!(echo(&mut pair, callee), 1);
        assert_eq!(answers(&pair.events(caller)).len(), 1);
    }
}

#[test]
fn a_key_that_grew_old_in_silence_is_renewed_with_the_next_record_and_not_before() {
    let mut talk = Dialogue::open(Side::Initiator, &Limits::default());
    talk.now = Time::ZERO + MONTH;
    assert_eq!(talk.session.poll_timeout(), None);
    assert!(talk.hear().is_empty());
    talk.session.open(request(10)).unwrap();
    let heard = talk.hear();
    assert_eq!(frames(&heard).last(), Some(&Frame::KeyUpdate));
    talk.session.ping();
    let heard = talk.hear();
    assert!(!frames(&heard).contains(&Frame::KeyUpdate));
}

/// Age binds the sender alone: its peer does not count the days.
#[test]
fn a_peer_whose_key_is_old_is_not_cut() {
    let mut talk = Dialogue::open(Side::Responder, &Limits::default());
    for month in 1..=12 {
        talk.now = Time::ZERO + MONTH * month;
        talk.say(&[Frame::Ping(u64::from(month))]);
        talk.session.handle_timeout(talk.now);
        assert!(talk.hears(&Frame::Pong(u64::from(month))));
    }
    assert_eq!(talk.session.error(), None);
}
