//! Client certificates: asked for or not, verified, revoked, and who they say the client is.

use np_transport::{ClientAuth, Failure, Link, Party, TlsError, TlsSetupError, TlsVersion, TransportError};
use np_types::PeerIdentity;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SerialNumber, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::common::{Ca, Leaf, bare, listen, meet, meet_at, met, pair, params, tls_error};

fn client_leaf(ca: &Ca, serial: u64) -> Leaf {
    let mut params = params(&["client.example"]);
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    ca.sign(params, KeyPair::generate().unwrap())
}

/// The refusal that a client of TLS 1.3 meets when it first reads.
async fn told(client: Result<Link, TransportError>) -> TlsError {
    match client {
        Err(error) => tls_error(Err(error)),
        Ok(mut link) => {
            let _ = link.io.write_all(b"hello").await;
            let error = link.io.read(&mut [0; 8]).await.unwrap_err();
            match error.into_inner().unwrap().downcast::<TlsError>() {
                Ok(error) => *error,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn a_required_certificate_says_who_the_client_is() {
    let (ca, leaf) = pair();
    let mine = client_leaf(&ca, 5);
    for version in [TlsVersion::Tls13, TlsVersion::Tls12] {
        let server = leaf.server().client_ca_pem(ca.pem()).min_version(version);
        let mut client = mine.shown_by(ca.client()).min_version(version);
        if version == TlsVersion::Tls12 {
            client = client.cipher_suites([np_transport::TlsSuite::ALL[3]]);
        }
        let (_client, server) = met(server, client).await;
        assert_eq!(server.tls.unwrap().version, version);
        let PeerIdentity::Certificate { spki, names, .. } = server.identity else { panic!() };
        assert_eq!(spki, mine.pin);
        assert_eq!(names, ["client.example"]);
    }
}

#[tokio::test]
async fn a_required_certificate_that_is_missing_is_asked_for_by_name() {
    let (ca, leaf) = pair();
    let (client, server) = meet(leaf.server().client_ca_pem(ca.pem()), ca.client()).await;
    let server = server.unwrap_err();
    assert_eq!(server.failure(), Failure::Authentication);
    assert!(matches!(tls_error(Err(server)), TlsError::NoClientCertificate));
    let error = told(client).await;
    assert!(matches!(error, TlsError::NoClientCertificate), "{error}");
    assert!(error.to_string().contains("--client-cert"), "{error}");
}

#[tokio::test]
async fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let (ca, leaf) = pair();
    let server = || leaf.server().client_ca_pem(ca.pem()).client_auth(ClientAuth::Optional);
    let (_client, link) = met(server(), ca.client()).await;
    assert_eq!(link.identity, PeerIdentity::Anonymous);
    let (_client, link) = met(server(), client_leaf(&ca, 1).shown_by(ca.client())).await;
    assert!(matches!(link.identity, PeerIdentity::Certificate { .. }));
    let (_client, link) = meet(server(), client_leaf(&Ca::new(), 1).shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::UnknownIssuer { whose: Party::Peer }));
}

#[tokio::test]
async fn without_client_authentication_nobody_is_asked() {
    let (ca, leaf) = pair();
    let (_client, link) = met(leaf.server(), client_leaf(&ca, 1).shown_by(ca.client())).await;
    assert_eq!(link.identity, PeerIdentity::Anonymous);
}

#[tokio::test]
async fn each_bad_client_certificate_is_refused_by_its_own_name() {
    let (ca, leaf) = pair();
    let server = || leaf.server().client_ca_pem(ca.pem());
    let mut expired = params(&["client.example"]);
    (expired.not_before, expired.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let expired = ca.sign(expired, KeyPair::generate().unwrap());
    let (client, link) = meet(server(), expired.shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::Expired { whose: Party::Peer, .. }));
    assert!(matches!(told(client).await, TlsError::Expired { whose: Party::Ours, .. }));

    let mut future = params(&["client.example"]);
    (future.not_before, future.not_after) = (date_time_ymd(2998, 1, 1), date_time_ymd(2999, 1, 1));
    let future = ca.sign(future, KeyPair::generate().unwrap());
    let (_client, link) = meet(server(), future.shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::NotYetValid { .. }));

    let (client, link) = meet(server(), client_leaf(&Ca::new(), 1).shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::UnknownIssuer { whose: Party::Peer }));
    assert!(matches!(told(client).await, TlsError::UnknownIssuer { whose: Party::Ours }));

    let (ours, namesake) = (Ca::named("same"), Ca::named("same"));
    let server = ours.leaf(&super::common::HERE).server().client_ca_pem(ours.pem());
    let (_client, link) = meet(server, client_leaf(&namesake, 1).shown_by(ours.client())).await;
    assert!(matches!(tls_error(link), TlsError::UnknownIssuer { whose: Party::Peer }));
}

#[tokio::test]
async fn a_revocation_list_refuses_those_it_names() {
    let (ca, leaf) = pair();
    let (good, bad) = (client_leaf(&ca, 1), client_leaf(&ca, 2));
    let server = || leaf.server().client_ca_pem(ca.pem()).crl_pem(ca.revocation_list(&[2], true));
    met(server(), good.shown_by(ca.client())).await;
    let (client, link) = meet(server(), bad.shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::Revoked { whose: Party::Peer }));
    assert!(matches!(told(client).await, TlsError::Revoked { whose: Party::Ours }));
}

#[tokio::test]
async fn a_revocation_list_that_cannot_tell_refuses_all() {
    let (ca, leaf) = pair();
    let good = client_leaf(&ca, 1);
    let old = leaf.server().client_ca_pem(ca.pem()).crl_pem(ca.revocation_list(&[], false));
    let (_client, link) = meet(old, good.shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::RevocationUnknown { why } if why.contains("old")));
    let foreign = leaf.server().client_ca_pem(ca.pem()).crl_pem(Ca::new().revocation_list(&[], true));
    let (_client, link) = meet(foreign, good.shown_by(ca.client())).await;
    assert!(matches!(tls_error(link), TlsError::RevocationUnknown { why } if why.contains("no list")));

    let (ours, namesake) = (Ca::named("same"), Ca::named("same"));
    let server = ours.leaf(&super::common::HERE).server().client_ca_pem(ours.pem());
    let forged = server.crl_pem(namesake.revocation_list(&[], true));
    let (_client, link) = meet(forged, client_leaf(&ours, 1).shown_by(ours.client())).await;
    assert!(matches!(tls_error(link), TlsError::RevocationUnknown { why } if why.contains("signed")));
}

#[tokio::test]
async fn a_session_of_before_does_not_slip_past_a_new_revocation_list() {
    let (ca, leaf) = pair();
    let mine = client_leaf(&ca, 2);
    let server = leaf.server().client_ca_pem(ca.pem());
    let shared = server.clone().build().unwrap();
    let listener = listen(shared.clone()).await;
    let client = mine.shown_by(ca.client()).build().unwrap();
    for resumed in [false, true] {
        let (link, _server) = super::servers::exchange(&listener, &bare(&listener), &client).await;
        assert_eq!(link.tls.unwrap().resumed, resumed);
    }
    shared.reload_as(server.crl_pem(ca.revocation_list(&[2], true))).unwrap();
    let (_client, link) = meet_at(&listener, &bare(&listener), &client).await;
    assert!(matches!(tls_error(link), TlsError::Revoked { .. }));
}

#[test]
fn settings_that_would_be_ignored_are_refused() {
    let (ca, leaf) = pair();
    let off = leaf.server().client_ca_pem(ca.pem()).client_auth(ClientAuth::Off).build();
    assert!(matches!(off, Err(TlsSetupError::Unused { .. })), "{off:?}");
    let list = leaf.server().crl_pem(ca.revocation_list(&[], true)).build();
    assert!(matches!(list, Err(TlsSetupError::Unused { .. })), "{list:?}");
    let nobody = leaf.server().client_auth(ClientAuth::Required).build();
    assert!(matches!(nobody, Err(TlsSetupError::NoClientAuthority)), "{nobody:?}");
}
