//! A server: the real window of exactly-once calls, and the handler's work around it, as np-driver does it. What it did
//! stands in a ledger that outlives it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use np_dispatch::{Begin, Epoch, InstanceId, OnceHeader, OnceReply, OnceSettings, OnceWindow, Reply, Ticket};
use np_session::{Answer, Event, StreamKey};
use np_types::{CallError, CloseCode, Deadline, Metadata, PeerIdentity, Status, Time};

use crate::link::{Link, SERVER};
use crate::plan::{Flaw, Plan};

/// Which call of which client.
pub(crate) type CallId = (usize, usize);
pub(crate) type Links = BTreeMap<usize, Link>;

/// One time that the work of a call was begun.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) call: CallId,
    /// The call as its server knows it.
    pub(crate) who: PeerIdentity,
    pub(crate) instance: InstanceId,
    pub(crate) sequence: u64,
    pub(crate) done: bool,
}

/// What was done, by any life of any server: nothing takes it back.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) executions: Vec<Execution>,
    /// Replies that were given to a call that ran already, or had run.
    pub(crate) joined: usize,
    pub(crate) replayed: usize,
}

#[derive(Debug)]
struct Run {
    ticket: Ticket,
    /// Connections and calls of theirs that get the reply.
    waiting: Vec<(usize, StreamKey)>,
    /// When the work is done, and when it is stopped.
    done: Time,
    until: Option<Time>,
    execution: usize,
    outcome: Result<Reply, CallError>,
}

/// One server, from start to start.
#[derive(Debug)]
pub(crate) struct Server {
    number: usize,
    life: u8,
    flaw: Flaw,
    settings: OnceSettings,
    window: OnceWindow<u64>,
    runs: BTreeMap<u64, Run>,
    next: u64,
    /// How far its clock is ahead.
    pub(crate) ahead: Duration,
    /// When a drain is over.
    draining: Option<Time>,
    /// When it starts again.
    down: Option<Time>,
}

/// The body of a call: its client, its number there, and bytes that depend on both.
pub(crate) fn body(call: CallId, size: usize) -> Bytes {
    np_testkit::body(((call.0 as u64) << 32) | call.1 as u64, 0, size.max(8))
}

fn call_of(body: &Bytes) -> CallId {
    let number = u64::from_be_bytes(body[..8].try_into().unwrap());
    ((number >> 32) as usize, (number & 0xffff_ffff) as usize)
}

/// What the handler answers.
pub(crate) fn reply(call: CallId) -> Bytes {
    Bytes::from(format!("{} {} is done", call.0, call.1))
}

impl Server {
    pub(crate) fn new(number: usize, forgetful: bool, flaw: Flaw) -> Self {
        let few = OnceSettings {
            max_identity_remembered: 2,
            max_identity_instances: 8,
            remember_for: Duration::from_millis(800),
            ..OnceSettings::default()
        };
        let settings = if forgetful { few } else { OnceSettings::default() };
        let window = OnceWindow::new(settings, epoch(number, 0));
        let runs = BTreeMap::new();
        Self {
            number,
            life: 0,
            flaw,
            settings,
            window,
            runs,
            next: 0,
            ahead: Duration::ZERO,
            draining: None,
            down: None,
        }
    }

    pub(crate) const fn takes_connections(&self) -> bool {
        self.down.is_none() && self.draining.is_none()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Ends at once, whatever it does, and starts again later.
    pub(crate) fn kill(&mut self, until: Time) {
        self.life += 1;
        let epoch = epoch(self.number, if self.flaw == Flaw::SameEpoch { 0 } else { self.life });
        self.window = OnceWindow::new(self.settings, epoch);
        self.runs.clear();
        (self.draining, self.down) = (None, Some(until));
    }

    pub(crate) fn drain(&mut self, now: Time, within: Duration, links: &mut Links) {
        if self.takes_connections() {
            self.draining = Some(now + within);
            let own = links.values_mut().filter(|link| link.server == self.number);
            for link in own {
                match link.session(SERVER) {
                    Some(session) => session.go_away(CloseCode::Drained),
                    None => link.lose_process(SERVER, false),
                }
            }
        }
    }

    /// When it has something to do next after `now`, in the time of the world.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        let world = |at: Time| Time::ZERO + at.since(Time::ZERO + self.ahead);
        let runs = self.runs.values().flat_map(|run| [Some(run.done), run.until]).flatten().map(world);
        runs.chain(self.draining).chain(self.down).filter(|at| *at > now).min()
    }

    /// Does what it is time for; gives whether there was anything.
    pub(crate) fn act(&mut self, now: Time, links: &mut Links, ledger: &mut Ledger) -> bool {
        if self.down.is_some_and(|at| at <= now) {
            self.down = None;
        }
        let local = now + self.ahead;
        let due = |run: &Run| run.done.min(run.until.unwrap_or(run.done)) <= local;
        let over: Vec<u64> = self.runs.iter().filter(|(_, run)| due(run)).map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.finish(*id, local, links, ledger));
        let ended = self.finish_drain(now, links);
        !over.is_empty() || ended
    }

    fn finish(&mut self, id: u64, local: Time, links: &mut Links, ledger: &mut Ledger) {
        let Some(run) = self.runs.remove(&id) else {
            return;
        };
        let late = run.done > local;
        let outcome = match late {
            true => Err(CallError::answered(Status::DeadlineExceeded, "the deadline passed")),
            false => run.outcome,
        };
        ledger.executions[run.execution].done = !late;
        let reply = OnceReply::new(outcome, &self.settings);
        self.window.answer(local, run.ticket, reply.clone());
        run.waiting.iter().for_each(|to| give(links, *to, reply.outcome()));
    }

    /// Ends connections that have nothing open, and itself once nothing is left or it has waited long enough.
    fn finish_drain(&mut self, now: Time, links: &mut Links) -> bool {
        let Some(until) = self.draining else {
            return false;
        };
        let over = until <= now;
        let mut any = false;
        for link in links.values_mut().filter(|link| link.server == self.number) {
            if let Some(session) = link.session(SERVER).filter(|session| over || session.is_idle()) {
                session.close(CloseCode::Drained, "");
                any = true;
            }
        }
        let open = links.values().any(|link| link.server == self.number && !link.is_done());
        if !any && (over || !open && self.runs.is_empty()) {
            let own = links.values_mut().filter(|link| link.server == self.number && !link.is_done());
            own.for_each(|link| link.lose_process(SERVER, false));
            self.kill(now + Duration::from_millis(200));
            return true;
        }
        any
    }

    pub(crate) fn handle(
        &mut self,
        now: Time,
        (id, event): (usize, Event),
        links: &mut Links,
        plans: &[Vec<Plan>],
        ledger: &mut Ledger,
    ) {
        match event {
            Event::Opened { key, method, metadata, deadline, body, credit, .. } => {
                let Some(link) = links.get_mut(&id) else {
                    return;
                };
                let who = link.identity().cloned().expect("a client that was admitted has an identity");
                if let Some(session) = link.session(SERVER) {
                    session.release(credit);
                }
                if method.as_str() == "np.once" {
                    let epoch = self.open(now, &who, &body);
                    return give(links, (id, key), epoch.as_ref());
                }
                let header = OnceHeader::of(&metadata).expect("every call is one of these").expect("a header");
                let plan = plans[call_of(&body).0][call_of(&body).1];
                self.arrived(now, (id, key), (who, header, deadline, body), plan, links, ledger);
            }
            Event::Cancelled { key, status } => {
                self.runs.values_mut().for_each(|run| run.waiting.retain(|to| *to != (id, key)));
                // With the connection's end the caller knows that it has no answer yet.
                if let Some(session) = links.get_mut(&id).and_then(|link| link.session(SERVER)) {
                    let _ = session.end(key, status, "given up", Metadata::default());
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, now: Time, who: &PeerIdentity, body: &Bytes) -> Result<Reply, CallError> {
        let instance = InstanceId::from_bytes(body[..].try_into().expect("16 bytes"));
        if self.flaw == Flaw::ForgetsAtReconnect {
            self.window = OnceWindow::new(self.settings, epoch(self.number, self.life));
        }
        let opened = self.window.open(now + self.ahead, who, instance);
        let epoch = opened.map_err(|full| CallError::answered(Status::LimitReached, full.to_string()))?;
        Ok(Reply::from(epoch.to_bytes().to_vec()))
    }

    fn arrived(
        &mut self,
        now: Time,
        to: (usize, StreamKey),
        (who, header, deadline, body): (PeerIdentity, OnceHeader, Deadline, Bytes),
        plan: Plan,
        links: &mut Links,
        ledger: &mut Ledger,
    ) {
        let local = now + self.ahead;
        let call = call_of(&body);
        assert_eq!(body, self::body(call, plan.size), "another body than was sent");
        let id = self.next;
        self.next += 1;
        let ticket = match self.window.begin(local, &who, &header, body.len(), || id) {
            Begin::Run(ticket) => ticket,
            Begin::Join(running) => {
                ledger.joined += 1;
                if self.flaw == Flaw::RunsAgain {
                    ledger.executions.push(execution(call, who, &header));
                }
                // A run that is over has left the window.
                self.runs.get_mut(&running).expect("it runs").waiting.push(to);
                return;
            }
            Begin::Replay(reply) => {
                ledger.replayed += 1;
                return give(links, to, reply.outcome());
            }
            Begin::Unknown(why) => return give(links, to, Err(&why.into())),
            Begin::Full(refusal) => return give(links, to, Err(&refusal.into())),
        };
        let outcome = match plan.fails {
            true => Err(CallError::failed("as planned")),
            false => Ok(Reply::from(reply(call))),
        };
        let mut waiting = vec![to];
        if self.flaw == Flaw::AnswersFirst {
            give(links, to, outcome.as_ref());
            waiting.clear();
        }
        let execution = execution(call, who, &header);
        let run = Run {
            ticket,
            waiting,
            done: local + plan.works,
            until: deadline.time(),
            execution: ledger.executions.len(),
            outcome,
        };
        ledger.executions.push(execution);
        self.runs.insert(id, run);
    }
}

fn execution(call: CallId, who: PeerIdentity, header: &OnceHeader) -> Execution {
    Execution { call, who, instance: header.instance, sequence: header.sequence, done: false }
}

/// Answers a call, where its connection still stands and it was not given up.
fn give(links: &mut Links, (id, key): (usize, StreamKey), outcome: Result<&Reply, &CallError>) {
    let Some(session) = links.get_mut(&id).and_then(|link| link.session(SERVER)) else {
        return;
    };
    let _ = match outcome {
        Ok(reply) => session.respond(key, Answer::from(reply.body.clone())),
        Err(error) => session.end(key, error.status, &error.text, Metadata::default()),
    };
}

/// Of a life of a server: random in the driver.
fn epoch(server: usize, life: u8) -> Epoch {
    let mut bytes = [0; 16];
    (bytes[0], bytes[1]) = (1 + server as u8, life);
    Epoch::from_bytes(bytes)
}
