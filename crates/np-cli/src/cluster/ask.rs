//! `np cluster set`, `get`, `members` and `watch`: one question to one node. Must never trust what it answers.

use clap::Args;
use np_cluster::{ClusterClient, Entry};
use np_facade::{CallError, ErrorKind, Status, escape};
use serde_json::json;

use super::table;
use super::until;
use crate::args::ConnectArgs;
use crate::connect::{Connected, Target, connect};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::refusal::failed_call;
use crate::signals::Signals;

/// The longest name and value that are shown.
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 32 << 10;

/// Sets a key of the node at an address: each node has keys of its own, and all nodes read them.
///
/// The node must allow this client's key (--identity). Key and value have 32 KiB at most together.
#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The key: printable, without a space
    #[arg(value_name = "KEY")]
    key: String,

    /// The value
    #[arg(value_name = "VALUE")]
    value: String,
}

/// Prints what the nodes have for a key, in lines of `node value`; nodes without it have no line.
///
/// The node must allow this client's key (--identity). Ends with 1 where no node has the key. With -o json an array, with -o ndjson an
/// object a line: {"node": "a", "value": "x", "signature": "valid"}; a signature is none, valid or invalid, by the list of the node that is
/// asked.
#[derive(Debug, Args)]
pub(crate) struct Get {
    #[command(flatten)]
    connect: ConnectArgs,

    /// The key
    #[arg(value_name = "KEY")]
    key: String,

    /// Of this node alone
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// Prints name, state, address and key of each member, as the node at an address sees them. States are live, failed and left;
/// a key is known once the node has a link to the member.
///
/// The node must allow this client's key (--identity). With -o json an array, and of `watch` one a line. With -o ndjson an
/// object a line: {"name": "a", "state": "live", "address": "10.0.0.1:7400", "key": "np1..."}; of `watch` each line is
/// {"members": [...]} with all of them.
#[derive(Debug, Args)]
pub(crate) struct Members {
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn set(command: Set, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    let asked = async {
        let (node, connected) = open(&command.connect).await?;
        node.set(&command.key, &command.value).await.map_err(|error| failed("set", &connected, error))?;
        connected.client.close().await;
        Ok(())
    };
    until(signals, asked).await?;
    if output.is_json() { output.json(&json!({ "key": command.key })) } else { Ok(()) }
}

pub(crate) async fn get(command: Get, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    let asked = async {
        let (node, connected) = open(&command.connect).await?;
        let found = node.get(&command.key, command.node.as_deref()).await;
        let found = found.map_err(|error| failed("get", &connected, error))?;
        connected.client.close().await;
        Ok((found, connected.place))
    };
    let (found, place) = until(signals, asked).await?;
    if output.is_json() {
        let rows: Vec<_> = found.iter().map(row).collect();
        output.list(&rows)?;
    } else {
        let line = |node: &str, value: &str| format!("{} {}\n", escape(node, MAX_NAME), escape(value, MAX_VALUE));
        let lines: String = found.iter().map(|entry| line(&entry.node, &entry.value)).collect();
        output::write(lines.as_bytes())?;
    }
    for entry in found.iter().filter(|entry| entry.signed && !entry.valid) {
        let node = escape(&entry.node, MAX_NAME);
        output::note(&if entry.known {
            format!(
                "warning: the signature of the value of {node} is wrong by the key that the list of the node at {place} has for \
                 it (sign=): the value was made up, or signed by another key"
            )
        } else {
            format!(
                "warning: the value of {node} has a signature that nobody has checked: the list of the node at {place} has no \
                 key for it; put sign= behind its key there, the same in each of its lines"
            )
        });
    }
    if !found.is_empty() {
        return Ok(());
    }
    let key = escape(&command.key, MAX_NAME);
    let nobody = match &command.node {
        Some(node) => format!("the node {} has no key `{key}`", escape(node, MAX_NAME)),
        None => format!("no node has a key `{key}`"),
    };
    let line = format!("get from {place}: {nobody}; `np cluster set` sets one, and others see it some rounds later");
    Err(Failure::new(ErrorKind::Remote, line))
}

fn row(entry: &Entry) -> serde_json::Value {
    let signature = match (entry.signed, entry.known, entry.valid) {
        (false, ..) => "none",
        (true, _, true) => "valid",
        (true, true, false) => "invalid",
        (true, false, false) => "unknown",
    };
    json!({ "node": entry.node, "value": entry.value, "signature": signature })
}

pub(crate) async fn members(command: Members, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    let asked = async {
        let (node, connected) = open(&command.connect).await?;
        let members = node.members().await.map_err(|error| failed("members", &connected, error))?;
        connected.client.close().await;
        Ok(members)
    };
    table::print(&until(signals, asked).await?, output)
}

pub(crate) async fn watch(command: Members, output: Output, signals: &mut Signals) -> Result<(), Failure> {
    let asked = async {
        let (node, connected) = open(&command.connect).await?;
        let mut tables = node.watch().await.map_err(|error| failed("watch", &connected, error))?;
        let mut again = false;
        while let Some(members) = tables.next().await {
            table::refresh(&members.map_err(|error| failed("watch", &connected, error))?, output, again)?;
            again = true;
        }
        let line = format!("watch of {}: the node has left its cluster; ask another", connected.place);
        Err(Failure::new(ErrorKind::Remote, line))
    };
    tokio::select! {
        ended = asked => ended,
        // Whoever has seen enough has been told all there is.
        () = signals.next() => Ok(()),
    }
}

async fn open(args: &ConnectArgs) -> Result<(ClusterClient, Connected), Failure> {
    let connected = connect(args, Target::new(args)?).await?;
    Ok((ClusterClient::new(connected.client.clone()), connected))
}

fn failed(what: &str, connected: &Connected, error: CallError) -> Failure {
    let place = &connected.place;
    match error.status {
        Status::UnknownMethod => Failure::new(
            ErrorKind::Remote,
            format!(
                "{what} at {place}: that server is in no cluster, or answers nobody about it; ask one that runs \
                 `np cluster run`"
            ),
        ),
        // The node says which limit, and what to do.
        Status::LimitReached => {
            Failure::new(ErrorKind::Limit, format!("{what} at {place}: {}", escape(&error.text, 1_024)))
        }
        Status::InvalidArgument | Status::PermissionDenied => {
            Failure::new(ErrorKind::Remote, format!("{what} at {place}: {}", escape(&error.text, 1_024)))
        }
        _ => failed_call(&format!("np.cluster.{what}"), place, &error),
    }
}
