//! W3C trace context: which trace a call belongs to, as it travels in metadata. Must never draw randomness: ids are
//! arguments.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{Metadata, MetadataError};

/// The metadata key of the trace and of the span that the call was made in.
const PARENT: &str = "traceparent";
/// The metadata key of what tracing systems add for each other.
const STATE: &str = "tracestate";
/// Bytes of the text of version 00.
const LENGTH: usize = 55;
/// The most bytes of a `tracestate` that is passed on; the standard asks for no more.
const MAX_STATE: usize = 512;
/// The flags that version 00 knows: sampled, and that the trace id is random.
const FLAGS: u8 = 0b11;

/// A call's place in a trace, in the form of W3C's Trace Context: it travels in the metadata `traceparent` and
/// `tracestate`, so that programs with another tracing system read it too.
///
/// ```
/// use np_types::{Metadata, TraceContext};
/// let here: TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse()?;
/// let next = here.child([7; 8]).expect("an id that is not all zeros");
/// assert_eq!(next.trace_id(), here.trace_id());
/// assert_eq!(next.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01");
///
/// let mut metadata = Metadata::new();
/// next.put_into(&mut metadata)?;
/// assert_eq!(TraceContext::of(&metadata), Some(next));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
    state: Option<Arc<str>>,
}

/// A text that is no `traceparent`.
///
/// ```
/// assert!("00-0-0-0".parse::<np_types::TraceContext>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a traceparent: 00, a trace id of 32 and a span id of 16 hexadecimal digits that are not all zero, and flags"
)]
pub struct TraceContextError;

impl TraceContext {
    /// The start of a trace, sampled, out of random ids; nothing where an id is all zeros, which means no id.
    ///
    /// ```
    /// assert!(np_types::TraceContext::new([1; 16], [2; 8]).is_some());
    /// assert!(np_types::TraceContext::new([0; 16], [2; 8]).is_none());
    /// ```
    #[must_use]
    pub fn new(trace: [u8; 16], span: [u8; 8]) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags: FLAGS, state: None })
    }

    /// A place that another tracing system knows, in the parts of the standard; nothing where an id is all zeros. Of the
    /// flags those count that version 00 knows, and a `tracestate` that metadata could not hold is left out.
    ///
    /// ```
    /// let here = np_types::TraceContext::from_parts([1; 16], [2; 8], 1, "vendor=1").expect("ids that are not all zeros");
    /// assert!(here.is_sampled());
    /// assert_eq!(here.state(), Some("vendor=1"));
    /// ```
    #[must_use]
    pub fn from_parts(trace: [u8; 16], span: [u8; 8], flags: u8, state: &str) -> Option<Self> {
        let state = is_state(state.as_bytes()).then(|| Arc::from(state));
        Some(Self { flags: flags & FLAGS, state, ..Self::new(trace, span)? })
    }

    /// What metadata say. A malformed `traceparent` counts as none, and then its `tracestate` says nothing; a
    /// `tracestate` that is malformed, or longer than 512 bytes, is left out.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let text = std::str::from_utf8(metadata.value(PARENT)?).ok()?;
        let state = metadata.value(STATE).filter(|state| is_state(state));
        let state = state.and_then(|state| std::str::from_utf8(state).ok()).map(Arc::from);
        Some(Self { state, ..text.parse().ok()? })
    }

    /// The same trace for a call that is made on behalf of this one; nothing where the id is all zeros.
    #[must_use]
    pub fn child(&self, span: [u8; 8]) -> Option<Self> {
        (span != [0; 8]).then(|| Self { span, ..self.clone() })
    }

    /// Adds it to metadata that do not hold one yet.
    ///
    /// # Errors
    /// When there is one, or no room; nothing of this is added then.
    pub fn put_into(&self, metadata: &mut Metadata) -> Result<(), MetadataError> {
        metadata.insert(PARENT, self.to_string().as_bytes())?;
        if let Some(state) = &self.state {
            // What others say about the trace is of no use to a caller that has no room for it.
            let _ = metadata.insert(STATE, state.as_bytes());
        }
        Ok(())
    }

    /// Puts it into metadata in place of the one that they hold, if there is room; leaves them as they are otherwise.
    ///
    /// ```
    /// use np_types::{Metadata, TraceContext};
    /// let mut metadata = Metadata::new();
    /// metadata.insert("note", b"kept")?;
    /// for span in [1, 2] {
    ///     let place = TraceContext::new([7; 16], [span; 8]).expect("ids that are not all zeros");
    ///     place.replace_in(&mut metadata);
    ///     assert_eq!(TraceContext::of(&metadata), Some(place));
    /// }
    /// assert_eq!(metadata.value("note"), Some(&b"kept"[..]));
    /// # Ok::<(), np_types::MetadataError>(())
    /// ```
    pub fn replace_in(&self, metadata: &mut Metadata) {
        let others = metadata.iter().filter(|(key, _)| *key != PARENT && *key != STATE);
        let mut next = Metadata::new();
        let fits = self.put_into(&mut next).and_then(|()| put_all(&mut next, others));
        if fits.is_ok() {
            *metadata = next;
        }
    }

    /// Whether metadata hold one, well-formed or not.
    ///
    /// ```
    /// assert!(!np_types::TraceContext::is_in(&np_types::Metadata::new()));
    /// ```
    #[must_use]
    pub fn is_in(metadata: &Metadata) -> bool {
        metadata.value(PARENT).is_some()
    }

    /// The id of the whole trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The id of the span that the call was made in.
    #[must_use]
    pub const fn span_id(&self) -> [u8; 8] {
        self.span
    }

    /// The flags of the standard's version 00: 1 for sampled, 2 for a trace id that is random.
    ///
    /// ```
    /// assert_eq!(np_types::TraceContext::new([1; 16], [2; 8]).map(|trace| trace.flags()), Some(3));
    /// ```
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether whoever began the trace records it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// What tracing systems say to each other beside the ids.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

impl fmt::Display for TraceContext {
    /// The text of `traceparent`, version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceContext {
    /// Without the state, which is text of others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceContext({self})")
    }
}

impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(text: &str) -> Result<Self, TraceContextError> {
        let mut parts = text.splitn(5, '-');
        let mut next = || parts.next().ok_or(TraceContextError);
        let ([version], trace, span, [flags]) = (hex(next()?)?, hex(next()?)?, hex(next()?)?, hex(next()?)?);
        // Later versions may add parts, and begin as this one; 255 is none.
        let fits = if version == 0 { text.len() == LENGTH } else { version != 0xff };
        let context = Self { trace, span, flags: flags & FLAGS, state: None };
        let whole = fits && context.trace != [0; 16] && context.span != [0; 8];
        whole.then_some(context).ok_or(TraceContextError)
    }
}

fn put_all<'a>(
    metadata: &mut Metadata,
    mut pairs: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), MetadataError> {
    pairs.try_for_each(|(key, value)| metadata.insert(key, value))
}

/// Bytes out of as many pairs of lower-case digits.
fn hex<const N: usize>(text: &str) -> Result<[u8; N], TraceContextError> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return Err(TraceContextError);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return Err(TraceContextError),
            };
            *byte = *byte << 4 | value;
        }
    }
    Ok(bytes)
}

/// Printable ASCII, as the standard has it, and no more than has to be passed on.
fn is_state(state: &[u8]) -> bool {
    (1..=MAX_STATE).contains(&state.len()) && state.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::TraceContext;
    use crate::Metadata;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn metadata(parent: &[u8], state: &[u8]) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.insert("traceparent", parent).unwrap();
        metadata.insert("tracestate", state).unwrap();
        metadata
    }

    #[test]
    fn a_traceparent_reads_and_shows_its_text() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert_eq!(context.to_string(), GOOD);
        assert_eq!(context.span_id(), [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert!(context.is_sampled());
        // Flags that this version does not know are not passed on.
        let unknown: TraceContext = format!("{}f8", &GOOD[..53]).parse().unwrap();
        assert_eq!(unknown.to_string(), format!("{}00", &GOOD[..53]));
        // A later version may have more behind what this one knows.
        let later: TraceContext = format!("cc{}-more", &GOOD[2..]).parse().unwrap();
        assert_eq!(later.to_string(), GOOD);
    }

    #[test]
    fn a_malformed_traceparent_counts_as_none() {
        let zeros = "0".repeat(32);
        let bad = [
            String::new(),
            "00".to_owned(),
            GOOD[..54].to_owned(),
            format!("{GOOD}-"),
            format!("{GOOD}-00"),
            format!("ff{}", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace("4bf9", "4bg9"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", &zeros[..16]),
            format!(" {}", &GOOD[1..]),
            "\u{1b}[2J".repeat(13),
        ];
        for text in bad {
            assert_eq!(TraceContext::of(&metadata(text.as_bytes(), b"a=1")), None, "{text}");
        }
        assert_eq!(TraceContext::of(&metadata(&[0xff; 55], b"a=1")), None);
    }

    #[test]
    fn a_tracestate_is_passed_on_up_to_512_printable_bytes() {
        let state = |bytes: &[u8]| TraceContext::of(&metadata(GOOD.as_bytes(), bytes)).unwrap().state().map(str::len);
        assert_eq!(state(&[b'a'; 512]), Some(512));
        assert_eq!(state(&[b'a'; 513]), None);
        for bad in [&b""[..], b"a=\n", b"a=\x1b[2J", "a=ä".as_bytes()] {
            assert_eq!(state(bad), None);
        }
        let mut on = Metadata::new();
        TraceContext::of(&metadata(GOOD.as_bytes(), b"a=1,b=2")).unwrap().put_into(&mut on).unwrap();
        assert_eq!(on.value("tracestate"), Some(&b"a=1,b=2"[..]));
    }
}
