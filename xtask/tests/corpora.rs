//! Every target of fuzzing has seeds, and the targets that reach beyond the test kit replay theirs here.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test panics")]

#[path = "../../fuzz/bodies/address.rs"]
mod address;
#[path = "../../fuzz/bodies/allow_list.rs"]
mod allow_list;
#[path = "../../fuzz/bodies/cluster.rs"]
mod cluster;
#[path = "../../fuzz/bodies/codec.rs"]
mod codec;
#[path = "../../fuzz/bodies/compress.rs"]
mod compress;
#[path = "../../fuzz/bodies/config.rs"]
mod config;
#[path = "../../fuzz/bodies/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use np_testkit::fuzz::{TARGETS, Target};

const OWN: [(&str, Target); 7] = [
    ("address", address::target),
    ("allow_list", allow_list::target),
    ("cluster", cluster::target),
    ("codec", codec::target),
    ("compress", compress::target),
    ("config", config::target),
    ("server", server::target),
];

#[test]
fn seeds_of_what_reaches_beyond_the_test_kit_keep_their_rules() {
    for (name, target) in OWN {
        let files = files(name);
        assert!(files.len() >= 3, "fuzz/seeds/{name} holds {} files", files.len());
        let good = files.iter().filter(|(_, data)| target(data)).count();
        println!("{name}: {} seeds, {good} of them good", files.len());
        assert!(good > 0, "{name}: no seed is read");
    }
}

#[test]
fn every_program_has_a_rule_that_tests_run_and_seeds() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let mut programs = 0;
    for entry in std::fs::read_dir(fuzz().join("fuzz_targets")).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let known = TARGETS.iter().chain(&OWN).any(|(other, _)| *other == name);
        assert!(known, "{name}: no test runs its rule");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}: is no program of the manifest");
        assert!(!files(&name).is_empty(), "fuzz/seeds/{name} holds nothing");
        programs += 1;
    }
    assert_eq!(programs, TARGETS.len() + OWN.len(), "a rule has no program");
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn files(target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(fuzz().join("seeds").join(target)).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.map(|path| (name(&path), std::fs::read(&path).expect("a readable file"))).collect()
}
