//! The layers: a TOML file and the environment, each read into values with the place where they stand. Must never decide
//! whether a value fits its setting.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use np_types::escape_path;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::declare::Entry;
use super::form::Raw;
use super::problem::{ConfigError, ConfigProblem, ConfigSource, variable};
use super::settings::{ENTRIES, TABLES};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
const PREFIX: &str = "NP_";

/// A setting that a layer sets.
pub(super) struct Set {
    pub(super) entry: &'static Entry,
    pub(super) raw: Raw,
    pub(super) source: ConfigSource,
}

/// What a layer holds, and what is wrong with it.
#[derive(Default)]
pub(super) struct Layer {
    pub(super) sets: Vec<Set>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// The text of a file.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |error: std::io::Error| {
        ConfigError::one(
            escape_path(path),
            None,
            format!("cannot be read: {error}; check its name and who may read it"),
        )
    };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(ConfigError::one(escape_path(path), None, "holds more than 1 MiB; a configuration is shorter"));
    }
    Ok(text)
}

/// Reads the text of a file.
pub(super) fn from_toml(text: &str, path: &Path) -> Layer {
    let mut layer = Layer::default();
    let lines = Lines::new(text, path);
    let (tables, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error.span().map_or_else(|| escape_path(path), |span| lines.place(span));
        layer.problems.push(ConfigProblem { place, key: None, message: format!("is no TOML: {}", error.message()) });
    }
    if !layer.problems.is_empty() {
        return layer;
    }
    for (name, value) in in_order(tables.get_ref()) {
        let table: &str = name.get_ref();
        match value.get_ref() {
            DeValue::Table(settings) if is_table(table) => layer.take_table(table, settings, &lines),
            _ => layer.refuse_table(table, matches!(value.get_ref(), DeValue::Table(_)), lines.place(name.span())),
        }
    }
    layer
}

/// Reads those variables that begin with `NP_` and have two underscores behind the name of a table.
pub(super) fn from_env<K: AsRef<OsStr>, V: AsRef<OsStr>>(
    env: impl IntoIterator<Item = (K, V)>,
    file: Option<&Path>,
) -> Layer {
    let mut layer = Layer::default();
    let mut variables: Vec<(String, V)> = env
        .into_iter()
        .filter_map(|(name, value)| Some((name.as_ref().to_str()?.to_owned(), value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    variables.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in variables {
        layer.take_variable(&name, value.as_ref(), file);
    }
    layer
}

impl Layer {
    fn take_table(&mut self, table: &str, settings: &DeTable<'_>, lines: &Lines<'_>) {
        for (name, value) in in_order(settings) {
            let setting: &str = name.get_ref();
            match find(table, setting) {
                Some(entry) => {
                    let source = ConfigSource::File { path: lines.path.to_owned(), line: lines.number(name.span()) };
                    self.sets.push(Set { entry, raw: raw(value), source });
                }
                None => self.problems.push(unknown(table, setting, lines.place(name.span()))),
            }
        }
    }

    fn refuse_table(&mut self, name: &str, is_table: bool, place: String) {
        let known: Vec<&str> = tables().collect();
        let message = match (known.contains(&name), is_table) {
            (true, _) => format!("is a table: write [{name}], and its settings below"),
            (false, true) => {
                let near = nearest(name, known.iter().copied()).map(|table| format!("[{table}]"));
                format!("there is no such table{}", guess(near))
            }
            (false, false) => format!("stands in no table{}", guess(nearest_key(None, name))),
        };
        self.problems.push(ConfigProblem { place, key: Some(name.to_owned()), message });
    }

    fn take_variable(&mut self, name: &str, value: &OsStr, file: Option<&Path>) {
        let place =
            file.map_or_else(|| "environment".to_owned(), |file| format!("environment, over {}", escape_path(file)));
        let rest = name.strip_prefix(PREFIX).unwrap_or_default();
        let Some((table, setting)) = rest.split_once("__") else {
            // Other variables of np have no table; one that begins with a table's name lacks an underscore.
            if let Some(entry) = ENTRIES.iter().find(|entry| variable(&entry.key()).replace("__", "_") == name) {
                let message = format!("is ignored with one underscore; write {}", variable(&entry.key()));
                self.problems.push(ConfigProblem { place: format!("{place}: {name}"), key: None, message });
            }
            return;
        };
        let (table, setting) = (table.to_ascii_lowercase(), setting.to_ascii_lowercase());
        let Some(entry) = find(&table, &setting) else {
            self.problems.push(unknown(&table, &setting, place));
            return;
        };
        match value.to_str() {
            Some(text) => self.sets.push(Set {
                entry,
                raw: Raw::Word(text.to_owned()),
                source: ConfigSource::Environment { variable: name.to_owned() },
            }),
            None => self.problems.push(ConfigProblem {
                place,
                key: Some(entry.key()),
                message: "is no UTF-8; write it anew".to_owned(),
            }),
        }
    }
}

/// Where the bytes of a file stand.
struct Lines<'a> {
    /// The places of the line breaks, so that a file of many settings is not looked through for each of them.
    breaks: Vec<usize>,
    path: &'a Path,
}

impl<'a> Lines<'a> {
    fn new(text: &str, path: &'a Path) -> Self {
        Self { breaks: text.match_indices('\n').map(|(at, _)| at).collect(), path }
    }

    fn number(&self, span: Range<usize>) -> usize {
        1 + self.breaks.partition_point(|at| *at < span.start)
    }

    fn place(&self, span: Range<usize>) -> String {
        format!("{}:{}", escape_path(self.path), self.number(span))
    }
}

/// What a table holds, in the order of the file and not of the names.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|(name, _)| name.span().start);
    all
}

fn raw(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        // Digits with underscores, or of another base.
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other("number beyond 64 bits"), Raw::Whole)
        }
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Array(items) => Raw::List(items.iter().map(raw).collect()),
        other => Raw::Other(other.type_str()),
    }
}

fn tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

fn is_table(name: &str) -> bool {
    tables().any(|table| table == name)
}

/// The setting of this name.
pub(super) fn find(table: &str, name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.table == table && entry.name == name)
}

fn unknown(table: &str, name: &str, place: String) -> ConfigProblem {
    let key = format!("{table}.{name}");
    let message = format!("there is no such setting{}", guess(nearest_key(Some(table), name)));
    ConfigProblem { place, key: Some(key), message }
}

/// The setting whose name is the most like this one: of the same table if it has one that is like it, or else of all.
fn nearest_key(table: Option<&str>, name: &str) -> Option<String> {
    let name = name.rsplit('.').next().unwrap_or(name);
    // The right name in the wrong table.
    let same = || ENTRIES.iter().find(|entry| entry.name == name);
    let in_table = |wanted: Option<&str>| {
        let names = ENTRIES.iter().filter(move |entry| wanted.is_none_or(|table| table == entry.table));
        let near = nearest(name, names.clone().map(|entry| entry.name))?;
        names.clone().find(|entry| entry.name == near)
    };
    let near = table.and_then(|table| in_table(Some(table)));
    same().or(near).or_else(|| in_table(None)).map(Entry::key)
}

/// The name that is the most like this one, where no more than a third of it differs.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.map(|known| (strsim::osa_distance(name, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= name.chars().count().max(known.chars().count())).then_some(known)
}

/// The end of a message about a name that does not exist.
fn guess(near: Option<String>) -> String {
    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// A value by itself.
pub(super) fn value(text: &str) -> Option<Raw> {
    DeValue::parse(text).ok().map(|value| raw(&value))
}
