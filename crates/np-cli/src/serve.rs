//! `np serve`: a server with the built-in methods, until a signal ends it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use np_facade::{Address, Error, Identity, Policy, Scheme, Server};
use serde_json::json;

use crate::args::KeyMode;
use crate::connect::{check_support, identity};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::signals::{Signals, blocking, interrupted};
use crate::span::{parse_bound, parse_span, write_span};

/// Runs a server with the methods np.echo, np.methods and np.health.
///
/// Prints a line per address, in the form that clients take: `listening tcp://127.0.0.1:9000?key=np1...`. The first
/// signal (SIGINT, SIGTERM) lets open calls finish and ends with 0; the second ends at once with 130.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen: tcp://127.0.0.1:9000 (port 0 lets the system choose), unix:/run/app.sock
    #[arg(long, required = true, value_name = "ADDR")]
    listen: Vec<String>,

    /// The key file of this server, as `np keygen` wrote it
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,

    /// Who may connect: a public key (np1...), a file of public keys, or `anyone`; may be repeated
    #[arg(long, value_name = "KEY|FILE|anyone")]
    allow: Vec<String>,

    /// How many connections may stand at once
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    max_connections: usize,

    /// How long a client's handshake may take
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "10s")]
    handshake_timeout: Duration,

    /// How long open calls may go on after the first signal
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "10s")]
    drain: Duration,

    #[command(flatten)]
    key_mode: KeyMode,
}

/// Serves until a signal comes.
pub(crate) async fn run(command: Serve, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let server = tokio::select! {
        started = start(&command) => started?,
        () = signals.next() => return Err(interrupted()),
    };
    if command.allow.iter().any(|text| text == "anyone") {
        output::note("warning: --allow anyone: every client is let in that proves any key at all");
    }
    for address in server.addresses() {
        let address = address.to_string();
        output.line(&format!("listening {address}"), &json!({ "listening": address }))?;
    }
    signals.next().await;
    drain(&server, command.drain, &mut signals).await
}

async fn start(command: &Serve) -> Result<Server, Failure> {
    let addresses = command.listen.iter().map(|text| check_address(text)).collect::<Result<Vec<_>, _>>()?;
    let allow = command.allow.clone();
    let policy = blocking(move || policy(&allow)).await?;
    let mut builder = Server::builder(required_identity(command).await?, policy)
        .max_connections(command.max_connections)
        .handshake_timeout(command.handshake_timeout);
    for address in addresses {
        builder = builder.listen(address);
    }
    builder.start().await.map_err(|error| match error {
        Error::Setting(error) => Failure::usage(format!("a setting of the server: {error}; change its argument")),
        // The text of a transport's error says what was tried, and where.
        Error::Listen(error) => {
            let error = Error::Listen(error);
            Failure::new(error.kind(), error.to_string())
        }
        other => Failure::of("serve", other),
    })
}

async fn drain(server: &Server, within: Duration, signals: &mut Signals) -> Result<(), Failure> {
    output::note(&format!("draining: open calls have {} to finish; a second signal ends them now", write_span(within)));
    tokio::select! {
        () = server.shutdown(within) => Ok(()),
        () = signals.next() => Err(Failure::interrupted(
            "interrupted while draining: open calls were cut; give them time, or a shorter --drain",
        )),
    }
}

/// Everything that one of the `--allow` arguments allows.
fn policy(allow: &[String]) -> Result<Policy, Failure> {
    let mut all: Option<Policy> = None;
    for text in allow {
        let one = Policy::parse_allow(text).map_err(|error| {
            let line = format!("--allow: {error}; give a public key (np1...), a file of public keys, or `anyone`");
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
    all.ok_or_else(|| {
        Failure::usage(
            "serve: no --allow says who may connect, and nobody is let in by accident; pass --allow with a public key \
             (np1...), with a file of public keys, or with `anyone`",
        )
    })
}

async fn required_identity(command: &Serve) -> Result<Identity, Failure> {
    let Some(path) = &command.identity else {
        return Err(Failure::usage(
            "serve: no --identity names the key file that clients know this server by; make one with \
             `np keygen --out server.key` and pass --identity server.key",
        ));
    };
    identity(Some(path.clone()), command.key_mode).await
}

/// Refuses an address that no other process could reach.
fn check_address(text: &str) -> Result<String, Failure> {
    let address: Address = text.parse().map_err(|error| Failure::address("--listen", &error))?;
    check_support("--listen", &address)?;
    if address.scheme() == Scheme::Mem {
        let line = "--listen: a mem: address is reached from inside this process alone; choose tcp:// or unix:";
        return Err(Failure::usage(line));
    }
    Ok(address.without_keys().to_string())
}
