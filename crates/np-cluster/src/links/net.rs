//! Gossip links over connections of np: opened, accepted, served, cut off. Must never look into a gossip message.

mod dial;
mod look;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use np_facade::raw::driver::random_number;
use np_facade::{
    CallContext, CallError, ClientBuilder, MessageReceiver, MessageSender, MessageStream, PeerIdentity, Policy,
    PublicKey, Server, Status, Target, UnixMillis, stream,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::announcement::{Announcement, check_name};
use super::book::{Book, Newcomer, Refused, Registered, Stop, Want};
use super::directory::{Listed, NodeKey};
use super::{Inbox, Incoming, Links};

pub(crate) use dial::server_limits;

/// The method whose streams are gossip links.
pub(crate) const METHOD: &str = "np.cluster.gossip";

/// The longest gossip message, in bytes.
pub(crate) const MAX_MESSAGE: usize = 64 << 10;

/// Messages that wait for the engine. Each link holds one more: of 64 KiB each that is 2 MiB, and 64 KiB a link.
const INBOX: usize = 32;

/// How long the first message of a stream may take.
const HELLO: Duration = Duration::from_secs(5);

/// Attempts at the same time.
const ATTEMPTS: usize = 32;

/// The longest text of a peer that is logged.
const MAX_TEXT: usize = 300;

/// How a node takes part.
pub(crate) struct Settings {
    /// The name of the cluster: nodes of another are refused.
    pub(crate) cluster: String,
    /// The name of this node.
    pub(crate) name: String,
    /// Who may be a member; a name that a list gives to a key is binding.
    pub(crate) members: Policy,
    /// This node's key, where it has one of np.
    pub(crate) own: Option<PublicKey>,
    /// How the node at an address is connected to: who this node is, by which transport and trust.
    pub(crate) way: Arc<dyn Fn(SocketAddr) -> ClientBuilder + Send + Sync>,
}

/// What the links have counted so far.
///
/// ```
/// assert_eq!(np_cluster::LinkStats::default().lies, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LinkStats {
    /// Links that stand now.
    pub links: u64,
    /// Links that came about so far.
    pub opened: u64,
    /// Messages that were given to links.
    pub sent: u64,
    /// Messages that came.
    pub received: u64,
    /// Messages that were lost, since a queue was full or a node could not be reached. Gossip says them again.
    pub dropped: u64,
    /// Nodes that were refused for a name, an address or a version that they announced.
    pub lies: u64,
    /// Members that were cut off for what is no gossip, or a message over 64 KiB.
    pub garbage: u64,
    /// Members whose keys were taken off the list.
    pub retired: u64,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    lies: AtomicU64,
    garbage: AtomicU64,
    retired: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The links of a node. Clones share them; [`Net::close`] ends them.
#[derive(Clone)]
pub(crate) struct Net(Arc<Inner>);

struct Inner {
    settings: Settings,
    instance: [u8; 16],
    book: Mutex<Book>,
    inbox: mpsc::Sender<Incoming>,
    counts: Counts,
    /// The names of all that may be members, where the list names each; as it was looked at last, for a message may ask about
    /// a thousand.
    names: Mutex<Option<BTreeSet<String>>>,
    attempts: Semaphore,
    /// Whose connections of retired keys are closed; gone once the node has left.
    server: Mutex<Option<Serving>>,
}

/// The server that takes links.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) server: Server,
    /// Whom it lets in, where it is the node's own: members, and those that may ask.
    pub(crate) let_in: Option<Policy>,
}

impl Net {
    /// Links that come about once they are opened, and where their messages come out.
    pub(crate) fn new(settings: Settings) -> Result<(Self, Inbox), String> {
        check_name("the name of a node", &settings.name)?;
        check_name("the name of a cluster", &settings.cluster)?;
        let half = || random_number().map(u64::to_be_bytes).map_err(|error| error.to_string());
        let mut instance = [0; 16];
        let (front, back) = instance.split_at_mut(8);
        front.copy_from_slice(&half()?);
        back.copy_from_slice(&half()?);
        let names = Mutex::new(settings.members.all_names());
        let (inbox, messages) = mpsc::channel(INBOX);
        let inner = Inner {
            settings,
            instance,
            book: Mutex::default(),
            inbox,
            counts: Counts::default(),
            names,
            attempts: Semaphore::new(ATTEMPTS),
            server: Mutex::default(),
        };
        Ok((Self(Arc::new(inner)), messages))
    }

    /// What a server registers under [`METHOD`].
    pub(crate) fn method(&self) -> Target {
        let inner = Arc::downgrade(&self.0);
        Target::Stream(Arc::new(stream(move |context, stream| accept(Weak::clone(&inner), context, stream))))
    }

    /// Takes part from now on, on the current runtime. `address` is where other nodes reach this one.
    pub(crate) fn open(&self, address: SocketAddr, serving: Option<Serving>) {
        let Settings { cluster, name, .. } = &self.0.settings;
        self.0.book().open(Announcement::new(cluster.clone(), name.clone(), address, self.0.instance));
        *lock(&self.0.server) = serving;
        tokio::spawn(look::after(Arc::downgrade(&self.0)));
    }

    /// Opens a link to the node at an address where there is none, so that its key is known.
    pub(crate) fn greet(&self, to: SocketAddr) {
        self.want(to, None);
    }

    /// The key that a node has proven.
    pub(crate) fn node_key(&self, name: &str) -> Option<NodeKey> {
        self.0.book().directory.key_of(name)
    }

    /// Ends every link; none comes about any more.
    pub(crate) fn close(&self) {
        self.0.book().close(Instant::now());
        *lock(&self.0.server) = None;
    }

    fn want(&self, to: SocketAddr, message: Option<Bytes>) {
        self.0.want(to, message);
    }
}

impl Links for Net {
    fn send(&self, to: SocketAddr, message: Bytes) {
        self.want(to, Some(message));
    }

    fn refuse(&self, sender: NodeKey) {
        self.0.ban(sender, "it sent what is no gossip message");
    }

    fn key_of(&self, name: &str) -> Option<String> {
        if name == self.0.settings.name {
            return self.0.settings.own.map(|own| own.to_string());
        }
        self.node_key(name).map(|key| key.to_string())
    }

    fn name_at(&self, at: SocketAddr) -> Option<String> {
        self.0.book().name_at(at)
    }

    fn admits(&self, name: &str) -> bool {
        name == self.0.settings.name || lock(&self.0.names).as_ref().is_none_or(|names| names.contains(name))
    }

    fn stats(&self) -> LinkStats {
        let counts = &self.0.counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkStats {
            links: self.0.book().links() as u64,
            opened: read(&counts.opened),
            sent: read(&counts.sent),
            received: read(&counts.received),
            dropped: read(&counts.dropped),
            lies: read(&counts.lies),
            garbage: read(&counts.garbage),
            retired: read(&counts.retired),
        }
    }

    fn verify_key(&self, name: &str) -> Option<[u8; 32]> {
        let members = &self.0.settings.members;
        let listed = members.keys_named(name).into_iter();
        // A name that the list gives is binding; another is that of the key which has claimed it.
        let claimed = self.node_key(name).and_then(|key| match key {
            NodeKey::Noise(key) => Some(key),
            NodeKey::Certificate(_) => None,
        });
        let own = self.0.settings.own.filter(|_| name == self.0.settings.name);
        let now = system_now();
        let signs = |key| members.entry(&key).filter(|entry| !entry.is_expired(now))?.sign();
        let mut signs = listed.chain(claimed).chain(own).filter_map(signs);
        let first = signs.next()?;
        // A list refuses two keys for one name; two lists may differ, and then nobody knows which is right.
        signs.all(|other| other == first).then(|| *first.as_bytes())
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("name", &self.0.settings.name).finish_non_exhaustive()
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    /// Takes a message for an address, or the wish for a link to it alone.
    fn want(self: &Arc<Self>, to: SocketAddr, message: Option<Bytes>) {
        let says = message.is_some();
        let wanted = self.book().want(to, message, Instant::now());
        match wanted {
            Want::Dial(to) => drop(tokio::spawn(dial::dial(Arc::clone(self), to))),
            Want::Lost if says => count(&self.counts.dropped),
            Want::Lost | Want::Waits | Want::Own => {}
        }
    }

    fn me(&self) -> Result<Announcement, Refused> {
        self.book().me().cloned().ok_or(Refused::Closed)
    }

    /// Whether a peer may be a member at all. One that came by itself is decided about; one that was dialed has been.
    fn admit(&self, peer: &PeerIdentity, dialed: bool) -> Result<NodeKey, Refused> {
        let key = NodeKey::of(peer).ok_or(Refused::Keyless)?;
        if self.book().is_banned(key, Instant::now()) {
            return Err(Refused::KeptOut);
        }
        let allowed = dialed || self.settings.members.decide(peer).is_allowed();
        if allowed { Ok(key) } else { Err(Refused::NotAllowed) }
    }

    /// What the list of members says about a key and a name.
    fn listed(&self, key: NodeKey, wanted: &str) -> Listed {
        let members = &self.settings.members;
        let name = match key {
            NodeKey::Noise(key) => members.entry(&key).and_then(|entry| entry.name().map(ToOwned::to_owned)),
            NodeKey::Certificate(_) => None,
        };
        let elsewhere = members.keys_named(wanted).into_iter().any(|other| NodeKey::Noise(other) != key);
        Listed { name, elsewhere }
    }

    /// Lets the node in that said this.
    fn register(
        self: &Arc<Self>,
        peer: &PeerIdentity,
        key: NodeKey,
        said: &[u8],
        dialed: Option<SocketAddr>,
    ) -> Result<Standing, Refused> {
        let said = Announcement::decode(said).map_err(Refused::Said)?;
        let listed = self.listed(key, &said.name);
        let newcomer = Newcomer { key, identity: peer, said: &said, listed, dialed };
        let (link, stop) = self.book().register(&newcomer, Instant::now())?;
        count(&self.counts.opened);
        tracing::debug!(target: "np::cluster", node = said.name, %key, dialed = dialed.is_some(), "gossip link");
        // Till it has answered there, the address is its word alone.
        if let Some(claim) = link.claim {
            self.want(claim, None);
        }
        Ok(Standing { inner: Arc::clone(self), link, stop })
    }

    /// Notes who answered at an address, and says whether there is a link to that key already.
    fn reached(&self, to: SocketAddr, key: NodeKey) -> bool {
        let reached = self.book().reached(to, key, Instant::now());
        if reached.liars > 0 {
            self.counts.lies.fetch_add(reached.liars, Ordering::Relaxed);
            tracing::warn!(target: "np::cluster", %to, %key, "the address is this node's, and another that announced it is cut off");
        }
        reached.linked
    }

    /// Counts and logs a refusal.
    fn note(&self, peer: &PeerIdentity, address: &str, refused: &Refused) {
        if refused.is_lie() {
            count(&self.counts.lies);
            tracing::warn!(target: "np::cluster", %peer, address, %refused, "node refused");
        } else {
            tracing::debug!(target: "np::cluster", %peer, address, %refused, "no gossip link");
        }
    }

    fn ban(&self, key: NodeKey, why: &str) {
        count(&self.counts.garbage);
        tracing::warn!(target: "np::cluster", %key, why, "member cut off");
        self.book().ban(key, Instant::now());
    }

    /// Serves a link until it is over, and says why.
    async fn serve(&self, standing: &mut Standing, stream: MessageStream) -> CallError {
        let (mut receiver, mut sender) = stream.split();
        let Standing { link, stop, .. } = standing;
        tokio::select! {
            biased;
            why = stop => stopped(why.unwrap_or(Stop::Replaced)),
            end = self.read(link, &mut receiver) => end,
            end = self.write(link, &mut sender) => end,
        }
    }

    async fn read(&self, link: &Registered, receiver: &mut MessageReceiver) -> CallError {
        loop {
            let bytes = match receiver.recv().await {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return error,
                None => return CallError::answered(Status::Unavailable, "the node ended its gossip link"),
            };
            if bytes.len() > MAX_MESSAGE {
                self.ban(link.key, "it sent a message of more than 64 KiB");
                return stopped(Stop::Garbage);
            }
            count(&self.counts.received);
            // While the engine is busy the next message is not taken, so that the member's credit runs out.
            if self.inbox.send(Incoming::Message { from: link.at.get(), sender: link.key, bytes }).await.is_err() {
                return stopped(Stop::Closed);
            }
        }
    }

    async fn write(&self, link: &Registered, sender: &mut MessageSender) -> CallError {
        loop {
            let message = link.queue.pop().await;
            if message.len() > sender.max_message().min(MAX_MESSAGE) {
                count(&self.counts.dropped);
                continue;
            }
            if let Err(error) = sender.send(message).await {
                count(&self.counts.dropped);
                return error;
            }
            count(&self.counts.sent);
        }
    }
}

/// A link that stands in the book, and leaves it however its task ends.
struct Standing {
    inner: Arc<Inner>,
    link: Registered,
    stop: oneshot::Receiver<Stop>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.inner.book().ended(&self.link, Instant::now(), random_number().unwrap_or(u64::MAX));
    }
}

fn stopped(why: Stop) -> CallError {
    match why {
        Stop::Replaced => CallError::answered(Status::Unavailable, "another gossip link takes the place of this one"),
        Stop::Garbage => Refused::KeptOut.told(),
        Stop::Retired => Refused::NotAllowed.told(),
        Stop::Renamed => CallError::answered(
            Status::PermissionDenied,
            "the allow list gives the name of this node to another key, or another name to this key; let both say the same",
        ),
        Stop::Elsewhere => CallError::answered(
            Status::PermissionDenied,
            "another node answers at the address that this one has announced; advertise another",
        ),
        Stop::Closed => Refused::Closed.told(),
    }
}

/// Takes a stream that another node has opened.
async fn accept(inner: Weak<Inner>, context: CallContext, mut stream: MessageStream) -> Result<(), CallError> {
    let gone = || Refused::Closed.told();
    let inner = inner.upgrade().ok_or_else(gone)?;
    let (peer, address) = (context.peer(), context.peer_address());
    let refuse = |refused: Refused| {
        inner.note(peer, address, &refused);
        refused.told()
    };
    let me = inner.me().map_err(refuse)?;
    let key = inner.admit(peer, false).map_err(refuse)?;
    let said = hello(&mut stream).await?;
    let registered = inner.register(peer, key, &said, None);
    if let Err(Refused::Itself) = registered {
        // So that it learns where its address leads.
        stream.send(me.encode()).await?;
    }
    let mut standing = registered.map_err(refuse)?;
    stream.send(me.encode()).await?;
    Err(inner.serve(&mut standing, stream).await)
}

/// The first message of a stream.
async fn hello(stream: &mut MessageStream) -> Result<Bytes, CallError> {
    let late = "the node said nothing on its gossip stream";
    match timeout(HELLO, stream.recv()).await {
        Ok(Some(said)) => said,
        Ok(None) => Err(CallError::answered(Status::InvalidArgument, late)),
        Err(_) => Err(CallError::answered(Status::DeadlineExceeded, late)),
    }
}

/// The system's time, by which rows of a list end.
fn system_now() -> UnixMillis {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixMillis(since.as_millis().try_into().unwrap_or(u64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
