//! What a side tells the other once, in its first record.

use np_types::{LimitName, Malformed};

use crate::{Reader, WireError, put_varint};

const MAX_MESSAGE: u64 = 1;
const MAX_CALLS: u64 = 2;
const STREAM_WINDOW: u64 = 3;
const CONNECTION_WINDOW: u64 = 4;
const ENCODINGS: u64 = 5;
const MAX_PAIRS: usize = 32;

/// What the sender takes from its peer. Pairs of (id, value); ids that a reader does not know are skipped.
///
/// ```
/// use np_wire::Settings;
/// let settings =
///     Settings { max_message: 1 << 20, max_calls: 8, stream_window: 4_096, connection_window: 8_192, encodings: 0 };
/// let mut out = Vec::new();
/// settings.encode(&mut out);
/// assert_eq!(Settings::decode(&out)?, settings);
/// # Ok::<(), np_wire::WireError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The longest message the sender of the settings receives, in bytes.
    pub max_message: u32,
    /// Calls and streams that may be open towards it at once.
    pub max_calls: u32,
    /// The credit of each stream at its start, in bytes.
    pub stream_window: u32,
    /// The credit of the connection at its start, in bytes.
    pub connection_window: u32,
    /// The encodings of bodies that the sender of the settings reads beside the plain one: bit n stands for
    /// [`Encoding`](crate::Encoding) number n. 0 travels as no pair at all.
    pub encodings: u32,
}

impl Settings {
    /// Appends the pairs.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (id, value) in [
            (MAX_MESSAGE, self.max_message),
            (MAX_CALLS, self.max_calls),
            (STREAM_WINDOW, self.stream_window),
            (CONNECTION_WINDOW, self.connection_window),
        ] {
            put_varint(out, id);
            put_varint(out, u64::from(value));
        }
        if self.encodings != 0 {
            put_varint(out, ENCODINGS);
            put_varint(out, u64::from(self.encodings));
        }
    }

    /// Whether the sender of the settings reads bodies of the encoding with this number.
    ///
    /// ```
    /// # use np_wire::Settings;
    /// let settings =
    ///     Settings { max_message: 10, max_calls: 1, stream_window: 1, connection_window: 2, encodings: 1 << 2 };
    /// assert!(settings.reads(2) && settings.reads(0) && !settings.reads(1));
    /// ```
    #[must_use]
    pub const fn reads(&self, encoding: u8) -> bool {
        encoding == 0 || (encoding < 32 && self.encodings >> encoding & 1 == 1)
    }

    /// Reads pairs to the end of `bytes`.
    ///
    /// # Errors
    /// When a pair is cut short, an id stands twice or below the one before it, a needed one is missing, or there are
    /// more than 32.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut known = [None; 5];
        let mut last = None;
        let mut reader = Reader::new(bytes);
        let mut pairs = 0usize;
        while !reader.rest().is_empty() {
            pairs = pairs.saturating_add(1);
            if pairs > MAX_PAIRS {
                return Err(WireError::limit(LimitName::Settings, MAX_PAIRS, pairs as u64));
            }
            let id = reader.varint("a settings id")?;
            // Ascending order makes the bytes of given settings unique, and a repeated id visible.
            match last.replace(id) {
                Some(last) if last == id => return Err(Malformed::Duplicate("a settings id").into()),
                Some(last) if last > id => return Err(Malformed::Value("the order of the settings").into()),
                _ => {}
            }
            let value = reader.varint("a settings value")?;
            let slot = id.checked_sub(1).and_then(|at| known.get_mut(usize::try_from(at).ok()?));
            if let Some(slot) = slot {
                *slot = Some(u32::try_from(value).map_err(|_| Malformed::Value("a setting"))?);
            }
        }
        let [Some(max_message), Some(max_calls), Some(stream_window), Some(connection_window), encodings] = known
        else {
            return Err(Malformed::Truncated("the settings").into());
        };
        let encodings: Option<u32> = encodings;
        if encodings == Some(0) {
            return Err(Malformed::Value("a setting that says nothing").into());
        }
        Ok(Self { max_message, max_calls, stream_window, connection_window, encodings: encodings.unwrap_or_default() })
    }
}
