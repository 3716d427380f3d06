//! The path of a call, made to be counted: a fixed number of calls and nothing else, on one thread, in memory.
//!
//! `path SCENARIO CALLS` runs it. Under callgrind the difference of two counts of calls is what one call costs, in
//! instructions, whatever else the machine does: `cargo xtask bench guard` holds it against the stored figures.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has nothing to say")]
#![allow(clippy::print_stderr, reason = "a wrong argument is told")]

use bytes::{Bytes, BytesMut};
use np_facade::prelude::*;
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{Answer, Encoding, Event, OpenCall, OpenKind, Session, Side};
use np_types::{Codec, Limits, Metadata, Time};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let calls: usize = arguments.get(1).map_or(1_000, |calls| calls.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("session-128") => session(calls, 128, 64),
        Some("session-1") => session(calls, 1, 64),
        Some("session-1-mib") => session(calls, 1, 1 << 20),
        Some("call-128") => runtime.block_on(facade(calls, 128, 64)),
        Some("call-1") => runtime.block_on(facade(calls, 1, 64)),
        Some("idle") => runtime.block_on(idle(calls)),
        Some("call-4-mib") => runtime.block_on(facade(calls, 4, 1 << 20)),
        _ => eprintln!("path SCENARIO CALLS: session-128, session-1, session-1-mib, call-128, call-1, call-4-mib"),
    }
}

/// Connections that made one call each, and then stand: for a heap profiler.
async fn idle(connections: usize) {
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = server.listen("tcp://127.0.0.1:0").start().await.unwrap();
    let address = server.addresses().first().unwrap().to_string();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let client = Client::connect(&address).await.unwrap();
        client.call("np.echo", "hi").await.unwrap();
        clients.push(client);
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    std::process::exit(0);
}

/// Two sessions hand each other their bytes: what np-session, np-wire and np-noise cost, without tasks and sockets.
fn session(calls: usize, in_flight: usize, size: usize) {
    let cipher = |key| (SendCipher::danger_from_key([key; 32]), ReceiveCipher::danger_from_key([3 - key; 32]));
    let session = |side, (send, receive)| {
        let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
        Session::danger_from_traffic(side, Limits::default(), traffic, Time::ZERO)
    };
    let (mut client, mut server) = (session(Side::Initiator, cipher(1)), session(Side::Responder, cipher(2)));
    let (body, method) = (Bytes::from(vec![7; size]), "bench.echo".parse::<np_types::MethodName>().unwrap());
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let (mut opened, mut answered) = (0, 0);
    while answered < calls {
        while opened < calls && opened - answered < in_flight {
            let call = OpenCall { body: body.clone(), ..OpenCall::new(OpenKind::Request, method.clone()) };
            client.open(call).unwrap();
            opened += 1;
        }
        carry(&mut client, &mut to_server);
        server.handle_bytes(Time::ZERO, &mut to_server);
        while let Some(event) = server.poll_event() {
            if let Event::Opened { key, body, credit, .. } = event {
                server.release(credit);
                let answer = Answer { codec: Codec::Bytes, encoding: Encoding::Plain, metadata: Metadata::new(), body };
                server.respond(key, answer).unwrap();
            }
        }
        carry(&mut server, &mut to_client);
        client.handle_bytes(Time::ZERO, &mut to_client);
        while let Some(event) = client.poll_event() {
            if let Event::Answered { answer, credit, .. } = event {
                client.release(credit);
                assert_eq!(answer.body, body);
                answered += 1;
            }
        }
    }
}

fn carry(from: &mut Session, to: &mut BytesMut) {
    let mut out = Vec::new();
    while from.poll_transmit(Time::ZERO, &mut out) {}
    from.handle_written(out.len());
    to.extend_from_slice(&out);
}

/// A client and a server as users build them, over memory.
async fn facade(calls: usize, in_flight: usize, size: usize) {
    let server = Server::builder(Identity::generate().unwrap(), Policy::anyone());
    let server = server.listen("mem:path").start().await.unwrap();
    let client = Client::connect(&server.addresses().first().unwrap().to_string()).await.unwrap();
    let body = Bytes::from(vec![7; size]);
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        let (client, body) = (client.clone(), body.clone());
        callers.spawn(async move {
            for _ in 0..calls / in_flight {
                assert_eq!(client.call("np.echo", body.clone()).await.unwrap(), body);
            }
        });
    }
    while callers.join_next().await.is_some() {}
    server.shutdown(std::time::Duration::from_secs(1)).await;
}
