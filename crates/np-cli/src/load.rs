//! The key files that arguments name: read where blocking harms nobody, and refused where the argument is a secret itself.

use std::path::{Path, PathBuf};

use np_cluster::SigningKey;
use np_facade::{Identity, Psk, read_psk, read_sign_key};

use crate::args::KeyMode;
use crate::failure::Failure;
use crate::key_file;
use crate::output;
use crate::signals::blocking;

/// The identity of a key file.
pub(crate) async fn identity(path: PathBuf, mode: KeyMode) -> Result<Identity, Failure> {
    check("--identity", &path, "npsec1", "np keygen --out FILE")?;
    blocking(move || Identity::load_with(path, mode.get()).map_err(|error| Failure::of("key file", error))).await
}

/// The pre-shared key of a key file.
pub(crate) async fn psk(path: PathBuf, mode: KeyMode) -> Result<Psk, Failure> {
    check("--psk", &path, "nppsk1", "np keygen --psk --out FILE")?;
    blocking(move || read_psk(&path, mode.get()).map_err(key_file::refused)).await
}

/// The signing key of a key file.
pub(crate) async fn signing(path: PathBuf, mode: KeyMode) -> Result<SigningKey, Failure> {
    check("--signing-key", &path, "npsign1", "np keygen --signing --out FILE")?;
    blocking(move || read_sign_key(&path, mode.get()).map(|key| SigningKey::new(&key)).map_err(key_file::refused)).await
}

fn check(argument: &str, path: &Path, prefix: &str, keygen: &str) -> Result<(), Failure> {
    let text = path.to_string_lossy().to_ascii_lowercase();
    if text.starts_with(prefix) && !path.exists() {
        return Err(Failure::usage(format!(
            "{argument}: takes the name of a key file, and this looks like a secret key itself; keep secrets in files \
             (`{keygen}`) and off command lines"
        )));
    }
    output::note_unchecked_modes();
    Ok(())
}
