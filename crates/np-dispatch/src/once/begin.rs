//! What a window says to a call that arrived. Must never know what the window holds.

use np_types::{CallError, Status};

use crate::{OnceReply, Ticket};

/// What is to be done with a call that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin<J> {
    /// It runs now; [`OnceWindow::answer`](crate::OnceWindow::answer) takes its reply, [`OnceWindow::withdraw`](crate::OnceWindow::withdraw) takes it back before it ran.
    Run(Ticket),
    /// It runs already: wait for that.
    Join(J),
    /// It has been answered.
    Replay(OnceReply),
    /// It must not run, and nobody knows whether it did: the answer is [`Status::OutcomeUnknown`].
    Unknown(OnceUnknown),
    /// There is no room: the answer is [`Status::Unavailable`], or [`Status::LimitReached`] where there never will be.
    Full(OnceRefusal),
}

/// Why it is not known whether a call ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum OnceUnknown {
    /// It names another epoch than this server has for its instance.
    #[error("first sent under another epoch: the server started again, is another one, or forgot this client")]
    Epoch,
    /// Its reply was acknowledged, or is remembered no more.
    #[error("its reply was acknowledged, or is no longer remembered (`remember_for` and limits of exactly-once calls)")]
    Forgotten,
}

impl From<OnceUnknown> for CallError {
    fn from(why: OnceUnknown) -> Self {
        Self::unknown(Status::OutcomeUnknown, why.to_string())
    }
}

/// A limit that leaves no room for a call or an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("limit {setting} of exactly-once calls reached{}", if *for_good { "" } else { "; try again later" })]
pub struct OnceRefusal {
    /// The field of [`OnceSettings`](crate::OnceSettings).
    pub setting: &'static str,
    /// Whether the call is larger than all of the room that there is.
    pub for_good: bool,
}

impl From<OnceRefusal> for CallError {
    fn from(refusal: OnceRefusal) -> Self {
        match refusal.for_good {
            true => Self::answered(Status::LimitReached, refusal.to_string()),
            false => Self::not_processed(Status::Unavailable, refusal.to_string()),
        }
    }
}
