//! Measures simulated clusters, a line of JSON for each size: what `cargo xtask cluster-sim` runs and draws.
//!
//! `cluster_sim NODES MINUTES LOSS SEED`, as in `cluster_sim 50 10 5 1`.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;
use std::time::Duration;

use np_cluster::simulation::{Plan, measure};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, minutes, loss, seed] = words.as_slice() else {
        return Err("usage: cluster_sim NODES MINUTES LOSS SEED".into());
    };
    let steady = Duration::from_secs_f64(minutes.parse::<f64>()? * 60.0);
    let plan = Plan { nodes: nodes.parse()?, loss: loss.parse()?, steady, seed: seed.parse()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let figures = runtime.block_on(measure(plan))?;
    println!(
        "{{\"nodes\":{nodes},\"minutes\":{minutes},\"loss\":{loss},\"joined_rounds\":{:.1},\"key_rounds\":{:.1},\
         \"bytes\":{:.0},\"messages\":{:.2},\"false_failures\":{},\"detected_s\":{:.1}}}",
        figures.joined_rounds,
        figures.key_rounds,
        figures.bytes_per_node_second,
        figures.messages_per_node_second,
        figures.false_failures,
        figures.detected.as_secs_f64()
    );
    Ok(())
}
