//! The message that programs of the message style exchange before they have one of their own. Must never know the
//! stream it travels on.

use bytes::Bytes;
use np_types::Codec;
use serde::{Deserialize, Serialize};

use crate::{CodecError, decode, encode};

/// A ready-made message for `send` and `recv`; replace it by any type of your own that serde knows.
///
/// ```
/// use np_dispatch::Message;
/// assert_eq!(Message::Ping.respond(), Message::Pong);
/// assert_eq!(Message::read(b"not a message"), Message::Unknown);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Text that comes back as it is.
    Echo(String),
    /// Asks for a [`Message::Pong`].
    Ping,
    /// Answers a [`Message::Ping`].
    Pong,
    /// A command of the application.
    Custom {
        /// Which command.
        command: String,
        /// What it is about.
        payload: Vec<u8>,
    },
    /// What this side could not read, and the answer to what has none.
    Unknown,
}

impl Message {
    /// Reads a message; whatever is not one is [`Message::Unknown`], as from a peer with newer variants.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        decode(Codec::Postcard, body).unwrap_or(Self::Unknown)
    }

    /// Writes the message as postcard.
    ///
    /// # Errors
    /// None that this type can cause; the codec's signature has one.
    pub fn write(&self) -> Result<Bytes, CodecError> {
        encode(self)
    }

    /// The answer of a peer without an application: an echo for an echo, a pong for a ping, else unknown.
    ///
    /// For the side that serves: two sides that answer every answer would never end.
    #[must_use]
    pub fn respond(self) -> Self {
        match self {
            Self::Echo(text) => Self::Echo(text),
            Self::Ping => Self::Pong,
            Self::Pong | Self::Custom { .. } | Self::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    fn one_of_each() -> [Message; 5] {
        let custom = Message::Custom { command: "sum".to_owned(), payload: vec![1, 255] };
        let echo = Message::Echo("hé".to_owned());
        [echo, Message::Ping, Message::Pong, custom, Message::Unknown]
    }

    #[test]
    fn every_message_goes_round() {
        for message in one_of_each() {
            assert_eq!(Message::read(&message.write().unwrap()), message);
        }
    }

    #[test]
    fn a_variant_of_tomorrow_and_a_long_body_are_unknown() {
        assert_eq!(Message::read(&[5]), Message::Unknown);
        assert_eq!(Message::read(&[]), Message::Unknown);
        assert_eq!(Message::read(&[1, 0]), Message::Unknown);
    }

    #[test]
    fn each_message_has_its_answer() {
        let answers = one_of_each().map(Message::respond);
        let unknown = Message::Unknown;
        let echo = Message::Echo("hé".to_owned());
        assert_eq!(answers, [echo, Message::Pong, unknown.clone(), unknown.clone(), unknown]);
    }
}
