//! Links between processes of one machine that know each other's user, and names that are no files.
// Tells the lints that helper functions are tests too.
#![cfg(test)]
#![cfg(unix)]

use std::os::unix::fs::MetadataExt as _;

use np_transport::{
    Address, BindOptions, ConnectOptions, Failure, Listener, SecurityMode, TransportError, connect, connect_with,
};
use np_types::PeerIdentity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The user that runs the tests, by a file that it makes.
fn own_user() -> String {
    tempfile::NamedTempFile::new().unwrap().as_file().metadata().unwrap().uid().to_string()
}

async fn bind(address: &Address) -> Result<Listener, TransportError> {
    Listener::bind(address, &BindOptions::default()).await
}

fn local_place() -> (tempfile::TempDir, Address) {
    let directory = tempfile::tempdir().unwrap();
    let address = format!("unix:{}?mode=local", directory.path().join("np.sock").display());
    (directory, address.parse().unwrap())
}

#[tokio::test]
async fn both_ends_of_a_local_socket_know_the_users() {
    let (_directory, address) = local_place();
    let listener = bind(&address).await.unwrap();
    let (client, server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    for link in [client, server] {
        assert_eq!(link.mode, SecurityMode::Local);
        let PeerIdentity::Local(peer) = link.identity else { panic!("{:?}", link.identity) };
        assert_eq!(peer.user, own_user());
        if cfg!(target_os = "linux") {
            assert_eq!(peer.process, Some(std::process::id()));
        }
    }
}

#[tokio::test]
async fn a_listener_of_another_user_is_refused() {
    let (_directory, address) = local_place();
    let _listener = bind(&address).await.unwrap();
    let options = ConnectOptions { local_user: Some("4294967294".to_owned()), ..ConnectOptions::default() };
    let error = connect_with(&address, &options).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication);
    let TransportError::WrongUser { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected.as_str(), found), ("4294967294", own_user()));
    let options = ConnectOptions { local_user: Some(own_user()), ..ConnectOptions::default() };
    connect_with(&address, &options).await.unwrap();
}

#[tokio::test]
async fn in_other_modes_the_user_is_told_and_proves_nothing() {
    let (_directory, address) = local_place();
    let address: Address = address.to_string().replace("?mode=local", "").parse().unwrap();
    let listener = bind(&address).await.unwrap();
    let options = ConnectOptions { local_user: Some("4294967294".to_owned()), ..ConnectOptions::default() };
    let (client, server) = tokio::try_join!(connect_with(&address, &options), listener.accept()).unwrap();
    for link in [client, server] {
        assert_eq!(link.local.unwrap().user, own_user());
        assert_eq!(link.identity, PeerIdentity::Anonymous);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_abstract_name_is_no_file_and_is_bound_once() {
    let address: Address = format!("unix:@np-test-{}?mode=local", std::process::id()).parse().unwrap();
    let listener = bind(&address).await.unwrap();
    assert!(!std::path::Path::new(&address.path().unwrap()).exists());
    let error = bind(&address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
    let (mut client, mut server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    assert!(client.identity.is_authenticated() && server.identity.is_authenticated());
    client.io.write_all(b"abstract").await.unwrap();
    server.io.read_exact(&mut [0; 8]).await.unwrap();
    drop(listener);
    let error = connect(&address).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    bind(&address).await.unwrap();
    let error = bind(&"unix:@".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
}

#[cfg(not(target_os = "linux"))]
#[tokio::test]
async fn an_abstract_name_is_refused_with_the_alternative() {
    let error = bind(&"unix:@np-test".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
    assert!(error.to_string().contains("write the path"), "{error}");
}
