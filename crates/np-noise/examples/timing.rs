//! Does the time of a comparison tell where two secrets differ? Two classes of inputs, taken in turns by chance, and
//! Welch's t of their times: above 4.5 something leaks, or the machine was not quiet.
//!
//! ```sh
//! cargo run --release -p np-noise --example timing -- 20000
//! ```
//!
//! The argument is the number of samples of each comparison. The control compares byte by byte and stops at the first
//! difference: its t shows what this program can see at all.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

use std::hint::black_box;
use std::time::Instant;

use np_noise::PROVIDERS;
use np_types::{SecretKey, Suite};

/// Comparisons in a sample, so that the clock's steps do not matter.
const REPEATED: u32 = 32;
/// The slowest tenth of all samples is somebody else's: interrupts, other programs.
const KEPT: usize = 9;

fn main() {
    let samples = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    println!("t of {samples} samples each; the first class differs in the first byte, the second in the last");

    let (known, [first, last]) = ([0x5a; 32], different([0x5a; 32]));
    show("control: 32 bytes, stops at a difference", samples, |class| {
        let other = black_box(if class { &last } else { &first });
        black_box(known.iter().zip(other).all(|(one, other)| one == other));
    });

    let (known, first, last) =
        (SecretKey::from_bytes(known), SecretKey::from_bytes(first), SecretKey::from_bytes(last));
    show("secret keys", samples, |class| {
        black_box(black_box(&known) == black_box(if class { &last } else { &first }));
    });

    for (provider, suite) in PROVIDERS.iter().flat_map(|provider| Suite::ALL.map(|suite| (provider, suite))) {
        let key = provider.cipher_key(suite, &[7; 32]);
        let mut record = *b"a text of forty-eight bytes, with room for a tag................";
        let sealed = match record.split_last_chunk_mut::<16>() {
            Some((text, end)) => key.seal_in_place(&[0; 12], b"", text).map(|tag| {
                *end = tag;
                different(tag)
            }),
            None => return,
        };
        let Ok(tags) = sealed else { return };
        show(&format!("tag of {suite} by {}", provider.name()), samples, |class| {
            let mut forged = record;
            if let Some(end) = forged.last_chunk_mut::<16>() {
                *end = if class { tags[1] } else { tags[0] };
            }
            black_box(key.open_in_place(&[0; 12], b"", black_box(&mut forged)).is_ok());
        });
    }
}

/// The bytes with another first one, and with another last one.
fn different<const N: usize>(bytes: [u8; N]) -> [[u8; N]; 2] {
    let (mut first, mut last) = (bytes, bytes);
    first.first_mut().into_iter().for_each(|byte| *byte ^= 1);
    last.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    [first, last]
}

/// Takes the samples and prints their t.
fn show(name: &str, samples: usize, mut work: impl FnMut(bool)) {
    let (mut state, mut taken) = (0x9e37_79b9_7f4a_7c15_u64, Vec::with_capacity(samples));
    for _ in 0..samples {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let class = state & 1 == 1;
        let begun = Instant::now();
        (0..REPEATED).for_each(|_| work(class));
        taken.push((begun.elapsed().as_nanos() as f64, class));
    }
    taken.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    taken.truncate(samples * KEPT / 10);
    let times = |wanted: bool| taken.iter().filter(move |(_, class)| *class == wanted).map(|(time, _)| *time);
    println!("timing | {name} | {:.2}", welch(&times(false).collect::<Vec<_>>(), &times(true).collect::<Vec<_>>()));
}

/// Welch's t: how far two means lie apart, in the error of their difference.
fn welch(one: &[f64], other: &[f64]) -> f64 {
    let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
    let error = |times: &[f64], mean: f64| {
        let squares: f64 = times.iter().map(|time| (time - mean) * (time - mean)).sum();
        squares / (times.len() as f64 - 1.0) / times.len() as f64
    };
    let (left, right) = (mean(one), mean(other));
    (left - right) / (error(one, left) + error(other, right)).sqrt()
}
