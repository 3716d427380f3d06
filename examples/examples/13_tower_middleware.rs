//! Middleware of tower on both sides: a timeout, a concurrency limit and a rate limit.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use np_facade::prelude::*;
use np_facade::tower::{BoxError, CallRequest, HandlerService, call_error, service_with};
use np_facade::{MethodOptions, bytes_async};
use tower::timeout::error::Elapsed;
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

/// What a caller learns when a layer has ended its call.
fn to_answer(error: BoxError) -> CallError {
    if error.is::<Elapsed>() {
        return CallError::answered(Status::DeadlineExceeded, "this method takes 50 ms at most");
    }
    call_error(error)
}

/// A server whose method runs four times at once, for 50 ms each.
async fn start_server() -> Result<Server, np_facade::Error> {
    let wait = bytes_async(|_ctx, body: Bytes| async move {
        let millis = std::str::from_utf8(&body).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(body)
    });
    // From the outside in: waiting for one of the four places counts as well.
    let stack = ServiceBuilder::new()
        .timeout(Duration::from_millis(50))
        .concurrency_limit(4)
        .service(HandlerService::new(wait));
    Server::builder(Identity::generate()?, Policy::anyone())
        .listen("tcp://127.0.0.1:0")
        .method("wait", service_with(stack, to_answer), MethodOptions::default())
        .start()
        .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = start_server().await?;
    let address = server.addresses().first().ok_or("no address")?.to_string();
    let client = Client::connect(&address).await?;

    // The timeout of the server.
    let Err(error) = client.call("wait", "60000").await else {
        return Err("a minute within 50 ms".into());
    };
    println!("a call of a minute: {error}");
    assert_eq!(error.status, Status::DeadlineExceeded);

    // The client is a service: layers go round it as round any other. This one makes five calls in 100 ms.
    let mut slow = ServiceBuilder::new().rate_limit(5, Duration::from_millis(100)).service(client.clone());
    let started = Instant::now();
    for _ in 0..11 {
        slow.ready().await?.call(CallRequest::new("wait").body("0")).await?;
    }
    println!("eleven calls took {} ms", started.elapsed().as_millis());
    assert!(started.elapsed() >= Duration::from_millis(200));

    // A timeout of the client drops the call, which cancels it at the server.
    let hasty = ServiceBuilder::new().timeout(Duration::from_millis(1)).service(client.clone());
    let Err(error) = hasty.oneshot(CallRequest::new("wait").body("40")).await else {
        return Err("40 ms within 1 ms".into());
    };
    println!("a call of 40 ms, given 1 ms: {error}");
    assert!(error.is::<Elapsed>());

    client.close().await;
    server.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
