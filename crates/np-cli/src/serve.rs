//! `np serve`: a server with the built-in methods, until a signal ends it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use np_facade::{Address, Config, Encoder, Error, Identity, KeyFileMode, Psks, Scheme, Server};
use serde_json::json;

use crate::admission::{self, Admission, Ways};
use crate::args::{KeyMode, PatternName};
use crate::compress::parse_encoder;
use crate::descriptors;
use crate::failure::Failure;
use crate::files;
use crate::follow::Follower;
use crate::inherited::Inherited;
use crate::key_log;
use crate::load;
use crate::logging::{self, LogArgs};
use crate::manager::Manager;
use crate::monitor::Monitor;
use crate::output::{self, Output};
use crate::receive::Receiver;
use crate::served;
use crate::signals::{Signals, blocking, interrupted};
use crate::span::{parse_bound, parse_span};
use crate::status;
use crate::stop;
use crate::tls::{self, ServerTls};

/// Runs a server with the methods np.echo, np.echo-stream, np.methods and np.health.
///
/// Prints a line per address, in the form that clients take: `listening tcp://127.0.0.1:9000?key=np1...`. The first
/// signal (SIGINT, SIGTERM, without --config on Linux SIGHUP) lets open calls finish and ends with 0; the second ends at once
/// with 130.
///
/// Settings come from the file of --config, over it from variables of the environment (NP_SERVER__MAX_CONNECTIONS), over both
/// from arguments.
///
/// A service manager is told when the server is ready, alive and stopping (NOTIFY_SOCKET), and on Linux may hand over sockets
/// that listen (LISTEN_FDS): each takes the place of the --listen that names its address.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen: tcp://127.0.0.1:9000 (port 0 lets the system choose), tls://127.0.0.1:9443, unix:/run/app.sock,
    /// unix:/run/app.sock?mode=local, pipe:name on Windows; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,

    /// A file of settings, as `np config print --defaults` shows them; arguments go before it. The file, and those that it
    /// names, are read again when they change and on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The key file of this server, as `np keygen` wrote it; further ones are for clients that ask for their keys. Not
    /// needed where every address is tls:// or in ?mode=local
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,

    /// Who may connect: a public key (np1...), a file of public keys, `psk:ID`, a certificate by its key (`spki:HEX`) or by
    /// a name (`san:NAME`), a local `user:ID` or `group:ID`, `anyone` who proves something, or `anonymous`; may be repeated
    #[arg(long, value_name = "KEY|FILE|spki:HEX|san:NAME|user:ID|group:ID|psk:ID|anyone|anonymous")]
    allow: Vec<String>,

    /// Whom to tell by np.status (`np status ADDR`) how the server does: values as --allow takes them; nobody without it;
    /// may be repeated
    #[arg(long, value_name = "KEY|FILE|...")]
    status_allow: Vec<String>,

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

    /// How many connections may stand at once, 16384 by default
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,

    /// How many handshakes may be in progress at once, 4096 by default; one more takes the place of the oldest silent client
    #[arg(long, value_name = "N")]
    max_handshakes: Option<usize>,

    /// How many first messages are remembered against replay, 10000 at least and 100000 by default
    #[arg(long, value_name = "N")]
    replay_capacity: Option<usize>,

    /// How long a client's handshake may take, 10s by default
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    handshake_timeout: Option<Duration>,

    /// How long open calls may go on after the first signal, 10s by default
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    drain: Option<Duration>,

    /// How long the server goes on after the first signal as before, but for np.health, which answers `draining`: for load
    /// balancers that ask it; 0s by default
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    drain_delay: Option<Duration>,

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

    /// Answer Prometheus and monitors over plain HTTP at this address: /metrics, /healthz and /readyz. Nothing protects it:
    /// choose 127.0.0.1:9100, or an address that only they reach
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) key_mode: KeyMode,

    #[command(flatten)]
    tls: ServerTls,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permission bits are an octal number up to 777, as 660".to_owned())
}

impl Serve {
    /// Sets what the arguments say: they go before a file and the environment.
    pub(crate) fn overlay(&self, config: &mut Config) {
        let server = &mut config.server;
        put_all(&mut server.address, &self.listen);
        put_all(&mut server.identity, &self.identity);
        put_all(&mut server.allow, &self.allow);
        put_all(&mut server.psk_id, &self.psk_id);
        if !self.psk.is_empty() {
            (server.psk, server.psk_id) = (self.psk.clone(), self.psk_id.clone());
        }
        if !self.pattern.is_empty() {
            server.patterns = self.pattern.iter().map(|name| name.get()).collect();
        }
        put(&mut server.max_connections, self.max_connections);
        put(&mut server.max_handshakes, self.max_handshakes);
        put(&mut server.replay_capacity, self.replay_capacity);
        put(&mut server.connection_timeout, self.handshake_timeout);
        put(&mut server.shutdown_timeout, self.drain);
        put(&mut server.drain_delay, self.drain_delay);
        put_all(&mut server.status_allow, &self.status_allow);
        if self.metrics.is_some() {
            server.metrics = self.metrics;
        }
        put(&mut server.unix_mode, self.unix_mode);
        server.proxy_protocol |= self.proxy_protocol;
        server.danger_key_mode = self.key_mode.or(server.danger_key_mode).get() == KeyFileMode::DangerAny;
        self.tls.overlay(server);
        put(&mut config.logging.level, self.log.level());
        put(&mut config.logging.format, self.log.format());
        if let Some(encoder) = self.compress {
            config.transport.compression_algorithm = encoder;
            config.transport.compression_enabled = true;
        }
    }
}

fn put<T>(setting: &mut T, argument: Option<T>) {
    if let Some(value) = argument {
        *setting = value;
    }
}

fn put_all<T: Clone>(setting: &mut Vec<T>, arguments: &[T]) {
    if !arguments.is_empty() {
        *setting = arguments.to_vec();
    }
}

/// Serves until a signal comes.
pub(crate) async fn run(command: Serve, verbose: u8, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let command = Arc::new(command);
    let config = blocking({
        let command = Arc::clone(&command);
        move || served::effective(&command)
    })
    .await?;
    if command.log.format().is_none() {
        logging::start(verbose, config.logging.format);
    }
    if verbose == 0 {
        logging::set_level(config.logging.level);
    }
    descriptors::raise(config.server.max_connections, verbose > 0);
    let monitor = match config.server.metrics {
        Some(address) => {
            let bound = Monitor::bind(address).await;
            Some(bound.map_err(|failure| served::located(&config, failure))?)
        }
        None => None,
    };
    let server = tokio::select! {
        started = start(&command, &config) => started?,
        () = signals.next() => return Err(interrupted()),
    };
    let manager = Manager::of_environment();
    if let Some(folder) = &command.receive {
        let shown = np_facade::escape_path(folder);
        output::note(&format!("note: --receive: every client that is let in may send files into {shown}"));
    }
    if config.server.allow.iter().any(|text| text == "anyone") {
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
    if let Some(monitor) = monitor {
        let url = monitor.url();
        output.line(&format!("metrics {url}"), &json!({ "metrics": url }))?;
        // It ends with the program, so that a server that drains still says so.
        tokio::spawn(monitor.run(server.health().clone()));
    }
    manager.ready(server.addresses().len());
    let config = Follower { server: &server, command, verbose, config }.until_signal(&mut signals).await;
    manager.stopping();
    stop::stop(&server, config.server.drain_delay, config.server.shutdown_timeout, &mut signals).await
}

async fn start(command: &Serve, config: &Config) -> Result<Server, Failure> {
    let started = try_start(command, config).await;
    started.map_err(|failure| served::located(config, failure))
}

async fn try_start(command: &Serve, config: &Config) -> Result<Server, Failure> {
    let inherited = Inherited::take()?;
    let it = &config.server;
    let addresses = it.address.iter().map(|text| check_address(text)).collect::<Result<Vec<_>, _>>()?;
    if addresses.is_empty() {
        return Err(Failure::usage(
            "serve: nothing says where to listen; pass --listen <ADDR>, or set server.address in a file for --config",
        ));
    }
    let ways = Ways::of(&addresses, it);
    check_socket_arguments(command, &addresses)?;
    let mode = command.key_mode.or(it.danger_key_mode);
    let psks = read_psks(config, mode).await?;
    let (allow, patterns) = (it.allow.clone(), it.patterns.clone());
    let admission = blocking(move || Admission::new(&allow, psks, patterns, ways)).await?;
    let identities = identities(config, mode, ways).await?;
    let others = identities.get(1..).unwrap_or_default();
    say(&admission, others);
    let tls = blocking({
        let config = config.clone();
        move || tls::read_server(&config, mode)
    });
    let mut configured = config.clone();
    admission::complete(&mut configured.server, ways);
    let mut builder = Server::builder_without_identity(admission.policy).config(&configured).psks(admission.psks);
    if let Some(tls) = tls.await? {
        builder = builder.tls(tls);
    }
    if let Some(folder) = &command.receive {
        let receiver = Receiver::new(check_folder(folder)?, command.receive_max);
        builder = builder.on_stream(files::METHOD, move |context, stream| receiver.clone().receive(context, stream));
    }
    if let Some(policy) = status::policy(&it.status_allow)? {
        builder = builder.status_for(policy);
    }
    if let Some(log) = blocking(key_log::of_environment).await? {
        builder = builder.danger_key_log(log);
    }
    builder = identities.into_iter().fold(builder, |builder, identity| builder.identity(identity));
    builder = inherited.give(builder, &it.address, &addresses)?;
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
    let shown = np_facade::escape_path(folder);
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

async fn read_psks(config: &Config, mode: KeyMode) -> Result<Psks, Failure> {
    let mut keys = Vec::new();
    for path in &config.server.psk {
        let key = load::psk(path.clone(), mode).await;
        keys.push(key.map_err(|failure| served::named(config, "server.psk", failure))?);
    }
    admission::psks(keys, &config.server.psk_id)
}

/// The identities, the default one first.
async fn identities(config: &Config, mode: KeyMode, ways: Ways) -> Result<Vec<Identity>, Failure> {
    let paths = &config.server.identity;
    if paths.is_empty() && ways.by_key {
        return Err(Failure::usage(
            "serve: no --identity names the key file that clients know this server by; make one with \
             `np keygen --out server.key` and pass --identity server.key",
        ));
    }
    if !paths.is_empty() && !ways.by_key {
        output::note("note: --identity: no address has clients that ask for a key of np, so it is not used");
    }
    let mut all = Vec::new();
    for path in paths {
        let identity = load::identity(path.clone(), mode).await;
        all.push(identity.map_err(|failure| served::named(config, "server.identity", failure))?);
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
pub(crate) fn check_address(text: &str) -> Result<Address, Failure> {
    let address: Address = text.parse().map_err(|error| Failure::address("--listen", &error))?;
    if address.scheme() == Scheme::Mem {
        let line = "--listen: a mem: address is reached from inside this process alone; choose tcp:// or unix:";
        return Err(Failure::usage(line));
    }
    Ok(address)
}
