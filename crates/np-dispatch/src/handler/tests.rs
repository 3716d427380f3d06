//! Tests of the handler forms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use np_types::{CallError, Codec, Status};

use super::{Answer, Handler, Reply, bytes, bytes_async, typed, typed_async};
use crate::encode;
use crate::testing::{at_once, context, now, poll_once};

fn double() -> impl Handler {
    typed(|_ctx, number: u32| number.checked_mul(2).ok_or_else(|| CallError::failed("too large")))
}

fn ask(handler: &impl Handler, codec: Codec, body: &[u8]) -> Result<Reply, CallError> {
    at_once(handler.call(context(codec), Bytes::copy_from_slice(body)))
}

#[test]
fn a_plain_handler_answers_at_once_and_sees_its_call() {
    let handler = bytes(|ctx, body| {
        assert_eq!(ctx.codec(), Codec::Json);
        Ok([&body[..], b"!"].concat())
    });
    assert_eq!(ask(&handler, Codec::Json, b"hi"), Ok(Reply::from(b"hi!".to_vec())));
}

#[test]
fn bodies_of_every_form_become_replies() {
    let expected = Reply::new(Codec::Bytes, Bytes::from_static(b"x"));
    assert_eq!(Reply::from("x"), expected);
    assert_eq!(Reply::from(String::from("x")), expected);
    assert_eq!(Reply::from(vec![b'x']), expected);
    assert_eq!(Reply::from(&b"x"[..]), expected);
    assert_eq!(Reply::from(Bytes::from_static(b"x")), expected);
    assert!(Reply::from(()).body.is_empty());
}

#[test]
fn an_async_handler_answers_later() {
    let handler = bytes_async(|_ctx, body| async move { Ok(body) });
    let answer = handler.call(context(Codec::Bytes), Bytes::from_static(b"hi"));
    assert!(matches!(answer, Answer::Later(_)), "{answer:?}");
    assert_eq!(now(answer.wait()), Ok(Reply::from("hi")));
}

#[test]
fn dropping_the_answer_drops_the_work() {
    let alive = Arc::new(());
    let watch = Arc::downgrade(&alive);
    let handler = bytes_async(move |_ctx, _body| {
        let held = alive.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        }
    });
    let mut answer = Box::pin(handler.call(context(Codec::Bytes), Bytes::new()).wait());
    assert!(matches!(poll_once(answer.as_mut()), Poll::Pending));
    assert_eq!(watch.strong_count(), 2);
    drop(answer);
    assert_eq!(watch.strong_count(), 1);
}

#[test]
fn a_typed_handler_reads_and_writes_postcard() {
    let reply = ask(&double(), Codec::Postcard, &encode(&21u32).unwrap()).unwrap();
    assert_eq!(reply.codec, Codec::Postcard);
    assert_eq!(reply.decode::<u32>(), Ok(42));
}

#[test]
fn a_typed_handler_passes_its_own_error_on() {
    let error = ask(&double(), Codec::Postcard, &encode(&u32::MAX).unwrap()).unwrap_err();
    assert_eq!(error, CallError::failed("too large"));
}

#[test]
fn a_typed_handler_never_sees_a_bad_body() {
    let runs = Arc::new(AtomicUsize::new(0));
    let (count, count_later) = (runs.clone(), runs.clone());
    let plain = typed(move |_ctx, number: u32| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(number)
    });
    let later = typed_async(move |_ctx, number: u32| {
        count_later.fetch_add(1, Ordering::Relaxed);
        async move { Ok(number) }
    });
    let cases: [(Codec, &[u8], Status); 4] = [
        (Codec::Postcard, b"", Status::InvalidArgument),
        (Codec::Postcard, b"\xff\xff\xff\xff\xff", Status::InvalidArgument),
        (Codec::Postcard, b"\x01\x02", Status::InvalidArgument),
        (Codec::Bytes, b"\x01", Status::UnsupportedCodec),
    ];
    for (codec, body, status) in cases {
        assert_eq!(ask(&plain, codec, body).unwrap_err().status, status);
        assert_eq!(ask(&later, codec, body).unwrap_err().status, status);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 0);
}

#[test]
fn trailing_bytes_are_named_in_the_answer() {
    let error = ask(&double(), Codec::Postcard, b"\x01\x02\x03").unwrap_err();
    assert!(error.text.contains("2 bytes after"), "{error}");
}

#[test]
fn a_typed_async_handler_answers_later() {
    let handler = typed_async(|_ctx, name: String| async move { Ok(name.len()) });
    let answer = handler.call(context(Codec::Postcard), encode("ada").unwrap());
    assert!(matches!(answer, Answer::Later(_)), "{answer:?}");
    assert_eq!(now(answer.wait()).unwrap().decode::<usize>(), Ok(3));
}

struct OutOfStock;

impl From<OutOfStock> for CallError {
    fn from(_: OutOfStock) -> Self {
        Self::failed("out of stock")
    }
}

#[test]
fn the_question_mark_turns_an_applications_error_into_the_answer() {
    let take = || Err::<(), _>(OutOfStock);
    let handler = bytes(move |_ctx, _body| Ok(take()?));
    let error = ask(&handler, Codec::Bytes, b"").unwrap_err();
    assert_eq!((error.status, &*error.text), (Status::Failed, "out of stock"));
}

#[test]
fn a_shared_handler_is_a_handler() {
    let shared: Arc<dyn Handler> = Arc::new(bytes(|_ctx, _body| Ok("shared")));
    assert_eq!(ask(&shared, Codec::Bytes, b""), Ok(Reply::from("shared")));
}

#[test]
fn a_reply_of_another_type_is_an_error_that_says_the_call_was_answered() {
    let error = Reply::from("text").decode::<u32>().unwrap_err();
    assert_eq!(error.outcome, np_types::Outcome::Answered);
    assert_eq!(error.status, Status::Internal);
}

#[cfg(all(feature = "json", feature = "msgpack"))]
#[test]
fn a_typed_handler_answers_in_the_codec_of_its_request() {
    use crate::encode_as;
    let later = typed_async(|_ctx, number: u32| async move { Ok(number * 2) });
    for codec in [Codec::Postcard, Codec::Json, Codec::MessagePack] {
        let body = encode_as(codec, &21u32).unwrap();
        let expected = Reply::new(codec, encode_as(codec, &42u32).unwrap());
        assert_eq!(ask(&double(), codec, &body), Ok(expected.clone()));
        assert_eq!(now(later.call(context(codec), body).wait()), Ok(expected.clone()));
        assert_eq!(expected.decode::<u32>(), Ok(42));
    }
    assert_eq!(ask(&double(), Codec::Json, b"21 x").unwrap_err().status, Status::InvalidArgument);
}

#[test]
fn a_handler_reads_values_that_borrow_from_the_body() {
    #[derive(serde::Deserialize)]
    struct Order<'a> {
        item: &'a str,
        #[serde(borrow)]
        tags: Vec<&'a [u8]>,
    }
    let handler = bytes(|ctx, body| {
        let order: Order<'_> = ctx.decode(&body)?;
        assert!(body.as_ptr_range().contains(&order.item.as_ptr()));
        assert!(order.tags.iter().all(|tag| body.as_ptr_range().contains(&tag.as_ptr())));
        Ok(ctx.reply(&(order.item, order.tags.len()))?)
    });
    let body = encode(&("apple", [b"red".to_vec(), b"old".to_vec()].as_slice())).unwrap();
    let reply = ask(&handler, Codec::Postcard, &body).unwrap();
    assert_eq!(reply.decode_borrowed::<(&str, usize)>(), Ok(("apple", 2)));
    assert_eq!(ask(&handler, Codec::Postcard, b"\x01").unwrap_err().status, Status::InvalidArgument);
}
