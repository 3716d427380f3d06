//! Trust at first use: where keys are kept, and saying aloud that one was. Whether a key is trusted is the policy's.

use np_facade::{KnownPeer, KnownPeers, PublicKey};

use crate::args::{ConnectArgs, Trust};
use crate::failure::Failure;
use crate::output;
use crate::signals::blocking;

/// A key that nobody can prove: what a file says about it, it says about the address.
const NOBODY: PublicKey = PublicKey::from_bytes([0; 32]);

/// The file of known peers as it was before the connection.
#[derive(Debug)]
pub(crate) struct FirstUse {
    known: KnownPeers,
    place: String,
    /// Whether the address was in no line.
    is_new: bool,
}

impl FirstUse {
    /// Reads the file, where `--trust first-use` was given.
    pub(crate) async fn open(args: &ConnectArgs, place: &str) -> Result<Option<Self>, Failure> {
        if args.trust != Some(Trust::FirstUse) {
            return Ok(None);
        }
        let path = match args.known_peers.clone() {
            Some(path) => path,
            None => KnownPeers::default_path(&|name| std::env::var_os(name)).ok_or_else(|| {
                Failure::usage("--trust first-use: this user has no configuration folder; pass --known-peers FILE")
            })?,
        };
        let place = place.to_owned();
        blocking(move || {
            let known = KnownPeers::open(&path).map_err(|error| refused(&error))?;
            let is_new = known.check(&place, &NOBODY).map_err(|error| refused(&error))? == KnownPeer::New;
            Ok(Some(Self { known, place, is_new }))
        })
        .await
    }

    /// The file.
    pub(crate) fn known(&self) -> KnownPeers {
        self.known.clone()
    }

    /// Tells the user that a key was kept, if one was: also where the connection failed after that.
    pub(crate) async fn tell(self) {
        if !self.is_new {
            return;
        }
        let Self { known, place, .. } = self;
        let file = np_facade::escape_path(known.path());
        let address = place.clone();
        let kept = blocking(move || Ok(known.check(&address, &NOBODY))).await;
        // A file that cannot be read any more has had its refusal.
        if let Ok(Ok(KnownPeer::Changed { expected, .. })) = kept {
            output::note(&format!(
                "note: first connection to {place}: remembered its key {expected} in {file}; nothing has proven that it \
                 is the right one, so compare it with the key that the server printed"
            ));
        }
    }
}

fn refused(error: &np_facade::KnownPeersError) -> Failure {
    Failure::usage(format!("--trust first-use: {error}; correct the file, or pass --known-peers with another"))
}
