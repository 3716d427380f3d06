//! `np cert dev`: certificates for development in a folder, and the commands that use them. Must never know TLS, nor
//! print a key.

mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use np_facade::{DevCertificates, DevCertificatesError, Fingerprint, NewFileMode, dev_certificates};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{self, Output};
use crate::screen;
use crate::signals::{Signals, blocking, interrupted};

/// Where the server of the printed commands is.
const ADDRESS: &str = "tls://127.0.0.1:9443";

/// Makes an authority for development, and certificates of it for a server and a client.
///
/// The folder gets ca.pem, server.pem and client.pem, and the key of each: ca-key.pem, server-key.pem and client-key.pem.
/// The server's certificate is for localhost, 127.0.0.1, ::1 and the names of --san. Prints the pins and the commands that
/// use the files. When one of them exists, nothing is written.
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The folder that gets the files; made where it is missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// A further DNS name or IP address of the server; may be repeated, or hold several with commas between
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    san: Vec<String>,
}

/// Makes the certificates.
pub(crate) async fn dev(command: Dev, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    output::note_unchecked_modes();
    let given_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&given_up);
    let mut work = Box::pin(blocking(move || make(&command, &seen)));
    let made = tokio::select! {
        made = &mut work => made?,
        () = signals.next() => {
            // What was written goes away again first; a second signal waits for nothing.
            given_up.store(true, Ordering::Relaxed);
            tokio::select! {
                made = work => made?,
                () = signals.next() => return Err(interrupted()),
            }
        }
    };
    made.print(output)
}

/// Makes the certificates and writes them, all or none.
fn make(command: &Dev, given_up: &AtomicBool) -> Result<Made, Failure> {
    let names: Vec<&str> = command.san.iter().map(String::as_str).collect();
    let certificates = dev_certificates(&names).map_err(|error| match error {
        DevCertificatesError::Name(_) => Failure::usage(format!("--san: {error}")),
        other => Failure::local(other.to_string()),
    })?;
    let made = Made::new(command, &certificates);
    let (key, certificate) = (NewFileMode::Private, NewFileMode::Shared);
    let files = [
        (made.ca.as_path(), certificates.ca.as_str(), certificate),
        (&made.ca_key, &certificates.ca_key, key),
        (&made.server, &certificates.server, certificate),
        (&made.server_key, &certificates.server_key, key),
        (&made.client, &certificates.client, certificate),
        (&made.client_key, &certificates.client_key, key),
    ];
    folder::write(&command.out, &files, given_up)?;
    Ok(made)
}

/// What was made, but for the secrets.
#[derive(Debug)]
struct Made {
    ca: PathBuf,
    ca_key: PathBuf,
    server: PathBuf,
    server_key: PathBuf,
    client: PathBuf,
    client_key: PathBuf,
    server_pin: Fingerprint,
    client_spki: Fingerprint,
    /// The names that were asked for.
    names: Vec<String>,
}

impl Made {
    fn new(command: &Dev, certificates: &DevCertificates) -> Self {
        let file = |name| command.out.join(name);
        Self {
            ca: file("ca.pem"),
            ca_key: file("ca-key.pem"),
            server: file("server.pem"),
            server_key: file("server-key.pem"),
            client: file("client.pem"),
            client_key: file("client-key.pem"),
            server_pin: certificates.server_pin,
            client_spki: certificates.client_pin,
            names: command.san.clone(),
        }
    }

    fn print(&self, output: Output) -> Result<(), Failure> {
        output::note(&format!(
            "warning: for development alone: the authority's key lies beside what it signed, and whoever has {} can be any \
             server and any client",
            harmless(&self.ca_key.to_string_lossy())
        ));
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let value = json!({
            "ca": text(&self.ca),
            "ca_key": text(&self.ca_key),
            "server": text(&self.server),
            "server_key": text(&self.server_key),
            "client": text(&self.client),
            "client_key": text(&self.client_key),
            "server_pin": format!("sha256:{}", self.server_pin),
            "client_spki": self.client_spki.to_string(),
            "commands": self.commands().map(|words| words.join(" ")),
        });
        output.line(&self.text(screen::width()), &value)
    }

    /// The files, the pins and the commands, a line each where the screen is wide enough.
    fn text(&self, screen: Option<usize>) -> String {
        let names: String = self.names.iter().map(|name| format!(", {name}")).collect();
        let files = [
            (&self.ca, "the authority's certificate: what both ends trust".to_owned()),
            (&self.ca_key, "the authority's key: it makes further certificates".to_owned()),
            (&self.server, format!("the server's certificate, for localhost, 127.0.0.1, ::1{names}")),
            (&self.server_key, "the server's key".to_owned()),
            (&self.client, "the client's certificate".to_owned()),
            (&self.client_key, "the client's key".to_owned()),
        ];
        let files = files.map(|(path, what)| (harmless(&path.to_string_lossy()), harmless(&what)));
        let width = files.iter().map(|(path, _)| path.chars().count()).max().unwrap_or_default();
        let mut lines: Vec<String> = files.iter().map(|(path, what)| told(path, width, what, screen)).collect();
        lines.push(told(&format!("pin=sha256:{}", self.server_pin), 0, "the server's key, for its address", screen));
        lines.push(told(&format!("spki:{}", self.client_spki), 0, "the client's key, for --allow", screen));
        lines.push(String::new());
        lines.extend(self.commands().iter().map(|words| command(words, screen)));
        lines.join("\n")
    }

    /// A server, a client that trusts the authority, and one that trusts the server's key alone: words that belong together.
    fn commands(&self) -> [Vec<String>; 3] {
        let option = |name: &str, path: &Path| format!("--{name} {}", argument(path));
        let client = || [option("client-cert", &self.client), option("client-key", &self.client_key)];
        let ca = || option("ca", &self.ca);
        let serve = format!("np serve --listen {ADDRESS}");
        let call = |address: &str| vec![format!("np call {address}"), "np.echo hello".to_owned()];
        let pinned = quoted(&format!("{ADDRESS}?pin=sha256:{}", self.server_pin));
        [
            vec![serve, option("cert", &self.server), option("key", &self.server_key), ca()],
            [call(ADDRESS), vec![ca()], client().to_vec()].concat(),
            [call(&pinned), client().to_vec()].concat(),
        ]
    }
}

/// Something to copy, and what it is: beside it in a column of their own, or below it where that column would be narrow.
fn told(thing: &str, width: usize, what: &str, screen: Option<usize>) -> String {
    const LEAST: usize = 24;
    let indent = width.max(thing.chars().count()) + 2;
    match screen {
        Some(screen) if indent + LEAST > screen => {
            format!("{thing}\n{}", screen::fit(&format!("    {what}"), 4, Some(screen)))
        }
        screen => screen::fit(&format!("{thing:width$}  {what}"), indent, screen),
    }
}

/// A command to copy, in lines that a shell takes for one where it is too long for the screen.
fn command(words: &[String], screen: Option<usize>) -> String {
    let whole = harmless(&words.join(" "));
    // Shells of Windows go on with a line by other signs, each by its own.
    match screen {
        Some(screen) if cfg!(unix) && whole.chars().count() > screen => {
            words.iter().map(|word| harmless(word)).collect::<Vec<_>>().join(" \\\n    ")
        }
        _ => whole,
    }
}

/// A path as an argument of a command.
fn argument(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.starts_with('-') { quoted(&format!("./{text}")) } else { quoted(&text) }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |ch: char| ch.is_alphanumeric() || "/._-:@%+,".contains(ch) || (cfg!(windows) && ch == '\\');
    if word.chars().all(is_plain) {
        word.to_owned()
    } else if cfg!(windows) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A line kept as it is, to be copied into a shell, unless it could move a cursor.
fn harmless(line: &str) -> String {
    let escaped = np_facade::escape(line, usize::MAX);
    if escaped == line.replace('\\', r"\\") { line.to_owned() } else { escaped }
}
