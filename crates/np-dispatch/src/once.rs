//! Calls that run at most once though they are sent again: what both sides say about them. Must never draw randomness:
//! instances and epochs come from outside.
//!
//! The rules are those of `docs/PROTOCOL.md`, "Exactly once". [`OnceWindow`](crate::OnceWindow) is the server's half,
//! [`OnceClient`](crate::OnceClient) the client's; both are held against each other by `tests/exactly_once.rs`, which
//! walks through every order of events.

use std::fmt;

use np_types::{Metadata, MetadataError};

pub(crate) mod begin;
pub(crate) mod client;
pub(crate) mod reply;
pub(crate) mod settings;
pub(crate) mod window;

/// Who sends exactly-once calls: a random number of a client's process, fresh for each `Client`.
///
/// For clients that prove no identity it is the secret that their remembered replies stand under, so it is never shown.
///
/// ```
/// use np_dispatch::InstanceId;
/// let instance = InstanceId::from_bytes([7; 16]);
/// assert_eq!(instance.to_bytes(), [7; 16]);
/// assert_eq!(format!("{instance:?}"), "InstanceId(..)");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    /// An instance of 16 random bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, as they travel.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceId(..)")
    }
}

/// Which memory of a server a call was first sent under: a server that starts again, another server, and one that has
/// forgotten an instance have others.
///
/// ```
/// use np_dispatch::Epoch;
/// let epoch = Epoch::from_bytes([1; 16]);
/// assert_ne!(epoch, Epoch::from_bytes([2; 16]));
/// assert_eq!(epoch.to_string(), "01".repeat(16));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u128);

impl Epoch {
    /// An epoch of 16 bytes: random ones where a server starts.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Its bytes, as they travel.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The next one of the same server. Two servers are apart by a random number of 128 bits.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// What an exactly-once call carries beside its body, under the reserved key [`OnceHeader::KEY`].
///
/// ```
/// use np_dispatch::{Epoch, InstanceId, OnceHeader};
/// let (instance, epoch) = (InstanceId::from_bytes([7; 16]), Epoch::from_bytes([1; 16]));
/// let header = OnceHeader { instance, epoch, sequence: 4, below: 2, also: vec![3] };
/// let mut metadata = np_types::Metadata::new();
/// header.put_in(&mut metadata)?;
/// assert_eq!(OnceHeader::of(&metadata), Some(Ok(header)));
/// # Ok::<(), np_types::MetadataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OnceHeader {
    /// Who sends it.
    pub instance: InstanceId,
    /// Under which epoch this call was first sent.
    pub epoch: Epoch,
    /// The number of the call, the same each time it is sent. An instance numbers its calls from 0.
    pub sequence: u64,
    /// The replies to all calls below this number have arrived, or are of no interest any more.
    pub below: u64,
    /// The same of these calls above it, at most [`OnceHeader::MAX_ALSO`].
    pub also: Vec<u64>,
}

/// The value of [`OnceHeader::KEY`] is none.
///
/// ```
/// let mut metadata = np_types::Metadata::new();
/// metadata.insert(np_dispatch::OnceHeader::KEY, b"short")?;
/// let error = np_dispatch::OnceHeader::of(&metadata).and_then(Result::err);
/// assert_eq!(error.map(|error| error.to_string()), Some("the value of `np-once` has 5 bytes: 48, and 8 for each of at most 32 numbers".into()));
/// # Ok::<(), np_types::MetadataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value of `np-once` has {0} bytes: 48, and 8 for each of at most 32 numbers")]
pub struct OnceHeaderError(usize);

impl OnceHeader {
    /// The key of the pair.
    pub const KEY: &str = "np-once";
    /// The most acknowledgements beside the count.
    pub const MAX_ALSO: usize = 32;
    const FIXED: usize = 48;

    /// Adds the pair that makes a call one of these.
    ///
    /// # Errors
    /// When the metadata has no room for it, or has one already.
    pub fn put_in(&self, metadata: &mut Metadata) -> Result<(), MetadataError> {
        let mut value = Vec::with_capacity(Self::FIXED + 8 * self.also.len());
        value.extend(self.instance.to_bytes());
        value.extend(self.epoch.to_bytes());
        let numbers = [self.sequence, self.below].into_iter().chain(self.also.iter().copied().take(Self::MAX_ALSO));
        numbers.for_each(|number| value.extend(number.to_be_bytes()));
        metadata.insert(Self::KEY, &value)
    }

    /// Reads the pair, where there is one.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Option<Result<Self, OnceHeaderError>> {
        let value = metadata.value(Self::KEY)?;
        Some(Self::read(value).ok_or(OnceHeaderError(value.len())))
    }

    /// The pairs without this one: what a handler sees, who might hand them on.
    ///
    /// ```
    /// # use np_dispatch::OnceHeader;
    /// let mut metadata = np_types::Metadata::new();
    /// metadata.insert("traceparent", b"00-4bf9")?;
    /// metadata.insert(OnceHeader::KEY, b"")?;
    /// assert_eq!(OnceHeader::without(&metadata).iter().count(), 1);
    /// # Ok::<(), np_types::MetadataError>(())
    /// ```
    #[must_use]
    pub fn without(metadata: &Metadata) -> Metadata {
        let mut rest = Metadata::new();
        for (key, value) in metadata.iter().filter(|(key, _)| *key != Self::KEY) {
            // What fitted fits again.
            let _ = rest.insert(key, value);
        }
        rest
    }

    fn read(value: &[u8]) -> Option<Self> {
        let (instance, rest) = value.split_first_chunk::<16>()?;
        let (epoch, rest) = rest.split_first_chunk::<16>()?;
        let mut numbers = rest.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_be_bytes));
        if rest.len() % 8 != 0 || numbers.len() > 2 + Self::MAX_ALSO {
            return None;
        }
        let (sequence, below) = (numbers.next()?, numbers.next()?);
        let (instance, epoch) = (InstanceId::from_bytes(*instance), Epoch::from_bytes(*epoch));
        Some(Self { instance, epoch, sequence, below, also: numbers.collect() })
    }
}

/// The first key of a call's metadata that only np may set: those that begin with `np-`, but for
/// [`Schema::KEY`](crate::Schema::KEY), which [`Schema::expect_in`](crate::Schema::expect_in) sets.
///
/// ```
/// let mut metadata = np_types::Metadata::new();
/// metadata.insert("np-schema", b"")?;
/// assert_eq!(np_dispatch::reserved_key(&metadata), None);
/// metadata.insert("np-once", b"")?;
/// assert_eq!(np_dispatch::reserved_key(&metadata), Some("np-once"));
/// # Ok::<(), np_types::MetadataError>(())
/// ```
#[must_use]
pub fn reserved_key(metadata: &Metadata) -> Option<&str> {
    metadata.iter().map(|(key, _)| key).find(|key| key.starts_with("np-") && *key != crate::Schema::KEY)
}

#[cfg(test)]
mod tests {
    use np_types::Metadata;
    use proptest::prelude::*;

    use super::{Epoch, InstanceId, OnceHeader};

    fn read(value: &[u8]) -> Option<OnceHeader> {
        let mut metadata = Metadata::new();
        metadata.insert(OnceHeader::KEY, value).unwrap();
        OnceHeader::of(&metadata).unwrap().ok()
    }

    #[test]
    fn a_value_has_its_fixed_part_and_at_most_32_numbers() {
        for size in [0, 47, 49, 55, 57, 48 + 8 * 33] {
            assert_eq!(read(&vec![0; size]), None, "{size}");
        }
        assert_eq!(read(&[0; 48]).unwrap().also, [0; 0]);
        assert_eq!(read(&[0; 48 + 8 * 32]).unwrap().also, [0; 32]);
        assert_eq!(OnceHeader::of(&Metadata::new()), None);
    }

    proptest! {
        #[test]
        fn what_is_put_in_is_read(
            instance: [u8; 16], epoch: [u8; 16], sequence: u64, below: u64,
            also in proptest::collection::vec(any::<u64>(), 0..=32),
        ) {
            let (instance, epoch) = (InstanceId::from_bytes(instance), Epoch::from_bytes(epoch));
            let header = OnceHeader { instance, epoch, sequence, below, also };
            let mut metadata = Metadata::new();
            header.put_in(&mut metadata).unwrap();
            prop_assert_eq!(OnceHeader::of(&metadata), Some(Ok(header)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(value in proptest::collection::vec(any::<u8>(), 0..400)) {
            let right = value.len() >= 48 && value.len() <= 48 + 8 * 32 && value.len() % 8 == 0;
            prop_assert_eq!(read(&value).is_some(), right);
        }
    }
}
