//! PEM text from files or memory: certificates, keys, revocation lists.
//!
//! It must never put what it has read into an error: it may be a private key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::error::TlsSetupError;

/// Where PEM text is. A file is read anew at every reload.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Memory(Arc<Zeroizing<Vec<u8>>>),
}

impl Pem {
    pub(super) fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    pub(super) fn memory(text: impl Into<Vec<u8>>) -> Self {
        Self::Memory(Arc::new(Zeroizing::new(text.into())))
    }

    /// For messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory(_) => "the text in memory".to_owned(),
        }
    }

    /// Every certificate, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
        self.sections("certificate", "-----BEGIN CERTIFICATE-----")
    }

    /// Every revocation list, at least one.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsSetupError> {
        self.sections("revocation list", "-----BEGIN X509 CRL-----")
    }

    /// The first private key: PKCS#8, SEC1 or PKCS#1.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
        let mut keys = self.sections("private key", "-----BEGIN PRIVATE KEY-----")?.into_iter();
        keys.next().ok_or_else(|| self.malformed("private key", "it is empty"))
    }

    pub(super) fn malformed(&self, what: &'static str, why: impl Into<String>) -> TlsSetupError {
        TlsSetupError::Malformed { what, place: self.place(), why: why.into() }
    }

    fn sections<T: PemObject>(&self, what: &'static str, starts: &'static str) -> Result<Vec<T>, TlsSetupError> {
        let text = self.text(what)?;
        let found: Result<Vec<T>, _> = T::pem_slice_iter(&text).collect();
        // What the reader says may quote the text.
        let found = found.map_err(|_| self.malformed(what, "its PEM form is broken"))?;
        if found.is_empty() {
            return Err(TlsSetupError::Missing { what, place: self.place(), starts });
        }
        Ok(found)
    }

    fn text(&self, what: &'static str) -> Result<Arc<Zeroizing<Vec<u8>>>, TlsSetupError> {
        match self {
            Self::Memory(text) => Ok(Arc::clone(text)),
            Self::File(path) => match std::fs::read(path) {
                Ok(text) => Ok(Arc::new(Zeroizing::new(text))),
                Err(source) => Err(TlsSetupError::Read { what, path: path.clone(), source }),
            },
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}
