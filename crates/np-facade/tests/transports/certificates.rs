//! One authority for all tests of this program, in files that another process can read.

use std::path::PathBuf;
use std::sync::OnceLock;

use np_facade::raw::transport::{DevCertificates, dev_certificates};
use np_facade::{TlsClient, TlsClientBuilder, TlsServer, TlsServerBuilder};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Tells a server in another process where the files are.
pub(crate) const FOLDER: &str = "NP_TEST_CERTIFICATES";

pub(crate) struct Certificates {
    pub(crate) folder: PathBuf,
    pub(crate) made: DevCertificates,
    _kept: tempfile::TempDir,
}

/// The authority and what it has signed.
pub(crate) fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let (made, kept) = (dev_certificates(&[]).unwrap(), tempfile::tempdir().unwrap());
        let files: [(&str, &str); 3] =
            [("ca.pem", &made.ca), ("server.pem", &made.server), ("server-key.pem", &made.server_key)];
        for (name, text) in files {
            std::fs::write(kept.path().join(name), text).unwrap();
        }
        Certificates { folder: kept.path().to_owned(), made, _kept: kept }
    })
}

/// A server with the authority's certificate.
pub(crate) fn server() -> TlsServerBuilder {
    let folder = match std::env::var_os(FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => certificates().folder.clone(),
    };
    TlsServer::builder().certificate_files(folder.join("server.pem"), folder.join("server-key.pem"))
}

/// A server that asks its clients for certificates of the authority.
pub(crate) fn asking_server() -> TlsServerBuilder {
    let folder = std::env::var_os(FOLDER).map_or_else(|| certificates().folder.clone(), PathBuf::from);
    server().client_ca_file(folder.join("ca.pem"))
}

/// A client that trusts the authority.
pub(crate) fn client() -> TlsClientBuilder {
    TlsClient::builder().ca_pem(certificates().made.ca.as_str())
}

/// The same with a certificate to show.
pub(crate) fn known_client() -> TlsClientBuilder {
    let made = &certificates().made;
    client().client_certificate_pem(made.client.as_str(), made.client_key.as_str())
}

/// An authority, and two servers of it that have the same names and each a key of its own: chain and key.
pub(crate) fn two_of_one_authority() -> (String, [[String; 2]; 2]) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let servers = [(); 2].map(|()| {
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        [params.signed_by(&key, &ca).unwrap().pem(), key.serialize_pem()]
    });
    (ca.pem(), servers)
}
