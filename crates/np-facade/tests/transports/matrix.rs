//! Every transport: calls one by one, at once and both ways, drain, a peer that is refused, a peer that is killed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::driver::ConnectError;
use np_facade::{
    CallError, CloseCode, ConnectionError, Deadline, Error, ErrorKind, Misbehaved, Outcome, Router, Server, Status,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::kinds::Kind;
use crate::process::Served;

const PATIENCE: Duration = Duration::from_secs(20);

fn address(server: &Server) -> String {
    server.addresses()[0].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_one_by_one_and_at_once() {
    for kind in Kind::all() {
        let server = kind.server().on("length", |_, body| Ok(body.len().to_string())).start().await.unwrap();
        let client = kind.client(&address(&server)).connect().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(client.call("np.echo", "one").await.unwrap(), "one", "{kind:?}");
        let large = Bytes::from(vec![0x5a; 3 << 20]);
        assert_eq!(client.call("np.echo", large.clone()).await.unwrap(), large, "{kind:?}");
        let mut calls = JoinSet::new();
        for size in 0..300usize {
            let client = client.clone();
            calls.spawn(async move { (size, client.call("length", vec![0; size * 100]).await) });
        }
        while let Some(answered) = calls.join_next().await {
            let (size, answer) = answered.unwrap();
            assert_eq!(answer.unwrap(), (size * 100).to_string(), "{kind:?}");
        }
        let connections = server.connections();
        assert_eq!(connections.len(), 1, "{kind:?}");
        assert_eq!(connections[0].binding(), client.connection().binding(), "{kind:?}: one value at both ends");
        client.close().await;
    }
}

#[tokio::test]
async fn the_server_calls_its_client_in_the_midst_of_a_call() {
    for kind in Kind::all() {
        let back = |ctx: np_facade::CallContext, body: Bytes| async move {
            let (codec, pairs) = (np_facade::Codec::Bytes, np_facade::Metadata::default());
            let reply = ctx.call("double".parse().unwrap(), codec, body, pairs, Deadline::NONE).await?;
            Ok::<Bytes, CallError>(reply.body)
        };
        let server = kind.server().on_async("ask-back", back).start().await.unwrap();
        let router = Router::new();
        router.on("double", |_, body: Bytes| Ok(body.repeat(2))).unwrap();
        let client = kind.client(&address(&server)).router(router).connect().await.unwrap();
        assert_eq!(client.call("ask-back", "ab").await.unwrap(), "abab", "{kind:?}");
        let pushed = server.connections()[0].call(np_facade::Request::new("double".parse().unwrap()).body("x")).await;
        assert_eq!(pushed.unwrap().body, "xx", "{kind:?}");
    }
}

#[tokio::test]
async fn a_drain_answers_what_is_open_and_says_why_it_ends() {
    for kind in Kind::all() {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            move |_, body: Bytes| {
                let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
                async move {
                    begun.notify_one();
                    go.notified().await;
                    Ok::<Bytes, CallError>(body)
                }
            }
        };
        let server = kind.server().on_async("slow", handler).start().await.unwrap();
        // Else a late call would wait for the next server.
        let client = kind.client(&address(&server)).auto_reconnect(false).connect().await.unwrap();
        let open = tokio::spawn({
            let client = client.clone();
            async move { client.call("slow", "last words").await }
        });
        begun.notified().await;
        let draining = tokio::spawn(async move { server.shutdown(PATIENCE).await });
        let refused = loop {
            if let Err(error) = client.call("np.echo", "late").await {
                break error;
            }
        };
        assert_eq!((refused.status, refused.outcome), (Status::Unavailable, Outcome::NotProcessed), "{kind:?}");
        go.notify_one();
        assert_eq!(open.await.unwrap().unwrap(), "last words", "{kind:?}");
        let ended = timeout(PATIENCE, client.closed()).await.unwrap();
        let drained = matches!(ended, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. });
        assert!(drained, "{kind:?}: {ended:?}");
        timeout(PATIENCE, draining).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_is_not_welcome_is_refused_and_told() {
    for kind in Kind::all() {
        let server = kind.refusing_server().start().await;
        let server = match server {
            Ok(server) => server,
            Err(error) => panic!("{kind:?}: {error}"),
        };
        let error = kind.stranger(&address(&server)).connect().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{kind:?}: {error}");
        let Error::Connect(ConnectError::Handshake { error: told, .. }) = &error else { panic!("{kind:?}: {error:?}") };
        // A bare cut would be of the same kind, and tell nothing.
        let as_it_must = match kind {
            Kind::MutualTls => matches!(told, ConnectionError::Tls(why) if why.contains("certificate is required")),
            _ => matches!(told, ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. }),
        };
        assert!(as_it_must, "{kind:?}: {told:?}");
        assert!(server.connections().is_empty(), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_killed_fails_its_calls_as_unknown() {
    for kind in Kind::all().into_iter().filter(|kind| *kind != Kind::Mem) {
        let mut served = Served::start(kind);
        let builder = kind.client(&served.address).auto_reconnect(false);
        let client = builder.connect().await.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let open = tokio::spawn({
            let client = client.clone();
            async move { client.call("forever", "").await }
        });
        while client.call("begun", "").await.unwrap() != "1" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        served.kill();
        let failed = timeout(PATIENCE, open).await.unwrap_or_else(|_| panic!("{kind:?}: the call hangs"));
        let error = failed.unwrap().unwrap_err();
        assert_eq!((error.status, error.outcome), (Status::Unavailable, Outcome::Unknown), "{kind:?}");
        let ended = timeout(PATIENCE, client.closed()).await.unwrap();
        let cut = matches!(ended, ConnectionError::Misbehaved(Misbehaved::Truncated) | ConnectionError::Io { .. });
        assert!(cut, "{kind:?}: {ended:?}");
        let late = client.call("np.echo", "").await.unwrap_err();
        assert_eq!(late.outcome, Outcome::NotProcessed, "{kind:?}");
    }
}

/// The one of a pipe inside a process cannot be killed alone; its server can be dropped at once.
#[tokio::test]
async fn a_server_that_is_dropped_fails_the_calls_of_its_process() {
    let forever = |_, _: Bytes| std::future::pending::<Result<Bytes, CallError>>();
    let server = Kind::Mem.server().on_async("forever", forever).start().await.unwrap();
    let client = Kind::Mem.client(&address(&server)).connect().await.unwrap();
    let open = tokio::spawn({
        let client = client.clone();
        async move { client.call("forever", "").await }
    });
    client.call("np.echo", "").await.unwrap();
    drop(server);
    assert_eq!(timeout(PATIENCE, open).await.unwrap().unwrap().unwrap_err().outcome, Outcome::Unknown);
}
