//! What each source address may take: so many connections at once, so many handshakes a second.
//!
//! A source is an IPv4 address or an IPv6 network of 64 bits, since one customer has no less. What comes off no network has
//! no source. The table is bounded: sources beyond it share one place. It must never know who the peers are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use np_types::Time;

use crate::commands::lock;
use crate::rate::Rate;

/// Sources that are told apart; at some 64 bytes each.
const MOST: usize = 65_536;
/// The place of those that come when the table is full.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The limits of sources, and what each has in use.
#[derive(Debug)]
pub(crate) struct Sources {
    /// 0 for no limit, here and below.
    connections: AtomicUsize,
    per_second: AtomicU32,
    most: usize,
    table: Mutex<HashMap<IpAddr, Source>>,
}

#[derive(Debug, Default)]
struct Source {
    open: usize,
    /// The time that its handshakes take up, in nanoseconds.
    until: u64,
}

/// A limit that a source has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceLimit {
    pub(crate) setting: &'static str,
    pub(crate) allowed: u64,
}

/// A connection of a source, from its acceptance to its end.
#[derive(Debug)]
pub(crate) struct FromSource {
    sources: Arc<Sources>,
    key: IpAddr,
}

impl Sources {
    pub(crate) fn new(connections: Option<usize>, per_second: Option<u32>) -> Arc<Self> {
        let sources = Self {
            connections: AtomicUsize::new(0),
            per_second: AtomicU32::new(0),
            most: MOST,
            table: Mutex::default(),
        };
        sources.set(connections, per_second);
        Arc::new(sources)
    }

    /// Sets the limits. Connections that came while there was none are not counted.
    pub(crate) fn set(&self, connections: Option<usize>, per_second: Option<u32>) {
        self.connections.store(connections.unwrap_or(0), Ordering::Release);
        self.per_second.store(per_second.unwrap_or(0), Ordering::Release);
    }

    fn connections(&self) -> Option<usize> {
        Some(self.connections.load(Ordering::Acquire)).filter(|most| *most > 0)
    }

    fn per_second(&self) -> Option<u32> {
        Some(self.per_second.load(Ordering::Acquire)).filter(|acts| *acts > 0)
    }

    /// Sources of which something is remembered.
    pub(crate) fn count(&self) -> usize {
        lock(&self.table).len()
    }

    /// Counts one more connection of a source; `None` where nothing is to be counted.
    ///
    /// # Errors
    /// The limit that it would pass.
    pub(crate) fn enter(self: &Arc<Self>, ip: Option<IpAddr>, now: Time) -> Result<Option<FromSource>, SourceLimit> {
        let (connections, per_second) = (self.connections(), self.per_second());
        let Some(ip) = ip.filter(|_| connections.is_some() || per_second.is_some()) else {
            return Ok(None);
        };
        let mut table = lock(&self.table);
        let key = self.place(&mut table, network(ip), now);
        let source = table.entry(key).or_default();
        if let Some(allowed) = connections.filter(|allowed| source.open >= *allowed) {
            return Err(SourceLimit { setting: "max_source_connections", allowed: allowed as u64 });
        }
        if let Some(allowed) = per_second {
            let Some(until) = Rate::per_second(allowed).take(source.until, now) else {
                let allowed = u64::from(allowed);
                return Err(SourceLimit { setting: "max_source_handshakes_per_second", allowed });
            };
            source.until = until;
        }
        source.open += 1;
        Ok(Some(FromSource { sources: Arc::clone(self), key }))
    }

    /// Where a source is counted. Those of which nothing has to be remembered make room.
    fn place(&self, table: &mut HashMap<IpAddr, Source>, key: IpAddr, now: Time) -> IpAddr {
        if table.len() < self.most || table.contains_key(&key) {
            return key;
        }
        table.retain(|_, source| source.open > 0 || source.until > now.as_nanos());
        if table.len() < self.most { key } else { OTHERS }
    }
}

impl Drop for FromSource {
    fn drop(&mut self) {
        let mut table = lock(&self.sources.table);
        if let Some(source) = table.get_mut(&self.key) {
            source.open = source.open.saturating_sub(1);
            if source.open == 0 && self.sources.per_second().is_none() {
                table.remove(&self.key);
            }
        }
    }
}

/// The network that counts as one source.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use np_types::Time;

    use super::Sources;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn connections_of_a_source_are_counted_until_they_end() {
        let sources = Sources::new(Some(2), None);
        let enter = |text| sources.enter(ip(text), Time::ZERO);
        let held = [enter("10.0.0.1").unwrap(), enter("10.0.0.1").unwrap()];
        assert_eq!(enter("10.0.0.1").unwrap_err().setting, "max_source_connections");
        let other = enter("10.0.0.2").unwrap();
        // Neighbours in a network of 64 bits are one, and others are not.
        let near = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        assert!(enter("2001:db8::3").is_err() && enter("2001:db8:0:1::3").is_ok());
        assert!(sources.enter(None, Time::ZERO).unwrap().is_none());
        assert_eq!(sources.count(), 3);
        drop((held, other, near));
        assert_eq!(sources.count(), 0);
        assert!(enter("10.0.0.1").is_ok() && sources.table.lock().unwrap().is_empty());
    }

    #[test]
    fn limits_change_for_those_who_come_next() {
        let sources = Sources::new(None, None);
        let enter = || sources.enter(ip("10.0.0.1"), Time::ZERO);
        assert!(enter().unwrap().is_none(), "nothing is counted");
        sources.set(Some(1), None);
        let held = enter().unwrap();
        assert_eq!(enter().unwrap_err().allowed, 1);
        sources.set(Some(2), Some(1));
        let other = enter().unwrap();
        assert_eq!(enter().unwrap_err().setting, "max_source_connections");
        sources.set(None, Some(1));
        assert_eq!(enter().unwrap_err().setting, "max_source_handshakes_per_second");
        sources.set(None, None);
        assert!(enter().unwrap().is_none());
        drop((held, other));
        assert!(sources.table.lock().unwrap().is_empty());
    }

    #[test]
    fn handshakes_of_a_source_come_at_their_rate() {
        let sources = Sources::new(None, Some(5));
        let at = |millis| Time::ZERO + Duration::from_millis(millis);
        let count = |text, now| (0..20).filter(|_| sources.enter(ip(text), now).is_ok()).count();
        assert_eq!((count("10.0.0.1", at(0)), count("10.0.0.2", at(0))), (5, 5));
        assert_eq!((count("10.0.0.1", at(450)), count("10.0.0.1", at(60_000))), (2, 5));
        let refused = sources.enter(ip("10.0.0.1"), at(60_000)).unwrap_err();
        assert_eq!((refused.setting, refused.allowed), ("max_source_handshakes_per_second", 5));
    }

    #[test]
    fn a_full_table_has_one_place_for_all_others() {
        let mut sources = Sources::new(Some(1), Some(1_000));
        Arc::get_mut(&mut sources).unwrap().most = 3;
        let enter = |last: u8| sources.enter(ip(&format!("10.0.0.{last}")), Time::ZERO);
        let held: Vec<_> = (0..4).map(|last| enter(last).unwrap().unwrap()).collect();
        assert!(enter(9).is_err(), "the place of the others is taken");
        drop(held);
        let later = Time::ZERO + Duration::from_secs(9);
        assert!(sources.enter(ip("10.0.0.9"), later).is_ok());
        assert_eq!(Mutex::lock(&sources.table).unwrap().len(), 1, "those of which nothing is remembered are gone");
        assert!(Sources::new(None, None).enter(ip("10.0.0.1"), Time::ZERO).unwrap().is_none());
    }
    #[test]
    fn a_source_makes_room_once_nothing_has_to_be_remembered_of_it() {
        for (micros, left) in [(999, 2), (1_000, 1)] {
            let mut sources = Sources::new(None, Some(1_000));
            Arc::get_mut(&mut sources).unwrap().most = 1;
            drop(sources.enter(ip("10.0.0.1"), Time::ZERO).unwrap());
            let _held = sources.enter(ip("10.0.0.2"), Time::ZERO + Duration::from_micros(micros)).unwrap();
            assert_eq!(sources.count(), left, "beside it are the others, in one place");
        }
        let mut sources = Sources::new(None, Some(1_000));
        Arc::get_mut(&mut sources).unwrap().most = 1;
        let _held = sources.enter(ip("10.0.0.1"), Time::ZERO).unwrap();
        let _other = sources.enter(ip("10.0.0.2"), Time::ZERO + Duration::from_secs(9)).unwrap();
        assert_eq!(sources.count(), 2, "a connection is remembered as long as it stands");
    }
    #[test]
    fn a_source_that_has_its_place_keeps_it_in_a_full_table() {
        let mut sources = Sources::new(Some(2), None);
        Arc::get_mut(&mut sources).unwrap().most = 1;
        let enter = || sources.enter(ip("10.0.0.1"), Time::ZERO);
        let _held = [enter().unwrap(), enter().unwrap()];
        assert!(enter().is_err());
        assert_eq!(sources.count(), 1);
    }
}
