//! Tests of the book of links.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{PeerIdentity, PublicKey};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Announcement, BAN, Book, LONGEST_PAUSE, Lie, Listed, MAX_OWN, MAX_PEERS, Newcomer, NodeKey, OWN, Reached, Refused,
    Registered, Stop, Unbound, Want, is_mark, mark,
};

fn at(port: u16) -> SocketAddr {
    ([10, 0, 0, 1], port).into()
}

fn said(name: &str, port: u16, instance: u8) -> Announcement {
    Announcement::new("shop".to_owned(), name.to_owned(), at(port), [instance; 16])
}

/// The book of the node `m` at port 1000.
fn book() -> Book {
    let mut book = Book::default();
    book.open(said("m", 1_000, 0));
    book
}

type Link = (Registered, oneshot::Receiver<Stop>);

fn comes(book: &mut Book, byte: u8, said: &Announcement, dialed: Option<SocketAddr>) -> Result<Link, Refused> {
    let identity = PeerIdentity::Noise(PublicKey::from_bytes([byte; 32]));
    let key = NodeKey::of(&identity).unwrap();
    let newcomer = Newcomer { key, identity: &identity, said, listed: Listed::default(), dialed };
    book.register(&newcomer, Instant::now())
}

fn key(byte: u8) -> NodeKey {
    NodeKey::Noise(PublicKey::from_bytes([byte; 32]))
}

fn message() -> Option<Bytes> {
    Some(Bytes::from_static(b"x"))
}

#[tokio::test]
async fn of_two_links_that_are_made_at_once_that_of_the_smaller_name_stays() {
    for (name, dialed_stays) in [("a", false), ("z", true)] {
        // In either order of their coming.
        for dialed_first in [true, false] {
            let mut book = book();
            let how = |dialed: bool| dialed.then_some(at(1));
            let (_, mut first) = comes(&mut book, 1, &said(name, 1, 1), how(dialed_first)).unwrap();
            let second = comes(&mut book, 1, &said(name, 1, 1), how(!dialed_first));
            if dialed_first == dialed_stays {
                assert!(matches!(second, Err(Refused::Duplicate)), "{name}");
                first.try_recv().unwrap_err();
            } else {
                second.unwrap();
                assert_eq!(first.try_recv(), Ok(Stop::Replaced), "{name}");
            }
            assert_eq!(book.links(), 1);
        }
    }
}

#[tokio::test]
async fn a_node_that_started_again_takes_the_place_of_its_former_self() {
    for (before, after) in [(None, None), (None, Some(at(1))), (Some(at(1)), None)] {
        let mut book = book();
        let (_, mut old) = comes(&mut book, 1, &said("a", 1, 1), before).unwrap();
        comes(&mut book, 1, &said("a", 1, 2), after).unwrap();
        assert_eq!(old.try_recv(), Ok(Stop::Replaced));
        assert_eq!(book.links(), 1);
    }
}

#[tokio::test]
async fn the_end_of_a_link_that_was_replaced_ends_no_other() {
    let mut book = book();
    let (old, _) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    let (new, _stop) = comes(&mut book, 1, &said("a", 2, 2), None).unwrap();
    book.ended(&old, Instant::now(), 0);
    assert_eq!(book.links(), 1);
    assert_eq!(book.want(new.at.get(), message(), Instant::now()), Want::Waits);
    assert_eq!(book.want(old.at.get(), message(), Instant::now()), Want::Lost);
}

#[tokio::test]
async fn attempts_are_made_one_at_a_time_and_pause_ever_longer() {
    let mut book = book();
    let mut now = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(book.want(at(1), message(), now), Want::Dial(at(1)));
        assert_eq!(book.want(at(1), message(), now), Want::Waits, "one attempt is enough");
        book.attempted(at(1), true, now, u64::MAX);
        let begun = now;
        while book.want(at(1), None, now) == Want::Lost {
            now += Duration::from_millis(50);
        }
        book.attempted(at(1), false, now, 0);
        pauses.push(now - begun);
    }
    assert!(pauses.is_sorted() && pauses[0] <= Duration::from_millis(150), "{pauses:?}");
    assert!(*pauses.last().unwrap() <= LONGEST_PAUSE + Duration::from_millis(50), "{pauses:?}");
}

#[tokio::test]
async fn a_link_that_stood_is_made_again_without_a_long_pause_and_one_that_never_stands_is_not() {
    let mut book = book();
    let now = Instant::now();
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), Some(at(1))).unwrap();
    book.ended(&link, now + Duration::from_secs(60), u64::MAX);
    assert_eq!(book.want(at(1), None, now + Duration::from_millis(60_101)), Want::Dial(at(1)));
    book.attempted(at(1), false, now, 0);
    for _ in 0..8 {
        let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), Some(at(1))).unwrap();
        book.ended(&link, Instant::now(), u64::MAX);
    }
    assert_eq!(book.want(at(1), None, Instant::now() + Duration::from_secs(4)), Want::Lost);
}

#[tokio::test]
async fn so_many_addresses_are_known_and_not_one_more_until_one_is_wanted_no_longer() {
    let mut book = book();
    let now = Instant::now();
    for port in 1..=MAX_PEERS as u16 {
        let to = SocketAddr::from(([10, 0, 0, 2], port));
        assert_eq!(book.want(to, message(), now), Want::Dial(to));
        book.attempted(to, true, now, 0);
    }
    assert_eq!(book.want(at(1), message(), now), Want::Lost);
    let later = now + Duration::from_secs(61);
    assert_eq!(book.want(at(1), message(), later), Want::Dial(at(1)));
    assert_eq!(book.peers.len(), 1);
}

#[tokio::test]
async fn what_is_for_this_node_goes_nowhere_until_its_address_may_lead_elsewhere() {
    let mut book = book();
    let now = Instant::now();
    assert_eq!(book.want(at(1_000), message(), now), Want::Own);
    // Another address that turned out to lead here.
    assert_eq!(book.want(at(7), message(), now), Want::Dial(at(7)));
    assert!(matches!(comes(&mut book, 1, &said("m", 1_000, 0), Some(at(7))), Err(Refused::Itself)));
    book.attempted(at(7), true, now, 0);
    assert_eq!(book.want(at(7), message(), now + BAN), Want::Own);
    // It may lead to somebody else one day, while the node's own stays its own.
    let later = Instant::now() + OWN;
    assert_eq!(book.want(at(7), message(), later), Want::Dial(at(7)));
    assert_eq!(book.want(at(1_000), message(), later), Want::Own);
    // Whoever tells of many that lead here does not make this node remember all.
    for port in 0..1_000 {
        book.is_own(SocketAddr::from(([127, 0, 0, 9], port)), later + Duration::from_millis(port.into()));
    }
    assert_eq!(book.own.len(), MAX_OWN);
    assert_eq!(book.want(SocketAddr::from(([127, 0, 0, 9], 999)), message(), later), Want::Own);
}

fn reached(book: &mut Book, to: SocketAddr, byte: u8) -> Reached {
    book.reached(to, key(byte), Instant::now())
}

#[tokio::test]
async fn an_address_is_a_nodes_once_it_has_answered_there() {
    let mut book = book();
    let now = Instant::now();
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    assert!(is_mark(link.at.get()), "it only says so");
    assert_eq!(link.claim, Some(at(1)));
    assert_eq!(book.want(at(1), message(), now), Want::Dial(at(1)));
    assert_eq!(reached(&mut book, at(1), 1), Reached { linked: true, liars: 0 });
    book.attempted(at(1), false, now, 0);
    assert_eq!(link.at.get(), at(1));
    assert_eq!(link.queue.drain().len(), 1, "what waited goes over the link");
    assert_eq!(book.want(at(1), message(), now), Want::Waits);
    // It is known from then on, and asked no more.
    book.ended(&link, now, 0);
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 2), None).unwrap();
    assert_eq!((link.at.get(), link.claim), (at(1), None));
    book.ended(&link, now, 0);
    assert_eq!(book.peers.len(), 1, "the marks are gone with their links");
}

#[tokio::test]
async fn a_member_that_announces_the_address_of_another_neither_locks_it_out_nor_speaks_as_it() {
    let mut book = book();
    let now = Instant::now();
    // The other is away, and was never seen here.
    let (liar, mut stop) = comes(&mut book, 2, &said("b", 1, 2), None).unwrap();
    assert_ne!(liar.at.get(), at(1));
    // It comes, by itself and where it is.
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    assert_eq!(reached(&mut book, at(1), 1), Reached { linked: true, liars: 1 });
    assert_eq!((stop.try_recv(), link.at.get()), (Ok(Stop::Elsewhere), at(1)));
    let error = comes(&mut book, 2, &said("b", 1, 2), None).unwrap_err();
    assert!(matches!(error, Refused::Unbound(Unbound::Lie(Lie::AddressTaken { .. }))), "{error}");
    // Away again, it keeps the address until another answers there.
    book.ended(&link, now, 0);
    let (liar, _stop) = comes(&mut book, 2, &said("b", 1, 2), None).unwrap();
    assert!(is_mark(liar.at.get()));
    let (link, mut own) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    assert_eq!(link.at.get(), at(1));
    assert_eq!(reached(&mut book, at(1), 2), Reached { linked: true, liars: 1 });
    assert_eq!((own.try_recv(), liar.at.get()), (Ok(Stop::Elsewhere), at(1)));
}

#[tokio::test]
async fn a_node_that_nobody_reaches_gets_its_messages_by_its_own_link() {
    let mut book = book();
    let now = Instant::now();
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    assert_eq!(book.want(at(1), message(), now), Want::Dial(at(1)));
    book.attempted(at(1), true, now, u64::MAX);
    assert_eq!(book.want(at(1), message(), now), Want::Waits);
    assert_eq!(link.queue.drain().len(), 2);
    assert!(is_mark(link.at.get()));
}

#[tokio::test]
async fn marks_of_links_lead_nowhere_else() {
    let mut book = book();
    let error = comes(&mut book, 1, &Announcement::new("shop".into(), "a".into(), mark(7), [1; 16]), None).unwrap_err();
    assert!(error.to_string().contains("--advertise"), "{error}");
    assert_eq!(book.want(mark(7), message(), Instant::now()), Want::Lost);
    assert!(!is_mark(at(1)) && !is_mark("[2001:db8::1]:1".parse().unwrap()) && is_mark(mark(u64::MAX)));
}

#[tokio::test]
async fn a_node_may_announce_another_address_than_it_was_reached_at_and_that_is_forgotten_with_its_link() {
    let mut book = book();
    let now = Instant::now();
    assert_eq!(book.want(at(7), message(), now), Want::Dial(at(7)));
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), Some(at(7))).unwrap();
    book.attempted(at(7), false, now, 0);
    assert_eq!((link.at.get(), link.claim), (at(7), Some(at(1))));
    assert_eq!(reached(&mut book, at(1), 1), Reached { linked: true, liars: 0 });
    // A second one that leads there, too.
    assert_eq!(book.want(at(8), message(), now), Want::Dial(at(8)));
    assert_eq!(reached(&mut book, at(8), 1), Reached { linked: true, liars: 0 });
    assert_eq!(link.queue.drain().len(), 2, "what waited goes to the node");
    for to in [1, 7, 8] {
        assert_eq!(book.want(at(to), message(), now), Want::Waits, "{to}");
    }
    assert_eq!(link.queue.drain().len(), 3);
    // The link is over: who is there now shows when they are dialed.
    book.ended(&link, now, 0);
    for to in [7, 8] {
        assert_eq!(book.want(at(to), message(), now), Want::Dial(at(to)));
    }
    assert!(book.aliases.is_empty());
    let (_, _stop) = comes(&mut book, 2, &said("b", 7, 2), Some(at(7))).unwrap();
    assert_eq!(book.want(at(1), message(), now + Duration::from_secs(1)), Want::Dial(at(1)));
}

#[tokio::test]
async fn whoever_is_banned_is_cut_off_and_kept_out_for_a_while_and_others_are_not() {
    let mut book = book();
    let now = Instant::now();
    let (_, mut stop) = comes(&mut book, 1, &said("a", 1, 1), Some(at(1))).unwrap();
    let (_, mut other) = comes(&mut book, 2, &said("b", 2, 2), Some(at(2))).unwrap();
    book.ban(key(1), now);
    assert_eq!(stop.try_recv(), Ok(Stop::Garbage));
    other.try_recv().unwrap_err();
    assert!(matches!(comes(&mut book, 1, &said("a", 1, 1), None), Err(Refused::KeptOut)));
    assert_eq!(book.want(at(1), message(), now), Want::Lost);
    assert_eq!(book.want(at(2), message(), now), Want::Waits);
    assert!(!book.is_banned(key(1), now + BAN));
}

#[tokio::test]
async fn a_retired_key_loses_its_link_and_its_name() {
    let mut book = book();
    let (_, mut stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    assert!(matches!(comes(&mut book, 2, &said("a", 2, 2), None), Err(Refused::Unbound(_))));
    assert_eq!(book.retire(key(1), Stop::Retired, Instant::now()).unwrap().name, "a");
    assert_eq!(stop.try_recv(), Ok(Stop::Retired));
    assert!(book.retire(key(1), Stop::Retired, Instant::now()).is_none());
    comes(&mut book, 2, &said("a", 2, 2), None).unwrap();
}

#[tokio::test]
async fn another_cluster_and_a_node_that_has_left_take_nobody() {
    let mut book = book();
    let mut stranger = said("a", 1, 1);
    stranger.cluster = "bank".to_owned();
    let error = comes(&mut book, 1, &stranger, None).unwrap_err();
    assert!(error.to_string().contains("the cluster `shop`, and the peer to `bank`"), "{error}");
    let (_, mut stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    book.close(Instant::now());
    assert_eq!(stop.try_recv(), Ok(Stop::Closed));
    assert!(matches!(comes(&mut book, 1, &said("a", 1, 1), None), Err(Refused::Closed)));
    assert_eq!(book.want(at(1), message(), Instant::now()), Want::Lost);
}
