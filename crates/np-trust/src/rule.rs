//! The rules that a policy is made of, one by one. Must never write to the audit log: a decision takes several rules.

use std::sync::Arc;
use std::time::Instant;

use np_types::{Fingerprint, LocalPeer, PeerIdentity, PublicKey, UnixMillis, escape};

use crate::file::shown;
use crate::watch::WatchedList;
use crate::{AllowEntry, AllowList, Decision, KnownPeer, KnownPeers, KnownPeersError, Proof};

/// A function that decides.
type Judge = dyn Fn(&PeerIdentity) -> Decision + Send + Sync;

/// One reason for which a peer may be allowed.
#[derive(Clone)]
pub(crate) enum Rule {
    Keys { list: Arc<AllowList>, source: Arc<str> },
    File(Arc<WatchedList>),
    Psk { id: Arc<str>, name: Arc<str> },
    Spki { key: Fingerprint, name: Arc<str> },
    San { wanted: Arc<str>, name: Arc<str> },
    User { id: Arc<str>, name: Arc<str> },
    Group { id: Arc<str>, name: Arc<str> },
    FirstUse { known: KnownPeers, address: Arc<str> },
    Anyone,
    Anonymous,
    DangerAnyone,
    Closure(Arc<Judge>),
}

/// What a rule says about a peer, and why.
pub(crate) enum Verdict {
    Allow {
        name: Option<String>,
        reason: String,
    },
    /// Allowed for a reason that somebody should look at.
    AllowAndWarn {
        reason: String,
    },
    Refuse(String),
}

impl Rule {
    pub(crate) fn judge(&self, peer: &PeerIdentity, now: UnixMillis) -> Verdict {
        match self {
            Self::Keys { list, source } => judge_key(peer, source, now, || Arc::clone(list)),
            Self::File(list) => judge_key(peer, list.name(), now, || list.current(Instant::now())),
            Self::Psk { id, name } => match peer {
                PeerIdentity::Psk(proven) if **proven == **id => allow("the pre-shared key is allowed"),
                _ => refuse(format!("the peer has not proven {name} alone")),
            },
            Self::Spki { key, name } => match peer {
                PeerIdentity::Certificate { spki, .. } if spki == key => allow("the certificate's key is allowed"),
                _ => refuse(format!("the peer has shown no certificate with the key {name}")),
            },
            Self::San { wanted, name } => match peer {
                PeerIdentity::Certificate { names, .. } if names.iter().any(|has| **has == **wanted) => {
                    allow("a name of the certificate is allowed")
                }
                _ => refuse(format!("the peer has shown no certificate with the name {name}")),
            },
            Self::User { id, name } => match peer {
                PeerIdentity::Local(local) if *local.user == **id => allow("the user is allowed"),
                _ => refuse(format!("the peer is not the user {name} of this machine")),
            },
            Self::Group { id, name } => match peer {
                PeerIdentity::Local(LocalPeer { group: Some(group), .. }) if **group == **id => {
                    allow("the group is allowed")
                }
                _ => refuse(format!("the peer does not run under the group {name} of this machine")),
            },
            Self::FirstUse { known, address } => judge_known(peer, known, address, now),
            Self::Anyone if peer.is_authenticated() => allow("any proven identity is allowed"),
            Self::Anyone => refuse("the peer has proven no identity"),
            Self::Anonymous if !peer.is_authenticated() => allow("peers that have proven nothing are allowed"),
            Self::Anonymous => refuse("the peer has proven an identity, which `anonymous` does not allow"),
            Self::DangerAnyone => Verdict::AllowAndWarn { reason: "allowed without a check of who it is".to_owned() },
            Self::Closure(judge) => match judge(peer) {
                Decision::Allow { name } => Verdict::Allow { name, reason: "the closure allowed it".to_owned() },
                Decision::Refuse { reason } => Verdict::Refuse(reason),
            },
        }
    }

    /// What the audit log calls the rule.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Keys { source, .. } => source,
            Self::File(list) => list.name(),
            Self::Psk { name, .. }
            | Self::Spki { name, .. }
            | Self::San { name, .. }
            | Self::User { name, .. }
            | Self::Group { name, .. } => name,
            Self::FirstUse { .. } => "first-use",
            Self::Anyone => "anyone",
            Self::Anonymous => "anonymous",
            Self::DangerAnyone => "danger-trust-anyone",
            Self::Closure(_) => "closure",
        }
    }

    /// Whether it can allow a peer that proves itself so.
    pub(crate) const fn is_for(&self, proof: Proof) -> bool {
        match self {
            Self::Keys { .. } | Self::File(_) | Self::FirstUse { .. } => matches!(proof, Proof::Key),
            Self::Psk { .. } => matches!(proof, Proof::Psk),
            Self::Spki { .. } | Self::San { .. } => matches!(proof, Proof::Certificate),
            Self::User { .. } | Self::Group { .. } => matches!(proof, Proof::Local),
            Self::Anyone => !matches!(proof, Proof::Nothing),
            Self::Anonymous => matches!(proof, Proof::Nothing),
            Self::DangerAnyone | Self::Closure(_) => true,
        }
    }

    /// What it says about a key, where it is a list that holds it.
    pub(crate) fn entry(&self, key: &PublicKey) -> Option<AllowEntry> {
        match self {
            Self::Keys { list, .. } => list.entry(key).cloned(),
            Self::File(list) => list.current(Instant::now()).entry(key).cloned(),
            _ => None,
        }
    }

    /// The keys to which it gives a name, where it is a list.
    pub(crate) fn keys_named(&self, name: &str) -> Vec<PublicKey> {
        match self {
            Self::Keys { list, .. } => list.keys_named(name).collect(),
            Self::File(list) => list.current(Instant::now()).keys_named(name).collect(),
            _ => Vec::new(),
        }
    }

    /// The names of its keys, where it is a list and all of them have one.
    pub(crate) fn all_names(&self) -> Option<Vec<String>> {
        match self {
            Self::Keys { list, .. } => list.all_names(),
            Self::File(list) => list.current(Instant::now()).all_names(),
            _ => None,
        }
    }

    /// Whether it is a list without a key.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Keys { list, .. } => list.is_empty(),
            Self::File(list) => list.last().is_empty(),
            _ => false,
        }
    }
}

/// Judges by a list, which is not asked for where the peer has no key.
fn judge_key(peer: &PeerIdentity, source: &str, now: UnixMillis, list: impl FnOnce() -> Arc<AllowList>) -> Verdict {
    let Some(key) = peer.public_key() else {
        return refuse(format!("the peer has no Noise key, and {source} holds nothing else"));
    };
    let list = list();
    match list.entry(key) {
        None => refuse(format!("the key is not in {source}")),
        Some(entry) if entry.is_expired(now) => {
            let day = entry.expiry_day().map(|day| day.to_string()).unwrap_or_default();
            refuse(format!("the key is in {source}, but expired at the start of {day} (UTC)"))
        }
        Some(entry) => {
            Verdict::Allow { name: entry.name().map(ToOwned::to_owned), reason: format!("the key is in {source}") }
        }
    }
}

/// Judges by the file of known peers, and keeps the first key of an address.
fn judge_known(peer: &PeerIdentity, known: &KnownPeers, address: &str, now: UnixMillis) -> Verdict {
    let Some(key) = peer.public_key() else {
        return refuse("the peer has no Noise key, and nothing else can be known again");
    };
    let file = shown(known.path());
    let place = escape(address, 512);
    match known.first_use(address, key, now) {
        Ok(KnownPeer::Known) => allow(&format!("the key is the one kept for {place} in {file}")),
        Ok(KnownPeer::New) => Verdict::AllowAndWarn {
            reason: format!("FIRST USE of {place}: its key was not checked, and is kept in {file}"),
        },
        Ok(KnownPeer::Changed { expected, line }) => refuse(changed(&file, line, &place, &expected, key)),
        Err(error) => refuse(unkept(&error)),
    }
}

fn changed(file: &str, line: usize, address: &str, expected: &PublicKey, seen: &PublicKey) -> String {
    format!(
        "THE KEY OF {address} HAS CHANGED: line {line} of {file} expects {expected}, but the server proved {seen}; somebody \
         may stand in between, so ask the server's operator which key it has; if it is the new one, put \
         `{address} {seen}` in the place of that line"
    )
}

fn unkept(error: &KnownPeersError) -> String {
    format!("no key is trusted at first use that cannot be looked up and kept: {error}")
}

fn allow(reason: &str) -> Verdict {
    Verdict::Allow { name: None, reason: reason.to_owned() }
}

fn refuse(reason: impl Into<String>) -> Verdict {
    Verdict::Refuse(reason.into())
}
