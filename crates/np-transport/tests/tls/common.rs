//! Authorities and certificates made for one test, and two ends that meet over loopback.

use std::sync::atomic::{AtomicUsize, Ordering};

use np_transport::{
    Address, BindOptions, ConnectOptions, Link, Listener, TlsClient, TlsClientBuilder, TlsError, TlsServer,
    TlsServerBuilder, TransportError, connect_with,
};
use np_types::Fingerprint;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PublicKeyData as _, RevokedCertParams, SerialNumber,
};
use sha2::{Digest as _, Sha256};

pub(crate) struct Ca {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM text.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) pin: Fingerprint,
}

/// The pin of a key.
pub(crate) fn pin_of(key: &KeyPair) -> Fingerprint {
    Fingerprint(Sha256::digest(key.subject_public_key_info()).into())
}

pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

impl Ca {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        Self::named(&format!("authority {}", NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Another authority of the same name is possible.
    pub(crate) fn named(name: &str) -> Self {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.sign(params(names), KeyPair::generate().unwrap())
    }

    pub(crate) fn sign(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { pem: certificate.pem(), key: key.serialize_pem(), pin: pin_of(&key) }
    }

    /// A list of revoked serial numbers that is good until the given day of 2999, or of 2001.
    pub(crate) fn revocation_list(&self, revoked: &[u64], current: bool) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2000, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(if current { 2999 } else { 2001 }, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts this authority alone.
    pub(crate) fn client(&self) -> TlsClientBuilder {
        TlsClient::builder().ca_pem(self.pem())
    }
}

impl Leaf {
    pub(crate) fn server(&self) -> TlsServerBuilder {
        TlsServer::builder().certificate_pem(self.pem.clone(), self.key.clone())
    }

    /// The same client with this certificate to show.
    pub(crate) fn shown_by(&self, client: TlsClientBuilder) -> TlsClientBuilder {
        client.client_certificate_pem(self.pem.clone(), self.key.clone())
    }
}

pub(crate) const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// An authority and a server of it.
pub(crate) fn pair() -> (Ca, Leaf) {
    let ca = Ca::new();
    let leaf = ca.leaf(&HERE);
    (ca, leaf)
}

pub(crate) async fn listen(server: TlsServer) -> Listener {
    let options = BindOptions { tls: Some(server), ..BindOptions::default() };
    Listener::bind(&"tls://127.0.0.1:0".parse().unwrap(), &options).await.unwrap()
}

/// Where the listener is, without the pins that it prints.
pub(crate) fn bare(listener: &Listener) -> Address {
    listener.local_address().without_keys()
}

type Outcome = Result<Link, TransportError>;

/// What comes of it at the client and at the server.
pub(crate) async fn meet_at(listener: &Listener, address: &Address, client: &TlsClient) -> (Outcome, Outcome) {
    let options = ConnectOptions { tls: Some(client.clone()), ..Default::default() };
    tokio::join!(connect_with(address, &options), listener.accept())
}

pub(crate) async fn meet(server: TlsServerBuilder, client: TlsClientBuilder) -> (Outcome, Outcome) {
    let listener = listen(server.build().unwrap()).await;
    meet_at(&listener, &bare(&listener), &client.build().unwrap()).await
}

/// Both links of a meeting that succeeds.
pub(crate) async fn met(server: TlsServerBuilder, client: TlsClientBuilder) -> (Link, Link) {
    let (client, server) = meet(server, client).await;
    (client.unwrap(), server.unwrap())
}

pub(crate) fn tls_error(outcome: Outcome) -> TlsError {
    match outcome {
        Err(TransportError::Tls { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}
