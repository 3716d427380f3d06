//! What travels before the first record: the preface, handshake messages and refusals in clear.

use np_types::{CloseCode, LimitName, Malformed, UnixMillis, VERSION};

use crate::{Reader, WireError};

/// The first bytes of a connection. The line break finds links that rewrite text.
///
/// ```
/// assert_eq!(np_wire::MAGIC, *b"np\r\n");
/// ```
pub const MAGIC: [u8; 4] = *b"np\r\n";
/// The longest handshake message, in bytes.
pub const MAX_HANDSHAKE_MESSAGE: usize = 1_024;
/// The longest psk or client-key id in a preface, in bytes.
pub const MAX_KEY_ID: usize = 64;

const MESSAGE: u8 = 0x02;
const REFUSAL: u8 = 0x03;
/// The bytes of a refusal before its text: the code, the lowest and the highest version.
const REFUSAL_HEAD: usize = 4;
const MAX_REFUSAL_TEXT: usize = 256;

/// What the first seven bytes of every preface say, whatever its version: these keep their place and meaning.
///
/// ```
/// use np_wire::Versions;
/// let newer = b"np\r\n\x02\x03\x02";
/// let versions = Versions { min: 2, max: 3, used: 2 };
/// assert_eq!(Versions::decode(newer)?, Some(versions));
/// assert!(!versions.is_spoken());
/// assert_eq!(Versions::decode(&newer[..6])?, None);
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The lowest version the client speaks.
    pub min: u8,
    /// The highest version the client speaks.
    pub max: u8,
    /// The version that message 1 uses, and the rest of the preface.
    pub used: u8,
}

impl Versions {
    /// How many bytes they take, the magic before them included.
    pub const SIZE: usize = MAGIC.len() + 3;

    /// Reads them; `None` while bytes are missing. A wrong magic is found at its first wrong byte.
    ///
    /// # Errors
    /// When the bytes begin no preface, or the version used is outside the range.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        if bytes.iter().zip(MAGIC).any(|(byte, magic)| *byte != magic) {
            return Err(Malformed::Magic.into());
        }
        let Some(&[min, max, used]) = bytes.get(MAGIC.len()..).and_then(|range| range.first_chunk()) else {
            return Ok(None);
        };
        if (min..=max).contains(&used) {
            Ok(Some(Self { min, max, used }))
        } else {
            Err(Malformed::Value("the version range").into())
        }
    }

    /// Whether the rest stands as [`Preface::decode`] reads it: of another version nobody can tell even how long it is.
    #[must_use]
    pub const fn is_spoken(self) -> bool {
        self.used == VERSION
    }
}

/// The client's first bytes. All of them, as encoded, are the prologue of the handshake.
///
/// ```
/// use np_types::UnixMillis;
/// use np_wire::Preface;
/// let preface = Preface {
///     min_version: 1, max_version: 1, version: 1, suite: 1, pattern: 1,
///     time: UnixMillis(1_800_000_000_000), nonce: [7; 16], hint: [0; 4], key_id: Vec::new(),
/// };
/// let mut out = Vec::new();
/// preface.encode(&mut out);
/// assert_eq!(Preface::decode(&out)?, Some((preface, out.len())));
/// assert_eq!(Preface::decode(&out[..20])?, None);
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preface {
    /// The lowest version the client speaks.
    pub min_version: u8,
    /// The highest version the client speaks.
    pub max_version: u8,
    /// The version that message 1 uses.
    pub version: u8,
    /// The cipher suite that message 1 uses.
    pub suite: u8,
    /// The handshake pattern that message 1 uses.
    pub pattern: u8,
    /// The client's wall clock.
    pub time: UnixMillis,
    /// Random bytes that make this first flight unique.
    pub nonce: [u8; 16],
    /// The first four bytes of the SHA-256 of the server key that message 1 uses; zeros where it uses none.
    pub hint: [u8; 4],
    /// The psk or client-key id, where the responder needs it before message 1; at most 64 bytes.
    pub key_id: Vec<u8>,
}

impl Preface {
    /// The bytes before the id.
    pub const FIXED: usize = 38;

    /// Appends the preface. An id longer than 64 bytes is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let id = self.key_id.get(..MAX_KEY_ID).unwrap_or(&self.key_id);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.min_version, self.max_version, self.version, self.suite, self.pattern]);
        out.extend_from_slice(&self.time.0.to_be_bytes());
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.hint);
        out.push(id.len() as u8);
        out.extend_from_slice(id);
    }

    /// Reads a preface and how many bytes it takes; `None` while bytes are missing.
    ///
    /// The fields stand as they do in version 1: [`Versions::is_spoken`] tells before whether they do. A wrong magic is found
    /// at its first wrong byte, a wrong version range before the rest is there.
    ///
    /// # Errors
    /// When the bytes are no preface, or the id is longer than 64 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, WireError> {
        Versions::decode(bytes)?;
        let Some(id_len) = bytes.get(Self::FIXED - 1).copied().map(usize::from) else {
            return Ok(None);
        };
        if id_len > MAX_KEY_ID {
            return Err(WireError::limit(LimitName::KeyId, MAX_KEY_ID, id_len as u64));
        }
        let size = Self::FIXED + id_len;
        if bytes.len() < size {
            return Ok(None);
        }
        Self::read(Reader::new(bytes)).map(|preface| Some((preface, size)))
    }

    fn read(mut reader: Reader<'_>) -> Result<Self, WireError> {
        const FIELD: &str = "the preface";
        reader.array::<4>(FIELD)?;
        let [min_version, max_version, version, suite, pattern] = reader.array(FIELD)?;
        let time = UnixMillis(u64::from_be_bytes(reader.array(FIELD)?));
        let (nonce, hint) = (reader.array(FIELD)?, reader.array(FIELD)?);
        let id_len = usize::from(reader.u8(FIELD)?);
        let key_id = reader.bytes(id_len, FIELD)?.to_vec();
        Ok(Self { min_version, max_version, version, suite, pattern, time, nonce, hint, key_id })
    }
}

/// What the server chose: the first part of message 2's payload.
///
/// ```
/// use np_wire::Choices;
/// let choices = Choices { version: 1, suite: 1, pattern: 2 };
/// assert_eq!(Choices::decode(&choices.encode())?, choices);
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choices {
    /// The version of every byte after the handshake.
    pub version: u8,
    /// The suite.
    pub suite: u8,
    /// The pattern.
    pub pattern: u8,
}

impl Choices {
    /// The three bytes.
    #[must_use]
    pub const fn encode(&self) -> [u8; 3] {
        [self.version, self.suite, self.pattern]
    }

    /// Reads the choices; bytes after them belong to later versions and are skipped.
    ///
    /// # Errors
    /// When fewer than three bytes are there.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let [version, suite, pattern] = Reader::new(bytes).array("the server's choices")?;
        Ok(Self { version, suite, pattern })
    }
}

/// A refusal in clear: for the user's eyes. Nobody signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Why.
    pub code: CloseCode,
    /// The lowest version the server speaks.
    pub min_version: u8,
    /// The highest version the server speaks.
    pub max_version: u8,
    /// What the server has to say; at most 256 bytes.
    pub text: &'a str,
}

/// What stands between the preface and the first record.
///
/// ```
/// use np_wire::{HandshakeFrame, decode_handshake_frame, encode_handshake_message};
/// let mut out = Vec::new();
/// encode_handshake_message(&mut out, b"noise");
/// let (frame, used) = decode_handshake_frame(&out)?.unwrap();
/// assert_eq!((frame, used), (HandshakeFrame::Message(b"noise"), out.len()));
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandshakeFrame<'a> {
    /// A Noise handshake message.
    Message(&'a [u8]),
    /// A refusal in clear.
    Refusal(Refusal<'a>),
}

/// Appends a handshake message: kind, big-endian 16-bit length, bytes. At most 1,024 bytes are taken.
pub fn encode_handshake_message(out: &mut Vec<u8>, message: &[u8]) {
    let message = message.get(..MAX_HANDSHAKE_MESSAGE).unwrap_or(message);
    out.push(MESSAGE);
    out.extend_from_slice(&(message.len() as u16).to_be_bytes());
    out.extend_from_slice(message);
}

/// Appends a refusal in clear, its text cut to 256 bytes.
///
/// ```
/// use np_types::CloseCode;
/// use np_wire::{HandshakeFrame, decode_handshake_frame, encode_refusal};
/// let mut out = Vec::new();
/// encode_refusal(&mut out, CloseCode::ClockSkew, "your clock is 9 s ahead");
/// let (frame, _) = decode_handshake_frame(&out)?.unwrap();
/// assert!(matches!(frame, HandshakeFrame::Refusal(refusal) if refusal.code == CloseCode::ClockSkew));
/// # Ok::<(), np_wire::WireError>(())
/// ```
pub fn encode_refusal(out: &mut Vec<u8>, code: CloseCode, text: &str) {
    let end = (0..=MAX_REFUSAL_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    let text = end.and_then(|end| text.get(..end)).unwrap_or_default();
    out.push(REFUSAL);
    out.extend_from_slice(&(4 + text.len() as u16).to_be_bytes());
    out.extend_from_slice(&code.to_wire().to_be_bytes());
    out.extend_from_slice(&[VERSION, VERSION]);
    out.extend_from_slice(text.as_bytes());
}

/// Reads a handshake message or a refusal and how many bytes it takes; `None` while bytes are missing.
///
/// # Errors
/// When the kind is unknown, or the announced length is above 1,024 (a message) or 260 (a refusal): found at the
/// header, before the rest is there. When a refusal has less than its four fixed bytes or its text is not UTF-8.
pub fn decode_handshake_frame(bytes: &[u8]) -> Result<Option<(HandshakeFrame<'_>, usize)>, WireError> {
    match bytes.first() {
        None => return Ok(None),
        Some(&MESSAGE | &REFUSAL) => {}
        Some(_) => return Err(Malformed::Value("the kind of a handshake message").into()),
    }
    let Some(&[kind, high, low]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind == MESSAGE && length > MAX_HANDSHAKE_MESSAGE {
        return Err(WireError::limit(LimitName::HandshakeMessage, MAX_HANDSHAKE_MESSAGE, length as u64));
    }
    let text = length.saturating_sub(REFUSAL_HEAD);
    if kind == REFUSAL && text > MAX_REFUSAL_TEXT {
        return Err(WireError::limit(LimitName::Text, MAX_REFUSAL_TEXT, text as u64));
    }
    let Some(body) = bytes.get(3..3 + length) else {
        return Ok(None);
    };
    let frame = if kind == MESSAGE { HandshakeFrame::Message(body) } else { refusal(body)? };
    Ok(Some((frame, 3 + length)))
}

fn refusal(body: &[u8]) -> Result<HandshakeFrame<'_>, WireError> {
    let mut reader = Reader::new(body);
    let code = CloseCode::from_wire(reader.u16("a refusal")?);
    let [min_version, max_version] = reader.array("a refusal")?;
    let text = std::str::from_utf8(reader.rest()).map_err(|_| Malformed::Text("a refusal"))?;
    Ok(HandshakeFrame::Refusal(Refusal { code, min_version, max_version, text }))
}
