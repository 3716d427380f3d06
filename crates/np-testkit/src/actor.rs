//! An application that follows a script: it calls, answers, streams, cancels and closes, and keeps a record of it all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use np_session::{Answer, Event, OpenCall, OpenKind, Priority, Session, Shortage, StreamKey};
use np_types::{CallError, CloseCode, Deadline, Metadata, MethodName, Outcome, Status, Time};

use crate::{Application, Rng};

/// What a script does at one point in time. Every call has a number that is unique among both sides.
#[derive(Debug, Clone)]
pub enum Action {
    /// Opens a call, a one-way message or a stream.
    Open {
        /// Its number.
        number: u64,
        /// What to open.
        kind: OpenKind,
        /// What the callee does: `echo`, `fail`, `nest`, `hang`; `chat` for streams.
        method: &'static str,
        /// Bytes of the message, or of each message of a stream.
        sizes: Vec<usize>,
        /// When the caller stops waiting.
        deadline: Option<Duration>,
        /// When the caller gives it up.
        cancel: Option<Duration>,
    },
    /// Asks for a sign of life.
    Ping,
    /// Renews the key.
    UpdateKey,
    /// Takes no more of what this names while memory is short, and grants so many bytes of large messages meanwhile.
    Shortage(Shortage, u64),
    /// Accepts no more calls.
    GoAway,
    /// Ends the connection.
    Close,
}

/// An action and its time.
#[derive(Debug, Clone)]
pub struct Step {
    /// When.
    pub at: Time,
    /// What.
    pub action: Action,
}

/// How a call ended for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// With an answer.
    Answered,
    /// With an error.
    Failed(Outcome, Status),
    /// A one-way message was handed over.
    Sent,
    /// A stream ended well.
    Ended,
}

/// What the caller knows of a call.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// Its number.
    pub number: u64,
    /// What was opened.
    pub kind: OpenKind,
    /// What the callee does.
    pub method: &'static str,
    /// Whether the script gave it up.
    pub cancelled: bool,
    /// Whether it has a deadline.
    pub has_deadline: bool,
    /// Its ends: there must be one.
    pub results: Vec<CallResult>,
    size: usize,
    /// The messages that a stream has still to send, and those that it sent.
    to_send: VecDeque<Bytes>,
    echoes: VecDeque<Bytes>,
    received: Vec<u8>,
    /// The peer's call that waits for this one.
    outer: Option<StreamKey>,
}

#[derive(Debug)]
struct Served {
    number: u64,
    kind: OpenKind,
    to_send: VecDeque<Bytes>,
    received: Vec<u8>,
    finished: bool,
}

#[derive(Debug)]
enum Job {
    Respond(StreamKey, Bytes),
    End(StreamKey, Status),
    Cancel(StreamKey),
    Release(u32),
    Consume(StreamKey, usize),
}

/// The application of a simulation.
#[derive(Debug)]
pub struct Actor {
    rng: Rng,
    script: VecDeque<Step>,
    jobs: BTreeMap<(Time, u64), Job>,
    job_count: u64,
    next_number: u64,
    /// The calls of this side.
    pub calls: BTreeMap<StreamKey, CallRecord>,
    served: BTreeMap<StreamKey, Served>,
    /// How often each call of the peer was begun here.
    pub executed: BTreeMap<u64, u32>,
    /// Calls that the session refused at once, for the reasons that it gave.
    pub refused: Vec<CallError>,
    /// Whether there was a time when it took no calls, for want of memory.
    pub refused_calls: bool,
    /// Rules that were broken.
    pub violations: Vec<String>,
    /// Whether the connection's end was told.
    pub closed: bool,
    /// Pings that were sent, and the last that was answered.
    pub pings: (u64, u64),
}

/// The bytes of message `at` of call `number`: anybody can compute them. The first 8 are the number, as far as they go.
#[must_use]
pub fn body(number: u64, at: usize, size: usize) -> Bytes {
    let mut rng = Rng::new(number ^ ((at as u64) << 40));
    let mut out = vec![0; size.max(8)];
    let (head, rest) = out.split_at_mut(8);
    head.copy_from_slice(&number.to_be_bytes());
    let block = rng.bytes32();
    for (at, part) in rest.chunks_mut(32).enumerate() {
        part.copy_from_slice(&block[..part.len()]);
        // Each block has its place in its last byte.
        if let [.., last] = part
            && (at + 1) * 32 + 8 <= size
        {
            *last = last.wrapping_add((at * 32 + 40) as u8);
        }
    }
    out.truncate(size);
    Bytes::from(out)
}

impl Actor {
    /// An application with a script in the order of time; `first_number` is the first of its nested calls' numbers.
    #[must_use]
    pub fn new(seed: u64, first_number: u64, script: Vec<Step>) -> Self {
        Self {
            rng: Rng::new(seed),
            script: script.into(),
            jobs: BTreeMap::new(),
            job_count: 0,
            next_number: first_number,
            calls: BTreeMap::new(),
            served: BTreeMap::new(),
            executed: BTreeMap::new(),
            refused: Vec::new(),
            refused_calls: false,
            violations: Vec::new(),
            closed: false,
            pings: (0, 0),
        }
    }

    /// Adds a step to the end of the script.
    pub fn add(&mut self, step: Step) {
        self.script.push_back(step);
    }

    /// Calls of the peer that were not ended here.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.served.len()
    }

    fn broken(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Does `job` within `most` milliseconds.
    fn later(&mut self, now: Time, most: u64, job: Job) {
        let at = now + Duration::from_micros(self.rng.below(most * 1_000 + 1));
        self.job_count += 1;
        self.jobs.insert((at, self.job_count), job);
    }

    fn act(&mut self, now: Time, session: &mut Session, action: Action) {
        match action {
            Action::Ping => self.pings.0 = session.ping(),
            Action::UpdateKey => session.update_key(),
            Action::Shortage(shortage, spare) => {
                self.refused_calls |= shortage == Shortage::Calls;
                session.set_shortage(shortage, spare);
            }
            Action::GoAway => session.go_away(CloseCode::Drained),
            Action::Close => session.close(CloseCode::Normal, "the script ends here"),
            Action::Open { number, kind, method, sizes, deadline, cancel } => {
                let deadline = deadline.map_or(Deadline::NONE, |span| Deadline::after(now, span));
                let key = self.call(session, number, kind, method, &sizes, deadline, None);
                if let (Some(key), Some(span)) = (key, cancel) {
                    self.job_count += 1;
                    self.jobs.insert((now + span, self.job_count), Job::Cancel(key));
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one action")]
    fn call(
        &mut self,
        session: &mut Session,
        number: u64,
        kind: OpenKind,
        method: &'static str,
        sizes: &[usize],
        deadline: Deadline,
        outer: Option<StreamKey>,
    ) -> Option<StreamKey> {
        let mut metadata = Metadata::default();
        let size = sizes.first().copied().unwrap_or_default();
        if size < 8 || kind == OpenKind::Stream {
            metadata.insert("n", &number.to_be_bytes()).expect("a small pair");
        }
        let messages = || sizes.iter().enumerate().map(|(at, size)| body(number, at, *size)).collect::<VecDeque<_>>();
        let stream = kind == OpenKind::Stream;
        let to_send = if stream { messages() } else { VecDeque::new() };
        let mut call = OpenCall::new(kind, MethodName::new(method).expect("a name"));
        (call.metadata, call.deadline) = (metadata, deadline);
        call.priority = if number.is_multiple_of(3) { Priority::Bulk } else { Priority::Interactive };
        call.body = if stream { Bytes::new() } else { body(number, 0, size) };
        match session.open(call) {
            Ok(key) => {
                let record = CallRecord {
                    number,
                    kind,
                    method,
                    cancelled: false,
                    has_deadline: deadline != Deadline::NONE,
                    results: Vec::new(),
                    size,
                    echoes: to_send.clone(),
                    to_send,
                    received: Vec::new(),
                    outer,
                };
                self.calls.insert(key, record);
                Some(key)
            }
            Err(error) => {
                if error.outcome != Outcome::NotProcessed {
                    self.broken(format!("call {number:#x} was refused at once, but not as not processed: {error}"));
                }
                self.refused.push(error);
                None
            }
        }
    }

    fn run(&mut self, now: Time, session: &mut Session, job: Job) {
        match job {
            Job::Release(credit) => session.release(credit),
            Job::Consume(key, bytes) => session.consumed(key, bytes),
            Job::Cancel(key) => {
                if let Some(call) = self.calls.get_mut(&key)
                    && call.results.is_empty()
                {
                    call.cancelled = true;
                    session.cancel(key);
                }
            }
            Job::End(key, status) => {
                if self.served.remove(&key).is_some() {
                    // The connection may have ended meanwhile.
                    let ended = session.end(key, status, "so it is", Metadata::default());
                    self.must_go_well(session, key, ended.is_ok());
                }
            }
            Job::Respond(key, bytes) => {
                if self.served.remove(&key).is_some() {
                    let ended = session.respond(key, Answer::from(bytes));
                    self.must_go_well(session, key, ended.is_ok());
                }
            }
        }
        let _ = now;
    }

    fn must_go_well(&mut self, session: &Session, key: StreamKey, well: bool) {
        if !well && session.error().is_none() {
            self.broken(format!("the call {key:?} was there and could not be ended"));
        }
    }

    fn opened(&mut self, now: Time, session: &mut Session, key: StreamKey, kind: OpenKind, what: Opening) {
        let Opening { method, number, body: bytes, credit } = what;
        let Some(number) = number else {
            self.broken(format!("a call without a number: {method}"));
            return;
        };
        *self.executed.entry(number).or_default() += 1;
        if kind != OpenKind::Stream && bytes != body(number, 0, bytes.len()) {
            self.broken(format!("call {number:#x} came with another body of {} bytes", bytes.len()));
        }
        let served = Served { number, kind, to_send: VecDeque::new(), received: Vec::new(), finished: false };
        if self.served.insert(key, served).is_some() {
            self.broken(format!("the key {key:?} was used twice"));
        }
        if credit > 0 {
            self.later(now, 30, Job::Release(credit));
        }
        match (kind, method.as_str()) {
            (OpenKind::OneWay, _) => self.later(now, 20, Job::End(key, Status::Ok)),
            (OpenKind::Stream, _) | (_, "hang") => {}
            (_, "fail") => self.later(now, 20, Job::End(key, Status::Failed)),
            (_, "nest") => {
                self.next_number += 1;
                let number = self.next_number;
                // Two sides that fill each other's allowance with nested calls would wait for ever.
                let deadline = Deadline::after(now, Duration::from_secs(2));
                let inner = self.call(session, number, OpenKind::Request, "echo", &[bytes.len()], deadline, Some(key));
                if inner.is_none() {
                    self.later(now, 0, Job::End(key, Status::Failed));
                }
            }
            _ => self.later(now, 40, Job::Respond(key, bytes)),
        }
    }

    /// A call of this side is over.
    fn ended(&mut self, now: Time, key: StreamKey, result: CallResult) {
        let Some(call) = self.calls.get_mut(&key) else {
            self.broken(format!("{result:?} for a call that was never made: {key:?}"));
            return;
        };
        call.results.push(result);
        let (number, outer) = (call.number, call.outer);
        if result == CallResult::Ended && !call.echoes.is_empty() {
            self.violations.push(format!("stream {number:#x} ended before all its messages came back"));
        }
        if let Some(outer) = outer.filter(|outer| self.served.contains_key(outer)) {
            let size = self.calls.get(&key).map_or(0, |call| call.size);
            let number = self.served.get(&outer).map_or(0, |served| served.number);
            let job = match result {
                CallResult::Answered => Job::Respond(outer, body(number, 0, size)),
                _ => Job::End(outer, Status::Failed),
            };
            self.later(now, 5, job);
        }
    }

    fn answered(&mut self, now: Time, key: StreamKey, answer: &Answer, credit: u32) {
        if credit > 0 {
            self.later(now, 30, Job::Release(credit));
        }
        if let Some(call) = self.calls.get(&key)
            && answer.body != body(call.number, 0, call.size)
        {
            let text = format!("call {:#x} was answered with another body", call.number);
            self.broken(text);
        }
        self.ended(now, key, CallResult::Answered);
    }

    fn data(&mut self, now: Time, session: &mut Session, key: StreamKey, bytes: &[u8], marks: (bool, bool)) {
        self.later(now, 20, Job::Consume(key, bytes.len()));
        let (end, fin) = marks;
        if let Some(call) = self.calls.get_mut(&key) {
            call.received.extend_from_slice(bytes);
            if end {
                let message = std::mem::take(&mut call.received);
                if call.echoes.pop_front().as_deref() != Some(&message[..]) {
                    let text = format!("stream {:#x} brought another message back", call.number);
                    self.broken(text);
                }
            }
        } else if let Some(served) = self.served.get_mut(&key) {
            served.received.extend_from_slice(bytes);
            if end {
                let message = std::mem::take(&mut served.received);
                served.to_send.push_back(Bytes::from(message));
            }
            served.finished |= fin;
            self.speak(now, session, key);
        }
    }

    /// A stream says what it has to say.
    fn speak(&mut self, now: Time, session: &mut Session, key: StreamKey) {
        if let Some(call) = self.calls.get_mut(&key) {
            if call.cancelled || !call.results.is_empty() {
                return;
            }
            let said = match call.to_send.pop_front() {
                Some(message) => session.send(key, message),
                None => session.finish(key),
            };
            if said.is_err() {
                self.broken(format!("a writable stream took no message: {key:?}"));
            }
        } else if let Some(served) = self.served.get_mut(&key)
            && session.is_writable(key)
        {
            if let Some(message) = served.to_send.pop_front()
                && session.send(key, message).is_err()
            {
                // The caller may have given it up.
                served.finished = true;
            }
            if served.finished && served.to_send.is_empty() {
                self.later(now, 0, Job::End(key, Status::Ok));
            }
        }
    }
}

struct Opening {
    method: MethodName,
    number: Option<u64>,
    body: Bytes,
    credit: u32,
}

impl Application for Actor {
    fn on_event(&mut self, now: Time, session: &mut Session, event: Event) {
        if self.closed {
            self.broken(format!("an event after the last: {event:?}"));
        }
        match event {
            Event::Opened { key, kind, method, metadata, body, credit, .. } => {
                let bytes = metadata.value("n").unwrap_or_else(|| body.get(..8).unwrap_or_default());
                let number = bytes.try_into().ok().map(u64::from_be_bytes);
                self.opened(now, session, key, kind, Opening { method, number, body, credit });
            }
            Event::Answered { key, answer, credit } => self.answered(now, key, &answer, credit),
            Event::Failed { key, error } => self.ended(now, key, CallResult::Failed(error.outcome, error.status)),
            Event::Ended { key, .. } => self.ended(now, key, CallResult::Ended),
            Event::Sent { key } => self.ended(now, key, CallResult::Sent),
            Event::Data { key, body, end, fin, .. } => self.data(now, session, key, &body, (end, fin)),
            Event::Writable { key } => self.speak(now, session, key),
            Event::Cancelled { key, status } => {
                if self.served.get(&key).is_some_and(|served| served.kind == OpenKind::Request && self.rng.chance(30)) {
                    // A handler that answers although nobody waits.
                    self.later(now, 10, Job::Respond(key, Bytes::from_static(b"too late")));
                } else {
                    self.later(now, 10, Job::End(key, status));
                }
            }
            Event::Pong { token } => self.pings.1 = token,
            Event::Closed(_) => self.closed = true,
            _ => {}
        }
    }

    fn due(&self) -> Option<Time> {
        let step = self.script.front().map(|step| step.at);
        let job = self.jobs.keys().next().map(|(at, _)| *at);
        [step, job].into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Time, session: &mut Session) {
        while self.script.front().is_some_and(|step| step.at <= now) {
            if let Some(step) = self.script.pop_front() {
                self.act(now, session, step.action);
            }
        }
        while let Some(entry) = self.jobs.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let job = entry.remove();
            self.run(now, session, job);
        }
    }
}
