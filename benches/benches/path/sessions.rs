//! Two sessions hand each other their bytes: what np-session, np-wire and np-noise cost, without tasks and sockets.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use np_benches::crypto;
use np_noise::Traffic;
use np_session::{Answer, Encoding, Event, OpenCall, OpenKind, Session, Side};
use np_types::{Codec, Limits, Metadata, MethodName, Time};

struct Pair {
    client: Session,
    server: Session,
    to_server: BytesMut,
    to_client: BytesMut,
}

impl Pair {
    fn new() -> Self {
        let pair = |key| crypto::pair(crypto::usual(), [key; 32]);
        let ((to_server, from_client), (to_client, from_server)) = (pair(1), pair(2));
        let session = |side, send, receive| {
            let traffic = Traffic { send, receive, hash: [0; 32], remote_static: None };
            Session::danger_from_traffic(side, Limits::default(), traffic, Time::ZERO)
        };
        Self {
            client: session(Side::Initiator, to_server, from_server),
            server: session(Side::Responder, to_client, from_client),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
        }
    }

    fn serve(&mut self) {
        carry(&mut self.client, &mut self.to_server);
        self.server.handle_bytes(Time::ZERO, &mut self.to_server);
    }

    fn answer(&mut self) {
        carry(&mut self.server, &mut self.to_client);
        self.client.handle_bytes(Time::ZERO, &mut self.to_client);
    }
}

fn carry(from: &mut Session, to: &mut BytesMut) {
    let mut out = Vec::new();
    while from.poll_transmit(Time::ZERO, &mut out) {}
    from.handle_written(out.len());
    to.extend_from_slice(&out);
}

fn method() -> MethodName {
    "bench.echo".parse().unwrap()
}

/// Requests, each answered with its body.
pub(crate) fn requests(calls: usize, in_flight: usize, size: usize) {
    let (mut pair, body, method) = (Pair::new(), Bytes::from(vec![7; size]), method());
    let (mut opened, mut answered) = (0, 0);
    while answered < calls {
        while opened < calls && opened - answered < in_flight {
            let call = OpenCall { body: body.clone(), ..OpenCall::new(OpenKind::Request, method.clone()) };
            pair.client.open(call).unwrap();
            opened += 1;
        }
        pair.serve();
        while let Some(event) = pair.server.poll_event() {
            if let Event::Opened { key, body, credit, .. } = event {
                pair.server.release(credit);
                let answer = Answer { codec: Codec::Bytes, encoding: Encoding::Plain, metadata: Metadata::new(), body };
                pair.server.respond(key, answer).unwrap();
            }
        }
        pair.answer();
        while let Some(event) = pair.client.poll_event() {
            if let Event::Answered { answer, credit, .. } = event {
                pair.client.release(credit);
                assert_eq!(answer.body, body);
                answered += 1;
            }
        }
    }
}

/// Messages of one stream, from the client to the server.
pub(crate) fn stream(messages: usize, size: usize) {
    let (mut pair, body) = (Pair::new(), Bytes::from(vec![7; size]));
    let stream = pair.client.open(OpenCall::new(OpenKind::Stream, method())).unwrap();
    let (mut sent, mut received) = (0, 0);
    while received < messages * size {
        if sent < messages && pair.client.is_writable(stream) {
            pair.client.send(stream, body.clone()).unwrap();
            sent += 1;
        }
        pair.serve();
        received += consume(&mut pair.server);
        pair.answer();
        while pair.client.poll_event().is_some() {}
    }
    assert_eq!(received, messages * size);
}

/// Takes what has come, and gives its credit back.
fn consume(server: &mut Session) -> usize {
    let mut received = 0;
    while let Some(event) = server.poll_event() {
        if let Event::Data { key, body, .. } = event {
            received += body.len();
            server.consumed(key, black_box(body).len());
        }
    }
    received
}
