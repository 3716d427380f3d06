//! Keys: how they travel, end, are told of, signed and refused.

use super::*;
use crate::{ClusterError, ENTRY_MAX, KEY_MAX, KeyEvent, Limits, Signature, SigningKey};

const SECOND: Duration = Duration::from_secs(1);

/// The events that are there, and those that come within a while.
async fn drain(subscription: &mut crate::Subscription) -> Vec<KeyEvent> {
    let mut events = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(3 * SECOND, subscription.next()).await {
        events.push(event);
    }
    events
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_gets_two_thousand_earlier_keys() {
    let mut world = World::met(3).await;
    for key in 0..2_000 {
        world.node(1).set(&format!("key.{key}"), &"x".repeat(100)).await.unwrap();
    }
    sleep(5 * SECOND).await;
    world.nodes.push(world.net.join(world.net.config(3)).await.unwrap());
    let late = world.node(3);
    let started = Instant::now();
    while late.snapshot().await.get("node-1").is_none_or(|keys| keys.len() < 2_000) {
        assert!(started.elapsed() < 5 * SECOND);
        sleep(SECOND / 10).await;
    }
    println!("2,000 keys after {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_over_size_value_is_refused_and_later_keys_go_on() {
    let world = World::met(2).await;
    let node = world.node(0);
    let fits = "v".repeat(ENTRY_MAX - 3);
    node.set("big", &fits).await.unwrap();
    let error = node.set("big", &format!("{fits}x")).await.unwrap_err();
    assert!(matches!(error, ClusterError::EntrySize(size) if size == ENTRY_MAX + 1));
    assert!(error.to_string().contains("32768 (32 KiB)"), "{error}");
    node.set("later", "1").await.unwrap();
    all_have(&world.nodes, "node-0", "later", "1", 3 * SECOND).await;
    all_have(&world.nodes, "node-0", "big", &fits, 3 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn large_values_that_no_compression_helps_travel_all() {
    let world = World::met(2).await;
    let mut random = 1_u64;
    let mut noise = |len: usize| -> String {
        let mut text = String::new();
        while text.len() < len {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(char::from(33 + (random >> 33) as u8 % 94));
        }
        text
    };
    let values: Vec<String> = (0..20).map(|_| noise(32_000)).collect();
    for (number, value) in values.iter().enumerate() {
        world.node(0).set(&format!("k{number}"), value).await.unwrap();
    }
    for (number, value) in values.iter().enumerate() {
        all_have(&world.nodes, "node-0", &format!("k{number}"), value, 30 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn values_that_unfold_to_more_than_a_receiver_takes_are_sent_in_parts() {
    let world = World::met(2).await;
    for number in 0..100 {
        world.node(0).set(&format!("k{number}"), &"z".repeat(32_000)).await.unwrap();
    }
    all_have(&world.nodes, "node-0", "k99", &"z".repeat(32_000), 30 * SECOND).await;
    assert_eq!(world.node(1).snapshot().await["node-0"].len(), 100);
    assert_eq!(world.net.cut_off(at(1), at(0)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_key_ends_after_its_time_also_when_its_node_has_failed() {
    let world = World::met(3).await;
    world.node(1).set_for("lease", "mine", 10 * SECOND).await.unwrap();
    world.node(2).set_for("lease", "too", 10 * SECOND).await.unwrap();
    let mut told = world.node(0).subscribe("lease").await.unwrap();
    let set = Instant::now();
    all_have(&world.nodes, "node-1", "lease", "mine", 3 * SECOND).await;
    world.net.kill(at(2));
    while set.elapsed() < 9 * SECOND {
        assert_eq!(world.node(0).get_all("lease").await.len(), 2);
        sleep(SECOND).await;
    }
    sleep(2 * SECOND).await;
    for number in [0, 1] {
        assert!(world.node(number).get_all("lease").await.is_empty());
    }
    let events = drain(&mut told).await;
    for node in ["node-1", "node-2"] {
        let ends =
            |event: &KeyEvent| matches!(event, KeyEvent::Deleted { node: of, key } if of == node && key == "lease");
        assert!(events.iter().any(ends), "{events:?}");
    }
    assert!(matches!(world.node(0).set_for("k", "v", Duration::ZERO).await, Err(ClusterError::TimeToLive)));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_tells_what_is_there_and_what_happens_of_its_prefix_alone() {
    let world = World::met(3).await;
    world.node(1).set("shard.1", "a").await.unwrap();
    world.node(1).set("other", "a").await.unwrap();
    sleep(3 * SECOND).await;
    let mut shards = world.node(0).subscribe("shard.").await.unwrap();
    world.node(1).set("shard.1", "b").await.unwrap();
    world.node(2).set("shard.2", "c").await.unwrap();
    world.node(2).set("sharp", "c").await.unwrap();
    sleep(3 * SECOND).await;
    world.node(2).delete("shard.2").await.unwrap();
    let events = drain(&mut shards).await;
    let set = |node: &str, key: &str, text: &str| {
        events.iter().position(|event| {
            matches!(event, KeyEvent::Set { node: n, key: k, value } if (&**n, &**k, &*value.text) == (node, key, text))
        })
    };
    assert_eq!(set("node-1", "shard.1", "a"), Some(0));
    assert!(set("node-1", "shard.1", "b").is_some() && set("node-2", "shard.2", "c").is_some());
    assert!(events.contains(&KeyEvent::Deleted { node: "node-2".into(), key: "shard.2".into() }));
    assert!(!format!("{events:?}").contains("sharp") && !format!("{events:?}").contains("other"));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_does_not_read_is_told_that_it_missed_something() {
    let world = World::met(1).await;
    let mut slow = world.node(0).subscribe("").await.unwrap();
    for key in 0..2_000 {
        world.node(0).set(&format!("k{key}"), "x").await.unwrap();
    }
    sleep(2 * SECOND).await;
    let events = drain(&mut slow).await;
    assert!(events.len() <= crate::limits::EVENTS_MAX + 1, "{}", events.len());
    assert_eq!(events.last(), Some(&KeyEvent::Missed));
}

#[tokio::test(start_paused = true)]
async fn a_signature_proves_who_set_a_value_and_nothing_else_passes() {
    let world = World::met(3).await;
    let (mine, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    world.net.trust("node-0", mine.public_bytes());
    world.node(0).set_signed("a", "true", &mine).await.unwrap();
    world.node(0).set_signed("b", "forged", &other).await.unwrap();
    world.node(0).set("c", "plain").await.unwrap();
    world.node(1).set_signed("a", "nobody knows the key", &other).await.unwrap();
    sleep(3 * SECOND).await;
    let signature = async |node: &str, key: &str| world.node(2).get(node, key).await.unwrap().signature;
    assert!(matches!(signature("node-0", "a").await, Signature::Valid(_)));
    assert_eq!(signature("node-0", "b").await, Signature::Invalid);
    assert_eq!(signature("node-0", "c").await, Signature::None);
    assert_eq!(signature("node-1", "a").await, Signature::Unknown);
}

#[tokio::test(start_paused = true)]
async fn keys_of_other_forms_and_of_nps_own_are_refused() {
    let world = World::met(1).await;
    let node = world.node(0);
    for wrong in ["", "two words", "größe", "line\n", &"k".repeat(KEY_MAX + 1)] {
        assert!(matches!(node.set(wrong, "v").await, Err(ClusterError::Key(_))), "{wrong}");
        assert!(matches!(node.delete(wrong).await, Err(ClusterError::Key(_))), "{wrong}");
    }
    node.set(&"k".repeat(KEY_MAX), "v").await.unwrap();
    assert!(matches!(node.set("np.left", "1").await, Err(ClusterError::Reserved(_))));
    assert!(node.get("node-0", "np.ready").await.is_none());
    assert!(!node.delete("never.set").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn keys_and_bytes_of_a_node_are_bounded_at_n_and_one_more() {
    let net = Simulation::new(1);
    let limits = Limits { keys: 10, bytes: 1_000, total_bytes: 2_000, ..Limits::default() };
    let node = net.join(net.config(0).limits(limits)).await.unwrap();
    for key in 0..10 {
        node.set(&format!("k{key}"), "x").await.unwrap();
    }
    let error = node.set("k10", "x").await.unwrap_err();
    assert!(matches!(error, ClusterError::Keys { limit: 10 }), "{error}");
    node.set("k9", "another").await.unwrap();
    // What there is: ten keys of two bytes, nine values of one and one of seven, and a byte of each envelope.
    let left = 1_000 - (10 * 2 + 8 + 7 + 10);
    let error = node.set("k0", &"x".repeat(left + 1)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Bytes { limit: 1_000 }), "{error}");
    node.set("k0", &"x".repeat(left - 1)).await.unwrap();
    sleep(SECOND).await;
    assert!(matches!(node.set("k1", "four").await, Err(ClusterError::Bytes { .. })));
    assert!(node.delete("k0").await.unwrap());
    node.set("k1", "four").await.unwrap();
}
