//! Whole connections in records that are not sealed, so that every frame can be read: calls, streams with their credit, and
//! the ends of both.

use bytes::{Bytes, BytesMut};
use np_session::{Answer, Event, Handshake, HandshakeEvent, OpenCall, OpenKind, Outer, Session, StreamKey};
use np_types::{CloseCode, Deadline, Limits, Metadata, PeerIdentity, Status, Time, UnixMillis};
use serde::Serialize;
use serde_json::Value;

use super::frames::described_all;
use super::{NONCE, TIME, hex};

/// Windows that a few hundred bytes fill.
pub(super) fn small() -> Limits {
    Limits { stream_window: 256, connection_window: 1_024, max_window: 256, max_message: 8 << 10, ..Limits::default() }
}

/// What both sides say from their first records on.
#[derive(Debug, Serialize)]
pub(super) struct Connection {
    about: &'static str,
    said: Vec<Record>,
}

#[derive(Debug, Serialize)]
struct Record {
    from: &'static str,
    /// The record's plaintext.
    plaintext: String,
    frames: Vec<Value>,
}

pub(super) fn connections() -> Vec<Connection> {
    vec![unary(), large(), stream(), failing(), draining()]
}

/// Two sessions that talk until neither has more to say.
struct Talk {
    client: Session,
    server: Session,
    said: Vec<Record>,
    /// What has come of the message that each stream of the server receives.
    messages: Vec<(StreamKey, Vec<u8>)>,
}

impl Talk {
    fn new() -> Self {
        let [client, server] = outer().map(|end| end.into_session(small(), Time::ZERO).expect("it is done"));
        let mut talk = Self { client, server, said: Vec::new(), messages: Vec::new() };
        talk.exchange();
        talk.client_events();
        talk.server_events();
        talk
    }

    /// Lets both say what they have, in turns, until they are silent; the application of neither acts meanwhile.
    fn exchange(&mut self) {
        loop {
            let forth = carry("initiator", &mut self.client, &mut self.server, &mut self.said);
            let back = carry("responder", &mut self.server, &mut self.client, &mut self.said);
            if !forth && !back {
                return;
            }
        }
    }

    fn client_events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn server_events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn open(&mut self, kind: OpenKind, method: &str, length: usize) -> StreamKey {
        let call = OpenCall {
            body: bytes_of(length),
            deadline: Deadline::after(Time::ZERO, Deadline::DEFAULT),
            ..OpenCall::new(kind, method.parse().expect("a name"))
        };
        self.client.open(call).expect("the session stands")
    }

    /// Echoes until nothing happens any more: calls at once, messages of streams piece by piece as they come.
    fn echo(&mut self) {
        loop {
            self.exchange();
            let events = self.server_events();
            let heard = self.listen();
            if events.is_empty() && !heard {
                return;
            }
            for event in events {
                self.answer(event);
            }
        }
    }

    fn answer(&mut self, event: Event) {
        match event {
            Event::Opened { key, kind: OpenKind::Request, body, credit, .. } => {
                self.server.release(credit);
                self.server.respond(key, Answer::from(body)).expect("the call waits");
            }
            Event::Opened { key, kind: OpenKind::OneWay, credit, .. } => {
                self.server.release(credit);
                self.server.end(key, Status::Ok, "", Metadata::default()).expect("the message waits");
            }
            Event::Opened { key, .. } => self.messages.push((key, Vec::new())),
            Event::Data { key, body, end, fin, .. } => {
                self.server.consumed(key, body.len());
                let Some((_, message)) = self.messages.iter_mut().find(|(other, _)| *other == key) else {
                    return;
                };
                message.extend_from_slice(&body);
                if end {
                    self.server.send(key, std::mem::take(message).into()).expect("one message at a time");
                }
                if fin {
                    self.server.end(key, Status::Ok, "", Metadata::default()).expect("the stream stands");
                }
            }
            _ => {}
        }
    }

    /// Takes what came for the client; gives whether anything did.
    fn listen(&mut self) -> bool {
        let events = self.client_events();
        for event in &events {
            match event {
                Event::Answered { credit, .. } => self.client.release(*credit),
                Event::Data { key, body, .. } => self.client.consumed(*key, body.len()),
                _ => {}
            }
        }
        !events.is_empty()
    }

    fn close(mut self, about: &'static str) -> Connection {
        self.client.close(CloseCode::Normal, "");
        self.exchange();
        Connection { about, said: self.said }
    }
}

/// Both ends of a start without a handshake of keys.
pub(super) fn outer() -> [Handshake; 2] {
    let outer = || Outer { peer: PeerIdentity::Anonymous, binding: None };
    let mut client = Handshake::initiator_inside(outer(), UnixMillis(TIME), [NONCE; 16]);
    let mut server = Handshake::responder_inside(outer());
    for _ in 0..2 {
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }
    [client, server]
}

fn pass(from: &mut Handshake, to: &mut Handshake) {
    let mut bytes = Vec::new();
    from.poll_transmit(&mut bytes);
    to.handle_bytes(&mut BytesMut::from(&bytes[..]));
    while let Some(event) = to.poll_event() {
        match event {
            HandshakeEvent::Preface(_) => to.proceed_inside().expect("a preface waits"),
            HandshakeEvent::Peer(_) => to.admit().expect("a peer waits"),
            _ => {}
        }
    }
}

/// Hands over what a session says now, a record a row; gives whether it said anything.
fn carry(from: &'static str, speaker: &mut Session, listener: &mut Session, said: &mut Vec<Record>) -> bool {
    let mut bytes = Vec::new();
    while speaker.poll_transmit(Time::ZERO, &mut bytes) {}
    speaker.handle_written(bytes.len());
    listener.handle_bytes(Time::ZERO, &mut BytesMut::from(&bytes[..]));
    let mut rest = &bytes[..];
    while let [high, low, after @ ..] = rest {
        let (plain, behind) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        said.push(Record { from, plaintext: hex(plain), frames: described_all(plain) });
        rest = behind;
    }
    !bytes.is_empty()
}

fn bytes_of(length: usize) -> Bytes {
    (0..length).map(|at| (at * 7) as u8).collect()
}

fn unary() -> Connection {
    let mut talk = Talk::new();
    talk.open(OpenKind::Request, "np.echo", 5);
    talk.open(OpenKind::Request, "np.echo", 256);
    talk.open(OpenKind::OneWay, "note", 20);
    talk.echo();
    talk.client.ping();
    talk.echo();
    talk.close("two calls of one method, a one-way message, and a ping")
}

fn large() -> Connection {
    let mut talk = Talk::new();
    talk.open(OpenKind::Request, "np.echo", 1_500);
    talk.open(OpenKind::Request, "np.echo", 257);
    talk.echo();
    talk.close("requests and responses above the stream_window of 256, each after its grant")
}

fn stream() -> Connection {
    let mut talk = Talk::new();
    let key = talk.open(OpenKind::Stream, "np.echo-stream", 0);
    talk.echo();
    for length in [0, 600, 3] {
        talk.client.send(key, bytes_of(length)).expect("one message at a time");
        talk.echo();
    }
    talk.client.finish(key).expect("the stream stands");
    talk.echo();
    talk.close("a stream with messages of 0, 600 and 3 bytes each way under windows of 256")
}

fn failing() -> Connection {
    let mut talk = Talk::new();
    talk.open(OpenKind::Request, "shop.buy", 4);
    let stream = talk.open(OpenKind::Stream, "shop.watch", 0);
    talk.exchange();
    for event in talk.server_events() {
        if let Event::Opened { key, kind: OpenKind::Request, credit, .. } = event {
            talk.server.release(credit);
            talk.server.end(key, Status::Failed, "out of stock", Metadata::default()).expect("the call waits");
        }
    }
    talk.exchange();
    talk.client.cancel(stream);
    talk.exchange();
    for event in talk.server_events() {
        if let Event::Cancelled { key, status } = event {
            talk.server.end(key, status, "", Metadata::default()).expect("the stream waits for its end");
        }
    }
    talk.exchange();
    talk.close("a call that fails, and a stream that its caller cancels")
}

fn draining() -> Connection {
    let mut talk = Talk::new();
    talk.open(OpenKind::Request, "np.echo", 3);
    talk.exchange();
    let waiting = talk.server_events();
    talk.server.go_away(CloseCode::Drained);
    // It crosses the GO_AWAY, and is refused.
    talk.open(OpenKind::Request, "np.echo", 4);
    talk.exchange();
    for event in waiting {
        talk.answer(event);
    }
    talk.exchange();
    talk.server.close(CloseCode::Drained, "");
    talk.exchange();
    Connection {
        about: "a server that drains: it answers what it accepted, refuses what crosses, and closes",
        said: talk.said,
    }
}
