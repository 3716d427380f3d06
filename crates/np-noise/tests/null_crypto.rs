//! Ciphers that hide nothing are for fuzzing: no crate that is shipped may ask for them.
#![cfg(test)]

#[path = "common/cargo.rs"]
mod cargo;

use serde_json::Value;

const FEATURE: &str = "danger-null-crypto";
/// A dev-dependency by path alone, which `cargo xtask layers` sees to.
const ALLOWED: &str = "np-testkit";

#[test]
fn no_shipped_crate_asks_for_null_crypto() {
    let metadata = cargo::metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let own = packages.iter().find(|package| package["name"] == "np-noise").expect("np-noise");
    assert_eq!(own["features"][FEATURE], Value::Array(Vec::new()), "the feature is there and switches on no other");

    let asking: Vec<_> = packages.iter().filter(|package| asks(package)).map(|package| &package["name"]).collect();
    assert_eq!(asking, [ALLOWED], "whoever asks for {FEATURE} is a tool for tests");
}

/// Whether a package switches the feature on: at a dependency, or by a feature of its own, `default` among them.
fn asks(package: &Value) -> bool {
    let named = |value: &Value| value.as_str().is_some_and(|text| text.split('/').next_back() == Some(FEATURE));
    let lists = |value: &Value| value.as_array().is_some_and(|list| list.iter().any(named));
    let dependencies = package["dependencies"].as_array().expect("dependencies");
    let features = package["features"].as_object().expect("features");
    dependencies.iter().any(|dependency| lists(&dependency["features"])) || features.values().any(lists)
}
