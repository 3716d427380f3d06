//! What members can make a node's memory cost: messages that unfold without end, and keys by the thousand.
//!
//! The memory is counted by `stats_alloc`, which adds up the bytes asked for, in a program of its own with one test: another at
//! the same time would be counted, too.

use std::alloc::System;
use std::time::Duration;

use np_cluster::simulation::Simulation;
use np_cluster::{Cluster, ClusterError, MemberState};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::time::sleep;

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const KEYS: usize = 2_000;
const VALUE: usize = 100;
/// What docs/CLUSTER.md says of each node that is known, and of each key beside its bytes.
const EACH_NODE: usize = 5 << 10;
const EACH_KEY: usize = 160;
/// The nodes that are told of.
const NODES: usize = 300;

#[tokio::test(start_paused = true)]
async fn a_message_costs_a_bounded_amount_and_a_key_what_the_formula_says() -> Result<(), ClusterError> {
    let net = Simulation::new(1);
    let a = net.join(net.config(0)).await?;
    let b = net.join(net.config(1)).await?;
    sleep(Duration::from_secs(6)).await;
    assert_eq!(live(&a), 2);

    let before = Region::new(GLOBAL);
    for key in 0..KEYS {
        b.set(&format!("key-{key:04}"), &"v".repeat(VALUE)).await?;
    }
    sleep(Duration::from_secs(6)).await;
    assert_eq!(a.snapshot().await.get("node-1").map_or(0, |keys| keys.len()), KEYS);
    let change = before.change();
    // Both nodes keep each key once.
    let each = (change.bytes_allocated - change.bytes_deallocated) / KEYS / 2;
    println!("a key of 8 bytes with a value of {VALUE} takes {each} bytes at each node");
    assert!(each <= 8 + VALUE + EACH_KEY, "{each}");

    let before = Region::new(GLOBAL);
    for heartbeat in 1..8 {
        net.inject(Simulation::address(1), Simulation::address(0), nodes(heartbeat)).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((live(&a), live(&b)), (2 + NODES, 2 + NODES));
    let change = before.change();
    let each = (change.bytes_allocated - change.bytes_deallocated) / NODES / 2;
    println!("a node that is known takes {each} bytes at each node");
    assert!((EACH_NODE / 4..=EACH_NODE).contains(&each), "{each}");

    let honest = cost(&net, entries(&b).unwrap_or_default()).await;
    println!("the largest message of a member costs {honest} bytes in all, one after the other");
    assert!(honest < 12 << 20, "{honest}");
    assert_eq!(a.stats().refused, 0);
    let bomb = cost(&net, bomb().unwrap_or_default()).await;
    println!("a message that would unfold to 200 MB costs {bomb}");
    assert!(bomb < 4 << 20, "{bomb}");
    assert_eq!(a.stats().refused, 1);
    // A message that is too long is not looked into, and of a value that is too large nothing is kept.
    // The least of three: a round of gossip of both nodes may fall into one of them.
    let mut long = usize::MAX;
    for _ in 0..3 {
        long = long.min(spent(&net, vec![7; 16 << 20]).await);
    }
    println!("a message of 16 MiB costs {long} beside itself");
    assert!(long < 256 << 10, "{long}");
    let kept = Region::new(GLOBAL);
    let large = cost(&net, large(&b).unwrap_or_default()).await;
    println!("a value of 60,000 bytes costs {large}");
    assert!(large < 1 << 20, "{large}");
    assert_eq!(a.stats().refused, 5);
    let kept = kept.change();
    assert!(kept.bytes_allocated.saturating_sub(kept.bytes_deallocated) < 64 << 10, "{kept:?}");
    Ok(())
}

fn live(node: &Cluster) -> usize {
    node.members().iter().filter(|member| member.state == MemberState::Live).count()
}

/// What a message of the length that links let pass costs.
async fn cost(net: &Simulation, message: Vec<u8>) -> usize {
    assert!(message.len() <= 65_536, "{}", message.len());
    spent(net, message).await
}

/// Every byte that is asked for while node 0 takes a message, whether or not it is given back.
async fn spent(net: &Simulation, message: Vec<u8>) -> usize {
    let region = Region::new(GLOBAL);
    net.inject(Simulation::address(1), Simulation::address(0), message).await;
    sleep(Duration::from_millis(10)).await;
    region.change().bytes_allocated
}

/// A digest of many nodes that live.
fn nodes(heartbeat: u64) -> Vec<u8> {
    let mut message = [&45_139_u16.to_le_bytes()[..], &[0, 0]].concat();
    message.extend(u16::try_from(NODES).unwrap_or_default().to_le_bytes());
    for node in 0..NODES {
        message.extend(8_u16.to_le_bytes());
        message.extend(format!("told-{node:03}").as_bytes());
        message.extend(1_u64.to_le_bytes());
        message.extend([4, 10, 1]);
        message.extend(u16::try_from(node).unwrap_or_default().to_be_bytes());
        message.extend(7400_u16.to_le_bytes());
        [heartbeat, 0, 0].iter().for_each(|number| message.extend(number.to_le_bytes()));
    }
    message.extend(9_u16.to_le_bytes());
    message.extend(b"simulated");
    message
}

fn head() -> Vec<u8> {
    [&45_139_u16.to_le_bytes()[..], &[0, 2]].concat()
}

/// As many blocks of 64 KB of zeros as a message holds.
fn bomb() -> Option<Vec<u8>> {
    let block = block(&[0; 65_535])?;
    let mut message = head();
    while message.len() + block.len() < 65_536 {
        message.extend(&block);
    }
    message.push(0);
    Some(message)
}

/// A key of a node with a value of more than 32 KiB.
fn large(of: &Cluster) -> Option<Vec<u8>> {
    let mut operations = change_of(of)?;
    operations.extend([1, 1, 0, b'k']);
    operations.extend(60_000_u16.to_le_bytes());
    operations.extend(std::iter::repeat_n(b'\n', 60_000));
    operations.extend(20_000_u64.to_le_bytes());
    operations.push(0);
    let mut message = head();
    for chunk in operations.chunks(16_384) {
        message.push(2);
        message.extend(u16::try_from(chunk.len()).ok()?.to_le_bytes());
        message.extend(chunk);
    }
    message.push(0);
    Some(message)
}

/// The beginning of changes of a node.
fn change_of(of: &Cluster) -> Option<Vec<u8>> {
    let member = of.members().into_iter().find(|member| member.name == of.name())?;
    let mut operations = vec![0];
    operations.extend(6_u16.to_le_bytes());
    operations.extend(b"node-1");
    operations.extend(member.generation.to_le_bytes());
    operations.extend([4, 10, 0, 0, 1]);
    operations.extend(7400_u16.to_le_bytes());
    operations.extend([0; 16]);
    Some(operations)
}

/// 512 KiB of changes of a node: as many small entries as a message holds, then some that shrink to nothing.
fn entries(of: &Cluster) -> Option<Vec<u8>> {
    let mut operations = change_of(of)?;
    let mut version = 10_000_u64;
    while operations.len() + 64 < 512 * 1024 {
        version += 1;
        let filler = if operations.len() < 150_000 { 0 } else { 2_000 };
        let filler = filler.min(512 * 1024 - operations.len() - 32);
        operations.extend([1, 1, 0, b'k']);
        operations.extend(u16::try_from(filler).unwrap_or_default().to_le_bytes());
        operations.extend(std::iter::repeat_n(b'\n', filler));
        operations.extend(version.to_le_bytes());
        operations.push(0);
    }
    let mut message = head();
    for chunk in operations.chunks(16_384) {
        message.extend(block(chunk)?);
    }
    message.push(0);
    Some(message)
}

fn block(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut place = vec![0; 65_535];
    let len = zstd_safe::compress(place.as_mut_slice(), bytes, 3).ok()?;
    let mut block = vec![1];
    block.extend(u16::try_from(len).ok()?.to_le_bytes());
    block.extend(place.get(..len)?);
    Some(block)
}
