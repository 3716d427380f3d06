//! `np keygen`: the secret goes to a new file, the public half to stdout.

use std::path::PathBuf;

use clap::Args;
use np_cluster::SigningKey;
use np_facade::{Error, Identity, psk_id, random_psk, random_sign_key, write_new_secret};
use serde_json::json;

use crate::failure::Failure;
use crate::key_file;
use crate::output::{self, Output};

/// Makes a key pair and prints its public key, or makes a pre-shared key and prints its id, or a signing key and prints its
/// public half.
///
/// The id of a pre-shared key is the first 16 hexadecimal digits of the SHA-256 of its 32 bytes. A signing key (Ed25519) signs
/// the values of a node of a cluster: `np cluster run --signing-key FILE`. Its public half stands behind the node's key in the
/// lists of the others: np1... orders-1 sign=npverify1...
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The file that gets the secret: new, and readable by this user alone
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Make a pre-shared key in place of a key pair
    #[arg(long)]
    psk: bool,

    /// Make a signing key in place of a key pair
    #[arg(long, conflicts_with = "psk")]
    signing: bool,
}

/// Makes the key.
pub(crate) fn run(command: &Keygen, output: Output) -> Result<(), Failure> {
    output::note_unchecked_modes();
    let file = command.out.to_string_lossy();
    if command.psk {
        let psk = random_psk().map_err(|error| Failure::of("make a key", error.into()))?;
        write_new_secret(&command.out, &psk.to_text()).map_err(key_file::refused)?;
        let id = psk_id(&psk);
        return output.line(&id, &json!({ "kind": "psk", "psk_id": id, "file": file }));
    }
    if command.signing {
        let key = random_sign_key().map_err(|error| Failure::of("make a key", error.into()))?;
        write_new_secret(&command.out, &key.to_text()).map_err(key_file::refused)?;
        let public = SigningKey::new(&key).verify_key().to_string();
        return output.line(&public, &json!({ "kind": "signing-key", "verify_key": public, "file": file }));
    }
    let identity = Identity::create(&command.out).map_err(|error: Error| Failure::of("make a key", error))?;
    let public = identity.public_key().to_string();
    output.line(&public, &json!({ "kind": "secret-key", "public_key": public, "file": file }))
}
