//! An address to listen on, and what makes it one under which nobody could be served.

use np_noise::Pattern;
use np_transport::{
    Address, BindOptions, ClientAuth, InheritedSocket, Listener, SecurityMode, TlsServer, TlsSetupError,
};
use np_trust::{Policy, Proof};
use np_types::PublicKey;

use crate::Error;

/// What a builder was told of an address.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) address: String,
    /// Options of its own.
    pub(crate) options: Option<BindOptions>,
    /// A socket that listens there already.
    pub(crate) socket: Option<InheritedSocket>,
}

impl Opening {
    pub(crate) const fn new(address: String) -> Self {
        Self { address, options: None, socket: None }
    }
}

/// An address, and how to listen there.
pub(crate) struct Listen {
    pub(crate) address: Address,
    pub(crate) options: BindOptions,
    socket: Option<InheritedSocket>,
}

impl Listen {
    pub(crate) fn new(opening: Opening, shared: &BindOptions) -> Result<Self, Error> {
        let options = opening.options.unwrap_or_else(|| shared.clone());
        Ok(Self { address: opening.address.parse()?, options, socket: opening.socket })
    }

    /// Begins to listen, on the socket that was handed over where there is one.
    pub(crate) async fn open(self) -> Result<Listener, Error> {
        let address = self.address.without_keys();
        Ok(match self.socket {
            Some(socket) => Listener::inherit(&address, socket, &self.options)?,
            None => Listener::bind(&address, &self.options).await?,
        })
    }

    /// Refuses an address under which clients would look for somebody else, and one that could let nobody in.
    pub(crate) fn check(&self, own: &[PublicKey], policy: &Policy, patterns: &[Pattern]) -> Result<(), Error> {
        let place = || self.address.without_keys().to_string();
        if self.address.mode().uses_keys() && own.is_empty() {
            return Err(Error::NoIdentity { address: place() });
        }
        if let (Some(key), Some(own)) = (self.address.keys().iter().find(|key| !own.contains(key)), own.first()) {
            return Err(Error::ForeignKey { address: place(), key: *key, own: *own });
        }
        if self.address.scheme().is_tls() && self.options.tls.is_none() {
            return Err(TlsSetupError::NoCertificate.into());
        }
        let pins = self.options.tls.as_ref().map(TlsServer::pins).unwrap_or_default();
        if let Some(pin) = self.address.pins().iter().find(|pin| !pins.contains(pin)) {
            return Err(Error::ForeignPin { address: place(), pin: *pin });
        }
        let proofs = self.proofs(patterns);
        // Without a pattern there is another mistake, which the acceptor names.
        if proofs.is_empty() || proofs.iter().any(|proof| policy.is_for(*proof)) {
            return Ok(());
        }
        let proofs: Vec<_> = proofs.into_iter().map(words).collect();
        Err(Error::NobodyWelcome { address: place(), proofs: proofs.join(" or ") })
    }

    /// By what clients of the address can prove who they are.
    fn proofs(&self, patterns: &[Pattern]) -> Vec<Proof> {
        let mut proofs = Vec::new();
        match self.address.mode() {
            SecurityMode::Noise | SecurityMode::TlsNoise => {
                proofs.extend(patterns.iter().map(|pattern| match pattern {
                    Pattern::NNpsk0 => Proof::Psk,
                    pattern if pattern.authenticates_initiator() => Proof::Key,
                    _ => Proof::Nothing,
                }))
            }
            SecurityMode::Tls => match self.options.tls.as_ref().map(TlsServer::client_auth) {
                Some(ClientAuth::Required) => proofs.push(Proof::Certificate),
                Some(ClientAuth::Optional) => proofs.extend([Proof::Certificate, Proof::Nothing]),
                _ => proofs.push(Proof::Nothing),
            },
            SecurityMode::Local => proofs.push(Proof::Local),
            _ => proofs.push(Proof::Nothing),
        }
        let mut seen = Vec::new();
        proofs.retain(|proof| {
            let new = !seen.contains(proof);
            seen.push(*proof);
            new
        });
        proofs
    }
}

const fn words(proof: Proof) -> &'static str {
    match proof {
        Proof::Key => "by a key (np1...)",
        Proof::Psk => "by a pre-shared key (psk:ID)",
        Proof::Certificate => "by a certificate (spki:, san:)",
        Proof::Local => "as a user of this machine (user:, group:)",
        Proof::Nothing => "by nothing (anonymous)",
    }
}
