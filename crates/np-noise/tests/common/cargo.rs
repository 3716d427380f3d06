//! What cargo knows of the workspace.

use std::process::Command;

use serde_json::Value;

/// The answer of `cargo metadata` with these arguments, from what lies on this machine where that is enough.
pub(crate) fn metadata(arguments: &[&str]) -> Value {
    ask(arguments, true).or_else(|| ask(arguments, false)).expect("cargo metadata answers")
}

fn ask(arguments: &[&str], offline: bool) -> Option<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        // A slash serves every system, and a cargo outside of Wine as well.
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .args(arguments)
        .args(offline.then_some("--offline"))
        .output()
        .ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}
