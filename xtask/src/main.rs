//! The project's own commands: what continuous integration runs, and the checks that no ready-made tool has.
//!
//! This program owns the house rules as code: the arrows between the rooms, the budgets, the promises of the
//! documents. It must never become a library that a room uses, and it knows the rooms by their files alone.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal: printing is what it is for")]

mod assure;
mod bench;
mod campaign;
mod ci;
mod cluster_sim;
mod evidence;
mod examples;
mod fuzz;
mod interop;
mod layers;
mod pictures;
mod process;
mod sbom;
mod soak;
mod source;
mod supply;
mod tidy;
mod vectors;
mod workspace;

use std::env;
use std::process::ExitCode;

use workspace::Workspace;

/// What any command of this program may fail with: a sentence for the person in front of the terminal.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The commands with the line that `help` prints; `tidy` holds the documents against this list.
pub(crate) const COMMANDS: &[(&str, &str)] = &[
    ("ci", "every check in order; `ci STEP ...` runs those alone"),
    ("layers", "the arrows between the rooms"),
    ("tidy", "budgets, module docs, commands and links in documents"),
    ("examples", "builds every example and runs it to its end"),
    ("fuzz-smoke", "two seconds of each fuzz target"),
    ("fuzz", "all fuzz targets for long, and their table: `fuzz --all --minutes 10`, also `--execs N` behind it"),
    (
        "assure",
        "coverage, mutants, miri, timing, residue to docs/ASSURANCE.md: `assure --only coverage`, `assure --shard 0/8`",
    ),
    ("interop", "np against the implementation in Python under tests/interop, both ways"),
    ("soak", "a server and clients under faults: `soak --minutes 20`, also `--seed N` behind it"),
    ("bench", "np beside its peers (`bench peers`), instructions (`bench guard`), system calls (`bench syscalls`)"),
    ("cluster-sim", "how a cluster grows, simulated: `--nodes 10,50`, `--minutes N`, `--loss 5`, `--write`"),
    ("vectors", "writes the protocol's vectors to docs/vectors"),
    ("pictures", "draws the screens of the documents from their stored output, and the rooms: docs/pictures"),
    ("minimal-versions", "builds a copy with the lowest versions that the manifests allow (needs a nightly cargo)"),
    ("semver", "the public API beside that of the last release (needs cargo-semver-checks)"),
    ("sbom", "every package that is linked or builds, as CycloneDX: `sbom --out FILE --package NAME --target TRIPLE`"),
    ("help", "this text"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[] as &[String]),
    };
    match run(command, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {command}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<(), Failure> {
    if !["assure", "bench", "ci", "cluster-sim", "fuzz", "sbom", "soak"].contains(&command) && !rest.is_empty() {
        return Err(format!("takes no arguments, and got `{}`", rest.join(" ")).into());
    }
    match command {
        "ci" => ci::run(&Workspace::open()?, rest),
        "layers" => layers::run(&Workspace::open()?),
        "tidy" => tidy::run(&Workspace::open()?),
        "examples" => examples::run(&Workspace::open()?),
        "fuzz-smoke" => fuzz::run(&Workspace::open()?).map(|_| ()),
        "fuzz" => campaign::run(&Workspace::open()?, rest),
        "interop" => interop::run(&Workspace::open()?).map(|_| ()),
        "soak" => soak::run(&Workspace::open()?, rest),
        "assure" => assure::run(&Workspace::open()?, rest),
        "bench" => bench::run(&Workspace::open()?, rest),
        "cluster-sim" => cluster_sim::run(&Workspace::open()?, rest),
        "vectors" => vectors::run(&Workspace::open()?),
        "pictures" => pictures::run(&Workspace::open()?),
        "minimal-versions" => supply::minimal_versions(&Workspace::open()?),
        "semver" => supply::semver(&Workspace::open()?),
        "sbom" => sbom::run(&Workspace::open()?, rest),
        "help" | "--help" | "-h" => {
            help();
            Ok(())
        }
        other => Err(format!("no command `{other}`; `cargo xtask help` lists them").into()),
    }
}

fn help() {
    println!("usage: cargo xtask COMMAND\n");
    for (name, about) in COMMANDS {
        println!("  {name:<16} {about}");
    }
    println!("\nsteps of ci: {}", ci::step_names().join(", "));
}
