//! A service of three nodes: each knows the others and their keys, and a client finds whichever is there.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use np_cluster::{Attributes, Cluster, ClusterConfig, Event, MemberState, Peering};
use np_facade::prelude::*;
use np_facade::{AllowList, Balance};

/// A server of the service `orders`, whose listener takes the links of its cluster beside the calls.
async fn start_node(
    name: &'static str,
    identity: &Identity,
    members: &Policy,
    seed: Option<&Cluster>,
) -> Result<Cluster, Box<dyn std::error::Error>> {
    let server = Server::builder(identity.clone(), Policy::anyone())
        .on("who", move |_ctx, _body| Ok(name))
        .listen("tcp://127.0.0.1:0")
        .start()
        .await?;
    let mut peering = Peering::new(identity.clone(), members.clone()).server(&server);
    if let Some(seed) = seed {
        peering = peering.seed(&format!("tcp://{}", seed.address()))?;
    }
    let attributes = Attributes { service: "orders".to_owned(), ..Attributes::default() };
    // Without an IP and a port of its own the address is that of the server.
    let config = ClusterConfig::new(name, "shop", ([0, 0, 0, 0], 0).into())
        .interval(Duration::from_millis(200))
        .attributes(attributes);
    Ok(Cluster::join(config, peering).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The list of members, as a file of it would be: a name in it is binding for its key.
    let keys = [Identity::generate()?, Identity::generate()?, Identity::generate()?];
    let names = ["orders-1", "orders-2", "orders-3"];
    let lines = keys.iter().zip(names).map(|(key, name)| format!("{} {name}\n", key.public_key()));
    let members = Policy::allow_list(AllowList::parse(&lines.collect::<String>())?, "members");

    let mut nodes: Vec<Cluster> = Vec::new();
    for (identity, name) in keys.iter().zip(names) {
        nodes.push(start_node(name, identity, &members, nodes.first()).await?);
    }
    let [first, second, third] = <[Cluster; 3]>::try_from(nodes).map_err(|_| "three nodes were started")?;

    // What happens to members is told as it happens.
    let mut events = first.watch();
    let mut live = 0;
    while live < 3 {
        if let Some(Event::Joined(member)) = events.next().await {
            println!("{} is at {}", member.name, member.address);
            live += 1;
        }
    }

    // Each node writes keys of its own, and every node reads all of them.
    third.set("shard.7", "primary").await?;
    let mut keys = first.subscribe("shard.").await?;
    println!("told: {:?}", keys.next().await);
    assert_eq!(first.get("orders-3", "shard.7").await.map(|value| value.text).as_deref(), Some("primary"));

    // A client of the service goes to whichever members live: a member is known by the key that it has proven.
    while first.members().iter().any(|member| member.key.is_none()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let client = Client::builder("cluster:orders")
        .resolver(first.resolver())
        .balance(Balance::RoundRobin)
        .idempotent_methods(["who"])
        .connect()
        .await?;
    println!("served by {:?}", client.call("who", "").await?);

    // One leaves and says so; its calls go on elsewhere.
    second.leave().await?;
    if let Some(server) = second.server() {
        server.shutdown(Duration::from_secs(1)).await;
    }
    while let Some(event) = events.next().await {
        if let Event::Left(member) = event {
            println!("{} has left", member.name);
            break;
        }
    }
    for _ in 0..10 {
        assert_ne!(client.call("who", "").await?, "orders-2");
    }
    assert_eq!(first.members().iter().filter(|member| member.state == MemberState::Live).count(), 2);
    client.close().await;
    first.leave().await?;
    third.leave().await?;
    Ok(())
}
