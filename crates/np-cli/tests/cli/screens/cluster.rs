//! What the commands about clusters print.

use std::io::{BufRead as _, BufReader};

use np_cluster::MemberState;
use rustix::process::Signal;
use serde_json::Value;

use super::mask::shown;
use super::{is_screen, ran_in};
use crate::cluster::{House, Node, QUICK, live};
use crate::support::{finish, np, send};

/// A command about a cluster, as its operator gives it to a node.
fn ask(house: &House, columns: usize, command: &str, node: &Node, more: &[&str]) -> String {
    let key = house.folder.arg("operator.key");
    let ran = ran_in(columns, &[&["cluster", command, "--identity", &key, node.serve.address()], more].concat());
    assert!(ran.code.is_some());
    shown(&format!("{}{}", String::from_utf8(ran.out).unwrap(), ran.err), &house.folder)
}

#[test]
fn the_screens_of_a_cluster_are_as_they_were() {
    let house = House::new(&["a", "orders-in-the-house-by-the-river"], QUICK);
    let mut nodes = house.start_all(&["a", "orders-in-the-house-by-the-river"]);
    house.runtime.block_on(async {
        house.until(&nodes, live(2, MemberState::Live)).await;
        house.until(&nodes, |members| members.iter().all(|member| member.key.is_some())).await;
    });
    is_screen("cluster-members", &ask(&house, 0, "members", &nodes[0], &[]));
    for columns in [60, 80] {
        let narrow = ask(&house, columns, "members", &nodes[0], &[]);
        // A port is shown by its name, which is one shorter than it.
        assert!(narrow.lines().all(|line| line.chars().count() <= columns), "{narrow}");
        assert!(narrow.contains('…') && narrow.contains("127.0.0.1:PORT"), "{narrow}");
        is_screen(&format!("cluster-members-{columns}"), &narrow);
    }
    is_screen("cluster-members-ndjson", &ask(&house, 0, "members", &nodes[0], &["-o", "ndjson"]));
    let mut asked = ask(&house, 0, "set", &nodes[0], &["color", "dark blue"]);
    asked += &ask(&house, 0, "set", &nodes[0], &["color", "dark blue", "-o", "json"]);
    asked += &ask(&house, 0, "set", &nodes[0], &["two words", "x"]);
    is_screen("cluster-set", &asked);
    let mut asked = ask(&house, 0, "get", &nodes[0], &["color"]);
    asked += &ask(&house, 0, "get", &nodes[0], &["color", "-o", "json"]);
    asked += &ask(&house, 0, "get", &nodes[0], &["nothing"]);
    is_screen("cluster-get", &asked);
    is_screen("cluster-watch", &watched(&house, &nodes[0]));
    nodes[1].serve.signal(Signal::TERM);
    assert_eq!(nodes[1].serve.code(), Some(0));
    let rest = nodes[1].serve.rest();
    let said = format!("listening {}\n{rest}", nodes[1].serve.address());
    is_screen("cluster-run", &shown(&said, &house.folder));
}

/// The first table of a watch, on a narrow screen.
fn watched(house: &House, node: &Node) -> String {
    let key = house.folder.arg("operator.key");
    let mut command = np(["cluster", "watch", "--identity", &key, node.serve.address()]);
    let mut watching = command.env("COLUMNS", "60").spawn().unwrap();
    let out = BufReader::new(watching.stdout.take().unwrap());
    let lines: Vec<String> = out.lines().take(3).map(|line| format!("{}\n", line.unwrap())).collect();
    send(&watching, Signal::INT);
    assert_eq!(finish(watching).code, Some(0));
    shown(&lines.concat(), &house.folder)
}

/// Members and values of a key are an object a line, and tables of members that are watched are one each.
pub(super) fn lists_are_a_value_a_line() {
    let house = House::new(&["a", "b"], QUICK);
    let a = house.start("a", None, &[], &[]);
    let key = house.folder.arg("operator.key");
    let watch = ["cluster", "watch", "-o", "ndjson", "--identity", &key, a.serve.address()];
    let mut watching = np(watch).spawn().unwrap();
    let mut tables = BufReader::new(watching.stdout.take().unwrap()).lines().map(|line| {
        let table: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(table.as_object().map(serde_json::Map::len), Some(1), "{table}");
        table["members"].as_array().unwrap().clone()
    });
    assert_eq!(tables.next().unwrap()[0]["name"], "a");
    let nodes = [house.start("b", None, &[&a.place], &[]), a];
    assert!(tables.any(|table| table.len() == 2 && table[1]["name"] == "b"));
    send(&watching, Signal::INT);
    assert_eq!(finish(watching).code, Some(0));
    let lines = |command: &str, more: &[&str]| {
        let out = house.ask(command, &nodes[1], &[more, &["-o", "ndjson"]].concat()).ok();
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let members = lines("members", &[]);
    assert_eq!(members.iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["a", "b"]);
    for node in &nodes {
        house.ask("set", node, &["color", &node.name]).ok();
    }
    house.runtime.block_on(house.until_all_have(&nodes, "color", &[("a", "a"), ("b", "b")]));
    let values = lines("get", &["color"]);
    assert_eq!(values.iter().map(|row| &row["value"]).collect::<Vec<_>>(), ["a", "b"]);
}
