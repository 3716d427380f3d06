//! Where a client may connect, and the way there: addresses, what is known about each, and one attempt.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use np_driver::{Clock, Connection, ConnectorConfig, connect};
use np_transport::{Address, AddressError};
use np_types::ConnectionError;
use tokio::time::timeout;

use crate::client::keeping::Balance;
use crate::client::resolver::{ResolveError, Resolver};
use crate::client::station::{Blow, Station};
use crate::{ClientBuilder, Config, Error, Identity};

/// Connects a client's connections.
pub(crate) struct Dialer {
    /// What all connections share.
    pub(crate) settings: ClientBuilder,
    /// What the next connection is made by, where a reload has said so since.
    renewed: Mutex<Option<Arc<ClientBuilder>>>,
    /// Held for as long as a reload takes.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    /// Who the client is where its builder does not say; one for its whole life, made when it is needed.
    identity: OnceLock<Identity>,
    /// What the first attempt at the first address is made of: it was made to be checked.
    first: Mutex<Option<ConnectorConfig>>,
    /// What the builder names.
    named: Vec<Named>,
    pub(crate) clock: Clock,
    stations: Mutex<Vec<Arc<Station>>>,
    /// Where the newest connection stands, for those that go where it is.
    in_use: Mutex<Option<Address>>,
}

/// An address, or a name for whoever resolves its scheme.
enum Named {
    Address(Address),
    Name { resolver: Arc<dyn Resolver>, name: String },
}

impl Named {
    fn read(text: &str, schemes: &[Arc<dyn Resolver>]) -> Result<Self, AddressError> {
        for resolver in schemes {
            let name = resolver.scheme().and_then(|scheme| text.strip_prefix(scheme)?.strip_prefix(':'));
            if let Some(name) = name {
                return Ok(Self::Name { resolver: Arc::clone(resolver), name: name.to_owned() });
            }
        }
        text.parse().map(Self::Address)
    }

    const fn address(&self) -> Option<&Address> {
        match self {
            Self::Address(address) => Some(address),
            Self::Name { .. } => None,
        }
    }
}

impl Dialer {
    /// Refuses addresses and settings that cannot be.
    pub(crate) fn new(settings: ClientBuilder) -> Result<Self, Error> {
        let read = |text: &String| Named::read(text, &settings.keeping.schemes);
        let named = settings.addresses.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (stations, in_use, renewed, first) = Default::default();
        let (clock, reloading, identity) = (Clock::start(), tokio::sync::Mutex::default(), OnceLock::new());
        let dialer = Self { settings, renewed, reloading, identity, first, named, clock, stations, in_use };
        for (at, address) in dialer.named.iter().filter_map(Named::address).enumerate() {
            let config = dialer.config(&dialer.settings, address)?;
            if at == 0 {
                *lock(&dialer.first) = Some(config);
            }
        }
        Ok(dialer)
    }

    /// What an address is connected to with, by these settings.
    fn config(&self, settings: &ClientBuilder, address: &Address) -> Result<ConnectorConfig, Error> {
        let own = match (&settings.identity, self.identity.get()) {
            (Some(identity), _) | (None, Some(identity)) => identity,
            (None, None) => {
                let fresh = Identity::generate()?;
                self.identity.get_or_init(|| fresh)
            }
        };
        settings.config(address, own)
    }

    /// Makes connections by other settings from now on, and gives the configuration that was in force; nothing has changed
    /// where the settings do not fit an address.
    pub(crate) fn take_over(&self, wanted: ClientBuilder) -> Result<Option<Config>, Error> {
        let wanted = self.settings.renewed(wanted);
        let stations = lock(&self.stations).clone();
        let known = stations.iter().map(|station| &station.address);
        for address in self.named.iter().filter_map(Named::address).chain(known) {
            self.config(&wanted, address)?;
        }
        let old = lock(&self.renewed).replace(Arc::new(wanted));
        // Whom either side has refused may be welcome now.
        stations.iter().for_each(|station| station.forgive());
        let configured = old.as_ref().map_or(&self.settings.configured, |old| &old.configured);
        Ok(configured.as_deref().cloned())
    }

    /// Asks for the addresses anew: those of the resolver, then those of the builder.
    pub(crate) async fn stations(&self) -> Result<Vec<Arc<Station>>, Error> {
        let (mut addresses, mut why) = (Vec::new(), None);
        if let Some(resolver) = &self.settings.keeping.resolver {
            self.ask(resolver.resolve(), &mut addresses, &mut why).await;
        }
        for named in &self.named {
            match named {
                Named::Address(address) => addresses.push(address.clone()),
                Named::Name { resolver, name } => {
                    self.ask(resolver.resolve_name(name), &mut addresses, &mut why).await;
                }
            }
        }
        if addresses.is_empty() {
            let none = || "it gave no address, and the builder names none".to_owned();
            return Err(Error::Resolve(why.unwrap_or_else(none)));
        }
        let mut known = lock(&self.stations);
        let stations: Vec<_> = addresses.into_iter().map(|address| self.station(&known, address)).collect();
        // What is known about others is forgotten, so that names that come and go use up nothing.
        known.clone_from(&stations);
        Ok(stations)
    }

    /// Waits for what a resolver says, for as long as a link may take to come about.
    async fn ask(
        &self,
        answer: impl Future<Output = Result<Vec<Address>, ResolveError>>,
        addresses: &mut Vec<Address>,
        why: &mut Option<String>,
    ) {
        let within = self.settings.connect_timeout;
        let asked = timeout(within, answer).await;
        let late = |_| format!("it took longer than connect_timeout ({within:?})");
        match asked.map_err(late).and_then(|asked| asked.map_err(|error| error.to_string())) {
            Ok(resolved) => addresses.extend(resolved),
            Err(error) => {
                tracing::debug!(target: "np::client", why = error, "the resolver has no addresses");
                why.get_or_insert(error);
            }
        }
    }

    fn station(&self, known: &[Arc<Station>], address: Address) -> Arc<Station> {
        let found = known.iter().find(|station| station.address == address).map(Arc::clone);
        found.unwrap_or_else(|| Arc::new(Station::new(address, self.settings.keeping.breaker)))
    }

    /// One attempt at one address.
    pub(crate) async fn attempt(&self, station: &Station) -> Result<Connection, Error> {
        self.attempt_with(station, None).await
    }

    /// The same, where `early_call` says whether its first call leaves early, whatever the settings say.
    pub(crate) async fn attempt_with(&self, station: &Station, early_call: Option<bool>) -> Result<Connection, Error> {
        let renewed = lock(&self.renewed).clone();
        let is_first = renewed.is_none() && self.named.iter().find_map(Named::address) == Some(&station.address);
        let first = lock(&self.first).take().filter(|_| is_first);
        let mut config = match first {
            Some(config) => config,
            None => self.config(renewed.as_deref().unwrap_or(&self.settings), &station.address)?,
        };
        config.early_call = early_call.unwrap_or(config.early_call);
        let connection = connect(&station.address, config).await?;
        // One that was made for an early call has yet to hear whether it is welcome.
        if connection.watch().has_stood() {
            station.succeeded();
        }
        *lock(&self.in_use) = Some(station.address.clone());
        Ok(connection)
    }

    /// One round: each address that connection number `lane` may go to is tried at most once. `left` is the one that it
    /// has just lost, which comes last.
    pub(crate) async fn round(&self, lane: usize, left: Option<&Address>) -> Result<(Arc<Station>, Connection), Blow> {
        let stations = self.stations().await.map_err(Blow::of_attempt)?;
        let all = self.candidates(stations, lane, left);
        let mut reason: Option<ConnectionError> = None;
        let mut tried = false;
        // Breakers choose among addresses; where none of them lets anything through, the delay alone keeps the peace.
        for heeds_breakers in [true, false] {
            for station in &all {
                if let Some(refusal) = station.refusal() {
                    reason.get_or_insert(refusal);
                    continue;
                }
                if heeds_breakers && all.len() > 1 && !station.allows(|| self.clock.now()) {
                    continue;
                }
                tried = true;
                match self.attempt(station).await {
                    Ok(connection) => return Ok((Arc::clone(station), connection)),
                    Err(error) => reason = Some(station.fell(Blow::of_attempt(error), self.clock.now())),
                }
            }
            if tried {
                break;
            }
        }
        let reason = reason.unwrap_or(ConnectionError::ClosedHere(np_types::CloseCode::Internal));
        let over = all.iter().all(|station| station.refusal().is_some());
        Err(if over { Blow::Final(reason) } else { Blow::Passing(reason) })
    }

    /// The addresses for one connection, in the order in which they are tried.
    fn candidates(&self, mut all: Vec<Arc<Station>>, lane: usize, left: Option<&Address>) -> Vec<Arc<Station>> {
        let count = all.len().max(1);
        if self.settings.keeping.balance != Balance::FailOver {
            // Each has its own, so that calls are spread over all addresses that answer.
            return all.into_iter().nth(lane % count).into_iter().collect();
        }
        let place = |address: &Address| all.iter().position(|station| station.address == *address);
        let in_use = lock(&self.in_use).clone();
        let start = match (in_use.as_ref(), left) {
            (Some(used), Some(left)) if used != left => place(used).unwrap_or(0),
            (_, Some(left)) => place(left).map_or(0, |at| (at + 1) % count),
            (Some(used), None) => place(used).unwrap_or(0),
            (None, None) => 0,
        };
        all.rotate_left(start);
        all
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
