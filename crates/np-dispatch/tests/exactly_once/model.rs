//! Two clients and up to two servers of exactly-once calls, step by step: the real window, the real client's half, and
//! around them a network that loses connections and servers that start again, forget and drain.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a model that is wrong may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use np_dispatch::{
    AttemptEnd, Begin, Epoch, InstanceId, OnceClient, OnceHeader, OnceNext, OnceReply, OnceSettings, OnceWindow, Reply,
    Ticket,
};
use np_types::{Outcome, PeerIdentity, Time};
use stateright::{Model, Property};

pub(crate) const CLIENTS: usize = 2;

/// What may happen, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Budget {
    pub(crate) losses: u8,
    pub(crate) restarts: u8,
    /// Everything that does not run is forgotten.
    pub(crate) evictions: u8,
    pub(crate) drains: u8,
    pub(crate) give_ups: u8,
    /// Identities that come for a place where there is none: [`House::max_instances`].
    pub(crate) strangers: u8,
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A server that starts again has the epoch that it had.
    SameEpoch,
    /// What is forgotten leaves no trace.
    NoFloor,
    /// A retry of a call that runs begins it again.
    NoJoin,
    /// A client takes a call that was lost elsewhere under a new number.
    NewNumber,
    /// A stranger has the place of whatever does not run.
    NothingKept,
    /// A client takes every call without an answer for one that was not processed.
    LostIsNotProcessed,
}

pub(crate) struct House {
    pub(crate) servers: usize,
    /// Calls of each client.
    pub(crate) calls: [usize; CLIENTS],
    pub(crate) budget: Budget,
    pub(crate) max_calls: usize,
    /// Of all identities; each client is one of its own.
    pub(crate) max_instances: usize,
    pub(crate) fault: Fault,
    /// What has to be seen on the way.
    pub(crate) sights: Vec<Sight>,
}

/// A name, and the states that show it.
pub(crate) type Sight = (&'static str, fn(&House, &State) -> bool);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    servers: Vec<Server>,
    clients: Vec<Client>,
    /// Requests on their way.
    requests: BTreeSet<Request>,
    /// Answers on their way.
    answers: BTreeSet<Answer>,
    /// How often the work of each call was begun.
    runs: Vec<Vec<u8>>,
    left: Budget,
    replayed: bool,
    /// How often an instance had the place of another.
    displaced: u8,
}

/// As often as that may be: clients and strangers could take each other's places for ever.
const MAX_DISPLACED: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    window: OnceWindow<()>,
    /// How often it started, and so which connections are its.
    life: u8,
    running: BTreeMap<Call, Running>,
    draining: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Running {
    ticket: Ticket,
    waiting: BTreeSet<Link>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    half: OnceClient,
    link: Option<(Link, Epoch)>,
    /// Connections so far.
    links: u8,
    calls: Vec<Stage>,
}

/// Which call of which client.
type Call = (usize, usize);

/// A connection of a client to a life of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Link {
    client: usize,
    number: u8,
    server: usize,
    life: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Not sent yet.
    New,
    /// To be sent again.
    Idle(u64),
    Sent(u64),
    Answered,
    NotProcessed,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Request {
    link: Link,
    call: usize,
    numbers: (u64, u64, Vec<u64>),
    epoch: Epoch,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Answer {
    link: Link,
    call: usize,
    end: u8,
}

const ANSWERED: u8 = 0;
const NOT_PROCESSED: u8 = 1;
const UNREMEMBERED: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A client connects, and asks for its epoch.
    Connect(usize, usize),
    Send(usize, usize),
    Deliver(Request),
    /// What was on its way on a connection that is lost does not arrive.
    Drop(Request),
    Finish(usize, Call),
    Receive(Answer),
    /// A connection is lost; `true`: what is on its way had not left the client, which knows it.
    Lose(usize, bool),
    Restart(usize),
    Evict(usize),
    /// A stranger asks for an epoch.
    Crowd(usize),
    Drain(usize),
    /// A client without open calls leaves a server that drains.
    Leave(usize),
    GiveUp(usize, usize),
    /// A client is connected to a server at which a call must not run.
    Strand(usize, usize),
}

fn peer(client: usize) -> PeerIdentity {
    PeerIdentity::Psk(format!("meter {client}"))
}

fn stranger(number: u8) -> PeerIdentity {
    PeerIdentity::Psk(format!("stranger {number}"))
}

fn epoch(server: usize, life: u8) -> Epoch {
    let mut bytes = [0; 16];
    bytes[0] = 1 + server as u8;
    bytes[1] = life;
    Epoch::from_bytes(bytes)
}

impl House {
    fn window(&self, epoch: Epoch) -> OnceWindow<()> {
        let (max_identity_remembered, max_instances) = (self.max_calls, self.max_instances);
        let settings = OnceSettings { max_identity_remembered, max_instances, ..OnceSettings::default() };
        OnceWindow::new(settings, epoch)
    }

    fn only_losses(&self, state: &State) -> bool {
        let spent = Budget { losses: 0, ..state.left } != Budget { losses: 0, ..self.budget };
        // Elsewhere than at the server that may have run it, the outcome of a call is unknown.
        !spent && self.servers == 1 && self.max_calls > 8
    }

    /// Whether nothing was forgotten but what made way for strangers.
    fn only_strangers(&self, state: &State) -> bool {
        let left = Budget { losses: 0, strangers: 0, ..state.left };
        let budget = Budget { losses: 0, strangers: 0, ..self.budget };
        left == budget && self.servers == 1 && self.max_calls > 8
    }

    fn restarted(&self, server: usize, life: u8) -> OnceWindow<()> {
        self.window(epoch(server, if self.fault == Fault::SameEpoch { 0 } else { life }))
    }
}

impl State {
    fn is_alive(&self, link: Link) -> bool {
        self.clients[link.client].link.is_some_and(|(current, _)| current == link)
    }

    /// Ends the open attempts of a client whose connection is over.
    fn unlink(&mut self, fault: Fault, client: usize, unsent: bool) {
        let Some((link, _)) = self.clients[client].link.take() else {
            return;
        };
        self.answers.retain(|answer| answer.link != link);
        let kept: BTreeSet<usize> = self.requests.iter().filter(|one| one.link == link).map(|one| one.call).collect();
        if unsent {
            self.requests.retain(|request| request.link != link);
        }
        for call in 0..self.clients[client].calls.len() {
            let known = unsent && kept.contains(&call) || fault == Fault::LostIsNotProcessed;
            let end = if known { AttemptEnd::NotProcessed } else { AttemptEnd::Lost };
            self.end(client, call, end);
        }
    }

    fn end(&mut self, client: usize, call: usize, end: AttemptEnd) {
        let Client { half, calls, .. } = &mut self.clients[client];
        if let Stage::Sent(sequence) = calls[call] {
            calls[call] = match half.ended(sequence, end) {
                OnceNext::Done => Stage::Answered,
                OnceNext::Retry { .. } => Stage::Idle(sequence),
                OnceNext::Unknown => Stage::Unknown,
            };
        }
    }

    fn answer(&mut self, link: Link, call: usize, end: u8) {
        if self.is_alive(link) {
            self.answers.insert(Answer { link, call, end });
        }
    }

    fn connect(&mut self, client: usize, server: usize) {
        let life = self.servers[server].life;
        let instance = self.clients[client].half.instance();
        // Where there is no room the client comes again.
        if let Some(epoch) = self.open(server, &peer(client), instance) {
            let one = &mut self.clients[client];
            one.links += 1;
            one.link = Some((Link { client, number: one.links, server, life }, epoch));
        }
    }

    fn send(&mut self, fault: Fault, client: usize, call: usize) -> Option<()> {
        let Client { half, link, calls, .. } = &mut self.clients[client];
        let (link, epoch) = (*link)?;
        let mut sequence = match calls[call] {
            Stage::New => half.begin().unwrap(),
            Stage::Idle(sequence) => sequence,
            _ => return None,
        };
        if fault == Fault::NewNumber && half.bound(sequence).is_some_and(|bound| bound != epoch) {
            half.give_up(sequence);
            sequence = half.begin().unwrap();
        }
        let header = half.attempt(sequence, epoch).ok()?;
        calls[call] = Stage::Sent(sequence);
        let numbers = (header.sequence, header.below, header.also);
        self.requests.insert(Request { link, call, numbers, epoch });
        Some(())
    }

    fn deliver(&mut self, fault: Fault, request: Request) {
        self.requests.remove(&request);
        let Request { link, call, numbers: (sequence, below, also), epoch } = request;
        let instance = self.clients[link.client].half.instance();
        let header = OnceHeader { instance, epoch, sequence, below, also };
        let server = &mut self.servers[link.server];
        if server.draining {
            // Above the last accepted call of GO_AWAY.
            return self.answer(link, call, NOT_PROCESSED);
        }
        let id = (link.client, call);
        match server.window.begin(Time::ZERO, &peer(link.client), &header, 0, || ()) {
            Begin::Run(ticket) => {
                self.runs[link.client][call] += 1;
                server.running.insert(id, Running { ticket, waiting: BTreeSet::from([link]) });
            }
            Begin::Join(()) => {
                if fault == Fault::NoJoin {
                    self.runs[link.client][call] += 1;
                }
                server.running.get_mut(&id).unwrap().waiting.insert(link);
            }
            Begin::Replay(reply) => {
                assert_eq!(reply.outcome().unwrap().body, format!("{id:?}"), "the reply of another call");
                self.replayed = true;
                self.answer(link, call, ANSWERED);
            }
            Begin::Unknown(_) => self.answer(link, call, UNREMEMBERED),
            Begin::Full(_) => self.answer(link, call, NOT_PROCESSED),
        }
    }

    fn finish(&mut self, server: usize, id: Call) -> Option<()> {
        let Running { ticket, waiting } = self.servers[server].running.remove(&id)?;
        let reply = OnceReply::new(Ok(Reply::from(format!("{id:?}"))), &OnceSettings::default());
        self.servers[server].window.answer(Time::ZERO, ticket, reply);
        for link in waiting {
            self.answer(link, id.1, ANSWERED);
        }
        Some(())
    }

    fn receive(&mut self, fault: Fault, answer: Answer) {
        self.answers.remove(&answer);
        let Answer { link, call, end } = answer;
        let end = match end {
            ANSWERED => AttemptEnd::Answered,
            NOT_PROCESSED => AttemptEnd::NotProcessed,
            _ => AttemptEnd::Unremembered,
        };
        self.end(link.client, call, end);
        if end == AttemptEnd::Unremembered {
            // The client asks for its epoch again.
            let instance = self.clients[link.client].half.instance();
            match self.open(link.server, &peer(link.client), instance) {
                Some(epoch) => self.clients[link.client].link = Some((link, epoch)),
                None => self.unlink(fault, link.client, false),
            }
        }
    }

    fn restart(&mut self, house: &House, server: usize) {
        let life = self.servers[server].life + 1;
        let window = house.restarted(server, life);
        self.servers[server] = Server { window, life, running: BTreeMap::new(), draining: false };
        self.requests.retain(|request| request.link.server != server);
        for client in 0..CLIENTS {
            if self.clients[client].link.is_some_and(|(link, _)| link.server == server) {
                self.unlink(house.fault, client, false);
            }
        }
    }

    fn evict(&mut self, house: &House, server: usize) {
        let life = self.servers[server].life;
        let window = &mut self.servers[server].window;
        window.expire(Time::ZERO + Duration::from_secs(100_000));
        if house.fault == Fault::NoFloor && self.servers[server].running.is_empty() {
            self.servers[server].window = house.restarted(server, life);
            // Each instance has the epoch that it had.
            for (number, client) in self.clients.iter().enumerate() {
                let _ = self.servers[server].window.open(Time::ZERO, &peer(number), client.half.instance());
            }
        }
    }

    fn crowd(&mut self, fault: Fault, server: usize) {
        if fault == Fault::NothingKept {
            self.servers[server].window.expire(Time::ZERO + Duration::from_secs(100_000));
        }
        self.open(server, &stranger(self.left.strangers), InstanceId::from_bytes([9; 16]));
    }

    fn open(&mut self, server: usize, peer: &PeerIdentity, instance: InstanceId) -> Option<Epoch> {
        let window = &mut self.servers[server].window;
        let (.., before) = window.sizes();
        // What the next new instance would have.
        let next = window.clone().open(Time::ZERO, &stranger(u8::MAX), instance);
        let epoch = window.open(Time::ZERO, peer, instance).ok()?;
        let (.., after) = window.sizes();
        self.displaced += u8::from(next == Ok(epoch) && after == before);
        Some(epoch)
    }

    fn give_up(&mut self, client: usize, call: usize) -> Option<()> {
        let Client { half, calls, .. } = &mut self.clients[client];
        let (Stage::Idle(sequence) | Stage::Sent(sequence)) = calls[call] else {
            return None;
        };
        calls[call] = match half.give_up(sequence) {
            Outcome::NotProcessed => Stage::NotProcessed,
            _ => Stage::Unknown,
        };
        Some(())
    }

    fn stages(&self) -> impl Iterator<Item = (Stage, u8)> {
        let runs = self.runs.iter().flatten().copied();
        self.clients.iter().flat_map(|client| client.calls.iter().copied()).zip(runs)
    }

    /// Whether a call may be sent on the client's connection.
    fn may_send(&self, fault: Fault, client: usize, call: usize) -> bool {
        let Client { half, link: Some((_, epoch)), calls, .. } = &self.clients[client] else {
            return false;
        };
        match calls[call] {
            Stage::New => true,
            Stage::Idle(sequence) => {
                fault == Fault::NewNumber || half.bound(sequence).is_none_or(|bound| bound == *epoch)
            }
            _ => false,
        }
    }

    fn push_client(&self, house: &House, client: usize, actions: &mut Vec<Action>) {
        let Client { link, calls, .. } = &self.clients[client];
        match link {
            None => {
                let open = (0..house.servers).filter(|server| !self.servers[*server].draining);
                actions.extend(open.map(|server| Action::Connect(client, server)));
            }
            Some((link, _)) => {
                let idle = !calls.iter().any(|call| matches!(call, Stage::Sent(_)));
                if idle && self.servers[link.server].draining {
                    actions.push(Action::Leave(client));
                }
                if self.left.losses > 0 {
                    actions.extend([Action::Lose(client, false), Action::Lose(client, true)]);
                }
            }
        }
        for (call, stage) in calls.iter().enumerate() {
            let sendable = self.may_send(house.fault, client, call);
            if sendable && !link.is_some_and(|(link, _)| self.servers[link.server].draining) {
                actions.push(Action::Send(client, call));
            } else if matches!(stage, Stage::Idle(_)) && link.is_some() && !sendable {
                actions.push(Action::Strand(client, call));
            }
            if self.left.give_ups > 0 && matches!(stage, Stage::Idle(_) | Stage::Sent(_)) {
                actions.push(Action::GiveUp(client, call));
            }
        }
    }
}

impl Model for House {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let server = |number| Server {
            window: self.window(epoch(number, 0)),
            life: 0,
            running: BTreeMap::new(),
            draining: false,
        };
        let client = |number| Client {
            half: OnceClient::new(InstanceId::from_bytes([number; 16])),
            link: None,
            links: 0,
            calls: vec![Stage::New; self.calls[usize::from(number)]],
        };
        let state = State {
            servers: (0..self.servers).map(server).collect(),
            clients: (0..CLIENTS as u8).map(client).collect(),
            requests: BTreeSet::new(),
            answers: BTreeSet::new(),
            runs: self.calls.iter().map(|calls| vec![0; *calls]).collect(),
            left: self.budget,
            replayed: false,
            displaced: 0,
        };
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for client in 0..CLIENTS {
            state.push_client(self, client, actions);
        }
        for request in &state.requests {
            actions.push(Action::Deliver(request.clone()));
            if !state.is_alive(request.link) {
                actions.push(Action::Drop(request.clone()));
            }
        }
        actions.extend(state.answers.iter().cloned().map(Action::Receive));
        for (number, server) in state.servers.iter().enumerate() {
            actions.extend(server.running.keys().map(|call| Action::Finish(number, *call)));
            if state.left.restarts > 0 {
                actions.push(Action::Restart(number));
            }
            if state.left.evictions > 0 {
                actions.push(Action::Evict(number));
            }
            if state.left.strangers > 0 {
                actions.push(Action::Crowd(number));
            }
            // One server is left.
            if state.left.drains > 0 && number == 0 && !server.draining {
                actions.push(Action::Drain(number));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Connect(client, server) => state.connect(client, server),
            Action::Send(client, call) => state.send(self.fault, client, call)?,
            Action::Deliver(request) => state.deliver(self.fault, request),
            Action::Drop(request) => drop(state.requests.remove(&request)),
            Action::Finish(server, call) => state.finish(server, call)?,
            Action::Receive(answer) => state.receive(self.fault, answer),
            Action::Lose(client, unsent) => {
                state.left.losses -= 1;
                state.unlink(self.fault, client, unsent);
            }
            Action::Restart(server) => {
                state.left.restarts -= 1;
                state.restart(self, server);
            }
            Action::Evict(server) => {
                state.left.evictions -= 1;
                state.evict(self, server);
            }
            Action::Crowd(server) => {
                state.left.strangers -= 1;
                state.crowd(self.fault, server);
            }
            Action::Drain(server) => {
                state.left.drains -= 1;
                state.servers[server].draining = true;
            }
            Action::Leave(client) => state.unlink(self.fault, client, false),
            Action::GiveUp(client, call) => {
                state.left.give_ups -= 1;
                state.give_up(client, call)?;
            }
            Action::Strand(client, call) => state.give_up(client, call)?,
        }
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.displaced <= MAX_DISPLACED
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let sights = self.sights.iter().map(|(name, shown)| Property::sometimes(name, *shown));
        let always = vec![
            Property::always(ONCE, |_, state: &State| state.runs.iter().flatten().all(|runs| *runs <= 1)),
            Property::always(ANSWERED_RAN, |_, state: &State| {
                state.stages().all(|(stage, runs)| stage != Stage::Answered || runs == 1)
            }),
            Property::always(UNPROCESSED, |_, state: &State| {
                state.stages().all(|(stage, runs)| stage != Stage::NotProcessed || runs == 0)
            }),
            Property::always(ENDS, |house: &Self, state: &State| {
                let mut actions = Vec::new();
                house.actions(state, &mut actions);
                let over = |stage| matches!(stage, Stage::Answered | Stage::NotProcessed | Stage::Unknown);
                !actions.is_empty() || state.stages().all(|(stage, _)| over(stage))
            }),
            Property::always(KEPT, |house: &Self, state: &State| {
                let lost = |stage| matches!(stage, Stage::NotProcessed | Stage::Unknown);
                !house.only_losses(state) || !state.stages().any(|(stage, _)| lost(stage))
            }),
            Property::always(OWED, |house: &Self, state: &State| {
                let owed = |(stage, runs)| matches!(stage, Stage::NotProcessed | Stage::Unknown) && runs > 0;
                !house.only_strangers(state) || !state.stages().any(owed)
            }),
            Property::always(CONNECTED, |house: &Self, state: &State| {
                let lost = |stage| matches!(stage, Stage::NotProcessed | Stage::Unknown);
                let calm = house.only_strangers(state) && state.left.losses == house.budget.losses;
                !calm || !state.stages().any(|(stage, _)| lost(stage))
            }),
        ];
        always.into_iter().chain(sights).collect()
    }
}

pub(crate) const ONCE: &str = "no call runs twice";
pub(crate) const ANSWERED_RAN: &str = "what was answered ran once";
pub(crate) const UNPROCESSED: &str = "what was not processed never ran";
pub(crate) const ENDS: &str = "every call ends answered, not processed or unknown";
pub(crate) const KEPT: &str = "where connections alone are lost, every call is answered";
pub(crate) const OWED: &str = "whoever comes, a call that ran is answered";
pub(crate) const CONNECTED: &str = "whoever comes, a client that loses no connection has its answers";

pub(crate) const DISPLACED: Sight = ("a stranger has the place of a client", |_, state| state.displaced > 0);
pub(crate) const JOINS: Sight = ("a retry joins a call that runs", |_, state| {
    state.servers.iter().any(|server| server.running.values().any(|running| running.waiting.len() > 1))
});
pub(crate) const REPLAYS: Sight = ("a reply is sent again", |_, state| state.replayed);
pub(crate) const UNKNOWN: Sight =
    ("an outcome is unknown", |_, state| state.stages().any(|(stage, _)| stage == Stage::Unknown));
pub(crate) const MOVES: Sight = ("a call is answered by another server than it was sent to", |_, state| {
    let moved = |client: &Client| client.links == 2 && client.link.is_some_and(|(link, _)| link.server == 1);
    state.servers[0].draining && state.clients.iter().any(|one| moved(one) && one.calls.contains(&Stage::Answered))
});
