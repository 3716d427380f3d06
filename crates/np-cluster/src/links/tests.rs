//! Links between nodes in one process, over pipes in memory.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{AllowList, Client, Identity, MessageStream, MethodOptions, Policy, Server, Status, VerifyKey};
use tokio::time::{sleep, timeout};

use super::announcement::Announcement;
use super::net::{MAX_MESSAGE, METHOD, Net, Serving, Settings};
use super::{Inbox, Incoming, Links as _, NodeKey};

struct Node {
    net: Net,
    inbox: Inbox,
    server: Server,
    at: SocketAddr,
    key: NodeKey,
}

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn place(house: &str, at: SocketAddr) -> String {
    format!("mem:{house}-{}", at.port())
}

impl Node {
    /// A node that admits these, and whose server takes everyone.
    async fn start(house: &'static str, name: &str, port: u16, identity: &Identity, members: Policy) -> Self {
        let own = identity.clone();
        let settings = Settings {
            cluster: "shop".to_owned(),
            name: name.to_owned(),
            members: members.clone(),
            own: Some(identity.public_key()),
            way: Arc::new(move |to| Client::builder(place(house, to)).identity(own.clone())),
        };
        let (net, inbox) = Net::new(settings).unwrap();
        let server =
            Server::builder(identity.clone(), Policy::anyone()).listen(place(house, at(port))).start().await.unwrap();
        server.router().register_own(METHOD, net.method(), MethodOptions::default().spawned()).unwrap();
        net.open(at(port), Some(Serving { server: server.clone(), let_in: None }));
        Self { net, inbox, server, at: at(port), key: NodeKey::Noise(identity.public_key()) }
    }

    /// The next message, and the key of its sender.
    async fn next(&mut self) -> (NodeKey, Bytes) {
        let (_, sender, bytes) = self.next_from().await;
        (sender, bytes)
    }

    async fn next_from(&mut self) -> (SocketAddr, NodeKey, Bytes) {
        match timeout(Duration::from_secs(60), self.inbox.recv()).await.expect("no message").unwrap() {
            Incoming::Message { from, sender, bytes } => (from, sender, bytes),
            Incoming::Retired { name } => panic!("{name} is retired"),
        }
    }

    /// Says something to a node until it arrives there.
    async fn reaches(&self, to: &mut Self, what: &'static [u8]) {
        loop {
            self.net.send(to.at, Bytes::from_static(what));
            if let Ok((sender, bytes)) = timeout(Duration::from_millis(100), to.next()).await {
                assert_eq!((sender, &bytes[..]), (self.key, what));
                return;
            }
        }
    }

    async fn until(&self, held: impl Fn(&Self) -> bool) {
        let settled = async {
            while !held(self) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let told = || format!("{:?}", self.net.stats());
        timeout(Duration::from_secs(60), settled).await.unwrap_or_else(|_| panic!("never so: {}", told()));
    }
}

fn identities<const N: usize>() -> [Identity; N] {
    [(); N].map(|()| Identity::generate().unwrap())
}

fn all(identities: &[Identity]) -> Policy {
    Policy::allow_keys(identities.iter().map(Identity::public_key))
}

/// A peer that speaks by hand.
async fn by_hand(house: &str, to: &Node, identity: &Identity) -> (Client, MessageStream) {
    let client = Client::builder(place(house, to.at)).identity(identity.clone());
    let client = client.policy(Policy::closure(|_| np_facade::Decision::Allow { name: None })).connect().await.unwrap();
    let stream = client.open_stream(METHOD).await.unwrap();
    (client, stream)
}

fn says(name: &str, port: u16) -> Vec<u8> {
    Announcement::new("shop".to_owned(), name.to_owned(), at(port), [9; 16]).encode()
}

#[tokio::test(start_paused = true)]
async fn one_link_carries_messages_both_ways_and_says_whom_they_come_from() {
    let keys = identities::<2>();
    let mut a = Node::start("both-ways", "a", 1, &keys[0], all(&keys)).await;
    let mut b = Node::start("both-ways", "b", 2, &keys[1], all(&keys)).await;
    a.net.send(b.at, Bytes::from_static(b"hello"));
    assert_eq!(b.next().await, (a.key, Bytes::from_static(b"hello")));
    for number in 0..10u8 {
        b.net.send(a.at, Bytes::from(vec![number]));
        assert_eq!(a.next().await, (b.key, Bytes::from(vec![number])));
    }
    for (node, other, key) in [(&a, "b", &keys[1]), (&b, "a", &keys[0])] {
        let stats = node.net.stats();
        assert_eq!((stats.links, stats.opened, stats.dropped, stats.lies), (1, 1, 0, 0), "{stats:?}");
        assert_eq!(node.net.key_of(other), Some(key.public_key().to_string()));
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_dial_each_other_at_once_keep_one_link() {
    let keys = identities::<2>();
    let mut a = Node::start("at-once", "a", 1, &keys[0], all(&keys)).await;
    let mut b = Node::start("at-once", "b", 2, &keys[1], all(&keys)).await;
    a.net.greet(b.at);
    b.net.greet(a.at);
    a.reaches(&mut b, b"from a").await;
    b.reaches(&mut a, b"from b").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.net.stats().links, b.net.stats().links), (1, 1));
    assert_eq!(a.server.connections().len() + b.server.connections().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_is_made_again_when_its_node_starts_again() {
    let keys = identities::<2>();
    let a = Node::start("again", "a", 1, &keys[0], all(&keys)).await;
    let mut b = Node::start("again", "b", 2, &keys[1], all(&keys)).await;
    a.reaches(&mut b, b"one").await;
    b.net.close();
    b.server.shutdown(Duration::ZERO).await;
    a.until(|a| a.net.stats().links == 0).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        a.net.send(b.at, Bytes::from_static(b"lost"));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "send never waits");
    sleep(Duration::from_secs(1)).await;
    assert!(a.net.stats().dropped >= 80, "{:?}", a.net.stats());
    let mut b = Node::start("again", "b", 2, &keys[1], all(&keys)).await;
    a.reaches(&mut b, b"two").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_a_link_by_its_stream_alone_and_a_strangers_is_refused() {
    let [member, stranger, node] = identities::<3>();
    let keys = [member.clone(), node.clone()];
    let a = Node::start("stranger", "a", 1, &node, all(&keys)).await;
    let (client, mut stream) = by_hand("stranger", &a, &stranger).await;
    // It may be refused before it has said a word.
    let _ = stream.send(says("b", 2)).await;
    let error = stream.recv().await.unwrap().unwrap_err();
    assert_eq!(error.status, Status::PermissionDenied);
    assert!(error.text.contains("not a member"), "{error}");
    // The server lets it in as a client all the same.
    assert_eq!(client.call("np.echo", "hi").await.unwrap(), "hi");
    let client = Client::builder(place("stranger", a.at)).identity(member).policy(all(&keys)).connect().await.unwrap();
    assert_eq!(client.call("np.echo", "hi").await.unwrap(), "hi");
    let stats = a.net.stats();
    assert_eq!((stats.links, stats.opened), (0, 0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_liar_is_refused_counted_and_told_in_what_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let keys = identities::<3>();
    let path = folder.path().join("members");
    write(&path, &[(&keys[0], "a"), (&keys[1], "b"), (&keys[2], "")]);
    let mut a = Node::start("liar", "a", 1, &keys[0], Policy::allow_file(&path).unwrap()).await;
    let lies = [
        (1, says("c", 2), "calls this key `b`"),
        (2, says("b", 3), "gives the name `b` to another key"),
        (2, says("a", 3), "another key"),
        (2, says("c", 1), "belongs to the node `a`"),
        (2, says("c", 0), "--advertise"),
        (2, says("c d", 3), "letters, digits"),
        (2, b"garbage".to_vec(), "version 103"),
    ];
    for (number, (key, said, why)) in lies.iter().enumerate() {
        let (_client, mut stream) = by_hand("liar", &a, &keys[*key]).await;
        stream.send(said.clone()).await.unwrap();
        let error = stream.recv().await.unwrap().unwrap_err();
        assert!(error.text.contains(why), "{why}: {error}");
        assert_eq!(a.net.stats().lies, number as u64 + 1, "{why}");
    }
    // One that is honest, by the same key.
    let (_client, mut stream) = by_hand("liar", &a, &keys[2]).await;
    stream.send(says("c", 3)).await.unwrap();
    let answer = Announcement::decode(&stream.recv().await.unwrap().unwrap()).unwrap();
    assert_eq!((answer.name.as_str(), answer.address), ("a", a.at));
    // Whatever it says of others, it is the sender of what it sends.
    stream.send(says("b", 2)).await.unwrap();
    assert_eq!(a.next().await.0, NodeKey::Noise(keys[2].public_key()));
}

fn write(path: &Path, members: &[(&Identity, &str)]) {
    let lines: Vec<String> = members.iter().map(|(key, name)| format!("{} {name}\n", key.public_key())).collect();
    std::fs::write(path, lines.concat()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_told_its_own_address_has_no_link_to_itself() {
    let keys = identities::<1>();
    let a = Node::start("oneself", "a", 1, &keys[0], all(&keys)).await;
    // Another name of the same place, as behind a translation of addresses: told by the key, and by what it announces.
    for own in [Some(keys[0].public_key()), None] {
        let (identity, at_home) = (keys[0].clone(), a.at);
        let settings = Settings {
            cluster: "shop".to_owned(),
            name: "x".to_owned(),
            members: all(&keys),
            own,
            way: Arc::new(move |_| Client::builder(place("oneself", at_home)).identity(identity.clone())),
        };
        let (net, _inbox) = Net::new(settings).unwrap();
        a.server.router().remove(METHOD);
        a.server.router().register_own(METHOD, net.method(), MethodOptions::default()).unwrap();
        net.open(at(1), None);
        for _ in 0..20 {
            net.send(at(7), Bytes::from_static(b"x"));
            sleep(Duration::from_millis(300)).await;
        }
        let stats = net.stats();
        assert_eq!((stats.links, stats.opened, stats.lies), (0, 0, 0), "{stats:?}");
        assert!(stats.dropped < 3, "it goes on trying: {stats:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn garbage_cuts_its_sender_off_and_keeps_it_out_for_a_while() {
    let keys = identities::<3>();
    let mut a = Node::start("garbage", "a", 1, &keys[0], all(&keys)).await;
    let b = Node::start("garbage", "b", 2, &keys[1], all(&keys)).await;
    let c = Node::start("garbage", "c", 3, &keys[2], all(&keys)).await;
    b.reaches(&mut a, b"one").await;
    a.net.refuse(b.key);
    a.until(|a| a.net.stats().links == 0).await;
    for _ in 0..20 {
        b.net.send(a.at, Bytes::from_static(b"kept out"));
        sleep(Duration::from_secs(1)).await;
    }
    // Nothing of it came in between, and others are let in meanwhile.
    c.reaches(&mut a, b"other").await;
    assert_eq!(a.net.stats().garbage, 1);
    sleep(Duration::from_secs(30)).await;
    b.reaches(&mut a, b"again").await;
}

#[tokio::test(start_paused = true)]
async fn garbage_is_blamed_on_its_sender_and_not_on_whoever_is_at_the_address_by_now() {
    let keys = identities::<3>();
    let mut a = Node::start("blame", "a", 1, &keys[0], all(&keys)).await;
    let mut b = Node::start("blame", "b", 2, &keys[1], all(&keys)).await;
    a.reaches(&mut b, b"hello").await;
    b.net.send(a.at, Bytes::from_static(b"garbage"));
    let (from, sender, _) = a.next_from().await;
    assert_eq!(from, b.at);
    // Before it is looked at, another node is there.
    b.net.close();
    b.server.shutdown(Duration::ZERO).await;
    let mut c = Node::start("blame", "c", 2, &keys[2], all(&keys)).await;
    a.reaches(&mut c, b"one").await;
    a.net.refuse(sender);
    sleep(Duration::from_secs(1)).await;
    a.reaches(&mut c, b"two").await;
    assert_eq!((a.net.stats().garbage, a.net.stats().links), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_member_at_the_address_of_another_is_cut_off_once_that_one_answers_there() {
    let keys = identities::<3>();
    let mut a = Node::start("squat", "a", 1, &keys[0], all(&keys)).await;
    // While b is away, c says that it is there.
    let (_client, mut squatter) = by_hand("squat", &a, &keys[2]).await;
    squatter.send(says("c", 2)).await.unwrap();
    squatter.recv().await.unwrap().unwrap();
    squatter.send(b"alive".to_vec()).await.unwrap();
    let (from, ..) = a.next_from().await;
    assert_ne!(from, at(2), "nothing of it is put down to the address of b");
    // b comes by itself, and is let in.
    let mut b = Node::start("squat", "b", 2, &keys[1], all(&keys)).await;
    b.reaches(&mut a, b"here").await;
    let cut = squatter.recv().await.unwrap().unwrap_err();
    assert!(cut.text.contains("another node answers at the address"), "{cut}");
    assert_eq!(a.net.stats().lies, 1);
    a.reaches(&mut b, b"for b").await;
    b.net.send(a.at, Bytes::from_static(b"x"));
    assert_eq!(a.next_from().await.0, b.at);
    // What it says now is a lie from the first word.
    let (_client, mut squatter) = by_hand("squat", &a, &keys[2]).await;
    squatter.send(says("c", 2)).await.unwrap();
    let error = squatter.recv().await.unwrap().unwrap_err();
    assert!(error.text.contains("belongs to the node `b`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_64_kib_passes_and_one_byte_more_cuts_its_sender_off() {
    let keys = identities::<2>();
    let mut a = Node::start("oversize", "a", 1, &keys[0], all(&keys)).await;
    let (_client, mut stream) = by_hand("oversize", &a, &keys[1]).await;
    stream.send(says("b", 2)).await.unwrap();
    stream.recv().await.unwrap().unwrap();
    stream.send(vec![1; MAX_MESSAGE]).await.unwrap();
    assert_eq!(a.next().await.1.len(), MAX_MESSAGE);
    stream.send(vec![1; MAX_MESSAGE + 1]).await.unwrap();
    let error = stream.recv().await.unwrap().unwrap_err();
    assert!(error.text.contains("kept out"), "{error}");
    assert_eq!(a.net.stats().garbage, 1);
    // This node sends none either.
    let mut b = Node::start("oversize", "b", 2, &keys[1], all(&keys)).await;
    sleep(Duration::from_secs(31)).await;
    a.reaches(&mut b, b"small").await;
    let before = a.net.stats().dropped;
    a.net.send(b.at, Bytes::from(vec![1; MAX_MESSAGE + 1]));
    a.until(|a| a.net.stats().dropped == before + 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_stops_for_want_of_credit_and_others_are_heard() {
    let keys = identities::<3>();
    let mut a = Node::start("flood", "a", 1, &keys[0], all(&keys)).await;
    let (_client, mut stream) = by_hand("flood", &a, &keys[1]).await;
    stream.send(says("b", 2)).await.unwrap();
    stream.recv().await.unwrap().unwrap();
    let mut sent = 0usize;
    // The engine takes nothing.
    while timeout(Duration::from_secs(5), stream.send(vec![7; MAX_MESSAGE])).await.is_ok() {
        sent += MAX_MESSAGE;
    }
    let held = 8 << 20;
    assert!(sent < held, "{sent} bytes were taken");
    assert!(a.net.stats().received <= 33, "{:?}", a.net.stats());
    let c = Node::start("flood", "c", 3, &keys[2], all(&keys)).await;
    c.net.send(a.at, Bytes::from_static(b"heard"));
    let mut before = 0;
    while a.next().await.0 != c.key {
        before += 1;
    }
    assert!(before <= 200, "{before} messages went before");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_off_the_list_is_cut_off_and_its_name_set_free() {
    let folder = tempfile::tempdir().unwrap();
    let keys = identities::<3>();
    let path = folder.path().join("members");
    write(&path, &[(&keys[0], ""), (&keys[1], "")]);
    let mut a = Node::start("retired", "a", 1, &keys[0], Policy::allow_file(&path).unwrap()).await;
    let b = Node::start("retired", "b", 2, &keys[1], all(&keys)).await;
    b.reaches(&mut a, b"one").await;
    write(&path, &[(&keys[0], ""), (&keys[2], "")]);
    let told = timeout(Duration::from_secs(10), a.inbox.recv()).await.unwrap();
    assert!(matches!(told, Some(Incoming::Retired { name }) if name == "b"));
    a.until(|a| a.net.stats().links == 0 && a.server.connections().is_empty()).await;
    b.net.send(a.at, Bytes::from_static(b"too late"));
    b.server.shutdown(Duration::ZERO).await;
    // Another key may have the name now.
    let b = Node::start("retired", "b", 2, &keys[2], all(&keys)).await;
    b.reaches(&mut a, b"two").await;
    assert_eq!(a.net.stats().retired, 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_passes_to_the_key_that_the_list_gives_it_to_with_what_its_node_has_told() {
    let folder = tempfile::tempdir().unwrap();
    let [own, first, second, third] = identities::<4>();
    let path = folder.path().join("members");
    write(&path, &[(&own, "a"), (&first, "b")]);
    let mut a = Node::start("rotated", "a", 1, &own, Policy::allow_file(&path).unwrap()).await;
    let everyone = || all(&[own.clone(), first.clone(), second.clone(), third.clone()]);
    let b = Node::start("rotated", "b", 2, &first, everyone()).await;
    b.reaches(&mut a, b"by the first key").await;
    // The row has another key: the first is cut off although it is linked, and nothing is retired.
    write(&path, &[(&own, "a"), (&second, "b")]);
    a.until(|a| a.net.stats().links == 0 && a.server.connections().is_empty()).await;
    b.net.close();
    b.server.shutdown(Duration::ZERO).await;
    let b = Node::start("rotated", "b", 2, &second, everyone()).await;
    b.reaches(&mut a, b"by the second key").await;
    assert_eq!(a.net.key_of("b"), Some(second.public_key().to_string()));
    // The row of the key has another name now, and its name another key.
    write(&path, &[(&own, "a"), (&second, "old-b"), (&third, "b")]);
    a.until(|a| a.net.key_of("b").is_none() && a.net.stats().links == 0).await;
    // Its other calls go on, since it is allowed.
    let client = Client::builder(place("rotated", a.at)).identity(second.clone()).policy(everyone());
    assert_eq!(client.connect().await.unwrap().call("np.echo", "hi").await.unwrap(), "hi");
    b.net.close();
    b.server.shutdown(Duration::ZERO).await;
    let b = Node::start("rotated", "b", 2, &third, everyone()).await;
    b.reaches(&mut a, b"by the third key").await;
    assert_eq!((a.net.key_of("b"), a.net.stats().retired), (Some(third.public_key().to_string()), 1));
}

#[tokio::test(start_paused = true)]
async fn the_list_says_by_which_key_a_node_signs() {
    let keys = identities::<3>();
    let sign = VerifyKey::from_bytes([3; 32]);
    let lines = [
        format!("{} a sign={sign}", keys[0].public_key()),
        format!("{} b sign={sign}", keys[1].public_key()),
        format!("{} sign={sign}", keys[2].public_key()),
    ];
    let members = || Policy::allow_list(AllowList::parse(&lines.join("\n")).unwrap(), "members");
    let mut a = Node::start("signs", "a", 1, &keys[0], members()).await;
    assert_eq!(a.net.verify_key("a"), Some([3; 32]));
    assert_eq!(a.net.verify_key("b"), Some([3; 32]), "before it was ever seen");
    assert_eq!(a.net.verify_key("c"), None);
    let c = Node::start("signs", "c", 3, &keys[2], members()).await;
    c.reaches(&mut a, b"x").await;
    assert_eq!(a.net.verify_key("c"), Some([3; 32]));
}

#[tokio::test]
async fn a_row_that_has_expired_checks_no_signature_nor_do_lists_that_differ() {
    let keys = identities::<4>();
    let [one, two] = [3, 4].map(|byte| VerifyKey::from_bytes([byte; 32]));
    let list = |text: String| Policy::allow_list(AllowList::parse(&text).unwrap(), "members");
    let past = list(format!(
        "{} a\n{} b sign={one} expires=2020-01-01\n{} c sign={one}",
        keys[0].public_key(),
        keys[1].public_key(),
        keys[2].public_key()
    ));
    let a = Node::start("expired", "a", 1, &keys[0], past.clone()).await;
    assert_eq!((a.net.verify_key("b"), a.net.verify_key("c")), (None, Some([3; 32])));
    for (at, sign, known) in [("same", one, Some([3; 32])), ("differ", two, None)] {
        let both = past.clone().or(list(format!("{} c sign={sign}", keys[3].public_key())));
        let a = Node::start(at, "a", 1, &keys[0], both).await;
        assert_eq!(a.net.verify_key("c"), known);
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_names_every_node_lets_nobody_invent_one() {
    let folder = tempfile::tempdir().unwrap();
    let keys = identities::<2>();
    let path = folder.path().join("members");
    write(&path, &[(&keys[1], "b")]);
    let a = Node::start("names", "a", 1, &keys[0], Policy::allow_file(&path).unwrap()).await;
    let admits = |a: &Node| ["a", "b", "invented"].map(|name| a.net.admits(name));
    assert_eq!(admits(&a), [true, true, false]);
    // One without a name may be called anything.
    write(&path, &[(&keys[1], ""), (&keys[0], "a")]);
    a.until(|a| admits(a) == [true; 3]).await;
    let b = Node::start("names", "b", 2, &keys[1], all(&keys)).await;
    assert_eq!(admits(&b), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_takes_and_makes_no_links() {
    let keys = identities::<2>();
    let a = Node::start("leaves", "a", 1, &keys[0], all(&keys)).await;
    let mut b = Node::start("leaves", "b", 2, &keys[1], all(&keys)).await;
    a.reaches(&mut b, b"one").await;
    a.net.close();
    b.until(|b| b.net.stats().links == 0).await;
    b.net.send(a.at, Bytes::from_static(b"x"));
    a.net.send(b.at, Bytes::from_static(b"x"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((a.net.stats().links, b.net.stats().links), (0, 0));
}
