//! Whom a client trusts, and the name of each refusal.

use np_transport::{Failure, Party, TlsClient, TlsError, TlsSetupError, connect};
use np_types::{Fingerprint, PeerIdentity};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use super::common::{Ca, HERE, Leaf, bare, listen, meet, meet_at, met, pair, params, pin_of, tls_error};

/// What the client says of a server with this certificate, and what the server says of that.
async fn refused(ca: &Ca, leaf: &Leaf) -> (TlsError, TlsError) {
    let (client, server) = meet(leaf.server(), ca.client()).await;
    let client = client.unwrap_err();
    assert_eq!(client.failure(), Failure::Authentication, "{client}");
    (tls_error(Err(client)), tls_error(server))
}

#[tokio::test]
async fn each_bad_certificate_is_refused_by_its_own_name() {
    let ca = Ca::new();
    let mut expired = params(&HERE);
    (expired.not_before, expired.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let (client, server) = refused(&ca, &ca.sign(expired, KeyPair::generate().unwrap())).await;
    assert!(matches!(client, TlsError::Expired { whose: Party::Peer, .. }), "{client}");
    assert!(client.to_string().contains("days ago"), "{client}");
    assert!(matches!(server, TlsError::Expired { whose: Party::Ours, .. }), "{server}");

    let mut future = params(&HERE);
    (future.not_before, future.not_after) = (date_time_ymd(2998, 1, 1), date_time_ymd(2999, 1, 1));
    let (client, _) = refused(&ca, &ca.sign(future, KeyPair::generate().unwrap())).await;
    assert!(matches!(client, TlsError::NotYetValid { .. }), "{client}");

    let (client, _) = refused(&ca, &ca.leaf(&["other.example", "::1", "192.0.2.7"])).await;
    let TlsError::WrongName { expected, presented } = &client else { panic!("{client}") };
    assert_eq!(expected, "127.0.0.1");
    assert_eq!(presented, "other.example, ::1, 192.0.2.7");
    assert!(client.to_string().ends_with("or add it as name=... to the address"), "{client}");

    let (client, server) = refused(&ca, &Ca::new().leaf(&HERE)).await;
    assert!(matches!(client, TlsError::UnknownIssuer { whose: Party::Peer }), "{client}");
    assert!(matches!(server, TlsError::UnknownIssuer { whose: Party::Ours }), "{server}");

    let (ours, namesake) = (Ca::named("same"), Ca::named("same"));
    let (client, _) = refused(&ours, &namesake.leaf(&HERE)).await;
    assert!(matches!(client, TlsError::UnknownIssuer { whose: Party::Peer }), "{client}");

    let mut purpose = params(&HERE);
    purpose.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let (client, _) = refused(&ca, &ca.sign(purpose, KeyPair::generate().unwrap())).await;
    let TlsError::BadCertificate { whose: Party::Peer, why } = &client else { panic!("{client}") };
    assert!(why.contains("purpose"), "{why}");
}

#[tokio::test]
async fn the_name_to_check_may_differ_from_the_host() {
    let ca = Ca::new();
    let leaf = ca.leaf(&["svc.example"]);
    let listener = listen(leaf.server().build().unwrap()).await;
    let client = ca.client().build().unwrap();
    let address = |name: &str| format!("{}{name}", bare(&listener)).parse().unwrap();
    let (link, _) = meet_at(&listener, &address("?name=svc.example"), &client).await;
    link.unwrap();
    let (link, _) = meet_at(&listener, &address(""), &client).await;
    assert!(matches!(tls_error(link), TlsError::WrongName { .. }));
    let named = ca.client().server_name("svc.example").build().unwrap();
    let (link, _) = meet_at(&listener, &address(""), &named).await;
    link.unwrap();
    let (link, _) = meet_at(&listener, &address("?name=else.example"), &named).await;
    assert!(matches!(tls_error(link), TlsError::WrongName { .. }), "the address goes before the client");
    assert!(matches!(ca.client().server_name("a b").build(), Err(TlsSetupError::ServerName)));
}

#[tokio::test]
async fn what_a_listener_prints_is_enough_to_connect() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let printed = listener.local_address().to_string();
    assert_eq!(printed, format!("{}?pin=sha256:{}", bare(&listener), leaf.pin));
    let address = printed.parse().unwrap();
    let (client, server) = tokio::join!(connect(&address), listener.accept());
    server.unwrap();
    let PeerIdentity::Certificate { spki, names, subject } = client.unwrap().identity else { panic!() };
    assert_eq!(spki, leaf.pin);
    assert!(names.is_empty() && subject.is_empty(), "no authority has vouched for the names");
}

#[tokio::test]
async fn a_pin_stands_for_authority_dates_and_names() {
    let mut old = params(&["other.example"]);
    (old.not_before, old.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    let leaf = Ca::new().sign(old, KeyPair::generate().unwrap());
    met(leaf.server(), TlsClient::builder().pin(leaf.pin)).await;
}

#[tokio::test]
async fn any_of_several_pins_is_enough_and_another_key_is_refused() {
    let (_, leaf) = pair();
    let other = Fingerprint([7; 32]);
    met(leaf.server(), TlsClient::builder().pin(other).pin(leaf.pin)).await;
    let (client, server) = meet(leaf.server(), TlsClient::builder().pin(other)).await;
    let client = client.unwrap_err();
    assert_eq!(client.failure(), Failure::Authentication);
    assert!(client.to_string().contains(&leaf.pin.to_string()), "{client}");
    assert!(matches!(tls_error(Err(client)), TlsError::PinMismatch { seen } if seen == leaf.pin));
    assert!(matches!(tls_error(server), TlsError::BadCertificate { whose: Party::Ours, .. }));
}

#[tokio::test]
async fn pins_and_authorities_must_both_hold_where_both_are_given() {
    let (ca, leaf) = pair();
    met(leaf.server(), ca.client().pin(leaf.pin)).await;
    let (client, _) = meet(leaf.server(), ca.client().pin(Fingerprint([7; 32]))).await;
    assert!(matches!(tls_error(client), TlsError::PinMismatch { .. }));
    let (client, _) = meet(leaf.server(), Ca::new().client().pin(leaf.pin)).await;
    assert!(matches!(tls_error(client), TlsError::UnknownIssuer { .. }));
}

#[tokio::test]
async fn pins_of_the_address_and_of_the_client_must_both_hold() {
    let (_, leaf) = pair();
    let listener = listen(leaf.server().build().unwrap()).await;
    let printed = listener.local_address();
    let wrong = bare(&listener).with_pin(Fingerprint([7; 32]));
    let pinned = TlsClient::builder().pin(leaf.pin).build().unwrap();
    meet_at(&listener, printed, &pinned).await.0.unwrap();
    assert!(matches!(tls_error(meet_at(&listener, &wrong, &pinned).await.0), TlsError::PinMismatch { .. }));
    let elsewhere = TlsClient::builder().pin(Fingerprint([7; 32])).build().unwrap();
    assert!(matches!(tls_error(meet_at(&listener, printed, &elsewhere).await.0), TlsError::PinMismatch { .. }));
}

/// Somebody who has copied the certificate, which everybody can, and has another key.
#[tokio::test]
async fn an_impostor_with_the_certificate_and_another_key_is_refused() {
    let (ca, leaf) = pair();
    let impostor = Leaf { key: KeyPair::generate().unwrap().serialize_pem(), ..leaf.clone() };
    // np itself does not start so: the impostor is a server that signs with whatever it has.
    assert!(matches!(impostor.server().build(), Err(TlsSetupError::KeyMismatch { .. })));
    for client in [TlsClient::builder().pin(leaf.pin), ca.client(), TlsClient::builder().danger_no_verification()] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let client = client.clone().min_version(np_transport::TlsVersion::Tls12).build().unwrap();
            let error = super::hostile::meet_impostor(&impostor, version, &client).await;
            assert!(matches!(error, TlsError::BadSignature), "{error}");
            assert_eq!(error.failure(), Failure::Authentication);
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_verify_proves_nothing() {
    let (_, leaf) = pair();
    let (client, _server) = met(leaf.server(), TlsClient::builder().danger_no_verification()).await;
    assert_eq!(client.identity, PeerIdentity::Anonymous);
    let listener = listen(leaf.server().build().unwrap()).await;
    let careless = TlsClient::builder().danger_no_verification().build().unwrap();
    let wrong = bare(&listener).with_pin(Fingerprint([7; 32]));
    assert!(matches!(tls_error(meet_at(&listener, &wrong, &careless).await.0), TlsError::PinMismatch { .. }));
    let both = TlsClient::builder().danger_no_verification().pin(leaf.pin).build();
    assert!(matches!(both, Err(TlsSetupError::Contradiction { .. })));
}

#[tokio::test]
async fn rotation_goes_by_two_pins() {
    let ca = Ca::new();
    let (old, new) = (ca.leaf(&HERE), ca.leaf(&HERE));
    let server = old.server().build().unwrap();
    let listener = listen(server.clone()).await;
    let both = TlsClient::builder().pin(old.pin).pin(new.pin).build().unwrap();
    let one = TlsClient::builder().pin(old.pin).build().unwrap();
    meet_at(&listener, &bare(&listener), &both).await.0.unwrap();
    meet_at(&listener, &bare(&listener), &one).await.0.unwrap();
    server.reload_as(new.server()).unwrap();
    meet_at(&listener, &bare(&listener), &both).await.0.unwrap();
    let error = tls_error(meet_at(&listener, &bare(&listener), &one).await.0);
    assert!(matches!(error, TlsError::PinMismatch { seen } if seen == new.pin), "{error}");
    // The old key is revoked by taking its pin away; a session of before does not outlive it.
    server.reload_as(old.server()).unwrap();
    meet_at(&listener, &bare(&listener), &both).await.0.unwrap();
    both.reload_as(TlsClient::builder().pin(new.pin)).unwrap();
    let error = tls_error(meet_at(&listener, &bare(&listener), &both).await.0);
    assert!(matches!(error, TlsError::PinMismatch { .. }), "{error}");
}

#[test]
fn a_pin_is_the_hash_of_the_public_key_alone() {
    let key = KeyPair::generate().unwrap();
    let pin = pin_of(&key);
    let twice = [Ca::new(), Ca::new()].map(|ca| {
        ca.sign(params(&["a.example"]), KeyPair::from_pem(&key.serialize_pem()).unwrap()).server().build().unwrap()
    });
    for server in twice {
        assert_eq!(server.pins(), [pin]);
    }
}

/// Runs one test in a process of its own, which alone can be given other authorities to trust as the operating system's.
#[cfg(all(unix, not(target_vendor = "apple")))]
fn run_apart(test: &str, folder: &std::path::Path, trusted: &str) {
    let elsewhere = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(APART, folder)
        .env("SSL_CERT_FILE", folder.join(trusted))
        .env("SSL_CERT_DIR", elsewhere.path())
        .output()
        .unwrap();
    // A name that no test has would be no failure.
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Where a process of [`run_apart`] finds what it needs.
#[cfg(all(unix, not(target_vendor = "apple")))]
const APART: &str = "NP_TEST_APART";

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn an_empty_platform_store_is_told_and_nothing_is_sent() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("none.pem"), "").unwrap();
    run_apart("trust::inner_empty_platform_store", empty.path(), "none.pem");
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn inner_empty_platform_store() {
    if std::env::var_os(APART).is_none() {
        return;
    }
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tls://127.0.0.1:{}", tcp.local_addr().unwrap().port());
    let error = connect(&address.parse().unwrap()).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication);
    let error = tls_error(Err(error));
    assert!(matches!(error, TlsError::EmptyPlatformStore), "{error}");
    assert!(error.to_string().contains("--ca") && error.to_string().contains("--pin"), "{error}");
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn the_authorities_of_the_system_are_trusted_where_nothing_else_is_said() {
    let ((ca, leaf), folder) = (pair(), tempfile::tempdir().unwrap());
    for (name, text) in [("ca.pem", ca.pem()), ("server.pem", leaf.pem), ("key.pem", leaf.key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    run_apart("trust::inner_platform_store", folder.path(), "ca.pem");
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[tokio::test]
async fn inner_platform_store() {
    let Some(folder) = std::env::var_os(APART).map(std::path::PathBuf::from) else { return };
    let known = np_transport::TlsServer::builder().certificate_files(folder.join("server.pem"), folder.join("key.pem"));
    let listener = listen(known.clone().build().unwrap()).await;
    let address = bare(&listener);
    let (client, _server) = tokio::join!(connect(&address), listener.accept());
    let PeerIdentity::Certificate { names, .. } = client.unwrap().identity else { panic!() };
    assert_eq!(names, HERE);
    let (_, foreign) = pair();
    let (client, _) = meet(foreign.server(), TlsClient::builder()).await;
    assert!(matches!(tls_error(client), TlsError::UnknownIssuer { .. }));

    // With a pin besides, both must hold.
    let pinned = |pin| TlsClient::builder().trust_platform().pin(pin);
    met(known.clone(), pinned(known.clone().build().unwrap().pins()[0])).await;
    let (client, _) = meet(known, pinned(foreign.pin)).await;
    assert!(matches!(tls_error(client), TlsError::PinMismatch { .. }));
    let (client, _) = meet(foreign.server(), pinned(foreign.pin)).await;
    assert!(matches!(tls_error(client), TlsError::UnknownIssuer { .. }));
}
