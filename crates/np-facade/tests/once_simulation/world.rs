//! A run: clients, servers and connections in virtual time, what is done to them, and what must hold of every call.

use std::collections::BTreeMap;
use std::time::Duration;

use np_dispatch::InstanceId;
use np_testkit::{Harm, Rng};
use np_types::{CloseCode, Time};

use crate::client::{Client, End};
use crate::link::{CLIENT, Link, SERVER};
use crate::plan::{Flaw, Kind, PATIENCE, SERVERS, Setup, Strike};
use crate::server::{CallId, Ledger, Links, Server};

/// How long it goes on after the last call has ended: what is on its way arrives.
const TAIL: Duration = Duration::from_secs(8);
/// No run takes longer, but for clocks that jump.
const LONGEST: Duration = Duration::from_secs(90);
const HOUR: Duration = Duration::from_secs(3_600);
/// The most turns at one instant before a run counts as one that never ends.
const MAX_TURNS: usize = 100_000;

/// What became of the calls of one run, or of many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) runs: usize,
    pub(crate) calls: usize,
    pub(crate) answered: usize,
    pub(crate) not_processed: usize,
    pub(crate) unknown: usize,
    pub(crate) too_late: usize,
    pub(crate) untold: usize,
    pub(crate) connections: usize,
    pub(crate) joined: usize,
    pub(crate) replayed: usize,
}

impl Tally {
    pub(crate) const fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.calls += other.calls;
        self.answered += other.answered;
        self.not_processed += other.not_processed;
        self.unknown += other.unknown;
        self.too_late += other.too_late;
        self.untold += other.untold;
        self.connections += other.connections;
        self.joined += other.joined;
        self.replayed += other.replayed;
    }
}

struct World {
    setup: Setup,
    now: Time,
    clients: Vec<Client>,
    servers: Vec<Server>,
    links: Links,
    made: usize,
    ledger: Ledger,
    strikes: std::vec::IntoIter<Strike>,
    /// When the last call had ended.
    quiet: Option<Time>,
    rng: Rng,
    broken: Vec<String>,
}

/// Runs a seed; gives what became of its calls, or every rule that was broken.
pub(crate) fn run(seed: u64, flaw: Flaw) -> Result<(Kind, Tally), String> {
    let setup = Setup::of(seed);
    let mut rng = Rng::new(seed);
    let client = |number| Client::new(number, &setup, flaw, Rng::new(rng.next_u64()));
    let clients = (0..setup.clients.len()).map(client).collect();
    let mut world = World {
        now: Time::ZERO,
        clients,
        servers: (0..SERVERS).map(|number| Server::new(number, setup.forgetful, flaw)).collect(),
        links: BTreeMap::new(),
        made: 0,
        ledger: Ledger::default(),
        strikes: setup.strikes.clone().into_iter(),
        quiet: None,
        rng: Rng::new(rng.next_u64()),
        broken: Vec::new(),
        setup,
    };
    world.go();
    world.judge();
    let World { setup, broken, .. } = &world;
    if !broken.is_empty() {
        return Err(format!("{:?}: {}", setup.kind, broken.join("; ")));
    }
    Ok((setup.kind, world.tally()))
}

impl World {
    fn go(&mut self) {
        loop {
            self.strike();
            if !self.settle() {
                return self.broken.push(format!("a loop that never ends at {:?}", self.now));
            }
            self.find_late();
            if self.quiet.is_none() && self.clients.iter().all(Client::is_done) {
                self.quiet = Some(self.now);
            }
            let end = self.quiet.map_or(Time::ZERO + LONGEST, |at| at + TAIL);
            match self.next_at().filter(|at| *at < end) {
                Some(at) => self.now = at.max(self.now + Duration::from_nanos(1)),
                None => return,
            }
        }
    }

    fn next_at(&self) -> Option<Time> {
        let ahead = |link: &Link| [self.clients[link.client].ahead, self.servers[link.server].ahead];
        let links = self.links.values().filter_map(|link| link.next_at(self.now, ahead(link)));
        let clients = self.clients.iter().filter_map(|client| client.due(self.now, &self.links));
        let servers = self.servers.iter().filter_map(|server| server.due(self.now));
        let strike = self.strikes.as_slice().first().map(|strike| strike.at);
        links.chain(clients).chain(servers).chain(strike).filter(|at| *at > self.now).min()
    }

    /// Goes on until nothing happens at this instant; `false` where that never comes.
    fn settle(&mut self) -> bool {
        for _ in 0..MAX_TURNS {
            if !self.turn() {
                return true;
            }
        }
        false
    }

    fn turn(&mut self) -> bool {
        let mut any = false;
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            any |= self.turn_of(id, CLIENT) | self.turn_of(id, SERVER);
        }
        self.links.retain(|_, link| !link.is_done());
        for server in &mut self.servers {
            any |= server.act(self.now, &mut self.links, &mut self.ledger);
        }
        for at in 0..self.clients.len() {
            any |= self.clients[at].act(self.now, &mut self.links);
            if self.clients[at].wants_link(self.now) {
                self.connect(at);
                any = true;
            }
        }
        any
    }

    fn turn_of(&mut self, id: usize, at: usize) -> bool {
        let Self { links, clients, servers, setup, ledger, now, .. } = self;
        let Some(link) = links.get_mut(&id) else {
            return false;
        };
        let (client, server) = (&mut clients[link.client], &mut servers[link.server]);
        let any = link.turn(at, *now, [client.ahead, server.ahead]);
        let events = link.events(at);
        let any = any || !events.is_empty();
        for event in events {
            match at {
                CLIENT => client.handle(*now, (id, event), links),
                _ => server.handle(*now, (id, event), links, &setup.clients, ledger),
            }
        }
        any
    }

    fn connect(&mut self, client: usize) {
        let server = self.clients[client].server;
        if !self.servers[server].takes_connections() {
            return self.clients[client].refused(self.now);
        }
        self.made += 1;
        let ends = (client, server);
        let mut link = Link::new(ends, self.now, self.setup.pattern, &self.setup.network, &mut self.rng);
        for strike in &self.setup.strikes {
            let until = strike.at + strike.lasts;
            if strike.kind == Kind::Partition && strike.at <= self.now && self.now < until {
                strike.directions().for_each(|side| link.stall(side, until));
            }
        }
        self.links.insert(self.made, link);
        self.clients[client].connected(self.made);
    }

    /// Does what goes wrong now.
    fn strike(&mut self) {
        while let Some(strike) = self.strikes.as_slice().first().copied().filter(|strike| strike.at <= self.now) {
            self.strikes.next();
            self.hit(strike);
        }
    }

    fn hit(&mut self, strike: Strike) {
        self.links.values_mut().for_each(Link::wake);
        let Strike { kind, client, server, side, lasts, chance, .. } = strike;
        match kind {
            Kind::Kill if side == SERVER => self.kill(server, lasts / 4, chance.is_multiple_of(3)),
            Kind::Restart if side == SERVER => self.servers[server].drain(self.now, lasts, &mut self.links),
            Kind::Kill => return self.clients[client].replace(&mut self.links, chance.is_multiple_of(3)),
            Kind::Restart => {
                if let Some(session) = self.clients[client].session(&mut self.links) {
                    session.close(CloseCode::Normal, "");
                }
                return;
            }
            Kind::ClockJump if side == SERVER => self.servers[server].ahead += HOUR,
            Kind::ClockJump => self.clients[client].ahead += HOUR,
            Kind::Partition => {
                let links = self.links.values_mut();
                links.for_each(|link| strike.directions().for_each(|side| link.stall(side, self.now + lasts)));
            }
            _ => {}
        }
        let id = self.clients[client].link;
        let Some(link) = id.and_then(|id| self.links.get_mut(&id)) else {
            return;
        };
        match kind {
            Kind::Loss => link.harm(side, Harm::Lose),
            Kind::Reorder => link.harm(side, Harm::Swap),
            Kind::Duplicate => link.harm(side, Harm::Twice),
            Kind::BitFlip => link.harm(side, Harm::Flip),
            Kind::HalfOpen => link.half_open(side),
            Kind::Reset => link.reset(),
            Kind::CutInFrame => link.cut_in_frame(side),
            _ => {}
        }
    }

    /// The process of a server is gone, and starts again later.
    fn kill(&mut self, server: usize, later: Duration, silent: bool) {
        let own = self.links.values_mut().filter(|link| link.server == server);
        own.for_each(|link| link.lose_process(SERVER, silent));
        self.servers[server].kill(self.now + later);
    }

    /// Every call has ended by its deadline, at the instant at which it is reached.
    fn find_late(&mut self) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            let late: Vec<_> = client.late(self.now + client.ahead).collect();
            if !late.is_empty() && self.broken.is_empty() {
                self.broken.push(format!("past their deadline: calls {late:?} of client {number} at {:?}", self.now));
            }
        }
    }

    /// Holds what was done against what the callers were told.
    fn judge(&mut self) {
        let mut runs: BTreeMap<CallId, (usize, usize)> = BTreeMap::new();
        let mut known: BTreeMap<(String, InstanceId, u64), CallId> = BTreeMap::new();
        for execution in &self.ledger.executions {
            let count = runs.entry(execution.call).or_default();
            count.0 += 1;
            count.1 += usize::from(execution.done);
            let key = (execution.who.to_string(), execution.instance, execution.sequence);
            if known.insert(key, execution.call).is_some() {
                self.broken.push(format!("executed twice: number {} of {:?}", execution.sequence, execution.call));
            }
        }
        for (number, client) in self.clients.iter().enumerate() {
            self.broken.extend(client.broken.iter().cloned());
            for (at, (plan, end)) in client.ends().enumerate() {
                let (begun, done) = runs.get(&(number, at)).copied().unwrap_or_default();
                let whose = format!("call {at} of client {number}");
                if begun > 1 {
                    self.broken.push(format!("executed twice: {whose}, {begun} times"));
                }
                let healthy = self.setup.kind.answers_all() && !self.setup.forgetful && !self.setup.roams;
                let owed = healthy && plan.patience == PATIENCE && plan.gives_up.is_none();
                match end {
                    None => self.broken.push(format!("hangs: {whose}")),
                    Some(End::Answered) if done == 0 => {
                        self.broken.push(format!("acknowledged and lost: {whose}, begun {begun}, done {done}"));
                    }
                    Some(End::NotProcessed) if begun > 0 => {
                        self.broken.push(format!("not processed, and executed: {whose}"));
                    }
                    Some(other) if owed && other != End::Answered => {
                        self.broken
                            .push(format!("not answered though connections alone were lost: {whose}, {other:?}"));
                    }
                    Some(_) => {}
                }
            }
        }
        if self.broken.is_empty() && !self.servers.iter().all(Server::is_idle) {
            self.broken.push("a handler is left".to_owned());
        }
    }

    fn tally(&self) -> Tally {
        let ends: Vec<_> = self.clients.iter().flat_map(Client::ends).map(|(_, end)| end).collect();
        let count = |end: End| ends.iter().filter(|one| **one == Some(end)).count();
        Tally {
            runs: 1,
            calls: ends.len(),
            answered: count(End::Answered),
            not_processed: count(End::NotProcessed),
            unknown: count(End::Unknown),
            too_late: count(End::TooLate),
            untold: count(End::Untold),
            connections: self.made,
            joined: self.ledger.joined,
            replayed: self.ledger.replayed,
        }
    }
}
