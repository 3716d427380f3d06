//! Two sessions and their applications, joined by a line that the input works: it calls, streams, cancels, passes some
//! bytes on or all, lets time pass, renews keys, runs short of memory, drains, closes and cuts. What holds for every simulation holds here: each
//! call ends once and by what was done; where nothing broke, everything is answered and every credit is back. Owns the
//! operations; the model is the simulator's.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::BytesMut;
use np_noise::{ReceiveCipher, SendCipher, Traffic};
use np_session::{OpenKind, Session, Shortage, Side};
use np_types::{ConnectionError, Limits, Time};

use super::input::Input;
use super::quick::ciphers;
use super::rekey::Tap;
use crate::sim::{check_model, check_rest};
use crate::{Action, Actor, Peer, Step};

pub(super) const MOST_OPERATIONS: usize = 300;
const MOST_CALLS: u64 = 24;
/// A line that has come to rest by itself needs no longer than this; see the deadlines below.
const LIMIT: Duration = Duration::from_secs(100);
const MOST_TURNS: usize = 100_000;
/// What the first key of each side is made of.
pub(super) const KEYS: [u8; 2] = [1, 2];

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let flags = input.u8();
    // Large messages take their time, so a quarter of the inputs have them.
    let limits = match flags & 6 {
        2 => [wide(input.u8()), wide(input.u8())],
        _ => [limits(input.u8()), limits(input.u8())],
    };
    let mut line = Line::new(flags & 1 != 0, &limits);
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        let operation = input.u8();
        line.operate(usize::from(operation >> 7), operation % 0x80, &mut input);
    }
    line.judge(&limits).0
}

/// Small windows and few calls, in the shapes that a byte chooses.
pub(super) fn limits(choice: u8) -> Limits {
    let stream_window = [1_024, 1_500, 4_096, 6_000][usize::from(choice & 3)];
    let max_message = [1_024, 3_000, 7_000, 15_000][usize::from(choice >> 2 & 3)];
    let limits = Limits {
        max_message,
        max_calls: 1 + u32::from(choice >> 4 & 3),
        max_queued_calls: 20,
        stream_window,
        connection_window: 2 * stream_window + 100,
        reassembly_budget: max_message + 1_000,
        rekey_records: if choice & 0x40 == 0 { 1 << 20 } else { 3 },
        pad_records_to: if choice & 0x80 == 0 { 0 } else { 100 },
        ..Limits::default()
    };
    limits.validate().expect("limits in their ranges");
    limits
}

/// Windows in which messages are large enough to be held for small ones.
fn wide(choice: u8) -> Limits {
    let limits = Limits {
        max_message: 200_000,
        stream_window: [70_000, 120_000][usize::from(choice & 1)],
        connection_window: 250_000 + u32::from(choice),
        reassembly_budget: 300_000,
        ..limits(choice)
    };
    limits.validate().expect("limits in their ranges");
    limits
}

pub(super) struct Line {
    peers: [Peer<Actor>; 2],
    /// What each peer wrote and the other did not read.
    pipes: [BytesMut; 2],
    most: usize,
    pub(super) now: Time,
    calls: u64,
    cut: bool,
    /// Whether a side drains or has closed.
    ended: bool,
    /// Somebody who reads along what each peer sends.
    pub(super) taps: Option<[Tap; 2]>,
}

impl Line {
    pub(super) fn new(null: bool, limits: &[Limits; 2]) -> Self {
        let traffic = |send: u8, receive: u8| Traffic {
            send: if null { SendCipher::danger_null() } else { ciphers([send; 32]).0 },
            receive: if null { ReceiveCipher::danger_null() } else { ciphers([receive; 32]).1 },
            hash: [0; 32],
            remote_static: None,
        };
        let peer = |side: Side, traffic: Traffic| {
            let at = side as usize;
            let session = Session::danger_from_traffic(side, limits[at].clone(), traffic, Time::ZERO);
            let app = Actor::new(at as u64, (at as u64 + 1) << 33, Vec::new());
            Peer::over(session, app)
        };
        let peers =
            [peer(Side::Initiator, traffic(KEYS[0], KEYS[1])), peer(Side::Responder, traffic(KEYS[1], KEYS[0]))];
        // An echo must fit the caller as well.
        let most = limits[0].max_message.min(limits[1].max_message).min(1 << 17) as usize;
        let (pipes, now) = (Default::default(), Time::ZERO);
        Self { peers, pipes, most, now, calls: 0, cut: false, ended: false, taps: None }
    }

    pub(super) fn operate(&mut self, at: usize, operation: u8, input: &mut Input<'_>) {
        match operation % 16 {
            0 => self.open(at, OpenKind::Request, "echo", input),
            1 => self.open(at, OpenKind::Request, "nest", input),
            2 => self.open(at, OpenKind::Request, "fail", input),
            3 => self.open(at, OpenKind::Request, "hang", input),
            4 => self.open(at, OpenKind::OneWay, "note", input),
            5 => self.open(at, OpenKind::Stream, "chat", input),
            6 => self.act(at, Action::Ping),
            7 => self.act(at, Action::UpdateKey),
            8 => drop(self.transmit(at, usize::from(input.u16()))),
            9 => drop(self.deliver(at, usize::from(input.u16()))),
            10 => self.pass(self.now + Duration::from_millis(u64::from(input.u8()))),
            11 if input.u8() > 0xe0 => self.end(at, Action::GoAway),
            12 if input.u8() > 0xe0 => self.end(at, Action::Close),
            13 if input.u8() > 0xf0 => self.cut(),
            14 => self.run_short(at, input),
            _ => drop(self.turn()),
        }
    }

    fn open(&mut self, at: usize, kind: OpenKind, method: &'static str, input: &mut Input<'_>) {
        let unit = if self.most < 1 << 16 { 1 } else { 2 };
        let (shape, mut size) = (input.u8(), || usize::from(input.u16()) * unit % (self.most + 1));
        let sizes = match kind {
            OpenKind::Stream => (0..shape >> 4 & 3).map(|_| size()).collect(),
            _ => vec![size()],
        };
        let span = |unit: u64| Duration::from_millis(unit * u64::from(shape & 0xf));
        let cancel = (shape & 0x40 != 0).then(|| span(10));
        let hangs = method == "hang" && cancel.is_none();
        let deadline = (hangs || shape & 0x80 != 0).then(|| span(20));
        if self.calls < MOST_CALLS {
            self.calls += 1;
            let number = (at as u64 + 1) << 32 | self.calls;
            self.act(at, Action::Open { number, kind, method, sizes, deadline, cancel });
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        // The script of a peer that ended is not played any more.
        if self.peers[at].error().is_none() {
            self.peers[at].app.add(Step { at: self.now, action });
            self.peers[at].advance(self.now);
        }
    }

    /// A peer's memory is short, or no longer.
    fn run_short(&mut self, at: usize, input: &mut Input<'_>) {
        let (choice, spare) = (input.u8(), u64::from(input.u8()) << 8);
        let shortage = [Shortage::None, Shortage::Grants, Shortage::Calls][usize::from(choice % 3)];
        self.act(at, Action::Shortage(shortage, spare));
    }

    fn end(&mut self, at: usize, action: Action) {
        self.ended = true;
        self.act(at, action);
    }

    /// A peer works, and up to `most` bytes leave it.
    fn transmit(&mut self, at: usize, most: usize) -> bool {
        let peer = &mut self.peers[at];
        let any = peer.advance(self.now);
        let count = most.min(peer.out.len());
        if !self.cut {
            self.pipes[at].extend_from_slice(&peer.out[..count]);
            if let Some(taps) = &mut self.taps {
                taps[at].read(&peer.out[..count]);
            }
        }
        peer.wrote(count);
        any || count > 0
    }

    /// Up to `most` bytes reach a peer.
    fn deliver(&mut self, at: usize, most: usize) -> bool {
        let pipe = &mut self.pipes[1 - at];
        let bytes = pipe.split_to(most.min(pipe.len()));
        if !bytes.is_empty() {
            self.peers[at].receive(self.now, &bytes);
        }
        if self.pipes[1 - at].is_empty() && self.peers[1 - at].is_finished() {
            self.peers[at].end(None);
        }
        !bytes.is_empty()
    }

    /// Everything moves once.
    fn turn(&mut self) -> bool {
        let mut any = false;
        for at in 0..2 {
            any |= self.deliver(at, usize::MAX);
            any |= self.transmit(at, usize::MAX);
        }
        any
    }

    /// Time passes, and timers fire before anything else that comes at that time.
    pub(super) fn pass(&mut self, now: Time) {
        self.now = now;
        for peer in &mut self.peers {
            peer.advance(now);
        }
    }

    /// Runs on until nothing is left to happen; gives whether that came about in time.
    fn rest(&mut self) -> bool {
        let limit = self.now + LIMIT;
        for _ in 0..MOST_TURNS {
            if self.turn() {
                continue;
            }
            match self.peers.iter().filter_map(Peer::due).min() {
                None => return true,
                Some(at) if at > limit => return false,
                Some(at) => self.pass(at.max(self.now)),
            }
        }
        panic!("the peers never come to rest at {:?}", self.now);
    }

    /// Lets the rest happen and holds the run against the model; gives whether calls were made on a line that stayed
    /// whole, and the taps.
    pub(super) fn judge(mut self, limits: &[Limits; 2]) -> (bool, Option<[Tap; 2]>) {
        // What waits for memory is to get it in the end.
        (0..2).for_each(|at| self.act(at, Action::Shortage(Shortage::None, u64::MAX)));
        let quiet = self.rest();
        let mut broken = Vec::new();
        let whole = !self.cut && !self.ended;
        if whole {
            check_rest(&mut self.peers, quiet, limits, &mut broken);
        }
        self.cut();
        check_model(&self.peers, &mut broken);
        assert!(broken.is_empty(), "{}", broken.join("\n"));
        (whole && self.calls > 0, self.taps)
    }

    /// The line breaks: what is on it is lost, and both ends notice.
    fn cut(&mut self) {
        self.cut = true;
        self.pipes = Default::default();
        for peer in &mut self.peers {
            peer.end(Some(ConnectionError::io("the line", &ErrorKind::ConnectionReset.into())));
            peer.advance(self.now);
        }
    }
}
