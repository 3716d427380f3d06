//! Nodes that start again and have their keys back, whatever stands between them and who kept them.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const KEYS: usize = 2_000;
const FORGET: Duration = Duration::from_secs(180);

/// Text that no compression helps.
fn noise(seed: usize, len: usize) -> String {
    let mut random = seed as u64 + 1;
    let next = |_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + (random >> 33) as u8 % 94)
    };
    (0..len).map(next).collect()
}

/// Sets many keys, which take dozens of messages.
async fn fill(node: &Cluster) {
    for key in 0..KEYS {
        node.set(&format!("k{key}"), &noise(key, 1_500)).await.unwrap();
    }
}

async fn count(node: &Cluster, of: usize) -> usize {
    node.snapshot().await.get(&name(of)).map_or(0, |keys| keys.keys().filter(|key| key.starts_with('k')).count())
}

/// Nodes that forget soon what others leave behind, so that what was not taken over is gone at the end.
async fn met(count: usize) -> World {
    let net = Simulation::new(count as u64);
    let mut world = World { net, nodes: Vec::new() };
    for number in 0..count {
        join(&mut world, number).await;
    }
    within(5 * SECOND, || world.nodes.iter().all(|node| live(node) == count)).await;
    world
}

async fn join(world: &mut World, number: usize) {
    let node = world.net.join(world.net.config(number).forget_after(FORGET)).await.unwrap();
    world.nodes.truncate(number);
    world.nodes.push(node);
}

/// Ends a node suddenly and starts it again.
async fn restart(world: &mut World, number: usize) {
    world.net.kill(at(number));
    let node = world.net.join(world.net.config(number).forget_after(FORGET)).await.unwrap();
    world.nodes[number] = node;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_again_in_a_partition_has_all_of_its_keys_once_it_heals() {
    let mut world = met(3).await;
    world.node(1).set("k1", "old").await.unwrap();
    world.node(1).set("k2", "old").await.unwrap();
    world.node(1).set("k3", "old").await.unwrap();
    sleep(3 * SECOND).await;
    let mut told = world.node(0).subscribe("").await.unwrap();
    // Beside it is one that never heard of its keys.
    world.net.part(&[at(1), at(3)]);
    restart(&mut world, 1).await;
    join(&mut world, 3).await;
    sleep(30 * SECOND).await;
    world.node(1).set("k2", "new").await.unwrap();
    world.node(1).set("k4", "new").await.unwrap();
    assert_eq!((live(world.node(1)), count(world.node(1), 1).await), (2, 2));
    world.net.heal();
    for _ in 0..300 {
        assert_eq!(world.node(0).get("node-1", "k1").await.map(|value| value.text).as_deref(), Some("old"));
        sleep(SECOND / 10).await;
    }
    for node in &world.nodes {
        for (key, text) in [("k1", "old"), ("k2", "new"), ("k3", "old"), ("k4", "new")] {
            assert_eq!(node.get("node-1", key).await.unwrap().text, text, "{} {key}", node.name());
        }
    }
    sleep(2 * FORGET).await;
    for node in &world.nodes {
        assert_eq!(count(node, 1).await, 4, "{}", node.name());
    }
    // What it deletes now stays deleted: it was taken over.
    assert!(world.node(1).delete("k3").await.unwrap());
    sleep(5 * SECOND).await;
    for node in &world.nodes {
        assert!(node.get("node-1", "k3").await.is_none());
    }
    while let Ok(Some(event)) = tokio::time::timeout(SECOND, told.next()).await {
        let lost = |key: &str| key != "k3";
        assert!(!matches!(&event, crate::KeyEvent::Deleted { key, .. } if lost(key)), "{event:?}");
        assert!(!matches!(event, crate::KeyEvent::Gone { .. }), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_quick_restarts_lose_no_key_and_show_none_as_gone() {
    let mut world = met(3).await;
    fill(world.node(1)).await;
    while count(world.node(0), 1).await < KEYS || count(world.node(2), 1).await < KEYS {
        sleep(SECOND).await;
    }
    restart(&mut world, 1).await;
    sleep(2 * SECOND).await;
    world.node(1).set("between", "x").await.unwrap();
    sleep(SECOND).await;
    restart(&mut world, 1).await;
    for _ in 0..80 {
        for other in [0, 2] {
            assert_eq!(count(world.node(other), 1).await, KEYS);
            assert_eq!(state(world.node(other), 1), Some(MemberState::Live));
        }
        sleep(SECOND / 2).await;
    }
    sleep(2 * FORGET).await;
    for node in &world.nodes {
        assert_eq!(count(node, 1).await, KEYS, "{}", node.name());
    }
    all_have(&world.nodes, "node-1", "between", "x", SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn much_state_over_a_bad_line_is_taken_over_whole_however_long_it_takes() {
    let mut world = met(2).await;
    fill(world.node(1)).await;
    while count(world.node(0), 1).await < KEYS {
        sleep(SECOND).await;
    }
    world.net.lose(40.0);
    world.net.delay(SECOND / 2, SECOND);
    restart(&mut world, 1).await;
    let started = Instant::now();
    while count(world.node(1), 1).await < KEYS {
        assert_eq!(count(world.node(0), 1).await, KEYS, "after {:?}", started.elapsed());
        assert!(started.elapsed() < 300 * SECOND);
        sleep(SECOND).await;
    }
    println!("whole after {:?}", started.elapsed());
    assert!(started.elapsed() > 15 * SECOND, "the line is not bad enough");
    for _ in 0..30 {
        assert_eq!(count(world.node(0), 1).await, KEYS);
        sleep(SECOND).await;
    }
    world.net.lose(0.0);
    sleep(2 * FORGET).await;
    assert_eq!((count(world.node(0), 1).await, count(world.node(1), 1).await), (KEYS, KEYS));
}

/// A made-up start between the last one and the next, that says it has taken over all and deletes what there is.
#[tokio::test(start_paused = true)]
async fn a_made_up_start_leaves_out_no_key_of_a_node_that_signs() {
    let net = Simulation::new(1);
    let signing = crate::SigningKey::from_bytes(&[7; 32]);
    net.trust("node-1", signing.public_bytes());
    let mut nodes = vec![net.join(net.config(0)).await.unwrap()];
    let signs = |number| net.config(number).sign_by(signing.clone());
    let before = net.join(signs(1)).await.unwrap();
    nodes.push(net.join(net.config(2)).await.unwrap());
    within(5 * SECOND, || nodes.iter().all(|node| live(node) == 3)).await;
    before.set("one", "true").await.unwrap();
    before.set("two", "true").await.unwrap();
    all_have(&nodes, "node-1", "two", "true", 5 * SECOND).await;
    net.kill(at(1));
    drop(before);
    sleep(20 * SECOND).await;
    // A member that takes part as a start of the name, without its key.
    let liar = net.join(
        crate::ClusterConfig::new("node-1", "simulated", at(9))
            .seeds([at(0)])
            .clock(crate::clock::Clock::Virtual { base: generation_after(&nodes[0]), at: Instant::now() }),
    );
    let liar = liar.await.unwrap();
    liar.set("two", "false").await.unwrap();
    sleep(6 * SECOND).await;
    assert!(liar.delete("one").await.unwrap());
    sleep(3 * SECOND).await;
    net.kill(at(9));
    drop(liar);
    nodes.insert(1, net.join(signs(1)).await.unwrap());
    sleep(20 * SECOND).await;
    for node in &nodes {
        for key in ["one", "two"] {
            let value = node.get("node-1", key).await.unwrap();
            assert!(matches!(value.signature, crate::Signature::Valid(_)), "{} {key}: {value:?}", node.name());
            assert_eq!(value.text, "true");
        }
    }
    // What it deletes itself stays deleted after another start.
    assert!(nodes[1].delete("two").await.unwrap());
    sleep(5 * SECOND).await;
    net.kill(at(1));
    nodes[1] = net.join(signs(1)).await.unwrap();
    sleep(20 * SECOND).await;
    for node in &nodes {
        assert_eq!(node.get("node-1", "one").await.unwrap().text, "true");
        assert!(node.get("node-1", "two").await.is_none());
    }
}

/// A start after the last that a node knows of another.
fn generation_after(node: &Cluster) -> u64 {
    node.members().into_iter().find(|member| member.name == name(1)).unwrap().generation + 1
}

/// Who tells of an earlier start that there never was is heard for as long as the others keep one, and not longer.
#[tokio::test(start_paused = true)]
async fn nothing_is_taken_over_once_earlier_starts_are_forgotten() {
    let net = Simulation::new(1);
    let config = |number| net.config(number).forget_after(30 * SECOND);
    let a = net.join(config(0)).await.unwrap();
    let b = net.join(config(1)).await.unwrap();
    within(3 * SECOND, || live(&a) == 2 && live(&b) == 2).await;
    b.set("mine", "x").await.unwrap();
    sleep(35 * SECOND).await;
    // An earlier start of it, with a key.
    let mut liar = config(2);
    liar = crate::ClusterConfig {
        name: name(1),
        clock: crate::clock::Clock::Virtual { base: 1, at: Instant::now() },
        ..liar
    };
    let liar = net.join(liar).await.unwrap();
    liar.set("made-up", "x").await.unwrap();
    sleep(20 * SECOND).await;
    assert!(b.get("node-1", "made-up").await.is_none());
    assert_eq!(a.snapshot().await["node-1"].keys().collect::<Vec<_>>(), ["mine"]);
}
