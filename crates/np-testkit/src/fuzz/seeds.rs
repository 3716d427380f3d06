//! Inputs to begin with: honest ones that come to a good end, and some that are changed. A fuzzer that starts from them
//! stands behind the handshake, the settings and the lengths at once. They lie as files beside the targets; what a run
//! found lies there too, and is not made here.

use std::time::Duration;

use np_noise::Pattern;
use np_types::{CloseCode, Codec, Metadata, Status, UnixMillis};
use np_wire::{
    Choices, Encoding, Frame, Open, OpenKind, Preface, RemainingTime, Response, Settings, Side, StreamId, Trailers,
    encode_frame, encode_handshake_message, encode_refusal,
};

use super::rekey::AGE;
use super::session_frames::{APPLICATION, LONG, limits};
use crate::settings;

/// An input that is made here.
#[derive(Debug, Clone)]
pub struct Seed {
    /// The name of its file.
    pub name: String,
    /// Its bytes.
    pub data: Vec<u8>,
    /// What the target gives for it.
    pub good: bool,
}

fn good(name: impl Into<String>, data: impl Into<Vec<u8>>) -> Seed {
    Seed { name: name.into(), data: data.into(), good: true }
}

fn bad(name: impl Into<String>, data: impl Into<Vec<u8>>) -> Seed {
    Seed { name: name.into(), data: data.into(), good: false }
}

/// The seeds that are made for the target of this name; none for a name that has none.
///
/// ```
/// use np_testkit::fuzz::{run, seeds};
/// assert!(seeds("wire_frames").iter().all(|seed| run("wire_frames", &seed.data) == seed.good));
/// ```
#[must_use]
pub fn seeds(target: &str) -> Vec<Seed> {
    match target {
        "handshake_flow" => handshake_flow(),
        "noise_handshake" => noise_handshake(),
        "noise_vs_snow" => noise_vs_snow(),
        "rekey" => rekey(),
        "session_frames" => session_frames(),
        "session_ops" => session_ops(),
        "traffic_open" => traffic_open(),
        "wire_frames" => wire_frames(),
        "wire_preface" => wire_preface(),
        _ => Vec::new(),
    }
}

/// The number of each pattern in the choice of a target, and its name.
fn patterns() -> impl Iterator<Item = (u8, Pattern)> {
    (0..).zip(Pattern::ALL)
}

fn noise_handshake() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, pattern) in patterns() {
        let name = pattern.name();
        for at in 0..pattern.messages() as u8 {
            seeds.push(good(format!("{name}_{at}"), [number, at, 0, 5, b'h', b'e', b'l', b'l', b'o']));
            // The first byte of the message turned.
            seeds.push(bad(format!("{name}_{at}_changed"), [number, at, 0, 0, 0, 0, 0, 1]));
        }
        if pattern.needs_psk() {
            let last = pattern.messages() as u8 - 1;
            seeds.push(good(format!("{name}_late"), [number, last, 1, 2, b'h', b'i']));
        }
        let low_order = [vec![number, 0, 2, 0], vec![0; 96]].concat();
        seeds.push(bad(format!("{name}_low_order"), low_order));
    }
    seeds
}

fn noise_vs_snow() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, pattern) in patterns() {
        let message = [3, b'a', b'b', b'c', 0];
        let record = [4, b't', b'e', b'x', b't'];
        let honest = [vec![number], message.repeat(pattern.messages()), record.repeat(4)].concat();
        seeds.push(good(pattern.name(), honest));
        let last = [vec![number], [0, 0].repeat(pattern.messages() - 1), vec![0, 1, 0, 0, 3, 0x80]].concat();
        seeds.push(bad(format!("{}_changed", pattern.name()), last));
    }
    seeds
}

fn traffic_open() -> Vec<Seed> {
    let record = |operation: u8| [operation, 4, b't', b'e', b'x', b't'].to_vec();
    let both_rekey = vec![6, 7];
    vec![
        good("next", record(0)),
        good("empty", [0, 0]),
        good("many", record(0).repeat(20)),
        good("rekeyed", [record(0), both_rekey.clone(), record(0), both_rekey, record(0)].concat()),
        good("held_back", [record(2), vec![3, 0]].concat()),
        good("unchanged", [record(1)].concat()),
        bad("replayed", [record(0), vec![3, 0]].concat()),
        bad("dropped", [record(2), record(0)].concat()),
        bad("reordered", [record(2), record(2), vec![3, 1]].concat()),
        bad("changed", [record(1), vec![0, 0, 2, 1]].concat()),
        bad("cut", [record(1), vec![1, 0, 6]].concat()),
        bad("longer", [record(1), vec![2, 0, 1, 0]].concat()),
        bad("reflected", record(4)),
        bad("made_up", [vec![5, 0, 20], vec![0; 20]].concat()),
        bad("old_key", [record(0), vec![7], record(0)].concat()),
        bad("new_key_too_soon", [record(0), vec![6], record(0), vec![7]].concat()),
        bad("after_the_end", [record(4), record(0), vec![6, 7], record(0)].concat()),
    ]
}

fn handshake_flow() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (number, pattern) in patterns() {
        let name = pattern.name();
        seeds.push(good(name, [number, 0, 0, 0, 0]));
        seeds.push(good(format!("{name}_byte_by_byte"), [vec![number, 0, 0, 0, 0], vec![1; 700]].concat()));
        if pattern.needs_psk() {
            seeds.push(good(format!("{name}_by_key"), [number, 1, 0, 0, 0, 7, 7, 7]));
        }
        // A byte of the preface, of message 1, of message 2; a byte more, a byte less, and no more at all.
        for (what, change) in [
            ("nonce", vec![1, 0, 20, 0, 1, 0]),
            ("message_1", vec![1, 0, 50, 0, 1, 0]),
            ("message_2", vec![0, 1, 0, 9, 0, 1]),
            ("added", vec![1, 0, 40, 2, 5, 0]),
            ("dropped", vec![1, 0, 60, 1, 0, 0]),
            ("cut", vec![0, 1, 0, 20, 3, 0]),
        ] {
            if number < 2 || matches!(what, "message_2" | "nonce") {
                seeds.push(bad(format!("{name}_{what}"), [vec![number, 0, 0], change].concat()));
            }
        }
    }
    seeds.push(bad("refused_in_clear", [0, 0, 0x0e, 0, 0]));
    seeds.push(bad("refused_peer", [1, 0, 0x0f, 0, 0]));
    seeds.push(bad("server_refused", [0, 0, 0xf0, 0, 0]));
    seeds.push(bad("any_bytes_to_a_server", [vec![0, 2, 0, 255], preface(0), vec![2, 0, 32], vec![9; 32]].concat()));
    seeds.push(bad("any_bytes_to_a_client", [0, 6, 0, 9, 2, 0, 4, 1, 2, 3, 4, 5]));
    seeds
}

fn preface(pattern: usize) -> Vec<u8> {
    let preface = Preface {
        min_version: 1,
        max_version: 1,
        version: 1,
        suite: 1,
        pattern: Pattern::ALL[pattern].to_wire(),
        time: UnixMillis(1_800_000_000_000),
        nonce: [9; 16],
        hint: [0; 4],
        key_id: Vec::new(),
    };
    let mut out = Vec::new();
    preface.encode(&mut out);
    out
}

fn wire_preface() -> Vec<Seed> {
    let cut = |at: u16, bytes: &[u8]| [&at.to_be_bytes(), bytes].concat();
    let (mut message, mut refusal) = (Vec::new(), Vec::new());
    encode_handshake_message(&mut message, &[7; 32]);
    encode_refusal(&mut refusal, CloseCode::ConnectionLimit, "later");
    let choices = Choices { version: 1, suite: 1, pattern: 1 }.encode();
    vec![
        good("preface", cut(20, &preface(0))),
        good("first_flight", cut(38, &[preface(1), message.clone()].concat())),
        good("message", cut(3, &message)),
        good("refusal", cut(6, &refusal)),
        good("choices", cut(1, &choices)),
        bad("half", cut(4, &preface(0)[..30])),
        bad("other_magic", cut(2, b"HTTP/1.1 200 OK")),
    ]
}

/// One frame of each kind, and some shapes of the larger ones, as the peer of `side` sends them.
fn frames(side: Side) -> Vec<(&'static str, Frame<'static>)> {
    let (theirs, ours) = (StreamId::new(side.other(), 0), StreamId::new(side, 0));
    let mut metadata = Metadata::new();
    metadata.insert("trace", b"1234").expect("a small pair");
    let open = |kind| Open { body: b"hello", ..Open::new(kind) };
    let stream = Open::new(OpenKind::Stream);
    let large = Open { total: Some(2_000), ..Open::new(OpenKind::Request) };
    let rich = Open {
        codec: Codec::Json,
        encoding: Encoding::Zstd { raw: 100 },
        remaining: RemainingTime::Millis(Duration::from_secs(1).as_millis() as u64),
        metadata: metadata.clone(),
        ..open(OpenKind::Request)
    };
    let response = Response {
        id: ours,
        codec: Codec::Bytes,
        encoding: Encoding::Plain,
        total: None,
        metadata: metadata.clone(),
        body: b"answer",
    };
    let part = Response { total: Some(3_000), metadata: Metadata::new(), body: b"", ..response.clone() };
    vec![
        ("padding", Frame::Padding(20)),
        ("settings", Frame::Settings(settings(&limits()))),
        ("close", Frame::Close { code: CloseCode::Normal, text: "bye" }),
        ("go_away", Frame::GoAway { accepted: 0, code: CloseCode::Drained }),
        ("ping", Frame::Ping(7)),
        ("pong", Frame::Pong(1)),
        ("key_update", Frame::KeyUpdate),
        ("method", Frame::Method { number: 0, name: "echo" }),
        ("request", Frame::Open(open(OpenKind::Request))),
        ("request_large", Frame::Open(large)),
        ("request_rich", Frame::Open(rich)),
        ("one_way", Frame::Open(open(OpenKind::OneWay))),
        ("stream", Frame::Open(stream)),
        ("connection_credit", Frame::ConnectionCredit(1_000)),
        ("call_allowance", Frame::CallAllowance(9)),
        ("response", Frame::Response(response)),
        ("response_large", Frame::Response(part)),
        ("data", Frame::Data { id: theirs, fin: false, end: true, body: b"part" }),
        ("data_fin", Frame::Data { id: theirs, fin: true, end: true, body: b"last" }),
        ("data_ours", Frame::Data { id: ours, fin: false, end: true, body: b"part" }),
        ("trailers", Frame::Trailers(Trailers { id: ours, status: Status::Failed, text: "no", metadata })),
        ("cancel", Frame::Cancel { id: theirs, status: Status::Cancelled }),
        ("stream_credit", Frame::StreamCredit { id: theirs, bytes: 500 }),
        ("stream_credit_ours", Frame::StreamCredit { id: ours, bytes: 500 }),
        ("compressed", Frame::Compressed { id: theirs, encoding: Encoding::Lz4 { raw: 20 }, end: true, body: b"part" }),
    ]
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&mut out, frame);
    out
}

fn wire_frames() -> Vec<Seed> {
    let frames = frames(Side::Initiator);
    let mut seeds: Vec<Seed> = frames.iter().map(|(name, frame)| good(*name, encoded(frame))).collect();
    let all: Vec<u8> = frames.iter().flat_map(|(_, frame)| encoded(frame)).collect();
    seeds.push(good("unknown", [0x1f << 3, 0, 3, 1, 2, 3]));
    seeds.push(bad("all_but_a_byte", &all[..all.len() - 1]));
    seeds.push(good("all", all));
    seeds
}

/// A record for [`super::session_frames`].
fn record(plain: &[u8]) -> Vec<u8> {
    let long = |length: usize| [&[LONG][..], &(length as u16).to_be_bytes()].concat();
    let head = if plain.len() < usize::from(LONG) { vec![plain.len() as u8] } else { long(plain.len()) };
    [head, plain.to_vec()].concat()
}

fn session_frames() -> Vec<Seed> {
    let sides = [("server", 0, Side::Responder), ("client", 1, Side::Initiator)];
    let mut seeds: Vec<Seed> = sides
        .into_iter()
        .map(|(who, flag, side)| Frames { who, flag, side })
        .flat_map(|about| [about.one_by_one(), about.calls(), about.ends()].concat())
        .collect();
    let small = Settings { max_message: 10, max_calls: 0, stream_window: 1, connection_window: 2, encodings: 0 };
    let first = record(&encoded(&Frame::Settings(small)));
    seeds.push(good("small_settings", [vec![2], first, vec![APPLICATION, 9, APPLICATION + 2, 2]].concat()));
    seeds
}

/// Records and operations for a session of one side.
struct Frames {
    who: &'static str,
    /// The bit of the side in the first byte; 4 beside it: the transport waits, 2: no settings come by themselves.
    flag: u8,
    side: Side,
}

impl Frames {
    fn name(&self, what: &str) -> String {
        format!("{}_{what}", self.who)
    }

    fn find(&self, name: &str) -> Vec<u8> {
        let frames = frames(self.side);
        let (_, frame) = frames.iter().find(|(other, _)| *other == name).expect("a frame's name");
        encoded(frame)
    }

    /// Each frame after what gives it a meaning: a method, an open stream, a call and a ping of the session's own.
    fn one_by_one(&self) -> Vec<Seed> {
        let prelude = [vec![APPLICATION, 2, APPLICATION + 11, 0], record(&self.find("method"))].concat();
        let seed = |(name, frame): (&str, Frame<'_>)| {
            let stream = matches!(name, "data" | "data_fin" | "compressed" | "cancel" | "stream_credit");
            let before = if stream { record(&self.find("stream")) } else { Vec::new() };
            let own = if name == "data_ours" { vec![APPLICATION + 2, 2] } else { Vec::new() };
            let data = [vec![self.flag], own, prelude.clone(), before, record(&encoded(&frame))].concat();
            let ends = matches!(name, "settings" | "close" | "method");
            if ends { bad(self.name(name), data) } else { good(self.name(name), data) }
        };
        frames(self.side).into_iter().map(seed).collect()
    }

    fn calls(&self) -> Vec<Seed> {
        let start = |records: &[u8]| [&[self.flag], records].concat();
        let method = self.find("method");
        let id = StreamId::new(self.side.other(), 0);
        let part = |last: bool| record(&encoded(&Frame::Data { id, fin: last, end: last, body: &[7; 500] }));
        let begun = record(&[&method[..], &self.find("request_large")].concat());
        let whole = [&begun[..], &part(false).repeat(3), &part(true), &[APPLICATION + 3, 100]].concat();
        let short = [begun, part(false), part(true)].concat();

        let calls = record(&self.four_calls());
        let answers = [APPLICATION + 3, 200, APPLICATION + 8, 0].repeat(4);
        let talk = record(&[method, self.find("stream"), self.find("data"), self.find("data_fin")].concat());
        let taken = [APPLICATION + 9, 0, APPLICATION + 9, 0, APPLICATION + 3, 9, APPLICATION + 4, 0];
        vec![
            good(self.name("parts"), start(&whole)),
            bad(self.name("parts_end_too_soon"), start(&short)),
            good(self.name("calls"), start(&[calls, answers].concat())),
            good(self.name("talk"), start(&[&talk[..], &taken].concat())),
        ]
    }

    fn ends(&self) -> Vec<Seed> {
        let calls = record(&self.four_calls());
        let waits = [APPLICATION + 10, 255].repeat(3);
        let late = [&[self.flag | 4], &calls[..], &waits, &[0xff, 0]].concat();
        let one_too_many = [&[self.flag], &calls[..], &record(&self.find("request"))].concat();
        let flood = [&[self.flag | 4], &calls[..], &record(&self.find("request").repeat(9))].concat();
        let unset = [&[self.flag | 2], &record(&self.find("ping"))[..]].concat();
        vec![
            good(self.name("deadlines"), late),
            good(self.name("one_too_many"), one_too_many),
            bad(self.name("flood"), flood),
            bad(self.name("no_settings"), unset),
            bad(self.name("closes"), [self.flag, APPLICATION, 3, APPLICATION + 14, 0xff]),
            bad(self.name("cut"), [self.flag, APPLICATION, 3, APPLICATION + 15, 0xff]),
        ]
    }

    fn four_calls(&self) -> Vec<u8> {
        [self.find("method"), self.find("request").repeat(4)].concat()
    }
}

/// An operation of one side for [`super::session_ops`].
const fn by(side: u8, operation: u8) -> u8 {
    side << 7 | operation
}

/// The first two pairs of bytes are the limits of each side: windows, and the lives of keys.
fn rekey() -> Vec<Seed> {
    let echoes = [by(0, 0), 0, 3, 200, by(1, 0), 0, 0, 9, 15, 15].repeat(5);
    let chats = [by(0, 5), 0x30, 0, 9, 3, 0, 1, 1, by(1, 5), 0x10, 4, 4, 15, 15];
    let mut seeds: Vec<Seed> = [
        ("each_record", 0x1c),
        ("two_records", 0x1d),
        ("three_records", 0x1e),
        ("each_byte", 0x13),
        ("hundred_bytes", 0x17),
        ("some_bytes", 0x1b),
        ("all_at_once", 0x00),
    ]
    .into_iter()
    .map(|(name, lives)| good(name, [&[0x30, lives, 0x30, lives][..], &echoes, &chats].concat()))
    .collect();
    let aged = [by(0, 0), 0, 0, 9, by(1, 0), 0, 0, 9, 15, 15, AGE, 60].repeat(4);
    seeds.push(good("aged", [&[0x30, 0x0f, 0x30, 0x0f][..], &aged].concat()));
    let asked = [by(0, 7), by(1, 7), by(0, 7), 15, by(0, 0), 0, 0, 40, by(1, 7), 15].repeat(6);
    seeds.push(good("asked_for", [&[0x30, 0x1f, 0x30, 0x1f][..], &asked].concat()));
    let parts = [by(0, 0), 0, 0, 200, by(0, 8), 0, 7, by(1, 9), 0, 3, by(1, 8), 0, 5, by(0, 9), 0, 2].repeat(8);
    seeds.push(good("in_pieces", [&[0x30, 0x1d, 0x30, 0x1c][..], &parts].concat()));
    seeds.push(bad("never", [&[0x30, 0x1f, 0x30, 0x1f][..], &echoes].concat()));
    seeds.push(bad("closed", [&[0x30, 0x1c, 0x30, 0x1c][..], &echoes, &[by(0, 12), 0xff, 15]].concat()));
    seeds.push(bad(
        "cut",
        [&[0x30, 0x1c, 0x30, 0x1c][..], &echoes, &[by(0, 0), 0, 1, 1, by(0, 8), 0, 60, 13, 0xff]].concat(),
    ));
    seeds
}

fn session_ops() -> Vec<Seed> {
    let mut seeds = Vec::new();
    // Large messages of both kinds and both ways, small calls beside them, and bytes that pass in parts.
    let beside = [by(0, 5), 0x20, 0xff, 0xff, 0xee, 0xee, by(1, 0), 0, 0xf0, 0, 15, 15, 15];
    let small = [by(0, 0), 0, 0, 9, by(1, 0), 0, 0, 5, by(0, 8), 0xff, 0xff, by(1, 9), 0x7f, 0xff, 15].repeat(6);
    seeds.push(good("wide_beside_small_calls", [&[3, 0, 1][..], &beside, &small].concat()));
    let cancelled =
        [by(0, 5), 0x60, 0xff, 0xff, 0xee, 0xee, by(0, 0), 0x41, 0xf0, 0, 15, by(0, 0), 0, 0, 9, 15, 10, 60];
    seeds.push(good("wide_cancelled", [&[2, 0, 0][..], &cancelled].concat()));
    for (flag, name) in [(0u8, "sealed"), (1, "null")] {
        let head = [flag, 0xff, 0];
        let work = |operations: &[u8]| [&head[..], operations].concat();
        for (number, kind) in (0u8..).zip(["echo", "nest", "fail", "hang", "note"]) {
            let calls = [by(0, number), 0, 3, 200, by(1, number), 0x85, 0, 9, 15, 10, 50, 15];
            seeds.push(good(format!("{name}_{kind}"), work(&calls)));
        }
        let chat = [by(0, 5), 0x30, 0, 9, 3, 0, 1, 1, by(1, 5), 0x10, 4, 4, 15, 15, 10, 40];
        seeds.push(good(format!("{name}_chat"), work(&chat)));
        let cancelled = [by(0, 3), 0x43, 0, 1, 15, by(0, 5), 0x72, 1, 1, 2, 2, 3, 3, 10, 60];
        seeds.push(good(format!("{name}_cancelled"), work(&cancelled)));
        let renewed = [by(0, 6), by(0, 7), 0, 1, 0, 1, by(1, 7), 15, by(0, 7), by(1, 6), 15].repeat(8);
        seeds.push(good(format!("{name}_renewed"), work(&renewed)));
        // Large and small calls while no more is granted, while none is taken, and after that.
        let calls = [by(0, 0), 0, 0x0b, 0xb0, by(0, 0), 0, 0, 9, by(0, 5), 0x30, 9, 9, 3, 0, 1, 1, 15, 15, 10, 40];
        let short = [0u8, 1, 2, 0].map(|short| [&[by(1, 14), short, 9][..], &calls].concat()).concat();
        seeds.push(good(format!("{name}_short"), [&[flag, 0x3c, 0x3c][..], &short].concat()));
        // It waits until the end, and nothing else comes that would have it granted.
        let waits = [15, 15, 15, by(1, 14), 1, 0, by(0, 0), 0, 0x0b, 0xb0, 15, 15, 15];
        seeds.push(good(format!("{name}_waits_for_memory"), [&[flag, 0x3c, 0x3c][..], &waits].concat()));
        let bytewise = [by(0, 0), 0, 0, 40, by(0, 8), 0, 1, by(1, 9), 0, 1, by(1, 8), 0, 3, by(0, 9), 0, 3].repeat(12);
        seeds.push(good(format!("{name}_byte_by_byte"), work(&bytewise)));
        seeds.push(bad(format!("{name}_drained"), work(&[by(0, 0), 0, 1, 1, 15, by(1, 11), 0xff, by(0, 0), 0, 1, 1])));
        seeds.push(bad(format!("{name}_closed"), work(&[by(0, 0), 0, 1, 1, 15, by(0, 12), 0xff, 15])));
        seeds.push(bad(
            format!("{name}_cut"),
            work(&[by(0, 0), 0, 1, 1, by(1, 5), 0x30, 1, 1, 2, 2, 3, 3, 15, 13, 0xff]),
        ));
        seeds.push(bad(
            format!("{name}_cut_in_a_record"),
            work(&[by(0, 0), 0, 1, 1, by(0, 8), 0, 90, by(1, 9), 0, 80, 13, 0xff]),
        ));
    }
    seeds
}
