//! A message to bytes and back: np's frames beside the packets of `network-protocol`, at the sizes of its own benchmark.
//!
//! Both make a buffer of the message's bytes, and both give back a body that they own; each result is used, so that no copy
//! can be left out. np checks frames, sizes and metadata on the way, and cuts what is larger than a record.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use network_protocol::config::PROTOCOL_VERSION;
use network_protocol::core::codec::PacketCodec;
use network_protocol::core::packet::Packet;
use np_facade::raw::wire::{Frame, Frames, MAX_PLAINTEXT, Open, OpenKind, Side, StreamId, encode_frame};
use tokio_util::codec::{Decoder as _, Encoder as _};

const SIZES: [usize; 5] = [64, 512, 4 << 10, 64 << 10, 1 << 20];

/// What a frame takes beside its body at the most.
const HEAD: usize = 32;

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode a message");
    for size in SIZES {
        let body = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("np", size), &body, |b, body| {
            b.iter(|| black_box(frames(black_box(body))));
        });
        group.bench_with_input(BenchmarkId::new("network-protocol", size), &body, |b, body| {
            // Its encoder takes a body that it owns: the copy is made outside of the time.
            b.iter_batched(|| body.clone(), |body| black_box(packet(body)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode a message");
    for size in SIZES {
        let body = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        let bytes = frames(&body);
        assert_eq!(message(&bytes), body);
        group.bench_with_input(BenchmarkId::new("np", size), &bytes, |b, bytes| {
            b.iter(|| black_box(message(black_box(bytes))));
        });
        let bytes = packet(body.clone());
        group.bench_with_input(BenchmarkId::new("network-protocol", size), &bytes, |b, bytes| {
            // Its decoder takes the bytes away: the copy is made outside of the time.
            b.iter_batched(|| bytes.clone(), |bytes| black_box(payload(bytes)), BatchSize::SmallInput);
        });
    }
    group.finish();
}

/// A request, and what does not fit into its record in frames of their own.
fn frames(body: &[u8]) -> Vec<u8> {
    let piece = MAX_PLAINTEXT - HEAD;
    let (first, rest) = body.split_at(body.len().min(piece));
    let total = (!rest.is_empty()).then_some(body.len() as u32);
    let mut out = Vec::with_capacity(body.len() + HEAD * (1 + rest.len().div_ceil(piece)));
    encode_frame(&mut out, &Frame::Open(Open { method: 1, total, body: first, ..Open::new(OpenKind::Request) }));
    let id = StreamId::new(Side::Initiator, 1_000);
    let mut pieces = rest.chunks(piece).peekable();
    while let Some(body) = pieces.next() {
        let last = pieces.peek().is_none();
        encode_frame(&mut out, &Frame::Data { id, fin: last, end: last, body });
    }
    out
}

/// The body of a message's frames.
fn message(bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    for frame in Frames::new(bytes) {
        match frame.unwrap() {
            Frame::Open(open) => {
                whole.reserve_exact(open.total.map_or(open.body.len(), |total| total as usize));
                whole.extend_from_slice(open.body);
            }
            Frame::Data { body, .. } => whole.extend_from_slice(body),
            _ => {}
        }
    }
    whole
}

fn packet(payload: Vec<u8>) -> BytesMut {
    let mut out = BytesMut::with_capacity(payload.len() + HEAD);
    PacketCodec.encode(Packet { version: PROTOCOL_VERSION, payload }, &mut out).unwrap();
    out
}

fn payload(mut bytes: BytesMut) -> Vec<u8> {
    PacketCodec.decode(&mut bytes).unwrap().unwrap().payload
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
