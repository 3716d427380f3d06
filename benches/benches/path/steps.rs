//! Single steps of a call: its bytes, its seal, its look-up.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use np_benches::crypto::{self, Sides};
use np_dispatch::{Answer, CallContext, PeerInfo, Router, Target};
use np_facade::raw::wire::{Encoding, Frame, Open, OpenKind, Response, Side, StreamId, decode_frame, encode_frame};
use np_noise::{Crypto, Pattern, Provider};
use np_types::{Codec, Deadline, Metadata, MethodName, PeerIdentity};

const BODY: [u8; 64] = [7; 64];

fn request() -> Frame<'static> {
    Frame::Open(Open { method: 1, body: &BODY, ..Open::new(OpenKind::Request) })
}

fn response() -> Frame<'static> {
    Frame::Response(Response {
        id: StreamId::new(Side::Initiator, 1_000),
        codec: Codec::Bytes,
        encoding: Encoding::Plain,
        total: None,
        metadata: Metadata::default(),
        body: &BODY,
    })
}

pub(crate) fn encode_request(frames: usize) {
    encode(frames, &request());
}

pub(crate) fn decode_request(frames: usize) {
    decode(frames, &request());
}

pub(crate) fn encode_response(frames: usize) {
    encode(frames, &response());
}

pub(crate) fn decode_response(frames: usize) {
    decode(frames, &response());
}

fn encode(frames: usize, frame: &Frame<'_>) {
    let mut out = Vec::with_capacity(128);
    for _ in 0..frames {
        out.clear();
        encode_frame(&mut out, black_box(frame));
        black_box(&out);
    }
}

fn decode(frames: usize, frame: &Frame<'_>) {
    let mut bytes = Vec::new();
    encode_frame(&mut bytes, frame);
    for _ in 0..frames {
        black_box(decode_frame(black_box(&bytes)).unwrap());
    }
}

pub(crate) fn seal(crypto: Crypto, records: usize, size: usize) {
    let (mut send, _) = crypto::pair(crypto, [1; 32]);
    let mut record = vec![7; size];
    for _ in 0..records {
        black_box(send.seal_in_place(black_box(&mut record)).unwrap());
    }
}

pub(crate) fn seal_open(crypto: Crypto, records: usize, size: usize) {
    let (mut send, mut receive) = crypto::pair(crypto, [1; 32]);
    let mut record = vec![7; size];
    for _ in 0..records {
        record.truncate(size);
        let tag = send.seal_in_place(&mut record).unwrap();
        record.extend_from_slice(&tag);
        black_box(receive.open_in_place(&mut record).unwrap());
    }
}

pub(crate) fn handshake(provider: &'static dyn Provider, pattern: Pattern, handshakes: usize) {
    let sides = Sides::new(Crypto { provider, ..Crypto::default() });
    for _ in 0..handshakes {
        black_box(sides.shake_hands(pattern).unwrap());
    }
}

/// A method is looked up and its handler answers at once; what the session and the driver add is not here.
pub(crate) fn dispatch(calls: usize) {
    let router = Router::with_builtins(np_dispatch::Health::default());
    let names: Vec<MethodName> = (0..30).map(|at| format!("bench.method-{at}").parse().unwrap()).collect();
    for name in &names {
        router.on(name.as_str(), |_ctx, body: Bytes| Ok(body)).unwrap();
    }
    let (peer, body) = (PeerInfo::new(PeerIdentity::Anonymous, "mem:bench", [7; 32]), Bytes::from_static(&BODY));
    let peer = Arc::new(peer);
    for name in names.iter().cycle().take(calls) {
        let registered = router.find(black_box(name)).unwrap();
        let context = CallContext::new(name.clone(), Arc::clone(&peer), Codec::Bytes, Metadata::new(), Deadline::NONE);
        let answer = match &registered.target {
            Target::Unary(handler) => handler.call(context, body.clone()),
            Target::Stream(_) => continue,
        };
        let Answer::Ready(Ok(reply)) = answer else { continue };
        assert_eq!(black_box(reply).body, body);
    }
}
