//! A thousand clients whose one server goes and comes back: how fast they all return.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by any of these"
)]
#![allow(clippy::print_stdout, reason = "the figures are worth reading")]

use std::time::Duration;

use np_facade::{Client, ClientEvent, Identity, Policy, SecretKey, Server};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const CLIENTS: usize = 1_000;
/// What delays begin with, and never exceed.
const LEAST: Duration = Duration::from_millis(100);
const MOST: Duration = Duration::from_secs(30);

async fn serve(place: &str) -> Server {
    let identity = Identity::from_secret(SecretKey::from_bytes([9; 32]));
    Server::builder(identity, Policy::anyone()).listen(place).start().await.unwrap()
}

/// When a client has connected again, and the window of the attempt that brought it back.
async fn returns(client: Client) -> (Instant, Duration) {
    let mut events = client.events();
    let mut window = Duration::ZERO;
    loop {
        match events.next().await.unwrap() {
            ClientEvent::Reconnecting { attempt, .. } => {
                window = (LEAST * 2_u32.pow((attempt - 1).min(9))).min(MOST) / 2;
            }
            ClientEvent::Connected { .. } if !window.is_zero() => return (Instant::now(), window),
            _ => {}
        }
    }
}

/// The highest rate of connects in any tenth of the mean window, over the mean rate of that window.
async fn peak_over_mean(place: &str, outage: Duration) -> f64 {
    let server = serve(place).await;
    let address = format!("{place}?key={}", Identity::from_secret(SecretKey::from_bytes([9; 32])).public_key());
    let mut returning = JoinSet::new();
    for _ in 0..CLIENTS {
        returning.spawn(returns(Client::connect(&address).await.unwrap()));
    }
    // A connection that stood for less than a delay would not start the steps again.
    sleep(Duration::from_secs(60)).await;
    drop(server);
    sleep(outage).await;
    let _server = serve(place).await;
    let returned = timeout(MOST * 3, returning.join_all()).await.unwrap();
    let window = returned.iter().map(|(_, window)| *window).sum::<Duration>() / u32::try_from(CLIENTS).unwrap();
    let mut times: Vec<_> = returned.into_iter().map(|(at, _)| at).collect();
    times.sort_unstable();
    let within = |from: &Instant| times.iter().filter(|at| *at >= from && **at < *from + window / 10).count();
    let peak = times.iter().map(within).max().unwrap();
    (peak * 10) as f64 / CLIENTS as f64
}

#[tokio::test(start_paused = true)]
async fn a_thousand_real_clients_come_back_at_no_more_than_twice_the_mean_rate() {
    for (place, outage) in [("mem:herd-restart", 1), ("mem:herd-outage", 5_000)] {
        let peak = peak_over_mean(place, Duration::from_millis(outage)).await;
        println!("outage {outage} ms: peak over mean {peak:.2}");
        assert!((1.0..=2.0).contains(&peak), "outage {outage} ms: {peak}");
    }
}
