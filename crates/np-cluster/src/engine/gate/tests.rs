//! What passes the gate, one message at a time: no engine is at work here, and no link.

use std::time::Duration;

use super::super::Stored;
use super::super::message::{put_id, put_text};
use super::*;
use crate::limits::{STARTS_OF_THIS, STARTS_TOLD};

/// The time of day at which every test starts.
const NOW: u64 = 1_767_225_600_000;

/// Links that have proven two names, and a list that leaves one out.
struct Proven;

impl Links for Proven {
    fn send(&self, _to: SocketAddr, _message: Bytes) {}

    fn refuse(&self, _sender: crate::links::NodeKey) {}

    fn name_at(&self, from: SocketAddr) -> Option<String> {
        [(at(1), "a"), (at(2), "b")].into_iter().find(|(at, _)| *at == from).map(|(_, name)| name.to_owned())
    }

    fn admits(&self, name: &str) -> bool {
        name != "unlisted"
    }
}

/// What the engine has: a node at most, and one key of it.
#[derive(Default)]
struct Has {
    node: Option<NodeInfo>,
    key: Option<(&'static str, String)>,
}

impl Store for Has {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.node.iter().cloned().collect()
    }

    fn info(&self, id: &NodeId) -> Option<NodeInfo> {
        self.node.clone().filter(|node| node.id == *id)
    }

    fn get(&self, id: &NodeId, key: &str) -> Option<Stored<'_>> {
        let NodeInfo { version, .. } = self.info(id)?;
        let (_, text) = self.key.as_ref().filter(|(name, _)| *name == key)?;
        Some(Stored { text, version, deleted: false })
    }

    fn each(&self, _id: &NodeId, _see: &mut dyn FnMut(&str, Stored<'_>)) {}

    fn set(&mut self, _key: &str, _text: &str) {}

    fn delete(&mut self, _key: &str) {}

    fn outrun(&mut self, _heartbeat: u64, _version: u64) {}

    fn clear(&mut self, _id: &NodeId) {}
}

fn at(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 7400).into()
}

fn own() -> NodeId {
    NodeId { name: "own".into(), generation: NOW - 1_000, address: at(0) }
}

fn gate(limits: Limits) -> Gate {
    Gate::new(own(), "c", Clock::Virtual { base: NOW, at: Instant::now() }, limits, Arc::new(Proven))
}

fn id(name: &str, generation: u64, number: u8) -> Id<'_> {
    Id { name, generation, address: at(number) }
}

fn owned(id: Id<'_>) -> NodeId {
    NodeId { name: id.name.into(), generation: id.generation, address: id.address }
}

/// What the engine has of a start of a node.
fn info(id: NodeId, heartbeat: u64, version: u64) -> NodeInfo {
    NodeInfo { id, heartbeat, version, cleared: 0 }
}

fn told(id: Id<'_>, heartbeat: u64, cleared: u64, version: u64) -> Digested<'_> {
    Digested { id, heartbeat, cleared, version }
}

fn message(kind: Kind, digest: &[Digested<'_>], blocks: &[u8]) -> Vec<u8> {
    let cluster = if kind == Kind::Syn { "c" } else { "" };
    Message { kind, digest: digest.to_vec(), cluster, blocks: &[] }.write(blocks)
}

/// A syn that tells of nodes.
fn syn<'a>(nodes: impl IntoIterator<Item = Id<'a>>) -> Vec<u8> {
    message(Kind::Syn, &nodes.into_iter().map(|id| told(id, 1, 0, 1)).collect::<Vec<_>>(), &[])
}

/// A change of a node: what is cleared, and entries of keys, values and versions.
fn change(id: &Id<'_>, cleared: u64, entries: &[(&str, &str, u64)]) -> Vec<u8> {
    let mut bytes = vec![0];
    put_id(&mut bytes, id);
    [cleared, 0].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    for (key, text, version) in entries {
        bytes.push(1);
        put_text(&mut bytes, key);
        put_text(&mut bytes, text);
        bytes.extend(version.to_le_bytes());
        bytes.push(0);
    }
    bytes
}

fn blocks(changes: &[Vec<u8>]) -> Vec<u8> {
    changes::write(&changes::read(&changes.concat(), Excess::Refuse).unwrap(), false)
}

fn ack(changes: &[Vec<u8>]) -> Vec<u8> {
    message(Kind::Ack, &[], &blocks(changes))
}

/// How many nodes a message tells of once it has passed.
fn passed(gate: &Gate, from: u8, bytes: &[u8]) -> usize {
    let bytes = gate.incoming(at(from), bytes, &Has::default()).unwrap();
    Message::read(&bytes).unwrap().digest.len()
}

/// The changes of a message: their nodes, and how many entries each has.
fn changed(bytes: &[u8]) -> Vec<(String, usize)> {
    let blocks = Message::read(bytes).unwrap().blocks;
    let unfolded = changes::unfold(blocks, DECODED_MAX, Excess::Refuse).unwrap();
    let changes = changes::read(&unfolded, Excess::Refuse).unwrap();
    changes.iter().map(|change| (change.id.name.to_owned(), change.entries.len())).collect()
}

/// What is left of changes that have passed.
fn left(gate: &Gate, store: &Has, changes: &[Vec<u8>]) -> Vec<(String, usize)> {
    changed(&gate.incoming(at(9), &ack(changes), store).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_most_bytes_is_read_and_one_of_a_byte_more_is_not() {
    let gate = gate(Limits::default());
    let cluster = "x".repeat(MESSAGE_MAX);
    let syn =
        |len: usize| Message { kind: Kind::Syn, digest: Vec::new(), cluster: &cluster[..len], blocks: &[] }.write(&[]);
    let most = syn(MESSAGE_MAX - 8);
    assert_eq!(most.len(), MESSAGE_MAX);
    assert!(gate.incoming(at(1), &most, &Has::default()).is_ok());
    assert!(gate.incoming(at(1), &syn(MESSAGE_MAX - 7), &Has::default()).is_err());
    assert_eq!(gate.stats().messages, 1);
    gate.count_garbage();
    gate.count_garbage();
    assert_eq!(gate.stats().refused, 2);
}

#[test]
fn a_message_that_is_read_again_tells_of_its_nodes_and_entries() {
    let digest = [1, 2, 3].map(|start| told(id("a", start, 1), 1, 0, 1));
    let changes =
        [change(&id("a", 1, 1), 0, &[("k", "v", 1), ("l", "v", 2)]), change(&id("b", 1, 2), 0, &[("k", "v", 1)])];
    let bytes = message(Kind::SynAck, &digest, &blocks(&changes));
    let read = reread(&bytes, bytes.len()).unwrap();
    assert_eq!((read.written, read.nodes, read.entries), (bytes.clone(), 5, 3));
    assert!(reread(&bytes, bytes.len() + 1).is_ok());
    assert!(reread(&bytes, bytes.len() - 1).is_err());
}

#[tokio::test(start_paused = true)]
async fn of_another_cluster_nothing_is_taken() {
    let gate = gate(Limits::default());
    let nodes = [told(id("a", 1, 1), 1, 0, 1)];
    let other = Message { kind: Kind::Syn, digest: nodes.to_vec(), cluster: "another", blocks: &[] }.write(&[]);
    let passed = gate.incoming(at(1), &other, &Has::default()).unwrap();
    let read = Message::read(&passed).unwrap();
    assert_eq!((read.digest.len(), read.cluster, gate.stats().wrong_cluster), (0, "another", 1));
    let refusal = message(Kind::BadCluster, &[], &[]);
    assert_eq!(gate.incoming(at(1), &refusal, &Has::default()).unwrap(), refusal);
    assert_eq!((gate.stats().wrong_cluster, gate.heard(&owned(id("a", 1, 1)))), (2, None));
    // The kinds that do not name their cluster are of this one.
    for bytes in [syn([id("a", 1, 1)]), message(Kind::SynAck, &nodes, &[0]), message(Kind::Ack, &[], &[0])] {
        assert_eq!(gate.incoming(at(1), &bytes, &Has::default()).unwrap(), bytes);
    }
    let stats = gate.stats();
    assert_eq!((stats.messages, stats.wrong_cluster, stats.over_limit, stats.impersonations), (5, 2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn as_many_members_are_heard_as_there_may_be_nodes() {
    let gate = gate(Limits { nodes: 2, ..Limits::default() });
    let node = |number| owned(id("any", 1, number));
    let first = Instant::now();
    for number in 3..6 {
        passed(&gate, number, &syn([]));
    }
    assert_eq!([3, 4, 5].map(|number| gate.heard(&node(number))), [Some(first), Some(first), None]);
    tokio::time::advance(Duration::from_secs(1)).await;
    passed(&gate, 4, &syn([]));
    assert_eq!(gate.heard(&node(4)), Some(first + Duration::from_secs(1)));
    assert_eq!(gate.first_told(), None);
    passed(&gate, 4, &message(Kind::SynAck, &[], &[0]));
    tokio::time::advance(Duration::from_secs(1)).await;
    passed(&gate, 4, &message(Kind::SynAck, &[], &[0]));
    assert_eq!(gate.first_told(), Some(first + Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_start_is_heard_that_says_itself_which_it_is() {
    let gate = gate(Limits::default());
    let heard = |name, start| gate.heard(&owned(id(name, start, 1))).is_some();
    assert!(!heard("a", 5));
    // Of others at its address nothing is said, and of itself neither: it may be any.
    passed(&gate, 1, &syn([id("b", 7, 1)]));
    assert!(heard("a", 5) && heard("a", 6));
    // It tells of its earlier starts, too.
    passed(&gate, 1, &syn([id("a", 4, 1), id("a", 5, 1), id("a", 3, 1), id("b", 7, 1)]));
    assert!(heard("a", 5));
    assert!(!heard("a", 6) && !heard("a", 4) && !heard("b", 5) && !heard("b", 7));
}

#[tokio::test(start_paused = true)]
async fn members_that_have_a_version_of_this_node_are_counted() {
    let gate = gate(Limits::default());
    let this = own();
    for (from, version) in [(1, 3), (2, 4), (3, 5)] {
        passed(&gate, from, &message(Kind::Syn, &[told(Id::of(&this), 1, 0, version)], &[]));
    }
    // Who says nothing of it has what it had.
    passed(&gate, 3, &syn([]));
    passed(&gate, 4, &syn([]));
    assert_eq!([0, 3, 4, 5, 6].map(|version| gate.have(version)), [4, 3, 2, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn more_of_this_node_than_there_is_is_noted_as_far_as_it_can_be() {
    let gate = gate(Limits::default());
    let this = own();
    let store = Has { node: Some(info(own(), 10, 20)), key: None };
    let hear = |heartbeat, cleared, version| {
        let message = message(Kind::Syn, &[told(Id::of(&this), heartbeat, cleared, version)], &[]);
        gate.incoming(at(1), &message, &store).unwrap();
        gate.stats().impersonations
    };
    let most = most_counted(this.generation, NOW);
    assert_eq!([hear(10, 20, 20), hear(9, 19, 19), hear(most + 1, most + 1, most + 1)], [0; 3]);
    assert_eq!(gate.take_overtaken(), Overtaken::default());
    assert_eq!([hear(11, 0, 20), hear(11, 0, 20), hear(10, 21, 5), hear(10, 0, 22), hear(10, 0, 21)], [1, 1, 2, 3, 3]);
    assert_eq!(gate.take_overtaken(), Overtaken { heartbeat: 11, version: 22 });
    assert_eq!(hear(most, 0, most), 4);
    assert_eq!(gate.take_overtaken(), Overtaken { heartbeat: most, version: most });
    assert_eq!(gate.take_overtaken(), Overtaken::default());
}

#[tokio::test(start_paused = true)]
async fn nobody_tells_of_a_later_start_of_this_node() {
    let gate = gate(Limits::default());
    let this = own();
    assert_eq!(passed(&gate, 1, &syn([Id::of(&this)])), 1);
    assert_eq!(gate.stats().impersonations, 0);
    for (name, start, number) in [("own", this.generation, 9), ("own", this.generation + 1, 0)] {
        assert_eq!(passed(&gate, 1, &syn([id(name, start, number)])), 0);
    }
    assert_eq!(gate.stats().impersonations, 2);
    // Others start later than this node, and this node has started before.
    for (name, start) in [("b", this.generation + 1), ("b", this.generation - 1), ("own", this.generation - 1)] {
        assert_eq!(passed(&gate, 1, &syn([id(name, start, 9)])), 1, "{name}");
    }
    assert_eq!((gate.stats().impersonations, gate.stats().over_limit), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_cannot_have_counted_up_to_is_cut() {
    let gate = gate(Limits::default());
    let start = NOW - 5_000;
    let most = 605_000 * COUNTS_A_MILLISECOND;
    let hear = |heartbeat, cleared, version| {
        let message = message(Kind::Syn, &[told(id("b", start, 2), heartbeat, cleared, version)], &[]);
        let bytes = gate.incoming(at(1), &message, &Has::default()).unwrap();
        let Digested { heartbeat, cleared, version, .. } = Message::read(&bytes).unwrap().digest[0];
        (heartbeat, cleared, version, gate.stats().over_limit)
    };
    assert_eq!(hear(most, most, most), (most, most, most, 0));
    assert_eq!(hear(most + 1, 1, 2), (most, 1, 2, 1));
    assert_eq!(hear(3, most + 1, 2), (3, most, 2, 2));
    assert_eq!(hear(3, 1, most + 9), (3, 1, most, 3));
    // One that starts later than now may be that far ahead, too.
    assert_eq!((most_counted(NOW + 700_000, NOW), most_counted(NOW, NOW)), (600_000_000, 600_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_listed_or_starts_too_far_ahead_is_none() {
    let gate = gate(Limits::default());
    let ahead = NOW + millis(AHEAD_MAX);
    assert_eq!(passed(&gate, 1, &syn([id("b", ahead, 2)])), 1);
    assert_eq!(gate.stats().over_limit, 0);
    assert_eq!(passed(&gate, 1, &syn([id("b", ahead + 1, 2), id("unlisted", 1, 3)])), 0);
    assert_eq!(gate.stats().over_limit, 2);
    // Nor have they keys.
    assert_eq!(left(&gate, &Has::default(), &[change(&id("unlisted", 1, 3), 0, &[])]), []);
}

#[tokio::test(start_paused = true)]
async fn a_member_speaks_for_itself_and_for_others_as_one_of_them() {
    let gate = gate(Limits::default());
    let starts = |name: &'static str, number| (1..=100).map(move |start| id(name, start, number));
    // In a message in which a node tells of its last start, and of many others.
    let all = starts("b", 2).chain(starts("own", 0)).chain([id("a", 100, 1)]);
    assert_eq!(passed(&gate, 1, &syn(all)), STARTS_TOLD + STARTS_OF_THIS + 1);
    assert_eq!(gate.stats().over_limit as usize, 200 - STARTS_TOLD - STARTS_OF_THIS);
    // Others tell of so many of its starts, and it tells of one more itself.
    assert_eq!(passed(&gate, 2, &syn(starts("a", 1))), STARTS_TOLD + 1);
    assert_eq!(passed(&gate, 1, &syn([id("a", 101, 1)])), 1);
    assert_eq!(passed(&gate, 2, &syn([id("a", 102, 1)])), 0);
    // One that others told of has a place of its own once it has spoken.
    assert_eq!(passed(&gate, 1, &syn([id("a", 1, 1)])), 1);
    assert_eq!(passed(&gate, 2, &syn([id("a", 102, 1)])), 1);
}

#[tokio::test(start_paused = true)]
async fn changes_are_of_nodes_that_are_known_and_not_of_this_one() {
    let (gate, store) = (gate(Limits::default()), Has::default());
    let this = own();
    let earlier = id("own", this.generation - 1, 0);
    passed(&gate, 9, &syn([id("b", NOW, 2), id("gone", NOW, 3), earlier]));
    gate.retire("gone");
    let most = most_counted(NOW, NOW);
    let change = |id, version| change(&id, 0, &[("k", "v", version)]);
    let of_this = [change(Id::of(&this), 9), change(id("own", this.generation + 1, 0), 9)];
    assert_eq!(left(&gate, &store, &of_this), []);
    let all = [
        change(earlier, 9),
        change(id("b", NOW, 2), most),
        change(id("b", NOW + 1, 2), 9),
        change(id("unknown", NOW, 2), 9),
        change(id("gone", NOW, 3), 9),
    ];
    assert_eq!(left(&gate, &store, &all), [("own".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(gate.stats().over_limit, 0);
    assert_eq!(left(&gate, &store, &[change(id("b", NOW, 2), most + 1)]), []);
    assert_eq!(gate.stats().over_limit, 1);
}

#[tokio::test(start_paused = true)]
async fn of_a_change_as_many_entries_pass_as_there_is_room_for() {
    let gate = gate(Limits { keys: 2, ..Limits::default() });
    let (node, other) = (id("b", 1, 2), id("d", 1, 3));
    passed(&gate, 9, &syn([node, other]));
    let hear = |changes: &[Vec<u8>]| (left(&gate, &Has::default(), changes), gate.stats().over_limit);
    // A change without entries leaves out none.
    assert_eq!(hear(&[change(&other, 0, &[])]), (vec![("d".to_owned(), 0)], 0));
    assert_eq!(hear(&[change(&node, 0, &[("k", "v", 1)])]), (vec![("b".to_owned(), 1)], 0));
    let more = [("l", "v", 2), ("m", "v", 3), ("n", "v", 4)];
    assert_eq!(hear(&[change(&node, 0, &more)]), (vec![("b".to_owned(), 1)], 1));
    // Of one whose every entry is left out nothing passes, since it would clear what is there.
    assert_eq!(hear(&[change(&node, 0, &more)]), (vec![], 2));
}

#[tokio::test(start_paused = true)]
async fn an_entry_weighs_its_key_and_value_in_the_place_of_what_is_stored() {
    let gate = gate(Limits { bytes: 50, ..Limits::default() });
    let node = id("b", 1, 2);
    passed(&gate, 9, &syn([node]));
    let value = |len: usize| "v".repeat(len);
    let hear = |store: &Has, cleared, key: &str, len, version| {
        !left(&gate, store, &[change(&node, cleared, &[(key, &value(len), version)])]).is_empty()
    };
    let none = Has::default();
    assert!(!hear(&none, 0, "key", 98, 1));
    assert!(hear(&none, 0, "key", 97, 1));
    let store = Has { node: Some(info(owned(node), 1, 9)), key: Some(("key", value(97))) };
    assert!(!hear(&store, 0, "key", 98, 10));
    assert!(hear(&store, 0, "key", 97, 10));
    assert!(!hear(&store, 0, "k", 0, 10));
    // What the engine has already, or has had, it does not take again, whatever it would weigh.
    assert!(hear(&store, 0, "key", 200, 9) && hear(&store, 0, "gone", 200, 9));
    assert!(!hear(&store, 0, "gone", 200, 10));
    // Where deletions were missed all of it comes anew, and what is stored weighs no more.
    assert!(!hear(&store, 20, "gone", 97, 10) && hear(&store, 20, "gone", 96, 10));
    assert!(!hear(&store, 20, "key", 98, 9));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_engine_has_had_takes_no_place_of_another() {
    let gate = gate(Limits { keys: 1, ..Limits::default() });
    let node = id("b", 1, 2);
    passed(&gate, 9, &syn([node]));
    let store = Has { node: Some(info(owned(node), 1, 9)), key: None };
    let entries = [("gone", "v", 8), ("lost", "v", 9), ("k", "v", 10), ("l", "v", 11)];
    assert_eq!(left(&gate, &store, &[change(&node, 0, &entries)]), [("b".to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_retired_is_heard_from_the_start_on_that_its_node_says() {
    let gate = gate(Limits::default());
    let retired = |start| gate.is_retired(&owned(id("a", start, 1)));
    passed(&gate, 2, &syn([id("a", 5, 1), id("b", 5, 2)]));
    assert!(!retired(5));
    gate.retire("a");
    assert_eq!(gate.take_retired(), [Arc::from("a")]);
    assert!(gate.take_retired().is_empty());
    assert!(retired(5));
    assert_eq!(passed(&gate, 2, &syn([id("a", 5, 1), id("a", 6, 1), id("b", 5, 2)])), 1);
    assert!(retired(6), "others say nothing of it");
    assert_eq!(passed(&gate, 1, &syn([id("a", 6, 1)])), 1);
    assert_eq!([5, 6, 7].map(retired), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_out_as_it_is_where_a_receiver_takes_it() {
    let gate = gate(Limits::default());
    let goes = |bytes: &[u8]| gate.outgoing(bytes.to_vec()).map(|bytes| bytes.to_vec());
    for bytes in [
        syn([id("a", 1, 1)]),
        message(Kind::SynAck, &[told(id("a", 1, 1), 1, 0, 1)], &blocks(&[change(&id("a", 1, 1), 0, &[("k", "v", 1)])])),
        ack(&[change(&id("a", 1, 1), 0, &[("k", "v", 1)])]),
        message(Kind::BadCluster, &[], &[]),
    ] {
        assert_eq!(goes(&bytes), Some(bytes));
    }
    // Whatever is in its blocks: so many of them, and so many bytes.
    let plain = |count: usize, len: usize| {
        let block = [&[2][..], &u16::try_from(len).unwrap().to_le_bytes(), &vec![0; len]].concat();
        message(Kind::Ack, &[], &[block.repeat(count), vec![0]].concat())
    };
    for bytes in [plain(BLOCKS_MAX, 1), plain(1, MESSAGE_MAX - 8)] {
        assert_eq!(goes(&bytes), Some(bytes));
    }
    let whole = [syn([]), vec![0; MESSAGE_MAX]].concat();
    assert_eq!(goes(&whole[..MESSAGE_MAX]).map(|bytes| bytes.len()), Some(MESSAGE_MAX));
    for bytes in [&whole[..=MESSAGE_MAX], &plain(1, MESSAGE_MAX - 7), &[], &[9; 9], &plain(1, 1)[..6]] {
        assert_eq!(goes(bytes), None);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_in_too_many_blocks_go_out_in_fewer() {
    let gate = gate(Limits::default());
    let operations = change(&id("b", 1, 2), 0, &[("k", &"v".repeat(100), 1)]);
    let block = |bytes: &[u8]| [&[2][..], &u16::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat();
    let (front, rest) = operations.split_at(BLOCKS_MAX);
    let blocks: Vec<u8> = front.chunks(1).chain([rest]).flat_map(block).collect();
    let sent = gate.outgoing(message(Kind::Ack, &[], &[blocks, vec![0]].concat())).unwrap();
    assert_eq!(changes::count_blocks(Message::read(&sent).unwrap().blocks), Ok(1));
    assert_eq!(changed(&sent), [("b".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_what_was_retired() {
    let gate = gate(Limits::default());
    gate.retire("gone");
    let digest = [told(id("gone", 1, 3), 1, 0, 1), told(id("b", 1, 2), 1, 0, 1)];
    let changes = [change(&id("gone", 1, 3), 0, &[("k", "v", 1)]), change(&id("b", 1, 2), 0, &[("k", "v", 1)])];
    let sent = gate.outgoing(message(Kind::Syn, &digest, &[])).unwrap();
    assert_eq!(sent, message(Kind::Syn, &digest[1..], &[]));
    for (kind, digest, nodes) in [(Kind::SynAck, &digest[..], 1), (Kind::Ack, &[], 0)] {
        let sent = gate.outgoing(message(kind, digest, &blocks(&changes))).unwrap();
        assert_eq!(changed(&sent), [("b".to_owned(), 1)]);
        assert_eq!(Message::read(&sent).unwrap().digest.len(), nodes);
    }
}

/// Takes up what the engine keeps: these nodes, none with keys.
fn refresh(gate: &Gate, nodes: &[Id<'_>]) {
    let nodes = [own()].into_iter().chain(nodes.iter().copied().map(owned));
    gate.refresh(&nodes.map(|id| (info(id, 1, 1), Kept::default())).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn whose_node_has_gone_is_not_heard_any_more() {
    let gate = gate(Limits::default());
    let nodes = [id("a", 5, 1), id("b", 5, 2)];
    passed(&gate, 1, &syn(nodes));
    passed(&gate, 2, &syn(nodes));
    let heard = || nodes.map(|node| gate.heard(&owned(node)).is_some());
    refresh(&gate, &nodes);
    assert_eq!(heard(), [true, true]);
    refresh(&gate, &nodes[..1]);
    assert_eq!(heard(), [true, false]);
}

#[tokio::test(start_paused = true)]
async fn members_that_are_no_nodes_are_kept_up_to_the_number_of_nodes() {
    let gate = gate(Limits::default());
    refresh(&gate, &[id("b", 1, 2)]);
    let heard = || [4, 5, 6].map(|number| gate.heard(&owned(id("any", 1, number))).is_some());
    for (number, all) in [(4, [true, false, false]), (5, [true, true, false]), (6, [false; 3])] {
        passed(&gate, number, &syn([]));
        refresh(&gate, &[id("b", 1, 2)]);
        assert_eq!(heard(), all);
    }
}
