//! A network that parts: relays of the test's own stand before the nodes, and hold back what goes from one side to the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use np_cluster::MemberState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{House, Node, QUICK, live};

/// The wires of all nodes.
#[derive(Clone)]
struct Wires {
    /// On which side each process is; the test's own is on none.
    sides: Arc<Mutex<BTreeMap<u32, Option<bool>>>>,
    cut: watch::Sender<bool>,
}

impl Wires {
    fn new() -> Self {
        let own = BTreeMap::from([(std::process::id(), None)]);
        Self { sides: Arc::new(Mutex::new(own)), cut: watch::Sender::new(false) }
    }

    /// A node that others reach by a relay alone: the relay is at 127.0.0.1, and the node at the same port of 127.0.0.2.
    fn start(&self, house: &House, name: &str, seeds: &[&str], side: bool) -> Node {
        let listener = house.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let at = listener.local_addr().unwrap();
        house.runtime.spawn(self.clone().relay(listener, side));
        let listen = format!("tcp://127.0.0.2:{}", at.port());
        let node = house.start(name, Some(&listen), seeds, &["--advertise", &at.to_string()]);
        self.sides.lock().unwrap().insert(node.serve.id(), Some(side));
        node
    }

    async fn relay(self, listener: TcpListener, side: bool) {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            tokio::spawn(self.clone().carry(stream, from, side));
        }
    }

    async fn carry(self, stream: TcpStream, from: SocketAddr, side: bool) -> Option<()> {
        let to = stream.local_addr().ok()?;
        let crosses = self.side_of(from, to).await.is_some_and(|other| other != side);
        self.open(crosses).await;
        let there = TcpStream::connect(("127.0.0.2", to.port())).await.ok()?;
        let ((one, two), (three, four)) = (stream.into_split(), there.into_split());
        tokio::join!(self.copy(one, four, crosses), self.copy(three, two, crosses));
        Some(())
    }

    /// On which side the process is that has dialed.
    async fn side_of(&self, from: SocketAddr, to: SocketAddr) -> Option<bool> {
        loop {
            let sides = self.sides.lock().unwrap().clone();
            let inode = inode_of(from.port(), to.port())?;
            let owner = sides.iter().find(|(id, _)| holds(**id, &inode));
            if let Some((_, side)) = owner {
                return *side;
            }
            // It has just started, and is about to be entered.
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits while what crosses is cut off: no byte passes, and no end either, as in a cable that is pulled.
    async fn open(&self, crosses: bool) {
        let mut cut = self.cut.subscribe();
        let _ = cut.wait_for(|cut| !(*cut && crosses)).await;
    }

    async fn copy(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, crosses: bool) {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            self.open(crosses).await;
            if to.write_all(&bytes[..count]).await.is_err() {
                break;
            }
        }
        self.open(crosses).await;
        // It may be gone.
        let _ = to.shutdown().await;
    }
}

/// The number of the socket at the dialing end of a connection.
fn inode_of(from: u16, to: u16) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends_so = |text: &str, port: u16| text.ends_with(&format!(":{port:04X}"));
    table.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (here, there) = (words.next()?, words.next()?);
        (ends_so(here, from) && ends_so(there, to)).then(|| words.nth(6).map(ToOwned::to_owned))?
    })
}

fn holds(id: u32, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|link| link.to_str() == Some(wanted.as_str()))
}

#[test]
fn two_and_three_nodes_that_were_parted_have_what_both_sides_wrote() {
    let names = ["a", "b", "c", "d", "e"];
    let house = House::new(&names, QUICK);
    let wires = Wires::new();
    let mut nodes = vec![wires.start(&house, "a", &[], true)];
    let seed = nodes[0].place.clone();
    nodes.extend(names[1..].iter().map(|name| wires.start(&house, name, &[&seed], *name == "b")));
    let (two, three) = nodes.split_at(2);
    house.runtime.block_on(async {
        house.until(&nodes, live(5, MemberState::Live)).await;
        house.client(&two[0]).await.set("side", "before").await.unwrap();
        house.until_all_have(&nodes, "side", &[("a", "before")]).await;
        wires.cut.send_replace(true);
        for (side, other, value) in [(two, three, "two"), (three, two, "three")] {
            house.until(side, live(side.len(), MemberState::Failed)).await;
            house.client(&side[0]).await.set("side", value).await.unwrap();
            house.client(&side[1]).await.set(value, "x").await.unwrap();
            house.until_all_have(side, "side", &[(&side[0].name, value)]).await;
            house.until_all_have(side, value, &[(&side[1].name, "x")]).await;
            let across = house.client(&other[0]).await.get(value, None).await.unwrap();
            assert!(across.is_empty(), "it came through: {across:?}");
        }
        // Both sides go on by themselves, and neither hears of the other.
        let old = house.client(&three[2]).await.get("side", Some("a")).await.unwrap();
        assert_eq!(old[0].value, "before");
        wires.cut.send_replace(false);
        house.until(&nodes, live(5, MemberState::Live)).await;
        house.until_all_have(&nodes, "side", &[("a", "two"), ("c", "three")]).await;
        house.until_all_have(&nodes, "two", &[("b", "x")]).await;
        house.until_all_have(&nodes, "three", &[("d", "x")]).await;
    });
}
