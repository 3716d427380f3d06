//! The way from arguments to a client, inside one budget of time.

use std::time::Duration;

use np_facade::raw::transport::check_supported;
use np_facade::{
    Address, Client, ClientBuilder, Compression, ConnectOptions, ErrorKind, Identity, KeyLog, Pattern, Psk,
    SecurityMode, Suite, default_suite,
};
use tokio::time::{Instant, timeout_at};

use crate::args::{ConnectArgs, PatternName, Trust};
use crate::failure::Failure;
use crate::first_use::FirstUse;
use crate::key_log;
use crate::load;
use crate::output;
use crate::refusal::{Tried, silent};
use crate::signals::blocking;

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

    /// Tells the server that this is the end, also where what was to be done failed: it would take it for a cut else.
    pub(crate) async fn close_after<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        self.client.close().await;
        result
    }
}

/// An address that may be connected to as the arguments say.
#[derive(Debug)]
pub(crate) struct Target {
    address: Address,
    /// The address without its keys, for messages.
    place: String,
}

impl Target {
    /// Reads the address, and refuses it where this build lacks what it asks for, or the server would stay unproven.
    pub(crate) fn new(args: &ConnectArgs) -> Result<Self, Failure> {
        let address: Address = args.address.parse().map_err(|error| Failure::address("address", &error))?;
        check_supported(&address).map_err(|error| Failure::usage(error.to_string()))?;
        let place = address.without_keys().with_suite(None).to_string();
        check_trust(args, &address, &place)?;
        Ok(Self { address, place })
    }
}

/// Connects as the arguments say. The budget begins when the keys are there.
pub(crate) async fn connect(args: &ConnectArgs, target: Target) -> Result<Connected, Failure> {
    connect_with(args, target, None).await
}

/// As [`connect`], with messages compressed.
pub(crate) async fn connect_with(
    args: &ConnectArgs,
    target: Target,
    compression: Option<Compression>,
) -> Result<Connected, Failure> {
    Dialer { compression, ..Dialer::new(args, target, None).await? }.connect().await
}

/// What the arguments and their files say, read once, for any number of connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    args: ConnectArgs,
    address: Address,
    place: String,
    link: ConnectOptions,
    identity: Option<Identity>,
    psk: Option<Psk>,
    compression: Option<Compression>,
    key_log: Option<KeyLog>,
}

impl Dialer {
    /// Reads the files that the arguments name. `identity` is who this client is where they name none.
    pub(crate) async fn new(
        args: &ConnectArgs,
        Target { address, place }: Target,
        identity: Option<Identity>,
    ) -> Result<Self, Failure> {
        let mode = args.key_mode;
        let tls = blocking({
            let (tls, address, unverified) = (args.tls.clone(), address.clone(), args.danger_trust_anyone);
            move || tls.read(&address, unverified, mode)
        });
        let link = ConnectOptions { tls: tls.await?, local_user: args.local_user.clone(), ..ConnectOptions::default() };
        let identity = match &args.identity {
            Some(path) => Some(load::identity(path.clone(), mode).await?),
            None => identity,
        };
        let psk = match &args.psk {
            Some(path) => Some(load::psk(path.clone(), mode).await?),
            None => None,
        };
        if args.danger_trust_anyone {
            output::note("warning: --danger-trust-anyone: nothing tells this server from an impostor");
        }
        let key_log = blocking(key_log::of_environment).await?;
        Ok(Self { args: args.clone(), address, place, link, identity, psk, compression: None, key_log })
    }

    /// The address without its keys, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The security mode of the address.
    pub(crate) const fn mode(&self) -> SecurityMode {
        self.address.mode()
    }

    /// The suite that the client asks for.
    pub(crate) fn suite(&self) -> Suite {
        self.address.suite().unwrap_or_else(default_suite)
    }

    fn builder(&self) -> ClientBuilder {
        let args = &self.args;
        // A command is about this connection: its loss is what there is to tell.
        let mut builder = Client::builder(self.address.to_string())
            .connect_timeout(args.timeout)
            .handshake_timeout(args.timeout)
            .deadline(args.timeout)
            .auto_reconnect(false)
            .connect_options(self.link.clone());
        if let Some(compression) = self.compression {
            builder = builder.compression(compression);
        }
        if let Some(log) = &self.key_log {
            builder = builder.danger_key_log(log.clone());
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        if let Some(psk) = &self.psk {
            builder = builder.psk(psk.clone());
        }
        if let Some(id) = &args.psk_id {
            builder = builder.psk_id(id.clone());
        }
        if let Some(pattern) = args.pattern {
            builder = builder.pattern(pattern.get());
        }
        if args.danger_trust_anyone {
            builder = builder.danger_trust_anyone();
        }
        builder
    }

    /// Connects. The budget begins here.
    pub(crate) async fn connect(&self) -> Result<Connected, Failure> {
        let (args, place, budget) = (&self.args, self.place.clone(), self.args.timeout);
        let mut builder = self.builder();
        let first_use = FirstUse::open(args, &place).await?;
        if let Some(first_use) = &first_use {
            builder = builder.trust_first_use(first_use.known());
        }
        let until = Instant::now() + budget;
        let connected = timeout_at(until + GRACE, builder.connect()).await;
        if let Some(first_use) = first_use {
            first_use.tell().await;
        }
        match connected {
            Ok(Ok(client)) => Ok(Connected { client, place, until }),
            Ok(Err(error)) => {
                let public = self.identity.as_ref().map(Identity::public_key);
                let shows_key = shows_key(args, !self.address.keys().is_empty());
                Err(Tried { args, place: &place, mode: self.address.mode(), public, shows_key }.refused(error))
            }
            Err(_) => Err(silent(&place, budget)),
        }
    }
}

/// Whether the handshake shows the server a key of this client, a fresh one at least.
fn shows_key(args: &ConnectArgs, names_key: bool) -> bool {
    match args.pattern.map(PatternName::get) {
        Some(pattern) => pattern.authenticates_initiator(),
        None => args.psk.is_none() || names_key || args.trust.is_some() || args.danger_trust_anyone,
    }
}

/// Refuses what would leave the server unproven, or a key unused, before anything is read or sent.
fn check_trust(args: &ConnectArgs, address: &Address, place: &str) -> Result<(), Failure> {
    let names_key = !address.keys().is_empty();
    if args.trust == Some(Trust::FirstUse) && names_key {
        return Err(Failure::usage(format!(
            "--trust first-use: the address of {place} names the key that the server must prove, so there is none to \
             learn; take ?key= out of the address, or leave the flag away"
        )));
    }
    if args.danger_trust_anyone && names_key {
        return Err(Failure::usage(format!(
            "--danger-trust-anyone: the address of {place} names the key that the server must prove, so not just anyone \
             will do; take ?key= out of the address, or leave the flag away"
        )));
    }
    if args.pattern.map(PatternName::get) == Some(Pattern::DangerNN) && !args.danger_trust_anyone {
        return Err(Failure::usage(
            "--pattern danger-nn: proves neither side, so the server may be anyone; say so with --danger-trust-anyone and \
             an address without ?key=, or take another pattern",
        ));
    }
    // In the other modes the server is proven by TLS or by the operating system, or the address says that it is not.
    let by_key_alone = address.mode() == SecurityMode::Noise;
    if !by_key_alone || names_key || args.danger_trust_anyone || args.trust.is_some() || args.psk.is_some() {
        return Ok(());
    }
    let line = format!(
        "{place} names no server key: nothing would tell the server from an impostor; add ?key=np1... as the server \
         printed it, or pass --psk FILE with a key that both sides hold, or --trust first-use to remember the key that is \
         seen first (or pass --danger-trust-anyone)"
    );
    Err(Failure::new(ErrorKind::Authentication, line))
}
