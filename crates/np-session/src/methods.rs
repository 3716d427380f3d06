//! Numbers for method names: the caller numbers, the callee maps back.

use std::collections::BTreeMap;

use np_types::{
    ConnectionError, LimitHit, LimitName, MAX_METHOD_BYTES, MAX_METHODS, Malformed, MethodName, Misbehaved,
};

/// The names that this side calls, by number.
#[derive(Debug, Default)]
pub(crate) struct LocalMethods {
    numbers: BTreeMap<MethodName, u32>,
    names: Vec<MethodName>,
    bytes: u32,
    /// The number that was asked for last: callers tend to repeat themselves, and comparing once is cheaper than looking up.
    recent: u32,
    /// Numbers below this one have been told to the peer.
    announced: u32,
}

impl LocalMethods {
    /// The number of a name; a new one if it has none.
    pub(crate) fn number(&mut self, name: &MethodName) -> Result<u32, LimitHit> {
        if self.names.get(self.recent as usize) == Some(name) {
            return Ok(self.recent);
        }
        if let Some(number) = self.numbers.get(name) {
            self.recent = *number;
            return Ok(*number);
        }
        let number = self.names.len() as u32;
        self.bytes = fit(number, self.bytes, name)?;
        self.numbers.insert(name.clone(), number);
        self.names.push(name.clone());
        Ok(number)
    }

    /// Whether nothing was ever called.
    pub(crate) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the peer has been told what a number stands for.
    pub(crate) const fn is_announced(&self, number: u32) -> bool {
        number < self.announced
    }

    /// The names up to `number` that the peer has not been told, in order.
    pub(crate) fn announce(&mut self, number: u32) -> impl Iterator<Item = (u32, &MethodName)> {
        let first = self.announced;
        self.announced = first.max(number.saturating_add(1));
        let names = self.names.get(first as usize..self.announced as usize).unwrap_or_default();
        (first..).zip(names)
    }
}

/// The names that the peer calls, by its numbers.
#[derive(Debug, Default)]
pub(crate) struct PeerMethods {
    names: Vec<MethodName>,
    bytes: u32,
}

impl PeerMethods {
    pub(crate) fn announced(&mut self, number: u32, name: &str) -> Result<(), ConnectionError> {
        if number != self.names.len() as u32 {
            return Err(Misbehaved::MethodNumber.into());
        }
        let name = MethodName::new(name).map_err(|_| Malformed::Text("a method name"))?;
        self.bytes = fit(number, self.bytes, &name)?;
        self.names.push(name);
        Ok(())
    }

    /// Whether the peer never called anything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn name(&self, number: u32) -> Result<MethodName, Misbehaved> {
        self.names.get(number as usize).cloned().ok_or(Misbehaved::MethodNumber)
    }
}

/// The bytes of all names with one more, or the limit that it would pass.
fn fit(count: u32, bytes: u32, name: &MethodName) -> Result<u32, LimitHit> {
    if count >= MAX_METHODS {
        let (allowed, seen) = (u64::from(MAX_METHODS), u64::from(count) + 1);
        return Err(LimitHit { limit: LimitName::MaxMethods, allowed, seen });
    }
    let sum = bytes + name.as_str().len() as u32;
    if sum > MAX_METHOD_BYTES {
        let (allowed, seen) = (u64::from(MAX_METHOD_BYTES), u64::from(sum));
        return Err(LimitHit { limit: LimitName::MaxMethodBytes, allowed, seen });
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use np_types::{LimitHit, LimitName, MethodName};

    use super::{LocalMethods, PeerMethods};

    #[test]
    fn names_are_capped_at_1024_and_1025() {
        let (mut local, mut peer) = (LocalMethods::default(), PeerMethods::default());
        for at in 0..1_024u32 {
            let name = MethodName::new(&format!("m{at}")).unwrap();
            assert_eq!(local.number(&name), Ok(at));
            peer.announced(at, name.as_str()).unwrap();
        }
        assert!(local.number(&MethodName::new("more").unwrap()).is_err());
        assert_eq!(local.number(&MethodName::new("m7").unwrap()), Ok(7));
        assert!(peer.announced(1_024, "more").is_err());
    }

    #[test]
    fn bytes_of_names_are_capped_at_64_kib() {
        let mut peer = PeerMethods::default();
        for at in 0..512u32 {
            peer.announced(at, &format!("{at:0>128}")).unwrap();
        }
        assert!(peer.announced(512, "x").is_err());
    }

    #[test]
    fn each_name_is_announced_once() {
        let mut local = LocalMethods::default();
        for name in ["a", "b", "c"] {
            local.number(&MethodName::new(name).unwrap()).unwrap();
        }
        assert_eq!(local.announce(1).map(|(number, _)| number).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(local.announce(1).count(), 0);
        assert_eq!(local.announce(2).map(|(number, _)| number).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_limit_of_names_is_told_with_the_number_that_would_pass_it() {
        let mut peer = PeerMethods::default();
        (0..1_024).for_each(|at| peer.announced(at, &format!("m{at}")).unwrap());
        let hit = LimitHit { limit: LimitName::MaxMethods, allowed: 1_024, seen: 1_025 };
        assert_eq!(peer.announced(1_024, "more"), Err(hit.into()));
    }
}
