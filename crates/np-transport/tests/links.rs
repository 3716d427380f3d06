//! Links over every transport: bytes both ways, limits, and every way not to get one.
// Tells the lints that helper functions are tests too.
#![cfg(test)]

use std::time::Duration;

use np_transport::{Action, Address, BindOptions, Failure, Link, Listener, SecurityMode, TransportError, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

fn at(text: &str) -> Address {
    text.parse().unwrap()
}

async fn bind(text: &str) -> Listener {
    Listener::bind(&at(text), &BindOptions::default()).await.unwrap()
}

/// Sends bytes both ways at the same time, more than any buffer on the way holds, and then ends both directions.
async fn check_echo(listener: &Listener) -> (Link, Link) {
    let (mut client, mut server) = tokio::try_join!(connect(listener.local_address()), listener.accept()).unwrap();
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let (reader, writer) = tokio::io::split(client.io);
    let echo = async {
        let (mut from, mut to) = tokio::io::split(&mut server.io);
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (mut reader, mut writer) = (reader, writer);
    tokio::join!(
        echo,
        async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        },
        async {
            reader.read_to_end(&mut back).await.unwrap();
        }
    );
    assert!(back == sent, "{} of {} bytes came back the same", back.len(), sent.len());
    client.io = reader.unsplit(writer);
    (client, server)
}

#[tokio::test]
async fn tcp_carries_bytes_both_ways() {
    let listener = bind("tcp://127.0.0.1:0").await;
    assert_ne!(listener.local_address().port(), Some(0));
    let (client, server) = check_echo(&listener).await;
    assert_eq!(client.peer.text, listener.local_address().to_string());
    assert_eq!(server.peer.ip, Some([127, 0, 0, 1].into()));
    assert_eq!(server.local, None);
    assert_eq!(server.channel_binding, None);
}

#[tokio::test]
async fn a_host_name_is_resolved() {
    let listener = bind("tcp://localhost:0").await;
    let port = listener.local_address().port().unwrap();
    assert!(listener.local_address().ip().unwrap().is_loopback());
    let address = at(&format!("tcp://localhost:{port}"));
    let (client, server) = tokio::try_join!(connect(&address), listener.accept()).unwrap();
    assert_eq!((client.mode, server.mode), (SecurityMode::Noise, SecurityMode::Noise));
}

#[tokio::test]
async fn what_a_listener_on_every_address_prints_can_be_connected_to() {
    let listener = bind("tcp://0.0.0.0:0").await;
    check_echo(&listener).await;
}

#[tokio::test]
async fn keys_stay_with_the_address_of_a_listener() {
    let key = np_types::PublicKey::from_bytes([3; 32]);
    let listener = bind(&format!("tcp://127.0.0.1:0?key={key}")).await;
    assert_eq!(listener.local_address().keys(), [key]);
    check_echo(&listener).await;
}

#[tokio::test]
async fn mem_carries_bytes_both_ways() {
    let listener = bind("mem:echo").await;
    let (client, server) = check_echo(&listener).await;
    assert_eq!((client.peer.text.as_str(), server.peer.ip), ("mem:echo", None));
}

#[tokio::test(start_paused = true)]
async fn a_mem_pipe_holds_64_kib_and_no_more() {
    let listener = bind("mem:bounded").await;
    let mut client = connect(listener.local_address()).await.unwrap();
    let server = listener.accept().await.unwrap();
    client.io.write_all(&[0; 65_536]).await.unwrap();
    let more = timeout(Duration::from_secs(1), client.io.write_all(&[0])).await;
    assert!(more.is_err(), "the pipe took more than its bound");
    drop(server);
}

#[tokio::test]
async fn a_mem_name_is_bound_once_and_freed_by_drop() {
    let first = bind("mem:once").await;
    let error = Listener::bind(&at("mem:once"), &BindOptions::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
    assert_eq!(error.failure(), Failure::Local);
    check_echo(&first).await;
    drop(first);
    let error = connect(&at("mem:once")).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    bind("mem:once").await;
}

#[tokio::test(start_paused = true)]
async fn a_full_mem_queue_makes_the_next_wait() {
    let options = BindOptions { backlog: 2, ..BindOptions::default() };
    let listener = Listener::bind(&at("mem:full"), &options).await.unwrap();
    let _waiting = [connect(&at("mem:full")).await.unwrap(), connect(&at("mem:full")).await.unwrap()];
    assert!(timeout(Duration::from_secs(60), connect(&at("mem:full"))).await.is_err());
    tokio::try_join!(connect(listener.local_address()), listener.accept()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_a_mem_queue_that_ends_is_refused() {
    let options = BindOptions { backlog: 1, ..BindOptions::default() };
    let listener = Listener::bind(&at("mem:ends"), &options).await.unwrap();
    let mut taken = connect(&at("mem:ends")).await.unwrap();
    let address = at("mem:ends");
    let (error, ()) = tokio::join!(connect(&address), async { drop(listener) });
    assert!(matches!(error.unwrap_err(), TransportError::Refused { .. }));
    assert_eq!(taken.io.read(&mut [0]).await.unwrap(), 0, "nobody will ever answer, so the stream ends");
}

/// Real time, since the kernel keeps it: a queue of one holds up a client that a long queue does not.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_backlog_of_tcp_counts() {
    async fn connected_without_accept(backlog: u32, patience: Duration) -> usize {
        let options = BindOptions { backlog, ..BindOptions::default() };
        let listener = Listener::bind(&at("tcp://127.0.0.1:0"), &options).await.unwrap();
        let mut links = Vec::new();
        while links.len() < 8 {
            match timeout(patience, connect(listener.local_address())).await {
                Ok(link) => links.push(link.unwrap()),
                Err(_) => break,
            }
        }
        links.len()
    }
    assert_eq!(connected_without_accept(1024, Duration::from_secs(30)).await, 8);
    assert!(connected_without_accept(1, Duration::from_millis(400)).await < 8);
}

#[tokio::test]
async fn a_taken_port_is_in_use() {
    let first = bind("tcp://127.0.0.1:0").await;
    let error = Listener::bind(first.local_address(), &BindOptions::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::InUse { .. }), "{error}");
    assert_eq!(error.failure(), Failure::Local);
    assert!(error.to_string().contains(&first.local_address().to_string()), "{error}");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    let address = bind("tcp://127.0.0.1:0").await.local_address().clone();
    let key = np_types::PublicKey::from_bytes([3; 32]);
    let error = connect(&address.clone().with_key(key)).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    assert_eq!(error.failure(), Failure::Connect);
    assert_eq!(error.address(), address.to_string(), "keys are left out of messages");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_unresolved() {
    // RFC 6761: no resolver answers for .invalid.
    let address = at("tcp://no-such-host.invalid:9");
    let error = connect(&address).await.unwrap_err();
    assert!(matches!(error, TransportError::Unresolved { action: Action::Connect, .. }), "{error}");
    assert_eq!(error.failure(), Failure::Connect);
    let error = Listener::bind(&address, &BindOptions::default()).await.unwrap_err();
    assert!(matches!(error, TransportError::Unresolved { action: Action::Bind, .. }), "{error}");
    assert_eq!(error.failure(), Failure::Local);
}

#[tokio::test]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    // TEST-NET-1 (RFC 5737) belongs to nobody.
    let error = Listener::bind(&at("tcp://192.0.2.1:0"), &BindOptions::default()).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Local);
    assert!(error.to_string().contains("no such address"), "{error}");
}

#[tokio::test]
async fn port_0_cannot_be_connected_to() {
    let error = connect(&at("tcp://127.0.0.1:0")).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
    assert!(error.to_string().contains("the port that the server printed"), "{error}");
}

#[cfg(not(windows))]
#[tokio::test]
async fn what_this_build_lacks_says_so() {
    for text in ["pipe:x", "pipe:x?mode=local"] {
        let errors = [
            connect(&at(text)).await.unwrap_err(),
            Listener::bind(&at(text), &BindOptions::default()).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, TransportError::NotSupported { .. }), "{error}");
            assert!(error.to_string().contains("not supported in this build"), "{error}");
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.failure(), Failure::Usage);
        }
    }
}

#[tokio::test]
async fn the_mode_of_an_address_is_that_of_its_links() {
    for text in ["tcp://127.0.0.1:0?mode=danger-plaintext", "mem:plain?mode=danger-plaintext"] {
        let listener = bind(text).await;
        let (client, server) = check_echo(&listener).await;
        assert_eq!((client.mode, server.mode), (SecurityMode::DangerPlaintext, SecurityMode::DangerPlaintext));
        assert!(!client.identity.is_authenticated() && !server.identity.is_authenticated());
    }
}

#[cfg(not(unix))]
#[tokio::test]
async fn unix_sockets_are_not_supported_here() {
    let error = connect(&at("unix:/x")).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSupported { .. }), "{error}");
}

#[tokio::test]
async fn an_accept_that_is_given_up_loses_no_connection() {
    for text in ["tcp://127.0.0.1:0", "mem:given-up"] {
        let listener = bind(text).await;
        for _ in 0..10 {
            let accepted = timeout(Duration::ZERO, listener.accept()).await;
            assert!(accepted.is_err());
        }
        check_echo(&listener).await;
    }
}
