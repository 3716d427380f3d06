//! `np cluster run`: a node that does nothing else, from its arguments to its leave.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use np_cluster::{Attributes, Cluster, ClusterConfig, ClusterError, Event, Member, Peering, SigningKey};
use np_facade::{Identity, Policy, PublicKey, Scheme, SecurityMode, Server, VerifyKey, escape};
use serde_json::json;

use super::until;
use crate::args::KeyMode;
use crate::failure::Failure;
use crate::load;
use crate::output::{self, Output};
use crate::serve::check_address;
use crate::signals::{Signals, blocking};
use crate::span::{parse_bound, write_span};

/// How long clients have to take their answers when the node ends.
const DRAIN: Duration = Duration::from_secs(2);

/// Runs a node of a cluster: it tells the others its keys, and hears theirs.
///
/// Prints `listening tcp://10.0.0.1:7400?key=np1...`: where other nodes and `np cluster members ADDR` reach it. Whom --allow
/// lets in is a member, and may read and set keys by `np cluster`; a name that a list gives to a key is binding. A key that
/// is taken off the list is cut off within 2 s, and its node forgotten.
///
/// The first signal (SIGINT, SIGTERM) tells the others that the node leaves, and ends with 0; the second ends at once with
/// 130.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What the others call this node: letters, digits, `-`, `_` and `.`
    #[arg(long, value_name = "NAME")]
    name: String,

    /// What the cluster is called: nodes of another are refused
    #[arg(long, value_name = "NAME", default_value = "np")]
    cluster: String,

    /// Where to listen: tcp://10.0.0.1:7400 (port 0 lets the system choose) for the other nodes, and perhaps
    /// unix:/run/np/orders.sock for `np cluster` on this machine; may be repeated
    #[arg(long, value_name = "ADDR", required = true)]
    listen: Vec<String>,

    /// The key file of this node, as `np keygen` wrote it
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,

    /// Whose nodes are members: a file of public keys, one a line with the name of its node, or a public key (np1...); may be
    /// repeated
    #[arg(long, value_name = "FILE|KEY", required = true)]
    allow: Vec<String>,

    /// Whose keys may set keys of this node by `np cluster set`, beside the node's own: a file of public keys, or one (np1...);
    /// may be repeated. They need not be members. Without it every key of --allow may, but for a node with --signing-key, whose
    /// own key alone may
    #[arg(long, value_name = "FILE|KEY")]
    control: Vec<String>,

    /// Nodes to ask first who else is there: tcp://10.0.0.2:7400, with ?key=np1... to ask for that key; one that is this node
    /// is ignored
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    seed: Vec<String>,

    /// Where the others reach this node, where that is not where it listens: 192.0.2.7, or 192.0.2.7:7400
    #[arg(long, value_name = "IP[:PORT]", value_parser = parse_advertised)]
    advertise: Option<SocketAddr>,

    /// The time between two rounds of gossip, 200ms at least; a node that is silent for three of them, and a second at least,
    /// has failed
    #[arg(long, value_name = "TIME", value_parser = parse_bound, default_value = "1s")]
    interval: Duration,

    /// The service that this node is part of: what clients find by cluster:NAME
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,

    /// Where this node stands, for whoever chooses by it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    zone: String,

    /// Sign every value that this node sets, by this key, as `np keygen --signing` wrote it; its public half belongs into the
    /// lists of the others, behind this node's key: sign=npverify1...
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,

    #[command(flatten)]
    key_mode: KeyMode,
}

/// Reads an IP with a port or without; port 0 is that of the listener.
fn parse_advertised(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    let ip = text.parse::<IpAddr>().map(|ip| SocketAddr::from((ip, 0)));
    let read = text.parse::<SocketAddr>().or(ip);
    read.map_err(|_| {
        "an address that others reach is an IP, or an IP and a port: 192.0.2.7:7400, [2001:db8::7]:7400".to_owned()
    })
}

/// Runs until a signal comes.
pub(crate) async fn run(command: Run, output: Output, mut signals: Signals) -> Result<(), Failure> {
    let (node, key) = until(&mut signals, join(&command)).await?;
    let locals = node.server().into_iter().flat_map(Server::addresses).filter(|address| address.path().is_some());
    let all = [format!("tcp://{}?key={key}", node.address())].into_iter().chain(locals.map(ToString::to_string));
    for text in all {
        output.line(&format!("listening {text}"), &json!({ "listening": text }))?;
    }
    let mut events = node.watch();
    loop {
        tokio::select! {
            () = signals.next() => break,
            event = events.next() => match event {
                Some(event) => tell(&event, node.name()),
                None => return Err(Failure::local("cluster: the rounds of gossip have ended; start the node again")),
            },
        }
    }
    leave(&node, &mut signals).await
}

async fn join(command: &Run) -> Result<(Cluster, PublicKey), Failure> {
    check_listen(&command.listen)?;
    let identity = load::identity(command.identity.clone(), command.key_mode).await?;
    let key = identity.public_key();
    let (members, writers) = lists(command).await?;
    if let Some(name) = members.entry(&key).and_then(|entry| entry.name().map(ToOwned::to_owned))
        && name != command.name
    {
        let shown = escape(&name, 128);
        return Err(Failure::usage(format!(
            "--name {}: the list of --allow calls this node's key `{shown}`, so the others would refuse it; let both say the \
             same",
            command.name
        )));
    }
    let signing = match &command.signing_key {
        Some(path) => Some(load::signing(path.clone(), command.key_mode).await?),
        None => None,
    };
    check_signing(signing.as_ref(), members.entry(&key).and_then(|entry| entry.sign()))?;
    let peering = peering(command, identity, members, writers)?;
    let attributes =
        Attributes { service: command.service.clone(), zone: command.zone.clone(), ..Attributes::default() };
    let advertise = command.advertise.unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
    let config = ClusterConfig::new(&command.name, &command.cluster, advertise)
        .interval(command.interval)
        .attributes(attributes);
    let config = signing.into_iter().fold(config, ClusterConfig::sign_by);
    let node = Cluster::join(config, peering).await.map_err(refused)?;
    Ok((node, key))
}

/// Nodes reach each other over TCP and prove their keys; a socket of this machine may stand beside that.
fn check_listen(listen: &[String]) -> Result<(), Failure> {
    let mut by_tcp = false;
    for text in listen {
        let address = check_address(text)?;
        let shown = address.without_keys();
        let supported = matches!(address.scheme(), Scheme::Tcp | Scheme::Unix) && address.mode() == SecurityMode::Noise;
        if !supported {
            return Err(Failure::usage(format!(
                "--listen {shown}: a node takes tcp:// for the other nodes and unix: for `np cluster` on this machine, both with \
                 keys of np; choose one of them (a program of yours may use tls:// by np_cluster::Peering::by_certificates)"
            )));
        }
        by_tcp |= address.scheme() == Scheme::Tcp;
    }
    if by_tcp {
        return Ok(());
    }
    Err(Failure::usage(
        "--listen: no address is reached by the other nodes, which come over TCP; add one as tcp://10.0.0.1:7400",
    ))
}

/// Says what is wrong where the list of this node, which the others have too, names another signing key or none.
fn check_signing(signing: Option<&SigningKey>, listed: Option<VerifyKey>) -> Result<(), Failure> {
    let public = signing.map(SigningKey::verify_key);
    match (public, listed) {
        (Some(public), None) => output::note(&format!(
            "note: the list of --allow has no sign= for this node's key, so nobody can check its values; put sign={public} \
             behind it in the list of every node"
        )),
        (Some(public), Some(listed)) if public != listed => {
            return Err(Failure::usage(format!(
                "--signing-key: this is the key {public}, and the list of --allow says sign={listed} for this node, so its \
                 values would be taken for forged; let both say the same"
            )));
        }
        (None, Some(_)) => output::note(
            "note: the list of --allow has a sign= for this node's key, but without --signing-key its values are not signed",
        ),
        _ => {}
    }
    Ok(())
}

fn peering(command: &Run, identity: Identity, members: Policy, writers: Option<Policy>) -> Result<Peering, Failure> {
    let peering = Peering::new(identity, members.clone()).control(members);
    let peering = writers.into_iter().fold(peering, Peering::writers);
    let peering = command.listen.iter().fold(peering, |peering, address| peering.listen(address.clone()));
    command.seed.iter().try_fold(peering, |peering, seed| peering.seed(seed).map_err(refused))
}

/// Who are members, and who may set keys beside the node itself, where the arguments say so.
async fn lists(command: &Run) -> Result<(Policy, Option<Policy>), Failure> {
    let (allow, control) = (command.allow.clone(), command.control.clone());
    let read = blocking(move || {
        let members = keys("--allow", "no node would be a member", &allow)?;
        Ok((members, keys("--control", "nobody but the node itself could set its keys", &control)?))
    });
    let (members, writers) = read.await?;
    let nobody = || Failure::usage("cluster: no --allow says whose nodes are members; pass a file of public keys");
    Ok((members.ok_or_else(nobody)?, writers))
}

/// Whom an option allows. Reads the files of lists.
fn keys(option: &str, otherwise: &str, texts: &[String]) -> Result<Option<Policy>, Failure> {
    let mut all: Option<Policy> = None;
    for text in texts {
        let one = Policy::parse_allow(text)
            .map_err(|error| Failure::usage(format!("{option}: {error}; `np help cluster run` tells what it takes")))?;
        if one.is_empty() {
            let shown = escape(text, 4_096);
            return Err(Failure::usage(format!(
                "{option}: {shown}: no key is in it, so {otherwise}; write public keys (np1...) into it, each with a name"
            )));
        }
        if one.accepts_anyone() {
            output::note(&format!(
                "warning: {option} anyone: whoever proves any key at all may read and set keys, by --allow as a member"
            ));
        }
        all = Some(match all {
            Some(others) => others.or(one),
            None => one,
        });
    }
    Ok(all)
}

fn refused(error: ClusterError) -> Failure {
    match error {
        ClusterError::Serve(np_facade::Error::Listen(error)) => {
            let error = np_facade::Error::Listen(error);
            Failure::new(error.kind(), error.to_string())
        }
        ClusterError::Serve(error) => Failure::of("cluster", error),
        ClusterError::Start(why) => Failure::local(format!("cluster: the node did not start: {why}; start it again")),
        ClusterError::Address(address) => Failure::usage(format!(
            "cluster: others cannot reach a node at {address}; pass --advertise with an IP of this machine that they reach"
        )),
        error => Failure::usage(format!("cluster: {error}")),
    }
}

/// Says what happened to another node.
fn tell(event: &Event, own: &str) {
    let said = |member: &Member, what: &str| {
        if member.name != own {
            output::note(&format!("member {} at {} {what}", member.name, member.address));
        }
    };
    match event {
        Event::Joined(member) => said(member, "is live"),
        Event::Failed(member) => said(member, "has failed"),
        Event::Left(member) => said(member, "has left"),
        _ => {}
    }
}

async fn leave(node: &Cluster, signals: &mut Signals) -> Result<(), Failure> {
    output::note(&format!(
        "leaving: the others are told; a second signal ends now, else it takes {} at most",
        write_span(DRAIN)
    ));
    let in_order = async {
        // One that was no member any more has nobody to tell.
        let _ = node.leave().await;
        if let Some(server) = node.server() {
            server.shutdown(DRAIN).await;
        }
    };
    tokio::select! {
        () = in_order => Ok(()),
        () = signals.next() => Err(Failure::interrupted(
            "interrupted while leaving: the others take the node for failed until it is back",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_advertised;

    #[test]
    fn an_advertised_address_is_an_ip_with_a_port_or_without() {
        for (text, read) in [
            ("192.0.2.7", "192.0.2.7:0"),
            ("192.0.2.7:7400", "192.0.2.7:7400"),
            ("tcp://192.0.2.7:7400", "192.0.2.7:7400"),
            ("2001:db8::7", "[2001:db8::7]:0"),
            ("[2001:db8::7]:7400", "[2001:db8::7]:7400"),
        ] {
            assert_eq!(parse_advertised(text), Ok(read.parse().unwrap()), "{text}");
        }
        for text in ["", "host", "host:7400", "192.0.2.7:", "192.0.2.7:99999"] {
            assert!(parse_advertised(text).is_err_and(|error| error.contains("192.0.2.7:7400")), "{text}");
        }
    }
}
