//! Settings of transports that cannot be, each refused by name before anything is opened; and many listeners in one server.

use std::time::Duration;

use np_facade::{
    BindOptions, Client, ConnectOptions, Error, ErrorKind, Identity, KnownPeers, Pattern, Policy, Psk, Server,
};

use crate::certificates::{asking_server, certificates, client, server};
use crate::kinds::Kind;

fn keyless(policy: Policy) -> np_facade::ServerBuilder {
    Server::builder_without_identity(policy)
}

#[tokio::test]
async fn a_server_that_could_let_nobody_in_is_refused() {
    let tls = || server().build().unwrap();
    let asking = || asking_server().build().unwrap();
    let keyed = |policy| Server::builder(Identity::generate().unwrap(), policy);
    for (builder, says) in [
        (keyless(Policy::anyone()).listen("tcp://127.0.0.1:0"), "no identity"),
        (keyless(Policy::anyone()).tls(tls()).listen("tls://127.0.0.1:0"), "by nothing (anonymous)"),
        (keyless(Policy::anyone()).listen("tcp://127.0.0.1:0?mode=danger-plaintext"), "by nothing (anonymous)"),
        (keyless(Policy::allow_user("1").unwrap()).tls(asking()).listen("tls://127.0.0.1:0"), "by a certificate"),
        (keyless(Policy::allow_san("a").unwrap()).listen("unix:/nowhere?mode=local"), "as a user of this machine"),
        (keyed(Policy::allow_san("a").unwrap()).tls(asking()).listen("tls+noise://127.0.0.1:0"), "by a key"),
        (keyed(Policy::allow_user("1").unwrap()).listen("tcp://127.0.0.1:0"), "by a key"),
        (keyed(Policy::anyone()).patterns([Pattern::NK]).listen("tcp://127.0.0.1:0"), "by nothing (anonymous)"),
        (keyless(Policy::anonymous()).listen("tls://127.0.0.1:0"), "needs a certificate"),
        (keyless(Policy::anonymous()).tls(tls()).listen("unix:/nowhere?mode=local"), "tls does not fit"),
        (
            keyless(Policy::anonymous()).tls(tls()).listen(format!("tls://127.0.0.1:0?pin=sha256:{}", "0".repeat(64))),
            "pin=",
        ),
    ] {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let own = format!("tls://127.0.0.1:0?pin=sha256:{}", certificates().made.server_pin);
    keyless(Policy::anonymous()).tls(tls()).listen(own).start().await.unwrap();
}

#[tokio::test]
async fn a_clients_settings_that_its_address_would_ignore_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let known = KnownPeers::open(&folder.path().join("known")).unwrap();
    let (tls, local) = ("tls://127.0.0.1:9", "unix:/nowhere?mode=local");
    let psk = || Psk::from_bytes([1; 32]);
    let user = ConnectOptions { local_user: Some("0".to_owned()), ..ConnectOptions::default() };
    for (setting, builder) in [
        ("identity", Client::builder(tls).identity(Identity::generate().unwrap())),
        ("identity", Client::builder(local).identity(Identity::generate().unwrap())),
        ("psk", Client::builder(tls).psk(psk())),
        ("psk_id", Client::builder(tls).psk_id("x")),
        ("pattern", Client::builder(tls).pattern(Pattern::IK)),
        ("trust_first_use", Client::builder(tls).trust_first_use(known)),
        ("tls", Client::builder("tcp://127.0.0.1:9").tls(client().build().unwrap()).danger_trust_anyone()),
        ("local_user", Client::builder(tls).connect_options(user)),
        ("danger_trust_anyone", Client::builder(format!("{tls}?pin=sha256:{}", "0".repeat(64))).danger_trust_anyone()),
    ] {
        let error = builder.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{setting}: {error}");
        assert!(error.to_string().contains(setting), "{setting}: {error}");
    }
}

#[tokio::test]
async fn an_unverified_server_takes_a_name_with_danger() {
    let builder = keyless(Policy::anonymous()).tls(server().build().unwrap());
    let server = builder.listen("tls://127.0.0.1:0").start().await.unwrap();
    let place = server.addresses()[0].without_keys().to_string();
    let other = np_facade::raw::transport::dev_certificates(&[]).unwrap();
    let elsewhere = np_facade::TlsClient::builder().ca_pem(other.ca.as_str()).build().unwrap();
    let error = Client::builder(place.clone()).tls(elsewhere).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let client = Client::builder(place.clone()).danger_trust_anyone().connect().await.unwrap();
    assert_eq!(client.call("np.echo", "who are you").await.unwrap(), "who are you");
    // Inside unverified TLS the key of the address is all that proves a server, so there must be one.
    let inside = place.replace("tls://", "tls+noise://");
    let unverified = np_facade::TlsClient::builder().danger_no_verification().build().unwrap();
    let error = Client::builder(inside).tls(unverified).connect().await.unwrap_err();
    assert!(matches!(error, Error::NoServerKey { .. }), "{error}");
    // A certificate that nobody verified is no identity, and no policy but one with danger in its name takes that.
    let blind = np_facade::TlsClient::builder().danger_no_verification().build().unwrap();
    let error = Client::builder(place).tls(blind).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

#[tokio::test]
async fn listeners_of_different_kinds_share_one_server_and_one_shutdown() {
    let policy =
        Policy::allow_keys([crate::kinds::member().public_key()]).or(Policy::allow_san("np-dev-client").unwrap());
    let kinds: Vec<Kind> =
        Kind::all().into_iter().filter(|kind| !matches!(kind, Kind::Tls | Kind::Plaintext)).collect();
    let policy = policy.or(crate::kinds::own_user());
    let builder = Server::builder(Identity::generate().unwrap(), policy).tls(asking_server().build().unwrap());
    let builder = kinds.iter().fold(builder, |builder, kind| match kind {
        Kind::TlsNoise => {
            let own = BindOptions { tls: Some(server().build().unwrap()), ..BindOptions::default() };
            builder.listen_with(kind.place(), own)
        }
        kind => builder.listen(kind.place()),
    });
    let server = builder.max_connections(kinds.len()).start().await.unwrap();
    assert_eq!(server.addresses().len(), kinds.len());
    // One policy: who is not in it comes in nowhere.
    for (kind, address) in kinds.iter().zip(server.addresses()) {
        let stranger = match kind {
            // Nobody here is another user.
            Kind::UnixLocal => continue,
            Kind::MutualTls => kind.stranger(&address.to_string()),
            _ => kind.client(&address.to_string()).identity(Identity::generate().unwrap()),
        };
        let error = stranger.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{kind:?}: {error}");
    }
    let mut clients = Vec::new();
    for (kind, address) in kinds.iter().zip(server.addresses()) {
        let client =
            kind.client(&address.to_string()).connect().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(client.call("np.echo", "x").await.unwrap(), "x");
        clients.push(client);
    }
    // One limit stands for all of them.
    let error = kinds[0].client(&server.addresses()[0].to_string()).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    server.shutdown(Duration::from_secs(10)).await;
    for client in clients {
        client.connection().closed().await;
    }
    for (kind, address) in kinds.iter().zip(server.addresses()) {
        let error = kind.client(&address.to_string()).connect().await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{kind:?}: {error}");
    }
}
