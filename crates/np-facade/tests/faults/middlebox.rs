//! A hostile middlebox: it carries bytes between clients and a server and does to them what a plan says.
//!
//! Which byte a strike meets and what becomes of it follows from the plan alone. It must never know what the bytes mean: TLS
//! and Noise pass through it as they are.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use np_testkit::Rng;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Whose bytes are hit: those towards this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What may be done to bytes that are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// For a while each piece comes late.
    Delay,
    /// Bytes are left out.
    Loss,
    /// Bytes arrive in another order.
    Reorder,
    /// Bytes arrive twice.
    Duplicate,
    /// For a while nothing arrives, on new connections neither; then all of it does.
    Partition,
    /// The other side's connection ends; this side hears nothing any more, and no end.
    HalfOpen,
    /// The connection is reset.
    Reset,
    /// The connection ends in order in the middle of a piece.
    Cut,
    /// For a while each byte comes alone.
    Dribble,
    /// A bit is turned.
    Flip,
}

impl Fault {
    /// Whether a connection that it has met must end.
    pub(crate) const fn is_deadly(self) -> bool {
        !matches!(self, Self::Delay | Self::Partition | Self::Dribble)
    }
}

/// One stroke of a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strike {
    pub(crate) fault: Fault,
    pub(crate) side: Side,
    /// After so many bytes towards that side, counted from the strike before.
    pub(crate) after: u64,
    /// For what lasts.
    pub(crate) span: Duration,
    /// Whether a partition holds the other way too.
    pub(crate) both: bool,
    /// From this follows everything else.
    pub(crate) seed: u64,
}

impl Strike {
    pub(crate) fn draw(fault: Fault, side: Side, rng: &mut Rng) -> Self {
        // Small ones meet handshakes of connections that are made again.
        let within = rng.pick(&[300, 3_000, 6_000]);
        let span = Duration::from_millis(rng.between(50, 450));
        Self { fault, side, after: rng.below(within), span, both: rng.chance(50), seed: rng.next_u64() }
    }
}

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

pub(crate) struct Middlebox {
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

impl Middlebox {
    /// Listens at a place, port 0 for one that the system chooses; gives where that is.
    pub(crate) async fn start(at: Place, server: Place) -> io::Result<(Self, Place)> {
        let (listener, at) = match at {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let at = Place::Tcp(listener.local_addr()?);
                (Listening::Tcp(listener), at)
            }
            #[cfg(unix)]
            Place::Unix(path) => (Listening::Unix(UnixListener::bind(&path)?), Place::Unix(path)),
        };
        let shared = Shared {
            server,
            plan: VecDeque::new(),
            passed: 0,
            spared: 0,
            struck: 0,
            connections: 0,
            lasting: None,
            chance: Rng::new(0),
        };
        let shared = Arc::new(Mutex::new(shared));
        let accepting = tokio::spawn(accept(Arc::clone(&shared), listener));
        Ok((Self { shared, accepting }, at))
    }

    /// Takes on strikes, one after the other, counted from now.
    pub(crate) fn plan(&self, strikes: impl IntoIterator<Item = Strike>) {
        let mut shared = lock(&self.shared);
        shared.passed = 0;
        shared.plan.extend(strikes);
    }

    /// Whether nothing is left of the plan, and nothing lasts.
    pub(crate) fn is_done(&self) -> bool {
        let shared = lock(&self.shared);
        shared.plan.is_empty() && shared.lasting.is_none_or(|(_, until)| until <= Instant::now())
    }

    /// New connections go there.
    pub(crate) fn lead_to(&self, server: Place) {
        lock(&self.shared).server = server;
    }

    /// Strikes that have met a connection.
    pub(crate) fn struck(&self) -> u64 {
        lock(&self.shared).struck
    }

    /// Connections that clients have made.
    pub(crate) fn connections(&self) -> u64 {
        lock(&self.shared).connections
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        // The connections are tasks of that task's set.
        self.accepting.abort();
    }
}

struct Shared {
    server: Place,
    plan: VecDeque<Strike>,
    /// Bytes towards the side of the next strike, since the last.
    passed: u64,
    /// Connections before this one are dying of a strike, and are left alone.
    spared: u64,
    struck: u64,
    connections: u64,
    /// A strike that lasts, and until when.
    lasting: Option<(Strike, Instant)>,
    chance: Rng,
}

/// What becomes of a piece.
enum Fate {
    Pass,
    /// It waits so long.
    Wait(Duration),
    Hold(Instant),
    Dribble,
    /// It is the last, and the connection ends so.
    End(End),
}

#[derive(Debug, Clone, Copy)]
enum End {
    InOrder,
    Reset(Side),
    HalfOpen(Side),
}

impl Shared {
    /// Decides on a piece of a connection, and changes it.
    fn judge(&mut self, connection: u64, side: Side, piece: &mut Vec<u8>) -> Fate {
        if let Some(strike) =
            self.plan.front().copied().filter(|strike| strike.side == side && connection >= self.spared)
        {
            let at = strike.after.saturating_sub(self.passed);
            if let Some(at) = usize::try_from(at).ok().filter(|at| *at < piece.len()) {
                return self.strike(strike, connection, at, piece);
            }
            self.passed += piece.len() as u64;
        }
        self.last(side)
    }

    /// What a strike that lasts does to each piece.
    fn last(&mut self, side: Side) -> Fate {
        let Some((strike, until)) = self.lasting.filter(|(_, until)| *until > Instant::now()) else {
            return Fate::Pass;
        };
        match strike.fault {
            Fault::Partition if strike.side == side || strike.both => Fate::Hold(until),
            Fault::Delay if strike.side == side => Fate::Wait(Duration::from_millis(self.chance.between(1, 60))),
            Fault::Dribble if strike.side == side => Fate::Dribble,
            _ => Fate::Pass,
        }
    }

    fn strike(&mut self, strike: Strike, connection: u64, at: usize, piece: &mut Vec<u8>) -> Fate {
        self.chance = Rng::new(strike.seed);
        let before = piece.clone();
        let rest = piece.len() - at;
        let part = at + 1 + self.below(rest);
        match strike.fault {
            Fault::Loss => drop(piece.drain(at..part)),
            Fault::Duplicate => {
                let twice = piece.get(at..part).unwrap_or_default().to_vec();
                piece.splice(part..part, twice).for_each(drop);
            }
            Fault::Reorder => {
                let turn = self.below(rest);
                piece.get_mut(at..).unwrap_or_default().rotate_left(turn);
            }
            Fault::Flip => {
                let bit = 1 << self.chance.below(8);
                piece.get_mut(at..).unwrap_or_default().iter_mut().take(1).for_each(|byte| *byte ^= bit);
            }
            Fault::Cut | Fault::Reset | Fault::HalfOpen => piece.truncate(at),
            Fault::Delay | Fault::Partition | Fault::Dribble => {
                self.lasting = Some((strike, Instant::now() + strike.span));
            }
        }
        if strike.fault.is_deadly() {
            if *piece == before {
                // Equal bytes may have been exchanged: the next piece is hit in its place.
                self.passed = strike.after;
                return Fate::Pass;
            }
            self.spared = connection + 1;
        }
        self.plan.pop_front();
        (self.passed, self.struck) = (0, self.struck + 1);
        match strike.fault {
            Fault::Cut => Fate::End(End::InOrder),
            Fault::Reset => Fate::End(End::Reset(strike.side)),
            Fault::HalfOpen => Fate::End(End::HalfOpen(strike.side)),
            _ => self.last(strike.side),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.chance.below(bound as u64)).unwrap_or_default()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(shared: Arc<Mutex<Shared>>, listener: Listening) {
    let mut carried = JoinSet::new();
    loop {
        let outside = tokio::select! {
            outside = listener.accept() => outside,
            Some(_) = carried.join_next() => continue,
        };
        let Ok(outside) = outside else {
            continue;
        };
        let (connection, server) = {
            let mut shared = lock(&shared);
            shared.connections += 1;
            (shared.connections, shared.server.clone())
        };
        let shared = Arc::clone(&shared);
        carried.spawn(async move {
            // Where the server is not there, the client learns it by an end.
            if let Ok(inside) = reach(server).await {
                carry(&shared, connection, outside, inside).await;
            }
        });
    }
}

async fn carry(shared: &Mutex<Shared>, connection: u64, outside: Box<dyn Socket>, inside: Box<dyn Socket>) {
    let ((mut out_read, mut out_write), (mut in_read, mut in_write)) = (split(outside), split(inside));
    let ended = tokio::try_join!(
        way(shared, connection, Side::Server, &mut out_read, &mut in_write),
        way(shared, connection, Side::Client, &mut in_read, &mut out_write),
    );
    let (outside, inside) = (out_read.unsplit(out_write), in_read.unsplit(in_write));
    match ended {
        Ok(_) => {}
        Err(End::InOrder) => {
            tokio::join!(end_in_order(outside), end_in_order(inside));
        }
        Err(End::Reset(Side::Client)) => outside.reset().await,
        Err(End::Reset(Side::Server)) => inside.reset().await,
        Err(End::HalfOpen(side)) => {
            let (deaf, other) = if side == Side::Client { (outside, inside) } else { (inside, outside) };
            drop(other);
            swallow(deaf).await;
        }
    }
}

/// Carries one way to its end.
async fn way(
    shared: &Mutex<Shared>,
    connection: u64,
    side: Side,
    from: &mut Reader,
    to: &mut Writer,
) -> Result<(), End> {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut piece = buffer.get(..count).unwrap_or_default().to_vec();
        let fate = lock(shared).judge(connection, side, &mut piece);
        match fate {
            Fate::Wait(time) => sleep(time).await,
            Fate::Hold(until) => sleep_until(until).await,
            _ => {}
        }
        let written = match fate {
            Fate::Dribble => dribble(to, &piece).await,
            _ => to.write_all(&piece).await,
        };
        if let Fate::End(end) = fate {
            return Err(end);
        }
        if written.is_err() {
            // Whoever was to take it has gone, and the other way says so.
            return Ok(());
        }
    }
    // The other way may go on, and may be gone.
    let _ = to.shutdown().await;
    Ok(())
}

async fn dribble(to: &mut Writer, piece: &[u8]) -> io::Result<()> {
    for byte in piece {
        to.write_all(std::slice::from_ref(byte)).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Ends what is written, and reads on for a while, since a close with unread bytes is a reset.
async fn end_in_order(mut socket: Box<dyn Socket>) {
    let _ = socket.shutdown().await;
    let _ = timeout(Duration::from_secs(1), swallow(socket)).await;
}

/// Reads and forgets until the peer has gone.
async fn swallow(mut socket: Box<dyn Socket>) {
    let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
}

type Reader = ReadHalf<Box<dyn Socket>>;
type Writer = WriteHalf<Box<dyn Socket>>;

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {
    /// Ends it so that the peer reads a reset.
    fn reset(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl Socket for TcpStream {
    fn reset(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let _ = self.set_zero_linger();
        Box::pin(async {})
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn reset(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // A close with bytes that were not read is what a Unix socket has for it.
        Box::pin(async move {
            let _ = timeout(Duration::from_millis(200), self.readable()).await;
        })
    }
}

enum Listening {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listening {
    async fn accept(&self) -> io::Result<Box<dyn Socket>> {
        Ok(match self {
            Self::Tcp(listener) => quick(listener.accept().await?.0),
            #[cfg(unix)]
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn reach(server: Place) -> io::Result<Box<dyn Socket>> {
    Ok(match server {
        Place::Tcp(address) => quick(TcpStream::connect(address).await?),
        #[cfg(unix)]
        Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

fn quick(socket: TcpStream) -> Box<dyn Socket> {
    // Bytes that come alone are to leave alone.
    let _ = socket.set_nodelay(true);
    Box::new(socket)
}
