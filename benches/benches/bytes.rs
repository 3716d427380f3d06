//! What single steps cost: frames to bytes and back, a record sealed and opened.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use np_facade::raw::noise::{ReceiveCipher, SendCipher};
use np_facade::raw::wire::{Frame, Open, OpenKind, decode_frame, encode_frame};

fn frames(c: &mut Criterion) {
    let body = [7; 64];
    let frame = Frame::Open(Open { method: 1, body: &body, ..Open::new(OpenKind::Request) });
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, &frame);
    c.bench_function("encode a request of 64 bytes", |b| {
        let mut out = Vec::with_capacity(128);
        b.iter(|| {
            out.clear();
            encode_frame(&mut out, black_box(&frame));
            black_box(&out);
        });
    });
    c.bench_function("decode a request of 64 bytes", |b| {
        b.iter(|| black_box(decode_frame(black_box(&bytes)).unwrap()));
    });
}

fn records(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal and open a record");
    for size in [64usize, 1 << 10, 16 << 10, 65_519] {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size} bytes"), |b| {
            let (mut send, mut receive) =
                (SendCipher::danger_from_key([1; 32]), ReceiveCipher::danger_from_key([1; 32]));
            let mut record = vec![7; size];
            b.iter(|| {
                record.truncate(size);
                let tag = send.seal_in_place(&mut record).unwrap();
                record.extend_from_slice(&tag);
                black_box(receive.open_in_place(&mut record).unwrap().len());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frames, records);
criterion_main!(benches);
