//! A bill of materials: every package of the lock file as CycloneDX 1.5, from what cargo says of it.
//!
//! Owns the form. It adds nothing that cargo does not say, and no time: the same lock file gives the same text.

use std::fs;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

/// What is written unless an argument names another file.
const FILE: &str = "target/np.cdx.json";
/// The package that the bill is of.
const ROOT: &str = "np-cli";

/// Writes the bill of the program np, or of the package behind `--package`, for the system behind `--target`.
pub(crate) fn run(workspace: &Workspace, rest: &[String]) -> Result<(), Failure> {
    let (mut file, mut root, mut target) = (FILE.to_owned(), ROOT.to_owned(), None);
    for pair in rest.chunks(2) {
        match pair {
            [flag, value] if flag == "--out" => file.clone_from(value),
            [flag, value] if flag == "--package" => root.clone_from(value),
            [flag, value] if flag == "--target" => target = Some(value.clone()),
            _ => return Err("takes --out FILE, --package NAME and --target TRIPLE".into()),
        }
    }
    let metadata = metadata(workspace, target.as_deref())?;
    let bill = bill(&metadata, &root)?;
    let path = workspace.root.join(&file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, format!("{bill:#}\n"))?;
    let count = bill.get("components").and_then(Value::as_array).map_or(0, Vec::len);
    println!("sbom: {count} packages below {root}, in {file}");
    Ok(())
}

fn metadata(workspace: &Workspace, target: Option<&str>) -> Result<Value, Failure> {
    let mut command = Command::new(process::cargo());
    command.args(["metadata", "--format-version", "1", "--locked"]).current_dir(&workspace.root);
    if let Some(target) = target {
        command.args(["--filter-platform", target]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The bill of one package: itself, and what is linked into it or runs while it is built; dev-dependencies are neither.
fn bill(metadata: &Value, root: &str) -> Result<Value, Failure> {
    let packages = list(metadata, "/packages");
    let of = |id: &str| packages.iter().find(|package| text(package, "id") == id);
    let main = packages
        .iter()
        .find(|package| text(package, "name") == root && package.get("source").is_none_or(Value::is_null))
        .ok_or_else(|| format!("no package `{root}` in the workspace"))?;
    let nodes = list(metadata, "/resolve/nodes");
    let (mut open, mut seen) = (vec![text(main, "id")], Vec::new());
    let mut dependencies = Vec::new();
    while let Some(id) = open.pop() {
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let node = nodes.iter().find(|node| text(node, "id") == id);
        let mut below: Vec<&str> = node.map(|node| linked(node)).unwrap_or_default();
        below.sort_unstable();
        let refs: Vec<String> = below.iter().filter_map(|id| of(id)).map(reference).collect();
        if let Some(package) = of(id) {
            dependencies.push(json!({"ref": reference(package), "dependsOn": refs}));
        }
        open.extend(below);
    }
    let mut components: Vec<Value> =
        seen.iter().filter(|id| **id != text(main, "id")).filter_map(|id| of(id)).map(component).collect();
    components.sort_by_key(|one| text(one, "bom-ref").to_owned());
    dependencies.sort_by_key(|one| text(one, "ref").to_owned());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(main)},
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What a node depends on in other tables than that of its tests.
fn linked(node: &Value) -> Vec<&str> {
    let edges = list(node, "/deps").iter();
    let kept = edges.filter(|edge| list(edge, "/dep_kinds").iter().any(|kind| text(kind, "kind") != "dev"));
    kept.map(|edge| text(edge, "pkg")).collect()
}

fn component(package: &Value) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let mut fields = Map::new();
    let ours = package.get("source").is_none_or(Value::is_null);
    fields.insert("type".into(), json!(if name == ROOT { "application" } else { "library" }));
    fields.insert("bom-ref".into(), json!(reference(package)));
    fields.insert("name".into(), json!(name));
    fields.insert("version".into(), json!(version));
    if let Some(about) = package.get("description").and_then(Value::as_str) {
        fields.insert("description".into(), json!(about.trim()));
    }
    if let Some(license) = package.get("license").and_then(Value::as_str) {
        // The older form with a slash means "or".
        fields.insert("licenses".into(), json!([{"expression": license.replace('/', " OR ").replace("  ", " ")}]));
    }
    if !ours {
        fields.insert("purl".into(), json!(format!("pkg:cargo/{name}@{version}")));
    }
    if let Some(home) = package.get("repository").and_then(Value::as_str) {
        fields.insert("externalReferences".into(), json!([{"type": "vcs", "url": home}]));
    }
    Value::Object(fields)
}

fn reference(package: &Value) -> String {
    format!("{}@{}", text(package, "name"), text(package, "version"))
}

fn list<'a>(value: &'a Value, at: &str) -> &'a [Value] {
    value.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, source: Option<&str>) -> Value {
        json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source})
    }

    fn edge(to: &str, kind: Option<&str>) -> Value {
        json!({"pkg": to, "dep_kinds": [{"kind": kind}]})
    }

    #[test]
    fn a_bill_holds_what_is_linked_or_builds_and_no_tests() -> Result<(), Failure> {
        let metadata = json!({
            "packages": [package("np-cli", None), package("bytes", Some("r")), package("cc", Some("r")), package("snow", Some("r"))],
            "resolve": {"nodes": [
                {"id": "np-cli", "deps": [edge("bytes", None), edge("snow", Some("dev"))]},
                {"id": "bytes", "deps": [edge("cc", Some("build"))]},
                {"id": "cc", "deps": []},
                {"id": "snow", "deps": []},
            ]},
        });
        let bill = bill(&metadata, "np-cli")?;
        let names: Vec<&str> = list(&bill, "/components").iter().map(|one| text(one, "bom-ref")).collect();
        assert_eq!(names, ["bytes@1.0.0", "cc@1.0.0"]);
        assert_eq!(bill.pointer("/metadata/component/bom-ref"), Some(&json!("np-cli@1.0.0")));
        assert_eq!(bill.pointer("/metadata/component/purl"), None);
        assert_eq!(bill.pointer("/components/0/purl"), Some(&json!("pkg:cargo/bytes@1.0.0")));
        assert_eq!(bill.pointer("/components/0/licenses/0/expression"), Some(&json!("MIT OR Apache-2.0")));
        assert_eq!(bill.pointer("/dependencies/0"), Some(&json!({"ref": "bytes@1.0.0", "dependsOn": ["cc@1.0.0"]})));
        assert!(super::bill(&metadata, "np-gone").is_err());
        Ok(())
    }

    #[test]
    fn the_bill_of_np_names_every_package_once_with_its_licence() -> Result<(), Failure> {
        let bill = bill(&metadata(&Workspace::open()?, None)?, ROOT)?;
        let parts = list(&bill, "/components");
        let mut names: Vec<&str> = parts.iter().map(|one| text(one, "bom-ref")).collect();
        assert!(names.iter().any(|name| name.starts_with("rustls@")) && names.len() > 100, "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("snow@")), "an oracle of tests is in no program");
        assert!(parts.iter().all(|one| one.get("licenses").is_some()));
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        Ok(())
    }
}
