//! Bodies that would grow without end, sent to a server over a connection, cost what its caps say and no more.
//!
//! All that this process asks for is counted, also what it has given back since, so the peak is never above the sum. What
//! a plain body of the same size costs on its way is taken off. A body that declares more than `max_message` never gets so
//! far: the session refuses it by its head. It is one test, so that nothing else is counted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod common;

use std::alloc::System;

use bytes::Bytes;
use common::by_hand::ByHand;
use np_compress::{Adaptive, Algorithm, Caps, Compressor, Decompressor, Encoder, Packed, Settings};
use np_dispatch::{Health, Router};
use np_driver::{Acceptor, AcceptorConfig};
use np_session::{Encoding, Event, OpenCall, OpenKind};
use np_transport::{BindOptions, Listener};
use np_trust::Policy;
use np_types::{CallError, Limits, Status};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CAP: u32 = 1 << 20;
const ALLOWED: usize = CAP as usize + (64 << 10);

/// What a body costs in all, and what the server says of it.
async fn send(liar: &mut ByHand, encoding: Encoding, body: &Bytes) -> (usize, CallError) {
    let region = Region::new(COUNTED);
    let call = OpenCall { encoding, body: body.clone(), ..OpenCall::new(OpenKind::Request, "refuse".parse().unwrap()) };
    liar.session.open(call).unwrap();
    let error = loop {
        match liar.event().await {
            Event::Failed { error, .. } => break error,
            Event::Answered { answer, .. } => panic!("{answer:?}"),
            _ => {}
        }
    };
    let change = region.change();
    (change.bytes_allocated + usize::try_from(change.bytes_reallocated).unwrap_or(0), error)
}

fn zeros(encoder: Encoder, size: usize) -> Bytes {
    let settings = Settings { encoder, max_ratio: 32_768, adaptive: false, ..Settings::default() };
    match Compressor::new(settings).unwrap().compress(&vec![0; size], &mut Adaptive::new()) {
        Packed::Compressed { bytes, .. } => bytes.into(),
        Packed::Plain(why) => panic!("{why:?}"),
    }
}

#[tokio::test]
async fn bombs_of_both_codecs_cost_the_cap_and_a_little() {
    let router = Router::with_builtins(Health::default());
    router.on("refuse", |_, _| Err::<(), _>(CallError::failed("no"))).unwrap();
    let mut config = AcceptorConfig::without_identity(Policy::anonymous(), router);
    config.limits = Limits { max_message: CAP, ..Limits::default() };
    let mut acceptor = Acceptor::new(config).unwrap();
    let at = "mem:bombs?mode=danger-plaintext".parse().unwrap();
    acceptor.listen(Listener::bind(&at, &BindOptions::default()).await.unwrap()).unwrap();
    let mut liar = ByHand::connect(&at).await;
    let (lz4, zstd) = (zeros(Encoder::Lz4, 16 << 20), zeros(Encoder::Zstd { level: 3 }, 16 << 20));
    // The bombs are honest but for what is declared.
    let wide = Caps { max_message: 1 << 30, max_ratio: 32_768 };
    for (algorithm, body) in [(Algorithm::Lz4, &lz4), (Algorithm::Zstd, &zstd)] {
        assert_eq!(Decompressor::new().decompress(algorithm, 16 << 20, body, wide).unwrap().len(), 16 << 20);
    }
    let small = u32::try_from(zstd.len()).unwrap() * 256;
    for (what, encoding, body, limit) in [
        ("zstd, thin", Encoding::Zstd { raw: CAP }, &zstd, Some("max_ratio")),
        ("lz4 that says 1 MiB", Encoding::Lz4 { raw: CAP }, &lz4, None),
        ("zstd that says less", Encoding::Zstd { raw: small }, &zstd, None),
    ] {
        // The first calls of a kind make room that stays, twice as much each time; what counts is the next.
        for _ in 0..3 {
            send(&mut liar, Encoding::Plain, body).await;
        }
        let (plain, _) = send(&mut liar, Encoding::Plain, body).await;
        let (cost, error) = send(&mut liar, encoding, body).await;
        println!("{what}: {cost} bytes where a plain body of {} takes {plain}: {error}", body.len());
        let expected = if limit.is_some() { Status::LimitReached } else { Status::InvalidArgument };
        assert_eq!(error.status, expected, "{what}: {error}");
        assert!(error.text.contains(limit.unwrap_or("declares")), "{what}: {error}");
        let most = if limit.is_some() { 64 << 10 } else { ALLOWED };
        assert!(cost.saturating_sub(plain) <= most, "{what}: {cost} - {plain}");
    }
    // The connection has seen worse.
    assert_eq!(send(&mut liar, Encoding::Plain, &Bytes::from_static(b"still here")).await.1.text, "no");
}
