//! What single steps cost: frames to bytes and back, a record sealed and opened by each cipher.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use np_benches::crypto;
use np_facade::raw::wire::{Encoding, Frame, Open, OpenKind, Response, Side, StreamId, decode_frame, encode_frame};
use np_types::{Codec, Metadata};

/// Bodies that one frame holds.
const BODIES: [usize; 3] = [64, 1 << 10, 16 << 10];

fn frames(c: &mut Criterion) {
    for size in BODIES {
        let body = vec![7; size];
        frame(c, &format!("a request of {size} bytes"), &request(&body));
        frame(c, &format!("a response of {size} bytes"), &response(&body));
    }
}

fn request(body: &[u8]) -> Frame<'_> {
    Frame::Open(Open { method: 1, body, ..Open::new(OpenKind::Request) })
}

fn response(body: &[u8]) -> Frame<'_> {
    Frame::Response(Response {
        id: StreamId::new(Side::Initiator, 1_000),
        codec: Codec::Bytes,
        encoding: Encoding::Plain,
        total: None,
        metadata: Metadata::default(),
        body,
    })
}

/// Encoding copies the body and decoding borrows it: both results are looked at.
fn frame(c: &mut Criterion, name: &str, frame: &Frame<'_>) {
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, frame);
    c.bench_function(&format!("encode {name}"), |b| {
        let mut out = Vec::with_capacity(bytes.len());
        b.iter(|| {
            out.clear();
            encode_frame(&mut out, black_box(frame));
            black_box(&out);
        });
    });
    c.bench_function(&format!("decode {name}"), |b| {
        b.iter(|| black_box(decode_frame(black_box(&bytes)).unwrap()));
    });
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal and open a record");
    for (name, crypto) in crypto::every() {
        for size in [64usize, 1 << 10, 16 << 10, 65_519] {
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{size} bytes, {name}"), |b| {
                let (mut send, mut receive) = crypto::pair(crypto, [1; 32]);
                let mut record = vec![7; size];
                b.iter(|| {
                    record.truncate(size);
                    let tag = send.seal_in_place(&mut record).unwrap();
                    record.extend_from_slice(&tag);
                    black_box(receive.open_in_place(&mut record).unwrap());
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, frames, records);
criterion_main!(benches);
