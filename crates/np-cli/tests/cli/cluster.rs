//! Clusters of real processes over TCP: who is there, what they tell each other, and what becomes of it when some go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use np_cluster::{Cluster, ClusterClient, ClusterConfig, Event, Member, MemberState, MemberTables, Peering};
use np_facade::{Balance, Client, Identity, Policy};
use rustix::process::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::support::{Folder, Serve, finish, np, run};

mod abuse;
#[cfg(target_os = "linux")]
mod parted;

/// The interval of the tests that are not about time.
pub(crate) const QUICK: &str = "200ms";

/// Key files, a list of members, and the nodes that run.
pub(crate) struct House {
    pub(crate) folder: Folder,
    pub(crate) runtime: Runtime,
    members: String,
    operator: Identity,
    interval: &'static str,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) serve: Serve,
    /// As others dial it, without its key.
    pub(crate) place: String,
}

impl House {
    /// A list with the nodes and an operator.
    pub(crate) fn new(names: &[&str], interval: &'static str) -> Self {
        let folder = Folder::new();
        let mut lines = String::new();
        for name in names {
            let (_, key) = folder.key(&format!("{name}.key"));
            lines += &format!("{key} {name}\n");
        }
        let operator = Identity::create(folder.path("operator.key")).unwrap();
        lines += &format!("{} operator\n", operator.public_key());
        let members = folder.file("members", lines);
        Self { folder, runtime: Runtime::new().unwrap(), members, operator, interval }
    }

    /// Starts a node, at a place of before or at a new one.
    pub(crate) fn start(&self, name: &str, place: Option<&str>, seeds: &[&str], more: &[&str]) -> Node {
        let key = self.folder.arg(&format!("{name}.key"));
        let listen = place.unwrap_or("tcp://127.0.0.1:0");
        let mut command = np(["cluster", "run", "--name", name, "--listen", listen, "--identity", &key]);
        command.args(["--allow", &self.members, "--interval", self.interval]).args(more);
        for seed in seeds {
            command.args(["--seed", seed]);
        }
        let serve = Serve::spawn(&mut command, 1);
        let place = serve.address().split('?').next().unwrap().to_owned();
        Node { name: name.to_owned(), serve, place }
    }

    /// Starts nodes that all ask the first.
    pub(crate) fn start_all(&self, names: &[&str]) -> Vec<Node> {
        let first = self.start(names[0], None, &[], &[]);
        let seed = first.place.clone();
        let others = names[1..].iter().map(|name| self.start(name, None, &[&seed], &[]));
        let mut nodes: Vec<Node> = others.collect();
        nodes.insert(0, first);
        nodes
    }

    async fn client(&self, node: &Node) -> ClusterClient {
        let client = Client::builder(node.serve.address()).identity(self.operator.clone());
        ClusterClient::new(client.connect().await.unwrap())
    }

    /// Waits until each of these nodes sees it so, and says how long that took.
    pub(crate) async fn until(&self, nodes: &[Node], held: impl Fn(&[Member]) -> bool) -> Duration {
        let begun = Instant::now();
        for node in nodes {
            let mut tables: MemberTables = self.client(node).await.watch().await.unwrap();
            let mut last = Vec::new();
            let seen = async {
                while !held(&last) {
                    last = tables.next().await.unwrap().unwrap();
                }
            };
            let ended = timeout(Duration::from_secs(20), seen).await;
            assert!(ended.is_ok(), "{} sees {last:?}", node.name);
        }
        begun.elapsed()
    }

    /// Waits until each of these nodes has this for a key, by the nodes' names; others may have it, too: what was
    /// on its way to a node that stood still is read when it goes on.
    pub(crate) async fn until_all_have(&self, nodes: &[Node], key: &str, wanted: &[(&str, &str)]) -> Duration {
        let begun = Instant::now();
        let wanted: BTreeMap<&str, &str> = wanted.iter().copied().collect();
        for node in nodes {
            let client = self.client(node).await;
            loop {
                let found = client.get(key, None).await.unwrap();
                let found: BTreeMap<&str, &str> =
                    found.iter().map(|entry| (entry.node.as_str(), entry.value.as_str())).collect();
                if wanted.iter().all(|(node, value)| found.get(node) == Some(value)) {
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(20), "{} has {found:?}", node.name);
                sleep(Duration::from_millis(20)).await;
            }
        }
        begun.elapsed()
    }

    /// The program's own commands, as the operator.
    pub(crate) fn ask(&self, command: &str, node: &Node, more: &[&str]) -> crate::support::Ran {
        let key = self.folder.arg("operator.key");
        run(["cluster", command, "--identity", &key, node.serve.address()].iter().chain(more))
    }
}

/// So many members live, and the others are all so.
pub(crate) fn live(count: usize, others: MemberState) -> impl Fn(&[Member]) -> bool {
    move |members| {
        let lives = members.iter().filter(|member| member.state == MemberState::Live).count();
        lives == count && members.iter().all(|member| member.state == MemberState::Live || member.state == others)
    }
}

#[test]
fn five_nodes_find_each_other_share_a_key_and_report_one_that_was_killed_in_time() {
    let names = ["a", "b", "c", "d", "e"];
    // The default interval is what the promises are about.
    let house = House::new(&names, "1s");
    let mut nodes = house.start_all(&names);
    house.runtime.block_on(async {
        let took = house.until(&nodes, live(5, MemberState::Live)).await;
        assert!(took <= Duration::from_secs(3), "membership took {took:?}, and 3 intervals are 3 s");
        house.client(&nodes[1]).await.set("leader", "b").await.unwrap();
        let took = house.until_all_have(&nodes, "leader", &[("b", "b")]).await;
        assert!(took <= Duration::from_secs(3), "a key took {took:?}, and 3 intervals are 3 s");
        // Everybody has proven a key by then, or does so now.
        house.until(&nodes, |members| members.iter().all(|member| member.key.is_some())).await;
        let mut gone = nodes.remove(4);
        gone.serve.signal(Signal::KILL);
        gone.serve.code();
        let took = house.until(&nodes, live(4, MemberState::Failed)).await;
        assert!(took <= Duration::from_secs(6), "a killed node was reported after {took:?}");
    });
    // As scripts see it.
    let rows = house.ask("members", &nodes[0], &["-o", "json"]).ok_json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 5);
    for (row, name) in rows.iter().zip(names) {
        assert_eq!(row["name"], name);
        assert_eq!(row["state"], if name == "e" { "failed" } else { "live" }, "{row}");
        assert!(row["key"].as_str().unwrap().starts_with("np1"), "{row}");
        assert!(row["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{row}");
        assert_eq!(row.as_object().unwrap().len(), 4);
    }
    let table = house.ask("members", &nodes[1], &[]).ok();
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.lines().any(|line| line.starts_with("e     failed  127.0.0.1:")), "{table}");
    assert_eq!(house.ask("get", &nodes[2], &["leader"]).ok(), "b b\n");
    assert!(nodes[0].serve.wait_for("member e at").contains("is live"));
    assert!(nodes[0].serve.wait_for("member e at").contains("has failed"));
}

#[test]
fn keys_are_set_and_read_by_the_program_and_refusals_say_what_to_do() {
    let house = House::new(&["a", "b"], QUICK);
    let nodes = house.start_all(&["a", "b"]);
    house.runtime.block_on(house.until(&nodes, live(2, MemberState::Live)));
    assert_eq!(house.ask("set", &nodes[0], &["color", "dark blue"]).ok(), "");
    house.ask("set", &nodes[1], &["color", "red\u{1b}[2J"]).ok();
    house.runtime.block_on(house.until_all_have(&nodes, "color", &[("a", "dark blue"), ("b", "red\u{1b}[2J")]));
    assert_eq!(house.ask("get", &nodes[1], &["color"]).ok(), "a dark blue\nb red\\u{1b}[2J\n");
    assert_eq!(house.ask("get", &nodes[1], &["color", "--node", "a"]).ok(), "a dark blue\n");
    let json = house.ask("get", &nodes[0], &["color", "-o", "json"]).ok_json();
    assert_eq!(json[0], serde_json::json!({ "node": "a", "value": "dark blue", "signature": "none" }));
    house.ask("get", &nodes[0], &["nothing"]).fails(1, &["no node has a key `nothing`", "np cluster set"]);
    house.ask("get", &nodes[0], &["color", "--node", "z"]).fails(1, &["the node z has no key"]);
    let large = "x".repeat(32 * 1024);
    house.ask("set", &nodes[0], &["k", &large]).fails(6, &["32 KiB", "limit"]);
    house.ask("set", &nodes[0], &["k", &large[1..]]).ok();
    house.ask("set", &nodes[0], &["two words", "x"]).fails(1, &["is no key"]);
    house.ask("set", &nodes[0], &["np.left", "1"]).fails(1, &["kept for np's own"]);
    // The large one has kept no later key from travelling.
    house.ask("set", &nodes[0], &["later", "1"]).ok();
    house.runtime.block_on(house.until_all_have(&nodes, "later", &[("a", "1")]));
    let place = nodes[0].serve.address();
    run(["cluster", "members", place]).fails(4, &["pass --identity FILE with a key that the server allows"]);
    let serve = Serve::anyone(&house.folder, &[]);
    run(["cluster", "members", serve.address()]).fails(1, &["in no cluster", "np cluster run"]);
}

#[test]
fn arguments_of_a_node_that_cannot_be_are_refused_with_the_way_out() {
    let house = House::new(&["a", "b"], QUICK);
    let key = house.folder.arg("a.key");
    let start = |name: &str, more: &[&str]| {
        let fixed = ["cluster", "run", "--name", name, "--identity", &key, "--allow", &house.members];
        run(fixed.iter().chain(more))
    };
    let listen = ["--listen", "tcp://127.0.0.1:0"];
    start("b", &listen).fails(2, &["calls this node's key `a`", "let both say the same"]);
    start("a", &[listen[0], listen[1], "--interval", "100ms"]).fails(2, &["200 ms"]);
    start("a", &["--listen", "tcp://0.0.0.0:0"]).fails(2, &["--advertise"]);
    start("a", &["--listen", "mem:a"]).fails(2, &["mem:"]);
    for other in ["tls://127.0.0.1:0", "tls+noise://127.0.0.1:0", "tcp://127.0.0.1:0?mode=danger-plaintext"] {
        start("a", &["--listen", other]).fails(2, &["tcp:// for the other nodes", "unix:", "Peering::by_certificates"]);
    }
    let socket = format!("unix:{}", house.folder.arg("a.sock"));
    start("a", &["--listen", &socket]).fails(2, &["come over TCP", "tcp://10.0.0.1:7400"]);
    start("a", &[listen[0], listen[1], "--signing-key", &key]).fails(2, &["a.key", "SECRET key", "signing key"]);
    start("a", &[listen[0], listen[1], "--seed", "127.0.0.1:7400"]).fails(2, &["seed", "tcp://10.0.0.2:7400"]);
    start("a", &[listen[0], listen[1], "--cluster", "a b"]).fails(2, &["is no name"]);
    let empty = house.folder.file("empty", "# nobody\n");
    run(["cluster", "run", "--name", "a", listen[0], listen[1], "--identity", &key, "--allow", &empty])
        .fails(2, &["no key is in it"]);
    start("a", &[listen[0], listen[1], "--control", &empty]).fails(2, &["--control", "no key is in it"]);
}

#[test]
fn values_are_signed_by_the_nodes_signing_key_and_checked_by_the_lists() {
    let house = House::new(&["a", "b"], QUICK);
    let file = house.folder.arg("a.sign");
    let public = run(["keygen", "--signing", "--out", &file]).ok();
    let list = std::fs::read_to_string(&house.members).unwrap();
    let signed = list.replace(" a\n", &format!(" a sign={}\n", public.trim_end()));
    std::fs::write(&house.members, signed).unwrap();
    let socket = format!("unix:{}", house.folder.arg("a.sock"));
    // Who may set its keys is no member.
    let (setter, setter_key) = house.folder.key("setter.key");
    let setter_key = setter_key.to_string();
    let more = ["--signing-key", &file, "--listen", &socket, "--control", &setter_key];
    let mut a = house.start("a", None, &[], &more);
    let local = a.serve.line();
    let local = local.strip_prefix("listening ").unwrap();
    assert!(local.starts_with(&socket) && local.contains("?key=np1"), "{local}");
    let b = house.start("b", None, &[&a.place], &[]);
    // By the socket of this machine.
    run(["cluster", "set", "--identity", &setter, local, "color", "blue"]).ok();
    // A key of the list of members may ask, and have nothing set that the node would sign.
    house.ask("set", &a, &["color", "red"]).fails(1, &["may not", "--control"]);
    house.runtime.block_on(house.until_all_have(std::slice::from_ref(&b), "color", &[("a", "blue")]));
    let json = house.ask("get", &b, &["color", "-o", "json"]).ok_json();
    assert_eq!(json, serde_json::json!([{ "node": "a", "value": "blue", "signature": "valid" }]));
    // The list of the one that is asked counts: without a key in it, or with another, the value is shown, and a warning.
    std::fs::write(&house.members, &list).unwrap();
    assert_eq!(house.ask("get", &b, &["color", "-o", "json"]).ok_json()[0]["signature"], "unknown");
    let got = house.ask("get", &b, &["color"]);
    assert!(got.err.contains("nobody has checked") && got.err.contains("sign="), "{}", got.err);
    let other = run(["keygen", "--signing", "--out", &house.folder.arg("other.sign")]).ok();
    std::fs::write(&house.members, list.replace(" a\n", &format!(" a sign={}\n", other.trim_end()))).unwrap();
    let got = house.ask("get", &b, &["color"]);
    assert!(got.err.contains("is wrong by the key") && got.err.contains("made up"), "{}", got.err);
    assert_eq!(got.ok(), "a blue\n");
    assert_eq!(house.ask("get", &b, &["color", "-o", "json"]).ok_json()[0]["signature"], "invalid");
    let key = house.folder.arg("a.key");
    let start = ["cluster", "run", "--name", "a", "--listen", "tcp://127.0.0.1:0", "--identity", &key];
    run(start.iter().chain(&["--allow", house.members.as_str(), "--signing-key", &file]))
        .fails(2, &["taken for forged", "let both say the same"]);
}

#[test]
fn a_rolling_restart_fails_nobody_and_loses_no_key() {
    let names = ["a", "b", "c", "d", "e"];
    let house = House::new(&["a", "b", "c", "d", "e", "watcher"], QUICK);
    let mut nodes = house.start_all(&names);
    let places: Vec<String> = nodes.iter().map(|node| node.place.clone()).collect();
    let seeds: Vec<&str> = places.iter().map(String::as_str).collect();
    // A node of the test's own sees all that is told.
    let watcher = house.runtime.block_on(watch_from_within(&house, &places[0]));
    let mut events = watcher.watch();
    let told = house.runtime.spawn(async move {
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(event);
        }
        told
    });
    house.runtime.block_on(async {
        house.until(&nodes, live(6, MemberState::Live)).await;
        for node in &nodes {
            house.client(node).await.set("home", &node.name).await.unwrap();
        }
        let wanted = names.map(|name| (name, name));
        house.until_all_have(&nodes, "home", &wanted).await;
    });
    for at in 0..names.len() {
        nodes[at].serve.signal(Signal::TERM);
        let (code, said) = (nodes[at].serve.code(), nodes[at].serve.rest());
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("is live") && !said.contains("has failed"), "{}: {said}", names[at]);
        nodes[at] = house.start(names[at], Some(&places[at]), &seeds, &[]);
        house.runtime.block_on(house.until(&nodes, live(6, MemberState::Live)));
        house.runtime.block_on(house.until_all_have(&nodes, "home", &names.map(|name| (name, name))));
    }
    house.runtime.block_on(watcher.leave()).unwrap();
    drop(watcher);
    let told = house.runtime.block_on(told).unwrap();
    assert!(!told.iter().any(|event| matches!(event, Event::Failed(_))), "{told:?}");
    // Nor has any of the nodes taken another for failed, in their lives after that.
    for node in &mut nodes {
        node.serve.signal(Signal::TERM);
        assert_eq!(node.serve.code(), Some(0));
        let said = node.serve.rest();
        assert!(said.contains("is live") && !said.contains("has failed"), "{}: {said}", node.name);
    }
    for name in names {
        // A leave that is over within a look is not seen, and neither is it a failure.
        let came =
            told.iter().filter(|event| matches!(event, Event::Joined(it) | Event::Updated(it) if it.name == name));
        assert!(came.count() >= 2, "{name} has come twice: {told:?}");
    }
}

async fn watch_from_within(house: &House, seed: &str) -> Cluster {
    let identity = Identity::load(house.folder.path("watcher.key")).unwrap();
    let members = Policy::parse_allow(&house.members).unwrap();
    let peering = Peering::new(identity, members).listen("tcp://127.0.0.1:0").seed(seed).unwrap();
    let config = ClusterConfig::new("watcher", "np", ([0, 0, 0, 0], 0).into()).interval(Duration::from_millis(200));
    Cluster::join(config, peering).await.unwrap()
}

#[test]
fn a_late_joiner_gets_two_thousand_earlier_keys() {
    let house = House::new(&["a", "b", "late"], QUICK);
    let nodes = house.start_all(&["a", "b"]);
    house.runtime.block_on(async {
        let client = house.client(&nodes[0]).await;
        for number in 0..2_000 {
            client.set(&format!("key-{number}"), &format!("value of {number}, {}", "x".repeat(80))).await.unwrap();
        }
    });
    let late = house.start("late", None, &[&nodes[1].place], &[]);
    house.runtime.block_on(async {
        let client = house.client(&late).await;
        let begun = Instant::now();
        for number in (0..2_000).rev() {
            let (key, wanted) = (format!("key-{number}"), format!("value of {number}, "));
            while !matches!(&client.get(&key, Some("a")).await.unwrap()[..], [entry] if entry.value.starts_with(&wanted)) {
                assert!(begun.elapsed() < Duration::from_secs(20), "{key} has not come");
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn a_client_of_a_service_loses_no_idempotent_call_while_a_member_is_killed() {
    let names = ["a", "b", "c"];
    let house = House::new(&["a", "b", "c", "watcher"], QUICK);
    let first = house.start("a", None, &[], &["--service", "orders"]);
    let seed = first.place.clone();
    let mut nodes = vec![first];
    nodes.extend(names[1..].iter().map(|name| house.start(name, None, &[&seed], &["--service", "orders"])));
    house.runtime.block_on(async {
        let watcher = watch_from_within(&house, &seed).await;
        house.until(&nodes, live(4, MemberState::Live)).await;
        let keyed = |members: Vec<Member>| members.iter().filter(|member| member.key.is_some()).count() == 4;
        while !keyed(watcher.members()) {
            sleep(Duration::from_millis(20)).await;
        }
        let client = Client::builder("cluster:orders")
            .identity(house.operator.clone())
            .resolver(watcher.resolver())
            .balance(Balance::RoundRobin)
            .idempotent_methods(["np.echo"])
            .retry_budget(1_000)
            .connect();
        let client = client.await.unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let calls = |client: Client, done: Arc<AtomicUsize>, number: usize| async move {
            for turn in 0..400 {
                let body = format!("{number}-{turn}");
                assert_eq!(client.call("np.echo", body.clone()).await.unwrap(), body);
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let callers: Vec<_> = (0..16).map(|at| tokio::spawn(calls(client.clone(), Arc::clone(&done), at))).collect();
        // In the midst of it: some calls are answered, and most are to come.
        for turn in 0..50 {
            let body = turn.to_string();
            assert_eq!(client.call("np.echo", body.clone()).await.unwrap(), body);
        }
        // A process, and what its kernel does with its connections: SIGKILL, waited for.
        nodes[1].serve.signal(Signal::KILL);
        let before = done.load(Ordering::Relaxed);
        assert_eq!(nodes[1].serve.code(), None, "it was killed");
        assert!((1..16 * 400 / 2).contains(&before), "{before} calls were over");
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(done.load(Ordering::Relaxed), 16 * 400);
        let nobody = Client::builder("cluster:payments").resolver(watcher.resolver()).connect().await;
        assert!(nobody.unwrap_err().to_string().contains("no live member of the cluster serves `payments`"));
        watcher.leave().await.unwrap();
        let gone = Client::builder("cluster:orders").resolver(watcher.resolver()).connect().await;
        assert!(gone.is_err());
    });
}

#[test]
fn others_learn_the_service_and_the_zone_of_a_node() {
    let house = House::new(&["a", "b"], QUICK);
    let a = house.start("a", None, &[], &["--service", "orders", "--zone", "eu-1"]);
    let b = house.start("b", None, &[&a.place], &[]);
    let told = |name: &'static str, service: &'static str, zone: &'static str| {
        move |members: &[Member]| {
            let is_told = |it: &Member| it.attributes.service == service && it.attributes.zone == zone;
            members.iter().any(|member| member.name == name && is_told(member))
        }
    };
    let nodes = [a, b];
    house.runtime.block_on(house.until(&nodes, told("a", "orders", "eu-1")));
    house.runtime.block_on(house.until(&nodes, told("b", "", "")));
}

#[test]
fn a_watcher_is_told_of_the_members_until_a_signal_ends_it() {
    let house = House::new(&["a"], QUICK);
    let mut node = house.start("a", None, &[], &[]);
    let key = house.folder.arg("operator.key");
    let mut watching =
        np(["cluster", "watch", "-o", "json", "--identity", &key, node.serve.address()]).spawn().unwrap();
    let mut out = std::io::BufReader::new(watching.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let table: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(table[0]["name"], "a");
    crate::support::send(&watching, Signal::INT);
    assert_eq!(finish(watching).code, Some(0));
    node.serve.signal(Signal::TERM);
    assert_eq!(node.serve.code(), Some(0));
}
