//! Measures simulated clusters, a line of JSON for each size: what `cargo xtask cluster-sim` runs and draws.
//!
//! `cluster_sim NODES MINUTES LOSS SEED MODEL`, as in `cluster_sim 50 10 5 1 1000`: so many minutes with the engine, and so many
//! of a model of its rounds. With 0 minutes there is the model alone.
#![expect(clippy::print_stdout, reason = "the figures are the output")]

use std::error::Error;
use std::time::Duration;

use np_cluster::simulation::{Figures, Plan, measure, watch};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [nodes, minutes, loss, seed, model] = words.as_slice() else {
        return Err("usage: cluster_sim NODES MINUTES LOSS SEED MODEL".into());
    };
    let span = |minutes: &String| Ok::<_, Box<dyn Error>>(Duration::from_secs_f64(minutes.parse::<f64>()? * 60.0));
    let plan = |steady| {
        Ok::<_, Box<dyn Error>>(Plan { nodes: nodes.parse()?, loss: loss.parse()?, steady, seed: seed.parse()? })
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let engine = plan(span(minutes)?)?;
    let figures = if engine.steady.is_zero() { Figures::default() } else { runtime.block_on(measure(engine))? };
    let watched = runtime.block_on(async { Ok::<_, Box<dyn Error>>(watch(plan(span(model)?)?)) })?;
    println!(
        "{{\"nodes\":{nodes},\"minutes\":{minutes},\"loss\":{loss},\"joined_rounds\":{:.1},\"key_rounds\":{:.1},\
         \"bytes\":{:.0},\"messages\":{:.2},\"false_failures\":{},\"detected_s\":{:.1},\"model_minutes\":{model},\
         \"model_false_failures\":{},\"model_messages\":{:.2},\"model_detected_s\":{:.1},\"longest_silence_s\":{:.1}}}",
        figures.joined_rounds,
        figures.key_rounds,
        figures.bytes_per_node_second,
        figures.messages_per_node_second,
        figures.false_failures,
        figures.detected.as_secs_f64(),
        watched.false_failures,
        watched.messages_per_node_second,
        watched.detected.as_secs_f64(),
        watched.longest_silence.as_secs_f64(),
    );
    Ok(())
}
