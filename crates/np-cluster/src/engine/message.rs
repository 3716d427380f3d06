//! The engine's messages, read before the engine reads them: its decoder trusts what it is given.
//!
//! It owns the form of a message and of what it says about every node. It must never decide what may pass; [`super::gate`]
//! does.

use std::net::{IpAddr, SocketAddr};

use super::NodeId;
use crate::config::is_name;
use crate::limits::NODES_MAX;

/// The first bytes of every message, in the engine's order.
const MAGIC: [u8; 2] = 45_139_u16.to_le_bytes();
const VERSION: u8 = 0;
/// Counters above this are no counters: the engine adds to some of them.
const COUNTER_MAX: u64 = 1 << 62;
/// Why bytes are no message, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Garbage(pub(crate) &'static str);

/// More nodes than there may be in a message.
pub(super) const TOO_MANY: Garbage = Garbage("more than 1,166 nodes");

/// What a message is, by its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the sender knows of every node.
    Syn = 0,
    /// The same, with changes that the receiver lacks.
    SynAck = 1,
    /// Changes alone.
    Ack = 2,
    /// The receiver is of another cluster.
    BadCluster = 3,
}

impl Kind {
    /// The kind of a message, which no more is read of.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        match message.get(3)? {
            0 => Some(Self::Syn),
            1 => Some(Self::SynAck),
            2 => Some(Self::Ack),
            3 => Some(Self::BadCluster),
            _ => None,
        }
    }

    pub(super) const fn has_changes(self) -> bool {
        matches!(self, Self::SynAck | Self::Ack)
    }
}

/// One start of a node, as a message names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id<'a> {
    pub(super) name: &'a str,
    pub(super) generation: u64,
    pub(super) address: SocketAddr,
}

impl<'a> Id<'a> {
    pub(super) fn of(id: &'a NodeId) -> Self {
        Self { name: &id.name, generation: id.generation, address: id.address }
    }

    pub(super) fn is(&self, id: &NodeId) -> bool {
        (self.name, self.generation, self.address) == (&*id.name, id.generation, id.address)
    }

    /// The bytes that the digest has for it.
    pub(super) const fn digest_len(&self) -> usize {
        2 + self.name.len() + 8 + if self.address.is_ipv4() { 7 } else { 19 } + 24
    }
}

/// What a message says of one start of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digested<'a> {
    pub(super) id: Id<'a>,
    pub(super) heartbeat: u64,
    pub(super) cleared: u64,
    pub(super) version: u64,
}

/// A message with its changes as they travelled.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: Kind,
    pub(super) digest: Vec<Digested<'a>>,
    /// The cluster's id, in a syn.
    pub(super) cluster: &'a str,
    /// The blocks of changes, in a syn-ack or an ack.
    pub(super) blocks: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message whole.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Garbage> {
        let mut reader = Reader(bytes);
        if reader.take(2)? != MAGIC || reader.byte()? != VERSION {
            return Err(Garbage("no message of this version"));
        }
        reader.byte()?;
        let kind = Kind::of(bytes).ok_or(Garbage("unknown kind"))?;
        let digest = if matches!(kind, Kind::Syn | Kind::SynAck) { reader.digest()? } else { Vec::new() };
        let cluster = if kind == Kind::Syn { reader.text()? } else { "" };
        let blocks = if kind.has_changes() { std::mem::take(&mut reader.0) } else { &[] };
        if !reader.0.is_empty() {
            return Err(Garbage("bytes behind the message"));
        }
        Ok(Self { kind, digest, cluster, blocks })
    }

    /// The message in the engine's form, with these blocks.
    pub(super) fn write(&self, blocks: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(blocks.len() + 64 * self.digest.len() + 64);
        bytes.extend(MAGIC);
        bytes.extend([VERSION, self.kind as u8]);
        if matches!(self.kind, Kind::Syn | Kind::SynAck) {
            put_len(&mut bytes, self.digest.len());
            for Digested { id, heartbeat, cleared, version } in &self.digest {
                put_id(&mut bytes, id);
                [heartbeat, cleared, version].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
        }
        if self.kind == Kind::Syn {
            put_text(&mut bytes, self.cluster);
        }
        bytes.extend(blocks);
        bytes
    }
}

/// Reads from the front of bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Garbage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Garbage("ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Garbage> {
        self.take(N)?.try_into().map_err(|_| Garbage("ends too early"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Garbage> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn len(&mut self) -> Result<usize, Garbage> {
        self.array().map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    /// A number that grows by one at a time, or a time in milliseconds.
    pub(super) fn counter(&mut self) -> Result<u64, Garbage> {
        let number = u64::from_le_bytes(self.array()?);
        if number > COUNTER_MAX { Err(Garbage("a counter out of range")) } else { Ok(number) }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Garbage> {
        let len = self.len()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Garbage("no text"))
    }

    pub(super) fn id(&mut self) -> Result<Id<'a>, Garbage> {
        let name = self.text()?;
        if !is_name(name) {
            return Err(Garbage("no name of a node"));
        }
        let generation = self.counter()?;
        let ip = match self.byte()? {
            4 => IpAddr::from(self.array::<4>()?),
            6 => IpAddr::from(self.array::<16>()?),
            _ => return Err(Garbage("no address")),
        };
        let port = u16::from_le_bytes(self.array()?);
        if port == 0 || ip.is_unspecified() {
            return Err(Garbage("no address"));
        }
        Ok(Id { name, generation, address: SocketAddr::new(ip, port) })
    }

    fn digest(&mut self) -> Result<Vec<Digested<'a>>, Garbage> {
        let count = self.len()?;
        if count > NODES_MAX {
            return Err(TOO_MANY);
        }
        let mut digest = Vec::new();
        for _ in 0..count {
            let id = self.id()?;
            let [heartbeat, cleared, version] = [self.counter()?, self.counter()?, self.counter()?];
            digest.push(Digested { id, heartbeat, cleared, version });
        }
        Ok(digest)
    }
}

/// A length of two bytes. What is longer was refused before it came here.
pub(super) fn put_len(bytes: &mut Vec<u8>, len: usize) {
    bytes.extend(u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
}

pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_len(bytes, text.len());
    bytes.extend(text.as_bytes());
}

pub(super) fn put_id(bytes: &mut Vec<u8>, id: &Id<'_>) {
    put_text(bytes, id.name);
    bytes.extend(id.generation.to_le_bytes());
    match id.address.ip() {
        IpAddr::V4(ip) => {
            bytes.push(4);
            bytes.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes.push(6);
            bytes.extend(ip.octets());
        }
    }
    bytes.extend(id.address.port().to_le_bytes());
}
