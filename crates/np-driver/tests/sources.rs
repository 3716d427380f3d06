//! What one source and one peer may take: connections, handshakes and calls a second; others are served meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::time::Duration;

use common::{House, client, config, echo, now, request, serve_with, told, within, xx_flight};
use np_driver::{ConnectorConfig, connect};
use np_types::{CloseCode, ConnectionError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn from(house: &House, source: &str) -> ConnectorConfig {
    let mut config = config(house);
    config.link.source = Some(source.parse().unwrap());
    config
}

async fn refused_by(house: &House, source: &str) -> (CloseCode, String) {
    let error = connect(&house.address, from(house, source)).await.unwrap_err();
    match common::handshake_error(error) {
        ConnectionError::ClosedByPeer { code, text, in_clear: true } => (code, text),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn one_source_has_so_many_connections_and_others_are_served() {
    let house = serve_with("tcp://127.0.0.1:0", echo(), |config| config.max_source_connections = Some(2)).await;
    let held = [connect(&house.address, from(&house, "127.0.0.1")), connect(&house.address, from(&house, "127.0.0.1"))];
    let [first, second] = futures_util::future::join_all(held).await.try_into().unwrap();
    let (first, _second) = (first.unwrap(), second.unwrap());
    let (code, text) = refused_by(&house, "127.0.0.1").await;
    assert_eq!(code, CloseCode::ConnectionLimit);
    assert!(text.contains("max_source_connections"), "{text}");
    connect(&house.address, from(&house, "127.0.0.2")).await.unwrap().call(request("np.echo")).await.unwrap();
    first.close(CloseCode::Normal, "").await;
    within(async {
        while connect(&house.address, from(&house, "127.0.0.1")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_source_has_so_many_handshakes_a_second_and_others_are_served() {
    let limit = |config: &mut np_driver::AcceptorConfig| config.max_source_handshakes_per_second = Some(2);
    let house = serve_with("tcp://127.0.0.1:0", echo(), limit).await;
    let mut made = 0;
    let (code, text) = loop {
        match connect(&house.address, from(&house, "127.0.0.1")).await {
            Ok(_) => made += 1,
            Err(error) => match common::handshake_error(error) {
                ConnectionError::ClosedByPeer { code, text, in_clear: true } => break (code, text),
                other => panic!("{other}"),
            },
        }
        assert!(made < 200, "nothing holds it");
    };
    assert!(made >= 2, "{made}");
    assert_eq!(code, CloseCode::HandshakeLimit);
    assert!(text.contains("max_source_handshakes_per_second"), "{text}");
    connect(&house.address, from(&house, "127.0.0.2")).await.unwrap();
}

/// A proxy is no source: its clients are, as its header tells.
#[tokio::test]
async fn behind_a_proxy_the_source_is_the_client() {
    let options = np_transport::BindOptions { proxy_protocol: true, ..np_transport::BindOptions::default() };
    let change = |config: &mut np_driver::AcceptorConfig| config.max_source_connections = Some(1);
    let house = common::serve_at("tcp://127.0.0.1:0", &options, echo(), change).await;
    let mut held = Vec::new();
    for (client, welcome) in [(1u8, true), (1, false), (2, true)] {
        let mut link = np_transport::connect(&house.address).await.unwrap();
        let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        let header = [&head[..], &[10, 0, 0, client, 127, 0, 0, 1, 0, 9, 0, 9]].concat();
        link.io.write_all(&header).await.unwrap();
        if welcome {
            link.io.write_all(&xx_flight(now())).await.unwrap();
            let mut answer = [0; 1];
            link.io.read_exact(&mut answer).await.unwrap();
            assert_ne!(answer[0], 3, "no refusal");
            held.push(link);
        } else {
            let error = told(&mut link).await;
            assert!(error.to_string().contains("max_source_connections"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_peer_has_so_many_calls_a_second_over_all_of_its_connections() {
    let house = serve_with("mem:call-rate", echo(), |config| config.max_peer_calls_per_second = Some(10)).await;
    let same = config(&house);
    let clients = [connect(&house.address, same.clone()).await.unwrap(), connect(&house.address, same).await.unwrap()];
    let other = client(&house).await;
    for _ in 0..3 {
        let mut refused = 0;
        for at in 0..15 {
            if let Err(error) = clients[at % 2].call(request("np.echo")).await {
                assert!(error.text.contains("max_peer_calls_per_second"), "{error}");
                assert_eq!(error.outcome, np_types::Outcome::NotProcessed);
                refused += 1;
            }
        }
        assert_eq!(refused, 5);
        other.call(request("np.echo")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_comes_again_for_each_call_has_no_more_calls_a_second() {
    let house = serve_with("mem:call-rate-again", echo(), |config| config.max_peer_calls_per_second = Some(10)).await;
    let same = config(&house);
    for _ in 0..3 {
        let mut refused = 0;
        for _ in 0..15 {
            let client = connect(&house.address, same.clone()).await.unwrap();
            refused += usize::from(client.call(request("np.echo")).await.is_err());
            client.close(CloseCode::Normal, "").await;
            common::until(|| house.acceptor.connections().is_empty()).await;
            // Others come as well, so that who has left could be forgotten.
            let other = common::client(&house).await;
            other.call(request("np.echo")).await.unwrap();
        }
        assert_eq!(refused, 5);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn limits_of_zero_are_refused_by_name() {
    type Change = fn(&mut np_driver::AcceptorConfig);
    let changes: [(&str, Change); 4] = [
        ("max_memory", |config| config.max_memory = Some(0)),
        ("max_source_connections", |config| config.max_source_connections = Some(0)),
        ("max_source_handshakes_per_second", |config| config.max_source_handshakes_per_second = Some(0)),
        ("max_peer_calls_per_second", |config| config.max_peer_calls_per_second = Some(0)),
    ];
    for (name, change) in changes {
        let mut config = common::defaults();
        change(&mut config);
        let error = np_driver::Acceptor::new(config).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

/// What became of the connections of a flood.
#[cfg(any(target_os = "linux", windows))]
#[derive(Debug, Default)]
struct Flood {
    /// Told that their source has had its share.
    refused: usize,
    /// Answered, and left there.
    begun: usize,
}

/// Sends recorded first flights from one source, one connection each.
#[cfg(any(target_os = "linux", windows))]
async fn flood(address: np_transport::Address, source: String, flights: Vec<Vec<u8>>) -> Flood {
    let options = np_transport::ConnectOptions {
        source: Some(source.parse().unwrap()),
        ..np_transport::ConnectOptions::default()
    };
    let mut flood = Flood::default();
    for flight in flights {
        let mut link = np_transport::connect_with(&address, &options).await.unwrap();
        // A server that has refused it by now may have gone.
        let _ = link.io.write_all(&flight).await;
        let mut answer = Vec::new();
        let read = link.io.read_buf(&mut answer).await;
        match answer.first() {
            Some(3) => flood.refused += 1,
            Some(_) => flood.begun += 1,
            None => assert!(read.is_ok_and(|count| count == 0), "it is told, or the connection ends"),
        }
    }
    flood
}

/// Addresses of the loopback beside 127.0.0.1 are there without being set up on Linux and on Windows.
#[cfg(any(target_os = "linux", windows))]
#[tokio::test(flavor = "multi_thread")]
async fn known_clients_are_served_under_a_flood_of_recorded_handshakes_from_other_sources() {
    const SOURCES: usize = 8;
    const EACH: usize = 60;
    let limit = |config: &mut np_driver::AcceptorConfig| {
        config.max_source_handshakes_per_second = Some(2);
        config.max_handshakes = 32;
    };
    let house = serve_with("tcp://127.0.0.1:0", echo(), limit).await;
    let known = connect(&house.address, from(&house, "127.0.0.1")).await.unwrap();
    // Each is made before the first one is sent, and is a flight that the server would answer.
    let recorded: Vec<Vec<Vec<u8>>> = (0..SOURCES).map(|_| (0..EACH).map(|_| xx_flight(now())).collect()).collect();
    let address = house.address.without_keys();
    let floods: Vec<_> = recorded
        .into_iter()
        .enumerate()
        .map(|(at, flights)| tokio::spawn(flood(address.clone(), format!("127.0.0.{}", at + 2), flights)))
        .collect();
    let mut calls = 0;
    let mut newcomers = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        within(known.call(request("np.echo"))).await.expect("the known client is served");
        calls += 1;
        if newcomers == 0 {
            let newcomer = within(connect(&house.address, from(&house, "127.0.0.1"))).await;
            within(newcomer.expect("a known client comes in").call(request("np.echo"))).await.unwrap();
            newcomers += 1;
        }
    }
    let ended = futures_util::future::join_all(floods).await;
    let (refused, begun) = ended
        .into_iter()
        .map(Result::unwrap)
        .fold((0, 0), |(refused, begun), flood| (refused + flood.refused, begun + flood.begun));
    println!("{refused} refused and {begun} answered of {}, {calls} calls of the known client", SOURCES * EACH);
    assert!(calls > 0 && newcomers == 1);
    assert!(begun >= SOURCES, "the first of each source is as good as any: {begun}");
    assert!(refused > SOURCES * EACH / 2, "{refused}");
    let hits = house.acceptor.roster().status().refused;
    let by_source = hits.iter().find(|(limit, _)| *limit == "max_source_handshakes_per_second").unwrap();
    assert!(by_source.1 >= refused as u64, "{hits:?}");
}
