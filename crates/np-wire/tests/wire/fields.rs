//! Random frames and prefaces for the property tests. Owns how they are drawn; must never check anything.

use np_types::{CloseCode, Codec, Metadata, Status, UnixMillis};
use np_wire::{
    Encoding, Frame, FrameKind, Open, OpenKind, Preface, RemainingTime, Response, Settings, StreamId, Trailers,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// Owned values for every field that some frame has; [`Fields::frame`] borrows from them.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    kind: FrameKind,
    numbers: [u64; 2],
    small: [u32; 4],
    code: u16,
    codec: Codec,
    encoding: Encoding,
    remaining: RemainingTime,
    total: Option<u32>,
    flags: (bool, bool),
    metadata: Metadata,
    text: String,
    name: String,
    body: Vec<u8>,
}

impl Fields {
    pub(crate) fn frame(&self) -> Frame<'_> {
        let id = StreamId::from_wire(self.numbers[0]);
        match self.kind {
            FrameKind::Padding => Frame::Padding(self.body.len()),
            FrameKind::Settings => Frame::Settings(settings(self.small)),
            FrameKind::Close => Frame::Close { code: CloseCode::from_wire(self.code), text: &self.text },
            FrameKind::GoAway => Frame::GoAway { accepted: self.numbers[1], code: CloseCode::from_wire(self.code) },
            FrameKind::Ping => Frame::Ping(self.numbers[1]),
            FrameKind::Pong => Frame::Pong(self.numbers[1]),
            FrameKind::KeyUpdate => Frame::KeyUpdate,
            FrameKind::Method => Frame::Method { number: self.small[0], name: &self.name },
            FrameKind::Request => self.open(OpenKind::Request),
            FrameKind::OneWay => self.open(OpenKind::OneWay),
            FrameKind::Stream => self.open(OpenKind::Stream),
            FrameKind::ConnectionCredit => Frame::ConnectionCredit(self.small[0]),
            FrameKind::CallAllowance => Frame::CallAllowance(self.small[0]),
            FrameKind::Response => self.response(id),
            FrameKind::Data => Frame::Data { id, fin: self.flags.0, end: self.flags.1, body: &self.body },
            FrameKind::Trailers => self.trailers(id),
            FrameKind::Cancel => Frame::Cancel { id, status: Status::from_wire(self.code) },
            FrameKind::StreamCredit => Frame::StreamCredit { id, bytes: self.small[0] },
            FrameKind::Compressed => {
                let encoding = match self.encoding {
                    Encoding::Plain => Encoding::Zstd { raw: self.small[1] },
                    other => other,
                };
                Frame::Compressed { id, encoding, end: self.flags.1, body: &self.body }
            }
            other => panic!("no frame is drawn for {other:?}"),
        }
    }

    fn open(&self, kind: OpenKind) -> Frame<'_> {
        Frame::Open(Open {
            kind,
            method: self.small[0],
            codec: self.codec,
            encoding: self.encoding,
            remaining: self.remaining,
            total: self.total,
            metadata: self.metadata.clone(),
            body: &self.body,
        })
    }

    fn response(&self, id: StreamId) -> Frame<'_> {
        Frame::Response(Response {
            id,
            codec: self.codec,
            encoding: self.encoding,
            total: self.total,
            metadata: self.metadata.clone(),
            body: &self.body,
        })
    }

    fn trailers(&self, id: StreamId) -> Frame<'_> {
        let (status, metadata) = (Status::from_wire(self.code), self.metadata.clone());
        Frame::Trailers(Trailers { id, status, text: &self.text, metadata })
    }
}

pub(crate) fn settings([max_message, max_calls, stream_window, connection_window]: [u32; 4]) -> Settings {
    // Some with the pair that need not be there, some without.
    let encodings = if max_calls % 2 == 0 { max_message } else { 0 };
    Settings { max_message, max_calls, stream_window, connection_window, encodings }
}

/// Fields for a frame of any kind that the protocol has.
pub(crate) fn fields() -> impl Strategy<Value = Fields> {
    let ends = (select(FrameKind::ALL), [varint(), varint()], small_numbers(), code(), any::<(bool, bool)>());
    let head = (codec(), encoding(), remaining(), proptest::option::of(number()), metadata());
    let tail = (".{0,60}", "[A-Za-z0-9._/-]{1,128}", vec(any::<u8>(), 0..200));
    (ends, head, tail).prop_map(|(ends, head, tail)| Fields {
        kind: ends.0,
        numbers: ends.1,
        small: ends.2,
        code: ends.3,
        flags: ends.4,
        codec: head.0,
        encoding: head.1,
        remaining: head.2,
        total: head.3,
        metadata: head.4,
        text: tail.0,
        name: tail.1,
        body: tail.2,
    })
}

pub(crate) fn preface() -> impl Strategy<Value = Preface> {
    let versions = (1u8..9, 0u8..9, 0u8..9).prop_map(|(min, more, at)| (min, min + more, min + at.min(more)));
    let rest = (any::<[u8; 2]>(), any::<u64>(), any::<[u8; 16]>(), any::<[u8; 4]>(), vec(any::<u8>(), 0..=64));
    (versions, rest).prop_map(|((min_version, max_version, version), rest)| Preface {
        min_version,
        max_version,
        version,
        suite: rest.0[0],
        pattern: rest.0[1],
        time: UnixMillis(rest.1),
        nonce: rest.2,
        hint: rest.3,
        key_id: rest.4,
    })
}

/// Numbers of every width, so that each length of a varint is drawn about as often.
pub(crate) fn varint() -> impl Strategy<Value = u64> {
    (0u32..=62, any::<u64>()).prop_map(|(bits, value)| value & ((1 << bits) - 1))
}

pub(crate) fn small_numbers() -> impl Strategy<Value = [u32; 4]> {
    [number(), number(), number(), number()]
}

fn number() -> impl Strategy<Value = u32> {
    (0u32..=32, any::<u32>()).prop_map(|(bits, value)| (u64::from(value) & ((1 << bits) - 1)) as u32)
}

fn code() -> impl Strategy<Value = u16> {
    prop_oneof![0u16..0x60, any::<u16>()]
}

fn codec() -> impl Strategy<Value = Codec> {
    (0u8..16).prop_map(Codec::from_wire)
}

fn encoding() -> impl Strategy<Value = Encoding> {
    prop_oneof![
        Just(Encoding::Plain),
        number().prop_map(|raw| Encoding::Lz4 { raw }),
        number().prop_map(|raw| Encoding::Zstd { raw }),
        (3u8..16, number()).prop_map(|(number, raw)| Encoding::Other { number, raw }),
    ]
}

fn remaining() -> impl Strategy<Value = RemainingTime> {
    prop_oneof![
        Just(RemainingTime::Default),
        Just(RemainingTime::Unlimited),
        // One is added on the wire, so the largest varint itself has no place.
        varint().prop_map(|millis| RemainingTime::Millis(millis.saturating_sub(1))),
    ]
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let pairs = btree_map("[a-z0-9._-]{1,64}", vec(any::<u8>(), 0..70), 0..6);
    prop_oneof![
        Just(Metadata::default()),
        pairs.prop_map(|pairs| {
            let mut metadata = Metadata::default();
            for (key, value) in &pairs {
                metadata.insert(key, value).unwrap();
            }
            metadata
        })
    ]
}
