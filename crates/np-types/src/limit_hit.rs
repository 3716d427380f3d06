//! The limits that errors name, and what is said of one that was reached. It must never know a limit's height.

/// The limits that an error can name: each is a setting or a constant of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LimitName {
    /// `max_message`.
    MaxMessage,
    /// `call_budget`.
    CallBudget,
    /// `max_calls`.
    MaxCalls,
    /// `max_queued_calls`.
    MaxQueuedCalls,
    /// The 1,024 method names that a side may number.
    MaxMethods,
    /// The 64 KiB of method names that a side may number.
    MaxMethodBytes,
    /// `max_connections`.
    MaxConnections,
    /// `max_handshakes`.
    MaxHandshakes,
    /// A handshake message's 1,024 bytes.
    HandshakeMessage,
    /// A record's 65,535 bytes.
    Record,
    /// The 128 bytes of a method name.
    MethodName,
    /// The 1,024 bytes of a reason or error text.
    Text,
    /// The bounds of metadata: 32 pairs, 8 KiB.
    Metadata,
    /// The 32 pairs of a settings frame.
    Settings,
    /// PING frames, beyond `useless_acts`.
    Pings,
    /// Calls that were cancelled right after they were opened, beyond `useless_acts`.
    CancelledCalls,
    /// DATA frames that say nothing, beyond `useless_acts`.
    EmptyData,
    /// Pieces of a few bytes of messages that go on, beyond a sixteenth of `useless_acts`.
    TinyPieces,
    /// Credits of a few bytes, beyond `useless_acts`.
    TinyCredits,
    /// Frames of unknown kinds, beyond `useless_acts`.
    UnknownFrames,
    /// Records of padding alone, and padding in needless pieces, beyond `useless_acts`.
    Padding,
    /// Calls that could not go well, beyond `useless_acts`.
    RefusedCalls,
    /// KEY_UPDATE frames alone in their record, beyond `useless_acts`.
    KeyUpdates,
    /// CALL_ALLOWANCE frames, beyond `useless_acts`.
    CallAllowances,
    /// Frames for calls that are over, beyond `useless_acts`.
    LateFrames,
    /// The 64 bytes of a key id in the preface.
    KeyId,
}

impl LimitName {
    /// The setting's or constant's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxMessage => "max_message",
            Self::CallBudget => "call_budget",
            Self::MaxCalls => "max_calls",
            Self::MaxQueuedCalls => "max_queued_calls",
            Self::MaxMethods => "method names",
            Self::MaxMethodBytes => "bytes of method names",
            Self::MaxConnections => "max_connections",
            Self::MaxHandshakes => "max_handshakes",
            Self::HandshakeMessage => "handshake message",
            Self::Record => "record",
            Self::MethodName => "method name",
            Self::Text => "text",
            Self::Metadata => "metadata",
            Self::Settings => "settings",
            Self::Pings => "pings",
            Self::CancelledCalls => "cancelled calls",
            Self::EmptyData => "empty data",
            Self::TinyPieces => "tiny pieces",
            Self::TinyCredits => "tiny credits",
            Self::UnknownFrames => "unknown frames",
            Self::Padding => "padding",
            Self::RefusedCalls => "refused calls",
            Self::KeyUpdates => "key updates",
            Self::CallAllowances => "call allowances",
            Self::LateFrames => "late frames",
            Self::KeyId => "key id",
        }
    }

    /// Whether it bounds acts that are legal and of no use: `useless_acts` is the setting behind it.
    #[must_use]
    pub const fn is_flood(self) -> bool {
        matches!(
            self,
            Self::Pings
                | Self::CancelledCalls
                | Self::EmptyData
                | Self::TinyPieces
                | Self::TinyCredits
                | Self::UnknownFrames
                | Self::Padding
                | Self::RefusedCalls
                | Self::KeyUpdates
                | Self::CallAllowances
                | Self::LateFrames
        )
    }
}

/// A limit that was reached: which, how high it stands, and what was seen.
///
/// ```
/// use np_types::{LimitHit, LimitName};
/// let hit = LimitHit { limit: LimitName::MaxMessage, allowed: 10, seen: 11 };
/// assert_eq!(hit.to_string(), "limit max_message reached: 11 where 10 is allowed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("limit {} reached: {seen} where {allowed} is allowed", limit.name())]
pub struct LimitHit {
    /// Which limit.
    pub limit: LimitName,
    /// How high it stands.
    pub allowed: u64,
    /// What was asked for.
    pub seen: u64,
}
