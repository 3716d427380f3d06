//! The task over a socket that breaks while it is written to.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::BytesMut;
use np_dispatch::Router;
use np_noise::{Keypair, Pattern};
use np_session::{Answer, Event, Handshake, HandshakeEvent, InitiatorConfig, ResponderConfig, ResponderKeys, Session};
use np_transport::Io;
use np_types::{CloseCode, ConnectionError, Deadline, Limits, Outcome, PeerIdentity, Time, UnixMillis};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::time::Instant;

use super::{Running, start};
use crate::alarm::Alarm;
use crate::audit::Audit;
use crate::call_limits::CallPlaces;
use crate::clock::Clock;
use crate::compression::{Bodies, Compression, Contexts};
use crate::connection::{Connection, ConnectionInfo, Request};
use crate::entropy::random_secret_key;
use crate::establish::Established;
use crate::farewell::PATIENCE;
use crate::lifetime::Lifetime;
use crate::memory::Share;
use crate::pending::Until;
use crate::telemetry::Telemetry;

fn keys() -> Keypair {
    Keypair::from_secret(random_secret_key().unwrap())
}

/// Both ends of a handshake of which the client has yet to send its last message.
fn half_way() -> (Handshake, Handshake) {
    let (ours, theirs) = (keys(), keys());
    let mut client = Handshake::initiator(InitiatorConfig {
        crypto: Default::default(),
        pattern: Pattern::XX,
        local: Some(&ours),
        server_key: None,
        psk: None,
        psk_id: &[],
        time: UnixMillis(0),
        nonce: [0; 16],
        ephemeral: random_secret_key().unwrap(),
    })
    .unwrap();
    let mut server = Handshake::responder(&ResponderConfig::new(vec![Pattern::XX]));
    carry(|out| client.poll_transmit(out), |input| server.handle_bytes(input));
    assert!(matches!(server.poll_event(), Some(HandshakeEvent::Preface(_))));
    let ephemeral = random_secret_key().unwrap();
    server.proceed(ResponderKeys { local: Some(&theirs), client_key: None, psk: None, ephemeral }).unwrap();
    carry(|out| server.poll_transmit(out), |input| client.handle_bytes(input));
    assert!(matches!(client.poll_event(), Some(HandshakeEvent::Peer(_))));
    client.admit().unwrap();
    (client, server)
}

/// Both ends of a connection whose first records have been exchanged.
pub(crate) fn sessions() -> (Session, Session) {
    let (mut client, mut server) = half_way();
    carry(|out| client.poll_transmit(out), |input| server.handle_bytes(input));
    server.admit().unwrap();
    let mut client = client.into_session(Limits::default(), Time::ZERO).unwrap();
    let mut server = server.into_session(Limits::default(), Time::ZERO).unwrap();
    for _ in 0..2 {
        let mut out = Vec::new();
        client.poll_transmit(Time::ZERO, &mut out);
        client.handle_written(out.len());
        server.handle_bytes(Time::ZERO, &mut BytesMut::from(&out[..]));
        std::mem::swap(&mut client, &mut server);
    }
    while client.poll_event().is_some() || server.poll_event().is_some() {}
    (client, server)
}

fn carry(send: impl FnOnce(&mut Vec<u8>) -> bool, receive: impl FnOnce(&mut BytesMut)) {
    let mut out = Vec::new();
    send(&mut out);
    receive(&mut BytesMut::from(&out[..]));
}

/// A socket that breaks at the first write; what the peer said last came a moment before.
struct Breaking {
    last_words: Vec<u8>,
    broken: bool,
}

impl AsyncRead for Breaking {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if !self.broken {
            return Poll::Pending;
        }
        into.put_slice(&std::mem::take(&mut self.last_words));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Breaking {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
        self.broken = true;
        Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn no_bodies() -> Bodies {
    Bodies::new(Contexts::new(Compression::default()).unwrap(), &Limits::default(), 0)
}

/// A connection over this socket, and its task.
fn begin(io: Box<dyn Io>, session: Session) -> (Connection, impl Future<Output = ConnectionError> + Send) {
    begin_with(io, session, None)
}

fn begin_with(
    io: Box<dyn Io>,
    session: Session,
    opening: Option<Instant>,
) -> (Connection, impl Future<Output = ConnectionError> + Send) {
    made(io, session, opening, Router::new())
}

pub(super) fn made(
    io: Box<dyn Io>,
    session: Session,
    opening: Option<Instant>,
    router: Router,
) -> (Connection, Running) {
    let established = Established {
        session,
        peer: PeerIdentity::Anonymous,
        max_queued: 10,
        max_calls: 10,
        input: BytesMut::new(),
        opening,
    };
    let clock = Clock::start();
    let info = ConnectionInfo {
        clock,
        peer: PeerIdentity::Anonymous,
        address: "test".into(),
        local: None,
        tls: None,
        binding: [0; 32],
        bodies: no_bodies(),
        places: CallPlaces::default(),
        once: None,
        progress_timeout: Duration::from_secs(60),
        max_message: 1 << 20,
        reassembly_budget: 1 << 20,
        audit: Arc::new(Audit::new(Telemetry::off(), clock)),
    };
    start(Box::new(established), (io, Alarm::default()), info, &Lifetime::default(), Share::default(), router)
}

async fn call_over(last_words: Vec<u8>, session: Session) -> ConnectionError {
    let (connection, task) = begin(Box::new(Breaking { last_words, broken: false }), session);
    let task = tokio::spawn(task);
    let error = connection.call(Request::new("np.echo".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.outcome, Outcome::NotProcessed, "nothing was taken by the system");
    let ended = task.await.unwrap();
    assert_eq!(error.cause.as_deref(), Some(&ended));
    ended
}

#[tokio::test]
async fn the_peers_reason_is_read_from_a_socket_that_broke() {
    let (client, mut server) = sessions();
    server.close(CloseCode::Drained, "off to bed");
    let mut last_words = Vec::new();
    server.poll_transmit(Time::ZERO, &mut last_words);
    let error = call_over(last_words, client).await;
    assert!(matches!(error, ConnectionError::ClosedByPeer { code: CloseCode::Drained, .. }), "{error}");
    // Without one the socket's own error is told.
    let (client, _server) = sessions();
    let error = call_over(Vec::new(), client).await;
    assert!(matches!(error, ConnectionError::Io { .. }), "{error}");
}

/// A socket that takes all there is, and notes of each write whether the end was told before.
#[derive(Clone, Default)]
struct Noting {
    connection: Arc<OnceLock<Connection>>,
    writes: Arc<Mutex<Vec<bool>>>,
    written: Arc<Mutex<Vec<u8>>>,
    /// Whether the peer stays silent whatever is said to it.
    mute: bool,
}

impl AsyncRead for Noting {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        // The peer says nothing, and ends once everything was said to it.
        if self.mute || self.writes.lock().unwrap().is_empty() { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

impl AsyncWrite for Noting {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let told = self.connection.get().is_some_and(|connection| connection.error().is_some());
        self.writes.lock().unwrap().push(told);
        self.written.lock().unwrap().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn the_close_is_written_before_anybody_learns_of_the_end() {
    let (client, _server) = sessions();
    let io = Noting::default();
    let (connection, task) = begin(Box::new(io.clone()), client);
    io.connection.set(connection.clone()).unwrap();
    let task = tokio::spawn(task);
    let ended = connection.close(CloseCode::Normal, "bye").await;
    assert!(matches!(ended, ConnectionError::ClosedHere(CloseCode::Normal)), "{ended}");
    task.await.unwrap();
    assert_eq!(*io.writes.lock().unwrap(), [false]);
}

const NORMAL: ConnectionError = ConnectionError::ClosedHere(CloseCode::Normal);

/// A pipe whose far end stays as it is: whoever waits for its end waits as long as anybody does.
#[tokio::test(start_paused = true)]
async fn who_connected_and_waits_for_nothing_does_not_wait_for_the_peers_end() {
    let (client, mut server) = sessions();
    let (near, mut far) = duplex(1 << 16);
    let (connection, task) = begin(Box::new(near), client);
    let task = tokio::spawn(task);
    let began = Instant::now();
    connection.close(CloseCode::Normal, "").await;
    assert_eq!((task.await.unwrap(), began.elapsed()), (NORMAL, Duration::ZERO));
    // All of it was said.
    let mut said = Vec::new();
    far.read_to_end(&mut said).await.unwrap();
    server.handle_bytes(Time::ZERO, &mut BytesMut::from(&said[..]));
    assert!(matches!(server.error(), Some(ConnectionError::ClosedByPeer { code: CloseCode::Normal, .. })));
}

#[tokio::test(start_paused = true)]
async fn who_has_calls_open_or_was_connected_to_listens_after_the_close() {
    let (client, server) = sessions();
    for (session, calls) in [(client, true), (server, false)] {
        let (near, mut far) = duplex(1 << 16);
        let (connection, task) = begin(Box::new(near), session);
        let task = tokio::spawn(task);
        if calls {
            let caller = connection.clone();
            tokio::spawn(async move { caller.call(Request::new("np.echo".parse().unwrap())).await });
            assert_ne!(far.read(&mut [0; 1_024]).await.unwrap(), 0);
        }
        let began = Instant::now();
        connection.close(CloseCode::Normal, "").await;
        assert_eq!((task.await.unwrap(), began.elapsed()), (NORMAL, PATIENCE));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_told_of_the_end_waits_for_nothing() {
    let (mut client, server) = sessions();
    let (near, mut far) = duplex(1 << 16);
    let (_connection, task) = begin(Box::new(near), server);
    let mut out = Vec::new();
    client.close(CloseCode::Normal, "");
    client.poll_transmit(Time::ZERO, &mut out);
    far.write_all(&out).await.unwrap();
    let began = Instant::now();
    assert!(matches!(task.await, ConnectionError::ClosedByPeer { code: CloseCode::Normal, .. }));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// Makes seventy calls, and answers all of them in one record; then gives how many callers have their replies after each
/// turn of the task, until it is over or all of them do, and whether the connection has ended. Between turns time passes.
async fn turns_of_seventy_replies(ends: bool, between: Duration) -> (Vec<usize>, bool) {
    let (client, mut server) = sessions();
    let (near, mut far) = duplex(1 << 16);
    let (connection, task) = begin(Box::new(near), client);
    let (mut task, cx) = (pin!(task), &mut Context::from_waker(Waker::noop()));
    let request = Request::new("np.echo".parse().unwrap());
    let mut calls: Vec<_> = (0..70).map(|_| connection.begin(&request, Until::At(Deadline::NONE))).collect();
    let (mut said, mut answers) = (BytesMut::new(), Vec::new());
    for answered in 0..70 {
        while server.open_by_peer() <= answered {
            assert!(task.as_mut().poll(cx).is_pending());
            if let Poll::Ready(read) = pin!(far.read_buf(&mut said)).poll(cx) {
                read.unwrap();
                server.handle_bytes(Time::ZERO, &mut said);
            }
        }
    }
    while let Some(event) = server.poll_event() {
        if let Event::Opened { key, body, codec, metadata, encoding, .. } = event {
            server.respond(key, Answer { codec, encoding, metadata, body }).unwrap();
        }
    }
    while server.poll_transmit(Time::ZERO, &mut answers) {}
    if ends {
        server.close(CloseCode::Normal, "");
        while server.poll_transmit(Time::ZERO, &mut answers) {}
    }
    far.write_all(&answers).await.unwrap();
    let (mut turns, mut over) = (Vec::new(), false);
    while !over && turns.last() != Some(&70) {
        over = task.as_mut().poll(cx).is_ready();
        calls.retain_mut(|call| !matches!(pin!(call).poll(cx), Poll::Ready(Ok(_))));
        turns.push(70 - calls.len());
        tokio::time::advance(between).await;
        if between > Duration::ZERO {
            // The peer lives, and what it says is not read yet.
            server.show_life();
            answers.clear();
            server.poll_transmit(Time::ZERO, &mut answers);
            far.write_all(&answers).await.unwrap();
        }
    }
    (turns, connection.error().is_some())
}

#[tokio::test(start_paused = true)]
async fn replies_reach_their_callers_a_few_in_a_turn() {
    let turns = vec![10, 20, 30, 40, 50, 60, 70];
    assert_eq!(turns_of_seventy_replies(false, Duration::ZERO).await, (turns, false));
}

#[tokio::test(start_paused = true)]
async fn replies_that_came_before_the_end_reach_their_callers() {
    assert_eq!(turns_of_seventy_replies(true, Duration::ZERO).await, (vec![70], true));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_read_while_replies_wait_is_not_late() {
    let turns = vec![10, 20, 30, 40, 50, 60, 70];
    assert_eq!(turns_of_seventy_replies(false, Duration::from_secs(120)).await, (turns, false));
}

#[tokio::test(start_paused = true)]
async fn an_early_call_leaves_in_the_write_that_ends_the_handshake() {
    let (client, mut server) = half_way();
    let mut client = client.into_session(Limits::default(), Time::ZERO).unwrap();
    client.allow_early_call();
    let io = Noting { mute: true, ..Noting::default() };
    let opening = Instant::now() + Duration::from_secs(10);
    let (connection, task) = begin_with(Box::new(io.clone()), client, Some(opening));
    let (mut task, cx) = (pin!(task), &mut Context::from_waker(Waker::noop()));
    for _ in 0..3 {
        assert!(task.as_mut().poll(cx).is_pending());
        assert!(io.writes.lock().unwrap().is_empty(), "whoever connects may be about to call");
    }
    connection.take_up();
    let request = Request::new("np.echo".parse().unwrap());
    let _call = connection.begin(&request, Until::At(Deadline::NONE));
    assert!(task.as_mut().poll(cx).is_pending());
    assert_eq!(io.writes.lock().unwrap().len(), 1);
    let mut input = BytesMut::from(&io.written.lock().unwrap()[..]);
    server.handle_bytes(&mut input);
    server.admit().unwrap();
    let mut server = server.into_session(Limits::default(), Time::ZERO).unwrap();
    server.handle_bytes(Time::ZERO, &mut input);
    assert_eq!(server.open_by_peer(), 1);
}

/// Counts how often a task asks to come again.
#[derive(Default)]
struct Again(AtomicUsize);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The bytes that each turn of a task wrote, until it asks for no other; between the first and the second something may happen.
fn turns(
    task: &mut Pin<&mut impl Future<Output = ConnectionError>>,
    far: &mut DuplexStream,
    said: &mut BytesMut,
    mut between: impl FnMut(),
) -> Vec<usize> {
    let again = Arc::new(Again::default());
    let (waker, mut written) = (Waker::from(Arc::clone(&again)), Vec::new());
    while written.len() <= again.0.load(Ordering::Relaxed) {
        assert!(written.len() < 20, "{written:?}");
        assert!(task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let before = said.len();
        while let Poll::Ready(read) = pin!(far.read_buf(said)).poll(&mut Context::from_waker(Waker::noop())) {
            read.unwrap();
        }
        written.push(said.len() - before);
        if written.len() == 1 {
            between();
        }
    }
    written
}

/// A turn ends after what is small, and where one who was just answered may have something small to say, and asks for another.
#[tokio::test(start_paused = true)]
async fn small_calls_find_their_way_between_large_ones() {
    let (client, mut server) = sessions();
    let (near, mut far) = duplex(1 << 20);
    let (connection, task) = begin(Box::new(near), client);
    let (mut task, mut said, mut answers) = (pin!(task), BytesMut::new(), Vec::new());
    let request = |bytes: usize| Request::new("np.echo".parse().unwrap()).body(vec![7; bytes]);
    let mut small = connection.begin(&request(64), Until::At(Deadline::NONE));
    let _large = connection.begin(&request(200_000), Until::At(Deadline::NONE));
    // A turn that waits for more calls, one for the small call, and one for as much of the large one as may be on its way.
    let written = turns(&mut task, &mut far, &mut said, || ());
    assert!(matches!(written[..], [0, 1..=200, 49_152..=66_000]), "{written:?}");

    server.handle_bytes(Time::ZERO, &mut said);
    while let Some(event) = server.poll_event() {
        if let Event::Opened { key, body, codec, metadata, encoding, .. } = event {
            server.respond(key, Answer { codec, encoding, metadata, body }).unwrap();
        }
    }
    while server.poll_transmit(Time::ZERO, &mut answers) {}
    far.write_all(&answers).await.unwrap();
    let mut another = None;
    let written = turns(&mut task, &mut far, &mut said, || {
        let answer = pin!(&mut small).poll(&mut Context::from_waker(Waker::noop()));
        assert!(answer.is_ready(), "its caller has it before more of the large one leaves");
        another = Some(connection.begin(&request(64), Until::At(Deadline::NONE)));
    });
    assert!(matches!(written[..], [0, 1..=200, 65_536..=90_000, ..]), "{written:?}");
}
