//! The pages that are made of the code, or have to agree with it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use np_facade::Config;

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).unwrap().replace("\r\n", "\n")
}

#[test]
fn the_sample_is_what_the_code_makes() {
    assert!(
        page("np.sample.toml") == Config::sample(),
        "docs/np.sample.toml is stale: cargo run -p np-cli -- config print --defaults > docs/np.sample.toml"
    );
}

#[test]
fn the_sample_is_read_as_the_defaults() {
    assert_eq!(Config::parse(&Config::sample(), "sample").unwrap(), Config::default());
}

#[test]
fn the_page_of_settings_names_each_with_its_default() {
    let defaults: BTreeMap<String, String> = Config::default().settings().map(|(key, value, _)| (key, value)).collect();
    let mut seen = BTreeMap::new();
    for line in page("CONFIGURATION.md").lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, _, default, _] = cells.as_slice()
            && name.starts_with('`')
        {
            seen.insert(name.trim_matches('`').to_owned(), default.trim_matches('`').to_owned());
        }
    }
    assert_eq!(seen, defaults);
}
