//! From the bytes of both directions of a connection to what stands in them: preface, handshake, records, frames. Must
//! never trust a length, nor show a body.

use std::ops::ControlFlow;

use np_facade::raw::noise::ReceiveCipher;
use np_facade::raw::wire::{
    Choices, Frame as WireFrame, HandshakeFrame, MAX_FIRST_RECORD, Preface, RECORD_HEAD, TAG, Versions, decode_frame,
    decode_handshake_frame, record_len,
};
use np_facade::{Pattern, Suite, escape};
use serde::Serialize;
use serde_json::{Value, json};

use super::frames::{self, Names};
use super::keys::Keys;

/// Characters of a text from outside that are shown.
pub(super) const MAX_TEXT: usize = 256;
/// The longest header of a proxy in text (PROXY protocol, version 1), and what begins one in bytes (version 2).
const MAX_PROXY_LINE: usize = 107;
const PROXY_2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// An end of a connection: who sent the preface, and the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    Client,
    Server,
}

/// Names and values, in their order.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// A piece of a direction.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) side: Side,
    /// Where it begins in its direction, and how many bytes it takes.
    pub(super) offset: usize,
    pub(super) size: usize,
    pub(super) what: &'static str,
    /// Which one of its kind, from 1.
    pub(super) number: Option<u64>,
    pub(super) fields: Fields,
    pub(super) frames: Vec<Frame>,
}

/// A frame of a record.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) fields: Fields,
}

/// What is known of a connection as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct About {
    pub(super) nonce: Option<[u8; 16]>,
    pub(super) pattern: Option<Pattern>,
    pub(super) suite: Option<Suite>,
    /// Whether the client speaks a version that is not known here.
    pub(super) foreign: bool,
    /// Whether records are not sealed at all.
    pub(super) in_clear: bool,
    /// Whether the key log opened records.
    pub(super) opened: bool,
}

/// Takes connections apart, until there are too many pieces.
pub(super) struct Dissector<'a> {
    pub(super) keys: &'a Keys,
    /// How many pieces and frames there may still be.
    pub(super) left: usize,
}

/// The bytes of a direction, and how far they are read.
struct Walk<'a> {
    side: Side,
    bytes: &'a [u8],
    at: usize,
    items: Vec<Item>,
}

/// A break means that nothing more can be said of a direction.
type Step<T = ()> = ControlFlow<(), T>;

impl<'a> Walk<'a> {
    const fn new(side: Side, bytes: &'a [u8]) -> Self {
        Self { side, bytes, at: 0, items: Vec::new() }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn push(&mut self, what: &'static str, number: Option<u64>, size: usize, fields: Fields) {
        self.items.push(Item { side: self.side, offset: self.at, size, what, number, fields, frames: Vec::new() });
        self.at += size;
    }

    /// What is there cannot be read.
    fn error<T>(&mut self, why: impl std::fmt::Display) -> Step<T> {
        let why = escape(&why.to_string(), MAX_TEXT);
        self.push("error", None, self.rest().len(), vec![("why", json!(why))]);
        ControlFlow::Break(())
    }

    /// What is there is of a version that is not known here.
    fn opaque<T>(&mut self) -> Step<T> {
        if !self.rest().is_empty() {
            let why = "of a version that this program does not know";
            self.push("unknown", None, self.rest().len(), vec![("why", json!(why))]);
        }
        ControlFlow::Break(())
    }

    /// What is there goes on elsewhere: the capture ends within it, or bytes are missing.
    fn partly<T>(&mut self, of: &str) -> Step<T> {
        if !self.rest().is_empty() {
            self.push("partial", None, self.rest().len(), vec![("of", json!(of))]);
        }
        ControlFlow::Break(())
    }
}

impl Dissector<'_> {
    /// Takes a connection apart of which one or both directions are there, and gives its pieces, the client's first.
    pub(super) fn connection(&mut self, client: Option<&[u8]>, server: Option<&[u8]>) -> (Vec<Item>, About) {
        let mut about = About::default();
        let mut items = Vec::new();
        for (side, bytes) in [(Side::Client, client), (Side::Server, server)] {
            let mut walk = Walk::new(side, bytes.unwrap_or_default());
            // Where it ends early, the last piece says why.
            let _ = match side {
                Side::Client => self.client(&mut walk, &mut about),
                Side::Server => self.server(&mut walk, &mut about),
            };
            items.append(&mut walk.items);
        }
        (items, about)
    }

    fn room(&mut self) -> Step {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Step::Continue(())
            }
            None => Step::Break(()),
        }
    }

    fn client(&mut self, walk: &mut Walk<'_>, about: &mut About) -> Step {
        if walk.bytes.is_empty() {
            return Step::Break(());
        }
        self.room()?;
        if let Some(size) = proxy_header(walk.rest()) {
            walk.push("proxy", None, size, Fields::new());
        }
        let preface = self.preface(walk, about)?;
        about.nonce = Some(preface.nonce);
        about.in_clear = (preface.suite, preface.pattern) == (0, 0);
        if !about.in_clear {
            about.suite = Suite::from_wire(preface.suite);
            about.pattern = Pattern::from_wire(preface.pattern);
            let (Some(_), Some(pattern)) = (about.suite, about.pattern) else {
                return walk.error("no suite or pattern of this version: what follows cannot be told apart");
            };
            for number in (1..=pattern.messages() as u64).step_by(2) {
                self.handshake(walk, number, about.in_clear)?;
            }
        }
        self.records(walk, about)
    }

    /// The preface, of which a version that is not known here has only the first bytes in common with this one.
    fn preface(&mut self, walk: &mut Walk<'_>, about: &mut About) -> Step<Preface> {
        self.room()?;
        if let Ok(Some(versions)) = Versions::decode(walk.rest())
            && !versions.is_spoken()
        {
            about.foreign = true;
            walk.push("preface", None, Versions::SIZE, frames::versions(versions));
            self.room()?;
            return walk.opaque();
        }
        match Preface::decode(walk.rest()) {
            Ok(Some((preface, size))) => {
                walk.push("preface", None, size, frames::preface(&preface));
                Step::Continue(preface)
            }
            Ok(None) => walk.partly("a preface"),
            Err(error) => walk.error(error),
        }
    }

    fn server(&mut self, walk: &mut Walk<'_>, about: &mut About) -> Step {
        if walk.bytes.is_empty() {
            return Step::Break(());
        }
        if about.foreign && !matches!(decode_handshake_frame(walk.rest()), Ok(Some((HandshakeFrame::Refusal(_), _)))) {
            self.room()?;
            return walk.opaque();
        }
        // Alone, its length tells: choices in clear have three bytes, message 2 has a key.
        let alone = about.nonce.is_none();
        if alone && let Ok(Some((HandshakeFrame::Message([_, 0, 0]), _))) = decode_handshake_frame(walk.rest()) {
            about.in_clear = true;
        }
        self.handshake(walk, 2, about.in_clear)?;
        self.records(walk, about)
    }

    /// A message of the handshake, or a refusal in clear, which is the end.
    fn handshake(&mut self, walk: &mut Walk<'_>, number: u64, in_clear: bool) -> Step {
        if walk.rest().is_empty() {
            return Step::Break(());
        }
        self.room()?;
        match decode_handshake_frame(walk.rest()) {
            Ok(Some((HandshakeFrame::Message(message), size))) => {
                let mut fields = Fields::new();
                if in_clear && let Ok(choices) = Choices::decode(message) {
                    fields = frames::choices(&choices);
                }
                walk.push("message", Some(number), size, fields);
                Step::Continue(())
            }
            Ok(Some((HandshakeFrame::Refusal(refusal), size))) => {
                walk.push("refusal", None, size, frames::refusal(&refusal));
                if walk.rest().is_empty() { Step::Break(()) } else { walk.error("bytes behind a refusal") }
            }
            Ok(None) => walk.partly("a handshake message"),
            Err(error) => walk.error(error),
        }
    }

    fn records(&mut self, walk: &mut Walk<'_>, about: &mut About) -> Step {
        let tag = if about.in_clear { 0 } else { TAG };
        let mut opener = Opener::new(about);
        for number in 1.. {
            let length = match record_len(walk.rest(), tag + 1) {
                Ok(Some(length)) => length,
                Ok(None) => return walk.partly("a record"),
                Err(error) => return walk.error(error),
            };
            self.room()?;
            let size = RECORD_HEAD + length;
            let Some(sealed) = walk.rest().get(RECORD_HEAD..size) else {
                return walk.partly(&format!("a record of {size} bytes"));
            };
            let mut fields = Fields::new();
            if number == 1 && length > MAX_FIRST_RECORD {
                fields.push(("wrong", json!(format!("a first record has {MAX_FIRST_RECORD} bytes at most"))));
            }
            let opened = opener.open(self.keys, walk.side, about, sealed);
            match &opened {
                Opened::Text(_) => {}
                Opened::Sealed => fields.push(("sealed", json!(true))),
                Opened::Failed => fields.push((
                    "wrong",
                    json!("does not open: it was changed, bytes before it are missing, or the keys are others'"),
                )),
            }
            walk.push("record", Some(number), size, fields);
            if let (Opened::Text(text), Some(item)) = (opened, walk.items.last_mut()) {
                self.frames(&text, &mut item.frames, &mut opener)?;
            }
        }
        Step::Break(())
    }

    /// The frames of an opened record.
    fn frames(&mut self, text: &[u8], out: &mut Vec<Frame>, opener: &mut Opener) -> Step {
        let mut rest = text;
        while !rest.is_empty() {
            self.room()?;
            match decode_frame(rest) {
                Ok((frame, size)) => {
                    let (name, fields) = opener.names.frame(&frame);
                    out.push(Frame { name, size, fields });
                    rest = rest.get(size..).unwrap_or_default();
                    if frame == WireFrame::KeyUpdate && rest.is_empty() {
                        opener.rekey();
                    }
                }
                Err(error) => {
                    let why = escape(&error.to_string(), MAX_TEXT);
                    out.push(Frame { name: "error".to_owned(), size: rest.len(), fields: vec![("why", json!(why))] });
                    return Step::Continue(());
                }
            }
        }
        Step::Continue(())
    }
}

/// What becomes of a record.
enum Opened {
    Text(Vec<u8>),
    Sealed,
    Failed,
}

/// What opens the records of a direction, one after the other.
struct Opener {
    state: State,
    names: Names,
}

enum State {
    /// Nothing is sealed.
    Clear,
    /// The key is looked for at the first record.
    Unknown,
    Keyed(ReceiveCipher),
    /// There is no key, or it opens nothing any more.
    Shut,
}

impl Opener {
    fn new(about: &About) -> Self {
        Self { state: if about.in_clear { State::Clear } else { State::Unknown }, names: Names::default() }
    }

    fn open(&mut self, keys: &Keys, side: Side, about: &mut About, sealed: &[u8]) -> Opened {
        self.names.side(side);
        if matches!(self.state, State::Unknown) {
            let cipher = keys.cipher(side, about.nonce.as_ref(), about.suite, sealed);
            self.state = cipher.map_or(State::Shut, State::Keyed);
        }
        match &mut self.state {
            State::Clear => Opened::Text(sealed.to_vec()),
            State::Keyed(cipher) => {
                let mut text = sealed.to_vec();
                match cipher.open_in_place(&mut text).map(|plaintext| plaintext.len()) {
                    Ok(length) => {
                        text.truncate(length);
                        about.opened = true;
                        Opened::Text(text)
                    }
                    Err(_) => {
                        self.state = State::Shut;
                        Opened::Failed
                    }
                }
            }
            State::Unknown | State::Shut => Opened::Sealed,
        }
    }

    fn rekey(&mut self) {
        if let State::Keyed(cipher) = &mut self.state {
            cipher.rekey();
        }
    }
}

/// The bytes of the header that a proxy put before the connection's own, in either version of its protocol.
fn proxy_header(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(&PROXY_2) {
        let length: [u8; 2] = bytes.get(14..16)?.try_into().ok()?;
        let size = 16 + usize::from(u16::from_be_bytes(length));
        return (bytes.len() >= size).then_some(size);
    }
    let line = bytes.get(..MAX_PROXY_LINE.min(bytes.len()))?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    bytes.starts_with(b"PROXY ").then_some(end + 2)
}

/// Whether bytes begin as the client's do.
pub(super) fn is_client(bytes: &[u8]) -> bool {
    let after = proxy_header(bytes).unwrap_or_default();
    bytes.get(after..).is_some_and(|bytes| bytes.starts_with(&np_facade::raw::wire::MAGIC))
}

/// Whether bytes begin as the server's do.
pub(super) fn is_server(bytes: &[u8]) -> bool {
    bytes.len() >= 3 && decode_handshake_frame(bytes).is_ok()
}
