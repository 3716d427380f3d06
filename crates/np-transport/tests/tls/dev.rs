//! The certificates for development work at once, and stand for no more than they say.

use np_transport::{DevCertificatesError, TlsClient, TlsError, TlsServer, dev_certificates};
use np_types::PeerIdentity;

use super::common::{bare, listen, meet_at, tls_error};

#[tokio::test]
async fn certificates_for_development_work_at_once_in_both_directions() {
    let made = dev_certificates(&["db.test", "localhost", "192.0.2.7"]).unwrap();
    let server = TlsServer::builder()
        .certificate_pem(made.server.as_str(), made.server_key.as_str())
        .client_ca_pem(made.ca.as_str())
        .build()
        .unwrap();
    let listener = listen(server).await;
    let client = TlsClient::builder()
        .ca_pem(made.ca.as_str())
        .client_certificate_pem(made.client.as_str(), made.client_key.as_str())
        .build()
        .unwrap();
    for name in ["", "?name=localhost", "?name=::1", "?name=db.test", "?name=192.0.2.7"] {
        let address = format!("{}{name}", bare(&listener)).parse().unwrap();
        let (client, server) = meet_at(&listener, &address, &client).await;
        let (names, subject) = (vec!["np-dev-client".to_owned()], "CN=np development client".to_owned());
        assert_eq!(server.unwrap().identity, PeerIdentity::Certificate { spki: made.client_pin, names, subject });
        let PeerIdentity::Certificate { spki, .. } = client.unwrap().identity else { panic!() };
        assert_eq!(spki, made.server_pin);
    }
    let address = format!("{}?name=other.test", bare(&listener)).parse().unwrap();
    assert!(matches!(tls_error(meet_at(&listener, &address, &client).await.0), TlsError::WrongName { .. }));
}

#[tokio::test]
async fn a_development_server_is_no_client_and_the_other_way_round() {
    let made = dev_certificates(&[]).unwrap();
    let server = TlsServer::builder()
        .certificate_pem(made.client.as_str(), made.client_key.as_str())
        .client_ca_pem(made.ca.as_str());
    let listener = listen(server.build().unwrap()).await;
    let client = TlsClient::builder().ca_pem(made.ca.as_str()).build().unwrap();
    let address = format!("{}?name=np-dev-client", bare(&listener)).parse().unwrap();
    let error = tls_error(meet_at(&listener, &address, &client).await.0);
    assert!(matches!(&error, TlsError::BadCertificate { why, .. } if why.contains("purpose")), "{error}");
}

#[test]
fn each_call_makes_new_keys_and_debug_shows_none() {
    let (one, two) = (dev_certificates(&[]).unwrap(), dev_certificates(&[]).unwrap());
    assert_ne!(one.server_pin, two.server_pin);
    assert_ne!(one.ca, two.ca);
    let shown = format!("{one:?}");
    assert!(!shown.contains("BEGIN"), "{shown}");
}

#[test]
fn a_name_that_no_client_would_ask_for_is_refused_by_name() {
    for name in [
        "",
        "a b",
        "bücher.example",
        "db.test.",
        ".test",
        "*",
        "*.192.0.2.7",
        "a.*.test",
        "[::1]",
        "1.2.3",
        "a\u{1b}[2J",
    ] {
        let error = dev_certificates(&["good.test", name]).unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert!(matches!(&error, DevCertificatesError::Name(wrong) if wrong == name), "{name}: {error}");
    }
    dev_certificates(&["db.test", "*.db.test", "db_1.test", "192.0.2.7", "2001:db8::7", "db.test"]).unwrap();
}
