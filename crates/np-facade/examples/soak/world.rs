//! The server, the middleboxes with their faults, and the clients that come, call and go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use np_facade::{
    CallError, Client, ClientBuilder, Identity, Lifetime, OnceSettings, Policy, PublicKey, SecretKey, Server, Status,
};
use np_testkit::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Failure;
use crate::ledger::{Ledger, Work};
use crate::middlebox::{Fault, Middlebox, Place, Side, Strike};

const HEARTBEAT: Duration = Duration::from_millis(300);
const DEADLINE: Duration = Duration::from_secs(10);
/// What the machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);
/// Longer than a call takes, and short enough that memory stands still before it is measured.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Clients per middlebox, and calls that each has under way.
const CLIENTS: u64 = 3;
const WORKERS: u64 = 4;
const MESSAGES: u8 = 5;

const FAULTS: [Fault; 10] = [
    Fault::Delay,
    Fault::Loss,
    Fault::Reorder,
    Fault::Duplicate,
    Fault::Partition,
    Fault::HalfOpen,
    Fault::Reset,
    Fault::Cut,
    Fault::Dribble,
    Fault::Flip,
];

pub(crate) struct World {
    server: Server,
    middleboxes: Vec<Arc<Middlebox>>,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl World {
    pub(crate) async fn start(folder: &Path, ledger: &Arc<Ledger>, seed: u64) -> Result<Self, Failure> {
        let identity = Identity::from_secret(SecretKey::from_bytes([9; 32]));
        let key = identity.public_key();
        let places = places(folder);
        let mut builder = Server::builder(identity, Policy::anyone()).lifetime(lifetime());
        for place in &places {
            builder = builder.listen(address(place, None));
        }
        let once = OnceSettings { remember_for: REMEMBERED, ..OnceSettings::default() };
        let counts = Arc::clone(ledger);
        let builder = builder.exactly_once(once).on_async("count", move |_, body: Bytes| {
            let counts = Arc::clone(&counts);
            async move {
                let id = body.first_chunk().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
                counts.execute(id);
                sleep(Duration::from_millis(id % 5)).await;
                Ok(body)
            }
        });
        let server = builder.start().await?;
        let mut world = Self { server, middleboxes: Vec::new(), over: Arc::default(), tasks: JoinSet::new() };
        for (number, place) in (0..).zip(places) {
            world.stand_between(number, place, &key, ledger, seed).await?;
        }
        Ok(world)
    }

    /// Puts a middlebox before one of the server's places, and clients before that.
    async fn stand_between(
        &mut self,
        number: u64,
        place: Place,
        key: &PublicKey,
        ledger: &Arc<Ledger>,
        seed: u64,
    ) -> Result<(), Failure> {
        let listening = self.server.addresses().get(number as usize).map(|address| address.without_keys().to_string());
        let (at, to) = around(&place, &listening.unwrap_or_default())?;
        let (middlebox, at) = Middlebox::start(at, to).await?;
        let middlebox = Arc::new(middlebox);
        let mut rng = Rng::new(seed ^ (number << 32));
        for _ in 0..CLIENTS {
            let (address, seed) = (address(&at, Some(key)), rng.next_u64());
            self.tasks.spawn(come_and_go(address, Arc::clone(ledger), seed, Arc::clone(&self.over)));
        }
        self.tasks.spawn(strike(Arc::clone(&middlebox), rng, Arc::clone(&self.over)));
        self.middleboxes.push(middlebox);
        Ok(())
    }

    /// One line while it goes on.
    pub(crate) fn line(&self) -> String {
        let (connections, strikes) = self.sums();
        format!("connections {connections}, faults {strikes}")
    }

    fn sums(&self) -> (u64, u64) {
        let sum = |part: fn(&Middlebox) -> u64| self.middleboxes.iter().map(|middlebox| part(middlebox)).sum();
        (sum(Middlebox::connections), sum(Middlebox::struck))
    }

    /// Ends all of it in order; gives the connections and the faults that there were.
    pub(crate) async fn stop(mut self) -> (u64, u64) {
        self.over.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
        self.server.shutdown(Duration::from_secs(5)).await;
        self.sums()
    }
}

fn lifetime() -> Lifetime {
    Lifetime { heartbeat_interval: Some(HEARTBEAT), ..Lifetime::default() }
}

fn places(folder: &Path) -> Vec<Place> {
    let tcp = Place::Tcp(([127, 0, 0, 1], 0).into());
    #[cfg(unix)]
    return vec![tcp, Place::Unix(folder.join("server"))];
    #[cfg(not(unix))]
    {
        let _ = folder;
        vec![tcp]
    }
}

fn address(place: &Place, key: Option<&PublicKey>) -> String {
    let address = match place {
        Place::Tcp(address) => format!("tcp://{address}"),
        #[cfg(unix)]
        Place::Unix(path) => format!("unix:{}", path.display()),
    };
    key.map_or_else(|| address.clone(), |key| format!("{address}?key={key}"))
}

/// Where a middlebox is to be, and where it leads, for a server's place and the address that the server has there.
fn around(place: &Place, listening: &str) -> Result<(Place, Place), Failure> {
    Ok(match place {
        Place::Tcp(any) => (Place::Tcp(*any), Place::Tcp(listening.trim_start_matches("tcp://").parse()?)),
        #[cfg(unix)]
        Place::Unix(path) => (Place::Unix(path.with_file_name("middlebox")), Place::Unix(path.clone())),
    })
}

/// Strikes again and again, each time with another fault.
async fn strike(middlebox: Arc<Middlebox>, mut rng: Rng, over: Arc<AtomicBool>) {
    while !over.load(Ordering::SeqCst) {
        if middlebox.is_done() {
            let side = rng.pick(&[Side::Client, Side::Server]);
            let fault = rng.pick(&FAULTS);
            middlebox.plan([Strike::draw(fault, side, &mut rng)]);
        }
        sleep(Duration::from_millis(rng.between(50, 500))).await;
    }
}

/// A client after the other, each for some seconds.
async fn come_and_go(address: String, ledger: Arc<Ledger>, seed: u64, over: Arc<AtomicBool>) {
    let mut rng = Rng::new(seed);
    while !over.load(Ordering::SeqCst) {
        let Ok(client) = builder(&address).connect().await else {
            // A fault has met the first handshake, which is not tried again by itself.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let until = Instant::now() + Duration::from_millis(rng.between(2_000, 20_000));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (client, ledger, rng) = (client.clone(), Arc::clone(&ledger), Rng::new(rng.next_u64()));
            workers.spawn(work(client, ledger, rng, until, Arc::clone(&over)));
        }
        while workers.join_next().await.is_some() {}
        client.close().await;
    }
}

fn builder(address: &str) -> ClientBuilder {
    Client::builder(address)
        .lifetime(lifetime())
        .reconnect_delay(Duration::from_millis(5))
        .max_reconnect_delay(Duration::from_millis(200))
        .handshake_timeout(Duration::from_secs(1))
        .deadline(DEADLINE)
}

async fn work(client: Client, ledger: Arc<Ledger>, mut rng: Rng, until: Instant, over: Arc<AtomicBool>) {
    while Instant::now() < until && !over.load(Ordering::SeqCst) {
        let before = Instant::now();
        let late = || before.elapsed() > DEADLINE + SLACK;
        match rng.below(10) {
            0 => {
                let told = stream(&client, &mut rng).await;
                ledger.end(Work::Stream, &told, late());
            }
            1..4 => {
                let body = body(rng.next_u64(), &mut rng);
                let told = client.call("np.echo", body.clone()).await.map(|reply| reply == body);
                ledger.end(Work::Plain, &told, late());
            }
            _ => {
                let id = ledger.begin();
                let body = body(id, &mut rng);
                let told = client.request("count").body(body.clone()).exactly_once().send().await;
                ledger.end_once(id, &told.map(|reply| reply.body == body), late());
            }
        }
        sleep(Duration::from_millis(rng.below(6))).await;
    }
}

fn body(id: u64, rng: &mut Rng) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.resize(8 + usize::try_from(rng.below(1_500)).unwrap_or_default(), id.to_le_bytes()[0]);
    body.into()
}

/// A few messages there and back; true where each came back as it was.
async fn stream(client: &Client, rng: &mut Rng) -> Result<bool, CallError> {
    let mut stream = client.request("np.echo-stream").deadline(DEADLINE).open_stream().await?;
    for number in 0..MESSAGES {
        let body = body(u64::from(number), rng);
        stream.send(body.clone()).await?;
        match stream.recv().await {
            Some(message) if message.as_ref().is_ok_and(|message| *message == body) => {}
            Some(message) => return message.map(|_| false),
            None => return Err(CallError::unknown(Status::Unavailable, "the stream ended early")),
        }
    }
    stream.finish().await?;
    stream.recv().await.map_or(Ok(true), |more| more.map(|_| false))
}
