//! The arguments about TLS: whom a client trusts, what a server shows. What they bring about is np's own affair.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use np_facade::{Address, ClientAuth, Config, Fingerprint, Scheme, ServerConfig, TlsClient, TlsServer, TlsVersion};

use crate::args::KeyMode;
use crate::failure::Failure;

/// What every command that connects takes for tls:// and tls+noise:// addresses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ClientTls {
    /// A PEM file of the authorities that sign servers' certificates, in place of those of this system; may be repeated
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,

    /// The SHA-256 of the server's public key, as it printed it; any one of several; without --ca it alone proves the server
    #[arg(long, value_name = "sha256:HEX", value_parser = parse_pin)]
    pin: Vec<Fingerprint>,

    /// The PEM file of this client's certificate, for servers that ask for one
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// The PEM file of its key
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// The least version of TLS: 1.3 by default, or 1.2
    #[arg(long, value_name = "VERSION", value_parser = parse_version)]
    tls_min: Option<TlsVersion>,
}

impl ClientTls {
    /// The facade's settings, where there is something to set. Reads the files.
    pub(crate) fn read(
        &self,
        address: &Address,
        danger_trust_anyone: bool,
        mode: KeyMode,
    ) -> Result<Option<TlsClient>, Failure> {
        if !address.scheme().is_tls() {
            return self.check_unused(address).map(|()| None);
        }
        // Of tls+noise:// the key inside is what need not be proven then.
        let unverified = danger_trust_anyone && address.scheme() == Scheme::Tls;
        let mut builder = TlsClient::builder();
        if unverified {
            builder = builder.danger_no_verification();
        }
        builder = self.ca.iter().fold(builder, |builder, file| builder.ca_file(file));
        builder = self.pin.iter().fold(builder, |builder, pin| builder.pin(*pin));
        if let (Some(chain), Some(key)) = (&self.client_cert, &self.client_key) {
            check_private("--client-key", key, mode)?;
            builder = builder.client_certificate_files(chain, key);
        }
        if let Some(least) = self.tls_min {
            builder = builder.min_version(least);
        }
        let built = builder.build().map_err(|error| Failure::usage(format!("TLS arguments: {error}")))?;
        Ok(Some(built))
    }

    /// Whether a certificate of this client is shown.
    pub(crate) const fn shows_certificate(&self) -> bool {
        self.client_cert.is_some()
    }

    fn check_unused(&self, address: &Address) -> Result<(), Failure> {
        let given = [
            ("--ca", !self.ca.is_empty()),
            ("--pin", !self.pin.is_empty()),
            ("--client-cert", self.client_cert.is_some()),
            ("--tls-min", self.tls_min.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Failure::usage(format!(
                "{flag}: there is no TLS on the way to {}; write tls:// before the host, or leave the flag away",
                address.without_keys()
            ))),
            None => Ok(()),
        }
    }
}

/// What `np serve` takes for tls:// and tls+noise:// addresses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ServerTls {
    /// The PEM file of a certificate with its chain; of several, clients get the one that carries the name they ask for
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Vec<PathBuf>,

    /// The PEM file of the key of each --cert, in the same order
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Vec<PathBuf>,

    /// A PEM file of authorities that sign clients' certificates: clients must show one then; may be repeated
    #[arg(long, value_name = "FILE", requires = "cert")]
    ca: Vec<PathBuf>,

    /// A PEM file of revocation lists: with one, every client's certificate must be covered by a current list
    #[arg(long, value_name = "FILE", requires = "ca")]
    crl: Vec<PathBuf>,

    /// Whether clients need a certificate of --ca; they do by default
    #[arg(long, value_enum, value_name = "WHEN", requires = "ca")]
    client_auth: Option<Asks>,

    /// The least version of TLS: 1.3 by default, or 1.2
    #[arg(long, value_name = "VERSION", value_parser = parse_version, requires = "cert")]
    tls_min: Option<TlsVersion>,
}

/// Whether clients need a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asks {
    /// A client without one is refused
    Required,
    /// A client without one is anonymous, and one that does not stand is refused
    Optional,
}

impl ServerTls {
    /// Sets what the arguments say; certificates and keys are one thing.
    pub(crate) fn overlay(&self, server: &mut ServerConfig) {
        if !self.cert.is_empty() {
            (server.tls_cert, server.tls_key) = (self.cert.clone(), self.key.clone());
        }
        if !self.ca.is_empty() {
            server.tls_ca.clone_from(&self.ca);
        }
        if !self.crl.is_empty() {
            server.tls_crl.clone_from(&self.crl);
        }
        if let Some(asks) = self.client_auth {
            server.tls_client_auth = Some(match asks {
                Asks::Required => ClientAuth::Required,
                Asks::Optional => ClientAuth::Optional,
            });
        }
        if let Some(least) = self.tls_min {
            server.tls_min = least;
        }
    }
}

/// A server's certificates and rules, where it has some. Reads the files.
pub(crate) fn read_server(config: &Config, mode: KeyMode) -> Result<Option<TlsServer>, Failure> {
    let (cert, key) = (&config.server.tls_cert, &config.server.tls_key);
    if cert.len() != key.len() {
        return Err(Failure::usage(format!(
            "--key: {} given for {} --cert; give each --cert its key, in the same order",
            key.len(),
            cert.len()
        )));
    }
    check_keys(config, mode)?;
    config.server_tls().map_err(|error| Failure::usage(format!("TLS arguments: {error}")))
}

/// Refuses private keys of a server that every user may read.
pub(crate) fn check_keys(config: &Config, mode: KeyMode) -> Result<(), Failure> {
    config.server.tls_key.iter().try_for_each(|key| check_private("--key", key, mode))
}

/// Whether clients of TLS can prove a certificate.
pub(crate) fn asks_for_certificates(server: &ServerConfig) -> bool {
    !server.tls_ca.is_empty()
}

/// Whether every client of TLS proves a certificate.
pub(crate) fn requires_certificates(server: &ServerConfig) -> bool {
    asks_for_certificates(server) && server.tls_client_auth.is_none_or(|auth| auth == ClientAuth::Required)
}

/// Refuses a private key that every user of this machine may read. Unlike np's own key files it may be a group's: other
/// programs that renew certificates keep it so.
#[cfg(unix)]
fn check_private(argument: &str, key: &Path, mode: KeyMode) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;

    use np_facade::KeyFileMode;
    // What cannot be looked at is refused by whoever reads it.
    let Ok(meta) = std::fs::metadata(key) else { return Ok(()) };
    let bits = meta.permissions().mode() & 0o777;
    if mode.get() == KeyFileMode::DangerAny || bits & 0o007 == 0 {
        return Ok(());
    }
    let shown = np_facade::escape_path(key);
    Err(Failure::usage(format!(
        "{argument} {shown}: every user of this machine has access to it (mode {bits:03o}); chmod 600 it (or pass \
         --danger-key-mode to accept it as it is)"
    )))
}

#[cfg(not(unix))]
fn check_private(_: &str, _: &Path, _: KeyMode) -> Result<(), Failure> {
    Ok(())
}

fn parse_pin(text: &str) -> Result<Fingerprint, String> {
    let digits =
        text.strip_prefix("sha256:").ok_or("a pin is sha256: and 64 hexadecimal digits, as the server printed it")?;
    digits.parse().map_err(|error| format!("{error}, behind sha256:"))
}

fn parse_version(text: &str) -> Result<TlsVersion, String> {
    text.parse().map_err(ToOwned::to_owned)
}
