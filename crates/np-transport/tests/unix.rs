//! Unix sockets: who may connect, whose file it is, and that no other file is ever touched.
// Tells the lints that helper functions are tests too.
#![cfg(test)]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use np_transport::{Address, BindOptions, Failure, Listener, TransportError, connect};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

struct Place {
    directory: TempDir,
    path: PathBuf,
    address: Address,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("np.sock");
    let address = Address::unix(&path).unwrap();
    Place { directory, path, address }
}

async fn bind(address: &Address) -> Result<Listener, TransportError> {
    Listener::bind(address, &BindOptions::default()).await
}

/// A socket file that its process left behind.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_socket());
}

fn entries(directory: &TempDir) -> Vec<String> {
    fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn check_echo(listener: &Listener) {
    let (mut client, mut server) = tokio::try_join!(connect(listener.local_address()), listener.accept()).unwrap();
    let mut bytes = [0; 5];
    client.io.write_all(b"hello").await.unwrap();
    server.io.read_exact(&mut bytes).await.unwrap();
    server.io.write_all(&bytes).await.unwrap();
    client.io.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_system_names_the_peer() {
    let place = place();
    let listener = bind(&place.address).await.unwrap();
    assert_eq!(listener.local_address(), &place.address);
    check_echo(&listener).await;
    let (client, server) = tokio::try_join!(connect(&place.address), listener.accept()).unwrap();
    let uid = fs::metadata(place.directory.path()).unwrap().uid().to_string();
    for link in [client, server] {
        let local = link.local.unwrap();
        assert_eq!(local.user, uid);
        assert_eq!(local.process, Some(std::process::id()));
        assert!(link.peer.text.contains(&format!("uid {uid}")), "{}", link.peer);
    }
    assert_eq!(entries(&place.directory), ["np.sock"], "nothing else is left beside the socket");
}

#[tokio::test]
async fn the_mode_is_0600_or_what_was_asked_for() {
    for (asked, mode) in [(None, 0o600), (Some(0o666), 0o666), (Some(0o660), 0o660), (Some(0o777), 0o777)] {
        let place = place();
        let options =
            asked.map_or_else(BindOptions::default, |unix_mode| BindOptions { unix_mode, ..BindOptions::default() });
        let _listener = Listener::bind(&place.address, &options).await.unwrap();
        let found = fs::symlink_metadata(&place.path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{found:o}, not {mode:o}");
    }
    let options = BindOptions { unix_mode: 0o4600, ..BindOptions::default() };
    let error = Listener::bind(&place().address, &options).await.unwrap_err();
    assert!(error.to_string().contains("0o777"), "{error}");
}

#[tokio::test]
async fn nobody_ever_sees_another_mode() {
    let place = place();
    let done = Arc::new(AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (done, path) = (Arc::clone(&done), place.path.clone());
        move || {
            let mut seen = 0u64;
            while !done.load(Ordering::Relaxed) {
                if let Ok(data) = fs::symlink_metadata(&path) {
                    assert_eq!(data.permissions().mode() & 0o777, 0o600);
                    seen += 1;
                }
            }
            seen
        }
    });
    for _ in 0..300 {
        drop(bind(&place.address).await.unwrap());
    }
    let _listener = bind(&place.address).await.unwrap();
    done.store(true, Ordering::Relaxed);
    watcher.join().unwrap();
}

#[tokio::test]
async fn a_stale_file_is_replaced() {
    let place = place();
    leave_stale(&place.path);
    let error = connect(&place.address).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    let listener = bind(&place.address).await.unwrap();
    check_echo(&listener).await;
    assert_eq!(entries(&place.directory), ["np.sock"]);
}

#[tokio::test]
async fn a_live_socket_is_in_use_and_lives_on() {
    let place = place();
    let first = bind(&place.address).await.unwrap();
    let error = bind(&place.address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
    assert_eq!(error.failure(), Failure::Local);
    drop(first.accept().await.unwrap()); // The question whether it lives.
    check_echo(&first).await;
    assert_eq!(entries(&place.directory), ["np.sock"]);
}

#[tokio::test(start_paused = true)]
async fn a_live_socket_with_a_full_queue_is_in_use() {
    let place = place();
    let options = BindOptions { backlog: 1, ..BindOptions::default() };
    let _first = Listener::bind(&place.address, &options).await.unwrap();
    let mut waiting = Vec::new();
    while let Ok(link) = timeout(Duration::from_millis(100), connect(&place.address)).await {
        waiting.push(link.unwrap());
    }
    let error = bind(&place.address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_socket_is_never_touched() {
    let place = place();
    fs::write(&place.path, "precious").unwrap();
    let error = bind(&place.address).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");

    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    assert!(bind(&place.address).await.is_err());
    assert!(place.path.is_dir());

    // A link to a dead socket, which may be another user's trap.
    fs::remove_dir(&place.path).unwrap();
    let target = place.directory.path().join("target");
    leave_stale(&target);
    symlink(&target, &place.path).unwrap();
    assert!(bind(&place.address).await.is_err());
    assert!(fs::symlink_metadata(&place.path).unwrap().is_symlink());
    assert!(target.exists());
    assert_eq!(entries(&place.directory).len(), 2, "{:?}", entries(&place.directory));
}

#[tokio::test]
async fn drop_removes_the_file() {
    let place = place();
    drop(bind(&place.address).await.unwrap());
    assert!(entries(&place.directory).is_empty());
    let error = connect(&place.address).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn drop_leaves_the_file_of_another() {
    let place = place();
    let first = bind(&place.address).await.unwrap();
    fs::remove_file(&place.path).unwrap();
    let second = bind(&place.address).await.unwrap();
    drop(first);
    check_echo(&second).await;
}

/// Many processes may find the same dead file at the same time: one takes its place, and stays reachable.
#[test]
fn of_many_starters_one_wins() {
    const STARTERS: usize = 8;
    for _ in 0..40 {
        let place = place();
        leave_stale(&place.path);
        let barrier = Arc::new(Barrier::new(STARTERS));
        let starters: Vec<_> = (0..STARTERS)
            .map(|_| {
                let (address, barrier) = (place.address.clone(), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    barrier.wait();
                    let outcome = runtime.block_on(bind(&address));
                    (outcome, runtime)
                })
            })
            .collect();
        let outcomes: Vec<_> = starters.into_iter().map(|starter| starter.join().unwrap()).collect();
        let winners = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
        assert_eq!(winners, 1);
        for (outcome, _) in &outcomes {
            assert!(matches!(outcome, Ok(_) | Err(TransportError::InUse { .. })), "{outcome:?}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(connect(&place.address)).unwrap();
        assert_eq!(entries(&place.directory), ["np.sock"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_backlog_holds_up_the_next() {
    async fn connected_without_accept(backlog: u32) -> usize {
        let place = place();
        let options = BindOptions { backlog, ..BindOptions::default() };
        let _listener = Listener::bind(&place.address, &options).await.unwrap();
        let mut links = Vec::new();
        while links.len() < 8 {
            match timeout(Duration::from_millis(200), connect(&place.address)).await {
                Ok(link) => links.push(link.unwrap()),
                Err(_) => break,
            }
        }
        links.len()
    }
    assert_eq!(connected_without_accept(1024).await, 8);
    assert!(connected_without_accept(1).await < 8);
}

#[tokio::test(start_paused = true)]
async fn who_is_held_up_goes_on_when_there_is_room() {
    let place = place();
    let options = BindOptions { backlog: 1, ..BindOptions::default() };
    let listener = Listener::bind(&place.address, &options).await.unwrap();
    let mut waiting = Vec::new();
    while let Ok(link) = timeout(Duration::from_millis(100), connect(&place.address)).await {
        waiting.push(link.unwrap());
    }
    tokio::try_join!(connect(&place.address), listener.accept()).unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_longest_path_works_and_a_longer_one_names_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().as_os_str().len() + 1;
    for (length, name) in [(107, "x".repeat(107 - base)), (107, format!("{}/s", "d".repeat(105 - base)))] {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(path.as_os_str().len(), length);
        check_echo(&bind(&Address::unix(&path).unwrap()).await.unwrap()).await;
        leave_stale(&path);
        check_echo(&bind(&Address::unix(&path).unwrap()).await.unwrap()).await;
    }
    let longer = Address::unix(&directory.path().join("x".repeat(108 - base))).unwrap();
    for error in [bind(&longer).await.unwrap_err(), connect(&longer).await.unwrap_err()] {
        assert_eq!(error.failure(), Failure::Usage);
        assert!(error.to_string().contains("108 bytes and this system allows 107"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_directory_is_named_as_such() {
    let place = place();
    let inside = Address::unix(&place.path.join("deeper")).unwrap();
    let error = bind(&inside).await.unwrap_err();
    assert!(error.to_string().contains("create the directory first"), "{error}");
    assert_eq!(error.failure(), Failure::Local);
}

#[tokio::test]
async fn odd_names_work() {
    use std::os::unix::ffi::OsStrExt as _;
    let directory = tempfile::tempdir().unwrap();
    for name in [&b"a b?c%d"[..], b"\xff\xfe", b"caf\xc3\xa9\n", b"old", b"s"] {
        let path = directory.path().join(std::ffi::OsStr::from_bytes(name));
        let address: Address = Address::unix(&path).unwrap().to_string().parse().unwrap();
        leave_stale(&path);
        let listener = bind(&address).await.unwrap();
        check_echo(&listener).await;
        drop(listener);
        assert!(entries_gone(&path));
    }
}

fn entries_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err()
}
