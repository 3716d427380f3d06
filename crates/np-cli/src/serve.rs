//! `np serve`: a server with the built-in methods, until a signal ends it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use np_facade::{Address, BindOptions, Encoder, Error, Identity, Psks, Scheme, Server, TlsServer};
use serde_json::json;

use crate::admission::{self, Admission, Ways};
use crate::args::{KeyMode, PatternName};
use crate::compress::{always, parse_encoder};
use crate::descriptors;
use crate::failure::Failure;
use crate::files;
use crate::load;
use crate::output::{self, Output};
use crate::receive::Receiver;
use crate::signals::{Signals, blocking, interrupted};
use crate::span::{parse_bound, parse_span, write_span};
use crate::tls::ServerTls;

/// Runs a server with the methods np.echo, np.echo-stream, np.methods and np.health.
///
/// Prints a line per address, in the form that clients take: `listening tcp://127.0.0.1:9000?key=np1...`. The first
/// signal (SIGINT, SIGTERM, on Linux SIGHUP) lets open calls finish and ends with 0; the second ends at once with 130.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen: tcp://127.0.0.1:9000 (port 0 lets the system choose), tls://127.0.0.1:9443, unix:/run/app.sock,
    /// unix:/run/app.sock?mode=local, pipe:name on Windows; may be repeated
    #[arg(long, required = true, value_name = "ADDR")]
    listen: Vec<String>,

    /// The key file of this server, as `np keygen` wrote it; further ones are for clients that ask for their keys. Not
    /// needed where every address is tls:// or in ?mode=local
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Who may connect: a public key (np1...), a file of public keys, `psk:ID`, a certificate by its key (`spki:HEX`) or by
    /// a name (`san:NAME`), a local `user:ID` or `group:ID`, `anyone` who proves something, or `anonymous`; may be repeated
    #[arg(long, value_name = "KEY|FILE|spki:HEX|san:NAME|user:ID|group:ID|psk:ID|anyone|anonymous")]
    allow: Vec<String>,

    /// The file of a pre-shared key that clients must hold too; without --allow it is all that they need; may be repeated
    #[arg(long, value_name = "FILE")]
    psk: Vec<PathBuf>,

    /// By what name clients ask for each --psk, in the same order (the default is what `np keygen --psk` printed); or the
    /// public key of the client that it belongs to
    #[arg(long, value_name = "ID|KEY", requires = "psk")]
    psk_id: Vec<String>,

    /// Which handshakes are accepted; xx and ik by default, with --psk xxpsk3, ikpsk2 and nnpsk0; may be repeated
    #[arg(long, value_enum, value_name = "PATTERN", ignore_case = true)]
    pattern: Vec<PatternName>,

    /// How many connections may stand at once
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    max_connections: usize,

    /// How many handshakes may be in progress at once; one more takes the place of the oldest silent client
    #[arg(long, value_name = "N", default_value_t = 4_096)]
    max_handshakes: usize,

    /// How many first messages are remembered against replay, 10000 at least
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    replay_capacity: usize,

    /// How long a client's handshake may take
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "10s")]
    handshake_timeout: Duration,

    /// How long open calls may go on after the first signal
    #[arg(long, value_name = "TIME", value_parser = parse_span, default_value = "10s")]
    drain: Duration,

    /// Take files from clients that `np send` them, into this folder
    #[arg(long, value_name = "DIR")]
    receive: Option<PathBuf>,

    /// The largest file that is taken, in bytes or with a unit (KiB, MiB, GiB, TiB)
    #[arg(long, value_name = "SIZE", requires = "receive", value_parser = parse_size, default_value = "64GiB")]
    receive_max: u64,

    /// Compress replies where that makes them smaller: lz4, zstd, or zstd:LEVEL (1 to 19)
    #[arg(long, value_name = "CODEC", value_parser = parse_encoder)]
    compress: Option<Encoder>,

    /// The permission bits of Unix sockets, in octal: 600 lets this user connect alone, 660 its group as well
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    unix_mode: Option<u32>,

    /// Take the client's address from a PROXY header (version 2), without which nobody comes in; only where nobody but such
    /// a proxy can reach the TCP addresses
    #[arg(long)]
    proxy_protocol: bool,

    #[command(flatten)]
    key_mode: KeyMode,

    #[command(flatten)]
    tls: ServerTls,
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permission bits are an octal number up to 777, as 660".to_owned())
}

/// Serves until a signal comes.
pub(crate) async fn run(command: Serve, is_verbose: bool, output: Output, mut signals: Signals) -> Result<(), Failure> {
    descriptors::raise(command.max_connections, is_verbose);
    let server = tokio::select! {
        started = start(&command) => started?,
        () = signals.next() => return Err(interrupted()),
    };
    if let Some(folder) = &command.receive {
        let shown = np_facade::escape(&folder.to_string_lossy(), 4_096);
        output::note(&format!("note: --receive: every client that is let in may send files into {shown}"));
    }
    if command.allow.iter().any(|text| text == "anyone") {
        output::note("warning: --allow anyone: every client is let in that proves any key at all");
    }
    for address in server.addresses() {
        let text = address.to_string();
        output.line(&format!("listening {text}"), &json!({ "listening": text }))?;
        if address.ip().is_some_and(|ip| ip.is_unspecified()) {
            let host = address.host().unwrap_or_default();
            output::note(&format!(
                "note: {host} is every address of this machine: clients elsewhere put its name or address in the place of it"
            ));
        }
    }
    signals.next().await;
    drain(&server, command.drain, &mut signals).await
}

async fn start(command: &Serve) -> Result<Server, Failure> {
    let addresses = command.listen.iter().map(|text| check_address(text)).collect::<Result<Vec<_>, _>>()?;
    let ways = Ways::of(&addresses, &command.tls);
    check_socket_arguments(command, &addresses)?;
    let psks = read_psks(command).await?;
    let (allow, patterns) = (command.allow.clone(), command.pattern.iter().map(|name| name.get()).collect());
    let admission = blocking(move || Admission::new(&allow, psks, patterns, ways)).await?;
    let identities = identities(command, ways).await?;
    let others = identities.get(1..).unwrap_or_default();
    say(&admission, others);
    let tls = blocking({
        let (tls, mode) = (command.tls.clone(), command.key_mode);
        move || tls.read(mode)
    });
    let mut builder = Server::builder_without_identity(admission.policy)
        .bind_options(bind_options(command, tls.await?))
        .max_connections(command.max_connections)
        .max_handshakes(command.max_handshakes)
        .replay_capacity(command.replay_capacity)
        .handshake_timeout(command.handshake_timeout)
        .psks(admission.psks);
    if let Some(encoder) = command.compress {
        builder = builder.compression(always(encoder));
    }
    if let Some(folder) = &command.receive {
        let receiver = Receiver::new(check_folder(folder)?, command.receive_max);
        builder = builder.on_stream(files::METHOD, move |context, stream| receiver.clone().receive(context, stream));
    }
    if !admission.patterns.is_empty() {
        builder = builder.patterns(admission.patterns);
    }
    builder = identities.into_iter().fold(builder, |builder, identity| builder.identity(identity));
    builder = addresses.into_iter().fold(builder, |builder, address| builder.listen(address.to_string()));
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

/// A folder that there is; whether it can be written to is found out by the first file.
fn check_folder(folder: &Path) -> Result<PathBuf, Failure> {
    if folder.is_dir() {
        return Ok(folder.to_owned());
    }
    let shown = np_facade::escape(&folder.to_string_lossy(), 4_096);
    Err(Failure::usage(format!("--receive {shown}: is no folder; make it first, or name another")))
}

/// Reads a number of bytes: `4096`, `64KiB`, `1GiB`.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err("a size is a number and perhaps a unit: B, KiB, MiB, GiB, TiB".to_owned()),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    size.ok_or_else(|| "a size is a number and perhaps a unit: 64GiB".to_owned())
}

fn bind_options(command: &Serve, tls: Option<TlsServer>) -> BindOptions {
    let mut options = BindOptions { tls, proxy_protocol: command.proxy_protocol, ..BindOptions::default() };
    if let Some(mode) = command.unix_mode {
        options.unix_mode = mode;
    }
    options
}

/// Says what the arguments bring about where it is not what one might think.
fn say(admission: &Admission, others: &[Identity]) {
    if admission.by_certificate_alone {
        output::note(
            "note: --ca without --allow: whoever shows a certificate of that authority is let in; pass --allow to ask for \
             more (spki:HEX, san:NAME)",
        );
    }
    if admission.by_psk_alone {
        output::note(
            "note: --psk without --allow: whoever holds a pre-shared key is let in, whatever other key it shows; pass \
             --allow to ask for both",
        );
    }
    let patterns = &admission.patterns;
    if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.authenticates_responder()) {
        output::note("note: with these patterns the server proves no key, so its addresses name none");
    }
    for identity in others {
        let key = identity.public_key();
        output::note(&format!(
            "note: this server is also {key}, for clients whose address names that key and that ask by ik, nk, kk or ikpsk2"
        ));
    }
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

async fn read_psks(command: &Serve) -> Result<Psks, Failure> {
    let mut keys = Vec::new();
    for path in &command.psk {
        keys.push(load::psk(path.clone(), command.key_mode).await?);
    }
    admission::psks(keys, &command.psk_id)
}

/// The identities, the default one first.
async fn identities(command: &Serve, ways: Ways) -> Result<Vec<Identity>, Failure> {
    if command.identity.is_empty() && ways.by_key {
        return Err(Failure::usage(
            "serve: no --identity names the key file that clients know this server by; make one with \
             `np keygen --out server.key` and pass --identity server.key",
        ));
    }
    if !command.identity.is_empty() && !ways.by_key {
        output::note("note: --identity: no address has clients that ask for a key of np, so it is not used");
    }
    let mut all = Vec::new();
    for path in &command.identity {
        all.push(load::identity(path.clone(), command.key_mode).await?);
    }
    Ok(all)
}

/// Refuses arguments about sockets that no address has.
fn check_socket_arguments(command: &Serve, addresses: &[Address]) -> Result<(), Failure> {
    let is_file =
        |address: &Address| address.path().is_some_and(|path| !path.as_os_str().to_string_lossy().starts_with('@'));
    if command.unix_mode.is_some() && !addresses.iter().any(is_file) {
        return Err(Failure::usage(
            "--unix-mode: no address is the file of a Unix socket (unix:/path), so there is nothing that could have a mode; \
             add one, or leave the flag away",
        ));
    }
    if command.proxy_protocol && !addresses.iter().any(|address| address.port().is_some()) {
        return Err(Failure::usage(
            "--proxy-protocol: no address is reached over TCP, so no proxy can stand before it; add one such as tcp:// or \
             tls://, or leave the flag away",
        ));
    }
    Ok(())
}

/// Refuses an address that no other process could reach.
fn check_address(text: &str) -> Result<Address, Failure> {
    let address: Address = text.parse().map_err(|error| Failure::address("--listen", &error))?;
    if address.scheme() == Scheme::Mem {
        let line = "--listen: a mem: address is reached from inside this process alone; choose tcp:// or unix:";
        return Err(Failure::usage(line));
    }
    Ok(address)
}
