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
fn the_page_of_settings_describes_each_as_the_code_does() {
    let mut rows = BTreeMap::new();
    for line in page("CONFIGURATION.md").lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, about, default, _] = cells.as_slice()
            && name.starts_with('`')
        {
            let about = about.replace(" *restart*", " (restart)");
            rows.insert(name.trim_matches('`').to_owned(), (about, default.trim_matches('`').to_owned()));
        }
    }
    let (mut table, mut about, mut settings) = (String::new(), Vec::new(), BTreeMap::new());
    for line in Config::sample().lines() {
        match (line.strip_prefix("# "), line.split_once(" = ")) {
            (Some(text), _) => about.push(text.to_owned()),
            (None, Some((key, default))) => {
                let text = about.join(" ");
                settings.insert(format!("{table}.{key}"), (text, default.to_owned()));
                about.clear();
            }
            _ => {
                table = line.trim_matches(['[', ']']).to_owned();
                about.clear();
            }
        }
    }
    for (key, setting) in &settings {
        assert_eq!(rows.get(key), Some(setting), "{key}");
    }
    assert!(rows.keys().eq(settings.keys()), "a row is of no setting");
}
