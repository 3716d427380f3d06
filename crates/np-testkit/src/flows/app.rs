//! An application that does what the plans say for its side, and tells the model what it did and saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_session::{Answer, Event, OpenCall, OpenKind, Session, StreamKey};
use np_types::{Deadline, Limits, MethodName, Outcome, Status, Time};

use super::model::{Callee, Caller, End, Reader};
use super::plan::{Pace, Plan, When};
use crate::{Application, Rng};

/// One side of a run.
#[derive(Debug)]
pub(super) struct App {
    side: usize,
    rng: Rng,
    plans: Arc<Vec<Plan>>,
    /// The most bytes that a stream, and all bodies, may hold of what was not consumed.
    most: [usize; 2],
    jobs: BTreeMap<(Time, u64), Job>,
    job_count: u64,
    /// The open streams: which plan, and what of it was not consumed.
    open: BTreeMap<StreamKey, Open>,
    held: usize,
    pub(super) callers: BTreeMap<usize, Caller>,
    pub(super) callees: BTreeMap<usize, Callee>,
    pub(super) violations: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    plan: usize,
    local: bool,
    held: usize,
    /// Whether no message is to be said now: between two, or since the end.
    silent: bool,
    /// Whether this side has ended the peer's stream: what still comes is read no more, but its credit goes back.
    ended: bool,
}

#[derive(Debug)]
enum Job {
    Open(usize),
    GiveUp(StreamKey, Status),
    Speak(StreamKey),
    End(StreamKey),
    Consume(StreamKey, usize),
    Release(u32),
}

impl App {
    pub(super) fn new(seed: u64, side: usize, plans: Arc<Vec<Plan>>, limits: &Limits) -> Self {
        let largest = |window: u32| window.max(limits.max_window) as usize;
        let mut app = Self {
            side,
            rng: Rng::new(seed ^ 0x666c_6f77),
            most: [largest(limits.stream_window), largest(limits.connection_window)],
            jobs: BTreeMap::new(),
            job_count: 0,
            open: BTreeMap::new(),
            held: 0,
            callers: BTreeMap::new(),
            callees: BTreeMap::new(),
            violations: Vec::new(),
            plans: Arc::clone(&plans),
        };
        for plan in plans.iter().filter(|plan| plan.opener == side) {
            app.after(Time::ZERO, plan.at, Job::Open(plan.number));
        }
        app
    }

    fn broken(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    fn after(&mut self, now: Time, span: Duration, job: Job) {
        self.job_count += 1;
        self.jobs.insert((now + span, self.job_count), job);
    }

    fn within(&mut self, now: Time, most: Duration, job: Job) {
        let span = Duration::from_micros(self.rng.below(most.as_micros() as u64 + 1));
        self.after(now, span, job);
    }

    fn run(&mut self, now: Time, session: &mut Session, job: Job) {
        match job {
            Job::Open(number) => self.open_plan(now, session, number),
            Job::GiveUp(key, status) => self.give_up(session, key, status),
            Job::Speak(key) => self.speak(now, session, key),
            Job::End(key) => self.end(session, key),
            Job::Consume(key, bytes) => {
                self.held -= bytes;
                if let Some(open) = self.open.get_mut(&key) {
                    open.held -= bytes;
                }
                session.consumed(key, bytes);
            }
            Job::Release(credit) => {
                self.held -= credit as usize;
                session.release(credit);
            }
        }
    }

    fn open_plan(&mut self, now: Time, session: &mut Session, number: usize) {
        let plan = &self.plans[number];
        let mut call = OpenCall::new(plan.kind, MethodName::new("flow").expect("a name"));
        call.metadata.insert("n", &number.to_be_bytes()).expect("a small pair");
        call.priority = plan.priority;
        call.deadline = plan.deadline.map_or(Deadline::NONE, |span| Deadline::after(now, span));
        let stream = plan.kind == OpenKind::Stream;
        call.body = if stream { Bytes::new() } else { plan.message(0, 0) };
        let gives_up = plan.gives_up;
        let Ok(key) = session.open(call) else {
            // The connection has ended meanwhile.
            if session.error().is_none() {
                self.broken(format!("plan {number} was refused at once"));
            }
            return;
        };
        self.callers.insert(number, Caller { opened: true, sent: usize::from(!stream), ..Caller::default() });
        self.open.insert(key, Open { plan: number, local: true, held: 0, silent: false, ended: false });
        if let Some((span, status)) = gives_up {
            self.after(now, span, Job::GiveUp(key, status));
        }
    }

    fn give_up(&mut self, session: &mut Session, key: StreamKey, status: Status) {
        let Some(open) = self.open.get(&key) else { return };
        let caller = self.callers.entry(open.plan).or_default();
        if caller.results.is_empty() {
            caller.gave_up = Some(status);
            caller.reader.shut = true;
            session.cancel_with(key, status);
            self.open.remove(&key);
        }
    }

    fn began(&mut self, now: Time, session: &mut Session, event: Event) {
        let Event::Opened { key, kind, metadata, body, credit, .. } = event else { return };
        let plans = Arc::clone(&self.plans);
        let number = metadata.value("n").and_then(|bytes| bytes.try_into().ok()).map(usize::from_be_bytes);
        let Some(plan) = number.and_then(|number| plans.get(number)).filter(|plan| plan.opener != self.side) else {
            return self.broken("a call that no plan holds");
        };
        let callee = self.callees.entry(plan.number).or_default();
        callee.begun += 1;
        if kind != plan.kind {
            self.violations.push(format!("plan {} came as a {kind:?}", plan.number));
        }
        self.open.insert(key, Open { plan: plan.number, local: false, held: 0, silent: false, ended: false });
        if kind != OpenKind::Stream {
            self.whole(now, plan, 0, &body, credit);
            return self.within(now, plan.pauses[1], Job::End(key));
        }
        if let When::After(span) = plan.ends {
            self.after(now, span, Job::End(key));
        }
        self.speak(now, session, key);
    }

    /// A message that came in one piece.
    fn whole(&mut self, now: Time, plan: &Plan, side: usize, body: &[u8], credit: u32) {
        let read = self.reader(plan.number, side).take(plan, side, body, true, false);
        self.note(read);
        self.held += credit as usize;
        if self.held > self.most[1] {
            self.broken(format!("{} bytes are held, more than the connection's window", self.held));
        }
        if credit > 0 {
            self.within(now, Duration::from_millis(30), Job::Release(credit));
        }
    }

    fn reader(&mut self, number: usize, side: usize) -> &mut Reader {
        if side == 0 {
            &mut self.callees.entry(number).or_default().reader
        } else {
            &mut self.callers.entry(number).or_default().reader
        }
    }

    fn note(&mut self, outcome: Result<(), String>) {
        self.violations.extend(outcome.err());
    }

    fn data(&mut self, now: Time, session: &Session, key: StreamKey, bytes: &[u8], (end, fin): (bool, bool)) {
        let Some(open) = self.open.get_mut(&key) else {
            return self.broken(format!("{} bytes of a stream that is over", bytes.len()));
        };
        open.held += bytes.len();
        self.held += bytes.len();
        let Open { plan: number, local, held, ended, .. } = *open;
        if held > self.most[0] || self.held > self.most[1] {
            self.broken(format!("a stream holds {held} bytes and all {}, beyond {:?}", self.held, self.most));
        }
        let plans = Arc::clone(&self.plans);
        let (plan, side) = (&plans[number], usize::from(local));
        let read = self.reader(number, side).take(plan, side, bytes, end, fin);
        self.note(read);
        let pace = if ended { Pace::AtOnce } else { plan.pace[1 - side] };
        self.consume_later(now, key, pace, bytes.len());
        if !local && !ended && (end || fin) {
            self.end_if_due(now, session, key, plan);
        }
    }

    fn consume_later(&mut self, now: Time, key: StreamKey, pace: Pace, bytes: usize) {
        match pace {
            Pace::AtOnce => self.after(now, Duration::ZERO, Job::Consume(key, bytes)),
            Pace::Late(most) => self.within(now, most, Job::Consume(key, bytes)),
            Pace::Stalls(until) => self.after(now.max(Time::ZERO + until), Duration::ZERO, Job::Consume(key, bytes)),
            Pace::Sips(most) => {
                let mut left = bytes;
                while left > 0 {
                    let sip = left.min(most);
                    left -= sip;
                    self.within(now, Duration::from_millis(20), Job::Consume(key, sip));
                }
            }
        }
    }

    /// A stream says what comes next, or pauses before it.
    fn speak(&mut self, now: Time, session: &mut Session, key: StreamKey) {
        let Some(open) = self.open.get_mut(&key).filter(|open| !open.silent) else { return };
        if !session.is_writable(key) {
            return;
        }
        let plans = Arc::clone(&self.plans);
        let plan = &plans[open.plan];
        let side = usize::from(!open.local);
        let sent = if open.local {
            &mut self.callers.entry(open.plan).or_default().sent
        } else {
            &mut self.callees.entry(open.plan).or_default().sent
        };
        if *sent < plan.sizes[side].len() {
            let message = plan.message(side, *sent);
            match session.send(key, message) {
                Ok(()) => *sent += 1,
                Err(_) if !open.local => self.callees.entry(open.plan).or_default().rejected = true,
                Err(error) => self.broken(format!("plan {} cannot send: {error}", plan.number)),
            }
            return;
        }
        open.silent = true;
        if !open.local {
            return self.end_if_due(now, session, key, plan);
        }
        if plan.half_closes {
            let finished = session.finish(key).is_ok();
            self.callers.entry(plan.number).or_default().finished = finished;
            if !finished {
                self.broken(format!("plan {} cannot be half-closed", plan.number));
            }
        }
    }

    /// Ends a stream of the peer's once its plan says so.
    fn end_if_due(&mut self, now: Time, session: &Session, key: StreamKey, plan: &Plan) {
        let callee = self.callees.entry(plan.number).or_default();
        let due = match plan.ends {
            When::Done => {
                let said = callee.sent == plan.sizes[1].len() && session.is_writable(key);
                let heard = callee.reader.at == plan.sizes[0].len() && (callee.reader.fin || !plan.half_closes);
                said && heard
            }
            When::Messages(count) => callee.reader.at >= count.min(plan.sizes[0].len()),
            When::After(_) => false,
        };
        if due {
            self.within(now, plan.pauses[1], Job::End(key));
        }
    }

    fn end(&mut self, session: &mut Session, key: StreamKey) {
        let Some(open) = self.open.get_mut(&key).filter(|open| !open.ended) else { return };
        (open.ended, open.silent) = (true, true);
        let plans = Arc::clone(&self.plans);
        let plan = &plans[open.plan];
        let callee = self.callees.entry(plan.number).or_default();
        // Some handlers end as if nobody had given them up; their callers must not believe that all is there.
        let status = callee.cancelled.filter(|_| !plan.number.is_multiple_of(2)).unwrap_or(plan.status);
        let ended = if plan.kind == OpenKind::Request && status == Status::Ok {
            session.respond(key, Answer::from(plan.message(1, 0)))
        } else {
            session.end(key, status, "as planned", plan.trailers())
        };
        if callee.cancelled.is_none() && ended.is_ok() {
            callee.ended = Some(status);
            callee.sent += usize::from(plan.kind == OpenKind::Request);
        }
        if ended.is_err() && session.error().is_none() {
            self.broken(format!("plan {} cannot be ended", plan.number));
        }
    }

    fn over(&mut self, key: StreamKey, end: impl FnOnce(&mut Caller) -> End) {
        let Some(open) = self.open.remove(&key).filter(|open| open.local) else {
            return self.broken("an end of a call that is none, or was over");
        };
        let caller = self.callers.entry(open.plan).or_default();
        let end = end(caller);
        caller.reader.shut = true;
        caller.results.push(end);
    }

    fn answered(&mut self, now: Time, key: StreamKey, answer: &Answer, credit: u32) {
        let plans = Arc::clone(&self.plans);
        let Some(plan) = self.open.get(&key).map(|open| &plans[open.plan]) else {
            return self.broken("an answer to nothing");
        };
        let right = answer.body == plan.message(1, 0);
        self.whole(now, plan, 1, &answer.body, credit);
        self.over(key, |_| End::Answered { right });
    }

    fn cancelled(&mut self, now: Time, key: StreamKey, status: Status) {
        let Some(open) = self.open.get_mut(&key) else {
            return self.broken("a cancel of what never was");
        };
        open.silent = true;
        let callee = self.callees.entry(open.plan).or_default();
        // It may have been on its way here when the call was ended: then that end is not what its caller sees.
        (callee.cancelled, callee.ended) = (Some(status), None);
        callee.reader.shut = true;
        self.within(now, Duration::from_millis(20), Job::End(key));
    }
}

impl Application for App {
    fn on_event(&mut self, now: Time, session: &mut Session, event: Event) {
        match event {
            Event::Opened { .. } => self.began(now, session, event),
            Event::Answered { key, answer, credit } => self.answered(now, key, &answer, credit),
            Event::Failed { key, error } => self.over(key, |caller| {
                let outcome: Outcome = error.outcome;
                End::Failed(outcome, error.status, std::mem::take(&mut caller.trailers))
            }),
            Event::Trailers { key, metadata } => {
                let number = self.open.get(&key).map(|open| open.plan);
                match number.and_then(|number| self.callers.get_mut(&number)) {
                    Some(caller) => caller.trailers = metadata,
                    None => self.broken("pairs of nothing"),
                }
            }
            Event::Ended { key, metadata } => self.over(key, |_| End::Ended(metadata)),
            Event::Sent { key } => self.over(key, |_| End::Sent),
            Event::Data { key, body, end, fin, .. } => self.data(now, session, key, &body, (end, fin)),
            Event::Writable { key } => {
                let pause = self.open.get(&key).map(|open| self.plans[open.plan].pauses[usize::from(!open.local)]);
                match pause {
                    Some(Duration::ZERO) => self.speak(now, session, key),
                    Some(most) => self.within(now, most, Job::Speak(key)),
                    None => {}
                }
            }
            Event::Cancelled { key, status } => self.cancelled(now, key, status),
            _ => {}
        }
    }

    fn due(&self) -> Option<Time> {
        self.jobs.keys().next().map(|(at, _)| *at)
    }

    fn on_time(&mut self, now: Time, session: &mut Session) {
        while let Some(entry) = self.jobs.first_entry().filter(|entry| entry.key().0 <= now) {
            let job = entry.remove();
            self.run(now, session, job);
        }
    }
}
