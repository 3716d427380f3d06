//! What a connection still holds when it is given up: nothing of it may arrive after all.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

mod common;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use common::by_hand::ByHand;
use common::{echo, request, until};
use np_driver::{Acceptor, AcceptorConfig};
use np_session::Event;
use np_transport::{Address, BindOptions, Listener};
use np_trust::Policy;
use np_types::{CallError, Outcome};
use tokio::io::AsyncReadExt as _;

const CALLS: usize = 12;
/// More of them than the pipe holds, and none larger than a record and the windows.
const BODY: usize = 12_000;

/// A peer that did not read for too long, and then does: it must not find a call that its caller may have sent elsewhere
/// since.
async fn what_was_not_processed_does_not_arrive(name: &str, change: impl FnOnce(&mut AcceptorConfig)) {
    let mut config = AcceptorConfig::without_identity(Policy::anonymous(), echo());
    change(&mut config);
    let mut acceptor = Acceptor::new(config).unwrap();
    let at: Address = format!("mem:{name}?mode=danger-plaintext").parse().unwrap();
    acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
    let mut hand = ByHand::connect(&at).await;
    until(|| acceptor.connections().len() == 1).await;
    let connection = acceptor.connections().remove(0);
    let calls: Vec<_> = (0..CALLS)
        .map(|number| {
            let (connection, body) = (connection.clone(), Bytes::from(vec![number as u8; BODY]));
            tokio::spawn(async move { connection.call(request("work").body(body)).await })
        })
        .collect();
    let mut safe = Vec::new();
    for (number, call) in calls.into_iter().enumerate() {
        let error: CallError = call.await.unwrap().unwrap_err();
        if error.outcome == Outcome::NotProcessed {
            safe.push(number);
        }
    }
    assert!(!safe.is_empty() && safe.len() < CALLS, "some had left, and some had not: {safe:?}");
    let mut input = BytesMut::new();
    while hand.link.io.read_buf(&mut input).await.is_ok_and(|count| count > 0) {
        hand.session.handle_bytes(hand.clock.now(), &mut input);
    }
    let mut arrived = Vec::new();
    while let Some(event) = hand.session.poll_event() {
        if let Event::Opened { body, .. } = event {
            arrived.push(usize::from(*body.first().unwrap()));
        }
    }
    assert!(!arrived.is_empty());
    arrived.retain(|number| safe.contains(number));
    assert!(arrived.is_empty(), "told to be not processed, and delivered: {arrived:?} of {safe:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_cut_for_not_reading_gets_nothing_more() {
    what_was_not_processed_does_not_arrive("unsaid-progress", |config| {
        config.progress_timeout = Duration::from_secs(10);
        config.lifetime.heartbeat_interval = None;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_taken_for_dead_gets_nothing_more() {
    what_was_not_processed_does_not_arrive("unsaid-heartbeat", |config| {
        config.lifetime.heartbeat_interval = Some(Duration::from_secs(3));
    })
    .await;
}
