//! Tests of streams over an in-memory source and sink that count credit.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::{FusedStream as _, Stream};
use futures_sink::Sink;
use np_types::{CallError, Codec, Metadata, Status};

use super::{MessageSink, MessageSource, MessageStream, TypedStream};
use crate::testing::{context, now, poll_once};
use crate::{StreamHandler, decode, encode, stream};

#[derive(Default)]
struct State {
    incoming: VecDeque<Result<Bytes, CallError>>,
    peer_finished: bool,
    polls_after_end: usize,
    ended: bool,
    taken: usize,
    trailers: Option<Metadata>,
    cancelled: Option<CallError>,
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

    fn take_trailers(&mut self) -> Option<Metadata> {
        self.state().trailers.take()
    }

    fn cancel(&mut self, reason: CallError) {
        self.state().cancelled = Some(reason);
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

    fn set_trailers(&mut self, trailers: Metadata) -> Result<(), CallError> {
        self.state().trailers = Some(trailers);
        Ok(())
    }

    fn cancel(&mut self, reason: CallError) {
        self.state().cancelled = Some(reason);
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

fn next<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn put<T, S: Sink<T, Error = CallError> + Unpin>(sink: &mut S, item: T) -> Poll<Result<(), CallError>> {
    let ready = Pin::new(&mut *sink).poll_ready(&mut Context::from_waker(Waker::noop()));
    ready.map(|ready| ready.and_then(|()| Pin::new(sink).start_send(item)))
}

fn close<T, S: Sink<T, Error = CallError> + Unpin>(sink: &mut S) -> Poll<Result<(), CallError>> {
    Pin::new(sink).poll_close(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_stream_is_a_stream_and_a_sink_of_bytes() {
    let fake = Fake::with_credit(1);
    fake.feed(b"in");
    let mut stream = fake.stream();
    assert_eq!(next(&mut stream), Poll::Ready(Some(Ok(Bytes::from_static(b"in")))));
    assert!(next(&mut stream).is_pending());
    assert_eq!(put(&mut stream, Bytes::from_static(b"out")), Poll::Ready(Ok(())));
    assert!(put(&mut stream, Bytes::from_static(b"no credit")).is_pending());
    assert_eq!(fake.state().sent, [&b"out"[..]]);
    assert!(Pin::new(&mut stream).poll_flush(&mut Context::from_waker(Waker::noop())).is_pending());
    fake.state().peer_finished = true;
    assert!(!stream.is_terminated());
    assert_eq!(next(&mut stream), Poll::Ready(None));
    assert!(stream.is_terminated());
    assert_eq!(close(&mut stream), Poll::Ready(Ok(())));
    assert!(fake.state().finished);
}

#[test]
fn halves_are_a_stream_and_a_sink_too() {
    let fake = Fake::with_credit(1);
    fake.feed(b"in");
    let (mut receiver, mut sender) = fake.stream().split();
    assert_eq!(next(&mut receiver), Poll::Ready(Some(Ok(Bytes::from_static(b"in")))));
    assert_eq!(put(&mut sender, Bytes::from_static(b"out")), Poll::Ready(Ok(())));
    assert_eq!(close(&mut sender), Poll::Ready(Ok(())));
    assert!(!receiver.is_terminated() && fake.state().finished);
}

#[test]
fn a_typed_stream_is_a_stream_and_a_sink_of_values() {
    let fake = Fake::with_credit(3);
    fake.feed(b"\x05");
    fake.feed(b"\x05\x05");
    fake.feed(b"\x06");
    let mut stream: TypedStream<u32, (u8, &str)> = fake.stream().typed();
    assert_eq!(next(&mut stream), Poll::Ready(Some(Ok(5))));
    assert!(matches!(next(&mut stream), Poll::Ready(Some(Err(error))) if error.status == Status::InvalidArgument));
    assert_eq!(put(&mut stream, (1, "a")), Poll::Ready(Ok(())));
    now(stream.send(&(2, "b"))).unwrap();
    let (mut receiver, mut sender) = stream.split();
    assert_eq!(next(&mut receiver), Poll::Ready(Some(Ok(6))));
    assert_eq!(put(&mut sender, (3, "c")), Poll::Ready(Ok(())));
    assert_eq!(close(&mut sender), Poll::Ready(Ok(())));
    assert_eq!(fake.state().sent, [&b"\x01\x01a"[..], b"\x02\x01b", b"\x03\x01c"]);
    let mut below = MessageStream::unsplit(receiver.into_inner(), sender.into_inner());
    fake.state().peer_finished = true;
    assert_eq!(now(below.recv()), None);
}

#[test]
fn typed_messages_use_the_codec_of_the_opening() {
    let stream = Fake::default().stream();
    assert_eq!(stream.codec(), Codec::Postcard);
    assert_eq!(stream.with_codec(Codec::Bytes).codec(), Codec::Postcard);
    let fake = Fake::with_credit(1);
    let mut stream = fake.stream().with_codec(Codec::Other(9));
    assert_eq!(now(stream.send_as(&1u32)).unwrap_err().status, Status::UnsupportedCodec);
    fake.feed(b"1");
    assert_eq!(now(stream.recv_as::<u32>()).unwrap().unwrap_err().status, Status::UnsupportedCodec);
    #[cfg(feature = "json")]
    {
        let mut stream = fake.stream().with_codec(Codec::Json);
        now(stream.send_as(&("ada", 36))).unwrap();
        fake.feed(b" [1, 2]");
        assert_eq!(now(stream.recv_as()), Some(Ok(vec![1u8, 2])));
        assert_eq!(fake.state().sent, [&br#"["ada",36]"#[..]]);
    }
}

#[test]
fn trailers_are_there_after_the_end() {
    let mut trailers = Metadata::new();
    trailers.insert("rows", b"3").unwrap();
    let fake = Fake::default();
    fake.state().incoming.push_back(Ok(Bytes::new()));
    let mut stream = fake.stream();
    stream.set_trailers(trailers.clone()).unwrap();
    now(stream.recv()).unwrap().unwrap();
    assert_eq!(stream.trailers(), None);
    fake.state().peer_finished = true;
    assert_eq!(now(stream.recv()), None);
    assert_eq!(stream.trailers(), Some(&trailers));

    let fake = Fake::default();
    fake.state().incoming.push_back(Err(CallError::failed("cut")));
    fake.state().trailers = Some(trailers.clone());
    let mut stream = fake.stream();
    now(stream.recv()).unwrap().unwrap_err();
    assert_eq!(stream.trailers(), Some(&trailers));
}

#[test]
fn a_cancel_carries_its_reason_from_the_stream_and_from_either_half() {
    let reason = CallError::answered(Status::LimitReached, "enough");
    let cancels: [fn(MessageStream); 3] = [
        |stream| stream.cancel(Status::LimitReached, "enough"),
        |stream| stream.split().0.cancel(Status::LimitReached, "enough"),
        |stream| stream.split().1.cancel(Status::LimitReached, "enough"),
    ];
    for cancel in cancels {
        let fake = Fake::default();
        cancel(fake.stream());
        assert_eq!(fake.state().cancelled, Some(reason.clone()));
    }
}
