//! Connections and calls that failed, with what to do about each from the command line.

use std::time::Duration;

use np_facade::raw::driver::ConnectError;
use np_facade::{
    CallError, CloseCode, ConnectionError, Error, ErrorKind, Misbehaved, Outcome, PublicKey, SecurityMode, Status,
};

use crate::args::ConnectArgs;
use crate::failure::Failure;
use crate::span::write_span;

/// What was tried when a connection did not come about.
#[derive(Debug)]
pub(crate) struct Tried<'a> {
    pub(crate) args: &'a ConnectArgs,
    /// The address without its keys.
    pub(crate) place: &'a str,
    /// The security mode of the address.
    pub(crate) mode: SecurityMode,
    /// The key of `--identity`.
    pub(crate) public: Option<PublicKey>,
    /// Whether the server was shown a key of this client.
    pub(crate) shows_key: bool,
}

impl Tried<'_> {
    /// A connect error with what to do about it.
    pub(crate) fn refused(&self, error: Error) -> Failure {
        let place = self.place;
        let reason = match &error {
            Error::Connect(ConnectError::Handshake { error: reason, .. }) => reason,
            Error::Connect(ConnectError::Timeout { .. }) => {
                let line = format!(
                    "cannot connect to {place}: nothing answered within {}; check the network, or raise --timeout",
                    write_span(self.args.timeout)
                );
                return Failure::new(error.kind(), line);
            }
            // The text of a transport's error says what was tried, and where.
            Error::Connect(_) => return Failure::new(error.kind(), error.to_string()),
            _ => return unfit(place, error),
        };
        if matches!(reason, ConnectionError::Timeout { .. }) {
            return silent(place, self.args.timeout);
        }
        let line = match self.next(reason, error.kind()) {
            Some(next) => format!("{error}; {next}"),
            None => error.to_string(),
        };
        Failure::new(error.kind(), line).coded(reason.code())
    }

    /// What to do, where the error does not say so itself.
    fn next(&self, reason: &ConnectionError, kind: ErrorKind) -> Option<String> {
        let with_psk = self.args.psk.is_some();
        let next = match reason {
            ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. } => return Some(self.not_allowed()),
            ConnectionError::ClosedByPeer { code: CloseCode::ClockSkew, .. } => "set the clock of this machine",
            ConnectionError::ClosedByPeer { code: CloseCode::UnknownIdentity, .. } => {
                "use the address that the server prints now, if its key was changed on purpose"
            }
            ConnectionError::ClosedByPeer { code: CloseCode::Incompatible, .. } if with_psk => {
                "the server may take no pre-shared key: leave --psk away, or ask who runs it which --pattern it takes; or it \
                 speaks another mode or suite than the address says: compare it with the one that the server printed"
            }
            ConnectionError::ClosedByPeer { code: CloseCode::Incompatible, .. } => {
                "the server speaks another mode or suite than the address says (compare it with the one that the server printed), or \
                 it wants a pre-shared key (pass --psk FILE), or another --pattern"
            }
            ConnectionError::ClosedByPeer { code: CloseCode::Authentication, .. }
            | ConnectionError::Misbehaved(Misbehaved::Truncated | Misbehaved::PreSharedKey)
                if with_psk =>
            {
                "the pre-shared key or its id may be another one there: compare `np key show FILE` on both sides, and \
                 pass --psk-id if the server gave it a name"
            }
            // It says itself what to do.
            ConnectionError::Tls(_) => return None,
            // What the file of known peers says stands in the error, with what to do about it.
            ConnectionError::Refused { .. } if self.args.trust.is_some() => return None,
            ConnectionError::Refused { .. } => {
                "use the address that the server prints now, if its key was changed on purpose"
            }
            _ if kind == ErrorKind::Limit => "try again later",
            _ => "what answers there may not speak np: check that an np server listens there",
        };
        Some(next.to_owned())
    }

    fn not_allowed(&self) -> String {
        match self.mode {
            SecurityMode::Tls if self.args.tls.shows_certificate() => {
                return "ask who runs the server to allow this certificate, by its key (spki:HEX) or by a name (san:NAME)"
                    .to_owned();
            }
            SecurityMode::Tls => {
                return "no certificate was shown; pass --client-cert FILE and --client-key FILE".to_owned();
            }
            SecurityMode::Local => return "ask who runs the server to allow this user (--allow user:ID)".to_owned(),
            SecurityMode::DangerPlaintext => {
                return "the server lets nobody in who proves nothing; use another mode".to_owned();
            }
            _ => {}
        }
        match self.public {
            _ if !self.shows_key && self.args.psk.is_some() => {
                "the pre-shared key alone is not enough there; name the server's key in the address (?key=np1...) and \
                 pass --identity FILE with a key that it allows"
                    .to_owned()
            }
            _ if !self.shows_key => {
                "this pattern shows no key of the client; take --pattern xx and pass --identity FILE with a key that the \
                 server allows"
                    .to_owned()
            }
            Some(public) => format!("ask who runs the server to allow {public}"),
            None => "a fresh key was shown; pass --identity FILE with a key that the server allows".to_owned(),
        }
    }
}

/// A handshake without an answer.
pub(crate) fn silent(place: &str, budget: Duration) -> Failure {
    let line = format!(
        "no secure connection to {place}: the handshake was not answered within {}; check that an np server listens \
         there, or raise --timeout",
        write_span(budget)
    );
    Failure::new(ErrorKind::Timeout, line).coded("NP-TIMEOUT")
}

/// Arguments that do not fit each other.
fn unfit(place: &str, error: Error) -> Failure {
    let line = match &error {
        Error::Unfit { setting, mode, why } => {
            let (flag, next) = match *setting {
                "psk" => ("--psk", "the patterns xxpsk3, ikpsk2 and nnpsk0 take one"),
                "psk_id" => ("--psk-id", "the default is what `np key show FILE` prints"),
                "identity" => {
                    ("--identity", "with --psk, an address with ?key=np1... makes both sides prove their keys as well")
                }
                "trust_first_use" => ("--trust first-use", "xxpsk3 does the same beside --psk"),
                "local_user" => ("--local-user", "only ?mode=local looks at it"),
                "pattern" => ("--pattern", "patterns are for addresses with keys"),
                other => (other, "see `np help call`"),
            };
            let next = if mode.starts_with("the pattern") { next } else { "see `np help call`" };
            format!("{flag} does not fit {mode}: {why}; {next}")
        }
        Error::PskId(why) => format!("--psk-id: {why}; the default is what `np key show FILE` prints"),
        Error::IgnoredKey { .. } => format!("{error}; --psk with an address that has no ?key= is nnpsk0"),
        Error::NeedsKey { .. } => format!("{error}; --pattern xx is the default"),
        _ => return Failure::of(&format!("connect to {place}"), error),
    };
    Failure::new(error.kind(), line)
}

/// A failed call with what to do about it.
pub(crate) fn failed_call(method: &str, place: &str, error: &CallError) -> Failure {
    let kind = ErrorKind::of_call(error);
    let next = match (kind, error.status) {
        (ErrorKind::Timeout, _) => "raise --timeout, or ask why the server takes so long",
        (_, Status::UnknownMethod) => "`np call ADDR np.methods` lists what the server has",
        (ErrorKind::Limit, _) => "send less, or raise the limit where it is set",
        (ErrorKind::Connect, _) if error.outcome == Outcome::Unknown => {
            "the server may or may not have done the work; find out before you call again"
        }
        (ErrorKind::Connect, _) => "call again",
        _ => "the answer is the server's; ask who runs it",
    };
    let failure = Failure::new(kind, format!("call {method} at {place}: {error}; {next}"));
    match error.cause.as_deref() {
        Some(cause) => failure.coded(cause.code()),
        None => failure,
    }
}
