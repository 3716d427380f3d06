//! Whom a client accepts and what it proves: pre-shared keys, known peers, several identities, and settings that do not fit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use np_facade::{
    Client, ClientBuilder, Error, ErrorKind, Identity, KnownPeers, Pattern, PeerIdentity, Policy, Psk, Psks, Server,
    ServerBuilder, psk_id,
};

fn psk() -> Psk {
    Psk::from_bytes([7; 32])
}

fn builder(address: &str, policy: Policy) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), policy).listen(address)
}

fn address(server: &Server) -> String {
    server.addresses()[0].to_string()
}

fn keyless(server: &Server) -> String {
    server.addresses()[0].without_keys().to_string()
}

async fn kind(client: ClientBuilder) -> ErrorKind {
    let error = client.connect().await.unwrap_err();
    error.kind()
}

#[tokio::test]
async fn a_psk_alone_proves_both_sides() {
    let psks = Psks::new().with_id(&psk_id(&psk()), psk()).unwrap();
    let server = builder("mem:psk-alone", Policy::anyone()).psks(psks).start().await.unwrap();
    let client = Client::builder(keyless(&server)).psk(psk()).connect().await.unwrap();
    assert_eq!(*client.connection().peer(), PeerIdentity::Psk(psk_id(&psk())));
    client.call("np.echo", "").await.unwrap();
    let other = Client::builder(keyless(&server)).psk(Psk::from_bytes([8; 32]));
    assert_eq!(kind(other).await, ErrorKind::Authentication);
    // Without the pre-shared key there is no pattern in common.
    assert_eq!(kind(Client::builder(address(&server))).await, ErrorKind::Authentication);
}

#[tokio::test]
async fn a_psk_stands_beside_the_keys() {
    let psks = Psks::new().with_id("team", psk()).unwrap();
    let known = Identity::generate().unwrap();
    let policy = Policy::allow_keys([known.public_key()]);
    let server = builder("mem:psk-beside", policy).psks(psks).start().await.unwrap();
    let client = |identity: &Identity| Client::builder(address(&server)).identity(identity.clone()).psk_id("team");
    let connected = client(&known).psk(psk()).connect().await.unwrap();
    assert_eq!(*connected.connection().peer(), PeerIdentity::Noise(server.addresses()[0].keys()[0]));
    client(&known).psk(psk()).pattern(Pattern::IKpsk2).connect().await.unwrap();
    assert_eq!(kind(client(&known).psk(Psk::from_bytes([8; 32]))).await, ErrorKind::Authentication);
    assert_eq!(kind(client(&Identity::generate().unwrap()).psk(psk())).await, ErrorKind::Authentication);
    // The key of the server counts as well.
    let elsewhere = format!("{}?key={}", keyless(&server), known.public_key());
    assert_eq!(kind(Client::builder(elsewhere).psk(psk()).psk_id("team")).await, ErrorKind::Authentication);
    // Nobody is let in by the pre-shared key alone, for the policy does not say so.
    assert_eq!(kind(Client::builder(keyless(&server)).psk(psk()).psk_id("team")).await, ErrorKind::Authentication);
}

#[tokio::test]
async fn a_psk_can_belong_to_one_client() {
    let known = Identity::generate().unwrap();
    let psks = Psks::new().with_key(known.public_key(), psk());
    let server = builder("mem:psk-of-one", Policy::anyone()).psks(psks).start().await.unwrap();
    let client = |identity: Identity| Client::builder(address(&server)).identity(identity).psk(psk()).psk_id("");
    client(known).connect().await.unwrap();
    assert_eq!(kind(client(Identity::generate().unwrap())).await, ErrorKind::Authentication);
}

#[tokio::test]
async fn a_key_that_is_remembered_is_the_only_one_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("np").join("known_peers");
    let client = |server: &Server| Client::builder(keyless(server)).trust_first_use(KnownPeers::open(&file).unwrap());
    let server = builder("mem:first-use", Policy::anyone()).start().await.unwrap();
    client(&server).connect().await.unwrap();
    assert!(std::fs::read_to_string(&file).unwrap().contains(&server.addresses()[0].keys()[0].to_string()));
    client(&server).connect().await.unwrap();
    drop(server);
    let impostor = loop {
        // The name is free once the connections of the first server are gone.
        if let Ok(server) = builder("mem:first-use", Policy::anyone()).start().await {
            break server;
        }
        tokio::task::yield_now().await;
    };
    let error = client(&impostor).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let text = error.to_string();
    assert!(text.contains("known_peers") && text.contains("mem:first-use"), "{text}");
}

#[tokio::test]
async fn a_second_identity_answers_those_who_know_it() {
    let (first, second) = (Identity::generate().unwrap(), Identity::generate().unwrap());
    let server = Server::builder(first.clone(), Policy::anyone()).identity(second.clone()).listen("mem:two-identities");
    let server = server.start().await.unwrap();
    for key in [first.public_key(), second.public_key()] {
        let address = format!("{}?key={key}", keyless(&server));
        let client = Client::builder(address).pattern(Pattern::IK).connect().await.unwrap();
        assert_eq!(*client.connection().peer(), PeerIdentity::Noise(key));
    }
    // Both are its own: a listener may name either.
    let address = format!("mem:either-identity?key={}", second.public_key());
    Server::builder(first, Policy::anyone()).identity(second).listen(address).start().await.unwrap();
}

#[tokio::test]
async fn settings_that_a_pattern_would_ignore_are_refused() {
    let identity = || Identity::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let known = || KnownPeers::open(&folder.path().join("known_peers")).unwrap();
    let key = identity().public_key();
    let bare = || Client::builder("mem:nowhere");
    let keyed = || Client::builder(format!("mem:nowhere?key={key}"));
    let refused: [(&str, ClientBuilder); 15] = [
        ("psk", keyed().pattern(Pattern::XXpsk3)),
        ("psk", keyed().psk(psk()).pattern(Pattern::XX)),
        ("psk_id", keyed().psk_id("team")),
        ("psk_id", bare().psk(psk()).psk_id("")),
        ("psk_id", bare().psk(psk()).psk_id("two words")),
        ("psk_id", keyed().psk(psk()).psk_id("two words")),
        ("psk_id", keyed().psk(psk()).psk_id(psk().to_text().to_string())),
        ("identity", keyed().identity(identity()).pattern(Pattern::NK)),
        ("identity", bare().identity(identity()).psk(psk())),
        ("identity", bare().identity(identity()).danger_trust_anyone().pattern(Pattern::DangerNN)),
        ("trust_first_use", bare().trust_first_use(known()).psk(psk()).pattern(Pattern::NNpsk0)),
        ("trust_first_use", keyed().trust_first_use(known())),
        ("trust_first_use", bare().trust_first_use(known()).psk(psk())),
        ("danger_trust_anyone", bare().danger_trust_anyone().psk(psk()).pattern(Pattern::NNpsk0)),
        ("NNpsk0", keyed().psk(psk()).pattern(Pattern::NNpsk0)),
    ];
    for (setting, client) in refused {
        let error = client.connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{setting}: {error}");
        assert!(error.to_string().contains(setting), "{setting}: {error}");
    }
    // A policy that takes whoever comes is no check of a server whose key nobody named.
    for client in [bare().pattern(Pattern::DangerNN), bare().policy(Policy::anyone())] {
        let error = client.connect().await.unwrap_err();
        assert!(matches!(error, Error::NoServerKey { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_bare_nn_server_takes_a_name_with_danger_on_both_sides() {
    let server = builder("mem:bare-nn", Policy::anonymous()).patterns([Pattern::DangerNN]).start().await.unwrap();
    assert!(server.addresses()[0].keys().is_empty(), "a key that nobody proves is not shown");
    let client = Client::builder(address(&server)).pattern(Pattern::DangerNN).danger_trust_anyone();
    let client = client.connect().await.unwrap();
    assert_eq!(*client.connection().peer(), PeerIdentity::Anonymous);
    client.call("np.echo", "").await.unwrap();
}
