//! A million ways to change valid traffic on its way to an open session. None may have any effect but the end.

use std::thread;

use bytes::{Bytes, BytesMut};
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{Event, OpenKind, Session, Side, StreamId};
use np_testkit::{Rng, settings};
use np_types::{ConnectionError, LimitHit, LimitName, Limits, Malformed, Misbehaved, Status, Time};
use np_wire::{Frame, MAX_FIRST_RECORD, Open, encode_frame};

const MUTATIONS: u64 = 1_000_000;
const THREADS: u64 = 4;
const RECORDS: usize = 5;
const HEAD: usize = 2;
const TAG: usize = 16;

/// Valid traffic of one peer, record by record, and what the session says of each.
struct Conversation {
    side: Side,
    records: Vec<Vec<u8>>,
    events: Vec<Vec<Event>>,
    /// All records as one, and where each of them begins.
    whole: Vec<u8>,
    begins: Vec<usize>,
}

fn key(side: Side) -> [u8; 32] {
    if side == Side::Initiator { [1; 32] } else { [2; 32] }
}

/// A session of `side` as it is after a handshake, with a call of its own under way if it is the one that calls.
fn session(side: Side) -> Session {
    let (send, receive) = (SendCipher::danger_from_key(key(side)), ReceiveCipher::danger_from_key(key(side.other())));
    let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
    Session::danger_from_traffic(side, Limits::default(), traffic, Time::ZERO)
}

/// What a caller says: settings, a call, a stream with a message, a ping beside a credit, a renewed key and a call.
fn records_of_a_caller() -> Vec<Vec<Frame<'static>>> {
    let stream = StreamId::new(Side::Initiator, 1);
    vec![
        vec![Frame::Settings(settings(&Limits::default()))],
        vec![
            Frame::Method { number: 0, name: "pay" },
            Frame::Open(Open { body: b"once", ..Open::new(OpenKind::Request) }),
        ],
        vec![
            Frame::Open(Open::new(OpenKind::Stream)),
            Frame::Data { id: stream, fin: false, end: true, body: &[7; 40] },
            Frame::KeyUpdate,
        ],
        vec![Frame::Ping(9), Frame::ConnectionCredit(5_000), Frame::Padding(30)],
        vec![Frame::Cancel { id: stream, status: Status::Cancelled }, Frame::Open(Open::new(OpenKind::OneWay))],
    ]
}

/// What a callee says to a session without calls: settings, a call of its own, pings, credit, a go-away.
fn records_of_a_callee() -> Vec<Vec<Frame<'static>>> {
    let mut records = records_of_a_caller();
    for frame in records.iter_mut().flatten() {
        match frame {
            Frame::Data { id, .. } | Frame::Cancel { id, .. } => *id = StreamId::new(Side::Responder, id.index()),
            _ => {}
        }
    }
    records
}

impl Conversation {
    fn with(side: Side) -> Self {
        let said = if side == Side::Responder { records_of_a_caller() } else { records_of_a_callee() };
        let mut cipher = SendCipher::danger_from_key(key(side.other()));
        let records: Vec<Vec<u8>> = said.iter().map(|frames| seal(&mut cipher, frames)).collect();
        let mut session = session(side);
        let events = records.iter().map(|record| feed(&mut session, record)).collect();
        assert_eq!((session.error(), records.len()), (None, RECORDS));
        let (whole, begins) = (records.concat(), (0..RECORDS).map(|at| records[..at].concat().len()).collect());
        Self { side, records, events, whole, begins }
    }
}

fn seal(cipher: &mut SendCipher, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut plain = Vec::new();
    frames.iter().for_each(|frame| encode_frame(&mut plain, frame));
    let tag = cipher.seal_in_place(&mut plain).unwrap();
    if frames.last() == Some(&Frame::KeyUpdate) {
        cipher.rekey();
    }
    let size = (plain.len() + tag.len()) as u16;
    [&size.to_be_bytes()[..], &plain, &tag].concat()
}

fn feed(session: &mut Session, bytes: &[u8]) -> Vec<Event> {
    session.handle_bytes(Time::ZERO, &mut BytesMut::from(bytes));
    std::iter::from_fn(|| session.poll_event()).collect()
}

/// Changes the records from `at` on in one way; gives what the session reads from there.
fn mutate(rng: &mut Rng, records: &[Vec<u8>], at: usize) -> Vec<u8> {
    let own = &records[at];
    let mut changed = own.clone();
    match rng.below(11) {
        // One bit, several bits, one byte.
        0..=2 => flip(rng, &mut changed, 1),
        3 => {
            let bits = rng.between(2, 64);
            flip(rng, &mut changed, bits);
        }
        // Another length in the head: shorter, longer, and any.
        4 => {
            let length = u16::from_be_bytes([own[0], own[1]]);
            let other = length ^ rng.between(1, 0xffff) as u16;
            changed[..HEAD].copy_from_slice(&other.to_be_bytes());
        }
        // Bytes cut out, with a head that fits.
        5 => {
            let from = rng.between(HEAD as u64, own.len() as u64 - 1) as usize;
            let to = rng.between(from as u64 + 1, own.len() as u64) as usize;
            changed.drain(from..to);
            fit_head(&mut changed);
        }
        // Bytes put in, with a head that fits.
        6 => {
            let from = rng.between(HEAD as u64, own.len() as u64) as usize;
            let some = rng.bytes32();
            let count = rng.between(1, 32) as usize;
            changed.splice(from..from, some[..count].iter().copied());
            fit_head(&mut changed);
        }
        // Another record in its place: an earlier one again, or a later one early.
        7 => {
            let other = (at + rng.between(1, records.len() as u64 - 1) as usize) % records.len();
            changed.clone_from(&records[other]);
        }
        // Two records as one, with a head that fits.
        8 => {
            changed.extend_from_slice(&records[(at + 1) % records.len()][HEAD..]);
            fit_head(&mut changed);
        }
        // Two bytes swapped.
        9 => {
            let (a, b) = different(rng, &changed);
            changed.swap(a, b);
        }
        // Made up.
        _ => {
            changed[HEAD..].iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
        }
    }
    // Some mutations cut the stream behind the change, and some let the true records follow.
    if rng.chance(50) {
        records[at + 1..].iter().for_each(|record| changed.extend_from_slice(record));
    }
    changed
}

fn flip(rng: &mut Rng, bytes: &mut [u8], bits: u64) {
    // Each of them somewhere behind the one before, so that none takes another back.
    let span = bytes.len() as u64 * 8 / bits;
    for number in 0..bits {
        let bit = (number * span + rng.below(span)) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

fn fit_head(record: &mut [u8]) {
    let length = (record.len() - HEAD) as u16;
    record[..HEAD].copy_from_slice(&length.to_be_bytes());
}

/// Two places that hold different bytes.
fn different(rng: &mut Rng, bytes: &[u8]) -> (usize, usize) {
    loop {
        let (a, b) = (rng.below(bytes.len() as u64) as usize, rng.below(bytes.len() as u64) as usize);
        if bytes[a] != bytes[b] {
            return (a, b);
        }
    }
}

/// How a session must end that reads a changed record, the first (`at` 0) or a later one: its length is none, the rest of it never comes, or it is not
/// authentic.
fn expected(at: usize, bytes: &[u8]) -> ConnectionError {
    match usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) {
        length if length <= TAG => Malformed::Value("the length of a record").into(),
        length if at == 0 && length > MAX_FIRST_RECORD => {
            let (allowed, seen) = (MAX_FIRST_RECORD as u64, length as u64);
            LimitHit { limit: LimitName::Record, allowed, seen }.into()
        }
        length if length > bytes.len() - HEAD => Misbehaved::Truncated.into(),
        _ => Misbehaved::Record.into(),
    }
}

/// Runs a share of the mutations; gives how many ended as [`Misbehaved::Record`], as truncated, and by their length.
fn run(talk: &Conversation, seed: u64, count: u64) -> [u64; 3] {
    let mut rng = Rng::new(seed);
    let mut ends = [0; 3];
    for number in 0..count {
        // The earlier records more often: there is less to do before them.
        let at = rng.below(RECORDS as u64).min(rng.below(RECORDS as u64)) as usize;
        let bytes = mutate(&mut rng, &talk.records, at);
        assert!(!bytes.starts_with(&talk.records[at]), "seed {seed}, {number}: nothing was changed");
        let mut session = session(talk.side);
        session.handle_bytes(Time::ZERO, &mut BytesMut::from(&talk.whole[..talk.begins[at]]));
        while session.poll_event().is_some() {}
        let mut events = feed(&mut session, &bytes);
        session.handle_eof();
        events.extend(std::iter::from_fn(|| session.poll_event()));
        let error = session.error().unwrap_or_else(|| panic!("seed {seed}, {number}: accepted"));
        assert_eq!(error, &expected(at, &bytes), "seed {seed}, {number}");
        // Work that was accepted before is stopped, and nothing new begins.
        let only_ends = events
            .iter()
            .all(|event| matches!(event, Event::Closed(_) | Event::Cancelled { status: Status::Unavailable, .. }));
        assert!(only_ends, "seed {seed}, {number}: {events:?}");
        match error {
            ConnectionError::Misbehaved(Misbehaved::Record) => ends[0] += 1,
            ConnectionError::Misbehaved(_) => ends[1] += 1,
            _ => ends[2] += 1,
        }
    }
    ends
}

#[test]
fn of_a_million_mutations_of_valid_traffic_none_is_accepted() {
    let talks = [Side::Initiator, Side::Responder].map(Conversation::with);
    let counts: Vec<[u64; 3]> = thread::scope(|scope| {
        let shares = (0..THREADS).map(|number| {
            let talk = &talks[(number % 2) as usize];
            scope.spawn(move || run(talk, 0x6d75_7461 + number, MUTATIONS / THREADS))
        });
        let shares: Vec<_> = shares.collect();
        shares.into_iter().map(|share| share.join().unwrap()).collect()
    });
    let sum = |at: usize| counts.iter().map(|ends| ends[at]).sum::<u64>();
    let [forged, truncated, length] = [sum(0), sum(1), sum(2)];
    assert_eq!(forged + truncated + length, MUTATIONS);
    println!("{MUTATIONS} mutations, 0 accepted: {forged} not authentic, {truncated} truncated, {length} of no length");
}

/// The conversation that is mutated has effects, or nothing could be missed.
#[test]
fn the_conversation_that_is_mutated_says_something() {
    for side in [Side::Initiator, Side::Responder] {
        let talk = Conversation::with(side);
        let effects = talk.events.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(effects, [1, 1, 2, 0, 2], "{:?}", talk.events);
        let paid = matches!(&talk.events[1][0], Event::Opened { body, .. } if *body == Bytes::from_static(b"once"));
        assert!(paid);
    }
}
