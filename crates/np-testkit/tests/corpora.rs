//! Every input that is kept for fuzzing is run by an ordinary test too: those that were made to reach deep, and those that
//! once found something.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use np_testkit::Rng;
use np_testkit::fuzz::{TARGETS, run, seeds};

/// The most that all files together may weigh.
const MOST_BYTES: u64 = 500 << 10;

#[test]
fn every_target_has_seeds_and_every_seed_keeps_its_rule() {
    for (name, target) in TARGETS {
        let files = files(name);
        assert!(!files.is_empty(), "fuzz/seeds/{name} holds nothing");
        for (file, data) in &files {
            // The rule panics by itself; the name tells which file it was.
            let _ = std::panic::catch_unwind(|| target(data)).unwrap_or_else(|_| panic!("{name}/{file}"));
        }
        println!("{name}: {} seeds", files.len());
    }
}

#[test]
fn seeds_reach_what_they_were_made_for() {
    for (name, _) in TARGETS {
        let seeds = seeds(name);
        let ends: Vec<_> = seeds.iter().filter(|seed| run(name, &seed.data) != seed.good).map(|s| &s.name).collect();
        assert!(ends.is_empty(), "{name}: these come to another end: {ends:?}");
        assert!(seeds.is_empty() || seeds.iter().any(|seed| seed.good), "{name} has no honest seed");
    }
}

/// With `NP_WRITE_SEEDS` set they are written instead.
#[test]
fn the_seeds_that_are_made_are_those_that_are_kept() {
    let write = std::env::var_os("NP_WRITE_SEEDS").is_some();
    for (name, _) in TARGETS {
        let kept = if write { BTreeMap::new() } else { files(name) };
        for seed in seeds(name) {
            if write {
                std::fs::create_dir_all(folder(name)).expect("a folder");
                std::fs::write(folder(name).join(&seed.name), &seed.data).expect("a file");
            } else {
                let same = kept.get(&seed.name) == Some(&seed.data);
                assert!(same, "{name}/{}: run this test with NP_WRITE_SEEDS=1 and commit fuzz/seeds", seed.name);
            }
        }
    }
}

/// A little of what fuzzing does, by chance and by seed, where no fuzzer runs. `NP_FUZZ_ROUNDS` asks for more.
#[test]
fn changed_seeds_keep_the_rules() {
    let rounds = std::env::var("NP_FUZZ_ROUNDS").map_or(5, |text| text.parse().expect("NP_FUZZ_ROUNDS is a number"));
    for (name, target) in TARGETS {
        let files: Vec<_> = files(name).into_iter().collect();
        let mut rng = Rng::new(7);
        for round in 0..rounds {
            for (file, data) in &files {
                let (_, other) = &files[rng.below(files.len() as u64) as usize];
                let changed = change(data, other, &mut rng);
                let kept = std::panic::catch_unwind(|| target(&changed));
                assert!(kept.is_ok(), "{name}/{file} in round {round}: {changed:02x?}");
            }
        }
    }
}

/// Some bytes turned, put in or taken out, or the end of another input instead of its own.
fn change(data: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = data.to_vec();
    for _ in 0..rng.between(1, 6) {
        let at = rng.below(out.len() as u64) as usize;
        let value = rng.pick(&[0, 1, 0x7f, 0x80, 0xff, rng.clone().next_u64() as u8]);
        match rng.below(6) {
            _ if out.is_empty() => out.push(value),
            0 => out[at] ^= 1 << rng.below(8),
            1 => out[at] = value,
            2 => out.insert(at, value),
            3 => drop(out.remove(at)),
            4 => {
                let from = rng.below(other.len() as u64) as usize;
                out.truncate(at);
                out.extend_from_slice(&other[from.min(other.len())..]);
            }
            _ => {
                let end = (at + rng.between(1, 20) as usize).min(out.len());
                let again = out[at..end].to_vec();
                out.splice(at..at, again);
            }
        }
    }
    out
}

#[test]
fn seeds_are_light() {
    let all = TARGETS.iter().flat_map(|(name, _)| files(name).into_values());
    let bytes: u64 = all.map(|data| data.len() as u64).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of seeds; keep the smallest that find the same");
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder(target)).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.map(|path| (name(&path), std::fs::read(&path).expect("a readable file"))).collect()
}
