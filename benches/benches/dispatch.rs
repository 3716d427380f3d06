//! From a name to an answer: the look-up in a table of methods, and a handler that answers at once or later.
#![allow(missing_docs, reason = "the macros of criterion make functions without a page")]
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use np_dispatch::{CallContext, Health, PeerInfo, Reply, Router, Target};
use np_types::{CallError, Codec, Deadline, Metadata, MethodName, PeerIdentity};

const BODY: Bytes = Bytes::from_static(&[7; 64]);
/// Methods in the table.
const SIZES: [usize; 3] = [1, 30, 1_000];

fn table(methods: usize) -> (Router, MethodName) {
    let router = Router::with_builtins(Health::default());
    for at in 0..methods {
        router.on(&format!("bench.method-{at}"), |_ctx, body: Bytes| Ok(body)).unwrap();
    }
    (router, format!("bench.method-{}", methods / 2).parse().unwrap())
}

fn look_ups(c: &mut Criterion) {
    for methods in SIZES {
        let (router, name) = table(methods);
        c.bench_function(&format!("find one of {methods} methods"), |b| {
            b.iter(|| black_box(router.find(black_box(&name)).unwrap()));
        });
    }
}

fn handlers(c: &mut Criterion) {
    let (router, name) = table(30);
    router.on_async("bench.later", |_ctx, body: Bytes| async move { Ok(body) }).unwrap();
    let peer = Arc::new(PeerInfo::new(PeerIdentity::Anonymous, "mem:bench", [7; 32]));
    for (what, name) in [("at once", name), ("in a future", "bench.later".parse().unwrap())] {
        c.bench_function(&format!("find a method and answer 64 bytes {what}"), |b| {
            b.iter(|| assert_eq!(call(&router, black_box(&name), &peer).unwrap().body, BODY));
        });
    }
}

fn call(router: &Router, name: &MethodName, peer: &Arc<PeerInfo>) -> Result<Reply, CallError> {
    let registered = router.find(name).unwrap();
    let Target::Unary(handler) = &registered.target else {
        return Ok(Reply::default());
    };
    let context = CallContext::new(name.clone(), Arc::clone(peer), Codec::Bytes, Metadata::new(), Deadline::NONE);
    let answer = pin!(handler.call(context, BODY).wait());
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => Ok(Reply::default()),
    }
}

criterion_group!(benches, look_ups, handlers);
criterion_main!(benches);
