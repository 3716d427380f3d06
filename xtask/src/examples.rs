//! The example programs: built once, each run to its end with nothing on its input.
//!
//! Owns the promise that an example finishes by itself within a minute; it must never know what one shows.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

const PACKAGE: &str = "examples/Cargo.toml";
const LIMIT: Duration = Duration::from_secs(60);

/// What builds them; the whole workspace, so that nothing is compiled again with fewer features.
pub(crate) const BUILD: &[&str] =
    &["build", "--workspace", "--examples", "--locked", "--message-format=json-render-diagnostics"];

/// Builds and runs every example of the package for examples.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let built =
        Command::new(process::cargo()).args(BUILD).current_dir(&workspace.root).stderr(Stdio::inherit()).output()?;
    if !built.status.success() {
        return Err(format!("`{}` ended with {}", process::spell(BUILD, &[]), built.status).into());
    }
    let programs = programs(&String::from_utf8_lossy(&built.stdout));
    if programs.is_empty() {
        println!("no examples yet: examples/examples holds no program");
    }
    for (name, path) in programs {
        run_one(&name, Command::new(path).current_dir(&workspace.root))?;
    }
    Ok(())
}

fn run_one(name: &str, program: &mut Command) -> Result<(), Failure> {
    println!("-- example {name}");
    let started = Instant::now();
    let mut child =
        program.stdin(Stdio::null()).spawn().map_err(|error| format!("example {name} does not start: {error}"))?;
    match process::wait(&mut child, LIMIT)? {
        Some(status) if status.success() => {
            println!("-- example {name}: ok, {:.1} s", started.elapsed().as_secs_f64());
            Ok(())
        }
        Some(status) => Err(format!("example {name} ended with {status}").into()),
        None => Err(format!("example {name} ran longer than {} s", LIMIT.as_secs()).into()),
    }
}

/// The example programs among cargo's messages, sorted by name.
fn programs(messages: &str) -> Vec<(String, PathBuf)> {
    let mut programs: Vec<_> = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let manifest = message.get("manifest_path")?.as_str()?.replace('\\', "/");
            let example = message.pointer("/target/kind/0")? == "example";
            let name = message.pointer("/target/name")?.as_str()?.to_owned();
            let path = PathBuf::from(message.get("executable")?.as_str()?);
            (example && manifest.ends_with(PACKAGE)).then_some((name, path))
        })
        .collect();
    programs.sort();
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_of_the_package_for_examples_are_run() {
        let line = |manifest: &str, kind: &str, name: &str| {
            serde_json::json!({"manifest_path": manifest, "executable": format!("/t/{name}"),
                "target": {"kind": [kind], "name": name}})
            .to_string()
        };
        let messages = [
            line("/p/examples/Cargo.toml", "example", "two"),
            line("C:\\p\\examples\\Cargo.toml", "example", "one"),
            line("/p/examples/Cargo.toml", "bin", "three"),
            line("/p/crates/np-a/Cargo.toml", "example", "four"),
            "not json".to_owned(),
        ];
        let found = programs(&messages.join("\n"));
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn an_example_that_fails_or_is_missing_is_named() {
        let ending = |program: &str, argument: &str| {
            let ended = run_one("mine", Command::new(program).arg(argument));
            ended.map_err(|error| error.to_string())
        };
        let cargo = process::cargo();
        let cargo = cargo.to_string_lossy();
        assert_eq!(ending(&cargo, "--version"), Ok(()));
        for (program, argument) in [("np-no-such-program", ""), (&*cargo, "no-such-command")] {
            assert!(ending(program, argument).is_err_and(|error| error.contains("example mine")));
        }
    }
}
