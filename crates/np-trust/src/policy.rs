//! Who may connect. Owns the one decision point for every mode, and its audit trail; must never know how an identity
//! was proven.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use np_types::{Fingerprint, KeyError, PeerIdentity, PublicKey, UnixMillis};

use crate::audit::{Allowed, Audit};
use crate::file::shown;
use crate::psk::check_psk_id;
use crate::rule::{Rule, Verdict};
use crate::time::unix_now;
use crate::watch::WatchedList;
use crate::{AllowEntry, AllowList, AllowListError, KnownPeers, PskIdError};

/// The longest name of a certificate that a rule can wait for.
const MAX_SAN: usize = 1_024;

/// The longest SID: 15 parts of up to ten digits.
const MAX_SID: usize = 184;

/// By what a peer proves who it is.
///
/// ```
/// assert_ne!(np_trust::Proof::Key, np_trust::Proof::Nothing);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A key of np.
    Key,
    /// A pre-shared key and nothing else.
    Psk,
    /// A certificate.
    Certificate,
    /// The word of the operating system.
    Local,
    /// Nothing.
    Nothing,
}

/// What a policy says about a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The peer may connect.
    Allow {
        /// The name that this side gives it, where it does.
        name: Option<String>,
    },
    /// The peer may not connect.
    Refuse {
        /// Why, for this side's log; the peer is told the code alone.
        reason: String,
    },
}

impl Decision {
    /// Whether the peer may connect.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// Why a policy could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A text that looks like a key is not a public key.
    #[error("{0}; a file whose name begins like a key is written with ./ before it")]
    Key(#[from] KeyError),
    /// An allow list was refused.
    #[error(transparent)]
    List(#[from] AllowListError),
    /// A text behind `psk:` is no id.
    #[error("{0}; a file whose name begins with psk: is written with ./ before it")]
    PskId(#[from] PskIdError),
    /// A text behind `spki:` is no fingerprint.
    #[error(
        "spki: takes the SHA-256 of a certificate's public key in 64 hexadecimal digits, as `np cert dev` prints it; a file \
         whose name begins with spki: is written with ./ before it"
    )]
    Spki,
    /// A text behind `san:` is no name of a certificate.
    #[error(
        "san: takes a name as certificates carry it: a DNS name, an IP address, a URI or a mail address; a file whose name \
         begins with san: is written with ./ before it"
    )]
    San,
    /// A text behind `user:` or `group:` is no id of the operating system.
    #[error(
        "user: and group: take the id of a local user or group, a number on Unix (`id -u`, `id -g`) and a SID on Windows; a \
         file whose name begins so is written with ./ before it"
    )]
    LocalId,
    /// The text is empty.
    #[error(
        "nobody is named; give a public key (np1...), a file of them, `psk:ID`, `spki:HEX`, `san:NAME`, `user:ID`, \
         `group:ID`, `anyone` or `anonymous`"
    )]
    Empty,
}

/// Who may connect: rules of which any one may allow a peer. Cheap to clone.
///
/// ```
/// use np_trust::Policy;
/// use np_types::{PeerIdentity, PublicKey};
/// let (ada, eve) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
/// let policy = Policy::parse_allow(&ada.to_string())?;
/// assert!(policy.decide(&PeerIdentity::Noise(ada)).is_allowed());
/// assert!(!policy.decide(&PeerIdentity::Noise(eve)).is_allowed());
/// assert!(!policy.decide(&PeerIdentity::Anonymous).is_allowed());
/// # Ok::<(), np_trust::PolicyError>(())
/// ```
#[derive(Clone)]
pub struct Policy {
    /// Never empty; the first that allows decides.
    rules: Vec<Rule>,
    /// How many decisions are written: clones share it.
    audit: Arc<Audit>,
}

impl Policy {
    /// Allows peers that prove one of these Noise keys.
    pub fn allow_keys(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self::allow_list(keys.into_iter().collect(), "the allowed keys")
    }

    /// Allows peers that prove a Noise key of a list; `source` names the list in the log.
    #[must_use]
    pub fn allow_list(list: AllowList, source: &str) -> Self {
        Self::one(Rule::Keys { list: Arc::new(list), source: source.into() })
    }

    /// Allows peers that prove a Noise key of a file, and follows the file: a change counts from the next decision on.
    ///
    /// Each decision about a peer with a key looks at the file's size, times and number (one call of the system, under a
    /// lock that the clones of a policy share). Only a file that has changed is read again (up to 4 MiB), and for 2 s
    /// after that at each decision, since two changes may have the same time; while one decision reads, the others
    /// wait for it. A file that cannot be used any more leaves the last good list in force, one that is gone allows
    /// nobody; both are written to the audit log, once a change. Replace the file by renaming: a look at one that is half
    /// written sees half of it. What is no file, as a pipe, is read now and not again.
    ///
    /// # Errors
    /// As [`AllowList::load`], for the file as it is now.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{PeerIdentity, PublicKey};
    /// # let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("staff");
    /// let ada = PublicKey::from_bytes([1; 32]);
    /// std::fs::write(&path, format!("{ada} ada\n"))?;
    /// let policy = Policy::allow_file(&path)?;
    /// assert!(policy.decide(&PeerIdentity::Noise(ada)).is_allowed());
    /// std::fs::write(&path, "# nobody\n")?;
    /// assert!(!policy.decide(&PeerIdentity::Noise(ada)).is_allowed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn allow_file(path: &Path) -> Result<Self, AllowListError> {
        match WatchedList::open(path, Instant::now())? {
            Some(list) => Ok(Self::one(Rule::File(Arc::new(list)))),
            None => AllowList::load(path).map(|list| Self::allow_list(list, &shown(path))),
        }
    }

    /// Allows peers that prove a pre-shared key and nothing else, by the key's id.
    ///
    /// # Errors
    /// When the text cannot be the id of a pre-shared key.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::PeerIdentity;
    /// let policy = Policy::allow_psk("66687aadf862bd77")?;
    /// assert!(policy.decide(&PeerIdentity::Psk("66687aadf862bd77".to_owned())).is_allowed());
    /// # Ok::<(), np_trust::PskIdError>(())
    /// ```
    pub fn allow_psk(id: &str) -> Result<Self, PskIdError> {
        check_psk_id(id)?;
        Ok(Self::one(Rule::Psk { id: id.into(), name: format!("psk:{id}").into() }))
    }

    /// Allows peers whose verified certificate has this public key: the SHA-256 of its subject public key info. It stays
    /// the same when a certificate is renewed for its key.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{Fingerprint, PeerIdentity};
    /// let peer = |byte| PeerIdentity::Certificate {
    ///     spki: Fingerprint([byte; 32]), names: Vec::new(), subject: String::new(),
    /// };
    /// let policy = Policy::allow_spki(Fingerprint([1; 32]));
    /// assert!(policy.decide(&peer(1)).is_allowed() && !policy.decide(&peer(2)).is_allowed());
    /// ```
    #[must_use]
    pub fn allow_spki(key: Fingerprint) -> Self {
        Self::one(Rule::Spki { key, name: format!("spki:{key}").into() })
    }

    /// Allows peers whose verified certificate carries this name among its alternative names (SAN): a DNS name, an IP
    /// address, a URI (as SPIFFE has them) or a mail address, compared whole. A name that a certificate carries as a
    /// wildcard is met by the same wildcard alone. Subjects (CN) are not looked at.
    ///
    /// # Errors
    /// When no certificate can carry such a name.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{Fingerprint, PeerIdentity};
    /// let peer = |name: &str| PeerIdentity::Certificate {
    ///     spki: Fingerprint([1; 32]), names: vec![name.to_owned()], subject: String::new(),
    /// };
    /// let policy = Policy::allow_san("DB.example")?;
    /// assert!(policy.decide(&peer("db.example")).is_allowed() && !policy.decide(&peer("xdb.example")).is_allowed());
    /// assert!(Policy::allow_san("*.example")?.decide(&peer("*.example")).is_allowed());
    /// assert!(!Policy::allow_san("*.example")?.decide(&peer("db.example")).is_allowed());
    /// # Ok::<(), np_trust::PolicyError>(())
    /// ```
    pub fn allow_san(name: &str) -> Result<Self, PolicyError> {
        let wanted = san(name).ok_or(PolicyError::San)?;
        let name = format!("san:{wanted}").into();
        Ok(Self::one(Rule::San { wanted: wanted.into(), name }))
    }

    /// Allows processes of this user in the mode `local`, as the operating system tells it: a uid on Unix, a SID on
    /// Windows.
    ///
    /// # Errors
    /// When the text is no such id.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{LocalPeer, PeerIdentity};
    /// let peer = |user: &str| {
    ///     PeerIdentity::Local(LocalPeer { user: user.to_owned(), group: Some("7".to_owned()), process: None })
    /// };
    /// let policy = Policy::allow_user("1000")?.or(Policy::allow_group("8")?);
    /// assert!(policy.decide(&peer("1000")).is_allowed() && !policy.decide(&peer("1001")).is_allowed());
    /// assert!(Policy::allow_group("7")?.decide(&peer("1001")).is_allowed());
    /// # Ok::<(), np_trust::PolicyError>(())
    /// ```
    pub fn allow_user(id: &str) -> Result<Self, PolicyError> {
        check_local_id(id)?;
        Ok(Self::one(Rule::User { id: id.into(), name: format!("user:{id}").into() }))
    }

    /// Allows processes that run under this group (their effective one) in the mode `local`: a gid on Unix.
    ///
    /// # Errors
    /// When the text is no such id.
    pub fn allow_group(id: &str) -> Result<Self, PolicyError> {
        check_local_id(id)?;
        Ok(Self::one(Rule::Group { id: id.into(), name: format!("group:{id}").into() }))
    }

    /// Allows peers that have proven nothing, and no others: for servers whose clients have no key.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{PeerIdentity, PublicKey};
    /// let policy = Policy::anonymous();
    /// assert!(policy.decide(&PeerIdentity::Anonymous).is_allowed());
    /// assert!(!policy.decide(&PeerIdentity::Noise(PublicKey::from_bytes([1; 32]))).is_allowed());
    /// ```
    #[must_use]
    pub fn anonymous() -> Self {
        Self::one(Rule::Anonymous)
    }

    /// Trusts a server's key on first use: keeps the first one that is proven at `address` in the file of known peers,
    /// and from then on allows the kept ones alone.
    ///
    /// The first use is written to the audit log as a warning: a man in the middle at that moment would be kept. A key
    /// that could not be kept is refused, and so is everything while the file cannot be read. `address` is the canonical
    /// text without keys; see [`KnownPeers`] for its limits and for what a look at the file costs.
    ///
    /// ```
    /// use np_trust::{KnownPeers, Policy};
    /// use np_types::{PeerIdentity, PublicKey};
    /// # let dir = tempfile::tempdir()?;
    /// let known = KnownPeers::open(&dir.path().join("known_peers"))?;
    /// let policy = Policy::first_use(known, "tcp://db:4711");
    /// let (server, other) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    /// assert!(policy.decide(&PeerIdentity::Noise(server)).is_allowed());
    /// assert!(policy.decide(&PeerIdentity::Noise(server)).is_allowed());
    /// assert!(!policy.decide(&PeerIdentity::Noise(other)).is_allowed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn first_use(known: KnownPeers, address: &str) -> Self {
        Self::one(Rule::FirstUse { known, address: address.into() })
    }

    /// Allows every peer that has proven an identity, whichever; never an anonymous one. The log says so each time.
    #[must_use]
    pub fn anyone() -> Self {
        Self::one(Rule::Anyone)
    }

    /// Allows everything, proven or not: for a client that does not verify its server. The log warns each time.
    #[must_use]
    pub fn danger_trust_anyone() -> Self {
        Self::one(Rule::DangerAnyone)
    }

    /// Asks a function. It runs while a handshake waits, so it must not block.
    ///
    /// ```
    /// use np_trust::{Decision, Policy};
    /// let policy = Policy::closure(|peer| match peer.is_authenticated() {
    ///     true => Decision::Allow { name: None },
    ///     false => Decision::Refuse { reason: "nobody".to_owned() },
    /// });
    /// ```
    pub fn closure(judge: impl Fn(&PeerIdentity) -> Decision + Send + Sync + 'static) -> Self {
        Self::one(Rule::Closure(Arc::new(judge)))
    }

    /// Reads what a user writes after `--allow`: a public key, `anyone`, `anonymous`, `psk:ID`, `spki:HEX`, `san:NAME`,
    /// `user:ID`, `group:ID`, or the name of a file of keys.
    ///
    /// # Errors
    /// When a key is wrong (a secret above all), an id or a file is; never shows what looked like a key.
    pub fn parse_allow(text: &str) -> Result<Self, PolicyError> {
        match text {
            "" => Err(PolicyError::Empty),
            "anyone" => Ok(Self::anyone()),
            "anonymous" => Ok(Self::anonymous()),
            _ if looks_like_key(text) => Ok(Self::allow_keys([text.parse()?])),
            _ => match text.split_once(':') {
                Some(("psk", id)) => Ok(Self::allow_psk(id)?),
                Some(("spki", digits)) => {
                    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
                    Ok(Self::allow_spki(digits.parse().map_err(|_| PolicyError::Spki)?))
                }
                Some(("san", name)) => Self::allow_san(name),
                Some(("user", id)) => Self::allow_user(id),
                Some(("group", id)) => Self::allow_group(id),
                _ => Ok(Self::allow_file(Path::new(text))?),
            },
        }
    }

    /// Allows what this policy or the other allows.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// Whether nobody can be allowed, because all that it knows are lists and none of them holds a key. A file counts as
    /// it was read last.
    ///
    /// ```
    /// use np_trust::Policy;
    /// assert!(Policy::allow_keys([]).is_empty());
    /// assert!(!Policy::allow_keys([]).or(Policy::anyone()).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(Rule::is_empty)
    }

    /// Whether a rule lets in whoever comes, by [`Policy::anyone`] or [`Policy::anonymous`]: for a client no check at all.
    ///
    /// ```
    /// use np_trust::Policy;
    /// assert!(Policy::allow_keys([]).or(Policy::anyone()).accepts_anyone());
    /// assert!(!Policy::allow_keys([]).accepts_anyone());
    /// ```
    #[must_use]
    pub fn accepts_anyone(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::Anyone | Rule::Anonymous))
    }

    /// Whether a rule is for peers that prove themselves so: without one none of them can be allowed, whoever it is.
    ///
    /// ```
    /// use np_trust::{Policy, Proof};
    /// let policy = Policy::allow_san("db.example")?;
    /// assert!(policy.is_for(Proof::Certificate) && !policy.is_for(Proof::Key));
    /// assert!(Policy::anyone().is_for(Proof::Key) && !Policy::anyone().is_for(Proof::Nothing));
    /// # Ok::<(), np_trust::PolicyError>(())
    /// ```
    #[must_use]
    pub fn is_for(&self, proof: Proof) -> bool {
        self.rules.iter().any(|rule| rule.is_for(proof))
    }

    /// Whether a peer that was let in would be let in again, without a word in the audit log: for looking after those that
    /// stay. Who comes is decided by [`Self::decide`]. Rules over files look at the disk, as there.
    ///
    /// ```
    /// use np_trust::Policy;
    /// use np_types::{PeerIdentity, PublicKey};
    /// let (ada, eve) = (PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([2; 32]));
    /// let policy = Policy::allow_keys([ada]);
    /// assert!(policy.still_allows(&PeerIdentity::Noise(ada)) && !policy.still_allows(&PeerIdentity::Noise(eve)));
    /// ```
    #[must_use]
    pub fn still_allows(&self, peer: &PeerIdentity) -> bool {
        let now = unix_now();
        self.rules.iter().any(|rule| !matches!(rule.judge(peer, now), Verdict::Refuse(_)))
    }

    /// What the first list that holds a key says about it: name and options. Lists in files are read as they are now.
    ///
    /// ```
    /// use np_trust::{AllowList, Policy};
    /// use np_types::PublicKey;
    /// let ada = PublicKey::from_bytes([1; 32]);
    /// let policy = Policy::allow_list(AllowList::parse(&format!("{ada} ada"))?, "staff");
    /// assert_eq!(policy.entry(&ada).and_then(|entry| entry.name().map(str::to_owned)).as_deref(), Some("ada"));
    /// assert!(Policy::anyone().entry(&ada).is_none());
    /// # Ok::<(), np_trust::AllowListError>(())
    /// ```
    #[must_use]
    pub fn entry(&self, key: &PublicKey) -> Option<AllowEntry> {
        self.rules.iter().find_map(|rule| rule.entry(key))
    }

    /// The keys to which lists give this name, expired ones too. Lists in files are read as they are now.
    ///
    /// ```
    /// use np_trust::{AllowList, Policy};
    /// use np_types::PublicKey;
    /// let ada = PublicKey::from_bytes([1; 32]);
    /// let policy = Policy::allow_list(AllowList::parse(&format!("{ada} ada laptop"))?, "staff");
    /// assert_eq!(policy.keys_named("ada laptop"), [ada]);
    /// assert!(policy.keys_named("ada").is_empty());
    /// # Ok::<(), np_trust::AllowListError>(())
    /// ```
    #[must_use]
    pub fn keys_named(&self, name: &str) -> Vec<PublicKey> {
        self.rules.iter().flat_map(|rule| rule.keys_named(name)).collect()
    }

    /// The names of all that can be allowed, where that are keys of lists alone and each of them has a name; nothing else. Lists
    /// in files are read as they are now.
    ///
    /// ```
    /// use np_trust::{AllowList, Policy};
    /// use np_types::PublicKey;
    /// let ada = PublicKey::from_bytes([1; 32]);
    /// let named = Policy::allow_list(AllowList::parse(&format!("{ada} ada"))?, "staff");
    /// assert!(named.all_names().is_some_and(|names| names.contains("ada") && names.len() == 1));
    /// assert_eq!(named.or(Policy::allow_keys([ada])).all_names(), None);
    /// assert_eq!(Policy::anyone().all_names(), None);
    /// # Ok::<(), np_trust::AllowListError>(())
    /// ```
    #[must_use]
    pub fn all_names(&self) -> Option<BTreeSet<String>> {
        let all = self.rules.iter().map(Rule::all_names).collect::<Option<Vec<_>>>()?;
        Some(all.into_iter().flatten().collect())
    }

    /// Decides about a peer at the system's time, and writes the decision to the audit log.
    ///
    /// That is one event on the `tracing` target `np::audit` with the fields `decision`, `peer` (its key, or the
    /// fingerprint, id or user that it has proven), `by` (the rule that decided), `reason` and, where there is one, `name`.
    /// Of each decision at most 256 are written at once and 64 a second; the next one then says in the field `suppressed` how
    /// many were not. Rules over files look at the disk, see [`Self::allow_file`] and [`Self::first_use`].
    #[must_use]
    pub fn decide(&self, peer: &PeerIdentity) -> Decision {
        self.decide_at(peer, unix_now())
    }

    /// As [`Self::decide`], at a time that the caller brings: what expires is held against it.
    ///
    /// ```
    /// use np_trust::{AllowList, Policy};
    /// use np_types::{PeerIdentity, PublicKey, UnixMillis};
    /// let ada = PublicKey::from_bytes([1; 32]);
    /// let policy = Policy::allow_list(AllowList::parse(&format!("{ada} expires=2026-03-01"))?, "staff");
    /// let (before, after) = (UnixMillis(1_772_323_199_999), UnixMillis(1_772_323_200_000));
    /// assert!(policy.decide_at(&PeerIdentity::Noise(ada), before).is_allowed());
    /// assert!(!policy.decide_at(&PeerIdentity::Noise(ada), after).is_allowed());
    /// # Ok::<(), np_trust::AllowListError>(())
    /// ```
    #[must_use]
    pub fn decide_at(&self, peer: &PeerIdentity, now: UnixMillis) -> Decision {
        let mut refusals = Vec::new();
        for rule in &self.rules {
            match rule.judge(peer, now) {
                Verdict::Refuse(reason) => refusals.push((rule.name(), reason)),
                allowed => return self.audit_allowed(peer, rule.name(), allowed, now),
            }
        }
        let (by, reasons): (Vec<_>, Vec<_>) = refusals.into_iter().unzip();
        let reason = reasons.join("; ");
        self.audit.refused(now, peer, &by.join(", "), &reason);
        Decision::Refuse { reason }
    }

    fn one(rule: Rule) -> Self {
        Self { rules: vec![rule], audit: Arc::new(Audit::new()) }
    }

    fn audit_allowed(&self, peer: &PeerIdentity, by: &str, verdict: Verdict, now: UnixMillis) -> Decision {
        let (name, reason, warns) = match verdict {
            Verdict::Allow { name, reason } => (name, reason, false),
            Verdict::AllowAndWarn { reason } => (None, reason, true),
            Verdict::Refuse(reason) => return Decision::Refuse { reason },
        };
        self.audit.allowed(now, peer, by, Allowed { name: name.as_deref(), reason: &reason, warns });
        Decision::Allow { name }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules.iter().map(Rule::name)).finish()
    }
}

/// A name in the form in which certificates' names are kept: DNS names in lower case, IP addresses as they print.
fn san(name: &str) -> Option<String> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Some(ip.to_string());
    }
    let printable = !name.is_empty() && name.len() <= MAX_SAN && name.bytes().all(|byte| byte.is_ascii_graphic());
    let is_dns = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*'));
    printable.then(|| if is_dns { name.to_ascii_lowercase() } else { name.to_owned() })
}

fn check_local_id(id: &str) -> Result<(), PolicyError> {
    let is_uid = id.parse::<u32>().is_ok_and(|number| number.to_string() == id);
    let is_sid = id.len() <= MAX_SID
        && id.strip_prefix("S-1-").is_some_and(|rest| {
            rest.split('-').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        });
    if is_uid || is_sid { Ok(()) } else { Err(PolicyError::LocalId) }
}

/// Whether a text is meant as a key: then it is never taken for a file's name, nor shown.
fn looks_like_key(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    ["np1", "npsec1", "nppsk1", "npsign1", "npverify1"].iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests;
