//! Mutants: the code changed in small ways, each of which a test must notice. All of those of the modules that decide whom
//! to trust, what is a copy and how much is too much; of the rest a sample by seed.
//!
//! Owns what is chosen and what the outcomes come to; cargo-mutants changes a copy of the code (`tree`) and runs the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::tree::{self, Tree};
use super::{Shard, output, wilson};
use crate::Failure;
use crate::evidence::{self, Section};
use crate::process;
use crate::workspace::Workspace;

/// Authentication, replay, policy and limits: every mutant, in this order.
const WHOLE: &[&str] = &[
    "crates/np-noise/src/replay.rs",
    "crates/np-noise/src/handshake.rs",
    "crates/np-trust/src/policy.rs",
    "crates/np-trust/src/rule.rs",
    "crates/np-trust/src/list.rs",
    "crates/np-trust/src/psk.rs",
    "crates/np-trust/src/known.rs",
    "crates/np-types/src/limits.rs",
    "crates/np-driver/src/half_open.rs",
    "crates/np-driver/src/rate.rs",
    "crates/np-driver/src/sources.rs",
    "crates/np-driver/src/memory.rs",
    "crates/np-dispatch/src/once/window.rs",
    "crates/np-session/src/handshake.rs",
    "crates/np-session/src/handshake/rules.rs",
    "crates/np-session/src/flood.rs",
    "crates/np-session/src/shortage.rs",
    "crates/np-session/src/credit.rs",
    "crates/np-session/src/handshake/config.rs",
    "crates/np-session/src/receiver.rs",
    "crates/np-driver/src/progress.rs",
    "crates/np-driver/src/call_limits.rs",
    "crates/np-driver/src/accept/judge.rs",
    "crates/np-driver/src/accept/places.rs",
    "crates/np-driver/src/allowance.rs",
    "crates/np-driver/src/identities.rs",
    "crates/np-driver/src/lifetime.rs",
    "crates/np-session/src/methods.rs",
    "crates/np-session/src/handshake/outer.rs",
    "crates/np-compress/src/budget.rs",
    "crates/np-dispatch/src/codec/depth.rs",
    "crates/np-trust/src/key_file.rs",
    "crates/np-trust/src/watch.rs",
    "crates/np-transport/src/tls/verify.rs",
    "crates/np-transport/src/tls/identity.rs",
    "crates/np-cluster/src/signing.rs",
    "crates/np-cluster/src/engine/gate.rs",
    "crates/np-cluster/src/engine/gate/known.rs",
    "crates/np-cluster/src/engine/gate/retired.rs",
];
/// Elsewhere: so many, by this seed.
const SAMPLED: [&str; 3] = ["np-noise", "np-session", "np-wire"];
const SAMPLE: usize = 200;
const SEED: u64 = 9;

/// Mutants that change nothing that a caller could see, one a line: its name without line and column, ` | ` and why.
const EQUIVALENT: &str = "docs/assurance/equivalent-mutants.txt";

/// Runs the chosen mutants of a shard, and adds their outcomes to those that are known.
pub(super) fn run(workspace: &Workspace, shard: Shard) -> Result<(), Failure> {
    if !process::works("cargo", &["mutants", "--version"]) {
        println!("SKIPPED mutants: cargo-mutants is not installed (cargo install cargo-mutants --locked)");
        return Ok(());
    }
    let mut whole = list(workspace, &WHOLE.iter().flat_map(|file| ["--file", file]).collect::<Vec<_>>())?;
    whole.sort_by_key(|name| WHOLE.iter().position(|file| name.split(':').next() == Some(file)));
    let packages: Vec<&str> = SAMPLED.iter().flat_map(|package| ["--package", package]).collect();
    let rest = list(workspace, &packages)?.into_iter().filter(|name| !whole.contains(name)).collect();
    let sample = sampled(rest, SAMPLE, SEED);
    let chosen: Vec<&String> = whole.iter().chain(&sample).collect();
    let part: Vec<&String> = chosen.iter().copied().skip(shard.k).step_by(shard.n).collect();

    let equivalent = equivalent(workspace);
    let mut known = outcomes(&evidence::read(workspace, "mutants")?);
    // A mutant of code that has changed since is another one; one that was missed may have found its test.
    known.retain(|name, _| chosen.contains(&name));
    let is_done = |name: &str| {
        known.get(name).is_some_and(|outcome| outcome != "missed" || equivalent.contains(&placeless(name)))
    };
    let left: Vec<&String> = part.iter().copied().filter(|name| !is_done(name)).collect();
    println!("   {} mutants chosen, {} of them in this shard, {} left to run", chosen.len(), part.len(), left.len());
    let mut verdict = report(workspace, &whole, &sample, &known, &equivalent)?;
    if !left.is_empty() {
        let tree = Tree::copy(workspace)?;
        for names in handfuls(&left) {
            known.extend(tree.test(names)?);
            verdict = report(workspace, &whole, &sample, &known, &equivalent)?;
        }
    }
    verdict.map_or(Ok(()), |missed| Err(missed.into()))
}

/// So many at once at most: what ran is kept if the next are broken off.
const HANDFUL: usize = 80;

/// Names in their order, a few that have the same tests at a time.
fn handfuls<'a, 'b>(names: &'b [&'a String]) -> impl Iterator<Item = &'b [&'a String]> {
    names.chunk_by(|one, other| tree::is_alike(one, other)).flat_map(|names| names.chunks(HANDFUL))
}

fn equivalent(workspace: &Workspace) -> BTreeSet<String> {
    let listed = fs::read_to_string(workspace.root.join(EQUIVALENT)).unwrap_or_default();
    listed.lines().filter_map(|line| line.rsplit_once(" | ")).map(|(name, _)| name.to_owned()).collect()
}

/// The names of mutants, in the order of cargo-mutants.
fn list(workspace: &Workspace, which: &[&str]) -> Result<Vec<String>, Failure> {
    let mut command = Command::new(process::cargo());
    command.args(["mutants", "--list", "--colors=never"]).args(which).current_dir(&workspace.root);
    let text = output(command, &format!("cargo mutants --list {}", which.join(" ")))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// So many of them, chosen by a seed, in their order. Each is drawn by what it is and not by where it stands, so that a change
/// of the code changes the sample by what has changed and little else.
fn sampled(names: Vec<String>, count: usize, seed: u64) -> Vec<String> {
    let mut alike = BTreeMap::<String, u64>::new();
    let mut drawn: Vec<(u64, String)> = names
        .into_iter()
        .map(|name| {
            let number = alike.entry(placeless(&name)).and_modify(|number| *number += 1).or_default();
            (lot(&placeless(&name), seed ^ *number), name)
        })
        .collect();
    drawn.sort();
    let mut chosen: Vec<String> = drawn.into_iter().take(count).map(|(_, name)| name).collect();
    chosen.sort();
    chosen
}

/// A number that is the same everywhere: FNV-1a, mixed by SplitMix64, since the last letters would hardly matter without.
fn lot(name: &str, seed: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    let mixed = hash.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// `path:line:column: what` without line and column, which change with every edit above.
fn placeless(name: &str) -> String {
    let mut parts = name.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(path), Some(_), Some(_), Some(what)) => format!("{path}:{what}"),
        _ => name.to_owned(),
    }
}

fn outcomes(stored: &Value) -> BTreeMap<String, String> {
    let all = stored.get("outcomes").and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, outcome)| Some((name.clone(), outcome.as_str()?.to_owned()))).collect()
}

/// What the outcomes of some mutants come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    chosen: u64,
    caught: u64,
    missed: Vec<String>,
    equivalent: u64,
    unviable: u64,
}

impl Tally {
    fn new(names: &[String], known: &BTreeMap<String, String>, equivalent: &BTreeSet<String>) -> Self {
        let mut tally = Self { chosen: names.len() as u64, ..Self::default() };
        for name in names {
            match known.get(name).map(String::as_str) {
                Some("caught" | "timeout") => tally.caught += 1,
                Some("unviable") => tally.unviable += 1,
                Some("missed") if equivalent.contains(&placeless(name)) => tally.equivalent += 1,
                Some(_) => tally.missed.push(name.clone()),
                None => {}
            }
        }
        tally
    }

    fn ran(&self) -> u64 {
        self.caught + self.missed.len() as u64
    }

    fn row(&self, what: &str) -> String {
        let (low, high) = wilson::interval(self.caught, self.ran());
        let share = if self.ran() == 0 { 0.0 } else { self.caught as f64 * 100.0 / self.ran() as f64 };
        format!(
            "| {what} | {} | {} | {} | {} | {} | {share:.1} % | {:.1} to {:.1} % |\n",
            self.chosen,
            self.caught,
            self.missed.len(),
            self.equivalent,
            self.unviable,
            low * 100.0,
            high * 100.0
        )
    }
}

/// Writes the page, and tells what is wrong, if something is.
fn report(
    workspace: &Workspace,
    whole: &[String],
    sample: &[String],
    known: &BTreeMap<String, String>,
    equivalent: &BTreeSet<String>,
) -> Result<Option<String>, Failure> {
    let (whole, sample) = (Tally::new(whole, known, equivalent), Tally::new(sample, known, equivalent));
    let missed: Vec<&String> = whole.missed.iter().chain(&sample.missed).collect();
    let mut text = "| mutants | chosen | caught | missed | equivalent | do not compile | caught of those that count | 95 % interval |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    text.push_str(&whole.row("all of authentication, replay, policy and limits"));
    text.push_str(&sample.row("a sample of the rest of wire, noise and session"));
    if !missed.is_empty() {
        text.push_str("\nMissed:\n\n");
        missed.iter().for_each(|name| text.push_str(&format!("- `{name}`\n")));
    }
    let ran = known.len();
    evidence::write(
        workspace,
        &Section {
            name: "mutants",
            command: "cargo xtask assure --only mutants --shard K/N",
            result: format!("{ran} of {} mutants ran, {} missed", whole.chosen + sample.chosen, missed.len()),
            figures: json!({ "outcomes": known, "seed": SEED, "missed": missed }),
            text,
        },
    )?;
    Ok((!missed.is_empty()).then(|| format!("{} mutants went unnoticed", missed.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "crates/np-noise/src/replay.rs:12:5: replace Window::add -> Option<[u8; 2]> with None";

    #[test]
    fn the_modules_that_are_mutated_as_a_whole_are_there() -> Result<(), Failure> {
        let root = Workspace::open()?.root;
        for file in WHOLE {
            assert!(root.join(file).is_file(), "{file}");
        }
        let listed = fs::read_to_string(root.join(EQUIVALENT)).unwrap_or_default();
        for line in listed.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.rsplit_once(" | ").is_some_and(|(_, reason)| reason.len() > 20), "no reason: {line}");
        }
        Ok(())
    }

    #[test]
    fn a_sample_is_the_same_for_the_same_seed_and_holds_nothing_twice() {
        let names: Vec<String> = (0..1_000).map(|number| format!("{number:04}")).collect();
        let sample = sampled(names.clone(), 200, 9);
        assert_eq!(sample, sampled(names.clone(), 200, 9));
        assert_ne!(sample, sampled(names.clone(), 200, 10));
        assert_eq!(sample.iter().collect::<BTreeSet<_>>().len(), 200);
        assert_eq!(sampled(names.clone(), 2_000, 9), names);
    }

    #[test]
    fn a_change_of_the_code_leaves_the_rest_of_the_sample() {
        let names: Vec<String> = (0..1_000).map(|number| format!("a.rs:{number:04}:1: {}", number % 700)).collect();
        let moved = |name: &String| name.replace("a.rs:0", "a.rs:7");
        let changed = names.iter().skip(5).map(moved).collect();
        let what = |names: Vec<String>| names.iter().map(|name| placeless(name)).collect::<BTreeSet<_>>();
        let (before, after) = (what(sampled(names, 200, 9)), what(sampled(changed, 200, 9)));
        assert!(before.len() > 150 && before.difference(&after).count() <= 5, "{:?}", before.difference(&after));
    }

    #[test]
    fn names_lose_their_place_and_run_a_few_at_a_time() {
        let (one, other) = (NAME.to_owned(), NAME.replace("np-noise", "np-driver"));
        let mut names = vec![&one; 81];
        names.extend([&other, &one]);
        let runs: Vec<_> = handfuls(&names).map(<[_]>::len).collect();
        assert_eq!(runs, [80, 1, 1, 1]);
        assert_eq!(placeless(NAME), "crates/np-noise/src/replay.rs: replace Window::add -> Option<[u8; 2]> with None");
    }

    #[test]
    fn what_hangs_is_caught_and_what_is_equivalent_does_not_count() {
        let names = ["a.rs:1:1: a", "a.rs:2:1: b", "a.rs:3:1: c", "a.rs:4:1: d", "a.rs:5:1: e", "a.rs:6:1: f"]
            .map(str::to_owned);
        let known = ["caught", "timeout", "missed", "missed", "unviable"];
        let known = names.iter().cloned().zip(known.map(str::to_owned)).collect();
        let equivalent = BTreeSet::from(["a.rs: c".to_owned()]);
        let tally = Tally::new(&names, &known, &equivalent);
        let wanted = Tally { chosen: 6, caught: 2, missed: vec!["a.rs:4:1: d".into()], equivalent: 1, unviable: 1 };
        assert_eq!(tally, wanted);
        assert!(tally.row("some").contains("| 66.7 % | 20.8 to 93.9 % |"), "{}", tally.row("some"));
        assert_eq!(outcomes(&json!({ "outcomes": known })).len(), 5);
    }
}
