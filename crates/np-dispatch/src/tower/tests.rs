//! Tests of the adapter with services made by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use np_types::{CallError, Codec, Status};
use tower_service::Service;

use super::{BoxError, HandlerService, ServiceCall, service, service_with};
use crate::testing::{context, now, poll_once};
use crate::{Answer, BoxFuture, Handler as _, Reply, bytes};

/// Ready once it is told so, and counts the calls that it gets.
#[derive(Clone)]
struct Gate {
    open: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    fails: bool,
}

impl Gate {
    fn new(open: bool, fails: bool) -> Self {
        Self { open: Arc::new(open.into()), calls: Arc::default(), fails }
    }
}

impl Service<ServiceCall> for Gate {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<Result<Reply, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.open.load(Ordering::Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, call: ServiceCall) -> Self::Future {
        assert!(self.open.load(Ordering::Relaxed), "it was not ready");
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = if self.fails { Err("broken".into()) } else { Ok(call.body.into()) };
        Box::pin(std::future::ready(answer))
    }
}

fn later(answer: Answer) -> BoxFuture<Result<Reply, CallError>> {
    match answer {
        Answer::Later(future) => future,
        Answer::Ready(_) => panic!("a service answers later"),
    }
}

#[test]
fn a_service_is_called_once_it_is_ready() {
    let gate = Gate::new(false, false);
    let handler = service(gate.clone());
    let mut waiting = later(handler.call(context(Codec::Bytes), Bytes::from("hello")));
    assert!(poll_once(&mut waiting).is_pending());
    assert_eq!(gate.calls.load(Ordering::Relaxed), 0);
    gate.open.store(true, Ordering::Relaxed);
    assert_eq!(now(waiting).unwrap().body, "hello");
    assert_eq!(gate.calls.load(Ordering::Relaxed), 1);
}

#[test]
fn errors_of_a_service_become_answers_as_one_says() {
    let call =
        |handler: &dyn crate::Handler| now(later(handler.call(context(Codec::Bytes), Bytes::new()))).unwrap_err();
    let failed = call(&service(Gate::new(true, true)));
    assert_eq!((failed.status, failed.text.as_str()), (Status::Failed, "broken"));
    let said = service_with(Gate::new(true, true), |_| CallError::answered(Status::LimitReached, "full"));
    assert_eq!(call(&said).status, Status::LimitReached);
    let own = bytes(|_, _| Err::<Reply, _>(CallError::answered(Status::PermissionDenied, "no")));
    assert_eq!(call(&service(HandlerService::new(own))).status, Status::PermissionDenied);
}

#[test]
fn a_handler_as_a_service_starts_when_it_is_polled_and_keeps_its_context() {
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let mut as_service = HandlerService::new(bytes(move |context, body| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Reply::new(context.codec(), body))
    }));
    let call = || ServiceCall { context: context(Codec::Json), body: Bytes::from("{}") };
    drop(as_service.call(call()));
    assert_eq!(ran.load(Ordering::Relaxed), 0);
    assert_eq!(now(as_service.clone().call(call())).unwrap(), Reply::new(Codec::Json, Bytes::from("{}")));
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}
