//! Tests of streams over an in-memory source and sink that count credit.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use np_types::{CallError, Codec, Status};

use super::{MessageSink, MessageSource, MessageStream};
use crate::testing::{context, now, poll_once};
use crate::{StreamHandler, decode, encode, stream};

#[derive(Default)]
struct State {
    incoming: VecDeque<Result<Bytes, CallError>>,
    peer_finished: bool,
    polls_after_end: usize,
    ended: bool,
    taken: usize,
    credit: usize,
    sent: Vec<Bytes>,
    finished: bool,
    waker: Option<Waker>,
}

/// Both ends of a stream, and the peer that feeds and reads them.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn with_credit(credit: usize) -> Self {
        let fake = Self::default();
        fake.state().credit = credit;
        fake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn feed(&self, message: &'static [u8]) {
        let mut state = self.state();
        state.incoming.push_back(Ok(Bytes::from_static(message)));
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn stream(&self) -> MessageStream {
        MessageStream::new(Box::new(self.clone()), Box::new(self.clone()))
    }
}

impl MessageSource for Fake {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CallError>>> {
        let mut state = self.state();
        if state.ended {
            state.polls_after_end += 1;
        }
        match state.incoming.pop_front() {
            Some(message) => {
                state.taken += 1;
                state.ended = message.is_err();
                Poll::Ready(Some(message))
            }
            None if state.peer_finished => {
                state.ended = true;
                Poll::Ready(None)
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl MessageSink for Fake {
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        match self.state() {
            state if state.finished => Poll::Ready(Err(CallError::failed("finished"))),
            state if state.credit > 0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn start_send(&mut self, message: Bytes) -> Result<(), CallError> {
        let mut state = self.state();
        state.credit -= 1;
        state.sent.push(message);
        Ok(())
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        if self.state().sent.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        self.state().finished = true;
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_handler_talks_until_the_peer_finishes() {
    let fake = Fake::with_credit(9);
    let handler = stream(|ctx, mut stream| async move {
        assert_eq!(ctx.method().as_str(), "test");
        while let Some(message) = stream.recv().await {
            stream.send(message?).await?;
        }
        stream.finish().await
    });
    let mut work = handler.open(context(Codec::Bytes), fake.stream());
    let mut cx = Context::from_waker(Waker::noop());

    assert!(work.as_mut().poll(&mut cx).is_pending());
    fake.feed(b"one");
    fake.feed(b"two");
    assert!(work.as_mut().poll(&mut cx).is_pending());
    assert_eq!(fake.state().sent, [&b"one"[..], b"two"]);
    assert!(!fake.state().finished);

    fake.state().peer_finished = true;
    assert_eq!(work.as_mut().poll(&mut cx), Poll::Ready(Ok(())));
    assert!(fake.state().finished);
}

#[test]
fn messages_are_taken_one_by_one_so_that_credit_follows_reading() {
    let fake = Fake::default();
    fake.feed(b"one");
    fake.feed(b"two");
    let mut stream = fake.stream();
    assert_eq!(now(stream.recv()), Some(Ok(Bytes::from_static(b"one"))));
    assert_eq!(fake.state().taken, 1);
}

#[test]
fn a_receive_that_is_given_up_loses_nothing() {
    let fake = Fake::default();
    let mut stream = fake.stream();
    assert!(poll_once(stream.recv()).is_pending());
    fake.feed(b"one");
    assert_eq!(now(stream.recv()), Some(Ok(Bytes::from_static(b"one"))));
}

#[test]
fn sending_waits_for_credit_and_sends_nothing_when_given_up() {
    let fake = Fake::with_credit(1);
    let mut stream = fake.stream();
    now(stream.send("one")).unwrap();
    assert!(poll_once(stream.send("lost")).is_pending());
    {
        let mut waiting = pin!(stream.send("two"));
        assert!(poll_once(waiting.as_mut()).is_pending());
        fake.state().credit = 1;
        assert_eq!(poll_once(waiting), Poll::Ready(Ok(())));
    }
    assert_eq!(fake.state().sent, [&b"one"[..], b"two"]);
}

#[test]
fn flushing_waits_for_the_sink() {
    let fake = Fake::with_credit(1);
    let mut stream = fake.stream();
    now(stream.flush()).unwrap();
    now(stream.send("one")).unwrap();
    assert!(poll_once(stream.flush()).is_pending());
}

#[test]
fn sending_after_the_end_is_the_sinks_error() {
    let fake = Fake::with_credit(1);
    let mut stream = fake.stream();
    now(stream.finish()).unwrap();
    assert!(now(stream.send("late")).is_err());
    assert!(fake.state().sent.is_empty());
}

#[test]
fn an_ended_source_is_left_alone() {
    for last in [None, Some(Err(CallError::failed("cut")))] {
        let fake = Fake::default();
        fake.state().incoming.extend(last.clone());
        fake.state().peer_finished = true;
        let mut stream = fake.stream();
        assert_eq!(now(stream.recv()), last);
        assert_eq!(now(stream.recv()), None);
        assert_eq!(fake.state().polls_after_end, 0);
    }
}

#[test]
fn typed_messages_go_both_ways() {
    let fake = Fake::with_credit(1);
    fake.feed(b"\x03ada");
    let mut stream = fake.stream();
    assert_eq!(now(stream.recv_as::<String>()), Some(Ok("ada".to_owned())));
    now(stream.send_as(&("ada", 36u8))).unwrap();
    let sent = fake.state().sent[0].clone();
    assert_eq!(sent, encode(&("ada", 36u8)).unwrap());
    assert_eq!(decode(Codec::Postcard, &sent), Ok(("ada".to_owned(), 36u8)));
}

#[test]
fn a_message_that_does_not_decode_fails_alone() {
    let fake = Fake::default();
    fake.feed(b"\x01\x00");
    fake.feed(b"");
    fake.feed(b"\x05");
    let mut stream = fake.stream();
    for _ in 0..2 {
        let error = now(stream.recv_as::<u32>()).unwrap().unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument);
    }
    assert_eq!(now(stream.recv_as::<u32>()), Some(Ok(5)));
}

#[test]
fn halves_work_alone_and_join_again() {
    let fake = Fake::with_credit(2);
    fake.feed(b"in");
    fake.feed(b"more");
    let (mut receiver, mut sender) = fake.stream().split();
    assert_eq!(now(receiver.recv()), Some(Ok(Bytes::from_static(b"in"))));
    now(sender.send("out")).unwrap();
    let mut stream = MessageStream::unsplit(receiver, sender);
    assert_eq!(now(stream.recv()), Some(Ok(Bytes::from_static(b"more"))));
    now(stream.send("again")).unwrap();
    assert_eq!(fake.state().sent, [&b"out"[..], b"again"]);
}
