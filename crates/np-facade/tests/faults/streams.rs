//! Faults of a middlebox: what it does to bytes on their way, and to the connections that carry them.

use std::sync::Arc;
use std::time::Duration;

use np_facade::{Client, ClientBuilder};
use tokio::time::{sleep, timeout};

use crate::house::{House, RECORD, lifetime};
use crate::kind::certificates;
use crate::load::{CALLS, Load, Tally};
use crate::matrix::{Cell, row};
use crate::middlebox::{Fault, Middlebox, Strike};

/// Longer than anything of a run but a deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn patient(client: ClientBuilder) -> ClientBuilder {
    client
        .exactly_once()
        .lifetime(lifetime())
        .reconnect_delay(Duration::from_millis(5))
        .max_reconnect_delay(Duration::from_millis(100))
        .handshake_timeout(Duration::from_secs(1))
        .progress_timeout(RECORD)
}

pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !done().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("after {PATIENCE:?} it is not so that {what}"));
}

async fn struck(fault: Fault, cell: Cell) -> Result<Tally, String> {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), cell.rng());
    let house = House::start(cell.kind, folder.path()).await;
    let at = cell.kind.place(folder.path(), "middlebox");
    let (middlebox, at) = Middlebox::start(at, house.place.clone()).await.unwrap();
    let client = patient(cell.kind.client(&at, &certificates())).connect().await.unwrap();
    let strikes: Vec<_> = (0..rng.between(1, 3)).map(|_| Strike::draw(fault, cell.side, &mut rng)).collect();
    let planned = strikes.len() as u64;
    middlebox.plan(strikes);
    let load = Load::new(0);
    let workers = load.start(&client, rng.next_u64());
    until("every strike has met a connection", async || middlebox.is_done() && load.ended() >= CALLS).await;
    assert_eq!(middlebox.struck(), planned);
    if fault.is_deadly() {
        // Each that was met is over, and another stands in its place.
        until("another connection stands for each that was struck", async || middlebox.connections() > planned).await;
    }
    load.finish(workers).await;
    works_again(&load, &client, &house).await;
    load.judge(folder.path(), true)
}

/// What must be so once a fault is over: calls go through, and no dead connection is left.
pub(crate) async fn works_again(load: &Arc<Load>, client: &Client, house: &House) {
    let before = load.answered();
    until("a new call is answered", async || {
        let id = load.next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        load.call(client, id, &mut np_testkit::Rng::new(id)).await;
        load.answered() > before
    })
    .await;
    until("one connection is left", async || house.connections().await == 1).await;
}

#[test]
fn calls_outlast_delays() {
    row("delay", |cell| struck(Fault::Delay, cell));
}

#[test]
fn calls_outlast_lost_bytes() {
    row("loss", |cell| struck(Fault::Loss, cell));
}

#[test]
fn calls_outlast_reordered_bytes() {
    row("reorder", |cell| struck(Fault::Reorder, cell));
}

#[test]
fn calls_outlast_duplicated_bytes() {
    row("duplicate", |cell| struck(Fault::Duplicate, cell));
}

#[test]
fn calls_outlast_partitions() {
    row("partition", |cell| struck(Fault::Partition, cell));
}

#[test]
fn half_open_connections_are_found_and_their_calls_answered() {
    row("half-open", |cell| struck(Fault::HalfOpen, cell));
}

#[test]
fn calls_outlast_resets() {
    row("reset", |cell| struck(Fault::Reset, cell));
}

#[test]
fn calls_outlast_cuts_in_mid_frame() {
    row("cut", |cell| struck(Fault::Cut, cell));
}

#[test]
fn calls_outlast_bytes_that_come_alone() {
    row("byte-at-a-time", |cell| struck(Fault::Dribble, cell));
}

#[test]
fn calls_outlast_flipped_bits() {
    row("bit-flip", |cell| struck(Fault::Flip, cell));
}
