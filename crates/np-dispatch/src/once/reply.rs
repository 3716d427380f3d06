//! The outcome of an exactly-once call as it is remembered and given again. Must never know whose it is.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use np_types::CallError;

use crate::{OnceSettings, Reply};

/// The most bytes of an error's text that are remembered: no more travels.
const MAX_TEXT: usize = 1_024;
/// What a pair of metadata costs beside its bytes.
const PAIR: usize = 32;

/// How a call that ran once ended: one allocation, shared by whoever waits for it and whatever remembers it.
///
/// It is made outside of every lock, for a body may be long and is copied there, once: a slice of a larger buffer would
/// hold more memory than it counts for.
///
/// ```
/// use np_dispatch::{OnceReply, OnceSettings, Reply};
/// let reply = OnceReply::new(Ok(Reply::from("done")), &OnceSettings::default());
/// assert_eq!(reply.bytes(), 4);
/// assert_eq!(reply.outcome().map(|reply| &reply.body[..]), Ok(&b"done"[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnceReply {
    outcome: Arc<Result<Reply, CallError>>,
    bytes: usize,
}

impl OnceReply {
    /// Takes an outcome, without what does not travel; copies its body, unless it is too long to be remembered under these
    /// settings, which are those of the window.
    #[must_use]
    pub fn new(outcome: Result<Reply, CallError>, settings: &OnceSettings) -> Self {
        let bytes = bytes(&outcome);
        let outcome = match outcome {
            Ok(mut reply) => {
                if bytes <= settings.max_identity_remembered_bytes {
                    reply.body = Bytes::copy_from_slice(&reply.body);
                }
                Ok(reply)
            }
            Err(mut error) => {
                error.text = travelling(&error.text).to_owned();
                Err(CallError { cause: None, ..error })
            }
        };
        Self { outcome: Arc::new(outcome), bytes }
    }

    /// What the caller is told.
    ///
    /// # Errors
    /// The call's own.
    pub fn outcome(&self) -> Result<&Reply, &CallError> {
        self.outcome.as_ref().as_ref()
    }

    /// What it counts for where it is remembered: body and metadata, or the error's text.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Hash for OnceReply {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.outcome() {
            Ok(reply) => reply.body.hash(state),
            Err(error) => error.text.hash(state),
        }
    }
}

fn bytes(outcome: &Result<Reply, CallError>) -> usize {
    match outcome {
        Ok(reply) => reply.body.len() + reply.metadata.size() + PAIR * reply.metadata.iter().len(),
        Err(error) => travelling(&error.text).len(),
    }
}

/// The part of a text that travels.
fn travelling(text: &str) -> &str {
    let end = (0..=MAX_TEXT.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::OnceReply;
    use crate::{OnceSettings, Reply};

    #[test]
    fn a_body_that_is_remembered_holds_no_other_memory_and_a_longer_one_is_not_copied() {
        let settings = OnceSettings { max_identity_remembered_bytes: 10, ..OnceSettings::default() };
        let record = Bytes::from(vec![7; 65_536]);
        for (length, copied) in [(10, true), (11, false)] {
            let reply = Reply::from(record.slice(10..10 + length));
            let kept = OnceReply::new(Ok(reply.clone()), &settings);
            let body = &kept.outcome().unwrap().body;
            assert_eq!((body, kept.bytes()), (&reply.body, length));
            assert_eq!(body.as_ptr() != reply.body.as_ptr(), copied);
        }
    }
}
