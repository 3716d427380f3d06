//! What OpenTelemetry is told of calls: one trace over all hops, each span under the one that it was called from, and
//! nothing that is secret or a payload.

#![cfg(feature = "opentelemetry")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use np_facade::opentelemetry::api::trace::{SpanId, SpanKind, Status as SpanStatus, TracerProvider as _};
use np_facade::{
    CallContext, CallError, Client, Identity, Metadata, Policy, Router, Server, ServerBuilder, TraceContext,
};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::Instrument as _;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Keeps what it is given.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    fn export(&self, mut batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.0.lock().unwrap().append(&mut batch);
        let done: Ready<OTelSdkResult> = ready(Ok(()));
        done
    }
}

impl Kept {
    /// Exports the spans of this thread from now on.
    fn begin() -> (Self, DefaultGuard) {
        let kept = Self::default();
        let tracer = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build().tracer("np");
        let layer = np_facade::opentelemetry::layer().with_tracer(tracer);
        let both = tracing_subscriber::registry().with(LevelFilter::TRACE).with(layer);
        (kept, tracing::subscriber::set_default(both))
    }

    /// The one span of this kind and name.
    fn span(&self, kind: &SpanKind, name: &str) -> SpanData {
        let all = self.0.lock().unwrap();
        let found: Vec<_> = all.iter().filter(|span| span.span_kind == *kind && span.name == name).collect();
        assert_eq!(found.len(), 1, "{kind:?} {name}: {all:#?}");
        found[0].clone()
    }
}

fn builder(address: &str) -> ServerBuilder {
    Server::builder(Identity::generate().unwrap(), Policy::anyone()).listen(address)
}

async fn connect(server: &Server) -> Client {
    Client::connect(&server.addresses()[0].to_string()).await.unwrap()
}

/// Servers B, and A, whose handler `hop` calls `end` of B in a span of its own.
async fn hops(name: &str) -> (Server, Server, Client) {
    let seen = |context: CallContext, _| Ok(context.trace().map(|trace| trace.to_string()).unwrap_or_default());
    let last = builder(&format!("mem:{name}-b")).on("end", seen).start().await.unwrap();
    let next = connect(&last).await;
    let first = builder(&format!("mem:{name}-a"))
        .on_async("hop", move |_, body| {
            let next = next.clone();
            async move {
                tokio::task::yield_now().await;
                next.call("end", body).instrument(tracing::info_span!("work")).await
            }
        })
        .start()
        .await
        .unwrap();
    let client = connect(&first).await;
    (last, first, client)
}

async fn end(client: Client, servers: [Server; 2]) {
    client.close().await;
    for server in servers {
        server.shutdown(Duration::from_secs(5)).await;
    }
}

fn parent() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("traceparent", PARENT.as_bytes()).unwrap();
    metadata.insert("tracestate", b"vendor=1").unwrap();
    metadata.insert("note", b"MARK-metadata").unwrap();
    metadata
}

#[tokio::test]
async fn two_hops_are_one_trace_and_each_span_has_its_caller_for_its_parent() {
    let (kept, _guard) = Kept::begin();
    let (last, first, client) = hops("otel-two").await;
    let reply = client.request("hop").metadata(parent()).body("MARK-body").send().await.unwrap();
    end(client, [first, last]).await;

    let began: TraceContext = PARENT.parse().unwrap();
    let line = [
        kept.span(&SpanKind::Client, "hop"),
        kept.span(&SpanKind::Server, "hop"),
        kept.span(&SpanKind::Internal, "work"),
        kept.span(&SpanKind::Client, "end"),
        kept.span(&SpanKind::Server, "end"),
    ];
    let mut above = SpanId::from_bytes(began.span_id());
    for (span, remote) in line.iter().zip([true, true, false, true, true]) {
        let place = &span.span_context;
        assert_eq!(place.trace_id().to_bytes(), began.trace_id(), "{span:#?}");
        assert_eq!((span.parent_span_id, span.parent_span_is_remote), (above, remote), "{span:#?}");
        assert_eq!(place.trace_state().header(), "vendor=1");
        above = place.span_id();
    }
    // What the last handler was told is the span that called it.
    let told: TraceContext = std::str::from_utf8(&reply.body).unwrap().parse().unwrap();
    assert_eq!(SpanId::from_bytes(told.span_id()), line[3].span_context.span_id());
}

#[tokio::test]
async fn a_span_of_the_program_goes_along_with_its_calls_without_a_word() {
    let (kept, _guard) = Kept::begin();
    let (last, first, client) = hops("otel-own").await;
    client.call("hop", "").instrument(tracing::info_span!("program")).await.unwrap();
    end(client, [first, last]).await;
    let program = kept.span(&SpanKind::Internal, "program").span_context;
    let called = kept.span(&SpanKind::Client, "hop");
    assert_eq!(called.parent_span_id, program.span_id());
    for (kind, name) in [(SpanKind::Client, "hop"), (SpanKind::Server, "hop"), (SpanKind::Server, "end")] {
        assert_eq!(kept.span(&kind, name).span_context.trace_id(), program.trace_id(), "{kind:?} {name}");
    }
}

#[tokio::test]
async fn calls_back_to_the_client_belong_to_the_trace_and_to_their_connection() {
    let (kept, _guard) = Kept::begin();
    let server = builder("mem:otel-back")
        .on_async("ask", |context, _| async move {
            let (method, body) = ("mine".parse().unwrap(), bytes::Bytes::new());
            let (codec, deadline) = (np_facade::Codec::Bytes, np_facade::Deadline::NONE);
            Ok::<_, CallError>(context.call(method, codec, body, Metadata::new(), deadline).await?.body)
        })
        .start()
        .await
        .unwrap();
    let router = Router::new();
    router.on("mine", |_, _| Ok("")).unwrap();
    let client = Client::builder(server.addresses()[0].to_string()).router(router).connect().await.unwrap();
    client.request("ask").metadata(parent()).send().await.unwrap();
    client.close().await;
    server.shutdown(Duration::from_secs(5)).await;

    let (ask, back) = (kept.span(&SpanKind::Server, "ask"), kept.span(&SpanKind::Client, "mine"));
    assert_eq!(back.parent_span_id, ask.span_context.span_id());
    assert_eq!(kept.span(&SpanKind::Server, "mine").parent_span_id, back.span_context.span_id());
    let all = kept.0.lock().unwrap();
    let connection = all.iter().find(|span| ask.links.iter().any(|link| link.span_context == span.span_context));
    assert_eq!(connection.map(|span| &*span.name), Some("connection"));
}

#[tokio::test]
async fn nothing_of_a_call_but_its_span_is_exported() {
    let (kept, _guard) = Kept::begin();
    let secret = [0xa7; 32];
    let server = Server::builder(Identity::from_secret(np_facade::SecretKey::from_bytes(secret)), Policy::anyone())
        .listen("mem:otel-secret")
        .on("swap", |_, _| Ok("MARK-reply"))
        .on("fails", |_, _| Err::<&str, _>(CallError::failed("MARK-why")))
        .start()
        .await
        .unwrap();
    let client = connect(&server).await;
    let mut bad = Metadata::new();
    bad.insert("traceparent", b"MARK-trace").unwrap();
    assert_eq!(client.request("swap").metadata(parent()).body("MARK-body").send().await.unwrap().body, "MARK-reply");
    client.request("swap").metadata(bad).send().await.unwrap();
    client.request("fails").traced().send().await.unwrap_err();
    client.close().await;
    server.shutdown(Duration::from_secs(5)).await;

    let failed = kept.span(&SpanKind::Server, "fails");
    assert_eq!(failed.status, SpanStatus::error("failed"));
    let keys: Vec<_> = failed.attributes.iter().map(|pair| pair.key.as_str()).collect();
    for key in ["direction", "method", "trace", "status"] {
        assert_eq!(keys.iter().filter(|found| **found == key).count(), 1, "{key}: {keys:?}");
    }
    let told = format!("{:?}", kept.0.lock().unwrap());
    let texts = [np_facade::SecretKey::from_bytes(secret).to_text().to_string(), "a7".repeat(32), "167, 167".into()];
    for text in texts.iter().map(String::as_str).chain(["MARK"]) {
        assert!(!told.contains(text), "{text}");
    }
}
