//! What a session takes from its application, and what it tells it.

use bytes::Bytes;
use np_types::{CallError, CloseCode, Codec, ConnectionError, Deadline, Metadata, MethodName, Status};
use np_wire::{Encoding, OpenKind, Settings};

use crate::StreamKey;

/// Who goes first among what waits to be sent. It is this side's affair: nothing of it travels.
///
/// Interactive streams go before bulk ones, which keep an eighth of the bytes; within a class they take turns of 16 KiB. A
/// unary message that needs a grant, being larger than the receiver's `stream_window`, is sent as bulk whatever was asked.
///
/// ```
/// assert_eq!(np_session::Priority::default(), np_session::Priority::Interactive);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// It may take its time: transfers, backups.
    Bulk,
}

/// A call, one-way message or stream to open.
///
/// ```
/// use np_session::{OpenCall, OpenKind};
/// let call = OpenCall::new(OpenKind::Request, "np.echo".parse()?);
/// assert!(call.body.is_empty());
/// # Ok::<(), np_types::MethodNameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct OpenCall {
    /// What to open.
    pub kind: OpenKind,
    /// The callee's method.
    pub method: MethodName,
    /// How the body is to be read.
    pub codec: Codec,
    /// How the body was made smaller.
    pub encoding: Encoding,
    /// Pairs beside the body.
    pub metadata: Metadata,
    /// When the caller stops waiting.
    pub deadline: Deadline,
    /// How soon its bytes leave beside those of others. The callee's have a class of their own.
    pub priority: Priority,
    /// The message; empty for a stream, whose messages follow.
    pub body: Bytes,
}

impl OpenCall {
    /// A call with an empty body and no deadline.
    #[must_use]
    pub fn new(kind: OpenKind, method: MethodName) -> Self {
        Self {
            kind,
            method,
            codec: Codec::Bytes,
            encoding: Encoding::Plain,
            metadata: Metadata::default(),
            deadline: Deadline::NONE,
            priority: Priority::default(),
            body: Bytes::new(),
        }
    }
}

/// The answer to a unary call.
///
/// ```
/// use np_session::Answer;
/// assert_eq!(Answer::from(bytes::Bytes::from_static(b"hi")).body, "hi");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// How the body is to be read.
    pub codec: Codec,
    /// How the body was made smaller.
    pub encoding: Encoding,
    /// Pairs beside the body.
    pub metadata: Metadata,
    /// The message.
    pub body: Bytes,
}

impl From<Bytes> for Answer {
    fn from(body: Bytes) -> Self {
        Self { body, ..Self::default() }
    }
}

/// What a session tells its application.
///
/// Bodies that carry `credit` hold that much of the connection's window until [`Session::release`] gives it back.
///
/// [`Session::release`]: crate::Session::release
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The peer's first record opened: it is connected, and these are its settings.
    Ready(Settings),
    /// The peer opened a call, a one-way message or a stream; end it with [`Session::respond`] or [`Session::end`].
    ///
    /// [`Session::respond`]: crate::Session::respond
    /// [`Session::end`]: crate::Session::end
    Opened {
        /// The stream.
        key: StreamKey,
        /// What was opened.
        kind: OpenKind,
        /// The method's name.
        method: MethodName,
        /// How the body is to be read.
        codec: Codec,
        /// How the body was made smaller.
        encoding: Encoding,
        /// Pairs beside the body.
        metadata: Metadata,
        /// When the caller stops waiting.
        deadline: Deadline,
        /// The whole message; empty for a stream.
        body: Bytes,
        /// Bytes of the connection's window that the body holds.
        credit: u32,
    },
    /// A unary call of this side was answered.
    Answered {
        /// The call.
        key: StreamKey,
        /// The answer.
        answer: Answer,
        /// Bytes of the connection's window that the body holds.
        credit: u32,
    },
    /// A call, message or stream of this side failed, or its stream ended with a status other than ok.
    Failed {
        /// The call.
        key: StreamKey,
        /// Why, and what is known about the work.
        error: CallError,
    },
    /// The pairs beside the status with which a stream of this side fails, where there are any; [`Event::Failed`] follows.
    Trailers {
        /// The stream.
        key: StreamKey,
        /// The pairs.
        metadata: Metadata,
    },
    /// A stream of this side ended well.
    Ended {
        /// The stream.
        key: StreamKey,
        /// Pairs beside the status.
        metadata: Metadata,
    },
    /// The whole of a one-way message was handed to the transport.
    Sent {
        /// The message.
        key: StreamKey,
    },
    /// Bytes of a stream's message; give their credit back with [`Session::consumed`].
    ///
    /// [`Session::consumed`]: crate::Session::consumed
    Data {
        /// The stream.
        key: StreamKey,
        /// The bytes.
        body: Bytes,
        /// How the message was made smaller; the same for all of its bytes.
        encoding: Encoding,
        /// Whether the message ends here.
        end: bool,
        /// Whether the peer sends no more on this stream.
        fin: bool,
    },
    /// A stream took the message it was given and has room for another.
    Writable {
        /// The stream.
        key: StreamKey,
    },
    /// The peer gave up a call that it opened, or its deadline passed: stop the work, then answer as usual.
    Cancelled {
        /// The call.
        key: StreamKey,
        /// Why.
        status: Status,
    },
    /// The peer accepts no more calls; those it did not accept have failed as not processed.
    GoAway(CloseCode),
    /// The peer answered a ping, and those before it.
    Pong {
        /// The token of the ping.
        token: u64,
    },
    /// The connection is over, and why. The last event.
    Closed(ConnectionError),
}
