//! The server's half of exactly-once calls: which calls run, which replies are remembered, and what a retry is told. Must
//! never run a call, know a connection or read a clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use np_types::{PeerIdentity, Time};
use sha2::{Digest as _, Sha256};

use crate::once::settings::OnceSettings;
use crate::{Begin, Epoch, InstanceId, OnceHeader, OnceRefusal, OnceReply, OnceUnknown};

/// Parts of `remember_for` after which everybody's old entries are looked for.
const EXPIRIES: u32 = 8;
/// How many times the places that it leaves free an identity may hold; beyond that a new instance of it has the place of
/// one of its own. So a few identities that hold all they can leave free places to others.
const SHARE: usize = 4;

/// The calls of a server that run, or whose replies are remembered; shared by all of its connections.
///
/// `J` is how to wait for a call that runs: it is made where a call begins, and cloned for each retry that joins it.
///
/// ```
/// use np_dispatch::{Begin, Epoch, InstanceId, OnceHeader, OnceReply, OnceSettings, OnceWindow, Reply};
/// use np_types::{PeerIdentity, Time};
///
/// let (now, peer, instance) = (Time::ZERO, PeerIdentity::Psk("meter".into()), InstanceId::from_bytes([7; 16]));
/// let settings = OnceSettings::default();
/// let mut window = OnceWindow::new(settings, Epoch::from_bytes([1; 16]));
/// let epoch = window.open(now, &peer, instance)?;
/// let header = OnceHeader { instance, epoch, sequence: 0, below: 0, also: Vec::new() };
///
/// let Begin::Run(ticket) = window.begin(now, &peer, &header, 0, || "a call") else { panic!("it is new") };
/// assert!(matches!(window.begin(now, &peer, &header, 0, || "another"), Begin::Join("a call")));
/// let reply = OnceReply::new(Ok(Reply::from("done")), &settings);
/// window.answer(now, ticket, reply.clone());
/// assert_eq!(window.begin(now, &peer, &header, 0, || "another"), Begin::Replay(reply));
/// # Ok::<(), np_dispatch::OnceRefusal>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceWindow<J> {
    settings: OnceSettings,
    /// That of the next instance.
    next: Epoch,
    owners: BTreeMap<Box<str>, Owner<J>>,
    calls: usize,
    bytes: usize,
    instances: usize,
    /// Instances that hold no call.
    empty: usize,
    expire_at: Time,
}

/// Everything of one identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner<J> {
    instances: BTreeMap<Place, Instance<J>>,
    /// What may be forgotten, the oldest first.
    idle: BTreeSet<(Time, Place, u64)>,
    calls: usize,
    bytes: usize,
}

/// Where an instance stands: a hash of its id, so that the time which a look-up takes tells nobody about the ids of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place([u8; 16]);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Instance<J> {
    epoch: Epoch,
    /// Calls below this number that do not stand in `calls` must not run.
    floor: u64,
    calls: BTreeMap<u64, Call<J>>,
    running: usize,
    /// Calls that run, and replies that are not acknowledged.
    held: usize,
    used: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Call<J> {
    Running {
        join: J,
        /// What its request holds.
        bytes: usize,
        acknowledged: bool,
    },
    Answered {
        at: Time,
        reply: OnceReply,
    },
    /// Acknowledged, above the first call that is not.
    Over {
        at: Time,
    },
}

/// A call that runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    owner: Box<str>,
    place: Place,
    sequence: u64,
}

impl<J: Clone> OnceWindow<J> {
    /// An empty window. `epoch` is random, fresh at each start of a server.
    #[must_use]
    pub const fn new(settings: OnceSettings, epoch: Epoch) -> Self {
        let expire_at = Time::ZERO;
        Self { settings, next: epoch, owners: BTreeMap::new(), calls: 0, bytes: 0, instances: 0, empty: 0, expire_at }
    }

    /// Gives the epoch of an instance, under which its calls are remembered; makes room for it where it is new.
    ///
    /// # Errors
    /// When there is no room, and nothing to give up: of the identity's own, or, where it has no instance, an empty one.
    pub fn open(&mut self, now: Time, peer: &PeerIdentity, instance: InstanceId) -> Result<Epoch, OnceRefusal> {
        self.expire_when_due(now);
        let (name, place) = (name(peer), Place::of(instance));
        let known = self.owners.get_mut(&name).and_then(|owner| owner.instances.get_mut(&place));
        if let Some(known) = known {
            known.used = now;
            return Ok(known.epoch);
        }
        self.make_place(&name)?;
        let epoch = self.next;
        self.next = epoch.next();
        self.instances += 1;
        self.empty += 1;
        let new = Instance { epoch, floor: 0, calls: BTreeMap::new(), running: 0, held: 0, used: now };
        self.owners.entry(name).or_default().instances.insert(place, new);
        Ok(epoch)
    }

    /// Takes a call that arrived, what it acknowledges, and the bytes that its request holds while it runs; `join` is how
    /// others will wait for it then.
    pub fn begin(
        &mut self,
        now: Time,
        peer: &PeerIdentity,
        header: &OnceHeader,
        bytes: usize,
        join: impl FnOnce() -> J,
    ) -> Begin<J> {
        self.expire_when_due(now);
        let (name, place, sequence) = (name(peer), Place::of(header.instance), header.sequence);
        let Some(instance) = self.instance(&name, place).filter(|instance| instance.epoch == header.epoch) else {
            return Begin::Unknown(OnceUnknown::Epoch);
        };
        instance.used = now;
        self.acknowledge(now, &name, place, header);
        let Some(instance) = self.instance(&name, place) else {
            return Begin::Unknown(OnceUnknown::Epoch);
        };
        match instance.calls.get(&sequence) {
            Some(Call::Running { join, .. }) => return Begin::Join(join.clone()),
            Some(Call::Answered { reply, .. }) => return Begin::Replay(reply.clone()),
            Some(Call::Over { .. }) => return Begin::Unknown(OnceUnknown::Forgotten),
            // No floor is above the last number.
            None if sequence < instance.floor || sequence == u64::MAX => return Begin::Unknown(OnceUnknown::Forgotten),
            None => {}
        }
        if let Err(refusal) = self.make_room(&name, bytes) {
            return Begin::Full(refusal);
        }
        // Making room may have taken what lies above this call.
        match self.instance(&name, place) {
            Some(instance) if sequence >= instance.floor => {
                self.insert(&name, place, sequence, Call::Running { join: join(), bytes, acknowledged: false });
                Begin::Run(Ticket { owner: name, place, sequence })
            }
            _ => Begin::Unknown(OnceUnknown::Forgotten),
        }
    }

    /// Takes the reply to a call that ran, without copying it. One that is too long to be remembered is forgotten at once.
    pub fn answer(&mut self, now: Time, ticket: Ticket, reply: OnceReply) {
        let Some(acknowledged) = self.stop(now, &ticket) else {
            return;
        };
        let Ticket { owner, place, sequence } = ticket;
        if acknowledged || reply.bytes() > self.settings.max_identity_remembered_bytes {
            return self.tombstone(now, &owner, place, sequence);
        }
        self.insert(&owner, place, sequence, Call::Answered { at: now, reply });
        while self.is_heavy(&owner) && self.forget_oldest(&owner) {}
    }

    /// Takes back a call that was to run and did not: it may come again.
    pub fn withdraw(&mut self, now: Time, ticket: Ticket) {
        if self.stop(now, &ticket) == Some(true) {
            self.tombstone(now, &ticket.owner, ticket.place, ticket.sequence);
        }
    }

    /// Forgets what is older than `remember_for`; happens by itself as calls arrive.
    pub fn expire(&mut self, now: Time) {
        let remember_for = self.settings.remember_for;
        let names: Vec<_> = self.owners.keys().cloned().collect();
        for name in names {
            let oldest = |window: &Self| Some(window.owners.get(&name)?.idle.first()?.0);
            while oldest(self).is_some_and(|at| now.since(at) >= remember_for) {
                self.forget_oldest(&name);
            }
            let instances = self.owners.get(&name).into_iter().flat_map(|owner| &owner.instances);
            let unused = instances.filter(|(_, one)| one.running == 0 && now.since(one.used) >= remember_for);
            for place in unused.map(|(place, _)| *place).collect::<Vec<_>>() {
                self.drop_instance(&name, place);
            }
        }
    }

    /// Calls that run or are remembered, bytes of requests that run and of remembered replies, and instances.
    ///
    /// ```
    /// # use np_dispatch::{Epoch, OnceSettings, OnceWindow};
    /// let window = OnceWindow::<()>::new(OnceSettings::default(), Epoch::from_bytes([1; 16]));
    /// assert_eq!(window.sizes(), (0, 0, 0));
    /// ```
    #[must_use]
    pub const fn sizes(&self) -> (usize, usize, usize) {
        (self.calls, self.bytes, self.instances)
    }

    fn expire_when_due(&mut self, now: Time) {
        if now >= self.expire_at {
            self.expire(now);
            self.expire_at = now + self.settings.remember_for / EXPIRIES;
        }
    }

    /// Forgets what the client has no more use for.
    fn acknowledge(&mut self, now: Time, name: &str, place: Place, header: &OnceHeader) {
        let below = header.below;
        let Some(instance) = self.instance(name, place) else {
            return;
        };
        instance.floor = instance.floor.max(below);
        let done: Vec<u64> = instance.calls.range(..below).map(|(sequence, _)| *sequence).collect();
        for sequence in done.into_iter().chain(header.also.iter().copied()) {
            self.acknowledge_one(now, name, place, sequence);
        }
        self.compact(name, place);
    }

    fn acknowledge_one(&mut self, now: Time, name: &str, place: Place, sequence: u64) {
        let Some(instance) = self.instance(name, place) else {
            return;
        };
        match instance.calls.get_mut(&sequence) {
            Some(Call::Running { acknowledged, .. }) => *acknowledged = true,
            Some(Call::Answered { .. }) => {
                self.remove(name, place, sequence);
                self.tombstone(now, name, place, sequence);
            }
            Some(Call::Over { .. }) if sequence < instance.floor => self.remove(name, place, sequence),
            Some(Call::Over { .. }) => {}
            // Never seen, such as one that was given up: it must not run if it arrives after all.
            None => self.tombstone(now, name, place, sequence),
        }
    }

    /// Remembers that a call is over, where the floor does not say so.
    fn tombstone(&mut self, now: Time, name: &str, place: Place, sequence: u64) {
        let room = self.make_room(name, 0).is_ok();
        let Some(instance) = self.instance(name, place).filter(|instance| sequence >= instance.floor) else {
            return;
        };
        if !room {
            instance.floor = sequence.saturating_add(1);
            return;
        }
        self.insert(name, place, sequence, Call::Over { at: now });
        self.compact(name, place);
    }

    /// Takes tombstones away that the floor can stand for.
    fn compact(&mut self, name: &str, place: Place) {
        while let Some(instance) = self.instance(name, place)
            && let Some(Call::Over { .. }) = instance.calls.get(&instance.floor)
        {
            let first = instance.floor;
            instance.floor = first.saturating_add(1);
            self.remove(name, place, first);
        }
    }

    /// Makes room for one more call of an identity, out of what is its own.
    fn make_room(&mut self, name: &str, bytes: usize) -> Result<(), OnceRefusal> {
        let settings = self.settings;
        if bytes > settings.max_identity_remembered_bytes {
            return Err(OnceRefusal { setting: "max_identity_remembered_bytes", for_good: true });
        }
        loop {
            let (own, held) = self.owners.get(name).map_or((0, 0), |owner| (owner.calls, owner.bytes));
            let setting = if own >= settings.max_identity_remembered {
                "max_identity_remembered"
            } else if self.calls >= settings.max_remembered {
                "max_remembered"
            } else if held + bytes > settings.max_identity_remembered_bytes {
                "max_identity_remembered_bytes"
            } else if self.bytes + bytes > settings.max_remembered_bytes {
                "max_remembered_bytes"
            } else {
                return Ok(());
            };
            if !self.forget_oldest(name) {
                return Err(OnceRefusal { setting, for_good: false });
            }
        }
    }

    fn is_heavy(&self, name: &str) -> bool {
        let own = self.owners.get(name).map_or(0, |owner| owner.bytes);
        own > self.settings.max_identity_remembered_bytes || self.bytes > self.settings.max_remembered_bytes
    }

    /// Forgets the oldest call of an identity that does not run. It, and what was before it, must not run any more.
    fn forget_oldest(&mut self, name: &str) -> bool {
        let Some(oldest) = self.owners.get(name).and_then(|owner| owner.idle.first().copied()) else {
            return false;
        };
        let (_, place, sequence) = oldest;
        self.remove(name, place, sequence);
        if let Some(instance) = self.instance(name, place) {
            instance.floor = instance.floor.max(sequence.saturating_add(1));
        }
        self.compact(name, place);
        true
    }

    /// Makes room for one more instance of an identity: out of what is its own, where it holds as much as it may. One
    /// that holds nothing has the place of an empty instance.
    fn make_place(&mut self, name: &str) -> Result<(), OnceRefusal> {
        let own = self.owners.get(name).map_or(0, |owner| owner.instances.len());
        let free = self.settings.max_instances.saturating_sub(self.instances);
        if own >= self.settings.max_identity_instances {
            self.drop_oldest_instance(name).ok_or(full("max_identity_instances"))
        } else if own == 0 && free == 0 {
            self.drop_empty_instance().ok_or(full("max_instances"))
        } else if own == 0 || own < free.saturating_sub(1).saturating_mul(SHARE) {
            Ok(())
        } else {
            self.drop_oldest_instance(name).ok_or(full("max_instances"))
        }
    }

    /// Forgets the empty instance that was used longest ago, of the identities that have one and hold the most instances.
    /// Its client has no reply to miss: with its next call it learns that there is another epoch.
    fn drop_empty_instance(&mut self) -> Option<()> {
        // The search goes over all of them, so it is not begun in vain.
        self.empty.checked_sub(1)?;
        let empty = self.owners.iter().flat_map(|(name, owner)| {
            let most = Reverse(owner.instances.len());
            let empty = owner.instances.iter().filter(|(_, instance)| instance.held == 0);
            empty.map(move |(place, instance)| ((most, instance.used), name, *place))
        });
        let (_, name, place) = empty.min_by_key(|(order, ..)| *order)?;
        let name = name.clone();
        self.drop_instance(&name, place);
        Some(())
    }

    /// Forgets the instance of an identity that was used longest ago, and of which no call runs.
    fn drop_oldest_instance(&mut self, name: &str) -> Option<()> {
        let instances = self.owners.get(name)?.instances.iter();
        let idle = instances.filter(|(_, instance)| instance.running == 0);
        let (place, _) = idle.min_by_key(|(_, instance)| instance.used)?;
        self.drop_instance(name, *place);
        Some(())
    }

    fn drop_instance(&mut self, name: &str, place: Place) {
        let calls = self.instance(name, place).map(|instance| instance.calls.keys().copied().collect::<Vec<_>>());
        for sequence in calls.unwrap_or_default() {
            self.remove(name, place, sequence);
        }
        if let Some(owner) = self.owners.get_mut(name)
            && owner.instances.remove(&place).is_some()
        {
            self.instances -= 1;
            self.empty -= 1;
            if owner.instances.is_empty() {
                self.owners.remove(name);
            }
        }
    }

    /// Ends the running of a call; gives whether it was acknowledged meanwhile.
    fn stop(&mut self, now: Time, ticket: &Ticket) -> Option<bool> {
        let instance = self.instance(&ticket.owner, ticket.place)?;
        let Some(Call::Running { acknowledged, .. }) = instance.calls.get(&ticket.sequence) else {
            return None;
        };
        let acknowledged = *acknowledged;
        instance.used = now;
        self.remove(&ticket.owner, ticket.place, ticket.sequence);
        Some(acknowledged)
    }

    /// Puts a call into every table and count.
    fn insert(&mut self, name: &str, place: Place, sequence: u64, call: Call<J>) {
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        let Some(instance) = owner.instances.get_mut(&place) else {
            return;
        };
        let (at, bytes) = call.idle_since_and_bytes();
        if let Some(at) = at {
            owner.idle.insert((at, place, sequence));
        }
        instance.running += usize::from(at.is_none());
        if call.is_held() {
            self.empty -= usize::from(instance.held == 0);
            instance.held += 1;
        }
        instance.calls.insert(sequence, call);
        owner.calls += 1;
        owner.bytes += bytes;
        self.calls += 1;
        self.bytes += bytes;
    }

    /// Takes a call out of every table and count.
    fn remove(&mut self, name: &str, place: Place, sequence: u64) {
        let Some(owner) = self.owners.get_mut(name) else {
            return;
        };
        let Some(instance) = owner.instances.get_mut(&place) else {
            return;
        };
        let Some(call) = instance.calls.remove(&sequence) else {
            return;
        };
        let (at, bytes) = call.idle_since_and_bytes();
        if let Some(at) = at {
            owner.idle.remove(&(at, place, sequence));
        }
        instance.running -= usize::from(at.is_none());
        if call.is_held() {
            instance.held -= 1;
            self.empty += usize::from(instance.held == 0);
        }
        owner.calls -= 1;
        owner.bytes -= bytes;
        self.calls -= 1;
        self.bytes -= bytes;
    }

    fn instance(&mut self, name: &str, place: Place) -> Option<&mut Instance<J>> {
        self.owners.get_mut(name)?.instances.get_mut(&place)
    }
}

impl<J> Call<J> {
    /// Since when it may be forgotten, and the bytes that it counts for.
    const fn idle_since_and_bytes(&self) -> (Option<Time>, usize) {
        match self {
            Self::Running { bytes, .. } => (None, *bytes),
            Self::Answered { at, reply } => (Some(*at), reply.bytes()),
            Self::Over { at } => (Some(*at), 0),
        }
    }

    /// Whether somebody may still come for its reply.
    const fn is_held(&self) -> bool {
        !matches!(self, Self::Over { .. })
    }
}

impl<J> Default for Owner<J> {
    fn default() -> Self {
        Self { instances: BTreeMap::new(), idle: BTreeSet::new(), calls: 0, bytes: 0 }
    }
}

impl Place {
    fn of(instance: InstanceId) -> Self {
        let mut place = [0; 16];
        place.iter_mut().zip(Sha256::digest(instance.to_bytes())).for_each(|(to, from)| *to = from);
        Self(place)
    }
}

const fn full(setting: &'static str) -> OnceRefusal {
    OnceRefusal { setting, for_good: false }
}

/// An identity as a key: no two have the same text.
fn name(peer: &PeerIdentity) -> Box<str> {
    peer.to_string().into()
}

#[cfg(test)]
mod tests;
