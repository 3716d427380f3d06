//! How the figures grow with the nodes: the short version of `cargo xtask cluster-sim`.

use super::*;

#[tokio::test(start_paused = true)]
async fn twenty_nodes_converge_within_ten_rounds_and_nobody_fails_falsely() {
    let figures = crate::simulation::measure(crate::simulation::Plan {
        nodes: 20,
        loss: 5.0,
        steady: Duration::from_secs(60),
        seed: 3,
    })
    .await
    .unwrap();
    println!("{figures:?}");
    assert!(figures.joined_rounds <= 10.0 && figures.key_rounds <= 10.0, "{figures:?}");
    assert!(figures.detected > Duration::from_secs(3) && figures.detected < Duration::from_secs(6), "{figures:?}");
    assert_eq!(figures.false_failures, 0);
    assert!(figures.bytes_per_node_second > 100.0, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_nodes_converge_within_ten_rounds() {
    let plan = crate::simulation::Plan { nodes: 100, loss: 5.0, steady: Duration::ZERO, seed: 5 };
    let figures = crate::simulation::measure(plan).await.unwrap();
    println!("{figures:?}");
    assert!(figures.joined_rounds <= 10.0 && figures.key_rounds <= 10.0, "{figures:?}");
}
