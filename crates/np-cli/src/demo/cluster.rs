//! What the demo claims about clusters: five nodes of this process, over TCP, each with a key and a server of its own.

use std::time::{Duration, Instant};

use np_cluster::{Cluster, ClusterConfig, MemberState, Peering};
use np_facade::{Identity, Policy};
use tokio::time::sleep;

use crate::demo::items::{Checked, ensure, told};
use crate::span::show_span;

/// The name of its row.
pub(crate) const NAME: &str = "cluster of five nodes";
/// How long it may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

const INTERVAL: Duration = Duration::from_millis(200);
/// The last of them joins late.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "late"];
/// Keys that are set before it joins.
const KEYS: usize = 100;

/// Five nodes find each other, read a key of one, report another that is gone, and tell a sixth what there was before it.
pub(crate) async fn check() -> Checked {
    let identities = NAMES.iter().map(|_| Identity::generate()).collect::<Result<Vec<_>, _>>().map_err(told)?;
    let mut names = NAMES.iter().zip(&identities);
    let late = names.next_back().ok_or("no sixth node")?;
    let members = Policy::allow_keys(identities.iter().map(Identity::public_key));
    let mut nodes: Vec<Cluster> = Vec::new();
    let begun = Instant::now();
    for (name, identity) in names {
        nodes.push(join(name, identity, &members, nodes.first()).await?);
    }
    until("all see five live members", || nodes.iter().all(|node| count(node, MemberState::Live) == 5)).await?;
    let met = begun.elapsed();
    let [first, others @ ..] = nodes.as_slice() else {
        return Err("no node has come about".to_owned());
    };
    let begun = Instant::now();
    first.set("leader", "a").await.map_err(told)?;
    for node in others {
        read(node, "leader", "a").await?;
    }
    let spread = begun.elapsed();
    for number in 0..KEYS {
        first.set(&format!("key.{number}"), &number.to_string()).await.map_err(told)?;
    }
    // It says nothing to the others.
    nodes.pop();
    let begun = Instant::now();
    let failed =
        |node: &Cluster| node.members().iter().any(|member| member.name == "e" && member.state == MemberState::Failed);
    until("the four left report the fifth", || nodes.iter().all(failed)).await?;
    let reported = begun.elapsed();
    let begun = Instant::now();
    let joined = join(late.0, late.1, &members, nodes.get(1)).await?;
    for number in 0..KEYS {
        read(&joined, &format!("key.{number}"), &number.to_string()).await?;
    }
    read(&joined, "leader", "a").await?;
    let caught_up = begun.elapsed();
    until("the late one sees five live members", || count(&joined, MemberState::Live) == 5).await?;
    let [met, spread, reported, caught_up] = [met, spread, reported, caught_up].map(show_span);
    Ok(format!(
        "met in {met}, a key on all in {spread}, a killed node reported in {reported}, {KEYS} earlier keys at a late one in \
         {caught_up}"
    ))
}

async fn join(name: &str, identity: &Identity, members: &Policy, seed: Option<&Cluster>) -> Result<Cluster, String> {
    let peering = Peering::new(identity.clone(), members.clone()).listen("tcp://127.0.0.1:0");
    let peering = match seed {
        Some(seed) => peering.seed(&format!("tcp://{}", seed.address())).map_err(told)?,
        None => peering,
    };
    let config = ClusterConfig::new(name, "demo", ([127, 0, 0, 1], 0).into()).interval(INTERVAL);
    Cluster::join(config, peering).await.map_err(told)
}

fn count(node: &Cluster, state: MemberState) -> usize {
    node.members().iter().filter(|member| member.state == state).count()
}

async fn until(what: &str, held: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !held() {
        ensure(begun.elapsed() < LIMIT / 2, format!("not so within {}: {what}", show_span(LIMIT / 2)))?;
        sleep(INTERVAL / 20).await;
    }
    Ok(())
}

/// Waits until a node has this of the first.
async fn read(node: &Cluster, key: &str, wanted: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        match node.get("a", key).await {
            Some(value) if value.text == wanted => return Ok(()),
            found => {
                let name = node.name();
                ensure(begun.elapsed() < LIMIT / 2, format!("{name} has {found:?} for {key}, not {wanted}"))?;
            }
        }
        sleep(INTERVAL / 20).await;
    }
}
