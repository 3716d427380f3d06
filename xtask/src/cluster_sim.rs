//! Clusters of simulated nodes: how rounds, bytes and times grow, as a table and a picture in docs/CLUSTER.md.
//!
//! Owns the arguments and the document. What is measured is measured by the example `cluster_sim` of np-cluster; this program
//! links nothing of it.

mod picture;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process;
use crate::workspace::Workspace;

const DOCUMENT: &str = "docs/CLUSTER.md";
const PICTURE: &str = "docs/cluster.svg";
/// The lines around the table.
const BEGIN: &str = "<!-- cluster-sim: written by `cargo xtask cluster-sim --write`, and not by hand -->";
const END: &str = "<!-- cluster-sim: end -->";

/// What to simulate.
#[derive(Debug, PartialEq)]
struct Options {
    nodes: Vec<u32>,
    /// Minutes with the engine, for all sizes together.
    minutes: f64,
    /// Minutes of the model, for each size.
    model: f64,
    loss: f64,
    write: bool,
    /// A file of lines that the simulation printed, instead of a run.
    from: Option<String>,
}

/// What came out, for one size.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    nodes: u32,
    minutes: f64,
    joined_rounds: f64,
    key_rounds: f64,
    bytes: f64,
    messages: f64,
    false_failures: u64,
    detected: f64,
    model: Model,
}

/// What the model of the rounds showed.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    minutes: f64,
    messages: f64,
    false_failures: u64,
    detected: f64,
    longest_silence: f64,
}

/// Simulates each size, prints the table, and writes the document if asked to.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let rows = match &options.from {
        Some(file) => fs::read_to_string(file)?.lines().map(read).collect::<Result<Vec<_>, _>>()?,
        None => simulate_all(workspace, &options)?,
    };
    let text = markdown(&rows, options.loss)?;
    println!("\n{text}");
    if options.write {
        write(&workspace.root.join(DOCUMENT), &text)?;
        fs::write(workspace.root.join(PICTURE), picture::draw(&rows))?;
        println!("written: {DOCUMENT}, {PICTURE}");
    }
    Ok(())
}

fn simulate_all(workspace: &Workspace, options: &Options) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (nodes, minutes) in share(options) {
        rows.push(simulate(workspace, nodes, minutes, options)?);
        println!("{nodes} nodes: {:?}", rows.last());
    }
    Ok(rows)
}

fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let usage = "usage: cargo xtask cluster-sim [--nodes 10,50,100,200] [--minutes 1000] [--model 1000] [--loss 5] [--from FILE] [--write]";
    let mut options =
        Options { nodes: vec![10, 50, 100, 200], minutes: 1000.0, model: 1000.0, loss: 5.0, write: false, from: None };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "--write" {
            options.write = true;
            continue;
        }
        let value = words.next().ok_or(usage)?;
        match word {
            "--nodes" => {
                options.nodes = value.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| usage)?
            }
            "--minutes" => options.minutes = value.parse().map_err(|_| usage)?,
            "--model" => options.model = value.parse().map_err(|_| usage)?,
            "--from" => options.from = Some(value.to_owned()),
            "--loss" => options.loss = value.parse().map_err(|_| usage)?,
            _ => return Err(usage.into()),
        }
    }
    let sensible =
        options.nodes.iter().all(|nodes| (2..=800).contains(nodes)) && options.minutes > 0.0 && options.model > 0.0;
    if sensible && (0.0..100.0).contains(&options.loss) { Ok(options) } else { Err(usage.into()) }
}

/// The minutes for each size: what a minute costs grows with the square of the nodes, so the small ones get most of them.
fn share(options: &Options) -> Vec<(u32, f64)> {
    let weight = |nodes: u32| 1.0 / (f64::from(nodes) * f64::from(nodes));
    let all: f64 = options.nodes.iter().map(|nodes| weight(*nodes)).sum();
    let part = |nodes: &u32| (*nodes, (options.minutes * weight(*nodes) / all).ceil().max(1.0));
    options.nodes.iter().map(part).collect()
}

fn simulate(workspace: &Workspace, nodes: u32, minutes: f64, options: &Options) -> Result<Row, Failure> {
    let [nodes, minutes] = [nodes.to_string(), minutes.to_string()];
    let [loss, model] = [options.loss.to_string(), options.model.to_string()];
    let example = ["-p", "np-cluster", "--features", "simulation", "--example", "cluster_sim"];
    let mut arguments = vec!["run", "--quiet", "--locked", "--release"];
    arguments.extend(example);
    arguments.extend(["--", &nodes, &minutes, &loss, "1", &model]);
    let mut command = Command::new(process::cargo());
    let output = command.args(&arguments).current_dir(&workspace.root).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` ended with {}", process::spell(&arguments, &[]), output.status).into());
    }
    read(&String::from_utf8(output.stdout)?)
}

fn read(line: &str) -> Result<Row, Failure> {
    let value: serde_json::Value = serde_json::from_str(line)?;
    let number = |name: &str| {
        let field = value.get(name).and_then(serde_json::Value::as_f64);
        field.ok_or_else(|| Failure::from(format!("the simulation tells no `{name}`")))
    };
    let count = |name: &str| value.get(name).and_then(serde_json::Value::as_u64).ok_or("no count");
    Ok(Row {
        nodes: u32::try_from(count("nodes")?)?,
        minutes: number("minutes")?,
        joined_rounds: number("joined_rounds")?,
        key_rounds: number("key_rounds")?,
        bytes: number("bytes")?,
        messages: number("messages")?,
        false_failures: count("false_failures")?,
        detected: number("detected_s")?,
        model: Model {
            minutes: number("model_minutes")?,
            messages: number("model_messages")?,
            false_failures: count("model_false_failures")?,
            detected: number("model_detected_s")?,
            longest_silence: number("longest_silence_s")?,
        },
    })
}

fn markdown(rows: &[Row], loss: f64) -> Result<String, Failure> {
    let mut text = format!(
        "Simulated, in virtual time: interval 1 s, {loss} % of the messages lost, 1 to 20 ms each, nodes 0 and 1 as seeds. With \
         the engine, all nodes started within one interval:\n\n"
    );
    text.push_str(
        "| nodes | rounds until all see all | rounds until a key is everywhere | messages a node sends in 1 s | ",
    );
    text.push_str("bytes a node sends in 1 s | a killed node is known to all after | watched | false failures |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for row in rows.iter().filter(|row| row.minutes > 0.0) {
        writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1} s | {:.0} min | {} |",
            row.nodes,
            row.joined_rounds,
            row.key_rounds,
            row.messages,
            row.bytes,
            row.detected,
            row.minutes,
            row.false_failures
        )?;
    }
    text.push_str(
        "\nIn a model of the engine's rounds, heartbeats alone, judged by the same detector; a member that is silent for 3 s \
         has failed:\n\n",
    );
    text.push_str(
        "| nodes | messages a node sends in 1 s | watched | false failures | longest silence of a living node | ",
    );
    text.push_str("a killed node is known to all after |\n|---|---|---|---|---|---|\n");
    for Row { nodes, model, .. } in rows {
        writeln!(
            text,
            "| {nodes} | {:.1} | {:.0} min | {} | {:.1} s | {:.1} s |",
            model.messages, model.minutes, model.false_failures, model.longest_silence, model.detected
        )?;
    }
    text.push_str(
        "\nA false failure is a node that one other reports as failed and that has not.\n\n![bytes by nodes](cluster.svg)\n",
    );
    Ok(text)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let document = fs::read_to_string(path)?;
    let changed = between(&document, text).ok_or_else(|| format!("{DOCUMENT} has no lines `{BEGIN}` and `{END}`"))?;
    Ok(fs::write(path, changed)?)
}

fn between(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_minutes_and_loss_are_read_and_others_refused() -> Result<(), String> {
        let read = options(&["--nodes", "5,10", "--minutes", "30", "--loss", "0", "--write"])?;
        let model = 1000.0;
        assert_eq!(read, Options { nodes: vec![5, 10], minutes: 30.0, model, loss: 0.0, write: true, from: None });
        assert_eq!(options(&["--model", "7"])?.model, 7.0);
        assert_eq!(options(&["--from", "rows"])?.from.as_deref(), Some("rows"));
        assert_eq!(options(&[])?.nodes, [10, 50, 100, 200]);
        for wrong in [&["--nodes", "1"][..], &["--nodes", "x"], &["--loss", "100"], &["--minutes", "0"], &["--knots"]] {
            assert!(options(wrong).is_err_and(|error| error.contains("usage")), "{wrong:?}");
        }
        Ok(())
    }

    #[test]
    fn most_minutes_go_to_the_small_ones_and_each_has_one() -> Result<(), String> {
        let shares = share(&options(&["--nodes", "10,200", "--minutes", "100"])?);
        assert_eq!(shares, [(10, 100.0), (200, 1.0)]);
        Ok(())
    }

    #[test]
    fn a_line_becomes_a_row_of_the_table_between_the_markers() -> Result<(), Failure> {
        let row = read(
            r#"{"nodes":10,"minutes":7,"loss":5,"joined_rounds":2.1,"key_rounds":1.5,"bytes":900,"messages":9.1,"false_failures":0,"detected_s":5.2,"model_minutes":60,"model_messages":8.8,"model_false_failures":3,"model_detected_s":5.4,"longest_silence_s":3.1}"#,
        )?;
        let text = markdown(std::slice::from_ref(&row), 5.0)?;
        assert!(text.contains("| 10 | 2.1 | 1.5 | 9.1 | 900 | 5.2 s | 7 min | 0 |"), "{text}");
        assert!(text.contains("| 10 | 8.8 | 60 min | 3 | 3.1 s | 5.4 s |"), "{text}");
        assert!(!markdown(&[Row { minutes: 0.0, ..row }], 5.0)?.contains("| 10 | 2.1"), "the model alone");
        let document = between(&format!("a\n{BEGIN}\nold\n{END}\nz"), &text).ok_or("markers")?;
        assert!(document.starts_with("a\n") && document.ends_with("\nz") && !document.contains("old"));
        assert!(read("{}").is_err());
        Ok(())
    }
}
