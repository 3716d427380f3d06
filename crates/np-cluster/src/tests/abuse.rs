//! What members may not do, and what it costs.

use super::*;
use crate::Limits;
use crate::limits::{MESSAGE_MAX, NODES_MAX};

const SECOND: Duration = Duration::from_secs(1);

/// A message in the engine's form, made by hand.
#[derive(Default)]
struct Crafted(Vec<u8>);

impl Crafted {
    fn new(kind: u8) -> Self {
        let mut bytes = 45_139_u16.to_le_bytes().to_vec();
        bytes.extend([0, kind]);
        Self(bytes)
    }

    fn len(mut self, len: usize) -> Self {
        self.0.extend(u16::try_from(len).unwrap().to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.len(text.len()).bytes(text.as_bytes())
    }

    fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn id(self, name: &str, generation: u64, address: SocketAddr) -> Self {
        let SocketAddr::V4(v4) = address else { panic!("an address of version 4") };
        self.text(name).number(generation).bytes(&[4]).bytes(&v4.ip().octets()).bytes(&v4.port().to_le_bytes())
    }

    fn digested(self, name: &str, generation: u64, address: SocketAddr, version: u64) -> Self {
        self.id(name, generation, address).number(5).number(0).number(version)
    }

    /// An entry of a node in the changes.
    fn entry(self, key: &str, text: &str, version: u64, status: u8) -> Self {
        self.bytes(&[1]).text(key).text(text).number(version).bytes(&[status])
    }

    fn node(self, name: &str, generation: u64, address: SocketAddr) -> Self {
        self.bytes(&[0]).id(name, generation, address).number(0).number(0)
    }
}

/// An acknowledgement with these operations in one block.
fn ack(operations: Crafted) -> Vec<u8> {
    Crafted::new(2).bytes(&[2]).len(operations.0.len()).bytes(&operations.0).bytes(&[0]).0
}

fn generation(node: &Cluster, of: usize) -> u64 {
    node.members().into_iter().find(|member| member.name == name(of)).unwrap().generation
}

#[tokio::test(start_paused = true)]
async fn garbage_is_cut_off_and_counted_and_changes_nothing() {
    let world = World::met(3).await;
    let node = world.node(0);
    let born = generation(node, 1);
    let known = || Crafted::default().node("node-1", born, at(1));
    let bomb = zstd(&[0; 60_000]);
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("noise", vec![7; 100]),
        ("another version", [&45_139_u16.to_le_bytes()[..], &[1, 3]].concat()),
        ("an unknown kind", Crafted::new(9).0),
        ("a digest that ends early", Crafted::new(0).len(5).0),
        ("bytes behind the message", Crafted::new(3).bytes(&[0]).0),
        ("too long", vec![0; MESSAGE_MAX + 1]),
        ("no name", Crafted::new(0).len(1).digested("two words", 1, at(9), 0).text("simulated").0),
        ("a version that overflows", Crafted::new(0).len(1).digested("x", 1, at(9), u64::MAX).text("simulated").0),
        ("a block that is none", Crafted::new(2).bytes(&[1]).len(3).bytes(&[1, 2, 3]).bytes(&[0]).0),
        ("blocks without an end", Crafted::new(2).bytes(&[2]).len(0).0),
        ("an entry of no node", ack(Crafted::default().entry("k", "v", 1, 0))),
        ("versions that do not grow", ack(known().entry("a", "v", 9, 0).entry("b", "v", 9, 0))),
        ("a key whose first byte is no character", ack(known().entry("é", "v", 90, 0))),
        ("an entry that is too large", ack(known().entry("k", &"v".repeat(34_000), 90, 0))),
        ("an unknown status", ack(known().entry("k", "v", 90, 2))),
        ("a version below its entries", ack(known().entry("k", "v", 90, 0).bytes(&[2]).number(50))),
        ("a node twice", ack(known().node("node-1", born, at(1)))),
        ("one block too many", {
            let empty = zstd(&[]);
            let message = (0..33).fold(Crafted::new(2), |all, _| all.bytes(&[1]).len(empty.len()).bytes(&empty));
            message.bytes(&[0]).0
        }),
        ("a bomb", (0..20).fold(Crafted::new(2), |all, _| all.bytes(&[1]).len(bomb.len()).bytes(&bomb)).bytes(&[0]).0),
    ];
    for (at_, (what, bytes)) in garbage.into_iter().enumerate() {
        world.net.inject(at(1), at(0), bytes).await;
        sleep(SECOND / 10).await;
        assert_eq!(world.net.cut_off(at(0), at(1)), at_ + 1, "{what}");
    }
    assert_eq!(node.stats().refused, 20);
    // Node 1 is cut off, the rest goes on.
    sleep(10 * SECOND).await;
    world.node(2).set("k", "v").await.unwrap();
    all_have(&world.nodes[..1], "node-2", "k", "v", 3 * SECOND).await;
    assert!(node.snapshot().await["node-1"].is_empty());
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut place = vec![0; bytes.len() + 64];
    let len = zstd_safe::compress(&mut place[..], bytes, 3).unwrap();
    place.truncate(len);
    place
}

#[tokio::test(start_paused = true)]
async fn a_member_cannot_write_into_this_nodes_keys_nor_replace_it() {
    let world = World::met(3).await;
    let node = world.node(0);
    node.set("mine", "true").await.unwrap();
    let born = generation(node, 0);
    world
        .net
        .inject(at(1), at(0), ack(Crafted::default().node("node-0", born, at(0)).entry("mine", "\nfalse", 900, 0)))
        .await;
    // A later start of this node that nobody has seen, told by a member.
    let later = Crafted::new(0).len(1).digested("node-0", born + 1, at(9), 3).text("simulated").0;
    world.net.inject(at(1), at(0), later).await;
    sleep(3 * SECOND).await;
    node.set("next", "x").await.unwrap();
    all_have(&world.nodes, "node-0", "mine", "true", 3 * SECOND).await;
    all_have(&world.nodes, "node-0", "next", "x", 3 * SECOND).await;
    assert_eq!((node.stats().impersonations, world.net.cut_off(at(0), at(1))), (1, 0));
    // One that starts further ahead than clocks differ is no node at all.
    let ahead = Crafted::new(0).len(1).digested("node-9", born + 3_600_000, at(9), 3).text("simulated").0;
    world.net.inject(at(1), at(2), ahead).await;
    sleep(10 * SECOND).await;
    assert_eq!(world.node(2).members().len(), 3);
}

/// Who clears the keys of a node that was retired adds to its version: that has to stay one which the others can read, or
/// honest nodes would cut each other off.
#[tokio::test(start_paused = true)]
async fn a_member_of_the_highest_version_leaves_no_poison_when_it_is_retired() {
    let world = World::met(3).await;
    let born = generation(world.node(0), 1);
    let highest = 1 << 62;
    for to in [0, 2] {
        let poison = Crafted::default().node("node-1", born, at(1)).entry("k", "v", highest, 0);
        world.net.inject(at(1), at(to), ack(poison)).await;
    }
    sleep(SECOND).await;
    assert!(world.node(0).stats().over_limit > 0);
    for to in [0, 2] {
        world.net.retire(at(to), "node-1").await;
    }
    sleep(20 * SECOND).await;
    assert_eq!((world.net.cut_off(at(0), at(2)), world.net.cut_off(at(2), at(0))), (0, 0));
    world.node(2).set("after", "x").await.unwrap();
    all_have(&world.nodes[..1], "node-2", "after", "x", 3 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn invented_nodes_fill_no_more_than_their_places_and_real_ones_go_on() {
    let net = Simulation::new(1);
    let limits = Limits { nodes: 20, ..Limits::default() };
    let a = net.join(net.config(0).limits(limits)).await.unwrap();
    let b = net.join(net.config(1)).await.unwrap();
    within(3 * SECOND, || live(&a) == 2).await;
    for round in 0..50 {
        let mut flood = Crafted::new(0).len(100);
        for number in 0..100 {
            flood = flood.digested(&format!("false-{round}-{number}"), 1, at(500), 9);
        }
        net.inject(at(1), at(0), flood.text("simulated").0).await;
        sleep(SECOND / 10).await;
    }
    assert!(a.members().len() <= 20, "{}", a.members().len());
    assert!(a.stats().over_limit >= 4_900, "{:?}", a.stats());
    b.set("k", "v").await.unwrap();
    all_have(std::slice::from_ref(&a), "node-1", "k", "v", 3 * SECOND).await;
    assert_eq!(live(&a), 2);
}

#[tokio::test(start_paused = true)]
async fn invented_starts_of_one_name_fill_few_places_and_a_real_one_is_taken() {
    let net = Simulation::new(1);
    let limits = Limits { nodes: 60, ..Limits::default() };
    let a = net.join(net.config(0).limits(limits)).await.unwrap();
    let _liar = net.join(net.config(1)).await.unwrap();
    let b = net.join(net.config(2)).await.unwrap();
    within(3 * SECOND, || live(&a) == 3).await;
    b.set("k", "v").await.unwrap();
    all_have(std::slice::from_ref(&a), "node-2", "k", "v", 3 * SECOND).await;
    let flood = (0..100).fold(Crafted::new(0).len(100), |all, start| all.digested("node-2", start, at(500), 9));
    net.inject(at(1), at(0), flood.text("simulated").0).await;
    sleep(SECOND).await;
    assert!(a.stats().over_limit >= 84, "{:?}", a.stats());
    // With all places taken neither the node's next start nor a newcomer would find one.
    net.kill(at(2));
    let again = net.join(net.config(2)).await.unwrap();
    let c = net.join(net.config(3)).await.unwrap();
    within(5 * SECOND, || live(&a) == 4 && live(&again) == 4 && live(&c) == 4).await;
    assert_eq!(generation(&a, 2), generation(&again, 2));
    again.set("next", "x").await.unwrap();
    for (key, text) in [("k", "v"), ("next", "x")] {
        all_have(&[a.clone(), again.clone(), c.clone()], "node-2", key, text, 10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn invented_nodes_of_long_names_leave_room_for_changes() {
    let world = World::met(2).await;
    for round in 0..4 {
        let mut flood = Crafted::new(0).len(400);
        for number in 0..400 {
            flood = flood.digested(&format!("{:-<64}", round * 400 + number), 1, at(500), 9);
        }
        world.net.inject(at(1), at(0), flood.text("simulated").0).await;
        sleep(SECOND).await;
    }
    assert!(world.node(0).stats().over_limit > 1_000, "{:?}", world.node(0).stats());
    // With a digest that filled a message the engine would have ended.
    for number in [0, 1] {
        let key = format!("after.{number}");
        world.node(number).set(&key, &"x".repeat(30_000)).await.unwrap();
        all_have(&world.nodes, &name(number), &key, &"x".repeat(30_000), 10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_cannot_make_others_keep_more_than_the_limits_for_a_node() {
    let net = Simulation::new(1);
    let limits = Limits { keys: 30, bytes: 40_000, total_bytes: 60_000, ..Limits::default() };
    let a = net.join(net.config(0).limits(limits)).await.unwrap();
    let b = net.join(net.config(1)).await.unwrap();
    within(3 * SECOND, || live(&a) == 2).await;
    for key in 0..100 {
        b.set(&format!("k{key}"), "v").await.unwrap();
    }
    sleep(20 * SECOND).await;
    assert_eq!(a.snapshot().await["node-1"].len(), 30);
    assert!(a.stats().over_limit > 0);
    assert_eq!((live(&a), net.cut_off(at(0), at(1))), (2, 0));
    // Bytes: twice as many as a node may set, for what is on its way, and no more than all nodes may have together.
    let limits = Limits { bytes: 20_000, total_bytes: 60_000, ..Limits::default() };
    let c = net.join(net.config(2).limits(limits)).await.unwrap();
    for key in 0..10 {
        b.set(&format!("large{key}"), &"x".repeat(9_000)).await.unwrap();
    }
    sleep(20 * SECOND).await;
    let large = c.snapshot().await["node-1"].keys().filter(|key| key.starts_with("large")).count();
    assert_eq!(large, 4);
}

#[tokio::test(start_paused = true)]
async fn a_node_at_its_limits_updates_and_deletes_at_the_others_too() {
    let net = Simulation::new(1);
    let limits = Limits { keys: 10, bytes: 1_000, ..Limits::default() };
    let mut nodes = Vec::new();
    for number in 0..2 {
        nodes.push(net.join(net.config(number).limits(limits)).await.unwrap());
    }
    within(3 * SECOND, || live(&nodes[0]) == 2).await;
    let writer = &nodes[1];
    // Ten keys of two bytes; with the byte of each envelope, one has all that the others leave.
    for key in 1..10 {
        writer.set(&format!("k{key}"), "x").await.unwrap();
    }
    let rest = 1_000 - 10 * 3 - 9;
    writer.set("k0", &"y".repeat(rest)).await.unwrap();
    assert!(writer.set("k1", "xx").await.is_err() && writer.set("more", "").await.is_err());
    all_have(&nodes[..1], "node-1", "k0", &"y".repeat(rest), 3 * SECOND).await;
    writer.set("k0", &"z".repeat(rest)).await.unwrap();
    all_have(&nodes[..1], "node-1", "k0", &"z".repeat(rest), 3 * SECOND).await;
    // What was large becomes small, and the other way round; the small one comes last, since it was set again.
    writer.set("k0", "s").await.unwrap();
    writer.set("k9", &"l".repeat(rest)).await.unwrap();
    writer.set("k0", "t").await.unwrap();
    all_have(&nodes[..1], "node-1", "k9", &"l".repeat(rest), 3 * SECOND).await;
    all_have(&nodes[..1], "node-1", "k0", "t", 3 * SECOND).await;
    writer.delete("k9").await.unwrap();
    writer.set("k1", &"m".repeat(rest)).await.unwrap();
    all_have(&nodes[..1], "node-1", "k1", &"m".repeat(rest), 3 * SECOND).await;
    assert!(nodes[0].get("node-1", "k9").await.is_none());
    // It has no key left to set, and is heard when it leaves.
    writer.leave().await.unwrap();
    within(SECOND, || state(&nodes[0], 1) == Some(MemberState::Left)).await;
    assert_eq!(nodes[0].stats().over_limit, 0);
}

/// Whoever hears a higher heartbeat than a node has takes what is so for old: twenty nodes, since few of them hear the node
/// itself before it would have failed.
#[tokio::test(start_paused = true)]
async fn a_made_up_heartbeat_of_another_node_is_outrun() {
    let world = World::met(20).await;
    let born = generation(world.node(0), 7);
    let lie = |heartbeat| {
        let id = Crafted::new(0).len(1).id("node-7", born, at(7));
        id.number(heartbeat).number(0).number(0).text("simulated").0
    };
    for heartbeat in [1_000_000, 1 << 60] {
        for to in (0..20).filter(|to| *to != 7) {
            world.net.inject(at(1), at(to), lie(heartbeat)).await;
        }
        for _ in 0..300 {
            sleep(SECOND / 10).await;
            assert!((0..20).all(|other| state(world.node(other), 7) == Some(MemberState::Live)), "{heartbeat}");
        }
    }
    assert!(world.node(7).stats().impersonations > 0);
    // It is no more alive than others.
    world.net.kill(at(7));
    within(8 * SECOND, || (0..20).all(|other| other == 7 || state(world.node(other), 7) == Some(MemberState::Failed)))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_made_up_version_of_another_node_is_outrun_and_its_keys_are_told_anew() {
    let world = World::met(4).await;
    world.node(2).set("mine", "true").await.unwrap();
    all_have(&world.nodes, "node-2", "mine", "true", 3 * SECOND).await;
    let born = generation(world.node(0), 2);
    for version in [1_000, 500_000_000] {
        let lie = Crafted::default().node("node-2", born, at(2)).entry("mine", "\nfalse", version, 0);
        world.net.inject(at(1), at(0), ack(lie.entry("more", "\nfalse", version + 1, 0))).await;
        sleep(2 * SECOND).await;
        let text = format!("after {version}");
        world.node(2).set("next", &text).await.unwrap();
        all_have(&world.nodes, "node-2", "next", &text, 15 * SECOND).await;
        all_have(&world.nodes, "node-2", "mine", "true", SECOND).await;
        for node in &world.nodes {
            assert!(node.get("node-2", "more").await.is_none());
        }
        sleep(10 * SECOND).await;
    }
    assert!(world.node(2).stats().impersonations > 0);
    // What no node can have counted up to since it started is not taken at all.
    let before = world.node(0).stats().over_limit;
    let lie = Crafted::default().node("node-2", born, at(2)).entry("mine", "\nfalse", 1 << 50, 0);
    world.net.inject(at(1), at(0), ack(lie)).await;
    sleep(SECOND / 10).await;
    assert_eq!(world.node(0).stats().over_limit, before + 1);
    assert_eq!(world.node(0).get("node-2", "mine").await.unwrap().text, "true");
}

#[tokio::test(start_paused = true)]
async fn whoever_makes_up_versions_without_end_has_a_node_tell_its_keys_every_ten_intervals() {
    let world = World::met(2).await;
    let node = world.node(1);
    node.set("mine", "true").await.unwrap();
    sleep(3 * SECOND).await;
    let born = generation(world.node(0), 1);
    let (mut told, mut last) = (0, node.get("node-1", "mine").await.unwrap().version);
    for round in 1..=40 {
        let lie = Crafted::new(0).len(1).digested("node-1", born, at(1), round * 1_000_000).text("simulated").0;
        world.net.inject(at(0), at(1), lie).await;
        sleep(SECOND / 2).await;
        let version = node.get("node-1", "mine").await.unwrap().version;
        told += usize::from(version != last);
        last = version;
    }
    assert_eq!(told, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_tells_of_no_more_nodes_than_a_digest_holds() {
    let world = World::met(2).await;
    let digest = |count: usize| {
        let nodes = (0..count).fold(Crafted::new(0).len(count), |all, one| {
            let name = format!("{one:x}");
            all.digested(&name, 1, at(500), 9)
        });
        nodes.text("simulated").0
    };
    let changes = |count: usize| {
        let all = (0..count).fold(Crafted::default(), |all, one| all.node(&format!("{one:x}"), 1, at(500)));
        let blocks = all.0.chunks(60_000).fold(Crafted::new(2), |blocks, block| {
            let block = zstd(block);
            blocks.bytes(&[1]).len(block.len()).bytes(&block)
        });
        blocks.bytes(&[0]).0
    };
    for (message, cut_off) in
        [(digest(NODES_MAX), 0), (digest(NODES_MAX + 1), 1), (changes(NODES_MAX), 1), (changes(NODES_MAX + 1), 2)]
    {
        world.net.inject(at(1), at(0), message).await;
        sleep(SECOND / 10).await;
        assert_eq!(world.net.cut_off(at(0), at(1)), cut_off);
    }
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_counted_and_its_nodes_are_none_of_ours() {
    let net = Simulation::new(1);
    let a = net.join(net.config(0)).await.unwrap();
    let other = crate::ClusterConfig::new("stranger", "another", at(1)).seeds([at(0)]);
    let b = net.join(other).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!((a.members().len(), b.members().len()), (1, 1));
    assert!(a.stats().wrong_cluster > 0 && b.stats().wrong_cluster > 0);
}

#[tokio::test(start_paused = true)]
async fn a_made_up_leave_and_a_made_up_clearing_go_when_the_node_tells_its_keys_anew() {
    let world = World::met(4).await;
    world.node(2).set("mine", "true").await.unwrap();
    all_have(&world.nodes, "node-2", "mine", "true", 3 * SECOND).await;
    let born = generation(world.node(0), 2);
    let leave = Crafted::default().node("node-2", born, at(2)).entry("np.left", "", 1_000, 0);
    world.net.inject(at(1), at(0), ack(leave)).await;
    within(3 * SECOND, || state(world.node(0), 2) == Some(MemberState::Left)).await;
    within(15 * SECOND, || (0..4).all(|other| state(world.node(other), 2) == Some(MemberState::Live))).await;
    sleep(10 * SECOND).await;
    // Of what is cleared no deletion is taken any more.
    let clearing = Crafted::default().bytes(&[0]).id("node-2", born, at(2)).number(1_000_000).number(0);
    world.net.inject(at(1), at(0), ack(clearing)).await;
    sleep(15 * SECOND).await;
    world.node(2).delete("mine").await.unwrap();
    sleep(15 * SECOND).await;
    for node in &world.nodes {
        assert!(node.get("node-2", "mine").await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_gives_no_life_to_a_later_start_that_others_made_up() {
    let world = World::met(4).await;
    let born = generation(world.node(0), 2);
    let invented = Crafted::new(0).len(1).digested("node-2", born + 1, at(2), 1).text("simulated").0;
    world.net.inject(at(1), at(0), invented).await;
    for _ in 0..100 {
        sleep(SECOND / 10).await;
        assert_eq!((generation(world.node(0), 2), state(world.node(0), 2)), (born, Some(MemberState::Live)));
    }
}
