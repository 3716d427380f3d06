//! The variable that turns the key log on. It is read here and nowhere else: no library of np looks at it.

use np_facade::KeyLog;

use crate::failure::Failure;
use crate::output;

/// The variable that names the file.
const VARIABLE: &str = "NPKEYLOGFILE";

/// The key log that the environment asks for, told about on stderr; none where it asks for none. May block.
pub(crate) fn of_environment() -> Result<Option<KeyLog>, Failure> {
    let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let shown = np_facade::escape_path(path.as_ref());
    let log = KeyLog::danger_append_to(&path).map_err(|error| {
        Failure::usage(format!(
            "{VARIABLE}: cannot append to {shown}: {error}; name another file, or unset the variable"
        ))
    })?;
    output::note(&format!(
        "warning: {VARIABLE}: the keys of every connection are written to {shown}: whoever reads it reads them all"
    ));
    Ok(Some(log))
}
