//! Instructions per call, counted by callgrind and held against stored figures: they do not depend on what else the
//! machine does.
//!
//! Owns the counting, the stored file and the verdict; what is counted are the scenarios of the benchmark `path`. Figures
//! hold for one compiler and one kind of processor: on any other the comparison is skipped, and that is said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// The stored figures.
const STORED: &str = "benches/guard.json";

/// How much a figure may grow, in percent.
const ALLOWED: u64 = 3;

/// Features of a processor that libraries look for while they run, and then take other ways; those that callgrind passes on.
const FEATURES: [&str; 6] = ["aes", "avx", "avx2", "bmi2", "pclmulqdq", "ssse3"];

/// Instructions per call by scenario, and what they hold for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Figures {
    /// Compiler, processor and tool: a name and a value each.
    made_with: BTreeMap<String, String>,
    per_call: BTreeMap<String, u64>,
}

/// A scenario of the benchmark, and the counts between which the difference is taken.
#[derive(Clone, Debug, PartialEq)]
struct Scenario {
    name: String,
    counts: [u64; 2],
}

/// Counts the scenarios that are named, or all, and holds them against the stored figures; `--write` stores them instead.
pub(super) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let write = arguments.iter().any(|argument| argument == "--write");
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "--write").collect();
    if !process::works("valgrind", &["--version"]) {
        println!("skipped: valgrind is not installed, so no instructions are counted (apt install valgrind)");
        return Ok(());
    }
    let path = workspace.root.join(STORED);
    let (stored, made_with) = (Figures::read(&path)?, made_with()?);
    if let (false, Some(difference)) = (write, difference(&stored.made_with, &made_with)) {
        println!(
            "skipped: {difference}; figures of one say nothing of the other. `bench guard --write` stores new ones"
        );
        return Ok(());
    }
    let program = super::build_path(workspace)?;
    let scenarios = select(scenarios(&output(&program, &["--list"])?)?, &wanted)?;
    let mut counted = BTreeMap::new();
    println!("{:<32} {:>14} {:>14} {:>9}", "scenario", "instructions", "stored", "change");
    for scenario in scenarios {
        let figure = per_call(&program, &scenario)?;
        println!("{}", row(&scenario.name, figure, stored.per_call.get(&scenario.name).copied()));
        counted.insert(scenario.name, figure);
    }
    if write {
        return stored.replaced(made_with, counted, wanted.is_empty()).write(&path);
    }
    verdict(&stored.per_call, &counted, wanted.is_empty())
}

/// What figures depend on.
fn made_with() -> Result<BTreeMap<String, String>, Failure> {
    let version = output(Path::new("rustc"), &["--version", "--verbose"])?;
    let field = |name: &str| {
        let line = version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned).ok_or_else(|| format!("`rustc --version --verbose` tells no {name}"))
    };
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(BTreeMap::from([
        ("rustc".to_owned(), format!("{} ({})", field("release")?, field("commit-hash")?)),
        ("host".to_owned(), field("host")?),
        ("processor".to_owned(), features(&processor)),
        ("valgrind".to_owned(), output(Path::new("valgrind"), &["--version"])?.trim().to_owned()),
    ]))
}

/// Those of [`FEATURES`] that the processor has.
fn features(processor: &str) -> String {
    let flags = processor.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |feature: &&&str| flags.split_whitespace().any(|flag| flag == **feature);
    FEATURES.iter().filter(has).copied().collect::<Vec<_>>().join(" ")
}

/// The first thing in which two machines differ, in words; nothing where no figures are stored.
fn difference(stored: &BTreeMap<String, String>, here: &BTreeMap<String, String>) -> Option<String> {
    let other = stored.iter().find(|(name, value)| here.get(*name) != Some(value))?;
    let ours = here.get(other.0).map_or("unknown", String::as_str);
    Some(format!("the stored figures are of {} `{}`, and here it is `{ours}`", other.0, other.1))
}

/// The output of a program that ends well.
fn output(program: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("`{}` does not start: {error}", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    Err(format!("`{} {}` ended with {}", program.display(), arguments.join(" "), output.status).into())
}

/// The scenarios that the benchmark lists: a name and two counts a line.
fn scenarios(list: &str) -> Result<Vec<Scenario>, Failure> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let counts = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
        (counts[0] < counts[1]).then_some(Scenario { name, counts })
    };
    list.lines().map(|line| read(line).ok_or_else(|| format!("`{line}` is no scenario").into())).collect()
}

fn select(all: Vec<Scenario>, wanted: &[&str]) -> Result<Vec<Scenario>, Failure> {
    if let Some(unknown) = wanted.iter().find(|name| all.iter().all(|one| one.name != **name)) {
        let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
        return Err(format!("no scenario `{unknown}`; there are {}", names.join(", ")).into());
    }
    Ok(all.into_iter().filter(|one| wanted.is_empty() || wanted.contains(&one.name.as_str())).collect())
}

/// Instructions per call: what more calls cost more, so that start and end do not count.
fn per_call(program: &Path, scenario: &Scenario) -> Result<u64, Failure> {
    let [few, many] = scenario.counts;
    let more = collected(program, &scenario.name, many)?.saturating_sub(collected(program, &scenario.name, few)?);
    Ok((more + (many - few) / 2) / (many - few))
}

/// Instructions of a whole run.
fn collected(program: &Path, scenario: &str, calls: u64) -> Result<u64, Failure> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = command.args([scenario, &calls.to_string()]).stdout(Stdio::null()).output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    match total(&told) {
        Some(total) if output.status.success() => Ok(total),
        _ => Err(format!("`path {scenario} {calls}` under callgrind ended with {}:\n{told}", output.status).into()),
    }
}

/// The total that callgrind tells at its end.
fn total(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn change(figure: u64, stored: u64) -> f64 {
    (figure as f64 / stored.max(1) as f64 - 1.0) * 100.0
}

fn row(name: &str, figure: u64, stored: Option<u64>) -> String {
    let Some(stored) = stored else {
        return format!("{name:<32} {figure:>14} {:>14} {:>9}", "none", "new");
    };
    format!("{name:<32} {figure:>14} {stored:>14} {:>+8.2} %", change(figure, stored))
}

/// Fails where a figure grew too much, or where scenarios and stored figures are not the same.
fn verdict(stored: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>, whole: bool) -> Result<(), Failure> {
    let grown = |(name, figure): (&String, &u64)| {
        let stored = stored.get(name).filter(|stored| figure * 100 > **stored * (100 + ALLOWED))?;
        Some(format!("{name} by {:.1} %", change(*figure, *stored)))
    };
    let grown: Vec<String> = counted.iter().filter_map(grown).collect();
    let strange: Vec<&str> = counted.keys().filter(|name| !stored.contains_key(*name)).map(String::as_str).collect();
    let gone: Vec<&str> =
        stored.keys().filter(|name| whole && !counted.contains_key(*name)).map(String::as_str).collect();
    if !grown.is_empty() {
        return Err(format!("grew by more than {ALLOWED} %: {}", grown.join(", ")).into());
    }
    if !strange.is_empty() || !gone.is_empty() {
        let names = [strange, gone].concat().join(", ");
        return Err(format!("{STORED} and the scenarios differ in {names}; `bench guard --write` stores them").into());
    }
    println!("guard: {} scenarios, none above the stored figure by more than {ALLOWED} %", counted.len());
    Ok(())
}

impl Figures {
    /// What is stored; nothing where there is no file yet.
    fn read(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
        let map = |name: &str| {
            let map = value.get(name).and_then(Value::as_object);
            map.ok_or_else(|| format!("{} has no map `{name}`", path.display()))
        };
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        let number = |(name, value): (&String, &Value)| Some((name.clone(), value.as_u64()?));
        Ok(Self {
            made_with: map("made_with")?.iter().filter_map(text).collect(),
            per_call: map("instructions_per_call")?.iter().filter_map(number).collect(),
        })
    }

    /// With other figures: all of them, or those that were counted. What another compiler made never stays.
    fn replaced(mut self, made_with: BTreeMap<String, String>, counted: BTreeMap<String, u64>, whole: bool) -> Self {
        if whole || self.made_with != made_with {
            self.per_call.clear();
        }
        self.per_call.extend(counted);
        Self { made_with, ..self }
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let made_with: Map<String, Value> =
            self.made_with.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let per_call: Map<String, Value> =
            self.per_call.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
        let value = serde_json::json!({ "made_with": made_with, "instructions_per_call": per_call });
        fs::write(path, serde_json::to_string_pretty(&value)? + "\n")?;
        println!("guard: {} figures written to {STORED}", self.per_call.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rows: &[(&str, u64)]) -> BTreeMap<String, u64> {
        rows.iter().map(|(name, figure)| ((*name).to_owned(), *figure)).collect()
    }

    fn with(compiler: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("rustc".to_owned(), compiler.to_owned())])
    }

    fn failure(result: Result<(), Failure>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn three_percent_more_pass_and_a_little_more_fails_by_name() {
        let stored = figures(&[("call", 1_000), ("seal", 1_000)]);
        assert!(verdict(&stored, &figures(&[("call", 1_030), ("seal", 10)]), true).is_ok());
        let text = failure(verdict(&stored, &figures(&[("call", 1_031), ("seal", 1_000)]), true));
        assert!(text.contains("call by 3.1 %") && !text.contains("seal"), "{text}");
    }

    #[test]
    fn scenarios_without_figures_and_figures_without_scenarios_are_named() {
        let stored = figures(&[("call", 1_000), ("gone", 1)]);
        let text = failure(verdict(&stored, &figures(&[("call", 1_000), ("new", 5)]), true));
        assert!(text.contains("new, gone"), "{text}");
        assert!(verdict(&stored, &figures(&[("call", 1_000)]), false).is_ok(), "a part was asked for");
    }

    #[test]
    fn figures_of_another_compiler_are_not_compared() {
        assert_eq!(difference(&with("1"), &with("1")), None);
        assert_eq!(difference(&BTreeMap::new(), &with("1")), None);
        assert!(difference(&with("1"), &with("2")).is_some_and(|text| text.contains("`1`") && text.contains("`2`")));
    }

    #[test]
    fn what_is_written_is_read_and_a_part_replaces_a_part() -> Result<(), Failure> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("guard.json");
        assert_eq!(Figures::read(&path)?, Figures::default());
        let first = Figures::default().replaced(with("1"), figures(&[("a", 1), ("b", 2)]), true);
        first.write(&path)?;
        assert_eq!(Figures::read(&path)?, first);
        let part = first.clone().replaced(with("1"), figures(&[("b", 3)]), false);
        assert_eq!(part.per_call, figures(&[("a", 1), ("b", 3)]));
        assert_eq!(first.clone().replaced(with("2"), figures(&[("b", 3)]), false).per_call, figures(&[("b", 3)]));
        assert_eq!(first.replaced(with("1"), figures(&[("b", 3)]), true).per_call, figures(&[("b", 3)]));
        Ok(())
    }

    #[test]
    fn scenarios_totals_and_features_are_read() -> Result<(), Failure> {
        let all = scenarios("call-1 8 40\nseal 1 2\n")?;
        assert_eq!(all.first(), Some(&Scenario { name: "call-1".to_owned(), counts: [8, 40] }));
        for wrong in ["call", "call 8", "call 8 8", "call x 9"] {
            assert!(scenarios(wrong).is_err(), "{wrong}");
        }
        assert_eq!(select(all.clone(), &["seal"])?.len(), 1);
        assert_eq!(select(all.clone(), &[])?.len(), 2);
        assert!(select(all, &["seel"]).is_err_and(|error| error.to_string().contains("call-1, seal")));
        assert_eq!(total("==7== Events    : Ir\n==7== Collected : 27151\n==7==\n"), Some(27_151));
        assert_eq!(total("==7== nothing"), None);
        assert_eq!(features("model: 1\nflags\t\t: fpu ssse3 aes avx\nflags : avx2\n"), "aes avx ssse3");
        Ok(())
    }
}
