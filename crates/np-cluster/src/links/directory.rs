//! Which key stands for which node: names bound to what a link proved. Must never take a sender's word for who it is, nor
//! know a connection or a clock.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use np_facade::{Fingerprint, PeerIdentity, PublicKey};
use tokio::time::Instant;

use super::announcement::Announcement;

/// The most nodes whose names are bound to keys.
pub(crate) const MAX_NODES: usize = 1_024;

/// How long the name of a node that is away is kept for it, however many others come.
pub(crate) const KEPT: Duration = Duration::from_secs(3_600);

/// What a member has proven: a key of np, or that of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NodeKey {
    /// A key of np.
    Noise(PublicKey),
    /// The SHA-256 of a certificate's public key.
    Certificate(Fingerprint),
}

impl NodeKey {
    /// The key of a peer; none where it proves something that is not its own, as a shared key or a user.
    pub(crate) const fn of(peer: &PeerIdentity) -> Option<Self> {
        match peer {
            PeerIdentity::Noise(key) => Some(Self::Noise(*key)),
            PeerIdentity::Certificate { spki, .. } => Some(Self::Certificate(*spki)),
            _ => None,
        }
    }
}

impl fmt::Display for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Noise(key) => write!(f, "{key}"),
            Self::Certificate(spki) => write!(f, "spki:{spki}"),
        }
    }
}

/// What an allow list says about names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listed {
    /// The name that it gives to the key.
    pub(crate) name: Option<String>,
    /// Whether it gives the announced name to other keys.
    pub(crate) elsewhere: bool,
}

impl Listed {
    /// Whether a node with the key may have this name.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.name.as_ref().map_or(!self.elsewhere, |listed| listed == name)
    }
}

/// Why a node is not who it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lie {
    #[error("the allow list calls this key `{listed}`, and the node calls itself `{said}`; let both say the same")]
    NotItsName { listed: String, said: String },
    #[error(
        "the allow list gives the name `{0}` to another key; choose another name, or add this key to the list by it"
    )]
    ListedForAnother(String),
    #[error(
        "the name `{0}` belongs to another key, which used it first; choose another name, or take the other key off the \
         allow list"
    )]
    NameTaken(String),
    #[error("this key belongs to the node `{bound}`, and now calls itself `{said}`; give each node a key of its own")]
    Renamed { bound: String, said: String },
    #[error("the address {address} belongs to the node `{holder}`; advertise another")]
    AddressTaken { address: SocketAddr, holder: String },
}

/// Why a node is not bound to its name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unbound {
    #[error("{0}")]
    Lie(#[from] Lie),
    #[error("the names of {MAX_NODES} nodes are known here, and each is kept for {} s at least", KEPT.as_secs())]
    Full,
}

/// What a link has proven of a node, and what the node says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof<'a> {
    pub(crate) key: NodeKey,
    pub(crate) identity: &'a PeerIdentity,
    pub(crate) said: &'a Announcement,
    pub(crate) listed: &'a Listed,
}

/// A node that has proven a key.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) name: String,
    /// What the policy is asked about again.
    pub(crate) identity: PeerIdentity,
    /// When its link was opened, or ended.
    seen: Instant,
}

/// The nodes that have proven a key, this one among them.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_key: HashMap<NodeKey, Bound>,
    /// The same by name, for those who ask often.
    by_name: HashMap<String, NodeKey>,
    /// This node, which has no link to itself.
    own: Option<(String, SocketAddr)>,
}

impl Directory {
    /// Sets who this node is: nobody else can have its name or address.
    pub(crate) fn set_own(&mut self, name: String, address: SocketAddr) {
        self.own = Some((name, address));
    }

    /// Binds the name that a node announced to the key that it proved, or says in what it lies. `live` tells whether there is
    /// a link to a key.
    pub(crate) fn bind(
        &mut self,
        proof: &Proof<'_>,
        live: impl Fn(&NodeKey) -> bool,
        now: Instant,
    ) -> Result<(), Unbound> {
        let Proof { key, identity, said, listed } = *proof;
        self.check_own(said)?;
        if let Some(old) = self.check_name(proof, &live)? {
            self.retire(old);
        }
        if !self.by_key.contains_key(&key) && !self.make_room(listed.name.is_some(), live, now) {
            return Err(Unbound::Full);
        }
        self.retire(key);
        self.by_name.insert(said.name.clone(), key);
        self.by_key.insert(key, Bound { name: said.name.clone(), identity: identity.clone(), seen: now });
        Ok(())
    }

    fn check_own(&self, said: &Announcement) -> Result<(), Lie> {
        match &self.own {
            Some((name, _)) if *name == said.name => Err(Lie::NameTaken(said.name.clone())),
            Some((name, address)) if *address == said.address => {
                Err(Lie::AddressTaken { address: *address, holder: name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks the name alone; gives the key that gives way, where the name passes on.
    fn check_name(&self, proof: &Proof<'_>, live: impl Fn(&NodeKey) -> bool) -> Result<Option<NodeKey>, Lie> {
        let Proof { key, said, listed, identity } = *proof;
        match &listed.name {
            Some(name) if *name != said.name => {
                return Err(Lie::NotItsName { listed: name.clone(), said: said.name.clone() });
            }
            None if listed.elsewhere => return Err(Lie::ListedForAnother(said.name.clone())),
            _ => {}
        }
        if let Some(bound) = self.by_key.get(&key)
            && bound.name != said.name
            && listed.name.is_none()
        {
            return Err(Lie::Renamed { bound: bound.name.clone(), said: said.name.clone() });
        }
        let Some(holder) = self.key_of(&said.name).filter(|holder| *holder != key) else {
            return Ok(None);
        };
        // Keys are rotated: the list names this one, or an authority has given it to the same subject.
        let renewed = || self.by_key.get(&holder).is_some_and(|bound| is_renewed(&bound.identity, identity));
        let passes_on = !live(&holder) && (listed.name.is_some() || renewed());
        if passes_on { Ok(Some(holder)) } else { Err(Lie::NameTaken(said.name.clone())) }
    }

    /// Whether there is room for one more. Of those that are away the one that has been so for the longest gives way, and the
    /// sooner to one that the list names.
    fn make_room(&mut self, listed: bool, live: impl Fn(&NodeKey) -> bool, now: Instant) -> bool {
        if self.by_key.len() < MAX_NODES {
            return true;
        }
        let away = self.by_key.iter().filter(|(key, _)| !live(key)).min_by_key(|(_, bound)| bound.seen);
        match away.map(|(key, bound)| (*key, now.saturating_duration_since(bound.seen))) {
            Some((key, time)) if listed || time >= KEPT => self.retire(key).is_some(),
            _ => false,
        }
    }

    /// Notes that the link to a key has ended.
    pub(crate) fn ended(&mut self, key: NodeKey, now: Instant) {
        if let Some(bound) = self.by_key.get_mut(&key) {
            bound.seen = now;
        }
    }

    /// Frees what is bound to a key.
    pub(crate) fn retire(&mut self, key: NodeKey) -> Option<Bound> {
        let bound = self.by_key.remove(&key)?;
        self.by_name.remove(&bound.name);
        Some(bound)
    }

    /// Every key, with the node that it stands for.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&NodeKey, &Bound)> {
        self.by_key.iter()
    }

    /// The name of the node with a key.
    pub(crate) fn name_of(&self, key: NodeKey) -> Option<&str> {
        self.by_key.get(&key).map(|bound| bound.name.as_str())
    }

    /// The key of a node.
    pub(crate) fn key_of(&self, name: &str) -> Option<NodeKey> {
        self.by_name.get(name).copied()
    }
}

/// Whether two certificates are of one subject: the same subject and the same names. An authority has vouched for both.
fn is_renewed(old: &PeerIdentity, new: &PeerIdentity) -> bool {
    let (
        PeerIdentity::Certificate { names, subject, .. },
        PeerIdentity::Certificate { names: later, subject: same, .. },
    ) = (old, new)
    else {
        return false;
    };
    let says_something = !(names.is_empty() && subject.is_empty());
    let within = |these: &[String], those: &[String]| these.iter().all(|name| those.contains(name));
    says_something && subject == same && within(names, later) && within(later, names)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use np_facade::{Fingerprint, PeerIdentity, PublicKey};
    use tokio::time::Instant;

    use super::{Announcement, Directory, KEPT, Lie, Listed, MAX_NODES, NodeKey, Proof, Unbound};

    fn peer(number: u16) -> PeerIdentity {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerIdentity::Noise(PublicKey::from_bytes(bytes))
    }

    fn certificate(byte: u8, subject: &str, names: &[&str]) -> PeerIdentity {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        PeerIdentity::Certificate { spki: Fingerprint([byte; 32]), names, subject: subject.to_owned() }
    }

    fn key(number: u16) -> NodeKey {
        NodeKey::of(&peer(number)).unwrap()
    }

    fn says(name: &str, port: u16) -> Announcement {
        Announcement::new("shop".to_owned(), name.to_owned(), ([10, 0, 0, 1], port).into(), [0; 16])
    }

    fn listed(name: &str) -> Listed {
        Listed { name: Some(name.to_owned()), elsewhere: true }
    }

    fn bind_as(
        directory: &mut Directory,
        identity: &PeerIdentity,
        name: &str,
        listed: &Listed,
        live: bool,
    ) -> Result<(), Unbound> {
        let (key, said) = (NodeKey::of(identity).unwrap(), says(name, 1));
        directory.bind(&Proof { key, identity, said: &said, listed }, |_| live, Instant::now())
    }

    /// Binds a node in a directory whose links all stand.
    fn bind(directory: &mut Directory, number: u16, name: &str, list: &Listed) -> Result<(), Unbound> {
        bind_as(directory, &peer(number), name, list, true)
    }

    fn taken(name: &str) -> Result<(), Unbound> {
        Err(Unbound::Lie(Lie::NameTaken(name.to_owned())))
    }

    #[test]
    fn the_first_key_to_claim_a_name_keeps_it() {
        let mut directory = Directory::default();
        let none = Listed::default();
        bind(&mut directory, 1, "a", &none).unwrap();
        assert_eq!(bind(&mut directory, 2, "a", &none), taken("a"));
        // It keeps it while it is away, too, and may come back.
        assert_eq!(bind_as(&mut directory, &peer(2), "a", &none, false), taken("a"));
        bind(&mut directory, 1, "a", &none).unwrap();
        // Until its key is taken away.
        assert_eq!(directory.retire(key(1)).unwrap().name, "a");
        bind(&mut directory, 2, "a", &none).unwrap();
        assert_eq!((directory.key_of("a"), directory.name_of(key(2))), (Some(key(2)), Some("a")));
    }

    #[test]
    fn a_key_has_one_name() {
        let mut directory = Directory::default();
        bind(&mut directory, 1, "a", &Listed::default()).unwrap();
        let error = bind(&mut directory, 1, "b", &Listed::default()).unwrap_err();
        assert_eq!(error, Unbound::Lie(Lie::Renamed { bound: "a".to_owned(), said: "b".to_owned() }));
        // The list may rename it.
        bind(&mut directory, 1, "b", &listed("b")).unwrap();
        assert_eq!((directory.key_of("a"), directory.key_of("b")), (None, Some(key(1))));
    }

    #[test]
    fn a_name_in_the_list_is_binding_for_its_key_and_against_others() {
        let mut directory = Directory::default();
        let error = bind(&mut directory, 1, "b", &listed("a")).unwrap_err();
        assert!(matches!(&error, Unbound::Lie(Lie::NotItsName { .. })), "{error}");
        assert!(error.to_string().contains("calls itself `b`"), "{error}");
        let elsewhere = Listed { name: None, elsewhere: true };
        assert_eq!(bind(&mut directory, 2, "a", &elsewhere), Err(Unbound::Lie(Lie::ListedForAnother("a".to_owned()))));
        bind(&mut directory, 1, "a", &listed("a")).unwrap();
        // A key without a row may have a name that no row has.
        assert!(Listed::default().allows("c") && listed("a").allows("a"));
        assert!(!elsewhere.allows("a") && !listed("a").allows("c"));
    }

    #[test]
    fn a_name_passes_to_another_key_of_the_list_once_the_first_is_away() {
        let mut directory = Directory::default();
        bind(&mut directory, 1, "a", &listed("a")).unwrap();
        assert_eq!(bind(&mut directory, 2, "a", &listed("a")), taken("a"));
        bind_as(&mut directory, &peer(2), "a", &listed("a"), false).unwrap();
        assert_eq!(directory.key_of("a"), Some(key(2)));
        assert_eq!(directory.all().count(), 1);
    }

    #[test]
    fn a_name_passes_to_a_certificate_of_the_same_subject_with_another_key() {
        let names = ["a.shop.test", "10.0.0.1"];
        let first = certificate(1, "CN=a", &names);
        // Each of these is another subject, or says nothing of one.
        for other in [
            certificate(2, "CN=b", &names),
            certificate(2, "CN=a", &names[..1]),
            certificate(2, "CN=a", &["b.shop.test", "10.0.0.1"]),
            certificate(2, "CN=a", &["a.shop.test", "10.0.0.1", "b.shop.test"]),
            peer(2),
        ] {
            let mut directory = Directory::default();
            bind_as(&mut directory, &first, "a", &Listed::default(), false).unwrap();
            assert_eq!(bind_as(&mut directory, &other, "a", &Listed::default(), false), taken("a"), "{other:?}");
        }
        let (nobody, other) = (certificate(1, "", &[]), certificate(2, "", &[]));
        let mut directory = Directory::default();
        bind_as(&mut directory, &nobody, "n", &Listed::default(), false).unwrap();
        assert_eq!(bind_as(&mut directory, &other, "n", &Listed::default(), false), taken("n"));
        // In another order, and not while the first is linked.
        let mut directory = Directory::default();
        let renewed = certificate(2, "CN=a", &["10.0.0.1", "a.shop.test"]);
        bind_as(&mut directory, &first, "a", &Listed::default(), false).unwrap();
        assert_eq!(bind_as(&mut directory, &renewed, "a", &Listed::default(), true), taken("a"));
        bind_as(&mut directory, &renewed, "a", &Listed::default(), false).unwrap();
        assert_eq!(directory.key_of("a"), NodeKey::of(&renewed));
    }

    #[test]
    fn so_many_names_are_kept_and_those_that_are_away_for_long_give_way() {
        let mut directory = Directory::default();
        let begun = Instant::now();
        let come = |directory: &mut Directory, number: u16, listed: &Listed, live: bool, now: Instant| {
            let (identity, said) = (peer(number), says(&format!("n{number}"), 1));
            let proof = Proof { key: key(number), identity: &identity, said: &said, listed };
            directory.bind(&proof, |_| live, now)
        };
        let none = Listed::default();
        for number in 0..MAX_NODES as u16 {
            come(&mut directory, number, &none, false, begun + Duration::from_secs(number.into())).unwrap();
        }
        let (one_more, another) = (MAX_NODES as u16, MAX_NODES as u16 + 1);
        let soon = begun + KEPT - Duration::from_secs(1);
        assert_eq!(come(&mut directory, one_more, &none, false, soon), Err(Unbound::Full));
        assert_eq!(directory.all().count(), MAX_NODES);
        // Whoever is known may come again, and one that the list names finds a place.
        come(&mut directory, 7, &none, false, soon).unwrap();
        come(&mut directory, one_more, &listed(&format!("n{one_more}")), false, soon).unwrap();
        assert_eq!((directory.name_of(key(0)), directory.all().count()), (None, MAX_NODES));
        // One that has been away for long gives way, and one that is linked never does.
        directory.ended(key(1), soon);
        let later = begun + KEPT + Duration::from_secs(2);
        assert_eq!(come(&mut directory, another, &none, true, later), Err(Unbound::Full));
        come(&mut directory, another, &none, false, later).unwrap();
        assert!(directory.name_of(key(2)).is_none() && directory.name_of(key(1)).is_some());
    }

    #[test]
    fn nobody_is_this_node_but_itself() {
        let mut directory = Directory::default();
        directory.set_own("me".to_owned(), ([10, 0, 0, 1], 1).into());
        assert_eq!(bind(&mut directory, 1, "me", &Listed::default()), taken("me"));
        let error = bind(&mut directory, 1, "a", &Listed::default()).unwrap_err();
        assert!(matches!(error, Unbound::Lie(Lie::AddressTaken { .. })), "{error}");
    }

    #[test]
    fn members_prove_a_key_of_their_own() {
        assert_eq!(NodeKey::of(&PeerIdentity::Anonymous), None);
        assert_eq!(NodeKey::of(&PeerIdentity::Psk("x".to_owned())), None);
        let spki = Fingerprint([1; 32]);
        let certificate = PeerIdentity::Certificate { spki, names: Vec::new(), subject: String::new() };
        assert_eq!(NodeKey::of(&certificate).unwrap().to_string(), format!("spki:{spki}"));
    }
}
