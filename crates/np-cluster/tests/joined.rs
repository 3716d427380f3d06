//! Nodes that join over real sockets, by keys and by certificates, with servers of their own and of the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::time::Duration;

use np_cluster::{
    Attributes, Cluster, ClusterClient, ClusterConfig, ClusterError, MemberState, Peering, Signature, SigningKey,
};
use np_facade::prelude::*;
use np_facade::{Status, TlsClient, TlsServer, random_sign_key};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::time::{sleep, timeout};

fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name, "shop", ([0, 0, 0, 0], 0).into()).interval(Duration::from_millis(200))
}

async fn until(what: &str, held: impl Fn() -> bool) {
    let settled = async {
        while !held() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), settled).await.unwrap_or_else(|_| panic!("never so: {what}"));
}

/// Members that live and have proven a key.
fn proven(node: &Cluster) -> usize {
    let members = node.members();
    members.iter().filter(|member| member.state == MemberState::Live && member.key.is_some()).count()
}

#[tokio::test]
async fn a_server_of_the_program_takes_links_beside_its_calls_and_answers_whom_it_is_told_to() {
    let [one, two, client] = [(); 3].map(|()| Identity::generate().unwrap());
    let members = Policy::allow_keys([one.public_key(), two.public_key()]);
    let server = Server::builder(one.clone(), Policy::anyone())
        .on("order", |_, _| Ok("ordered"))
        .listen("tcp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let peering = || Peering::new(one.clone(), members.clone()).server(&server).control(members.clone());
    let service = Attributes { service: "orders".to_owned(), ..Attributes::default() };
    let a = Cluster::join(config("a").attributes(service), peering()).await.unwrap();
    let twice = Cluster::join(config("c"), peering()).await;
    assert!(matches!(twice, Err(ClusterError::Serve(_))), "a server is in one cluster");
    // A name that leads to this machine by more than one address, some of which nobody listens at.
    let seed = format!("tcp://localhost:{}?key={}", a.address().port(), one.public_key());
    let peering = Peering::new(two, members).listen("tcp://127.0.0.1:0").seed(&seed).unwrap();
    let b = Cluster::join(config("b"), peering).await.unwrap();
    until("both have proven their keys", || proven(&a) == 2 && proven(&b) == 1 + usize::from(proven(&b) == 2)).await;
    until("b knows the key of a", || proven(&b) == 2).await;

    let orders = Client::builder("cluster:orders").resolver(b.resolver()).connect().await.unwrap();
    assert_eq!(orders.call("order", "").await.unwrap(), "ordered");
    let denied = ClusterClient::new(orders).members().await.unwrap_err();
    assert_eq!(denied.status, Status::PermissionDenied);
    let address = server.addresses()[0].to_string();
    let asks = |identity: Identity| Client::builder(address.clone()).identity(identity).connect();
    let denied = ClusterClient::new(asks(client).await.unwrap()).set("k", "v").await.unwrap_err();
    assert_eq!(denied.status, Status::PermissionDenied);
    let node = ClusterClient::new(asks(one.clone()).await.unwrap());
    node.set("k", "v").await.unwrap();
    assert_eq!(node.get("k", None).await.unwrap()[0].value, "v");
    assert_eq!(node.members().await.unwrap(), a.members());

    a.leave().await.unwrap();
    until("b has seen a leave", || b.members()[0].state == MemberState::Left).await;
    // The server goes on without its cluster.
    until("the methods are gone", || !server.router().methods().iter().any(|name| name.contains("cluster"))).await;
    let gone = Client::builder("cluster:orders").resolver(b.resolver()).connect().await.unwrap_err();
    assert!(gone.to_string().contains("no live member of the cluster serves `orders`"), "{gone}");
    assert_eq!(node.members().await.unwrap_err().status, Status::UnknownMethod);
}

#[tokio::test]
async fn nodes_are_members_by_certificates_where_both_ends_show_one() {
    let authority = authority();
    let mut nodes: Vec<Cluster> = Vec::new();
    for name in ["a", "b", "c"] {
        let node = by_certificate(&authority, name, nodes.first()).await;
        nodes.push(node);
    }
    until("all have proven their certificates", || nodes[1..].iter().all(|node| proven(node) >= 2)).await;
    until("the first knows all", || nodes[0].members().len() == 3).await;
    nodes[2].set("k", "v").await.unwrap();
    until("a key has come", || nodes[0].members().len() == 3 && nodes[0].link_stats().links == 2).await;
    while nodes[0].get("c", "k").await.is_none() {
        sleep(Duration::from_millis(10)).await;
    }
    let members = nodes[0].members();
    assert!(members[1].key.as_ref().unwrap().starts_with("spki:"), "{members:?}");
    // A client is led to them, pinned to what they have proven, by no authority.
    let (chain, key) = certificate(&authority, "client");
    let shows = TlsClient::builder().client_certificate_pem(chain, key).build().unwrap();
    let orders = Client::builder("cluster:orders").tls(shows).resolver(nodes[0].resolver()).connect().await.unwrap();
    assert_eq!(orders.call("np.echo", "hi").await.unwrap(), "hi");
    // Without a certificate of the authority nobody is one.
    let other = self::authority();
    let stranger = by_certificate(&other, "x", nodes.first()).await;
    until("a stranger has tried", || stranger.link_stats().dropped > 0).await;
    assert_eq!((stranger.members().len(), nodes[0].members().len()), (1, 3));
}

#[tokio::test]
async fn a_watcher_whose_key_is_taken_off_the_list_is_told_so_and_sees_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let [own, watcher] = [(); 2].map(|()| Identity::generate().unwrap());
    let list = folder.path().join("operators");
    std::fs::write(&list, format!("{} operator\n", watcher.public_key())).unwrap();
    let server = Server::builder(own.clone(), Policy::anyone()).listen("tcp://127.0.0.1:0").start().await.unwrap();
    let peering = Peering::new(own.clone(), Policy::allow_keys([own.public_key()]))
        .server(&server)
        .control(Policy::allow_file(&list).unwrap());
    let node = Cluster::join(config("a"), peering).await.unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).identity(watcher).connect().await.unwrap();
    let mut tables = ClusterClient::new(client.clone()).watch().await.unwrap();
    assert_eq!(tables.next().await.unwrap().unwrap(), node.members());
    std::fs::write(&list, "# nobody\n").unwrap();
    let ended = timeout(Duration::from_secs(10), tables.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(ended.status, Status::PermissionDenied);
    // Its connection is the server's business, which lets everybody in.
    assert_eq!(client.call("np.echo", "hi").await.unwrap(), "hi");
}

#[tokio::test]
async fn a_node_with_a_signing_key_signs_all_that_it_sets_and_that_others_have_it_set() {
    let own = Identity::generate().unwrap();
    let signing = SigningKey::new(&random_sign_key().unwrap());
    let line = format!("{} a sign={}", own.public_key(), signing.verify_key());
    let members = Policy::allow_list(np_facade::AllowList::parse(&line).unwrap(), "members");
    let peering = Peering::new(own.clone(), members.clone()).listen("tcp://127.0.0.1:0").control(members);
    let node = Cluster::join(config("a").sign_by(signing), peering).await.unwrap();
    let address = node.server().unwrap().addresses()[0].to_string();
    let client = ClusterClient::new(Client::builder(address).identity(own).connect().await.unwrap());
    node.set("one", "1").await.unwrap();
    client.set("two", "2").await.unwrap();
    for key in ["one", "two"] {
        assert!(matches!(node.get("a", key).await.unwrap().signature, Signature::Valid(_)), "{key}");
        let entry = client.get(key, None).await.unwrap().remove(0);
        assert!(entry.signed && entry.known && entry.valid, "{entry:?}");
    }
}

#[tokio::test]
async fn a_node_that_signs_has_its_keys_set_by_nobody_but_itself_and_those_that_it_names() {
    let [own, member, operator] = [(); 3].map(|()| Identity::generate().unwrap());
    let members = Policy::allow_keys([own.public_key(), member.public_key()]);
    let set = async |signs: bool, writers: Option<&Identity>, by: &Identity| {
        let peering = Peering::new(own.clone(), members.clone()).listen("tcp://127.0.0.1:0").control(members.clone());
        let named = writers.map(|identity| Policy::allow_keys([identity.public_key()]));
        let peering = named.into_iter().fold(peering, Peering::writers);
        let signing = signs.then(|| SigningKey::from_bytes(&[7; 32]));
        let node = Cluster::join(signing.into_iter().fold(config("a"), ClusterConfig::sign_by), peering).await.unwrap();
        let address = node.server().unwrap().addresses()[0].to_string();
        let client = ClusterClient::new(Client::builder(address).identity(by.clone()).connect().await.unwrap());
        assert_eq!(client.members().await.unwrap().len(), 1);
        let done = client.set("k", "v").await;
        assert_eq!(node.get("a", "k").await.is_some(), done.is_ok());
        done.map_err(|refused| {
            assert!(refused.text.contains("--control"), "{refused}");
            refused.status
        })
    };
    let denied = Err(Status::PermissionDenied);
    assert_eq!(set(false, None, &member).await, Ok(()));
    assert_eq!(set(true, None, &member).await, denied);
    assert_eq!(set(true, None, &own).await, Ok(()));
    // Whoever is named comes in, also who is no member, and keeps the others out.
    assert_eq!(set(true, Some(&operator), &operator).await, Ok(()));
    assert_eq!(set(false, Some(&operator), &member).await, denied);
    assert_eq!(set(false, Some(&operator), &own).await, Ok(()));
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of the authority, and its key.
fn certificate(authority: &Authority, name: &str) -> (String, String) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned(), format!("{name}.shop.test")]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, authority).unwrap().pem(), key.serialize_pem())
}

/// A node with one certificate, as server and as client.
async fn by_certificate(authority: &Authority, name: &str, seed: Option<&Cluster>) -> Cluster {
    let ((chain, key), ca) = (certificate(authority, name), authority.pem());
    let serves = TlsServer::builder().certificate_pem(chain.clone(), key.clone()).client_ca_pem(ca.clone());
    let shows = TlsClient::builder().ca_pem(ca).client_certificate_pem(chain, key);
    let members = Policy::anyone();
    let server = Server::builder_without_identity(members.clone())
        .tls(serves.build().unwrap())
        .listen("tls://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let mut peering = Peering::by_certificates(shows.build().unwrap(), members).server(&server);
    if let Some(seed) = seed {
        peering = peering.seed(&format!("tls://{}", seed.address())).unwrap();
    }
    let service = Attributes { service: "orders".to_owned(), ..Attributes::default() };
    Cluster::join(config(name).attributes(service), peering).await.unwrap()
}

#[tokio::test]
async fn what_cannot_join_is_refused_with_the_way_out() {
    let identity = Identity::generate().unwrap();
    let peering = || Peering::new(identity.clone(), Policy::allow_keys([identity.public_key()]));
    for seed in ["10.0.0.2:7400", "tls://10.0.0.2:7400", "unix:/run/x.sock", ""] {
        let error = peering().seed(seed).unwrap_err().to_string();
        assert!(error.contains("as tcp://10.0.0.2:7400"), "{error}");
    }
    let nowhere = Cluster::join(config("a"), peering()).await.unwrap_err().to_string();
    assert!(nowhere.contains("Peering::listen"), "{nowhere}");
    let unreachable = Cluster::join(config("a"), peering().listen("tcp://0.0.0.0:0")).await.unwrap_err();
    assert!(matches!(unreachable, ClusterError::Address(_)), "{unreachable}");
    let named = ClusterConfig::new("a", "shop", ([127, 0, 0, 1], 0).into());
    let node = Cluster::join(named, peering().listen("tcp://0.0.0.0:0")).await.unwrap();
    assert_ne!(node.address().port(), 0);
    let name = Cluster::join(config("a b"), peering().listen("tcp://127.0.0.1:0")).await.unwrap_err();
    assert!(matches!(name, ClusterError::Name(_)), "{name}");
}
