//! Members that come, fail, leave and start again.

use super::*;
use crate::{Event, SigningKey};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn five_nodes_see_each_other_and_a_key_within_three_intervals() {
    let world = World::new(5).await;
    let took = within(3 * SECOND, || world.nodes.iter().all(|node| live(node) == 5)).await;
    println!("membership after {took:?}");
    world.node(2).set("leader", "yes").await.unwrap();
    let took = all_have(&world.nodes, "node-2", "leader", "yes", 3 * SECOND).await;
    println!("a key after {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_reported_within_six_seconds_and_nobody_else_is() {
    let world = World::met(5).await;
    world.net.kill(at(3));
    let others = [0, 1, 2, 4];
    let took =
        within(6 * SECOND, || others.iter().all(|other| state(world.node(*other), 3) == Some(MemberState::Failed)))
            .await;
    println!("reported after {took:?}");
    assert!(took > 2 * SECOND, "{took:?}");
    for other in others {
        assert_eq!(live(world.node(other)), 4);
    }
}

/// An answer would show that it lives, whatever the rounds have lost.
#[tokio::test(start_paused = true)]
async fn a_silent_node_is_asked_itself_before_it_is_taken_for_failed() {
    let world = World::met(2).await;
    sleep(3 * SECOND).await;
    world.net.kill(at(1));
    let mut sent = Vec::new();
    while state(world.node(0), 1) != Some(MemberState::Failed) {
        sent.push(world.net.traffic(at(0)).messages);
        assert!(sent.len() < 60);
        sleep(SECOND / 10).await;
    }
    let (first, last) = (sent[10] - sent[0], sent[sent.len() - 1] - sent[sent.len() - 10]);
    assert!(last >= first + 4, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_left_and_never_failed() {
    let world = World::met(5).await;
    let mut watch = world.node(0).watch();
    for _ in 0..5 {
        assert!(matches!(watch.next().await, Some(Event::Joined(_))));
    }
    world.node(4).leave().await.unwrap();
    within(3 * SECOND, || (0..4).all(|other| state(world.node(other), 4) == Some(MemberState::Left))).await;
    sleep(20 * SECOND).await;
    assert_eq!(state(world.node(0), 4), Some(MemberState::Left));
    let Some(Event::Left(member)) = watch.next().await else { panic!("no event of the leave") };
    assert_eq!(member.name, "node-4");
    let nothing_more = tokio::time::timeout(SECOND, watch.next()).await;
    assert!(nothing_more.is_err(), "{nothing_more:?}");
    assert!(world.node(4).set("late", "x").await.is_err());
    let mut own = world.node(4).watch();
    while own.next().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn a_partition_heals_with_what_both_sides_wrote() {
    let world = World::met(5).await;
    world.net.part(&[at(0), at(1)]);
    sleep(10 * SECOND).await;
    assert_eq!((live(world.node(0)), live(world.node(3))), (2, 3));
    world.node(1).set("side", "small").await.unwrap();
    world.node(3).set("side", "large").await.unwrap();
    sleep(3 * SECOND).await;
    assert!(world.node(0).get("node-3", "side").await.is_none());
    world.net.heal();
    within(30 * SECOND, || world.nodes.iter().all(|node| live(node) == 5)).await;
    all_have(&world.nodes, "node-1", "side", "small", 10 * SECOND).await;
    all_have(&world.nodes, "node-3", "side", "large", 10 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_rolling_restart_fails_nobody_and_loses_no_key() {
    let mut world = World::met(5).await;
    let key = SigningKey::from_bytes(&[5; 32]);
    for number in 0..5 {
        world.net.trust(&name(number), key.public_bytes());
        world.node(number).set_signed("shard", &format!("of {number}"), &key).await.unwrap();
        world.node(number).set("old", "x").await.unwrap();
    }
    sleep(3 * SECOND).await;
    let mut watch = world.node(4).watch();
    for number in 0..4 {
        world.node(number).leave().await.unwrap();
        world.nodes[number] = world.net.join(world.net.config(number)).await.unwrap();
        // Nobody sees the keys gone at any time.
        for _ in 0..60 {
            assert_eq!(world.node(4).get(&name(number), "shard").await.unwrap().text, format!("of {number}"));
            sleep(SECOND / 10).await;
        }
        assert!(world.node(number).delete("old").await.unwrap());
    }
    sleep(5 * SECOND).await;
    for (number, node) in world.nodes.iter().enumerate() {
        assert_eq!(live(node), 5, "{number}");
        for other in 0..5 {
            let value = node.get(&name(other), "shard").await.unwrap();
            assert_eq!(value.text, format!("of {other}"));
            assert!(matches!(value.signature, crate::Signature::Valid(_)));
            assert_eq!(node.get(&name(other), "old").await.is_some(), other == 4);
        }
    }
    while let Ok(Some(event)) = tokio::time::timeout(SECOND, watch.next()).await {
        assert!(!matches!(event, Event::Failed(_)), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_again_after_a_kill_takes_the_place_of_the_earlier() {
    let mut world = World::met(3).await;
    world.node(1).set("kept", "1").await.unwrap();
    sleep(3 * SECOND).await;
    let before = world.node(0).members()[1].generation;
    world.net.kill(at(1));
    world.nodes[1] = world.net.join(world.net.config(1)).await.unwrap();
    world.node(1).set("new", "2").await.unwrap();
    within(4 * SECOND, || world.node(0).members()[1].generation > before).await;
    // The keys of the earlier start are there all the time, and nobody was seen to fail.
    for _ in 0..100 {
        assert!(world.node(0).get("node-1", "kept").await.is_some());
        assert_eq!((live(world.node(0)), world.node(0).members().len()), (3, 3));
        sleep(SECOND / 10).await;
    }
    assert_eq!(world.node(0).get("node-1", "new").await.unwrap().text, "2");
    // A start that keeps nothing shows nothing of what was.
    world.net.kill(at(1));
    world.nodes[1] = world.net.join(world.net.config(1).keep_keys(false)).await.unwrap();
    sleep(5 * SECOND).await;
    assert!(world.node(0).get("node-1", "new").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_retired_name_is_gone_with_its_keys_and_stays_gone() {
    let world = World::met(4).await;
    world.node(3).set("mine", "x").await.unwrap();
    sleep(3 * SECOND).await;
    let mut watch = world.node(0).watch();
    for _ in 0..4 {
        assert!(matches!(watch.next().await, Some(Event::Joined(_))));
    }
    let mut keys = world.node(0).subscribe("").await.unwrap();
    for other in 0..3 {
        world.net.retire(at(other), "node-3").await;
    }
    within(SECOND, || state(world.node(0), 3).is_none()).await;
    assert!(world.node(0).get("node-3", "mine").await.is_none());
    sleep(30 * SECOND).await;
    for other in 0..3 {
        assert_eq!(world.node(other).members().len(), 3);
        assert!(!world.node(other).snapshot().await.contains_key("node-3"));
    }
    let mut left = false;
    while let Ok(Some(event)) = tokio::time::timeout(SECOND, watch.next()).await {
        left |= matches!(&event, Event::Left(member) if member.name == "node-3");
    }
    assert!(left);
    let mut gone = false;
    while let Ok(Some(event)) = tokio::time::timeout(SECOND, keys.next()).await {
        gone |= matches!(&event, crate::KeyEvent::Gone { node } if node == "node-3");
    }
    assert!(gone);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_allowed_again_is_heard_again_with_its_keys() {
    let world = World::met(4).await;
    for key in 0..50 {
        world.node(3).set(&format!("k{key}"), "x").await.unwrap();
    }
    sleep(3 * SECOND).await;
    for other in 0..3 {
        world.net.retire(at(other), "node-3").await;
    }
    sleep(10 * SECOND).await;
    assert_eq!(world.node(0).members().len(), 3);
    for other in 0..3 {
        world.net.allow(at(other), "node-3");
    }
    // The same process, which has not started again.
    within(15 * SECOND, || (0..3).all(|other| state(world.node(other), 3) == Some(MemberState::Live))).await;
    world.node(3).set("later", "x").await.unwrap();
    all_have(&world.nodes[..3], "node-3", "later", "x", 5 * SECOND).await;
    for other in 0..3 {
        assert_eq!(world.node(other).snapshot().await["node-3"].len(), 51, "{other}");
    }
}

/// The word that the old key is gone may come when its name has spoken by the new one already.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_retired_late_takes_nothing_from_the_one_that_has_its_name_now() {
    let mut world = World::met(3).await;
    world.node(1).set("old", "x").await.unwrap();
    sleep(3 * SECOND).await;
    world.net.kill(at(1));
    world.nodes[1] = world.net.join(world.net.config(1)).await.unwrap();
    world.node(1).set("new", "y").await.unwrap();
    all_have(&world.nodes, "node-1", "new", "y", 5 * SECOND).await;
    for other in [0, 2] {
        world.net.retire(at(other), "node-1").await;
        world.net.allow(at(other), "node-1");
    }
    sleep(SECOND / 2).await;
    within(10 * SECOND, || [0, 2].iter().all(|other| state(world.node(*other), 1) == Some(MemberState::Live))).await;
    all_have(&world.nodes, "node-1", "new", "y", 5 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_a_node_that_was_retired_here() {
    let world = World::met(3).await;
    world.node(1).set("mine", "x").await.unwrap();
    sleep(3 * SECOND).await;
    world.net.kill(at(1));
    for other in [0, 2] {
        world.net.retire(at(other), "node-1").await;
    }
    sleep(SECOND).await;
    // A newcomer, whose list still has the name.
    let late = world.net.join(world.net.config(3)).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(live(&late), 3);
    assert!(late.members().iter().all(|member| member.name != "node-1"), "{:?}", late.members());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_failed_is_forgotten_after_its_time() {
    let net = Simulation::new(1);
    let config = |number| net.config(number).forget_after(30 * SECOND);
    let a = net.join(config(0)).await.unwrap();
    let _b = net.join(config(1)).await.unwrap();
    within(3 * SECOND, || live(&a) == 2).await;
    net.kill(at(1));
    sleep(25 * SECOND).await;
    assert_eq!(state(&a, 1), Some(MemberState::Failed));
    sleep(10 * SECOND).await;
    assert_eq!(state(&a, 1), None);
}

#[tokio::test(start_paused = true)]
async fn attributes_arrive_and_a_change_of_start_is_an_update() {
    let net = Simulation::new(1);
    let attributes = |version: &str| crate::Attributes {
        service: "orders".into(),
        version: version.into(),
        zone: "eu-1".into(),
        addresses: vec!["tcp://10.0.0.1:80".into(), "tcp://10.0.0.1:81".into()],
    };
    let a = net.join(net.config(0)).await.unwrap();
    let b = net.join(net.config(1).attributes(attributes("1"))).await.unwrap();
    within(3 * SECOND, || a.members().get(1).is_some_and(|b| b.attributes == attributes("1"))).await;
    let mut watch = a.watch();
    assert!(matches!(watch.next().await, Some(Event::Joined(_))));
    assert!(matches!(watch.next().await, Some(Event::Joined(_))));
    net.kill(at(1));
    drop(b);
    let _b = net.join(net.config(1).attributes(attributes("2"))).await.unwrap();
    loop {
        let Some(Event::Updated(member)) = watch.next().await else { panic!("something other than an update") };
        if member.attributes.version == "2" {
            break;
        }
    }
}
