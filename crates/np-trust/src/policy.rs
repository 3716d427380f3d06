//! Who may connect. Owns the one decision point for every mode, and its audit trail; must never know how an identity
//! was proven.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use np_types::{KeyError, PeerIdentity, PublicKey, escape};

use crate::file::shown;
use crate::{AllowList, AllowListError};

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
    /// The text is empty.
    #[error("nobody is named; give a public key (np1...), a file of them, or `anyone`")]
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
}

type Judge = dyn Fn(&PeerIdentity) -> Decision + Send + Sync;

#[derive(Clone)]
enum Rule {
    Keys { list: Arc<AllowList>, source: Arc<str> },
    Anyone,
    DangerAnyone,
    Closure(Arc<Judge>),
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

    /// Allows peers that prove a Noise key of a file, which is read now and not again.
    ///
    /// # Errors
    /// As [`AllowList::load`].
    pub fn allow_file(path: &Path) -> Result<Self, AllowListError> {
        AllowList::load(path).map(|list| Self::allow_list(list, &shown(path)))
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

    /// Reads what a user writes after `--allow`: a public key, `anyone`, or the name of a file of keys.
    ///
    /// # Errors
    /// When a key is wrong (a secret above all) or a file is; never shows what looked like a key.
    pub fn parse_allow(text: &str) -> Result<Self, PolicyError> {
        match text {
            "" => Err(PolicyError::Empty),
            "anyone" => Ok(Self::anyone()),
            _ if looks_like_key(text) => Ok(Self::allow_keys([text.parse()?])),
            _ => Ok(Self::allow_file(Path::new(text))?),
        }
    }

    /// Allows what this policy or the other allows.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self
    }

    /// Whether nobody can be allowed, because all that it knows are lists and none of them holds a key.
    ///
    /// ```
    /// use np_trust::Policy;
    /// assert!(Policy::allow_keys([]).is_empty());
    /// assert!(!Policy::allow_keys([]).or(Policy::anyone()).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.iter().all(|rule| matches!(rule, Rule::Keys { list, .. } if list.is_empty()))
    }

    /// Decides about a peer, and writes the decision to the audit log (tracing target `np::audit`).
    #[must_use]
    pub fn decide(&self, peer: &PeerIdentity) -> Decision {
        let mut reasons = Vec::new();
        for rule in &self.rules {
            match rule.judge(peer) {
                Decision::Allow { name } => {
                    audit_allowed(peer, rule, name.as_deref());
                    return Decision::Allow { name };
                }
                Decision::Refuse { reason } => reasons.push(reason),
            }
        }
        let reason = reasons.join("; ");
        tracing::warn!(target: "np::audit", decision = "refused", %peer, reason = %escape(&reason, 512), "peer refused");
        Decision::Refuse { reason }
    }

    fn one(rule: Rule) -> Self {
        Self { rules: vec![rule] }
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rules.iter().map(Rule::name)).finish()
    }
}

impl Rule {
    fn judge(&self, peer: &PeerIdentity) -> Decision {
        match self {
            Self::Keys { list, source } => match peer.public_key() {
                Some(key) if list.contains(key) => Decision::Allow { name: list.name(key).map(ToOwned::to_owned) },
                Some(_) => refuse(format!("the key is not in {source}")),
                None => refuse(format!("the peer has no Noise key, and {source} holds nothing else")),
            },
            Self::Anyone if !peer.is_authenticated() => refuse("the peer has proven no identity".to_owned()),
            Self::Anyone | Self::DangerAnyone => Decision::Allow { name: None },
            Self::Closure(judge) => judge(peer),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Keys { source, .. } => source,
            Self::Anyone => "anyone",
            Self::DangerAnyone => "danger-trust-anyone",
            Self::Closure(_) => "closure",
        }
    }
}

fn refuse(reason: String) -> Decision {
    Decision::Refuse { reason }
}

fn audit_allowed(peer: &PeerIdentity, rule: &Rule, name: Option<&str>) {
    let name = escape(name.unwrap_or_default(), 128);
    let by = rule.name();
    if matches!(rule, Rule::DangerAnyone) {
        tracing::warn!(target: "np::audit", decision = "allowed", %peer, by, "peer allowed without a check of who it is");
    } else {
        tracing::info!(target: "np::audit", decision = "allowed", %peer, by, name, "peer allowed");
    }
}

/// Whether a text is meant as a key: then it is never taken for a file's name, nor shown.
fn looks_like_key(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    ["np1", "npsec1", "nppsk1"].iter().any(|prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests;
