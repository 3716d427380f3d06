//! A client whose session a test moves by hand, in the mode without encryption: it says and reads what it likes, when it
//! likes.

use bytes::BytesMut;
use futures_util::FutureExt as _;
use np_driver::Clock;
use np_session::{Event, Handshake, HandshakeEvent, OpenCall, OpenKind, Outer, Session, StreamKey};
use np_transport::{Address, Link, connect};
use np_types::{Deadline, Limits, PeerIdentity, UnixMillis};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) struct ByHand {
    pub(crate) link: Link,
    pub(crate) session: Session,
    pub(crate) clock: Clock,
}

impl ByHand {
    pub(crate) async fn connect(address: &Address) -> Self {
        let mut link = connect(address).await.unwrap();
        let outer = Outer { peer: PeerIdentity::Anonymous, binding: None };
        let mut handshake = Handshake::initiator_inside(outer, UnixMillis(0), [7; 16]);
        let (mut out, mut input) = (Vec::new(), BytesMut::new());
        let clock = Clock::start();
        loop {
            handshake.poll_transmit(&mut out);
            link.io.write_all(&std::mem::take(&mut out)).await.unwrap();
            handshake.handle_bytes(&mut input);
            match handshake.poll_event() {
                Some(HandshakeEvent::Peer(_)) => handshake.admit().unwrap(),
                Some(HandshakeEvent::Done) => break,
                Some(other) => panic!("{other:?}"),
                None => drop(link.io.read_buf(&mut input).await.unwrap()),
            }
        }
        let session = handshake.into_session(Limits::default(), clock.now()).unwrap();
        let mut hand = Self { link, session, clock };
        hand.session.handle_bytes(clock.now(), &mut input);
        while !matches!(hand.event().await, Event::Ready(_)) {}
        hand
    }

    /// Writes what there is to say, and waits for the next thing that happens.
    pub(crate) async fn event(&mut self) -> Event {
        let (mut out, mut input) = (Vec::new(), BytesMut::new());
        loop {
            self.session.poll_transmit(self.clock.now(), &mut out);
            self.link.io.write_all(&out).await.unwrap();
            self.session.handle_written(out.len());
            out.clear();
            if let Some(event) = self.session.poll_event() {
                return event;
            }
            assert_ne!(self.link.io.read_buf(&mut input).await.unwrap(), 0);
            self.session.handle_bytes(self.clock.now(), &mut input);
        }
    }

    /// Waits until the other end has read all that was said, and has said what it had to say.
    pub(crate) async fn ping(&mut self) {
        let token = self.session.ping();
        while self.event().await != (Event::Pong { token }) {}
    }
}

/// Says what there is to say and hears what there is to hear, until neither side has anything left.
pub(crate) async fn settle(hand: &mut ByHand) -> Vec<Event> {
    let (mut out, mut input, mut events, mut quiet) = (Vec::new(), BytesMut::new(), Vec::new(), 0);
    while quiet < 8 {
        quiet += 1;
        while hand.session.poll_transmit(hand.clock.now(), &mut out) {
            hand.link.io.write_all(&out).await.unwrap();
            hand.session.handle_written(out.len());
            out.clear();
            quiet = 0;
        }
        tokio::task::yield_now().await;
        while let Some(Ok(1..)) = hand.link.io.read_buf(&mut input).now_or_never() {
            hand.session.handle_bytes(hand.clock.now(), &mut input);
            quiet = 0;
        }
        events.extend(std::iter::from_fn(|| hand.session.poll_event()));
        assert!(hand.session.error().is_none(), "{:?}", hand.session.error());
    }
    events
}

/// Opens something without a deadline.
pub(crate) fn open(hand: &mut ByHand, kind: OpenKind, method: &str, change: impl FnOnce(&mut OpenCall)) -> StreamKey {
    let mut call = OpenCall::new(kind, method.parse().unwrap());
    call.deadline = Deadline::NONE;
    change(&mut call);
    hand.session.open(call).unwrap()
}
