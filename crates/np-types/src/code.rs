//! Codes that cross the wire: how a call ended, why a connection ended, how a body is encoded.

use std::fmt;

macro_rules! wire_codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// A code this version does not know.
            Other(u16),
        }

        impl $name {
            /// Every code this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire.
            #[must_use]
            pub const fn to_wire(self) -> u16 {
                match self {
                    $(Self::$variant => $value,)*
                    Self::Other(value) => value,
                }
            }

            /// The code of a number from the wire; every number has one.
            #[must_use]
            pub const fn from_wire(value: u16) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    other => Self::Other(other),
                }
            }

            /// A stable name for logs, metrics and scripts.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(_) => "other",
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::Other(value) => write!(f, "code {value:#06x}"),
                    known => f.write_str(known.name()),
                }
            }
        }
    };
}

wire_codes! {
    /// How a call ended. Each request ends by exactly one of these.
    ///
    /// ```
    /// use np_types::Status;
    /// assert_eq!(Status::from_wire(4), Status::UnknownMethod);
    /// assert_eq!(Status::from_wire(999), Status::Other(999));
    /// ```
    Status {
        /// It succeeded.
        Ok = 0, "ok";
        /// The handler answered with an error of its own.
        Failed = 1, "failed";
        /// The caller, or the callee, gave it up.
        Cancelled = 2, "cancelled";
        /// Its deadline passed.
        DeadlineExceeded = 3, "deadline-exceeded";
        /// No handler has that name.
        UnknownMethod = 4, "unknown-method";
        /// The body or metadata is not what the handler takes.
        InvalidArgument = 5, "invalid-argument";
        /// A limit of the callee was reached.
        LimitReached = 6, "limit-reached";
        /// Refused before any work was done; safe to send again, here or elsewhere.
        Unavailable = 7, "unavailable";
        /// The handler panicked or the callee broke.
        Internal = 8, "internal";
        /// The caller may not do this.
        PermissionDenied = 9, "permission-denied";
        /// The callee does not read this codec or encoding.
        UnsupportedCodec = 10, "unsupported-codec";
        /// A unary method was opened as a stream, or a stream called as a unary method.
        WrongKind = 11, "wrong-kind";
        /// The caller expects another schema of the method than the callee has.
        SchemaMismatch = 12, "schema-mismatch";
        /// An exactly-once call was not run now, and nobody remembers whether it was run before.
        OutcomeUnknown = 13, "outcome-unknown";
    }
}

wire_codes! {
    /// Why a connection ended, or was never made.
    ///
    /// ```
    /// use np_types::{CloseCode, CodeClass};
    /// assert_eq!(CloseCode::NotAllowed.class(), CodeClass::Authentication);
    /// assert_eq!(CloseCode::ConnectionLimit.class(), CodeClass::Limit);
    /// ```
    CloseCode {
        /// Nothing is wrong; the work is done.
        Normal = 0x00, "normal";
        /// The sender shuts down and has answered what it accepted.
        Drained = 0x01, "drained";
        /// The connection has reached the age that one may have; connect anew.
        MaxAge = 0x02, "max-age";
        /// Bytes that are not the protocol.
        Malformed = 0x10, "malformed";
        /// Well-formed bytes that break a rule.
        Protocol = 0x11, "protocol";
        /// No version in common.
        Version = 0x12, "version";
        /// No pattern, suite or mode in common.
        Incompatible = 0x13, "incompatible";
        /// The peer's identity is not allowed.
        NotAllowed = 0x20, "not-allowed";
        /// The peer's clock is too far from ours.
        ClockSkew = 0x21, "clock-skew";
        /// This first flight was seen before.
        Replay = 0x22, "replay";
        /// The server holds no identity with the hint that the client sent.
        UnknownIdentity = 0x23, "unknown-identity";
        /// A handshake message or a record did not open.
        Authentication = 0x24, "authentication";
        /// The server has as many connections as it takes.
        ConnectionLimit = 0x30, "connection-limit";
        /// The server has as many unfinished handshakes as it takes.
        HandshakeLimit = 0x31, "handshake-limit";
        /// A limit on sizes or counts of this connection was passed.
        LimitExceeded = 0x32, "limit-exceeded";
        /// Too many legal but useless frames.
        Flood = 0x33, "flood";
        /// The replay guard is full.
        ReplayGuardFull = 0x34, "replay-guard-full";
        /// The handshake took too long.
        HandshakeTimeout = 0x40, "handshake-timeout";
        /// Nothing happened for too long.
        IdleTimeout = 0x41, "idle-timeout";
        /// The peer took or gave bytes too slowly.
        Progress = 0x42, "progress-timeout";
        /// Nothing was heard of the peer, though it was asked.
        HeartbeatTimeout = 0x43, "heartbeat-timeout";
        /// The sender broke.
        Internal = 0x50, "internal";
    }
}

/// What kind of end a [`CloseCode`] is: what a program decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeClass {
    /// An orderly end.
    Orderly,
    /// The two ends do not speak the same protocol.
    Protocol,
    /// Who the peer is, or when it says it is, was refused.
    Authentication,
    /// A limit was reached.
    Limit,
    /// Something took too long.
    Timeout,
    /// The peer broke, or the code is unknown.
    Internal,
}

impl CloseCode {
    /// The kind of end this code is; unknown codes are classed by their range.
    #[must_use]
    pub const fn class(self) -> CodeClass {
        match self.to_wire() {
            0x00..=0x0f => CodeClass::Orderly,
            0x10..=0x1f => CodeClass::Protocol,
            0x20..=0x2f => CodeClass::Authentication,
            0x30..=0x3f => CodeClass::Limit,
            0x40..=0x4f => CodeClass::Timeout,
            _ => CodeClass::Internal,
        }
    }
}

/// How the bytes of a body are to be read. Four bits on the wire.
///
/// ```
/// use np_types::Codec;
/// assert_eq!(Codec::from_wire(1), Codec::Postcard);
/// assert_eq!(Codec::from_wire(9), Codec::Other(9));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Bytes that np does not look into.
    #[default]
    Bytes,
    /// postcard 1.x.
    Postcard,
    /// JSON, UTF-8.
    Json,
    /// MessagePack.
    MessagePack,
    /// A codec that this version does not know, 4 to 15: whoever reads the body answers `unsupported-codec`.
    Other(u8),
}

impl Codec {
    /// The number on the wire.
    #[must_use]
    #[inline]
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Bytes => 0,
            Self::Postcard => 1,
            Self::Json => 2,
            Self::MessagePack => 3,
            Self::Other(value) => value & 0x0f,
        }
    }

    /// The codec of a number's low four bits; every number has one.
    #[must_use]
    #[inline]
    pub const fn from_wire(value: u8) -> Self {
        match value & 0x0f {
            0 => Self::Bytes,
            1 => Self::Postcard,
            2 => Self::Json,
            3 => Self::MessagePack,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Postcard => "postcard",
            Self::Json => "json",
            Self::MessagePack => "messagepack",
            Self::Other(value) => return write!(f, "codec {value}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CloseCode, Status};

    #[test]
    fn every_number_goes_round() {
        for value in 0..=u16::MAX {
            assert_eq!(Status::from_wire(value).to_wire(), value);
            assert_eq!(CloseCode::from_wire(value).to_wire(), value);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CloseCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseCode::ALL.len());
    }
}
