//! Bodies through one connection's rules, without a connection.

use std::sync::Arc;

use bytes::Bytes;
use np_compress::{Encoder, Settings};
use np_dispatch::Reply;
use np_session::Encoding;
use np_types::{Limits, Status};

use super::{Bodies, Compression, Contexts};

const BOTH: u32 = 0b110;

fn bodies(settings: Settings, limits: &Limits, peer_reads: u32) -> Bodies {
    Bodies::new(Contexts::new(Compression { settings, by_default: false }).unwrap(), limits, peer_reads)
}

fn text(size: usize) -> Bytes {
    b"one line, and another line; "
        .iter()
        .copied()
        .cycle()
        .enumerate()
        .map(|(at, byte)| byte ^ (at / 512) as u8)
        .take(size)
        .collect()
}

fn packed(bodies: &Bodies, asked: Option<bool>, body: Bytes) -> (Encoding, Bytes) {
    let sealed = bodies.pack_reply(&"m".parse().unwrap(), asked, Reply::from(body));
    (sealed.encoding, sealed.reply.body)
}

#[test]
fn what_is_packed_is_unpacked_the_same_by_both_codecs() {
    for encoder in [Encoder::Lz4, Encoder::Zstd { level: 3 }] {
        let bodies = bodies(Settings { encoder, ..Settings::default() }, &Limits::default(), BOTH);
        let (encoding, body) = packed(&bodies, Some(true), text(100_000));
        assert_eq!(encoding.raw_size(), Some(100_000));
        assert!(body.len() < 50_000, "{}", body.len());
        assert_eq!(bodies.unpack(encoding, body).unwrap().body, text(100_000));
    }
}

#[test]
fn nothing_is_compressed_that_nobody_asked_for_or_the_peer_does_not_read() {
    let asking = bodies(Settings::default(), &Limits::default(), BOTH);
    assert_eq!(packed(&asking, None, text(10_000)), (Encoding::Plain, text(10_000)));
    assert_eq!(packed(&asking, Some(false), text(10_000)).0, Encoding::Plain);
    assert_eq!(packed(&asking, Some(true), text(511)).0, Encoding::Plain, "below the threshold");
    let contexts = Contexts::new(Compression { by_default: true, ..Compression::default() }).unwrap();
    let eager = Bodies::new(contexts, &Limits::default(), BOTH);
    assert_ne!(packed(&eager, None, text(10_000)).0, Encoding::Plain);
    assert_eq!(packed(&eager, Some(false), text(10_000)).0, Encoding::Plain);
    for reads in [0, 0b100] {
        let deaf = bodies(Settings::default(), &Limits::default(), reads);
        assert_eq!(packed(&deaf, Some(true), text(10_000)).0, Encoding::Plain, "the peer reads no LZ4");
    }
}

#[test]
fn limits_are_checked_before_anything_is_reserved() {
    let small = Limits { max_message: 5_000, call_budget: 20_000, ..Limits::default() };
    let bodies = bodies(Settings::default(), &small, BOTH);
    let refused = |encoding, size| bodies.unpack(encoding, Bytes::from(vec![0; size])).err().unwrap();
    let long = refused(Encoding::Lz4 { raw: 5_001 }, 1_000);
    assert_eq!(long.status, Status::LimitReached);
    assert!(long.text.contains("max_message"), "{long}");
    let thin = refused(Encoding::Zstd { raw: 5_000 }, 19);
    assert!(thin.status == Status::LimitReached && thin.text.contains("max_ratio"), "{thin}");
    assert_eq!(refused(Encoding::Lz4 { raw: 4_000 }, 100).status, Status::InvalidArgument);
    assert_eq!(refused(Encoding::Other { number: 3, raw: 4_000 }, 100).status, Status::UnsupportedCodec);
    let closed = Limits { accept_compressed: false, ..small };
    let closed = Bodies::new(Contexts::new(Compression::default()).unwrap(), &closed, BOTH);
    let error = closed.unpack(Encoding::Lz4 { raw: 4_000 }, Bytes::from(vec![0; 100])).err().unwrap();
    assert_eq!(error.status, Status::UnsupportedCodec);
}

#[test]
fn the_bytes_that_handlers_hold_are_bounded_and_come_back() {
    let limits = Limits { max_message: 10_000, call_budget: 25_000, ..Limits::default() };
    let bodies = bodies(Settings::default(), &limits, BOTH);
    let (encoding, body) = packed(&bodies, Some(true), text(10_000));
    let held: Vec<_> = (0..2).map(|_| bodies.unpack(encoding, body.clone()).unwrap()).collect();
    let error = bodies.unpack(encoding, body.clone()).err().unwrap();
    assert!(error.status == Status::LimitReached && error.text.contains("decompressed bytes"), "{error}");
    drop(held);
    bodies.unpack(encoding, body).unwrap();
    // What could not be read has given its place back as well.
    for _ in 0..10 {
        assert!(bodies.unpack(Encoding::Lz4 { raw: 9_000 }, Bytes::from(vec![0xff; 200])).is_err());
    }
    assert_eq!(bodies.held(), 0);
}

#[test]
fn a_method_whose_bodies_do_not_shrink_is_left_alone_for_a_while() {
    let bodies = bodies(Settings::default(), &Limits::default(), BOTH);
    let mut state = 1u64;
    let noise: Bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(4_096)
    .collect();
    for _ in 0..3 {
        assert_eq!(packed(&bodies, Some(true), noise.clone()).0, Encoding::Plain);
    }
    assert_eq!(packed(&bodies, Some(true), text(4_096)).0, Encoding::Plain, "its method is not tried now");
    let other = bodies.pack_reply(&"another".parse().unwrap(), Some(true), Reply::from(text(4_096)));
    assert_ne!(other.encoding, Encoding::Plain, "another method is");
}

#[test]
fn contexts_are_kept_for_the_next_message_and_not_more_than_a_few() {
    let contexts = Contexts::new(Compression::default()).unwrap();
    let all: Vec<_> = (0..20)
        .map(|_| Bodies::new(Arc::clone(&contexts), &Limits::default(), BOTH))
        .inspect(|bodies| drop(packed(bodies, Some(true), text(1_000))))
        .collect();
    assert_eq!((all.len(), super::lock(&contexts.compressors).len()), (20, 1), "one after another share one");
}
