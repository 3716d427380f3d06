//! What TLS adds: proven names in the call context, reloads that cut nobody, sessions taken up again, nothing held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::transport::dev_certificates;
use np_facade::{
    BindOptions, CallContext, CallError, Client, ClientBuilder, ConnectOptions, ConnectionError, Error, ErrorKind,
    PeerIdentity, Policy, Server, SocketOptions, TlsClient, TlsServer,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::certificates::{asking_server, certificates, client, known_client, server, two_of_one_authority};
use crate::kinds::Kind;

fn address(server: &Server) -> String {
    server.addresses()[0].to_string()
}

/// What the context of a call says about its caller.
fn whoami(ctx: CallContext, _: Bytes) -> Result<String, CallError> {
    Ok(format!("{:?} {:?}", ctx.peer(), ctx.local()))
}

#[tokio::test]
async fn handlers_learn_who_their_client_is() {
    let made = &certificates().made;
    let server = Kind::MutualTls.server().on("who", whoami).start().await.unwrap();
    let client = Kind::MutualTls.client(&address(&server)).connect().await.unwrap();
    let names = vec!["np-dev-client".to_owned()];
    let subject = "CN=np development client".to_owned();
    let expected = PeerIdentity::Certificate { spki: made.client_pin, names, subject };
    assert_eq!(client.call("who", "").await.unwrap(), format!("{expected:?} None"));
    let connection = client.connection();
    let shown = connection.tls().unwrap();
    assert_eq!((shown.group.as_str(), shown.resumed), ("X25519MLKEM768", false));
    let PeerIdentity::Certificate { spki, .. } = connection.peer() else { panic!() };
    assert_eq!(*spki, made.server_pin);
}

#[cfg(unix)]
#[tokio::test]
async fn handlers_learn_the_process_behind_a_unix_socket_in_every_mode() {
    for kind in [Kind::Unix, Kind::UnixLocal] {
        let server = kind.server().on("who", whoami).start().await.unwrap();
        let client = kind.client(&address(&server)).connect().await.unwrap();
        let told = client.call("who", "").await.unwrap();
        let told = String::from_utf8_lossy(&told).into_owned();
        let local = server.connections()[0].local().cloned().unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(local.process, Some(std::process::id()));
        }
        assert!(local.group.is_some() && told.ends_with(&format!("{:?}", Some(&local))), "{kind:?}: {told}");
        let is_identity = *server.connections()[0].peer() == PeerIdentity::Local(local);
        assert_eq!(is_identity, kind == Kind::UnixLocal);
    }
}

/// A server whose certificate and key are files, which are exchanged as a program that renews certificates does it.
struct Renewed {
    folder: tempfile::TempDir,
    servers: [[String; 2]; 2],
}

impl Renewed {
    const FILES: [&str; 2] = ["server.pem", "server-key.pem"];

    /// Writes beside and renames, so that nobody reads half a file.
    fn install(&self, which: usize) {
        for (name, text) in Self::FILES.iter().zip(&self.servers[which]) {
            let fresh = self.folder.path().join("fresh");
            std::fs::write(&fresh, text).unwrap();
            std::fs::rename(&fresh, self.folder.path().join(name)).unwrap();
        }
    }

    fn tls(&self) -> TlsServer {
        let [chain, key] = Self::FILES.map(|name| self.folder.path().join(name));
        TlsServer::builder().certificate_files(chain, key).build().unwrap()
    }
}

/// Calls until it is stopped, and counts the calls; some connect anew for each of them.
async fn load(one: impl Fn() -> ClientBuilder, anew: bool, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>) {
    let mut here = one().connect().await.unwrap();
    while !stop.load(Ordering::SeqCst) {
        if anew {
            here = one().connect().await.unwrap();
        }
        assert_eq!(here.call("np.echo", "x").await.unwrap(), "x");
        calls.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_reloads_under_load_fail_no_call() {
    let (ca, servers) = two_of_one_authority();
    let renewed = Renewed { folder: tempfile::tempdir().unwrap(), servers };
    renewed.install(1);
    let other = renewed.tls().pins();
    renewed.install(0);
    let tls = renewed.tls();
    let pins = [tls.pins(), other];
    let builder = Server::builder_without_identity(Policy::anonymous()).tls(tls.clone());
    let server = builder.listen("tls://127.0.0.1:0").start().await.unwrap();
    let place = server.addresses()[0].without_keys().to_string();
    let trust = TlsClient::builder().ca_pem(ca.as_str()).resumption(false).build().unwrap();
    let one = move || Client::builder(place.clone()).tls(trust.clone());
    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let start = |at| tokio::spawn(load(one.clone(), at % 2 == 0, Arc::clone(&stop), Arc::clone(&calls)));
    let clients: Vec<_> = (0..4).map(start).collect();
    for round in 1..=10 {
        renewed.install(round % 2);
        tls.reload().unwrap();
        let newcomer = one().connect().await.unwrap();
        let connection = newcomer.connection();
        let PeerIdentity::Certificate { spki, .. } = connection.peer() else { panic!() };
        assert_eq!(pins[round % 2], [*spki], "round {round}");
        assert_eq!(newcomer.call("np.echo", "new").await.unwrap(), "new");
        // The load goes on meanwhile; a client that has failed is told of below.
        let before = calls.load(Ordering::SeqCst);
        while calls.load(Ordering::SeqCst) < before + 20 && !clients.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_ne!(pins[0], pins[1]);
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    println!("10 reloads, {} calls, none failed", calls.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_reload_changes_whom_newcomers_meet_and_a_bad_one_changes_nothing() {
    let (old, new) = (dev_certificates(&[]).unwrap(), dev_certificates(&[]).unwrap());
    let recipe = |made: &np_facade::raw::transport::DevCertificates| {
        TlsServer::builder().certificate_pem(made.server.as_str(), made.server_key.as_str())
    };
    let tls = recipe(&old).build().unwrap();
    let builder = Server::builder_without_identity(Policy::anonymous()).tls(tls.clone());
    let server = builder.listen("tls://127.0.0.1:0").start().await.unwrap();
    let stays = Client::connect(&address(&server)).await.unwrap();
    assert!(tls.reload_as(TlsServer::builder().certificate_pem(old.server.as_str(), new.server_key.as_str())).is_err());
    Client::connect(&address(&server)).await.unwrap();
    tls.reload_as(recipe(&new)).unwrap();
    let error = Client::connect(&address(&server)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains(&format!("pin=sha256:{}", new.server_pin)), "{error}");
    let pinned = server.addresses()[0].without_keys().with_pin(new.server_pin).to_string();
    Client::connect(&pinned).await.unwrap();
    assert_eq!(stays.call("np.echo", "still here").await.unwrap(), "still here");
}

#[tokio::test]
async fn sessions_are_taken_up_again_and_the_setting_stops_that() {
    for resumes in [true, false] {
        let tls = server().resumption(resumes).build().unwrap();
        let builder = Server::builder_without_identity(Policy::anonymous()).tls(tls);
        let server = builder.listen("tls://127.0.0.1:0").start().await.unwrap();
        let tls = client().build().unwrap();
        let mut resumed = Vec::new();
        for _ in 0..2 {
            let client = Client::builder(address(&server)).tls(tls.clone()).connect().await.unwrap();
            client.call("np.echo", "").await.unwrap();
            resumed.push(client.connection().tls().unwrap().resumed);
            client.close().await;
        }
        assert_eq!(resumed, [false, resumes]);
    }
}

/// A server looks at a client's certificate after the client is done: the refusal meets a read of the session.
#[tokio::test]
async fn refused_client_certificates_are_told_as_what_they_are() {
    let other = dev_certificates(&[]).unwrap();
    let server = Kind::MutualTls.server().start().await.unwrap();
    let unknown = client().client_certificate_pem(other.client.as_str(), other.client_key.as_str());
    for (tls, says) in [(client(), "client certificate is required"), (unknown, "no trusted authority")] {
        let connecting = Client::builder(address(&server)).tls(tls.build().unwrap()).connect();
        let error = timeout(Duration::from_secs(10), connecting).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// TLS holds back the end of what it took where the socket is full; without a flush it would stay there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_large_message_is_not_held_back() {
    let socket = SocketOptions { send_buffer: Some(4_096), receive_buffer: Some(4_096), ..SocketOptions::default() };
    let bind = BindOptions { tls: Some(server().build().unwrap()), socket: socket.clone(), ..BindOptions::default() };
    let builder = Server::builder_without_identity(Policy::anonymous()).listen_with("tls://127.0.0.1:0", bind);
    let server = builder.start().await.unwrap();
    let link = ConnectOptions { tls: Some(client().build().unwrap()), socket, ..ConnectOptions::default() };
    let client = Client::builder(address(&server)).connect_options(link).connect().await.unwrap();
    for size in [100_000, 1 << 20, 300_001] {
        let body = Bytes::from(vec![9; size]);
        let answer = timeout(Duration::from_secs(20), client.call("np.echo", body.clone())).await;
        assert_eq!(answer.expect("nothing is held back").unwrap(), body);
    }
}

#[tokio::test]
async fn a_server_that_is_silent_in_tls_is_told_as_a_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("tls://{}", silent.local_addr().unwrap());
    let tls = client().build().unwrap();
    let connecting = Client::builder(place).tls(tls).handshake_timeout(Duration::from_millis(50)).connect();
    let error = connecting.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn whom_a_policy_allows_by_certificate_comes_in_and_others_do_not() {
    let made = &certificates().made;
    let other = dev_certificates(&[]).unwrap().client_pin;
    for (policy, welcome) in [
        (Policy::allow_spki(made.client_pin), true),
        (Policy::allow_spki(other), false),
        (Policy::allow_san("np-dev-client").unwrap(), true),
        (Policy::allow_san("np-dev-server").unwrap(), false),
        (Policy::anyone(), true),
    ] {
        let builder = Server::builder_without_identity(policy.clone()).tls(asking_server().build().unwrap());
        let server = builder.listen("tls://127.0.0.1:0").start().await.unwrap();
        let connected = Client::builder(address(&server)).tls(known_client().build().unwrap()).connect().await;
        assert_eq!(connected.is_ok(), welcome, "{policy:?}: {connected:?}");
        if let Err(Error::Connect(error)) = connected {
            assert!(error.to_string().contains("not-allowed"), "{error}");
        }
    }
}

#[tokio::test]
async fn noise_inside_tls_proves_both_and_is_bound_to_its_channel() {
    let server = Kind::TlsNoise.server().start().await.unwrap();
    let printed = address(&server);
    assert!(printed.contains("pin=sha256:") && printed.contains("key=np1"), "{printed}");
    // The pin alone proves the server of TLS, the key the one inside.
    let client = Client::builder(printed).identity(crate::kinds::member()).connect().await.unwrap();
    assert!(matches!(client.connection().peer(), PeerIdentity::Noise(_)));
    assert!(client.connection().tls().is_some());
    let other = np_facade::Identity::generate().unwrap().public_key();
    let wrong = server.addresses()[0].without_keys().with_pin(certificates().made.server_pin).with_key(other);
    let error = Client::builder(wrong.to_string()).identity(crate::kinds::member()).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
}

/// Somebody in between who ends TLS on both sides, and passes on what is inside: without the binding nobody would notice.
#[tokio::test]
async fn noise_inside_tls_does_not_pass_somebody_who_ends_tls_in_between() {
    use np_facade::raw::transport::{Listener, connect_with};
    let server = Kind::TlsNoise.server().start().await.unwrap();
    let key = server.addresses()[0].keys()[0];
    let options = BindOptions { tls: Some(crate::certificates::server().build().unwrap()), ..BindOptions::default() };
    let middle = Listener::bind(&"tls+noise://127.0.0.1:0".parse().unwrap(), &options).await.unwrap();
    let between = middle.local_address().without_keys().with_key(key);
    let target = server.addresses()[0].clone();
    tokio::spawn(async move {
        let blind = TlsClient::builder().danger_no_verification().build().unwrap();
        let options = ConnectOptions { tls: Some(blind), ..ConnectOptions::default() };
        while let Ok(mut near) = middle.accept().await {
            let mut far = connect_with(&target, &options).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut near.io, &mut far.io).await });
        }
    });
    // The client takes any certificate, as one does who trusts the key inside alone.
    let blind = || TlsClient::builder().danger_no_verification().build().unwrap();
    let client = |address: String| Client::builder(address).tls(blind()).identity(crate::kinds::member());
    let direct = server.addresses()[0].without_keys().with_key(key).to_string();
    client(direct).connect().await.unwrap();
    let error = client(between.to_string()).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(server.connections().len() <= 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_inside_tls_was_truncated() {
    let mut served = crate::process::Served::start(Kind::Tls);
    let client = Kind::Tls.client(&served.address).connect().await.unwrap();
    served.kill();
    let ended = timeout(Duration::from_secs(20), client.connection().closed()).await.unwrap();
    let cut = matches!(ended, ConnectionError::Misbehaved(np_facade::Misbehaved::Truncated));
    assert!(cut || matches!(ended, ConnectionError::Io { .. }), "{ended:?}");
}
