//! Any text as a configuration, and any pairs as the environment: what is read is written to what reads as the same, is
//! fit by its own check, and each setting has a source; what is refused is refused in short lines that can be shown. Owns
//! this rule alone; it must never open a file.

use np_facade::{Config, ConfigError, ConfigSource};

/// Longer than any message about one thing.
const MOST_SHOWN: usize = 2_048;

/// Gives whether the bytes are a configuration. Zeros divide them: what stands before the first is the file, and behind it
/// come variables of the environment.
pub(crate) fn target(data: &[u8]) -> bool {
    let mut parts = data.split(|byte| *byte == 0);
    let file = parts.next().and_then(|text| std::str::from_utf8(text).ok());
    let variables: Vec<_> = parts.map(pair).collect();
    let by_file = file.map(|text| read(Config::parse(text, "np.toml")));
    // Without variables it is the same each time, and an empty file shows it.
    let environment = || read(Config::load(None, variables.iter().map(|(name, value)| (name, value))));
    let by_environment = variables.is_empty() || environment();
    by_environment && by_file == Some(true)
}

/// Name and value of a variable; the system's strings are any bytes on some systems, and text on others.
fn pair(bytes: &[u8]) -> (std::ffi::OsString, std::ffi::OsString) {
    let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
    let (name, value) = bytes.split_at(at);
    (word(name), word(value.get(1..).unwrap_or_default()))
}

#[cfg(unix)]
fn word(bytes: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn word(bytes: &[u8]) -> std::ffi::OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

fn read(result: Result<Config, ConfigError>) -> bool {
    match result {
        Ok(config) => {
            assert!(config.check().is_ok(), "what was read does not pass its own check");
            for sources in [false, true] {
                let text = config.to_toml(sources);
                let again = Config::parse(&text, "again").unwrap_or_else(|error| panic!("{error}\nin\n{text}"));
                assert_eq!(again, config);
                assert_eq!(again.to_toml(false), config.to_toml(false));
            }
            assert!(config.settings().all(|(_, _, source)| source != ConfigSource::Code), "nothing was set by code");
            true
        }
        Err(error) => {
            assert!(!error.problems().is_empty(), "it fails without a reason");
            for problem in error.problems() {
                let shown = problem.to_string();
                assert!(!shown.is_empty() && shown.len() < MOST_SHOWN, "{} bytes about one problem", shown.len());
                assert!(!shown.chars().any(char::is_control), "a control character reaches the terminal: {shown:?}");
            }
            false
        }
    }
}
