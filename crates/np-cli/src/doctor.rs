//! `np doctor`: reads what a server and its clients need of this machine, and prints what `check` makes of it.

mod check;
mod probe;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use np_facade::raw::transport::{BindOptions, Listener, check_supported};
use np_facade::{
    Address, Config, ErrorKind, KeyError, KeyFileMode, KeyFileProblem, checks_mode, escape, read_psk, read_secret_key,
    read_sign_key,
};

use self::check::{Buffers, Check, State};
use crate::config;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::screen;
use crate::signals::blocking;
use crate::span::parse_bound;

/// Looks for what keeps np from working on this machine, and says for each what to do.
///
/// Checks the clock, the limit of open files and socket buffers; with ADDR also that a server answers and takes this machine's
/// time; the modes of key files and whether addresses are free to listen at, where arguments or a configuration name them.
/// Of a server nothing is asked but the first message of a handshake, which is not finished.
///
/// A row is ok, warn or fail. Ends with 1 if any row fails.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// A server to ask, as it printed its address
    #[arg(value_name = "ADDR")]
    address: Option<String>,

    /// An address to listen at; may be repeated. It must be free: ask before the server is started
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,

    /// A key file whose mode and content are looked at; may be repeated
    #[arg(long, value_name = "FILE")]
    key_file: Vec<PathBuf>,

    /// A configuration whose addresses, key files and limits are checked, too
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How many connections there shall be; what the configuration says by default, which is 16384 without one
    #[arg(long, value_name = "N")]
    max_connections: Option<u64>,

    /// How long the server and each address may take
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "5s")]
    timeout: Duration,
}

/// Checks everything, and fails where a row does.
pub(crate) async fn run(command: Doctor, output: Output) -> Result<(), Failure> {
    let asked = command.address.as_deref().map(|text| read_address("address", text)).transpose()?;
    let config = match command.config.clone() {
        Some(file) => blocking(move || config::load(Some(&file))).await?,
        None => Config::default(),
    };
    let listen: Vec<&String> = command.listen.iter().chain(&config.server.address).collect();
    let listen: Vec<Address> = listen.iter().map(|text| read_address("--listen", text)).collect::<Result<_, _>>()?;
    let mut checks = vec![clock(asked.is_some())];
    if let Some(address) = &asked {
        let stamp = probe::probe(address, command.timeout).await?;
        checks.extend(check::server(&address.without_keys().with_suite(None).to_string(), &stamp));
    }
    for address in &listen {
        checks.push(listens(address, command.timeout).await);
    }
    let connections = command.max_connections.unwrap_or(config.server.max_connections as u64);
    checks.extend(blocking(move || Ok(of_machine(&command, &config, connections))).await?);
    report(&checks, output)
}

fn read_address(what: &str, text: &str) -> Result<Address, Failure> {
    let address: Address = text.parse().map_err(|error| Failure::address(what, &error))?;
    check_supported(&address).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(address)
}

fn clock(compared: bool) -> Check {
    check::clock(SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs()), compared)
}

/// Listens for a moment. What TLS would need beside a port is not asked for.
async fn listens(address: &Address, within: Duration) -> Check {
    let place = address.without_keys().with_suite(None);
    let bare = match (address.host(), address.port()) {
        (Some(host), Some(port)) => format!("tcp://{host}:{port}").parse().unwrap_or_else(|_| place.clone()),
        _ => place.clone(),
    };
    let bound = tokio::time::timeout(within, Listener::bind(&bare, &BindOptions::default())).await;
    let bound = match bound {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(escape(&error.to_string(), 1_024)),
        Err(_) => Err(format!("not to be had within {} ms; check the name", within.as_millis())),
    };
    check::listen(&place.to_string(), bound)
}

/// What needs files of this machine.
fn of_machine(command: &Doctor, config: &Config, connections: u64) -> Vec<Check> {
    let server = &config.server;
    let files = command.key_file.iter().chain(&server.identity).chain(&server.psk).chain(&server.tls_key);
    let mut checks: Vec<Check> = files.map(|path| key_file(path)).collect();
    checks.extend(descriptors(connections));
    let asked = |bytes: Option<u32>| bytes.map(u64::from);
    checks.push(buffers("receive", "rmem", asked(config.transport.receive_buffer)));
    checks.push(buffers("send", "wmem", asked(config.transport.send_buffer)));
    checks
}

fn key_file(path: &Path) -> Check {
    let read = match read_secret_key(path, KeyFileMode::Checked) {
        Ok(_) => Ok("a secret key"),
        // The mode was judged before the content; a key of TLS is neither.
        Err(error) => match &error.problem {
            KeyFileProblem::Key { error: KeyError::WrongKind { .. }, .. } => {
                let signing = || read_sign_key(path, KeyFileMode::Checked).map(|_| "a signing key");
                let psk = read_psk(path, KeyFileMode::Checked).map(|_| "a pre-shared key");
                psk.or_else(|error| signing().map_err(|_| error)).map_err(|error| error.to_string())
            }
            _ if is_pem(path) && matches!(error.problem, KeyFileProblem::Key { .. }) => Ok("a key of TLS"),
            _ => Err(error.to_string()),
        },
    };
    let shown = np_facade::escape_path(path);
    let bare =
        |error: String| error.strip_prefix(&format!("key file {shown}: ")).map_or_else(|| error.clone(), str::to_owned);
    check::key_file(&shown, read.map_err(bare), checks_mode())
}

fn is_pem(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"-----BEGIN "))
}

#[cfg(unix)]
fn descriptors(connections: u64) -> Option<Check> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile);
    Some(check::descriptors(limit.current, limit.maximum, connections))
}

/// This system has no such limit.
#[cfg(not(unix))]
const fn descriptors(_connections: u64) -> Option<Check> {
    None
}

/// What the kernel says of buffers, where it is Linux.
fn buffers(direction: &str, name: &str, asked: Option<u64>) -> Check {
    let last = |path: String| fs::read_to_string(path).ok()?.split_whitespace().last()?.parse().ok();
    let tuned = last(format!("/proc/sys/net/ipv4/tcp_{name}"));
    let askable = last(format!("/proc/sys/net/core/{name}_max"));
    check::buffers(direction, Buffers { tuned, askable, asked })
}

fn report(checks: &[Check], output: Output) -> Result<(), Failure> {
    if output.is_json() {
        output.list(checks)?;
    } else {
        let colour = output::takes_colour(io::stdout().is_terminal());
        output::write(table(checks, screen::width(), colour).as_bytes())?;
    }
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.state == State::Fail).map(|check| check.check.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let line = format!(
        "doctor: {} of {} checks failed: {}; do what their rows say",
        failed.len(),
        checks.len(),
        failed.join(", ")
    );
    Err(Failure::new(ErrorKind::Remote, line))
}

/// A row for each check, and below it what to do.
fn table(checks: &[Check], width: Option<usize>, colour: bool) -> String {
    let name = checks.iter().map(|check| check.check.chars().count()).max().unwrap_or_default();
    // A long address must not push everything off the screen.
    let name = name.min(width.map_or(usize::MAX, |width| width / 2));
    let indent = 6 + name + 2;
    checks.iter().fold(String::new(), |mut table, check| {
        let (paint, plain) = match check.state {
            _ if !colour => ("", ""),
            State::Ok => ("\u{1b}[32m", "\u{1b}[0m"),
            State::Warn => ("\u{1b}[33m", "\u{1b}[0m"),
            State::Fail => ("\u{1b}[31m", "\u{1b}[0m"),
        };
        let row = format!("{:4}  {:name$}  {}", check.state.word(), check.check, check.found);
        let row = screen::fit(&row, indent.max(6 + check.check.chars().count() + 2), width);
        // Colour comes last: it takes no room.
        let row =
            row.split_at_checked(4).map_or_else(|| row.clone(), |(word, rest)| format!("{paint}{word}{plain}{rest}"));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{row}");
        if !check.advice.is_empty() {
            let _ = writeln!(table, "{}", screen::fit(&format!("{:indent$}{}", "", check.advice), indent, width));
        }
        table
    })
}

#[cfg(test)]
mod tests {
    use super::check::{Check, State};
    use super::table;

    #[test]
    fn rows_fit_the_screen_and_colour_takes_no_room() {
        let check = |name: &str, state, advice: &str| Check {
            check: name.to_owned(),
            state,
            found: "what was found out about it".to_owned(),
            advice: advice.to_owned(),
        };
        let checks =
            [check("clock", State::Ok, ""), check("open files", State::Fail, "raise the hard limit of it all")];
        let whole = table(&checks, None, false);
        assert_eq!(whole.lines().next(), Some("ok    clock       what was found out about it"));
        assert_eq!(whole.lines().count(), 3);
        let narrow = table(&checks, Some(40), false);
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(narrow.lines().count() > 3, "{narrow}");
        let coloured = table(&checks, Some(40), true);
        assert!(coloured.starts_with("\u{1b}[32mok  \u{1b}[0m  clock") && coloured.contains("\u{1b}[31mfail\u{1b}[0m"));
        assert_eq!(coloured.lines().count(), narrow.lines().count());
    }
}
