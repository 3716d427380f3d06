//! Tests of the book of links.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use np_facade::{PeerIdentity, PublicKey};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{
    Announcement, BAN, Book, LONGEST_PAUSE, Listed, MAX_PEERS, Newcomer, NodeKey, Refused, Registered, Stop, Want,
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
    let _new = comes(&mut book, 1, &said("a", 2, 2), None).unwrap();
    book.ended(&old, Instant::now(), 0);
    assert_eq!(book.links(), 1);
    assert_eq!(book.want(at(2), message(), Instant::now()), Want::Waits);
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
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    book.ended(&link, now + Duration::from_secs(60), u64::MAX);
    assert_eq!(book.want(at(1), None, now + Duration::from_millis(60_101)), Want::Dial(at(1)));
    book.attempted(at(1), false, now, 0);
    for _ in 0..8 {
        let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
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
async fn what_is_for_this_node_goes_nowhere() {
    let mut book = book();
    let now = Instant::now();
    assert_eq!(book.want(at(1_000), message(), now), Want::Own);
    // Another address that turned out to lead here.
    assert_eq!(book.want(at(7), message(), now), Want::Dial(at(7)));
    assert!(matches!(comes(&mut book, 1, &said("m", 1_000, 0), Some(at(7))), Err(Refused::Itself)));
    book.attempted(at(7), true, now, 0);
    assert_eq!(book.want(at(7), message(), now + BAN), Want::Own);
}

#[tokio::test]
async fn a_node_may_announce_another_address_than_it_was_reached_at() {
    let mut book = book();
    let now = Instant::now();
    assert_eq!(book.want(at(7), message(), now), Want::Dial(at(7)));
    let (link, _stop) = comes(&mut book, 1, &said("a", 1, 1), Some(at(7))).unwrap();
    book.attempted(at(7), false, now, 0);
    assert_eq!(link.queue.drain().len(), 1, "what waited goes to the node");
    assert_eq!(book.want(at(7), message(), now), Want::Waits);
    assert_eq!(book.want(at(1), message(), now), Want::Waits);
    assert_eq!(link.queue.drain().len(), 2);
    assert_eq!(book.key_at(at(7)), Some(key(1)));
}

#[tokio::test]
async fn whoever_is_banned_is_cut_off_and_kept_out_for_a_while_and_others_are_not() {
    let mut book = book();
    let now = Instant::now();
    let (_, mut stop) = comes(&mut book, 1, &said("a", 1, 1), None).unwrap();
    let (_, mut other) = comes(&mut book, 2, &said("b", 2, 2), None).unwrap();
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
    assert!(matches!(comes(&mut book, 2, &said("a", 2, 2), None), Err(Refused::Lie(_))));
    assert_eq!(book.retire(key(1)).unwrap().name, "a");
    assert_eq!(stop.try_recv(), Ok(Stop::Retired));
    assert!(book.retire(key(1)).is_none());
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
    book.close();
    assert_eq!(stop.try_recv(), Ok(Stop::Closed));
    assert!(matches!(comes(&mut book, 1, &said("a", 1, 1), None), Err(Refused::Closed)));
    assert_eq!(book.want(at(1), message(), Instant::now()), Want::Lost);
}
