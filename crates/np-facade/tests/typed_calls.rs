//! Values in every codec, borrowed and refused ones, and schemas, over real connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use bytes::Bytes;
use np_facade::{
    Call, CallError, Client, Codec, Identity, Metadata, MethodOptions, Outcome, Policy, Request, Router, Schema,
    Server, ServerBuilder, Status, encode_as, stream, typed,
};
use serde::{Deserialize, Serialize};

const TYPED: [Codec; 3] = [Codec::Postcard, Codec::Json, Codec::MessagePack];

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.addresses()[0].to_string()).await.unwrap()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
    notes: Vec<Option<String>>,
}

fn order() -> Order {
    Order { item: "äpfel".to_owned(), count: 300, notes: vec![None, Some("ripe".to_owned())] }
}

#[tokio::test]
async fn each_call_chooses_its_codec_and_is_answered_in_it() {
    let server = builder("mem:codecs")
        .on_typed("twice", |_, order: Order| Ok(Order { count: order.count * 2, ..order }))
        .on_typed_async("later", |ctx, order: Order| async move { Ok((ctx.codec().to_string(), order.count)) })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    for codec in TYPED {
        let twice: Order = client.request("twice").codec(codec).send_as(&order()).await.unwrap();
        assert_eq!(twice, Order { count: 600, ..order() });
        let later: (String, u32) = client.request("later").codec(codec).send_as(&order()).await.unwrap();
        assert_eq!(later, (codec.to_string(), 300));
        let body = encode_as(codec, &order()).unwrap();
        let reply = client.request("twice").codec(codec).body(body).send().await.unwrap();
        assert_eq!((reply.codec, reply.decode::<Order>().unwrap()), (codec, twice));
    }
    let json = client.request("twice").codec(Codec::Json).body(r#"{"notes":[],"count":1,"item":""}"#);
    assert_eq!(json.send().await.unwrap().body, r#"{"item":"","count":2,"notes":[]}"#);
    assert_eq!(client.call_as::<Order>("twice", &order()).await.unwrap().count, 600);
    // Names and states are told in the codec that was asked for.
    let listed: Vec<String> = client.request("np.methods").codec(Codec::Json).send_as(&()).await.unwrap();
    assert!(listed.contains(&"twice".to_owned()), "{listed:?}");
    let health: String = client.request("np.health").codec(Codec::MessagePack).send_as(&()).await.unwrap();
    assert_eq!(health, "ok");
}

#[tokio::test]
async fn a_server_calls_its_client_with_values_of_any_codec() {
    let server = builder("mem:values-back").start().await.unwrap();
    let mine = Router::new();
    mine.on_typed("twice", |_, number: u32| Ok(number * 2)).unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).router(mine).connect().await.unwrap();
    client.ping().await.unwrap();
    let back = server.connections().remove(0);
    for codec in TYPED {
        let request = Request::new("twice".parse().unwrap()).value(codec, &21u32).unwrap();
        let reply = back.call(request).await.unwrap();
        assert_eq!((reply.codec, reply.decode::<u32>()), (codec, Ok(42)));
    }
    assert!(Request::new("twice".parse().unwrap()).value(Codec::Bytes, &21u32).is_err());
}

#[tokio::test]
async fn a_codec_without_types_is_refused_on_both_sides() {
    let server = builder("mem:no-types").on_typed("twice", |_, number: u32| Ok(number * 2)).start().await.unwrap();
    let client = connect(&server).await;
    let error = client.request("twice").codec(Codec::Bytes).send_as::<u32>(&1u32).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::UnsupportedCodec, Outcome::NotProcessed));
    let error = client.request("twice").codec(Codec::Bytes).body("\x01").send().await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::UnsupportedCodec, Outcome::Answered));
}

#[tokio::test]
async fn bodies_that_go_on_and_bodies_of_many_levels_fail_their_call_alone() {
    #[derive(Serialize, Deserialize)]
    struct Tree(Vec<Self>);
    let server = builder("mem:bombs").on_typed("tree", |_, tree: Tree| Ok(tree.0.len())).start().await.unwrap();
    let client = connect(&server).await;
    let bombs: [(Codec, &[u8]); 4] =
        [(Codec::Postcard, b"\x01"), (Codec::Json, b"["), (Codec::MessagePack, b"\x91"), (Codec::Json, b"[[],")];
    for (codec, level) in bombs {
        let body = level.repeat(1 << 20);
        let error = client.request("tree").codec(codec).body(body).send().await.unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument, "{codec}: {error}");
        assert!(error.text.contains("codec_depth"), "{codec}: {error}");
    }
    for codec in TYPED {
        let mut body = encode_as(codec, &Tree(vec![Tree(Vec::new())])).unwrap().to_vec();
        let reply = client.request("tree").codec(codec).body(body.clone()).send().await.unwrap();
        assert_eq!(reply.decode::<usize>(), Ok(1));
        body.extend_from_slice(b"0 ");
        let error = client.request("tree").codec(codec).body(body).send().await.unwrap_err();
        assert_eq!(error.status, Status::InvalidArgument);
        assert!(error.text.contains("2 bytes after the value"), "{codec}: {error}");
    }
}

#[tokio::test]
async fn a_handler_borrows_from_the_bytes_that_came() {
    #[derive(Deserialize)]
    struct Borrowed<'a> {
        item: &'a str,
    }
    let server = builder("mem:borrowed")
        .on("item", |ctx, body: Bytes| {
            let order: Borrowed<'_> = ctx.decode(&body)?;
            let inside = body.as_ptr_range().contains(&order.item.as_ptr());
            Ok(ctx.reply(&(order.item, inside))?)
        })
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    for codec in TYPED {
        let body = encode_as(codec, &serde_json::json!({ "item": "apple" }));
        // What JSON's value type writes is a map, which postcard reads as a count and pairs.
        let body = if codec == Codec::Postcard { encode_as(codec, "apple") } else { body }.unwrap();
        let reply = client.request("item").codec(codec).body(body).send().await.unwrap();
        let (item, inside): (&str, bool) = reply.decode_borrowed().unwrap();
        assert_eq!((item, inside), ("apple", true), "{codec}");
    }
}

fn with_schemas(address: &str) -> ServerBuilder {
    let echo = || {
        stream(|_, mut messages| async move {
            while let Some(message) = messages.recv().await {
                messages.send(message?).await?;
            }
            Ok(())
        })
    };
    let options = MethodOptions::default().schema("orders/3");
    builder(address)
        .method("orders", typed(|_, count: u32| Ok(count + 1)), options)
        .stream_method("feed", echo(), options)
        .on_typed("plain", |_, count: u32| Ok(count + 1))
}

async fn ask(call: Call<'_>) -> Result<u32, CallError> {
    call.send_as(&1u32).await
}

#[tokio::test]
async fn a_call_that_expects_another_schema_is_refused_by_name() {
    let server = with_schemas("mem:schemas").start().await.unwrap();
    let client = connect(&server).await;
    // Nothing expected, and the same expected, in every codec.
    assert_eq!(ask(client.request("orders")).await, Ok(2));
    for codec in TYPED {
        assert_eq!(ask(client.request("orders").codec(codec).schema("orders/3")).await, Ok(2));
    }
    let error = ask(client.request("orders").schema("orders/4")).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::SchemaMismatch, Outcome::Answered));
    for text in ["orders/3", "orders/4"] {
        assert!(error.text.contains(&Schema::of(text).to_string()), "{error}");
    }
    // A method that tells none cannot be the one that was expected.
    let error = ask(client.request("plain").schema("orders/3")).await.unwrap_err();
    assert_eq!(error.status, Status::SchemaMismatch);
    assert_eq!(ask(client.request("plain")).await, Ok(2));
    // The fingerprint stands behind the name.
    let listed = client.call("np.methods", "").await.unwrap();
    let line = format!("\norders {}\nplain", Schema::of("orders/3"));
    assert!(String::from_utf8_lossy(&listed).contains(&line), "{listed:?}");
}

#[tokio::test]
async fn a_stream_expects_a_schema_too() {
    let server = with_schemas("mem:stream-schemas").start().await.unwrap();
    let client = connect(&server).await;
    let mut fits = client.request("feed").schema("orders/3").open_stream().await.unwrap();
    fits.send("hello").await.unwrap();
    assert_eq!(fits.recv().await.unwrap().unwrap(), "hello");
    let mut other = client.request("feed").schema("orders/2").open_stream().await.unwrap();
    assert_eq!(other.recv().await.unwrap().unwrap_err().status, Status::SchemaMismatch);
}

#[tokio::test]
async fn an_expected_schema_is_one_pair_of_the_metadata() {
    let server = with_schemas("mem:full-metadata").start().await.unwrap();
    let client = connect(&server).await;
    let mut metadata = Metadata::new();
    for at in 0..Metadata::MAX_PAIRS - 1 {
        metadata.insert(&format!("k{at}"), b"").unwrap();
    }
    assert_eq!(ask(client.request("orders").schema("orders/3").metadata(metadata.clone())).await, Ok(2));
    metadata.insert("last", b"").unwrap();
    let error = ask(client.request("orders").metadata(metadata).schema("orders/3")).await.unwrap_err();
    assert_eq!((error.status, error.outcome), (Status::InvalidArgument, Outcome::NotProcessed));
}

#[tokio::test]
async fn the_programs_of_the_readme_say_what_their_comments_promise() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    for line in [
        r#".on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))"#,
        r#".on_typed("add", |_ctx, (a, b): (i64, i64)| Ok(a + b))"#,
        r#"client.call("shout", "hello").await?;"#,
        r#"println!("{}", String::from_utf8_lossy(&reply)); // HELLO"#,
        r#"println!("{}", client.call_as::<i64>("add", &(2i64, 3i64)).await?); // 5"#,
    ] {
        assert!(readme.contains(line), "{line}");
    }
    let server = builder("tcp://127.0.0.1:0")
        .on("shout", |_ctx, body| Ok(body.to_ascii_uppercase()))
        .on_typed("add", |_ctx, (a, b): (i64, i64)| Ok(a + b))
        .start()
        .await
        .unwrap();
    assert!(server.addresses()[0].to_string().starts_with("tcp://127.0.0.1:"));
    assert!(server.addresses()[0].to_string().contains("?key=np1"));
    let client = connect(&server).await;
    let reply = client.call("shout", "hello").await.unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), "HELLO");
    assert_eq!(client.call_as::<i64>("add", &(2i64, 3i64)).await.unwrap(), 5);
    client.close().await;
    server.shutdown(std::time::Duration::from_secs(10)).await;
}
