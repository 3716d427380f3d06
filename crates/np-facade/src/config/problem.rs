//! What is wrong with a configuration: where, under which names, and what to do. Must never show a secret.

use std::fmt;
use std::path::PathBuf;

use np_types::{escape, escape_path};

/// The most characters of a file's name that are shown.
const MAX_PATH: usize = 4_096;

/// Which layer a value comes from; a later one wins.
///
/// ```
/// use np_facade::{Config, ConfigSource};
/// let mut config = Config::default();
/// assert_eq!(config.source("server.max_connections"), Some(ConfigSource::Default));
/// config.server.max_connections = 5;
/// assert_eq!(config.source("server.max_connections"), Some(ConfigSource::Code));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigSource {
    /// Nobody has set it.
    Default,
    /// A TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// The program, or an argument of its command line.
    Code,
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", escape_path(path)),
            Self::Environment { variable } => write!(f, "environment ({variable})"),
            Self::Code => f.write_str("code"),
        }
    }
}

/// One thing that is wrong: the file and the line, the key, the variable of the same meaning, and the next step.
///
/// ```
/// let error = np_facade::Config::parse("[server]\nmax_conections = 5\n", "np.toml").unwrap_err();
/// assert_eq!(
///     error.problems()[0].to_string(),
///     "np.toml:2: server.max_conections (NP_SERVER__MAX_CONECTIONS): there is no such setting; \
///      did you mean server.max_connections?",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where: `np.toml:3`, `environment, over np.toml:3`.
    pub(super) place: String,
    /// Under which key, where it is about one.
    pub(super) key: Option<String>,
    pub(super) message: String,
}

impl ConfigProblem {
    /// The key, such as `server.max_connections`.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(key) = &self.key {
            write!(f, "{} ({}): ", escape(key, MAX_PATH), escape(&variable(key), MAX_PATH))?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, one line each.
///
/// ```
/// let error = np_facade::Config::parse("[server]\nbacklog = 0\n[serve]\n", "np.toml").unwrap_err();
/// assert_eq!(error.problems().len(), 2);
/// assert!(error.to_string().lines().all(|line| line.starts_with("np.toml:")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub(super) problems: Vec<ConfigProblem>,
}

impl ConfigError {
    /// What is wrong, in the order of the file, then of the variables, then of the settings.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }

    pub(super) fn one(place: impl Into<String>, key: Option<String>, message: impl Into<String>) -> Self {
        Self { problems: vec![ConfigProblem { place: place.into(), key, message: message.into() }] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let line = if at == 0 { "" } else { "\n" };
            write!(f, "{line}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `server.max_connections` as the environment has it: `NP_SERVER__MAX_CONNECTIONS`.
pub(super) fn variable(key: &str) -> String {
    format!("NP_{}", key.replacen('.', "__", 1).to_ascii_uppercase())
}
