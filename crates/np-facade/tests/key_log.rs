//! The key log: off unless a program passes one, and the same line from both ends.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use np_facade::{Client, Config, Identity, KeyLog, Pattern, Policy, Server, ServerBuilder};

/// Lines that were written.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn log(&self) -> KeyLog {
        KeyLog::danger_write_to(self.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn serve(place: &str, policy: Policy, set: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let builder = Server::builder(Identity::generate().unwrap(), policy).listen(place);
    set(builder).start().await.unwrap()
}

#[tokio::test]
async fn both_ends_write_the_same_line_for_each_connection_and_no_other() {
    let (ours, theirs) = (Lines::default(), Lines::default());
    let patterns = [Pattern::XX, Pattern::IK];
    let server = serve("mem:key-log", Policy::anyone(), |it| it.danger_key_log(theirs.log()).patterns(patterns)).await;
    let address = server.addresses()[0].to_string();
    for pattern in patterns {
        let client = Client::builder(&address).pattern(pattern).danger_key_log(ours.log()).connect().await.unwrap();
        assert_eq!(client.call("np.echo", "hello").await.unwrap(), "hello");
        client.close().await;
    }
    // A client that asked for nothing: the server's is the only log that knows of it.
    let client = Client::connect(&address).await.unwrap();
    assert_eq!(client.call("np.echo", "hello").await.unwrap(), "hello");
    client.close().await;
    let (ours, theirs) = (ours.text(), theirs.text());
    let lines: Vec<&str> = ours.lines().collect();
    assert_eq!((lines.len(), theirs.lines().count()), (2, 3), "{ours}{theirs}");
    assert!(theirs.starts_with(&ours));
    for line in lines {
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!(fields[0], "NP_TRAFFIC_KEYS");
        assert_eq!([fields[1].len(), fields[2].len(), fields[3].len(), fields.len()], [32, 64, 64, 4], "{line}");
        assert!(fields[1..].iter().all(|field| field.bytes().all(|byte| b"0123456789abcdef".contains(&byte))));
        assert_ne!(fields[2], fields[3]);
    }
    server.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_peer_that_is_refused_after_the_handshake_has_a_line_too() {
    let theirs = Lines::default();
    let nobody = Policy::allow_keys([Identity::generate().unwrap().public_key()]);
    let server = serve("mem:key-log-refused", nobody, |it| it.danger_key_log(theirs.log())).await;
    Client::connect(&server.addresses()[0].to_string()).await.unwrap_err();
    assert_eq!(theirs.text().lines().count(), 1);
    server.shutdown(Duration::ZERO).await;
}

#[test]
fn no_setting_turns_it_on() {
    assert!(!Config::sample().to_lowercase().contains("key_log"));
    let env = [("NPKEYLOGFILE", "keys.log"), ("SSLKEYLOGFILE", "keys.log")];
    assert_eq!(Config::load(None, env).unwrap(), Config::default());
}

#[cfg(unix)]
#[test]
fn a_file_is_for_this_user_alone_and_appended_to() {
    use std::fs::{metadata, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.log");
    KeyLog::danger_append_to(&path).unwrap();
    assert_eq!(metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, "before\n").unwrap();
    KeyLog::danger_append_to(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before\n");
    let mut open = metadata(&path).unwrap().permissions();
    open.set_mode(0o644);
    set_permissions(&path, open).unwrap();
    let error = KeyLog::danger_append_to(&path).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    KeyLog::danger_append_to(folder.path()).unwrap_err();
}
