//! `np key show`: what may be shown of a key file.

use std::path::{Path, PathBuf};

use clap::Args;
use np_cluster::SigningKey;
use np_facade::{Identity, KeyError, KeyFileMode, KeyFileProblem, psk_id, read_psk, read_secret_key, read_sign_key};
use serde_json::{Value, json};

use crate::args::KeyMode;
use crate::failure::Failure;
use crate::key_file;
use crate::output::{self, Output};
use crate::signals::blocking;

/// Prints the public key of a secret key file, the id of a pre-shared key file, or the public half of a signing key.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The key file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    key_mode: KeyMode,
}

/// Shows the key.
pub(crate) async fn show(command: Show, output: Output) -> Result<(), Failure> {
    output::note_unchecked_modes();
    let (text, value) = blocking(move || describe(&command.file, command.key_mode.get())).await?;
    output.line(&text, &value)
}

/// What may be shown, as text and as JSON.
fn describe(path: &Path, mode: KeyFileMode) -> Result<(String, Value), Failure> {
    let refused = match read_secret_key(path, mode) {
        Ok(secret) => {
            let public = Identity::from_secret(secret).public_key().to_string();
            let value = json!({ "kind": "secret-key", "public_key": public });
            return Ok((public, value));
        }
        Err(error) => error,
    };
    // The file may hold another kind of key; where it does not, the first refusal is the one to tell.
    if matches!(refused.problem, KeyFileProblem::Key { error: KeyError::WrongKind { .. }, .. }) {
        if let Ok(psk) = read_psk(path, mode) {
            let id = psk_id(&psk);
            let value = json!({ "kind": "psk", "psk_id": id });
            return Ok((id, value));
        }
        if let Ok(key) = read_sign_key(path, mode) {
            let public = SigningKey::new(&key).verify_key().to_string();
            let value = json!({ "kind": "signing-key", "verify_key": public });
            return Ok((public, value));
        }
    }
    Err(key_file::refused(refused))
}
