//! Tests of the call context: what it carries, and calls back to the peer.

use bytes::Bytes;
use np_types::{Codec, Deadline, Metadata, MethodName, Outcome, Status, Time};

use crate::testing::{FakeCaller, context, now, with_peer};
use crate::{CallContext, Reply, encode};

fn call_with(ctx: &CallContext, deadline: Deadline) -> Result<Reply, np_types::CallError> {
    let mut metadata = Metadata::default();
    metadata.insert("trace", b"1").unwrap();
    let method = MethodName::new("back").unwrap();
    now(ctx.call(method, Codec::Json, Bytes::from_static(b"{}"), metadata, deadline))
}

#[test]
fn a_nested_call_gets_the_earlier_deadline() {
    let (soon, late) = (Deadline::at(Time::from_nanos(5)), Deadline::at(Time::from_nanos(9)));
    let cases = [
        (soon, late, soon),
        (late, soon, soon),
        (soon, Deadline::NONE, soon),
        (Deadline::NONE, late, late),
        (Deadline::NONE, Deadline::NONE, Deadline::NONE),
    ];
    for (own, asked, expected) in cases {
        let fake = FakeCaller::new(Reply::default());
        let ctx = with_peer(fake.peer(), Codec::Bytes, own);
        call_with(&ctx, asked).unwrap();
        assert_eq!(fake.last().unwrap().deadline, expected);
    }
}

#[test]
fn a_nested_call_passes_everything_on() {
    let fake = FakeCaller::new(Reply::from("answer"));
    let ctx = with_peer(fake.peer(), Codec::Bytes, Deadline::NONE);
    let reply = call_with(&ctx, Deadline::NONE).unwrap();
    assert_eq!(&reply.body[..], b"answer");
    let asked = fake.last().unwrap();
    assert_eq!(asked.method, "back");
    assert_eq!(asked.codec, Codec::Json);
    assert_eq!(&asked.body[..], b"{}");
    assert_eq!(asked.metadata.value("trace"), Some(&b"1"[..]));
}

#[test]
fn without_a_way_back_nothing_was_done() {
    let ctx = context(Codec::Bytes);
    assert!(ctx.caller().is_none());
    let error = call_with(&ctx, Deadline::NONE).unwrap_err();
    assert_eq!(error.status, Status::Unavailable);
    assert_eq!(error.outcome, Outcome::NotProcessed);
}

#[test]
fn a_typed_call_encodes_decodes_and_inherits() {
    let fake = FakeCaller::new(Reply::typed(&42u32).unwrap());
    let own = Deadline::at(Time::from_nanos(5));
    let ctx = with_peer(fake.peer(), Codec::Bytes, own);
    let answer: u32 = now(ctx.call_as("age-of", "ada")).unwrap();
    assert_eq!(answer, 42);
    let asked = fake.last().unwrap();
    assert_eq!(asked.codec, Codec::Postcard);
    assert_eq!(asked.body, encode("ada").unwrap());
    assert_eq!(asked.deadline, own);
}

#[test]
fn a_typed_call_tells_an_unsent_request_from_an_unread_reply() {
    let fake = FakeCaller::new(Reply::from("no postcard"));
    let ctx = with_peer(fake.peer(), Codec::Bytes, Deadline::NONE);

    let error = now(ctx.call_as::<u32>("no name", &1u8)).unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
    assert_eq!(fake.last(), None);

    let error = now(ctx.call_as::<u32>("name", &1u8)).unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::Internal, Outcome::Answered));
    assert!(error.text.contains("bytes"), "{error}");
}

#[test]
fn a_context_shows_what_the_driver_put_in() {
    let ctx = context(Codec::MessagePack);
    assert_eq!(ctx.method().as_str(), "test");
    assert_eq!(ctx.peer_address(), "mem:test");
    assert_eq!(ctx.binding(), &[7; 32]);
    assert_eq!(ctx.codec(), Codec::MessagePack);
    assert!(ctx.metadata().is_empty());
    assert!(!ctx.peer().is_authenticated());
}
