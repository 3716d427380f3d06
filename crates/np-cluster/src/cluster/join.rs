//! How a node joins: its server, its links, its engine, in that order, and how all of them end together.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::Arc;

use np_facade::{Address, MethodOptions, Policy, Server};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Cluster, control};
use crate::config::ClusterConfig;
use crate::error::ClusterError;
use crate::links::{LinkStats, METHOD, Net, Serving, Settings};
use crate::member::{MemberState, Table};
use crate::peering::{Peering, Pins, Place};
use crate::shared::Shared;

/// Rounds after which the names of seeds are looked up again, while nobody else is there.
const SEED_ROUNDS: u32 = 5;
/// Of how many of those times one is used though somebody is there: two halves may have begun apart.
const ALL_THE_SAME: u32 = 6;

impl Cluster {
    /// Joins a cluster: from now on the node takes and makes links, and tells and hears.
    ///
    /// Where the address of the configuration has no IP or no port, those of the server's first address count. Nobody needs
    /// to be there yet: seeds are tried for as long as it takes.
    ///
    /// # Errors
    /// When a setting is out of its range, the server does not start, is in a cluster already, or has no address that other
    /// nodes could reach.
    pub async fn join(config: ClusterConfig, peering: Peering) -> Result<Self, ClusterError> {
        let (server, let_in) = match &peering.place {
            Place::Shared(server) => (server.clone(), None),
            Place::Own(addresses) => (serve(&peering, addresses).await?, Some(peering.let_in())),
        };
        let joined = Self::join_on(config, &peering, &server, let_in.clone()).await;
        if joined.is_err() && let_in.is_some() {
            server.shutdown(std::time::Duration::ZERO).await;
        }
        joined
    }

    async fn join_on(
        mut config: ClusterConfig,
        peering: &Peering,
        server: &Server,
        let_in: Option<Policy>,
    ) -> Result<Self, ClusterError> {
        config.advertise = advertised(config.advertise, server, peering)?;
        let pins = Pins::default();
        for seed in &peering.seeds {
            config = config.seeds(look_up(seed, &pins).await);
        }
        config.check()?;
        let settings = Settings {
            cluster: config.cluster.clone(),
            name: config.name.clone(),
            members: peering.members.clone(),
            own: peering.own(),
            way: peering.way(pins.clone()),
        };
        let signs = config.signing.is_some();
        let (net, inbox) = Net::new(settings).map_err(ClusterError::Start)?;
        server.router().register_own(METHOD, net.method(), MethodOptions::default().spawned()).map_err(taken)?;
        net.open(config.advertise, Some(Serving { server: server.clone(), let_in }));
        let links: Arc<Net> = Arc::new(net.clone());
        let cluster = match Self::start(config, links, inbox).await {
            Ok(cluster) => cluster,
            Err(error) => {
                net.close();
                server.router().remove(METHOD);
                return Err(error);
            }
        };
        // It is new: nothing is set yet.
        let _ = cluster.inner.server.set(server.clone());
        if let Some(policy) = peering.may_ask() {
            control::offer(server.router(), &cluster, policy, peering.may_set(signs)).map_err(taken)?;
        }
        let tending = Tending {
            shared: Arc::clone(&cluster.inner.shared),
            tables: cluster.inner.tables.clone(),
            net,
            server: server.clone(),
            seeds: Seeds::new(&peering.seeds),
            pins,
        };
        tokio::spawn(tending.run());
        Ok(cluster)
    }

    /// The server that takes the links: its addresses, and how it is shut down once the node has left. There always is one
    /// but in simulations.
    #[must_use]
    pub fn server(&self) -> Option<&Server> {
        self.inner.server.get()
    }

    /// Where other nodes reach this one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.shared.own.address
    }
}

fn taken(error: np_facade::RegisterError) -> ClusterError {
    ClusterError::Serve(np_facade::Error::Register(error))
}

/// A server for members alone.
async fn serve(peering: &Peering, addresses: &[String]) -> Result<Server, ClusterError> {
    let (Some(identity), false) = (&peering.identity, addresses.is_empty()) else {
        return Err(ClusterError::NoServer);
    };
    let builder = Server::builder(identity.clone(), peering.let_in()).limits(crate::links::server_limits());
    let builder = addresses.iter().fold(builder, |builder, address| builder.listen(address.clone()));
    builder.start().await.map_err(ClusterError::Serve)
}

/// The address that is advertised, completed from where the server listens.
fn advertised(wanted: SocketAddr, server: &Server, peering: &Peering) -> Result<SocketAddr, ClusterError> {
    let fits = |address: &&Address| address.scheme() == peering.scheme();
    let listens = server.addresses().iter().find(fits).ok_or(ClusterError::NoServer)?;
    let port = if wanted.port() == 0 { listens.port().unwrap_or_default() } else { wanted.port() };
    let ip = if wanted.ip().is_unspecified() { listens.ip().unwrap_or_else(|| wanted.ip()) } else { wanted.ip() };
    Ok((ip, port).into())
}

/// Where a seed leads; nowhere while its name is unknown.
async fn look_up(seed: &Address, pins: &Pins) -> Vec<SocketAddr> {
    let (host, port) = (seed.host().unwrap_or_default(), seed.port().unwrap_or_default());
    let found: Vec<SocketAddr> = match IpAddr::from_str(&host) {
        Ok(ip) => vec![(ip, port).into()],
        Err(_) => match lookup_host((host.as_str(), port)).await {
            Ok(found) => found.collect(),
            Err(error) => {
                tracing::debug!(target: "np::cluster", seed = %seed.without_keys(), %error, "seed not found");
                Vec::new()
            }
        },
    };
    found.iter().for_each(|to| pins.set(*to, seed));
    found
}

/// What goes on beside the rounds, until they end.
struct Tending {
    shared: Arc<Shared>,
    tables: watch::Receiver<Table>,
    net: Net,
    server: Server,
    /// Those that have a name.
    seeds: Seeds,
    pins: Pins,
}

/// Seeds whose names may lead elsewhere by now.
struct Seeds {
    names: Vec<Address>,
    round: u32,
}

impl Seeds {
    fn new(seeds: &[Address]) -> Self {
        Self { names: seeds.iter().filter(|seed| seed.ip().is_none()).cloned().collect(), round: 0 }
    }

    /// Those that are looked up in this round: while nobody else is there often, and now and then all the same, since halves
    /// of a cluster that began apart know nothing of each other.
    fn due(&mut self, live: usize) -> &[Address] {
        self.round = self.round.wrapping_add(1);
        let every = if live > 1 { SEED_ROUNDS * ALL_THE_SAME } else { SEED_ROUNDS };
        if self.round.is_multiple_of(every) { &self.names } else { &[] }
    }
}

impl Tending {
    async fn run(mut self) {
        let mut rounds = interval(self.shared.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stopped = self.shared.engine.stopped();
        loop {
            tokio::select! {
                () = &mut stopped => break,
                changed = self.tables.changed() => if changed.is_err() {
                    break;
                },
                _ = rounds.tick() => self.look_for_seeds().await,
            }
            self.greet();
        }
        self.net.close();
        control::METHODS.iter().chain([&METHOD]).for_each(|name| drop(self.server.router().remove(name)));
    }

    /// Opens links to members that were met through others alone, so that their keys are known.
    fn greet(&mut self) {
        let table = Table::clone(&self.tables.borrow_and_update());
        let unknown = table.values().map(|row| &row.member).filter(|member| member.key.is_none());
        for member in unknown.filter(|member| member.state == MemberState::Live) {
            self.net.greet(member.address);
        }
    }

    /// Speaks to the seeds that have a name, wherever they are now: always while nobody else is there, and now and then in case
    /// that others have found each other elsewhere.
    async fn look_for_seeds(&mut self) {
        let live = |table: &Table| table.values().filter(|row| row.member.state == MemberState::Live).count();
        let live = live(&self.tables.borrow());
        for seed in self.seeds.due(live) {
            for to in look_up(seed, &self.pins).await {
                self.shared.engine.gossip(to);
            }
        }
    }
}

impl Cluster {
    /// What the links have counted.
    #[must_use]
    pub fn link_stats(&self) -> LinkStats {
        self.inner.shared.links.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_by_name_are_looked_up_every_five_rounds_alone_and_every_thirty_all_the_same() {
        let named = |text: &str| text.parse::<Address>().unwrap();
        let all = [named("tcp://orders.test:7400"), named("tcp://10.0.0.1:7400")];
        let looks = |live: usize| {
            let mut seeds = Seeds::new(&all);
            (1..=60).filter(|_| seeds.due(live).first() == Some(&all[0])).collect::<Vec<u32>>()
        };
        assert_eq!(looks(2), [30, 60]);
        assert_eq!(looks(1), (1..=12).map(|time| time * 5).collect::<Vec<u32>>());
        assert_eq!(Seeds::new(&all).names, all[..1], "an address leads nowhere else");
    }
}
