//! Values as users see them, and the envelope in which they travel: end of life, signature, text.

use std::time::SystemTime;

use crate::clock::time_of;
use crate::signing::{Claim, SIGNATURE_LEN, SigningKey, check};

/// A value that a node has for a key.
///
/// ```
/// # async fn example(cluster: &np_cluster::Cluster) {
/// if let Some(value) = cluster.get("orders-1", "leader").await {
///     println!("{} ({:?})", value.text, value.signature);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value {
    /// The text.
    pub text: String,
    /// The node's version when it was set: of two values of a node the later has the higher.
    pub version: u64,
    /// When it ends, by the clock of the node that set it.
    pub expires: Option<SystemTime>,
    /// What its signature proves.
    pub signature: Signature,
}

/// What the signature of a value proves.
///
/// ```
/// assert_ne!(np_cluster::Signature::None, np_cluster::Signature::Invalid);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signature {
    /// There is none: any member may have made the value up.
    None,
    /// The node's signing key signed this value for this key, at that time by the node's clock.
    Valid(SystemTime),
    /// The node's signing key did not sign this.
    Invalid,
    /// There is one, and this node has no key of the other to check it with: `sign=` in the list of allowed keys names one.
    Unknown,
}

/// The parts of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) text: &'a str,
    /// Milliseconds since 1970; 0 is never.
    pub(crate) expires: u64,
    /// When it was signed, and the signature.
    pub(crate) signed: Option<(u64, [u8; SIGNATURE_LEN])>,
}

impl<'a> Envelope<'a> {
    /// Reads a stored value; nothing if np has not made it.
    pub(crate) fn read(stored: &'a str) -> Option<Self> {
        let (head, text) = stored.split_once('\n')?;
        let mut envelope = Self { text, expires: 0, signed: None };
        let (mut at, mut signature) = (0, None);
        for field in head.split(' ').filter(|field| !field.is_empty()) {
            match field.split_at_checked(1)? {
                ("e", rest) => envelope.expires = rest.parse().ok()?,
                ("a", rest) => at = rest.parse().ok()?,
                ("s", rest) => signature = Some(from_hex(rest)?),
                _ => return None,
            }
        }
        envelope.signed = signature.map(|bytes| (at, bytes));
        Some(envelope)
    }

    /// The stored form.
    pub(crate) fn write(&self) -> String {
        let mut fields = Vec::new();
        if self.expires > 0 {
            fields.push(format!("e{}", self.expires));
        }
        if let Some((at, signature)) = &self.signed {
            fields.push(format!("a{at} s{}", to_hex(signature)));
        }
        format!("{}\n{}", fields.join(" "), self.text)
    }

    /// Whether its time is over.
    pub(crate) const fn is_over(&self, now: u64) -> bool {
        self.expires > 0 && self.expires <= now
    }

    /// The envelope with a signature.
    pub(crate) fn sign(mut self, key: &SigningKey, place: Place<'_>, now: u64) -> Self {
        let signature = key.sign(&self.claim(place, now));
        self.signed = Some((now, signature));
        self
    }

    /// The value, with what its signature proves by this public key.
    pub(crate) fn value(&self, place: Place<'_>, version: u64, verify: Option<[u8; 32]>) -> Value {
        let signature = match (&self.signed, verify) {
            (None, _) => Signature::None,
            (Some(_), None) => Signature::Unknown,
            (Some((at, signature)), Some(key)) if check(&key, &self.claim(place, *at), signature) => {
                Signature::Valid(time_of(*at))
            }
            (Some(_), Some(_)) => Signature::Invalid,
        };
        let expires = (self.expires > 0).then(|| time_of(self.expires));
        Value { text: self.text.to_owned(), version, expires, signature }
    }

    const fn claim(&self, place: Place<'a>, at: u64) -> Claim<'a> {
        Claim { cluster: place.cluster, node: place.node, key: place.key, text: self.text, expires: self.expires, at }
    }
}

/// Where a value stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a str,
    pub(crate) key: &'a str,
}

/// Bytes as they are written.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A signature as it was written.
pub(crate) fn from_hex(text: &str) -> Option<[u8; SIGNATURE_LEN]> {
    let mut bytes = [0; SIGNATURE_LEN];
    if text.len() != 2 * SIGNATURE_LEN {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
