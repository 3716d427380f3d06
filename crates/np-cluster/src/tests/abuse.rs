//! What members may not do, and what it costs.

use super::*;
use crate::Limits;
use crate::limits::MESSAGE_MAX;

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
        ("a bomb", (0..20).fold(Crafted::new(2), |all, _| all.bytes(&[1]).len(bomb.len()).bytes(&bomb)).bytes(&[0]).0),
    ];
    for (at_, (what, bytes)) in garbage.into_iter().enumerate() {
        world.net.inject(at(1), at(0), bytes).await;
        sleep(SECOND / 10).await;
        assert_eq!(world.net.cut_off(at(0), at(1)), at_ + 1, "{what}");
    }
    assert_eq!(node.stats().refused, 19);
    // Node 1 is cut off, the rest goes on.
    sleep(10 * SECOND).await;
    world.node(2).set("k", "v").await.unwrap();
    all_have(&world.nodes[..1], "node-2", "k", "v", 3 * SECOND).await;
    assert!(node.snapshot().await["node-1"].is_empty());
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut place = vec![0; bytes.len()];
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
    b.set("later", &"x".repeat(30_000)).await.unwrap();
    sleep(20 * SECOND).await;
    let keys = a.snapshot().await["node-1"].len();
    assert!((25..=30).contains(&keys), "{keys}");
    assert!(a.stats().over_limit > 0);
    assert_eq!((live(&a), net.cut_off(at(0), at(1))), (2, 0));
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
