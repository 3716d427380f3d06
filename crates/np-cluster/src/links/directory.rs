//! Which key stands for which node: names and addresses bound to what a link proved. Must never take a sender's word for
//! who it is, nor know a connection.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use np_facade::{Fingerprint, PeerIdentity, PublicKey};

use super::announcement::Announcement;

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

/// What a link has proven of a node, and what the node says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof<'a> {
    pub(crate) key: NodeKey,
    pub(crate) identity: &'a PeerIdentity,
    pub(crate) said: &'a Announcement,
    pub(crate) listed: &'a Listed,
    /// Whether it answered at the address that it announces.
    pub(crate) dialed: bool,
}

/// A node that has proven a key.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    pub(crate) name: String,
    /// Where it said it is; none once another node is there.
    pub(crate) address: Option<SocketAddr>,
    /// What the policy is asked about again.
    pub(crate) identity: PeerIdentity,
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

    /// Binds what a node announced to the key that it proved, or says in what it lies.
    pub(crate) fn bind(&mut self, proof: &Proof<'_>, live: impl Fn(&NodeKey) -> bool) -> Result<(), Lie> {
        let Proof { key, identity, said, .. } = *proof;
        self.check_own(said)?;
        let gives_way = self.check_name(proof, &live)?;
        let holder = self.holder(key, |bound| bound.address == Some(said.address));
        if let Some(holder) = holder.filter(|holder| !gives_way.contains(holder)) {
            // Whoever answers at an address is at it; of two that only say so the one that is connected is believed.
            if !proof.dialed && live(&holder) {
                let holder = self.by_key.get(&holder).map(|bound| bound.name.clone()).unwrap_or_default();
                return Err(Lie::AddressTaken { address: said.address, holder });
            }
            if let Some(bound) = self.by_key.get_mut(&holder) {
                bound.address = None;
            }
        }
        gives_way.iter().for_each(|old| drop(self.retire(*old)));
        self.retire(key);
        self.by_name.insert(said.name.clone(), key);
        let bound = Bound { name: said.name.clone(), address: Some(said.address), identity: identity.clone() };
        self.by_key.insert(key, bound);
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

    /// Checks the name alone; gives the key that gives way, where the list says that the name passes on.
    fn check_name(&self, proof: &Proof<'_>, live: impl Fn(&NodeKey) -> bool) -> Result<Vec<NodeKey>, Lie> {
        let Proof { key, said, listed, .. } = *proof;
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
        match self.key_of(&said.name).filter(|holder| *holder != key) {
            // The list names the key: it takes the name from one that is not connected, as when keys are rotated.
            Some(holder) if listed.name.is_some() && !live(&holder) => Ok(vec![holder]),
            Some(_) => Err(Lie::NameTaken(said.name.clone())),
            None => Ok(Vec::new()),
        }
    }

    fn holder(&self, key: NodeKey, is: impl Fn(&Bound) -> bool) -> Option<NodeKey> {
        self.by_key.iter().find(|(other, bound)| **other != key && is(bound)).map(|(other, _)| *other)
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

    /// The key of the node at an address.
    pub(crate) fn key_at(&self, address: SocketAddr) -> Option<NodeKey> {
        self.by_key.iter().find(|(_, bound)| bound.address == Some(address)).map(|(key, _)| *key)
    }

    /// The name of the node at an address.
    pub(crate) fn name_at(&self, address: SocketAddr) -> Option<String> {
        self.by_key.values().find(|bound| bound.address == Some(address)).map(|bound| bound.name.clone())
    }

    /// The key of a node.
    pub(crate) fn key_of(&self, name: &str) -> Option<NodeKey> {
        self.by_name.get(name).copied()
    }
}

#[cfg(test)]
mod tests {
    use np_facade::{Fingerprint, PeerIdentity, PublicKey};

    use super::{Announcement, Directory, Lie, Listed, NodeKey, Proof};

    fn peer(byte: u8) -> PeerIdentity {
        PeerIdentity::Noise(PublicKey::from_bytes([byte; 32]))
    }

    fn key(byte: u8) -> NodeKey {
        NodeKey::of(&peer(byte)).unwrap()
    }

    fn says(name: &str, port: u16) -> Announcement {
        Announcement::new("shop".to_owned(), name.to_owned(), ([10, 0, 0, 1], port).into(), [0; 16])
    }

    fn listed(name: &str) -> Listed {
        Listed { name: Some(name.to_owned()), elsewhere: true }
    }

    fn bind_as(
        directory: &mut Directory,
        byte: u8,
        said: &Announcement,
        listed: &Listed,
        (dialed, live): (bool, bool),
    ) -> Result<(), Lie> {
        directory.bind(&Proof { key: key(byte), identity: &peer(byte), said, listed, dialed }, |_| live)
    }

    /// Binds a node that came by itself, in a directory whose links all stand.
    fn bind(directory: &mut Directory, byte: u8, name: &str, port: u16, list: &Listed) -> Result<(), Lie> {
        bind_as(directory, byte, &says(name, port), list, (false, true))
    }

    #[test]
    fn the_first_key_to_claim_a_name_keeps_it() {
        let mut directory = Directory::default();
        let none = Listed::default();
        bind(&mut directory, 1, "a", 1, &none).unwrap();
        assert_eq!(bind(&mut directory, 2, "a", 2, &none), Err(Lie::NameTaken("a".to_owned())));
        // It keeps it while it is away, too, and may come back at another address.
        let away = bind_as(&mut directory, 2, &says("a", 2), &none, (false, false));
        assert_eq!(away, Err(Lie::NameTaken("a".to_owned())));
        bind(&mut directory, 1, "a", 3, &none).unwrap();
        assert_eq!(directory.key_at(([10, 0, 0, 1], 3).into()), Some(key(1)));
        assert_eq!(directory.key_at(([10, 0, 0, 1], 1).into()), None);
        // Until its key is taken away.
        assert_eq!(directory.retire(key(1)).unwrap().name, "a");
        bind(&mut directory, 2, "a", 2, &none).unwrap();
        assert_eq!(directory.key_of("a"), Some(key(2)));
    }

    #[test]
    fn a_key_has_one_name() {
        let mut directory = Directory::default();
        bind(&mut directory, 1, "a", 1, &Listed::default()).unwrap();
        let error = bind(&mut directory, 1, "b", 1, &Listed::default()).unwrap_err();
        assert_eq!(error, Lie::Renamed { bound: "a".to_owned(), said: "b".to_owned() });
        // The list may rename it.
        bind(&mut directory, 1, "b", 1, &listed("b")).unwrap();
        assert_eq!((directory.key_of("a"), directory.key_of("b")), (None, Some(key(1))));
    }

    #[test]
    fn a_name_in_the_list_is_binding_for_its_key_and_against_others() {
        let mut directory = Directory::default();
        let error = bind(&mut directory, 1, "b", 1, &listed("a")).unwrap_err();
        assert!(matches!(&error, Lie::NotItsName { .. }) && error.to_string().contains("calls itself `b`"), "{error}");
        let elsewhere = Listed { name: None, elsewhere: true };
        assert_eq!(bind(&mut directory, 2, "a", 2, &elsewhere), Err(Lie::ListedForAnother("a".to_owned())));
        bind(&mut directory, 1, "a", 1, &listed("a")).unwrap();
    }

    #[test]
    fn a_name_passes_to_another_key_of_the_list_once_the_first_is_away() {
        let mut directory = Directory::default();
        bind(&mut directory, 1, "a", 1, &listed("a")).unwrap();
        assert_eq!(bind(&mut directory, 2, "a", 1, &listed("a")), Err(Lie::NameTaken("a".to_owned())));
        bind_as(&mut directory, 2, &says("a", 1), &listed("a"), (false, false)).unwrap();
        assert_eq!(directory.key_of("a"), Some(key(2)));
        assert_eq!(directory.all().count(), 1);
    }

    #[test]
    fn an_address_is_that_of_one_node_that_stands() {
        let mut directory = Directory::default();
        bind(&mut directory, 1, "a", 1, &Listed::default()).unwrap();
        let error = bind(&mut directory, 2, "b", 1, &Listed::default()).unwrap_err();
        assert!(matches!(error, Lie::AddressTaken { .. }), "{error}");
        bind_as(&mut directory, 2, &says("b", 1), &Listed::default(), (false, false)).unwrap();
        // Whoever answers there is believed, whoever else says so.
        assert!(bind(&mut directory, 1, "a", 1, &Listed::default()).is_err());
        bind_as(&mut directory, 1, &says("a", 1), &Listed::default(), (true, true)).unwrap();
        assert_eq!(directory.key_at(([10, 0, 0, 1], 1).into()), Some(key(1)));
        assert_eq!(directory.key_of("b"), Some(key(2)));
    }

    #[test]
    fn nobody_is_this_node_but_itself() {
        let mut directory = Directory::default();
        directory.set_own("me".to_owned(), ([10, 0, 0, 1], 9).into());
        assert!(matches!(bind(&mut directory, 1, "me", 1, &Listed::default()), Err(Lie::NameTaken(_))));
        assert!(matches!(bind(&mut directory, 1, "a", 9, &Listed::default()), Err(Lie::AddressTaken { .. })));
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
