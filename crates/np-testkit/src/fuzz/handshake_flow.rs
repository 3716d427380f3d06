//! Two machines that shake hands over a network that splits, changes, adds, drops and cuts, or one machine against any
//! bytes. Nothing panics, little is held; both come to their end if nothing was changed, and never over different
//! transcripts; after a failure a machine holds its error and is silent. Owns this rule alone.

use bytes::BytesMut;
use np_noise::{Pattern, Role, Suite};
use np_session::{Handshake, HandshakeEvent, InitiatorConfig, ResponderConfig, ResponderKeys, Side, client_key};
use np_types::{CloseCode, ConnectionError, Limits, Psk, SecretKey, Time, UnixMillis};
use np_wire::{MAX_HANDSHAKE_MESSAGE, MAX_KEY_ID, Preface};

use super::input::Input;
use super::noise::{PSK, ephemeral, own};
use super::quick::{Quick, crypto};

/// A preface, and a message with its kind and length.
const MOST_HELD: usize = Preface::FIXED + MAX_KEY_ID + 3 + MAX_HANDSHAKE_MESSAGE;
const MOST_TURNS: usize = 4_000;

pub(super) fn target(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let setup = Setup::new(&mut input);
    if setup.alone {
        against_any_bytes(&setup, &mut input);
        return false;
    }
    let mut wires = [Wire::new(&mut input), Wire::new(&mut input)];
    let mut ends = [End::new(&setup, Side::Initiator), End::new(&setup, Side::Responder)];
    for _ in 0..MOST_TURNS {
        let mut any = false;
        for at in 0..2 {
            any |= ends[at].speak(&mut wires[at]);
            any |= ends[1 - at].listen(&setup, &mut wires[at], &mut input);
        }
        if !any {
            break;
        }
    }
    judge(&setup, ends, &wires)
}

/// What the first bytes choose.
struct Setup {
    pattern: Pattern,
    /// Whether the initiator names its psk by an id, or the responder looks it up by the client's key.
    by_id: bool,
    /// Whether one machine is fed with the input itself, and which.
    alone: bool,
    side: Side,
    /// Whom the initiator and the responder refuse: nobody, the first flight, the peer.
    refuses: [u8; 2],
}

impl Setup {
    fn new(input: &mut Input<'_>) -> Self {
        let pattern = super::noise::pattern(input);
        let (flags, refusals) = (input.u8(), input.u8());
        // NNpsk0 shows no key to look for.
        let by_id = flags & 1 == 0 || pattern == Pattern::NNpsk0;
        let side = if flags & 4 == 0 { Side::Responder } else { Side::Initiator };
        // Most inputs are about other things than refusals.
        let refuse = |value: u8| if value < 0xe { 0 } else { value - 0xd };
        Self { pattern, by_id, alone: flags & 2 != 0, side, refuses: [refuse(refusals >> 4), refuse(refusals & 0xf)] }
    }

    fn handshake(&self, side: Side) -> Handshake {
        let (psk, local) = (Psk::from_bytes(PSK), own(Role::Initiator));
        match side {
            Side::Responder => {
                Handshake::responder(&ResponderConfig { provider: &Quick, ..ResponderConfig::new(vec![self.pattern]) })
            }
            Side::Initiator => Handshake::initiator(InitiatorConfig {
                crypto: crypto(Suite::default()),
                pattern: self.pattern,
                local: self.pattern.needs_local_static(Role::Initiator).then_some(&local),
                server_key: self.pattern.needs_remote_static_up_front().then(|| own(Role::Responder).public()),
                psk: self.pattern.needs_psk().then_some(&psk),
                psk_id: if self.pattern.needs_psk() && self.by_id { b"team" } else { b"" },
                time: UnixMillis(1_800_000_000_000),
                nonce: [9; 16],
                ephemeral: SecretKey::from_bytes(ephemeral(Role::Initiator)),
            })
            .expect("the keys are those of the pattern"),
        }
    }
}

/// One direction: what happens to the bytes at which places.
struct Wire {
    changes: Vec<(u16, u8, u8)>,
    sent: Vec<u8>,
    delivered: Vec<u8>,
    waiting: BytesMut,
    cut: bool,
}

impl Wire {
    fn new(input: &mut Input<'_>) -> Self {
        let count = input.u8() % 4;
        let changes = (0..count).map(|_| (input.u16() % 400, input.u8(), input.u8())).collect();
        Self { changes, sent: Vec::new(), delivered: Vec::new(), waiting: BytesMut::new(), cut: false }
    }

    fn write(&mut self, bytes: &[u8]) {
        let end = self.sent.len() + bytes.len();
        let touched = self.changes.iter().any(|(place, ..)| (self.sent.len()..end).contains(&usize::from(*place)));
        if !touched {
            self.sent.extend_from_slice(bytes);
            if !self.cut {
                self.waiting.extend_from_slice(bytes);
            }
            return;
        }
        for byte in bytes {
            let mut through = vec![*byte];
            for (_, kind, value) in self.changes.iter().filter(|(place, ..)| usize::from(*place) == self.sent.len()) {
                match kind % 4 {
                    0 => through.iter_mut().for_each(|byte| *byte ^= value),
                    1 => through.clear(),
                    2 => through.insert(0, *value),
                    _ => self.cut = true,
                }
            }
            self.sent.push(*byte);
            if !self.cut {
                self.waiting.extend_from_slice(&through);
            }
        }
    }

    fn read(&mut self, most: usize) -> BytesMut {
        let bytes = self.waiting.split_to(most.min(self.waiting.len()));
        self.delivered.extend_from_slice(&bytes);
        bytes
    }
}

struct End {
    side: Side,
    handshake: Handshake,
    input: BytesMut,
    done: bool,
    error: Option<ConnectionError>,
    eof: bool,
}

impl End {
    fn new(setup: &Setup, side: Side) -> Self {
        let handshake = setup.handshake(side);
        Self { side, handshake, input: BytesMut::new(), done: false, error: None, eof: false }
    }

    fn speak(&mut self, wire: &mut Wire) -> bool {
        let mut out = Vec::new();
        let any = self.handshake.poll_transmit(&mut out);
        assert_eq!(any, !out.is_empty());
        wire.write(&out);
        any
    }

    /// Takes a piece of what waits, in the size that the input says.
    fn listen(&mut self, setup: &Setup, wire: &mut Wire, input: &mut Input<'_>) -> bool {
        let bytes = wire.read(match input.u8() {
            0 => usize::MAX,
            size => usize::from(size),
        });
        if bytes.is_empty() && !self.eof && wire.cut {
            self.eof = true;
            self.handshake.handle_eof();
            self.act(setup);
            return true;
        }
        self.take(setup, &bytes);
        !bytes.is_empty()
    }

    fn take(&mut self, setup: &Setup, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.handshake.handle_bytes(&mut self.input);
        let silent = self.error.is_some();
        let any = self.act(setup);
        assert!(!(silent && any), "an event after the failure");
        if self.handshake.error().is_some() {
            self.input.clear();
        }
        assert!(self.done || self.input.len() <= MOST_HELD, "{} bytes are held", self.input.len());
    }

    /// Answers what the machine asks; gives whether there was anything.
    fn act(&mut self, setup: &Setup) -> bool {
        let mut any = false;
        let refuses = setup.refuses[self.side as usize];
        while let Some(event) = self.handshake.poll_event() {
            any = true;
            match event {
                HandshakeEvent::Preface(_) | HandshakeEvent::Psk(_) if refuses == 1 => {
                    self.handshake.refuse(CloseCode::ConnectionLimit, "not now", "chosen by the input");
                }
                HandshakeEvent::Preface(preface) => self.proceed(setup, &preface),
                HandshakeEvent::Psk(_) => {
                    // A client that is not the one with the key fails here, by an event.
                    self.handshake.provide_psk(&Psk::from_bytes(PSK)).expect("a client waits");
                }
                HandshakeEvent::Peer(_) if refuses == 2 => {
                    self.handshake.refuse(CloseCode::NotAllowed, "", "chosen by the input");
                }
                HandshakeEvent::Peer(_) => self.handshake.admit().expect("a peer waits"),
                HandshakeEvent::Done => self.done = true,
                HandshakeEvent::Failed(error) => {
                    assert!(self.error.replace(error).is_none(), "a handshake fails once");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(self.handshake.error(), self.error.as_ref(), "a machine holds the error that it told");
        any
    }

    fn proceed(&mut self, setup: &Setup, preface: &Preface) {
        let pattern = setup.pattern;
        let (psk, local) = (Psk::from_bytes(PSK), own(Role::Responder));
        let by_id = pattern.needs_psk() && !preface.key_id.is_empty();
        let keys = ResponderKeys {
            local: pattern.needs_local_static(Role::Responder).then_some(&local),
            client_key: client_key(preface),
            psk: by_id.then_some(&psk),
            ephemeral: SecretKey::from_bytes(ephemeral(Role::Responder)),
        };
        // A preface that names no client, or no psk, leaves a key out that the pattern needs.
        if self.handshake.proceed(keys).is_err() {
            self.handshake.refuse(CloseCode::NotAllowed, "", "a key is missing");
        }
    }
}

fn judge(setup: &Setup, ends: [End; 2], wires: &[Wire; 2]) -> bool {
    let changed = wires.iter().any(|wire| wire.cut || wire.delivered != wire.sent);
    let refused = setup.refuses.iter().any(|refuses| *refuses != 0);
    let [a, b] = ends;
    if !changed && !refused {
        assert!(a.done && b.done, "{:?}: {:?}, {:?}", setup.pattern, a.error, b.error);
    }
    if !(a.done && b.done) {
        return false;
    }
    for (wire, reader) in wires.iter().zip([&b, &a]) {
        let read = wire.delivered.len() - reader.input.len();
        assert_eq!(wire.delivered[..read], wire.sent, "{:?}: over another transcript", setup.pattern);
    }
    let [a, b] = [a, b].map(|end| end.handshake.into_session(Limits::default(), Time::ZERO).expect("it is done"));
    assert_eq!(a.binding(), b.binding());
    a.error().is_none() && b.error().is_none()
}

/// A machine that the input talks to in pieces: it may only keep its rules.
fn against_any_bytes(setup: &Setup, input: &mut Input<'_>) {
    let mut end = End::new(setup, setup.side);
    let mut wire = Wire::new(&mut Input::new(&[]));
    end.speak(&mut wire);
    while !input.is_empty() {
        let size = usize::from(input.u8());
        end.take(setup, input.take(size));
        end.speak(&mut wire);
        if end.done {
            // What follows belongs to the session.
            return;
        }
    }
}
