//! A client, its connection to a server that drains, and another server that takes what was not processed. The sessions are
//! real; what stands between them is a queue each way, of what was written at once.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::{Bytes, BytesMut};
use np_session::{Answer, Event, Handshake, HandshakeEvent, OpenCall, OpenKind, Outer, Session, StreamKey};
use np_types::{CloseCode, ConnectionError, Limits, Outcome, PeerIdentity, Time, UnixMillis};
use np_wire::{Frame, Frames, RECORD_HEAD, encode_frame};

const NOW: Time = Time::ZERO;

/// What is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Go-away names one call less than were accepted.
    TooFewAccepted,
    /// Go-away names one call more.
    TooManyAccepted,
    /// The server ends a connection that it drains before its calls are answered.
    ClosesTooSoon,
    /// A client takes every call without an answer for one that was not processed.
    LostIsNotProcessed,
    /// The server runs what it refuses.
    RunsRefused,
}

/// One thing that happens to a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Op {
    /// The client sends a call.
    Send(usize),
    /// What was written first by the client, or by the server, arrives.
    Up,
    Down,
    /// The handler of a call is done.
    Finish(usize),
    /// The server says go-away: its drain has begun.
    GoAway,
    /// The server ends the connection, on which nothing is open.
    Close,
    /// The connection is lost for the client; `true`: what was on its way had not left, and the client knows it.
    Lose(bool),
    /// The client hears that the server has lost it; as above.
    HearLoss(bool),
    /// The server hears that the client has lost it.
    Notice,
    /// The server ends at once, for all of its clients.
    Restart,
    /// A call that was not processed is sent to another server, which answers it.
    Move(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    New,
    Sent,
    Answered,
    NotProcessed,
    Unknown,
    /// Answered by the other server.
    Moved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Call {
    stage: Stage,
    /// How often its work was begun, here and at the other server.
    runs: [u8; 2],
    /// Whether its answer left a server that was draining.
    while_draining: bool,
}

/// The connection, and what is known of its calls.
pub(crate) struct Link {
    client: Session,
    server: Session,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Vec<u8>>,
    calls: Vec<Call>,
    keys: BTreeMap<StreamKey, usize>,
    running: BTreeMap<usize, StreamKey>,
    went_away: bool,
    /// Whether the client's side was lost, the server's, or both.
    lost: [bool; 2],
    broken: Option<String>,
}

/// What was seen at the ends of a walk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sights {
    pub(crate) answered_while_draining: bool,
    pub(crate) moved: bool,
    pub(crate) unknown: bool,
}

impl Sights {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.answered_while_draining |= other.answered_while_draining;
        self.moved |= other.moved;
        self.unknown |= other.unknown;
    }
}

impl Link {
    pub(crate) fn new(calls: usize) -> Self {
        let [client, server] = sessions();
        let call = Call { stage: Stage::New, runs: [0; 2], while_draining: false };
        Self {
            client,
            server,
            up: VecDeque::new(),
            down: VecDeque::new(),
            calls: vec![call; calls],
            keys: BTreeMap::new(),
            running: BTreeMap::new(),
            went_away: false,
            lost: [false; 2],
            broken: None,
        }
    }

    /// Everything that may happen next, however often it may.
    pub(crate) fn ops(&self, flaw: Flaw) -> Vec<Op> {
        let (client, server) = (self.client.error().is_none(), self.server.error().is_none());
        let of_call = |(call, one): (usize, &Call)| match one.stage {
            Stage::New if client => Some(Op::Send(call)),
            // Elsewhere at once, where the connection is over before it was sent.
            Stage::New | Stage::NotProcessed => Some(Op::Move(call)),
            _ => None,
        };
        let mut ops: Vec<_> = self.calls.iter().enumerate().filter_map(of_call).collect();
        if !self.lost[1] {
            ops.push(Op::Restart);
        }
        if client {
            ops.extend((!self.down.is_empty()).then_some(Op::Down));
            let lose = if self.lost[1] { Op::HearLoss } else { Op::Lose };
            ops.extend([lose(false), lose(true)]);
        }
        if server {
            ops.extend((!self.up.is_empty()).then_some(Op::Up));
            ops.extend(self.running.keys().map(|call| Op::Finish(*call)));
            ops.extend((!self.went_away).then_some(Op::GoAway));
            let over = self.went_away && (self.server.is_idle() || flaw == Flaw::ClosesTooSoon);
            ops.extend(over.then_some(Op::Close));
            ops.extend((!client && !self.lost[1]).then_some(Op::Notice));
        }
        ops
    }

    pub(crate) fn apply(&mut self, flaw: Flaw, op: Op) {
        match op {
            Op::Send(call) => self.send(call),
            Op::Up => self.up(flaw),
            Op::Down => self.broken = self.down(flaw).err(),
            Op::Finish(call) => self.finish(call),
            Op::GoAway => self.go_away(flaw),
            Op::Close => {
                self.server.close(CloseCode::Drained, "");
                self.serve(flaw);
            }
            Op::Lose(unsent) | Op::HearLoss(unsent) => self.lose(flaw, unsent),
            Op::Notice | Op::Restart => self.server_lost(),
            Op::Move(call) => {
                self.calls[call].runs[1] += 1;
                self.calls[call].stage = Stage::Moved;
            }
        }
    }

    /// What holds at every step.
    pub(crate) fn judge(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        for (number, Call { stage, runs, .. }) in self.calls.iter().enumerate() {
            match stage {
                Stage::NotProcessed if runs[0] > 0 => return Err(format!("call {number} was not processed, and ran")),
                Stage::Answered if runs[0] != 1 => return Err(format!("call {number} was answered, and ran {runs:?}")),
                _ if runs[0] + runs[1] > 1 => return Err(format!("call {number} ran twice")),
                _ => {}
            }
        }
        Ok(())
    }

    /// What holds where nothing can happen any more.
    pub(crate) fn judge_end(&self) -> Result<(), String> {
        for (number, call) in self.calls.iter().enumerate() {
            match call.stage {
                Stage::Answered | Stage::Moved => {}
                Stage::Unknown if self.lost[0] => {}
                Stage::Unknown => return Err(format!("call {number} is unknown though nothing was lost")),
                other => return Err(format!("call {number} never ends: {other:?}")),
            }
        }
        Ok(())
    }

    pub(crate) fn sights(&self) -> Sights {
        let any = |seen: fn(&Call) -> bool| self.calls.iter().any(seen);
        Sights {
            answered_while_draining: any(|call| call.stage == Stage::Answered && call.while_draining),
            moved: any(|call| call.stage == Stage::Moved),
            unknown: any(|call| call.stage == Stage::Unknown),
        }
    }

    /// The whole of the state, sessions and all, as a number.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self { client, server, up, down, calls, keys, running, went_away, lost, broken } = self;
        format!("{client:?} {server:?} {keys:?} {running:?}").hash(&mut hasher);
        (up, down, calls, went_away, lost, broken).hash(&mut hasher);
        hasher.finish()
    }

    fn send(&mut self, call: usize) {
        let body = Bytes::from(vec![call as u8]);
        let open = OpenCall { body, ..OpenCall::new(OpenKind::Request, "m".parse().unwrap()) };
        match self.client.open(open) {
            Ok(key) => {
                self.keys.insert(key, call);
                self.calls[call].stage = Stage::Sent;
                let mut out = Vec::new();
                self.client.poll_transmit(NOW, &mut out);
                self.up.push_back(out);
            }
            Err(error) => {
                assert_eq!(error.outcome, Outcome::NotProcessed, "{error}");
                self.calls[call].stage = Stage::NotProcessed;
            }
        }
    }

    fn up(&mut self, flaw: Flaw) {
        let chunk = self.up.pop_front().unwrap();
        if !self.lost[0] {
            self.client.handle_written(chunk.len());
        }
        if flaw == Flaw::RunsRefused && self.went_away {
            self.run_requests(&chunk);
        }
        self.server.handle_bytes(NOW, &mut BytesMut::from(&chunk[..]));
        self.serve(flaw);
    }

    /// The flaw of a server that runs what it refuses.
    fn run_requests(&mut self, chunk: &[u8]) {
        for frame in Frames::new(&chunk[RECORD_HEAD..]) {
            if let Ok(Frame::Open(open)) = frame {
                self.calls[usize::from(open.body[0])].runs[0] += 1;
            }
        }
    }

    /// Takes the events of the server, and writes what it has to say.
    fn serve(&mut self, flaw: Flaw) {
        while let Some(event) = self.server.poll_event() {
            match event {
                Event::Opened { key, body, credit, .. } => {
                    self.server.release(credit);
                    let call = usize::from(body[0]);
                    self.calls[call].runs[0] += 1;
                    self.running.insert(call, key);
                }
                Event::Cancelled { key, .. } => self.running.retain(|_, other| *other != key),
                _ => {}
            }
        }
        let mut out = Vec::new();
        if self.server.poll_transmit(NOW, &mut out) {
            self.server.handle_written(out.len());
            self.down.push_back(altered(flaw, &out));
        }
    }

    fn finish(&mut self, call: usize) {
        let key = self.running.remove(&call).unwrap();
        self.server.respond(key, Answer::from(Bytes::from(vec![call as u8]))).unwrap();
        self.calls[call].while_draining = self.went_away;
        self.serve(Flaw::None);
    }

    fn go_away(&mut self, flaw: Flaw) {
        self.went_away = true;
        self.server.go_away(CloseCode::Drained);
        self.serve(flaw);
    }

    /// # Errors
    /// Where the client ends the connection by itself.
    fn down(&mut self, flaw: Flaw) -> Result<(), String> {
        let chunk = self.down.pop_front().unwrap();
        // The server has read what it answers.
        self.client.handle_bytes(NOW, &mut BytesMut::from(&chunk[..]));
        self.hear(flaw);
        let mut out = Vec::new();
        if self.client.error().is_none() && self.client.poll_transmit(NOW, &mut out) {
            self.up.push_back(out);
        }
        match self.client.error() {
            None | Some(ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }) => Ok(()),
            Some(other) => Err(format!("the client ended the connection: {other}")),
        }
    }

    /// Takes the events of the client.
    fn hear(&mut self, flaw: Flaw) {
        while let Some(event) = self.client.poll_event() {
            let (key, stage) = match event {
                Event::Answered { key, answer, credit } => {
                    self.client.release(credit);
                    assert_eq!(usize::from(answer.body[0]), self.keys[&key], "the answer of another call");
                    (key, Stage::Answered)
                }
                Event::Failed { key, error } => match error.outcome {
                    Outcome::NotProcessed => (key, Stage::NotProcessed),
                    _ if flaw == Flaw::LostIsNotProcessed => (key, Stage::NotProcessed),
                    _ => (key, Stage::Unknown),
                },
                _ => continue,
            };
            let call = self.keys.remove(&key).expect("a call ends once");
            self.calls[call].stage = stage;
        }
    }

    fn lose(&mut self, flaw: Flaw, unsent: bool) {
        if unsent {
            self.up.clear();
        }
        self.up.iter().for_each(|chunk| self.client.handle_written(chunk.len()));
        self.lost[0] = true;
        self.down.clear();
        self.client.handle_lost(lost());
        self.hear(flaw);
    }

    fn server_lost(&mut self) {
        self.lost[1] = true;
        self.up.clear();
        self.running.clear();
        self.server.handle_lost(lost());
        while self.server.poll_event().is_some() {}
    }
}

/// What the server says, with another number in its go-away where that is the flaw.
fn altered(flaw: Flaw, said: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    for frame in Frames::new(&said[RECORD_HEAD..]) {
        let frame = match frame.unwrap() {
            Frame::GoAway { accepted, code } => {
                let accepted = match flaw {
                    Flaw::TooFewAccepted => accepted.saturating_sub(1),
                    Flaw::TooManyAccepted => accepted + 1,
                    _ => accepted,
                };
                Frame::GoAway { accepted, code }
            }
            other => other,
        };
        encode_frame(&mut frames, &frame);
    }
    let mut record = (frames.len() as u16).to_be_bytes().to_vec();
    record.extend(frames);
    record
}

/// Two connected sessions, of which each has heard the other's settings.
fn sessions() -> [Session; 2] {
    let outer = || Outer { peer: PeerIdentity::Anonymous, binding: None };
    let mut client = Handshake::initiator_inside(outer(), UnixMillis(0), [7; 16]);
    let mut server = Handshake::responder_inside(outer());
    let pass = |from: &mut Handshake, to: &mut Handshake| {
        let mut bytes = Vec::new();
        from.poll_transmit(&mut bytes);
        to.handle_bytes(&mut BytesMut::from(&bytes[..]));
    };
    pass(&mut client, &mut server);
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::Preface(_))));
    server.proceed_inside().unwrap();
    pass(&mut server, &mut client);
    let mut ends = [client, server].map(|mut end| {
        end.admit().unwrap();
        end.into_session(Limits::default(), NOW).unwrap()
    });
    for at in [0, 1, 0, 1] {
        let mut out = Vec::new();
        while ends[at].poll_transmit(NOW, &mut out) {}
        ends[at].handle_written(out.len());
        ends[1 - at].handle_bytes(NOW, &mut BytesMut::from(&out[..]));
    }
    for end in &mut ends {
        while end.poll_event().is_some() {}
    }
    ends
}

fn lost() -> ConnectionError {
    ConnectionError::io("the network", &std::io::ErrorKind::ConnectionReset.into())
}
