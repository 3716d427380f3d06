//! Whom `np serve` lets in: its allow lists, pre-shared keys and patterns, and whether they fit each other. Who comes is
//! decided by the policy alone.

use np_facade::{Address, Pattern, Policy, Psk, Psks, SecurityMode, ServerConfig, psk_id};

use crate::failure::Failure;
use crate::tls;

/// What a server's arguments say about its clients.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) policy: Policy,
    pub(crate) psks: Psks,
    /// The patterns of `--pattern`; none for the facade's own choice.
    pub(crate) patterns: Vec<Pattern>,
    /// Whether holding a pre-shared key is all that is asked for.
    pub(crate) by_psk_alone: bool,
    /// Whether a certificate of the authority is all that is asked for.
    pub(crate) by_certificate_alone: bool,
}

/// By which ways clients can come, as the addresses say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways {
    /// With a handshake of keys, inside TLS or not.
    pub(crate) by_key: bool,
    /// Proven by a certificate.
    by_certificate: bool,
    /// Proven by the operating system.
    by_user: bool,
    /// Proven by nothing, or by nothing that is asked for.
    by_nothing: bool,
}

impl Ways {
    /// Those of a server's addresses.
    pub(crate) fn of(addresses: &[Address], server: &ServerConfig) -> Self {
        let any = |mode| addresses.iter().any(|address| address.mode() == mode);
        let required = tls::requires_certificates(server);
        Self {
            by_key: addresses.iter().any(|address| address.mode().uses_keys()),
            by_certificate: any(SecurityMode::Tls) && tls::asks_for_certificates(server),
            by_user: any(SecurityMode::Local),
            by_nothing: any(SecurityMode::DangerPlaintext) || any(SecurityMode::Tls) && !required,
        }
    }

    const fn by_key_alone(self) -> bool {
        self.by_key && !self.by_certificate && !self.by_user && !self.by_nothing
    }

    const fn by_certificate_alone(self) -> bool {
        self.by_certificate && !self.by_key && !self.by_user && !self.by_nothing
    }
}

impl Admission {
    /// Reads the arguments, and refuses those that could let nobody in. Reads the files of allow lists.
    pub(crate) fn new(allow: &[String], psks: Psks, patterns: Vec<Pattern>, ways: Ways) -> Result<Self, Failure> {
        check_keyless(&psks, &patterns, ways)?;
        let offers_psk = offers_psk(&patterns, !psks.is_empty());
        if offers_psk && psks.is_empty() {
            return Err(Failure::usage(
                "--pattern: xxpsk3, ikpsk2 and nnpsk0 need a pre-shared key; pass --psk FILE, or drop the pattern",
            ));
        }
        if !offers_psk && !psks.is_empty() {
            return Err(Failure::usage(
                "--psk: none of the patterns takes a pre-shared key; add --pattern xxpsk3, ikpsk2 or nnpsk0, or leave \
                 --pattern away",
            ));
        }
        let by_psk_alone = allow.is_empty() && by_psk_alone(&patterns, offers_psk, ways);
        let by_certificate_alone = allow.is_empty() && ways.by_certificate_alone();
        let policy = if by_psk_alone || by_certificate_alone { Policy::anyone() } else { policy(allow, ways)? };
        check_anonymous(allow, &patterns, ways)?;
        for id in allow.iter().filter_map(|text| text.strip_prefix("psk:")) {
            check_alone(id, &psks, &patterns)?;
        }
        Ok(Self { policy, psks, patterns, by_psk_alone, by_certificate_alone })
    }
}

/// Says in the configuration that a proof by itself is enough, where it names nobody and the addresses ask for one.
pub(crate) fn complete(server: &mut ServerConfig, ways: Ways) {
    let offers = offers_psk(&server.patterns, !server.psk.is_empty());
    if server.allow.is_empty() && (by_psk_alone(&server.patterns, offers, ways) || ways.by_certificate_alone()) {
        server.allow = vec!["anyone".to_owned()];
    }
}

fn offers_psk(patterns: &[Pattern], holds_some: bool) -> bool {
    if patterns.is_empty() { holds_some } else { patterns.iter().any(|pattern| pattern.needs_psk()) }
}

fn by_psk_alone(patterns: &[Pattern], offers_psk: bool, ways: Ways) -> bool {
    offers_psk && patterns.iter().all(|pattern| pattern.needs_psk()) && ways.by_key_alone()
}

/// The pre-shared keys by their ids, which come in the same order: the default ids where there are none. A public key in
/// place of an id names the client that the key belongs to.
pub(crate) fn psks(keys: Vec<Psk>, ids: &[String]) -> Result<Psks, Failure> {
    if !ids.is_empty() && ids.len() != keys.len() {
        return Err(Failure::usage(format!(
            "--psk-id: {} given for {} --psk; give each --psk its id, in the same order, or none of them",
            ids.len(),
            keys.len()
        )));
    }
    keys.into_iter().enumerate().try_fold(Psks::new(), |psks, (at, key)| {
        let id = ids.get(at).cloned().unwrap_or_else(|| psk_id(&key));
        if let Ok(client) = id.parse() {
            return Ok(psks.with_key(client, key));
        }
        psks.with_id(&id, key).map_err(|error| {
            Failure::usage(format!("--psk-id: {error}; the default is what `np key show FILE` prints"))
        })
    })
}

/// Refuses arguments of handshakes by key, where no address has such a handshake.
fn check_keyless(psks: &Psks, patterns: &[Pattern], ways: Ways) -> Result<(), Failure> {
    let unused = [("--psk", !psks.is_empty()), ("--pattern", !patterns.is_empty())];
    match unused.into_iter().find(|(_, given)| *given && !ways.by_key) {
        Some((flag, _)) => Err(Failure::usage(format!(
            "{flag}: no address has a handshake of keys; add one such as tcp:// or tls+noise://, or leave the flag away"
        ))),
        None => Ok(()),
    }
}

/// Everything that one of the `--allow` arguments allows.
fn policy(allow: &[String], ways: Ways) -> Result<Policy, Failure> {
    let mut all: Option<Policy> = None;
    for text in allow {
        let one = Policy::parse_allow(text).map_err(|error| {
            let line = format!("--allow: {error}; `np help serve` tells what it takes");
            Failure::usage(line)
        })?;
        if one.is_empty() {
            let shown = np_facade::escape(text, 4_096);
            let line = format!(
                "--allow: {shown}: no key is in it, so it would let nobody in; write public keys (np1...) into it"
            );
            return Err(Failure::usage(line));
        }
        all = Some(match all {
            Some(others) => others.or(one),
            None => one,
        });
    }
    if ways.by_nothing && allow.is_empty() {
        return Err(Failure::usage(
            "serve: clients of a tls:// address without --ca, and of ?mode=danger-plaintext, prove nothing, and nobody is let \
             in by accident; pass --ca FILE to ask for certificates, or --allow anonymous",
        ));
    }
    all.ok_or_else(|| {
        Failure::usage(
            "serve: no --allow says who may connect, and nobody is let in by accident; pass --allow with a public key \
             (np1...), with a file of public keys, or with `anyone`",
        )
    })
}

/// Clients that prove nothing come by patterns of their own, and by `--allow anonymous` alone.
fn check_anonymous(allow: &[String], patterns: &[Pattern], ways: Ways) -> Result<(), Failure> {
    let allowed = allow.iter().any(|text| text == "anonymous");
    let offered = patterns.iter().find(|pattern| !pattern.authenticates_initiator() && !pattern.needs_psk());
    match offered {
        Some(pattern) if !allowed => Err(Failure::usage(format!(
            "--pattern: the clients of {} prove nothing, and nothing lets such clients in; pass --allow anonymous, or drop \
             the pattern",
            pattern.name()
        ))),
        None if allowed && !ways.by_nothing => Err(Failure::usage(
            "--allow anonymous: every client of these patterns proves something; pass --pattern nk for clients without a \
             key, or --allow anyone for any proven identity",
        )),
        _ => Ok(()),
    }
}

/// Clients that prove a pre-shared key and nothing else come by NNpsk0 alone.
fn check_alone(id: &str, psks: &Psks, patterns: &[Pattern]) -> Result<(), Failure> {
    if psks.by_id(id.as_bytes()).is_none() {
        return Err(Failure::usage(format!(
            "--allow psk:{0}: no --psk has this id; pass --psk FILE with its key, and --psk-id {0} if that is not its \
             default id",
            np_facade::escape(id, 64)
        )));
    }
    if !patterns.is_empty() && !patterns.contains(&Pattern::NNpsk0) {
        return Err(Failure::usage(
            "--allow psk:ID: lets in clients that prove this key alone, and only nnpsk0 does; add --pattern nnpsk0",
        ));
    }
    Ok(())
}
