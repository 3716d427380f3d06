//! Bodies compressed and decompressed, beside the bare libraries in the same run, and what bodies cost that do not shrink.
//!
//! Ratios to the bare libraries come first, taken in turns: they say more than two figures that were taken apart.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]
#![allow(clippy::print_stdout, reason = "sizes stand beside the figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use np_benches::rounds::{median, thread_cpu};
use np_compress::{Adaptive, Algorithm, Caps, Compressor, Decompressor, Encoder, Packed, Settings};
use zstd_safe::{CCtx, DCtx};

const SIZES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];
const LEVEL: u8 = 3;
const ENCODERS: [Encoder; 2] = [Encoder::Lz4, Encoder::Zstd { level: LEVEL }];

/// Numbers without pattern, the same in every run.
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::from_fn(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state >> 16)
    })
}

/// Words of many lengths and some figures, which shrink about as a log or a document does.
fn text(length: usize) -> Vec<u8> {
    let letters = |number: u64| (0..3 + number % 7).map(move |at| b'a' + (number >> (4 * at) & 15) as u8);
    let words: Vec<Vec<u8>> = numbers().take(256).map(|number| letters(number).collect()).collect();
    let mut text = Vec::with_capacity(length + 32);
    for number in numbers().skip(256) {
        if text.len() >= length {
            break;
        }
        // The product of two makes low numbers, and so some words, more frequent.
        let word = (number % 32) * (number >> 12 & 31) / 4;
        text.extend_from_slice(words.get(word as usize).unwrap());
        if number >> 24 & 7 == 0 {
            text.extend_from_slice(format!(" {}", number >> 27 & 0xffff).as_bytes());
        }
        text.push(b' ');
    }
    text.truncate(length);
    text
}

fn compressor(encoder: Encoder) -> Compressor {
    Compressor::new(Settings { encoder, ..Settings::default() }).unwrap()
}

fn packed(encoder: Encoder, body: &[u8]) -> Vec<u8> {
    match compressor(encoder).compress(body, &mut Adaptive::new()) {
        Packed::Compressed { bytes, .. } => Some(bytes),
        Packed::Plain(_) => None,
    }
    .unwrap()
}

fn compress(c: &mut Criterion) {
    let mut group = c.benchmark_group("compress text");
    for size in SIZES {
        let body = text(size);
        group.throughput(Throughput::Bytes(size as u64));
        for encoder in ENCODERS {
            let name = encoder.algorithm().name();
            let (mut np, mut method) = (compressor(encoder), Adaptive::new());
            group.bench_function(format!("{name}, {size} bytes, np"), |b| {
                b.iter(|| black_box(np.compress(black_box(&body), &mut method)));
            });
            let mut context = CCtx::create();
            group.bench_function(format!("{name}, {size} bytes, bare"), |b| {
                b.iter(|| black_box(bare_compress(&mut context, encoder, black_box(&body))));
            });
        }
    }
    group.finish();
}

fn bare_compress(context: &mut CCtx<'_>, encoder: Encoder, body: &[u8]) -> Vec<u8> {
    match encoder {
        Encoder::Lz4 => lz4_flex::block::compress(body),
        Encoder::Zstd { level } => {
            let mut bytes = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
            context.compress(&mut bytes, body, i32::from(level)).unwrap();
            bytes
        }
    }
}

fn decompress(c: &mut Criterion) {
    let mut group = c.benchmark_group("decompress text");
    for size in SIZES {
        let body = text(size);
        group.throughput(Throughput::Bytes(size as u64));
        for encoder in ENCODERS {
            let (algorithm, bytes, raw) = (encoder.algorithm(), packed(encoder, &body), size as u32);
            println!("{}: {size} bytes become {}", algorithm.name(), bytes.len());
            let mut np = Decompressor::new();
            group.bench_function(format!("{}, {size} bytes, np", algorithm.name()), |b| {
                b.iter(|| black_box(np.decompress(algorithm, raw, black_box(&bytes), Caps::default()).unwrap()));
            });
            let mut context = DCtx::create();
            group.bench_function(format!("{}, {size} bytes, bare", algorithm.name()), |b| {
                b.iter(|| black_box(bare_decompress(&mut context, algorithm, size, black_box(&bytes))));
            });
        }
    }
    group.finish();
}

fn bare_decompress(context: &mut DCtx<'_>, algorithm: Algorithm, size: usize, bytes: &[u8]) -> Vec<u8> {
    match algorithm {
        Algorithm::Lz4 => lz4_flex::block::decompress(bytes, size).unwrap(),
        Algorithm::Zstd => {
            let mut body = Vec::with_capacity(size);
            context.decompress(&mut body, bytes).unwrap();
            body
        }
    }
}

/// A method whose bodies are media or ciphertext: most of them are not looked at.
fn noise(c: &mut Criterion) {
    let mut group = c.benchmark_group("bodies that do not shrink");
    for size in SIZES {
        let body: Vec<u8> = numbers().map(|number| number as u8).take(size).collect();
        group.throughput(Throughput::Bytes(size as u64));
        for encoder in ENCODERS {
            let (mut np, mut method) = (compressor(encoder), Adaptive::new());
            group.bench_function(format!("{}, {size} bytes", encoder.algorithm().name()), |b| {
                b.iter(|| black_box(np.compress(black_box(&body), &mut method)));
            });
        }
    }
    group.finish();
}

/// np and the bare library in turns: the ratio of their rates, which should be 0.95 or more.
fn ratios(_: &mut Criterion) {
    for size in SIZES {
        let body = text(size);
        for encoder in ENCODERS {
            let (algorithm, bytes) = (encoder.algorithm(), packed(encoder, &body));
            let (mut np, mut method, mut context) = (compressor(encoder), Adaptive::new(), CCtx::create());
            let ratio = in_turns(
                || drop(black_box(np.compress(black_box(&body), &mut method))),
                || drop(black_box(bare_compress(&mut context, encoder, black_box(&body)))),
            );
            println!("compress {}, {size} bytes: np at {ratio:.3} of the bare library's rate", algorithm.name());
            let (mut np, mut context) = (Decompressor::new(), DCtx::create());
            let ratio = in_turns(
                || drop(black_box(np.decompress(algorithm, size as u32, black_box(&bytes), Caps::default()).unwrap())),
                || drop(black_box(bare_decompress(&mut context, algorithm, size, black_box(&bytes)))),
            );
            println!("decompress {}, {size} bytes: np at {ratio:.3} of the bare library's rate", algorithm.name());
        }
    }
}

/// Rounds of [`in_turns`], and how long each side of one takes at least.
const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(5);

/// The median over rounds of the second's processor time by the first's; each begins every other round.
fn in_turns(mut np: impl FnMut(), mut bare: impl FnMut()) -> f64 {
    let mut ratios = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        ratios.push(if round % 2 == 0 {
            let own = timed(&mut np);
            timed(&mut bare) / own
        } else {
            let other = timed(&mut bare);
            other / timed(&mut np)
        });
    }
    median(ratios)
}

/// Seconds of the processor that one call takes, over as many as fill a round; where that is not read, seconds of the clock.
fn timed(work: &mut impl FnMut()) -> f64 {
    let (begun, before, mut calls) = (Instant::now(), thread_cpu(), 0);
    loop {
        work();
        calls += 1;
        let passed = if cfg!(unix) { thread_cpu() - before } else { begun.elapsed() };
        if passed >= ROUND {
            return passed.as_secs_f64() / f64::from(calls);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = ratios, compress, decompress, noise
}
criterion_main!(benches);
