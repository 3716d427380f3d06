//! The way from arguments to a client, inside one budget of time.

use std::path::PathBuf;
use std::time::Duration;

use np_facade::raw::driver::ConnectError;
use np_facade::raw::transport::SecurityMode;
use np_facade::{
    Address, CallError, Client, CloseCode, ConnectionError, Error, ErrorKind, Identity, Outcome, PublicKey, Scheme,
    Status, checks_mode,
};
use tokio::time::{Instant, timeout_at};

use crate::args::{ConnectArgs, KeyMode, Trust};
use crate::failure::Failure;
use crate::output;
use crate::signals::blocking;
use crate::span::write_span;

/// What the outer limit adds, so that a connect timeout is told as one: both end at the same moment.
const GRACE: Duration = Duration::from_millis(20);

/// A client, and the time that is left for what it is to do.
#[derive(Debug)]
pub(crate) struct Connected {
    /// The client.
    pub(crate) client: Client,
    /// The address without its keys, for messages.
    pub(crate) place: String,
    until: Instant,
}

impl Connected {
    /// What is left of the budget.
    pub(crate) fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// An address that may be connected to as the arguments say.
#[derive(Debug)]
pub(crate) struct Target {
    address: String,
    /// The address without its keys, for messages.
    place: String,
}

impl Target {
    /// Reads the address, and refuses it where this build lacks what it asks for, or the server would stay unproven.
    pub(crate) fn new(args: &ConnectArgs) -> Result<Self, Failure> {
        let address: Address = args.address.parse().map_err(|error| Failure::address("address", &error))?;
        check_support("address", &address)?;
        let place = address.without_keys().to_string();
        check_trust(args, &address, &place)?;
        Ok(Self { address: args.address.clone(), place })
    }
}

/// Connects as the arguments say. The budget begins when the identity is there.
pub(crate) async fn connect(args: &ConnectArgs, Target { address, place }: Target) -> Result<Connected, Failure> {
    let identity = identity(args.identity.clone(), args.key_mode).await?;
    let public = identity.public_key();
    let budget = args.timeout;
    let until = Instant::now() + budget;
    let mut builder =
        Client::builder(address).identity(identity).connect_timeout(budget).handshake_timeout(budget).deadline(budget);
    if args.danger_trust_anyone {
        output::note("warning: --danger-trust-anyone: nothing tells this server from an impostor");
        builder = builder.danger_trust_anyone();
    }
    match timeout_at(until + GRACE, builder.connect()).await {
        Ok(Ok(client)) => Ok(Connected { client, place, until }),
        Ok(Err(error)) => Err(refused(error, &place, public, args)),
        Err(_) => Err(silent(&place, budget)),
    }
}

/// Refuses a scheme or a mode that this build reads but does not have.
pub(crate) fn check_support(what: &str, address: &Address) -> Result<(), Failure> {
    let missing = match (address.scheme(), address.mode()) {
        (Scheme::Tcp | Scheme::Unix | Scheme::Mem, SecurityMode::Noise) => return Ok(()),
        (Scheme::Tcp | Scheme::Unix | Scheme::Mem, mode) => format!("?mode={mode}"),
        (Scheme::Pipe, _) => "pipe:".to_owned(),
        (scheme, _) => format!("{scheme}://"),
    };
    Err(Failure::usage(format!(
        "{what} {}: {missing} is not supported in this build; choose tcp:// or unix: without a mode",
        address.without_keys()
    )))
}

/// Refuses what would leave the server unproven, before anything is sent.
fn check_trust(args: &ConnectArgs, address: &Address, place: &str) -> Result<(), Failure> {
    if args.trust == Some(Trust::FirstUse) {
        return Err(Failure::usage(format!(
            "--trust first-use: not supported in this build; add ?key=np1... to {place} as the server printed it"
        )));
    }
    if args.danger_trust_anyone && !address.keys().is_empty() {
        return Err(Failure::usage(format!(
            "--danger-trust-anyone: the address of {place} names the key that the server must prove, so not just anyone \
             will do; take ?key= out of the address, or leave the flag away"
        )));
    }
    if address.keys().is_empty() && !args.danger_trust_anyone {
        return Err(Failure::new(
            ErrorKind::Authentication,
            format!(
                "{place} names no server key: nothing would tell the server from an impostor; add ?key=np1... as the \
                 server printed it (or pass --danger-trust-anyone)"
            ),
        ));
    }
    Ok(())
}

/// The identity of a key file, or a fresh one.
pub(crate) async fn identity(file: Option<PathBuf>, mode: KeyMode) -> Result<Identity, Failure> {
    let Some(path) = file else {
        return Identity::generate().map_err(|error| Failure::of("make a key", error));
    };
    let text = path.to_string_lossy().to_ascii_lowercase();
    if text.starts_with("npsec1") && !path.exists() {
        return Err(Failure::usage(
            "--identity: takes the name of a key file, and this looks like a secret key itself; keep secrets in files \
             (`np keygen --out FILE`) and off command lines",
        ));
    }
    if !checks_mode() {
        output::note("note: permissions of key files are not checked on this system; see to them yourself");
    }
    blocking(move || Identity::load_with(path, mode.get()).map_err(|error| Failure::of("key file", error))).await
}

fn silent(place: &str, budget: Duration) -> Failure {
    Failure::new(
        ErrorKind::Timeout,
        format!(
            "no secure connection to {place}: the handshake was not answered within {}; check that an np server \
             listens there, or raise --timeout",
            write_span(budget)
        ),
    )
}

/// A connect error with what to do about it from the command line.
fn refused(error: Error, place: &str, public: PublicKey, args: &ConnectArgs) -> Failure {
    let reason = match &error {
        Error::Connect(ConnectError::Handshake { error: reason, .. }) => reason,
        Error::Connect(ConnectError::Timeout { .. }) => {
            let line = format!(
                "cannot connect to {place}: nothing answered within {}; check the network, or raise --timeout",
                write_span(args.timeout)
            );
            return Failure::new(error.kind(), line);
        }
        // The text of a transport's error says what was tried, and where.
        Error::Connect(_) => return Failure::new(error.kind(), error.to_string()),
        _ => return Failure::of(&format!("connect to {place}"), error),
    };
    let next = match reason {
        ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. } if args.identity.is_some() => {
            format!("ask who runs the server to allow {public}")
        }
        ConnectionError::ClosedByPeer { code: CloseCode::NotAllowed, .. } => {
            "a fresh key was shown; pass --identity FILE with a key that the server allows".to_owned()
        }
        ConnectionError::ClosedByPeer { code: CloseCode::ClockSkew, .. } => "set the clock of this machine".to_owned(),
        ConnectionError::Refused { .. } => {
            "use the address that the server prints now, if its key was changed on purpose".to_owned()
        }
        ConnectionError::Timeout { .. } => return silent(place, args.timeout),
        _ if error.kind() == ErrorKind::Limit => "try again later".to_owned(),
        _ => "what answers there may not speak np: check that an np server listens there".to_owned(),
    };
    Failure::new(error.kind(), format!("{error}; {next}"))
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
    Failure::new(kind, format!("call {method} at {place}: {error}; {next}"))
}
