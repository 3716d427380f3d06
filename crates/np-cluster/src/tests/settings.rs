//! Settings and their bounds.

use super::*;
use crate::{Attributes, ClusterConfig, ClusterError, Limits};

fn config() -> ClusterConfig {
    ClusterConfig::new("a", "c", at(0))
}

#[test]
fn an_interval_below_the_floor_is_refused_and_the_floor_is_not() {
    config().interval(Duration::from_millis(200)).check().unwrap();
    let error = config().interval(Duration::from_millis(199)).check().unwrap_err();
    assert!(error.to_string().contains("200 ms"), "{error}");
}

#[test]
fn names_addresses_attributes_times_and_limits_are_checked() {
    config().check().unwrap();
    for wrong in ["", "a b", "ü", &"n".repeat(65)] {
        assert!(matches!(ClusterConfig::new(wrong, "c", at(0)).check(), Err(ClusterError::Name(_))));
        assert!(matches!(ClusterConfig::new("a", wrong, at(0)).check(), Err(ClusterError::Name(_))));
    }
    for wrong in ["0.0.0.0:7400", "10.0.0.1:0", "[::]:7400"] {
        let refused = ClusterConfig::new("a", "c", wrong.parse().unwrap()).check();
        assert!(matches!(refused, Err(ClusterError::Address(_))));
    }
    let attributes = Attributes { zone: "z".repeat(257), ..Attributes::default() };
    assert!(matches!(config().attributes(attributes).check(), Err(ClusterError::Attribute("zone"))));
    let attributes = Attributes { addresses: vec![String::new(); 17], ..Attributes::default() };
    assert!(matches!(config().attributes(attributes).check(), Err(ClusterError::Attribute("addresses"))));
    assert!(matches!(config().forget_after(Duration::from_secs(19)).check(), Err(ClusterError::ForgetAfter(_))));
    config().forget_after(Duration::from_secs(20)).check().unwrap();
    let limits = Limits { keys: 0, ..Limits::default() };
    assert!(matches!(config().limits(limits).check(), Err(ClusterError::Limit("keys"))));
    let limits = Limits { total_bytes: 1_000, ..Limits::default() };
    assert!(matches!(config().limits(limits).check(), Err(ClusterError::Limit("total_bytes"))));
}

#[tokio::test(start_paused = true)]
async fn a_seed_that_is_the_node_itself_is_ignored() {
    let net = Simulation::new(1);
    let alone = net.join(net.config(0).seeds([at(0)])).await.unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(alone.members().len(), 1);
    // It asks node 1, which is not there, and never itself.
    assert_eq!(alone.stats().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_floor_of_the_interval_a_kill_is_told_five_times_as_fast() {
    let net = Simulation::new(1);
    let config = |number| net.config(number).interval(Duration::from_millis(200));
    let a = net.join(config(0)).await.unwrap();
    let b = net.join(config(1)).await.unwrap();
    within(Duration::from_millis(600), || live(&a) == 2 && live(&b) == 2).await;
    net.kill(at(1));
    within(Duration::from_millis(1_200), || live(&a) == 1).await;
}
