//! A client: the real half of exactly-once calls, and the attempts around it, as np-facade makes them: one connection at
//! a time, made again where it is lost, left where its server drains.

use std::collections::BTreeMap;
use std::time::Duration;

use np_dispatch::{AttemptEnd, Epoch, InstanceId, OnceClient, OnceError, OnceNext, Reply};
use np_session::{Event, OpenCall, OpenKind, Session, StreamKey};
use np_testkit::Rng;
use np_types::{CallError, CloseCode, Deadline, Metadata, Outcome, Status, Time};

use crate::link::CLIENT;
use crate::plan::{Flaw, Plan, SERVERS, Setup};
use crate::server::{Links, body, reply};

/// How long a connection may take until it is ready.
const ESTABLISH: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(40);

/// How a call ended for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    NotProcessed,
    Unknown,
    /// The callee answered that the deadline had passed.
    TooLate,
    /// Its caller is gone, or has given it up: nobody is told.
    Untold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// To be sent, from then on.
    Idle(Time),
    Sent(usize, StreamKey),
    Over(End),
}

#[derive(Debug)]
pub(crate) struct Call {
    plan: Plan,
    number: u64,
    stage: Stage,
    /// By the client's own clock.
    deadline: Time,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    flaw: Flaw,
    roams: bool,
    once: OnceClient,
    pub(crate) calls: Vec<Call>,
    /// The connection that takes calls, and those that are left once nothing is open there.
    pub(crate) link: Option<usize>,
    leaving: Vec<usize>,
    /// The server to connect to, and when.
    pub(crate) server: usize,
    connect_at: Time,
    epoch: Option<Epoch>,
    asking: Option<(usize, StreamKey)>,
    attempts: BTreeMap<(usize, StreamKey), usize>,
    /// How far its clock is ahead.
    pub(crate) ahead: Duration,
    rng: Rng,
    pub(crate) broken: Vec<String>,
}

impl Client {
    pub(crate) fn new(number: usize, setup: &Setup, flaw: Flaw, mut rng: Rng) -> Self {
        let call = |plan: &Plan| Call { plan: *plan, number: 0, stage: Stage::New, deadline: Time::ZERO };
        Self {
            number,
            flaw,
            roams: setup.roams,
            once: OnceClient::new(instance(&mut rng)),
            calls: setup.clients[number].iter().map(call).collect(),
            link: None,
            leaving: Vec::new(),
            server: rng.below(SERVERS as u64) as usize,
            connect_at: Time::ZERO,
            epoch: None,
            asking: None,
            attempts: BTreeMap::new(),
            ahead: Duration::ZERO,
            rng,
            broken: Vec::new(),
        }
    }

    /// How each call has ended, and `None` for those that go on.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (Plan, Option<End>)> {
        let end = |call: &Call| match call.stage {
            Stage::Over(end) => Some(end),
            _ => None,
        };
        self.calls.iter().map(move |call| (call.plan, end(call)))
    }

    pub(crate) fn is_done(&self) -> bool {
        self.ends().all(|(_, end)| end.is_some())
    }

    /// The process ends and another takes its place: it is another instance, and makes the calls that were not begun.
    pub(crate) fn replace(&mut self, links: &mut Links, silent: bool) {
        links.values_mut().filter(|link| link.client == self.number).for_each(|link| link.lose_process(CLIENT, silent));
        let begun = self.calls.iter_mut().filter(|call| matches!(call.stage, Stage::Idle(_) | Stage::Sent(..)));
        begun.for_each(|call| call.stage = Stage::Over(End::Untold));
        self.once = OnceClient::new(instance(&mut self.rng));
        (self.link, self.epoch, self.asking) = (None, None, None);
        self.leaving.clear();
        self.attempts.clear();
    }

    /// Whether a connection is to be made now.
    pub(crate) fn wants_link(&self, now: Time) -> bool {
        self.link.is_none() && self.connect_at <= now && !self.is_done()
    }

    pub(crate) fn connected(&mut self, link: usize) {
        self.link = Some(link);
    }

    /// No connection was made.
    pub(crate) fn refused(&mut self, now: Time) {
        self.connect_at = now + Duration::from_millis(self.rng.between(20, 300));
        if self.rng.chance(50) {
            self.server = (self.server + 1) % SERVERS;
        }
    }

    /// When it has something to do next after `now`, in the time of the world.
    pub(crate) fn due(&self, now: Time, links: &Links) -> Option<Time> {
        let world = |at: Time| Time::ZERO + at.since(Time::ZERO + self.ahead);
        let of_call = |call: &Call| {
            let gives_up = call.plan.gives_up.map(|span| call.plan.at + span);
            match call.stage {
                Stage::New => [Some(call.plan.at), None, None],
                Stage::Idle(at) => [Some(at), Some(world(call.deadline)), gives_up],
                Stage::Sent(..) => [Some(world(call.deadline)), gives_up, None],
                Stage::Over(_) => [None; 3],
            }
        };
        let calls = self.calls.iter().flat_map(of_call).flatten();
        let establish = self.link.and_then(|link| links.get(&link)).map(|link| link.made + ESTABLISH);
        let connect = self.link.is_none().then_some(self.connect_at);
        calls.chain(establish).chain(connect).filter(|at| *at > now).min()
    }

    /// Begins, sends and gives up what it is time for; gives whether there was anything.
    pub(crate) fn act(&mut self, now: Time, links: &mut Links) -> bool {
        let mut any = self.watch(now, links);
        for at in 0..self.calls.len() {
            any |= self.advance(at, now, links);
        }
        self.leaving.retain(|id| {
            let open = self.attempts.keys().any(|(link, _)| link == id);
            if !open && let Some(session) = links.get_mut(id).and_then(|link| link.session(CLIENT)) {
                session.close(CloseCode::Normal, "");
                any = true;
            }
            open
        });
        any
    }

    /// Looks after the connection, and asks for its epoch.
    fn watch(&mut self, now: Time, links: &mut Links) -> bool {
        let Some(id) = self.link else {
            return false;
        };
        let Some(link) = links.get_mut(&id).filter(|link| !link.is_over(CLIENT)) else {
            let pause = Duration::from_millis(self.rng.between(5, 250));
            self.leave(now + pause);
            // The one in the place of the lost one, most times.
            if self.roams && self.rng.chance(30) {
                self.server = (self.server + 1) % SERVERS;
            }
            return true;
        };
        if !link.is_ready(CLIENT) && link.made + ESTABLISH <= now {
            link.lose_process(CLIENT, false);
            return true;
        }
        if self.is_done() {
            self.leaving.push(id);
            self.leave(now);
            return true;
        }
        let asks = link.is_ready(CLIENT) && self.epoch.is_none() && self.asking.is_none();
        let Some(session) = asks.then(|| link.session(CLIENT)).flatten() else {
            return false;
        };
        let mut ask = OpenCall::new(OpenKind::Request, "np.once".parse().unwrap());
        ask.body = self.once.instance().to_bytes().to_vec().into();
        match session.open(ask) {
            Ok(key) => self.asking = Some((id, key)),
            // The news that the server drains is on its way to `handle`.
            Err(_) => return false,
        }
        true
    }

    fn leave(&mut self, connect_at: Time) {
        (self.link, self.epoch, self.asking) = (None, None, None);
        self.connect_at = connect_at;
    }

    fn advance(&mut self, at: usize, now: Time, links: &mut Links) -> bool {
        let local = now + self.ahead;
        let call = &mut self.calls[at];
        match call.stage {
            Stage::New if call.plan.at <= now => {
                call.number = self.once.begin().expect("few calls");
                call.deadline = local + call.plan.patience;
                call.stage = Stage::Idle(now);
            }
            Stage::Idle(_) | Stage::Sent(..) if call.plan.gives_up.is_some_and(|span| call.plan.at + span <= now) => {
                if let Stage::Sent(id, key) = call.stage {
                    self.attempts.remove(&(id, key));
                    if let Some(session) = links.get_mut(&id).and_then(|link| link.session(CLIENT)) {
                        session.cancel(key);
                    }
                }
                let known = self.once.give_up(call.number);
                call.stage = Stage::Over(if known == Outcome::NotProcessed { End::NotProcessed } else { End::Untold });
            }
            Stage::Idle(_) if call.deadline <= local && self.flaw != Flaw::NoDeadline => {
                self.tell(at, CallError::not_processed(Status::DeadlineExceeded, "no connection came"));
            }
            Stage::Idle(from) if from <= now => return self.send(at, now, links),
            _ => return false,
        }
        true
    }

    /// Makes an attempt, where the connection is ready for it.
    fn send(&mut self, at: usize, now: Time, links: &mut Links) -> bool {
        let (Some(id), Some(epoch)) = (self.link, self.epoch) else {
            return false;
        };
        let link = links.get_mut(&id).filter(|link| link.is_ready(CLIENT));
        let Some(session) = link.and_then(|link| link.session(CLIENT)) else {
            return false;
        };
        let call = &mut self.calls[at];
        let header = match self.once.attempt(call.number, epoch) {
            Ok(header) => header,
            Err(OnceError::OtherEpoch(_)) => {
                self.tell(at, CallError::unknown(Status::OutcomeUnknown, "another server"));
                return true;
            }
            Err(other) => panic!("{other}"),
        };
        let mut open = OpenCall::new(OpenKind::Request, "work".parse().unwrap());
        let mut metadata = Metadata::new();
        header.put_in(&mut metadata).unwrap();
        open.metadata = metadata;
        open.deadline = if self.flaw == Flaw::NoDeadline { Deadline::NONE } else { Deadline::at(call.deadline) };
        open.body = body((self.number, at), call.plan.size);
        match session.open(open) {
            Ok(key) => {
                call.stage = Stage::Sent(id, key);
                self.attempts.insert((id, key), at);
            }
            Err(error) => self.ended(at, id, now, Err(error)),
        }
        true
    }

    pub(crate) fn handle(&mut self, now: Time, (id, event): (usize, Event), links: &mut Links) {
        match event {
            Event::Answered { key, answer, credit } => {
                if let Some(session) = links.get_mut(&id).and_then(|link| link.session(CLIENT)) {
                    session.release(credit);
                }
                self.outcome(now, (id, key), Ok(Reply::from(answer.body)), links);
            }
            Event::Failed { key, error } => self.outcome(now, (id, key), Err(error), links),
            Event::GoAway(_) if self.link == Some(id) => {
                self.leaving.push(id);
                self.leave(now);
                self.server = (self.server + 1) % SERVERS;
            }
            _ => {}
        }
    }

    fn outcome(&mut self, now: Time, of: (usize, StreamKey), result: Result<Reply, CallError>, links: &Links) {
        if self.asking == Some(of) {
            self.asking = None;
            match result {
                Ok(reply) => self.epoch = Some(Epoch::from_bytes(reply.body[..].try_into().unwrap())),
                // It is asked again, here or elsewhere.
                Err(error) if links.get(&of.0).is_some_and(|link| !link.is_over(CLIENT)) => {
                    assert_eq!(error.status, Status::Unavailable, "{error}");
                }
                Err(_) => {}
            }
        } else if let Some(at) = self.attempts.remove(&of) {
            self.ended(at, of.0, now, result);
        }
    }

    /// What follows from the end of an attempt.
    fn ended(&mut self, at: usize, link: usize, now: Time, result: Result<Reply, CallError>) {
        let mut end = AttemptEnd::of(&result);
        if self.flaw == Flaw::RetriesUnknown && end == AttemptEnd::Lost {
            end = AttemptEnd::NotProcessed;
        }
        let next = self.once.ended(self.calls[at].number, end);
        let error = match result {
            Ok(given) => {
                let own = reply((self.number, at));
                if given.body != own || self.calls[at].plan.fails {
                    self.broken.push(format!("call {at} of client {} was given {:?}", self.number, given.body));
                }
                self.calls[at].stage = Stage::Over(End::Answered);
                return;
            }
            Err(error) => error,
        };
        match (next, error.status) {
            (OnceNext::Retry { .. }, Status::OutcomeUnknown) => {
                if self.link == Some(link) {
                    self.epoch = None;
                }
                self.calls[at].stage = Stage::Idle(now + PAUSE);
            }
            (OnceNext::Retry { .. }, Status::Unavailable) => self.calls[at].stage = Stage::Idle(now + PAUSE),
            _ => self.tell(at, error),
        }
    }

    /// The caller is told, with what is known of the call.
    fn tell(&mut self, at: usize, error: CallError) {
        let call = &mut self.calls[at];
        let outcome = match self.once.give_up(call.number) {
            Outcome::Answered => error.outcome,
            known => known,
        };
        let expected = match error.status {
            Status::Failed => call.plan.fails,
            Status::DeadlineExceeded | Status::OutcomeUnknown => true,
            _ => false,
        };
        if !expected {
            self.broken.push(format!("call {at} of client {} was told {error}", self.number));
        }
        call.stage = Stage::Over(match outcome {
            Outcome::Answered if error.status == Status::DeadlineExceeded => End::TooLate,
            Outcome::Answered => End::Answered,
            Outcome::NotProcessed => End::NotProcessed,
            _ => End::Unknown,
        });
    }

    /// Calls that go on though their time is over.
    pub(crate) fn late(&self, now: Time) -> impl Iterator<Item = usize> {
        let is_late = move |call: &Call| match call.stage {
            Stage::Idle(_) | Stage::Sent(..) => call.deadline <= now,
            _ => false,
        };
        self.calls.iter().enumerate().filter(move |(_, call)| is_late(call)).map(|(at, _)| at)
    }

    /// The session of its connection, for what a test does to it.
    pub(crate) fn session<'a>(&self, links: &'a mut Links) -> Option<&'a mut Session> {
        links.get_mut(&self.link?)?.session(CLIENT)
    }
}

fn instance(rng: &mut Rng) -> InstanceId {
    InstanceId::from_bytes(rng.bytes32()[..16].try_into().unwrap())
}
