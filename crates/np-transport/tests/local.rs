//! Links between processes of one machine that know each other's user, and names that are no files.
// Tells the lints that helper functions are tests too.
#![cfg(test)]
#![cfg(unix)]

use std::os::unix::fs::MetadataExt as _;

use np_transport::{
    Address, BindOptions, ConnectOptions, Failure, Listener, SecurityMode, TransportError, connect, connect_with,
};
use np_types::PeerIdentity;

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

/// Tells a process where it is to listen.
#[cfg(target_os = "linux")]
const LISTEN: &str = "NP_TEST_LISTEN";

/// Skipped aloud where the tests are not run by root, who alone can become somebody else.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_listener_of_somebody_else_is_refused_where_no_user_is_named() {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};
    const NOBODY: u32 = 65_534;

    if own_user() != "0" {
        return println!("SKIPPED: only root can run a process as another user");
    }
    // The folder of the build may be closed to others.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("listener");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let address: Address = format!("unix:@np-test-nobody-{}?mode=local", std::process::id()).parse().unwrap();
    let mut child = Command::new(program)
        .args(["--exact", "inner_listener_of_somebody_else", "--nocapture"])
        .env(LISTEN, address.to_string())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("listening")));

    let error = connect(&address).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Authentication);
    let TransportError::WrongUser { expected, found, .. } = error else { panic!("{error}") };
    assert_eq!((expected.as_str(), found), ("0", NOBODY.to_string()));
    let options = ConnectOptions { local_user: Some(NOBODY.to_string()), ..ConnectOptions::default() };
    connect_with(&address, &options).await.unwrap();
    drop(child.stdin.take());
    assert!(lines.any(|line| line.unwrap().contains("1 passed")));
    child.wait().unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn inner_listener_of_somebody_else() {
    let Ok(address) = std::env::var(LISTEN) else { return };
    let _listener = bind(&address.parse().unwrap()).await.unwrap();
    println!("listening");
    // A parent that is done, or dies, closes the pipe.
    std::io::read_to_string(std::io::stdin()).unwrap();
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
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
