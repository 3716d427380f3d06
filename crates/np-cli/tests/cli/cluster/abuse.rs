//! Strangers, liars and members that misbehave, against real processes.

use np_cluster::MemberState;
use np_facade::{Client, Identity};
use rustix::process::Signal;
use serde_json::Value;

#[cfg(target_os = "linux")]
use super::Node;
use super::{House, QUICK, live};
use crate::support::{Serve, np, run};

#[test]
fn strangers_liars_and_revoked_keys_are_kept_out_of_a_cluster() {
    let house = House::new(&["a", "b", "c"], QUICK);
    let mut nodes = house.start_all(&["a", "b", "c"]);
    house.runtime.block_on(house.until(&nodes, live(3, MemberState::Live)));
    let seed = nodes[0].place.clone();
    // A key that is on no list.
    let (stranger, _) = house.folder.key("stranger.key");
    let node = |name: &str, key: &str, allow: &str| {
        let mut command = np(["cluster", "run", "--name", name, "--listen", "tcp://127.0.0.1:0", "--identity", key]);
        Serve::spawn(command.args(["--allow", allow, "--seed", &seed, "--interval", QUICK, "-v"]), 1)
    };
    let mut x = node("x", &stranger, &house.members);
    let told = x.wait_for("refused by a node");
    assert!(told.contains("not allowed"), "{told}");
    // What it asks is refused, too.
    run(["cluster", "members", "--identity", &stranger, nodes[0].serve.address()]).fails(4, &["not allowed"]);
    // A member under the name of another: by its own list it may.
    let keys: Vec<&str> = std::fs::read_to_string(&house.members).unwrap().leak().lines().collect();
    let plain: String = keys.iter().map(|line| format!("{}\n", line.split(' ').next().unwrap())).collect();
    let plain = house.folder.file("plain", plain);
    nodes[2].serve.signal(Signal::TERM);
    nodes[2].serve.code();
    let mut liar = node("b", &house.folder.arg("c.key"), &plain);
    let told = liar.wait_for("refused by a node");
    assert!(told.contains("calls this key `c`"), "{told}");
    for node in &nodes[..2] {
        let rows = house.ask("members", node, &["-o", "json"]).ok_json();
        let names: Vec<(&str, &str)> =
            rows.as_array().unwrap().iter().map(|row| (text(row, "name"), text(row, "state"))).collect();
        assert_eq!(names, [("a", "live"), ("b", "live"), ("c", "left")]);
    }
    // A key that is taken off the list of the others.
    let kept: String = keys.iter().filter(|line| !line.ends_with(" b")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&house.members, kept).unwrap();
    house.runtime.block_on(house.until(&nodes[..1], |members| !members.iter().any(|member| member.name == "b")));
    house.runtime.block_on(async {
        // Its commands are not heard any more either.
        let client = Client::builder(nodes[0].serve.address());
        let client = client.identity(Identity::load(house.folder.path("b.key")).unwrap()).connect().await;
        assert!(client.is_err());
    });
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

/// Who speaks by hand; in the form of an announcement.
#[cfg(target_os = "linux")]
async fn link_by_hand(house: &House, node: &Node, name: &str) -> (Client, np_facade::MessageStream) {
    let identity = Identity::load(house.folder.path(&format!("{name}.key"))).unwrap();
    let client = Client::builder(node.serve.address()).identity(identity).connect().await.unwrap();
    let mut stream = client.open_stream("np.cluster.gossip").await.unwrap();
    let at: std::net::SocketAddr = ([127, 0, 0, 1], 1).into();
    stream.send(np_facade::encode(&(1u8, "np", name, at, [9u8; 16])).unwrap()).await.unwrap();
    stream.recv().await.unwrap().unwrap();
    (client, stream)
}

/// The most memory that a process has held at once, in KiB.
#[cfg(target_os = "linux")]
fn peak(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.serve.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn garbage_and_a_flood_of_members_cost_a_node_little_memory() {
    let house = House::new(&["a", "b", "c", "d", "e"], QUICK);
    let nodes = house.start_all(&["a", "b"]);
    house.runtime.block_on(async {
        house.until(&nodes, live(2, MemberState::Live)).await;
        let before = peak(&nodes[0]);
        // What is no message, as much of it as is taken.
        let (client, mut stream) = link_by_hand(&house, &nodes[0], "c").await;
        let mut refused = None;
        for _ in 0..1_000 {
            if let Err(error) = stream.send(vec![7; 60_000]).await {
                refused = Some(error);
                break;
            }
        }
        let refused = refused.expect("the flood was taken");
        assert!(refused.text.contains("kept out"), "{refused}");
        // It is kept out, and its other calls are not.
        let mut again = client.open_stream("np.cluster.gossip").await.unwrap();
        assert!(again.recv().await.unwrap().unwrap_err().text.contains("kept out"));
        assert_eq!(client.call("np.echo", "hi").await.unwrap(), "hi");
        let (_client, mut stream) = link_by_hand(&house, &nodes[0], "d").await;
        // More than a gossip message may have.
        let _ = stream.send(vec![7; 1_000_000]).await;
        assert!(stream.recv().await.unwrap().is_err());
        // A value that no node may set, in a message that is one.
        let (_client, mut stream) = link_by_hand(&house, &nodes[0], "e").await;
        let start = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let large = format!("\n{}", "x".repeat(40_000));
        stream.send(gossip::syn([("e", 1)].into_iter(), start)).await.unwrap();
        stream.send(gossip::change("e", start, "large", &large, 1)).await.unwrap();
        let refused = loop {
            if let Err(error) = stream.recv().await.unwrap() {
                break error;
            }
        };
        assert!(refused.text.contains("kept out"), "{refused}");
        assert!(house.client(&nodes[0]).await.get("large", None).await.unwrap().is_empty());
        let more = peak(&nodes[0]) - before;
        assert!(more < 32 << 10, "{more} KiB more");
        // Neither has the cluster suffered.
        house.client(&nodes[1]).await.set("k", "v").await.unwrap();
        house.until_all_have(&nodes, "k", &[("b", "v")]).await;
    });
}

/// What a process holds in memory now, in KiB.
#[cfg(target_os = "linux")]
fn held(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.serve.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Gossip messages as the engine makes them, by hand.
#[cfg(target_os = "linux")]
mod gossip {
    /// The first bytes of a message, and its kind.
    fn message(kind: u8) -> Vec<u8> {
        let mut bytes = 45_139_u16.to_le_bytes().to_vec();
        bytes.extend([0, kind]);
        bytes
    }

    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
    }

    /// A start of a node.
    fn id(bytes: &mut Vec<u8>, name: &str, start: u64) {
        text(bytes, name);
        bytes.extend(start.to_le_bytes());
        bytes.extend([4, 127, 0, 0, 1, 1, 0]);
    }

    /// Tells of nodes, each with a heartbeat, which is the version of its keys, too.
    pub(super) fn syn<'a>(nodes: impl ExactSizeIterator<Item = (&'a str, u64)>, start: u64) -> Vec<u8> {
        let mut bytes = message(0);
        bytes.extend(u16::try_from(nodes.len()).unwrap().to_le_bytes());
        for (name, beat) in nodes {
            id(&mut bytes, name, start);
            // It has all that is told of it.
            [beat, 0, beat].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
        }
        text(&mut bytes, "np");
        bytes
    }

    /// Sets a key of a node.
    pub(super) fn change(node: &str, start: u64, key: &str, value: &str, version: u64) -> Vec<u8> {
        let mut change = vec![0];
        id(&mut change, node, start);
        [0, version - 1].iter().for_each(|number: &u64| change.extend(number.to_le_bytes()));
        change.push(1);
        text(&mut change, key);
        text(&mut change, value);
        change.extend(version.to_le_bytes());
        change.push(0);
        let mut bytes = message(2);
        for block in change.chunks(16_384) {
            bytes.push(2);
            bytes.extend(u16::try_from(block.len()).unwrap().to_le_bytes());
            bytes.extend(block);
        }
        bytes.push(0);
        bytes
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_flood_of_valid_messages_from_a_member_costs_a_node_bounded_memory() {
    let house = House::new(&["a", "b", "c"], QUICK);
    let nodes = house.start_all(&["a", "b"]);
    house.runtime.block_on(async {
        house.until(&nodes, live(2, MemberState::Live)).await;
        let before = held(&nodes[0]);
        let (client, stream) = link_by_hand(&house, &nodes[0], "c").await;
        // What is answered is not read, and so waits at the node, which is what would grow.
        let (_answers, mut sender) = stream.split();
        let start = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let value = format!("\n{}", "x".repeat(30_000));
        let mut sent = 0;
        for turn in 1..=400u64 {
            // Invented nodes, other ones each time, beside the member itself.
            let names: Vec<String> = (0..700).map(|number| format!("invented-{turn}-{number}")).collect();
            let told = names.iter().map(|name| (name.as_str(), turn));
            let told: Vec<(&str, u64)> = [("c", turn)].into_iter().chain(told).collect();
            let key = format!("key-{turn}");
            for bytes in [gossip::syn(told.into_iter(), start), gossip::change("c", start, &key, &value, turn)] {
                sent += bytes.len();
                sender.send(bytes).await.unwrap();
            }
        }
        // All of it was taken for gossip: the link stands. What the limits let in is there, and nobody was invented.
        sender.send(gossip::syn([("c", 401)].into_iter(), start)).await.unwrap();
        house.until(&nodes[..1], live(3, MemberState::Live)).await;
        let own = house.client(&nodes[0]).await.get("key-1", Some("c")).await.unwrap();
        assert_eq!(own.len(), 1, "what it says of itself is taken");
        // The most at any time.
        let more = peak(&nodes[0]).saturating_sub(before);
        // 4 MiB of keys of the member are its due.
        assert!(sent > 20 << 20 && more < 20 << 10, "{more} KiB more after {sent} bytes");
        assert_eq!(client.call("np.echo", "hi").await.unwrap(), "hi");
        house.client(&nodes[1]).await.set("k", "v").await.unwrap();
        house.until_all_have(&nodes, "k", &[("b", "v")]).await;
    });
}
