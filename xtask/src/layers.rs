//! The arrows between the rooms: which crate of ours may use which, held against what the manifests say.
//!
//! The table here is the written rule; a new arrow is a decision, recorded under `docs/decisions`, before it is a row.

use crate::Failure;
use crate::source::Source;
use crate::workspace::{Dependency, File, Kind, Package, Workspace};

/// The rooms and, for each, the rooms that it may use. No other crate of ours may appear in its manifest.
const TABLE: &[(&str, Uses)] = &[
    ("np-types", Uses::Only(&[])),
    ("np-wire", Uses::Only(&["np-types"])),
    ("np-compress", Uses::Only(&["np-types"])),
    ("np-noise", Uses::Only(&["np-types"])),
    ("np-trust", Uses::Only(&["np-types"])),
    ("np-session", Uses::Only(&["np-types", "np-wire", "np-noise"])),
    ("np-transport", Uses::Only(&["np-types"])),
    ("np-dispatch", Uses::Only(&["np-types"])),
    ("np-driver", Uses::Only(BELOW_DRIVER)),
    ("np-facade", Uses::Only(BELOW_FACADE)),
    ("np-cluster", Uses::Only(&["np-facade"])),
    ("np-cli", Uses::Only(&["np-facade", "np-cluster"])),
    (TESTKIT, Uses::Only(BELOW_TESTKIT)),
    ("xtask", Uses::Any),
    ("np-benches", Uses::Any),
    ("np-examples", Uses::Any),
];

const BELOW_DRIVER: &[&str] =
    &["np-types", "np-noise", "np-session", "np-transport", "np-dispatch", "np-compress", "np-trust"];

const BELOW_FACADE: &[&str] = &[
    "np-types",
    "np-wire",
    "np-compress",
    "np-noise",
    "np-trust",
    "np-session",
    "np-transport",
    "np-dispatch",
    "np-driver",
];

const BELOW_TESTKIT: &[&str] = &["np-types", "np-wire", "np-compress", "np-noise", "np-session", "np-transport"];

/// The simulator: a dev-dependency of any room, used from its `tests` folder alone. In a room's own `src` it would bring
/// a second copy of the room, whose types differ from the first.
const TESTKIT: &str = "np-testkit";

/// Rooms in which the same inputs give the same bytes.
const CORE: &[&str] = &["np-types", "np-wire", "np-compress", "np-noise", "np-session", "np-dispatch"];

/// What brings sockets, clocks or randomness of the machine into a room.
const AMBIENT: &[&str] = &["tokio", "tokio-util", "mio", "socket2", "getrandom", "rand"];

/// Which crates of ours a row allows.
#[derive(Clone, Copy, Debug)]
enum Uses {
    /// These and no others.
    Only(&'static [&'static str]),
    /// Every one: programs that nobody depends on.
    Any,
}

/// Checks the workspace and prints every arrow that is not allowed.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut findings = check(&workspace.packages);
    findings.extend(check_testkit(&workspace.files()?));
    if findings.is_empty() {
        println!("layers: {} crates, every arrow allowed", TABLE.len());
        return Ok(());
    }
    for finding in &findings {
        println!("{finding}");
    }
    Err(format!("{} forbidden arrows or missing rooms", findings.len()).into())
}

/// Every edge that the table does not allow, every room that is missing, every member that has no row.
fn check(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, _) in TABLE {
        if !packages.iter().any(|package| package.name == *name) {
            findings.push(format!("{name}: the room is missing from the workspace"));
        }
    }
    for package in packages {
        let row = TABLE.iter().find(|(name, _)| *name == package.name);
        let Some((_, uses)) = row else {
            findings.push(format!("{}: has no row in the table", package.name));
            continue;
        };
        let edges = package.dependencies.iter();
        findings.extend(
            edges.filter_map(|edge| refuse(package, *uses, edge)).map(|why| format!("{}: {why}", package.name)),
        );
    }
    findings
}

fn refuse(package: &Package, uses: Uses, edge: &Dependency) -> Option<String> {
    if edge.local {
        return refuse_local(uses, edge);
    }
    let core = CORE.contains(&package.name.as_str()) && edge.kind != Kind::Dev;
    (core && AMBIENT.contains(&edge.name.as_str()))
        .then(|| format!("uses {}, and a core room has no sockets, clock or randomness of its own", edge.name))
}

fn refuse_local(uses: Uses, edge: &Dependency) -> Option<String> {
    let Uses::Only(allowed) = uses else {
        return None;
    };
    if edge.name == TESTKIT {
        return match edge.kind {
            Kind::Dev if edge.requirement == "*" => None,
            Kind::Dev => Some(format!("names a version of {TESTKIT}; a path alone is allowed")),
            Kind::Normal | Kind::Build => Some(format!("uses {TESTKIT} outside its tests")),
        };
    }
    if allowed.contains(&edge.name.as_str()) {
        return None;
    }
    let table = match edge.kind {
        Kind::Normal => "dependencies",
        Kind::Build => "build-dependencies",
        Kind::Dev => "dev-dependencies",
    };
    Some(format!(
        "may not use {} ({table}); allowed: {}",
        edge.name,
        if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") }
    ))
}

/// Every use of the simulator from a room's own `src`.
fn check_testkit(files: &[File]) -> Vec<String> {
    let word = TESTKIT.replace('-', "_");
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "rs") {
        let mut parts = file.path.split('/');
        let room = (parts.next() == Some("crates"))
            .then(|| parts.next())
            .flatten()
            .filter(|room| *room != TESTKIT && parts.next() == Some("src"));
        if room.is_none() {
            continue;
        }
        let source = Source::read(&file.text);
        let tokens = source.tokens();
        if let Some(token) = tokens.iter().find(|token| token.text == word) {
            findings.push(format!(
                "{}:{}: uses {TESTKIT} inside src; such a test belongs to the tests folder",
                file.path, token.line
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A whole workspace without any edge, into which a test puts the one it is about.
    fn workspace(from: &str, edge: Dependency) -> Vec<Package> {
        TABLE
            .iter()
            .map(|(name, _)| Package {
                name: (*name).to_owned(),
                dependencies: if *name == from { vec![edge.clone()] } else { Vec::new() },
                targets: Vec::new(),
            })
            .collect()
    }

    fn ours(name: &str, kind: Kind) -> Dependency {
        Dependency { name: name.to_owned(), kind, requirement: "*".to_owned(), local: true }
    }

    fn foreign(name: &str, kind: Kind) -> Dependency {
        Dependency { local: false, requirement: "^1".to_owned(), ..ours(name, kind) }
    }

    #[test]
    fn allowed_arrows_pass() {
        for (from, to) in [
            ("np-wire", "np-types"),
            ("np-session", "np-noise"),
            ("np-facade", "np-wire"),
            ("np-cli", "np-cluster"),
            ("xtask", "np-testkit"),
            ("np-benches", "np-driver"),
        ] {
            assert_eq!(check(&workspace(from, ours(to, Kind::Normal))), [""; 0], "{from} -> {to}");
        }
    }

    #[test]
    fn forbidden_arrows_are_refused_in_every_table() {
        for (from, to) in [
            ("np-types", "np-wire"),
            ("np-wire", "np-session"),
            ("np-dispatch", "np-session"),
            ("np-driver", "np-wire"),
            ("np-cluster", "np-driver"),
            ("np-cli", "np-types"),
            ("np-facade", "np-examples"),
            ("np-types", "xtask"),
        ] {
            for kind in [Kind::Normal, Kind::Build, Kind::Dev] {
                let findings = check(&workspace(from, ours(to, kind)));
                assert_eq!(findings.len(), 1, "{from} -> {to}: {findings:?}");
                assert!(findings.concat().contains(to));
            }
        }
    }

    #[test]
    fn the_simulator_is_a_dev_dependency_by_path_alone() {
        assert_eq!(check(&workspace("np-session", ours(TESTKIT, Kind::Dev))), [""; 0]);
        let normal = check(&workspace("np-facade", ours(TESTKIT, Kind::Normal)));
        assert!(normal.concat().contains("outside its tests"));
        let versioned = Dependency { requirement: "^0.1".to_owned(), ..ours(TESTKIT, Kind::Dev) };
        assert!(check(&workspace("np-session", versioned)).concat().contains("names a version"));
    }

    #[test]
    fn core_rooms_reach_no_sockets_clock_or_randomness() {
        for name in AMBIENT {
            for room in CORE {
                let findings = check(&workspace(room, foreign(name, Kind::Normal)));
                assert_eq!(findings.len(), 1, "{room} -> {name}");
            }
        }
        assert_eq!(check(&workspace("np-session", foreign("tokio", Kind::Dev))), [""; 0]);
        assert_eq!(check(&workspace("np-transport", foreign("tokio", Kind::Normal))), [""; 0]);
    }

    #[test]
    fn missing_rooms_and_rooms_without_a_row_are_named() {
        let mut packages = workspace("np-types", foreign("thiserror", Kind::Normal));
        packages.retain(|package| package.name != "np-trust");
        let mut stray = packages.first().cloned().into_iter().collect::<Vec<_>>();
        stray.iter_mut().for_each(|package| package.name = "np-misc".into());
        packages.extend(stray);
        let findings = check(&packages);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.concat().contains("np-trust: the room is missing"));
        assert!(findings.concat().contains("np-misc: has no row"));
    }

    #[test]
    fn the_simulator_in_src_is_refused_and_in_tests_it_is_not() {
        let files = [
            File::new("crates/np-session/src/lib.rs", "//! Doc.\nuse np_testkit::Pair;\n"),
            File::new("crates/np-session/tests/sim.rs", "use np_testkit::Pair;\n"),
            File::new("crates/np-testkit/src/lib.rs", "use np_testkit as me;\n"),
            File::new("crates/np-types/src/lib.rs", "//! See np_testkit.\n"),
        ];
        let findings = check_testkit(&files);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings.concat().starts_with("crates/np-session/src/lib.rs:2:"));
    }
}
