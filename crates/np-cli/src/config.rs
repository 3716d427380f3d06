//! `np config`: whether a configuration can be used, and what counts.

use std::path::PathBuf;

use clap::Args;
use np_facade::{Config, ConfigSource};
use serde_json::{Map, json};

use crate::counted::counted;
use crate::failure::Failure;
use crate::output::{self, Output};

/// Reads a file, and the variables of the environment over it (NP_SERVER__MAX_CONNECTIONS and the like), and says whether
/// all of it can be used. Everything that is wrong is told at once, with exit code 2.
///
/// Key files, lists and certificates that it names are not read.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Prints every setting as a file that np reads: the defaults, a file over them, the variables of the environment over that.
#[derive(Debug, Args)]
pub(crate) struct Print {
    /// The file
    #[arg(value_name = "FILE", conflicts_with = "defaults")]
    file: Option<PathBuf>,

    /// Print the defaults alone, each with what it is for
    #[arg(long)]
    defaults: bool,

    /// Print beside each value where it comes from
    #[arg(long)]
    sources: bool,
}

/// Reads a file and the environment.
pub(crate) fn load(file: Option<&PathBuf>) -> Result<Config, Failure> {
    Config::load(file.map(PathBuf::as_path), std::env::vars_os()).map_err(|error| Failure::config(&error))
}

/// Says that a file can be used.
pub(crate) fn check(command: &Check, output: Output) -> Result<(), Failure> {
    let config = load(Some(&command.file))?;
    let set = config.settings().filter(|(.., source)| *source != ConfigSource::Default).count();
    let file = np_facade::escape_path(&command.file);
    let settings = counted(set, "setting, which", "settings, all of which");
    output.line(&format!("{file}: {settings} can be used"), &json!({ "file": file, "settings": set }))
}

/// Prints a configuration.
pub(crate) fn print(command: &Print, output: Output) -> Result<(), Failure> {
    let config = if command.defaults { Config::default() } else { load(command.file.as_ref())? };
    if output.is_ndjson() {
        return config.settings().try_for_each(|(key, value, source)| {
            output.json(&json!({ "setting": key, "value": value, "source": source.to_string() }))
        });
    }
    if output.is_json() {
        let all: Map<_, _> = config
            .settings()
            .map(|(key, value, source)| (key, json!({ "value": value, "source": source.to_string() })))
            .collect();
        return output.json(&all);
    }
    let text = match command.defaults && !command.sources {
        true => Config::sample(),
        false => config.to_toml(command.sources),
    };
    output::write(text.as_bytes())
}
