//! Why bytes could not be read.

use np_types::{ConnectionError, LimitHit, LimitName, Malformed};

/// Why bytes could not be read: they are not the protocol, or a limit was hit.
///
/// ```
/// use np_wire::{WireError, decode_frame};
/// let error = decode_frame(&[]).unwrap_err();
/// assert!(matches!(error, WireError::Malformed(_)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not the protocol.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A limit was hit.
    #[error(transparent)]
    Limit(#[from] LimitHit),
}

impl WireError {
    pub(crate) const fn limit(limit: LimitName, allowed: usize, seen: u64) -> Self {
        Self::Limit(LimitHit { limit, allowed: allowed as u64, seen })
    }
}

impl From<WireError> for ConnectionError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Malformed(malformed) => Self::Malformed(malformed),
            WireError::Limit(hit) => Self::Limit(hit),
        }
    }
}
