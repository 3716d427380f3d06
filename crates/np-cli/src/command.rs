//! The commands: one variant each, its arguments beside the code that runs it.

use clap::Subcommand;

use crate::cluster::ClusterCommand;
use crate::{bench, call, cert, config, demo, doctor, health, inspect, key, keygen, pages, ping, send, serve, status};

/// The commands of np.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key pair, or a pre-shared key
    Keygen(keygen::Keygen),
    /// Look into key files
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make certificates
    #[command(subcommand)]
    Cert(CertCommand),
    /// Look into configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run a server with the built-in methods np.echo, np.echo-stream, np.methods and np.health
    Serve(serve::Serve),
    /// Call a method and print the reply's bytes
    Call(call::CallCommand),
    /// Send a file to a server that runs with --receive
    Send(send::Send),
    /// Measure the time to a server and back
    Ping(ping::Ping),
    /// Ask a server whether it serves, for monitors
    Health(health::HealthCommand),
    /// Show how a server does: connections, calls, rates, limits
    Status(status::StatusCommand),
    /// Measure calls: how many, how fast, and what became of each
    Bench(bench::Bench),
    /// Run a node of a cluster, or ask one
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Show two peers at work over real sockets, each claim checked
    Demo(demo::Demo),
    /// Look for what keeps np from working here: clock, key files, addresses, limits of the system
    Doctor(doctor::Doctor),
    /// Show what stands in a capture or in bytes: handshakes, records, frames
    Inspect(inspect::Inspect),
    /// Print what completes np's arguments in a shell
    Completions(pages::Completions),
    /// Print the manual page, or write one for each command
    Man(pages::Manual),
}

/// The commands about key files.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Print the public key of a secret key file, or the id of a pre-shared key file
    Show(key::Show),
}

/// The commands about certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// Make an authority for development, and certificates of it for a server and a client
    Dev(cert::Dev),
}

/// The commands about configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether a configuration can be used, and everything that is wrong with it
    Check(config::Check),
    /// Print every setting, as a file that np reads
    Print(config::Print),
}
