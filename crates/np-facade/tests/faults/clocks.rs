//! The clock of one side jumps ahead by an hour, as that of a machine that was asleep: every deadline, heartbeat and memory
//! of replies is over at once.

use std::time::Duration;

use crate::house::{House, jump};
use crate::kind::certificates;
use crate::load::{CALLS, Load, Tally};
use crate::matrix::{Cell, row};
use crate::middlebox::Side;
use crate::streams::{patient, until, works_again};

const HOUR: Duration = Duration::from_secs(3_600);

async fn jumped(cell: Cell) -> Result<Tally, String> {
    let (folder, mut rng) = (tempfile::tempdir().unwrap(), cell.rng());
    let house = House::start(cell.kind, folder.path()).await;
    let client = patient(cell.kind.client(&house.place, &certificates())).connect().await.unwrap();
    let load = Load::new(0);
    let workers = load.start(&client, rng.next_u64());
    for _ in 0..rng.between(1, 3) {
        let calls = load.ended() + rng.between(4, 10);
        until("calls go on", async || load.ended() >= calls).await;
        match cell.side {
            Side::Client => jump(HOUR).await,
            Side::Server => house.jump(HOUR).await,
        }
    }
    let calls = (load.ended() + 8).max(CALLS);
    until("calls go on", async || load.ended() >= calls).await;
    load.finish(workers).await;
    works_again(&load, &client, &house).await;
    load.judge(folder.path(), false)
}

#[test]
fn a_clock_that_jumps_an_hour_doubles_and_holds_no_call() {
    row("clock-jump", jumped);
}
