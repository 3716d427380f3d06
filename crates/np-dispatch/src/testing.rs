//! What the tests of this crate share: contexts, a fake way back, and futures polled by hand.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use np_types::{CallError, Codec, Deadline, Metadata, MethodName, PeerIdentity};

use crate::{Answer, BoxFuture, CallContext, Caller, PeerInfo, Registered, Reply, Target};

/// What a future gives at its first poll.
pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a future that must not wait.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match poll_once(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}

/// The result of an answer that must be there at once.
pub(crate) fn at_once(answer: Answer) -> Result<Reply, CallError> {
    match answer {
        Answer::Ready(result) => result,
        Answer::Later(_) => panic!("a plain handler answers at once"),
    }
}

pub(crate) fn context(codec: Codec) -> CallContext {
    let peer = PeerInfo::new(PeerIdentity::Anonymous, "mem:test", [7; 32]);
    with_peer(peer, codec, Deadline::NONE)
}

pub(crate) fn with_peer(peer: PeerInfo, codec: Codec, deadline: Deadline) -> CallContext {
    let method = MethodName::new("test").unwrap();
    CallContext::new(method, Arc::new(peer), codec, Metadata::default(), deadline)
}

pub(crate) fn call(registered: &Registered, codec: Codec, body: &[u8]) -> Result<Reply, CallError> {
    match &registered.target {
        Target::Unary(handler) => at_once(handler.call(context(codec), Bytes::copy_from_slice(body))),
        Target::Stream(_) => panic!("{} is a stream", registered.name),
    }
}

/// One call that [`FakeCaller`] was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) codec: Codec,
    pub(crate) body: Bytes,
    pub(crate) metadata: Metadata,
    pub(crate) deadline: Deadline,
}

/// Answers every call with one reply and keeps what was asked.
#[derive(Clone)]
pub(crate) struct FakeCaller {
    pub(crate) reply: Reply,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
}

impl FakeCaller {
    pub(crate) fn new(reply: Reply) -> Self {
        let asked = Arc::default();
        Self { reply, asked }
    }

    pub(crate) fn peer(&self) -> PeerInfo {
        PeerInfo::new(PeerIdentity::Anonymous, "mem:test", [7; 32]).with_caller(self.clone())
    }

    pub(crate) fn last(&self) -> Option<Asked> {
        self.asked.lock().unwrap().last().cloned()
    }
}

impl Caller for FakeCaller {
    fn call(
        &self,
        method: MethodName,
        codec: Codec,
        body: Bytes,
        metadata: Metadata,
        deadline: Deadline,
    ) -> BoxFuture<Result<Reply, CallError>> {
        let method = method.to_string();
        self.asked.lock().unwrap().push(Asked { method, codec, body, metadata, deadline });
        Box::pin(std::future::ready(Ok(self.reply.clone())))
    }
}
