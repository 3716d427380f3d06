//! Errors by blame: who has to change something.

use std::fmt;
use std::io;

use crate::{CloseCode, LimitHit, LimitName, Status, Suite, escape};

/// Who has to change something for an error not to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The bytes were not the protocol: a broken link, or no np peer.
    Malformed,
    /// The peer broke a rule of the protocol.
    Misbehaved,
    /// The peer speaks something else.
    Incompatible,
    /// Somebody's identity, key or clock was refused.
    Refused,
    /// Our own caller asked for what cannot be.
    Misuse,
    /// A limit was reached.
    Limit,
    /// The operating system or the network.
    Io,
    /// The peer ended the connection and said why.
    Closed,
}

/// Bytes that are not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first bytes are not np's.
    #[error("the first bytes are not an np preface; is the other end an np peer?")]
    Magic,
    /// A field ends after the bytes do.
    #[error("{0} is cut short")]
    Truncated(&'static str),
    /// Bytes stand where nothing should.
    #[error("{0} is followed by bytes that do not belong to it")]
    Trailing(&'static str),
    /// A number is written in more bytes than it needs.
    #[error("a number is written in more bytes than it needs")]
    LongVarint,
    /// A value that the field cannot have.
    #[error("{0} has a value that it cannot have")]
    Value(&'static str),
    /// Text that is not UTF-8, or holds what it may not.
    #[error("{0} is not valid text")]
    Text(&'static str),
    /// A field stands twice.
    #[error("{0} stands twice")]
    Duplicate(&'static str),
}

/// Well-formed bytes that break a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// A record did not open: it was changed, replayed, dropped, reordered or made with another key.
    #[error("a record failed authentication: it was changed, repeated, lost or made with another key")]
    Record,
    /// A handshake message did not open: other keys are in use, or it was changed.
    #[error("a handshake message failed authentication: the peer holds other keys, or bytes were changed on the way")]
    Handshake,
    /// A handshake message with a pre-shared key did not open.
    #[error(
        "a handshake message failed authentication: the pre-shared keys differ, the server knows none by that id or \
         for that client, the peer holds other keys, or bytes were changed on the way"
    )]
    PreSharedKey,
    /// The stream ended without an authenticated close.
    #[error("the connection was cut without a close (truncated)")]
    Truncated,
    /// The first traffic record is neither settings nor a close.
    #[error("the first record must hold settings or a close, and nothing else")]
    FirstRecord,
    /// Settings came twice.
    #[error("settings were sent twice")]
    SettingsTwice,
    /// A frame names a stream that was never opened.
    #[error("a frame names a stream that was never opened")]
    UnknownStream,
    /// A frame that this kind or state of stream cannot get.
    #[error("a frame came that this stream cannot get in its state")]
    StreamState,
    /// More bytes than there was credit for.
    #[error("more bytes were sent than there was credit for")]
    Credit,
    /// A credit that overflows the window's counter.
    #[error("credit was granted beyond what a window can hold")]
    CreditOverflow,
    /// More or fewer bytes than the message declared.
    #[error("a message did not have the size that it declared")]
    DeclaredSize,
    /// A method number that was never given a name, or was given two.
    #[error("a method number has no name, or two")]
    MethodNumber,
    /// Frames after the key update in its record, or a key update where there is no key.
    #[error("a key update must be the last frame of its record")]
    KeyUpdate,
    /// The peer went on under an old key past the hard limit.
    #[error("the peer used a key past its hard limit")]
    KeyWornOut,
    /// A frame came after close.
    #[error("a frame came after the close")]
    AfterClose,
    /// A go-away that names more than was opened, or takes an earlier one back.
    #[error("a go-away names a stream that cannot be its last")]
    GoAway,
    /// A pong that answers no ping.
    #[error("a pong answers no ping")]
    Pong,
}

/// No common ground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// No version in common.
    #[error("the peer speaks np versions {min} to {max}, this side speaks {ours}")]
    Version {
        /// The lowest version the peer speaks.
        min: u8,
        /// The highest.
        max: u8,
        /// Ours.
        ours: u8,
    },
    /// The handshake pattern is not offered here.
    #[error("the handshake pattern {0:#04x} is not offered")]
    Pattern(u8),
    /// The cipher suite is not offered here.
    #[error("{}", suite_refused(*.0))]
    Suite(u8),
}

/// The peer is told this too, and it is its user who can ask for another.
fn suite_refused(number: u8) -> String {
    match Suite::from_wire(number) {
        Some(suite) => {
            format!("the cipher suite {suite} is not offered; ask by suite={} in the address", suite.other())
        }
        None => format!("the cipher suite {number:#04x} is not known"),
    }
}

/// What our own caller did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// The call or stream is over, or never was.
    #[error("the call or stream is over")]
    NoSuchCall,
    /// The connection is not in the state for this.
    #[error("the connection is not in the state for this: {0}")]
    State(&'static str),
    /// An argument cannot be sent.
    #[error("{0}")]
    Argument(&'static str),
}

/// Why a connection ended, or was never made.
///
/// After one of these a connection holds it and answers nothing else.
///
/// ```
/// use np_types::{Blame, CloseCode, ConnectionError, Misbehaved};
/// let error = ConnectionError::Misbehaved(Misbehaved::Record);
/// assert_eq!(error.blame(), Blame::Misbehaved);
/// assert_eq!(error.close_code(), CloseCode::Authentication);
/// assert_eq!(error.code(), "NP-PEER");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// Bytes that are not the protocol.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// The peer broke a rule.
    #[error("the peer misbehaved: {0}")]
    Misbehaved(#[from] Misbehaved),
    /// No common ground.
    #[error("incompatible: {0}")]
    Incompatible(#[from] Incompatible),
    /// We refused the peer.
    #[error("refused the peer ({code}): {reason}")]
    Refused {
        /// What the peer is told.
        code: CloseCode,
        /// What this side's log says.
        reason: String,
    },
    /// The peer refused us, or ended the connection, and said why.
    #[error("closed by the peer ({code}){}", with_text(text))]
    ClosedByPeer {
        /// Its code.
        code: CloseCode,
        /// Its text; escape it before showing it anywhere (this type's `Display` does).
        text: String,
        /// Whether it stood in clear, before the peer was authenticated: for the user's eyes, never for a decision.
        in_clear: bool,
    },
    /// This side closed the connection.
    #[error("closed by this side ({0})")]
    ClosedHere(CloseCode),
    /// Our own caller's mistake.
    #[error("{0}")]
    Misuse(#[from] Misuse),
    /// A limit was reached.
    #[error("{0}")]
    Limit(#[from] LimitHit),
    /// A time limit passed.
    #[error("{what} timed out")]
    Timeout {
        /// What took too long.
        what: &'static str,
        /// What the peer is told.
        code: CloseCode,
    },
    /// TLS was refused, by this side or by the peer, once its handshake seemed to be done: a certificate that the server
    /// has looked at since.
    #[error("{0}")]
    Tls(String),
    /// The operating system or the network.
    #[error("{what}: {text}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        text: String,
        /// The kind of failure.
        kind: io::ErrorKind,
    },
}

impl ConnectionError {
    /// Wraps what the operating system said.
    ///
    /// ```
    /// use np_types::{Blame, ConnectionError};
    /// let error = ConnectionError::io("connect to 127.0.0.1:9", &std::io::ErrorKind::ConnectionRefused.into());
    /// assert_eq!(error.blame(), Blame::Io);
    /// ```
    #[must_use]
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self::Io { what: what.to_owned(), text: error.to_string(), kind: error.kind() }
    }

    /// Who has to change something.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Malformed(_) => Blame::Malformed,
            Self::Misbehaved(_) | Self::Timeout { .. } => Blame::Misbehaved,
            Self::Incompatible(_) => Blame::Incompatible,
            Self::Refused { .. } | Self::Tls(_) => Blame::Refused,
            Self::ClosedByPeer { .. } => Blame::Closed,
            Self::ClosedHere(_) | Self::Misuse(_) => Blame::Misuse,
            Self::Limit(_) => Blame::Limit,
            Self::Io { .. } => Blame::Io,
        }
    }

    /// A stable code for scripts.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "NP-MALFORMED",
            Self::Misbehaved(Misbehaved::Truncated) => "NP-TRUNCATED",
            Self::Misbehaved(_) => "NP-PEER",
            Self::Incompatible(_) => "NP-INCOMPATIBLE",
            Self::Refused { .. } => "NP-REFUSED",
            Self::ClosedByPeer { .. } => "NP-CLOSED",
            Self::ClosedHere(_) => "NP-CLOSED-HERE",
            Self::Misuse(_) => "NP-MISUSE",
            Self::Limit(_) => "NP-LIMIT",
            Self::Timeout { .. } => "NP-TIMEOUT",
            Self::Tls(_) => "NP-TLS",
            Self::Io { .. } => "NP-IO",
        }
    }

    /// The one place that decides what a peer is told about an error: coarse on purpose.
    #[must_use]
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::Malformed(_) => CloseCode::Malformed,
            Self::Misbehaved(Misbehaved::Record | Misbehaved::Handshake | Misbehaved::PreSharedKey) => {
                CloseCode::Authentication
            }
            Self::Misbehaved(_) => CloseCode::Protocol,
            Self::Incompatible(Incompatible::Version { .. }) => CloseCode::Version,
            Self::Incompatible(_) => CloseCode::Incompatible,
            Self::Refused { code, .. } | Self::Timeout { code, .. } | Self::ClosedHere(code) => *code,
            Self::ClosedByPeer { .. } | Self::Io { .. } => CloseCode::Normal,
            Self::Tls(_) => CloseCode::Authentication,
            Self::Misuse(_) => CloseCode::Internal,
            Self::Limit(hit) => match hit.limit {
                LimitName::MaxConnections => CloseCode::ConnectionLimit,
                LimitName::MaxHandshakes => CloseCode::HandshakeLimit,
                limit if limit.is_flood() => CloseCode::Flood,
                _ => CloseCode::LimitExceeded,
            },
        }
    }
}

fn with_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {}", escape(text, 256)) }
}

/// What is known about the work of a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The callee answered: this error is its answer.
    Answered,
    /// The callee did no work for it; sending it again is safe.
    NotProcessed,
    /// The callee may or may not have done the work.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::NotProcessed => "not processed",
            Self::Unknown => "outcome unknown",
        })
    }
}

/// Why a call failed, and what is known about its work.
///
/// ```
/// use np_types::{CallError, Outcome, Status};
/// let error = CallError::answered(Status::UnknownMethod, "no method named x");
/// assert_eq!(error.to_string(), "unknown-method: no method named x (answered)");
/// assert_eq!(error.outcome, Outcome::Answered);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// How it ended.
    pub status: Status,
    /// What the callee, or this side, has to say.
    pub text: String,
    /// What is known about the work.
    pub outcome: Outcome,
    /// The connection's error, where that is why.
    pub cause: Option<Box<ConnectionError>>,
}

impl CallError {
    /// An error that is the callee's answer; what a handler returns.
    #[must_use]
    pub fn answered(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), outcome: Outcome::Answered, cause: None }
    }

    /// An error of a call that was never worked on.
    #[must_use]
    pub fn not_processed(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), outcome: Outcome::NotProcessed, cause: None }
    }

    /// An error of a call whose work may have been done.
    #[must_use]
    pub fn unknown(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), outcome: Outcome::Unknown, cause: None }
    }

    /// Adds the connection's error that ended the call.
    #[must_use]
    pub fn because(mut self, cause: ConnectionError) -> Self {
        self.cause = Some(Box::new(cause));
        self
    }

    /// An application's own failure, status [`Status::Failed`].
    ///
    /// ```
    /// assert_eq!(np_types::CallError::failed("out of stock").status, np_types::Status::Failed);
    /// ```
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self::answered(Status::Failed, text)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.text.is_empty() {
            write!(f, ": {}", escape(&self.text, 512))?;
        }
        write!(f, " ({})", self.outcome)?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
