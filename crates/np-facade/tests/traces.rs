//! W3C trace context over hops: one trace from a client over one server to the next, and back to a client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use np_facade::{
    CallContext, CallError, Client, Codec, Deadline, Identity, Metadata, MethodOptions, Policy, Router, Server,
    ServerBuilder, TraceContext, bytes_async,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.addresses()[0].to_string()).await.unwrap()
}

/// What came with a call: its `traceparent` and its `tracestate`.
fn seen(context: &CallContext) -> String {
    let text = |key| context.metadata().value(key).map_or_else(|| "none".into(), String::from_utf8_lossy);
    format!("{} {}", text("traceparent"), text("tracestate"))
}

fn ids(seen: &str) -> TraceContext {
    seen.split(' ').next().unwrap().parse().unwrap()
}

/// Servers B, which says what it sees, and A, whose handlers call it and say what both saw.
async fn hops(name: &str) -> (Server, Server, Client) {
    let last = builder(&format!("mem:{name}-b")).on("end", |context, _| Ok(seen(&context))).start().await.unwrap();
    let next = connect(&last).await;
    let forward = move |context: CallContext, _| {
        let next = next.clone();
        async move {
            // Not in the first poll, and not in the same as the call.
            tokio::task::yield_now().await;
            let first = next.call("end", "").await?;
            tokio::task::yield_now().await;
            let second = next.request("end").body("").send().await?.body;
            let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
            Ok::<_, CallError>(format!("{}|{}|{}", seen(&context), text(&first), text(&second)))
        }
    };
    let server = builder(&format!("mem:{name}-a"))
        .on_async("hop", forward.clone())
        .method("hop-spawned", bytes_async(forward), MethodOptions::default().spawned())
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    (last, server, client)
}

async fn call(client: &Client, method: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let mut metadata = Metadata::new();
    for (key, value) in pairs {
        metadata.insert(key, value.as_bytes()).unwrap();
    }
    let reply = client.request(method).metadata(metadata).send().await.unwrap();
    String::from_utf8_lossy(&reply.body).split('|').map(str::to_owned).collect()
}

#[tokio::test]
async fn one_trace_goes_over_two_hops_with_a_span_for_each_call() {
    let (_last, _server, client) = hops("two").await;
    for method in ["hop", "hop-spawned"] {
        let said = call(&client, method, &[("traceparent", PARENT), ("tracestate", "vendor=1")]).await;
        assert_eq!(said[0], format!("{PARENT} vendor=1"), "{method}");
        let [first, second] = [&said[1], &said[2]].map(|seen| {
            assert!(seen.ends_with(" vendor=1"), "{method}: {seen}");
            ids(seen)
        });
        let began: TraceContext = PARENT.parse().unwrap();
        assert_eq!((first.trace_id(), second.trace_id()), (began.trace_id(), began.trace_id()), "{method}");
        let spans = [began.span_id(), first.span_id(), second.span_id()];
        assert!(spans[0] != spans[1] && spans[1] != spans[2] && spans[0] != spans[2], "{method}: {said:?}");
    }
}

#[tokio::test]
async fn a_trace_begins_where_a_call_asks_for_one_and_nowhere_else() {
    let (_last, _server, client) = hops("begin").await;
    let said = call(&client, "hop", &[]).await;
    assert_eq!(said, ["none none"; 3]);
    let reply = client.request("hop").traced().send().await.unwrap();
    let said = String::from_utf8_lossy(&reply.body).into_owned();
    let traces = said.split('|').map(|seen| ids(seen).trace_id()).collect::<Vec<_>>();
    assert!(traces.len() == 3 && traces.iter().all(|trace| *trace == traces[0]), "{said}");
    let again = client.request("hop").traced().send().await.unwrap();
    let again = ids(&String::from_utf8_lossy(&again.body));
    assert_ne!(again.trace_id(), traces[0], "another call is another trace");
    // A handler of before has left nothing behind for the next.
    assert_eq!(call(&client, "hop", &[]).await, ["none none"; 3]);
}

#[tokio::test]
async fn a_malformed_trace_is_ignored_and_the_call_goes_on() {
    let (_last, _server, client) = hops("bad").await;
    for bad in ["", "00-0", &PARENT.to_uppercase(), &format!("{PARENT}-more"), "\u{1b}[2J"] {
        let said = call(&client, "hop", &[("traceparent", bad), ("tracestate", "a=1")]).await;
        assert_eq!(said[1..], ["none none", "none none"], "{bad:?}");
    }
    let long = "x".repeat(513);
    let said = call(&client, "hop", &[("traceparent", PARENT), ("tracestate", &long)]).await;
    assert!(said[1].ends_with(" none"), "{said:?}");
}

#[tokio::test]
async fn calls_back_to_the_client_belong_to_the_trace() {
    let server = builder("mem:back")
        .on_async("ask", |context, _| async move {
            let (method, body) = ("mine".parse().unwrap(), bytes::Bytes::new());
            let answer = context.call(method, Codec::Bytes, body, Metadata::new(), Deadline::NONE).await?;
            Ok::<_, CallError>(answer.body)
        })
        .start()
        .await
        .unwrap();
    let router = Router::new();
    router.on("mine", |context, _| Ok(seen(&context))).unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).router(router).connect().await.unwrap();
    let said = call(&client, "ask", &[("traceparent", PARENT)]).await;
    let began: TraceContext = PARENT.parse().unwrap();
    assert_eq!(ids(&said[0]).trace_id(), began.trace_id());
    assert_ne!(ids(&said[0]).span_id(), began.span_id());
}

#[tokio::test]
async fn a_call_without_room_for_a_trace_goes_without() {
    let (last, _server, _client) = hops("full").await;
    let mut metadata = Metadata::new();
    for at in 0..Metadata::MAX_PAIRS {
        metadata.insert(&format!("k{at}"), b"").unwrap();
    }
    let client = connect(&last).await;
    let reply = client.request("end").metadata(metadata).traced().send().await.unwrap();
    assert_eq!(reply.body, "none none");
}
