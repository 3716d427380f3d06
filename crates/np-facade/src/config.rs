//! The configuration: every setting of servers and clients as a typed value, and the layers that it is made of. Must never
//! read a key, and never take a setting that would have no effect.
//!
//! Defaults come first, then a TOML file, then variables of the environment (`NP_SERVER__MAX_CONNECTIONS`: two underscores
//! between table and key), then what code sets; the later wins. All of it is checked at once.

mod build;
mod check;
mod declare;
mod form;
mod layer;
mod plan;
mod print;
mod problem;
mod reload;
mod reload_client;
mod settings;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub(crate) use build::Unread;
pub use problem::{ConfigError, ConfigProblem, ConfigSource};
pub use reload::Reload;
pub(crate) use reload::{End, Running};
pub use settings::{ClientConfig, LogFormat, LogLevel, LoggingConfig, ServerConfig, TransportConfig};

use layer::Layer;
use problem::ConfigProblem as Problem;
use settings::ENTRIES;

/// Every setting, in five tables.
///
/// ```
/// use np_facade::{Client, Config, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let (file, key) = (folder.path().join("np.toml"), folder.path().join("server.key"));
/// # np_facade::Identity::create(&key)?;
/// # std::fs::write(&file, format!(
/// #     "[server]\naddress = \"tcp://127.0.0.1:0\"\nidentity = {key:?}\nallow = \"anyone\"\n"
/// # ))?;
/// // The file, then the variables; a program passes `std::env::vars_os()`.
/// let mut config = Config::load(Some(&file), [("NP_SERVER__MAX_CONNECTIONS", "100")])?;
/// assert_eq!(config.server.max_connections, 100);
/// // Then code.
/// config.transport.max_message = 1 << 20;
/// let server = Server::from_config(&config)?.start().await?;
///
/// config.client.address = vec![server.addresses()[0].to_string()];
/// let client = Client::from_config(&config)?.connect().await?;
/// assert_eq!(client.call("np.echo", "hello").await?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[client]`
    pub client: ClientConfig,
    /// `[transport]`
    pub transport: TransportConfig,
    /// `[logging]`
    pub logging: LoggingConfig,
    /// The file that was read.
    file: Option<PathBuf>,
    /// Where the layers have set a setting, and to what: a setting that has another value by now was set by code.
    origins: BTreeMap<String, (ConfigSource, String)>,
}

/// Equal where every setting is, wherever it comes from.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.differences(other).next().is_none()
    }
}

impl Config {
    /// Reads a file, if there is one to read, and the environment over it.
    ///
    /// Of the environment those variables count that begin with `NP_`, the name of a table and two underscores. In a
    /// variable a list has commas between its items.
    ///
    /// # Errors
    /// Everything that is wrong, at once: a file that cannot be read or is no TOML, unknown tables and settings, values that
    /// are none or out of their range, and settings that do not fit each other.
    pub fn load<K: AsRef<OsStr>, V: AsRef<OsStr>>(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError> {
        let mut layer = match file {
            Some(path) => layer::from_toml(&layer::read_file(path)?, path),
            None => Layer::default(),
        };
        let variables = layer::from_env(env, file);
        layer.sets.extend(variables.sets);
        layer.problems.extend(variables.problems);
        Self::from_layer(layer, file)
    }

    /// Reads the text of a file; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    ///
    /// ```
    /// let config = np_facade::Config::parse("[transport]\nmax_message = \"1MiB\"\n", "np.toml")?;
    /// assert_eq!(config.transport.max_message, 1 << 20);
    /// # Ok::<(), np_facade::ConfigError>(())
    /// ```
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::from_layer(layer::from_toml(text, name.as_ref()), Some(name.as_ref()))
    }

    fn from_layer(layer: Layer, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut config = Self { file: file.map(Path::to_owned), ..Self::default() };
        let mut problems = layer.problems;
        for set in layer.sets {
            let key = set.entry.key();
            match (set.entry.read)(&mut config, &set.raw) {
                Ok(()) => {
                    config.origins.insert(key, (set.source, (set.entry.write)(&config)));
                }
                Err(message) => {
                    let place = config.place(&set.source, &key);
                    problems.push(Problem { place, key: Some(key), message });
                }
            }
        }
        problems.extend(config.disagreements());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }

    /// Checks settings that code has set, as the layers' were.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    ///
    /// ```
    /// let mut config = np_facade::Config::default();
    /// config.transport.max_message = 1 << 30;
    /// let error = config.check().unwrap_err();
    /// assert!(error.to_string().contains("transport.reassembly_budget"));
    /// ```
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = self.out_of_range();
        problems.extend(self.disagreements());
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    /// Where the value of a setting comes from; nothing if there is no such setting.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<ConfigSource> {
        let (table, name) = key.split_once('.')?;
        let entry = ENTRIES.iter().find(|entry| entry.table == table && entry.name == name)?;
        let value = (entry.write)(self);
        Some(match self.origins.get(key) {
            Some((source, then)) if *then == value => source.clone(),
            None if value == (entry.write)(&Self::default()) => ConfigSource::Default,
            _ => ConfigSource::Code,
        })
    }

    /// The keys of the settings that are not as in the other.
    fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static declare::Entry> + 'a {
        ENTRIES.iter().filter(|entry| (entry.write)(self) != (entry.write)(other))
    }

    /// How errors name a place: the file where there is one, whatever the layer.
    fn place(&self, source: &ConfigSource, key: &str) -> String {
        let beneath = match (self.origins.get(key), &self.file) {
            (Some((file @ ConfigSource::File { .. }, _)), _) => Some(file.to_string()),
            (_, Some(file)) => Some(np_types::escape_path(file)),
            (_, None) => None,
        };
        match (source, beneath) {
            (ConfigSource::File { .. }, _) | (_, None) => source.to_string(),
            (ConfigSource::Default, Some(file)) => file,
            (ConfigSource::Environment { .. }, Some(file)) => format!("environment, over {file}"),
            (ConfigSource::Code, Some(file)) => format!("code, over {file}"),
        }
    }

    /// A problem with a value that was read.
    fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let source = self.source(key).unwrap_or(ConfigSource::Code);
        Problem { place: self.place(&source, key), key: Some(key.to_owned()), message: message.into() }
    }
}

#[cfg(test)]
mod tests;
